//! One shard: a thread with an engine and the sockets of its torrents. Its driver loop is
//! `Shard::run`.
//!
//! Decides: nothing about torrents; it carries the engine's orders out.
//! Must not know: how files are laid out, trackers.
//! Invariant: nothing here blocks, except opening a file (`orders.rs`); only this thread touches
//! the engine. A panic in a turn ends this engine and nothing else (`rebuild.rs`).

mod held;
mod news;
mod orders;
mod rebuild;
mod views;

use crate::mail::admission::AdmissionGuard;
use crate::mail::clock::{Clock, sleep_until};
use crate::mail::dht::DhtHandle;
use crate::mail::disk_order::DiskOrder;
use crate::mail::events::TorrentEvent;
use crate::mail::lease::Lease;
use crate::mail::panics::{Bugs, Place};
use crate::mail::queues::Inbox;
use crate::mail::to_control::ToControl;
use crate::mail::to_shard::{
    Departure, Handshaken, NetworkChange, NewMagnet, NewTorrent, OnMetadata, ToShard,
};
use crate::mail::torrent::{SharedTorrent, Watched};
use crate::net::dial;
use crate::net::stream::Stream;
use crate::net::wire::{self, End, Mailbox, ShardQueues};
use crate::run::carried_stats::Account;
use crate::run::disk::Disks;
use bt_engine::{Config, Engine, Input, MagnetSpec, PeerKey, TorrentKey, TorrentSpec};
use bt_model::{Priority, SessionView, TorrentSettings};
use bt_net::Egress;
use bt_peer_wire::{Handshake, Reserved};
use bt_piece_store::{Layout, Storage};
use bt_types::{Piece, Rng, Source, Time};
use bytes::Bytes;
use held::Held;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::net::SocketAddr;
use std::ops::{ControlFlow, Range};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Messages taken from the inbox in one turn.
const BATCH_MAX: usize = 64;
/// Time between two published states of a torrent that is watched and changes.
const PUBLISH: Duration = Duration::from_millis(200);

/// A torrent of this shard.
struct Entry {
    torrent: Arc<SharedTorrent>,
    stage: Stage,
    /// What another engine would have to be told; empty for most torrents.
    kept: Option<Box<Kept>>,
    /// The torrent is being removed.
    leaves: bool,
}

/// What must outlive an engine.
#[derive(Default)]
struct Kept {
    /// Peers that the user named.
    peers: Vec<SocketAddr>,
    /// Readers that wait for a piece.
    readers: Vec<(Piece, oneshot::Sender<()>)>,
    /// Deadlines of pieces, as a reader set them.
    deadlines: Vec<(Range<u32>, Time)>,
    /// The counters of earlier engines.
    before: Account,
    /// The torrent as it was when its engine ended, and its changes since, until another engine has
    /// it.
    spec: Option<TorrentSpec>,
}

/// How much of a torrent is known.
enum Stage {
    /// Its info-hash. `on_metadata` is taken when the metadata arrives.
    Magnet { spec: Box<MagnetSpec>, on_metadata: Option<OnMetadata> },
    /// It has left its swarm, and is being opened again.
    Opening,
    /// Everything.
    Whole {
        layout: Arc<Layout>,
        storage: Arc<dyn Storage>,
        private: bool,
        bytes_there: u64,
        /// The priorities of the files that count: the store has taken note of them.
        files: Vec<Priority>,
    },
}

impl Entry {
    fn new(torrent: Arc<SharedTorrent>, stage: Stage) -> Entry {
        Entry { torrent, stage, kept: None, leaves: false }
    }

    fn kept(&mut self) -> &mut Kept {
        self.kept.get_or_insert_default()
    }

    /// Returns what the user wants of it, with the priorities of files that count already.
    fn settings(&self) -> TorrentSettings {
        let files = match &self.stage {
            Stage::Magnet { .. } | Stage::Opening => Vec::new(),
            Stage::Whole { files, .. } => files.clone(),
        };
        TorrentSettings { files, ..self.torrent.settings() }
    }
}

impl Drop for Entry {
    /// Ends the torrent's state, also when the shard's thread unwinds: its watchers must not wait
    /// for ever.
    fn drop(&mut self) {
        self.torrent.end();
    }
}

pub(crate) struct Shard {
    engine: Engine,
    clock: Clock,
    config: Config,
    /// What it may use, as its engine was told, and where the next lease comes from.
    lease: Lease,
    leases: watch::Receiver<Lease>,
    /// The bytes that earlier engines moved.
    earlier: SessionView,
    rng: Rng,
    bugs: Bugs,
    /// When its last engines panicked.
    panicked: Vec<Time>,
    egress: Egress,
    disks: Arc<Disks>,
    control: mpsc::Sender<ToControl>,
    dht: Option<DhtHandle>,
    queues: ShardQueues,
    torrents: BTreeMap<TorrentKey, Box<Entry>>,
    /// Torrents that have a new watcher.
    watched: Watched,
    /// Torrents whose rates fall even when nothing happens.
    transferring: BTreeSet<TorrentKey>,
    peers: BTreeMap<PeerKey, Rc<Mailbox>>,
    next_peer: u64,
    held: Held,
    /// Orders for disk threads, gathered over one batch.
    to_disk: Vec<(TorrentKey, DiskOrder)>,
    /// `stopped` announces that wait for room in the control thread's inbox.
    stopped_announces: Vec<ToControl>,
}

