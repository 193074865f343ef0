//! Writes pieces into files.
//!
//! Decides: which files are made, and what is not overwritten.
//! Must not know: digests, when files are synced.
//! Invariant: a file that is not ours is not changed. The making of a file is recorded before it is
//! written to. Written pieces, and how their files look, are recorded soon after.

use super::{Done, Standing, Unrecorded, Worker};
use crate::LayoutFile;
use crate::identity::{Change, Noted, Stat};
use crate::slices::Slices;
use crate::storage::{Storage, StoreError, foreign};
use bt_types::{Piece, PieceCheck, StoreFault, Time};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// Bytes of a file that are read at once, to see whether it holds data.
const BLANK_LEN: usize = 256 << 10;

impl Worker {
    /// Writes the verified pieces in order, until the disk refuses.
    pub(super) fn write(&mut self, now: Time, storage: &dyn Storage, done: &mut Vec<Done>) {
        if self.verified.is_empty() {
            return;
        }
        let (ready, mut result) = self.make_all_ready(storage);
        let mut written = Vec::new();
        let mut touched = BTreeSet::new();
        for piece in ready {
            let Some(blocks) = self.verified.remove(&piece) else { continue };
            let result_of_piece = if self.has_long_pieces() {
                self.write_long(piece, &mut touched, storage)
            } else {
                self.write_range(piece, 0, &blocks, &mut touched, storage)
            };
            if let Err(error) = result_of_piece {
                self.verified.insert(piece, blocks);
                result = Err(error);
                break;
            }
            self.unsynced.pieces.insert(piece);
            self.unsynced.bytes += u64::from(self.layout.geometry().piece_len(piece));
            self.unsynced.since.get_or_insert(now);
            self.missing.remove(piece);
            written.push(piece);
        }
        self.unsynced.files.extend(&touched);
        let noted = self.note_written(now, &written, &touched, storage);
        // Pieces that complete the torrent are reported when it is settled.
        if self.missing.is_empty() {
            self.sampled.clear();
            self.last.append(&mut written);
        }
        done.extend(
            written.into_iter().map(|piece| Done::Checked { piece, verdict: PieceCheck::Good }),
        );
        if let Err(error) = result.and(noted) {
            // Files in doubt are looked at at once, and the look reports its own error.
            if self.doubts.is_empty() {
                self.held = true;
                done.push(self.failed(&error));
            }
        }
    }

    /// Makes the files of the verified pieces ready. Returns the pieces with ready files, up to the
    /// first without, and its error.
    fn make_all_ready(&mut self, storage: &dyn Storage) -> (Vec<Piece>, Result<(), StoreError>) {
        let layout = Arc::clone(&self.layout);
        let mut is_here = false;
        let pieces: Vec<Piece> = self.verified.keys().copied().collect();
        let mut made = BTreeSet::new();
        let mut ready = Vec::new();
        let mut result = Ok(());
        for &piece in &pieces {
            let spans = layout.piece_spans(piece).filter(|span| span.file.is_stored);
            result = spans.map(|span| span.index).try_for_each(|index| {
                self.make_ready(index, &mut made, &mut is_here, storage).inspect_err(|error| {
                    // It is looked at when the store is tried again, and trusted as it is then.
                    if error.fault() == StoreFault::Changed {
                        self.doubts.add(index);
                    }
                })
            });
            if result.is_err() {
                break;
            }
            ready.push(piece);
        }
        let noted = self.note(&made, true, storage);
        // A file that is not recorded as ours is not written.
        if noted.is_err() { (Vec::new(), noted) } else { (ready, result) }
    }

