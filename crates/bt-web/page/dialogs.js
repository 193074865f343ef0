// Dialogs: log in, add, remove, limits and categories of torrents, settings.

import { html, useEffect, useRef, useState } from './vendor/htm-preact.js';
import * as api from './api.js';
import * as format from './format.js';
import { describe } from './metainfo.js';
import { Level, tree } from './details.js';

function Dialog({ title, onClose, onSubmit, submit, children, danger }) {
  const box = useRef(null);
  useEffect(() => {
    box.current.showModal();
    const dialog = box.current;
    return () => dialog.close();
  }, []);
  return html`<dialog ref=${box} onCancel=${(event) => { event.preventDefault(); onClose(); }} aria-label=${title}>
    <form method="dialog" onSubmit=${(event) => { event.preventDefault(); onSubmit(); }}><h2>${title}</h2>${children}
      <footer><button type="button" onClick=${onClose}>Cancel</button><button type="submit" class=${danger ? 'danger' : 'primary'}>${submit}</button></footer></form></dialog>`;
}

export function Login({ onDone }) {
  const [user, setUser] = useState('bt');
  const [password, setPassword] = useState('');
  const [error, setError] = useState(null);
  const send = async (event) => {
    event.preventDefault();
    try {
      await api.post('login', { user, password });
      onDone();
    } catch (caught) {
      setError(caught.message);
    }
  };
  return html`<main class="login"><form onSubmit=${send}><h1>bt</h1>
    <label>Name<input name="user" autocomplete="username" value=${user} onInput=${(event) => setUser(event.target.value)} /></label>
    <label>Password<input name="password" type="password" autocomplete="current-password" autofocus value=${password} onInput=${(event) => setPassword(event.target.value)} /></label>
    ${error && html`<p class="error" role="alert">${error}</p>`}<button class="primary">Log in</button></form></main>`;
}

export function AddDialog({ files, links, settings, categories, onClose, onError, onDone }) {
  const [text, setText] = useState(links.join('\n'));
  const [chosen, setChosen] = useState([]);
  const [dir, setDir] = useState('');
  const [category, setCategory] = useState('');
  const [start, setStart] = useState(settings?.start_added ?? true);
  const [isBusy, setBusy] = useState(false);
  const take = async (list) => {
    const read = await Promise.all([...list].map(async (file) => {
      const about = describe(new Uint8Array(await file.arrayBuffer()));
      return { file, about, skipped: new Set() };
    }));
    setChosen((now) => [...now, ...read]);
  };
  useEffect(() => { take(files); }, []);
  const submit = async () => {
    if (isBusy) return;
    setBusy(true);
    const common = { start, dir: dir.trim() === '' ? null : dir.trim() };
    const label = category.trim() === '' ? {} : { category: category.trim() };
    try {
      for (const { file, skipped } of chosen) {
        const form = new FormData();
        const settings = { ...label, files: [...skipped].map((number) => [number, 'skip']) };
        form.append('request', JSON.stringify({ ...common, settings }));
        form.append('file', file, 'file.torrent');
        await api.post('torrents', form);
      }
      for (const source of text.split('\n').map((line) => line.trim()).filter(Boolean)) {
        await api.post('torrents', { ...common, source, settings: label });
      }
      onDone();
    } catch (error) {
      setBusy(false);
      onError(error);
    }
  };
  const set = (at) => (some, priority) => setChosen(chosen.map((entry, other) => {
    if (other !== at) return entry;
    const skipped = new Set(entry.skipped);
    some.forEach((file) => (priority === 'skip' ? skipped.add(file.number) : skipped.delete(file.number)));
    return { ...entry, skipped };
  }));
  return html`<${Dialog} title="Add torrents" submit="Add" onClose=${onClose} onSubmit=${submit}>
    <label>Magnet links, URLs or info-hashes, one a line<textarea id="links" rows="3" value=${text} onInput=${(event) => setText(event.target.value)}></textarea></label>
    <label>Torrent files<input id="file" type="file" accept=".torrent,application/x-bittorrent" multiple onChange=${(event) => take(event.target.files)} /></label>
    ${chosen.map(({ file, about, skipped }, at) => html`<fieldset key=${at}><legend>${about?.name ?? file.name}</legend>
      ${about ? html`<div class="choice"><${Level} dir=${tree(about.files.map((entry) => ({ ...entry, priority: skipped.has(entry.number) ? 'skip' : 'normal' })))} onSet=${set(at)} /></div>` : html`<p>${format.size(file.size)}</p>`}</fieldset>`)}
    <label>Directory<input value=${dir} placeholder=${settings?.dir ?? ''} onInput=${(event) => setDir(event.target.value)} /></label>
    <label>Category<input value=${category} list="categories" onInput=${(event) => setCategory(event.target.value)} /></label>
    <datalist id="categories">${categories.map((name) => html`<option value=${name} />`)}</datalist>
    <label class="check"><input type="checkbox" checked=${start} onChange=${(event) => setStart(event.target.checked)} />Start at once</label>
  <//>`;
}

