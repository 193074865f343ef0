//! All that the daemon knows, at one moment.
//!
//! Decides: the sequence of changes.
//! Must not know: dialects, sessions, stores.
//! Invariant: each change of a torrent has a higher number in the sequence than all before it, so
//! that who knows number N asks for what changed since.

use crate::creation::Creation;
use crate::rss::Rss;
use crate::seed_limits::GlobalSeedLimits;
use crate::settings::{Category, DaemonSettings};
use crate::torrent::{Record, Torrent};
use bt_metainfo::Metainfo;
use bt_model::SessionView;
use bt_types::InfoHash;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// Most removals that are remembered. Who asks for changes since before the oldest gets all.
const REMOVED_MAX: usize = 4096;

/// All that the daemon knows, at one moment.
#[derive(Clone, Debug, Default)]
pub struct DaemonState {
    torrents: BTreeMap<u64, Arc<Torrent>>,
    numbers: HashMap<InfoHash, u64>,
    removed: VecDeque<Removed>,
    /// The sequence number up to which removals are forgotten.
    forgotten: u64,
    sequence: u64,
    last_number: u64,
    /// What the user wants of the daemon.
    pub settings: DaemonSettings,
    /// Categories by name.
    pub categories: BTreeMap<String, Category>,
    /// Tags, those that no torrent has included.
    pub tags: BTreeSet<String>,
    /// Feeds and their rules.
    pub rss: Rss,
    /// Torrents that are made, the oldest first.
    pub creations: Vec<Creation>,
    /// Seconds since 1970.
    pub now: u64,
    /// When the daemon started, in seconds since 1970.
    pub started: u64,
    /// What is known of the session.
    pub session: SessionView,
    /// The ranges of the blocklist that was fetched.
    pub blocklist_ranges: usize,
    /// Bytes free where data goes by default.
    pub free_space: Option<u64>,
    /// Payload bytes of all runs but the present one: up, down.
    pub earlier: (u64, u64),
}

/// Returns whether a name can be a category's: a relative path below the default directory,
/// without `.` and `..`, of at most 255 bytes.
pub fn is_category(name: &str) -> bool {
    name.len() <= 255
        && !name.contains(|c: char| c == '\\' || c.is_control())
        && name.split('/').all(|part| !["", ".", ".."].contains(&part.trim()))
}

/// Returns whether a text can be a tag: without a comma, and of at most 255 bytes.
pub fn is_tag(tag: &str) -> bool {
    !tag.trim().is_empty()
        && tag.len() <= 255
        && !tag.contains(|c: char| c == ',' || c.is_control())
}

/// A torrent that was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Removed {
    /// The number of the removal in the sequence of changes.
    pub sequence: u64,
    /// The torrent's number.
    pub number: u64,
    /// Its info-hash.
    pub hash: InfoHash,
    /// When, in seconds since 1970.
    pub at: u64,
}

impl DaemonState {
    /// Begins the sequence of a run that starts now, in seconds since 1970, beyond the numbers of
    /// earlier runs: a run makes fewer than a million changes a second. Who names a number of an
    /// earlier run starts anew. The numbers stay below 2^53, which JavaScript can count.
    pub fn begin(&mut self, now: u64) {
        self.sequence = now.saturating_mul(1 << 20);
        self.forgotten = self.sequence;
    }

    /// Returns the torrents by number.
    pub fn torrents(&self) -> impl DoubleEndedIterator<Item = &Arc<Torrent>> + Clone {
        self.torrents.values()
    }

    /// Returns how many torrents there are.
    pub fn len(&self) -> usize {
        self.torrents.len()
    }

    /// Returns whether there is no torrent.
    pub fn is_empty(&self) -> bool {
        self.torrents.is_empty()
    }

    /// Returns the torrent with this info-hash.
    pub fn torrent(&self, hash: InfoHash) -> Option<&Arc<Torrent>> {
        self.by_number(*self.numbers.get(&hash)?)
    }

    /// Returns the torrent with this number.
    pub fn by_number(&self, number: u64) -> Option<&Arc<Torrent>> {
        self.torrents.get(&number)
    }

    /// Returns the number of the last change.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the torrents that changed after this number, and those that were removed; `None` if
    /// that is no longer known, or the number is not of this process: who asked starts anew.
    pub fn since(&self, sequence: u64) -> Option<(Vec<&Arc<Torrent>>, Vec<Removed>)> {
        if sequence < self.forgotten || sequence > self.sequence {
            return None;
        }
        let changed = self.torrents.values().filter(|torrent| torrent.changed > sequence).collect();
        let removed = self.removed.iter().filter(|removed| removed.sequence > sequence);
        Some((changed, removed.copied().collect()))
    }

    /// Returns the removals that are remembered, the oldest first.
    pub fn removed(&self) -> impl Iterator<Item = &Removed> {
        self.removed.iter()
    }

    /// Adds a torrent, and returns its number; that of the torrent that is there if its info-hash
    /// is known.
    pub fn add(&mut self, hash: InfoHash, record: Record, metainfo: Option<Arc<Metainfo>>) -> u64 {
        if let Some(number) = self.numbers.get(&hash) {
            return *number;
        }
        self.last_number += 1;
        let number = self.last_number;
        let live = crate::torrent::Live::default();
        let torrent = Torrent { number, hash, record, metainfo, live, changed: self.next() };
        self.numbers.insert(hash, number);
        self.torrents.insert(number, Arc::new(torrent));
        number
    }

    /// Changes a torrent. One that stays as it was has not changed.
    pub fn change(&mut self, hash: InfoHash, change: impl FnOnce(&mut Torrent)) {
        let Some(torrent) = self.numbers.get(&hash).and_then(|n| self.torrents.get_mut(n)) else {
            return;
        };
        self.sequence += 1;
        let torrent = Arc::make_mut(torrent);
        change(torrent);
        torrent.changed = self.sequence;
    }

