//! Limits one torrent in one direction, within the limit that all torrents share.
//!
//! Decides: whether a peer may use its turn. Must not know: the order of the turns.
//! Invariant: a peer that may not use its turn is parked, and is in the queue again when the limit
//! has room.

use crate::io::PeerKey;
use crate::meter::Bucket;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bt_types::Time;

/// The limit of a torrent; empty for most torrents, which never have a limit.
#[derive(Default, Debug)]
pub(crate) struct RateLimit(Option<Box<Limit>>);

#[derive(Debug)]
struct Limit {
    bucket: Bucket,
    parked: Vec<PeerKey>,
}

impl RateLimit {
    pub(crate) fn set_rate(&mut self, rate: Option<u64>, now: Time) {
        if rate.is_some() || self.0.is_some() {
            let limit = self.0.get_or_insert_with(|| {
                Box::new(Limit { bucket: Bucket::new(None, now), parked: Vec::new() })
            });
            limit.bucket.set_rate(rate, now);
        }
    }

    pub(crate) fn rate(&self) -> Option<u64> {
        self.0.as_ref()?.bucket.rate()
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.rate().is_some()
    }

    /// Returns whether the peer may use its turn; if not, parks it.
    pub(crate) fn passes(&mut self, now: Time, peer: PeerKey) -> bool {
        let Some(limit) = &mut self.0 else { return true };
        let is_open = limit.bucket.is_open(now);
        if !is_open {
            limit.parked.push(peer);
        }
        is_open
    }

    pub(crate) fn charge(&mut self, bytes: u64) {
        if let Some(limit) = &mut self.0 {
            limit.bucket.take(bytes);
        }
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        if let Some(limit) = &mut self.0 {
            limit.bucket.give_back(bytes);
        }
    }

    /// Takes the parked peers, if the limit has room.
    pub(crate) fn unpark(&mut self, now: Time) -> Vec<PeerKey> {
        let Some(limit) = &mut self.0 else { return Vec::new() };
        if limit.parked.is_empty() || !limit.bucket.is_open(now) {
            Vec::new()
        } else {
            core::mem::take(&mut limit.parked)
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        let limit = self.0.as_ref().filter(|limit| !limit.parked.is_empty())?;
        // Without a rate, peers that were parked under an earlier rate go on at once.
        limit.bucket.opens_at().or((!self.is_limited()).then_some(Time::ZERO))
    }
}
