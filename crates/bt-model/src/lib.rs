//! Defines what a user wants of a torrent: settings that are compared, stored and sent whole.
//!
//! Decides: the settings and their defaults. Must not know: how a setting is carried out.
//! Invariant: settings are values: to give the same ones again changes nothing.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
extern crate alloc;
#[cfg(test)]
extern crate std;

/// What a user wants of one torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct TorrentSettings {
    /// It takes part in its swarm. A torrent that does not run is paused: it has no connections,
    /// its trackers were told `stopped`, and what it has is kept.
    pub running: bool,
    /// Its own rate limits, within those of all torrents.
    pub limits: Rates,
    /// The order in which pieces of one priority are fetched.
    pub order: PieceOrder,
}

impl Default for TorrentSettings {
    /// Returns the settings of a torrent that runs, without limits, rarest first.
    fn default() -> TorrentSettings {
        TorrentSettings { running: true, limits: Rates::default(), order: PieceOrder::RarestFirst }
    }
}

/// Limits of payload in bytes per second; `None` means no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum PieceOrder {
    /// Pieces that few peers have come first: best for the swarm.
    #[default]
    RarestFirst,
    /// From the first piece to the last.
    Sequential,
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(test, feature = "serde"))]
mod tests {
    use super::*;

    #[test]
    fn settings_are_stored_and_what_is_missing_is_the_default() {
        let settings = TorrentSettings {
            running: false,
            limits: Rates { up: Some(5), down: None },
            order: PieceOrder::Sequential,
        };
        let text = serde_json::to_string(&settings).expect("values");
        assert_eq!(text, r#"{"running":false,"limits":{"up":5,"down":null},"order":"sequential"}"#);
        assert_eq!(serde_json::from_str::<TorrentSettings>(&text).expect("the same"), settings);
        let empty: TorrentSettings = serde_json::from_str("{}").expect("defaults");
        assert_eq!(empty, TorrentSettings::default());
    }
}
