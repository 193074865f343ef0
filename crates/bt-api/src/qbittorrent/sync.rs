//! `sync/maindata` and `sync/torrentPeers`: what changed since an answer that a caller has.
//!
//! Decides: what belongs into a delta.
//! Must not know: requests, cookies: a caller is a text.
//! Invariant: who adds up all deltas since a full answer has the full answer of now. A caller that
//! lost an answer and asks again gets the union of both deltas.

use super::preferences::server_state;
use super::rows::FIELDS;
use crate::details::Details;
use crate::state::DaemonState;
use crate::torrent::Torrent;
use bt_types::InfoHash;
use serde_json::{Map, Value, json};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

/// Most callers whose answers are remembered: the one that asked least lately starts anew.
const CALLERS_MAX: usize = 32;
/// `rid` begins at 1 again after this.
const RID_MAX: u64 = 1_000_000;

/// What callers of `sync` know.
#[derive(Debug, Default)]
pub struct SyncTable {
    main: Callers<Main>,
    peers: Callers<Peers>,
}

/// The answers that callers have, those that asked last at the end.
#[derive(Debug)]
struct Callers<T>(VecDeque<(String, Known<T>)>);

impl<T> Default for Callers<T> {
    fn default() -> Callers<T> {
        Callers(VecDeque::new())
    }
}

/// The answers of one caller.
#[derive(Debug)]
struct Known<T> {
    /// The last answer that it has shown to have, by its `rid`.
    accepted: Option<(u64, Arc<T>)>,
    /// The answer that it was sent last.
    sent: (u64, Arc<T>),
}

impl<T> Callers<T> {
    /// Returns the answer that a caller has, if it names one that we know, and the `rid` of the
    /// next one, which is remembered.
    fn next(&mut self, caller: &str, rid: u64, now: Arc<T>) -> (Option<Arc<T>>, u64) {
        let place = self.0.iter().position(|(name, _)| name == caller);
        let known = place.and_then(|place| self.0.remove(place)).map(|(_, known)| known);
        let last = known.as_ref().map_or(0, |known| known.sent.0);
        let next = if last >= RID_MAX { 1 } else { last + 1 };
        let accepted = known.and_then(|known| match known.accepted {
            _ if rid != 0 && known.sent.0 == rid => Some(known.sent),
            Some(accepted) if rid != 0 && accepted.0 == rid => Some(accepted),
            _ => None,
        });
        let before = accepted.as_ref().map(|(_, answer)| Arc::clone(answer));
        if self.0.len() >= CALLERS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((caller.to_owned(), Known { accepted, sent: (next, now) }));
        (before, next)
    }
}

/// What an answer of `maindata` said, as hashes where the values are long.
#[derive(Debug)]
struct Main {
    sequence: u64,
    torrents: BTreeMap<u64, (InfoHash, Arc<[u64]>)>,
    categories: Map<String, Value>,
    tags: BTreeSet<String>,
    /// The torrents of each tracker.
    trackers: Arc<BTreeMap<String, Vec<InfoHash>>>,
    server: Map<String, Value>,
}

/// What an answer of `torrentPeers` said.
#[derive(Debug)]
struct Peers {
    hash: InfoHash,
    peers: Map<String, Value>,
}

impl SyncTable {
    /// Returns `sync/maindata`.
    pub(super) fn maindata(&mut self, caller: &str, rid: u64, state: &DaemonState) -> Value {
        let last = self.main.0.iter().find(|(name, _)| name == caller);
        let last = last.map(|(_, known)| Arc::clone(&known.sent.1));
        let now = Arc::new(Main::of(state, last.as_deref()));
        let (before, rid) = self.main.next(caller, rid, Arc::clone(&now));
        let mut answer = match before {
            Some(before) => now.since(&before, state),
            None => now.full(state),
        };
        answer.insert("rid".into(), rid.into());
        answer.into()
    }

