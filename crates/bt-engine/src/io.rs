//! Everything that goes into the engine and everything that comes out: the first file to read.
//!
//! Decides: the words between the engine and a shell. Must not know: how a shell carries an order out.
//! Invariant: every cause is an `Input`, every effect an `Output`; both are closed.

use crate::config::{Budget, Rates};
use crate::status::Why;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bt_peer_wire::{Handshake, Message};
use bt_tracker_wire::{AnnounceReply, Event as AnnounceEvent, Failure};
use bt_types::{Bitfield, Block, Geometry, InfoHash, PeerId, Piece, Source, StoreFault, Time, Verdict};
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use core::time::Duration;

/// One torrent in one engine; chosen by the shell, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TorrentKey(pub u32);

/// One connection; chosen by the shell, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerKey(pub u64);

/// One tracker of a torrent: its place in [`TorrentSpec::trackers`], tiers joined.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TrackerKey(pub u32);

/// What the engine must know of a torrent before it can work on it.
#[derive(Clone, Debug)]
pub struct TorrentSpec {
    /// The swarm that we announce and shake hands for.
    pub info_hash: InfoHash,
    /// How the bytes are cut.
    pub geometry: Geometry,
    /// The pieces that are verified and written already.
    pub have: Bitfield,
    /// Tracker URLs in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// What is wanted of it from the start; all of it, rarest first, if this says nothing.
    pub wants: Vec<Want>,
    /// The `info` dictionary as the info-hash was made of it, for peers that ask for it (BEP 9); empty to give none.
    pub metadata: Bytes,
    /// Its peers come from its trackers and its user, and from nobody else (BEP 27).
    pub private: bool,
}

/// What a magnet link says of a torrent: its metadata must come from peers (BEP 9). The info-hash is that of version 1, which a hybrid
/// has too: the metadata of a link that has a `btmh` alone cannot be had yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MagnetSpec {
    /// The swarm, and what the metadata must hash to.
    pub info_hash: InfoHash,
    /// Tracker URLs in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
}

/// A way to find peers that is no tracker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Via {
    /// The distributed hash table (BEP 5).
    Dht,
    /// The local network (BEP 14).
    Lsd,
}

/// How much a piece is wanted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Priority {
    /// Not at all.
    Skip,
    /// After all others.
    Low,
    /// As every piece is at first.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// The order in which pieces of one priority are fetched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Order {
    /// What few peers have comes first: best for the swarm.
    #[default]
    RarestFirst,
    /// From the first piece to the last.
    Sequential,
}

/// A change of what is wanted. Ranges are numbers of pieces; what lies beyond the last piece is ignored.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Want {
    /// How much these pieces are wanted.
    Pieces(Range<u32>, Priority),
    /// The order of what is wanted equally.
    Order(Order),
    /// These pieces are needed by then: they come before all that have no deadline, the earliest first. `None` takes that back.
    /// A skipped piece stays skipped.
    By(Range<u32>, Option<Time>),
}

/// A cause.
#[derive(Debug)]
pub enum Input {
    /// Work on this torrent from now on.
    Add(TorrentKey, Box<TorrentSpec>),
    /// Find this torrent's metadata. An `Add` with the same key and info-hash goes on with its trackers, addresses and peers.
    AddMagnet(TorrentKey, Box<MagnetSpec>),
    /// Leave its swarm: say `stopped` to trackers, hang up on everybody, forget it.
    Remove(TorrentKey),
    /// Somebody named addresses of peers.
    PeersFound(TorrentKey, Source, Vec<SocketAddr>),
    /// A process on the local network says that it shares the torrent, and takes connections at this address (BEP 14).
    Called {
        /// What it shares.
        torrent: TorrentKey,
        /// The address that it called from, with the port that it named.
        addr: SocketAddr,
        /// Nobody called from there before, or another process did.
        is_new: bool,
    },
    /// A connection stands and both handshakes are done.
    Connected {
        /// The shell's name for the connection.
        peer: PeerKey,
        /// The torrent that was dialled for, or that the peer's handshake named.
        torrent: TorrentKey,
        /// The peer's address.
        addr: SocketAddr,
        /// We dialled.
        outbound: bool,
        /// What the peer said.
        handshake: Handshake,
    },
    /// Addresses or routes of this machine are others now, or it slept: what failed before may work.
    NetworkChanged,
    /// An ordered dial led to nothing.
    DialFailed(TorrentKey, SocketAddr),
    /// Messages of one read, in order.
    Frames(PeerKey, Vec<Message>),
    /// So many bytes of ordered payload left for the peer, or will never leave: its send credit returns.
    Sent(PeerKey, u64),
    /// The connection is gone, whoever ended it.
    Closed(PeerKey),
    /// An ordered check is done; the bytes are written if it was good.
    Checked(TorrentKey, Piece, Verdict),
    /// The store has put this number of bytes of a long piece on the disk ([`bt_types::Geometry::has_long_pieces`]).
    OnDisk(TorrentKey, Piece, u64),
    /// A piece that failed before is right now: these blocks were wrong when it failed.
    Audited(TorrentKey, Vec<Block>),
    /// These pieces are not there any more, although they were good: another program wrote over them, or the disk lost them. No peer is
    /// blamed, and the engine fetches them again.
    Lost(TorrentKey, Vec<Piece>),
    /// The store cannot go on. What it holds stays with it; no piece is lost.
    StoreFailed(TorrentKey, StoreFault),
    /// The store goes on again.
    StoreRecovered(TorrentKey),
    /// A served block could not be read: the peer gets a reject.
    ReadFailed(PeerKey, Block),
    /// An ordered announce was answered by the tracker at this address, or failed: refused by it, or never answered.
    Announced(TorrentKey, TrackerKey, Result<(IpAddr, AnnounceReply), Failure>),
    /// An ordered search is over; the addresses that it found, so many in all, came as `PeersFound` or `Called` before.
    Sought(TorrentKey, Via, usize),
    /// Other pieces are wanted, or in another order. The changes are made one after another.
    Want(TorrentKey, Vec<Want>),
    /// What one torrent may use, within what all may.
    Limit(TorrentKey, Rates),
    /// The desk changed what this engine may use.
    Budget(Budget),
}

