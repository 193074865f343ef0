//! Reports what is known of a torrent and its peers.
//!
//! Decides: which numbers make up a report. Must not know: how reports are displayed.
//! Invariant: a report changes nothing.

use crate::peer::Peer;
use crate::piece_map;
use crate::slow_reason::{self, Facts};
use crate::torrent::Torrent;
use alloc::vec::Vec;
use bt_model::{PeerView, SourceStat, TorrentView};
use bt_types::Time;

impl Torrent {
    pub(crate) fn view(&self, now: Time) -> TorrentView {
        TorrentView {
            pieces_done: self.pieces.have.count(),
            pieces_total: self.pieces.have.len(),
            pieces_missing: self.pieces.missing.count(),
            bytes_wanted: self.pieces.bytes_wanted,
            bytes_missing: self.pieces.bytes_missing,
            bytes_done: self.pieces.bytes_done,
            bytes_down: self.stats.down.total(),
            bytes_up: self.stats.up.total(),
            bytes_wasted: self.stats.wasted,
            bytes_bad: self.stats.bad,
            bad_pieces: self.stats.bad_pieces,
            peers_banned: self.stats.banned,
            down_rate: self.stats.down.rate(now),
            up_rate: self.stats.up.rate(now),
            peers: self.peers.len(),
            seeds: self.peers.values().filter(|peer| peer.pieces.has.is_full()).count(),
            partial_seeds: self
                .peers
                .values()
                .filter(|peer| peer.upload_only && !peer.pieces.has.is_full())
                .count(),
            serving_us: self.peers.values().filter(|peer| !peer.choking.peer_choking).count(),
            swarm: self.swarm.counts(),
            is_paused: self.swarm.is_paused,
            store_fault: self.store_fault,
            slow: slow_reason::reason(&self.facts(now)),
            map: piece_map::cells(&self.pieces.have, &self.pieces.missing, self.blocks.open()),
        }
    }

    pub(crate) fn peer_views(&self, now: Time) -> Vec<PeerView> {
        let view = |peer: &Peer| {
            let link = self.swarm.links.by_key.get(&peer.key)?;
            Some(PeerView {
                addr: peer.addr,
                peer_id: link.id,
                client: self.sources.get(peer.source).and_then(|source| source.client.clone()),
                outbound: link.outbound,
                connected_for: now.since(link.since),
                pieces: peer.pieces.has.count(),
                pieces_wanted: peer.pieces.wanted,
                am_choking: peer.choking.am_choking,
                am_interested: peer.choking.am_interested,
                peer_choking: peer.choking.peer_choking,
                peer_interested: peer.choking.peer_interested,
                optimistic: peer.choking.optimistic,
                snubbed: peer.requests.pipeline.is_snubbed(),
                upload_only: peer.upload_only,
                requests: u32::try_from(peer.requests.pipeline.requests()).unwrap_or(u32::MAX),
                down_rate: peer.requests.pipeline.rate(now),
                up_rate: peer.uploads.meter.rate(now),
                bytes_down: peer.requests.pipeline.received(),
                bytes_up: peer.uploads.meter.total(),
            })
        };
        self.peers.values().filter_map(view).collect()
    }

    /// Collects the facts that tell why the download is slow.
    fn facts(&self, now: Time) -> Facts {
        let holders = || self.peers.values().filter(|peer| peer.pieces.wanted > 0);
        Facts {
            is_done: self.is_done(),
            is_paused: self.swarm.is_paused,
            store_fault: self.store_fault,
            rate: self.stats.down.rate(now),
            best_rate: self.stats.best_down,
            waits_for_limit: self.peers.values().any(|peer| peer.requests.asks),
            peers: self.peers.len(),
            holders: holders().count(),
            servers: holders().filter(|peer| peer.can_be_asked()).count(),
        }
    }

    pub(crate) fn source_stats(&self) -> Vec<SourceStat> {
        self.sources.active()
    }
}
