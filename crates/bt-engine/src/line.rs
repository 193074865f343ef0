//! Turns under one rate limit: the line of peers that wait to be served, or to be asked.
//!
//! Decides: whose turn it is, and when. Must not know: torrents, choking, payload.
//! Invariant: those in line have their turns one after another, so none starves; a limit is never passed by more than a block.

use crate::io::{PeerKey, TorrentKey};
use crate::meter::Bucket;
use alloc::collections::VecDeque;
use bt_types::{BLOCK_LEN, Time};

/// Payload bytes ordered for one peer and not yet written, at most, beyond the rest of the last block (128 KiB at most): enough to keep a
/// fast socket full between two wakes.
pub(crate) const SEND_CREDIT_MAX: u64 = 512 << 10;
/// The same, at least. In between, a peer has what it takes in a second: payload that is ordered can neither be cancelled nor
/// overtaken by our own requests and haves.
pub(crate) const SEND_CREDIT_MIN: u64 = 16 << 10;
/// Payload bytes of one turn: one vectored write.
const TURN_BYTES: u64 = 512 << 10;
/// Under a limit a turn is an eighth of a second's worth, but no more than this, so that peers share evenly, and a block at least.
const TURN_BYTES_LIMITED: u64 = 32 << 10;

/// Those who wait for one direction of the network.
#[derive(Debug)]
pub(crate) struct Line {
    bucket: Bucket,
    line: VecDeque<(TorrentKey, PeerKey)>,
}

impl Line {
    pub(crate) fn new(rate: Option<u64>) -> Line {
        Line { bucket: Bucket::new(rate, Time::ZERO), line: VecDeque::new() }
    }

    pub(crate) fn set_rate(&mut self, rate: Option<u64>, now: Time) {
        self.bucket.set_rate(rate, now);
    }

    /// A peer joins the end of the line.
    pub(crate) fn join(&mut self, torrent: TorrentKey, peer: PeerKey) {
        self.line.push_back((torrent, peer));
    }

    /// Whose turn it is and how many bytes it may take, if anybody's.
    pub(crate) fn next(&mut self, now: Time) -> Option<(TorrentKey, PeerKey, u64)> {
        if self.line.is_empty() || !self.bucket.is_open(now) {
            return None;
        }
        let (torrent, peer) = self.line.pop_front()?;
        Some((torrent, peer, turn(self.bucket.rate())))
    }

    /// So many bytes pass.
    pub(crate) fn charge(&mut self, bytes: u64) {
        self.bucket.take(bytes);
    }

    /// So many bytes that were charged will not pass.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.bucket.give_back(bytes);
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.line.is_empty() { None } else { self.bucket.opens_at() }
    }
}

/// Bytes of one turn under this limit.
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
            let mut line = Line::new(Some(rate));
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
