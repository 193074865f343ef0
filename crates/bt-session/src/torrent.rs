//! A torrent of a session, as the program that uses the session sees it.
//!
//! Decides: the order of starting and stopping. Must not know: engines' insides.
//! Invariant: stopping leaves the swarm before the store is closed, and happens once.

use crate::clock::Clock;
use crate::control::ToControl;
use crate::disk::{Attached, DiskOrder, Disks};
use crate::events::{AddError, Summary, TorrentEvent, TorrentState};
use crate::shard::{Departure, NewTorrent, ToShard};
use crate::state::{Lock, StateDir};
use bt_engine::{Input, Order, Priority, TorrentKey, TorrentSpec, TorrentStatus, Want};
use bt_metainfo::{Metainfo, PieceDigests};
use bt_piece_store::{
    DiskStorage, Journal, Layout, LayoutFile, OpenError, Progress, Storage, StoreError, Trust, Worker, locate, open_torrent,
};
use bt_types::{Bitfield, InfoHash};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, broadcast, mpsc, oneshot, watch};

/// News kept for a listener that is behind.
const EVENTS_MAX: usize = 256;

/// How a torrent is added.
#[derive(Clone, Debug)]
pub struct AddOptions {
    /// The directory that contains the torrent's name, or will; or the content itself.
    pub dir: PathBuf,
    /// Peers to begin with.
    pub peers: Vec<SocketAddr>,
    /// Believe the files that are there without hashing them.
    pub trust_data: bool,
    /// Remember nothing of earlier runs, and leave nothing for later ones.
    pub no_resume: bool,
    /// Numbers in the torrent's list of the files that are wanted; all of them if this is `None`. A piece that a wanted file shares with
    /// another comes whole.
    pub select: Option<BTreeSet<usize>>,
}

impl AddOptions {
    /// Download to, or seed from, this directory.
    pub fn new(dir: impl Into<PathBuf>) -> AddOptions {
        AddOptions { dir: dir.into(), peers: Vec::new(), trust_data: false, no_resume: false, select: None }
    }
}

/// A torrent that was added. Clones are the same torrent.
#[derive(Clone, Debug)]
pub struct TorrentHandle(Arc<Inner>);

struct Inner {
    key: TorrentKey,
    info_hash: InfoHash,
    shard: mpsc::Sender<ToShard>,
    control: mpsc::Sender<ToControl>,
    disks: Arc<Disks>,
    clock: Clock,
    layout: Arc<Layout>,
    /// Bytes of the pieces that were wanted when it was added.
    bytes_wanted: u64,
    progress: Arc<Progress>,
    bytes_there: AtomicU64,
    state: watch::Sender<TorrentState>,
    events: broadcast::Sender<TorrentEvent>,
    lock: Mutex<Option<Lock>>,
    summary: OnceCell<Summary>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Torrent").field("info_hash", &self.info_hash).finish_non_exhaustive()
    }
}

/// What a torrent needs of its session.
pub(crate) struct Home {
    pub(crate) key: TorrentKey,
    pub(crate) shard: mpsc::Sender<ToShard>,
    pub(crate) control: mpsc::Sender<ToControl>,
    pub(crate) disks: Arc<Disks>,
    pub(crate) state_dir: StateDir,
    pub(crate) clock: Clock,
}

impl TorrentHandle {
    /// Begins: the data that is there is checked on a thread of its own, then the torrent joins its swarm.
    pub(crate) fn begin(home: Home, metainfo: &Metainfo, options: AddOptions) -> Result<TorrentHandle, AddError> {
        let digests = metainfo.info.require_digests().map_err(|error| AddError::Unsupported(error.to_string()))?;
        let Some(info_hash) = metainfo.info_hashes.swarm() else {
            return Err(AddError::Unsupported("the torrent has no info-hash".into()));
        };
        let state_dir = if options.no_resume { StateDir::new(None) } else { home.state_dir };
        let dir_error = |error: std::io::Error| store_error(&options.dir, &error);
        let (root, mut layout) = locate(&options.dir, &metainfo.info).map_err(dir_error)?;
        if let Some(files) = &options.select {
            layout.select(files);
        }
        let (wanted, layout) = (layout.wanted(), Arc::new(layout));
        let storage = DiskStorage::create(&root).map_err(|error| store_error(&root, &error))?;
        let lock = state_dir.lock(info_hash, &root).map_err(dir_error)?;
        let lock = lock.ok_or_else(|| AddError::Locked { dir: root.clone() })?;
        let inner = Arc::new(Inner {
            key: home.key,
            info_hash,
            shard: home.shard,
            control: home.control,
            disks: home.disks,
            clock: home.clock,
            layout: Arc::clone(&layout),
            bytes_wanted: bytes(&layout, &wanted),
            progress: Arc::default(),
            bytes_there: AtomicU64::new(0),
            state: watch::Sender::new(TorrentState::Checking),
            events: broadcast::Sender::new(EVENTS_MAX),
            lock: Mutex::new(Some(lock)),
            summary: OnceCell::new(),
        });
        let opening = Opening {
            inner: Arc::clone(&inner),
            layout,
            wanted,
            digests,
            storage: Arc::new(storage),
            trackers: metainfo.trackers.clone(),
            metadata: Bytes::copy_from_slice(&metainfo.info_bytes),
            private: metainfo.private,
            trust: if options.trust_data { Trust::Data } else { Trust::Journal },
            peers: options.peers,
        };
        let thread = std::thread::Builder::new().name("bt-check".into());
        let journal = move |opening: &Opening| state_dir.journal(info_hash, &root, opening.layout.geometry());
        thread.spawn(move || opening.run(journal)).map_err(|error| store_error(Path::new("check thread"), &error))?;
        Ok(TorrentHandle(inner))
    }

