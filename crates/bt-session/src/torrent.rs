//! A torrent of a session, as the program that uses the session sees it.
//!
//! Decides: the order of starting and stopping.
//! Must not know: engines' insides.
//! Invariant: stopping leaves the swarm before the store is closed, and happens once.

use crate::check_pool::CheckPool;
use crate::clock::Clock;
use crate::control::ToControl;
use crate::dirs::Dirs;
use crate::disk::{DiskOrder, Disks};
use crate::events::{AddError, News, Summary, TorrentEvent, TorrentState};
use crate::opening::{OpenTask, PreparedTorrent, store_error};
use crate::panics::{Bugs, Place};
use crate::shard::{Departure, ToShard};
use crate::state::{Lock, StateDir};
use bt_engine::{Input, MagnetStatus, Priority, Selection, TorrentKey, TorrentStatus};
use bt_metainfo::{Magnet, Metainfo};
use bt_model::TorrentSettings;
use bt_piece_store::{Layout, Progress};
use bt_types::InfoHash;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore, broadcast, mpsc, oneshot, watch};

/// Opening steps of a torrent at a time: that of a magnet link may not have ended when its metadata
/// arrives.
pub(crate) const STEPS: u32 = 2;

/// How a torrent is added.
#[derive(Clone, Debug)]
pub struct AddOptions {
    /// The directory that contains the torrent's name, or will; or the content itself.
    pub dir: PathBuf,
    /// Peers to begin with.
    pub peers: Vec<SocketAddr>,
    /// Trust the files on disk without hashing them.
    pub trust_data: bool,
    /// Forget what earlier runs saved, and save nothing for later ones.
    pub no_resume: bool,
    /// Which of its files are wanted. A piece that a wanted file shares with another file is
    /// fetched whole.
    pub select: Select,
    /// Of a magnet link, fetch only the metadata.
    pub metadata_only: bool,
    /// Whether it runs, its rate limits, and the order of its pieces.
    pub settings: TorrentSettings,
}

/// Which files of a torrent are wanted.
#[derive(Clone, Default)]
pub enum Select {
    /// All of them; of a magnet link those that it selects itself (BEP 53).
    #[default]
    All,
    /// The files with these numbers in the torrent's list.
    Files(BTreeSet<usize>),
    /// The files that this function chooses once the torrent is known; `None` is all of them.
    By(Arc<Chooser>),
}

/// Chooses the numbers of the wanted files, or says why it cannot.
pub type Chooser = dyn Fn(&Metainfo) -> Result<Option<BTreeSet<usize>>, String> + Send + Sync;

impl std::fmt::Debug for Select {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Select::All => f.write_str("All"),
            Select::Files(files) => f.debug_tuple("Files").field(files).finish(),
            Select::By(_) => f.write_str("By(..)"),
        }
    }
}

impl AddOptions {
    /// Makes options to download to, or seed from, this directory.
    pub fn new(dir: impl Into<PathBuf>) -> AddOptions {
        AddOptions {
            dir: dir.into(),
            peers: Vec::new(),
            trust_data: false,
            no_resume: false,
            select: Select::All,
            metadata_only: false,
            settings: TorrentSettings::default(),
        }
    }
}

/// A torrent that was added. Clones are the same torrent.
#[derive(Clone, Debug)]
pub struct TorrentHandle(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) key: TorrentKey,
    pub(crate) info_hash: InfoHash,
    pub(crate) shard: mpsc::Sender<ToShard>,
    pub(crate) control: mpsc::Sender<ToControl>,
    pub(crate) disks: Arc<Disks>,
    clock: Clock,
    /// What its metadata says; set later for a magnet link.
    pub(crate) known: OnceLock<Known>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) bytes_there: AtomicU64,
    pub(crate) state: watch::Sender<TorrentState>,
    pub(crate) news: News,
    /// Tells the shard of new watchers.
    watched: Watched,
    check_pool: Arc<CheckPool>,
    bugs: Bugs,
    pub(crate) lock: Mutex<Option<Lock>>,
    /// What the user wants of it. The shard reads it when it is told of a change, and when it gives
    /// the torrent to an engine.
    settings: Mutex<TorrentSettings>,
    /// A permit for each opening step; none is given once the torrent is stopped.
    pub(crate) opening: Arc<Semaphore>,
    summary: OnceCell<Box<Summary>>,
}

