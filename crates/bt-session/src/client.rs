//! What a program that embeds a session uses: the session, its torrents, a DHT node, one question.
//!
//! Decides: nothing; its files do.
//! Must not know: sockets' tasks, engines' insides.
//! Invariant: the highest floor: no file of another floor names it.

pub(crate) mod ask;
#[cfg(feature = "dht")]
pub mod dht;
pub(crate) mod dirs;
pub(crate) mod inner;
pub(crate) mod opening;
pub(crate) mod options;
pub(crate) mod reader;
pub(crate) mod reopen;
pub(crate) mod session;
pub(crate) mod state;
pub(crate) mod torrent;
