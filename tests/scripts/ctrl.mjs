// Calls all that npm's @ctrl/transmission and @ctrl/qbittorrent have, beside a seed.
// Arguments: npm's global root, port, torrent file, data directory, address of a seed.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import assert from 'node:assert';

const NEWER = 'newer than 2.11.4, the version that is claimed';
// What is not called, and why.
const EXPLAINED = {
  Transmission: {},
  QBittorrent: {
    cloneRssRule: NEWER,
    deleteApiKey: NEWER,
    downloadTorrentFile: NEWER,
    fetchTorrentMetadata: NEWER,
    getFreeSpaceAtPath: NEWER,
    getProcessInfo: NEWER,
    getTransferSpeedLimits: NEWER,
    loadClientData: NEWER,
    parseTorrentMetadata: NEWER,
    rotateApiKey: NEWER,
    saveTorrentMetadata: NEWER,
    setTransferSpeedLimits: NEWER,
    storeClientData: NEWER,
    torrentPieceAvailability: NEWER,
  },
};
// Steps of other calls, which the library keeps to itself.
const INNER = [
  'constructor', 'request', 'requestArrayBuffer', 'ensureAuthenticated', 'authHeaders',
  'basicAuthHeader', 'requestWithAuth', 'requestOnce', 'checkVersion', '_handleNormalizedIds',
];

