//! Counts the pieces of a torrent: those that we have, those that we want and lack, and their
//! bytes.
//!
//! Decides: nothing. Must not know: peers, priorities.
//! Invariant: `missing` holds no piece of `have`, and each count of bytes is that of its pieces.

use alloc::vec::Vec;
use bt_types::{Bitfield, Geometry, Piece};
use core::ops::Range;

/// The pieces of a torrent.
#[derive(Debug)]
pub(crate) struct Pieces {
    pub(crate) geometry: Geometry,
    /// The pieces of each file; empty if the torrent is one file.
    pub(crate) files: Vec<Range<u32>>,
    /// Pieces that are verified and written.
    pub(crate) have: Bitfield,
    /// Pieces of these that were not announced to peers yet.
    pub(crate) unannounced: Vec<Piece>,
    /// Pieces that we want and lack.
    pub(crate) missing: Bitfield,
    /// Bytes of the pieces that we want, whether we have them or not.
    pub(crate) bytes_wanted: u64,
    pub(crate) bytes_missing: u64,
    pub(crate) bytes_done: u64,
}

impl Pieces {
    /// Makes the pieces of a torrent; none of them is wanted.
    pub(crate) fn new(geometry: Geometry, files: Vec<Range<u32>>, have: Bitfield) -> Pieces {
        let bytes_done =
            have.iter(&geometry).map(|piece| u64::from(geometry.piece_len(piece))).sum();
        Pieces {
            geometry,
            files,
            have,
            unannounced: Vec::new(),
            missing: Bitfield::empty(geometry.piece_count()),
            bytes_wanted: 0,
            bytes_missing: 0,
            bytes_done,
        }
    }

    /// Counts anew what is wanted.
    pub(crate) fn count_wanted(&mut self, is_wanted: impl Fn(Piece) -> bool) {
        self.missing = Bitfield::empty(self.geometry.piece_count());
        (self.bytes_wanted, self.bytes_missing) = (0, 0);
        for piece in self.geometry.pieces().filter(|&piece| is_wanted(piece)) {
            self.bytes_wanted += self.len(piece);
            if !self.have.has(piece) {
                self.missing.insert(piece);
                self.bytes_missing += self.len(piece);
            }
        }
    }

    /// Notes a piece that was verified and written. Returns whether it was missing; `None` if we
    /// had it.
    pub(crate) fn verified(&mut self, piece: Piece) -> Option<bool> {
        if !self.have.insert(piece) {
            return None;
        }
        self.bytes_done += self.len(piece);
        let was_missing = self.missing.remove(piece);
        self.bytes_missing -= if was_missing { self.len(piece) } else { 0 };
        Some(was_missing)
    }

    /// Notes a piece that was good and is lost. Returns whether it is missing now.
    pub(crate) fn lost(&mut self, piece: Piece, is_wanted: bool) -> bool {
        if !self.have.remove(piece) {
            return false;
        }
        self.bytes_done -= self.len(piece);
        let is_missing = is_wanted && self.missing.insert(piece);
        self.bytes_missing += if is_missing { self.len(piece) } else { 0 };
        is_missing
    }

    /// Returns the bytes of a piece.
    pub(crate) fn len(&self, piece: Piece) -> u64 {
        u64::from(self.geometry.piece_len(piece))
    }
}
