//! The peers of one torrent, by role and by family.
//!
//! Decides: roles, counts and random choice. Must not know: other swarms, time-outs, limits.
//! Invariant: an address is in one pool at most; a completed download is counted once for each peer.

use crate::pool::{Peer, Pool, RandomOrder};
use alloc::vec::Vec;
use bt_tracker_wire::{Announce, Event, Family, SwarmCounts};
use bt_types::{Rng, Time};
use core::net::SocketAddr;

/// Peers looked at for each peer wanted, when many do not suit the asker.
const LOOKS_PER_PEER: usize = 4;

/// Which families an asker can be told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Families {
    /// Over HTTP.
    Both,
    /// Over UDP, the one that the datagram came in.
    Only(Family),
}

/// One torrent's peers.
#[derive(Default, Debug)]
pub(crate) struct Swarm {
    seeds: ByFamily,
    leechers: ByFamily,
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
        let role = if is_seed { &mut self.seeds } else { &mut self.leechers };
        role.of(addr).insert(Peer { addr, id: announce.peer_id, expires, counted });
        known.map(|peer| peer.expires)
    }

    /// Takes a peer out, whatever its role.
    pub(crate) fn take(&mut self, addr: SocketAddr) -> Option<Peer> {
        self.seeds.of(addr).remove(addr).or_else(|| self.leechers.of(addr).remove(addr))
    }

    /// Whether a peer has this address, whatever its role.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        [&self.seeds, &self.leechers].into_iter().flat_map(|role| role.pools(Families::Both)).any(|pool| pool.has(addr))
    }

    /// Both families together.
    pub(crate) fn counts(&self) -> SwarmCounts {
        let count = |role: &ByFamily| u32::try_from(role.len()).unwrap_or(u32::MAX);
        SwarmCounts { complete: count(&self.seeds), downloaded: self.completed, incomplete: count(&self.leechers) }
    }

    /// Whether no peer is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.seeds.len() + self.leechers.len() == 0
    }

    /// Up to `wanted` random peers that suit the asker; leechers only when the asker is a seed.
    pub(crate) fn sample(
        &self,
        wanted: usize,
        families: Families,
        for_seed: bool,
        rng: &mut Rng,
        suits: impl Fn(&Peer) -> bool,
    ) -> Vec<SocketAddr> {
        let seeds = (!for_seed).then_some(&self.seeds);
        let pools: Vec<&Pool> =
            [Some(&self.leechers), seeds].into_iter().flatten().flat_map(|role| role.pools(families)).collect();
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
        if addr.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }

    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    fn pools(&self, families: Families) -> impl Iterator<Item = &Pool> {
        let v4 = (families != Families::Only(Family::V6)).then_some(&self.v4);
        let v6 = (families != Families::Only(Family::V4)).then_some(&self.v6);
        [v4, v6].into_iter().flatten()
    }
}
