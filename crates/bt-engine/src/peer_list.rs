//! Keeps the addresses of peers: which to dial next, which to leave alone for a while, which are
//! banned.
//!
//! Decides: the order of dialling, back-off and bans. Must not know: how an address was found,
//! beyond its source.
//! Invariant: no address enters that its source may not name. The number of addresses is bounded,
//! in all and per source.

use crate::canonical_priority;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bt_types::{Closeness, Rng, Source, Time, closeness, may_name, normalise_addr, subscriber};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Most addresses remembered per torrent.
const ADDRESSES_MAX: usize = 4000;
/// Of these, the most that one tracker may name, and the most that any other host may name: a peer,
/// a DHT node.
const FROM_TRACKER_MAX: usize = 2500;
const FROM_HOST_MAX: usize = 250;
/// Most bans per torrent, counted by subscriber; beyond that the oldest ban is dropped.
const BANS_MAX: usize = 4096;
/// After this number of failures in a row an address is forgotten, unless the user named it.
const FAILS_MAX: u32 = 6;
/// Seconds on which the back-off after a failure is based; it doubles with each failure.
const RETRY: Duration = Duration::from_secs(10);
/// Least seconds between two dials to an address whose host calls for us: calls may be forged. The
/// first dial is made at once.
const CALL_REST: Duration = Duration::from_secs(1);
/// Seconds before a peer that was connected is dialled again.
const REDIAL: Duration = Duration::from_secs(30);

/// The peer addresses of one torrent.
#[derive(Debug, Default)]
pub(crate) struct PeerList {
    entries: BTreeMap<SocketAddr, Entry>,
    /// The number of entries of each tracker and host; a public IPv6 /64 counts as one host.
    named: BTreeMap<IpAddr, usize>,
    /// Our own addresses that are known.
    ours: Vec<IpAddr>,
    /// Addresses that can be dialled now: fewest failures first, then those seen lately, then by
    /// `canonical_priority`.
    due: BTreeSet<(u32, bool, u32, SocketAddr)>,
    /// Addresses that can be dialled from a given time on.
    later: BTreeSet<(Time, SocketAddr)>,
    banned: BTreeSet<(IpAddr, u16)>,
    /// The same bans in the order in which they were made.
    ban_order: VecDeque<(IpAddr, u16)>,
}

/// An address to dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dial {
    pub(crate) addr: SocketAddr,
    /// The source that named it.
    pub(crate) source: Source,
    /// It was never dialled, or was connected the last time.
    pub(crate) is_first: bool,
}

/// The source of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PeerSource {
    /// The user.
    User,
    /// A tracker of the torrent.
    Tracker(IpAddr),
    /// The author of a magnet link.
    Link,
    /// Another host: a peer, a DHT node, a neighbour.
    Host(IpAddr),
}

impl PeerSource {
    fn source(self) -> Source {
        match self {
            PeerSource::User => Source::User,
            PeerSource::Link => Source::Link,
            PeerSource::Tracker(host) | PeerSource::Host(host) => Source::Host(host),
        }
    }

    /// Returns how far it is trusted, compared with others.
    fn trust(self) -> u8 {
        match self {
            PeerSource::User => 3,
            PeerSource::Tracker(_) => 2,
            PeerSource::Link => 1,
            PeerSource::Host(_) => 0,
        }
    }

    /// Returns the host that the bound counts for, and its most entries; `None` if there is no
    /// bound.
    fn bounds(self) -> Option<(IpAddr, usize)> {
        match self {
            // A link has a bound of its own.
            PeerSource::User | PeerSource::Link => None,
            PeerSource::Tracker(host) => Some((subscriber(host), FROM_TRACKER_MAX)),
            PeerSource::Host(host) => Some((subscriber(host), FROM_HOST_MAX)),
        }
    }

    /// Returns whether a private torrent ignores this source (BEP 27).
    fn is_ignored_when_private(self) -> bool {
        matches!(self, PeerSource::Link | PeerSource::Host(_))
    }
}

#[derive(Debug)]
struct Entry {
    found_by: PeerSource,
    fails: u32,
    /// Neither a connection nor a new mention since the last failure: dialled after the addresses
    /// that have one.
    is_old: bool,
    /// The order among equals is random, or a rank that is as good as random. If all peers dialled
    /// the same few first, the other peers would be left without connections.
    canonical_priority: u32,
    /// Before this time a call does not have the address dialled again.
    rests: Time,
    /// The time from which it may be dialled; `None` while it is being dialled or connected.
    next: Option<Time>,
}

