//! A swarm in virtual time: the real engine, codec, store and tracker on hosts, links and disks
//! that exist in memory only.
//!
//! Decides: what happens next, from a seed. Must not know: sockets, threads, clocks.
//! Invariant: same seed, same trace; and no rule of [`Broken`] is ever broken, or the run ends with
//! its name.
//!
//! ```
//! let report = bt_sim::scenarios::run("small", 1)?;
//! assert_eq!(report.finishers.len(), 3);
//! assert_eq!(report, bt_sim::scenarios::run("small", 1)?, "the same seed shows the same run");
//! # Ok::<(), bt_sim::Violation>(())
//! ```
#![forbid(unsafe_code)]

pub mod goals;
pub mod scenarios;

mod agenda;
mod announces;
mod client;
mod content;
mod disk;
mod network;
mod pipe;
mod report;
mod store;
mod stream;
mod tally;
mod trace;
mod tracker;
mod violation;
mod watch;
mod wires;
mod world;

pub use client::{Manners, MetadataLie};
pub use network::{HostId, Link};
pub use report::{Finisher, Report, Sample};
pub use stream::Detail;
pub use trace::Sink;
pub use violation::{Broken, Violation};
pub use world::{Act, Knows, Peer, World};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
