//! Defines what is known of a torrent, its peers and its trackers at one moment.
//!
//! Decides: the words of reports. Must not know: how they are displayed.
//! Invariant: values only; reading a view changes nothing.

use alloc::string::String;
use alloc::vec::Vec;
use bt_types::{PeerId, StoreFault};
use core::net::SocketAddr;
use core::time::Duration;

/// What is known of a torrent at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TorrentView {
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

impl TorrentView {
    /// Returns whether every wanted piece is verified and written.
    pub fn is_done(&self) -> bool {
        self.pieces_missing == 0
    }
}

/// What is known of a magnet link at one moment, while its metadata is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MagnetView {
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// What is known of a connected peer at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerView {
    /// The address that it was dialled at or connected from.
    pub addr: SocketAddr,
    /// Its peer id.
    pub peer_id: PeerId,
    /// The name and version of its client, if it says so.
    pub client: Option<String>,
    /// We dialled it.
    pub outbound: bool,
    /// Time since the connection was made.
    pub connected_for: Duration,
    /// Pieces that it has.
    pub pieces: u32,
    /// Pieces that it has, and that we want and lack.
    pub pieces_wanted: u32,
    /// We choke it.
    pub am_choking: bool,
    /// We want pieces of it, and told it so.
    pub am_interested: bool,
    /// It chokes us.
    pub peer_choking: bool,
    /// It wants pieces of ours.
    pub peer_interested: bool,
    /// We unchoked it by chance, to get to know it.
    pub optimistic: bool,
    /// It was asked, and stayed silent for too long.
    pub snubbed: bool,
    /// It downloads nothing (BEP 21).
    pub upload_only: bool,
    /// Blocks that we requested and that have not come.
    pub requests: u32,
    /// Payload bytes per second that come from it now.
    pub down_rate: u64,
    /// Payload bytes per second that go to it now.
    pub up_rate: u64,
    /// Payload bytes that came over this connection.
    pub bytes_down: u64,
    /// Payload bytes that went over this connection.
    pub bytes_up: u64,
}

/// What is known of a tracker at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackerView {
    /// Its URL.
    pub url: String,
    /// Its tier (BEP 12), from 0 on.
    pub tier: usize,
    /// What its last answer, or the lack of an answer, says of it.
    pub standing: TrackerStanding,
    /// An announce is under way.
    pub is_asked: bool,
    /// Time until it may be announced to again; zero: now. It says nothing while the torrent is
    /// paused, an announce is under way, or the tracker is gone.
    pub next_in: Duration,
    /// Seeders of the swarm, as it said last.
    pub seeders: Option<u32>,
    /// Leechers of the swarm, as it said last.
    pub leechers: Option<u32>,
    /// Addresses of peers in its last answer.
    pub peers: u32,
    /// Its last warning, or the reason of its last failure; empty if there was none.
    pub message: String,
}

/// What the last answer of a tracker, or the lack of an answer, says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackerStanding {
    /// It was never asked.
    Untried,
    /// It answers.
    Works,
    /// It failed this number of times in a row.
    Fails(u32),
    /// It said that it must never be asked again (BEP 31).
    Gone,
}
