//! The journal: which pieces are on the disk, kept across restarts and crashes. One append-only
//! file per torrent and directory.
//!
//! Decides: the format, and what a damaged file still proves.
//! Must not know: file contents, when files are synced.
//! Invariant: however the file is cut or flipped, no piece is "have" that was not recorded so.
//!
//! A file is records: length (`u32`), CRC-32C of the body (`u32`), body. Numbers are little-endian.
//! A body is one byte of kind and:
//! - `H` version, info-hash, piece length, total length: the first record.
//! - `P` a bitfield of have, one of dirty: the first record after `H`, and after compaction.
//! - `D` piece numbers that become dirty: written and not synced, or about to be written again.
//! - `G` piece numbers that become good: written and synced.
//! - `B` files as they look now that we made them, wrote to them, or found them right.
//! - `F`, of earlier versions: the same without the time at which each file was made.
//! - `R` where the torrent lives: its directory's device, inode and birth, the length of the
//!   torrent's name, the name, and the directory's path.
//!
//! Reading ends at the first record that is not whole. The rest is lost, and every piece that is
//! not "have" counts as dirty. The first record makes the file, so a torrent that was refused at
//! opening has none.
//!
//! A journal of an older version is taken over if it vouches for files as they look now
//! (`version_1.rs`). One of a newer version is refused and stays as it is.
//!
//! `B` comes when a file was made and before it is written to, and within 4 ms after each batch of
//! writes. A later difference is the work of another program, or of us in the moment in which we
//! were killed.

mod records;
mod version_1;

use crate::identity::{FolderId, Noted, Stat};
use crate::storage::{Storage, StoreError, fault_of};
use bt_types::{Bitfield, Geometry, InfoHash, Piece, StoreFault};
use records::{
    VERSION, VERSION_OLDEST, file_record, framed, header, home_record, numbers, read_files,
    read_header, read_home, refuse_newer, take_record,
};
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use version_1::Look;

/// Least growth in bytes since the last rewrite before another one; the journal must also have
/// doubled.
const COMPACT_AFTER: u64 = 1 << 20;
/// Most bytes of a journal; a longer file is not read. Ours stay below, with 500,000 files and two
/// million pieces.
const LEN_MAX: u64 = 128 << 20;
/// Bytes of a longer file that are read for its version: room for a header of four times the
/// length.
const HEADER_MAX: u64 = 168;

/// The journal of one torrent in one directory.
pub struct Journal {
    /// The storage of the file; `None` for a journal in memory.
    state: Option<Arc<dyn Storage>>,
    path: PathBuf,
    /// The download directory, as the user named it.
    dir: PathBuf,
    id: InfoHash,
    geometry: Geometry,
    known: Known,
    /// Files as a journal of version 1 left them, in torrent order. The next record replaces it.
    left: Vec<Option<Look>>,
    /// Where the next record goes: after the last whole one; 0 when there is no file.
    end: u64,
    /// `end` after the last rewrite.
    compact_end: u64,
    /// Something was recorded that is not synced.
    is_unsynced: bool,
}

/// What a journal says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// Verified, written and synced.
    pub(crate) have: Bitfield,
    /// Perhaps written, partly or wholly.
    pub(crate) dirty: Bitfield,
    /// Files by their numbers, as they looked last. Those beyond the end are unknown.
    files: Vec<Option<Noted>>,
    /// Where the torrent lives.
    pub(crate) home: Option<Home>,
    /// Files that held nothing when they were opened. Not recorded: another program may fill them
    /// before we write.
    blank: HashMap<usize, Stat>,
}

/// Where a torrent lives, and what it is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Home {
    pub(crate) folder: FolderId,
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// What is remembered of a torrent in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Remembered {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Its name; empty if an earlier version made the journal.
    pub name: String,
    /// The download directory; empty if an earlier version made the journal.
    pub dir: PathBuf,
    /// Bytes of the pieces on the disk.
    pub bytes_have: u64,
    /// Bytes of all pieces.
    pub bytes_total: u64,
}