impl Shard {
    #[expect(clippy::too_many_arguments, reason = "one caller; the parts of a shard")]
    pub(crate) fn new(
        clock: Clock,
        mut config: Config,
        mut leases: watch::Receiver<Lease>,
        mut rng: Rng,
        bugs: Bugs,
        egress: Egress,
        disks: Arc<Disks>,
        control: mpsc::Sender<ToControl>,
        dht: Option<DhtHandle>,
        inbox: mpsc::Sender<ToShard>,
        watched: Watched,
    ) -> Shard {
        let lease = *leases.borrow_and_update();
        lease.apply_to(&mut config);
        Shard {
            engine: Engine::new(config.clone(), lease.budget, rng.fork()),
            clock,
            config,
            lease,
            leases,
            earlier: SessionView::default(),
            rng,
            bugs,
            panicked: Vec::new(),
            egress,
            disks,
            control,
            dht,
            queues: ShardQueues {
                inbox,
                room: Inbox::default(),
                outboxes: Rc::default(),
                buffers: Rc::default(),
            },
            torrents: BTreeMap::new(),
            watched,
            transferring: BTreeSet::new(),
            peers: BTreeMap::new(),
            next_peer: 0,
            held: Held::default(),
            to_disk: Vec::new(),
            stopped_announces: Vec::new(),
        }
    }

