//! Whose turn it is: the queue, carried out.
//!
//! Decides: what is written down when torrents move in the queue.
//! Must not know: dialects; who runs is the word of the queue.
//! Invariant: a torrent that the user stopped never runs.

use super::{Keeper, lock};
use crate::clock::now;
use crate::queue::{Entry, running};
use crate::store::Batch;
use bt_api::{Fault, Phase, QueueMove, Record, queue_move};
use bt_types::InfoHash;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What becomes of the torrents.
struct Turns {
    /// They run.
    run: Vec<InfoHash>,
    /// They begin to wait.
    waiting: Vec<InfoHash>,
    /// They begin to be stopped.
    stopped: Vec<InfoHash>,
    /// They have another place in the queue.
    ranks: Vec<(InfoHash, u32)>,
}

impl Keeper {
    pub(super) async fn queue(&self, torrents: &[InfoHash], to: QueueMove) -> Result<(), Fault> {
        let places: HashMap<InfoHash, u32> = {
            let state = self.state();
            let mut all: Vec<_> = state.torrents().collect();
            all.sort_by_key(|torrent| torrent.record.queue.place);
            let before: Vec<InfoHash> = all.iter().map(|torrent| torrent.hash).collect();
            let is_new = |(hash, place): &(InfoHash, u32)| {
                state.torrent(*hash).is_some_and(|torrent| torrent.record.queue.place != *place)
            };
            queue_move(&before, torrents, to).into_iter().zip(0..).filter(is_new).collect()
        };
        let moved: Vec<InfoHash> = places.keys().copied().collect();
        let place = |hash: InfoHash, record: &mut Record| {
            record.queue.place = places.get(&hash).copied().unwrap_or(record.queue.place);
        };
        self.note_all(&moved, Batch::default(), place).await?;
        self.arrange().await;
        Ok(())
    }

    /// Lets those torrents run whose turn it is, and pauses the others.
    pub(super) async fn arrange(&self) {
        let Turns { run, waiting, stopped, ranks } = self.turns();
        if !ranks.is_empty() {
            self.update(|state| {
                for (hash, rank) in ranks {
                    state.change(hash, |torrent| torrent.live.rank = rank);
                }
            });
        }
        let run: HashSet<InfoHash> = run.into_iter().collect();
        let (begin, end): (Vec<_>, Vec<_>) = {
            let mut before = lock(&self.running);
            let begin = run.difference(&before).copied().collect();
            let end = before.difference(&run).copied().collect();
            *before = run;
            (begin, end)
        };
        for (torrents, running) in [(&begin, true), (&end, false)] {
            for handle in torrents.iter().filter_map(|hash| self.handle(*hash)) {
                handle.change(|wanted| wanted.running = running).await;
            }
        }
        let now = now();
        for (torrents, phase) in [(waiting, Phase::Queued), (stopped, Phase::Stopped)] {
            for hash in torrents {
                self.update(|state| {
                    state.change(hash, |torrent| torrent.set_phase(phase.clone(), now));
                });
            }
        }
        begin.into_iter().for_each(|hash| self.refresh(hash));
    }

    fn turns(&self) -> Turns {
        let state = self.state();
        let mut all: Vec<_> = state.torrents().collect();
        all.sort_by_key(|torrent| torrent.record.queue.place);
        let stalled_after = state.settings.queue.stalled_after.map(u64::from);
        let entries: Vec<Entry<InfoHash>> = all
            .iter()
            .filter(|torrent| torrent.record.settings.running)
            .map(|torrent| Entry {
                key: torrent.hash,
                seeds: torrent.is_done(),
                forced: torrent.record.queue.forced,
                stalled: matches!(torrent.live.phase, Phase::Downloading | Phase::Seeding)
                    && stalled_after.is_some_and(|limit| torrent.quiet_for(state.now) > limit),
            })
            .collect();
        let run = running(&entries, &state.settings.queue);
        let set: HashSet<InfoHash> = run.iter().copied().collect();
        let rests = |torrent: &&&Arc<bt_api::Torrent>, phase: &Phase| {
            use Phase::{Downloading, Metadata, Queued, Seeding, Stopped};
            let now = &torrent.live.phase;
            matches!(now, Stopped | Queued | Downloading | Seeding | Metadata(_)) && now != phase
        };
        let waiting = all.iter().filter(|torrent| {
            torrent.record.settings.running
                && !set.contains(&torrent.hash)
                && rests(torrent, &Phase::Queued)
        });
        let stopped = all
            .iter()
            .filter(|torrent| !torrent.record.settings.running && rests(torrent, &Phase::Stopped));
        let waiting = waiting.map(|torrent| torrent.hash).collect();
        let stopped = stopped.map(|torrent| torrent.hash).collect();
        // There are no gaps where torrents went.
        let ranked = all.iter().zip(0..).filter(|(torrent, rank)| torrent.live.rank != *rank);
        let ranks = ranked.map(|(torrent, rank)| (torrent.hash, rank)).collect();
        Turns { run, waiting, stopped, ranks }
    }
}
