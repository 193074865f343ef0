//! Which shard has which torrent, for the tasks of the control thread.
//!
//! Decides: nothing; torrents are entered and taken out as they come and go.
//! Must not know: what is sent to a shard.
//! Invariant: of two torrents with one info-hash the later one is found by it.

use crate::mail::to_shard::ToShard;
use bt_engine::TorrentKey;
use bt_types::InfoHash;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// Which shard has which torrent.
#[derive(Default)]
pub(crate) struct Registry {
    by_hash: BTreeMap<InfoHash, (TorrentKey, mpsc::Sender<ToShard>)>,
    by_key: BTreeMap<TorrentKey, mpsc::Sender<ToShard>>,
}

impl Registry {
    pub(crate) fn insert(&mut self, hash: InfoHash, key: TorrentKey, shard: mpsc::Sender<ToShard>) {
        self.by_hash.insert(hash, (key, shard.clone()));
        self.by_key.insert(key, shard);
    }

    pub(crate) fn remove(&mut self, hash: InfoHash, key: TorrentKey) {
        self.by_key.remove(&key);
        if self.by_hash.get(&hash).is_some_and(|(at, _)| *at == key) {
            self.by_hash.remove(&hash);
        }
    }

    /// Returns the torrent of this info-hash, and its shard.
    pub(crate) fn find(&self, hash: &InfoHash) -> Option<(TorrentKey, mpsc::Sender<ToShard>)> {
        self.by_hash.get(hash).cloned()
    }

    /// Returns the shard that has the torrent, unless the torrent is gone.
    pub(crate) fn shard(&self, key: TorrentKey) -> Option<mpsc::Sender<ToShard>> {
        self.by_key.get(&key).cloned()
    }
}
