//! The peers of one torrent, by role and by family.
//!
//! Decides: roles, counts and random choice. Must not know: other swarms, time-outs, limits.
//! Invariant: an address is in one pool at most; a completed download is counted once for each peer.

use crate::pool::{Peer, Pool, RandomOrder};
use alloc::vec::Vec;
use bt_tracker_wire::{Announce, Event, Family, SwarmCounts};
use bt_types::{Closeness, Rng, Time, closeness};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Peers of one public IPv4 address or one public IPv6 /64, the span of one subscriber: a campus behind one address finds room,
/// one host cannot be the swarm.
const PEERS_PER_SUBSCRIBER: usize = 64;
/// Peers looked at for each peer wanted, when many do not suit the asker.
const LOOKS_PER_PEER: usize = 4;

/// One torrent's peers.
#[derive(Default, Debug)]
pub(crate) struct Swarm {
    seeds: ByFamily,
    /// Peers that download.
    leechers: ByFamily,
    /// Peers that lack something and download nothing: partial seeds (BEP 21).
    partial: ByFamily,
    completed: u32,
}

#[derive(Default, Debug)]
struct ByFamily {
    v4: Pool,
    v6: Pool,
}

impl Swarm {
    /// Takes a peer's news. Returns when it would have expired, if it was known.
    pub(crate) fn upsert(&mut self, addr: SocketAddr, announce: &Announce, expires: Time) -> Option<Time> {
        let known = self.take(addr);
        let is_seed = announce.left == 0;
        let mut counted = known.as_ref().is_some_and(|peer| peer.counted);
        // A peer that we never saw may have completed while the tracker was down: it did if it downloaded anything.
        let credible = known.is_some() || announce.downloaded > 0;
        if announce.event == Event::Completed && is_seed && credible && !counted {
            self.completed = self.completed.saturating_add(1);
            counted = true;
        }
        let role = match (is_seed, announce.event == Event::Paused) {
            (true, _) => &mut self.seeds,
            (false, true) => &mut self.partial,
            (false, false) => &mut self.leechers,
        };
        role.of(addr).insert(Peer { addr, id: announce.peer_id, expires, counted });
        known.map(|peer| peer.expires)
    }

    /// Takes a peer out, whatever its role.
    pub(crate) fn take(&mut self, addr: SocketAddr) -> Option<Peer> {
        [&mut self.seeds, &mut self.leechers, &mut self.partial].into_iter().find_map(|role| role.of(addr).remove(addr))
    }

    /// Whether a peer has this address, whatever its role.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        self.roles().into_iter().any(|role| role.pool(family_of(addr)).has(addr))
    }

    /// Whether the subscriber behind an address has as many peers here as it may have.
    pub(crate) fn is_crowded(&self, addr: SocketAddr) -> bool {
        let (first, last) = subscriber(addr.ip());
        let count = |role: &ByFamily| role.pool(family_of(addr)).count_between(first, last, PEERS_PER_SUBSCRIBER);
        let is_public = closeness(addr.ip()) == Some(Closeness::Public);
        is_public && self.roles().into_iter().map(count).sum::<usize>() >= PEERS_PER_SUBSCRIBER
    }

    /// Both families together.
    pub(crate) fn counts(&self) -> SwarmCounts {
        let count = |peers: usize| u32::try_from(peers).unwrap_or(u32::MAX);
        SwarmCounts {
            complete: count(self.seeds.len()),
            downloaded: self.completed,
            incomplete: count(self.leechers.len() + self.partial.len()),
            downloaders: Some(count(self.leechers.len())),
        }
    }

    /// Whether no peer is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.roles().into_iter().all(|role| role.len() == 0)
    }

    /// Those that download come first.
    fn roles(&self) -> [&ByFamily; 3] {
        [&self.leechers, &self.seeds, &self.partial]
    }

    /// Up to `wanted` random peers that suit the asker, in one family; only those that download when the asker does not.
    pub(crate) fn sample(
        &self,
        wanted: usize,
        family: Family,
        downloads: bool,
        rng: &mut Rng,
        suits: impl Fn(&Peer) -> bool,
    ) -> Vec<SocketAddr> {
        let roles = self.roles().into_iter().take(if downloads { 3 } else { 1 });
        let pools: Vec<&Pool> = roles.map(|role| role.pool(family)).collect();
        let total = pools.iter().map(|pool| pool.len()).sum();
        let looks = wanted.saturating_mul(LOOKS_PER_PEER).saturating_add(LOOKS_PER_PEER);
        let drawn = RandomOrder::new(total, rng).take(looks).filter_map(|index| peer_at(&pools, index));
        drawn.filter(|peer| suits(peer)).map(|peer| peer.addr).take(wanted).collect()
    }
}

/// The peer at an index into the pools one after another.
fn peer_at<'a>(pools: &[&'a Pool], mut index: usize) -> Option<&'a Peer> {
    for pool in pools {
        match index.checked_sub(pool.len()) {
            Some(further) => index = further,
            None => return pool.at(index),
        }
    }
    None
}

impl ByFamily {
    fn of(&mut self, addr: SocketAddr) -> &mut Pool {
        match family_of(addr) {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    fn pool(&self, family: Family) -> &Pool {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

/// The first and the last address of whoever has this one.
fn subscriber(ip: IpAddr) -> (SocketAddr, SocketAddr) {
    const HOST: u128 = u64::MAX as u128;
    let (first, last) = match ip {
        IpAddr::V4(_) => (ip, ip),
        IpAddr::V6(v6) => (Ipv6Addr::from(v6.to_bits() & !HOST).into(), Ipv6Addr::from(v6.to_bits() | HOST).into()),
    };
    (SocketAddr::new(first, 0), SocketAddr::new(last, u16::MAX))
}

fn family_of(addr: SocketAddr) -> Family {
    if addr.is_ipv4() { Family::V4 } else { Family::V6 }
}
