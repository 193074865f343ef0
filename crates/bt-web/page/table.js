// The table of torrents. Only the rows in view are in the document, whatever their number.

import { html, useEffect, useLayoutEffect, useRef, useState } from './vendor/htm-preact.js';
import { COLUMNS } from './torrents.js';
import * as format from './format.js';

const ROW = 34;
const CARD = 74;
const OVERSCAN = 6;

function cell(row, key) {
  switch (key) {
    case 'name': return row.name;
    case 'size': return format.size(row.size);
    case 'progress': return html`<${Bar} row=${row} />`;
    case 'state': return stateText(row);
    case 'down_rate': return format.rate(row.down_rate);
    case 'up_rate': return format.rate(row.up_rate);
    case 'eta': return format.duration(row.eta);
    case 'peers': return row.peers === 0 ? '' : `${row.peers} (${row.seeds})`;
    case 'ratio': return format.ratio(row.ratio);
    case 'category': return row.category;
    case 'added': return new Date(row.added * 1000).toLocaleDateString();
    default: return '';
  }
}

const REASONS = {
  no_peers: 'no peers', no_data: 'no peer has what is missing', choked: 'choked by all peers',
  rarest_one_peer: 'one peer has the rest', slow_peers: 'slow peers', limit: 'held by a limit', disk: 'disk refuses',
};

export function stateText(row) {
  if (row.state === 'failed') return row.error ?? 'failed';
  if (row.state === 'downloading' && REASONS[row.reason]) return REASONS[row.reason];
  return row.state;
}

export function Bar({ row }) {
  const whole = Math.floor(row.progress * 100);
  return html`<span class="bar ${row.state}" role="progressbar" aria-valuenow=${whole} aria-valuemin="0" aria-valuemax="100" aria-label="progress">
    <span class="fill" style=${{ width: `${row.progress * 100}%` }}></span><span class="label">${format.percent(row.progress)}</span>
  </span>`;
}

function Card({ row }) {
  return html`<div class="card-name">${row.name}</div><${Bar} row=${row} />
    <div class="card-line"><span>${stateText(row)}</span><span>${format.size(row.size)}</span>
    <span>${row.down_rate > 0 ? `↓ ${format.rate(row.down_rate)}` : ''} ${row.up_rate > 0 ? `↑ ${format.rate(row.up_rate)}` : ''}</span></div>`;
}

// `selected` is a set of hashes, `cursor` the row that the keyboard is at.
export function Table({ list, version, selected, cursor, onSelect, onSort, onOpen }) {
  const view = useRef(null);
  const [place, setPlace] = useState({ top: 0, height: 600, isNarrow: false });
  const measure = () => {
    const box = view.current;
    if (!box) return;
    const isNarrow = box.clientWidth < 640;
    setPlace((now) => (now.top === box.scrollTop && now.height === box.clientHeight && now.isNarrow === isNarrow
      ? now : { top: box.scrollTop, height: box.clientHeight, isNarrow }));
  };
  useLayoutEffect(measure, [version]);
  useEffect(() => {
    const watcher = new ResizeObserver(measure);
    watcher.observe(view.current);
    return () => watcher.disconnect();
  }, []);
  const height = place.isNarrow ? CARD : ROW;
  useLayoutEffect(() => {
    const at = list.shown.findIndex((row) => row.hash === cursor);
    const box = view.current;
    if (at < 0 || !box) return;
    const head = place.isNarrow ? 0 : ROW;
    if (at * height < box.scrollTop) box.scrollTop = at * height;
    const bottom = (at + 1) * height + head;
    if (bottom > box.scrollTop + box.clientHeight) box.scrollTop = bottom - box.clientHeight;
  }, [cursor]);
  const first = Math.max(0, Math.floor(place.top / height) - OVERSCAN);
  const last = Math.min(list.shown.length, Math.ceil((place.top + place.height) / height) + OVERSCAN);
  const rows = list.shown.slice(first, last);
  const columns = place.isNarrow ? [] : COLUMNS;
  const sorted = (key) => (list.column !== key ? 'none' : list.descending ? 'descending' : 'ascending');
  return html`<div class="table ${place.isNarrow ? 'narrow' : ''}" ref=${view} onScroll=${measure} role="grid" tabindex="0" id="torrents"
      aria-label="Torrents" aria-rowcount=${list.shown.length + 1} aria-multiselectable="true" aria-activedescendant=${cursor ? `t-${cursor}` : null}>
    ${!place.isNarrow && html`<div class="row head" role="row" aria-rowindex="1">
      ${columns.map(({ key, title }) => html`<div class="cell ${key}" role="columnheader" aria-sort=${sorted(key)} key=${key}>
        <button onClick=${() => onSort(key)}>${title}${list.column === key ? (list.descending ? ' ↓' : ' ↑') : ''}</button></div>`)}
    </div>`}
    <div class="body" style=${{ height: `${list.shown.length * height}px` }}>
      ${rows.map((row, at) => html`<div key=${row.hash} id=${`t-${row.hash}`} class="row ${selected.has(row.hash) ? 'selected' : ''} ${cursor === row.hash ? 'cursor' : ''}"
          style=${{ transform: `translateY(${(first + at) * height}px)` }} role="row" aria-rowindex=${first + at + 2} aria-selected=${selected.has(row.hash)}
          onClick=${(event) => onSelect(row.hash, event)} onDblClick=${() => onOpen(row.hash)}>
        ${place.isNarrow ? html`<div class="cell card" role="gridcell"><${Card} row=${row} /></div>`
    : columns.map(({ key }) => html`<div class="cell ${key}" role="gridcell" key=${key} title=${key === 'name' || key === 'state' ? cell(row, key) : null}>${cell(row, key)}</div>`)}
      </div>`)}
    </div>
    ${list.shown.length === 0 && html`<p class="empty">${list.rows.size === 0 ? 'No torrents yet. Drop .torrent files here, or paste a magnet link.' : 'No torrent passes the filter.'}</p>`}
  </div>`;
}
