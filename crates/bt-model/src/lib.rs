//! Defines what a user wants of a torrent and of a session, and what is known of them.
//!
//! Decides: the settings with their defaults, and the words of reports. Must not know: how a
//! setting is carried out, how a report is displayed.
//! Invariant: values only. The same settings, given again, change nothing; reading a view changes
//! nothing.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod session_settings;
mod session_view;
mod settings;
mod view;

pub use session_settings::SessionSettings;
pub use session_view::{DhtStatus, Panics, SessionView};
pub use settings::{PieceOrder, Priority, Rates, TorrentSettings};
pub use view::{
    MagnetView, MapCell, PeerView, SlowReason, SourceStat, TorrentView, TrackerStanding,
    TrackerView,
};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
