//! A BitTorrent client to embed: add torrents, watch them, stop.
//!
//! Decides: threads, and the lives of torrents.
//! Must not know: terminals, command lines.
//! Invariant: values in, values out. A program that drops every handle and stops the session leaves
//! nothing running.
//!
//! ```no_run
//! use bt_session::{AddOptions, Metainfo, Session, SessionConfig};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let torrent = Metainfo::from_bytes(&std::fs::read("some.torrent")?)?;
//! let session = Session::start(SessionConfig::default())?;
//! let download = session.add(&torrent, AddOptions::new("downloads"))?;
//! download.wait_complete().await?;
//! session.stop().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
// A new input, event or state must not compile until each place has an answer.
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod client;
mod mail;
mod net;
mod run;
#[cfg(test)]
mod testkit;

pub use bt_engine::{CloseReason, Discovery, Event};
pub use bt_metainfo::{Magnet, Metainfo};
pub use bt_model::{
    DhtStatus, MagnetView, MapCell, Panics, PeerView, PieceOrder, Priority, Rates, SessionSettings,
    SessionView, SlowReason, SourceStat, TorrentSettings, TorrentView, TrackerStanding,
    TrackerView,
};
pub use bt_net::{IpFilter, NetError, Roots};
pub use bt_piece_store::{NotedTime, PieceClaim, Remembered, Storage};
pub use bt_tracker_client::TrackerError;
pub use bt_tracker_wire::{AnnounceReply, LEFT_UNKNOWN, SwarmCounts};
pub use client::ask::{FetchError, Fetched, OneShot};
#[cfg(feature = "dht")]
pub use client::dht;
pub use client::options::{AddOptions, Chooser, OwnStorage, Select};
pub use client::reader::Reader;
pub use client::session::{Session, SessionConfig};
pub use client::state::{SavedTorrent, forget, saved_torrents};
pub use client::torrent::{FileView, TorrentHandle};
pub use mail::changes::Subscription;
pub use mail::events::{StartError, Summary, TorrentError, TorrentEvent, TorrentState, Unsaved};
pub use net::interfaces::interface_index;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