impl PeerList {
    /// Adds an address that a source named. False if it is refused, or known already.
    pub(crate) fn add(
        &mut self,
        now: Time,
        addr: SocketAddr,
        found_by: PeerSource,
        rng: &mut Rng,
    ) -> bool {
        let addr = normalise_addr(addr);
        if !may_name(found_by.source(), addr) || self.is_banned(addr) {
            return false;
        }
        if let Some(entry) = self.entries.get(&addr) {
            if found_by.trust() > entry.found_by.trust() && self.has_room(found_by) {
                self.rename(addr, found_by);
            }
            self.set_old(addr, false);
            return false;
        }
        if !self.has_room(found_by)
            || (self.entries.len() >= ADDRESSES_MAX && !self.make_room(found_by))
        {
            return false;
        }
        let canonical_priority = canonical_priority::canonical_priority(&self.ours, addr)
            .unwrap_or_else(|| rng.next_u32());
        self.entries.insert(
            addr,
            Entry { found_by, fails: 0, is_old: false, canonical_priority, rests: now, next: None },
        );
        self.count(found_by, 1);
        self.plan(addr, Some(now));
        true
    }

    fn has_room(&self, found_by: PeerSource) -> bool {
        found_by
            .bounds()
            .is_none_or(|(host, max)| self.named.get(&host).is_none_or(|count| *count < max))
    }

