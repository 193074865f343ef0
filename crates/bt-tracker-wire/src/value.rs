//! The values of a tracker exchange, free of any encoding.
//!
//! Decides: what can be asked and answered. Must not know: HTTP, UDP, bencode.
//! Invariant: every field that a transport may leave out is an `Option`.

use alloc::string::String;
use alloc::vec::Vec;
use bt_types::{InfoHash, PeerId, printable};
use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// `left` of a torrent whose size is not known: one block. Zero would make us a seed, and some trackers refuse or count what is huge.
pub const LEFT_UNKNOWN: u64 = 16 * 1024;

/// Text of a tracker is cut after so many characters: it is for a person, and goes into logs.
const WORDS_MAX: usize = 500;

/// Text of a tracker, made safe to show.
pub(crate) fn words(bytes: &[u8]) -> String {
    // No character has more bytes than four.
    printable(bytes.get(..4 * WORDS_MAX).unwrap_or(bytes)).chars().take(WORDS_MAX).collect()
}

/// One announce of one torrent (BEP 3, BEP 15).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announce {
    /// The swarm.
    pub info_hash: InfoHash,
    /// Who announces.
    pub peer_id: PeerId,
    /// The TCP port that the announcing peer listens on; 0 when it does not.
    pub port: u16,
    /// Payload bytes uploaded since `started`.
    pub uploaded: u64,
    /// Payload bytes downloaded since `started`.
    pub downloaded: u64,
    /// Bytes still missing: 0 for a seed, [`LEFT_UNKNOWN`] for a magnet link that has no metadata yet.
    pub left: u64,
    /// What happened since the last announce.
    pub event: Event,
    /// A number that proves the same client after its address changed; equal over both address families (BEP 7).
    pub key: u32,
    /// How many peers are wanted; `None` leaves it to the tracker, 0 asks for none.
    pub num_want: Option<u32>,
    /// The `tracker id` of an earlier reply, given back as it came (HTTP only).
    pub tracker_id: Option<Vec<u8>>,
    /// Path and query of the tracker's URL, as `/announce?key=1` (BEP 41, UDP only).
    pub url_data: Option<Vec<u8>>,
}

impl Announce {
    /// A plain announce of a peer that knows nothing of the torrent yet; the other fields are set by the caller.
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

/// What happened since the last announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Event {
    /// Nothing: a regular announce. Events that we do not know are read as this one.
    #[default]
    None,
    /// The first announce.
    Started,
    /// The download has just become complete; not sent when it was complete at the start.
    Completed,
    /// The peer leaves.
    Stopped,
    /// Nothing, and the peer is a partial seed: it lacks something and downloads nothing more. Told in every announce while
    /// that is so (BEP 21).
    Paused,
}

/// A tracker's answer to an announce.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AnnounceReply {
    /// Seconds until the next regular announce.
    pub interval: u32,
    /// Seconds before which no announce is welcome.
    pub min_interval: Option<u32>,
    /// Number of peers that have everything (`complete`).
    pub seeders: Option<u32>,
    /// Number of peers that do not (`incomplete`).
    pub leechers: Option<u32>,
    /// Where other peers listen.
    pub peers: Vec<SocketAddr>,
    /// Something that the person should read, although the announce succeeded.
    pub warning: Option<String>,
    /// To be given back in later announces.
    pub tracker_id: Option<Vec<u8>>,
    /// Our own address as the tracker sees it (BEP 24).
    pub external_ip: Option<IpAddr>,
}

/// A tracker's refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Text of the tracker for the person.
    pub reason: String,
    /// When it may be tried again (BEP 31), if the tracker says.
    pub retry_in: Option<RetryIn>,
}

impl Failure {
    /// A refusal that says nothing of a retry.
    pub fn new(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), retry_in: None }
    }

    /// The same refusal, with the time when it may be tried again.
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

/// When a refused announce may be tried again: BEP 31, or the `interval` and `min interval` of the refusal, or HTTP's `Retry-After`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryIn {
    /// After this many minutes.
    Minutes(u32),
    /// After this many seconds.
    Seconds(u32),
    /// Not at all.
    Never,
}

/// What a scrape says of one swarm (BEP 48).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SwarmCounts {
    /// Peers that have everything.
    pub complete: u32,
    /// How often a download was completed.
    pub downloaded: u32,
    /// Peers that do not have everything.
    pub incomplete: u32,
    /// Of these, the peers that download: partial seeds are left out (BEP 21). `None` when the tracker does not tell them
    /// apart; over UDP it cannot.
    pub downloaders: Option<u32>,
}

/// The answer to a scrape: a tracker may leave out swarms that it does not know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScrapeReply {
    /// One entry per swarm.
    pub swarms: Vec<(InfoHash, SwarmCounts)>,
}

/// A question to a tracker, of either kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Announce one torrent.
    Announce(Announce),
    /// Ask for the counts of these swarms; over UDP of the first [`SCRAPE_ASKED_MAX`](crate::SCRAPE_ASKED_MAX) only.
    Scrape(Vec<InfoHash>),
}

/// The answer to an [`Ask`], of the same kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To an announce.
    Announce(AnnounceReply),
    /// To a scrape.
    Scrape(ScrapeReply),
}
