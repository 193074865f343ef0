//! The routing table of one DHT (BEP 5): nodes in buckets by how many bits they share with our own
//! id.
//!
//! Decides: which nodes are in it, and which node makes room for which.
//! Must not know: messages, sockets.
//! Invariant: only nodes that answered a query of ours; at most eight in a bucket, one of a host,
//! two of a network. Ids that follow from their address (BEP 42) are preferred.

use crate::contact::{Contact, network_of, same_host};
use crate::id::Id;
use crate::secure::is_secure;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bt_types::{Rng, Time};
use core::net::SocketAddr;
use core::time::Duration;

/// Nodes in a bucket, and in an answer (BEP 5).
pub(crate) const K: usize = 8;
/// Most nodes of one network (/24 of IPv4, /56 of IPv6) in the table.
const NETWORK_MAX: usize = 2;
/// Time after which a silent node is questionable, and an unchanged bucket is refreshed (BEP 5).
const FRESH_FOR: Duration = Duration::from_secs(15 * 60);
/// Queries in a row that a node may leave unanswered; then it is bad.
const FAILS_MAX: u8 = 2;

/// How reliable a node is (BEP 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Standing {
    Good,
    Questionable,
    Bad,
}

#[derive(Debug)]
pub(crate) struct Table {
    own: Id,
    /// The n-th bucket holds nodes that share exactly n bits with our id. That equals splitting the
    /// bucket of our own id whenever it is full.
    buckets: BTreeMap<usize, Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    nodes: Vec<Entry>,
    /// Nodes that answered when the bucket was full, the newest last.
    spare: Vec<Entry>,
    changed: Time,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    contact: Contact,
    secure: bool,
    /// When it last answered, or asked.
    heard: Time,
    fails: u8,
}

impl Entry {
    fn standing(&self, now: Time) -> Standing {
        match self.fails {
            FAILS_MAX.. => Standing::Bad,
            0 if now.since(self.heard) < FRESH_FOR => Standing::Good,
            _ => Standing::Questionable,
        }
    }

    /// Ranks an entry for removal: the highest goes first.
    fn dispensable(&self, now: Time) -> (Standing, bool, Duration) {
        (self.standing(now), !self.secure, now.since(self.heard))
    }
}

impl Table {
    pub(crate) fn new(own: Id) -> Table {
        Table { own, buckets: BTreeMap::new() }
    }

    pub(crate) fn own(&self) -> Id {
        self.own
    }

    /// Takes another own id: the nodes are sorted in again.
    pub(crate) fn rename(&mut self, now: Time, own: Id) {
        let before = core::mem::replace(self, Table::new(own));
        for entry in before.buckets.into_values().flat_map(|bucket| bucket.nodes) {
            self.insert(now, entry);
        }
    }

    /// Adds or renews a node that answered our query. Returns a questionable node in its way, which
    /// is to be pinged.
    pub(crate) fn answered(&mut self, now: Time, contact: Contact) -> Option<Contact> {
        if contact.id == self.own {
            return None;
        }
        let bucket = self.buckets.entry(self.own.shared_bits(contact.id)).or_default();
        if let Some(entry) = bucket.nodes.iter_mut().find(|entry| entry.contact.id == contact.id) {
            // A second node with this id waits until the first is gone.
            if entry.contact.addr == contact.addr {
                (entry.heard, entry.fails) = (now, 0);
                bucket.changed = now;
            }
            return None;
        }
        let secure = is_secure(contact.id, contact.addr.ip());
        self.insert(now, Entry { contact, secure, heard: now, fails: 0 })
    }

    /// Renews a node that asked us something; returns whether it is in the table.
    pub(crate) fn asked(&mut self, now: Time, contact: Contact) -> bool {
        let bucket = self.buckets.get_mut(&self.own.shared_bits(contact.id));
        let entry = bucket
            .and_then(|bucket| bucket.nodes.iter_mut().find(|entry| entry.contact == contact));
        entry.map(|entry| entry.heard = now).is_some()
    }

    /// Returns whether a node that asked us would be taken, if it answered a ping.
    pub(crate) fn would_take(&self, now: Time, contact: Contact) -> bool {
        if contact.id == self.own || !self.has_place_in_network(contact) {
            return false;
        }
        let Some(bucket) = self.buckets.get(&self.own.shared_bits(contact.id)) else { return true };
        let secure = is_secure(contact.id, contact.addr.ip());
        bucket.nodes.iter().all(|entry| entry.contact.id != contact.id)
            && (bucket.nodes.len() < K
                || bucket
                    .nodes
                    .iter()
                    .any(|entry| entry.standing(now) == Standing::Bad || (secure && !entry.secure))
                || bucket.spare.is_empty())
    }