/// Torrents of a shard that have a new watcher. The shard looks at them when it next publishes.
pub(crate) type Watched = Arc<Mutex<BTreeSet<TorrentKey>>>;

/// What is known of a torrent once its metadata has arrived.
pub(crate) struct Known {
    pub(crate) layout: Arc<Layout>,
    /// Bytes of the pieces that were wanted when it was added.
    pub(crate) bytes_wanted: u64,
    /// The torrent that a magnet link led to.
    pub(crate) of_magnet: Option<Arc<Metainfo>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Torrent").field("info_hash", &self.info_hash).finish_non_exhaustive()
    }
}

/// What a torrent needs of its session.
pub(crate) struct TorrentContext {
    pub(crate) key: TorrentKey,
    pub(crate) shard: mpsc::Sender<ToShard>,
    pub(crate) watched: Watched,
    pub(crate) control: mpsc::Sender<ToControl>,
    pub(crate) disks: Arc<Disks>,
    pub(crate) check_pool: Arc<CheckPool>,
    pub(crate) bugs: Bugs,
    pub(crate) dirs: Dirs,
    pub(crate) state_dir: StateDir,
    pub(crate) clock: Clock,
}

impl TorrentHandle {
    /// Starts a torrent: a thread checks the data on disk, then the torrent joins its swarm.
    pub(crate) fn begin(
        home: TorrentContext,
        metainfo: &Metainfo,
        options: AddOptions,
    ) -> Result<TorrentHandle, AddError> {
        let Some(info_hash) = metainfo.info_hashes.swarm() else {
            return Err(AddError::Unsupported("the torrent has no info-hash".into()));
        };
        let prepared =
            PreparedTorrent::prepare(metainfo, &options, &home.dirs, home.state_dir.clone())?;
        let inner = Arc::new(Inner::new(home, info_hash, TorrentState::Checking, options.settings));
        inner.take_prepared(&prepared, None);
        let opener = OpenTask { inner: Arc::clone(&inner), options };
        inner.step(move || opener.open(prepared, false))?;
        Ok(TorrentHandle(inner))
    }

    /// Starts a magnet link: its metadata is fetched from its swarm.
    pub(crate) fn follow(
        home: TorrentContext,
        magnet: &Magnet,
        options: AddOptions,
    ) -> Result<TorrentHandle, AddError> {
        let Some(info_hash) = magnet.info_hashes.v1 else {
            let why = bt_metainfo::MetainfoError::V2Unsupported;
            return Err(AddError::Unsupported(why.to_string()));
        };
        let (dirs, state_dir) = (home.dirs.clone(), home.state_dir.clone());
        let state = TorrentState::Finding(MagnetStatus::default());
        let inner = Arc::new(Inner::new(home, info_hash, state, options.settings));
        let opener = OpenTask { inner: Arc::clone(&inner), options };
        let magnet = magnet.clone();
        inner.step(move || opener.follow(magnet, dirs, state_dir))?;
        Ok(TorrentHandle(inner))
    }

