// One torrent in detail: why it waits, files, peers, trackers, pieces.

import { html, useEffect, useLayoutEffect, useRef, useState } from './vendor/htm-preact.js';
import * as api from './api.js';
import * as format from './format.js';
import { Bar, stateText } from './table.js';
import { Graph } from './graph.js';

const TABS = ['general', 'files', 'peers', 'trackers', 'speed'];
const PRIORITIES = ['skip', 'low', 'normal', 'high'];

// Asks again while it is shown, once in two seconds.
function useDetails(path, deps) {
  const [value, setValue] = useState(null);
  useEffect(() => {
    let isOver = false;
    const ask = async () => {
      try {
        const answer = await api.get(path);
        if (!isOver) setValue(answer);
      } catch {
        // The torrent may be gone: the list says so.
      }
    };
    setValue(null);
    ask();
    const timer = setInterval(() => { if (!document.hidden) ask(); }, 2000);
    return () => {
      isOver = true;
      clearInterval(timer);
    };
  }, deps);
  return value;
}

function Why({ hash }) {
  const why = useDetails(`torrents/${hash}/why`, [hash]);
  if (!why) return null;
  const list = (title, lines) => lines.length > 0 && html`<h4>${title}</h4><ul>${lines.map((line) => html`<li>${line}</li>`)}</ul>`;
  return html`<div class="why"><p class="summary">${why.summary}</p>
    ${list('What would help', why.advice)}${list('Facts', why.facts)}${list('What was tried', why.tried)}</div>`;
}

// Pieces come as runs: missing, there, missing, …
function Pieces({ hash }) {
  const runs = useDetails(`torrents/${hash}/pieces`, [hash]);
  const canvas = useRef(null);
  useLayoutEffect(() => {
    if (!runs || !canvas.current) return;
    const box = canvas.current;
    const width = Math.max(1, box.clientWidth);
    box.width = width;
    box.height = 18;
    const pen = box.getContext('2d');
    const total = runs.reduce((sum, run) => sum + run, 0) || 1;
    pen.fillStyle = getComputedStyle(box).getPropertyValue('--down');
    let at = 0;
    runs.forEach((run, number) => {
      if (number % 2 === 1) pen.fillRect((at * width) / total, 0, Math.max(0.5, (run * width) / total), 18);
      at += run;
    });
  }, [runs]);
  return html`<canvas class="pieces" ref=${canvas} role="img" aria-label="Pieces that are there"></canvas>`;
}

function General({ row }) {
  const lines = [
    ['State', stateText(row)], ['Size', format.size(row.size)], ['Done', `${format.size(row.bytes_done)} of ${format.size(row.bytes_wanted)}`],
    ['Received', format.size(row.bytes_down)], ['Sent', `${format.size(row.bytes_up)} (ratio ${format.ratio(row.ratio)})`],
    ['Swarm', row.swarm_seeders === null ? '–' : `${row.swarm_seeders} seeders, ${row.swarm_leechers ?? '?'} leechers`],
    ['Tracker', row.tracker_trouble ? `${row.tracker}: ${row.tracker_trouble}` : row.tracker],
    ['Directory', row.dir], ['Added', format.date(row.added)], ['Complete', format.date(row.completed)],
    ['Tags', row.tags.join(', ')], ['Info-hash', row.hash],
  ];
  return html`<div class="general"><div><${Bar} row=${row} /><${Pieces} hash=${row.hash} />
    <dl>${lines.filter(([, value]) => value).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl></div><${Why} hash=${row.hash} /></div>`;
}

// Files as a tree of open and closed directories: what is closed is not in the document.
export function tree(files) {
  const root = { name: '', dirs: new Map(), files: [] };
  for (const file of files) {
    const parts = file.path.split('/');
    let dir = root;
    for (const part of parts.slice(0, -1)) {
      if (!dir.dirs.has(part)) dir.dirs.set(part, { name: part, dirs: new Map(), files: [] });
      dir = dir.dirs.get(part);
    }
    dir.files.push({ ...file, name: parts[parts.length - 1] });
  }
  return root;
}

export function filesBelow(dir) {
  return [...dir.files, ...[...dir.dirs.values()].flatMap(filesBelow)];
}

function Dir({ dir, depth, onSet, extra }) {
  const [isOpen, setOpen] = useState(depth < 3);
  const all = filesBelow(dir);
  const wanted = all.filter((file) => file.priority !== 'skip').length;
  const box = useRef(null);
  useLayoutEffect(() => { box.current.indeterminate = wanted > 0 && wanted < all.length; });
  return html`<li><div class="file"><input type="checkbox" ref=${box} checked=${wanted === all.length} aria-label=${`want all of ${dir.name}`}
      onChange=${() => onSet(all, wanted === all.length ? 'skip' : 'normal')} />
    <button class="dir" aria-expanded=${isOpen} onClick=${() => setOpen(!isOpen)}>${isOpen ? '▾' : '▸'} ${dir.name}</button>
    <span class="right">${format.size(all.reduce((sum, file) => sum + file.length, 0))}</span></div>
    ${isOpen && html`<${Level} dir=${dir} depth=${depth + 1} onSet=${onSet} extra=${extra} />`}</li>`;
}