    /// Writes a part of a piece, with one vectored write for each file that it touches.
    pub(super) fn write_range(
        &mut self,
        piece: Piece,
        begin: u32,
        blocks: &[Bytes],
        touched: &mut BTreeSet<usize>,
        storage: &dyn Storage,
    ) -> Result<(), StoreError> {
        let layout = Arc::clone(&self.layout);
        let mut slices = Slices::of(blocks);
        let len: usize = blocks.iter().map(Bytes::len).sum();
        for span in layout.spans(piece, begin, u32::try_from(len).unwrap_or(u32::MAX)) {
            let data = slices.take(span.len as usize);
            if !span.file.is_stored {
                continue;
            }
            let result = if self.standing.get(span.index) == Some(&Standing::Unproven) {
                compare(storage, span.file, span.offset, &data)
            } else {
                touched.insert(span.index);
                storage.write_at(&span.file.path, span.offset, &data)
            };
            result.map_err(|error| self.refused(span.index, error, storage))?;
            self.witness = Some(span.index);
        }
        Ok(())
    }

    /// Handles a failed write. A file that another program touched is put in doubt.
    fn refused(&mut self, index: usize, source: io::Error, storage: &dyn Storage) -> StoreError {
        let path = self.layout.files()[index].path.clone();
        self.stand(index, Standing::Unknown);
        let is_touched = |path| storage.change(path).is_ok_and(|change| change > Change::None);
        let error = StoreError { path, source };
        if error.fault() == StoreFault::Changed && is_touched(&error.path) {
            self.doubts.add(index);
        }
        error
    }

    pub(super) fn stand(&mut self, index: usize, standing: Standing) {
        if let Some(place) = self.standing.get_mut(index) {
            *place = standing;
        }
    }

    /// Makes sure that a file exists in its full length, the unwritten part a hole.
    ///
    /// A vanished file that held pieces is not made anew: it would look complete and be empty. Then
    /// no other file is made either: it would lie where the disk was mounted. An existing file that
    /// is not known to be ours is written only if it is empty or zeros.
    fn make_ready(
        &mut self,
        index: usize,
        made: &mut BTreeSet<usize>,
        is_here: &mut bool,
        storage: &dyn Storage,
    ) -> Result<(), StoreError> {
        if self.standing.get(index) != Some(&Standing::Unknown) {
            return Ok(());
        }
        let layout = Arc::clone(&self.layout);
        let file = &layout.files()[index];
        let here = |error| StoreError::at(&file.path)(error);
        let mut standing = Standing::Ours;
        match storage.stat(&file.path).map_err(here)? {
            Some(stat)
                if self.journal.known().file(index).is_some_and(|noted| noted.is_file(&stat)) =>
            {
                if stat.len < file.length {
                    storage.set_len(&file.path, file.length).map_err(here)?;
                }
            }
            Some(stat)
                if stat.len <= file.length
                    && self.holds_nothing(index, &stat, storage).map_err(here)? =>
            {
                storage.set_len(&file.path, file.length).map_err(here)?;
                made.insert(index);
            }
            Some(_) => standing = Standing::Unproven,
            None if self.held_pieces(file) => return Err(here(io::ErrorKind::NotFound.into())),
            None => {
                // Once for all files of a batch.
                if !std::mem::replace(is_here, true) {
                    self.ensure_witness(storage)?;
                }
                storage.create_new(&file.path).map_err(here)?;
                // Ours from here on, even if another program writes to it before its length is set.
                made.insert(index);
                // A file within one piece is written whole.
                if layout.numbers_of(file).len() > 1 {
                    storage.set_len(&file.path, file.length).map_err(here)?;
                }
            }
        }
        self.stand(index, standing);
        Ok(())
    }

    /// Notes what we wrote, and how its files look now.
    fn note_written(
        &mut self,
        now: Time,
        pieces: &[Piece],
        files: &BTreeSet<usize>,
        storage: &dyn Storage,
    ) -> Result<(), StoreError> {
        let looks = self.looks(files, storage, false)?;
        self.unrecorded.pieces.extend(pieces);
        self.unrecorded.files.extend(looks);
        if !self.unrecorded.pieces.is_empty() || !self.unrecorded.files.is_empty() {
            self.unrecorded.since.get_or_insert(now);
        }
        Ok(())
    }

