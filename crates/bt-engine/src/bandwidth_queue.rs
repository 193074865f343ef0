//! Shares the rate limit of all torrents by turns: the queue of peers that wait to be served, or to
//! be sent requests.
//!
//! Decides: which peer's turn it is, and when. Must not know: torrents, choking, payload.
//! Invariant: queued peers have their turns one after another, so that none starves. Beyond its
//! burst, a limit is exceeded by at most one turn.

use crate::io::{PeerKey, TorrentKey};
use crate::meter::Bucket;
use alloc::collections::VecDeque;
use bt_types::{BLOCK_LEN, Time};

/// Most payload bytes ordered for one peer and not yet written, beyond the rest of the last block
/// (128 KiB at most). It keeps a fast socket full between two wakes.
pub(crate) const SEND_CREDIT_MAX: u64 = 512 << 10;
/// The least such bytes. In between, a peer's credit is a second of its rate. Ordered payload can
/// neither be cancelled nor overtaken by our own requests and haves.
pub(crate) const SEND_CREDIT_MIN: u64 = 16 << 10;
/// Payload bytes of one turn: one vectored write.
const TURN_BYTES: u64 = 512 << 10;
/// Most payload bytes of one turn under a limit, so that peers share evenly. A turn is an eighth of
/// a second's worth, and at least a block.
const TURN_BYTES_LIMITED: u64 = 32 << 10;

/// The peers that wait for one direction of the network.
#[derive(Debug)]
pub(crate) struct BandwidthQueue {
    bucket: Bucket,
    line: VecDeque<(TorrentKey, PeerKey)>,
}

impl BandwidthQueue {
    pub(crate) fn new(rate: Option<u64>) -> BandwidthQueue {
        BandwidthQueue { bucket: Bucket::new(rate, Time::ZERO), line: VecDeque::new() }
    }

    pub(crate) fn set_rate(&mut self, rate: Option<u64>, now: Time) {
        self.bucket.set_rate(rate, now);
    }

    /// Adds a peer to the end of the queue.
    pub(crate) fn join(&mut self, torrent: TorrentKey, peer: PeerKey) {
        self.line.push_back((torrent, peer));
    }

    /// Takes the peer whose turn it is, and the bytes that it may take. `None` if the queue is
    /// empty or the limit has no room.
    pub(crate) fn next(&mut self, now: Time) -> Option<(TorrentKey, PeerKey, u64)> {
        if self.line.is_empty() || !self.bucket.is_open(now) {
            return None;
        }
        let (torrent, peer) = self.line.pop_front()?;
        Some((torrent, peer, turn(self.bucket.rate())))
    }

    /// Charges bytes that pass.
    pub(crate) fn charge(&mut self, bytes: u64) {
        self.bucket.take(bytes);
    }

    /// Gives back charged bytes that will not pass.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.bucket.give_back(bytes);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.line.is_empty() { None } else { self.bucket.opens_at() }
    }
}

/// Computes the bytes of one turn under this limit.
fn turn(rate: Option<u64>) -> u64 {
    rate.map_or(TURN_BYTES, |rate| (rate / 8).clamp(BLOCK_LEN.into(), TURN_BYTES_LIMITED))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    #[test]
    fn each_has_its_turn_and_the_limit_holds() {
        // (rate in bytes per second, seconds, bytes that may be missing or too many)
        for (rate, seconds, off) in [(5 << 10, 60, BLOCK_LEN.into()), (5 << 20, 20, 5 << 20)] {
            let mut line = BandwidthQueue::new(Some(rate));
            let mut served = BTreeMap::<PeerKey, u64>::new();
            (0..4).for_each(|peer| line.join(TorrentKey(0), PeerKey(peer)));
            let mut now = Time::ZERO;
            while now <= Time::from_secs(seconds) {
                while let Some((torrent, peer, bytes)) = line.next(now) {
                    *served.entry(peer).or_default() += bytes;
                    line.charge(bytes);
                    line.join(torrent, peer);
                }
                now = line.deadline().unwrap();
            }
            let all: u64 = served.values().sum();
            assert!(all.abs_diff(rate * seconds) <= off, "{all} in {seconds} s at {rate}");
            let (least, most) = (served.values().min().unwrap(), served.values().max().unwrap());
            assert!(most - least <= turn(Some(rate)), "{served:?}");
        }
    }
}
