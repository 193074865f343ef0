//! The addresses of peers: whom to dial next, whom to leave alone, whom never to meet again.
//!
//! Decides: the order of dialling, back-off and bans. Must not know: how an address was found, beyond who named it.
//! Invariant: no address that its source may not name ever enters; the book is bounded, and so is the part that one source fills.

use crate::rank;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bt_types::{Closeness, Rng, Source, Time, closeness, may_name, normalise_addr, subscriber};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Addresses remembered per torrent.
const ADDRESSES_MAX: usize = 4000;
/// Of these, how many one tracker may have named, and how many any other host: a peer, a DHT node.
const FROM_TRACKER_MAX: usize = 2500;
const FROM_HOST_MAX: usize = 250;
/// Subscribers banned per torrent; the oldest are not kept.
const BANS_MAX: usize = 4096;
/// After so many failures in a row an address is forgotten.
const FAILS_MAX: u32 = 6;
/// Wait after the first failure; it doubles with each.
const RETRY: Duration = Duration::from_secs(10);
/// A host that calls for us is dialled at once, but no address more often than this, whoever calls in its name.
const CALL_REST: Duration = Duration::from_secs(1);
/// Wait before a peer that was connected is dialled again.
const REDIAL: Duration = Duration::from_secs(30);

/// The peer addresses of one torrent.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<SocketAddr, Entry>,
    /// How many entries each tracker and host has; a public IPv6 /64 counts as one host.
    named: BTreeMap<IpAddr, usize>,
    /// Our own addresses, as far as they are known.
    ours: Vec<IpAddr>,
    /// Those that can be dialled: fewest failures first, those seen lately before others, then by lot.
    due: BTreeSet<(u32, bool, u32, SocketAddr)>,
    /// Those that can be dialled from a moment on.
    later: BTreeSet<(Time, SocketAddr)>,
    banned: BTreeSet<(IpAddr, u16)>,
    /// The same in the order of the bans.
    ban_order: VecDeque<(IpAddr, u16)>,
}

/// An address to dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dial {
    pub(crate) addr: SocketAddr,
    /// Who named it.
    pub(crate) source: Source,
    /// It was never dialled, or was connected the last time.
    pub(crate) is_first: bool,
}

/// Who named an address, from the most to the least trusted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Origin {
    /// The person at the keyboard.
    User,
    /// A tracker of the torrent.
    Tracker(IpAddr),
    /// The author of a magnet link.
    Link,
    /// Another host: a peer, a DHT node, a neighbour.
    Host(IpAddr),
}

impl Origin {
    fn source(self) -> Source {
        match self {
            Origin::User => Source::User,
            Origin::Link => Source::Link,
            Origin::Tracker(host) | Origin::Host(host) => Source::Host(host),
        }
    }

    /// Who it is, if there are bounds for it, and how many entries it may have.
    fn bounds(self) -> Option<(IpAddr, usize)> {
        match self {
            // A link has a bound of its own.
            Origin::User | Origin::Link => None,
            Origin::Tracker(host) => Some((subscriber(host), FROM_TRACKER_MAX)),
            Origin::Host(host) => Some((subscriber(host), FROM_HOST_MAX)),
        }
    }

    /// Whether somebody named it whom also a private torrent believes (BEP 27).
    fn is_hearsay(self) -> bool {
        matches!(self, Origin::Link | Origin::Host(_))
    }
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    fails: u32,
    /// It was connected before, or heard of in the last announce: it is dialled before those of which nothing was heard for longer.
    is_old: bool,
    /// The order among equals is chance, or a rank that is as good as chance: if everybody dialled the same few first, the others
    /// would be alone.
    lot: u32,
    /// Before this moment a call does not have it dialled again.
    rests: Time,
    /// When it may be dialled; `None` while it is dialled or connected.
    next: Option<Time>,
}

