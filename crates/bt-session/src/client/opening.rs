//! Opens an added torrent, on a thread for that: its data is checked, then it joins its swarm.
//!
//! Decides: the order of the steps; which files are wanted.
//! Must not know: engines' insides, sockets.
//! Invariant: nothing is created on the disk before we know that we can transfer the torrent. A
//! torrent that has left meanwhile does not come back.

use crate::client::inner::{DataPlace, Inner, Known, SessionContext};
use crate::client::options::{AddOptions, OwnStorage, Select};
use crate::client::state::{StateDir, stem};
use crate::mail::disk_order::{Attached, DiskOrder};
use crate::mail::events::{TorrentError, TorrentEvent, TorrentState};
use crate::mail::owner::{Claim, Lock};
use crate::mail::to_control::ToControl;
use crate::mail::to_shard::{NewMagnet, NewTorrent, ToShard};
use bt_engine::{MagnetSpec, TorrentSpec};
use bt_metainfo::{Magnet, Metainfo, PieceDigests};
use bt_model::{Priority, TorrentSettings};
use bt_piece_store::{
    Directory, DiskStorage, Layout, LayoutFile, OpenError, Storage, Trust, Worker, locate,
    open_torrent,
};
use bt_types::{Bitfield, InfoHash};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

/// Most peers that are taken from a magnet link.
const PEERS_MAX: usize = 100;

/// Where a torrent's data is, or will be, and which pieces are wanted.
struct PreparedTorrent {
    info_hash: InfoHash,
    layout: Arc<Layout>,
    wanted: Bitfield,
    /// The priority of each file.
    priorities: Vec<Priority>,
    digests: Arc<PieceDigests>,
    /// The directory of the torrent's top; `None` for a storage of the program's own.
    dir: Option<Arc<Directory>>,
    trackers: Vec<Vec<String>>,
    metadata: Bytes,
    private: bool,
    root: PathBuf,
    state_dir: StateDir,
    lock: Mutex<Option<Lock>>,
}

impl PreparedTorrent {
    /// Finds the place of the data, and takes the torrent's lock there.
    fn prepare(
        metainfo: &Metainfo,
        options: &AddOptions,
        place: Option<DataPlace>,
        settings: &TorrentSettings,
        session: &SessionContext,
    ) -> Result<PreparedTorrent, TorrentError> {
        let digests = metainfo
            .info
            .require_digests()
            .map_err(|error| TorrentError::Unsupported(error.to_string()))?;
        let info_hash = metainfo
            .info_hashes
            .v1
            .ok_or_else(|| TorrentError::Unsupported("the torrent has no info-hash".into()))?;
        let dir_error = |error: std::io::Error| TorrentError::store(&options.dir, &error);
        let (root, mut layout) = match (place, &options.storage) {
            (Some(place), _) => (place.root, place.layout),
            (None, None) => locate(&options.dir, &metainfo.info).map_err(dir_error)?,
            (None, Some(_)) => (options.dir.clone(), Layout::new(&metainfo.info)),
        };
        let named = layout.rename_all(&metainfo.info, &root, &options.names);
        named.map_err(|error| TorrentError::Name(error.to_string()))?;
        let selected = match &options.select {
            Select::All => None,
            Select::Files(files) => Some(files.clone()),
            Select::By(choose) => choose(metainfo).map_err(TorrentError::Selection)?,
        };
        let priorities = match selected {
            Some(files) => priorities(settings, &layout, &files),
            None => settings.files.clone(),
        };
        layout.select(&Priority::wanted(&priorities, layout.files().len()));
        let (mut dir, mut lock) = (None, Lock::none());
        let mut state_dir = StateDir::new(None);
        if options.storage.is_none() {
            dir = Some(session.dirs.hold(&root)?);
            let held = session.state_dir.lock(info_hash, &root).map_err(dir_error)?;
            lock = held.ok_or_else(|| TorrentError::Locked { dir: root.clone() })?;
            if options.no_resume {
                session.state_dir.remove_journal(&stem(info_hash, &root)).map_err(dir_error)?;
            } else {
                state_dir = session.state_dir.clone();
            }
        }
        Ok(PreparedTorrent {
            info_hash,
            wanted: layout.wanted(),
            priorities,
            layout: Arc::new(layout),
            digests,
            dir,
            trackers: metainfo.trackers.clone(),
            metadata: metainfo.info_bytes.clone(),
            private: metainfo.private,
            root,
            state_dir,
            lock: Mutex::new(Some(lock)),
        })
    }
}

