//! Remembers which completed downloads were counted.
//!
//! Decides: whether a completed download counts. Must not know: which peers are in a swarm now; a
//! peer that leaves and comes back does not count again.
//! Invariant: for each torrent a peer counts once, and a subscriber at most `PER_SUBSCRIBER` times.
//! At most `limit` completions are remembered.

use crate::swarm::span;
use alloc::collections::{BTreeSet, VecDeque};
use bt_types::InfoHash;
use core::net::SocketAddr;

/// Completions of one torrent that count for one subscriber, or for one host near us: all of a
/// household, and few of a campus.
const PER_SUBSCRIBER: usize = 8;

/// The completions that were counted last.
#[derive(Debug)]
pub(crate) struct Completions {
    counted: BTreeSet<(InfoHash, SocketAddr)>,
    /// The same completions in the order in which they were counted.
    order: VecDeque<(InfoHash, SocketAddr)>,
    limit: usize,
}

impl Completions {
    /// Makes an empty memory; the last `limit` completions are remembered.
    pub(crate) fn new(limit: usize) -> Completions {
        Completions { counted: BTreeSet::new(), order: VecDeque::new(), limit }
    }

    /// Counts the completed download of a peer, and returns whether it counts: the first time only.
    pub(crate) fn count(&mut self, hash: InfoHash, peer: SocketAddr) -> bool {
        let (first, last) = span(peer.ip());
        let of_subscriber =
            self.counted.range((hash, first)..=(hash, last)).take(PER_SUBSCRIBER).count();
        if of_subscriber >= PER_SUBSCRIBER || !self.counted.insert((hash, peer)) {
            return false;
        }
        if self.order.len() >= self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.counted.remove(&oldest);
        }
        self.order.push_back((hash, peer));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_counts_once_and_a_subscriber_few_times() {
        let (mut done, one, other) = (Completions::new(100), InfoHash([1; 20]), InfoHash([2; 20]));
        for network in ["1.1.1.1:", "127.0.0.1:", "[::1]:"] {
            let times = (1..100)
                .filter(|port| done.count(one, addr(&std::format!("{network}{port}"))))
                .count();
            assert_eq!(times, PER_SUBSCRIBER, "{network}");
        }
        let times = (1..100)
            .filter(|host| done.count(one, addr(&std::format!("[2001:db8::{host}]:5"))))
            .count();
        assert_eq!(times, PER_SUBSCRIBER, "an IPv6 /64");
        assert!(done.count(one, addr("1.1.1.2:1")) && !done.count(one, addr("1.1.1.2:1")));
        assert!(
            done.count(other, addr("1.1.1.1:1")) && !done.count(other, addr("1.1.1.1:1")),
            "another torrent"
        );
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (mut done, hash) = (Completions::new(3), InfoHash([1; 20]));
        let count = |done: &mut Completions, host: u8| {
            done.count(hash, SocketAddr::from(([1, 1, 1, host], 1)))
        };
        assert!((0..4).all(|host| count(&mut done, host)));
        assert_eq!((done.counted.len(), done.order.len()), (3, 3));
        assert!(
            !count(&mut done, 3) && count(&mut done, 0),
            "the newest is remembered, the oldest is not"
        );
    }
}
