//! The control thread: it accepts connections, talks to trackers, and owns the UDP port with the
//! DHT node and LSD.
//!
//! Decides: nothing about torrents.
//! Must not know: blocks, messages of peers.
//! Invariant: stopping waits for the `stopped` announces and for saving the DHT's nodes, and for
//! nothing else.

use crate::mail::admission::{AdmissionGuard, SharedAdmissions};
use crate::mail::clock::Clock;
use crate::mail::dht::{Contact, DhtHandle};
use crate::mail::panics::{Bugs, Place};
use crate::mail::registry::Registry;
use crate::mail::to_control::ToControl;
use crate::mail::to_shard::ToShard;
use crate::net::dial;
use crate::net::listen::{BoundListener, Listener};
use crate::net::network_watch::NetworkWatch;
use crate::net::udp_port::UdpPort;
use crate::run::announces::{Announces, Ourselves};
use crate::run::dht::Driver;
use crate::run::lookups::Lookups;
use crate::run::searches::Searches;
use bt_engine::{Input, TorrentKey};
use bt_model::SessionSettings;
use bt_net::{Egress, SharedIpFilter};
use bt_tracker_client::TrackerClient;
use bt_types::{Rng, Source};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::Instant;

/// Wait after a failed accept, as for lack of descriptors, so that the loop does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(200);
/// Time to resolve one host's name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait before an unresolved name is looked up again: the first one, and the longest.
const RESOLVE_AGAIN: Duration = Duration::from_secs(10);
const RESOLVE_AGAIN_MAX: Duration = Duration::from_secs(300);
/// How often the DHT's known nodes are saved for the next run: the most that a crash can lose.
const SAVE_EVERY: Duration = Duration::from_secs(5 * 60);

/// Saves the DHT's nodes. It may wait for a disk.
pub(crate) type SaveNodes = Arc<dyn Fn(&[Contact]) -> io::Result<()> + Send + Sync>;

pub(crate) struct Control {
    pub(crate) clock: Clock,
    pub(crate) bugs: Bugs,
    pub(crate) egress: Egress,
    pub(crate) trackers: TrackerClient,
    pub(crate) ourselves: Ourselves,
    pub(crate) rng: Rng,
    pub(crate) save_nodes: SaveNodes,
    /// The DHT node, not yet running, and its handle.
    pub(crate) dht: Option<(Driver, DhtHandle)>,
    pub(crate) udp: UdpPort,
    /// What the user wants of the session now.
    pub(crate) settings: watch::Receiver<SessionSettings>,
    /// All shards, to be told when this machine's network changes.
    pub(crate) shards: Vec<mpsc::Sender<ToShard>>,
}

impl Control {
    pub(crate) async fn run(self, listeners: Vec<Listener>, mut from: mpsc::Receiver<ToControl>) {
        let Control {
            clock,
            bugs,
            egress,
            trackers,
            ourselves,
            rng,
            save_nodes,
            dht,
            udp,
            settings,
            shards,
        } = self;
        let registry = Rc::new(RefCell::new(Registry::default()));
        let listen: Vec<SocketAddr> =
            listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let admissions = SharedAdmissions::default();
        let waiting = Waiting::default();
        for listener in listeners {
            let listener = match listener.bind() {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::error!(%error, "cannot listen");
                    continue;
                }
            };
            spawn_local(accept_loop(
                listener,
                clock,
                bugs.clone(),
                SharedAdmissions::clone(&admissions),
                Rc::clone(&registry),
                Rc::clone(&waiting),
                egress.ip_filter().clone(),
            ));
        }
        let mut announces = Announces::new(clock, bugs, trackers, ourselves, Rc::clone(&registry));
        udp.start();
        let dht = dht.map(|(driver, handle)| {
            spawn_local(driver.run());
            handle
        });
        let mut searches = Searches {
            clock,
            rng,
            listen,
            settings,
            lookups: Lookups::new(dht.clone(), ourselves.port, Rc::clone(&registry)),
            lsd: None,
            registry: Rc::clone(&registry),
        };
        spawn_local(NetworkWatch::start().run(shards));
        let mut save = tokio::time::interval(SAVE_EVERY);
        save.reset();
        loop {
            searches.follow();
            let message = tokio::select! {
                message = from.recv() => message,
                () = announces.reap() => continue,
                () = searches.reap() => continue,
                _ = save.tick() => {
                    keep_nodes(dht.as_ref(), &save_nodes, false).await;
                    continue;
                }
            };
            match message {
                Some(ToControl::Register(hash, key, shard)) => {
                    registry.borrow_mut().insert(hash, key, shard)
                }
                Some(message @ (ToControl::Unregister(_, key) | ToControl::Hide(key))) => {
                    if let ToControl::Unregister(hash, _) = message {
                        registry.borrow_mut().remove(hash, key);
                    }
                    searches.leave(key).await;
                }
                Some(ToControl::Announce(key, hash, order)) => announces.begin(key, hash, *order),
                Some(ToControl::Peers(key, named)) => {
                    spawn_local(resolve_peers(egress.clone(), Rc::clone(&registry), key, named));
                }
                Some(ToControl::FindPeers(key, hash, via)) => searches.begin(key, hash, via).await,
                Some(ToControl::Stop(done)) => {
                    keep_nodes(dht.as_ref(), &save_nodes, true).await;
                    announces.finish().await;
                    let _ = done.send(());
                    return;
                }
                Some(ToControl::Drop) | None => return,
            }
        }
    }
}

