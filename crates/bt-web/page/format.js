// Numbers as people read them. Names and messages are never made into HTML: they stay text.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

export function size(bytes) {
  if (bytes === null || bytes === undefined) return '–';
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export function rate(bytes) {
  return bytes > 0 ? `${size(bytes)}/s` : '';
}

export function percent(part) {
  const value = Math.floor(part * 1000) / 10;
  return `${value === 100 ? 100 : value.toFixed(1)} %`;
}

export function ratio(value) {
  return value === null || value === undefined ? '–' : value.toFixed(2);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return '';
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const at = parts.findIndex(([length]) => seconds >= length);
  if (at < 0) return '0 s';
  const [length, name] = parts[at];
  const whole = Math.floor(seconds / length);
  const next = parts[at + 1];
  const rest = next ? Math.floor((seconds % length) / next[0]) : 0;
  return rest > 0 ? `${whole} ${name} ${rest} ${next[1]}` : `${whole} ${name}`;
}

export function date(seconds) {
  return seconds ? new Date(seconds * 1000).toLocaleString() : 'never';
}

// Reads "500K", "2 MiB" or "1.5m" as bytes; null for nothing, undefined for what cannot be read.
export function parseRate(text) {
  const trimmed = text.trim();
  if (trimmed === '') return null;
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?(?:\/s)?$/i.exec(trimmed);
  if (!match) return undefined;
  const power = { '': 0, k: 1, m: 2, g: 3 }[match[2].toLowerCase()];
  return Math.round(Number(match[1]) * 1024 ** power);
}
