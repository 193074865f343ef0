//! Opens an added torrent, on a thread for that: its data is checked, then it joins its swarm.
//!
//! Decides: the order of the steps; which files are wanted.
//! Must not know: engines' insides, sockets.
//! Invariant: nothing is created on the disk before we know that we can transfer the torrent. A
//! torrent that has left meanwhile does not come back.

use crate::client::inner::{Inner, Known, SessionContext};
use crate::client::options::{AddOptions, Select};
use crate::client::state::{StateDir, stem};
use crate::mail::disk_order::{Attached, DiskOrder};
use crate::mail::events::{AddError, TorrentEvent, TorrentState};
use crate::mail::owner::{Claim, Lock};
use crate::mail::to_control::ToControl;
use crate::mail::to_shard::{NewMagnet, NewTorrent, ToShard};
use bt_engine::{MagnetSpec, Priority, Selection, TorrentSpec};
use bt_metainfo::{Magnet, Metainfo, PieceDigests};
use bt_piece_store::{
    Directory, DiskStorage, Layout, LayoutFile, OpenError, Storage, Trust, Worker, locate,
    open_torrent,
};
use bt_types::{Bitfield, InfoHash};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

/// Most peers that are taken from a magnet link.
const PEERS_MAX: usize = 100;

/// Where a torrent's data is, or will be, and which pieces are wanted.
pub(crate) struct PreparedTorrent {
    info_hash: InfoHash,
    pub(crate) layout: Arc<Layout>,
    wanted: Bitfield,
    digests: Arc<PieceDigests>,
    dir: Arc<Directory>,
    trackers: Vec<Vec<String>>,
    metadata: Bytes,
    private: bool,
    root: PathBuf,
    state_dir: StateDir,
    lock: Mutex<Option<Lock>>,
}