/// An effect that a shell must carry out.
#[derive(Debug)]
pub enum Output {
    /// Connect and shake hands; answer with `Connected` or `DialFailed`.
    /// For so long at the most.
    Dial(TorrentKey, SocketAddr, Source, Duration),
    /// Close the connection; the engine has forgotten it already, no `Closed` is needed.
    HangUp(PeerKey, Why),
    /// Write these messages, coalesced.
    Send(PeerKey, Vec<Message>),
    /// Read these blocks and write them to the peer; answer with `Sent`, or `ReadFailed` for each that cannot be read.
    Serve {
        /// To whom.
        peer: PeerKey,
        /// Of which torrent.
        torrent: TorrentKey,
        /// What, in this order.
        blocks: Vec<Block>,
        /// The peer took 32 MiB/s lately, so that what it is sent lies in no queue for long.
        at_once: bool,
    },
    /// Keep this block until its piece is checked.
    Store(TorrentKey, Block, Bytes),
    /// All blocks of the piece are with the store: compare with the digest, write, answer with `Checked`.
    Check {
        /// Its torrent.
        torrent: TorrentKey,
        /// The piece.
        piece: Piece,
        /// Do not wait for others to check with it: the download ends soon.
        urgent: bool,
    },
    /// Drop the blocks of this piece: they will come again from one peer alone.
    Forget(TorrentKey, Piece),
    /// Talk to the tracker; answer with `Announced`.
    Announce(TorrentKey, Box<AnnounceOrder>),
    /// Ask there for peers, and tell those who ask there of us; answer with `PeersFound` or `Called` at any time and with one `Sought` at the end.
    Seek(TorrentKey, Via),
    /// A peer says that it has a DHT node at this address (BEP 5).
    DhtNode(SocketAddr),
    /// A magnet's metadata, whole, its hash compared: answer with `Add` or, if it cannot be used, with `Remove`.
    Metadata(TorrentKey, Bytes),
    /// Something that a person or a program wants to know.
    Event(TorrentKey, Event),
}

/// What to tell a tracker. The shell adds our peer id, port and key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceOrder {
    /// Which tracker.
    pub tracker: TrackerKey,
    /// Its URL.
    pub url: String,
    /// What happened.
    pub event: AnnounceEvent,
    /// Payload bytes sent to peers since the torrent was added.
    pub uploaded: u64,
    /// Payload bytes that became verified pieces since the torrent was added.
    pub downloaded: u64,
    /// Bytes still wanted and missing; of a partial seed all that are missing, so that nobody takes it for a seed.
    pub left: u64,
    /// How many peers are wanted.
    pub num_want: u32,
    /// What the tracker wants to hear back.
    pub tracker_id: Option<Vec<u8>>,
}

/// News about a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A piece was verified and written.
    Piece(Piece),
    /// Every wanted piece is verified and written.
    Complete,
    /// A connection was made.
    PeerJoined(SocketAddr, PeerId),
    /// A connection ended.
    PeerLeft(SocketAddr, Why),
    /// A piece did not match its digest; the peers that sent it.
    BadPiece(Piece, Vec<SocketAddr>),
    /// The store stopped the torrent.
    StoreFailed(StoreFault),
    /// The store goes on.
    StoreRecovered,
    /// A tracker answered.
    TrackerReply {
        /// Which tracker.
        url: String,
        /// Number of peers in the answer.
        peers: usize,
        /// What the tracker wants people to read.
        warning: Option<String>,
        /// Our own address as the tracker sees it (BEP 24): hearsay.
        external_ip: Option<IpAddr>,
    },
    /// A tracker failed: its URL and why.
    TrackerFailed {
        /// Which tracker.
        url: String,
        /// Why, for a person.
        why: String,
    },
    /// A tracker is asked: its URL.
    TrackerAsked(String),
    /// Peers are looked for.
    SearchBegan(Via),
    /// A search for peers is over.
    SearchEnded {
        /// Where it was made.
        via: Via,
        /// Number of addresses that were found. Peers on the local network answer later, and are not counted.
        found: usize,
    },
}
