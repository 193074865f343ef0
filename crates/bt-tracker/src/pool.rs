//! Holds peers of one role and one family, for random access and for look-up by address.
//!
//! Decides: the position of a peer in the list. Must not know: roles, the clock.
//! Invariant: `places` holds exactly the index of each peer's address in `peers`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bt_types::{PeerId, Rng, Time};
use core::net::SocketAddr;

/// A peer of one swarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Peer {
    /// The address that it listens at: the source of its announce, with the port that it announced.
    pub(crate) addr: SocketAddr,
    /// The peer id that it claims.
    pub(crate) id: PeerId,
    /// When it is forgotten unless it announces again.
    pub(crate) expires: Time,
    /// It has shown that it knows what it lacks: it has metadata.
    pub(crate) informed: bool,
}

/// A list of peers in no order.
#[derive(Default, Debug)]
pub(crate) struct Pool {
    peers: Vec<Peer>,
    places: BTreeMap<SocketAddr, usize>,
}

impl Pool {
    /// Returns the number of peers.
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// Returns the peer at an index below [`len`](Self::len).
    pub(crate) fn at(&self, index: usize) -> Option<&Peer> {
        self.peers.get(index)
    }

    /// Returns whether a peer has this address.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        self.places.contains_key(&addr)
    }

    /// Counts the peers with addresses from `first` to `last`, up to `most`.
    pub(crate) fn count_between(&self, first: SocketAddr, last: SocketAddr, most: usize) -> usize {
        self.places.range(first..=last).take(most).count()
    }

    /// Adds a peer whose address is not in the pool.
    pub(crate) fn insert(&mut self, peer: Peer) {
        self.places.insert(peer.addr, self.peers.len());
        self.peers.push(peer);
    }

    /// Removes a peer; the last peer moves to its position.
    pub(crate) fn remove(&mut self, addr: SocketAddr) -> Option<Peer> {
        let index = self.places.remove(&addr)?;
        let peer = self.peers.swap_remove(index);
        if let Some(moved) = self.peers.get(index) {
            self.places.insert(moved.addr, index);
        }
        Some(peer)
    }
}

/// Yields the numbers below a length in random order, each once. It is a Fisher-Yates shuffle that
/// remembers only what it moved, so drawing a few out of a million is cheap.
pub(crate) struct RandomOrder<'a> {
    rng: &'a mut Rng,
    next: usize,
    len: usize,
    moved: BTreeMap<usize, usize>,
}

impl<'a> RandomOrder<'a> {
    /// Makes a random order of the numbers below `len`.
    pub(crate) fn new(len: usize, rng: &'a mut Rng) -> RandomOrder<'a> {
        RandomOrder { rng, next: 0, len, moved: BTreeMap::new() }
    }
}

impl Iterator for RandomOrder<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let left = self.len.checked_sub(self.next).filter(|&left| left > 0)?;
        let pick = self.next + self.rng.index(left);
        let here = self.moved.remove(&self.next).unwrap_or(self.next);
        let drawn =
            if pick == self.next { here } else { self.moved.insert(pick, here).unwrap_or(pick) };
        self.next += 1;
        Some(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_types::Rng;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec;

    fn peer(port: u16) -> Peer {
        Peer {
            addr: ([1, 2, 3, 4], port).into(),
            id: PeerId([0; 20]),
            expires: Time::ZERO,
            informed: false,
        }
    }

    proptest! {
        #[test]
        fn a_pool_is_a_set_of_addresses(steps: Vec<(bool, u8)>) {
            let (mut pool, mut model) = (Pool::default(), BTreeSet::new());
            for (add, port) in steps {
                let port = u16::from(port % 16);
                if add && model.insert(port) {
                    pool.insert(peer(port));
                } else if !add {
                    prop_assert_eq!(pool.remove(peer(port).addr).is_some(), model.remove(&port));
                }
                let ports: BTreeSet<_> = (0..pool.len()).map(|index| pool.at(index).unwrap().addr.port()).collect();
                prop_assert_eq!(&ports, &model);
                prop_assert_eq!(pool.len(), model.len());
            }
        }

        #[test]
        fn a_random_order_has_each_number_once(len in 0usize..200, seed: u64) {
            let mut numbers: Vec<_> = RandomOrder::new(len, &mut Rng::from_seed(seed)).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_number_is_as_likely_as_another() {
        let (mut rng, mut drawn) = (Rng::from_seed(7), vec![0u32; 20]);
        for _ in 0..20_000 {
            RandomOrder::new(20, &mut rng).take(5).for_each(|number| drawn[number] += 1);
        }
        // 5,000 expected for each; a standard deviation is about 61.
        assert!(drawn.iter().all(|&count| (4_700..5_300).contains(&count)), "{drawn:?}");
    }
}