/// Resolves peers that were named by host, and passes on each address as soon as it is known.
///
/// An unresolved name is looked up again, first after [`RESOLVE_AGAIN`], then after twice as long
/// each time: the network may not be up yet. Ends when all names are resolved, or when the torrent
/// has left.
async fn resolve_peers(
    egress: Egress,
    registry: Rc<RefCell<Registry>>,
    key: TorrentKey,
    mut named: Vec<(String, u16)>,
) {
    let mut wait = RESOLVE_AGAIN;
    loop {
        let mut unknown = Vec::new();
        for (host, port) in named {
            let found = egress.resolve(&host, port, Instant::now() + RESOLVE_TIMEOUT).await;
            let Some(shard) = registry.borrow().shard(key) else { return };
            match found {
                Ok(addrs) => drop(
                    shard.send(ToShard::Input(Input::PeersFound(key, Source::Link, addrs))).await,
                ),
                Err(error) => {
                    tracing::info!(host, %error, "cannot find a peer that was named");
                    unknown.push((host, port));
                }
            }
        }
        if unknown.is_empty() {
            return;
        }
        named = unknown;
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RESOLVE_AGAIN_MAX);
    }
}

/// Saves the DHT's known nodes for the next run. An empty table does not overwrite an earlier one.
async fn keep_nodes(dht: Option<&DhtHandle>, save_nodes: &SaveNodes, is_end: bool) {
    let Some(dht) = dht else { return };
    let contacts = if is_end { dht.stop().await } else { dht.contacts().await };
    if contacts.is_empty() {
        return;
    }
    let save_nodes = Arc::clone(save_nodes);
    match tokio::task::spawn_blocking(move || save_nodes(&contacts)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "cannot keep the nodes of the DHT"),
        Err(panic) => tracing::error!(%panic, "bug: keeping the nodes of the DHT panicked"),
    }
}

/// Incoming connections before their handshake, by the numbers of their guards, and the way to end
/// each.
type Waiting = Rc<RefCell<BTreeMap<u64, oneshot::Sender<()>>>>;

async fn accept_loop(
    listener: BoundListener,
    clock: Clock,
    bugs: Bugs,
    admissions: SharedAdmissions,
    registry: Rc<RefCell<Registry>>,
    waiting: Waiting,
    filter: SharedIpFilter,
) {
    loop {
        let (stream, addr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        if filter.has(addr.ip()) {
            continue;
        }
        let Some(guard) = AdmissionGuard::ask(&admissions, clock.now(), addr.ip()) else {
            continue;
        };
        let Some((number, instead_of)) = guard.numbers() else { continue };
        let (evict, evicted) = oneshot::channel();
        waiting.borrow_mut().insert(number, evict);
        let other = instead_of.and_then(|other| waiting.borrow_mut().remove(&other));
        other.map(|other| other.send(()));
        let (registry, bugs, waiting) = (Rc::clone(&registry), bugs.clone(), Rc::clone(&waiting));
        spawn_local(async move {
            let accepted = tokio::select! {
                accepted = bugs.contain_task(Place::Connection, dial::accept(stream, clock)) => accepted,
                _ = evicted => None,
            };
            waiting.borrow_mut().remove(&number);
            let handshaken = match accepted {
                Some(Ok(handshaken)) => handshaken,
                Some(Err(error)) => {
                    tracing::debug!(%addr, %error, "no handshake");
                    return;
                }
                None => return,
            };
            guard.handshaken();
            let found = registry.borrow().find(&handshaken.handshake.info_hash);
            let Some((key, shard)) = found else { return };
            let _ = shard.send(ToShard::Accepted(key, Box::new(handshaken), addr, guard)).await;
        });
    }
}
