//! What each subscriber holds of a table, so that the one who holds most gives way when the table is full.
//!
//! Decides: who is the most crowded. Must not know: what is held, or when a table is full.
//! Invariant: `counts` and `ranks` hold exactly the subscribers that hold two entries or more; most hold one and cost nothing here.

use crate::subscriber;
use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;

/// The entries of a table by subscriber: an IPv4 address, or a public IPv6 /64.
#[derive(Debug)]
pub struct Shares<T> {
    held: BTreeSet<(IpAddr, T)>,
    counts: BTreeMap<IpAddr, usize>,
    ranks: BTreeSet<(usize, IpAddr)>,
    /// What is less than every entry.
    least: T,
}

/// Who makes room for a newcomer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Yields<T> {
    /// This entry, of the subscriber that holds most: the newcomer's own one, if none holds more.
    Entry(T),
    /// The oldest, whichever that is: no subscriber holds more than one.
    Oldest,
}

impl<T: Ord + Copy> Shares<T> {
    /// Nothing is held. `least` is less than every entry.
    pub fn new(least: T) -> Shares<T> {
        Shares { held: BTreeSet::new(), counts: BTreeMap::new(), ranks: BTreeSet::new(), least }
    }

    /// How many entries the subscriber behind an address holds.
    pub fn count(&self, ip: IpAddr) -> usize {
        self.count_of(subscriber(ip))
    }

    /// The least entry that the subscriber behind an address holds.
    pub fn first(&self, ip: IpAddr) -> Option<T> {
        self.first_of(subscriber(ip))
    }

    /// Adds an entry that an address has from now on.
    pub fn insert(&mut self, ip: IpAddr, entry: T) {
        let owner = subscriber(ip);
        let before = self.count_of(owner);
        if self.held.insert((owner, entry)) {
            self.rank(owner, before, before + 1);
        }
    }

    /// Takes an entry of an address away.
    pub fn remove(&mut self, ip: IpAddr, entry: T) {
        let owner = subscriber(ip);
        let before = self.count_of(owner);
        if self.held.remove(&(owner, entry)) {
            self.rank(owner, before, before.saturating_sub(1));
        }
    }

    /// Who makes room when an address wants one entry more.
    pub fn yields_to(&self, ip: IpAddr) -> Yields<T> {
        let newcomer = subscriber(ip);
        let most = self.ranks.last().map_or((1, newcomer), |&(count, owner)| (count, owner));
        let owner = if self.count_of(newcomer) >= most.0 { newcomer } else { most.1 };
        self.first_of(owner).map_or(Yields::Oldest, Yields::Entry)
    }

    fn count_of(&self, owner: IpAddr) -> usize {
        self.counts.get(&owner).copied().unwrap_or_else(|| usize::from(self.first_of(owner).is_some()))
    }

    fn first_of(&self, owner: IpAddr) -> Option<T> {
        self.held.range((owner, self.least)..).next().filter(|entry| entry.0 == owner).map(|entry| entry.1)
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
        assert_eq!(shares.yields_to(ip(2)), Yields::Entry(2), "who holds as much as any takes its own");
        shares.insert(ip(1), 3);
        assert_eq!([ip(2), ip(3), ip(1)].map(|ip| shares.yields_to(ip)), [Yields::Entry(1); 3]);
        shares.remove(ip(1), 1);
        assert_eq!(shares.yields_to(ip(3)), Yields::Oldest);
        for host in 1..=3u32 {
            shares.insert(core::net::Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(host)).into(), 10 + host);
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