    /// The hash that names its swarm.
    pub fn info_hash(&self) -> InfoHash {
        self.0.info_hash
    }

    /// Where it stands, now and whenever that changes.
    pub fn state(&self) -> watch::Receiver<TorrentState> {
        self.0.state.subscribe()
    }

    /// News from now on.
    pub fn events(&self) -> broadcast::Receiver<TorrentEvent> {
        self.0.events.subscribe()
    }

    /// How far the check of the data is: bytes looked at, and bytes to look at.
    pub fn check_progress(&self) -> (u64, u64) {
        (self.0.progress.done(), self.0.progress.total())
    }

    /// Bytes of the pieces that were wanted when it was added: all of them, or those of the selected files.
    pub fn bytes_wanted(&self) -> u64 {
        self.0.bytes_wanted
    }

    /// Bytes of these that were there and right when it started; 0 until that is known.
    pub fn bytes_there(&self) -> u64 {
        self.0.bytes_there.load(Relaxed)
    }

    /// Waits until the data is checked and the torrent is in its swarm.
    pub async fn wait_active(&self) -> Result<TorrentStatus, AddError> {
        self.wait_for(|_| true).await
    }

    /// Waits until every wanted piece is verified and written.
    pub async fn wait_complete(&self) -> Result<TorrentStatus, AddError> {
        self.wait_for(TorrentStatus::is_done).await
    }

    /// The numbers of the pieces that hold a byte of the file with this number in the torrent's list.
    pub fn pieces_of(&self, file: usize) -> Option<Range<u32>> {
        self.0.layout.files().get(file).map(|file| self.0.layout.numbers_of(file))
    }

    /// From now on these pieces are wanted so much.
    pub async fn want(&self, pieces: Range<u32>, priority: Priority) {
        self.0.want(Want::Pieces(pieces, priority)).await;
    }

    /// The order of pieces that are wanted equally, from now on.
    pub async fn set_order(&self, order: Order) {
        self.0.want(Want::Order(order)).await;
    }

    /// These pieces are needed after this time: they come first, the earliest before all. `None` takes that back.
    pub async fn need_within(&self, pieces: Range<u32>, time: Option<Duration>) {
        let by = time.map(|time| self.0.clock.now() + time);
        self.0.want(Want::By(pieces, by)).await;
    }

    async fn wait_for(&self, enough: impl Fn(&TorrentStatus) -> bool) -> Result<TorrentStatus, AddError> {
        let mut state = self.state();
        let found = state
            .wait_for(|state| match state {
                TorrentState::Checking => false,
                TorrentState::Active(status) => enough(status),
                TorrentState::Failed(_) | TorrentState::Stopped => true,
            })
            .await;
        match found.as_deref() {
            Ok(TorrentState::Active(status)) => Ok(status.clone()),
            Ok(TorrentState::Failed(error)) => Err(error.clone()),
            _ => Err(AddError::Stopping),
        }
    }

    /// Leaves the swarm, saves what is known, and gives the account. A second call gives the same account.
    pub async fn stop(&self) -> Summary {
        self.0.summary.get_or_init(|| self.0.stop()).await.clone()
    }
}

impl Inner {
    /// Tells the engine, once it knows the torrent.
    async fn want(&self, want: Want) {
        let _ = self.state.subscribe().wait_for(|state| *state != TorrentState::Checking).await;
        let _ = self.shard.send(ToShard::Input(Input::Want(self.key, vec![want]))).await;
    }