export function Level({ dir, depth = 0, onSet, extra }) {
  const [shown, setShown] = useState(200);
  return html`<ul class="files">
    ${[...dir.dirs.values()].map((inner) => html`<${Dir} key=${inner.name} dir=${inner} depth=${depth} onSet=${onSet} extra=${extra} />`)}
    ${dir.files.slice(0, shown).map((file) => html`<li key=${file.number}><div class="file">
      <input type="checkbox" checked=${file.priority !== 'skip'} aria-label=${`want ${file.name}`} onChange=${() => onSet([file], file.priority === 'skip' ? 'normal' : 'skip')} />
      <span class="file-name">${file.name}</span><span class="right">${format.size(file.length)}</span>${extra && extra(file)}</div></li>`)}
    ${dir.files.length > shown && html`<li><button onClick=${() => setShown(shown + 1000)}>${dir.files.length - shown} more</button></li>`}
  </ul>`;
}

function Files({ row, onError }) {
  const files = useDetails(`torrents/${row.hash}/files`, [row.hash]);
  const [changed, setChanged] = useState(new Map());
  useEffect(() => setChanged(new Map()), [row.hash]);
  if (!files) return html`<p class="empty">…</p>`;
  if (files.length === 0) return html`<p class="empty">Its files are not known yet.</p>`;
  const now = files.map((file) => ({ ...file, priority: changed.get(file.number) ?? file.priority }));
  const set = async (some, priority) => {
    setChanged(new Map([...changed, ...some.map((file) => [file.number, priority])]));
    try {
      await api.patch(`torrents/${row.hash}`, { files: some.map((file) => [file.number, priority]) });
    } catch (error) {
      onError(error);
    }
  };
  const copy = async (file, play) => {
    try {
      const place = now.findIndex((other) => other.number === file.number);
      const link = await api.post(`torrents/${row.hash}/files/${place}/link`);
      const url = new URL(link.path, document.baseURI).href;
      if (play) window.open(url, '_blank', 'noopener');
      else await navigator.clipboard.writeText(url);
    } catch (error) {
      onError(error);
    }
  };
  const extra = (file) => html`<span class="part">${file.length === 0 ? '' : format.percent(file.bytes_done / file.length)}</span>
    <select value=${file.priority} aria-label=${`priority of ${file.name}`} onChange=${(event) => set([file], event.target.value)}>
      ${PRIORITIES.map((priority) => html`<option value=${priority} selected=${priority === file.priority}>${priority}</option>`)}</select>
    <button title="Open in a player or the browser" onClick=${() => copy(file, true)}>Play</button><button title="Copy a link for a player" onClick=${() => copy(file, false)}>Copy link</button>`;
  return html`<${Level} dir=${tree(now)} onSet=${set} extra=${extra} />`;
}

function Peers({ row }) {
  const peers = useDetails(`torrents/${row.hash}/peers`, [row.hash]);
  if (!peers) return html`<p class="empty">…</p>`;
  if (peers.length === 0) return html`<p class="empty">No peer is connected.</p>`;
  const state = (peer) => [peer.choking_us ? 'chokes us' : 'gives', peer.interested ? 'wants' : '', peer.outbound ? '' : 'came to us'].filter(Boolean).join(', ');
  return html`<table><thead><tr><th>Address</th><th>Client</th><th>Has</th><th>Down</th><th>Up</th><th>State</th></tr></thead>
    <tbody>${peers.map((peer) => html`<tr key=${peer.address}><td>${peer.address}</td><td>${peer.client ?? ''}</td><td>${format.percent(peer.progress)}</td>
      <td>${format.rate(peer.down_rate)}</td><td>${format.rate(peer.up_rate)}</td><td>${state(peer)}</td></tr>`)}</tbody></table>`;
}

function Trackers({ row }) {
  const trackers = useDetails(`torrents/${row.hash}/trackers`, [row.hash]);
  if (!trackers) return html`<p class="empty">…</p>`;
  if (trackers.length === 0) return html`<p class="empty">It has no tracker.</p>`;
  return html`<table><thead><tr><th>Tracker</th><th>Tier</th><th>Standing</th><th>Seeders</th><th>Leechers</th><th>Next</th><th>Message</th></tr></thead>
    <tbody>${trackers.map((tracker) => html`<tr key=${tracker.url}><td>${tracker.url}</td><td>${tracker.tier + 1}</td><td class=${tracker.standing}>${tracker.standing}</td>
      <td>${tracker.seeders ?? '–'}</td><td>${tracker.leechers ?? '–'}</td><td>${format.duration(tracker.next_in)}</td><td>${tracker.message}</td></tr>`)}</tbody></table>`;
}

export function Details({ row, history, version, onClose, onError }) {
  const [tab, setTab] = useState('general');
  const views = { general: General, files: Files, peers: Peers, trackers: Trackers };
  const View = views[tab];
  return html`<aside class="details" aria-label=${`Details of ${row.name}`}>
    <header><h2>${row.name}</h2><button aria-label="Close the details" onClick=${onClose}>✕</button></header>
    <div class="tabs" role="tablist">${TABS.map((name) => html`<button key=${name} role="tab" aria-selected=${tab === name} class=${tab === name ? 'on' : ''} onClick=${() => setTab(name)}>${name}</button>`)}</div>
    <div class="pane" role="tabpanel">${tab === 'speed' ? html`<${Graph} history=${history} version=${version} />` : html`<${View} row=${row} onError=${onError} />`}</div>
  </aside>`;
}
