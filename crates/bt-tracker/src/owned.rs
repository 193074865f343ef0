//! Holds entries by owner and owners by entry.
//!
//! Decides: nothing. Must not know: the kind of the entries.
//! Invariant: `owners` and `shares` hold the same entries.

use alloc::collections::BTreeMap;
use bt_types::{Shares, Yields, subscriber};
use core::net::IpAddr;

/// Entries with one owner each, which can be found by entry as well.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    owners: BTreeMap<T, IpAddr>,
    shares: Shares<T>,
}

impl<T: Ord + Copy> Owned<T> {
    /// Makes an empty collection. `least` is less than every entry.
    pub(crate) fn new(least: T) -> Owned<T> {
        Owned { owners: BTreeMap::new(), shares: Shares::new(least) }
    }

    /// Adds an entry, which belongs to the subscriber at this address alone.
    pub(crate) fn insert(&mut self, ip: IpAddr, entry: T) {
        self.remove(entry);
        self.owners.insert(entry, subscriber(ip));
        self.shares.insert(ip, entry);
    }

    /// Removes an entry, if it is there.
    pub(crate) fn remove(&mut self, entry: T) {
        if let Some(owner) = self.owners.remove(&entry) {
            self.shares.remove(owner, entry);
        }
    }

    /// Returns whether an entry is owned by a subscriber that is not at this address.
    pub(crate) fn is_of_another(&self, ip: IpAddr, entry: T) -> bool {
        self.owners.get(&entry).is_some_and(|&owner| owner != subscriber(ip))
    }

    /// Returns an entry of the subscriber that owns most, the newcomer's own if no other owns more;
    /// `None` if each owns at most one.
    pub(crate) fn most_crowded(&self, newcomer: IpAddr) -> Option<T> {
        match self.shares.yields_to(newcomer) {
            Yields::Entry(entry) => Some(entry),
            Yields::Oldest => None,
        }
    }

    /// Returns any entry.
    pub(crate) fn any(&self) -> Option<T> {
        self.owners.first_key_value().map(|(entry, _)| *entry)
    }
}