impl Inner {
    /// Notes what is known of the torrent now, and takes over its lock. `before` are the settings
    /// with which it was prepared.
    fn take_prepared(
        &self,
        prepared: &PreparedTorrent,
        metainfo: Arc<Metainfo>,
        options: &AddOptions,
        before: &TorrentSettings,
    ) {
        self.know(Known {
            layout: Arc::clone(&prepared.layout),
            bytes_wanted: bytes(&prepared.layout, &prepared.wanted),
            metainfo,
            root: prepared.root.clone(),
            dir: options.dir.clone(),
            no_resume: options.no_resume,
            storage: options.storage.clone(),
            names: options.names.clone(),
        });
        // Not if the user has chosen other files meanwhile.
        self.shared.change(|settings| {
            if settings.files == before.files {
                settings.files.clone_from(&prepared.priorities);
            }
        });
        let lock = prepared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        *self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock;
    }
}

/// How far a torrent is when it is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// No other thread knows of it.
    New,
    /// It is in its swarm as a magnet link.
    Magnet,
    /// Its shard has it, and no engine: it is opened again.
    Again,
}

/// A task that opens a torrent.
pub(crate) struct OpenTask {
    pub(crate) inner: Arc<Inner>,
    pub(crate) options: AddOptions,
    pub(crate) trust: Trust,
    pub(crate) stage: Stage,
    /// Where its data is, if that is known: it is looked for otherwise.
    pub(crate) place: Option<DataPlace>,
}

impl OpenTask {
    /// Finds the data, checks it, and joins the swarm.
    pub(crate) fn open(self, metainfo: Arc<Metainfo>) {
        let (inner, stage) = (Arc::clone(&self.inner), self.stage);
        if let Err(error) = self.try_open(metainfo) {
            fail(&inner, error, stage);
        }
    }

    /// Finds the data, checks it, and joins the swarm; an error is the caller's to report.
    pub(crate) fn try_open(mut self, metainfo: Arc<Metainfo>) -> Result<(), TorrentError> {
        let (inner, place) = (Arc::clone(&self.inner), self.place.take());
        let before = inner.shared.settings();
        let prepared =
            PreparedTorrent::prepare(&metainfo, &self.options, place, &before, &inner.session)?;
        inner.take_prepared(&prepared, metainfo, &self.options, &before);
        if self.stage == Stage::Magnet {
            inner.shared.news.tell(TorrentEvent::Metadata);
        }
        self.join(prepared).inspect_err(|_| {
            inner.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        })
    }