    /// Makes room in a full list, if the source may have it; returns whether there is room now. An
    /// address of the user always enters. An address of a tracker takes the place of the one that
    /// failed most among those that neither the user nor a tracker named. Hosts that name many
    /// addresses thus do not keep the tracker's peers away.
    fn make_room(&mut self, found_by: PeerSource) -> bool {
        if found_by.is_ignored_when_private() {
            return false;
        }
        let unused = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.found_by.is_ignored_when_private() && entry.next.is_some());
        let worst = unused.max_by_key(|(_, entry)| entry.fails).map(|(addr, _)| *addr);
        worst.into_iter().for_each(|addr| self.forget(addr));
        worst.is_some() || found_by == PeerSource::User
    }

    /// Changes the source of an address to a more trusted source that named it too.
    fn rename(&mut self, addr: SocketAddr, found_by: PeerSource) {
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        let before = core::mem::replace(&mut entry.found_by, found_by);
        self.count(before, -1);
        self.count(found_by, 1);
    }

    fn count(&mut self, found_by: PeerSource, change: isize) {
        if let Some((host, _)) = found_by.bounds() {
            let count = self.named.entry(host).or_default();
            *count = count.saturating_add_signed(change);
            if *count == 0 {
                self.named.remove(&host);
            }
        }
    }

    /// Takes one of our own addresses, and ranks the known addresses anew.
    pub(crate) fn set_ours(&mut self, ours: IpAddr) {
        self.ours.retain(|known| known.is_ipv4() != ours.is_ipv4());
        self.ours.push(ours);
        for (&addr, entry) in &mut self.entries {
            let Some(canonical_priority) = canonical_priority::canonical_priority(&self.ours, addr)
            else {
                continue;
            };
            if self.due.remove(&(entry.fails, entry.is_old, entry.canonical_priority, addr)) {
                self.due.insert((entry.fails, entry.is_old, canonical_priority, addr));
            }
            entry.canonical_priority = canonical_priority;
        }
    }

    /// Returns whether a source named this address.
    pub(crate) fn knows(&self, addr: SocketAddr) -> bool {
        self.entries.contains_key(&addr)
    }

    /// Forgets the addresses that neither the user nor a tracker named.
    pub(crate) fn forget_ignored_when_private(&mut self) {
        let ignored = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.found_by.is_ignored_when_private())
            .map(|(addr, _)| *addr);
        ignored.collect::<Vec<_>>().into_iter().for_each(|addr| self.forget(addr));
    }

    /// Takes the address to dial now: fewest failures first.
    pub(crate) fn take(&mut self, now: Time) -> Option<Dial> {
        while let Some(&(at, addr)) = self.later.first()
            && at <= now
        {
            self.later.pop_first();
            if let Some(entry) = self.entries.get(&addr) {
                self.due.insert((entry.fails, entry.is_old, entry.canonical_priority, addr));
            }
        }
        loop {
            let (.., addr) = self.due.pop_first()?;
            // Other addresses of a banned host may have entered before the ban.
            if self.is_banned(addr) {
                self.forget(addr);
                continue;
            }
            let entry = self.entries.get_mut(&addr)?;
            (entry.next, entry.rests) = (None, now + CALL_REST);
            return Some(Dial {
                addr,
                source: entry.found_by.source(),
                is_first: entry.fails == 0,
            });
        }
    }

    /// Counts the addresses that can be dialled now or later.
    pub(crate) fn waiting(&self) -> usize {
        self.due.len() + self.later.len()
    }

    /// Ends every back-off after a change of network: an address that failed on the old network is
    /// tried at once.
    pub(crate) fn forgive(&mut self, now: Time) {
        let waits: Vec<SocketAddr> =
            self.later.iter().filter(|(at, _)| *at > now).map(|(_, addr)| *addr).collect();
        for addr in waits {
            self.plan(addr, None);
            if let Some(entry) = self.entries.get_mut(&addr) {
                entry.fails = 0;
            }
            self.plan(addr, Some(now));
        }
    }

    /// Ends the back-off of an address whose host called for us: earlier failures are no reason to
    /// wait. An address that is being dialled or connected stays as it is.
    pub(crate) fn called(&mut self, now: Time, addr: SocketAddr) {
        let Some((rests, next)) =
            self.entries.get(&addr).and_then(|entry| Some((entry.rests, entry.next?)))
        else {
            return;
        };
        // Its position in the order of dialling depends on its failures.
        self.plan(addr, None);
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.fails = 0;
        }
        self.plan(addr, Some(next.min(now.max(rests))));
    }

    fn set_old(&mut self, addr: SocketAddr, is_old: bool) {
        let Some(entry) = self.entries.get_mut(&addr).filter(|entry| entry.is_old != is_old) else {
            return;
        };
        if self.due.remove(&(entry.fails, entry.is_old, entry.canonical_priority, addr)) {
            self.due.insert((entry.fails, is_old, entry.canonical_priority, addr));
        }
        entry.is_old = is_old;
    }

    /// Counts the addresses that were never tried, or were good the last time, and are not
    /// connected.
    pub(crate) fn fresh(&self) -> usize {
        self.entries.values().filter(|entry| entry.fails == 0 && entry.next.is_some()).count()
    }

    /// Returns when the next address can be dialled; a time in the past if one can be dialled now.
    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.due.is_empty() { self.later.first().map(|(at, _)| *at) } else { Some(Time::ZERO) }
    }

    /// Notes that a dial failed.
    pub(crate) fn failed(&mut self, now: Time, addr: SocketAddr) {
        self.set_old(addr, true);
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        entry.fails += 1;
        if entry.fails >= FAILS_MAX && entry.found_by != PeerSource::User {
            return self.forget(addr);
        }
        let wait = RETRY * 2u32.pow(entry.fails.min(FAILS_MAX));
        // The user waits for a peer that the user named: keep trying often.
        let wait = if entry.found_by == PeerSource::User { wait.min(RETRY) } else { wait };
        self.plan(addr, Some(now + wait));
    }

    /// Notes that this address is connected.
    pub(crate) fn connected(&mut self, addr: SocketAddr) {
        self.plan(addr, None);
        self.set_old(addr, false);
        if let Some(entry) = self.entries.get_mut(&addr) {
            entry.fails = 0;
        }
    }

    /// Notes that the connection to this address ended.
    pub(crate) fn closed(&mut self, now: Time, addr: SocketAddr) {
        let Some(entry) = self.entries.get(&addr) else { return };
        let wait = if entry.found_by == PeerSource::User { RETRY } else { REDIAL };
        self.plan(addr, Some(now + wait));
    }

    /// Forgets an address.
    pub(crate) fn forget(&mut self, addr: SocketAddr) {
        self.plan(addr, None);
        if let Some(entry) = self.entries.remove(&addr) {
            self.count(entry.found_by, -1);
        }
    }

    /// Bans a peer by subscriber (an IPv4 address, a public IPv6 /64); on loopback by address and
    /// port.
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

    /// Moves an address to its position in the order of dialling, or out of it.
    fn plan(&mut self, addr: SocketAddr, next: Option<Time>) {
        let Some(entry) = self.entries.get_mut(&addr) else { return };
        if let Some(old) = core::mem::replace(&mut entry.next, next) {
            self.later.remove(&(old, addr));
            self.due.remove(&(entry.fails, entry.is_old, entry.canonical_priority, addr));
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
mod tests;
