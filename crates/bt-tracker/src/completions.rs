//! Remembers which completed downloads were counted.
//!
//! Decides: whether a completed download counts. Must not know: which peers are in a swarm now; a
//! peer that leaves and comes back does not count again.
//! Invariant: for each torrent a peer counts once, and a subscriber at most `PER_SUBSCRIBER` times.
//! At most `limit` completions are remembered, each by its hashes.

use crate::budget::Budget;
use crate::index::{Index, NUMBERS_MAX};
use crate::keyed_hash::KeyedHash;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use bt_types::{InfoHash, subscriber};
use core::net::{IpAddr, SocketAddr};

/// Completions of one torrent that count for one subscriber, or for one host near us: all of a
/// household, and few of a campus.
const PER_SUBSCRIBER: usize = 8;
/// Completions of a segment: 64 KiB.
const SEGMENT: usize = 4_096;

/// The completions that were counted last.
#[derive(Debug)]
pub(crate) struct Completions {
    segments: Vec<Box<[Completion]>>,
    /// The completions by hash of subscriber and torrent.
    index: Index,
    /// Completions remembered, at most `limit`.
    len: usize,
    /// The place of the next: the oldest, once all are taken.
    next: usize,
    limit: usize,
    hash: KeyedHash,
}

#[derive(Clone, Copy, Debug, Default)]
struct Completion {
    /// The hash of subscriber and torrent.
    subscriber: u64,
    /// The hash of peer and torrent.
    peer: u64,
}

impl Completions {
    /// Makes an empty memory; the last `limit` completions are remembered.
    pub(crate) fn new(limit: usize, hash: KeyedHash) -> Completions {
        let limit = limit.clamp(1, NUMBERS_MAX as usize);
        Completions { segments: Vec::new(), index: Index::default(), len: 0, next: 0, limit, hash }
    }

    /// Counts the completed download of a peer, and returns whether it counts: the first time only.
    /// Without room in the budget the oldest completion is forgotten.
    pub(crate) fn count(&mut self, hash: InfoHash, peer: SocketAddr, budget: &mut Budget) -> bool {
        let torrent = self.hash.bytes(&hash.0);
        let wide = |ip: IpAddr, port| match ip {
            IpAddr::V4(ip) => self.hash.wide(ip.to_ipv6_mapped().to_bits(), port),
            IpAddr::V6(ip) => self.hash.wide(ip.to_bits(), port),
        };
        let new = Completion {
            subscriber: self.hash.word(torrent ^ wide(subscriber(peer.ip()), 0)),
            peer: self.hash.word(torrent ^ wide(peer.ip(), peer.port())),
        };
        let mut of_subscriber = 0;
        let is_counted = self.index.find(new.subscriber, |number| {
            let other = get(&self.segments, number);
            of_subscriber += usize::from(other.subscriber == new.subscriber);
            other.peer == new.peer || of_subscriber >= PER_SUBSCRIBER
        });
        if is_counted.is_some() || !self.has_place(budget) {
            return false;
        }
        let (number, segments) = (self.next as u32, &self.segments);
        let hash_of = |number| get(segments, number).subscriber;
        if self.next < self.len {
            self.index.remove(hash_of(number), number, budget, hash_of);
            self.len -= 1;
        }
        if self.index.insert(new.subscriber, number, budget, hash_of) {
            let segment = self.segments.get_mut(self.next / SEGMENT);
            let place = segment.and_then(|segment| segment.get_mut(self.next % SEGMENT));
            place.into_iter().for_each(|place| *place = new);
            self.len += 1;
            self.next = if self.next + 1 < self.limit { self.next + 1 } else { 0 };
        } else {
            // The index cannot grow: what is remembered now is the limit.
            self.limit = self.len.max(1);
            self.next = 0;
        }
        true
    }

    /// Makes sure that the next completion has a place: without memory for more, the limit is
    /// reached.
    fn has_place(&mut self, budget: &mut Budget) -> bool {
        if self.next / SEGMENT < self.segments.len() {
            return true;
        }
        if budget.claim(SEGMENT * size_of::<Completion>()) {
            self.segments.push(vec![Completion::default(); SEGMENT].into());
        } else if self.next > 0 {
            self.limit = self.next;
            self.next = 0;
        }
        !self.segments.is_empty()
    }
}

fn get(segments: &[Box<[Completion]>], number: u32) -> Completion {
    let segment = segments.get(number as usize / SEGMENT);
    segment.and_then(|segment| segment.get(number as usize % SEGMENT)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_types::Rng;

    /// A memory, with a budget that suffices.
    struct Done(Completions, Budget);

    impl Done {
        fn new(limit: usize) -> Done {
            let hash = KeyedHash::new(&mut Rng::from_seed(1));
            Done(Completions::new(limit, hash), Budget::new(1 << 20))
        }

        fn count(&mut self, hash: InfoHash, peer: SocketAddr) -> bool {
            self.0.count(hash, peer, &mut self.1)
        }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_counts_once_and_a_subscriber_few_times() {
        let (mut done, one, other) = (Done::new(100), InfoHash([1; 20]), InfoHash([2; 20]));
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
        let (mut done, hash) = (Done::new(3), InfoHash([1; 20]));
        let count =
            |done: &mut Done, host: u8| done.count(hash, SocketAddr::from(([1, 1, 1, host], 1)));
        assert!((0..4).all(|host| count(&mut done, host)));
        assert_eq!(done.0.len, 3);
        assert!(
            !count(&mut done, 3) && count(&mut done, 0),
            "the newest is remembered, the oldest is not"
        );
    }

    #[test]
    fn who_found_no_memory_at_first_remembers_as_many_later() {
        let (mut done, hash) = (Done::new(100), InfoHash([1; 20]));
        let addr = |host: u8| SocketAddr::from(([1, 1, 1, host], 1));
        assert!(done.1.claim(1 << 20));
        assert!(!done.count(hash, addr(0)), "what cannot be remembered does not count");
        done.1.release(1 << 20);
        assert!((0..100).all(|host| done.count(hash, addr(host))));
        assert!((0..100).all(|host| !done.count(hash, addr(host))));
    }

    #[test]
    fn without_memory_fewer_are_remembered() {
        let hash = KeyedHash::new(&mut Rng::from_seed(1));
        let (mut done, mut budget) = (Completions::new(100_000, hash), Budget::new(70_000));
        let mut count = |n: u32| {
            let ip = std::net::Ipv4Addr::from(0x0808_0000 + n);
            done.count(InfoHash([1; 20]), (ip, 1).into(), &mut budget)
        };
        assert!((0..10_000).all(&mut count), "each counts");
        assert!(!count(9_999) && count(0), "the newest is remembered, the oldest is not");
        assert!(done.len > 400 && budget.held() <= 70_000, "{}", done.len);
    }
}