    fn join(self, prepared: PreparedTorrent) -> Result<(), TorrentError> {
        let OpenTask { inner, options, trust, stage, .. } = self;
        let PreparedTorrent {
            info_hash,
            layout,
            wanted,
            priorities,
            digests,
            dir,
            trackers,
            metadata,
            private,
            root,
            state_dir,
            ..
        } = prepared;
        let journal = state_dir
            .journal(&inner.session.dirs, info_hash, &root, layout.geometry())
            .map_err(OpenError::from)?;
        let open_files = inner.session.dirs.open_files();
        let storage: Arc<dyn Storage> = match (options.storage, &dir) {
            (Some(OwnStorage(own)), _) => own,
            (None, Some(dir)) => {
                Arc::new(DiskStorage::below(Arc::clone(dir)).over_links().sharing(open_files))
            }
            (None, None) => return Err(TorrentError::Stopping),
        };
        let mut claim = Claim::default();
        let opened = open_torrent(
            &layout,
            &digests,
            journal,
            storage.as_ref(),
            trust,
            &inner.progress,
            &mut |how| {
                if let Some(dir) = &dir {
                    let top = layout.top().unwrap_or(Path::new(""));
                    claim = Claim::take(dir, top, layout.is_one_file(), how)?;
                }
                Ok(())
            },
        )?;
        let geometry = *layout.geometry();
        let there = wanted.common(&opened.have, &geometry);
        let bytes_there = there.map(|piece| u64::from(geometry.piece_len(piece))).sum();
        inner.bytes_there.store(bytes_there, Relaxed);
        if opened.was_deleted {
            inner.shared.news.tell(TorrentEvent::Deleted);
        }
        inner.shared.news.tell(TorrentEvent::Checked { bytes_there });
        let worker = Worker::new(Arc::clone(&layout), digests, opened.journal);
        let (layout_too, storage_too) = (Arc::clone(&layout), Arc::clone(&storage));
        let attached = Attached {
            worker,
            layout: layout_too,
            storage: storage_too,
            shard: inner.shard.clone(),
            claim,
            dir,
        };
        inner
            .session
            .disks
            .submit([(inner.shared.key, DiskOrder::Attach(Box::new(attached)))].into_iter());
        if stage == Stage::New {
            inner.register()?;
        }
        let spec = TorrentSpec {
            info_hash,
            geometry,
            have: opened.have,
            trackers,
            settings: TorrentSettings { files: priorities.clone(), ..inner.shared.settings() },
            files: files_of(&layout),
            metadata,
            private,
        };
        let new = NewTorrent {
            torrent: Arc::clone(&inner.shared),
            spec,
            layout,
            storage,
            peers: options.peers,
            is_known: stage != Stage::New,
        };
        inner
            .shard
            .blocking_send(ToShard::Add(inner.shared.key, Box::new(new)))
            .map_err(|_| TorrentError::Stopping)?;
        // The user may have chosen other files while the data was checked.
        let chosen = inner.shared.settings().files;
        if chosen != priorities {
            inner.select(chosen);
        }
        Ok(())
    }

    /// Joins the swarm of a magnet link.
    pub(crate) fn follow(self, mut magnet: Magnet) {
        let inner = Arc::clone(&self.inner);
        // A link knows no tiers: each of its trackers becomes one.
        let trackers: Vec<Vec<String>> =
            magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
        let mut named = std::mem::take(&mut magnet.peers);
        named.truncate(PEERS_MAX);
        let peers = self.options.peers.clone();
        let continuation = MagnetContinuation { opener: self, magnet };
        let new = NewMagnet {
            spec: MagnetSpec {
                info_hash: inner.shared.info_hash,
                settings: inner.shared.settings(),
                trackers,
            },
            peers,
            torrent: Arc::clone(&inner.shared),
            on_metadata: Box::new(move |metadata| continuation.begin(metadata)),
        };
        let begin = || {
            inner.register()?;
            inner
                .shard
                .blocking_send(ToShard::AddMagnet(inner.shared.key, Box::new(new)))
                .map_err(|_| TorrentError::Stopping)?;
            inner
                .session
                .control
                .blocking_send(ToControl::Peers(inner.shared.key, named))
                .map_err(|_| TorrentError::Stopping)
        };
        if let Err(error) = begin() {
            inner.shared.set_state(TorrentState::Failed(error));
        }
    }
}

/// The continuation of a magnet link when its metadata has arrived.
struct MagnetContinuation {
    opener: OpenTask,
    magnet: Magnet,
}

impl MagnetContinuation {
    /// Starts to open the torrent, unless it is being stopped.
    fn begin(self, metadata: Bytes) {
        let inner = Arc::clone(&self.opener.inner);
        let begun = inner.step(move || {
            self.opener.inner.shared.set_state(TorrentState::Checking);
            self.open(&metadata);
        });
        if let Err(error) = begun {
            inner.shared.set_state(TorrentState::Failed(error));
        }
    }

    fn open(self, metadata: &[u8]) {
        let MagnetContinuation { mut opener, magnet } = self;
        let inner = Arc::clone(&opener.inner);
        let mut known = || {
            let metainfo = metainfo_of(&magnet, metadata)?;
            if matches!(opener.options.select, Select::All) && !magnet.files.is_empty() {
                opener.options.select = Select::Files(selected(&magnet, &metainfo)?);
            }
            Ok(Arc::new(metainfo))
        };
        let metainfo = match known() {
            Ok(metainfo) => metainfo,
            Err(error) => return fail(&inner, error, Stage::Magnet),
        };
        if metainfo.private {
            let _ = inner.session.control.blocking_send(ToControl::Hide(inner.shared.key));
        }
        if opener.options.metadata_only {
            let layout = Arc::new(Layout::new(&metainfo.info));
            let bytes_wanted = metainfo.info.geometry.total();
            let (dir, no_resume) = (opener.options.dir, opener.options.no_resume);
            let (root, storage) = (dir.clone(), opener.options.storage);
            let names = opener.options.names;
            let known =
                Known { layout, bytes_wanted, metainfo, root, dir, no_resume, storage, names };
            inner.know(known);
            inner.shared.news.tell(TorrentEvent::Metadata);
            inner.shared.set_state(TorrentState::Known);
            return;
        }
        opener.open(metainfo);
    }
}

