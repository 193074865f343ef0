//! Our view of one of the two DHTs (BEP 32): our id in it, the nodes we know, and their
//! maintenance.
//!
//! Decides: when to join again, and which id to have (BEP 42).
//! Must not know: messages, the other DHT.
//! Invariant: no single node changes our id: most of those that answered must see us at another
//! address.

use crate::contact::{Contact, Family};
use crate::id::Id;
use crate::secure::{is_secure, secure_id};
use crate::table::{K, Table};
use alloc::collections::BTreeMap;
use bt_types::{Closeness, Rng, Time, closeness, normalise, subscriber};
use core::net::IpAddr;
use core::time::Duration;

/// Hosts that must have told our address before the most frequent answer counts.
const VOTERS: usize = 10;
/// Wait before joining is tried again while we know few nodes: the first one, doubled each time,
/// and the longest.
const JOIN_AGAIN: Duration = Duration::from_secs(5);
const JOIN_AGAIN_MAX: Duration = Duration::from_secs(5 * 60);
/// Time between two searches for our own neighbours.
const SELF_SEARCH: Duration = Duration::from_secs(10 * 60);

#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) family: Family,
    pub(crate) table: Table,
    /// The search for our own id that is under way.
    pub(crate) joining: Option<u64>,
    pub(crate) told_joined: bool,
    join_at: Time,
    join_again: Duration,
    self_at: Time,
    /// At which address each voter sees us.
    votes: BTreeMap<IpAddr, IpAddr>,
}

/// Maintenance that the table needs.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Care {
    /// Search for our own id.
    Join,
    /// Search for a point in a bucket that has not changed for long.
    Refresh(Id),
    /// Ping a node that was silent for long.
    Ping(Contact),
}

impl Overlay {
    pub(crate) fn new(now: Time, family: Family, own: Id) -> Overlay {
        Overlay {
            family,
            table: Table::new(own),
            joining: None,
            told_joined: false,
            join_at: now,
            join_again: JOIN_AGAIN,
            self_at: now + SELF_SEARCH,
            votes: BTreeMap::new(),
        }
    }

    pub(crate) fn own(&self) -> Id {
        self.table.own()
    }

    /// Returns whether so few nodes are known that routers are asked.
    pub(crate) fn is_thin(&self) -> bool {
        self.table.len() < K
    }

    /// Joins soon, as there are new addresses to join at.
    pub(crate) fn join_soon(&mut self, now: Time) {
        self.join_at = self.join_at.min(now);
    }

    /// Returns the maintenance that is due now, at most one task at a time.
    pub(crate) fn care(&mut self, now: Time, rng: &mut Rng) -> Option<Care> {
        if self.joining.is_none() {
            if self.is_thin() && now >= self.join_at {
                self.join_at = now + self.join_again;
                self.join_again = (self.join_again * 2).min(JOIN_AGAIN_MAX);
                return Some(Care::Join);
            }
            if !self.is_thin() {
                self.join_again = JOIN_AGAIN;
            }
            if now >= self.self_at {
                self.self_at = now + SELF_SEARCH;
                return Some(Care::Join);
            }
            if let Some(target) = self.table.refresh(now, rng) {
                return Some(Care::Refresh(target));
            }
        }
        self.table.stalest(now).map(Care::Ping)
    }

    /// Counts the address at which an answering node sees us. Returns whether we took another id.
    pub(crate) fn vote(
        &mut self,
        now: Time,
        voter: IpAddr,
        seen_at: IpAddr,
        rng: &mut Rng,
    ) -> bool {
        // A node on our own network sees another address of ours.
        if closeness(voter) != Some(Closeness::Public) {
            return false;
        }
        self.votes.insert(subscriber(voter), normalise(seen_at));
        if self.votes.len() < VOTERS {
            return false;
        }
        let votes = core::mem::take(&mut self.votes);
        let mut counts = BTreeMap::<IpAddr, usize>::new();
        votes.values().for_each(|ip| *counts.entry(*ip).or_default() += 1);
        let most = counts.into_iter().find(|(_, count)| count * 2 > votes.len());
        most.is_some_and(|(ip, _)| self.live_at(now, ip, rng))
    }

    /// Sets our address. Returns whether we took another id.
    pub(crate) fn live_at(&mut self, now: Time, ip: IpAddr, rng: &mut Rng) -> bool {
        if is_secure(self.own(), ip) {
            return false;
        }
        self.table.rename(now, secure_id(ip, rng));
        // Our neighbours are others now.
        self.self_at = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::vec::Vec;

    fn voter(number: u8) -> IpAddr {
        Ipv4Addr::new(5, 6, number, 8).into()
    }

    #[test]
    fn most_of_the_voters_decide_and_a_few_do_not() {
        let (ours, lie): (IpAddr, IpAddr) =
            ("7.7.7.7".parse().unwrap(), "8.8.8.8".parse().unwrap());
        for (liars, changes) in [(0, true), (4, true), (5, false), (10, true)] {
            let mut rng = Rng::from_seed(1);
            let mut overlay = Overlay::new(Time::ZERO, Family::V4, Id([1; 20]));
            let mut changed = false;
            for number in 0..10 {
                // A second vote of a host replaces its first.
                overlay.vote(Time::ZERO, voter(0), if liars > 0 { lie } else { ours }, &mut rng);
                changed |= overlay.vote(
                    Time::ZERO,
                    voter(number),
                    if number < liars { lie } else { ours },
                    &mut rng,
                );
            }
            assert_eq!(changed, changes, "{liars} liars");
            assert_eq!(is_secure(overlay.own(), ours), changes && liars < 5);
        }
    }

    #[test]
    fn a_thin_table_joins_again_with_growing_pauses() {
        let mut rng = Rng::from_seed(1);
        let mut overlay = Overlay::new(Time::ZERO, Family::V4, Id([1; 20]));
        let joins: Vec<u64> = (0..400)
            .filter(|secs| overlay.care(Time::from_secs(*secs), &mut rng).is_some())
            .collect();
        assert_eq!(joins, [0, 5, 15, 35, 75, 155, 315]);
    }
}
