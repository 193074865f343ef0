// The page: a list of torrents, what is done with them, and one of them in detail.

import { html, render, useEffect, useRef, useState } from './vendor/htm-preact.js';
import * as api from './api.js';
import * as format from './format.js';
import { TorrentList } from './torrents.js';
import { Table } from './table.js';
import { Sidebar } from './sidebar.js';
import { Details } from './details.js';
import { History } from './graph.js';
import { FeedsDialog } from './feeds.js';
import { AddDialog, EditDialog, Login, RemoveDialog, SettingsDialog } from './dialogs.js';

const LINKS = /(magnet:\?\S+|https?:\/\/\S+|\b[0-9a-f]{40}\b)/gi;

function App() {
  const [isKnown, setKnown] = useState(null);
  useEffect(() => {
    api.get('session').then(() => setKnown(true), (error) => setKnown(error.status !== 401));
  }, []);
  if (isKnown === null) return null;
  if (!isKnown) return html`<${Login} onDone=${() => setKnown(true)} />`;
  return html`<${Main} onStranger=${() => setKnown(false)} />`;
}

function Main({ onStranger }) {
  const model = useRef(null);
  model.current ??= { list: new TorrentList(), history: new History(), paints: [] };
  const { list, history } = model.current;
  const [version, setVersion] = useState(0);
  const [session, setSession] = useState(null);
  const [isOnline, setOnline] = useState(true);
  const [settings, setSettings] = useState(null);
  const [labels, setLabels] = useState({ categories: {}, tags: [] });
  const [selected, setSelected] = useState(new Set());
  const [cursor, setCursor] = useState(null);
  const [opened, setOpened] = useState(null);
  const [dialog, setDialog] = useState(null);
  const [toasts, setToasts] = useState([]);
  const anchor = useRef(null);

  const redraw = () => setVersion((now) => now + 1);
  const toast = (text, action) => {
    const id = Math.random();
    setToasts((now) => [...now.slice(-3), { id, text, action }]);
    setTimeout(() => setToasts((now) => now.filter((other) => other.id !== id)), action ? 15000 : 6000);
  };
  const fail = (error) => (error.status === 401 ? onStranger() : toast(error.message));
  const learn = () => {
    api.get('settings').then(setSettings, fail);
    api.get('categories').then(setLabels, fail);
  };

  useEffect(() => {
    learn();
    return api.follow((changes, now) => {
      const begin = performance.now();
      list.hear(changes);
      history.add(now.down_rate, now.up_rate);
      setSession(now);
      redraw();
      document.documentElement.dataset.deltaMs = (performance.now() - begin).toFixed(2);
      document.title = now.down_rate + now.up_rate > 0 ? `↓ ${format.size(now.down_rate)}/s ↑ ${format.size(now.up_rate)}/s – bt` : 'bt';
    }, async (now) => {
      setOnline(now);
      if (!now) await api.get('session').catch((error) => error.status === 401 && onStranger());
    });
  }, []);

  const chosen = () => [...selected].map((hash) => list.rows.get(hash)).filter(Boolean);
  const each = async (act) => {
    try {
      for (const row of chosen()) await act(row);
    } catch (error) {
      fail(error);
    }
  };
  const acts = {
    start: () => each((row) => api.patch(`torrents/${row.hash}`, { running: true })),
    stop: () => each((row) => api.patch(`torrents/${row.hash}`, { running: false })),
    check: () => each((row) => api.post(`torrents/${row.hash}/actions`, { check: {} })),
    announce: () => each((row) => api.post(`torrents/${row.hash}/actions`, { reannounce: {} })),
    up: () => each((row) => api.post(`torrents/${row.hash}/actions`, { queue: 'up' })),
    down: () => each((row) => api.post(`torrents/${row.hash}/actions`, { queue: 'down' })),
  };
  const undo = () => api.post('undo').then(() => toast('Undone.'), fail);
  const remove = async (withData) => {
    const rows = chosen();
    setDialog(null);
    try {
      for (const row of rows) await api.remove(`torrents/${row.hash}?with_data=${withData}`);
      const names = rows.length === 1 ? rows[0].name : `${rows.length} torrents`;
      toast(withData ? `${names}: deleted.` : `${names}: removed, the data stays.`, withData || rows.length > 1 ? null : { name: 'Undo', run: undo });
      setSelected(new Set());
      setOpened(null);
    } catch (error) {
      fail(error);
    }
  };

  const select = (hash, event) => {
    const at = (wanted) => list.shown.findIndex((row) => row.hash === wanted);
    if (event.shiftKey && anchor.current && at(anchor.current) >= 0) {
      const [from, to] = [at(anchor.current), at(hash)].sort((a, b) => a - b);
      setSelected(new Set(list.shown.slice(from, to + 1).map((row) => row.hash)));
    } else if (event.ctrlKey || event.metaKey) {
      const next = new Set(selected);
      if (!next.delete(hash)) next.add(hash);
      setSelected(next);
      anchor.current = hash;
    } else {
      setSelected(new Set([hash]));
      anchor.current = hash;
      if (window.matchMedia('(max-width: 640px)').matches) setOpened(hash);
    }
    setCursor(hash);
  };

  const step = (by, event) => {
    if (list.shown.length === 0) return;
    const at = list.shown.findIndex((row) => row.hash === cursor);
    const next = Math.min(list.shown.length - 1, Math.max(0, at < 0 ? 0 : at + by));
    select(list.shown[next].hash, { shiftKey: event.shiftKey });
  };
  const keys = (event) => {
    if (dialog || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
      if (event.key === 'Escape' && !dialog) event.target.blur();
      return;
    }
    const page = Math.max(1, Math.floor(window.innerHeight / 34) - 6);
    const known = {
      ArrowDown: () => step(1, event), ArrowUp: () => step(-1, event), PageDown: () => step(page, event), PageUp: () => step(-page, event),
      Home: () => step(-list.shown.length, event), End: () => step(list.shown.length, event),
      ' ': () => { const rows = chosen(); if (rows.length > 0) (rows.some((row) => row.state === 'stopped') ? acts.start : acts.stop)(); },
      Enter: () => cursor && setOpened(cursor), Delete: () => selected.size > 0 && setDialog('remove'),
      '/': () => document.getElementById('search').focus(), Escape: () => (opened ? setOpened(null) : setSelected(new Set())),
      a: () => (event.ctrlKey ? setSelected(new Set(list.shown.map((row) => row.hash))) : setDialog({ add: [], links: [] })),
      z: () => event.ctrlKey && undo(), '?': () => setDialog('help'),
    };
    if (event.target.tagName === 'BUTTON' && ['Enter', ' '].includes(event.key)) return;
    const act = known[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  };
  const paste = (event) => {
    if (dialog || /^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    const links = event.clipboardData.getData('text').match(LINKS) ?? [];
    if (links.length > 0) setDialog({ add: [], links });
  };
  const drop = (event) => {
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    const links = event.dataTransfer.getData('text').match(LINKS) ?? [];
    if (files.length + links.length > 0) setDialog({ add: files, links });
  };
  useEffect(() => {
    const over = (event) => event.preventDefault();
    const all = [['keydown', keys], ['paste', paste], ['drop', drop], ['dragover', over]];
    all.forEach(([name, act]) => window.addEventListener(name, act));
    return () => all.forEach(([name, act]) => window.removeEventListener(name, act));
  });

  const slow = () => api.patch('settings', { slow: !settings.slow }).then(setSettings, fail);
  const row = opened && list.rows.get(opened);
  const any = selected.size > 0;
  const done = () => { setDialog(null); learn(); };
  const names = Object.keys(labels.categories);
  return html`
    <header class="bar-top"><h1>bt</h1>
      <button id="add" class="primary" onClick=${() => setDialog({ add: [], links: [] })}>Add</button>
      <div class="acts" role="toolbar" aria-label="What to do with the selected torrents">
        <button id="start" disabled=${!any} onClick=${acts.start}>Start</button><button id="stop" disabled=${!any} onClick=${acts.stop}>Stop</button>
        <button id="edit" disabled=${!any} onClick=${() => setDialog('edit')}>Limits…</button><button disabled=${!any} onClick=${acts.check}>Check</button>
        <button disabled=${!any} onClick=${acts.announce}>Announce</button><button disabled=${!any} onClick=${acts.up} aria-label="Up in the queue">↑</button>
        <button disabled=${!any} onClick=${acts.down} aria-label="Down in the queue">↓</button>
        <button id="remove" disabled=${!any} onClick=${() => setDialog('remove')}>Remove…</button></div>
      <input id="search" type="search" placeholder="Search ( / )" aria-label="Search by name" value=${list.filter.text} onInput=${(event) => { list.show({ text: event.target.value }); redraw(); }} />
      <button id="feeds" onClick=${() => setDialog('feeds')}>Feeds</button>
      <button id="settings" onClick=${() => settings && setDialog('settings')}>Settings</button></header>
    ${!isOnline && html`<p class="offline" role="status">The daemon does not answer. What is shown may be old.</p>`}
    <div class="middle ${row ? 'with-details' : ''}">
      <${Sidebar} list=${list} version=${version} onFilter=${(filter) => { list.show(filter); redraw(); }} />
      <main><${Table} list=${list} version=${version} selected=${selected} cursor=${cursor} onSelect=${select} onOpen=${setOpened} onSort=${(key) => { list.sortBy(key); redraw(); }} /></main>
      ${row && html`<${Details} row=${row} history=${history} version=${version} onClose=${() => setOpened(null)} onError=${fail} />`}
    </div>
    <footer class="bar-bottom"><span>${list.shown.length} of ${list.rows.size}${any ? `, ${selected.size} selected` : ''}</span>
      ${session && html`<span>↓ ${format.size(session.down_rate)}/s</span><span>↑ ${format.size(session.up_rate)}/s</span><span>${session.peers} peers</span><span>${session.dht_nodes} DHT nodes</span><span>${format.size(session.free_space)} free</span>`}
      ${settings && html`<button id="slow" aria-pressed=${settings.slow} class=${settings.slow ? 'on' : ''} onClick=${slow}>Slow mode</button>`}</footer>
    <div class="toasts" role="status">${toasts.map(({ id, text, action }) => html`<p key=${id}>${text}${action && html` <button class="undo" onClick=${action.run}>${action.name}</button>`}</p>`)}</div>
    ${dialog?.add && html`<${AddDialog} files=${dialog.add} links=${dialog.links} settings=${settings} categories=${names} onClose=${() => setDialog(null)} onError=${fail} onDone=${done} />`}
    ${dialog === 'remove' && html`<${RemoveDialog} rows=${chosen()} onClose=${() => setDialog(null)} onRemove=${remove} />`}
    ${dialog === 'edit' && html`<${EditDialog} rows=${chosen()} categories=${names} onClose=${() => setDialog(null)} onError=${fail} onDone=${done} />`}
    ${dialog === 'settings' && html`<${SettingsDialog} settings=${settings} onClose=${() => setDialog(null)} onError=${fail} onDone=${done} />`}
    ${dialog === 'feeds' && html`<${FeedsDialog} categories=${names} onClose=${() => setDialog(null)} onError=${fail} onAdd=${(link) => setDialog({ add: [], links: [link] })} />`}
    ${dialog === 'help' && html`<${Help} onClose=${() => setDialog(null)} />`}`;
}

function Help({ onClose }) {
  const keys = [['↑ ↓', 'move'], ['Shift ↑ ↓', 'select several'], ['Ctrl A', 'select all'], ['Space', 'start or stop'], ['Enter', 'details'], ['Del', 'remove'], ['a', 'add'], ['/', 'search'], ['Ctrl Z', 'undo'], ['Esc', 'close']];
  const box = useRef(null);
  useEffect(() => box.current.showModal(), []);
  return html`<dialog ref=${box} onCancel=${onClose} onClick=${onClose}><h2>Keys</h2><dl class="keys">${keys.map(([key, does]) => html`<dt><kbd>${key}</kbd></dt><dd>${does}</dd>`)}</dl></dialog>`;
}

render(html`<${App} />`, document.getElementById('app'));