    /// Returns `sync/torrentPeers`.
    pub(super) fn peers(
        &mut self,
        caller: &str,
        rid: u64,
        torrent: &Torrent,
        details: Option<&Details>,
    ) -> Value {
        let peers = super::details::peers(torrent, details);
        let now = Arc::new(Peers { hash: torrent.hash, peers });
        let (before, rid) = self.peers.next(caller, rid, Arc::clone(&now));
        let before = before.filter(|before| before.hash == now.hash);
        let mut answer = json!({ "rid": rid, "show_flags": false });
        let Value::Object(object) = &mut answer else { return answer };
        let Some(before) = before else {
            object.insert("full_update".into(), true.into());
            object.insert("peers".into(), now.peers.clone().into());
            return answer;
        };
        let changed = changed_objects(&before.peers, &now.peers);
        let removed: Vec<&String> =
            before.peers.keys().filter(|peer| !now.peers.contains_key(*peer)).collect();
        insert_map(object, "peers", changed);
        if !removed.is_empty() {
            object.insert("peers_removed".into(), json!(removed));
        }
        answer
    }
}

impl Main {
    /// Takes what did not change since `last` from there.
    fn of(state: &DaemonState, last: Option<&Main>) -> Main {
        let server = server_state(state);
        let changed = last.and_then(|last| state.since(last.sequence));
        let (torrents, trackers) = match (last, changed) {
            (Some(last), Some((changed, removed))) => {
                let mut torrents = last.torrents.clone();
                removed.iter().for_each(|removed| drop(torrents.remove(&removed.number)));
                let lists = |torrent: &Torrent| torrent.trackers().concat();
                let mut is_moved = !removed.is_empty();
                for torrent in changed {
                    let hashes = hashes(torrent, state);
                    let old = torrents.insert(torrent.number, (torrent.hash, hashes));
                    let own = lists(torrent);
                    is_moved |= old.is_none() && !own.is_empty()
                        || !own.iter().all(|url| {
                            last.trackers.get(url).is_some_and(|all| all.contains(&torrent.hash))
                        })
                        || torrent.record.settings.trackers.is_some();
                }
                let trackers = if is_moved { trackers(state) } else { Arc::clone(&last.trackers) };
                (torrents, trackers)
            }
            _ => {
                let one = |torrent: &Arc<Torrent>| {
                    (torrent.number, (torrent.hash, hashes(torrent, state)))
                };
                (state.torrents().map(one).collect(), trackers(state))
            }
        };
        let tags = state.tags.clone();
        let categories = categories(state);
        Main { sequence: state.sequence(), torrents, categories, tags, trackers, server }
    }

    fn full(&self, state: &DaemonState) -> Map<String, Value> {
        let rows = state.torrents().map(|torrent| {
            let row = FIELDS.iter().map(|(name, make)| ((*name).to_owned(), make(torrent, state)));
            (torrent.hash.to_string(), row.collect::<Map<_, _>>().into())
        });
        let mut answer = Map::new();
        answer.insert("full_update".into(), true.into());
        answer.insert("torrents".into(), rows.collect::<Map<_, _>>().into());
        answer.insert("categories".into(), self.categories.clone().into());
        answer.insert("tags".into(), json!(self.tags));
        answer.insert("trackers".into(), tracker_map(self.trackers.iter()).into());
        answer.insert("server_state".into(), self.server.clone().into());
        answer
    }

