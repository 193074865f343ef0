// Feeds: their articles, and the rules by which torrents are added.

import { html, useEffect, useRef, useState } from './vendor/htm-preact.js';
import * as api from './api.js';

const EMPTY = { enabled: true, mustContain: '', mustNotContain: '', useRegex: false, episodeFilter: '', smartFilter: false, affectedFeeds: [], assignedCategory: '', savePath: '', addPaused: null };

export function FeedsDialog({ categories, onClose, onError, onAdd }) {
  const box = useRef(null);
  const [rss, setRss] = useState(null);
  const [open, setOpen] = useState(null);
  const [rule, setRule] = useState(null);
  const [url, setUrl] = useState('');
  useEffect(() => {
    box.current.showModal();
    api.get('rss').then(setRss, onError);
    const timer = setInterval(() => api.get('rss').then(setRss, onError), 5000);
    return () => clearInterval(timer);
  }, []);
  const act = (change) => api.post('rss', change).then((now) => { setRss(now); return true; }, onError);
  const add = async (event) => {
    event.preventDefault();
    if (await act({ do: 'add_feed', url: url.trim() })) setUrl('');
  };
  const feeds = Object.entries(rss?.feeds ?? {});
  return html`<dialog ref=${box} class="feeds" onCancel=${(event) => { event.preventDefault(); onClose(); }} aria-label="Feeds">
    <h2>Feeds</h2>
    <form class="row" onSubmit=${add}><input id="feed-url" aria-label="URL of a feed" placeholder="the URL of a feed" value=${url} onInput=${(event) => setUrl(event.target.value)} /><button class="primary">Add feed</button></form>
    ${rss && feeds.length === 0 && html`<p>There is no feed yet.</p>`}
    ${feeds.map(([path, feed]) => html`<section key=${feed.uid} class="feed">
      <header><button class="plain" aria-expanded=${open === path} onClick=${() => setOpen(open === path ? null : path)}>${feed.title || path}</button>
        <span>${feed.articles.filter((article) => !article.isRead).length} new of ${feed.articles.length}</span>
        <button onClick=${() => act({ do: 'refresh', path })}>Fetch</button><button onClick=${() => act({ do: 'remove', path })}>Remove</button></header>
      ${feed.trouble && html`<p class="error">${feed.trouble}</p>`}
      ${open === path && html`<ul class="articles">${feed.articles.map((article) => html`<li key=${article.id} class=${article.isRead ? 'read' : ''}><span>${article.title}</span>
        <button disabled=${article.torrentURL === ''} onClick=${() => { act({ do: 'mark_read', path, article: article.id }); onAdd(article.torrentURL); }}>Add…</button></li>`)}</ul>`}
    </section>`)}
    <h3>Rules</h3>
    ${Object.entries(rss?.rules ?? {}).map(([name, its]) => html`<section key=${name} class="feed"><header><span>${name}${its.enabled ? '' : ' (off)'}</span><span>${its.mustContain}</span>
      <button onClick=${() => setRule({ ...EMPTY, ...its, name, old: name })}>Edit</button><button onClick=${() => act({ do: 'remove_rule', name })}>Remove</button></header></section>`)}
    ${rule === null ? html`<button id="new-rule" disabled=${feeds.length === 0} onClick=${() => setRule({ ...EMPTY, name: '', affectedFeeds: feeds.map(([, feed]) => feed.url) })}>New rule</button>`
      : html`<${RuleForm} rule=${rule} feeds=${feeds} categories=${categories} onCancel=${() => setRule(null)} onSave=${async ({ name, old, ...its }) => {
        if (old && old !== name && !(await act({ do: 'rename_rule', name: old, to: name }))) return;
        if (await act({ do: 'set_rule', name, rule: its })) setRule(null);
      }} />`}
    <footer><button type="button" onClick=${onClose}>Close</button></footer>
  </dialog>`;
}

function RuleForm({ rule, feeds, categories, onCancel, onSave }) {
  const [wanted, setWanted] = useState(rule);
  const text = (key, label, hint) => html`<label>${label}<input name=${key} value=${wanted[key]} placeholder=${hint} onInput=${(event) => setWanted({ ...wanted, [key]: event.target.value })} /></label>`;
  const flag = (key, label) => html`<label class="check"><input type="checkbox" checked=${wanted[key]} onChange=${(event) => setWanted({ ...wanted, [key]: event.target.checked })} />${label}</label>`;
  const toggle = (url) => setWanted({ ...wanted, affectedFeeds: wanted.affectedFeeds.includes(url) ? wanted.affectedFeeds.filter((other) => other !== url) : [...wanted.affectedFeeds, url] });
  return html`<form class="rule" onSubmit=${(event) => { event.preventDefault(); onSave(wanted); }}>
    ${text('name', 'Name', 'show')}${text('mustContain', 'The title has', 'words, with * and ?; | between alternatives')}${text('mustNotContain', 'and has not', '')}
    ${text('episodeFilter', 'Episodes', 'as 1x2;8-15;20-;')}${flag('smartFilter', 'Each episode once')}${flag('useRegex', 'These are regular expressions')}${flag('enabled', 'The rule is used')}
    <label>Category<input list="rule-categories" value=${wanted.assignedCategory} onInput=${(event) => setWanted({ ...wanted, assignedCategory: event.target.value })} /></label>
    <datalist id="rule-categories">${categories.map((name) => html`<option value=${name} />`)}</datalist>
    ${text('savePath', 'Directory', 'as the category says')}
    <fieldset><legend>Of these feeds</legend>${feeds.map(([path, feed]) => html`<label class="check"><input type="checkbox" checked=${wanted.affectedFeeds.includes(feed.url)} onChange=${() => toggle(feed.url)} />${feed.title || path}</label>`)}</fieldset>
    <footer><button type="button" onClick=${onCancel}>Cancel</button><button class="primary" type="submit">Save rule</button></footer></form>`;
}
