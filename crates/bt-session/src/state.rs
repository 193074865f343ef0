//! The state directory: one journal and one lock for each torrent and download directory.
//!
//! Decides: names below the state directory. Must not know: what a journal says.
//! Invariant: two processes never work on one torrent in one directory.

use bt_piece_store::{DiskStorage, Journal, Storage, StoreError};
use bt_types::{Geometry, InfoHash};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The directory that journals live in, if any does.
#[derive(Clone, Debug)]
pub(crate) struct StateDir(Option<PathBuf>);

/// Held while a torrent is worked on in a directory. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] Option<File>);

impl StateDir {
    pub(crate) fn new(dir: Option<PathBuf>) -> StateDir {
        StateDir(dir)
    }

    /// `None` when somebody else holds it.
    pub(crate) fn lock(&self, hash: InfoHash, root: &Path) -> io::Result<Option<Lock>> {
        let Some(dir) = &self.0 else { return Ok(Some(Lock(None))) };
        std::fs::create_dir_all(dir)?;
        let path = dir.join(format!("{}.lock", stem(hash, root)));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(Some(file)))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn journal(&self, hash: InfoHash, root: &Path, geometry: &Geometry) -> Result<Journal, StoreError> {
        let Some(dir) = &self.0 else { return Journal::in_memory(hash, geometry) };
        let storage = DiskStorage::create(dir).map_err(|source| StoreError { path: dir.clone(), source })?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        Journal::open(storage, Path::new(&format!("{}.journal", stem(hash, root))), hash, geometry)
    }
}

/// A name for a torrent in a directory: its info-hash, and the start of the hash of the directory's path.
fn stem(hash: InfoHash, root: &Path) -> String {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let mut name = format!("{hash}-");
    let digest = bt_hash::sha1(root.as_os_str().as_bytes());
    bt_types::push_hex(&mut name, digest.first_chunk::<6>().map_or(&[], |start| start));
    name
}
