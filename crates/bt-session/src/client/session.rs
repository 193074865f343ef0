//! A session: the threads of a client, started together and stopped together.
//!
//! Decides: how many threads there are.
//! Must not know: the course of a single torrent.
//! Invariant: all that was started is stopped, also when the session is dropped. Stopping ends
//! within seconds whatever trackers and peers do.

use crate::client::dirs::Dirs;
use crate::client::inner::{SessionContext, TorrentContext};
use crate::client::options::AddOptions;
use crate::client::state::StateDir;
use crate::client::torrent::TorrentHandle;
use crate::mail::changes::{Changes, Subscription};
use crate::mail::clock::Clock;
use crate::mail::dht::DhtHandle;
use crate::mail::events::{StartError, TorrentError};
use crate::mail::lease::Lease;
use crate::mail::panics::Bugs;
use crate::mail::to_control::{self, ToControl};
use crate::mail::to_shard::{self, ToShard};
use crate::mail::torrent::Watched;
use crate::net::listen::{self, Listener};
use crate::net::udp;
use crate::net::udp_port::UdpPort;
use crate::run::announces::Ourselves;
use crate::run::control::Control;
use crate::run::dht::{DhtConfig, Driver};
use crate::run::disk::Disks;
use crate::run::shard::Shard;
use crate::run::start::{os_rng, spawn};
use bt_engine::placement::Placement;
use bt_engine::{Budget, Config, TorrentKey};
use bt_metainfo::{Magnet, Metainfo};
use bt_model::{Panics, SessionSettings, SessionView};
use bt_net::{Egress, EgressConfig, IpFilter, Roots, SharedIpFilter};
use bt_tracker_client::TrackerClient;
use bt_types::{InfoHash, PeerId};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot, watch};

/// DHT nodes taken from one torrent's `nodes` (BEP 5), as routers to begin at.
const NODES_MAX: usize = 8;

/// Settings of a session.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Where to listen for peers. `None`: all addresses, on the first free port from 6881 to 6889,
    /// or any other.
    pub listen: Option<SocketAddr>,
    /// Where progress is saved between runs; `None`: nowhere.
    pub state_dir: Option<PathBuf>,
    /// What the user wants of all torrents together at first; [`Session::set`] changes it.
    pub settings: SessionSettings,
    /// Most bytes of blocks that are requested, or received and not yet written. One piece is
    /// always allowed.
    pub store_bytes: u64,
    /// Most dials under way at a time.
    pub dials_max: usize,
    /// Threads for torrents and their sockets. One is enough for several gigabits per second.
    pub shards: usize,
    /// Threads for files.
    pub disk_threads: usize,
    /// Certificates to trust for HTTPS trackers, besides those that browsers trust.
    pub extra_roots: Roots,
    /// The DHT node (BEP 5) that finds peers of torrents that are not private; `None`: no node. The
    /// state directory keeps the nodes that it knew.
    pub dht: Option<DhtConfig>,
    /// Peers that nothing is to do with at first; [`Session::set_ip_filter`] changes it.
    pub ip_filter: Arc<IpFilter>,
}

impl Default for SessionConfig {
    /// Peers come from trackers, from the user and from other peers. A user of the DHT must say
    /// where to begin.
    fn default() -> SessionConfig {
        SessionConfig {
            listen: None,
            state_dir: None,
            settings: SessionSettings::default(),
            store_bytes: Budget::default().store_bytes,
            dials_max: Budget::default().dials,
            shards: 1,
            disk_threads: 2,
            extra_roots: Roots::default(),
            dht: None,
            ip_filter: Arc::default(),
        }
    }
}

/// A BitTorrent client. [`Session::stop`] tells trackers that its torrents leave. A session that is
/// dropped instead ends its threads and frees its port within a second, and tells no tracker.
#[derive(Debug)]
#[must_use = "a session that is dropped ends its torrents"]
pub struct Session {
    placement: Mutex<Placement>,
    settings: watch::Sender<SessionSettings>,
    ip_filter: SharedIpFilter,
    context: Arc<SessionContext>,
    shards: Vec<ShardHandle>,
    threads: Vec<JoinHandle<()>>,
    peer_id: PeerId,
    listen: Vec<SocketAddr>,
    dht: Option<DhtHandle>,
    /// The UDP port of its DHT node.
    dht_port: Option<u16>,
    next_key: AtomicU32,
    /// Each torrent and its shard, by the info-hash that names its swarm.
    torrents: Mutex<BTreeMap<InfoHash, (TorrentHandle, usize)>>,
}

