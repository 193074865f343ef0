//! Holds the blocks that are still needed: a block picker, while there is any use for it.
//!
//! Decides: when there is a block picker. Must not know: its content.
//! Invariant: without a block picker every piece is there and wanted, and no peer has announced a
//! piece. A block picker that is made later equals one that was there all the time.

use crate::block_picker::BlockPicker;
use alloc::boxed::Box;
use bt_model::Priority;
use bt_types::{Bitfield, Geometry, Piece, Rng};

/// The blocks of a torrent that are still needed. A torrent that has everything, and no peers,
/// holds no tables for them.
#[derive(Debug)]
pub(crate) enum LazyBlockPicker {
    /// Every piece is there, and no peer.
    Complete(Geometry, Rng),
    Active(Box<BlockPicker>),
}

impl LazyBlockPicker {
    pub(crate) fn new(geometry: Geometry, have: &Bitfield, rng: Rng) -> LazyBlockPicker {
        if have.is_full() {
            LazyBlockPicker::Complete(geometry, rng)
        } else {
            LazyBlockPicker::Active(Box::new(BlockPicker::new(geometry, have, rng)))
        }
    }

    /// Returns the block picker; makes it if there is none.
    pub(crate) fn block_picker(&mut self) -> &mut BlockPicker {
        if let LazyBlockPicker::Complete(geometry, rng) = self {
            let everything = Bitfield::full(geometry.piece_count());
            *self = LazyBlockPicker::Active(Box::new(BlockPicker::new(
                *geometry,
                &everything,
                rng.clone(),
            )));
        }
        match self {
            LazyBlockPicker::Active(block_picker) => block_picker,
            LazyBlockPicker::Complete(..) => unreachable!("it was made"),
        }
    }

    /// Drops the block picker, if nothing of it must be kept. The caller has seen that every piece
    /// is there and no peer is connected.
    pub(crate) fn free_tables(&mut self) {
        if let LazyBlockPicker::Active(block_picker) = self
            && let Some((geometry, mut rng)) = block_picker.as_new()
        {
            rng.rest();
            *self = LazyBlockPicker::Complete(geometry, rng);
        }
    }

    fn get(&self) -> Option<&BlockPicker> {
        match self {
            LazyBlockPicker::Active(block_picker) => Some(block_picker),
            LazyBlockPicker::Complete(..) => None,
        }
    }

    /// Returns whether the piece is wanted, whether we have it or not.
    pub(crate) fn is_wanted(&self, piece: Piece) -> bool {
        self.priority(piece) > Priority::Skip
    }

    /// Returns the priority of a piece, whether we have it or not.
    pub(crate) fn priority(&self, piece: Piece) -> Priority {
        self.get().map_or(Priority::Normal, |block_picker| block_picker.priority(piece))
    }

    /// Returns whether every piece that we want and lack is open.
    pub(crate) fn is_end_game(&self) -> bool {
        self.get().is_none_or(BlockPicker::is_end_game)
    }

    /// Returns the open pieces.
    pub(crate) fn open(&self) -> impl Iterator<Item = Piece> {
        self.get().into_iter().flat_map(BlockPicker::open)
    }

    /// Returns the bytes that the store may have to hold in memory.
    pub(crate) fn reserved(&self) -> u64 {
        self.get().map_or(0, BlockPicker::reserved)
    }

    /// Returns the bytes of the store's memory that are reserved at a time.
    pub(crate) fn unit(&self) -> u64 {
        self.get().map_or(1, BlockPicker::unit)
    }

    /// Returns whether the torrent could not reserve what it wanted.
    pub(crate) fn is_short(&self) -> bool {
        self.get().is_some_and(BlockPicker::is_short)
    }

    /// Returns how many leechers have this piece.
    pub(crate) fn availability(&self, piece: Piece) -> u32 {
        self.get().map_or(0, |block_picker| block_picker.availability(piece))
    }

    /// Returns whether blocks, or room for pieces, became free since the last call.
    pub(crate) fn take_freed(&mut self) -> bool {
        match self {
            LazyBlockPicker::Active(block_picker) => block_picker.take_freed(),
            LazyBlockPicker::Complete(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_dropped_and_made_again_as_they_were() {
        let geometry = Geometry::new(64, 1).unwrap();
        let everything = Bitfield::full(64);
        let mut blocks = LazyBlockPicker::new(geometry, &everything, Rng::from_seed(1));
        let first = geometry.piece(0).unwrap();
        assert!(
            matches!(blocks, LazyBlockPicker::Complete(..))
                && blocks.is_wanted(first)
                && blocks.is_end_game()
                && !blocks.take_freed()
        );
        blocks.block_picker().more([first].into_iter());
        assert_eq!(
            (blocks.availability(first), blocks.open().count(), blocks.reserved()),
            (1, 0, 0)
        );
        blocks.block_picker().less([first].into_iter());
        blocks.free_tables();
        assert!(matches!(blocks, LazyBlockPicker::Complete(..)) && blocks.availability(first) == 0);
        assert_eq!(blocks.block_picker().prioritise(&[(0..1, Priority::Skip)]), []);
        blocks.free_tables();
        assert!(!blocks.is_wanted(first), "what was chosen is kept");
        assert!(size_of::<LazyBlockPicker>() <= 80, "this is what ten thousand torrents hold");
    }
}
