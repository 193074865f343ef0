//! The control thread: it accepts connections, talks to trackers, and places torrents on shards.
//!
//! Decides: nothing about torrents. Must not know: blocks, messages of peers.
//! Invariant: every announce is answered, by the tracker's word or by a reason; stopping waits for the farewells, not longer.

use crate::clock::Clock;
use crate::dial;
use crate::door::{Pass, SharedDesk};
use crate::shard::ToShard;
use bt_engine::{AnnounceOrder, Input, TorrentKey};
use bt_tracker_client::TrackerClient;
use bt_tracker_wire::{Announce, Event};
use bt_types::{InfoHash, PeerId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Messages that wait for the control thread.
pub(crate) const INBOX_MAX: usize = 1024;
/// A tracker must answer within this time; a farewell has less, because somebody waits for us to go.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(30);
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(4);
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
struct Registry {
    by_hash: BTreeMap<InfoHash, (TorrentKey, mpsc::Sender<ToShard>)>,
    by_key: BTreeMap<TorrentKey, mpsc::Sender<ToShard>>,
}

pub(crate) struct Control {
    pub(crate) clock: Clock,
    pub(crate) desk: SharedDesk,
    pub(crate) trackers: TrackerClient,
    pub(crate) peer_id: PeerId,
    pub(crate) port: u16,
    pub(crate) key: u32,
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
        let mut announces: JoinSet<()> = JoinSet::new();
        loop {
            let message = tokio::select! {
                message = from.recv() => message,
                Some(_) = announces.join_next() => continue,
            };
            match message {
                Some(ToControl::Register(hash, key, shard)) => {
                    let mut registry = registry.borrow_mut();
                    registry.by_hash.insert(hash, (key, shard.clone()));
                    registry.by_key.insert(key, shard);
                }
                Some(ToControl::Unregister(hash, key)) => {
                    let mut registry = registry.borrow_mut();
                    registry.by_key.remove(&key);
                    if registry.by_hash.get(&hash).is_some_and(|(at, _)| *at == key) {
                        registry.by_hash.remove(&hash);
                    }
                }
                Some(ToControl::Announce(key, hash, order)) => {
                    let shard = registry.borrow().by_key.get(&key).cloned();
                    announces.spawn_local(self.announce(key, hash, *order, shard));
                }
                Some(ToControl::Stop(done)) => {
                    let farewells = async { while announces.join_next().await.is_some() {} };
                    let _ = tokio::time::timeout(FAREWELL_TIMEOUT, farewells).await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            }
        }
    }

    fn announce(
        &self,
        key: TorrentKey,
        info_hash: InfoHash,
        order: AnnounceOrder,
        shard: Option<mpsc::Sender<ToShard>>,
    ) -> impl Future<Output = ()> + use<> {
        let trackers = self.trackers.clone();
        let (peer_id, port, announce_key) = (self.peer_id, self.port, self.key);
        async move {
            let announce = Announce {
                uploaded: order.uploaded,
                downloaded: order.downloaded,
                left: order.left,
                event: order.event,
                key: announce_key,
                num_want: Some(order.num_want),
                tracker_id: order.tracker_id,
                ..Announce::new(info_hash, peer_id, port)
            };
            let deadline = if order.event == Event::Stopped { FAREWELL_TIMEOUT } else { ANNOUNCE_TIMEOUT };
            let result = trackers.announce(&order.url, &announce, deadline).await;
            let result = result.map(|answer| (answer.from, answer.reply)).map_err(|error| error.to_string());
            if let Some(shard) = shard {
                let _ = shard.send(ToShard::Input(Input::Announced(key, order.tracker, result))).await;
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
