//! A node of the BitTorrent DHT (BEP 5) as a machine: datagrams in, datagrams out, no socket and no
//! clock.
//!
//! Decides: which nodes to ask, which answers to trust, what to store for other nodes.
//! Must not know: sockets, clocks, torrents' contents.
//! Invariant: same seed and same inputs, same outputs. Everything that other hosts can make grow
//! has a named limit. Private torrents never come here: the caller must keep them out.
//!
//! [`Node`] has the shape of every machine of this workspace: [`handle`](Node::handle),
//! [`poll`](Node::poll), [`deadline`](Node::deadline), [`wake`](Node::wake). The first file to read
//! is `io.rs`.
//!
//! ```
//! use bt_dht::{Ask, AskKey, Config, Event, Input, Node, Output};
//! use bt_types::{Rng, Time};
//!
//! let now = Time::ZERO;
//! let (here, there) = ("127.0.0.1:1000".parse().unwrap(), "127.0.0.1:2000".parse().unwrap());
//! let mut node = Node::new(now, Config::default(), Rng::from_seed(1));
//! let mut other = Node::new(now, Config::default(), Rng::from_seed(2));
//!
//! node.handle(now, Input::Ask(AskKey(1), Ask::Ping(there)));
//! let Some(Output::Send { to, bytes, .. }) = node.poll() else { panic!("no query") };
//! assert_eq!(to, there);
//! other.handle(now, Input::Datagram { from: here, bytes: &bytes });
//! while let Some(Output::Send { bytes, .. }) = other.poll() {
//!     node.handle(now, Input::Datagram { from: there, bytes: &bytes });
//! }
//! let is_pong = |output: &Output| matches!(output, Output::Event(Event::Pong { .. }));
//! let pong = std::iter::from_fn(|| node.poll()).find(is_pong);
//! assert!(pong.is_some());
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod io;

mod answer;
mod bloom;
mod calls;
mod contact;
mod crowd;
mod guard;
mod id;
mod item;
mod items;
mod lookup;
mod message;
mod node;
mod overlay;
mod peers;
mod read;
mod saved;
mod search;
mod secure;
mod table;
mod token;
mod write;

pub use bloom::Bloom;
pub use contact::{Contact, Family};
pub use id::{Distance, Id};
pub use io::{AnnounceOptions, Ask, AskKey, Config, Event, Input, LookupReport, Output, Scrape};
pub use item::{Item, ItemFault, Mutable, SALT_MAX, VALUE_MAX, Value, mutable_target, public_key};
pub use message::{
    Body, DATAGRAM_MAX, KrpcError, KrpcMessage, Query, Response, Samples, Stored, TOKEN_MAX,
    TRANSACTION_MAX, Want,
};
pub use node::Node;
pub use read::Malformed;
pub use saved::{ContactsError, read_contacts, write_contacts};
pub use secure::{is_secure, secure_id};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
