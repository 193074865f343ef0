//! Makes the decisions that the whole process shares: placing torrents, accepting connections,
//! splitting the budget over the shards, pacing announces.
//!
//! Decides: placement, accept caps, leases of rate and connections, the pace of announces.
//! Must not know: sockets, the contents of torrents.
//! Invariant: the leases of all shards together never exceed the limits of the process.

use crate::config::Budget;
use crate::eviction;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bt_model::Rates;
use bt_types::{Closeness, Time, closeness, network, subscriber};
use core::net::IpAddr;
use core::time::Duration;

/// Most accepted connections before their handshake: in all, from one address and from one network.
/// A public IPv6 /64 counts as one address, an IPv4 /24 or IPv6 /48 as one network. Addresses near
/// us have no limit per network.
const PENDING_MAX: usize = 128;
const PENDING_PER_IP_MAX: usize = 4;
const PENDING_PER_NETWORK_MAX: usize = 16;
/// Most accepted connections from one address, before and after the handshake. Loopback is exempt:
/// many clients may run there.
const PER_IP_MAX: usize = 8;
/// Seconds until an accepted connection must have named a torrent.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Announces to one tracker host: this number at once, then one at a time at this distance in
/// milliseconds. Ten thousand torrents that announce every half hour need a distance below 180 ms.
const ANNOUNCE_BURST: u32 = 40;
const ANNOUNCE_DISTANCE: Duration = Duration::from_millis(100);

/// The shared decisions of a process.
#[derive(Debug)]
pub struct Desk {
    limits: Budget,
    /// The number of torrents on each shard.
    load: Vec<usize>,
    /// Connections before their handshake, the oldest first.
    pending: BTreeMap<u64, IpAddr>,
    next: u64,
    accepted: BTreeMap<IpAddr, usize>,
    /// The time up to which the announces of each tracker host are booked. A host with no booked
    /// announce is forgotten.
    hosts: BTreeMap<String, Time>,
}

/// A permission for one accepted connection to stay; the shell gives it back at the end.
#[derive(Debug)]
pub struct Admission {
    /// Its number: the larger, the later the connection came.
    pub number: u64,
    ip: IpAddr,
    /// The pending connection that must be closed for this one: no network has more pending
    /// connections than that one's.
    pub instead_of: Option<u64>,
    /// The time by which the connection must have finished its handshake.
    pub handshake_by: Time,
}

impl Desk {
    /// Makes a desk for this number of shards and these limits of the whole process.
    pub fn new(limits: Budget, shards: usize) -> Desk {
        let load = vec![0; shards.max(1)];
        Desk {
            limits,
            load,
            pending: BTreeMap::new(),
            next: 0,
            accepted: BTreeMap::new(),
            hosts: BTreeMap::new(),
        }
    }

    /// Returns the limits of the whole process.
    pub fn limits(&self) -> Budget {
        self.limits
    }

    /// Changes the limits of the whole process; the leases change with them.
    pub fn set_limits(&mut self, limits: Budget) {
        self.limits = limits;
    }

    /// Picks the shard with the fewest torrents for a new torrent.
    pub fn place(&mut self) -> usize {
        let shard = self
            .load
            .iter()
            .enumerate()
            .min_by_key(|(_, load)| **load)
            .map_or(0, |(shard, _)| shard);
        if let Some(load) = self.load.get_mut(shard) {
            *load += 1;
        }
        shard
    }

    /// Notes that a torrent left its shard.
    pub fn unplace(&mut self, shard: usize) {
        if let Some(load) = self.load.get_mut(shard) {
            *load = load.saturating_sub(1);
        }
    }

