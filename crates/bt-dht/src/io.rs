//! All inputs and outputs of a node: the first file to read.
//!
//! Decides: the words between a node and its shell.
//! Must not know: how anything is done.
//! Invariant: every cause is an `Input`, every effect an `Output`; each `Ask` ends with exactly one
//! `Event::Done`.

use crate::bloom::Bloom;
use crate::contact::{Contact, Family};
use crate::id::Id;
use crate::item::Item;
use crate::message::{KrpcError, Samples};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bt_types::{InfoHash, Source};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether there is an IPv4 socket.
    pub v4: bool,
    /// Whether there is an IPv6 socket (BEP 32).
    pub v6: bool,
    /// Do not answer queries, and say so (BEP 43): for hosts that cannot be reached, or pay for
    /// every byte.
    pub read_only: bool,
    /// Bytes per second of all answers together; a burst may have twice as many.
    pub reply_bytes_per_sec: u64,
}

impl Default for Config {
    /// Makes the settings of a reachable IPv4 node with 20 kB/s of answers.
    fn default() -> Config {
        Config { v4: true, v6: false, read_only: false, reply_bytes_per_sec: 20_000 }
    }
}

/// An input of a node.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram arrived.
    Datagram {
        /// Its sender.
        from: SocketAddr,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// The address of a peer's node: the peer's address with the port of its PORT message (BEP 5).
    Port(SocketAddr),
    /// A bootstrap address that the user named. At most 32 are kept.
    Router(SocketAddr),
    /// Nodes of an earlier run, from [`Node::contacts`](crate::Node::contacts). At most 256 are
    /// kept.
    Saved(Vec<Contact>),
    /// Our external address: the id will follow from it (BEP 42). Without this, the answers of
    /// other nodes decide.
    External(IpAddr),
    /// A search, or an order to store. The caller must not ask for private torrents (BEP 27).
    Ask(AskKey, Ask),
    /// The caller no longer waits for this question: it ends at once.
    Cancel(AskKey),
}

/// Names an [`Ask`]; chosen by the caller, each once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AskKey(pub u64);

/// A question to the DHT. Searches run in both DHTs if the node is in both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Is there a node at this address?
    Ping(SocketAddr),
    /// The nodes closest to a point.
    FindNode(Id),
    /// The peers of a torrent.
    GetPeers {
        /// The torrent.
        info_hash: InfoHash,
        /// Announce us, too.
        announce: Option<AnnounceOptions>,
        /// Count the peers as well (BEP 33).
        scrape: bool,
    },
    /// An item (BEP 44).
    Get {
        /// Where it is stored.
        target: Id,
        /// The salt of a mutable item; an empty salt counts as none.
        salt: Vec<u8>,
    },
    /// Store an item (BEP 44).
    Put {
        /// The item.
        item: Item,
        /// Only over this version of it.
        cas: Option<i64>,
    },
    /// Which torrents does the node at this address know (BEP 51)?
    SampleInfohashes(SocketAddr),
}

/// How to announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnnounceOptions {
    /// Where we listen for peers; `None`: at the port of the node itself, as other nodes see it.
    pub port: Option<u16>,
    /// Whether we have everything (BEP 33).
    pub seed: bool,
}

/// An order of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// Its destination.
        to: SocketAddr,
        /// The source that named the address: the sender's last gate asks `bt_types::may_name`
        /// again.
        named_by: Source,
        /// Its payload.
        bytes: Vec<u8>,
    },
    /// Tell the caller.
    Event(Event),
}

/// An event for the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The node knows its neighbours in a DHT.
    Joined {
        /// Which DHT.
        family: Family,
        /// Number of nodes in the table.
        nodes: usize,
    },
    /// A pinged node answered.
    Pong {
        /// Which ping.
        ask: AskKey,
        /// The node.
        node: Contact,
        /// Its client: two letters, and two bytes of version.
        version: Option<[u8; 4]>,
        /// Time until the answer.
        round_trip: Duration,
    },
    /// Peers that were not reported before.
    Peers {
        /// Which search.
        ask: AskKey,
        /// The host that named them.
        from: IpAddr,
        /// Where they listen.
        peers: Vec<SocketAddr>,
    },
    /// An item, its signature or hash checked; later ones are newer versions.
    Item {
        /// Which search.
        ask: AskKey,
        /// The item.
        item: Item,
    },
    /// A sample of torrents.
    Samples {
        /// Which question.
        ask: AskKey,
        /// The sample.
        samples: Samples,
    },
    /// A question has ended.
    Done {
        /// Which question.
        ask: AskKey,
        /// How it went.
        report: LookupReport,
    },
}

/// How an [`Ask`] went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LookupReport {
    /// Queries that were sent.
    pub queries: u32,
    /// Answers that arrived.
    pub answers: u32,
    /// The closest nodes that answered.
    pub closest: Vec<Contact>,
    /// Nodes that stored the announce or the item.
    pub stored: u32,
    /// The last error of a node.
    pub refused: Option<KrpcError>,
    /// The counts of all answers together, if they were asked for (BEP 33).
    pub scrape: Option<Box<Scrape>>,
}

/// The peers of a torrent, as Bloom filters of their addresses (BEP 33).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Scrape {
    /// Peers that have everything.
    pub seeds: Bloom,
    /// The other peers.
    pub peers: Bloom,
}