impl PreparedTorrent {
    /// Finds the place of the data, and takes the torrent's lock there.
    pub(crate) fn prepare(
        metainfo: &Metainfo,
        options: &AddOptions,
        session: &SessionContext,
    ) -> Result<PreparedTorrent, AddError> {
        let digests = metainfo
            .info
            .require_digests()
            .map_err(|error| AddError::Unsupported(error.to_string()))?;
        let info_hash = metainfo
            .info_hashes
            .v1
            .ok_or_else(|| AddError::Unsupported("the torrent has no info-hash".into()))?;
        let dir_error = |error: std::io::Error| AddError::store(&options.dir, &error);
        let (root, mut layout) = locate(&options.dir, &metainfo.info).map_err(dir_error)?;
        let selected = match &options.select {
            Select::All => None,
            Select::Files(files) => Some(files.clone()),
            Select::By(choose) => choose(metainfo).map_err(AddError::Selection)?,
        };
        if let Some(files) = selected {
            layout.select(&files);
        }
        let dir = session.dirs.hold(&root)?;
        let state_dir = session.state_dir.clone();
        let lock = state_dir.lock(info_hash, &root).map_err(dir_error)?;
        let lock = lock.ok_or_else(|| AddError::Locked { dir: root.clone() })?;
        let state_dir = if options.no_resume {
            state_dir.remove_journal(&stem(info_hash, &root)).map_err(dir_error)?;
            StateDir::new(None)
        } else {
            state_dir
        };
        Ok(PreparedTorrent {
            info_hash,
            wanted: layout.wanted(),
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
    /// Notes that the torrent's metadata is known, and takes over its lock.
    pub(crate) fn take_prepared(
        &self,
        prepared: &PreparedTorrent,
        of_magnet: Option<Arc<Metainfo>>,
    ) {
        let bytes_wanted = bytes(&prepared.layout, &prepared.wanted);
        let _ =
            self.known.set(Known { layout: Arc::clone(&prepared.layout), bytes_wanted, of_magnet });
        let lock = prepared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        *self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock;
    }
}

/// A task that opens a torrent.
pub(crate) struct OpenTask {
    pub(crate) inner: Arc<Inner>,
    pub(crate) options: AddOptions,
}

impl OpenTask {
    /// Checks the data and joins the swarm. With `of_magnet` the torrent is in the swarm already.
    pub(crate) fn open(self, prepared: PreparedTorrent, of_magnet: bool) {
        let inner = Arc::clone(&self.inner);
        if let Err(error) = self.try_open(prepared, of_magnet) {
            fail(&inner, error, of_magnet);
        }
    }

    fn try_open(self, prepared: PreparedTorrent, of_magnet: bool) -> Result<(), AddError> {
        let OpenTask { inner, options } = self;
        let PreparedTorrent {
            info_hash,
            layout,
            wanted,
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
        let trust = if options.trust_data { Trust::Data } else { Trust::Journal };
        let storage: Arc<dyn Storage> = Arc::new(
            DiskStorage::below(Arc::clone(&dir))
                .over_links()
                .sharing(inner.session.dirs.open_files()),
        );
        let mut claim = Claim::default();
        let opened = open_torrent(
            &layout,
            &digests,
            journal,
            storage.as_ref(),
            trust,
            &inner.progress,
            &mut |how| {
                let top = layout.top().unwrap_or(Path::new(""));
                claim = Claim::take(&dir, top, layout.is_one_file(), how)?;
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
        };
        inner
            .session
            .disks
            .submit([(inner.shared.key, DiskOrder::Attach(Box::new(attached)))].into_iter());
        if !of_magnet {
            inner.register()?;
        }
        let spec = TorrentSpec {
            info_hash,
            geometry,
            have: opened.have,
            trackers,
            settings: inner.shared.settings(),
            wants: wants(&layout),
            metadata,
            private,
        };
        let new = NewTorrent {
            torrent: Arc::clone(&inner.shared),
            spec,
            layout,
            storage,
            peers: options.peers,
            of_magnet,
        };
        inner
            .shard
            .blocking_send(ToShard::Add(inner.shared.key, Box::new(new)))
            .map_err(|_| AddError::Stopping)
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
                .map_err(|_| AddError::Stopping)?;
            inner
                .session
                .control
                .blocking_send(ToControl::Peers(inner.shared.key, named))
                .map_err(|_| AddError::Stopping)
        };
        if let Err(error) = begin() {
            inner.shared.state.send_replace(TorrentState::Failed(error));
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
            self.opener.inner.shared.state.send_replace(TorrentState::Checking);
            self.open(&metadata);
        });
        if let Err(error) = begun {
            inner.shared.state.send_replace(TorrentState::Failed(error));
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
            Err(error) => return fail(&inner, error, true),
        };
        if metainfo.private {
            let _ = inner.session.control.blocking_send(ToControl::Hide(inner.shared.key));
        }
        if opener.options.metadata_only {
            let layout = Arc::new(Layout::new(&metainfo.info));
            let bytes_wanted = metainfo.info.geometry.total();
            let _ = inner.known.set(Known { layout, bytes_wanted, of_magnet: Some(metainfo) });
            inner.shared.news.tell(TorrentEvent::Metadata);
            inner.shared.state.send_replace(TorrentState::Known);
            return;
        }
        match PreparedTorrent::prepare(&metainfo, &opener.options, &inner.session) {
            Ok(prepared) => {
                inner.take_prepared(&prepared, Some(metainfo));
                inner.shared.news.tell(TorrentEvent::Metadata);
                opener.open(prepared, true);
            }
            Err(error) => fail(&inner, error, true),
        }
    }
}

impl Inner {
    /// Lets in connections for the torrent from now on.
    fn register(&self) -> Result<(), AddError> {
        let register =
            ToControl::Register(self.shared.info_hash, self.shared.key, self.shard.clone());
        self.session.control.blocking_send(register).map_err(|_| AddError::Stopping)
    }
}

/// Reports that the torrent could not be opened. A magnet link's torrent is in its swarm already,
/// and leaves it.
fn fail(inner: &Inner, error: AddError, of_magnet: bool) {
    if of_magnet {
        let _ = inner.shard.blocking_send(ToShard::Fail(inner.shared.key, error));
    } else {
        inner.shared.state.send_replace(TorrentState::Failed(error));
    }
}

/// Parses the torrent of a link, if the metadata has the info-hashes that the link names.
fn metainfo_of(magnet: &Magnet, metadata: &[u8]) -> Result<Metainfo, AddError> {
    let trackers = magnet.trackers.iter().map(|url| vec![url.clone()]).collect();
    let metainfo = Metainfo::from_info(metadata, trackers, magnet.web_seeds.clone())
        .map_err(|error| AddError::Metadata { code: error.code(), why: error.to_string() })?;
    let (named, found) = (&magnet.info_hashes, &metainfo.info_hashes);
    if named.v1.is_some_and(|v1| found.v1 != Some(v1))
        || named.v2.is_some_and(|v2| found.v2 != Some(v2))
    {
        let why = "its info-hashes are not those of the link".into();
        return Err(AddError::Metadata { code: "wrong_info_hash", why });
    }
    Ok(metainfo)
}

/// Returns the files that a link selects (BEP 53).
fn selected(magnet: &Magnet, metainfo: &Metainfo) -> Result<BTreeSet<usize>, AddError> {
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
        return Err(AddError::Metadata { code: "invalid_file_selection", why });
    }
    Ok(files)
}

/// Returns the wanted pieces of the selected files.
fn wants(layout: &Layout) -> Vec<Selection> {
    let is_wanted = |file: &&LayoutFile| file.is_wanted;
    if layout.files().iter().all(|file| is_wanted(&file)) {
        return Vec::new();
    }
    let all = Selection::Priority(0..layout.geometry().piece_count(), Priority::Skip);
    let files = layout.files().iter().filter(is_wanted);
    std::iter::once(all)
        .chain(files.map(|file| Selection::Priority(layout.numbers_of(file), Priority::Normal)))
        .collect()
}

fn bytes(layout: &Layout, pieces: &Bitfield) -> u64 {
    pieces.iter(layout.geometry()).map(|piece| u64::from(layout.geometry().piece_len(piece))).sum()
}
