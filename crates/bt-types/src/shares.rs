//! Counts the entries of each subscriber in a table, so that the subscriber with most entries gives
//! way when the table is full.
//!
//! Decides: which subscriber holds most. Must not know: the kind of the entries, or when a table is
//! full.
//! Invariant: `counts` and `ranks` hold exactly the subscribers with two entries or more. Most
//! subscribers hold one entry and cost nothing here.

use crate::subscriber;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;

/// The entries of a table by subscriber: an IPv4 address, or a public IPv6 /64.
#[derive(Debug)]
pub struct Shares<T> {
    held: BTreeSet<(IpAddr, T)>,
    counts: BTreeMap<IpAddr, usize>,
    ranks: BTreeSet<(usize, IpAddr)>,
    /// A value that is less than every entry.
    least: T,
}

/// The entry that makes room for a newcomer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Yields<T> {
    /// This entry, of the subscriber that holds most; of the newcomer's subscriber if no other
    /// holds more.
    Entry(T),
    /// The oldest entry of the table: no subscriber holds more than one.
    Oldest,
}

impl<T: Ord + Copy> Shares<T> {
    /// Makes an empty table. `least` is less than every entry.
    pub fn new(least: T) -> Shares<T> {
        Shares { held: BTreeSet::new(), counts: BTreeMap::new(), ranks: BTreeSet::new(), least }
    }

    /// Counts the entries of the subscriber behind an address.
    pub fn count(&self, ip: IpAddr) -> usize {
        self.count_of(subscriber(ip))
    }

    /// Returns the least entry of the subscriber behind an address.
    pub fn first(&self, ip: IpAddr) -> Option<T> {
        self.first_of(subscriber(ip))
    }

    /// Adds an entry of an address.
    pub fn insert(&mut self, ip: IpAddr, entry: T) {
        let owner = subscriber(ip);
        let before = self.count_of(owner);
        if self.held.insert((owner, entry)) {
            self.rank(owner, before, before + 1);
        }
    }

    /// Removes an entry of an address.
    pub fn remove(&mut self, ip: IpAddr, entry: T) {
        let owner = subscriber(ip);
        let before = self.count_of(owner);
        if self.held.remove(&(owner, entry)) {
            self.rank(owner, before, before.saturating_sub(1));
        }
    }

    /// Picks the entry that makes room when an address wants one entry more.
    pub fn yields_to(&self, ip: IpAddr) -> Yields<T> {
        let newcomer = subscriber(ip);
        let most = self.ranks.last().map_or((1, newcomer), |&(count, owner)| (count, owner));
        let owner = if self.count_of(newcomer) >= most.0 { newcomer } else { most.1 };
        self.first_of(owner).map_or(Yields::Oldest, Yields::Entry)
    }

    fn count_of(&self, owner: IpAddr) -> usize {
        self.counts
            .get(&owner)
            .copied()
            .unwrap_or_else(|| usize::from(self.first_of(owner).is_some()))
    }

    fn first_of(&self, owner: IpAddr) -> Option<T> {
        self.held
            .range((owner, self.least)..)
            .next()
            .filter(|entry| entry.0 == owner)
            .map(|entry| entry.1)
    }

    fn rank(&mut self, owner: IpAddr, before: usize, after: usize) {
        self.ranks.remove(&(before, owner));
        if after > 1 {
            self.counts.insert(owner, after);
            self.ranks.insert((after, owner));
        } else {
            self.counts.remove(&owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([1, 1, 1, last])
    }

    #[test]
    fn who_holds_most_gives_way() {
        let mut shares = Shares::new(0u32);
        assert_eq!(shares.yields_to(ip(1)), Yields::Oldest, "nothing is held");
        shares.insert(ip(1), 1);
        shares.insert(ip(2), 2);
        assert_eq!(shares.yields_to(ip(3)), Yields::Oldest, "each holds one");
        assert_eq!(
            shares.yields_to(ip(2)),
            Yields::Entry(2),
            "who holds as much as any takes its own"
        );
        shares.insert(ip(1), 3);
        assert_eq!([ip(2), ip(3), ip(1)].map(|ip| shares.yields_to(ip)), [Yields::Entry(1); 3]);
        shares.remove(ip(1), 1);
        assert_eq!(shares.yields_to(ip(3)), Yields::Oldest);
        for host in 1..=3u32 {
            shares.insert(
                core::net::Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(host)).into(),
                10 + host,
            );
        }
        assert_eq!(shares.yields_to(ip(3)), Yields::Entry(11), "an IPv6 /64 is one");
    }

    proptest! {
        #[test]
        fn the_ranks_agree_with_the_entries(steps: std::vec::Vec<(bool, u8, u8)>) {
            let (mut shares, mut model) = (Shares::new(0u8), BTreeSet::new());
            for (add, host, entry) in steps {
                let (host, entry) = (ip(host % 4), entry % 8);
                if add {
                    shares.insert(host, entry);
                    model.insert((host, entry));
                } else {
                    shares.remove(host, entry);
                    model.remove(&(host, entry));
                }
                let count = |ip| model.iter().filter(|held| held.0 == ip).count();
                let ranks = (0..4).map(|host| (count(ip(host)), ip(host))).filter(|rank| rank.0 > 1).collect::<BTreeSet<_>>();
                prop_assert_eq!(&shares.ranks, &ranks);
                prop_assert_eq!(shares.counts.len(), ranks.len());
                prop_assert_eq!(&shares.held, &model);
            }
        }
    }
}
