//! Holds all swarms, bounded in number and in time.
//!
//! Decides: which peer is forgotten when, and which peer or swarm gives way at the limits.
//! Must not know: which peers are told of which.
//! Invariant: `expiry` and `peers` hold exactly one entry for each peer. `small` holds the swarms
//! of at most `FEW` peers, and larger swarms of a single subscriber; `idle` holds those without
//! peers.

use crate::completions::Completions;
use crate::owned::Owned;
use crate::swarm::{Needs, Swarm};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bt_tracker_wire::{Announce, Event, Failure, RetryIn, SwarmCounts};
use bt_types::{InfoHash, Shares, Time, Yields};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

/// Most peers forgotten in one request, so that no request waits for a sweep. An announce adds at
/// most one peer, so the rest never grows.
const FORGOTTEN_AT_ONCE: usize = 64;
/// Most peers of a small swarm. It exceeds the room of a full table for each swarm: two or three
/// subscribers cannot fill the table with larger swarms.
const FEW: usize = 8;
/// Minutes after which a peer that found no room may ask again (BEP 31).
const FULL_RETRY: RetryIn = RetryIn::Minutes(10);

/// The swarm table.
#[derive(Debug)]
pub(crate) struct Table {
    swarms: BTreeMap<InfoHash, Swarm>,
    expiry: BTreeSet<(Time, InfoHash, SocketAddr)>,
    /// The peers by subscriber.
    peers: Shares<(InfoHash, SocketAddr)>,
    /// Small swarms, and larger swarms of a single subscriber. A swarm belongs to the subscriber
    /// that opened it. After a peer left, it belongs to the remaining subscriber with the fewest
    /// peers in all.
    small: Owned<InfoHash>,
    /// Swarms without peers, kept for their completed count until the room is needed. A swarm
    /// belongs to the subscriber that left last.
    idle: Owned<InfoHash>,
    completions: Completions,
    torrents_limit: usize,
    peers_limit: usize,
    peer_age: Duration,
}

