//! Makes room in a full table: the subscriber that has most gives way.
//!
//! Decides: which peer or torrent is dropped for a newcomer. Must not know: when a table is full.
//! Invariant: it looks at a bounded number of peers, drawn at random. A subscriber that has a share
//! of the table has about the same share of what is drawn, so its peers go first.

use crate::peer::{Peer as _, V4, V6};
use crate::sample::Draw;
use crate::table::{Family, Table};
use alloc::vec::Vec;
use core::cmp::Reverse;

/// Peers looked at when one must give way.
const PEERS: usize = 64;
/// Torrents looked at when one must give way.
const TORRENTS: usize = 32;
/// Peers looked at in each of these torrents.
const PEERS_OF_TORRENT: u32 = 4;
/// Draws for each of them, as some meet a free record.
const DRAWS: usize = 4;

/// A peer that may give way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Candidate {
    subscriber: u64,
    torrent: u32,
    is_v6: bool,
    at: u32,
    /// Ticks since it was heard, counted down; then the second when its torrent was heard.
    heard: (Reverse<u16>, u32),
}

impl Table {
    /// Drops a peer of the subscriber that has most of those looked at: the newcomer's own if no
    /// other has more. If each has one, the peer goes that was silent for longest.
    pub(crate) fn drop_peer(&mut self, newcomer: u64) {
        let mut draw = Draw::new(&mut self.rng);
        let mut drawn: Vec<Candidate> =
            (0..PEERS * DRAWS).filter_map(|_| self.any_peer(&mut draw)).take(PEERS).collect();
        drawn.sort_unstable();
        drawn.dedup();
        let most = drawn
            .chunk_by(|one, other| one.subscriber == other.subscriber)
            .max_by_key(|of| (of.len(), of.first().is_some_and(|it| it.subscriber == newcomer)))
            .filter(|of| of.len() > 1 || of.first().is_some_and(|it| it.subscriber == newcomer))
            .unwrap_or(&drawn);
        if let Some(&Candidate { torrent, is_v6, at, .. }) = most.iter().min_by_key(|it| it.heard) {
            match is_v6 {
                false => self.forget::<V4>(torrent, at),
                true => self.forget::<V6>(torrent, at),
            }
            self.settle(torrent);
        }
    }

    /// Drops a torrent of those looked at: one without peers; else one whose subscribers are in
    /// most of them, the newcomer's own first; else the one with the fewest peers; of equals the
    /// one that was not heard of for longest.
    pub(crate) fn drop_torrent(&mut self, newcomer: u64) {
        let mut draw = Draw::new(&mut self.rng);
        let numbers = u64::from(self.torrents.numbers());
        let mut torrents: Vec<u32> = (0..TORRENTS * DRAWS)
            .map(|_| draw.below(numbers) as u32)
            .filter(|&number| self.torrents.get(number).is_some())
            .take(TORRENTS)
            .collect();
        torrents.sort_unstable();
        torrents.dedup();
        let mut present: Vec<(u64, u32)> = Vec::with_capacity(TORRENTS * PEERS_OF_TORRENT as usize);
        for &torrent in &torrents {
            let all = self.torrents.get(torrent).map_or(0, |it| it.len());
            draw.positions(all, PEERS_OF_TORRENT as usize, |at| {
                let peer = self.candidate(torrent, at);
                present.extend(peer.map(|peer| (peer.subscriber, torrent)));
                true
            });
        }
        present.sort_unstable();
        present.dedup();
        let share = |subscriber: u64| {
            let first = present.partition_point(|&(other, _)| other < subscriber);
            present.partition_point(|&(other, _)| other <= subscriber) - first
        };
        // A subscriber that is in every torrent must not take the torrents of others with it: a
        // torrent counts for the one that is in the fewest.
        let rank = |torrent: u32| {
            let subscribers = || {
                present.iter().filter(|&&(_, of)| of == torrent).map(|(subscriber, _)| *subscriber)
            };
            let least = subscribers().map(share).min().unwrap_or(usize::MAX);
            let is_own = subscribers().any(|subscriber| subscriber == newcomer);
            let it = self.torrents.get(torrent);
            let size = if least > 1 { 0 } else { it.map_or(0, |it| it.len()) };
            (Reverse(least), !is_own, size, it.map_or(0, |it| it.heard))
        };
        if let Some(torrent) = torrents.iter().copied().min_by_key(|&torrent| rank(torrent)) {
            self.drop_all(torrent);
        }
    }

    /// Drops a torrent with its peers and its count.
    fn drop_all(&mut self, torrent: u32) {
        while let Some(it) = self.torrents.get(torrent).filter(|it| it.len() > 0) {
            let (v4, v6) = (it.v4.len(), it.v6.len());
            match v4 {
                0 => self.forget::<V6>(torrent, v6 - 1),
                _ => self.forget::<V4>(torrent, v4 - 1),
            }
        }
        self.torrents.close(torrent, &mut self.budget);
    }

    /// Draws a torrent, and of it a peer.
    fn any_peer(&self, draw: &mut Draw) -> Option<Candidate> {
        let torrent = draw.below(self.torrents.numbers().into()) as u32;
        let all = self.torrents.get(torrent)?.len();
        let at = draw.below(all.into()) as u32;
        self.candidate(torrent, at)
    }

    /// Describes a peer by its position among those of both families.
    fn candidate(&self, torrent: u32, at: u32) -> Option<Candidate> {
        let it = self.torrents.get(torrent)?;
        let (meta, subscriber, is_v6, at) = match at.checked_sub(it.v4.len()) {
            None => {
                let peer = V4::pool(self).get(it.v4, at);
                (peer.meta(), peer.subscriber(&self.hash), false, at)
            }
            Some(at) if at < it.v6.len() => {
                let peer = V6::pool(self).get(it.v6, at);
                (peer.meta(), peer.subscriber(&self.hash), true, at)
            }
            Some(_) => return None,
        };
        let heard = (Reverse(self.clock.tick().since(meta.heard())), it.heard);
        Some(Candidate { subscriber, torrent, is_v6, at, heard })
    }
}
