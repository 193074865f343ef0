//! Syncs written pieces, and reports the last pieces of a complete torrent.
//!
//! Decides: when files are synced, and whether the last piece may be reported.
//! Must not know: peers, threads.
//! Invariant: the journal says "have" only after the sync. After a failed sync a piece is read,
//! hashed and written again first.

use super::{Done, SYNC_BYTES, Unsynced, Worker};
use crate::hashing::read_range;
use crate::identity::Change;
use crate::long::CHUNK;
use crate::storage::{Storage, StoreError};
use bt_hash::State;
use bt_types::{Piece, PieceCheck, Time};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

impl Worker {
    /// Syncs the files, then records their pieces as "have".
    pub(super) fn sync(&mut self, now: Time, storage: &dyn Storage, done: &mut Vec<Done>) {
        self.record(done);
        if self.unsynced.is_unsafe {
            return;
        }
        if self.unsynced.pieces.is_empty() {
            self.unsynced = Unsynced::default();
            return;
        }
        let paths: Vec<&Path> = self
            .unsynced
            .files
            .iter()
            .map(|&index| self.layout.files()[index].path.as_path())
            .collect();
        let names = || storage.sync_names().map_err(StoreError::at(Path::new(".")));
        if let Err(error) = storage.sync_many(&paths).and_then(|()| names()) {
            // The system may have dropped the bytes that it could not write.
            (self.unsynced.is_unsafe, self.unsynced.since, self.held) = (true, None, true);
            return done.push(self.failed(&error));
        }
        let list: Vec<Piece> = self.unsynced.pieces.iter().copied().collect();
        if let Err(error) = self.journal.have(&list) {
            // The data is safe and only the record is missing: try again at the next deadline.
            self.unsynced.since = Some(now);
            self.held = true;
            return done.push(self.failed(&error));
        }
        self.unsynced = Unsynced::default();
    }

    /// Hashes and rewrites all unsynced pieces after a failed sync, so that the next sync covers
    /// all of them.
    pub(super) fn rewrite(&mut self, storage: &dyn Storage, done: &mut Vec<Done>) {
        if !self.unsynced.is_unsafe {
            return;
        }
        let (mut lost, mut touched) = (Vec::new(), BTreeSet::new());
        let mut result = Ok(());
        for piece in self.unsynced.pieces.clone() {
            match self.rewrite_piece(piece, &mut touched, storage) {
                Ok(true) => {}
                Ok(false) => lost.push(piece),
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if !self.lose(&lost, done) {
            return;
        }
        if let Err(error) = result.and(self.note(&touched, false, storage)) {
            self.held = true;
            return done.push(self.failed(&error));
        }
        // Due at once.
        (self.unsynced.is_unsafe, self.unsynced.bytes) = (false, SYNC_BYTES);
    }

    /// Rewrites a piece's bytes as they are on the disk, and hashes them; returns whether the piece
    /// is right.
    ///
    /// Works on a part at a time, as the piece may be too long for memory. Wrong bytes are
    /// rewritten in their own place.
    fn rewrite_piece(
        &mut self,
        piece: Piece,
        touched: &mut BTreeSet<usize>,
        storage: &dyn Storage,
    ) -> Result<bool, StoreError> {
        let end = self.layout.geometry().piece_len(piece);
        let mut hash = State::new(self.digests.algorithm());
        for begin in (0..end).step_by(CHUNK as usize) {
            let part = read_range(&self.layout, storage, piece, begin, CHUNK.min(end - begin))?;
            let Some(part) = part.map(Bytes::from) else { return Ok(false) };
            hash.update(&part);
            self.write_range(piece, begin, &[part], touched, storage)?;
        }
        Ok(self.digests.matches(piece, &hash.finish()))
    }

    /// Reports the last pieces of a complete torrent. First all is synced, and changed files are
    /// looked at.
    pub(super) fn settle(&mut self, now: Time, storage: &dyn Storage, done: &mut Vec<Done>) {
        self.sync(now, storage, done);
        if !self.unsynced.pieces.is_empty() || !self.doubts.is_empty() {
            return;
        }
        if let Err(error) = self.look_at_all(storage) {
            self.held = true;
            return done.push(self.failed(&error));
        }
        if self.doubts.is_empty() {
            done.extend(
                self.last.drain(..).map(|piece| Done::Checked { piece, verdict: PieceCheck::Good }),
            );
            self.report_selection(done);
        } else {
            self.look(false, storage, done);
        }
    }

    /// Adds to the doubts every file that another program touched since it was verified.
    fn look_at_all(&mut self, storage: &dyn Storage) -> Result<(), StoreError> {
        let layout = Arc::clone(&self.layout);
        for (index, file) in layout.stored().filter(|(_, file)| file.length > 0) {
            if !layout.pieces_of(file).any(|piece| self.had(piece)) {
                continue;
            }
            let here = StoreError::at(&file.path);
            match storage.change(&file.path) {
                Ok(Change::None) => {}
                // Another program may touch it again and again.
                Ok(Change::Attributes) if self.sampled.contains(&index) => {}
                Ok(_) if storage.len(&file.path).is_ok_and(|len| len.is_none()) => {
                    return Err(here(io::ErrorKind::NotFound.into()));
                }
                Ok(_) => self.doubts.add(index),
                Err(error) => return Err(here(error)),
            }
        }
        Ok(())
    }

    /// Gives up lost pieces; returns whether that is recorded. If not, they are not reported
    /// either, and the store is held.
    #[must_use]
    pub(super) fn lose(&mut self, pieces: &[Piece], done: &mut Vec<Done>) -> bool {
        if pieces.is_empty() {
            return true;
        }
        if let Err(error) = self.journal.dirty(pieces) {
            self.held = true;
            done.push(self.failed(&error));
            return false;
        }
        for &piece in pieces {
            self.unsynced.pieces.remove(&piece);
            self.last.retain(|last| *last != piece);
        }
        for &piece in pieces.iter().filter(|piece| self.wanted.has(**piece)) {
            self.missing.insert(piece);
        }
        done.push(Done::Lost { pieces: pieces.to_vec() });
        // Pieces that are still right need not wait for the lost ones. If all wanted pieces are
        // right, they wait until the rest is looked at.
        if !self.missing.is_empty() {
            done.extend(
                self.last.drain(..).map(|piece| Done::Checked { piece, verdict: PieceCheck::Good }),
            );
        }
        true
    }
}
