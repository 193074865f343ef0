//! Changes which files are wanted while the torrent runs.
//!
//! Decides: what is made at once, and when the change counts.
//! Must not know: priorities among wanted files.
//! Invariant: a change that leaves nothing missing counts once all is synced and looked at, as the
//! last piece of a download does.

use super::{Done, Standing, Worker};
use crate::storage::{Storage, StoreError};
use bt_types::PieceCheck;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

impl Worker {
    /// Returns whether something of these files must still be written or made.
    pub fn lacks(&self, files: &BTreeSet<usize>, storage: &dyn Storage) -> bool {
        let is_lacking = |index: usize| {
            let Some(file) = self.layout.files().get(index).filter(|file| file.is_stored) else {
                return false;
            };
            let is_empty_one = file.length == 0;
            (is_empty_one && !matches!(storage.len(&file.path), Ok(Some(_))))
                || self.layout.pieces_of(file).any(|piece| !self.had(piece))
        };
        files.iter().any(|&index| is_lacking(index))
    }

    /// Wants these files and no others. Wanted empty files are made at once, if nothing is there
    /// under their name.
    pub(super) fn select(
        &mut self,
        files: BTreeSet<usize>,
        storage: &dyn Storage,
        done: &mut Vec<Done>,
    ) {
        let was_settled = self.is_settled();
        self.wanted = self.layout.pieces_of_files(|index| files.contains(&index));
        let mut missing = self.wanted.clone();
        let pieces = self.layout.geometry().pieces();
        pieces.filter(|&piece| self.had(piece)).for_each(|piece| {
            missing.remove(piece);
        });
        self.missing = missing;
        self.sampled.clear();
        if !self.missing.is_empty() {
            done.extend(
                self.last.drain(..).map(|piece| Done::Checked { piece, verdict: PieceCheck::Good }),
            );
        }
        if let Err(error) = self.make_empty_files(&files, storage) {
            self.held = true;
            done.push(self.failed(&error));
            // It is ordered again when the store is tried again.
            return;
        }
        self.selection = Some(files);
        // Nothing was written since all was synced and looked at.
        if was_settled && self.missing.is_empty() {
            self.report_selection(done);
        }
    }

    /// Makes the change count, when it may.
    pub(super) fn report_selection(&mut self, done: &mut Vec<Done>) {
        done.extend(self.selection.take().map(|files| Done::Selected { files }));
    }

    fn make_empty_files(
        &mut self,
        files: &BTreeSet<usize>,
        storage: &dyn Storage,
    ) -> Result<(), StoreError> {
        let layout = Arc::clone(&self.layout);
        let mut made = BTreeSet::new();
        let empty = layout.stored().filter(|(index, file)| {
            file.length == 0 && files.contains(index) && self.standing[*index] == Standing::Unknown
        });
        for (index, file) in empty {
            match storage.create_new(&file.path) {
                Ok(()) => {
                    made.insert(index);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::at(&file.path)(error)),
            }
        }
        if made.is_empty() {
            return Ok(());
        }
        let paths: Vec<&Path> =
            made.iter().map(|&index| layout.files()[index].path.as_path()).collect();
        storage.sync_many(&paths)?;
        storage.sync_names().map_err(StoreError::at(Path::new(".")))?;
        self.note(&made, true, storage)
    }
}
