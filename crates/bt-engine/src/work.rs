//! What there is to fetch: a shelf of blocks, as long as there is any use for one.
//!
//! Decides: when there is a shelf. Must not know: what stands on it.
//! Invariant: without a shelf everything is there and wanted, and nobody has told of a piece; one that is made then is like one that was there
//! all the time.

use crate::shelf::Shelf;
use alloc::boxed::Box;
use bt_types::{Bitfield, Geometry, Piece, Rng};

/// The blocks of a torrent that are still needed. A torrent that has everything, and no peers, holds no tables for them.
#[derive(Debug)]
pub(crate) enum Work {
    /// Everything is there, and nobody.
    Done(Geometry, Rng),
    Shelf(Box<Shelf>),
}

impl Work {
    pub(crate) fn new(geometry: Geometry, have: &Bitfield, rng: Rng) -> Work {
        if have.is_full() { Work::Done(geometry, rng) } else { Work::Shelf(Box::new(Shelf::new(geometry, have, rng))) }
    }

    /// The shelf, made if there is none.
    pub(crate) fn shelf(&mut self) -> &mut Shelf {
        if let Work::Done(geometry, rng) = self {
            let everything = Bitfield::full(geometry.piece_count());
            *self = Work::Shelf(Box::new(Shelf::new(*geometry, &everything, rng.clone())));
        }
        match self {
            Work::Shelf(shelf) => shelf,
            Work::Done(..) => unreachable!("it was made"),
        }
    }

    /// Everything is there, and nobody is connected: lets go of the shelf, if nothing of it must be kept.
    pub(crate) fn rest(&mut self) {
        if let Work::Shelf(shelf) = self
            && let Some((geometry, mut rng)) = shelf.essence()
        {
            rng.rest();
            *self = Work::Done(geometry, rng);
        }
    }

    fn get(&self) -> Option<&Shelf> {
        match self {
            Work::Shelf(shelf) => Some(shelf),
            Work::Done(..) => None,
        }
    }

    /// Whether the piece is wanted, there or not.
    pub(crate) fn is_wanted(&self, piece: Piece) -> bool {
        self.get().is_none_or(|shelf| shelf.is_wanted(piece))
    }

    /// Whether every piece that we want and lack is open.
    pub(crate) fn is_end_game(&self) -> bool {
        self.get().is_none_or(Shelf::is_end_game)
    }

    /// The open pieces.
    pub(crate) fn open(&self) -> impl Iterator<Item = Piece> {
        self.get().into_iter().flat_map(Shelf::open)
    }

    /// Bytes that the store may have to hold in memory.
    pub(crate) fn reserved(&self) -> u64 {
        self.get().map_or(0, Shelf::reserved)
    }

    /// What is reserved of the store's memory at a time, in bytes.
    pub(crate) fn unit(&self) -> u64 {
        self.get().map_or(1, Shelf::unit)
    }

    /// Whether the torrent could not reserve what it wanted.
    pub(crate) fn is_short(&self) -> bool {
        self.get().is_some_and(Shelf::is_short)
    }

    /// How many leechers have this piece.
    pub(crate) fn availability(&self, piece: Piece) -> u32 {
        self.get().map_or(0, |shelf| shelf.availability(piece))
    }

    /// Whether blocks, or room for pieces, became free since this was last asked.
    pub(crate) fn take_freed(&mut self) -> bool {
        match self {
            Work::Shelf(shelf) => shelf.take_freed(),
            Work::Done(..) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Priority, Want};

    #[test]
    fn a_shelf_is_let_go_of_and_made_again_as_it_was() {
        let geometry = Geometry::new(64, 1).unwrap();
        let everything = Bitfield::full(64);
        let mut work = Work::new(geometry, &everything, Rng::from_seed(1));
        let first = geometry.piece(0).unwrap();
        assert!(matches!(work, Work::Done(..)) && work.is_wanted(first) && work.is_end_game() && !work.take_freed());
        work.shelf().more([first].into_iter());
        assert_eq!((work.availability(first), work.open().count(), work.reserved()), (1, 0, 0));
        work.shelf().less([first].into_iter());
        work.rest();
        assert!(matches!(work, Work::Done(..)) && work.availability(first) == 0);
        assert_eq!(work.shelf().want(&[Want::Pieces(0..1, Priority::Skip)]), []);
        work.rest();
        assert!(!work.is_wanted(first), "what was chosen is kept");
        assert!(size_of::<Work>() <= 80, "this is what ten thousand torrents hold");
    }
}
