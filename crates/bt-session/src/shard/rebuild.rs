//! A shard after a panic in its turn: another engine, and the torrents as they were.
//!
//! Decides: what of a torrent outlives its engine, and when to give up. Must not know: what went wrong.
//! Invariant: of the old engine nothing is used again but what it says of its torrents, and nothing is hashed again; a torrent comes
//! back once its disk thread has answered all that the old engine ordered, so that no verdict meets a piece of the new one.

use super::{Shard, Stage, ToShard};
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
            // Nobody has the torrent: its engine ended, and its disk thread does what that one ordered.
            Input::Checked(key, piece, Verdict::Good) => {
                let kept = self.torrents.get_mut(key).and_then(|entry| entry.kept.as_mut());
                if let Some(spec) = kept.and_then(|kept| kept.spec.as_mut()) {
                    spec.have.insert(*piece);
                }
            }
            Input::Lost(key, pieces) => {
                let kept = self.torrents.get_mut(key).and_then(|entry| entry.kept.as_mut());
                if let Some(spec) = kept.and_then(|kept| kept.spec.as_mut()) {
                    pieces.iter().for_each(|piece| {
                        spec.have.remove(*piece);
                    });
                }
            }
            Input::Want(key, wants) => {
                if let Some(entry) = self.torrents.get_mut(key) {
                    wants.iter().for_each(|want| remember(&mut entry.kept().wants, want));
                }
            }
            Input::PeersFound(key, Source::User, found) if !found.is_empty() => {
                if let Some(entry) = self.torrents.get_mut(key) {
                    let peers = &mut entry.kept().peers;
                    peers.extend(found.iter().take(PEERS_MAX.saturating_sub(peers.len())));
                }
            }
            Input::Limit(key, rates) => {
                if let Some(entry) = self.torrents.get_mut(key) {
                    entry.kept().limit = Some(*rates);
                }
            }
            _ => {}
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
        let mut lost = Vec::new();
        for (&key, entry) in &self.torrents {
            let is_known = entry.kept.as_ref().is_some_and(|kept| kept.spec.is_some());
            match &entry.stage {
                Stage::Whole { .. } if is_known => self.to_disk.push((key, DiskOrder::Settle)),
                // The engine panicked when it was given this one, or cannot speak of it.
                Stage::Whole { .. } => lost.push(key),
                Stage::Magnet { follower: Some(_), .. } => batch.push(ToShard::Settled(key)),
                // Whoever opens it brings it back, or says that it cannot be opened.
                Stage::Magnet { follower: None, .. } => {}
            }
        }
        lost.into_iter().for_each(|key| self.lose(key, "the engine that was given it"));
        self.disks.submit(self.to_disk.drain(..));
    }

    fn lose(&mut self, key: TorrentKey, whose: &'static str) {
        if let Some(entry) = self.torrents.remove(&key) {
            let _ = self.control.try_send(ToControl::Unregister(entry.inner.info_hash, key));
            entry.inner.fail(AddError::Bug(whose));
        }
    }

    /// What the torrents are, and what moved so far, is kept as far as the engine that panicked can still say it: such a report changes
    /// nothing.
    fn close_accounts(&mut self) {
        let keys: Vec<TorrentKey> = self.torrents.keys().copied().collect();
        for key in keys {
            let report = self.bugs.contain(Place::Other, || (self.engine.spec(key), self.departure(key)));
            let (Some((spec, departure)), Some(entry)) = (report, self.torrents.get_mut(&key)) else { continue };
            // Of one that waits to come back since the last panic it says nothing.
            if let Some(spec) = spec {
                entry.kept().spec = Some(spec);
            }
            if let Some(status) = departure.status.filter(|status| status.bytes_down + status.bytes_up > 0) {
                entry.kept().before = Account::closed(&status, departure.sources);
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
        let (comes, kept) = match &entry.stage {
            Stage::Magnet { spec, .. } => (Input::AddMagnet(key, spec.clone()), entry.kept()),
            Stage::Whole { bytes_there, .. } => {
                let bytes_there = *bytes_there;
                let kept = entry.kept();
                let Some(mut spec) = kept.spec.take() else { return };
                kept.before.settle(bytes_of(&spec).saturating_sub(bytes_there));
                spec.wants.clone_from(&kept.wants);
                (Input::Add(key, Box::new(spec)), kept)
            }
        };
        let peers = Input::PeersFound(key, Source::User, kept.peers.clone());
        let limit = kept.limit.map(|rates| Input::Limit(key, rates));
        let now = self.clock.now();
        [Some(comes), limit, Some(peers)].into_iter().flatten().for_each(|input| self.engine.handle(now, input));
        self.publish_one(key);
    }

    /// One engine after another panicked: no further one is tried with these torrents.
    fn give_up(&mut self) {
        tracing::error!(torrents = self.torrents.len(), "bug: one engine after another panicked; its torrents are given up");
        let keys: Vec<TorrentKey> = self.torrents.keys().copied().collect();
        keys.into_iter().for_each(|key| self.lose(key, "engine after engine of its shard"));
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
