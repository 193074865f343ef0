// Drives a node of `bittorrent-dht` for the tests: it joins at the bootstrap node, and does one thing again and again. JSON lines.
//
// announce HASH   announces a peer at port 7777
// get-peers HASH  says `peers`
import { createRequire } from 'node:module'

const [library, mode, hash, bootstrap] = process.argv.slice(1)
const DHT = createRequire(library)('bittorrent-dht')
const say = (event, fields) => console.log(JSON.stringify({ event, ...fields }))
const dht = new DHT({ bootstrap: [bootstrap] })
const found = new Set()

dht.on('error', error => say('error', { message: error.message }))
dht.on('peer', peer => {
  found.add(`${peer.host}:${peer.port}`)
  say('peers', { peers: [...found] })
})
const act = () => {
  if (mode === 'announce') dht.announce(hash, 7777, () => say('announced', {}))
  else dht.lookup(hash)
}
dht.listen(0, '127.0.0.1', () => {
  say('ready', {})
  act()
  setInterval(act, 1000)
})
