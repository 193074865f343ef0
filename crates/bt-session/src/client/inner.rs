//! A torrent of a session, as its handles and its opening see it.
//!
//! Decides: the order of stopping.
//! Must not know: engines' insides, how a torrent is opened.
//! Invariant: stopping leaves the swarm before the store is closed, and happens once.

use crate::client::dirs::Dirs;
use crate::client::options::OwnStorage;
use crate::client::state::StateDir;
use crate::mail::changes::Changes;
use crate::mail::clock::Clock;
use crate::mail::disk_order::DiskOrder;
use crate::mail::events::{Summary, TorrentError, TorrentState};
use crate::mail::panics::{Bugs, Place};
use crate::mail::to_control::ToControl;
use crate::mail::to_shard::{Departure, ToShard, View};
use crate::mail::torrent::{SharedTorrent, Watched};
use crate::run::check_pool::CheckPool;
use crate::run::disk::Disks;
use bt_engine::{Input, TorrentKey};
use bt_metainfo::Metainfo;
use bt_model::{Priority, TorrentSettings};
use bt_piece_store::{Layout, Progress};
use bt_types::InfoHash;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, Semaphore, mpsc, oneshot};

/// Opening steps of a torrent at a time: that of a magnet link may not have ended when its metadata
/// arrives.
const STEPS: u32 = 2;

/// What all torrents of a session use.
#[derive(Debug)]
pub(crate) struct SessionContext {
    pub(crate) control: mpsc::Sender<ToControl>,
    pub(crate) disks: Arc<Disks>,
    pub(crate) check_pool: Arc<CheckPool>,
    pub(crate) bugs: Bugs,
    pub(crate) dirs: Dirs,
    pub(crate) state_dir: StateDir,
    pub(crate) clock: Clock,
    pub(crate) changes: Changes,
}

/// What a new torrent gets of its session.
pub(crate) struct TorrentContext {
    pub(crate) key: TorrentKey,
    pub(crate) shard: mpsc::Sender<ToShard>,
    pub(crate) watched: Watched,
    pub(crate) session: Arc<SessionContext>,
}

/// What is known of a torrent once its metadata has arrived.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) layout: Arc<Layout>,
    /// Bytes of the pieces that were wanted when it was opened.
    pub(crate) bytes_wanted: u64,
    pub(crate) metainfo: Arc<Metainfo>,
    /// The directory of the torrent's top.
    pub(crate) root: PathBuf,
    /// The directory that the user named.
    pub(crate) dir: PathBuf,
    /// Nothing is saved for later runs.
    pub(crate) no_resume: bool,
    pub(crate) storage: Option<OwnStorage>,
    /// Files with another path than the torrent says.
    pub(crate) names: BTreeMap<usize, PathBuf>,
}

impl Known {
    /// Returns whether its one file has other names, by hard links.
    pub(crate) fn has_further_names(&self) -> bool {
        let file = self.layout.top().filter(|_| self.layout.is_one_file());
        let found = file.and_then(|top| self.root.join(top).symlink_metadata().ok());
        found.is_some_and(|found| found.is_file() && found.nlink() > 1)
    }
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<SharedTorrent>,
    pub(crate) shard: mpsc::Sender<ToShard>,
    pub(crate) session: Arc<SessionContext>,
    /// What its metadata says, once it is opened.
    known: Mutex<Option<Arc<Known>>>,
    /// Held while the torrent is taken out of its swarm and opened again.
    pub(crate) reopening: Arc<tokio::sync::Mutex<()>>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) bytes_there: AtomicU64,
    /// A permit for each opening step; none is given once the torrent is stopped.
    opening: Arc<Semaphore>,
    summary: OnceCell<Box<Summary>>,
}

impl Known {
    /// Returns where its data is now.
    pub(crate) fn place(&self) -> DataPlace {
        DataPlace { root: self.root.clone(), layout: Layout::clone(&self.layout) }
    }

    pub(crate) fn metainfo(&self) -> Arc<Metainfo> {
        Arc::clone(&self.metainfo)
    }
}

/// Where the data of a torrent is.
pub(crate) struct DataPlace {
    /// The directory of the torrent's top.
    pub(crate) root: PathBuf,
    pub(crate) layout: Layout,
}

impl DataPlace {
    /// Returns the directory to name in a later run: the content itself if it has another name than
    /// the torrent, as it is found only by that name.
    pub(crate) fn dir(&self, metainfo: &Metainfo, names: &BTreeMap<usize, PathBuf>) -> PathBuf {
        let is_named = self.layout.is_one_file() && !names.is_empty();
        let top = self.layout.top().filter(|top| *top != Path::new(&metainfo.info.name));
        top.filter(|_| !is_named).map_or_else(|| self.root.clone(), |top| self.root.join(top))
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("root", &self.root).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}

impl Inner {
    pub(crate) fn new(
        context: TorrentContext,
        info_hash: InfoHash,
        state: TorrentState,
        settings: TorrentSettings,
    ) -> Inner {
        let TorrentContext { key, shard, watched, session } = context;
        Inner {
            shared: Arc::new(SharedTorrent::new(
                key,
                info_hash,
                state,
                settings,
                watched,
                session.changes.clone(),
            )),
            shard,
            session,
            known: Mutex::new(None),
            reopening: Arc::default(),
            progress: Arc::default(),
            bytes_there: AtomicU64::new(0),
            opening: Arc::new(Semaphore::new(STEPS as usize)),
            summary: OnceCell::new(),
        }
    }