impl Known {
    /// Returns whether the file held nothing at opening, and still looks the same.
    pub(crate) fn is_blank(&self, index: usize, now: &Stat) -> bool {
        self.blank.get(&index) == Some(now)
    }

    /// Returns how a file looked when we last wrote to it or found it right.
    pub(crate) fn file(&self, index: usize) -> Option<Noted> {
        self.files.get(index).copied().flatten()
    }

    fn note(&mut self, index: usize, noted: Noted) {
        if self.files.len() <= index {
            self.files.resize(index + 1, None);
        }
        if let Some(file) = self.files.get_mut(index) {
            *file = Some(noted);
        }
    }
}

impl Journal {
    /// Opens the journal `name` of a torrent. The journal of another torrent counts as empty, and
    /// is replaced later. One of a newer version is refused with [`StoreFault::Newer`].
    pub fn open(
        state: Arc<dyn Storage>,
        name: &Path,
        id: InfoHash,
        geometry: &Geometry,
    ) -> Result<Journal, StoreError> {
        let mut journal = Journal {
            state: Some(Arc::clone(&state)),
            path: name.to_owned(),
            ..Journal::in_memory(id, geometry)
        };
        journal.recover(state.as_ref()).map_err(StoreError::at(name))?;
        Ok(journal)
    }

    /// Makes a journal that lasts as long as the process.
    pub fn in_memory(id: InfoHash, geometry: &Geometry) -> Journal {
        let nothing = || Bitfield::empty(geometry.piece_count());
        let known = Known {
            have: nothing(),
            dirty: nothing(),
            files: Vec::new(),
            home: None,
            blank: HashMap::new(),
        };
        Journal {
            state: None,
            path: PathBuf::new(),
            dir: PathBuf::new(),
            id,
            geometry: *geometry,
            known,
            left: Vec::new(),
            end: 0,
            compact_end: 0,
            is_unsynced: false,
        }
    }

    /// Sets the directory that is remembered with the torrent, for [`Journal::look`].
    #[must_use]
    pub fn living_in(self, dir: &Path) -> Journal {
        Journal { dir: dir.to_owned(), ..self }
    }

    /// Returns the torrent's info-hash.
    pub(crate) fn torrent(&self) -> InfoHash {
        self.id
    }

    /// Returns what the journal says now.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Records that pieces may not be there any more.
    pub(crate) fn dirty(&mut self, pieces: &[Piece]) -> Result<(), StoreError> {
        self.written(pieces, &[])
    }

    /// Records that pieces were written, and how their files look now. Comes after the writes and
    /// needs no sync.
    ///
    /// After a crash or power cut before the record, the files look otherwise than noted, and are
    /// hashed.
    pub(crate) fn written(
        &mut self,
        pieces: &[Piece],
        files: &[(usize, Noted)],
    ) -> Result<(), StoreError> {
        let fresh: Vec<Piece> =
            pieces.iter().copied().filter(|&piece| !self.known.dirty.has(piece)).collect();
        let news: Vec<_> = files
            .iter()
            .copied()
            .filter(|&(index, noted)| self.known.file(index) != Some(noted))
            .collect();
        let mut records = Vec::new();
        if !fresh.is_empty() {
            records.extend_from_slice(&framed(&numbers(b'D', &fresh)));
        }
        if !news.is_empty() {
            records.extend_from_slice(&framed(&file_record(&news)));
        }
        if records.is_empty() {
            return Ok(());
        }
        self.append(&records)?;
        news.into_iter().for_each(|(index, noted)| self.known.note(index, noted));
        for &piece in &fresh {
            self.known.have.remove(piece);
            self.known.dirty.insert(piece);
        }
        Ok(())
    }

    /// Records that pieces are verified, written and synced.
    pub(crate) fn have(&mut self, pieces: &[Piece]) -> Result<(), StoreError> {
        if pieces.is_empty() {
            return Ok(());
        }
        self.append(&framed(&numbers(b'G', pieces)))?;
        for &piece in pieces {
            self.known.dirty.remove(piece);
            self.known.have.insert(piece);
        }
        self.sync()
    }

