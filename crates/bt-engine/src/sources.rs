//! Counts the bytes moved between us and each peer address, over all its connections.
//!
//! Decides: which connections are the same source. Must not know: connections.
//! Invariant: ids are never reused, and the table is bounded: the source that moved the fewest
//! bytes is forgotten first.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use bt_types::PeerId;
use core::net::SocketAddr;

use bt_model::SourceStat;

/// Most sources remembered per torrent.
const SOURCES_MAX: usize = 4096;

/// The id of a peer address of a torrent, connected or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SourceId(pub(crate) u32);

/// The accounts of a torrent's peers.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    stats: BTreeMap<SourceId, SourceStat>,
    /// Sources that were ever interested in our pieces.
    leechers: BTreeSet<SourceId>,
    ids: BTreeMap<SocketAddr, SourceId>,
    /// Sources that had a part in a piece that failed.
    pub(crate) on_parole: BTreeSet<SourceId>,
    next: u32,
}

impl Sources {
    /// Returns the account of this address; opens it if it is new.
    pub(crate) fn open(&mut self, addr: SocketAddr, peer_id: PeerId) -> SourceId {
        if let Some(&id) = self.ids.get(&addr) {
            if let Some(stat) = self.stats.get_mut(&id) {
                stat.peer_id = peer_id;
            }
            return id;
        }
        if self.stats.len() >= SOURCES_MAX {
            self.forget_one();
        }
        let id = SourceId(self.next);
        self.next = self.next.wrapping_add(1);
        self.ids.insert(addr, id);
        self.stats.insert(
            id,
            SourceStat { addr, peer_id, client: None, down: 0, down_as_leecher: 0, up: 0 },
        );
        id
    }

    pub(crate) fn get(&self, id: SourceId) -> Option<&SourceStat> {
        self.stats.get(&id)
    }

    pub(crate) fn set_client(&mut self, id: SourceId, client: Option<String>) {
        if let Some(stat) = self.stats.get_mut(&id) {
            stat.client = client;
        }
    }

    pub(crate) fn received(&mut self, id: SourceId, bytes: u64, from_seed: bool) {
        if let Some(stat) = self.stats.get_mut(&id) {
            stat.down += bytes;
            stat.down_as_leecher += if from_seed { 0 } else { bytes };
        }
    }

    /// Notes that the peer was interested in our pieces. A seed never is, whatever it seems to
    /// have.
    pub(crate) fn is_interested(&mut self, id: SourceId) {
        if self.stats.contains_key(&id) {
            self.leechers.insert(id);
        }
    }

    pub(crate) fn sent(&mut self, id: SourceId, bytes: u64) {
        if let Some(stat) = self.stats.get_mut(&id) {
            stat.up += bytes;
        }
    }

    /// Returns all accounts on which bytes moved.
    pub(crate) fn active(&self) -> Vec<SourceStat> {
        let account = |(id, stat): (&SourceId, &SourceStat)| SourceStat {
            down_as_leecher: if self.leechers.contains(id) { stat.down_as_leecher } else { 0 },
            ..stat.clone()
        };
        self.stats.iter().filter(|(_, stat)| stat.down + stat.up > 0).map(account).collect()
    }

    fn forget_one(&mut self) {
        let least = self.stats.iter().min_by_key(|(id, stat)| (stat.down + stat.up, **id));
        if let Some((&id, addr)) = least.map(|(id, stat)| (id, stat.addr)) {
            self.stats.remove(&id);
            self.leechers.remove(&id);
            self.ids.remove(&addr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_seems_to_have_nothing_is_no_leecher() {
        let mut sources = Sources::default();
        let addr = |n: u8| SocketAddr::from(([1, 0, 0, n], 1));
        let (seed, leecher) =
            (sources.open(addr(1), PeerId([1; 20])), sources.open(addr(2), PeerId([2; 20])));
        sources.received(seed, 100, false);
        sources.received(leecher, 10, false);
        sources.is_interested(leecher);
        sources.received(leecher, 1, true);
        let shares: Vec<(u64, u64)> =
            sources.active().iter().map(|stat| (stat.down, stat.down_as_leecher)).collect();
        assert_eq!(shares, [(100, 0), (11, 10)]);
    }
}
