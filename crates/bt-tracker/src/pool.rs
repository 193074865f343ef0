//! Holds the peers of swarms, one family: `[leechers | partial seeds | seeds]`, contiguous.
//!
//! Decides: the position of a peer. Must not know: the clock, limits, which peer is told of which.
//! Invariant: a swarm of at most 64 peers is one block of the least sufficient class. A larger one
//! is pages and an index; it becomes a block again at 32.

#[cfg(test)]
mod tests;

use crate::arena::{Arena, PAGE};
use crate::budget::Budget;
use crate::index::Index;
use crate::keyed_hash::KeyedHash;
use crate::peer::Peer;
use alloc::vec::Vec;
use bt_types::Closeness;
use core::ops::Range;

/// Peers at which a large swarm becomes small.
const SMALL_AGAIN: u32 = 32;
/// Marks `Peers::block` as a number of [`Large`].
const LARGE: u32 = 1 << 31;
/// The class of a page.
const PAGE_CLASS: usize = 6;
/// Most peers of one public IPv4 address or one public IPv6 /64, the span of one subscriber. A
/// campus behind one address finds room; a single host cannot be the swarm.
const PEERS_PER_SUBSCRIBER: u32 = 64;

/// The part of a peer in its swarm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Role {
    Leecher,
    /// It lacks something and downloads nothing (BEP 21).
    Partial,
    Seed,
}

/// Where the peers of one swarm and family are, and how many of each role.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peers {
    block: u32,
    pub(crate) leechers: u32,
    pub(crate) partial: u32,
    pub(crate) seeds: u32,
}

impl Peers {
    pub(crate) const EMPTY: Peers = Peers { block: 0, leechers: 0, partial: 0, seeds: 0 };

    pub(crate) fn len(self) -> u32 {
        self.leechers + self.partial + self.seeds
    }

    pub(crate) fn is_large(self) -> bool {
        self.len() > 0 && self.block & LARGE != 0
    }

    /// Returns the positions of a role.
    pub(crate) fn range(self, role: Role) -> Range<u32> {
        let [first, second] = self.bounds();
        match role {
            Role::Leecher => 0..first,
            Role::Partial => first..second,
            Role::Seed => second..self.len(),
        }
    }

    pub(crate) fn role(self, at: u32) -> Role {
        match self.bounds() {
            [first, _] if at < first => Role::Leecher,
            [_, second] if at < second => Role::Partial,
            _ => Role::Seed,
        }
    }

    fn bounds(self) -> [u32; 2] {
        [self.leechers, self.leechers + self.partial]
    }

    fn count(&mut self, role: Role) -> &mut u32 {
        match role {
            Role::Leecher => &mut self.leechers,
            Role::Partial => &mut self.partial,
            Role::Seed => &mut self.seeds,
        }
    }
}

/// The peers of all swarms, one family.
#[derive(Debug)]
pub(crate) struct Pool<P> {
    arena: Arena<P>,
    large: Vec<Large>,
    /// Numbers of `large` that no swarm has.
    free_large: Vec<u32>,
    hash: KeyedHash,
}

/// The peers of one swarm.
pub(crate) enum Members<'a, P> {
    Small(&'a [P]),
    /// The arena, and the pages in it.
    Large(&'a Arena<P>, &'a [u32]),
}

impl<P: Peer> Members<'_, P> {
    /// Returns the peer at a position.
    pub(crate) fn get(&self, at: u32) -> P {
        match self {
            Members::Small(peers) => peers.get(at as usize).copied().unwrap_or_default(),
            Members::Large(arena, pages) => peer_of(arena, pages, at),
        }
    }
}

/// What a swarm of many peers has: its pages, and positions by hash of the peer.
#[derive(Debug, Default)]
struct Large {
    pages: Vec<u32>,
    index: Index,
}

impl<P: Peer> Pool<P> {
    pub(crate) fn new(hash: KeyedHash) -> Pool<P> {
        Pool { arena: Arena::new(), large: Vec::new(), free_large: Vec::new(), hash }
    }

    /// Returns the peer at a position below `peers.len()`.
    pub(crate) fn get(&self, peers: Peers, at: u32) -> P {
        self.arena.get(self.place(peers, at))
    }