impl Book {
    /// Somebody named an address. False if it was not taken, or is known already.
    pub(crate) fn add(&mut self, now: Time, addr: SocketAddr, origin: Origin, rng: &mut Rng) -> bool {
        let addr = normalise_addr(addr);
        if !may_name(origin.source(), addr) || self.is_banned(addr) {
            return false;
        }
        if let Some(entry) = self.entries.get(&addr) {
            if origin < entry.origin && self.has_room(origin) {
                self.rename(addr, origin);
            }
            self.set_old(addr, false);
            return false;
        }
        if !self.has_room(origin) || (self.entries.len() >= ADDRESSES_MAX && !self.make_room(origin)) {
            return false;
        }
        let lot = rank::lot(&self.ours, addr).unwrap_or_else(|| rng.next_u32());
        self.entries.insert(addr, Entry { origin, fails: 0, is_old: false, lot, rests: now, next: None });
        self.count(origin, 1);
        self.plan(addr, Some(now));
        true
    }

    fn has_room(&self, origin: Origin) -> bool {
        origin.bounds().is_none_or(|(host, max)| self.named.get(&host).is_none_or(|count| *count < max))
    }

    /// Whether an address may enter a full book. What the user names always may; what a tracker names takes the place of the hearsay
    /// that failed most, so that hosts who name enough others do not keep its peers away.
    fn make_room(&mut self, origin: Origin) -> bool {
        if origin.is_hearsay() {
            return false;
        }
        let unused = self.entries.iter().filter(|(_, entry)| entry.origin.is_hearsay() && entry.next.is_some());
        let worst = unused.max_by_key(|(_, entry)| entry.fails).map(|(addr, _)| *addr);
        worst.into_iter().for_each(|addr| self.forget(addr));
        worst.is_some() || origin == Origin::User
    }

    /// Somebody who is trusted more named it too.
    fn rename(&mut self, addr: SocketAddr, origin: Origin) {
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        let before = core::mem::replace(&mut entry.origin, origin);
        self.count(before, -1);
        self.count(origin, 1);
    }

    fn count(&mut self, origin: Origin, change: isize) {
        if let Some((host, _)) = origin.bounds() {
            let count = self.named.entry(host).or_default();
            *count = count.saturating_add_signed(change);
            if *count == 0 {
                self.named.remove(&host);
            }
        }
    }

    /// One of our own addresses is known: addresses are ranked anew.
    pub(crate) fn set_ours(&mut self, ours: IpAddr) {
        self.ours.retain(|known| known.is_ipv4() != ours.is_ipv4());
        self.ours.push(ours);
        for (&addr, entry) in &mut self.entries {
            let Some(lot) = rank::lot(&self.ours, addr) else { continue };
            if self.due.remove(&(entry.fails, entry.is_old, entry.lot, addr)) {
                self.due.insert((entry.fails, entry.is_old, lot, addr));
            }
            entry.lot = lot;
        }
    }

    /// Whether somebody named this address.
    pub(crate) fn knows(&self, addr: SocketAddr) -> bool {
        self.entries.contains_key(&addr)
    }

    /// Forgets what neither the user nor a tracker named.
    pub(crate) fn forget_hearsay(&mut self) {
        let hearsay = self.entries.iter().filter(|(_, entry)| entry.origin.is_hearsay()).map(|(addr, _)| *addr);
        hearsay.collect::<Vec<_>>().into_iter().for_each(|addr| self.forget(addr));
    }

    /// The address to dial now: fewest failures first.
    pub(crate) fn take(&mut self, now: Time) -> Option<Dial> {
        while let Some(&(at, addr)) = self.later.first()
            && at <= now
        {
            self.later.pop_first();
            if let Some(entry) = self.entries.get(&addr) {
                self.due.insert((entry.fails, entry.is_old, entry.lot, addr));
            }
        }
        loop {
            let (.., addr) = self.due.pop_first()?;
            // Other addresses of a banned host may have been in the book before.
            if self.is_banned(addr) {
                self.forget(addr);
                continue;
            }
            let entry = self.entries.get_mut(&addr)?;
            (entry.next, entry.rests) = (None, now + CALL_REST);
            return Some(Dial { addr, source: entry.origin.source(), is_first: entry.fails == 0 });
        }
    }

    /// How many addresses can be dialled now or soon.
    pub(crate) fn waiting(&self) -> usize {
        self.due.len() + self.later.len()
    }

    /// The network is another: what failed there may work here, and is tried at once.
    pub(crate) fn forgive(&mut self, now: Time) {
        let waits: Vec<SocketAddr> = self.later.iter().filter(|(at, _)| *at > now).map(|(_, addr)| *addr).collect();
        for addr in waits {
            self.plan(addr, None);
            if let Some(entry) = self.entries.get_mut(&addr) {
                entry.fails = 0;
            }
            self.plan(addr, Some(now));
        }
    }

