//! Defines what the engine tells of itself: snapshots of torrents and magnets, and why a connection
//! ended.
//!
//! Decides: the words of reports. Must not know: how they are displayed.
//! Invariant: values only; reading a status changes nothing.

use alloc::string::String;
use alloc::vec::Vec;
use bt_types::{PeerId, StoreFault};
use core::fmt;
use core::net::SocketAddr;

/// Why a connection ended; faults of the peer come last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CloseReason {
    /// The peer or the network closed it.
    Gone,
    /// The torrent was removed.
    Removed,
    /// The torrent is paused.
    Paused,
    /// The peer is this client itself.
    Ourselves,
    /// There is another connection to the same peer.
    Duplicate,
    /// There is no room for another connection.
    Full,
    /// Neither side wants anything: each has everything, or all that it wants.
    BothSeeds,
    /// The peer gave no metadata, although it offered some and was asked, or while other peers
    /// waited for its place.
    NoMetadata,
    /// Its metadata is longer than the engine accepts, or it changed the length.
    MetadataSize,
    /// It sent more than the engine keeps while the metadata is not there.
    Backlog,
    /// The torrent turned out to be private, and neither a tracker nor the user named this peer
    /// (BEP 27).
    Private,
    /// Fault: it answered for another torrent than it was asked for.
    WrongTorrent,
    /// Fault: it named a piece or block outside the torrent.
    OutOfRange,
    /// Fault: a bitfield where none is allowed, or of the wrong size.
    Bitfield,
    /// Fault: a message of the fast extension without having offered that extension (BEP 6).
    NotFast,
    /// Fault: an unreadable metadata message, while we have no metadata (BEP 9).
    Extended,
    /// Fault: it sent PEX messages far too often (BEP 11).
    Flood,
    /// Fault: too many blocks that were not requested.
    Unrequested,
    /// Fault: it alone sent a piece that did not match its digest. Its address is banned.
    BadPiece,
    /// Fault: it alone sent metadata with a wrong hash. Its address is banned.
    BadMetadata,
    /// Fault: its address is banned for an earlier fault.
    Banned,
}

impl CloseReason {
    /// Returns whether the peer is to blame.
    pub fn is_fault(self) -> bool {
        self >= CloseReason::WrongTorrent
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Gone => "the connection was closed",
            CloseReason::Removed => "the torrent was removed",
            CloseReason::Paused => "the torrent is paused",
            CloseReason::Ourselves => "it is ourselves",
            CloseReason::Duplicate => "we are connected to this peer already",
            CloseReason::Full => "no room for another connection",
            CloseReason::BothSeeds => "neither wants anything",
            CloseReason::NoMetadata => "it gave no metadata",
            CloseReason::MetadataSize => "it offers metadata of an impossible length",
            CloseReason::Backlog => "it said too much before the metadata was there",
            CloseReason::Private => "the torrent is private",
            CloseReason::WrongTorrent => "it answered for another torrent",
            CloseReason::OutOfRange => "it named a block outside the torrent",
            CloseReason::Bitfield => "it sent a wrong bitfield",
            CloseReason::NotFast => "it used the fast extension without offering it",
            CloseReason::Extended => "it sent a broken extension message",
            CloseReason::Flood => "it told of peers too often",
            CloseReason::Unrequested => "it sent blocks that were not requested",
            CloseReason::BadPiece => "it sent a piece with wrong bytes",
            CloseReason::BadMetadata => "it sent wrong metadata",
            CloseReason::Banned => "its address is banned",
        })
    }
}

