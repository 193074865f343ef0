//! Admits accepted connections, before and after their handshake.
//!
//! Decides: which connections may stay, within caps per address and per network, and which pending
//! connection makes room for a new one.
//! Must not know: sockets, torrents.
//! Invariant: no more connections are pending than the caps allow, and an admission that is given
//! back makes room again.

use crate::eviction;
use alloc::collections::BTreeMap;
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

/// The accepted connections of the whole process.
#[derive(Debug, Default)]
pub struct Admissions {
    /// Connections before their handshake, the oldest first.
    pending: BTreeMap<u64, IpAddr>,
    next: u64,
    /// The number of connections from each address, before and after the handshake.
    accepted: BTreeMap<IpAddr, usize>,
}

/// A permission for one accepted connection to stay; the shell gives it back at the end.
#[derive(Debug)]
#[must_use = "the place of the connection must be given back"]
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

impl Admissions {
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
    pub fn handshaken(&mut self, admission: &Admission) {
        self.pending.remove(&admission.number);
    }

    /// Notes that the connection ended.
    pub fn ended(&mut self, admission: Admission) {
        self.pending.remove(&admission.number);
        Self::lower(&mut self.accepted, admission.ip);
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
    use alloc::vec::Vec;

    #[test]
    fn one_address_cannot_take_all_admissions() {
        let mut admissions = Admissions::default();
        let ip: IpAddr = "9.9.9.9".parse().unwrap();
        let mut inside: Vec<Admission> =
            core::iter::from_fn(|| admissions.accept(Time::ZERO, ip)).collect();
        assert_eq!(inside.len(), PENDING_PER_IP_MAX);
        assert!(
            admissions.accept(Time::ZERO, "8.8.8.8".parse().unwrap()).is_some(),
            "others still can"
        );
        let of_one_network =
            (1..100u16).map(|n| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into());
        assert_eq!(
            of_one_network.filter(|ip| admissions.accept(Time::ZERO, *ip).is_some()).count(),
            PENDING_PER_IP_MAX
        );
        inside.iter().for_each(|admission| admissions.handshaken(admission));
        inside.extend(core::iter::from_fn(|| admissions.accept(Time::ZERO, ip)));
        assert_eq!(inside.len(), PER_IP_MAX);
        inside
            .iter()
            .skip(PENDING_PER_IP_MAX)
            .for_each(|admission| admissions.handshaken(admission));
        assert!(admissions.accept(Time::ZERO, ip).is_none(), "all its places are taken");
        admissions.ended(inside.remove(0));
        assert!(admissions.accept(Time::ZERO, ip).is_some());
    }

    #[test]
    fn silent_connections_of_many_networks_leave_room_for_others() {
        let mut admissions = Admissions::default();
        let mute =
            |n: usize| core::net::Ipv4Addr::new(45, 1, (n % 32) as u8, (1 + n / 32) as u8).into();
        let mut inside: Vec<Admission> =
            (0..500).filter_map(|n| admissions.accept(Time::ZERO, mute(n))).collect();
        assert_eq!(inside.len(), PENDING_MAX, "no network has more than another");
        let late = admissions.accept(Time::ZERO, "46.1.1.1".parse().unwrap()).unwrap();
        assert_eq!(late.instead_of, Some(inside[0].number), "the oldest goes");
        assert_eq!(admissions.pending.len(), PENDING_MAX);
        admissions.ended(inside.remove(0));
        assert_eq!(admissions.pending.len(), PENDING_MAX, "it was forgotten before");
        let again = admissions.accept(Time::ZERO, mute(0)).unwrap();
        assert!(
            inside.iter().any(|other| Some(other.number) == again.instead_of),
            "it may come back, and not for who came late"
        );

        let mut admissions = Admissions::default();
        let of_one = (1..=255).filter(|n| {
            admissions.accept(Time::ZERO, core::net::Ipv4Addr::new(45, 1, 1, *n).into()).is_some()
        });
        assert_eq!(of_one.count(), PENDING_PER_NETWORK_MAX);
    }

    #[test]
    fn loopback_is_exempt_but_not_from_the_total() {
        let mut admissions = Admissions::default();
        let ip: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(core::iter::from_fn(|| admissions.accept(Time::ZERO, ip)).count(), PENDING_MAX);
    }
}
