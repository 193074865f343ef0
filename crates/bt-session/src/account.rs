//! What moved in a torrent before its engine was built anew: reports go on from there.
//!
//! Decides: which numbers of a torrent outlive its engine. Must not know: why the engine ended.
//! Invariant: of what came, all that did not become a verified piece was in vain.

use bt_engine::{SourceStat, TorrentStatus};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The account of earlier engines. Empty for nearly every torrent.
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
    /// The account of engines that have ended: what was told of the torrent in the end.
    pub(crate) fn closed(status: &TorrentStatus, sources: Vec<SourceStat>) -> Account {
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

    /// All that the engines ordered is done, and so many bytes of pieces came in all their time: the rest was in vain.
    pub(crate) fn settle(&mut self, verified: u64) {
        self.wasted = self.wasted.max(self.down.saturating_sub(verified));
    }

    /// A status of the engine of today, together with what was before.
    pub(crate) fn with(&self, status: TorrentStatus) -> TorrentStatus {
        TorrentStatus {
            bytes_down: status.bytes_down + self.down,
            bytes_up: status.bytes_up + self.up,
            bytes_wasted: status.bytes_wasted + self.wasted,
            bytes_bad: status.bytes_bad + self.bad,
            bad_pieces: status.bad_pieces.saturating_add(self.bad_pieces),
            peers_banned: status.peers_banned.saturating_add(self.banned),
            ..status
        }
    }

    /// The peers of today, together with those of before.
    pub(crate) fn with_sources(&self, now: Vec<SourceStat>) -> Vec<SourceStat> {
        if self.sources.is_empty() {
            return now;
        }
        let mut all: BTreeMap<SocketAddr, SourceStat> = self.sources.iter().map(|source| (source.addr, source.clone())).collect();
        for source in now {
            let before = all.remove(&source.addr);
            let sum = |of: fn(&SourceStat) -> u64| of(&source) + before.as_ref().map_or(0, of);
            let (down, down_as_leecher, up) = (sum(|s| s.down), sum(|s| s.down_as_leecher), sum(|s| s.up));
            all.insert(source.addr, SourceStat { down, down_as_leecher, up, ..source });
        }
        all.into_values().collect()
    }
}
