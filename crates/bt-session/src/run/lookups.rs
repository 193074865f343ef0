//! DHT searches of torrents: how many run at a time, and where their peers go.
//!
//! Decides: which search waits for another.
//! Must not know: how a search goes; which torrents are private, as the engine orders no search for
//! these.
//! Invariant: every search of a torrent in the registry ends with one `FindPeersDone`. A torrent
//! that leaves ends its search.

use crate::mail::dht::DhtHandle;
use crate::mail::registry::Registry;
use crate::mail::to_shard::ToShard;
use bt_engine::{Discovery, Input, TorrentKey};
use bt_types::{InfoHash, Source};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet, spawn_local};

/// Searches at a time; the others wait. Each search asks a few nodes at once.
const SEARCHES_MAX: usize = 16;
/// Time that a search waits for a first DHT node to answer.
const FIRST_NODE: Duration = Duration::from_secs(60);

pub(crate) struct Lookups {
    dht: Option<DhtHandle>,
    /// The TCP port that we announce.
    port: u16,
    registry: Rc<RefCell<Registry>>,
    /// At most one entry for each torrent.
    waiting: VecDeque<(TorrentKey, InfoHash)>,
    running: BTreeMap<TorrentKey, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Lookups {
    pub(crate) fn new(
        dht: Option<DhtHandle>,
        port: u16,
        registry: Rc<RefCell<Registry>>,
    ) -> Lookups {
        let (waiting, running, tasks) = (VecDeque::new(), BTreeMap::new(), JoinSet::new());
        Lookups { dht, port, registry, waiting, running, tasks }
    }

    /// Searches for peers of a torrent and announces us, when fewer than [`SEARCHES_MAX`] searches
    /// run.
    pub(crate) fn begin(&mut self, key: TorrentKey, hash: InfoHash) {
        if !self.running.contains_key(&key) && self.waiting.iter().all(|(waits, _)| *waits != key) {
            self.waiting.push_back((key, hash));
        }
        self.fill();
    }

    /// Ends the search of a torrent that has left.
    pub(crate) fn leave(&mut self, key: TorrentKey) {
        self.waiting.retain(|(waits, _)| *waits != key);
        if let Some(task) = self.running.remove(&key) {
            task.abort();
        }
        self.fill();
    }

    /// Ends every search, because the user wants none now.
    pub(crate) fn end_all(&mut self) {
        let running = std::mem::take(&mut self.running);
        running.values().for_each(AbortHandle::abort);
        let waiting = std::mem::take(&mut self.waiting);
        for key in running.into_keys().chain(waiting.into_iter().map(|(key, _)| key)) {
            let done = Input::FindPeersDone(key, Discovery::Dht, 0);
            spawn_local(tell(Rc::clone(&self.registry), key, done));
        }
    }

    /// Starts waiting searches as others end; never returns.
    pub(crate) async fn reap(&mut self) {
        loop {
            match self.tasks.join_next().await {
                Some(_) => {
                    self.running.retain(|_, task| !task.is_finished());
                    self.fill();
                }
                None => std::future::pending().await,
            }
        }
    }

    fn fill(&mut self) {
        while self.running.len() < SEARCHES_MAX
            && let Some((key, hash)) = self.waiting.pop_front()
        {
            let search = search(self.dht.clone(), key, hash, self.port, Rc::clone(&self.registry));
            self.running.insert(key, self.tasks.spawn_local(search));
        }
    }
}

/// Runs one search, from the first node to the last.
async fn search(
    dht: Option<DhtHandle>,
    key: TorrentKey,
    hash: InfoHash,
    port: u16,
    registry: Rc<RefCell<Registry>>,
) {
    let tell = async |input: Input| tell(Rc::clone(&registry), key, input).await;
    let mut sum = 0;
    if let Some(dht) = dht
        && dht.knows_a_node(FIRST_NODE).await
    {
        let mut found = dht.get_peers(hash, Some(port)).await;
        while let Some((from, peers)) = found.next().await {
            sum += peers.len();
            tell(Input::PeersFound(key, Source::Host(from), peers)).await;
        }
    }
    tell(Input::FindPeersDone(key, Discovery::Dht, sum)).await;
}

/// Tells the shard of a torrent, unless the torrent is gone.
pub(crate) async fn tell(registry: Rc<RefCell<Registry>>, key: TorrentKey, input: Input) {
    let shard = registry.borrow().shard(key);
    if let Some(shard) = shard {
        let _ = shard.send(ToShard::Input(input)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    #[tokio::test]
    async fn each_search_ends_with_one_answer_and_none_for_a_removed_torrent() {
        let (shard, mut inbox) = mpsc::channel(1000);
        let registry = Rc::new(RefCell::new(Registry::default()));
        let mut lookups = Lookups::new(None, 1, Rc::clone(&registry));
        let torrents = 3 * u32::try_from(SEARCHES_MAX).unwrap();
        let gone = [TorrentKey(0), TorrentKey(torrents - 1)];
        LocalSet::new()
            .run_until(async {
                for key in (0..torrents).map(TorrentKey) {
                    let hash = InfoHash([u8::try_from(key.0).unwrap(); 20]);
                    registry.borrow_mut().insert(hash, key, shard.clone());
                    // A second order while the first is under way is the same search.
                    lookups.begin(key, hash);
                    lookups.begin(key, hash);
                }
                assert_eq!(
                    (lookups.running.len(), lookups.waiting.len()),
                    (SEARCHES_MAX, 2 * SEARCHES_MAX)
                );
                gone.into_iter().for_each(|key| lookups.leave(key));
                while !lookups.running.is_empty() || !lookups.waiting.is_empty() {
                    tokio::select! {
                        () = lookups.reap() => {}
                        () = tokio::task::yield_now() => {}
                    }
                }
            })
            .await;
        let mut searched = Vec::new();
        while let Ok(ToShard::Input(Input::FindPeersDone(key, Discovery::Dht, 0))) =
            inbox.try_recv()
        {
            searched.push(key);
        }
        searched.sort_unstable();
        assert_eq!(searched, (1..torrents - 1).map(TorrentKey).collect::<Vec<_>>());
    }
}
