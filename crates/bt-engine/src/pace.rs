//! The limit of one torrent in one direction, within those that all share.
//!
//! Decides: whether a peer whose turn has come may have it. Must not know: whose turn comes when.
//! Invariant: who may not is parked, and is in line again when the limit allows it.

use crate::io::PeerKey;
use crate::meter::Bucket;
use alloc::vec::Vec;
use bt_types::Time;

/// A torrent's limit.
#[derive(Debug)]
pub(crate) struct Pace {
    bucket: Bucket,
    parked: Vec<PeerKey>,
}

impl Pace {
    /// No limit.
    pub(crate) fn new(now: Time) -> Pace {
        Pace { bucket: Bucket::new(None, now), parked: Vec::new() }
    }

    pub(crate) fn set_rate(&mut self, rate: Option<u64>, now: Time) {
        self.bucket.set_rate(rate, now);
    }

    pub(crate) fn rate(&self) -> Option<u64> {
        self.bucket.rate()
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.rate().is_some()
    }

    /// Whether the peer may have its turn; if not, it is parked.
    pub(crate) fn passes(&mut self, now: Time, peer: PeerKey) -> bool {
        let is_open = self.bucket.is_open(now);
        if !is_open {
            self.parked.push(peer);
        }
        is_open
    }

    pub(crate) fn charge(&mut self, bytes: u64) {
        self.bucket.take(bytes);
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.bucket.give_back(bytes);
    }

    /// Those who were parked, if the limit has room.
    pub(crate) fn unpark(&mut self, now: Time) -> Vec<PeerKey> {
        if self.parked.is_empty() || !self.bucket.is_open(now) { Vec::new() } else { core::mem::take(&mut self.parked) }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        // Without a limit those who were parked under an earlier one go on at once.
        if self.parked.is_empty() { None } else { self.bucket.opens_at().or((!self.is_limited()).then_some(Time::ZERO)) }
    }
}