    /// Splits the limits of the process evenly over the shards that have torrents.
    pub fn leases(&self) -> Vec<Budget> {
        let busy = self.load.iter().filter(|load| **load > 0).count().max(1);
        let share = |rate: Option<u64>| rate.map(|rate| rate / busy as u64);
        let share = Budget {
            store_bytes: self.limits.store_bytes / busy as u64,
            rates: Rates { up: share(self.limits.rates.up), down: share(self.limits.rates.down) },
            peers: self.limits.peers / busy,
            dials: self.limits.dials / busy,
            ..self.limits
        };
        let idle = Budget {
            store_bytes: 0,
            rates: Rates { up: Some(0), down: Some(0) },
            peers: 0,
            dials: 0,
            ..self.limits
        };
        self.load.iter().map(|load| if *load > 0 { share } else { idle }).collect()
    }

    /// Decides whether a connection from this address may stay until its handshake; `None` refuses
    /// it.
    pub fn accept(&mut self, now: Time, ip: IpAddr) -> Option<Admission> {
        let ip = subscriber(ip);
        let (near, is_public) =
            (closeness(ip) == Some(Closeness::Loopback), closeness(ip) == Some(Closeness::Public));
        let pending = |is_such: &dyn Fn(IpAddr) -> bool| {
            self.pending.values().filter(|other| is_such(**other)).count()
        };
        let crowded = pending(&|other| other == ip) >= PENDING_PER_IP_MAX
            || is_public
                && pending(&|other| network(other) == network(ip)) >= PENDING_PER_NETWORK_MAX
            || self.accepted.get(&ip).is_some_and(|count| *count >= PER_IP_MAX);
        if crowded && !near {
            return None;
        }
        let mut instead_of = None;
        if self.pending.len() >= PENDING_MAX {
            let here = self.pending.iter().map(|(number, ip)| (*number, *ip));
            let oldest = eviction::give_way(ip, here).first().copied()?;
            if self.pending.get(&oldest).is_some_and(|other| network(*other) == network(ip)) {
                return None;
            }
            self.pending.remove(&oldest);
            instead_of = Some(oldest);
        }
        let number = self.next;
        self.next += 1;
        self.pending.insert(number, ip);
        *self.accepted.entry(ip).or_default() += 1;
        Some(Admission { number, ip, instead_of, handshake_by: now + HANDSHAKE_TIMEOUT })
    }

    /// Notes that the connection finished its handshake.
    pub fn shaken(&mut self, admission: &Admission) {
        self.pending.remove(&admission.number);
    }

    /// Notes that the connection ended.
    pub fn ended(&mut self, admission: Admission) {
        self.pending.remove(&admission.number);
        Self::lower(&mut self.accepted, admission.ip);
    }

    /// Books an announce to a tracker of this host: returns when it may leave, `now` or later.
    pub fn announce_at(&mut self, now: Time, host: &str) -> Time {
        self.hosts.retain(|_, taken| *taken > now);
        let taken = self.hosts.get(host).copied().unwrap_or(now);
        self.hosts.insert(host.into(), taken + ANNOUNCE_DISTANCE);
        now + taken.since(now).saturating_sub(ANNOUNCE_DISTANCE * (ANNOUNCE_BURST - 1))
    }