    /// Records how files look. Needs no sync: if a power cut takes the record, the files are
    /// hashed.
    pub(crate) fn note(&mut self, files: &[(usize, Noted)]) -> Result<(), StoreError> {
        self.written(&[], files)
    }

    /// Records where the torrent lives.
    pub(crate) fn settle(&mut self, folder: FolderId, name: &str) -> Result<(), StoreError> {
        let home = Home { folder, name: name.to_owned(), path: self.dir.clone() };
        if self.known.home.as_ref() == Some(&home) {
            return Ok(());
        }
        self.append(&framed(&home_record(&home)))?;
        self.known.home = Some(home);
        Ok(())
    }

    /// Reads the journal of this name, of whichever torrent; `None` if it is no journal.
    pub fn look(state: &dyn Storage, name: &Path) -> Result<Option<Remembered>, StoreError> {
        let read = || -> io::Result<Option<Remembered>> {
            let bytes = read_all(state, name)?;
            let Some((id, geometry)) = take_record(&mut bytes.as_slice()).and_then(read_header)
            else {
                return Ok(None);
            };
            let mut journal = Journal::in_memory(id, &geometry);
            journal.replay_all(&bytes);
            let Known { have, home, .. } = journal.known;
            let bytes_have =
                have.iter(&geometry).map(|piece| u64::from(geometry.piece_len(piece))).sum();
            let (name, dir) = home.map(|home| (home.name, home.path)).unwrap_or_default();
            Ok(Some(Remembered {
                info_hash: id,
                name,
                dir,
                bytes_have,
                bytes_total: geometry.total(),
            }))
        };
        read().map_err(StoreError::at(name))
    }

    /// Remembers files that hold nothing, until the process ends.
    pub(crate) fn set_blank(&mut self, files: Vec<(usize, Stat)>) {
        self.known.blank = files.into_iter().collect();
    }

    /// Records these pieces as the only ones on the disk, with no dirty ones.
    pub(crate) fn reset(&mut self, have: Bitfield) -> Result<(), StoreError> {
        let dirty = Bitfield::empty(self.geometry.piece_count());
        (self.known.have, self.known.dirty) = (have, dirty);
        self.rewrite().map_err(StoreError::at(&self.path))
    }