    /// Returns whether both are the same torrent, and not one that was added again.
    pub(crate) fn is(&self, other: &TorrentHandle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the info-hash that names its swarm.
    pub fn info_hash(&self) -> InfoHash {
        self.0.info_hash
    }

    /// Watches the state. Counts and rates that changed before the first watcher follow in a
    /// moment.
    pub fn state(&self) -> watch::Receiver<TorrentState> {
        self.0.watch()
    }

    /// Listens to events from now on.
    pub fn events(&self) -> broadcast::Receiver<TorrentEvent> {
        self.0.news.listen()
    }

    /// Returns the progress of the data's check: bytes checked, and bytes to check.
    pub fn check_progress(&self) -> (u64, u64) {
        (self.0.progress.done(), self.0.progress.total())
    }

    /// Returns the torrent that a magnet link led to, once it is known.
    pub fn metainfo(&self) -> Option<Arc<Metainfo>> {
        self.0.known.get()?.of_magnet.clone()
    }

    /// Returns the bytes of the pieces that were wanted when it was added: all pieces, or those of
    /// the selected files. 0 while the metadata of a magnet link is being fetched.
    pub fn bytes_wanted(&self) -> u64 {
        self.0.known.get().map_or(0, |known| known.bytes_wanted)
    }

    /// Returns how many of these bytes were on disk and verified at the start; 0 until that is
    /// known.
    pub fn bytes_there(&self) -> u64 {
        self.0.bytes_there.load(Relaxed)
    }

    /// Waits until the metadata of a magnet link is known.
    pub async fn wait_metadata(&self) -> Result<Arc<Metainfo>, AddError> {
        let mut state = self.state();
        let found = state.wait_for(|state| {
            !matches!(state, TorrentState::Finding(_)) && self.metainfo().is_some()
                || state.is_over()
        });
        let over = match found.await.as_deref() {
            Ok(TorrentState::Failed(error)) => error.clone(),
            _ => AddError::Stopping,
        };
        self.metainfo().ok_or(over)
    }

    /// Waits until the data is checked and the torrent is in its swarm.
    pub async fn wait_active(&self) -> Result<TorrentStatus, AddError> {
        self.wait_for(|_| true).await
    }

    /// Waits until every wanted piece is verified and written.
    pub async fn wait_complete(&self) -> Result<TorrentStatus, AddError> {
        self.wait_for(TorrentStatus::is_done).await
    }

    /// Returns the numbers of the pieces that hold a byte of the file with this number in the
    /// torrent's list.
    pub fn pieces_of(&self, file: usize) -> Option<Range<u32>> {
        let layout = &self.0.known.get()?.layout;
        layout.files().get(file).map(|file| layout.numbers_of(file))
    }

    /// Sets the priority of these pieces.
    pub async fn want(&self, pieces: Range<u32>, priority: Priority) {
        self.0.want(Selection::Priority(pieces, priority)).await;
    }

    /// Returns what the user wants of it.
    pub fn settings(&self) -> TorrentSettings {
        self.0.settings()
    }

    /// Makes the torrent as the user wants it, also before its data is checked. Settings that it
    /// has already change nothing.
    pub async fn set(&self, settings: TorrentSettings) {
        self.change(|wanted| *wanted = settings).await;
    }

    /// Leaves the swarm for a while: closes its connections and tells its trackers `stopped`. What
    /// it has is kept. A torrent whose data is being checked pauses afterwards.
    pub async fn pause(&self) {
        self.change(|wanted| wanted.running = false).await;
    }

    /// Joins the swarm again after [`TorrentHandle::pause`].
    pub async fn resume(&self) {
        self.change(|wanted| wanted.running = true).await;
    }

    /// Changes the settings in one step, and tells the shard to read them.
    async fn change(&self, change: impl FnOnce(&mut TorrentSettings)) {
        change(&mut self.0.settings.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = self.0.shard.send(ToShard::Set(self.0.key)).await;
    }

    /// Sets a deadline for these pieces: they come first, the earliest before all. `None` removes
    /// it.
    pub async fn need_within(&self, pieces: Range<u32>, time: Option<Duration>) {
        let by = time.map(|time| self.0.clock.now() + time);
        self.0.want(Selection::Deadline(pieces, by)).await;
    }

    async fn wait_for(
        &self,
        enough: impl Fn(&TorrentStatus) -> bool,
    ) -> Result<TorrentStatus, AddError> {
        let mut state = self.state();
        let found = state
            .wait_for(|state| match state {
                TorrentState::Finding(_) | TorrentState::Checking => false,
                TorrentState::Active(status) => enough(status),
                TorrentState::Known | TorrentState::Failed(_) | TorrentState::Stopped => true,
            })
            .await;
        match found.as_deref() {
            Ok(TorrentState::Active(status)) => Ok(status.clone()),
            Ok(TorrentState::Failed(error)) => Err(error.clone()),
            _ => Err(AddError::Stopping),
        }
    }

    /// Leaves the swarm, saves what is known, and returns the totals. A second call returns the
    /// same totals.
    pub async fn stop(&self) -> Summary {
        Summary::clone(self.0.summary.get_or_init(async || Box::new(self.0.stop().await)).await)
    }
}

impl Inner {
    pub(crate) fn new(
        home: TorrentContext,
        info_hash: InfoHash,
        state: TorrentState,
        settings: TorrentSettings,
    ) -> Inner {
        Inner {
            key: home.key,
            info_hash,
            shard: home.shard,
            control: home.control,
            disks: home.disks,
            clock: home.clock,
            known: OnceLock::new(),
            progress: Arc::default(),
            bytes_there: AtomicU64::new(0),
            state: watch::Sender::new(state),
            news: News::default(),
            watched: home.watched,
            check_pool: home.check_pool,
            bugs: home.bugs,
            lock: Mutex::new(None),
            settings: Mutex::new(settings),
            opening: Arc::new(Semaphore::new(STEPS as usize)),
            summary: OnceCell::new(),
        }
    }

    pub(crate) fn settings(&self) -> TorrentSettings {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Runs a step that may block on a thread for such steps. Starts nothing once the torrent is
    /// being stopped.
    pub(crate) fn step(
        self: &Arc<Self>,
        step: impl FnOnce() + Send + 'static,
    ) -> Result<(), AddError> {
        let permit =
            Arc::clone(&self.opening).try_acquire_owned().map_err(|_| AddError::Stopping)?;
        let inner = Arc::clone(self);
        let run = move || {
            // Dropped before the permit.
            let _ends = EndsInPanic(inner);
            step();
            drop(permit);
        };
        self.check_pool
            .begin(self.key, run)
            .map_err(|error| store_error(Path::new("check thread"), &error))
    }

    /// Tells the engine, once it knows the torrent.
    async fn want(&self, want: Selection) {
        let _ = self
            .state
            .subscribe()
            .wait_for(|state| matches!(state, TorrentState::Active(_)) || state.is_over())
            .await;
        let _ = self.shard.send(ToShard::Input(Input::Select(self.key, vec![want]))).await;
    }

    /// Ends the torrent's state as stopped, unless it was over before.
    pub(crate) fn end(&self) {
        self.end_as(TorrentState::Stopped);
    }

    /// Ends the torrent's state with an error, unless it was over before.
    pub(crate) fn fail(&self, error: AddError) {
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
    }

    async fn stop(&self) -> Summary {
        self.progress.cancel();
        // Waiting for all permits comes first: a step that runs ends, and no later one is started,
        // as metadata may arrive in this very moment. Then a step that waits for a thread is
        // dropped: else it would wait for those of other torrents.
        let (_all, ()) = tokio::join!(self.opening.acquire_many(STEPS), async {
            self.check_pool.forget(self.key)
        });
        self.opening.close();
        let _ = self.control.send(ToControl::Unregister(self.info_hash, self.key)).await;
        let (done, departure) = oneshot::channel();
        let _ = self.shard.send(ToShard::Remove(self.key, done)).await;
        let Departure { status, sources } = departure.await.unwrap_or_default();
        let (done, detached) = oneshot::channel();
        self.disks.submit([(self.key, DiskOrder::Detach(done))].into_iter());
        let unsaved = detached.await.ok().flatten();
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The shard never had the torrent if its opening had not begun.
        self.end();
        Summary { bytes_there: self.bytes_there.load(Relaxed), status, sources, unsaved }
    }
}

/// Ends the torrent and counts the panic if its opening panics, so that no watcher waits for ever.
struct EndsInPanic(Arc<Inner>);

impl Drop for EndsInPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.bugs.caught(Place::Other);
            self.0.fail(AddError::Bug("its opening"));
        }
    }
}