    fn since(&self, before: &Main, state: &DaemonState) -> Map<String, Value> {
        let mut answer = Map::new();
        let (mut changed, mut removed) = (Map::new(), Vec::new());
        if self.sequence != before.sequence {
            for (number, (hash, hashes)) in &self.torrents {
                let old = before.torrents.get(number).map(|(_, hashes)| hashes);
                if old.is_some_and(|old| Arc::ptr_eq(old, hashes)) {
                    continue;
                }
                let Some(torrent) = state.torrent(*hash) else { continue };
                let fields = FIELDS.iter().zip(hashes.iter()).enumerate();
                let is_new = |at: usize, hash: u64| {
                    old.is_none_or(|old| old.get(at).is_none_or(|old| *old != hash))
                };
                let row: Map<String, Value> = fields
                    .filter(|(at, (_, hash))| is_new(*at, **hash))
                    .map(|(_, ((name, make), _))| ((*name).to_owned(), make(torrent, state)))
                    .collect();
                insert_map(&mut changed, &hash.to_string(), row);
            }
            let gone =
                before.torrents.iter().filter(|(number, _)| !self.torrents.contains_key(number));
            // One that was added again is in the list above, and callers remove last.
            let gone = gone.filter(|(_, (hash, _))| state.torrent(*hash).is_none());
            removed.extend(gone.map(|(_, (hash, _))| Value::from(hash.to_string())));
        }
        insert_map(&mut answer, "torrents", changed);
        insert_list(&mut answer, "torrents_removed", removed);
        insert_map(&mut answer, "categories", changed_values(&before.categories, &self.categories));
        let gone = before.categories.keys().filter(|name| !self.categories.contains_key(*name));
        insert_list(&mut answer, "categories_removed", gone.cloned().map(Value::from).collect());
        let new = self.tags.difference(&before.tags).cloned().map(Value::from);
        insert_list(&mut answer, "tags", new.collect());
        let gone = before.tags.difference(&self.tags).cloned().map(Value::from);
        insert_list(&mut answer, "tags_removed", gone.collect());
        if !Arc::ptr_eq(&before.trackers, &self.trackers) {
            let new =
                self.trackers.iter().filter(|(url, all)| before.trackers.get(*url) != Some(*all));
            insert_map(&mut answer, "trackers", tracker_map(new));
            let gone = before.trackers.keys().filter(|url| !self.trackers.contains_key(*url));
            insert_list(&mut answer, "trackers_removed", gone.cloned().map(Value::from).collect());
        }
        insert_map(&mut answer, "server_state", changed_values(&before.server, &self.server));
        answer
    }
}

fn hashes(torrent: &Torrent, state: &DaemonState) -> Arc<[u64]> {
    let hash = |value: Value| {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    };
    FIELDS.iter().map(|(_, make)| hash(make(torrent, state))).collect()
}

fn trackers(state: &DaemonState) -> Arc<BTreeMap<String, Vec<InfoHash>>> {
    let mut all: BTreeMap<String, Vec<InfoHash>> = BTreeMap::new();
    for torrent in state.torrents() {
        for url in torrent.trackers().concat() {
            all.entry(url).or_default().push(torrent.hash);
        }
    }
    Arc::new(all)
}

fn tracker_map<'a>(
    trackers: impl Iterator<Item = (&'a String, &'a Vec<InfoHash>)>,
) -> Map<String, Value> {
    let hashes = |all: &Vec<InfoHash>| all.iter().map(InfoHash::to_string).collect::<Value>();
    trackers.map(|(url, all)| (url.clone(), hashes(all))).collect()
}

/// Returns the categories.
pub(super) fn categories(state: &DaemonState) -> Map<String, Value> {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_deref().map(super::rows::path).unwrap_or_default()
    };
    let row = |(name, category): (&String, &crate::settings::Category)| {
        let row = json!({
            "name": name,
            "savePath": path(&category.dir),
            "download_path": match &category.incomplete_dir {
                Some(dir) => Value::from(super::rows::path(dir)),
                None => Value::Null,
            },
        });
        (name.clone(), row)
    };
    state.categories.iter().map(row).collect()
}

