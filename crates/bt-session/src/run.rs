//! The threads of a session at work: shards, control, disks, checks, the DHT node.
//!
//! Decides: nothing; its files do.
//! Must not know: `client`.
//! Invariant: a thread ends when it is told to, or when all that could tell it something is gone.

pub(crate) mod announces;
pub(crate) mod carried_stats;
pub(crate) mod check_pool;
pub(crate) mod control;
#[cfg(feature = "dht")]
pub(crate) mod dht;
pub(crate) mod disk;
pub(crate) mod lookups;
#[cfg(not(feature = "dht"))]
pub(crate) mod no_dht;
pub(crate) mod searches;
pub(crate) mod shard;
pub(crate) mod start;

#[cfg(not(feature = "dht"))]
pub(crate) use no_dht as dht;
