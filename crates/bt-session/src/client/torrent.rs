//! A torrent of a session, as the program that uses the session sees it.
//!
//! Decides: what a caller waits for.
//! Must not know: engines' insides.
//! Invariant: clones of a handle are the same torrent.

use crate::client::inner::{Inner, TorrentContext};
use crate::client::opening::{OpenTask, PreparedTorrent};
use crate::client::options::AddOptions;
use crate::mail::events::{AddError, Summary, TorrentEvent, TorrentState};
use crate::mail::to_shard::ToShard;
use bt_engine::{MagnetStatus, Priority, Selection, TorrentStatus};
use bt_metainfo::{Magnet, Metainfo};
use bt_model::TorrentSettings;
use bt_types::InfoHash;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// A torrent that was added. Clones are the same torrent.
#[derive(Clone, Debug)]
pub struct TorrentHandle(Arc<Inner>);

impl TorrentHandle {
    /// Starts a torrent: a thread checks the data on disk, then the torrent joins its swarm.
    pub(crate) fn begin(
        context: TorrentContext,
        metainfo: &Metainfo,
        options: AddOptions,
    ) -> Result<TorrentHandle, AddError> {
        let Some(info_hash) = metainfo.info_hashes.swarm() else {
            return Err(AddError::Unsupported("the torrent has no info-hash".into()));
        };
        let prepared = PreparedTorrent::prepare(metainfo, &options, &context.session)?;
        let inner =
            Arc::new(Inner::new(context, info_hash, TorrentState::Checking, options.settings));
        inner.take_prepared(&prepared, None);
        let opener = OpenTask { inner: Arc::clone(&inner), options };
        inner.step(move || opener.open(prepared, false))?;
        Ok(TorrentHandle(inner))
    }

    /// Starts a magnet link: its metadata is fetched from its swarm.
    pub(crate) fn follow(
        context: TorrentContext,
        magnet: &Magnet,
        options: AddOptions,
    ) -> Result<TorrentHandle, AddError> {
        let Some(info_hash) = magnet.info_hashes.v1 else {
            let why = bt_metainfo::MetainfoError::V2Unsupported;
            return Err(AddError::Unsupported(why.to_string()));
        };
        let state = TorrentState::Finding(MagnetStatus::default());
        let inner = Arc::new(Inner::new(context, info_hash, state, options.settings));
        let opener = OpenTask { inner: Arc::clone(&inner), options };
        let magnet = magnet.clone();
        inner.step(move || opener.follow(magnet))?;
        Ok(TorrentHandle(inner))
    }

    /// Returns whether both are the same torrent, and not one that was added again.
    pub(crate) fn is(&self, other: &TorrentHandle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the info-hash that names its swarm.
    pub fn info_hash(&self) -> InfoHash {
        self.0.shared.info_hash
    }

    /// Watches the state. Counts and rates that changed before the first watcher follow in a
    /// moment.
    pub fn state(&self) -> watch::Receiver<TorrentState> {
        self.0.shared.watch()
    }

    /// Listens to events from now on.
    pub fn events(&self) -> broadcast::Receiver<TorrentEvent> {
        self.0.shared.news.listen()
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
        self.0.shared.settings()
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
        self.0.shared.change(change);
        let _ = self.0.shard.send(ToShard::Set(self.0.shared.key)).await;
    }

    /// Sets a deadline for these pieces: they come first, the earliest before all. `None` removes
    /// it.
    pub async fn need_within(&self, pieces: Range<u32>, time: Option<Duration>) {
        let by = time.map(|time| self.0.session.clock.now() + time);
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
        self.0.stop().await
    }
}
