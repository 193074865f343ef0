//! A torrent of a session, as the program that uses the session sees it.
//!
//! Decides: what a caller waits for.
//! Must not know: engines' insides.
//! Invariant: clones of a handle are the same torrent.

use crate::client::inner::{Inner, TorrentContext};
use crate::client::opening::{OpenTask, Stage};
use crate::client::options::{AddOptions, OwnStorage};
use crate::client::reader::Reader;
use crate::client::reopen::Act;
use crate::mail::events::{Summary, TorrentError, TorrentEvent, TorrentState};
use crate::mail::owner::Claim;
use crate::mail::to_shard::{ToShard, View};
use bt_engine::Input;
use bt_metainfo::{Magnet, Metainfo};
use bt_model::{MagnetView, PeerView, Priority, TorrentSettings, TorrentView, TrackerView};
use bt_piece_store::{LayoutFile, delete_data};
use bt_types::{Bitfield, InfoHash, Source};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// A file of a torrent at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FileView {
    /// Its number in the torrent's list, which [`TorrentSettings::files`] counts by.
    pub number: usize,
    /// Its path below the torrent's directory.
    pub path: PathBuf,
    /// Its length in bytes.
    pub length: u64,
    /// Bytes of it in verified pieces.
    pub bytes_done: u64,
    /// How much the user wants it.
    pub priority: Priority,
}

/// A torrent that was added. Clones are the same torrent.
#[derive(Clone, Debug)]
pub struct TorrentHandle(Arc<Inner>);

impl TorrentHandle {
    /// Starts a torrent: a thread checks the data on disk, then the torrent joins its swarm.
    pub(crate) fn begin(
        context: TorrentContext,
        metainfo: Arc<Metainfo>,
        options: AddOptions,
    ) -> Result<TorrentHandle, TorrentError> {
        let Some(info_hash) = metainfo.info_hashes.swarm() else {
            return Err(TorrentError::Unsupported("the torrent has no info-hash".into()));
        };
        metainfo
            .info
            .require_digests()
            .map_err(|error| TorrentError::Unsupported(error.to_string()))?;
        let settings = options.settings.clone();
        let inner = Arc::new(Inner::new(context, info_hash, TorrentState::Checking, settings));
        let trust = options.trust();
        let opener =
            OpenTask { inner: Arc::clone(&inner), options, trust, stage: Stage::New, place: None };
        inner.step(move || opener.open(metainfo))?;
        Ok(TorrentHandle(inner))
    }

    /// Starts a magnet link: its metadata is fetched from its swarm.
    pub(crate) fn follow(
        context: TorrentContext,
        magnet: &Magnet,
        options: AddOptions,
    ) -> Result<TorrentHandle, TorrentError> {
        let Some(info_hash) = magnet.info_hashes.v1 else {
            let why = bt_metainfo::MetainfoError::V2Unsupported;
            return Err(TorrentError::Unsupported(why.to_string()));
        };
        let state = TorrentState::Finding(MagnetView::default());
        let settings = options.settings.clone();
        let inner = Arc::new(Inner::new(context, info_hash, state, settings));
        let trust = options.trust();
        let opener = OpenTask {
            inner: Arc::clone(&inner),
            options,
            trust,
            stage: Stage::Magnet,
            place: None,
        };
        let magnet = magnet.clone();
        inner.step(move || opener.follow(magnet))?;
        Ok(TorrentHandle(inner))
    }

