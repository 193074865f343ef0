//! The directories that torrents live in: those that share one hold it open once.
//!
//! Decides: which torrents share a storage. Must not know: torrents.
//! Invariant: two torrents share a storage only if a path of both leads to the same directory now.

use bt_piece_store::{DiskStorage, Place};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Every directory that is held open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirs(Arc<Mutex<BTreeMap<Place, Weak<DiskStorage>>>>);

impl Dirs {
    /// The storage of a directory, which is made if it is missing.
    pub(crate) fn open(&self, dir: &Path) -> io::Result<Arc<DiskStorage>> {
        // Opened in any case: the path may lead elsewhere than it did.
        let fresh = DiskStorage::create(dir)?;
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
    use bt_piece_store::Storage as _;

    #[test]
    fn a_directory_is_held_open_once_and_one_in_its_place_is_another() {
        let (dirs, dir) = (Dirs::default(), tempfile::tempdir().unwrap());
        let at = dir.path().join("data");
        let first = dirs.open(&at).unwrap();
        assert!(Arc::ptr_eq(&first, &dirs.open(&dir.path().join("./data")).unwrap()));
        std::fs::rename(&at, dir.path().join("moved")).unwrap();
        let second = dirs.open(&at).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        second.create_new(Path::new("file")).unwrap();
        assert_eq!(first.stat(Path::new("file")).unwrap(), None);
        drop((first, second));
        dirs.open(dir.path()).unwrap();
        assert_eq!(dirs.0.lock().unwrap().len(), 1, "who is gone is forgotten");
    }
}
