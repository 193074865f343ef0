//! The directories of torrents, each held open once however many torrents share it; and the cache
//! of all torrents' open files.
//!
//! Decides: which torrents share a directory, how many files stay open.
//! Must not know: torrents.
//! Invariant: two torrents share a directory only if a path of both leads to it now. While a
//! directory is held, no torrent may own it, or a directory above it, as a whole.

use crate::mail::owner::live_below;
use bt_piece_store::{Directory, OpenError, OpenFiles, Place, StoreError};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Payload files that a session keeps open: this part (a quarter) of the descriptors that the
/// system allows, and at most `OPEN_FILES_MAX`.
const OPEN_FILES_PART: u64 = 4;
const OPEN_FILES_MAX: u64 = 1024;

/// Every directory that is held open, and the open files of all torrents.
#[derive(Clone, Debug)]
pub(crate) struct Dirs {
    held: Arc<Mutex<BTreeMap<Place, Weak<Directory>>>>,
    open_files: Arc<OpenFiles>,
}

impl Default for Dirs {
    fn default() -> Dirs {
        let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .unwrap_or(u64::MAX);
        let max = usize::try_from((allowed / OPEN_FILES_PART).min(OPEN_FILES_MAX)).unwrap_or(1);
        Dirs { held: Arc::default(), open_files: OpenFiles::new(max) }
    }
}

impl Dirs {
    /// Returns the cache of open payload files.
    pub(crate) fn open_files(&self) -> &Arc<OpenFiles> {
        &self.open_files
    }

    /// Opens a directory for the client's own files, and makes it if it is missing.
    pub(crate) fn open(&self, dir: &Path) -> io::Result<Arc<Directory>> {
        self.keep(Directory::create(dir)?)
    }

    /// Holds a directory for a torrent's files, and makes it if it is missing. Fails if another
    /// torrent owns all that is in it.
    pub(crate) fn hold(&self, dir: &Path) -> Result<Arc<Directory>, OpenError> {
        let failed = |source| StoreError { path: dir.to_owned(), source };
        let fresh = Directory::create(dir).map_err(failed)?;
        // A directory that is held already holds all above it.
        match self.held(fresh.place().map_err(failed)?).filter(|held| held.is_holding()) {
            Some(held) => Ok(held),
            None => self.hold_all(fresh, &dir.canonicalize().map_err(failed)?),
        }
    }

    fn hold_all(&self, fresh: Directory, path: &Path) -> Result<Arc<Directory>, OpenError> {
        let above = path.parent().and_then(|parent| Some((Directory::open(parent).ok()?, parent)));
        let fresh = match above {
            Some((above, parent)) if can_be_written_whole(parent) => {
                fresh.holding(self.hold_all(above, parent)?)
            }
            Some(_) | None => fresh,
        };
        let dir =
            self.keep(fresh).map_err(|source| StoreError { path: path.to_owned(), source })?;
        if live_below(&*dir) {
            Ok(dir)
        } else {
            Err(OpenError::Owned { path: path.to_owned(), is_written: true })
        }
    }

    fn held(&self, place: Place) -> Option<Arc<Directory>> {
        self.known().get(&place).and_then(Weak::upgrade)
    }

    /// Returns the directory that is held already, if there is one. `fresh` was opened in any case,
    /// as the path may lead elsewhere by now.
    fn keep(&self, fresh: Directory) -> io::Result<Arc<Directory>> {
        let place = fresh.place()?;
        let mut dirs = self.known();
        // A directory that holds those above it replaces an entry that does not.
        if let Some(held) = dirs
            .get(&place)
            .and_then(Weak::upgrade)
            .filter(|held| held.is_holding() >= fresh.is_holding())
        {
            return Ok(held);
        }
        // Only directories in use are remembered.
        dirs.retain(|_, dir| dir.strong_count() > 0);
        let fresh = Arc::new(fresh);
        dirs.insert(place, Arc::downgrade(&fresh));
        Ok(fresh)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Place, Weak<Directory>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a torrent of ours could own this directory, as the top of all its files.
///
/// Never the root, which has no name, nor a directory that we may not write to. Any user who can
/// read such a directory could lock it, and no torrent could be added below.
fn can_be_written_whole(dir: &Path) -> bool {
    dir.parent().is_some() && rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_open_once_and_one_in_its_place_is_another() {
        let (dirs, dir) = (Dirs::default(), tempfile::tempdir().unwrap());
        let at = dir.path().join("data");
        let first = dirs.hold(&at).unwrap();
        assert!(Arc::ptr_eq(&first, &dirs.hold(&dir.path().join("./data")).unwrap()));
        std::fs::rename(&at, dir.path().join("moved")).unwrap();
        let second = dirs.hold(&at).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        drop((first, second));
        let _held = dirs.hold(dir.path()).unwrap();
        let path = dir.path().canonicalize().unwrap();
        let above = path.ancestors().skip(1).take_while(|dir| can_be_written_whole(dir)).count();
        assert_eq!(dirs.known().len(), 1 + above, "who is gone is forgotten");
        assert!(!can_be_written_whole(Path::new("/")));
    }
}
