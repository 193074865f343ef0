//! What the user's handle of a torrent and its shard share: its state, its events, its settings.
//!
//! Decides: which state is the last.
//! Must not know: how a torrent is opened, or transferred.
//! Invariant: a state that is over stays, unless the user opens the torrent again. Of the settings
//! there is this one copy. Subscribers hear of a state after it is set.

use crate::mail::changes::Changes;
use crate::mail::events::{News, TorrentError, TorrentState};
use crate::mail::owner::Lock;
use bt_engine::TorrentKey;
use bt_model::{Priority, TorrentSettings};
use bt_types::InfoHash;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Torrents of a shard that have a new watcher. The shard looks at them when it next publishes.
pub(crate) type Watched = Arc<Mutex<BTreeSet<TorrentKey>>>;

/// Most peers named by the user that are kept of a torrent.
pub(crate) const USER_PEERS_MAX: usize = 100;

/// A torrent, as its shard and its handles see it.
pub(crate) struct SharedTorrent {
    pub(crate) key: TorrentKey,
    pub(crate) info_hash: InfoHash,
    pub(crate) state: watch::Sender<TorrentState>,
    pub(crate) news: News,
    /// Tells the shard of new watchers.
    watched: Watched,
    pub(crate) changes: Changes,
    /// What the user wants of it. The shard reads it when it is told of a change, and when it gives
    /// the torrent to an engine.
    settings: Mutex<TorrentSettings>,
    /// Peers that the user named before the shard had the torrent; `None` once it has it.
    early_peers: Mutex<Option<Vec<SocketAddr>>>,
    /// The lock of the torrent in its directory, held while any thread has the torrent.
    pub(crate) lock: Mutex<Option<Lock>>,
}

impl std::fmt::Debug for SharedTorrent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Torrent").field("info_hash", &self.info_hash).finish_non_exhaustive()
    }
}

impl SharedTorrent {
    pub(crate) fn new(
        key: TorrentKey,
        info_hash: InfoHash,
        state: TorrentState,
        settings: TorrentSettings,
        watched: Watched,
        changes: Changes,
    ) -> SharedTorrent {
        SharedTorrent {
            key,
            info_hash,
            state: watch::Sender::new(state),
            news: News::default(),
            watched,
            changes,
            settings: Mutex::new(settings),
            early_peers: Mutex::new(Some(Vec::new())),
            lock: Mutex::new(None),
        }
    }

    pub(crate) fn settings(&self) -> TorrentSettings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the settings in one step. The caller then tells the shard to read them. Returns the
    /// priorities of the files, if these changed.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(&mut TorrentSettings),
    ) -> Option<Vec<Priority>> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let before = settings.files.clone();
        change(&mut settings);
        self.changes.note(self.info_hash);
        (settings.files != before).then(|| settings.files.clone())
    }

    /// Keeps peers that the user named, until the shard has the torrent. Returns them once it has
    /// it.
    pub(crate) fn keep_early_peers(&self, peers: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
        let mut early_peers = self.early_peers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = early_peers.as_mut() else { return Some(peers) };
        let room = USER_PEERS_MAX.saturating_sub(kept.len());
        kept.extend(peers.into_iter().take(room));
        None
    }

    /// Takes the peers that were kept. The shard has the torrent now: none are kept any more.
    pub(crate) fn take_early_peers(&self) -> Vec<SocketAddr> {
        let mut early_peers = self.early_peers.lock().unwrap_or_else(PoisonError::into_inner);
        early_peers.take().unwrap_or_default()
    }

    /// Watches the state from now on.
    ///
    /// Nothing was published without a watcher. So the shard is told of each new one, also while
    /// others watch, as those may have begun in this very moment.
    pub(crate) fn watch(&self) -> watch::Receiver<TorrentState> {
        let state = self.state.subscribe();
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(self.key);
        state
    }

    /// Sets the state, and tells subscribers.
    pub(crate) fn set_state(&self, state: TorrentState) {
        self.state.send_replace(state);
        self.changes.note(self.info_hash);
    }

    /// Ends the torrent's state as stopped, unless it was over before.
    pub(crate) fn end(&self) {
        self.end_as(TorrentState::Stopped);
    }

    /// Ends the torrent's state with an error, unless it was over before.
    pub(crate) fn fail(&self, error: TorrentError) {
        self.end_as(TorrentState::Failed(error));
    }

    fn end_as(&self, last: TorrentState) {
        self.state.send_if_modified(|state| {
            let is_news = !state.is_over();
            if is_news {
                *state = last;
            }
            is_news
        });
        self.changes.note(self.info_hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_early_peers_are_kept_until_the_shard_takes_them() {
        let torrent = SharedTorrent::new(
            TorrentKey(1),
            InfoHash([1; 20]),
            TorrentState::Checking,
            TorrentSettings::default(),
            Watched::default(),
            Changes::default(),
        );
        let peers: Vec<_> = (1..=60).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        assert_eq!(torrent.keep_early_peers(peers.clone()), None);
        assert_eq!(torrent.keep_early_peers(peers.clone()), None);
        let kept = torrent.take_early_peers();
        assert_eq!((&kept[..60], &kept[60..]), (&peers[..], &peers[..40]));
        assert_eq!(torrent.keep_early_peers(peers.clone()), Some(peers));
        assert_eq!(torrent.take_early_peers(), []);
    }
}