    /// The host at this address said itself that it is there: what failed before, or ended, is no reason to wait. An address that is
    /// dialled or connected stays as it is.
    pub(crate) fn called(&mut self, now: Time, addr: SocketAddr) {
        let Some((rests, next)) = self.entries.get(&addr).and_then(|entry| Some((entry.rests, entry.next?))) else { return };
        // Its place among those that can be dialled depends on its failures.
        self.plan(addr, None);
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.fails = 0;
        }
        self.plan(addr, Some(next.min(now.max(rests))));
    }

    fn set_old(&mut self, addr: SocketAddr, is_old: bool) {
        let Some(entry) = self.entries.get_mut(&addr).filter(|entry| entry.is_old != is_old) else { return };
        if self.due.remove(&(entry.fails, entry.is_old, entry.lot, addr)) {
            self.due.insert((entry.fails, is_old, entry.lot, addr));
        }
        entry.is_old = is_old;
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
        self.set_old(addr, true);
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        entry.fails += 1;
        if entry.fails >= FAILS_MAX && entry.origin != Origin::User {
            return self.forget(addr);
        }
        let wait = RETRY * 2u32.pow(entry.fails.min(FAILS_MAX));
        // The person who named a peer waits for it: keep trying often.
        let wait = if entry.origin == Origin::User { wait.min(RETRY) } else { wait };
        self.plan(addr, Some(now + wait));
    }

    /// A connection to this address stands.
    pub(crate) fn connected(&mut self, addr: SocketAddr) {
        self.plan(addr, None);
        self.set_old(addr, false);
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.fails = 0;
        }
    }

    /// A connection to this address ended.
    pub(crate) fn closed(&mut self, now: Time, addr: SocketAddr) {
        let Some(entry) = self.entries.get(&addr) else { return };
        let wait = if entry.origin == Origin::User { RETRY } else { REDIAL };
        self.plan(addr, Some(now + wait));
    }

    /// Never dial this address again.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        self.plan(addr, None);
        if let Some(entry) = self.entries.remove(&addr) {
            self.count(entry.origin, -1);
        }
    }

    /// Never meet this peer again: by subscriber (an IPv4 address, a public IPv6 /64), on loopback by address and port.
    pub(crate) fn ban(&mut self, addr: SocketAddr) {
        self.forget(addr);
        let key = Self::ban_key(addr);
        if !self.banned.insert(key) {
            return;
        }
        self.ban_order.push_back(key);
        if self.ban_order.len() > BANS_MAX
            && let Some(oldest) = self.ban_order.pop_front()
        {
            self.banned.remove(&oldest);
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
            self.due.remove(&(entry.fails, entry.is_old, entry.lot, addr));
        }
        if let Some(next) = next {
            self.later.insert((next, addr));
        }
    }

    fn ban_key(addr: SocketAddr) -> (IpAddr, u16) {
        let ip = subscriber(addr.ip());
        (ip, if closeness(ip) == Some(Closeness::Loopback) { addr.port() } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn host(n: u8) -> Origin {
        Origin::Host([9, 9, 9, n].into())
    }

    #[test]
    fn a_stranger_cannot_point_us_at_our_own_network() {
        let mut book = Book::default();
        assert!(!book.add(Time::ZERO, addr("192.168.1.1:80"), host(9), &mut Rng::from_seed(1)));
        assert!(book.add(Time::ZERO, addr("8.8.8.8:6881"), host(9), &mut Rng::from_seed(1)));
        assert!(book.add(Time::ZERO, addr("192.168.1.1:80"), Origin::User, &mut Rng::from_seed(1)));
    }

    #[test]
    fn failures_back_off_and_end() {
        let mut book = Book::default();
        let peer = addr("8.8.8.8:6881");
        book.add(Time::ZERO, peer, host(9), &mut Rng::from_seed(1));
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
        book.ban(addr("[2001:db8:a:b::1]:1"));
        let table = [
            ("8.8.8.8:2", true),
            ("127.0.0.1:1", true),
            ("127.0.0.1:2", false),
            ("8.8.4.4:1", false),
            ("[2001:db8:a:b:ffff::2]:7", true),
            ("[2001:db8:a:c::1]:1", false),
        ];
        for (peer, banned) in table {
            assert_eq!(book.is_banned(addr(peer)), banned, "{peer}");
        }
        assert!(!book.add(Time::ZERO, addr("8.8.8.8:5"), Origin::User, &mut Rng::from_seed(1)));
    }

    #[test]
    fn no_address_of_a_banned_host_is_dialled() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        let peers = ["8.8.8.8:1", "8.8.8.8:2", "[2a01::1]:1", "[2a01::2]:1", "8.8.4.4:1"].map(addr);
        peers.iter().for_each(|&peer| assert!(book.add(Time::ZERO, peer, host(1), &mut rng)));
        book.ban(peers[0]);
        book.ban(peers[2]);
        let dialled: Vec<SocketAddr> = core::iter::from_fn(|| book.take(Time::ZERO)).map(|dial| dial.addr).collect();
        assert_eq!((&dialled[..], book.entries.len()), (&peers[4..], 1));
    }

    #[test]
    fn a_full_list_of_bans_lets_the_oldest_go() {
        let mut book = Book::default();
        let peer = |n: u32| SocketAddr::new((0x0800_0000 + n).to_be_bytes().into(), 1);
        let bans = BANS_MAX as u32 + 10;
        (0..bans).for_each(|n| book.ban(peer(n)));
        book.ban(peer(bans - 1));
        assert_eq!([0, 9, 10, bans - 1].map(|n| book.is_banned(peer(n))), [false, false, true, true]);
        assert_eq!((book.banned.len(), book.ban_order.len()), (BANS_MAX, BANS_MAX));
    }

    #[test]
    fn who_was_seen_lately_is_dialled_before_others() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        let [gone, seen, good] = ["8.8.8.8:1", "8.8.8.8:2", "8.8.8.8:3"].map(addr);
        assert!([gone, seen, good].iter().all(|&peer| book.add(Time::ZERO, peer, host(1), &mut rng)));
        while book.take(Time::ZERO).is_some() {}
        [gone, seen, good].iter().for_each(|&peer| book.failed(Time::ZERO, peer));
        // One was named again since, and one connected to us.
        book.add(Time::from_secs(1), seen, host(2), &mut rng);
        book.connected(good);
        book.closed(Time::from_secs(1), good);
        let order: Vec<SocketAddr> = core::iter::from_fn(|| book.take(Time::from_secs(100))).map(|dial| dial.addr).collect();
        assert_eq!(order, [good, seen, gone]);
    }

    #[test]
    fn another_network_gives_every_address_another_chance() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        let peer = addr("8.8.8.8:6881");
        book.add(Time::ZERO, peer, host(9), &mut rng);
        book.take(Time::ZERO);
        book.failed(Time::ZERO, peer);
        assert_eq!(book.take(Time::from_secs(1)), None);
        book.forgive(Time::from_secs(1));
        assert_eq!(book.take(Time::from_secs(1)).map(|dial| dial.is_first), Some(true));
    }

    #[test]
    fn who_calls_is_not_in_back_off_and_not_dialled_more_than_once_a_second() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        let (start, peer) = (Time::from_secs(1), addr("10.0.0.9:6881"));
        let neighbour = Origin::Host(peer.ip());
        assert!(book.add(start, peer, neighbour, &mut rng));
        assert!(book.take(start).is_some());
        book.called(start, peer);
        assert_eq!(book.take(start), None, "it is dialled at this moment");
        // However often it fails, and however often somebody calls.
        let mut dialled = 1;
        for tenth in 0..100 {
            let now = start + Duration::from_millis(100 * tenth);
            book.failed(now, peer);
            assert!(book.knows(peer));
            book.called(now, peer);
            dialled += usize::from(book.take(now).is_some_and(|dial| dial.is_first));
        }
        assert_eq!(dialled, 10, "one in each second");
        let end = Time::from_secs(100);
        book.connected(peer);
        book.called(end, peer);
        assert_eq!(book.take(end), None, "it is connected");
        book.closed(end, peer);
        assert_eq!(book.take(end), None);
        book.called(end, peer);
        assert_eq!(book.take(end).map(|dial| dial.addr), Some(peer), "the connection ended");
    }

    #[test]
    fn nobody_fills_the_book_alone() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        let mut fill = |origin, first: u32| {
            let peers = (first..first + 3000).map(|n| SocketAddr::new((0x0800_0000 + n).to_be_bytes().into(), 1));
            peers.filter(|&peer| book.add(Time::ZERO, peer, origin, &mut rng)).count()
        };
        assert_eq!(fill(host(1), 0), FROM_HOST_MAX);
        assert_eq!(fill(Origin::Tracker([9, 9, 9, 2].into()), 10_000), FROM_TRACKER_MAX);
        assert_eq!((3..9).map(|n| fill(host(n), u32::from(n) * 10_000)).collect::<Vec<_>>(), [250, 250, 250, 250, 250, 0]);
        assert_eq!(fill(Origin::User, 100_000), 3000);
        assert_eq!(fill(host(1), 200_000), 0, "what it named is still there");
        let mut book = Book::default();
        let liars = (0..300u16).map(|n| Origin::Host(core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into()));
        let named = (0x0800_0000u32..).map(|n| SocketAddr::new(n.to_be_bytes().into(), 1));
        let taken = liars.zip(named).filter(|(liar, peer)| book.add(Time::ZERO, *peer, *liar, &mut rng)).count();
        assert_eq!(taken, FROM_HOST_MAX, "the hosts of an IPv6 network are one");
    }

    #[test]
    fn hosts_who_fill_the_book_do_not_keep_the_peers_of_a_tracker_away() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        let peer = |n: u32| SocketAddr::new((0x0800_0000 + n).to_be_bytes().into(), 1);
        let named = (0..16).flat_map(|by| (0..250).map(move |n| (host(by), peer(u32::from(by) * 1000 + n))));
        assert_eq!(named.filter(|(by, peer)| book.add(Time::ZERO, *peer, *by, &mut rng)).count(), ADDRESSES_MAX);
        let connected = book.take(Time::ZERO).unwrap().addr;
        let failed = book.take(Time::ZERO).unwrap().addr;
        book.failed(Time::ZERO, failed);
        let tracker = Origin::Tracker([9, 9, 9, 100].into());
        let honest: Vec<SocketAddr> = (0..200).map(|n| peer(100_000 + n)).collect();
        assert!(honest.iter().all(|&peer| book.add(Time::ZERO, peer, tracker, &mut rng)));
        assert_eq!((book.entries.len(), book.named.values().sum::<usize>()), (ADDRESSES_MAX, ADDRESSES_MAX));
        assert_eq!((book.knows(connected), book.knows(failed)), (true, false), "what failed goes first, who is connected stays");
    }

    #[test]
    fn what_was_hearsay_is_forgotten_but_not_what_a_tracker_named_too() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        let peers = ["8.8.8.8:1", "8.8.8.8:2", "8.8.8.8:3"].map(addr);
        peers.iter().for_each(|&peer| assert!(book.add(Time::ZERO, peer, host(1), &mut rng)));
        assert!(!book.add(Time::ZERO, peers[1], Origin::Tracker([9, 9, 9, 2].into()), &mut rng));
        assert!(!book.add(Time::ZERO, peers[2], Origin::User, &mut rng));
        book.forget_hearsay();
        assert_eq!(peers.map(|peer| book.knows(peer)), [false, true, true]);
        assert_eq!(book.named.values().sum::<usize>(), 1);
    }

    #[test]
    fn when_our_address_is_known_the_order_is_that_of_the_ranks() {
        let (mut book, mut rng) = (Book::default(), Rng::from_seed(1));
        let mut peers: Vec<SocketAddr> = (0..50u8).map(|n| SocketAddr::from(([8, n, n, n], 1))).collect();
        peers[..25].iter().for_each(|&peer| assert!(book.add(Time::ZERO, peer, host(1), &mut rng)));
        book.take(Time::ZERO);
        let ours = IpAddr::from([123, 213, 32, 10]);
        book.set_ours(ours);
        peers[25..].iter().for_each(|&peer| assert!(book.add(Time::ZERO, peer, host(1), &mut rng)));
        peers.sort_by_key(|&peer| rank::lot(&[ours], peer));
        let taken: Vec<SocketAddr> = core::iter::from_fn(|| book.take(Time::ZERO)).map(|dial| dial.addr).collect();
        peers.retain(|peer| taken.contains(peer));
        assert_eq!((taken.len(), taken), (49, peers));
    }
}
