//! The order in which requests of all peers are served, under one rate limit.
//!
//! Decides: whose turn it is. Must not know: torrents, choking, payload.
//! Invariant: peers with waiting requests are served by turns, so none starves.

use crate::io::{PeerKey, TorrentKey};
use crate::meter::Bucket;
use alloc::collections::VecDeque;
use bt_types::Time;

/// Payload bytes ordered for one peer and not yet written, at most: enough to keep a fast socket full between two wakes.
pub(crate) const SEND_CREDIT_MAX: u64 = 1 << 20;
/// The same, at least. In between, a peer has what it takes in a second: payload that is ordered can neither be cancelled nor
/// overtaken by our own requests and haves.
pub(crate) const SEND_CREDIT_MIN: u64 = 16 << 10;
/// Payload bytes ordered in one turn: one vectored write.
pub(crate) const TURN_BYTES: u64 = 256 << 10;
/// Payload bytes ordered in one turn under a rate limit, so that peers share a slow uplink evenly.
pub(crate) const TURN_BYTES_LIMITED: u64 = 32 << 10;

/// The line of peers that wait to be served.
#[derive(Debug)]
pub(crate) struct Uplink {
    bucket: Bucket,
    limited: bool,
    line: VecDeque<(TorrentKey, PeerKey)>,
}

impl Uplink {
    pub(crate) fn new(rate: Option<u64>) -> Uplink {
        Uplink { bucket: Bucket::new(rate, Time::ZERO), limited: rate.is_some(), line: VecDeque::new() }
    }

    pub(crate) fn set_rate(&mut self, rate: Option<u64>, now: Time) {
        self.bucket.set_rate(rate, now);
        self.limited = rate.is_some();
    }

    /// The peer joins the end of the line, if it should.
    pub(crate) fn join_if(&mut self, joins: bool, torrent: TorrentKey, peer: PeerKey) {
        if joins {
            self.line.push_back((torrent, peer));
        }
    }

    /// Whose turn it is and how many bytes it may take, if anybody's.
    pub(crate) fn next(&mut self, now: Time) -> Option<(TorrentKey, PeerKey, u64)> {
        if self.line.is_empty() || !self.bucket.is_open(now) {
            return None;
        }
        let (torrent, peer) = self.line.pop_front()?;
        Some((torrent, peer, if self.limited { TURN_BYTES_LIMITED } else { TURN_BYTES }))
    }

    /// So many bytes were ordered.
    pub(crate) fn charge(&mut self, bytes: u64) {
        self.bucket.take(bytes);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.line.is_empty() { None } else { self.bucket.opens_at() }
    }
}