    /// Counts a failed query: no answer, or another node's. A bad node goes as soon as another node
    /// can take its place.
    pub(crate) fn failed(&mut self, now: Time, contact: Contact) {
        let Some(bucket) = self.buckets.get_mut(&self.own.shared_bits(contact.id)) else { return };
        bucket.spare.retain(|entry| entry.contact != contact);
        let Some(at) = bucket.nodes.iter().position(|entry| entry.contact == contact) else {
            return;
        };
        let Some(entry) = bucket.nodes.get_mut(at) else { return };
        entry.fails = entry.fails.saturating_add(1);
        if entry.fails < FAILS_MAX {
            return;
        }
        if let Some(spare) = bucket.spare.pop() {
            bucket.nodes.remove(at);
            bucket.changed = now;
            self.insert(now, spare);
        } else if entry.fails > FAILS_MAX {
            bucket.nodes.remove(at);
        }
    }

    /// Returns the nodes closest to a point that have not failed, nearest first.
    pub(crate) fn closest(&self, target: Id, count: usize) -> Vec<Contact> {
        let alive = self.entries().filter(|entry| entry.fails == 0).map(|entry| entry.contact);
        let mut found: Vec<Contact> = alive.collect();
        found.sort_unstable_by_key(|contact| contact.id.distance(target));
        found.truncate(count);
        found
    }

    /// Returns the node that was silent for longest, if it is questionable.
    pub(crate) fn stalest(&self, now: Time) -> Option<Contact> {
        let stalest = self.entries().min_by_key(|entry| entry.heard)?;
        (stalest.standing(now) != Standing::Good).then_some(stalest.contact)
    }

    /// Picks a random point to search for in a bucket that has not changed for long. The bucket
    /// counts as changed.
    pub(crate) fn refresh(&mut self, now: Time, rng: &mut Rng) -> Option<Id> {
        let deepest = *self.buckets.last_key_value()?.0;
        let is_stale = |at: &usize| {
            self.buckets.get(at).is_none_or(|bucket| now.since(bucket.changed) >= FRESH_FOR)
        };
        let at = (0..=deepest).find(is_stale)?;
        self.buckets.entry(at).or_default().changed = now;
        Some(self.own.beside(at, rng))
    }

    /// Returns every node that is not bad, to be saved between runs.
    pub(crate) fn contacts(&self) -> Vec<Contact> {
        self.entries().filter(|entry| entry.fails < FAILS_MAX).map(|entry| entry.contact).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.buckets.values().map(|bucket| bucket.nodes.len()).sum()
    }

    fn insert(&mut self, now: Time, new: Entry) -> Option<Contact> {
        if !self.has_place_in_network(new.contact) {
            return None;
        }
        let bucket = self.buckets.entry(self.own.shared_bits(new.contact.id)).or_default();
        if bucket.nodes.len() < K {
            bucket.nodes.push(new);
            bucket.changed = now;
            return None;
        }
        let weakest = bucket.nodes.iter_mut().max_by_key(|entry| entry.dispensable(now))?;
        if weakest.standing(now) == Standing::Bad || (new.secure && !weakest.secure) {
            *weakest = new;
            bucket.changed = now;
            return None;
        }
        let questionable = weakest.standing(now) == Standing::Questionable;
        let ping = questionable.then_some(weakest.contact);
        bucket.spare.retain(|entry| !same_host(entry.contact.addr, new.contact.addr));
        bucket.spare.push(new);
        if bucket.spare.len() > K {
            // The oldest goes, but before it any node whose id does not follow from its address.
            let at = bucket.spare.iter().position(|entry| !entry.secure).unwrap_or(0);
            bucket.spare.remove(at);
        }
        ping
    }

    /// Returns whether the contact fits the limits per host and network, so that no host fills the
    /// table with neighbours.
    fn has_place_in_network(&self, contact: Contact) -> bool {
        let network = network_of(contact.addr);
        let is_neighbour = |addr: &SocketAddr| network_of(*addr) == network;
        let neighbours: Vec<SocketAddr> =
            self.entries().map(|entry| entry.contact.addr).filter(is_neighbour).collect();
        neighbours.len() < NETWORK_MAX
            && !neighbours.iter().any(|addr| same_host(*addr, contact.addr))
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.values().flat_map(|bucket| &bucket.nodes)
    }
}

#[cfg(test)]
mod tests;