    fn lower(map: &mut BTreeMap<IpAddr, usize>, ip: IpAddr) {
        if let Some(count) = map.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                map.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torrents_spread_and_leases_add_up() {
        let limits =
            Budget { rates: Rates { up: Some(1000), down: None }, peers: 10, ..Budget::default() };
        let mut desk = Desk::new(limits, 2);
        assert_eq!(
            (desk.place(), desk.leases()[0].rates.up, desk.leases()[1].peers),
            (0, Some(1000), 0)
        );
        assert_eq!((desk.place(), desk.place(), desk.place()), (1, 0, 1));
        let leases = desk.leases();
        assert_eq!(leases.iter().filter_map(|lease| lease.rates.up).sum::<u64>(), 1000);
        assert_eq!(leases.iter().map(|lease| lease.peers).sum::<usize>(), 10);
        desk.unplace(0);
        desk.unplace(0);
        assert_eq!(desk.leases()[1].rates.up, Some(1000));
    }

    #[test]
    fn one_address_cannot_fill_the_door() {
        let mut desk = Desk::new(Budget::default(), 1);
        let ip: IpAddr = "9.9.9.9".parse().unwrap();
        let mut inside: Vec<Admission> =
            core::iter::from_fn(|| desk.accept(Time::ZERO, ip)).collect();
        assert_eq!(inside.len(), PENDING_PER_IP_MAX);
        assert!(desk.accept(Time::ZERO, "8.8.8.8".parse().unwrap()).is_some(), "others still can");
        let of_one_network =
            (1..100u16).map(|n| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into());
        assert_eq!(
            of_one_network.filter(|ip| desk.accept(Time::ZERO, *ip).is_some()).count(),
            PENDING_PER_IP_MAX
        );
        inside.iter().for_each(|admission| desk.shaken(admission));
        inside.extend(core::iter::from_fn(|| desk.accept(Time::ZERO, ip)));
        assert_eq!(inside.len(), PER_IP_MAX);
        inside.iter().skip(PENDING_PER_IP_MAX).for_each(|admission| desk.shaken(admission));
        assert!(desk.accept(Time::ZERO, ip).is_none(), "all its places are taken");
        desk.ended(inside.remove(0));
        assert!(desk.accept(Time::ZERO, ip).is_some());
    }

    #[test]
    fn many_networks_that_say_nothing_keep_no_other_one_out() {
        let mut desk = Desk::new(Budget::default(), 1);
        let mute =
            |n: usize| core::net::Ipv4Addr::new(45, 1, (n % 32) as u8, (1 + n / 32) as u8).into();
        let mut inside: Vec<Admission> =
            (0..500).filter_map(|n| desk.accept(Time::ZERO, mute(n))).collect();
        assert_eq!(inside.len(), PENDING_MAX, "no network has more than another");
        let late = desk.accept(Time::ZERO, "46.1.1.1".parse().unwrap()).unwrap();
        assert_eq!(late.instead_of, Some(inside[0].number), "the oldest goes");
        assert_eq!(desk.pending.len(), PENDING_MAX);
        desk.ended(inside.remove(0));
        assert_eq!(desk.pending.len(), PENDING_MAX, "it was forgotten before");
        let again = desk.accept(Time::ZERO, mute(0)).unwrap();
        assert!(
            inside.iter().any(|other| Some(other.number) == again.instead_of),
            "it may come back, and not for who came late"
        );

        let mut desk = Desk::new(Budget::default(), 1);
        let of_one = (1..=255).filter(|n| {
            desk.accept(Time::ZERO, core::net::Ipv4Addr::new(45, 1, 1, *n).into()).is_some()
        });
        assert_eq!(of_one.count(), PENDING_PER_NETWORK_MAX);
    }

    #[test]
    fn ten_thousand_torrents_do_not_meet_at_one_tracker() {
        let mut desk = Desk::new(Budget::default(), 1);
        let start = Time::from_secs(7);
        let leave: Vec<Time> = (0..10_000).map(|_| desk.announce_at(start, "tracker")).collect();
        assert!(leave.is_sorted());
        assert_eq!(leave.iter().filter(|at| **at == start).count(), 40, "the burst");
        let most = leave.iter().map(|from| {
            leave
                .iter()
                .filter(|at| *at >= from && at.since(*from) < Duration::from_secs(1))
                .count()
        });
        assert_eq!(most.max(), Some(40 + 9), "in any second");
        assert_eq!(leave.last().map(|at| at.since(start)), Some(ANNOUNCE_DISTANCE * (10_000 - 40)));
        assert_eq!(desk.announce_at(start, "another"), start, "others do not wait");
        let later = Time::from_secs(7 + 1000);
        assert_eq!(desk.announce_at(later, "tracker"), later);
        assert_eq!(desk.hosts.len(), 1, "who has all its places is forgotten");
    }

    #[test]
    fn loopback_is_exempt_but_not_from_the_total() {
        let mut desk = Desk::new(Budget::default(), 1);
        let ip: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(core::iter::from_fn(|| desk.accept(Time::ZERO, ip)).count(), PENDING_MAX);
    }
}
