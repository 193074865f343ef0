//! A shard after a panic in its turn: another engine, and the torrents as they were.
//!
//! Decides: what of a torrent outlives its engine, and when to give up. Must not know: what went wrong.
//! Invariant: nothing of the old engine is used again, and nothing is hashed again; a torrent comes back once its disk thread has answered
//! all that the old engine ordered, so that no verdict meets a piece of the new one.

use super::{Entry, Shard, Stage, ToShard};
use crate::account::Account;
use crate::control::ToControl;
use crate::disk::DiskOrder;
use crate::events::AddError;
use crate::panics::Place;
use bt_engine::{Engine, Input, TorrentKey, TorrentSpec, Want};
use bt_types::{Source, Verdict};
use std::time::Duration;

/// More panics than this within this time, and the torrents fail: one that brings every engine down would do so for ever.
const PANICS_MAX: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);
/// Peers named by the user that are remembered of a torrent.
const PEERS_MAX: usize = 100;

impl Shard {
    /// What an input changes of a torrent that must not be lost with an engine.
    pub(super) fn note(&mut self, input: &Input) {
        match input {
            Input::Closed(peer) => {
                self.peers.remove(peer);
            }
            Input::Budget(budget) => self.budget = *budget,
            Input::Checked(key, piece, Verdict::Good) => {
                if let Some(spec) = self.spec_mut(*key) {
                    spec.have.insert(*piece);
                }
            }
            Input::Want(key, wants) => {
                if let Some(spec) = self.spec_mut(*key) {
                    wants.iter().for_each(|want| remember(&mut spec.wants, want));
                }
            }
            Input::PeersFound(key, Source::User, found) => {
                if let Some(entry) = self.torrents.get_mut(key) {
                    let room = PEERS_MAX.saturating_sub(entry.peers.len());
                    entry.peers.extend(found.iter().take(room));
                }
            }
            Input::Limit(key, rates) => {
                if let Some(entry) = self.torrents.get_mut(key) {
                    entry.limit = Some(*rates);
                }
            }
            _ => {}
        }
    }

    fn spec_mut(&mut self, key: TorrentKey) -> Option<&mut TorrentSpec> {
        match self.torrents.get_mut(&key) {
            Some(Entry { stage: Stage::Whole { spec, .. }, .. }) => Some(spec),
            _ => None,
        }
    }

    /// The engine panicked: every connection ends, and the torrents go to another one. What must be done next goes to the end of `batch`,
    /// which is handled first.
    pub(super) fn rebuild(&mut self, batch: &mut Vec<ToShard>) {
        let now = self.clock.now();
        self.panicked.retain(|at| now.since(*at) < WITHIN);
        self.panicked.push(now);
        self.close_accounts();
        self.engine = Engine::new(self.config.clone(), self.budget, self.rng.fork());
        std::mem::take(&mut self.peers).into_values().for_each(|mailbox| mailbox.hang_up());
        self.to_disk.clear();
        self.lively.clear();
        self.torrents.retain(|_, entry| !entry.leaves);
        if self.panicked.len() > PANICS_MAX {
            return self.give_up();
        }
        tracing::error!(
            torrents = self.torrents.len(),
            "bug: an engine panicked; its torrents go on from the pieces that they have"
        );
        for (&key, entry) in &self.torrents {
            match &entry.stage {
                Stage::Whole { .. } => self.to_disk.push((key, DiskOrder::Settle)),
                Stage::Magnet { follower: Some(_), .. } => batch.push(ToShard::Settled(key)),
                // Whoever opens it brings it back, or says that it cannot be opened.
                Stage::Magnet { follower: None, .. } => {}
            }
        }
        self.disks.submit(self.to_disk.drain(..));
    }

    /// What moved so far is kept, as far as the engine can still say it.
    fn close_accounts(&mut self) {
        let keys: Vec<TorrentKey> = self.torrents.keys().copied().collect();
        for key in keys {
            // A report changes nothing; a second panic here costs the account of this torrent alone.
            let Some(departure) = self.bugs.contain(Place::Other, || self.departure(key)) else { continue };
            let moved = departure.status.filter(|status| status.bytes_down + status.bytes_up > 0);
            if let (Some(status), Some(entry)) = (moved, self.torrents.get_mut(&key)) {
                entry.before = Some(Box::new(Account::closed(&status, departure.sources)));
            }
        }
    }

    /// Gives a torrent to the engine that took the place of the one that panicked.
    pub(super) fn come_back(&mut self, key: TorrentKey) {
        // Told once for each engine that panicked, and that may be several.
        if self.engine.have(key).is_some() || self.engine.magnet(key).is_some() {
            return;
        }
        let Some(entry) = self.torrents.get_mut(&key) else { return };
        let comes = match &entry.stage {
            Stage::Whole { spec, bytes_there, .. } => {
                let verified = bytes_of(spec).saturating_sub(*bytes_there);
                entry.before.iter_mut().for_each(|before| before.settle(verified));
                Input::Add(key, spec.clone())
            }
            Stage::Magnet { spec, .. } => Input::AddMagnet(key, spec.clone()),
        };
        let peers = Input::PeersFound(key, Source::User, entry.peers.clone());
        let limit = entry.limit.map(|rates| Input::Limit(key, rates));
        let now = self.clock.now();
        [Some(comes), limit, Some(peers)].into_iter().flatten().for_each(|input| self.engine.handle(now, input));
        self.publish_one(key);
    }

    /// One engine after another panicked: no further one is tried with these torrents.
    fn give_up(&mut self) {
        tracing::error!(torrents = self.torrents.len(), "bug: one engine after another panicked; its torrents are given up");
        for (key, entry) in std::mem::take(&mut self.torrents) {
            let _ = self.control.try_send(ToControl::Unregister(entry.inner.info_hash, key));
            entry.inner.fail(AddError::Bug("engine after engine of its shard"));
        }
    }
}

/// Bytes of the pieces that a torrent has.
pub(super) fn bytes_of(spec: &TorrentSpec) -> u64 {
    spec.have.iter(&spec.geometry).map(|piece| u64::from(spec.geometry.piece_len(piece))).sum()
}

/// Adds a wish, and drops those that it replaces: a program that moves its wishes a thousand times leaves a few behind.
fn remember(wants: &mut Vec<Want>, new: &Want) {
    wants.retain(|old| match (old, new) {
        (Want::Pieces(old, _), Want::Pieces(new, _)) | (Want::By(old, _), Want::By(new, _)) => {
            old.start < new.start || old.end > new.end
        }
        (Want::Order(_), Want::Order(_)) => false,
        _ => true,
    });
    wants.push(new.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_engine::{Order, Priority};

    #[test]
    fn a_wish_replaces_those_that_it_covers() {
        let pieces = |from, to, priority| Want::Pieces(from..to, priority);
        let by = |from, to| Want::By(from..to, None);
        let mut wants = Vec::new();
        for n in 0..1000 {
            remember(&mut wants, &pieces(n, n + 1, Priority::High));
            remember(&mut wants, &Want::Order(Order::Sequential));
            remember(&mut wants, &by(5, 9));
        }
        assert_eq!(wants.len(), 1002);
        remember(&mut wants, &by(5, 8));
        remember(&mut wants, &pieces(1, 1000, Priority::Skip));
        remember(&mut wants, &Want::Order(Order::RarestFirst));
        let left =
            [pieces(0, 1, Priority::High), by(5, 9), by(5, 8), pieces(1, 1000, Priority::Skip), Want::Order(Order::RarestFirst)];
        assert_eq!(wants, left);
    }
}