    /// Runs the driver loop: takes messages, handles them, carries out the engine's orders, sleeps
    /// until a message or a deadline.
    pub(crate) async fn run(mut self, mut from: mpsc::Receiver<ToShard>) {
        // Handled from its end. After a panic the rest of the batch is still there.
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut publish = tokio::time::interval(PUBLISH);
        publish.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut publishes = false;
            if batch.is_empty() {
                let deadline = self.engine.deadline().map(|at| self.clock.instant(at));
                tokio::select! {
                    count = from.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
                    () = sleep_until(deadline) => {}
                    // Without a session there is no next lease.
                    Ok(()) = self.leases.changed() => {}
                    _ = publish.tick(), if !self.torrents.is_empty() => publishes = true,
                }
                batch.reverse();
            }
            let bugs = self.bugs.clone();
            match bugs.contain(Place::Engine, || self.turn(&mut batch, publishes)) {
                Some(ControlFlow::Continue(())) => {}
                Some(ControlFlow::Break(())) => return,
                None => self.rebuild(&mut batch),
            }
        }
    }

    fn turn(&mut self, batch: &mut Vec<ToShard>, publishes: bool) -> ControlFlow<()> {
        if publishes {
            self.publish();
        }
        let now = self.clock.now();
        self.take_lease(now);
        while let Some(message) = batch.pop() {
            if matches!(message, ToShard::Stop) {
                return ControlFlow::Break(());
            }
            self.take(message);
        }
        if self.engine.deadline().is_some_and(|at| at <= now) {
            self.engine.wake(now);
        }
        self.carry_out();
        ControlFlow::Continue(())
    }

    /// Tells the engine of a new lease, if there is one.
    fn take_lease(&mut self, now: Time) {
        let lease = *self.leases.borrow();
        let news = lease.news(&self.lease);
        // Noted first, in case that the engine panics.
        self.lease = lease;
        lease.apply_to(&mut self.config);
        news.for_each(|input| self.engine.handle(now, input));
    }

    /// Handles one message.
    fn take(&mut self, message: ToShard) {
        let now = self.clock.now();
        match message {
            ToShard::Input(input) => {
                self.note(now, &input);
                self.engine.handle(now, input);
            }
            ToShard::Frames(peer, messages, room) => {
                self.engine.handle(now, Input::Frames(peer, messages));
                drop(room);
            }
            ToShard::Add(key, new) => self.add(key, *new),
            ToShard::AddMagnet(key, new) => self.add_magnet(key, *new),
            ToShard::Set(key) => self.set(key),
            ToShard::Selected(key, priorities) => {
                if let Some(entry) = self.torrents.get_mut(&key)
                    && let Stage::Whole { files, .. } = &mut entry.stage
                {
                    *files = priorities;
                }
                self.set(key);
            }
            ToShard::View(key, view) => self.view(key, view),
            ToShard::SessionView(done) => drop(done.send(self.session_view())),
            ToShard::Fail(key, error) => {
                if let Some(entry) = self.torrents.get_mut(&key) {
                    entry.leaves = true;
                    entry.torrent.fail(error);
                    let _ =
                        self.control.try_send(ToControl::Unregister(entry.torrent.info_hash, key));
                }
                self.engine.handle(now, Input::Remove(key));
                self.carry_out();
                self.torrents.remove(&key);
                self.after_stopped_announces(|| ());
            }
            ToShard::Leave(key, done) => {
                let Departure { status, sources } = self.departure(key);
                if let Some(entry) = self.torrents.get_mut(&key) {
                    let kept = entry.kept();
                    if let Some(status) = status {
                        kept.before = Account::closed(&status, sources);
                    }
                    // What an engine that panicked had is not what will be found.
                    kept.spec = None;
                    kept.readers.clear();
                    entry.stage = Stage::Opening;
                }
                self.engine.handle(now, Input::Remove(key));
                self.carry_out();
                self.after_stopped_announces(|| {
                    let _ = done.send(());
                });
            }
            ToShard::Remove(key, done) => {
                let departure = self.departure(key);
                if let Some(entry) = self.torrents.get_mut(&key) {
                    entry.leaves = true;
                }
                self.engine.handle(now, Input::Remove(key));
                self.carry_out();
                self.torrents.remove(&key);
                self.after_stopped_announces(|| drop(done.send(departure)));
            }
            ToShard::Accepted(key, handshaken, addr, guard) => {
                self.accepted(key, *handshaken, addr, guard)
            }
            ToShard::Dialled(key, addr, None) => {
                self.engine.handle(now, Input::DialFailed(key, addr))
            }
            ToShard::Dialled(key, addr, Some(handshaken)) => {
                self.adopt(key, *handshaken, addr, None)
            }
            ToShard::Read(peer, blocks) => self.deliver(peer, blocks),
            ToShard::Piped(peer, pipe) => {
                if let Some(mailbox) = self.peers.get(&peer) {
                    mailbox.serve_piped(pipe);
                }
            }
            ToShard::StoreDetail(key, detail) => self.tell(key, TorrentEvent::StoreDetail(detail)),
            ToShard::NetworkChanged(change) => self.network_changed(&change),
            ToShard::Settled(key) => self.come_back(key),
            #[cfg(test)]
            ToShard::Bug(None) => panic!("a bug in an engine, for a test"),
            #[cfg(test)]
            ToShard::Bug(Some(_)) => {
                self.peers.values().next().into_iter().for_each(|mailbox| mailbox.bug())
            }
            ToShard::Stop => {}
        }
    }

    fn add(&mut self, key: TorrentKey, new: NewTorrent) {
        let now = self.clock.now();
        let NewTorrent { torrent, mut spec, layout, storage, mut peers, is_known } = new;
        peers.append(&mut torrent.take_early_peers());
        let bytes_there = rebuild::bytes_of(&spec);
        let files = std::mem::take(&mut spec.settings.files);
        // The user may have changed them since the thread that opened it read them.
        spec.settings = TorrentSettings { files: files.clone(), ..torrent.settings() };
        let stage = Stage::Whole { layout, storage, private: spec.private, bytes_there, files };
        match self.torrents.entry(key) {
            btree_map::Entry::Occupied(entry) => {
                let entry = entry.into_mut();
                // The engine that had it knew the peers that the user named.
                if let (Stage::Opening, Some(kept)) = (&entry.stage, &mut entry.kept) {
                    peers.append(&mut kept.peers);
                }
                entry.stage = stage;
            }
            btree_map::Entry::Vacant(_) if is_known => return,
            btree_map::Entry::Vacant(place) => {
                place.insert(Box::new(Entry::new(torrent, stage)));
            }
        }
        self.engine.handle(now, Input::Add(key, Box::new(spec)));
        self.add_user_peers(key, peers);
        self.set_deadlines(key);
        self.publish_one(key);
    }

    fn add_magnet(&mut self, key: TorrentKey, new: NewMagnet) {
        let now = self.clock.now();
        let NewMagnet { torrent, mut spec, mut peers, on_metadata } = new;
        peers.append(&mut torrent.take_early_peers());
        spec.settings = torrent.settings();
        let stage = Stage::Magnet { spec: Box::new(spec.clone()), on_metadata: Some(on_metadata) };
        self.torrents.insert(key, Box::new(Entry::new(torrent, stage)));
        self.engine.handle(now, Input::AddMagnet(key, Box::new(spec)));
        self.add_user_peers(key, peers);
    }

    /// Ends connections from addresses that are gone, as nothing else would show that they are
    /// dead. Failed dials are tried again.
    fn network_changed(&mut self, change: &NetworkChange) {
        let is_dead = |mailbox: &Mailbox| change.slept_long || mailbox.leaves_from(&change.gone);
        let dead: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(_, mailbox)| is_dead(mailbox))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in dead {
            if let Some(mailbox) = self.peers.remove(&peer) {
                mailbox.hang_up();
            }
            self.engine.handle(self.clock.now(), Input::Closed(peer));
        }
        if change.is_elsewhere {
            self.engine.handle(self.clock.now(), Input::NetworkChanged);
        }
    }

    /// Adds peers that the user named.
    fn add_user_peers(&mut self, key: TorrentKey, peers: Vec<SocketAddr>) {
        let found = Input::PeersFound(key, Source::User, peers);
        self.note(self.clock.now(), &found);
        self.engine.handle(self.clock.now(), found);
    }

    /// Takes the metadata of a magnet link: a thread checks it, and the data on disk.
    fn metadata(&mut self, key: TorrentKey, metadata: Bytes) {
        if let Some(Stage::Magnet { on_metadata, .. }) =
            self.torrents.get_mut(&key).map(|entry| &mut entry.stage)
            && let Some(on_metadata) = on_metadata.take()
        {
            on_metadata(metadata);
        }
    }

    // ---- connections ----

    fn accepted(
        &mut self,
        key: TorrentKey,
        mut handshaken: Handshaken,
        addr: SocketAddr,
        guard: AdmissionGuard,
    ) {
        let Some(entry) = self.torrents.get(&key) else { return };
        handshaken.wire.send_handshake(&self.handshake(entry));
        self.adopt(key, handshaken, addr, Some(guard));
    }

    /// Makes our handshake. Peers of a private torrent are not told of our DHT node (BEP 27).
    fn handshake(&self, entry: &Entry) -> Handshake {
        let tells_dht = self.config.dht_port.is_some()
            && !matches!(entry.stage, Stage::Whole { private: true, .. });
        Handshake {
            reserved: Reserved::ours(tells_dht),
            info_hash: entry.torrent.info_hash,
            peer_id: self.config.peer_id,
        }
    }

    /// Gives a connection a task and a key. Both handshakes are done, or ours is queued.
    fn adopt(
        &mut self,
        key: TorrentKey,
        handshaken: Handshaken,
        addr: SocketAddr,
        guard: Option<AdmissionGuard>,
    ) {
        let Some(entry) = self.torrents.get(&key) else { return };
        let Handshaken { stream, mut wire, handshake } = handshaken;
        let Ok(stream) = Stream::bind(stream) else {
            self.engine.handle(self.clock.now(), Input::DialFailed(key, addr));
            return;
        };
        if let Stage::Whole { layout, .. } = &entry.stage {
            wire.set_pieces(layout.geometry().piece_count());
        }
        let peer = PeerKey(self.next_peer);
        self.next_peer += 1;
        let mailbox = Rc::new(Mailbox::new(stream.local_ip()));
        self.peers.insert(peer, Rc::clone(&mailbox));
        let outbound = guard.is_none();
        if outbound {
            mailbox.note_handshake();
        }
        let (queues, clock) = (self.queues.clone(), self.clock);
        let bugs = self.bugs.clone();
        tokio::task::spawn_local(async move {
            let task = wire::run(peer, stream, wire, mailbox, queues.clone(), clock);
            match bugs.contain_task(Place::Connection, task).await {
                Some(End::HungUp | End::Closed) => {}
                Some(End::Fault(fault)) => {
                    tracing::debug!(%addr, %fault, "peer broke the protocol")
                }
                Some(End::Io(error)) => tracing::debug!(%addr, %error, "connection failed"),
                None => tracing::error!(%addr, "bug: a connection's task panicked"),
            }
            drop(guard);
            let _ = queues.inbox.send(ToShard::Input(Input::Closed(peer))).await;
        });
        let input = Input::Connected { peer, torrent: key, addr, outbound, handshake };
        self.engine.handle(self.clock.now(), input);
    }

    fn dial(&self, key: TorrentKey, addr: SocketAddr, source: Source, patience: Duration) {
        let Some(entry) = self.torrents.get(&key) else { return };
        let (ours, clock) = (self.handshake(entry), self.clock);
        let (egress, inbox, bugs) =
            (self.egress.clone(), self.queues.inbox.clone(), self.bugs.clone());
        tokio::task::spawn_local(async move {
            let dialled = bugs
                .contain_task(
                    Place::Connection,
                    dial::dial(&egress, source, addr, patience, ours, clock),
                )
                .await;
            let handshaken = match dialled {
                Some(Ok(handshaken)) => Some(Box::new(handshaken)),
                Some(Err(error)) => {
                    tracing::debug!(%addr, %error, "dial failed");
                    None
                }
                None => None,
            };
            let _ = inbox.send(ToShard::Dialled(key, addr, handshaken)).await;
        });
    }
}

#[cfg(test)]
mod tests;
