//! Which completed downloads were counted.
//!
//! Decides: whether one counts. Must not know: who is in a swarm now; so who leaves and comes back is not new.
//! Invariant: of one torrent a peer counts once, a subscriber `PER_SUBSCRIBER` times; never more is remembered than the limit.

use crate::swarm::span;
use alloc::collections::{BTreeSet, VecDeque};
use bt_types::InfoHash;
use core::net::SocketAddr;

/// Completions of one torrent that count of one subscriber, or of one host near us: a household, and few of a campus.
const PER_SUBSCRIBER: usize = 8;

/// The completions that were counted last.
#[derive(Debug)]
pub(crate) struct Completions {
    counted: BTreeSet<(InfoHash, SocketAddr)>,
    /// The same in the order in which they were counted.
    order: VecDeque<(InfoHash, SocketAddr)>,
    limit: usize,
}

impl Completions {
    /// No completion was counted; the last `limit` are remembered.
    pub(crate) fn new(limit: usize) -> Completions {
        Completions { counted: BTreeSet::new(), order: VecDeque::new(), limit }
    }

    /// Whether the completed download of a peer counts; from then on it has.
    pub(crate) fn count(&mut self, hash: InfoHash, peer: SocketAddr) -> bool {
        let (first, last) = span(peer.ip());
        let of_subscriber = self.counted.range((hash, first)..=(hash, last)).take(PER_SUBSCRIBER).count();
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
            let times = (1..100).filter(|port| done.count(one, addr(&std::format!("{network}{port}")))).count();
            assert_eq!(times, PER_SUBSCRIBER, "{network}");
        }
        let times = (1..100).filter(|host| done.count(one, addr(&std::format!("[2001:db8::{host}]:5")))).count();
        assert_eq!(times, PER_SUBSCRIBER, "an IPv6 /64");
        assert!(done.count(one, addr("1.1.1.2:1")) && !done.count(one, addr("1.1.1.2:1")));
        assert!(done.count(other, addr("1.1.1.1:1")) && !done.count(other, addr("1.1.1.1:1")), "another torrent");
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (mut done, hash) = (Completions::new(3), InfoHash([1; 20]));
        let count = |done: &mut Completions, host: u8| done.count(hash, SocketAddr::from(([1, 1, 1, host], 1)));
        assert!((0..4).all(|host| count(&mut done, host)));
        assert_eq!((done.counted.len(), done.order.len()), (3, 3));
        assert!(!count(&mut done, 3) && count(&mut done, 0), "the newest is remembered, the oldest is not");
    }
}
