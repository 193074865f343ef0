// The list of torrents: what is known, what is shown of it, and in which order. No DOM.

export const STATES = ['downloading', 'seeding', 'metadata', 'checking', 'moving', 'queued', 'stopped', 'failed'];

export const COLUMNS = [
  { key: 'name', title: 'Name', sort: (row) => row.name.toLowerCase() },
  { key: 'size', title: 'Size', sort: (row) => row.size },
  { key: 'progress', title: 'Done', sort: (row) => row.progress },
  { key: 'state', title: 'State', sort: (row) => row.state },
  { key: 'down_rate', title: 'Down', sort: (row) => row.down_rate },
  { key: 'up_rate', title: 'Up', sort: (row) => row.up_rate },
  { key: 'eta', title: 'ETA', sort: (row) => row.eta ?? Infinity },
  { key: 'peers', title: 'Peers', sort: (row) => row.peers },
  { key: 'ratio', title: 'Ratio', sort: (row) => row.ratio ?? -1 },
  { key: 'category', title: 'Category', sort: (row) => row.category },
  { key: 'added', title: 'Added', sort: (row) => row.added },
];

function compare(a, b) {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

// Keeps rows by hash, and those that a filter shows in their order. A change moves only the rows
// that changed: the others keep their places.
export class TorrentList {
  constructor() {
    this.rows = new Map();
    this.shown = [];
    this.filter = { text: '', state: null, category: null, tag: null, tracker: null };
    this.column = 'added';
    this.descending = true;
    this.facets = emptyFacets();
  }

  hear(list) {
    if (list.full) {
      this.rows = new Map(list.torrents.map((row) => [row.hash, row]));
      this.facets = emptyFacets();
      for (const row of this.rows.values()) this.count(row, 1);
      this.arrange();
      return;
    }
    const changed = new Set(list.removed);
    for (const hash of list.removed) {
      const row = this.rows.get(hash);
      if (row) this.count(row, -1);
      this.rows.delete(hash);
    }
    for (const row of list.torrents) {
      const before = this.rows.get(row.hash);
      if (before) this.count(before, -1);
      this.count(row, 1);
      this.rows.set(row.hash, row);
      changed.add(row.hash);
    }
    if (changed.size === 0) return;
    const order = this.order();
    const stay = this.shown.filter((row) => !changed.has(row.hash));
    const come = list.torrents.filter((row) => this.passes(row)).sort(order);
    this.shown = merge(stay, come, order);
  }

  arrange() {
    this.shown = [...this.rows.values()].filter((row) => this.passes(row)).sort(this.order());
  }

  sortBy(column) {
    this.descending = this.column === column ? !this.descending : column !== 'name';
    this.column = column;
    this.arrange();
  }

  show(filter) {
    this.filter = { ...this.filter, ...filter };
    this.arrange();
  }

  order() {
    const key = COLUMNS.find((column) => column.key === this.column).sort;
    const sign = this.descending ? -1 : 1;
    // The info-hash decides between equals, so that rows do not jump.
    return (a, b) => sign * compare(key(a), key(b)) || compare(a.hash, b.hash);
  }

  passes(row) {
    const { text, state, category, tag, tracker } = this.filter;
    return (text === '' || row.name.toLowerCase().includes(text.toLowerCase()))
      && (state === null || isIn(state, row))
      && (category === null || row.category === category)
      && (tag === null || row.tags.includes(tag))
      && (tracker === null || row.tracker === tracker);
  }

  count(row, by) {
    const add = (facet, key) => {
      const sum = (facet.get(key) ?? 0) + by;
      if (sum > 0) facet.set(key, sum);
      else facet.delete(key);
    };
    add(this.facets.state, row.state);
    if (row.error || row.tracker_trouble) add(this.facets.state, 'trouble');
    if (row.down_rate + row.up_rate > 0) add(this.facets.state, 'active');
    add(this.facets.category, row.category);
    row.tags.forEach((tag) => add(this.facets.tag, tag));
    add(this.facets.tracker, row.tracker);
  }
}

function isIn(state, row) {
  if (state === 'trouble') return Boolean(row.error || row.tracker_trouble);
  if (state === 'active') return row.down_rate + row.up_rate > 0;
  return row.state === state;
}

function emptyFacets() {
  return { state: new Map(), category: new Map(), tag: new Map(), tracker: new Map() };
}

// Merges two ordered lists.
export function merge(a, b, order) {
  if (b.length === 0) return a;
  const all = new Array(a.length + b.length);
  let i = 0;
  let j = 0;
  for (let at = 0; at < all.length; at += 1) {
    const takeA = j >= b.length || (i < a.length && order(a[i], b[j]) <= 0);
    all[at] = takeA ? a[i] : b[j];
    if (takeA) i += 1;
    else j += 1;
  }
  return all;
}
