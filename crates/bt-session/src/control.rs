//! The control thread: it accepts connections, talks to trackers, and places torrents on shards.
//!
//! Decides: nothing about torrents. Must not know: blocks, messages of peers.
//! Invariant: stopping waits for the farewells, and for nothing else.

use crate::announces::{Announces, Ourselves};
use crate::clock::Clock;
use crate::dial;
use crate::door::{Pass, SharedDesk};
use crate::shard::ToShard;
use bt_engine::{AnnounceOrder, TorrentKey};
use bt_tracker_client::TrackerClient;
use bt_types::InfoHash;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// Messages that wait for the control thread.
pub(crate) const INBOX_MAX: usize = 1024;
/// Rest after an accept that failed for lack of descriptors, so that the loop does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// What the control thread is told.
#[derive(Debug)]
pub(crate) enum ToControl {
    /// Connections for this torrent go to that shard from now on.
    Register(InfoHash, TorrentKey, mpsc::Sender<ToShard>),
    /// The torrent is gone.
    Unregister(InfoHash, TorrentKey),
    /// Talk to a tracker.
    Announce(TorrentKey, InfoHash, Box<AnnounceOrder>),
    /// Finish: wait for farewells, then answer.
    Stop(oneshot::Sender<()>),
}

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

    fn remove(&mut self, hash: InfoHash, key: TorrentKey) {
        self.by_key.remove(&key);
        if self.by_hash.get(&hash).is_some_and(|(at, _)| *at == key) {
            self.by_hash.remove(&hash);
        }
    }

    /// The shard that has the torrent, unless it is gone.
    pub(crate) fn shard(&self, key: TorrentKey) -> Option<mpsc::Sender<ToShard>> {
        self.by_key.get(&key).cloned()
    }
}

pub(crate) struct Control {
    pub(crate) clock: Clock,
    pub(crate) desk: SharedDesk,
    pub(crate) trackers: TrackerClient,
    pub(crate) ourselves: Ourselves,
}

impl Control {
    pub(crate) async fn run(self, listeners: Vec<std::net::TcpListener>, mut from: mpsc::Receiver<ToControl>) {
        let registry = Rc::new(RefCell::new(Registry::default()));
        for listener in listeners {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::error!(%error, "cannot listen");
                    continue;
                }
            };
            tokio::task::spawn_local(accept_loop(listener, self.clock, SharedDesk::clone(&self.desk), Rc::clone(&registry)));
        }
        let mut announces = Announces::new(self.clock, self.desk, self.trackers, self.ourselves, Rc::clone(&registry));
        loop {
            let message = tokio::select! {
                message = from.recv() => message,
                () = announces.reap() => continue,
            };
            match message {
                Some(ToControl::Register(hash, key, shard)) => registry.borrow_mut().insert(hash, key, shard),
                Some(ToControl::Unregister(hash, key)) => registry.borrow_mut().remove(hash, key),
                Some(ToControl::Announce(key, hash, order)) => announces.begin(key, hash, *order),
                Some(ToControl::Stop(done)) => {
                    announces.finish().await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            }
        }
    }
}

async fn accept_loop(listener: TcpListener, clock: Clock, desk: SharedDesk, registry: Rc<RefCell<Registry>>) {
    loop {
        let (stream, addr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Some(mut pass) = Pass::ask(&desk, clock.now(), addr.ip()) else { continue };
        let registry = Rc::clone(&registry);
        tokio::task::spawn_local(async move {
            let shaken = match dial::accept(stream, clock).await {
                Ok(shaken) => shaken,
                Err(error) => {
                    tracing::debug!(%addr, %error, "no handshake");
                    return;
                }
            };
            pass.shaken();
            let found = registry.borrow().by_hash.get(&shaken.handshake.info_hash).cloned();
            let Some((key, shard)) = found else { return };
            let _ = shard.send(ToShard::Accepted(key, Box::new(shaken), addr, pass)).await;
        });
    }
}
