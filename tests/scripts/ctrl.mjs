// Adds, lists, stops, starts and removes with npm's @ctrl/transmission and @ctrl/qbittorrent.
// Arguments: npm's global root, port, torrent file, data directory.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import assert from 'node:assert';

const [root, port, torrent, data] = process.argv.slice(2);
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
const { Transmission } = await load('@ctrl/transmission');
const { QBittorrent } = await load('@ctrl/qbittorrent');
const bytes = readFileSync(torrent);
const dialects = [
  [new Transmission({ baseUrl: `http://127.0.0.1:${port}/`, password: '' }), { 'download-dir': data }],
  [new QBittorrent({ baseUrl: `http://127.0.0.1:${port}/`, username: 'bt', password: 'x' }), { savepath: data }],
];
for (const [client, options] of dialects) {
  await client.addTorrent(bytes, options);
  let all = await client.getAllData();
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
  await client.removeTorrent(id, true);
  all = await client.getAllData();
  assert.equal(all.torrents.length, 0);
}
