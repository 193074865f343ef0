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
    /// Those that can be dialled: fewest failures first, then by lot.
    due: BTreeSet<(u32, u32, SocketAddr)>,
    /// Those that can be dialled from a moment on.
    later: BTreeSet<(Time, SocketAddr)>,
    banned: BTreeSet<(IpAddr, u16)>,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    fails: u32,
    /// The order among equals is chance: if everybody dialled the same few first, the others would be alone.
    lot: u32,
    /// When it may be dialled; `None` while it is dialled or connected.
    next: Option<Time>,
}

impl Book {
    /// Somebody named an address. False if it was not taken.
    pub(crate) fn add(&mut self, now: Time, addr: SocketAddr, source: Source, rng: &mut Rng) -> bool {
        let addr = SocketAddr::new(normalise(addr.ip()), addr.port());
        let room = self.entries.len() < ADDRESSES_MAX || source == Source::User;
        if !may_name(source, addr) || self.is_banned(addr) || !room || self.entries.contains_key(&addr) {
            return false;
        }
        self.entries.insert(addr, Entry { source, fails: 0, lot: rng.next_u32(), next: None });
        self.plan(addr, Some(now));
        true
    }

    /// The address to dial now, with who named it: fewest failures first.
    pub(crate) fn take(&mut self, now: Time) -> Option<(SocketAddr, Source)> {
        while let Some(&(at, addr)) = self.later.first()
            && at <= now
        {
            self.later.pop_first();
            if let Some(entry) = self.entries.get(&addr) {
                self.due.insert((entry.fails, entry.lot, addr));
            }
        }
        let (.., addr) = self.due.pop_first()?;
        let entry = self.entries.get_mut(&addr)?;
        entry.next = None;
        Some((addr, entry.source))
    }

    /// Addresses that were never tried, or were good the last time, and are not connected.
    pub(crate) fn fresh(&self) -> usize {
        self.entries.values().filter(|entry| entry.fails == 0 && entry.next.is_some()).count()
    }

    /// When the next address can be dialled; a moment that has passed when one can be now.
    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.due.is_empty() { self.later.first().map(|(at, _)| *at) } else { Some(Time::ZERO) }
    }

    /// A dial led to nothing.
    pub(crate) fn failed(&mut self, now: Time, addr: SocketAddr) {
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        entry.fails += 1;
        if entry.fails >= FAILS_MAX && entry.source != Source::User {
            return self.forget(addr);
        }
        let wait = RETRY * 2u32.pow(entry.fails.min(FAILS_MAX));
        // The person who named a peer waits for it: keep trying often.
        let wait = if entry.source == Source::User { wait.min(RETRY) } else { wait };
        self.plan(addr, Some(now + wait));
    }

    /// A connection to this address stands.
    pub(crate) fn connected(&mut self, addr: SocketAddr) {
        self.plan(addr, None);
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.fails = 0;
        }
    }

    /// A connection to this address ended.
    pub(crate) fn closed(&mut self, now: Time, addr: SocketAddr) {
        let Some(entry) = self.entries.get(&addr) else { return };
        let wait = if entry.source == Source::User { RETRY } else { REDIAL };
        self.plan(addr, Some(now + wait));
    }

    /// Never dial this address again.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        self.plan(addr, None);
        self.entries.remove(&addr);
    }

    /// Never meet this peer again: by address, on loopback by address and port.
    pub(crate) fn ban(&mut self, addr: SocketAddr) {
        self.forget(addr);
        if self.banned.len() < BANS_MAX {
            self.banned.insert(Self::ban_key(addr));
        }
    }

    pub(crate) fn is_banned(&self, addr: SocketAddr) -> bool {
        self.banned.contains(&Self::ban_key(addr))
    }

    /// Moves an address to its place in the order of dialling, or out of it.
    fn plan(&mut self, addr: SocketAddr, next: Option<Time>) {
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        if let Some(old) = core::mem::replace(&mut entry.next, next) {
            self.later.remove(&(old, addr));
            self.due.remove(&(entry.fails, entry.lot, addr));
        }
        if let Some(next) = next {
            self.later.insert((next, addr));
        }
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
