//! Files in memory, with power cuts and full disks on demand.
//!
//! Decides: nothing.
//! Must not know: torrents.
//! Invariant: after a crash a file has its content of the last sync; a hole takes no room.

use super::{Identity, Storage};
use crate::identity::Stat;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const PAGE: usize = 4096;
type Pages = BTreeMap<u64, Arc<[u8; PAGE]>>;

/// Files in memory, for the simulator and for tests.
#[derive(Default, Debug)]
pub struct MemStorage {
    disk: Mutex<MemDisk>,
}

#[derive(Default, Debug)]
struct MemDisk {
    files: BTreeMap<PathBuf, MemFile>,
    /// Most bytes that fit; no limit when `None`.
    capacity: Option<u64>,
    /// Counts files.
    made: u64,
    /// Counts changes, in place of a clock.
    changes: i64,
}

#[derive(Clone, Default, Debug)]
struct MemFile {
    /// Tells the file from a later one of its name.
    number: u64,
    now: Content,
    synced: Content,
}

#[derive(Clone, Default, Debug)]
struct Content {
    pages: Pages,
    len: u64,
    mtime_ns: i64,
}

impl MemStorage {
    /// Makes an empty disk without a limit.
    pub fn new() -> MemStorage {
        MemStorage::default()
    }

    /// Sets how many bytes fit, counted in pages of 4 KiB; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Simulates a power cut: every file falls back to its last sync. Names survive.
    pub fn crash(&self) {
        self.disk().files.values_mut().for_each(|file| file.now = file.synced.clone());
    }

    /// Returns the whole content of a file, for assertions; `None` when there is none.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let len = self.disk().files.get(path)?.now.len;
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        self.read_at(path, 0, &mut bytes).ok()?;
        Some(bytes)
    }

    fn disk(&self) -> MutexGuard<'_, MemDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemDisk {
    fn file(&mut self, path: &Path) -> io::Result<&mut MemFile> {
        self.files.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn free_pages(&self) -> usize {
        let taken: usize = self.files.values().map(|file| file.now.pages.len()).sum();
        let capacity = self
            .capacity
            .map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX) / PAGE);
        capacity.saturating_sub(taken)
    }
}

/// Returns the pages that a range of bytes touches: page number, offset inside, length.
fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let end = offset + len as u64;
    std::iter::from_fn(move || {
        let (page, inside) = (at / PAGE as u64, (at % PAGE as u64) as usize);
        let part = (PAGE - inside).min((end - at) as usize);
        at += part as u64;
        (part > 0).then_some((page, inside, part))
    })
}

impl Storage for MemStorage {
    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut disk = self.disk();
        let content = &disk.file(path)?.now;
        let len = buf
            .len()
            .min(usize::try_from(content.len.saturating_sub(offset)).unwrap_or(usize::MAX));
        let mut rest = &mut buf[..len];
        for (page, inside, part) in pages(offset, len) {
            let (to, after) = rest.split_at_mut(part);
            match content.pages.get(&page) {
                Some(bytes) => to.copy_from_slice(&bytes[inside..inside + part]),
                None => to.fill(0),
            }
            rest = after;
        }
        Ok(len)
    }

    fn try_read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.read_at(path, offset, buf).map(Some)
    }

    fn write_at(&self, path: &Path, offset: u64, data: &[IoSlice<'_>]) -> io::Result<()> {
        let mut disk = self.disk();
        let mut free = disk.free_pages();
        disk.changes += 1;
        let mtime_ns = disk.changes;
        let content = &mut disk.file(path)?.now;
        let mut at = offset;
        for slice in data {
            let mut rest: &[u8] = slice;
            for (page, inside, part) in pages(at, slice.len()) {
                if !content.pages.contains_key(&page) {
                    free = free.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
                }
                let (from, after) = rest.split_at(part);
                let bytes = content.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(bytes)[inside..inside + part].copy_from_slice(from);
                rest = after;
                at += part as u64;
                content.len = content.len.max(at);
                content.mtime_ns = mtime_ns;
            }
        }
        Ok(())
    }

    fn set_len(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        disk.changes += 1;
        let mtime_ns = disk.changes;
        let content = &mut disk.file(path)?.now;
        content.pages.retain(|page, _| page * (PAGE as u64) < len);
        if let Some(last) = content.pages.get_mut(&(len / PAGE as u64)) {
            Arc::make_mut(last)[(len % PAGE as u64) as usize..].fill(0);
        }
        (content.len, content.mtime_ns) = (len, mtime_ns);
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.file(path)?;
        file.synced = file.now.clone();
        Ok(())
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.made += 1;
        let file = MemFile { number: disk.made, ..MemFile::default() };
        disk.files.insert(path.to_owned(), file);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk().files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.disk().files.get(path).map(|file| file.now.len))
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }
}

impl Identity for MemStorage {
    fn read_raw(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read_at(path, offset, buf)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let stat = |file: &MemFile| Stat {
            id: (0, file.number),
            birth_ns: None,
            len: file.now.len,
            mtime_ns: file.now.mtime_ns,
            ctime_ns: file.now.mtime_ns,
        };
        Ok(self.disk().files.get(path).map(stat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_crash_keeps_what_was_synced_and_a_hole_takes_no_room() {
        let (storage, file) = (MemStorage::new(), Path::new("f"));
        storage.set_capacity(Some(2 * PAGE as u64));
        storage.create_new(file).unwrap();
        storage.set_len(file, 1 << 40).unwrap();
        storage.set_len(file, 3).unwrap();
        storage.write_at(file, 0, &[IoSlice::new(b"abc")]).unwrap();
        storage.sync(file).unwrap();
        storage.write_at(file, 1, &[IoSlice::new(b"XYZ")]).unwrap();
        assert_eq!(storage.content(file).unwrap(), b"aXYZ");
        storage.crash();
        assert_eq!(storage.content(file).unwrap(), b"abc");
        let full = storage.write_at(file, 0, &[IoSlice::new(&[1; 3 * PAGE])]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    proptest! {
        #[test]
        fn it_is_an_array_of_bytes(writes in proptest::collection::vec((0usize..20_000, proptest::collection::vec(any::<u8>(), 0..9000)), 1..8), cut in 0usize..20_000) {
            let (storage, file) = (MemStorage::new(), Path::new("f"));
            storage.create_new(file).unwrap();
            let mut model = Vec::new();
            for (offset, bytes) in writes {
                storage.write_at(file, offset as u64, &[IoSlice::new(&bytes)]).unwrap();
                if !bytes.is_empty() {
                    model.resize(model.len().max(offset + bytes.len()), 0);
                    model[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
            }
            prop_assert_eq!(storage.content(file).unwrap(), model.clone());
            model.resize(cut, 0);
            storage.set_len(file, cut as u64).unwrap();
            model.resize(25_000, 0);
            storage.set_len(file, 25_000).unwrap();
            prop_assert_eq!(storage.content(file).unwrap(), model);
        }
    }
}
