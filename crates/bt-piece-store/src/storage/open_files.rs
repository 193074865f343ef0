//! The open files of one torrent, or of all torrents of a session.
//!
//! Decides: which file is closed when another is opened.
//! Must not know: how files are opened, what is in them.
//! Invariant: at most the allowed number is open. A file in use stays open for its user when it
//! leaves the cache.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A cache of open files. Storages that share a cache close each other's files when they need room.
#[derive(Debug)]
pub struct OpenFiles {
    max: usize,
    cache: Mutex<Cache>,
}

/// One storage's part of a cache.
#[derive(Debug)]
pub(super) struct OpenFilesOf {
    shared: Arc<OpenFiles>,
    storage: u64,
}

#[derive(Default, Debug)]
struct Cache {
    /// By the number of the storage and the path.
    files: HashMap<u64, HashMap<PathBuf, OpenFile>>,
    /// The same in the order of their last use.
    by_use: BTreeMap<u64, (u64, PathBuf)>,
    /// Uses until now.
    uses: u64,
    /// Storages until now.
    storages: u64,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<OwnedFd>,
    /// The file may be written.
    write: bool,
    last_use: u64,
}

impl OpenFiles {
    /// Makes a cache of at most this many files.
    pub fn new(max: usize) -> Arc<OpenFiles> {
        Arc::new(OpenFiles { max: max.max(1), cache: Mutex::default() })
    }

    /// Returns the number of open files.
    pub fn count(&self) -> usize {
        self.cache().by_use.len()
    }

    /// Closes the least recently used half of the files; returns whether there were any.
    pub(super) fn give_way(&self) -> bool {
        let mut cache = self.cache();
        let closed: Vec<_> =
            (0..cache.by_use.len().div_ceil(2)).map_while(|_| cache.pop_oldest()).collect();
        // Closing a file may take long.
        drop(cache);
        !closed.is_empty()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenFilesOf {
    /// Makes a part for another storage.
    pub(super) fn new(shared: Arc<OpenFiles>) -> OpenFilesOf {
        let mut cache = shared.cache();
        cache.storages += 1;
        let storage = cache.storages;
        drop(cache);
        OpenFilesOf { shared, storage }
    }

    pub(super) fn shared(&self) -> &OpenFiles {
        &self.shared
    }

    /// Returns an open file, if its access mode suffices.
    pub(super) fn get(&self, path: &Path, write: bool) -> Option<Arc<OwnedFd>> {
        let mut cache = self.shared.cache();
        let Cache { files, by_use, uses, .. } = &mut *cache;
        let entry =
            files.get_mut(&self.storage)?.get_mut(path).filter(|entry| entry.write || !write)?;
        if entry.last_use != *uses
            && let Some(key) = by_use.remove(&entry.last_use)
        {
            *uses += 1;
            entry.last_use = *uses;
            by_use.insert(*uses, key);
        }
        Some(Arc::clone(&entry.file))
    }

    /// Adds a file; the least recently used file makes room.
    pub(super) fn put(&self, path: &Path, write: bool, file: Arc<OwnedFd>) {
        let mut cache = self.shared.cache();
        let before = cache.remove(self.storage, path);
        let oldest = if cache.by_use.len() >= self.shared.max { cache.pop_oldest() } else { None };
        cache.uses += 1;
        let last_use = cache.uses;
        cache.by_use.insert(last_use, (self.storage, path.to_owned()));
        cache
            .files
            .entry(self.storage)
            .or_default()
            .insert(path.to_owned(), OpenFile { file, write, last_use });
        drop(cache);
        drop((before, oldest));
    }

    /// Closes a file.
    pub(super) fn remove(&self, path: &Path) {
        let removed = self.shared.cache().remove(self.storage, path);
        drop(removed);
    }
}

impl Drop for OpenFilesOf {
    fn drop(&mut self) {
        let mut cache = self.shared.cache();
        let files = cache.files.remove(&self.storage).unwrap_or_default();
        for file in files.values() {
            cache.by_use.remove(&file.last_use);
        }
        drop(cache);
    }
}

impl Cache {
    fn remove(&mut self, storage: u64, path: &Path) -> Option<OpenFile> {
        let files = self.files.get_mut(&storage)?;
        let removed = files.remove(path)?;
        if files.is_empty() {
            self.files.remove(&storage);
        }
        self.by_use.remove(&removed.last_use);
        Some(removed)
    }

    fn pop_oldest(&mut self) -> Option<OpenFile> {
        let (_, (storage, path)) = self.by_use.first_key_value()?;
        let (storage, path) = (*storage, path.clone());
        self.remove(storage, &path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<OwnedFd> {
        Arc::new(tempfile::tempfile().unwrap().into())
    }

    #[test]
    fn storages_share_the_room_and_the_longest_unused_file_is_closed() {
        let shared = OpenFiles::new(3);
        let (a, b) = (OpenFilesOf::new(Arc::clone(&shared)), OpenFilesOf::new(Arc::clone(&shared)));
        let path = |name: &'static str| Path::new(name);
        a.put(path("1"), false, file());
        b.put(path("1"), true, file());
        a.put(path("2"), false, file());
        assert!(
            a.get(path("1"), false).is_some() && a.get(path("1"), true).is_none(),
            "it was opened to be read"
        );
        b.put(path("2"), false, file());
        assert!(b.get(path("1"), false).is_none(), "it was not used for longest");
        assert!(
            a.get(path("1"), false).is_some()
                && a.get(path("2"), false).is_some()
                && b.get(path("2"), false).is_some()
        );
        assert_eq!(shared.count(), 3);
        a.put(path("1"), true, file());
        assert_eq!(shared.count(), 3, "the same file anew");
        drop(a);
        assert_eq!(shared.count(), 1);
        b.remove(path("2"));
        assert!(!shared.give_way());
        (0..8).for_each(|n| b.put(Path::new(&n.to_string()), false, file()));
        assert!(shared.give_way());
        assert_eq!(shared.count(), 1, "half of three, rounded up, were closed");
        assert!(b.get(path("7"), false).is_some());
    }
}
