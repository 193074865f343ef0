//! The control thread: it accepts connections, talks to trackers, and places torrents on shards.
//!
//! Decides: nothing about torrents. Must not know: blocks, messages of peers.
//! Invariant: every announce of a torrent that is here is answered, by the tracker's word or by a reason; stopping waits for the
//! farewells, and for nothing else.

use crate::clock::Clock;
use crate::dial;
use crate::door::{self, Pass, SharedDesk};
use crate::shard::ToShard;
use bt_engine::{AnnounceOrder, Input, TorrentKey};
use bt_tracker_client::{TrackerClient, TrackerError, tracker_host};
use bt_tracker_wire::{Announce, AnnounceReply, Event, Failure};
use bt_types::{InfoHash, PeerId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
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
        // Torrents come and go with at most one announce to each of their trackers, which bounds both.
        let (mut announces, mut farewells) = (JoinSet::new(), JoinSet::new());
        loop {
            let message = tokio::select! {
                message = from.recv() => message,
                Some(_) = announces.join_next() => continue,
                Some(_) = farewells.join_next() => continue,
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
                Some(ToControl::Announce(_, hash, order)) if order.event == Event::Stopped => {
                    let farewell = self.ask(hash, *order, FAREWELL_TIMEOUT);
                    farewells.spawn_local(async { drop(farewell.await) });
                }
                Some(ToControl::Announce(key, hash, order)) => {
                    announces.spawn_local(self.announce(key, hash, *order, Rc::clone(&registry)));
                }
                Some(ToControl::Stop(done)) => {
                    let farewells = async { while farewells.join_next().await.is_some() {} };
                    let _ = tokio::time::timeout(FAREWELL_TIMEOUT, farewells).await;
                    let _ = done.send(());
                    return;
                }
                None => return,
            }
        }
    }

    /// Announces when the desk lets the tracker's host be asked, unless the torrent has gone by then.
    fn announce(
        &self,
        key: TorrentKey,
        info_hash: InfoHash,
        order: AnnounceOrder,
        registry: Rc<RefCell<Registry>>,
    ) -> impl Future<Output = ()> + use<> {
        let now = self.clock.now();
        let at = tracker_host(&order.url).map_or(now, |host| door::lock(&self.desk).announce_at(now, &host));
        let (at, tracker) = (self.clock.instant(at), order.tracker);
        let ask = self.ask(info_hash, order, ANNOUNCE_TIMEOUT);
        async move {
            tokio::time::sleep_until(at.into()).await;
            if !registry.borrow().by_key.contains_key(&key) {
                return;
            }
            let result = ask.await;
            let shard = registry.borrow().by_key.get(&key).cloned();
            if let Some(shard) = shard {
                let _ = shard.send(ToShard::Input(Input::Announced(key, tracker, result))).await;
            }
        }
    }

    fn ask(
        &self,
        info_hash: InfoHash,
        order: AnnounceOrder,
        deadline: Duration,
    ) -> impl Future<Output = Result<(IpAddr, AnnounceReply), Failure>> + use<> {
        let trackers = self.trackers.clone();
        let announce = Announce {
            uploaded: order.uploaded,
            downloaded: order.downloaded,
            left: order.left,
            event: order.event,
            key: self.key,
            num_want: Some(order.num_want),
            tracker_id: order.tracker_id,
            ..Announce::new(info_hash, self.peer_id, self.port)
        };
        async move {
            match trackers.announce(&order.url, &announce, deadline).await {
                Ok(answer) => Ok((answer.from, answer.reply)),
                Err(TrackerError::Refused(failure)) => Err(failure),
                Err(error) => Err(Failure::new(error.to_string())),
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
