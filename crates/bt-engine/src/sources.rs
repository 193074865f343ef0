//! What moved between us and each peer address, over all its connections.
//!
//! Decides: who is the same source. Must not know: connections.
//! Invariant: ids are never reused, and the table is bounded: what has moved nothing is forgotten first.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bt_types::PeerId;
use core::net::SocketAddr;

use crate::status::SourceStat;

/// Sources remembered per torrent.
const SOURCES_MAX: usize = 4096;

/// One peer address of a torrent, connected or not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct SourceId(pub(crate) u32);

/// The accounts of a torrent's peers.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    stats: BTreeMap<SourceId, SourceStat>,
    ids: BTreeMap<SocketAddr, SourceId>,
    next: u32,
}

impl Sources {
    /// The account of this address, opened if it is new.
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
        self.stats.insert(id, SourceStat { addr, peer_id, client: None, down: 0, down_as_leecher: 0, up: 0 });
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

    pub(crate) fn sent(&mut self, id: SourceId, bytes: u64) {
        if let Some(stat) = self.stats.get_mut(&id) {
            stat.up += bytes;
        }
    }

    /// All accounts on which something moved.
    pub(crate) fn active(&self) -> Vec<SourceStat> {
        self.stats.values().filter(|stat| stat.down + stat.up > 0).cloned().collect()
    }

    fn forget_one(&mut self) {
        let least = self.stats.iter().min_by_key(|(id, stat)| (stat.down + stat.up, **id));
        if let Some((&id, addr)) = least.map(|(id, stat)| (id, stat.addr)) {
            self.stats.remove(&id);
            self.ids.remove(&addr);
        }
    }
}
