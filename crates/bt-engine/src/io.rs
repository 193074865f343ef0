//! Defines everything that goes into the engine and everything that comes out: the first file to
//! read.
//!
//! Decides: the types between the engine and a shell. Must not know: how a shell carries an output
//! out.
//! Invariant: every cause is an `Input`, every effect an `Output`; both are closed.

use crate::close_reason::CloseReason;
use crate::config::Budget;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bt_model::TorrentSettings;
use bt_peer_wire::{Handshake, Message};
use bt_tracker_wire::{AnnounceReply, Event as AnnounceEvent, Failure};
use bt_types::{
    Bitfield, Block, Geometry, InfoHash, PeerId, Piece, PieceCheck, Source, StoreFault, Time,
};
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;
use core::time::Duration;

/// The key of a torrent in one engine; chosen by the shell, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TorrentKey(pub u32);

/// The key of a connection; chosen by the shell, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PeerKey(pub u64);

/// The key of a tracker of a torrent; chosen by the engine, never reused in a torrent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TrackerKey(pub u32);

/// What the engine must know of a torrent before it can work on it.
#[derive(Clone, Debug)]
pub struct TorrentSpec {
    /// The info-hash of the swarm, used in announces and handshakes.
    pub info_hash: InfoHash,
    /// How the bytes are divided into pieces and blocks.
    pub geometry: Geometry,
    /// The pieces that are verified and written already.
    pub have: Bitfield,
    /// Tracker URLs in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// What the user wants of it.
    pub settings: TorrentSettings,
    /// The numbers of the pieces that hold a byte of each file, in the order of the torrent's list;
    /// none of a padding file. Pieces of no file are wanted. Empty: the torrent is one file.
    pub files: Vec<Range<u32>>,
    /// The bencoded `info` dictionary that the info-hash was computed from, for peers that ask for
    /// it (BEP 9). Empty: peers get none.
    pub metadata: Bytes,
    /// Peers come from its trackers and its user only (BEP 27).
    pub private: bool,
}

/// What a magnet link says of a torrent: its metadata must come from peers (BEP 9). The info-hash
/// is that of version 1, which a hybrid torrent has too. The metadata of a link with only a `btmh`
/// cannot be fetched yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MagnetSpec {
    /// The info-hash of the swarm, which the metadata must match.
    pub info_hash: InfoHash,
    /// What the user wants of it. Its `Add` names the settings again.
    pub settings: TorrentSettings,
    /// Tracker URLs in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
}

/// A way to find peers without a tracker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Discovery {
    /// The distributed hash table (BEP 5).
    Dht,
    /// The local network (BEP 14).
    Lsd,
}

/// A cause, for the engine to act on.
#[derive(Debug)]
pub enum Input {
    /// Work on this torrent from now on.
    Add(TorrentKey, Box<TorrentSpec>),
    /// Find this torrent's metadata. An `Add` with the same key and info-hash takes over its
    /// trackers, addresses and peers.
    AddMagnet(TorrentKey, Box<MagnetSpec>),
    /// Leave the torrent's swarm: announce `stopped`, close its connections, forget it.
    Remove(TorrentKey),
    /// A source named addresses of peers.
    PeersFound(TorrentKey, Source, Vec<SocketAddr>),
    /// A process on the local network says that it shares the torrent and accepts connections at
    /// this address (BEP 14).
    Called {
        /// The torrent that it shares.
        torrent: TorrentKey,
        /// The address that it sent from, with the port that it named.
        addr: SocketAddr,
        /// No process called from this address before, or another process did.
        is_new: bool,
    },
    /// A connection is made and both handshakes are done.
    Connected {
        /// The shell's key of the connection.
        peer: PeerKey,
        /// The torrent that the shell dialled for, or that the peer's handshake named.
        torrent: TorrentKey,
        /// The peer's address.
        addr: SocketAddr,
        /// The engine ordered the dial.
        outbound: bool,
        /// The peer's handshake.
        handshake: Handshake,
    },
    /// Addresses or routes of this machine changed, or it slept: what failed before may work.
    NetworkChanged,
    /// An ordered dial failed.
    DialFailed(TorrentKey, SocketAddr),
    /// The messages of one read, in order.
    Frames(PeerKey, Vec<Message>),
    /// This number of bytes of ordered payload left for the peer, or will never leave: its send
    /// credit returns.
    Sent(PeerKey, u64),
    /// The connection ended, whichever side ended it.
    Closed(PeerKey),
    /// An ordered check is done; the bytes are written if the piece was good.
    Checked(TorrentKey, Piece, PieceCheck),
    /// The store has put this number of bytes of a long piece on the disk
    /// ([`bt_types::Geometry::has_long_pieces`]).
    OnDisk(TorrentKey, Piece, u64),
    /// A piece that failed before is right now: these blocks were wrong when it failed.
    Audited(TorrentKey, Vec<Block>),
    /// These pieces were good and are lost: another program wrote over them, or the disk lost them.
    /// The engine blames no peer, and fetches them again.
    Lost(TorrentKey, Vec<Piece>),
    /// The store cannot go on. It keeps what it holds; no piece is lost.
    StoreFailed(TorrentKey, StoreFault),
    /// The store works again.
    StoreRecovered(TorrentKey),
    /// A block to serve could not be read: the peer gets a reject.
    ReadFailed(PeerKey, Block),
    /// An ordered announce was answered by the tracker at this address, or failed: the tracker
    /// refused or never answered.
    Announced(TorrentKey, TrackerKey, Result<(IpAddr, AnnounceReply), Failure>),
    /// An ordered search is over, and found this number of addresses. They came as `PeersFound` or
    /// `Called` before.
    FindPeersDone(TorrentKey, Discovery, usize),
    /// A reader needs these pieces by this time: they come before all pieces without a deadline,
    /// the earliest first. `None` takes the deadline back. A skipped piece stays skipped, and
    /// numbers beyond the last piece are ignored.
    Deadline(TorrentKey, Range<u32>, Option<Time>),
    /// The user wants the torrent or magnet like this.
    Set(TorrentKey, Box<TorrentSettings>),
    /// Ask trackers and searches for peers, as soon as they welcome it.
    Reannounce(TorrentKey),
    /// The caller changed what this engine may use: its lease of the limits of the process.
    Budget(Budget),
    /// The user wants peers found by these ways besides trackers: as in [`crate::Config`].
    Discover {
        /// The UDP port of our DHT node, if torrents are searched there.
        dht_port: Option<u16>,
        /// Whether to look for peers on the local network.
        lsd: bool,
        /// Whether peers are told of each other.
        pex: bool,
    },
}