impl Table {
    /// Makes an empty table; `peer_age` is how long a peer is remembered after its last announce.
    pub(crate) fn new(torrents_limit: usize, peers_limit: usize, peer_age: Duration) -> Table {
        let least = (InfoHash([0; 20]), SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        Table {
            swarms: BTreeMap::new(),
            expiry: BTreeSet::new(),
            peers: Shares::new(least),
            small: Owned::new(least.0),
            idle: Owned::new(least.0),
            completions: Completions::new(peers_limit),
            torrents_limit,
            peers_limit,
            peer_age,
        }
    }

    /// Returns the number of swarms.
    pub(crate) fn torrents(&self) -> usize {
        self.swarms.len()
    }

    /// Returns the number of peers over all swarms.
    pub(crate) fn peers(&self) -> usize {
        self.expiry.len()
    }

    /// Returns the swarm, if a peer is in it or completed it.
    pub(crate) fn swarm(&self, hash: InfoHash) -> Option<&Swarm> {
        self.swarms.get(&hash)
    }

    /// Returns the counts of a swarm; zeros if it is unknown.
    pub(crate) fn counts(&self, hash: InfoHash) -> SwarmCounts {
        self.swarm(hash).map_or_else(|| Swarm::default().counts(), Swarm::counts)
    }

    /// Adds a peer or takes its announce; returns the kind of peers that it needs. In a full table
    /// other peers give way to a new peer. A new peer is refused if its subscriber has too many
    /// peers in this swarm.
    pub(crate) fn upsert(
        &mut self,
        now: Time,
        addr: SocketAddr,
        announce: &Announce,
    ) -> Result<Needs, Failure> {
        let hash = announce.info_hash;
        self.make_room(hash, addr)?;
        let expires = now + self.peer_age;
        let swarm = self.swarms.entry(hash).or_default();
        let opens = swarm.len() == 0;
        let (known, needs) = swarm.upsert(addr, announce, expires);
        // A peer that we never saw may have completed while the tracker was down: it did if it
        // downloaded anything.
        let credible = known.is_some() || announce.downloaded > 0;
        let completed = announce.event == Event::Completed && announce.left == 0 && credible;
        if completed && self.completions.count(hash, addr) {
            swarm.complete();
        }
        match known {
            Some(known) => drop(self.expiry.remove(&(known.expires, hash, addr))),
            None => {
                self.peers.insert(addr.ip(), (hash, addr));
                self.idle.remove(hash);
                self.note_subscriber(hash, addr.ip(), opens);
            }
        }
        self.expiry.insert((expires, hash, addr));
        Ok(needs)
    }

    /// Removes a peer, if it is known.
    pub(crate) fn remove(&mut self, hash: InfoHash, addr: SocketAddr) {
        let Some(swarm) = self.swarms.get_mut(&hash) else { return };
        let Some(peer) = swarm.take(addr) else { return };
        self.expiry.remove(&(peer.expires, hash, addr));
        self.peers.remove(addr.ip(), (hash, addr));
        match swarm.len() {
            0 if swarm.counts().downloaded > 0 => {
                self.small.remove(hash);
                self.idle.insert(addr.ip(), hash);
            }
            0 => self.forget_swarm(hash),
            1..=FEW => {
                // A subscriber that is in every swarm must not take the swarms of others with it.
                let owner =
                    swarm.addrs().map(|addr| addr.ip()).min_by_key(|ip| self.peers.count(*ip));
                owner.into_iter().for_each(|ip| self.small.insert(ip, hash));
            }
            _ => {}
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

    /// Notes a subscriber of a swarm. The swarm belongs to the subscriber that opened it, until
    /// other subscribers come and it is not small. Two subscribers that open swarms together, like
    /// a host with IPv4 and IPv6, hold them no less than one subscriber.
    fn note_subscriber(&mut self, hash: InfoHash, ip: IpAddr, opens: bool) {
        if opens {
            self.small.insert(ip, hash);
        } else if self.small.is_of_another(ip, hash)
            && self.swarm(hash).is_some_and(|swarm| swarm.len() > FEW)
        {
            self.small.remove(hash);
        }
    }

    fn forget_swarm(&mut self, hash: InfoHash) {
        self.idle.remove(hash);
        self.small.remove(hash);
        self.swarms.remove(&hash);
    }

    fn make_room(&mut self, hash: InfoHash, addr: SocketAddr) -> Result<(), Failure> {
        let swarm = self.swarms.get(&hash);
        if swarm.is_some_and(|swarm| swarm.has(addr)) {
            return Ok(());
        }
        if swarm.is_some_and(|swarm| swarm.is_crowded(addr)) {
            return Err(Failure::new("too many peers at this address").retry(FULL_RETRY));
        }
        if self.expiry.len() >= self.peers_limit {
            self.drop_peer(addr.ip());
        }
        // The peer that gave way may have been the last peer of this swarm.
        if !self.swarms.contains_key(&hash) && self.swarms.len() >= self.torrents_limit {
            self.drop_swarm(addr.ip());
        }
        if self.swarms.len() < self.torrents_limit || self.swarms.contains_key(&hash) {
            Ok(())
        } else {
            Err(Failure::new("the tracker has too many torrents").retry(FULL_RETRY))
        }
    }

    /// Drops a peer of the subscriber that has most peers, else the peer that was not heard of for
    /// longest.
    fn drop_peer(&mut self, newcomer: IpAddr) {
        match (self.peers.yields_to(newcomer), self.expiry.first()) {
            (Yields::Entry((hash, addr)), _) | (Yields::Oldest, Some(&(_, hash, addr))) => {
                self.remove(hash, addr)
            }
            (Yields::Oldest, None) => {}
        }
    }

    /// Drops a swarm without peers; else a swarm of the subscriber that has most small ones. If
    /// each has at most one, it drops peers until a swarm is empty.
    fn drop_swarm(&mut self, newcomer: IpAddr) {
        if let Some(idle) = self.idle.most_crowded(newcomer).or_else(|| self.idle.any()) {
            return self.forget_swarm(idle);
        }
        if let Some(hash) = self.small.most_crowded(newcomer) {
            let peers: Vec<SocketAddr> =
                self.swarm(hash).into_iter().flat_map(Swarm::addrs).collect();
            peers.into_iter().for_each(|addr| self.remove(hash, addr));
            return self.forget_swarm(hash);
        }
        for _ in 0..FORGOTTEN_AT_ONCE {
            self.drop_peer(newcomer);
            if let Some(idle) = self.idle.any() {
                self.forget_swarm(idle);
            }
            if self.swarms.len() < self.torrents_limit {
                return;
            }
        }
    }
}