const [root, port, torrent, data, seed] = process.argv.slice(2);
const load = async (name) => {
  const require = createRequire(`${root}/${name}/package.json`);
  const about = require(`${root}/${name}/package.json`);
  const entry = about.exports?.['.']?.default ?? about.exports?.['.'] ?? about.exports?.default ?? about.exports ?? about.main;
  return import(pathToFileURL(`${root}/${name}/${typeof entry === 'string' ? entry : entry.import}`));
};
const wait = async (what, until) => {
  const end = Date.now() + 60000;
  while (!(await until())) {
    assert(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
/** Passes everything on to a client, and notes which methods were called. */
const watched = (client, used) => new Proxy(client, {
  get(target, name) {
    const value = target[name];
    if (typeof value !== 'function') return value;
    used.add(name);
    // The library's own calls are none of ours.
    return value.bind(target);
  },
});
/** Fails if a method was neither called nor explained, or is explained and was called. */
const allCallsWereMade = (kind, used) => {
  const explained = EXPLAINED[kind.name];
  const names = new Set();
  for (let at = kind.prototype; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    Object.getOwnPropertyNames(at).forEach((name) => names.add(name));
  }
  const missing = [...names].filter((name) => !used.has(name) && !(name in explained) && !INNER.includes(name));
  assert.deepEqual(missing, [], `${kind.name}: neither called nor explained`);
  assert.deepEqual(Object.keys(explained).filter((name) => used.has(name)), [], 'called: take them off the list');
  assert.deepEqual(Object.keys(explained).filter((name) => !names.has(name)), [], 'the library has no such call');
};

const { Transmission } = await load('@ctrl/transmission');
const { QBittorrent } = await load('@ctrl/qbittorrent');
const bytes = readFileSync(torrent);
const config = { baseUrl: `http://127.0.0.1:${port}/`, username: 'bt', password: 'x' };
const MAGNET = `magnet:?xt=urn:btih:${'1'.repeat(40)}`;

/** What both libraries do in the same way. */
const story = async (client, options) => {
  await client.addTorrent(bytes, options);
  const all = await client.getAllData();
  assert.equal(all.torrents.length, 1);
  const { id } = all.torrents[0];
  await wait('the download', async () => (await client.getTorrent(id)).progress === 1);
  assert.equal((await client.getTorrent(id)).name, 'album');
  await client.pauseTorrent(id);
  // Complete torrents that are stopped are "seeding" to one of the libraries.
  await wait('the stop', async () => {
    const { raw } = await client.getTorrent(id);
    return raw.status === 0 || raw.state === 'stoppedUP';
  });
  await client.resumeTorrent(id);
  return id;
};
const seeds = ({ raw }) => raw.status === 6 || ['stalledUP', 'uploading'].includes(raw.state);
const leave = async (client, id) => {
  await client.removeTorrent(id, true);
  assert.equal((await client.getAllData()).torrents.length, 0);
};

{
  const used = new Set();
  const client = watched(new Transmission(config), used);
  const id = await story(client, { 'download-dir': data });
  const success = async (answer) => assert.equal((await answer).result, 'success');
  await success(client.getSession());
  await success(client.setSession({ 'speed-limit-down': 50000, 'speed-limit-down-enabled': true }));
  assert.equal((await client.getSession()).arguments['speed-limit-down'], 50000);
  for (const move of ['queueTop', 'queueUp', 'queueDown', 'queueBottom']) await success(client[move](id));
  assert((await client.freeSpace(data)).arguments['size-bytes'] > 0);
  await success(client.verifyTorrent(id));
  await wait('the check', async () => seeds(await client.getTorrent(id)));
  await success(client.reannounceTorrent(id));
  await success(client.setTorrent(id, { labels: ['tv'], seedRatioLimit: 2, seedRatioMode: 1 }));
  assert.equal((await client.getTorrent(id)).label, 'tv');
  await success(client.moveTorrent(id, `${data}/moved`));
  await wait('the move', async () => (await client.getTorrent(id)).savePath === `${data}/moved` && seeds(await client.getTorrent(id)));
  const [row] = (await client.listTorrents(id, ['trackerStats'])).arguments.torrents;
  assert.equal(row.files.length, 5);
  assert.equal(row.trackerStats.length, 1);
  await success(client.renamePath(id, { path: row.files[0].name, name: 'first.bin' }));
  const saved = Transmission.createFromState(config, client.exportState());
  assert.equal((await saved.getAllData()).torrents.length, 1);
  await leave(client, id);
  await success(client.addMagnet(MAGNET, { paused: true, 'download-dir': data }));
  await leave(client, '1'.repeat(40));
  await success(client.addUrl(MAGNET, { paused: true, 'download-dir': data }));
  await leave(client, '1'.repeat(40));
  const added = await client.normalizedAddTorrent(bytes, { startPaused: true, label: 'tv' });
  assert.equal(added.label, 'tv');
  await client.removeTorrent(added.id);
  allCallsWereMade(Transmission, used);
}
{
  const used = new Set();
  const client = watched(new QBittorrent(config), used);
  assert(await client.login());
  const id = await story(client, { savepath: data });
  const one = async () => (await client.getTorrent(id)).raw;
  assert.equal(await client.getAppVersion(), 'v5.1.4');
  assert.equal(await client.version(), 'v5.1.4');
  assert.equal(await client.getApiVersion(), '2.11.4');
  assert.equal(await client.getDefaultSavePath(), data);
  assert((await client.getDirectoryContent(data)).includes(`${data}/album`));
  assert.deepEqual(await client.getDirectoryContent(data, { mode: 'files' }), []);
  assert.equal((await client.getBuildInfo()).bitness, 64);
  assert.deepEqual(await client.getCookies(), []);
  assert(await client.setCookies([]));
  assert(await client.setTorrentDownloadLimit(id, 5000));
  assert.equal((await client.getTorrentDownloadLimit(id))[id], 5000);
  assert(await client.setTorrentUploadLimit(id, 6000));
  assert.equal((await client.getTorrentUploadLimit(id))[id], 6000);
  assert(await client.setPreferences({ queueing_enabled: true, dl_limit: 100000 }));
  assert.equal((await client.getPreferences()).dl_limit, 100000);
  const listed = await client.listTorrents({ hashes: id, filter: 'completed', includeTrackers: true });
  assert.equal(listed.length, 1);
  assert((await client.getSyncMainData()).full_update);
  assert.equal((await client.torrentProperties(id)).name, 'album');
  assert.equal((await client.torrentTrackers(id))[3].status, 2);
  assert.deepEqual(await client.torrentWebSeeds(id), []);
  const files = await client.torrentFiles(id);
  assert.equal(files.length, 5);
  assert(await client.setFilePriority(id, ['0'], 7));
  assert.deepEqual([...new Set(await client.torrentPieceStates(id))], [2]);
  assert.equal((await client.torrentPieceHashes(id))[0].length, 40);
  assert(await client.setTorrentLocation(id, `${data}/moved`));
  await wait('the move', async () => (await one()).save_path === `${data}/moved` && seeds(await client.getTorrent(id)));
  assert(await client.setTorrentName(id, 'neu'));
  assert(await client.setTorrentComment(id, 'good'));
  assert.equal((await one()).comment, 'good');
  assert(await client.createTags('later,never'));
  assert(await client.deleteTags('never'));
  assert((await client.getTags()).includes('later'));
  assert(await client.createCategory('film', `${data}/film`));
  assert(await client.editCategory('film', `${data}/films`));
  assert.equal((await client.getCategories()).film.savePath, `${data}/films`);
  assert(await client.addTorrentTags(id, 'a,b'));
  assert(await client.removeTorrentTags(id, 'a'));
  assert.equal((await one()).tags, 'b');
  assert(await client.setTorrentCategory(id, 'film'));
  assert.equal((await one()).category, 'film');
  assert(await client.resetTorrentCategory(id));
  assert.equal((await one()).category, '');
  assert(await client.removeCategory('film'));
  assert(await client.stopTorrent(id));
  assert(await client.startTorrent(id));
  assert(await client.recheckTorrent(id));
  await wait('the check', async () => seeds(await client.getTorrent(id)));
  assert(await client.reannounceTorrent(id));
  assert(await client.renameFile(id, files[0].name, 'album/first.bin'));
  const folder = files[2].name.slice(0, files[2].name.lastIndexOf('/'));
  assert(await client.renameFolder(id, folder, 'album/folder'));
  assert(await client.addTrackers(id, 'http://127.0.0.1:5/announce'));
  assert(await client.editTrackers(id, 'http://127.0.0.1:5/announce', 'http://127.0.0.1:6/announce'));
  assert(await client.removeTrackers(id, 'http://127.0.0.1:6/announce'));
  assert(await client.setRssRule('rule', { enabled: false, mustContain: 'Show', affectedFeeds: [] }));
  assert.equal((await client.getRssRules()).rule.mustContain, 'Show');
  assert(await client.removeRssRule('rule'));
  const { taskID } = await client.addTorrentCreatorTask(`${data}/moved/album`, { private: true, comment: 'made' });
  await wait('the torrent', async () => (await client.getTorrentCreatorStatus(taskID))[0].status === 'Finished');
  assert((await client.getTorrentCreatorFile(taskID)).length > 100);
  assert(await client.deleteTorrentCreatorTask(taskID));
  for (const move of ['topPriority', 'queueUp', 'queueDown', 'bottomPriority']) assert(await client[move](id));
  assert((await client.torrentPeers(id)).full_update);
  const saved = QBittorrent.createFromState(config, client.exportState());
  assert.equal((await saved.getAllData()).torrents.length, 1);
  await leave(client, id);
  assert(await client.addMagnet(MAGNET, { savepath: data, paused: 'true' }));
  await leave(client, '1'.repeat(40));
  const added = await client.normalizedAddTorrent(bytes, { startPaused: true, label: 'tv' });
  assert.equal(added.label, 'tv');
  await leave(client, added.id);
  assert(client.logout());
  allCallsWereMade(QBittorrent, used);
}
