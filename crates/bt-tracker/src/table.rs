//! All swarms, bounded in number and in time.
//!
//! Decides: who is forgotten when, and what happens at the limits. Must not know: who is told of whom.
//! Invariant: `expiry` holds exactly one entry for each peer; `idle` holds exactly the swarms without peers.

use crate::swarm::Swarm;
use alloc::collections::{BTreeMap, BTreeSet};
use bt_tracker_wire::{Announce, Failure, RetryIn, SwarmCounts};
use bt_types::{InfoHash, Time};
use core::net::SocketAddr;
use core::time::Duration;

/// Peers forgotten in one request at most, so that no request waits for a sweep. An announce adds one peer at most, so
/// the rest never grows.
const FORGOTTEN_AT_ONCE: usize = 64;
/// Minutes after which a peer that found the table full may ask again (BEP 31).
const FULL_RETRY: RetryIn = RetryIn::Minutes(10);

/// The swarm table.
#[derive(Debug)]
pub(crate) struct Table {
    swarms: BTreeMap<InfoHash, Swarm>,
    expiry: BTreeSet<(Time, InfoHash, SocketAddr)>,
    /// Kept for their completed count, until the room is needed.
    idle: BTreeSet<InfoHash>,
    torrents_limit: usize,
    peers_limit: usize,
    peer_age: Duration,
}

impl Table {
    /// An empty table; `peer_age` is how long a peer is remembered after its last announce.
    pub(crate) fn new(torrents_limit: usize, peers_limit: usize, peer_age: Duration) -> Table {
        Table { swarms: BTreeMap::new(), expiry: BTreeSet::new(), idle: BTreeSet::new(), torrents_limit, peers_limit, peer_age }
    }

    /// Number of swarms.
    pub(crate) fn torrents(&self) -> usize {
        self.swarms.len()
    }

    /// Number of peers over all swarms.
    pub(crate) fn peers(&self) -> usize {
        self.expiry.len()
    }

    /// The swarm, if anybody is or was in it.
    pub(crate) fn swarm(&self, hash: InfoHash) -> Option<&Swarm> {
        self.swarms.get(&hash)
    }

    /// The counts of a swarm; zeros when it is unknown.
    pub(crate) fn counts(&self, hash: InfoHash) -> SwarmCounts {
        self.swarm(hash).map_or_else(|| Swarm::default().counts(), Swarm::counts)
    }

    /// Adds a peer or takes its news; refused when the peer is new and the table is full.
    pub(crate) fn upsert(&mut self, now: Time, addr: SocketAddr, announce: &Announce) -> Result<(), Failure> {
        let hash = announce.info_hash;
        self.make_room(hash, addr)?;
        let expires = now + self.peer_age;
        let before = self.swarms.entry(hash).or_default().upsert(addr, announce, expires);
        if let Some(before) = before {
            self.expiry.remove(&(before, hash, addr));
        }
        self.expiry.insert((expires, hash, addr));
        self.idle.remove(&hash);
        Ok(())
    }

    /// Takes a peer out; nothing happens when it is unknown.
    pub(crate) fn remove(&mut self, hash: InfoHash, addr: SocketAddr) {
        let Some(swarm) = self.swarms.get_mut(&hash) else { return };
        let Some(peer) = swarm.take(addr) else { return };
        self.expiry.remove(&(peer.expires, hash, addr));
        if swarm.is_empty() {
            if swarm.counts().downloaded > 0 {
                self.idle.insert(hash);
            } else {
                self.swarms.remove(&hash);
            }
        }
    }

    /// Forgets peers whose time is over, a bounded number at once.
    pub(crate) fn forget_expired(&mut self, now: Time) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            match self.expiry.first() {
                Some(&(expires, hash, addr)) if expires <= now => self.remove(hash, addr),
                _ => return,
            }
        }
    }

    fn make_room(&mut self, hash: InfoHash, addr: SocketAddr) -> Result<(), Failure> {
        let swarm = self.swarms.get(&hash);
        if swarm.is_some_and(|swarm| !swarm.has(addr) && swarm.is_crowded(addr)) {
            return Err(Failure::new("too many peers at this address").retry(FULL_RETRY));
        }
        if self.expiry.len() >= self.peers_limit && !swarm.is_some_and(|swarm| swarm.has(addr)) {
            return Err(Failure::new("the tracker has too many peers").retry(FULL_RETRY));
        }
        if swarm.is_none() && self.swarms.len() >= self.torrents_limit {
            let full = || Failure::new("the tracker has too many torrents").retry(FULL_RETRY);
            let given_up = self.idle.pop_first().ok_or_else(full)?;
            self.swarms.remove(&given_up);
        }
        Ok(())
    }
}
