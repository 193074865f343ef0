//! Holds the peers of one torrent, by role and by family.
//!
//! Decides: roles, counts and random choice. Must not know: other swarms, the clock, the limits of
//! the table.
//! Invariant: an address is in at most one pool.

use crate::pool::{Peer, Pool, RandomOrder};
use alloc::vec::Vec;
use bt_tracker_wire::{AddressFamily, Announce, Event, LEFT_UNKNOWN, SwarmCounts};
use bt_types::{Closeness, Rng, Time, closeness, subscriber};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Most peers of one public IPv4 address or one public IPv6 /64, the span of one subscriber. A
/// campus behind one address finds room; a single host cannot be the swarm.
const PEERS_PER_SUBSCRIBER: usize = 64;
/// More bytes than any torrent has: some clients report such a `left` when they do not know it.
const LEFT_ABSURD: u64 = 1 << 60;
/// Peers looked at for each peer wanted, when many do not suit the announcing peer.
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

/// The kind of peers that an announcing peer needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Needs {
    /// All peers: it downloads.
    All,
    /// Peers that download: it has all that it wants.
    Leechers,
    /// Peers that download first, and other peers as well: it reports `left=0`, but may not know
    /// better. Clients with only a magnet link report that until they have the metadata.
    Unproven,
}

#[derive(Default, Debug)]
struct ByFamily {
    v4: Pool,
    v6: Pool,
}

impl Swarm {
    /// Takes a peer's announce. Returns the peer as it was known, and the kind of peers that it
    /// needs.
    pub(crate) fn upsert(
        &mut self,
        addr: SocketAddr,
        announce: &Announce,
        expires: Time,
    ) -> (Option<Peer>, Needs) {
        let known = self.take(addr);
        let before = known.as_ref().filter(|peer| peer.id == announce.peer_id);
        // A peer that lacked something, uploads or completed has had metadata, so it knows what is
        // left.
        let informed = announce.left > 0
            || announce.uploaded > 0
            || announce.event == Event::Completed
            || before.is_some_and(|peer| peer.informed);
        let (role, needs) = match (announce.left == 0, announce.event == Event::Paused) {
            (true, _) => {
                (&mut self.seeds, if informed { Needs::Leechers } else { Needs::Unproven })
            }
            (false, true) => (&mut self.partial, Needs::Leechers),
            (false, false) => (&mut self.leechers, Needs::All),
        };
        // A peer with only a magnet link reports one block, or more than any torrent has: that
        // proves nothing of a later `left`.
        let informed = informed && announce.left != LEFT_UNKNOWN && announce.left < LEFT_ABSURD;
        role.of(addr).insert(Peer { addr, id: announce.peer_id, expires, informed });
        (known, needs)
    }

    /// Counts a completed download.
    pub(crate) fn complete(&mut self) {
        self.completed = self.completed.saturating_add(1);
    }

    /// Removes a peer, whatever its role.
    pub(crate) fn take(&mut self, addr: SocketAddr) -> Option<Peer> {
        [&mut self.seeds, &mut self.leechers, &mut self.partial]
            .into_iter()
            .find_map(|role| role.of(addr).remove(addr))
    }

    /// Returns whether a peer has this address, whatever its role.
    pub(crate) fn has(&self, addr: SocketAddr) -> bool {
        self.roles().into_iter().any(|role| role.pool(family_of(addr)).has(addr))
    }

    /// Returns whether the subscriber behind an address has as many peers here as it may have.
    pub(crate) fn is_crowded(&self, addr: SocketAddr) -> bool {
        let (first, last) = span(addr.ip());
        let count = |role: &ByFamily| {
            role.pool(family_of(addr)).count_between(first, last, PEERS_PER_SUBSCRIBER)
        };
        let is_public = closeness(addr.ip()) == Some(Closeness::Public);
        is_public && self.roles().into_iter().map(count).sum::<usize>() >= PEERS_PER_SUBSCRIBER
    }

    /// Counts the peers of both families together.
    pub(crate) fn counts(&self) -> SwarmCounts {
        let count = |peers: usize| u32::try_from(peers).unwrap_or(u32::MAX);
        SwarmCounts {
            complete: count(self.seeds.len()),
            downloaded: self.completed,
            incomplete: count(self.leechers.len() + self.partial.len()),
            downloaders: Some(count(self.leechers.len())),
        }
    }

    /// Returns the number of peers.
    pub(crate) fn len(&self) -> usize {
        self.roles().into_iter().map(ByFamily::len).sum()
    }

    /// Returns the roles, with the peers that download first.
    fn roles(&self) -> [&ByFamily; 3] {
        [&self.leechers, &self.seeds, &self.partial]
    }

    /// Returns all peers, in no order.
    pub(crate) fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        let pools = self.roles().into_iter().flat_map(|role| [&role.v4, &role.v6]);
        pools
            .flat_map(|pool| (0..pool.len()).filter_map(|index| pool.at(index)))
            .map(|peer| peer.addr)
    }

    /// Draws up to `wanted` random peers of one family that suit the announcing peer.
    pub(crate) fn sample(
        &self,
        wanted: usize,
        family: AddressFamily,
        needs: Needs,
        rng: &mut Rng,
        suits: impl Fn(&Peer) -> bool,
    ) -> Vec<SocketAddr> {
        let [leechers, seeds, partial] = self.roles().map(|role| role.pool(family));
        let mut draw = |pools: &[&Pool]| {
            let total = pools.iter().map(|pool| pool.len()).sum();
            let looks = wanted.saturating_mul(LOOKS_PER_PEER).saturating_add(LOOKS_PER_PEER);
            let drawn =
                RandomOrder::new(total, rng).take(looks).filter_map(|index| peer_at(pools, index));
            drawn.filter(|peer| suits(peer)).map(|peer| peer.addr).take(wanted).collect::<Vec<_>>()
        };
        match needs {
            Needs::All => draw(&[leechers, seeds, partial]),
            Needs::Leechers => draw(&[leechers]),
            Needs::Unproven => shared(draw(&[leechers]), draw(&[seeds, partial]), wanted),
        }
    }
}

/// Merges two lists of at most `wanted` peers: the first list gets at least half of the places if
/// it can fill them.
pub(crate) fn shared(
    mut first: Vec<SocketAddr>,
    mut second: Vec<SocketAddr>,
    wanted: usize,
) -> Vec<SocketAddr> {
    second.truncate((wanted / 2).max(wanted.saturating_sub(first.len())));
    first.truncate(wanted.saturating_sub(second.len()));
    first.extend(second);
    first
}

/// Returns the peer at an index into the pools, one after another.
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
            AddressFamily::V4 => &mut self.v4,
            AddressFamily::V6 => &mut self.v6,
        }
    }

    fn pool(&self, family: AddressFamily) -> &Pool {
        match family {
            AddressFamily::V4 => &self.v4,
            AddressFamily::V6 => &self.v6,
        }
    }

    fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

/// Returns the first and the last address of a subscriber: all ports of the address, or of its
/// public IPv6 /64.
pub(crate) fn span(ip: IpAddr) -> (SocketAddr, SocketAddr) {
    let first = subscriber(ip);
    let last = match first {
        IpAddr::V6(network) if closeness(ip) == Some(Closeness::Public) => {
            Ipv6Addr::from(network.to_bits() | u128::from(u64::MAX)).into()
        }
        host => host,
    };
    (SocketAddr::new(first, 0), SocketAddr::new(last, u16::MAX))
}

fn family_of(addr: SocketAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::V4 } else { AddressFamily::V6 }
}
