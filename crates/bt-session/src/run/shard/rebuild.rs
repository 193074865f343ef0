//! Recovers a shard after a panic in its turn: makes another engine, and gives it the torrents as
//! they were.
//!
//! Decides: what of a torrent outlives its engine, and when to give up.
//! Must not know: what went wrong.
//! Invariant: only the old engine's reports on its torrents are used again, and nothing is hashed
//! again. A torrent comes back once its disk thread has done all that the old engine ordered. So no
//! result of an old check meets a piece of the new engine.

use super::{Shard, Stage};
use crate::mail::disk_order::DiskOrder;
use crate::mail::events::TorrentError;
use crate::mail::panics::Place;
use crate::mail::to_control::ToControl;
use crate::mail::to_shard::ToShard;
use crate::mail::torrent::USER_PEERS_MAX;
use crate::run::carried_stats::Account;
use bt_engine::{Engine, Input, MagnetSpec, TorrentKey, TorrentSpec};
use bt_types::{PieceCheck, Source, Time};
use std::ops::Range;
use std::time::Duration;

/// Most panics within this time. With more the torrents fail: one that ends every engine would do
/// so for ever.
const PANICS_MAX: usize = 3;
const WITHIN: Duration = Duration::from_secs(60);

impl Shard {
    /// Notes what an input changes of a torrent that must outlive its engine.
    pub(super) fn note(&mut self, now: Time, input: &Input) {
        match input {
            Input::Closed(peer) => {
                self.peers.remove(peer);
            }
            // No engine has the torrent: its engine ended, and the disk thread does the last
            // orders.
            Input::Checked(key, piece, PieceCheck::Good) => {
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
            Input::Deadline(key, pieces, by) => {
                if let Some(entry) = self.torrents.get_mut(key) {
                    remember(&mut entry.kept().deadlines, pieces, *by, now);
                }
            }
            Input::PeersFound(key, Source::User, found) if !found.is_empty() => {
                if let Some(entry) = self.torrents.get_mut(key) {
                    let peers = &mut entry.kept().peers;
                    peers.extend(found.iter().take(USER_PEERS_MAX.saturating_sub(peers.len())));
                }
            }
            // The settings of a torrent, its description and the lease are kept elsewhere. What
            // peers, trackers and searches say, another engine hears anew.
            Input::Add(..)
            | Input::AddMagnet(..)
            | Input::Remove(_)
            | Input::PeersFound(..)
            | Input::Called { .. }
            | Input::Connected { .. }
            | Input::NetworkChanged
            | Input::DialFailed(..)
            | Input::Frames(..)
            | Input::Sent(..)
            | Input::Checked(_, _, PieceCheck::Bad)
            | Input::OnDisk(..)
            | Input::Audited(..)
            | Input::StoreFailed(..)
            | Input::StoreRecovered(_)
            | Input::ReadFailed(..)
            | Input::Announced(..)
            | Input::FindPeersDone(..)
            | Input::Set(..)
            | Input::Reannounce(_)
            | Input::Budget(_)
            | Input::Discover { .. } => {}
        }
    }

    /// Replaces the engine after a panic: every connection ends, and the torrents go to the new
    /// engine. What must be done next goes to the end of `batch`, which is handled first.
    pub(super) fn rebuild(&mut self, batch: &mut Vec<ToShard>) {
        let now = self.clock.now();
        self.panicked.retain(|at| now.since(*at) < WITHIN);
        self.panicked.push(now);
        self.close_accounts();
        if let Some(view) = self.bugs.contain(Place::Other, || self.session_view()) {
            (self.earlier.bytes_down, self.earlier.bytes_up) = (view.bytes_down, view.bytes_up);
        }
        self.engine = Engine::new(self.config.clone(), self.lease.budget, self.rng.fork());
        std::mem::take(&mut self.peers).into_values().for_each(|mailbox| mailbox.hang_up());
        self.to_disk.clear();
        self.transferring.clear();
        self.torrents.retain(|_, entry| !entry.leaves);
        // A piece that becomes right before an engine has the torrent is no event: they ask again.
        self.torrents.values_mut().filter_map(|entry| entry.kept.as_mut()).for_each(|kept| {
            kept.readers.clear();
        });
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
                // The engine panicked when it was given this torrent, or cannot report on it.
                Stage::Whole { .. } => lost.push(key),
                Stage::Magnet { on_metadata: Some(_), .. } => batch.push(ToShard::Settled(key)),
                // The thread that opens it brings it back, or reports that it cannot be opened.
                Stage::Magnet { on_metadata: None, .. } | Stage::Opening => {}
            }
        }
        lost.into_iter().for_each(|key| self.lose(key, "the engine that was given it"));
        self.disks.submit(self.to_disk.drain(..));
    }

    fn lose(&mut self, key: TorrentKey, whose: &'static str) {
        if let Some(entry) = self.torrents.remove(&key) {
            let _ = self.control.try_send(ToControl::Unregister(entry.torrent.info_hash, key));
            entry.torrent.fail(TorrentError::Bug(whose));
        }
    }

    /// Keeps each torrent's description and counters, if the panicked engine can still report them:
    /// a report changes nothing.
    fn close_accounts(&mut self) {
        let keys: Vec<TorrentKey> = self.torrents.keys().copied().collect();
        for key in keys {
            let report =
                self.bugs.contain(Place::Other, || (self.engine.spec(key), self.departure(key)));
            let (Some((spec, departure)), Some(entry)) = (report, self.torrents.get_mut(&key))
            else {
                continue;
            };
            // The engine has no description of a torrent that waits to come back since the last
            // panic.
            if let Some(spec) = spec {
                entry.kept().spec = Some(spec);
            }
            if let Some(status) =
                departure.status.filter(|status| status.bytes_down + status.bytes_up > 0)
            {
                entry.kept().before = Account::closed(&status, departure.sources);
            }
        }
    }

    /// Gives a torrent to the new engine.
    pub(super) fn come_back(&mut self, key: TorrentKey) {
        // `Settled` comes once for each engine that panicked, so it may come several times.
        if self.engine.have(key).is_some() || self.engine.magnet(key).is_some() {
            return;
        }
        let Some(entry) = self.torrents.get_mut(&key) else { return };
        let settings = entry.settings();
        let (comes, kept) = match &entry.stage {
            Stage::Magnet { spec, .. } => {
                let spec = MagnetSpec { settings, ..MagnetSpec::clone(spec) };
                (Input::AddMagnet(key, Box::new(spec)), entry.kept())
            }
            Stage::Opening => return,
            Stage::Whole { bytes_there, .. } => {
                let bytes_there = *bytes_there;
                let kept = entry.kept();
                let Some(mut spec) = kept.spec.take() else { return };
                kept.before.settle(bytes_of(&spec).saturating_sub(bytes_there));
                spec.settings = settings;
                (Input::Add(key, Box::new(spec)), kept)
            }
        };
        let peers = Input::PeersFound(key, Source::User, kept.peers.clone());
        let now = self.clock.now();
        [comes, peers].into_iter().for_each(|input| self.engine.handle(now, input));
        self.set_deadlines(key);
        self.publish_one(key);
    }

    /// Fails all torrents: after this many panics no further engine is tried with them.
    fn give_up(&mut self) {
        tracing::error!(
            torrents = self.torrents.len(),
            "bug: one engine after another panicked; its torrents are given up"
        );
        let keys: Vec<TorrentKey> = self.torrents.keys().copied().collect();
        keys.into_iter().for_each(|key| self.lose(key, "engine after engine of its shard"));
    }
}