    /// Records what was written: one record for all batches in quick succession. Unrecorded pieces
    /// are hashed at the next start.
    pub(super) fn record(&mut self, done: &mut Vec<Done>) {
        if self.unrecorded.since.is_none() {
            return;
        }
        let Unrecorded { pieces, files, .. } = std::mem::take(&mut self.unrecorded);
        let files: Vec<(usize, Noted)> = files.into_iter().collect();
        if let Err(error) = self.journal.written(&pieces, &files) {
            self.held = true;
            done.push(self.failed(&error));
        }
    }

    /// Records how files look now that we wrote to them, or `made` them: these are ours from now
    /// on.
    pub(super) fn note(
        &mut self,
        files: &BTreeSet<usize>,
        made: bool,
        storage: &dyn Storage,
    ) -> Result<(), StoreError> {
        let news = self.looks(files, storage, made)?;
        self.journal.note(&news)
    }

    fn looks(
        &self,
        files: &BTreeSet<usize>,
        storage: &dyn Storage,
        made: bool,
    ) -> Result<Vec<(usize, Noted)>, StoreError> {
        let mut looks = Vec::new();
        for &index in files {
            let path = &self.layout.files()[index].path;
            let then = self.journal.known().file(index);
            if let Some(stat) = storage.noted(path).map_err(StoreError::at(path))? {
                looks.push((
                    index,
                    Noted {
                        stat,
                        made: made || then.is_some_and(|then| then.made && then.is_file(&stat)),
                    },
                ));
            }
        }
        Ok(looks)
    }

    /// Returns whether a file holds only zeros. Reads it, unless that was done at opening: it may
    /// take minutes.
    fn holds_nothing(&self, index: usize, stat: &Stat, storage: &dyn Storage) -> io::Result<bool> {
        Ok(self.journal.known().is_blank(index, stat)
            || is_blank(storage, &self.layout.files()[index], stat.len)?)
    }

    fn held_pieces(&self, file: &LayoutFile) -> bool {
        self.layout.pieces_of(file).any(|piece| self.had(piece))
    }

    /// Checks that files with pieces still exist: the witness, or another file in its place. The
    /// user may move a complete file away.
    fn ensure_witness(&mut self, storage: &dyn Storage) -> Result<(), StoreError> {
        let Some(index) = self.witness else { return Ok(()) };
        let path = &self.layout.files()[index].path;
        if storage.len(path).map_err(StoreError::at(path))?.is_some() {
            return Ok(());
        }
        let is_there = |file: &LayoutFile| {
            self.held_pieces(file) && matches!(storage.len(&file.path), Ok(Some(_)))
        };
        let other = self.layout.stored().find(|(_, file)| is_there(file)).map(|(index, _)| index);
        self.witness =
            Some(other.ok_or_else(|| StoreError::at(path)(io::ErrorKind::NotFound.into()))?);
        Ok(())
    }
}

/// Returns whether a file of this length holds only zeros: preallocated by another program's
/// interrupted download, or empty.
pub(crate) fn is_blank(storage: &dyn Storage, file: &LayoutFile, len: u64) -> io::Result<bool> {
    let mut at = 0;
    let mut buffer = Vec::new();
    while at < len {
        let Some(data) = storage.next_data(&file.path, at)? else { return Ok(true) };
        at = data.max(at);
        buffer.resize(BLANK_LEN, 0);
        match storage.read_raw(&file.path, at, &mut buffer)? {
            0 => return Ok(true),
            read if buffer.iter().take(read).any(|&byte| byte != 0) => return Ok(false),
            read => at = at.saturating_add(read as u64),
        }
    }
    Ok(true)
}

/// Fails unless a file holds these bytes already.
fn compare(
    storage: &dyn Storage,
    file: &LayoutFile,
    offset: u64,
    data: &[io::IoSlice<'_>],
) -> io::Result<()> {
    let mut there = vec![0; data.iter().map(|part| part.len()).sum()];
    let read = storage.read_raw(&file.path, offset, &mut there)?;
    let is_same = read == there.len() && data.iter().flat_map(|part| part.iter()).eq(&there);
    if is_same { Ok(()) } else { Err(foreign()) }
}
