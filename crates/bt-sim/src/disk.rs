//! A disk in memory that knows the truth: the strongest oracle, as nothing wrong can be written
//! unseen.
//!
//! Decides: whether written bytes are the torrent's. Must not know: pieces, who wrote.
//! Invariant: it behaves as the memory disk inside it.

use crate::content::Files;
use bt_piece_store::{Identity, MemStorage, Storage};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The disk of one computer.
#[derive(Debug)]
pub(crate) struct WatchedDisk {
    pub(crate) files: MemStorage,
    content: Arc<Files>,
    was_wronged: AtomicBool,
}

impl WatchedDisk {
    pub(crate) fn new(content: Arc<Files>) -> WatchedDisk {
        WatchedDisk { files: MemStorage::new(), content, was_wronged: AtomicBool::new(false) }
    }

    /// Whether a byte was ever written that is not the torrent's.
    pub(crate) fn was_wronged(&self) -> bool {
        self.was_wronged.load(Relaxed)
    }
}

impl Storage for WatchedDisk {
    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.files.read_at(path, offset, buf)
    }

    fn try_read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.files.try_read_at(path, offset, buf)
    }

    fn write_at(&self, path: &Path, offset: u64, data: &[IoSlice<'_>]) -> io::Result<()> {
        let mut at = offset;
        for part in data {
            if !self.content.is_true(path, at, part) {
                self.was_wronged.store(true, Relaxed);
            }
            at += part.len() as u64;
        }
        self.files.write_at(path, offset, data)
    }

    fn set_len(&self, path: &Path, len: u64) -> io::Result<()> {
        self.files.set_len(path, len)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        self.files.len(path)
    }

    fn identity(&self) -> Option<&dyn Identity> {
        self.files.identity()
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.files.sync(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        self.files.create_new(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.remove(path)
    }
}
