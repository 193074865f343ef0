//! Makes every decision of a BitTorrent client about torrents and peers, and carries none of them
//! out.
//!
//! Decides: which piece, which peer, when to announce, when to give up. Must not know: clocks,
//! sockets, files, threads.
//! Invariant: the same seed and the same inputs give the same outputs.
//!
//! Begin with [`Input`] and [`Output`] (`io.rs`). A shell drives an [`Engine`] like every machine
//! of the workspace: `handle(now, input)`, then `poll()` until `None`; `deadline()` tells when to
//! call `wake(now)`.
//!
//! ```
//! use bt_engine::{
//!     Budget, Config, Engine, Input, Output, TorrentKey, TorrentSettings, TorrentSpec,
//! };
//! use bt_types::{Bitfield, Geometry, InfoHash, PeerId, Rng, Source, Time};
//!
//! let mut rng = Rng::from_seed(1);
//! let mut engine = Engine::new(Config::new(PeerId::ours(&mut rng)), Budget::default(), rng);
//! let spec = TorrentSpec {
//!     info_hash: InfoHash([7; 20]),
//!     geometry: Geometry::new(1 << 20, 1 << 18)?,
//!     have: Bitfield::empty(4),
//!     trackers: vec![],
//!     settings: TorrentSettings::default(),
//!     files: vec![],
//!     metadata: Default::default(),
//!     private: false,
//! };
//! engine.handle(Time::ZERO, Input::Add(TorrentKey(0), Box::new(spec)));
//! let peers = vec!["127.0.0.1:6881".parse()?];
//! engine.handle(Time::ZERO, Input::PeersFound(TorrentKey(0), Source::User, peers));
//! assert!(matches!(engine.poll(), Some(Output::Dial(TorrentKey(0), _, Source::User, _))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]
// A new input, message or reason must not compile until each place has an answer.
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod close_reason;
mod config;
mod ctx;
mod io;

mod backlog;
mod download;
mod engine;
mod extension;
mod magnet;
mod message_in;
mod peer;
mod piece_check;
mod swarm;
mod swarm_extension;
mod torrent;
mod torrent_view;
mod unchoke;
mod upload;
mod want;

mod announcer;
mod bandwidth_queue;
mod block_picker;
mod canonical_priority;
mod choker;
mod deadline;
mod dials;
mod eviction;
mod external_ip;
mod fast;
mod lazy_block_picker;
mod ledger;
mod links;
mod metadata_download;
mod metadata_upload;
mod meter;
mod outboxes;
mod peer_link;
mod peer_list;
mod peer_search;
mod pex;
mod piece_map;
mod piece_picker;
mod pieces;
mod pipeline;
mod room;
mod slow_reason;
mod sources;
mod statistics;
mod super_seeder;
mod torrent_rate_limit;
mod tracker;
mod turns;
mod upload_slots;

pub mod admission;
pub mod announce_pacing;
pub mod placement;

pub use bt_model::{
    MagnetView, MapCell, PeerView, PieceOrder, Priority, Rates, SessionView, SlowReason,
    SourceStat, TorrentSettings, TorrentView, TrackerStanding, TrackerView,
};
pub use close_reason::CloseReason;
pub use config::{Budget, Config};
pub use engine::Engine;
pub use io::{
    AnnounceOrder, Discovery, Event, Input, MagnetSpec, Output, PeerKey, TorrentKey, TorrentSpec,
    TrackerKey,
};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
