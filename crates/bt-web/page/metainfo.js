// Reads the files of a .torrent before it is sent, so that they can be chosen. What cannot be read
// is left to the daemon, which says what is wrong.

// Directories above a file, as deep as the daemon takes them.
const DEPTH_MAX = 64;

const text = new TextDecoder();

function decode(bytes, at) {
  const c = bytes[at];
  if (c === 0x69) {
    const end = bytes.indexOf(0x65, at);
    return [Number(text.decode(bytes.subarray(at + 1, end))), end + 1];
  }
  if (c === 0x6c || c === 0x64) {
    const items = [];
    let place = at + 1;
    while (bytes[place] !== 0x65) {
      if (place >= bytes.length) throw new Error('it ends too early');
      const [item, next] = decode(bytes, place);
      items.push(item);
      place = next;
    }
    if (c === 0x6c) return [items, place + 1];
    const object = new Map();
    for (let i = 0; i + 1 < items.length; i += 2) object.set(text.decode(items[i]), items[i + 1]);
    return [object, place + 1];
  }
  const colon = bytes.indexOf(0x3a, at);
  const length = Number(text.decode(bytes.subarray(at, colon)));
  if (!(colon > at) || !Number.isInteger(length) || colon + 1 + length > bytes.length) throw new Error('not a torrent');
  return [bytes.subarray(colon + 1, colon + 1 + length), colon + 1 + length];
}

// A page is drawn with these: what is no number of bytes is no torrent.
function lengthOf(file) {
  const length = file.get('length');
  if (!Number.isSafeInteger(length) || length < 0) throw new Error('not a torrent');
  return length;
}

// Returns {name, files: [{number, path, length}]}; null if the bytes are no torrent of version 1.
export function describe(bytes) {
  try {
    const [root] = decode(bytes, 0);
    const info = root.get('info');
    const name = text.decode(info.get('name.utf-8') ?? info.get('name'));
    const list = info.get('files');
    if (!list) return { name, files: [{ number: 0, path: name, length: lengthOf(info) }] };
    const files = list.map((file, number) => {
      const parts = (file.get('path.utf-8') ?? file.get('path')).map((part) => text.decode(part));
      if (parts.length === 0 || parts.length > DEPTH_MAX) throw new Error('not a torrent');
      const attr = file.get('attr');
      const isPadding = attr !== undefined && text.decode(attr).includes('p');
      return { number, path: parts.join('/'), length: lengthOf(file), isPadding };
    });
    return { name, files: files.filter((file) => !file.isPadding) };
  } catch {
    return null;
  }
}
