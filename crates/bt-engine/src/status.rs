//! What the engine tells about itself: snapshots of torrents and peers, and why a connection ended.
//!
//! Decides: the words of reports. Must not know: how they are shown.
//! Invariant: values only; reading a status changes nothing.

use alloc::string::String;
use alloc::vec::Vec;
use bt_types::{PeerId, StoreFault};
use core::fmt;
use core::net::SocketAddr;

/// Why a connection was ended, by blame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Why {
    /// The peer closed it, or the network did.
    Gone,
    /// The torrent was removed.
    Removed,
    /// It is ourselves.
    Ourselves,
    /// Another connection to the same peer stands.
    Duplicate,
    /// No room for another connection.
    Full,
    /// Neither wants anything: each has everything, or all that it wants.
    BothSeeds,
    /// It gave no metadata, although it had offered some and was asked, or while others waited for its place.
    NoMetadata,
    /// Its metadata is longer than we take, or it changes its length.
    MetadataSize,
    /// It said more than we keep while the metadata is not there.
    Backlog,
    /// The torrent turned out to be private, and neither a tracker nor the user named this peer (BEP 27).
    Private,
    /// Fault: it answered for another torrent than the one it was asked for.
    WrongTorrent,
    /// Fault: it named a piece or block outside the torrent.
    OutOfRange,
    /// Fault: a bitfield where none may stand, or of the wrong size.
    Bitfield,
    /// Fault: a message of the fast extension without having offered it.
    NotFast,
    /// Fault: metadata in a message that cannot be read, while we have none (BEP 9).
    Extended,
    /// Fault: it told of peers far too often (BEP 11).
    Flood,
    /// Fault: too many blocks that nobody asked for.
    Unrequested,
    /// Fault: it alone sent a piece that did not match its digest. Its address is banned.
    BadPiece,
    /// Fault: it alone sent metadata with a wrong hash. Its address is banned.
    BadMetadata,
    /// Fault: its address is banned for something that it did before.
    Banned,
}

impl Why {
    /// Whether the peer is to blame.
    pub fn is_fault(self) -> bool {
        self >= Why::WrongTorrent
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Gone => "the connection was closed",
            Why::Removed => "the torrent was removed",
            Why::Ourselves => "it is ourselves",
            Why::Duplicate => "we are connected to this peer already",
            Why::Full => "no room for another connection",
            Why::BothSeeds => "neither wants anything",
            Why::NoMetadata => "it gave no metadata",
            Why::MetadataSize => "it offers metadata of an impossible length",
            Why::Backlog => "it said too much before the metadata was there",
            Why::Private => "the torrent is private",
            Why::WrongTorrent => "it answered for another torrent",
            Why::OutOfRange => "it named a block outside the torrent",
            Why::Bitfield => "it sent a wrong bitfield",
            Why::NotFast => "it used the fast extension without offering it",
            Why::Extended => "it sent a broken extension message",
            Why::Flood => "it told of peers too often",
            Why::Unrequested => "it sent blocks that nobody asked for",
            Why::BadPiece => "it sent a piece with wrong bytes",
            Why::BadMetadata => "it sent wrong metadata",
            Why::Banned => "its address is banned",
        })
    }
}

/// A torrent at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TorrentStatus {
    /// Pieces verified and written.
    pub pieces_done: u32,
    /// Pieces of the torrent.
    pub pieces_total: u32,
    /// Pieces that are wanted and lacking.
    pub pieces_missing: u32,
    /// Bytes of all wanted pieces, there or not.
    pub bytes_wanted: u64,
    /// Bytes of the pieces that are wanted and lacking.
    pub bytes_missing: u64,
    /// Bytes in verified and written pieces, padding counted.
    pub bytes_done: u64,
    /// Payload bytes received since the torrent was added, good or not.
    pub bytes_down: u64,
    /// Payload bytes sent since the torrent was added.
    pub bytes_up: u64,
    /// Payload bytes received in vain: bad, late or twice.
    pub bytes_wasted: u64,
    /// Those of them that were bad: the bytes of pieces that did not match their digest.
    pub bytes_bad: u64,
    /// Pieces that did not match their digest.
    pub bad_pieces: u32,
    /// Peers that were banned for certainly wrong bytes.
    pub peers_banned: u32,
    /// Bytes per second now.
    pub down_rate: u64,
    /// Bytes per second now.
    pub up_rate: u64,
    /// Connections.
    pub peers: usize,
    /// Connected peers that have everything.
    pub seeds: usize,
    /// Connected peers that lack something and want nothing more (BEP 21).
    pub partial_seeds: usize,
    /// Connected peers that serve us.
    pub serving_us: usize,
    /// What the tracker said last: seeders and leechers of the swarm.
    pub swarm: Option<(u32, u32)>,
    /// Why the store does not go on, when it does not.
    pub store_fault: Option<StoreFault>,
    /// Why the download is slow or stands still, when it is.
    pub slow: Option<Reason>,
    /// The pieces, squeezed into at most 128 cells.
    pub map: Vec<MapCell>,
}

impl TorrentStatus {
    /// Whether every wanted piece is verified and written.
    pub fn is_done(&self) -> bool {
        self.pieces_missing == 0
    }
}

/// A magnet at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MagnetStatus {
    /// Connections.
    pub peers: usize,
    /// Length in bytes of the metadata, as those say who gave most of it; it may be a lie.
    pub size: Option<u32>,
    /// Bytes of it that are there.
    pub received: u64,
    /// Bytes of metadata that are held for all copies, right or wrong.
    pub held: u64,
}

/// Why a download is slow or stands still. The first that is true is given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The store does not go on.
    Store(StoreFault),
    /// Our own limit holds it: peers could be asked for more.
    Limit,
    /// Nobody is connected.
    NoPeers,
    /// Nobody who is connected has what is missing.
    NoData,
    /// Peers have what is missing, and all choke us.
    Choked,
    /// One peer alone has what is missing; others are connected.
    RarestOnePeer,
    /// Those who serve us deliver little.
    SlowPeers,
}

/// A stretch of a torrent's pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MapCell {
    /// Pieces that are verified and written.
    pub have: u32,
    /// Pieces that are wanted and lacking.
    pub missing: u32,
    /// Blocks of a missing piece were requested.
    pub is_under_way: bool,
}

impl MapCell {
    /// Joins two stretches.
    pub fn with(self, other: MapCell) -> MapCell {
        MapCell {
            have: self.have.saturating_add(other.have),
            missing: self.missing.saturating_add(other.missing),
            is_under_way: self.is_under_way || other.is_under_way,
        }
    }
}

/// What moved between us and one peer since the torrent was added, over all its connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceStat {
    /// Where we reached it, or it reached us from.
    pub addr: SocketAddr,
    /// The peer id of its last connection.
    pub peer_id: PeerId,
    /// What it calls itself, if it says.
    pub client: Option<String>,
    /// Payload bytes that it sent us.
    pub down: u64,
    /// Of these, the bytes that it sent while it did not have everything, if it ever wanted something of us: the first seed of a swarm seems to
    /// have little at first (BEP 16), and never wants anything.
    pub down_as_leecher: u64,
    /// Payload bytes that we sent it.
    pub up: u64,
}