/// Returns the entries of a map that are new or other than before.
fn changed_values(before: &Map<String, Value>, now: &Map<String, Value>) -> Map<String, Value> {
    let is_new = |(key, value): &(&String, &Value)| before.get(*key) != Some(*value);
    now.iter().filter(is_new).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns of each object in a map the entries that are new or other than before.
fn changed_objects(before: &Map<String, Value>, now: &Map<String, Value>) -> Map<String, Value> {
    let mut changed = Map::new();
    for (key, value) in now {
        match (before.get(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                insert_map(&mut changed, key, changed_values(old, new));
            }
            _ => drop(changed.insert(key.clone(), value.clone())),
        }
    }
    changed
}

fn insert_map(object: &mut Map<String, Value>, key: &str, value: Map<String, Value>) {
    if !value.is_empty() {
        object.insert(key.into(), value.into());
    }
}

fn insert_list(object: &mut Map<String, Value>, key: &str, value: Vec<Value>) {
    if !value.is_empty() {
        object.insert(key.into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::Record;

    fn hash(n: u8) -> InfoHash {
        InfoHash([n; 20])
    }

    fn state() -> DaemonState {
        let mut state = DaemonState::default();
        for n in 1..=2 {
            let mut record = Record { name: Some(format!("t{n}")), ..Record::default() };
            record.settings.trackers = Some(vec![vec!["http://a.example/announce".into()]]);
            state.add(hash(n), record, None);
        }
        state
    }

    #[test]
    fn a_caller_gets_all_first_and_then_what_changed() {
        let (mut state, mut table) = (state(), SyncTable::default());
        let full = table.maindata("me", 0, &state);
        assert_eq!((&full["rid"], &full["full_update"]), (&1.into(), &true.into()));
        assert_eq!(full["torrents"].as_object().expect("torrents").len(), 2);
        assert_eq!(table.maindata("me", 1, &state), json!({"rid": 2}), "nothing happened");
        state.change(hash(1), |torrent| torrent.record.name = Some("new".into()));
        let delta = table.maindata("me", 2, &state);
        let name = json!({"name": "new", "content_path": "/new"});
        assert_eq!(delta, json!({"rid": 3, "torrents": {"01".repeat(20): name}}));
        state.remove(hash(2));
        state.tags.insert("x".into());
        let delta = table.maindata("me", 3, &state);
        assert_eq!(delta["torrents_removed"], json!(["02".repeat(20)]));
        assert_eq!(delta["tags"], json!(["x"]));
        assert_eq!(delta["trackers"]["http://a.example/announce"], json!(["01".repeat(20)]));
        assert!(table.maindata("you", 4, &state).get("full_update").is_some());
        assert!(table.maindata("me", 77, &state).get("full_update").is_some());
    }

    #[test]
    fn a_torrent_that_was_added_again_is_new_and_not_gone() {
        let (mut state, mut table) = (state(), SyncTable::default());
        table.maindata("me", 0, &state);
        state.remove(hash(2));
        state.add(hash(2), Record::default(), None);
        let delta = table.maindata("me", 1, &state);
        assert_eq!(delta["torrents_removed"], Value::Null);
        assert!(delta["torrents"]["02".repeat(20)]["save_path"].is_string(), "{delta}");
    }

    #[test]
    fn a_lost_answer_is_in_the_next_one() {
        let (mut state, mut table) = (state(), SyncTable::default());
        table.maindata("me", 0, &state);
        state.change(hash(1), |torrent| torrent.record.labels.category = "tv".into());
        assert_eq!(table.maindata("me", 1, &state)["rid"], 2);
        state.change(hash(2), |torrent| torrent.record.labels.category = "film".into());
        let again = table.maindata("me", 1, &state);
        assert_eq!(again["rid"], 3);
        assert_eq!(again["torrents"]["01".repeat(20)], json!({"category": "tv"}));
        assert_eq!(again["torrents"]["02".repeat(20)], json!({"category": "film"}));
    }

    #[test]
    fn callers_are_bounded() {
        let (state, mut table) = (state(), SyncTable::default());
        for n in 0..CALLERS_MAX + 5 {
            table.maindata(&n.to_string(), 0, &state);
        }
        assert_eq!(table.main.0.len(), CALLERS_MAX);
        assert!(table.maindata("0", 1, &state).get("full_update").is_some());
    }
}
