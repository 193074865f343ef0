//! Digests of the blocks of failed pieces, for the smart ban: when such a piece is right at last,
//! they tell which blocks were wrong.
//!
//! Decides: how many pieces are remembered.
//! Must not know: which peer sent a block.
//! Invariant: digests only, of the last failure; the memory is bounded.

use bt_hash::{Algorithm, Digest};
use bt_types::{Block, Geometry, Piece};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Most pieces remembered; beyond that the first piece of the torrent is forgotten.
const FAILED_MAX: usize = 64;

/// The block digests of failed pieces.
#[derive(Debug, Default)]
pub(crate) struct Failed(BTreeMap<Piece, Vec<Digest>>);

impl Failed {
    /// Returns whether the piece failed before.
    pub(crate) fn has(&self, piece: Piece) -> bool {
        self.0.contains_key(&piece)
    }

    /// Remembers the block digests of a failed piece.
    pub(crate) fn remember(&mut self, piece: Piece, digests: Vec<Digest>) {
        if self.0.len() >= FAILED_MAX && !self.0.contains_key(&piece) {
            self.0.pop_first();
        }
        self.0.insert(piece, digests);
    }

    /// Takes the block digests of a right piece; returns the blocks that were wrong when it last
    /// failed. `None` if it never failed.
    pub(crate) fn audit(
        &mut self,
        geometry: &Geometry,
        piece: Piece,
        digests: &[Digest],
    ) -> Option<Vec<Block>> {
        let then = self.0.remove(&piece)?;
        let differs = digests.iter().zip(then).map(|(now, then)| *now != then);
        let wrong = geometry.blocks(piece).zip(differs).filter(|(_, differs)| *differs);
        Some(wrong.map(|(block, _)| block).collect())
    }
}

/// Hashes each block.
pub(crate) fn digests(blocks: &[Bytes]) -> Vec<Digest> {
    let slices: Vec<[&[u8]; 1]> = blocks.iter().map(|data| [&data[..]]).collect();
    let messages: Vec<&[&[u8]]> = slices.iter().map(<[_; 1]>::as_slice).collect();
    let mut digests = Vec::with_capacity(messages.len());
    bt_hash::digest_many(Algorithm::Sha1, &messages, &mut digests);
    digests
}
