//! What is remembered of pieces that were wrong: when they are right at last, it is known which of their blocks were not.
//!
//! Decides: how many are remembered. Must not know: who sent a block.
//! Invariant: digests only, of the last failure; the memory is bounded.

use bt_hash::{Algorithm, Digest};
use bt_types::{Block, Geometry, Piece};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Pieces remembered; when there are more, the first of the torrent is forgotten.
const FAILED_MAX: usize = 64;

/// The digests of the blocks of pieces that were wrong.
#[derive(Debug, Default)]
pub(crate) struct Failed(BTreeMap<Piece, Vec<Digest>>);

impl Failed {
    /// Whether the piece was wrong before.
    pub(crate) fn has(&self, piece: Piece) -> bool {
        self.0.contains_key(&piece)
    }

    /// A piece was wrong, and these are the digests of its blocks.
    pub(crate) fn remember(&mut self, piece: Piece, digests: Vec<Digest>) {
        if self.0.len() >= FAILED_MAX && !self.0.contains_key(&piece) {
            self.0.pop_first();
        }
        self.0.insert(piece, digests);
    }

    /// A piece is right, and these are the digests of its blocks: those that were wrong when it failed last. `None` if it never failed.
    pub(crate) fn audit(&mut self, geometry: &Geometry, piece: Piece, digests: &[Digest]) -> Option<Vec<Block>> {
        let then = self.0.remove(&piece)?;
        let differs = digests.iter().zip(then).map(|(now, then)| *now != then);
        let wrong = geometry.blocks(piece).zip(differs).filter(|(_, differs)| *differs);
        Some(wrong.map(|(block, _)| block).collect())
    }
}

/// The digest of each block.
pub(crate) fn digests(blocks: &[Bytes]) -> Vec<Digest> {
    let slices: Vec<[&[u8]; 1]> = blocks.iter().map(|data| [&data[..]]).collect();
    let messages: Vec<&[&[u8]]> = slices.iter().map(<[_; 1]>::as_slice).collect();
    let mut digests = Vec::with_capacity(messages.len());
    bt_hash::digest_many(Algorithm::Sha1, &messages, &mut digests);
    digests
}