export function RemoveDialog({ rows, onClose, onRemove }) {
  const [withData, setWithData] = useState(false);
  return html`<${Dialog} title=${rows.length === 1 ? 'Remove the torrent' : `Remove ${rows.length} torrents`} danger submit=${withData ? 'Delete' : 'Remove'} onClose=${onClose} onSubmit=${() => onRemove(withData)}>
    <ul class="names">${rows.slice(0, 8).map((row) => html`<li>${row.name}</li>`)}${rows.length > 8 && html`<li>and ${rows.length - 8} more</li>`}</ul>
    <label class="check"><input id="with-data" type="checkbox" checked=${withData} onChange=${(event) => setWithData(event.target.checked)} />Delete the data, too</label>
    ${withData ? html`<p class="error">The data is deleted at once. This cannot be undone.</p>` : html`<p>The data stays. This can be undone.</p>`}
  <//>`;
}

function RateInput({ label, value, onChange }) {
  const [text, setText] = useState(value === null || value === undefined ? '' : format.size(value));
  const parsed = format.parseRate(text);
  return html`<label>${label}<input value=${text} placeholder="no limit" aria-invalid=${parsed === undefined}
    onInput=${(event) => { setText(event.target.value); const rate = format.parseRate(event.target.value); if (rate !== undefined) onChange(rate); }} /></label>`;
}

export function EditDialog({ rows, categories, onClose, onError, onDone }) {
  const [first] = rows;
  const [change, setChange] = useState({});
  const put = (key) => (value) => setChange({ ...change, [key]: value });
  const [tags, setTags] = useState(first.tags.join(', '));
  const [dir, setDir] = useState(first.dir);
  const submit = async () => {
    const wanted = { ...change };
    const list = tags.split(',').map((tag) => tag.trim()).filter(Boolean);
    if (list.join() !== first.tags.join()) wanted.tags = list;
    try {
      for (const row of rows) {
        if (Object.keys(wanted).length > 0) await api.patch(`torrents/${row.hash}`, wanted);
        if (dir.trim() !== first.dir) await api.post(`torrents/${row.hash}/actions`, { move: { dir: dir.trim() } });
      }
      onDone();
    } catch (error) {
      onError(error);
    }
  };
  return html`<${Dialog} title=${rows.length === 1 ? first.name : `${rows.length} torrents`} submit="Save" onClose=${onClose} onSubmit=${submit}>
    <${RateInput} label="Limit from peers, as 2 MiB" value=${first.down_limit} onChange=${put('down_limit')} />
    <${RateInput} label="Limit to peers" value=${first.up_limit} onChange=${put('up_limit')} />
    <label>Category<input list="all-categories" value=${change.category ?? first.category} onInput=${(event) => put('category')(event.target.value)} /></label>
    <datalist id="all-categories">${categories.map((name) => html`<option value=${name} />`)}</datalist>
    <label>Tags, with commas between them<input value=${tags} onInput=${(event) => setTags(event.target.value)} /></label>
    <label>Directory: the data moves there<input value=${dir} onInput=${(event) => setDir(event.target.value)} /></label>
    <label class="check"><input type="checkbox" checked=${(change.order ?? first.order) === 'sequential'} onChange=${(event) => put('order')(event.target.checked ? 'sequential' : 'rarest_first')} />Download in order</label>
    <label class="check"><input type="checkbox" checked=${change.forced ?? first.forced} onChange=${(event) => put('forced')(event.target.checked)} />Run whatever the queue says</label>
  <//>`;
}

