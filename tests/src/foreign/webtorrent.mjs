// Drives WebTorrent for the tests: node --input-type=module - LIBRARY TORRENT-OR-LINK DIR PORT. Prints JSON lines.
import { once } from "node:events"
import { readFileSync } from "node:fs"

const [library, torrentFile, path, port] = process.argv.slice(1)
const { default: WebTorrent } = await import(library)
const say = (event, fields) => console.log(JSON.stringify({ event, ...fields }))

// Only what needs the outside world is off, and what finds peers without a tracker.
const client = new WebTorrent({
  dht: false, lsd: false, utPex: false, natUpnp: false, natPmp: false, torrentPort: Number(port),
})
client.on("error", error => { console.error(error); process.exit(1) })
say("open")
await once(process.stdin, "data")
const torrent = client.add(torrentFile.startsWith("magnet:") ? torrentFile : readFileSync(torrentFile), { path })
torrent.on("done", () => say("complete"))
torrent.on("warning", warning => console.error(warning))

let before = ""
setInterval(() => {
  const now = { bytes_done: torrent.downloaded ?? 0, bytes_up: torrent.uploaded ?? 0 }
  if (JSON.stringify(now) !== before) say("progress", now)
  before = JSON.stringify(now)
}, 50)
