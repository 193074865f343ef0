//! The directories that torrents live in: those that share one hold it open once.
//!
//! Decides: which torrents share a directory. Must not know: torrents.
//! Invariant: two torrents share a directory only if a path of both leads to it now; their open files are their own.

use bt_piece_store::{Directory, DiskStorage, Place};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Every directory that is held open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirs(Arc<Mutex<BTreeMap<Place, Weak<Directory>>>>);

impl Dirs {
    /// The files of a torrent below a directory, which is made if it is missing.
    pub(crate) fn open(&self, dir: &Path) -> io::Result<DiskStorage> {
        self.hold(dir).map(DiskStorage::below)
    }

    fn hold(&self, dir: &Path) -> io::Result<Arc<Directory>> {
        // Opened in any case: the path may lead elsewhere than it did.
        let fresh = Directory::create(dir)?;
        let place = fresh.place()?;
        let mut dirs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = dirs.get(&place).and_then(Weak::upgrade) {
            return Ok(held);
        }
        // Only directories that torrents live in are remembered.
        dirs.retain(|_, dir| dir.strong_count() > 0);
        let fresh = Arc::new(fresh);
        dirs.insert(place, Arc::downgrade(&fresh));
        Ok(fresh)
    }
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
        let _ = dirs.hold(dir.path()).unwrap();
        assert_eq!(dirs.0.lock().unwrap().len(), 1, "who is gone is forgotten");
    }
}