/// An effect that a shell must carry out.
#[derive(Debug)]
pub enum Output {
    /// Connect and shake hands, within this time at most; answer with `Connected` or `DialFailed`.
    Dial(TorrentKey, SocketAddr, Source, Duration),
    /// Close the connection. The engine has forgotten it already: `Closed` is not needed.
    HangUp(PeerKey, CloseReason),
    /// Write these messages, coalesced.
    Send(PeerKey, Vec<Message>),
    /// Read these blocks and write them to the peer; answer with `Sent`, or with `ReadFailed` for
    /// each block that cannot be read.
    Serve {
        /// The peer to serve.
        peer: PeerKey,
        /// The torrent of the blocks.
        torrent: TorrentKey,
        /// The blocks, in this order.
        blocks: Vec<Block>,
        /// The peer drains at least 32 MiB/s: its payload does not lie in a queue for long.
        at_once: bool,
    },
    /// Keep this block until its piece is checked.
    Store(TorrentKey, Block, Bytes),
    /// The store has all blocks of the piece: compare its digest, write it, answer with `Checked`.
    Check {
        /// The torrent of the piece.
        torrent: TorrentKey,
        /// The piece.
        piece: Piece,
        /// Do not wait for other pieces to check with it: the download ends soon.
        urgent: bool,
    },
    /// Drop the blocks of this piece: they will come again, from a single peer.
    Forget(TorrentKey, Piece),
    /// Announce to the tracker; answer with `Announced`.
    Announce(TorrentKey, Box<AnnounceOrder>),
    /// Search for peers there, and make us known to peers that search there. Answer with
    /// `PeersFound` or `Called` at any time, and with one `FindPeersDone` at the end.
    FindPeers(TorrentKey, Discovery),
    /// A peer says that it has a DHT node at this address (BEP 5).
    DhtNode(SocketAddr),
    /// The complete metadata of a magnet, its hash verified. Answer with `Add`, or with `Remove` if
    /// the metadata cannot be used.
    Metadata(TorrentKey, Bytes),
    /// News for a user or a program.
    Event(TorrentKey, Event),
}

/// What to tell a tracker. The shell adds our peer id, port and key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceOrder {
    /// The tracker.
    pub tracker: TrackerKey,
    /// Its URL.
    pub url: String,
    /// The event.
    pub event: AnnounceEvent,
    /// Payload bytes sent to peers since the torrent was added.
    pub uploaded: u64,
    /// Payload bytes that became verified pieces since the torrent was added.
    pub downloaded: u64,
    /// Bytes wanted and missing. For a partial seed all missing bytes, so that the tracker does not
    /// take it for a seed.
    pub left: u64,
    /// The number of peers wanted.
    pub num_want: u32,
    /// The tracker id that the tracker wants to get back.
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
    PeerLeft(SocketAddr, CloseReason),
    /// A piece did not match its digest; the peers that sent it.
    BadPiece(Piece, Vec<SocketAddr>),
    /// A fault of the store stopped the torrent.
    StoreFailed(StoreFault),
    /// The store works again.
    StoreRecovered,
    /// A tracker answered.
    TrackerReply {
        /// The URL of the tracker.
        url: String,
        /// The number of peers in the answer.
        peers: usize,
        /// A warning that the tracker wants users to read.
        warning: Option<String>,
        /// Our own address as the tracker sees it (BEP 24): unverified.
        external_ip: Option<IpAddr>,
    },
    /// A tracker failed: its URL and the reason.
    TrackerFailed {
        /// The URL of the tracker.
        url: String,
        /// The reason, for a user.
        why: String,
    },
    /// An announce to a tracker began: its URL.
    TrackerAsked(String),
    /// A search for peers began.
    SearchBegan(Discovery),
    /// A search for peers is over.
    SearchEnded {
        /// The kind of the search.
        via: Discovery,
        /// The number of addresses found. Peers on the local network answer later, and are not
        /// counted.
        found: usize,
    },
}
