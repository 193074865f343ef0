//! Exchanges peer addresses with peers (BEP 11).
//!
//! Decides: what a peer is told and when, and which of its addresses are believed. Must not know:
//! connections, trackers.
//! Invariant: a peer is told at most once a minute, of at most 50 added and 50 dropped peers. About
//! the same amount is accepted from it.

use crate::close_reason::CloseReason;
use alloc::collections::{BTreeMap, BTreeSet};
use bt_peer_wire::{PEX_ENTRIES_MAX, PexFlags, PexMessage};
use bt_types::{Source, Time, may_name};
use core::net::SocketAddr;
use core::time::Duration;

/// Seconds between two messages to one peer.
const INTERVAL: Duration = Duration::from_secs(60);
/// Seconds before which a further message of a peer is ignored: some clients send a little early.
const INTERVAL_HEARD: Duration = Duration::from_secs(45);
/// Early messages in a row after which a peer is disconnected.
const EARLY_MAX: u32 = 8;
/// Entries of a kind in our messages, and accepted in a peer's message; a peer's first message may
/// have more.
const ENTRIES_MAX: usize = 50;
/// Most peers that one peer was told of and not yet told that they are gone.
const TOLD_MAX: usize = 1000;

/// The peers that other peers can connect to, and their flags.
pub(crate) type Roster = BTreeMap<SocketAddr, PexFlags>;

/// The exchange with one peer.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    told: BTreeSet<SocketAddr>,
    /// When it may be told more; `None` while it does not want PEX.
    next: Option<Time>,
    /// The number of the roster that it was told completely.
    knows: Option<u64>,
    heard_at: Option<Time>,
    early: u32,
}

impl Exchange {
    /// Sets whether the peer wants PEX messages.
    pub(crate) fn set_open(&mut self, now: Time, open: bool) {
        self.next = if open { self.next.or(Some(now)) } else { None };
    }

    /// Returns whether the peer may be told something of the roster with this number now.
    pub(crate) fn is_due(&self, now: Time, pex_version: u64) -> bool {
        self.next.is_some_and(|at| at <= now) && self.knows != Some(pex_version)
    }

    /// Makes the next message for the peer at this address, if there is news.
    pub(crate) fn next_message(
        &mut self,
        now: Time,
        number: u64,
        roster: &Roster,
        to: SocketAddr,
    ) -> Option<PexMessage> {
        let may_know = |addr: SocketAddr| addr != to && may_name(Source::Host(to.ip()), addr);
        let room = TOLD_MAX.saturating_sub(self.told.len());
        let news = roster.iter().filter(|(addr, _)| may_know(**addr) && !self.told.contains(addr));
        let mut news = news.map(|(addr, flags)| (*addr, *flags)).take(room);
        let added = news.by_ref().take(ENTRIES_MAX).collect();
        let mut gone = self.told.iter().filter(|addr| !roster.contains_key(addr)).copied();
        let message = PexMessage { added, dropped: gone.by_ref().take(ENTRIES_MAX).collect() };
        self.knows = (news.next().is_none() && gone.next().is_none()).then_some(number);
        if message == PexMessage::default() {
            return None;
        }
        self.told.extend(message.added.iter().map(|(addr, _)| *addr));
        self.told.retain(|addr| !message.dropped.contains(addr));
        self.next = Some(now + INTERVAL);
        Some(message)
    }

    /// Takes a peer's message; returns the addresses to add. The peer may name only addresses that
    /// are no closer to us than itself.
    pub(crate) fn on_message(
        &mut self,
        now: Time,
        message: PexMessage,
    ) -> Result<impl Iterator<Item = SocketAddr> + use<>, CloseReason> {
        let is_early = self.heard_at.is_some_and(|at| now < at + INTERVAL_HEARD);
        let room = match self.heard_at {
            _ if is_early => 0,
            None => PEX_ENTRIES_MAX,
            Some(_) => ENTRIES_MAX,
        };
        if is_early {
            self.early += 1;
            if self.early > EARLY_MAX {
                return Err(CloseReason::Flood);
            }
        } else {
            self.heard_at = Some(now);
            self.early = 0;
        }
        Ok(message.added.into_iter().map(|(addr, _)| addr).take(room))
    }
}