    /// Makes the records survive a power cut.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(state) = self.state.as_ref().filter(|_| self.is_unsynced) {
            state.sync(&self.path).map_err(StoreError::at(&self.path))?;
        }
        self.is_unsynced = false;
        Ok(())
    }

    /// Appends framed records. A failed append is overwritten by the next one. A file that another
    /// program changed or removed is written anew.
    fn append(&mut self, records: &[u8]) -> Result<(), StoreError> {
        let append = |journal: &mut Journal| {
            if journal.end == 0
                || journal.end.saturating_sub(journal.compact_end)
                    > COMPACT_AFTER.max(journal.compact_end)
            {
                journal.rewrite()?;
            }
            match journal.write(records) {
                // Only we write this file: its proper content is known here.
                Err(error)
                    if matches!(fault_of(&error), StoreFault::Changed | StoreFault::Missing) =>
                {
                    journal.rewrite()?;
                    journal.write(records)?;
                }
                written => written?,
            }
            journal.end += records.len() as u64;
            journal.is_unsynced = true;
            Ok(())
        };
        append(self).map_err(StoreError::at(&self.path))
    }

    fn write(&self, records: &[u8]) -> io::Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        state.write_at(&self.path, self.end, &[IoSlice::new(records)])
    }

    /// Writes what is known into a new file, which replaces the old one.
    fn rewrite(&mut self) -> io::Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        let mut bytes = framed(&header(VERSION, self.id, &self.geometry));
        let mut body = vec![b'P'];
        body.extend_from_slice(self.known.have.as_bytes());
        body.extend_from_slice(self.known.dirty.as_bytes());
        bytes.extend_from_slice(&framed(&body));
        let files = self
            .known
            .files
            .iter()
            .enumerate()
            .filter_map(|(index, noted)| Some((index, (*noted)?)));
        let files: Vec<(usize, Noted)> = files.collect();
        if !files.is_empty() {
            bytes.extend_from_slice(&framed(&file_record(&files)));
        }

        bytes.extend(self.known.home.iter().flat_map(|home| framed(&home_record(home))));
        let draft = self.path.with_extension("new");
        if state.len(&draft)?.is_some() {
            state.remove(&draft)?;
        }
        state.create_new(&draft)?;
        state.write_at(&draft, 0, &[IoSlice::new(&bytes)])?;
        state.sync(&draft)?;
        state.rename(&draft, &self.path)?;
        (self.end, self.compact_end) = (bytes.len() as u64, bytes.len() as u64);
        Ok(())
    }

    /// Reads the file and replays its records.
    fn recover(&mut self, state: &dyn Storage) -> io::Result<()> {
        let bytes = read_all(state, &self.path)?;
        self.replay_all(&bytes);
        if self.end == 0 {
            return Ok(());
        }
        self.compact_end = self.end;
        if self.end < bytes.len() as u64 {
            self.known.dirty = missing_from(&self.known.have, &self.geometry);
            self.rewrite()?;
        }
        Ok(())
    }

    /// Replays the records of a journal of this torrent. Sets `end` behind the last whole record.
    fn replay_all(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        let Some(first) = take_record(&mut rest) else { return };
        if first == header(VERSION_OLDEST, self.id, &self.geometry) {
            return self.replay_version_1(rest);
        }
        if first != header(VERSION, self.id, &self.geometry) {
            return;
        }
        while let Some(()) = take_record(&mut rest).and_then(|body| self.replay(body)) {
            self.end = (bytes.len() - rest.len()) as u64;
        }
    }

    /// Replays one record; `None` when its body makes no sense.
    fn replay(&mut self, body: &[u8]) -> Option<()> {
        let (kind, body) = body.split_first()?;
        match kind {
            b'P' => {
                let count = self.geometry.piece_count();
                let (have, dirty) = body.split_at_checked(Bitfield::byte_len(count))?;
                // Both or none: half of a record that makes no sense is not trusted either.
                let (have, dirty) =
                    (Bitfield::from_wire(have, count)?, Bitfield::from_wire(dirty, count)?);
                (self.known.have, self.known.dirty) = (have, dirty);
            }
            b'D' | b'G' => {
                let (words, []) = body.as_chunks::<4>() else { return None };
                let pieces: Option<Vec<Piece>> = words
                    .iter()
                    .map(|word| self.geometry.piece(u32::from_le_bytes(*word)))
                    .collect();
                let (from, to) = match kind {
                    b'D' => (&mut self.known.have, &mut self.known.dirty),
                    _ => (&mut self.known.dirty, &mut self.known.have),
                };
                for piece in pieces? {
                    from.remove(piece);
                    to.insert(piece);
                }
            }
            b'B' | b'F' => {
                let files = read_files(*kind, body);
                files?.into_iter().for_each(|(index, noted)| self.known.note(index, noted));
            }
            b'R' => self.known.home = Some(read_home(body)?),
            _ => return None,
        }
        Some(())
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("path", &self.path)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

/// Reads a whole journal; nothing of one that is too long. Fails when it has a newer format.
fn read_all(state: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let Some(len) = state.len(path)? else { return Ok(Vec::new()) };
    let is_too_long = len > LEN_MAX;
    let len = if is_too_long { HEADER_MAX } else { len };
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::InvalidData)?];
    let len = state.read_at(path, 0, &mut bytes)?;
    bytes.truncate(len);
    refuse_newer(&bytes)?;
    Ok(if is_too_long { Vec::new() } else { bytes })
}

fn missing_from(have: &Bitfield, geometry: &Geometry) -> Bitfield {
    let mut missing = Bitfield::full(geometry.piece_count());
    have.iter(geometry).for_each(|piece| {
        missing.remove(piece);
    });
    missing
}

#[cfg(test)]
mod tests;