function NumberInput({ label, value, onChange }) {
  return html`<label>${label}<input type="number" min="0" step="any" value=${value ?? ''} placeholder="no limit" onInput=${(event) => onChange(event.target.value === '' ? null : Number(event.target.value))} /></label>`;
}

// What differs: settings that the configuration holds are not to be set by a person who changed others.
function changes(before, after) {
  const differs = Object.keys(after).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
  const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);
  return Object.fromEntries(differs.map((key) => [key, isObject(before[key]) && isObject(after[key]) ? changes(before[key], after[key]) : after[key]]));
}

export function SettingsDialog({ settings, onClose, onError, onDone }) {
  const [wanted, setWanted] = useState(settings);
  const put = (path, value) => setWanted((now) => {
    const next = structuredClone(now);
    const keys = path.split('.');
    const last = keys.pop();
    keys.reduce((object, key) => object[key], next)[last] = value;
    return next;
  });
  const submit = async () => {
    try {
      await api.patch('settings', changes(settings, wanted));
      onDone();
    } catch (error) {
      onError(error);
    }
  };
  const flag = (label, path, value) => html`<label class="check"><input type="checkbox" checked=${value} onChange=${(event) => put(path, event.target.checked)} />${label}</label>`;
  const { session, queue } = wanted;
  const seeds = wanted.seed_limits;
  return html`<${Dialog} title="Settings" submit="Save" onClose=${onClose} onSubmit=${submit}>
    <fieldset><legend>Downloads</legend><label>Directory<input value=${wanted.dir} onInput=${(event) => put('dir', event.target.value)} /></label>
      <label>Directory of incomplete data<input value=${wanted.incomplete_dir ?? ''} placeholder="where it belongs" onInput=${(event) => put('incomplete_dir', event.target.value === '' ? null : event.target.value)} /></label>
      ${flag('New torrents start at once', 'start_added', wanted.start_added)}</fieldset>
    <fieldset><legend>Speed</legend><${RateInput} label="From peers, as 2 MiB" value=${session.limits.down} onChange=${(rate) => put('session.limits.down', rate)} />
      <${RateInput} label="To peers" value=${session.limits.up} onChange=${(rate) => put('session.limits.up', rate)} />
      <${RateInput} label="From peers, slow mode" value=${wanted.slow_limits.down} onChange=${(rate) => put('slow_limits.down', rate)} />
      <${RateInput} label="To peers, slow mode" value=${wanted.slow_limits.up} onChange=${(rate) => put('slow_limits.up', rate)} /></fieldset>
    <fieldset><legend>Queue</legend><${NumberInput} label="Downloads at once" value=${queue.downloads} onChange=${(n) => put('queue.downloads', n)} />
      <${NumberInput} label="Seeds at once" value=${queue.seeds} onChange=${(n) => put('queue.seeds', n)} />
      <${NumberInput} label="Both together" value=${queue.total} onChange=${(n) => put('queue.total', n)} /></fieldset>
    <fieldset><legend>Seeding ends</legend><${NumberInput} label="At the ratio" value=${seeds.ratio} onChange=${(n) => put('seed_limits.ratio', n)} />
      <${NumberInput} label="After minutes" value=${seeds.minutes} onChange=${(n) => put('seed_limits.minutes', n)} />
      <${NumberInput} label="After minutes without a request" value=${seeds.idle_minutes} onChange=${(n) => put('seed_limits.idle_minutes', n)} /></fieldset>
    <fieldset><legend>Feeds</legend>${flag('Fetch feeds', 'rss.enabled', wanted.rss.enabled)}${flag('Add what rules want', 'rss.auto_add', wanted.rss.auto_add)}
      <${NumberInput} label="Minutes between two fetches" value=${wanted.rss.refresh_minutes} onChange=${(n) => put('rss.refresh_minutes', Math.max(5, Math.round(n ?? 30)))} /></fieldset>
    <fieldset><legend>Peers</legend><${NumberInput} label="Connections at most" value=${session.connections_max} onChange=${(n) => put('session.connections_max', n)} />
      <${NumberInput} label="Of one torrent" value=${session.peers_max} onChange=${(n) => put('session.peers_max', n)} />
      ${flag('Find peers by the DHT', 'session.dht', session.dht)}${flag('Find peers on the local network', 'session.lsd', session.lsd)}${flag('Exchange peers with peers', 'session.pex', session.pex)}</fieldset>
  <//>`;
}
