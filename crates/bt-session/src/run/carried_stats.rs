//! Counters of a torrent's earlier engines: reports add them to those of the present engine.
//!
//! Decides: which numbers of a torrent outlive its engine.
//! Must not know: why the engine ended.
//! Invariant: a downloaded byte that is in no verified piece counts as wasted.

use bt_engine::{SourceStat, TorrentView};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Counters of a torrent's earlier engines. Empty for nearly every torrent.
#[derive(Debug, Default)]
pub(crate) struct Account {
    down: u64,
    up: u64,
    wasted: u64,
    bad: u64,
    bad_pieces: u32,
    banned: u32,
    sources: Vec<SourceStat>,
}

impl Account {
    /// Takes the final counters of an engine that has ended.
    pub(crate) fn closed(status: &TorrentView, sources: Vec<SourceStat>) -> Account {
        Account {
            down: status.bytes_down,
            up: status.bytes_up,
            wasted: status.bytes_wasted,
            bad: status.bytes_bad,
            bad_pieces: status.bad_pieces,
            banned: status.peers_banned,
            sources,
        }
    }

    /// Counts downloaded bytes beyond `verified` as wasted.
    ///
    /// `verified` is the number of bytes of pieces that passed their check under all earlier
    /// engines. The caller calls this when every disk job of those engines is done.
    pub(crate) fn settle(&mut self, verified: u64) {
        self.wasted = self.wasted.max(self.down.saturating_sub(verified));
    }

    /// Adds the earlier engines' counters to a status of the present engine.
    pub(crate) fn with(&self, status: TorrentView) -> TorrentView {
        TorrentView {
            bytes_down: status.bytes_down + self.down,
            bytes_up: status.bytes_up + self.up,
            bytes_wasted: status.bytes_wasted + self.wasted,
            bytes_bad: status.bytes_bad + self.bad,
            bad_pieces: status.bad_pieces.saturating_add(self.bad_pieces),
            peers_banned: status.peers_banned.saturating_add(self.banned),
            ..status
        }
    }

    /// Adds the earlier engines' peers to those of the present engine.
    pub(crate) fn with_sources(&self, now: Vec<SourceStat>) -> Vec<SourceStat> {
        if self.sources.is_empty() {
            return now;
        }
        let mut all: BTreeMap<SocketAddr, SourceStat> =
            self.sources.iter().map(|source| (source.addr, source.clone())).collect();
        for source in now {
            let before = all.remove(&source.addr);
            let sum = |of: fn(&SourceStat) -> u64| of(&source) + before.as_ref().map_or(0, of);
            let (down, down_as_leecher, up) =
                (sum(|s| s.down), sum(|s| s.down_as_leecher), sum(|s| s.up));
            all.insert(source.addr, SourceStat { down, down_as_leecher, up, ..source });
        }
        all.into_values().collect()
    }
}