/// The status of a torrent at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TorrentStatus {
    /// Pieces verified and written.
    pub pieces_done: u32,
    /// Pieces of the torrent.
    pub pieces_total: u32,
    /// Pieces that are wanted and missing.
    pub pieces_missing: u32,
    /// Bytes of all wanted pieces, whether we have them or not.
    pub bytes_wanted: u64,
    /// Bytes of the pieces that are wanted and missing.
    pub bytes_missing: u64,
    /// Bytes of verified and written pieces, including padding.
    pub bytes_done: u64,
    /// Payload bytes received since the torrent was added, good or not.
    pub bytes_down: u64,
    /// Payload bytes sent since the torrent was added.
    pub bytes_up: u64,
    /// Payload bytes received without use: bad, late or twice.
    pub bytes_wasted: u64,
    /// The bad ones of these: bytes of pieces that did not match their digest.
    pub bytes_bad: u64,
    /// Pieces that did not match their digest.
    pub bad_pieces: u32,
    /// Peers that were banned for bytes that were certainly wrong.
    pub peers_banned: u32,
    /// Bytes per second received now.
    pub down_rate: u64,
    /// Bytes per second sent now.
    pub up_rate: u64,
    /// Connected peers.
    pub peers: usize,
    /// Connected peers that have everything.
    pub seeds: usize,
    /// Connected peers that lack something and download nothing more (BEP 21).
    pub partial_seeds: usize,
    /// Connected peers that have unchoked us.
    pub serving_us: usize,
    /// Seeders and leechers of the swarm, as the last tracker answer said.
    pub swarm: Option<(u32, u32)>,
    /// It does not take part in its swarm, because the user wants it to pause.
    pub is_paused: bool,
    /// The store's fault, while the store cannot go on.
    pub store_fault: Option<StoreFault>,
    /// Why the download is slow or stands still, if it does.
    pub slow: Option<SlowReason>,
    /// The pieces in at most 128 cells.
    pub map: Vec<MapCell>,
}

impl TorrentStatus {
    /// Returns whether every wanted piece is verified and written.
    pub fn is_done(&self) -> bool {
        self.pieces_missing == 0
    }
}

/// The status of a magnet at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MagnetStatus {
    /// Connected peers.
    pub peers: usize,
    /// Length in bytes of the metadata, as said by the peers that gave most of it; it may be a lie.
    pub size: Option<u32>,
    /// Bytes of it that were received.
    pub received: u64,
    /// Bytes of metadata that are held for all copies, right or wrong.
    pub held: u64,
}

/// Why a download is slow or stands still. The first reason that is true is given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum SlowReason {
    /// The user paused it.
    Paused,
    /// The store cannot go on.
    Store(StoreFault),
    /// Our own rate limit: peers could be sent more requests.
    Limit,
    /// No peer is connected.
    NoPeers,
    /// No connected peer has a missing piece.
    NoData,
    /// Peers have missing pieces, and all choke us.
    Choked,
    /// A single peer has missing pieces, while other peers are connected.
    RarestOnePeer,
    /// The peers that have unchoked us deliver little.
    SlowPeers,
}

/// A range of a torrent's pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MapCell {
    /// Pieces that are verified and written.
    pub have: u32,
    /// Pieces that are wanted and missing.
    pub missing: u32,
    /// Blocks of a missing piece were requested.
    pub is_under_way: bool,
}

impl MapCell {
    /// Joins two ranges.
    pub fn with(self, other: MapCell) -> MapCell {
        MapCell {
            have: self.have.saturating_add(other.have),
            missing: self.missing.saturating_add(other.missing),
            is_under_way: self.is_under_way || other.is_under_way,
        }
    }
}

/// The bytes moved between us and one peer since the torrent was added, over all its connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceStat {
    /// The address that it was dialled at or connected from.
    pub addr: SocketAddr,
    /// The peer id of its last connection.
    pub peer_id: PeerId,
    /// The name and version of its client, if it says so.
    pub client: Option<String>,
    /// Payload bytes that it sent us.
    pub down: u64,
    /// Of these, the bytes that it sent while it did not have everything. Zero for a peer that was
    /// never interested in our pieces: so is a super-seed (BEP 16), which seems to have little at
    /// first.
    pub down_as_leecher: u64,
    /// Payload bytes that we sent it.
    pub up: u64,
}
