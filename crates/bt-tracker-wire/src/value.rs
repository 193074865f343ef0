//! Defines the values of a tracker exchange, free of any encoding.
//!
//! Decides: the possible questions and answers. Must not know: HTTP, UDP, bencode.
//! Invariant: every field that a transport may leave out is an `Option`.

use alloc::string::String;
use alloc::vec::Vec;
use bt_types::{InfoHash, PeerId, printable};
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// `left` in bytes of a torrent of unknown size: one block. Zero would make us a seed, and some
/// trackers refuse or count huge numbers.
pub const LEFT_UNKNOWN: u64 = 16 * 1024;

/// Characters after which text of a tracker is cut: it is for a user, and goes into logs.
const WORDS_MAX: usize = 500;

/// Makes text of a tracker safe to display.
pub(crate) fn words(bytes: &[u8]) -> String {
    // A character has at most four bytes.
    printable(bytes.get(..4 * WORDS_MAX).unwrap_or(bytes)).chars().take(WORDS_MAX).collect()
}

/// An announce of one torrent (BEP 3, BEP 15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// The info-hash of the swarm.
    pub info_hash: InfoHash,
    /// The peer id of the announcing peer.
    pub peer_id: PeerId,
    /// The TCP port that the announcing peer listens on; 0 if it does not listen.
    pub port: u16,
    /// Payload bytes uploaded since `started`.
    pub uploaded: u64,
    /// Payload bytes downloaded since `started`.
    pub downloaded: u64,
    /// Bytes missing: 0 for a seed, [`LEFT_UNKNOWN`] for a magnet link without metadata so far.
    pub left: u64,
    /// The event since the last announce.
    pub event: Event,
    /// A number that proves the same client after its address changed; equal over both address
    /// families (BEP 7).
    pub key: u32,
    /// The number of peers wanted; `None` leaves it to the tracker, 0 asks for no peers.
    pub num_want: Option<u32>,
    /// The `tracker id` of an earlier reply, given back unchanged (HTTP only).
    pub tracker_id: Option<Vec<u8>>,
    /// Path and query of the tracker's URL, as `/announce?key=1` (BEP 41, UDP only).
    pub url_data: Option<Vec<u8>>,
}

impl Announce {
    /// Makes a plain announce of a peer that knows nothing of the torrent yet; the caller sets the
    /// other fields.
    pub fn new(info_hash: InfoHash, peer_id: PeerId, port: u16) -> Announce {
        Announce {
            info_hash,
            peer_id,
            port,
            uploaded: 0,
            downloaded: 0,
            left: LEFT_UNKNOWN,
            event: Event::None,
            key: 0,
            num_want: None,
            tracker_id: None,
            url_data: None,
        }
    }
}

/// The event since the last announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Event {
    /// Nothing: a regular announce. Unknown events are read as this event.
    #[default]
    None,
    /// The first announce.
    Started,
    /// The download has just become complete; not sent when it was complete at the start.
    Completed,
    /// The peer leaves the swarm.
    Stopped,
    /// Nothing, and the peer is a partial seed: it lacks something and downloads nothing more. Sent
    /// in every announce while that is so (BEP 21).
    Paused,
}

/// A tracker's answer to an announce.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AnnounceReply {
    /// Seconds until the next regular announce.
    pub interval: u32,
    /// Seconds before which no announce is welcome.
    pub min_interval: Option<u32>,
    /// The number of peers that have everything (`complete`).
    pub seeders: Option<u32>,
    /// The number of peers that lack something (`incomplete`).
    pub leechers: Option<u32>,
    /// The addresses that other peers listen at.
    pub peers: Vec<SocketAddr>,
    /// A warning that the user should read, although the announce succeeded.
    pub warning: Option<String>,
    /// The id to give back in later announces.
    pub tracker_id: Option<Vec<u8>>,
    /// Our own address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
}

/// A tracker's refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The tracker's text for the user.
    pub reason: String,
    /// When the client may try again (BEP 31), if the tracker says so.
    pub retry_in: Option<RetryIn>,
}

impl Failure {
    /// Makes a refusal that says nothing of a retry.
    pub fn new(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), retry_in: None }
    }

    /// Adds the time when the client may try again.
    pub fn retry(self, retry_in: RetryIn) -> Failure {
        Failure { retry_in: Some(retry_in), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl core::error::Error for Failure {}

/// When a refused announce may be tried again: from BEP 31, the `interval` and `min interval` of
/// the refusal, or HTTP's `Retry-After`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryIn {
    /// After this many minutes.
    Minutes(u32),
    /// After this many seconds.
    Seconds(u32),
    /// Not at all.
    Never,
}

/// The counts of one swarm in a scrape (BEP 48).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SwarmCounts {
    /// Peers that have everything.
    pub complete: u32,
    /// The number of completed downloads.
    pub downloaded: u32,
    /// Peers that lack something.
    pub incomplete: u32,
    /// Of these, the peers that download: partial seeds are left out (BEP 21). `None` if the
    /// tracker does not tell them apart; over UDP it cannot.
    pub downloaders: Option<u32>,
}

/// The answer to a scrape: a tracker may leave out swarms that it does not know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScrapeReply {
    /// One entry per swarm.
    pub swarms: Vec<(InfoHash, SwarmCounts)>,
}

/// A question to a tracker: an announce or a scrape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrackerRequest {
    /// Announce one torrent.
    Announce(Announce),
    /// Ask for the counts of these swarms; over UDP only of the first
    /// [`SCRAPE_ASKED_MAX`](crate::SCRAPE_ASKED_MAX).
    Scrape(Vec<InfoHash>),
}

/// The answer to an [`TrackerRequest`], of the same kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To an announce.
    Announce(AnnounceReply),
    /// To a scrape.
    Scrape(ScrapeReply),
}