/// Makes the flags of a peer.
pub(crate) fn flags(is_seed: bool, outbound: bool) -> PexFlags {
    let bit = |is, bit| if is { bit } else { 0 };
    PexFlags(bit(is_seed, PexFlags::SEED) | bit(outbound, PexFlags::REACHABLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;
    use std::vec::Vec;

    fn addr(n: u32) -> SocketAddr {
        SocketAddr::new(IpAddr::from((0x0800_0000 + n).to_be_bytes()), 1)
    }

    fn roster(numbers: core::ops::Range<u32>) -> Roster {
        numbers.map(|n| (addr(n), PexFlags(0))).collect()
    }

    /// Returns how many peers were added and dropped in each message, for these rosters at these
    /// seconds.
    fn told(steps: &[(u64, core::ops::Range<u32>)]) -> Vec<(usize, usize)> {
        let mut exchange = Exchange::default();
        exchange.set_open(Time::ZERO, true);
        let mut told = Vec::new();
        for (number, (second, numbers)) in (0..).zip(steps) {
            let now = Time::from_secs(*second);
            let due = exchange.is_due(now, number);
            let message = due
                .then(|| exchange.next_message(now, number, &roster(numbers.clone()), addr(0)))
                .flatten()
                .unwrap_or_default();
            told.push((message.added.len(), message.dropped.len()));
        }
        told
    }

    #[test]
    fn pex_is_sent_once_a_minute_with_at_most_fifty_peers() {
        assert_eq!(
            told(&[(0, 0..10), (1, 0..20), (60, 0..20), (61, 0..30), (120, 5..10)]),
            [(9, 0), (0, 0), (10, 0), (0, 0), (0, 14)]
        );
        assert_eq!(
            told(&[(0, 1..200), (60, 1..200), (120, 1..200), (180, 1..200), (240, 1..200)]),
            [(50, 0), (50, 0), (50, 0), (49, 0), (0, 0)]
        );
        assert_eq!(
            told(&[(0, 0..1), (1, 0..1), (2, 0..2)]),
            [(0, 0), (0, 0), (1, 0)],
            "nothing is no message"
        );
    }

    #[test]
    fn pex_names_no_address_closer_to_us() {
        let mut exchange = Exchange::default();
        exchange.set_open(Time::ZERO, true);
        let near: Roster = [
            ("192.168.0.1:5".parse().unwrap(), PexFlags(0)),
            ("8.8.8.8:1".parse().unwrap(), PexFlags(0)),
        ]
        .into();
        assert_eq!(exchange.next_message(Time::ZERO, 1, &near, addr(1)).unwrap().added.len(), 1);
    }

    #[test]
    fn a_peer_that_disables_pex_is_sent_none() {
        let mut exchange = Exchange::default();
        assert!(!exchange.is_due(Time::ZERO, 1));
        exchange.set_open(Time::ZERO, true);
        assert!(exchange.is_due(Time::ZERO, 1));
        exchange.set_open(Time::ZERO, false);
        assert!(!exchange.is_due(Time::from_secs(99), 1));
    }

    #[test]
    fn a_pex_flood_is_ignored_and_ends_the_connection() {
        let mut exchange = Exchange::default();
        let many =
            || PexMessage { added: roster(0..200).into_iter().collect(), dropped: Vec::new() };
        let mut hear =
            |second| exchange.on_message(Time::from_secs(second), many()).map(Iterator::count);
        assert_eq!([0, 10, 45, 89, 90].map(&mut hear), [Ok(200), Ok(0), Ok(50), Ok(0), Ok(50)]);
        assert!((0..8).all(|n| hear(91 + n) == Ok(0)));
        assert_eq!(hear(100), Err(CloseReason::Flood));
    }
}
