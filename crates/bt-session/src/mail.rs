//! What the threads of a session tell each other, and what they share: the lowest floor.
//!
//! Decides: nothing; each file holds one message, one value or one bound.
//! Must not know: `net`, `run`, `client`.
//! Invariant: what is sent can be dropped unread.

pub(crate) mod admission;
pub(crate) mod changes;
pub(crate) mod clock;
#[cfg(feature = "dht")]
pub(crate) mod dht;
pub(crate) mod disk_order;
pub(crate) mod events;
pub(crate) mod lease;
#[cfg(not(feature = "dht"))]
pub(crate) mod no_dht;
pub(crate) mod owner;
pub(crate) mod panics;
pub(crate) mod queues;
pub(crate) mod registry;
pub(crate) mod splice_pipe;
pub(crate) mod to_control;
pub(crate) mod to_shard;
pub(crate) mod torrent;

#[cfg(not(feature = "dht"))]
pub(crate) use no_dht as dht;