    async fn stop(&self) -> Summary {
        self.progress.cancel();
        let _ = self.state.subscribe().wait_for(|state| *state != TorrentState::Checking).await;
        let _ = self.control.send(ToControl::Unregister(self.info_hash, self.key)).await;
        let (done, departure) = oneshot::channel();
        let _ = self.shard.send(ToShard::Remove(self.key, done)).await;
        let Departure { status, sources } = departure.await.unwrap_or_default();
        let (done, detached) = oneshot::channel();
        self.disks.submit([(self.key, DiskOrder::Detach(done))].into_iter());
        let _ = detached.await;
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        Summary { bytes_there: self.bytes_there.load(Relaxed), status, sources }
    }
}

/// A torrent between being added and being in its swarm.
struct Opening {
    inner: Arc<Inner>,
    layout: Arc<Layout>,
    wanted: Bitfield,
    digests: Arc<PieceDigests>,
    storage: Arc<dyn Storage>,
    trackers: Vec<Vec<String>>,
    metadata: Bytes,
    private: bool,
    trust: Trust,
    peers: Vec<SocketAddr>,
}

impl Opening {
    fn run(self, journal: impl FnOnce(&Opening) -> Result<Journal, StoreError>) {
        let inner = Arc::clone(&self.inner);
        if let Err(error) = self.open(journal) {
            inner.state.send_replace(TorrentState::Failed(error));
        }
    }

    fn open(self, journal: impl FnOnce(&Opening) -> Result<Journal, StoreError>) -> Result<(), AddError> {
        let journal = journal(&self).map_err(OpenError::from)?;
        let Opening { inner, layout, wanted, digests, storage, trackers, metadata, private, trust, peers } = self;
        let opened = open_torrent(&layout, &digests, journal, storage.as_ref(), trust, &inner.progress)?;
        let geometry = *layout.geometry();
        let there = wanted.common(&opened.have, &geometry);
        let bytes_there = there.map(|piece| u64::from(geometry.piece_len(piece))).sum();
        inner.bytes_there.store(bytes_there, Relaxed);
        let _ = inner.events.send(TorrentEvent::Checked { bytes_there });
        let worker = Worker::new(Arc::clone(&layout), digests, opened.journal);
        let (layout_too, storage_too) = (Arc::clone(&layout), Arc::clone(&storage));
        let attached = Attached { worker, layout: layout_too, storage: storage_too, shard: inner.shard.clone() };
        inner.disks.submit([(inner.key, DiskOrder::Attach(Box::new(attached)))].into_iter());
        let register = ToControl::Register(inner.info_hash, inner.key, inner.shard.clone());
        inner.control.blocking_send(register).map_err(|_| AddError::Stopping)?;
        let info_hash = inner.info_hash;
        let spec = TorrentSpec { info_hash, geometry, have: opened.have, trackers, wants: wants(&layout), metadata, private };
        let (events, state) = (inner.events.clone(), inner.state.clone());
        let new = NewTorrent { spec, layout, storage, peers, events, state };
        inner.shard.blocking_send(ToShard::Add(inner.key, Box::new(new))).map_err(|_| AddError::Stopping)
    }
}

/// What the selected files are, in pieces.
fn wants(layout: &Layout) -> Vec<Want> {
    let is_wanted = |file: &&LayoutFile| file.is_wanted;
    if layout.files().iter().all(|file| is_wanted(&file)) {
        return Vec::new();
    }
    let all = Want::Pieces(0..layout.geometry().piece_count(), Priority::Skip);
    let files = layout.files().iter().filter(is_wanted);
    std::iter::once(all).chain(files.map(|file| Want::Pieces(layout.numbers_of(file), Priority::Normal))).collect()
}

fn bytes(layout: &Layout, pieces: &Bitfield) -> u64 {
    pieces.iter(layout.geometry()).map(|piece| u64::from(layout.geometry().piece_len(piece))).sum()
}

fn store_error(path: &Path, error: &std::io::Error) -> AddError {
    AddError::Store { fault: bt_piece_store::fault_of(error), detail: format!("{}: {error}", path.display()) }
}

impl From<OpenError> for AddError {
    fn from(error: OpenError) -> AddError {
        match error {
            OpenError::Foreign { path } => AddError::Foreign { path },
            OpenError::Store(error) => AddError::Store { fault: error.fault(), detail: error.to_string() },
            OpenError::Cancelled => AddError::Stopping,
        }
    }
}