/// A shard, as its session reaches it.
#[derive(Debug)]
struct ShardHandle {
    inbox: mpsc::Sender<ToShard>,
    watched: Watched,
    lease: watch::Sender<Lease>,
}

impl Session {
    /// Starts the threads and opens the listening sockets. The caller needs no async runtime.
    pub fn start(config: SessionConfig) -> Result<Session, StartError> {
        let clock = Clock::start();
        let mut rng = os_rng()?;
        let listeners = listen::listen(config.listen).map_err(|source| StartError::Listen {
            transport: "TCP",
            addr: config.listen,
            source,
        })?;
        let listen: Vec<SocketAddr> =
            listeners.iter().map(Listener::local_addr).collect::<io::Result<_>>()?;
        let port = listen.first().map_or(0, SocketAddr::port);
        let peer_id = PeerId::ours(&mut rng);
        let egress = Egress::new(EgressConfig {
            extra_roots: config.extra_roots,
            ip_filter: SharedIpFilter::new(config.ip_filter),
            ..EgressConfig::default()
        })?;
        let bugs = Bugs::default();
        let disks = Arc::new(Disks::start(config.disk_threads, clock, &bugs)?);
        let (control, control_inbox) = mpsc::channel(to_control::INBOX_MAX);

        let state_dir = StateDir::new(config.state_dir);
        let sockets = udp::bind_beside(&listen);
        let (udp, dht, dht_port) = match config.dht {
            Some(dht) => {
                let mut udp = UdpPort::new(sockets?)?;
                let guest = udp.dht_guest();
                let port = guest.sender.local_addrs().next().map(|addr| addr.port());
                let config = DhtConfig { saved: [state_dir.nodes(), dht.saved].concat(), ..dht };
                let dht = Driver::new(clock, rng.fork(), egress.clone(), guest, config);
                (udp, Some(dht), port)
            }
            None => (UdpPort::new(sockets.unwrap_or_default())?, None, None),
        };
        let dht_handle = dht.as_ref().map(|(_, handle)| handle.clone());
        let engine_config = Config { listen_port: Some(port), ..Config::new(peer_id) };
        let base = Budget {
            store_bytes: config.store_bytes,
            dials: config.dials_max,
            ..Budget::default()
        };
        let whole = Lease::of(&config.settings, base, dht_port);
        let (settings, settings_of_control) = watch::channel(config.settings);
        let mut threads = Vec::new();
        let mut shards = Vec::new();
        for n in 0..config.shards.max(1) {
            let (to, inbox) = mpsc::channel(to_shard::INBOX_MAX);
            let (watched, (lease, leases)) = (Watched::default(), watch::channel(whole));
            let handle = ShardHandle { inbox: to.clone(), watched: Arc::clone(&watched), lease };
            shards.push(handle);
            let (engine_config, rng) = (engine_config.clone(), rng.fork());
            let (egress, disks, control, dht) =
                (egress.clone(), Arc::clone(&disks), control.clone(), dht_handle.clone());
            let bugs = bugs.clone();
            let name = format!("bt-shard-{n}");
            threads.push(spawn(&name, move || {
                Shard::new(
                    clock,
                    engine_config,
                    leases,
                    rng,
                    bugs,
                    egress,
                    disks,
                    control,
                    dht,
                    to,
                    watched,
                )
                .run(inbox)
            })?);
        }
        let trackers = TrackerClient::new(egress.clone(), rng.fork());
        let ourselves = Ourselves { peer_id, port, key: rng.next_u32() };
        let state_dir_too = state_dir.clone();
        let ip_filter = egress.ip_filter().clone();
        let (rng, bugs_too) = (rng.fork(), bugs.clone());
        let worker = Control {
            clock,
            bugs: bugs_too,
            egress,
            trackers,
            ourselves,
            rng,
            save_nodes: Arc::new(move |nodes| state_dir_too.save_nodes(nodes)),
            dht,
            udp,
            settings: settings_of_control,
            shards: shards.iter().map(|shard| shard.inbox.clone()).collect(),
        };
        threads.push(spawn("bt-control", move || worker.run(listeners, control_inbox))?);
        Ok(Session {
            placement: Mutex::new(Placement::new(whole.budget, config.shards)),
            settings,
            ip_filter,
            context: Arc::new(SessionContext {
                control,
                disks,
                check_pool: Arc::default(),
                bugs,
                dirs: Dirs::default(),
                state_dir,
                clock,
                changes: Changes::default(),
            }),
            shards,
            threads,
            peer_id,
            listen,
            dht: dht_handle,
            dht_port,
            next_key: AtomicU32::new(0),
            torrents: Mutex::default(),
        })
    }