    /// Returns what is known of it, once it is opened.
    pub(crate) fn known(&self) -> Option<Arc<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn know(&self, known: Known) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(known));
    }

    /// Orders the disk thread to give the files these priorities. The engine hears of them when
    /// they count.
    pub(crate) fn select(&self, priorities: Vec<Priority>) {
        self.session.disks.submit([(self.shared.key, DiskOrder::Select(priorities))].into_iter());
    }

    /// Asks the shard for a report; `None` once the torrent is over.
    pub(crate) async fn ask<T>(&self, view: impl FnOnce(oneshot::Sender<T>) -> View) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.shard.send(ToShard::View(self.shared.key, view(done))).await.ok()?;
        answer.await.ok()
    }

    /// Runs a step that may block on a thread for such steps. Starts nothing once the torrent is
    /// being stopped.
    pub(crate) fn step(
        self: &Arc<Self>,
        step: impl FnOnce() + Send + 'static,
    ) -> Result<(), TorrentError> {
        let permit =
            Arc::clone(&self.opening).try_acquire_owned().map_err(|_| TorrentError::Stopping)?;
        let inner = Arc::clone(self);
        let run = move || {
            // Dropped before the permit.
            let _ends = EndsInPanic(inner);
            step();
            drop(permit);
        };
        self.session
            .check_pool
            .begin(self.shared.key, run)
            .map_err(|error| TorrentError::store(Path::new("check thread"), &error))
    }

    /// Gives the engine an input, once it knows the torrent.
    pub(crate) async fn tell_engine(&self, input: Input) {
        let _ = self
            .shared
            .state
            .subscribe()
            .wait_for(|state| matches!(state, TorrentState::Active(_)) || state.is_over())
            .await;
        let _ = self.shard.send(ToShard::Input(input)).await;
    }

    /// Leaves the swarm, saves what is known, and returns the totals. A second call returns the
    /// same totals.
    pub(crate) async fn stop(&self) -> Summary {
        Summary::clone(self.summary.get_or_init(async || Box::new(self.close().await)).await)
    }

    /// Leaves the swarm, then closes the store, and returns the totals.
    async fn close(&self) -> Summary {
        self.progress.cancel();
        // Waiting for all permits comes first: a step that runs ends, and no later one is started,
        // as metadata may arrive in this very moment. Then a step that waits for a thread is
        // dropped: else it would wait for those of other torrents.
        let (_all, ()) = tokio::join!(self.opening.acquire_many(STEPS), async {
            self.session.check_pool.forget(self.shared.key)
        });
        self.opening.close();
        let _ = self
            .session
            .control
            .send(ToControl::Unregister(self.shared.info_hash, self.shared.key))
            .await;
        let (done, departure) = oneshot::channel();
        let _ = self.shard.send(ToShard::Remove(self.shared.key, done)).await;
        let Departure { status, sources } = departure.await.unwrap_or_default();
        let (done, detached) = oneshot::channel();
        self.session.disks.submit([(self.shared.key, DiskOrder::Detach(done))].into_iter());
        let unsaved = detached.await.ok().flatten();
        self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The shard never had the torrent if its opening had not begun.
        self.shared.end();
        Summary { bytes_there: self.bytes_there.load(Relaxed), status, sources, unsaved }
    }
}

/// Ends the torrent and counts the panic if its opening panics, so that no watcher waits for ever.
struct EndsInPanic(Arc<Inner>);

impl Drop for EndsInPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.session.bugs.caught(Place::Other);
            self.0.shared.fail(TorrentError::Bug("its opening"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a torrent whose session has no other thread than those that open torrents.
    fn torrent() -> Arc<Inner> {
        let (clock, bugs) = (Clock::start(), Bugs::default());
        let session = SessionContext {
            control: mpsc::channel(1).0,
            disks: Arc::new(Disks::start(1, clock, &bugs).unwrap()),
            check_pool: Arc::default(),
            bugs,
            dirs: Dirs::default(),
            state_dir: StateDir::new(None),
            clock,
            changes: Changes::default(),
        };
        let context = TorrentContext {
            key: TorrentKey(0),
            shard: mpsc::channel(1).0,
            watched: Watched::default(),
            session: Arc::new(session),
        };
        let settings = TorrentSettings::default();
        Arc::new(Inner::new(context, InfoHash([1; 20]), TorrentState::Checking, settings))
    }

    #[test]
    fn a_torrent_whose_opening_panics_is_over() {
        let torrent = torrent();
        let state = torrent.shared.watch();
        torrent.step(|| panic!("a bug, for a test")).unwrap();
        // Waits for the thread, which drops its permit when it is done with the step.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let permits = runtime.block_on(torrent.opening.acquire_many(STEPS)).unwrap();
        assert!(state.borrow().is_over());
        drop(permits);
    }
}
