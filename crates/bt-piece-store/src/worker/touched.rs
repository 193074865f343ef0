//! Files that another program touched.
//!
//! Decides: which pieces are given up, and which files stay as they are.
//! Must not know: how a touch is noticed.
//! Invariant: a file of a complete torrent is never written. Lost pieces are reported before their
//! file is trusted again.

use super::{Done, Standing, Worker};
use crate::doubt::Looked;
use crate::hashing::read_range;
use crate::identity::{Change, Noted};
use crate::storage::{Storage, StoreError, changed};
use bt_types::{Block, Piece, Rng};
use bytes::Bytes;
use std::sync::Arc;

impl Worker {
    /// Puts the files of a piece in doubt, as a block of it could not be read.
    pub(super) fn doubt(&mut self, piece: Piece, storage: &dyn Storage) {
        let files = || self.layout.piece_spans(piece).filter(|span| span.file.is_stored);
        let is_changed = |path| storage.change(path).map_or(true, |change| change > Change::None);
        let changed: Vec<usize> =
            files().filter(|span| is_changed(&span.file.path)).map(|span| span.index).collect();
        // If no file changed, one is too short: it was so when it was trusted.
        let all = || files().map(|span| span.index).collect();
        for index in if changed.is_empty() { all() } else { changed } {
            self.doubts.add(index);
        }
    }

    /// Reads blocks of files with changed attributes only, so that no peer waits. It hashes each
    /// piece and takes the blocks from the hashed bytes.
    ///
    /// `None` if more changed, a piece is wrong, or pieces are too long for memory. The files are
    /// looked at next.
    pub fn read_hashed(&mut self, blocks: &[Block], storage: &dyn Storage) -> Option<Vec<Bytes>> {
        if self.has_long_pieces() {
            return None;
        }
        let mut read: Option<(Piece, Vec<u8>)> = None;
        let mut data = Vec::with_capacity(blocks.len());
        for block in blocks {
            let piece = block.piece();
            if read.as_ref().is_none_or(|(last, _)| *last != piece) {
                self.doubt(piece, storage);
                let files = self.layout.piece_spans(piece).filter(|span| span.file.is_stored);
                let mut changes =
                    files.map(|span| storage.change(&span.file.path).unwrap_or(Change::Content));
                if changes.any(|change| change == Change::Content) {
                    return None;
                }
                let len = self.layout.geometry().piece_len(piece);
                let bytes = read_range(&self.layout, storage, piece, 0, len).ok()??;
                read = self.is_right(piece, &bytes).then_some((piece, bytes));
            }
            let (begin, len) = (block.begin() as usize, block.len() as usize);
            // A copy: the blocks of a batch may be of many pieces, and would keep each of them in
            // memory.
            data.push(Bytes::copy_from_slice(
                read.as_ref()?.1.get(begin..begin.checked_add(len)?)?,
            ));
        }
        // They are trusted again after a look.
        self.begin(Change::Attributes, storage);
        Some(data)
    }

    fn is_right(&self, piece: Piece, bytes: &[u8]) -> bool {
        let mut digests = Vec::with_capacity(1);
        bt_hash::digest_many(self.digests.algorithm(), &[&[bytes]], &mut digests);
        digests.first().is_some_and(|digest| self.digests.matches(piece, digest))
    }

    /// Starts looks at files in doubt with at most this change; returns the error of a file that
    /// cannot be looked at.
    fn begin(&mut self, only: Change, storage: &dyn Storage) -> Option<StoreError> {
        let (journal, unsynced) = (&self.journal, &self.unsynced);
        let had = |piece| journal.known().have.has(piece) || unsynced.pieces.contains(&piece);
        self.looks += 1;
        // The seed may be easy to guess: sampling cannot catch a program that sets times back to
        // hide its writes anyway.
        let mut rng = Rng::from_seed(self.looks ^ u64::from(std::process::id()));
        self.doubts.look(&self.layout, storage, &mut rng, only, had)
    }

    /// Looks at files in doubt. While pieces are missing it looks at all of them at once. Of a
    /// complete torrent it looks only at files with changed attributes; at the others when the
    /// store is tried again.
    pub(super) fn look(&mut self, retry: bool, storage: &dyn Storage, done: &mut Vec<Done>) {
        if self.doubts.is_empty() {
            return;
        }
        // The looks compare the files with the journal's notes.
        self.record(done);
        // A held store waits for the next try, or another program's writes would set the pace.
        if retry || !self.held {
            let only =
                if retry || !self.is_settled() { Change::Content } else { Change::Attributes };
            if let Some(error) = self.begin(only, storage) {
                self.held = true;
                done.push(self.failed(&error));
            }
        }
        match self.doubts.step(&self.layout, &self.digests, storage) {
            Ok(Some(looked)) => self.looked(&looked, storage, done),
            Ok(None) => {}
            Err(error) => {
                self.held = true;
                done.push(self.failed(&error));
            }
        }
    }

    fn looked(&mut self, looked: &Looked, storage: &dyn Storage, done: &mut Vec<Done>) {
        let Looked { index, stat, wrong, right } = looked;
        let layout = Arc::clone(&self.layout);
        let Some(file) = layout.files().get(*index) else { return };
        let then = self.journal.known().file(*index).filter(|then| then.is_file(stat));
        let is_ours = then.is_some() || *right > 0;
        let made = then.is_some_and(|then| then.made);
        // A complete torrent's data is the user's: a change is the user's own, or damage that the
        // user should know of.
        let is_kept = self.is_settled() || !is_ours || (stat.len > file.length && !made);
        if is_kept && (!wrong.is_empty() || stat.len != file.length) {
            if !is_ours && wrong.is_empty() {
                // The file held nothing of ours, and holds other data now: the next write compares.
                self.stand(*index, Standing::Unknown);
                self.doubts.believe(&layout, storage, *index, stat);
            }
            return;
        }
        if !self.lose(wrong, done) {
            return self.doubts.forget_look(*index);
        }
        if !self.doubts.believe(&layout, storage, *index, stat) {
            // It is looked at again when the store is tried again.
            let error = StoreError::at(&file.path)(changed());
            self.held = true;
            return done.push(self.failed(&error));
        }
        self.sampled.insert(*index);
        self.stand(*index, Standing::Unknown);
        let fit = || {
            if stat.len > file.length {
                storage.set_len(&file.path, file.length)?;
            }
            storage.noted(&file.path)
        };
        let noted = match fit() {
            Ok(Some(stat)) if is_ours => self.journal.note(&[(*index, Noted { stat, made })]),
            Ok(_) => Ok(()),
            Err(error) => Err(StoreError::at(&file.path)(error)),
        };
        if let Err(error) = noted {
            self.held = true;
            done.push(self.failed(&error));
        }
    }
}

#[cfg(test)]
mod tests;