    /// Removes a torrent, and returns it.
    pub fn remove(&mut self, hash: InfoHash) -> Option<Arc<Torrent>> {
        let number = self.numbers.remove(&hash)?;
        let torrent = self.torrents.remove(&number)?;
        let removed = Removed { sequence: self.next(), number, hash, at: self.now };
        self.removed.push_back(removed);
        if self.removed.len() > REMOVED_MAX
            && let Some(oldest) = self.removed.pop_front()
        {
            self.forgotten = oldest.sequence;
        }
        Some(torrent)
    }

    /// Returns the seed limits that hold for a torrent: its own, or those of its category, or those
    /// of all torrents.
    pub fn seed_limits(&self, torrent: &Torrent) -> GlobalSeedLimits {
        let category = self.categories.get(&torrent.record.labels.category);
        let of_category = category.map(|category| category.seed_limits).unwrap_or_default();
        torrent.record.seed_limits.over(&of_category.over(&self.settings.seed_limits))
    }

    /// Returns the directory of a category: its own, or below the default directory by its name.
    /// The default directory for no category.
    pub fn dir_of(&self, category: &str) -> PathBuf {
        if category.is_empty() {
            return self.settings.dir.clone();
        }
        let own = self.categories.get(category).and_then(|category| category.dir.clone());
        let below = if is_category(category) { category } else { "" };
        own.unwrap_or_else(|| self.settings.dir.join(below))
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> InfoHash {
        InfoHash([n; 20])
    }

    fn changed(state: &DaemonState, since: u64) -> Option<(Vec<u64>, Vec<u64>)> {
        let (changed, removed) = state.since(since)?;
        let changed = changed.iter().map(|torrent| torrent.number).collect();
        Some((changed, removed.iter().map(|removed| removed.number).collect()))
    }

    #[test]
    fn who_knows_a_number_of_the_sequence_hears_what_changed_since() {
        let mut state = DaemonState::default();
        for n in 1..=3 {
            assert_eq!(state.add(hash(n), Record::default(), None), u64::from(n));
        }
        assert_eq!(state.add(hash(2), Record::default(), None), 2, "it is there already");
        let seen = state.sequence();
        assert_eq!(changed(&state, seen), Some((vec![], vec![])));
        state.change(hash(2), |torrent| torrent.record.name = Some("two".into()));
        state.remove(hash(3));
        assert_eq!(changed(&state, seen), Some((vec![2], vec![3])));
        assert_eq!(changed(&state, 0), Some((vec![1, 2], vec![3])));
        assert_eq!(changed(&state, state.sequence() + 1), None, "a number of another process");
        assert_eq!(state.add(hash(3), Record::default(), None), 4, "no number is given twice");
    }

    #[test]
    fn a_removal_that_is_forgotten_makes_who_missed_it_start_anew() {
        let mut state = DaemonState::default();
        state.add(hash(0), Record::default(), None);
        let seen = state.sequence();
        for _ in 0..=REMOVED_MAX {
            state.add(hash(1), Record::default(), None);
            state.remove(hash(1));
        }
        assert_eq!(changed(&state, seen), None);
        assert_eq!(state.removed().count(), REMOVED_MAX);
    }

    #[test]
    fn a_number_of_an_earlier_run_makes_who_names_it_start_anew() {
        let (mut earlier, mut state) = (DaemonState::default(), DaemonState::default());
        earlier.begin(1_700_000_000);
        state.begin(1_700_000_001);
        state.add(hash(1), Record::default(), None);
        for _ in 0..1000 {
            earlier.add(hash(1), Record::default(), None);
            earlier.remove(hash(1));
        }
        assert_eq!(changed(&state, earlier.sequence()), None);
        assert_eq!(changed(&state, 0), None);
        assert!(state.sequence() < 1 << 53);
    }

    #[test]
    fn a_seed_limit_is_the_torrents_or_its_categorys_or_that_of_all() {
        use crate::seed_limits::{Limit, SeedLimits};
        let mut state = DaemonState::default();
        state.settings.seed_limits.ratio = Some(1.0);
        let of = |ratio| SeedLimits { ratio, ..SeedLimits::default() };
        for (own, category, expected) in [
            (Limit::Global, Limit::Global, Some(1.0)),
            (Limit::Global, Limit::At(2.0), Some(2.0)),
            (Limit::Global, Limit::Unlimited, None),
            (Limit::At(3.0), Limit::At(2.0), Some(3.0)),
            (Limit::Unlimited, Limit::At(2.0), None),
        ] {
            let limits = Category { seed_limits: of(category), ..Category::default() };
            state.categories.insert("tv".into(), limits);
            let mut record = Record { seed_limits: of(own), ..Record::default() };
            record.labels.category = "tv".into();
            state.remove(hash(1));
            let number = state.add(hash(1), record, None);
            let torrent = state.by_number(number).expect("a torrent");
            assert_eq!(state.seed_limits(torrent).ratio, expected, "{own:?} {category:?}");
        }
    }

    #[test]
    fn a_category_lies_below_the_default_directory() {
        let mut state = DaemonState::default();
        state.settings.dir = "/data".into();
        for (name, expected) in [
            ("tv", "/data/tv"),
            ("tv/new", "/data/tv/new"),
            ("", "/data"),
            ("../../etc", "/data"),
            ("tv/../../etc", "/data"),
            ("/etc", "/data"),
            ("a//b", "/data"),
            ("a\nb", "/data"),
        ] {
            assert_eq!(state.dir_of(name), PathBuf::from(expected), "{name:?}");
        }
    }
}
