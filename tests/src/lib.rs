//! Real processes, network namespaces and foreign clients, for tests and for `cargo xtask`.
//!
//! Decides: how a process is started, watched and ended. Must not know: the inside of any bt crate;
//! it sees what a user sees.
//! Invariant: everything that a test starts or makes is gone when its value is dropped, also after
//! a panic.

mod asker;
mod binary;
mod canary;
mod client;
mod compare;
mod daemon;
mod data;
mod descriptors;
mod fixture;
mod interop;
mod machine;
mod net;
mod power;
mod process;
mod race;
mod record;
mod remote;
mod skip;
mod stage;
mod tap;
mod terminal;
mod tmpfs;
mod transcript;
mod transfer;

pub mod battery;
pub mod foreign;
pub mod frames;

pub use asker::{Asker, Part};
pub use binary::{bt, bt_for_people, build_release, cargo};
pub use canary::Canary;
pub use client::{Bt, Client, ClientConfig, ClientProgress, PeersFrom, Running, discover};
pub use compare::{Snapshot, ensure_same, snapshot};
pub use daemon::{RawAnswer, RunningDaemon};
pub use data::{mib, random_bytes, random_file, tree};
pub use descriptors::allow_descriptors;
pub use fixture::Fixture;
pub use interop::{Guest, Meeting};
pub use machine::MachineCopy;
pub use net::{Host, Net, NetnsGuard};
pub use power::PowerDisk;
pub use process::{Finished, Process};
pub use race::{Outcome, RaceSpec};
pub use record::journal_record;
pub use skip::skipped;
pub use stage::{LOOPBACK, Protocol, Seeded, Stage, listening};
pub use tap::{Heard, Tap};
pub use terminal::{Terminal, TerminalSize};
pub use tmpfs::SmallDisk;
pub use transcript::{Names, Surroundings, play};
pub use transfer::{Payload, TransferCost};

/// The hash that names a torrent, and a stream of numbers that is the same for the same seed.
pub use bt_types::{InfoHash, Rng};

use std::time::Duration;

/// The wait of a test for an event that takes seconds on a slow machine. Only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(120);
