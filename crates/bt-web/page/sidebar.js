// Facets with counts: a click shows those torrents alone.

import { html } from './vendor/htm-preact.js';
import { STATES } from './torrents.js';

function Group({ title, facet, values, filter, name, onFilter }) {
  if (values.length === 0) return null;
  return html`<section><h2>${title}</h2><ul>
    ${values.map(({ value, label }) => html`<li key=${value}><button class=${filter[name] === value ? 'on' : ''} aria-pressed=${filter[name] === value}
      onClick=${() => onFilter({ [name]: filter[name] === value ? null : value })}>
      <span>${label}</span><span class="count">${facet.get(value) ?? 0}</span></button></li>`)}
  </ul></section>`;
}

export function Sidebar({ list, onFilter }) {
  const { facets, filter } = list;
  const states = [{ value: null, label: 'all' }, { value: 'active', label: 'active' }, ...STATES.map((value) => ({ value, label: value })), { value: 'trouble', label: 'trouble' }];
  const named = (facet, none) => [...facet.keys()].sort().map((value) => ({ value, label: value === '' ? none : value }));
  const counts = new Map(facets.state);
  counts.set(null, list.rows.size);
  return html`<nav class="sidebar" aria-label="Filters">
    <${Group} title="State" facet=${counts} values=${states.filter(({ value }) => value === null || counts.has(value) || filter.state === value)} filter=${filter} name="state" onFilter=${onFilter} />
    <${Group} title="Category" facet=${facets.category} values=${named(facets.category, 'none')} filter=${filter} name="category" onFilter=${onFilter} />
    <${Group} title="Tag" facet=${facets.tag} values=${named(facets.tag, '')} filter=${filter} name="tag" onFilter=${onFilter} />
    <${Group} title="Tracker" facet=${facets.tracker} values=${named(facets.tracker, 'none')} filter=${filter} name="tracker" onFilter=${onFilter} />
  </nav>`;
}