impl Inner {
    /// Lets in connections for the torrent from now on.
    fn register(&self) -> Result<(), TorrentError> {
        let register =
            ToControl::Register(self.shared.info_hash, self.shared.key, self.shard.clone());
        self.session.control.blocking_send(register).map_err(|_| TorrentError::Stopping)
    }
}

/// Reports that the torrent could not be opened. A torrent that its shard knows leaves it.
fn fail(inner: &Inner, error: TorrentError, stage: Stage) {
    match stage {
        Stage::New => {
            inner.shared.set_state(TorrentState::Failed(error));
        }
        Stage::Magnet | Stage::Again => {
            let _ = inner.shard.blocking_send(ToShard::Fail(inner.shared.key, error));
        }
    }
}

/// Parses the torrent of a link, if the metadata has the info-hashes that the link names.
fn metainfo_of(magnet: &Magnet, metadata: &[u8]) -> Result<Metainfo, TorrentError> {
    let trackers = magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
    let metainfo = Metainfo::from_info(metadata, trackers, magnet.web_seeds.clone())
        .map_err(|error| TorrentError::Metadata { code: error.code(), why: error.to_string() })?;
    let (named, found) = (&magnet.info_hashes, &metainfo.info_hashes);
    if named.v1.is_some_and(|v1| found.v1 != Some(v1))
        || named.v2.is_some_and(|v2| found.v2 != Some(v2))
    {
        let why = "its info-hashes are not those of the link".into();
        return Err(TorrentError::Metadata { code: "wrong_info_hash", why });
    }
    Ok(metainfo)
}

/// Returns the files that a link selects (BEP 53).
fn selected(magnet: &Magnet, metainfo: &Metainfo) -> Result<BTreeSet<usize>, TorrentError> {
    let is_named = |index: &usize| {
        u32::try_from(*index)
            .is_ok_and(|index| magnet.files.iter().any(|range| range.contains(&index)))
    };
    let stored = metainfo
        .info
        .files
        .iter()
        .enumerate()
        .filter(|(_, file)| file.is_stored())
        .map(|(index, _)| index);
    let files: BTreeSet<usize> = stored.filter(is_named).collect();
    if files.is_empty() {
        let why = "the link selects no file that the torrent has".into();
        return Err(TorrentError::Metadata { code: "invalid_file_selection", why });
    }
    Ok(files)
}

/// Returns the pieces of each file, for the engine; nothing for a torrent of one file. Padding has
/// none: it is not chosen by itself, and pieces of no file are wanted.
fn files_of(layout: &Layout) -> Vec<Range<u32>> {
    let pieces = |file: &LayoutFile| if file.is_stored { layout.numbers_of(file) } else { 0..0 };
    match layout.files() {
        [_] => Vec::new(),
        files => files.iter().map(pieces).collect(),
    }
}

/// Returns the priorities of files when only these are wanted. A file that is wanted keeps its
/// priority.
fn priorities(
    settings: &TorrentSettings,
    layout: &Layout,
    wanted: &BTreeSet<usize>,
) -> Vec<Priority> {
    let mut chosen = TorrentSettings::default();
    let stored = layout.files().iter().enumerate().filter(|(_, file)| file.is_stored);
    for (index, _) in stored {
        let priority = match (wanted.contains(&index), settings.file(index)) {
            (false, _) => Priority::Skip,
            (true, Priority::Skip) => Priority::Normal,
            (true, priority) => priority,
        };
        chosen.set_file(index, priority);
    }
    chosen.files
}

fn bytes(layout: &Layout, pieces: &Bitfield) -> u64 {
    pieces.iter(layout.geometry()).map(|piece| u64::from(layout.geometry().piece_len(piece))).sum()
}
