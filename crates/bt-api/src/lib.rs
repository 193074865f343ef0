//! What a BitTorrent daemon is asked, and what it answers, as pure functions.
//!
//! A dialect reads a request against the [`DaemonState`], says which [`Command`]s carry it out and
//! which [`Details`] its answer needs, and writes the answer. It does no I/O, has no clock, and
//! never touches a session: the daemon carries out the commands.
//!
//! - [`qbittorrent`]: the Web API of qBittorrent.
//! - [`transmission`]: the RPC of Transmission, both its protocols.
//! - [`rss`]: feeds and their rules. [`creation`]: torrents that the daemon makes.
//! - [`import`]: what other clients keep of their torrents.
//! - [`v1`]: the API of our own, which the page uses.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod command;
pub mod creation;
mod details;
mod fault;
mod groups;
pub mod import;
mod paths;
pub mod qbittorrent;
mod queue;
pub mod rss;
mod seed_limits;
mod settings;
mod settings_patch;
mod state;
mod torrent;
mod tracker_url;
pub mod transmission;
pub mod v1;
mod why;

pub use command::{
    Add, AddSource, Command, CommandReply, QueueMove, SeedLimitsPatch, TorrentPatch,
};
pub use details::{Details, File, Needs};
pub use fault::{Fault, FaultKind};
pub use groups::shares;
pub use queue::queue_move;
pub use seed_limits::{GlobalSeedLimits, Limit, SeedAction, SeedLimits};
pub use settings::{
    Blocklist, Category, DaemonSettings, Group, QueueSettings, Schedule, merge as merge_settings,
};
pub use state::{DaemonState, Removed, is_category, is_tag};
pub use torrent::{
    Dates, Labels, Live, Phase, QueuePlace, Record, StopOn, Torrent, Totals, TrackerSummary,
};
pub use why::{Why, why};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
