//! Tells those who use the torrents of a shard what happens to them: states, events, totals.
//!
//! Decides: which torrents have news. Must not know: who listens.
//! Invariant: a state without a watcher is not made.

use super::{Shard, Stage};
use crate::mail::events::{TorrentEvent, TorrentState};
use crate::mail::to_shard::Departure;
use crate::run::carried_stats::Account;
use bt_engine::{Event, TorrentKey, TorrentView};
use std::collections::BTreeSet;
use std::sync::PoisonError;

impl Shard {
    /// Returns the status of a torrent, with the counters of earlier engines.
    pub(super) fn status(&self, key: TorrentKey) -> Option<TorrentView> {
        let status = self.engine.view(self.clock.now(), key)?;
        Some(match self.before(key) {
            Some(before) => before.with(status),
            None => status,
        })
    }

    pub(super) fn before(&self, key: TorrentKey) -> Option<&Account> {
        Some(&self.torrents.get(&key)?.kept.as_ref()?.before)
    }

    pub(super) fn departure(&self, key: TorrentKey) -> Departure {
        let sources = self.engine.sources(key);
        let sources = match self.before(key) {
            Some(before) => before.with_sources(sources),
            None => sources,
        };
        Departure { status: self.status(key), sources }
    }

    pub(super) fn event(&mut self, key: TorrentKey, event: Event) {
        match &event {
            // Each piece brings one of these: the published state tells of them.
            Event::Piece(piece) => return self.tell_readers(key, *piece),
            Event::Complete | Event::StoreFailed(_) | Event::StoreRecovered => {
                self.publish_one(key)
            }
            Event::TrackerFailed { url, why } => tracing::info!(url, why, "tracker failed"),
            Event::BadPiece(piece, senders) => {
                tracing::warn!(?piece, ?senders, "a piece had wrong bytes")
            }
            Event::PeerJoined(..)
            | Event::PeerLeft(..)
            | Event::TrackerReply { .. }
            | Event::TrackerAsked(_)
            | Event::SearchBegan(_)
            | Event::SearchEnded { .. } => {}
        }
        self.tell(key, TorrentEvent::Engine(event));
    }

    pub(super) fn tell(&self, key: TorrentKey, event: TorrentEvent) {
        if let Some(entry) = self.torrents.get(&key) {
            entry.torrent.news.tell(event);
        }
    }

    pub(super) fn publish(&mut self) {
        let changed = self.take_changed();
        self.take_news(&changed).into_iter().for_each(|key| self.publish_one(key));
        for entry in changed.iter().filter_map(|key| self.torrents.get(key)) {
            entry.torrent.changes.note(entry.torrent.info_hash);
        }
    }

    /// Takes the torrents whose figures changed.
    pub(super) fn take_changed(&mut self) -> BTreeSet<TorrentKey> {
        let mut keys = self.engine.take_changed();
        keys.append(&mut self.transferring);
        keys
    }

    /// Takes the torrents to publish: watched ones among these, and those with a new watcher, which
    /// may have missed changes.
    pub(super) fn take_news(&self, changed: &BTreeSet<TorrentKey>) -> BTreeSet<TorrentKey> {
        let is_watched = |key: &&TorrentKey| {
            self.torrents.get(key).is_some_and(|entry| !entry.torrent.state.is_closed())
        };
        let mut keys: BTreeSet<TorrentKey> = changed.iter().filter(is_watched).copied().collect();
        keys.append(&mut self.watched.lock().unwrap_or_else(PoisonError::into_inner));
        keys
    }

    pub(super) fn publish_one(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get(&key) else { return };
        let news = match entry.stage {
            Stage::Magnet { .. } => self.engine.magnet(key).map(TorrentState::Finding),
            Stage::Opening => None,
            Stage::Whole { .. } => self.status(key).map(TorrentState::Active),
        };
        let Some(news) = news else { return };
        if matches!(&news, TorrentState::Active(status) if status.down_rate + status.up_rate > 0) {
            self.transferring.insert(key);
        }
        entry.torrent.state.send_if_modified(|state| {
            // A magnet link whose metadata has arrived is being checked, whatever its peers do.
            let is_later =
                matches!((&news, &*state), (TorrentState::Finding(_), TorrentState::Checking));
            let changed = !is_later && !state.is_over() && *state != news;
            if changed {
                *state = news;
            }
            changed
        });
    }
}
