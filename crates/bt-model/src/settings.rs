//! Defines what a user wants of a torrent.
//!
//! Decides: the settings and their defaults. Must not know: how a setting is carried out.
//! Invariant: the same settings, given again, change nothing. A value has one shape.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// What a user wants of one torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct TorrentSettings {
    /// It takes part in its swarm. A torrent that does not run is paused: it has no connections,
    /// its trackers were told `stopped`, and what it has is kept.
    pub running: bool,
    /// Its own rate limits, within those of all torrents.
    pub limits: Rates,
    /// The order in which pieces of one priority are fetched.
    pub order: PieceOrder,
    /// The priority of each file, by its number in the torrent's list. A file beyond the end of
    /// this list has [`Priority::Normal`]. A piece of several files has the highest of theirs.
    pub files: Vec<Priority>,
    /// Tracker URLs in tiers (BEP 12) that replace those of the torrent; `None` keeps the
    /// torrent's.
    pub trackers: Option<Vec<Vec<String>>>,
    /// Most connections to peers, within the limit of all torrents; `None` means that limit.
    pub peers_max: Option<u32>,
}

impl Default for TorrentSettings {
    /// Returns the settings of a torrent that runs, without limits, rarest first, with all its
    /// files and its own trackers.
    fn default() -> TorrentSettings {
        TorrentSettings {
            running: true,
            limits: Rates::default(),
            order: PieceOrder::RarestFirst,
            files: Vec::new(),
            trackers: None,
            peers_max: None,
        }
    }
}

impl TorrentSettings {
    /// Returns the priority of the file with this number.
    pub fn file(&self, number: usize) -> Priority {
        self.files.get(number).copied().unwrap_or_default()
    }

    /// Sets the priority of the file with this number.
    pub fn set_file(&mut self, number: usize, priority: Priority) {
        if self.files.len() <= number && priority != Priority::default() {
            self.files.resize(number.saturating_add(1), Priority::default());
        }
        if let Some(file) = self.files.get_mut(number) {
            *file = priority;
        }
        while self.files.last() == Some(&Priority::default()) {
            self.files.pop();
        }
    }
}

/// How much the user wants a file or a piece.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Priority {
    /// Not at all.
    Skip,
    /// After all others.
    Low,
    /// As every file at first.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// Returns the numbers of the wanted files among `count`, by a list like
    /// [`TorrentSettings::files`].
    pub fn wanted(files: &[Priority], count: usize) -> BTreeSet<usize> {
        let is_wanted =
            |number: &usize| files.get(*number).copied().unwrap_or_default() > Priority::Skip;
        (0..count).filter(is_wanted).collect()
    }
}

/// Limits of payload in bytes per second; `None` means no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct Rates {
    /// To peers.
    pub up: Option<u64>,
    /// From peers.
    pub down: Option<u64>,
}

/// The order in which pieces of one priority are fetched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum PieceOrder {
    /// Pieces that few peers have come first: best for the swarm.
    #[default]
    RarestFirst,
    /// From the first piece to the last.
    Sequential,
}

#[cfg(test)]
mod file_tests {
    use super::*;

    #[test]
    fn priorities_of_files_have_one_shape_only() {
        let mut settings = TorrentSettings::default();
        settings.set_file(2, Priority::Skip);
        assert_eq!(settings.files, [Priority::Normal, Priority::Normal, Priority::Skip]);
        assert_eq!((settings.file(2), settings.file(9)), (Priority::Skip, Priority::Normal));
        settings.set_file(2, Priority::Normal);
        settings.set_file(5, Priority::Normal);
        assert_eq!(settings, TorrentSettings::default(), "nothing is left of a change taken back");
    }
}

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn settings_are_stored_and_what_is_missing_is_the_default() {
        let settings = TorrentSettings {
            running: false,
            limits: Rates { up: Some(5), down: None },
            order: PieceOrder::Sequential,
            files: vec![Priority::Skip, Priority::High],
            trackers: Some(vec![vec!["udp://a.example:1".into()]]),
            peers_max: None,
        };
        let text = serde_json::to_string(&settings).expect("values");
        let expected = concat!(
            r#"{"running":false,"limits":{"up":5,"down":null},"order":"sequential","#,
            r#""files":["skip","high"],"trackers":[["udp://a.example:1"]],"peers_max":null}"#
        );
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<TorrentSettings>(&text).expect("the same"), settings);
        let empty: TorrentSettings = serde_json::from_str("{}").expect("defaults");
        assert_eq!(empty, TorrentSettings::default());
    }
}