    /// Returns the addresses that peers can connect to.
    pub fn listen_addrs(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Returns the handle of its DHT node, if it has one.
    pub fn dht(&self) -> Option<&DhtHandle> {
        self.dht.as_ref()
    }

    /// Returns how often a bug of ours ended something since the session started.
    pub fn panics(&self) -> Panics {
        self.context.bugs.counts()
    }

    /// Returns our peer id.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// Returns the torrents that were added and not removed, in the order of their info-hashes.
    pub fn torrents(&self) -> Vec<TorrentHandle> {
        self.added().values().map(|(torrent, _)| torrent.clone()).collect()
    }

    /// Returns the torrent with this info-hash.
    pub fn torrent(&self, hash: InfoHash) -> Option<TorrentHandle> {
        self.added().get(&hash).map(|(torrent, _)| torrent.clone())
    }

    /// Returns what the user wants of all torrents together.
    pub fn settings(&self) -> SessionSettings {
        self.settings.borrow().clone()
    }

    /// Dials and accepts no peer of these addresses from now on. Connections that are there stay.
    pub fn set_ip_filter(&self, filter: Arc<IpFilter>) {
        self.ip_filter.set(filter);
    }

    /// Makes the session as the user wants it. Settings that it has already change nothing.
    pub fn set(&self, settings: SessionSettings) {
        self.change(|wanted| *wanted = settings);
    }

    /// Changes the settings in one step. Torrents follow soon: this waits for nothing.
    pub fn change(&self, change: impl FnOnce(&mut SessionSettings)) {
        let mut placement = self.placement();
        let is_news = self.settings.send_if_modified(|settings| {
            let before = settings.clone();
            change(settings);
            *settings != before
        });
        if is_news {
            let lease = self.whole(placement.limits());
            placement.set_limits(lease.budget);
            self.lease(&placement);
        }
    }

    /// Returns what is known of the session at this moment.
    pub async fn view(&self) -> SessionView {
        let mut view = SessionView::default();
        for shard in &self.shards {
            let (done, part) = oneshot::channel();
            if shard.inbox.send(ToShard::SessionView(done)).await.is_ok() {
                view = view.with(part.await.unwrap_or_default());
            }
        }
        view.torrents = self.added().len();
        view.store_bytes_max = self.placement().limits().store_bytes;
        view.disk_orders = self.context.disks.orders();
        view.listen = self.listen.clone();
        view.dht = self.dht.as_ref().and_then(DhtHandle::status_now);
        view.panics = self.panics();
        view
    }

    /// Subscribes to changes of its torrents from now on.
    pub fn subscribe(&self) -> Subscription {
        self.context.changes.subscribe()
    }

    /// Adds a torrent: its data is found and checked on another thread, then it joins its swarm.
    /// The place of a torrent that failed is taken by one that is added anew.
    pub fn add(
        &self,
        metainfo: &Metainfo,
        options: AddOptions,
    ) -> Result<TorrentHandle, TorrentError> {
        self.add_shared(Arc::new(metainfo.clone()), options)
    }

    /// Adds a torrent like [`Session::add`], and copies nothing of its description.
    pub fn add_shared(
        &self,
        metainfo: Arc<Metainfo>,
        options: AddOptions,
    ) -> Result<TorrentHandle, TorrentError> {
        let added = self.place(metainfo.info_hashes.swarm(), |context| {
            TorrentHandle::begin(context, Arc::clone(&metainfo), options)
        })?;
        if let Some(dht) = self.dht.as_ref().filter(|_| !metainfo.private) {
            let nodes = metainfo.nodes.iter().take(NODES_MAX);
            nodes.for_each(|(host, port)| dht.add_router(format!("{host}:{port}")));
        }
        Ok(added)
    }

    /// Adds the torrent of a magnet link: its metadata comes from peers (BEP 9), then it is like
    /// any other torrent.
    pub fn add_magnet(
        &self,
        magnet: &Magnet,
        options: AddOptions,
    ) -> Result<TorrentHandle, TorrentError> {
        self.place(magnet.info_hashes.v1, |context| TorrentHandle::follow(context, magnet, options))
    }

    fn added(&self) -> MutexGuard<'_, BTreeMap<InfoHash, (TorrentHandle, usize)>> {
        self.torrents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the placement. A panic elsewhere leaves it usable: its counts are changed one at a
    /// time.
    fn placement(&self) -> MutexGuard<'_, Placement> {
        self.placement.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places a torrent on a shard.
    fn place(
        &self,
        swarm: Option<InfoHash>,
        begin: impl FnOnce(TorrentContext) -> Result<TorrentHandle, TorrentError>,
    ) -> Result<TorrentHandle, TorrentError> {
        let mut torrents = self.added();
        if let Some(swarm) = swarm
            && let Some((held, _)) = torrents.get(&swarm)
        {
            if !held.has_failed() {
                return Err(TorrentError::Duplicate);
            }
            if let Some((_, place)) = torrents.remove(&swarm) {
                self.placement().unplace(place);
            }
        }
        let key = TorrentKey(self.next_key.fetch_add(1, Relaxed));
        let place = self.placement().place();
        let at = self.shards.get(place).ok_or(TorrentError::Stopping)?;
        let (shard, watched) = (at.inbox.clone(), Arc::clone(&at.watched));
        let context = TorrentContext { key, shard, watched, session: Arc::clone(&self.context) };
        let begun = begin(context);
        match &begun {
            Ok(torrent) => {
                self.context.changes.note(torrent.info_hash());
                torrents.insert(torrent.info_hash(), (torrent.clone(), place));
            }
            Err(_) => self.placement().unplace(place),
        }
        self.lease(&self.placement());
        begun
    }

    /// Stops a torrent and forgets it; [`TorrentHandle::stop`] returns its totals.
    pub async fn remove(&self, torrent: &TorrentHandle) {
        torrent.stop().await;
        let mut torrents = self.added();
        // It may have been removed before, and added again.
        let is_it = |(held, _): &(TorrentHandle, usize)| held.is(torrent);
        if torrents.get(&torrent.info_hash()).is_some_and(is_it)
            && let Some((_, place)) = torrents.remove(&torrent.info_hash())
        {
            self.placement().unplace(place);
        }
        self.context.changes.note(torrent.info_hash());
        self.lease(&self.placement());
    }

    /// Stops a torrent, deletes its data and forgets what was saved of it. Files behind a link to a
    /// directory stay, as they may be shared. While another torrent reads the data, it stays too,
    /// and the error says so. One file that has further names (hard links) loses this name, unless
    /// another torrent of this session reads it by the same name.
    pub async fn remove_with_data(&self, torrent: &TorrentHandle) -> Result<(), TorrentError> {
        self.remove(torrent).await;
        let path = torrent.only_file();
        let is_own_name = path
            .is_some_and(|path| !self.added().values().any(|(other, _)| other.is_only_file(&path)));
        torrent.delete_data(is_own_name).await
    }

    /// Stops every torrent, announces `stopped` to trackers, and ends all threads. Takes at most
    /// about five seconds.
    pub async fn stop(mut self) {
        let torrents = std::mem::take(&mut *self.added());
        // All at once: the `stopped` announce of the last torrent need not wait for the disk of the
        // first.
        all(torrents.values().map(|(torrent, _)| torrent.stop()).collect()).await;
        let (done, stopped_announces) = oneshot::channel();
        if self.context.control.send(ToControl::Stop(done)).await.is_ok() {
            let _ = stopped_announces.await;
        }
        for shard in &self.shards {
            let _ = shard.inbox.send(ToShard::Stop).await;
        }
        // Without threads, `Drop` has nothing left to do.
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
        self.context.disks.stop();
    }

    /// Tells the shards their parts of the limits, and how to find peers.
    fn lease(&self, placement: &Placement) {
        let whole = self.whole(placement.limits());
        for (shard, budget) in self.shards.iter().zip(placement.leases()) {
            let lease = Lease { budget, ..whole };
            shard.lease.send_if_modified(|told| std::mem::replace(told, lease) != lease);
        }
    }

    /// Returns the lease of the whole session. `base` has the limits that no setting names.
    fn whole(&self, base: Budget) -> Lease {
        Lease::of(&self.settings.borrow(), base, self.dht_port)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let threads = std::mem::take(&mut self.threads);
        if threads.is_empty() {
            return;
        }
        let (control, disks) = (self.context.control.clone(), Arc::clone(&self.context.disks));
        let shards: Vec<_> = self.shards.iter().map(|shard| shard.inbox.clone()).collect();
        // An inbox may be full, and the caller may be a task that must not wait.
        let end = move || {
            for shard in shards {
                let _ = shard.blocking_send(ToShard::Stop);
            }
            let _ = control.blocking_send(ToControl::Drop);
            for thread in threads {
                let _ = thread.join();
            }
            disks.stop();
        };
        let _ = std::thread::Builder::new().name("bt-drop".into()).spawn(end);
    }
}

/// Waits for all futures. When one of them can go on, all are polled.
async fn all<T>(futures: Vec<impl Future<Output = T>>) {
    let mut under_way: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        under_way.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests;
