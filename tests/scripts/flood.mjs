// Drives Flood's server over its own API: it lists, adds, stops, checks and removes.
// Arguments: the server's URL, torrent file, data directory.
import { readFileSync } from 'node:fs';
import assert from 'node:assert';

const [base, torrent, data] = process.argv.slice(2);
let cookie = '';
const api = async (method, path, body) => {
  const answer = await fetch(`${base}/api/${path}`, {
    method,
    headers: { cookie, ...(body ? { 'content-type': 'application/json' } : {}) },
    body: body && JSON.stringify(body),
  });
  const given = answer.headers.getSetCookie()[0];
  if (given) [cookie] = given.split(';');
  const text = await answer.text();
  assert(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
};
const wait = async (what, until) => {
  const end = Date.now() + 60000;
  for (let last; ; ) {
    try {
      if (await until()) return;
    } catch (error) {
      last = error;
    }
    assert(Date.now() < end, `${what}: ${last ?? ''}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
};
const list = async () => Object.values((await api('GET', 'torrents')).torrents);

await wait('the server', () => api('GET', 'auth/verify'));
await wait('the connection', async () => (await api('GET', 'client/connection-test')).isConnected);
assert.deepEqual(await list(), []);
await api('POST', 'torrents/add-files', {
  files: [readFileSync(torrent).toString('base64')],
  destination: data,
  tags: ['tv'],
  isBasePath: false,
  isCompleted: false,
  isSequential: false,
  isInitialSeeding: false,
  start: true,
});
const is = (wanted) => async () => {
  const [row] = await list();
  return row && wanted(row);
};
await wait('the download', is((row) => row.percentComplete === 100 && row.status.includes('seeding')));
const [row] = await list();
assert.equal(row.name, 'album');
assert.deepEqual(row.tags, ['tv']);
assert.equal(row.message, '');
const { hash } = row;
const contents = await api('GET', `torrents/${hash}/contents`);
assert.equal(contents.length, 5);
assert(contents.every((file) => file.percentComplete === 100 || file.sizeBytes === 0), JSON.stringify(contents));
const details = await api('GET', `torrents/${hash}/details`);
assert.equal(details.contents.length, 5);
assert.equal(details.trackers.filter((tracker) => tracker.url.startsWith('http')).length, 1);
assert(Array.isArray(details.peers));
const hashes = [hash];
await api('PATCH', 'torrents/tags', { hashes, tags: ['films'] });
await wait('the tag', is((row) => row.tags.join() === 'films'));
await api('PATCH', `torrents/${hash}/contents`, { indices: [0], priority: 2 });
await api('POST', 'torrents/stop', { hashes });
await wait('the stop', is((row) => row.status.includes('stopped')));
await api('POST', 'torrents/start', { hashes });
await wait('the start', is((row) => row.status.includes('seeding')));
await api('POST', 'torrents/check-hash', { hashes });
await wait('the check', is((row) => row.status.includes('seeding') && row.percentComplete === 100));
await api('POST', 'torrents/move', { hashes, destination: `${data}/moved`, moveFiles: true, isBasePath: false, isCheckHash: false });
await wait('the move', is((row) => row.directory.startsWith(`${data}/moved`) && row.status.includes('seeding')));
await api('GET', 'client/settings');
await api('PATCH', 'client/settings', { throttleGlobalDownSpeed: 100000 });
await api('POST', 'torrents/delete', { hashes, deleteData: true });
await wait('the removal', async () => (await list()).length === 0);
