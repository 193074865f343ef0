//! The addresses of peers: whom to dial next, whom to leave alone, whom never to meet again.
//!
//! Decides: back-off and bans. Must not know: how an address was found, beyond who named it.
//! Invariant: no address that its source may not name ever enters; the book is bounded.

use alloc::collections::{BTreeMap, BTreeSet};
use bt_types::{Closeness, Rng, Source, Time, closeness, may_name, normalise};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Addresses remembered per torrent.
const ADDRESSES_MAX: usize = 2000;
/// Addresses banned per torrent; the oldest are not kept.
const BANS_MAX: usize = 4096;
/// After so many failures in a row an address is forgotten.
const FAILS_MAX: u32 = 6;
/// Wait after the first failure; it doubles with each.
const RETRY: Duration = Duration::from_secs(10);
/// Wait before a peer that was connected is dialled again.
const REDIAL: Duration = Duration::from_secs(30);

/// The peer addresses of one torrent.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<SocketAddr, Entry>,
    banned: BTreeSet<(IpAddr, u16)>,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    fails: u32,
    /// When it may be dialled; `None` while it is dialled or connected.
    next: Option<Time>,
    /// The order among equals is chance: if everybody dialled the same few first, the others would be alone.
    lot: u32,
}

impl Book {
    /// Somebody named an address. False if it was not taken.
    pub(crate) fn add(&mut self, now: Time, addr: SocketAddr, source: Source, rng: &mut Rng) -> bool {
        let addr = SocketAddr::new(normalise(addr.ip()), addr.port());
        let room = self.entries.len() < ADDRESSES_MAX || source == Source::User;
        if !may_name(source, addr) || self.is_banned(addr) || !room || self.entries.contains_key(&addr) {
            return false;
        }
        self.entries.insert(addr, Entry { source, fails: 0, next: Some(now), lot: rng.next_u32() });
        true
    }

    /// The address to dial now, with who named it: fewest failures first.
    pub(crate) fn take(&mut self, now: Time) -> Option<(SocketAddr, Source)> {
        let due = self.entries.iter_mut().filter(|(_, entry)| entry.next.is_some_and(|next| next <= now));
        let (addr, entry) = due.min_by_key(|(_, entry)| (entry.fails, entry.lot))?;
        entry.next = None;
        Some((*addr, entry.source))
    }

    /// When the next address can be dialled.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.entries.values().filter_map(|entry| entry.next).min()
    }

    /// A dial led to nothing.
    pub(crate) fn failed(&mut self, now: Time, addr: SocketAddr) {
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        entry.fails += 1;
        if entry.fails >= FAILS_MAX && entry.source != Source::User {
            self.entries.remove(&addr);
            return;
        }
        let wait = RETRY * 2u32.pow(entry.fails.min(FAILS_MAX));
        // The person who named a peer waits for it: keep trying often.
        entry.next = Some(now + if entry.source == Source::User { wait.min(RETRY) } else { wait });
    }

    /// A connection to this address stands.
    pub(crate) fn connected(&mut self, addr: SocketAddr) {
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.fails = 0;
            entry.next = None;
        }
    }

    /// A connection to this address ended.
    pub(crate) fn closed(&mut self, now: Time, addr: SocketAddr) {
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.next = Some(now + if entry.source == Source::User { RETRY } else { REDIAL });
        }
    }

    /// Never dial this address again.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        self.entries.remove(&addr);
    }

    /// Never meet this peer again: by address, on loopback by address and port.
    pub(crate) fn ban(&mut self, addr: SocketAddr) {
        self.entries.remove(&addr);
        if self.banned.len() < BANS_MAX {
            self.banned.insert(Self::ban_key(addr));
        }
    }

    pub(crate) fn is_banned(&self, addr: SocketAddr) -> bool {
        self.banned.contains(&Self::ban_key(addr))
    }

    fn ban_key(addr: SocketAddr) -> (IpAddr, u16) {
        let ip = normalise(addr.ip());
        (ip, if closeness(ip) == Some(Closeness::Loopback) { addr.port() } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_stranger_cannot_point_us_at_our_own_network() {
        let mut book = Book::default();
        let stranger = Source::Host("9.9.9.9".parse().unwrap());
        assert!(!book.add(Time::ZERO, addr("192.168.1.1:80"), stranger, &mut Rng::from_seed(1)));
        assert!(book.add(Time::ZERO, addr("8.8.8.8:6881"), stranger, &mut Rng::from_seed(1)));
        assert!(book.add(Time::ZERO, addr("192.168.1.1:80"), Source::User, &mut Rng::from_seed(1)));
    }

    #[test]
    fn failures_back_off_and_end() {
        let mut book = Book::default();
        let peer = addr("8.8.8.8:6881");
        book.add(Time::ZERO, peer, Source::Host("9.9.9.9".parse().unwrap()), &mut Rng::from_seed(1));
        let mut now = Time::ZERO;
        let mut tries = 0;
        while book.take(now).is_some() {
            tries += 1;
            book.failed(now, peer);
            match book.deadline() {
                Some(next) => {
                    assert!(next >= now + RETRY * 2);
                    now = next;
                }
                None => break,
            }
        }
        assert_eq!(tries, FAILS_MAX);
        assert!(now < Time::from_secs(700));
    }

    #[test]
    fn a_ban_is_by_address_and_on_loopback_by_port() {
        let mut book = Book::default();
        book.ban(addr("8.8.8.8:1"));
        book.ban(addr("127.0.0.1:1"));
        let table = [("8.8.8.8:2", true), ("127.0.0.1:1", true), ("127.0.0.1:2", false), ("8.8.4.4:1", false)];
        for (peer, banned) in table {
            assert_eq!(book.is_banned(addr(peer)), banned, "{peer}");
        }
        assert!(!book.add(Time::ZERO, addr("8.8.8.8:5"), Source::User, &mut Rng::from_seed(1)));
    }
}
