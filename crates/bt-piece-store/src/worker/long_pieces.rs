//! How pieces that are too long for memory pass through the worker.
//!
//! Decides: when their blocks count as stored, and what happens to a complete one.
//! Must not know: where their blocks lie (`long.rs`).
//! Invariant: no byte of a long piece reaches a payload file before its digest is compared.

use super::{Done, Worker};
use crate::long::CHUNK;
use crate::storage::{Storage, StoreError};
use bt_types::{Block, Piece, PieceCheck};
use bytes::Bytes;
use std::collections::BTreeSet;

impl Worker {
    pub(super) fn has_long_pieces(&self) -> bool {
        self.layout.geometry().has_long_pieces()
    }

    pub(super) fn store_long(
        &mut self,
        block: Block,
        data: Bytes,
        storage: &dyn Storage,
        done: &mut Vec<Done>,
    ) {
        match self.long.store(block, data, storage) {
            Ok(true) => on_disk(block.piece(), u64::from(block.len()), done),
            Ok(false) => {}
            Err(error) => {
                self.held = true;
                done.push(self.failed(&error));
            }
        }
    }

    /// Stores the blocks that the disk refused.
    pub(super) fn retry_long(&mut self, storage: &dyn Storage, done: &mut Vec<Done>) {
        let (written, result) = self.long.retry(storage);
        written.into_iter().for_each(|(piece, bytes)| on_disk(piece, bytes, done));
        match result {
            Ok(()) => self
                .complete
                .extend(self.long.take_postponed().into_iter().map(|piece| (piece, Vec::new()))),
            Err(error) => {
                self.held = true;
                done.push(self.failed(&error));
            }
        }
    }

    /// Compares the digest of a long piece. A wrong piece is dropped.
    pub(super) fn check_long(&mut self, piece: Piece, storage: &dyn Storage, done: &mut Vec<Done>) {
        let is_good =
            self.long.digest(piece).is_some_and(|digest| self.digests.matches(piece, &digest));
        // The wrong blocks can be told only if every block can be read back.
        if is_good
            && self.failed.has(piece)
            && let Ok(digests) = self.long.block_digests(piece, storage)
        {
            let wrong = self.failed.audit(self.layout.geometry(), piece, &digests);
            done.extend(wrong.map(|wrong| Done::Audited { wrong }));
        }
        if is_good {
            self.verified.insert(piece, Vec::new());
            return;
        }
        if let Ok(digests) = self.long.block_digests(piece, storage) {
            self.failed.remember(piece, digests);
        }
        self.long.forget(piece, storage);
        done.push(Done::Checked { piece, verdict: PieceCheck::Bad });
    }

    /// Copies a verified piece to its files.
    pub(super) fn write_long(
        &mut self,
        piece: Piece,
        touched: &mut BTreeSet<usize>,
        storage: &dyn Storage,
    ) -> Result<(), StoreError> {
        let end = self.layout.geometry().piece_len(piece);
        for begin in (0..end).step_by(CHUNK as usize) {
            let part = self.long.read(piece, begin, CHUNK.min(end - begin), storage)?;
            self.write_range(piece, begin, &[part], touched, storage)?;
        }
        self.long.forget(piece, storage);
        Ok(())
    }
}

/// Reports bytes on the disk, added to the last report if that is about the same piece.
fn on_disk(piece: Piece, bytes: u64, done: &mut Vec<Done>) {
    match done.last_mut() {
        Some(Done::OnDisk { piece: last, bytes: sum }) if *last == piece => *sum += bytes,
        _ => done.push(Done::OnDisk { piece, bytes }),
    }
}