    /// Returns a view of the peers, for many looks.
    pub(crate) fn members(&self, peers: Peers) -> Members<'_, P> {
        match self.large(peers) {
            None => Members::Small(self.block(peers)),
            Some(large) => Members::Large(&self.arena, &large.pages),
        }
    }

    /// Overwrites a peer by one at the same address.
    pub(crate) fn renew(&mut self, peers: Peers, at: u32, peer: P) {
        let place = self.place(peers, at);
        self.arena.set(place, peer);
    }

    /// Returns the position of the peer at this address.
    pub(crate) fn find(&self, peers: Peers, peer: P) -> Option<u32> {
        match self.large(peers) {
            None => {
                self.block(peers).iter().position(|other| other.is_at(peer)).map(|at| at as u32)
            }
            Some(large) => {
                large.index.find(peer.hash(&self.hash), |at| self.get(peers, at).is_at(peer))
            }
        }
    }

    /// Returns whether the public subscriber of a peer has as many peers here as it may have.
    pub(crate) fn is_crowded(&self, peers: Peers, peer: P) -> bool {
        if peers.len() < PEERS_PER_SUBSCRIBER || peer.closeness() != Some(Closeness::Public) {
            return false;
        }
        let subscriber = peer.subscriber(&self.hash);
        let mut count = 0;
        let mut is_last = |other: P| {
            count += u32::from(other.subscriber(&self.hash) == subscriber);
            count >= PEERS_PER_SUBSCRIBER
        };
        match self.large(peers) {
            None => self.block(peers).iter().any(|&other| is_last(other)),
            Some(large) => {
                large.index.find(peer.hash(&self.hash), |at| is_last(self.get(peers, at))).is_some()
            }
        }
    }

    /// Adds a peer whose address is not there, and returns its position. `None`, and nothing is
    /// changed, if the budget has no room.
    pub(crate) fn insert(
        &mut self,
        peers: &mut Peers,
        peer: P,
        role: Role,
        budget: &mut Budget,
    ) -> Option<u32> {
        self.extend(peers, peer, budget)?;
        peers.seeds += 1;
        Some(self.set_role(peers, peers.len() - 1, role))
    }

    /// Overwrites a peer by one whose address is not there, and returns its position. No memory is
    /// needed.
    pub(crate) fn replace(
        &mut self,
        peers: &mut Peers,
        at: u32,
        peer: P,
        role: Role,
        budget: &mut Budget,
    ) -> u32 {
        let hashes = [self.get(*peers, at), peer].map(|peer| peer.hash(&self.hash));
        let place = self.place(*peers, at);
        self.arena.set(place, peer);
        if let Some((large, arena, keyed)) = self.large_mut(*peers) {
            let Large { pages, index } = large;
            index.rehash(at, hashes, budget, |at| peer_of(arena, pages, at).hash(keyed));
        }
        self.set_role(peers, at, role)
    }

    /// Removes the peer at a position. Only peers behind it change their positions.
    pub(crate) fn remove(&mut self, peers: &mut Peers, at: u32, budget: &mut Budget) {
        let at = self.set_role(peers, at, Role::Seed);
        let last = peers.len() - 1;
        self.swap(*peers, at, last);
        let hash = self.get(*peers, last).hash(&self.hash);
        if let Some((large, arena, keyed)) = self.large_mut(*peers) {
            let Large { pages, index } = large;
            let hash_of = |at| peer_of(arena, pages, at).hash(keyed);
            index.remove(hash, last, budget, hash_of);
        }
        peers.seeds -= 1;
        self.shrink(peers, budget);
    }

    /// Moves a peer to another role; returns its new position.
    pub(crate) fn set_role(&mut self, peers: &mut Peers, mut at: u32, role: Role) -> u32 {
        loop {
            let is = peers.role(at);
            // The border that it crosses: the last place before it, or the first behind it.
            let (to, next) = match (is, role) {
                (Role::Leecher, Role::Partial | Role::Seed) => {
                    (peers.range(is).end - 1, Role::Partial)
                }
                (Role::Partial, Role::Seed) => (peers.range(is).end - 1, Role::Seed),
                (Role::Seed, Role::Leecher | Role::Partial) => {
                    (peers.range(is).start, Role::Partial)
                }
                (Role::Partial, Role::Leecher) => (peers.range(is).start, Role::Leecher),
                _ => return at,
            };
            self.swap(*peers, at, to);
            *peers.count(is) -= 1;
            *peers.count(next) += 1;
            at = to;
        }
    }

    /// Exchanges two peers of one role.
    pub(crate) fn swap(&mut self, peers: Peers, one: u32, other: u32) {
        if one == other {
            return;
        }
        let places = [self.place(peers, one), self.place(peers, other)];
        let [first, second] = places.map(|place| self.arena.get(place));
        let [first_place, second_place] = places;
        self.arena.set(first_place, second);
        self.arena.set(second_place, first);
        if let Some((large, _, keyed)) = self.large_mut(peers) {
            let (first, second) = (first.hash(keyed), second.hash(keyed));
            // With one hash both positions are in its chain already.
            if first != second {
                large.index.swap((first, one), (second, other));
            }
        }
    }

    /// Puts a peer behind the last.
    fn extend(&mut self, peers: &mut Peers, peer: P, budget: &mut Budget) -> Option<()> {
        let len = peers.len();
        if peers.is_large() {
            return self.extend_large(*peers, peer, budget);
        }
        if len == PAGE {
            return self.make_large(peers, peer, budget);
        }
        if len == 0 || len.is_power_of_two() {
            let block = self.arena.take(Arena::<P>::class_for(len + 1), budget)?;
            for at in 0..len {
                self.arena.set(block + at, self.arena.get(peers.block + at));
            }
            if len > 0 {
                self.arena.give(peers.block, Arena::<P>::class_for(len));
            }
            peers.block = block;
        }
        self.arena.set(peers.block + len, peer);
        Some(())
    }

    fn extend_large(&mut self, peers: Peers, peer: P, budget: &mut Budget) -> Option<()> {
        let (len, hash) = (peers.len(), peer.hash(&self.hash));
        let page = match len % PAGE {
            0 => Some(self.arena.take(PAGE_CLASS, budget)?),
            _ => None,
        };
        let (large, arena, keyed) = self.large_mut(peers)?;
        let Large { pages, index } = large;
        pages.extend(page);
        if !index.insert(hash, len, budget, |at| peer_of(arena, pages, at).hash(keyed)) {
            let unused = page.and_then(|_| pages.pop());
            unused.into_iter().for_each(|page| self.arena.give(page, PAGE_CLASS));
            return None;
        }
        let place = self.place(peers, len);
        self.arena.set(place, peer);
        Some(())
    }

    /// Gives a full block an index and a second page.
    fn make_large(&mut self, peers: &mut Peers, peer: P, budget: &mut Budget) -> Option<()> {
        let mut large = Large { pages: Vec::from([peers.block]), index: Index::default() };
        let members = self.arena.slice(peers.block, PAGE);
        let hash_of =
            |at: u32| members.get(at as usize).copied().unwrap_or_default().hash(&self.hash);
        if !(0..PAGE).all(|at| large.index.insert(hash_of(at), at, budget, hash_of)) {
            budget.release(large.index.bytes());
            return None;
        }
        let number = self.free_large.pop().unwrap_or(self.large.len() as u32);
        match self.large.get_mut(number as usize) {
            Some(free) => *free = large,
            None => self.large.push(large),
        }
        let small = core::mem::replace(&mut peers.block, LARGE | number);
        let extended = self.extend_large(*peers, peer, budget);
        if extended.is_none() {
            self.drop_large(number, budget);
            peers.block = small;
        }
        extended
    }

    /// Gives back what a swarm no longer needs, after the last peer was removed.
    fn shrink(&mut self, peers: &mut Peers, budget: &mut Budget) {
        let len = peers.len();
        if peers.block & LARGE == 0 {
            let (before, class) = (Arena::<P>::class_for(len + 1), Arena::<P>::class_for(len));
            match (len, class < before) {
                (0, _) => self.arena.give(peers.block, 0),
                // The block keeps its lower half.
                (_, true) => self.arena.give(peers.block + (1 << class), class),
                _ => {}
            }
            return;
        }
        let number = peers.block & !LARGE;
        let large = self.large.get_mut(number as usize);
        let unused = large.filter(|_| len.is_multiple_of(PAGE)).and_then(|large| large.pages.pop());
        unused.into_iter().for_each(|page| self.arena.give(page, PAGE_CLASS));
        if len == SMALL_AGAIN {
            let first = self.place(*peers, 0);
            self.drop_large(number, budget);
            peers.block = first;
            self.arena.give(first + SMALL_AGAIN, PAGE_CLASS - 1);
        }
    }

    fn drop_large(&mut self, number: u32, budget: &mut Budget) {
        if let Some(large) = self.large.get_mut(number as usize) {
            budget.release(core::mem::take(large).index.bytes());
            self.free_large.push(number);
        }
    }

    fn large(&self, peers: Peers) -> Option<&Large> {
        self.large.get((peers.block & !LARGE) as usize).filter(|_| peers.is_large())
    }

    fn large_mut(&mut self, peers: Peers) -> Option<(&mut Large, &Arena<P>, &KeyedHash)> {
        let large = self.large.get_mut((peers.block & !LARGE) as usize);
        large.filter(|_| peers.is_large()).map(|large| (large, &self.arena, &self.hash))
    }

    /// Returns the peers of a small swarm.
    fn block(&self, peers: Peers) -> &[P] {
        self.arena.slice(peers.block, peers.len())
    }

    fn place(&self, peers: Peers, at: u32) -> u32 {
        match self.large(peers) {
            None => peers.block + at,
            Some(large) => place_of(&large.pages, at),
        }
    }
}

fn place_of(pages: &[u32], at: u32) -> u32 {
    pages.get((at / PAGE) as usize).map_or(0, |page| page + at % PAGE)
}

fn peer_of<P: Peer>(arena: &Arena<P>, pages: &[u32], at: u32) -> P {
    arena.get(place_of(pages, at))
}