    /// Returns whether both are the same torrent, and not one that was added again.
    pub(crate) fn is(&self, other: &TorrentHandle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns whether it could not be opened.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(*self.0.shared.state.borrow(), TorrentState::Failed(_))
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

    /// Returns the torrent as its file, or the metadata of its magnet link, describes it, once its
    /// data is being checked.
    pub fn metainfo(&self) -> Option<Arc<Metainfo>> {
        Some(Arc::clone(&self.0.known()?.metainfo))
    }

    /// Returns the directory that contains its data, once that is being checked.
    pub fn dir(&self) -> Option<PathBuf> {
        Some(self.0.known()?.dir.clone())
    }

    /// Returns the bytes of the pieces that were wanted when it was opened: all pieces, or those of
    /// the selected files. 0 until its data is being checked.
    pub fn bytes_wanted(&self) -> u64 {
        self.0.known().map_or(0, |known| known.bytes_wanted)
    }

    /// Returns how many of these bytes were on disk and verified at the start; 0 until that is
    /// known.
    pub fn bytes_there(&self) -> u64 {
        self.0.bytes_there.load(Relaxed)
    }

    /// Waits until the metadata of a magnet link is known.
    pub async fn wait_metadata(&self) -> Result<Arc<Metainfo>, TorrentError> {
        let mut state = self.state();
        let found = state.wait_for(|state| {
            !matches!(state, TorrentState::Finding(_)) && self.metainfo().is_some()
                || state.is_over()
        });
        let over = match found.await.as_deref() {
            Ok(TorrentState::Failed(error)) => error.clone(),
            _ => TorrentError::Stopping,
        };
        self.metainfo().ok_or(over)
    }

    /// Waits until the data is checked and the torrent is in its swarm.
    pub async fn wait_active(&self) -> Result<TorrentView, TorrentError> {
        self.wait_for(|_| true).await
    }

    /// Waits until every wanted piece is verified and written.
    pub async fn wait_complete(&self) -> Result<TorrentView, TorrentError> {
        self.wait_for(TorrentView::is_done).await
    }

    /// Returns the numbers of the pieces that hold a byte of the file with this number in the
    /// torrent's list.
    pub fn pieces_of(&self, file: usize) -> Option<Range<u32>> {
        let layout = &self.0.known()?.layout;
        layout.files().get(file).map(|file| layout.numbers_of(file))
    }

    /// Returns the files, and how much of each is there; empty until its data is being checked.
    pub async fn files(&self) -> Vec<FileView> {
        let Some(known) = self.0.known() else { return Vec::new() };
        let settings = self.settings();
        let layout = &known.layout;
        let have = self.0.ask(View::Pieces).await;
        let have = have.unwrap_or_else(|| Bitfield::empty(layout.geometry().piece_count()));
        let view = |(number, file): (usize, &LayoutFile)| FileView {
            number,
            path: file.path.clone(),
            length: file.length,
            bytes_done: layout.bytes_of(file, &have),
            priority: settings.file(number),
        };
        layout.files().iter().enumerate().filter(|(_, file)| file.is_stored).map(view).collect()
    }

    /// Returns what is known of it at this moment; `None` while it is not active.
    pub async fn view(&self) -> Option<TorrentView> {
        self.0.ask(View::Torrent).await.map(|view| *view)
    }

    /// Returns a reader of the file with this number in the torrent's list. Its pieces are fetched
    /// before all others, from the place on that is read; a file that is skipped is not fetched.
    /// `None` if there is no such file, or before its data is being checked.
    pub fn reader(&self, file: usize) -> Option<Reader> {
        Reader::new(Arc::clone(&self.0), file)
    }

    /// Returns the connected peers.
    pub async fn peers(&self) -> Vec<PeerView> {
        self.0.ask(View::Peers).await.unwrap_or_default()
    }

    /// Returns the trackers, in the order in which they are asked.
    pub async fn trackers(&self) -> Vec<TrackerView> {
        self.0.ask(View::Trackers).await.unwrap_or_default()
    }

    /// Returns the pieces that are verified and written; `None` until its data was checked, and
    /// once it is stopped.
    pub async fn pieces(&self) -> Option<Bitfield> {
        self.0.ask(View::Pieces).await
    }

    /// Adds peers to connect to. Before the torrent is in its swarm, 100 of them are kept for then.
    pub async fn add_peers(&self, peers: Vec<SocketAddr>) {
        let Some(peers) = self.0.shared.keep_early_peers(peers) else { return };
        let found = Input::PeersFound(self.0.shared.key, Source::User, peers);
        let _ = self.0.shard.send(ToShard::Input(found)).await;
    }

    /// Asks its trackers, the DHT and the local network for peers, as soon as they welcome it.
    pub async fn reannounce(&self) {
        let _ = self.0.shard.send(ToShard::Input(Input::Reannounce(self.0.shared.key))).await;
    }

    /// Hashes all its data again, and fetches again what is not right. Returns when that is known.
    pub async fn check(&self) -> Result<TorrentView, TorrentError> {
        self.0.reopen(Act::Check).await?;
        self.wait_active().await
    }

    /// Moves its data to another directory, and works on from there. On the same file system the
    /// files are renamed. Else they are copied, synced, hashed, and compared with the originals
    /// before these go. After an error the torrent goes on from where its data was. Links, and
    /// files behind links to directories, are not moved.
    pub async fn move_to(&self, dir: impl Into<PathBuf>) -> Result<TorrentView, TorrentError> {
        self.0.reopen(Act::Move(dir.into())).await?;
        self.wait_active().await
    }

    /// Gives the file with this number in the torrent's list another path, below the torrent's own
    /// directory. [`TorrentHandle::names`] must be given to a later run
    /// ([`AddOptions::names`]).
    pub async fn rename_file(
        &self,
        file: usize,
        path: impl Into<PathBuf>,
    ) -> Result<TorrentView, TorrentError> {
        self.0.reopen(Act::Rename(file, path.into())).await?;
        self.wait_active().await
    }

    /// Gives the directory of all files another name, and returns once the torrent is open with it.
    /// A torrent that is one file has none: [`TorrentHandle::rename_file`] renames that.
    pub async fn rename_top(&self, name: impl Into<OsString>) -> Result<TorrentView, TorrentError> {
        self.0.reopen(Act::RenameTop(name.into())).await?;
        self.wait_active().await
    }

    /// Returns the files with another path than the torrent says, by their number in its list.
    pub fn names(&self) -> BTreeMap<usize, PathBuf> {
        self.0.known().map(|known| known.names.clone()).unwrap_or_default()
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

    /// Changes the settings in one step.
    pub async fn change(&self, change: impl FnOnce(&mut TorrentSettings)) {
        if let Some(priorities) = self.0.shared.change(change) {
            self.0.select(priorities);
        }
        let _ = self.0.shard.send(ToShard::Set(self.0.shared.key)).await;
    }

    /// Sets a deadline for these pieces: they come first, the earliest before all. `None` removes
    /// it.
    pub async fn need_within(&self, pieces: Range<u32>, time: Option<Duration>) {
        let by = time.map(|time| self.0.session.clock.now() + time);
        self.0.tell_engine(Input::Deadline(self.0.shared.key, pieces, by)).await;
    }

    /// Returns the path of the data of a torrent of one file, without links to directories.
    pub(crate) fn only_file(&self) -> Option<PathBuf> {
        let known = self.0.known().filter(|known| known.layout.is_one_file())?;
        Some(known.root.canonicalize().ok()?.join(known.layout.top()?))
    }

    /// Returns whether that is this path. The file system is asked only where the name is the same:
    /// there may be ten thousand torrents.
    pub(crate) fn is_only_file(&self, path: &Path) -> bool {
        let has_name = self.0.known().is_some_and(|known| {
            known.layout.is_one_file()
                && known.layout.top().map(Path::as_os_str) == path.file_name()
        });
        has_name && self.only_file().as_deref() == Some(path)
    }

    /// Deletes the data of a torrent that is stopped. `is_own_name`: no other torrent of the
    /// session has the path of its one file.
    pub(crate) async fn delete_data(&self, is_own_name: bool) -> Result<(), TorrentError> {
        let Some(known) = self.0.known() else { return Ok(()) };
        let inner = Arc::clone(&self.0);
        let delete = move || {
            let at = |error: std::io::Error| TorrentError::store(&known.root, &error);
            if let Some(OwnStorage(own)) = &known.storage {
                let files = known.layout.files().iter().filter(|file| file.is_stored);
                return files
                    .filter(|file| matches!(own.len(&file.path), Ok(Some(_))))
                    .try_for_each(|file| own.remove(&file.path).map_err(at));
            }
            let _alone = match inner.have_alone(&known) {
                // Who reads the file by another name keeps that.
                Err(TorrentError::Owned { is_written: false, .. })
                    if is_own_name && known.has_further_names() =>
                {
                    Claim::default()
                }
                claim => claim?,
            };
            delete_data(&known.layout, &known.root).map_err(at)?;
            inner.session.state_dir.forget(inner.shared.info_hash, &known.root).map_err(at)
        };
        tokio::task::spawn_blocking(delete)
            .await
            .unwrap_or(Err(TorrentError::Bug("the deletion of its data")))
    }

    async fn wait_for(
        &self,
        enough: impl Fn(&TorrentView) -> bool,
    ) -> Result<TorrentView, TorrentError> {
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
            _ => Err(TorrentError::Stopping),
        }
    }

    /// Leaves the swarm, saves what is known, and returns the totals. A second call returns the
    /// same totals.
    pub async fn stop(&self) -> Summary {
        self.0.stop().await
    }
}