/// Returns the bytes of the pieces that a torrent has.
pub(super) fn bytes_of(spec: &TorrentSpec) -> u64 {
    spec.have.iter(&spec.geometry).map(|piece| u64::from(spec.geometry.piece_len(piece))).sum()
}

/// Notes a deadline, and drops those that it replaces and those that passed: a reader that moves a
/// thousand times leaves only a few.
fn remember(
    deadlines: &mut Vec<(Range<u32>, Time)>,
    pieces: &Range<u32>,
    by: Option<Time>,
    now: Time,
) {
    deadlines.retain(|(old, at)| *at > now && (old.start < pieces.start || old.end > pieces.end));
    deadlines.extend(by.map(|by| (pieces.clone(), by)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_replaces_those_that_it_covers() {
        let (now, soon) = (Time::from_secs(10), Time::from_secs(11));
        let mut deadlines = Vec::new();
        for n in 0..1000 {
            remember(&mut deadlines, &(n..n + 1), Some(soon), now);
            remember(&mut deadlines, &(5..9), Some(soon), now);
        }
        assert_eq!(deadlines.len(), 996 + 1);
        remember(&mut deadlines, &(1..1000), None, now);
        assert_eq!(deadlines, [(0..1, soon)]);
        remember(&mut deadlines, &(7..8), Some(Time::from_secs(99)), soon);
        assert_eq!(deadlines, [(7..8, Time::from_secs(99))], "what has passed is forgotten");
    }
}
