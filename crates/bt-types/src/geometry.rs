//! Divides a torrent's bytes into pieces and blocks (BEP 3).
//!
//! Decides: which pieces and blocks of a torrent are valid. Must not know: files, hashes, peers.
//! Invariant: a `Piece` or `Block` can be made only by the `Geometry` it belongs to, so it is in
//! range.

use core::fmt;

/// The length in bytes of a block that clients request: 16 KiB.
pub const BLOCK_LEN: u32 = 16 * 1024;
/// The longest block in bytes that is accepted as valid: 128 KiB.
pub const BLOCK_LEN_MAX: u32 = 128 * 1024;
/// The largest number of pieces that we accept.
pub const PIECES_MAX: u32 = 2_097_152;
/// The largest piece length in bytes that we accept: 512 MiB.
pub const PIECE_LENGTH_MAX: u32 = 512 * 1024 * 1024;
/// The longest piece in bytes that is assembled in memory: 32 MiB, half of what all torrents may
/// hold there by default.
pub const PIECE_IN_MEMORY_MAX: u32 = 32 * 1024 * 1024;
/// The largest total length in bytes that we accept: 2^48.
const TOTAL_MAX: u64 = 1 << 48;

/// The shape of one torrent: its total length and its piece length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    total: u64,
    piece_length: u32,
    pieces: u32,
}

/// Why a torrent cannot have the shape that it claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GeometryError {
    /// The piece length is zero or above [`PIECE_LENGTH_MAX`].
    PieceLength,
    /// The total length is above 2^48 bytes.
    TotalLength,
    /// The torrent has more than [`PIECES_MAX`] pieces.
    PieceCount,
}

/// The number of a piece, valid for the [`Geometry`] that made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Piece(u32);

/// A byte range inside one piece, valid for the [`Geometry`] that made it: never empty, at most
/// [`BLOCK_LEN_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    piece: Piece,
    begin: u32,
    len: u32,
}

/// A block as a peer names it: three unchecked numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RawBlock {
    /// Piece number.
    pub piece: u32,
    /// First byte inside the piece.
    pub begin: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Geometry {
    /// Returns whether pieces are too long to be assembled in memory: their blocks go to the disk
    /// one by one, and are hashed there.
    pub fn has_long_pieces(&self) -> bool {
        self.piece_length > PIECE_IN_MEMORY_MAX
    }

    /// Makes the shape of `total` bytes in pieces of `piece_length` bytes, the last piece shorter.
    /// A total of zero has no pieces.
    pub fn new(total: u64, piece_length: u32) -> Result<Geometry, GeometryError> {
        if piece_length == 0 || piece_length > PIECE_LENGTH_MAX {
            return Err(GeometryError::PieceLength);
        }
        if total > TOTAL_MAX {
            return Err(GeometryError::TotalLength);
        }
        let pieces = total.div_ceil(u64::from(piece_length));
        match u32::try_from(pieces) {
            Ok(pieces) if pieces <= PIECES_MAX => Ok(Geometry { total, piece_length, pieces }),
            _ => Err(GeometryError::PieceCount),
        }
    }

    /// Returns the total length in bytes, including padding files.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the length in bytes of every piece except the last.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Returns the number of pieces.
    pub fn piece_count(&self) -> u32 {
        self.pieces
    }

    /// Returns the piece with this number, if the torrent has it.
    pub fn piece(&self, number: u32) -> Option<Piece> {
        (number < self.pieces).then_some(Piece(number))
    }

    /// Returns all pieces in order.
    pub fn pieces(&self) -> impl DoubleEndedIterator<Item = Piece> + ExactSizeIterator + use<> {
        (0..self.pieces).map(Piece)
    }

    /// Returns the offset in bytes of the piece in the torrent.
    pub fn piece_start(&self, piece: Piece) -> u64 {
        u64::from(piece.0) * u64::from(self.piece_length)
    }

    /// Returns the length in bytes of this piece.
    pub fn piece_len(&self, piece: Piece) -> u32 {
        let rest = self.total.saturating_sub(self.piece_start(piece));
        u32::try_from(rest).map_or(self.piece_length, |rest| rest.min(self.piece_length))
    }

    /// Returns the number of 16 KiB blocks in this piece, the last block shorter.
    pub fn block_count(&self, piece: Piece) -> u32 {
        self.piece_len(piece).div_ceil(BLOCK_LEN)
    }

    /// Returns the `n`-th 16 KiB block of a piece.
    pub fn nth_block(&self, piece: Piece, n: u32) -> Option<Block> {
        let begin = n.checked_mul(BLOCK_LEN)?;
        let left = self.piece_len(piece).checked_sub(begin)?;
        (left > 0).then_some(Block { piece, begin, len: left.min(BLOCK_LEN) })
    }

    /// Returns all 16 KiB blocks of a piece in order.
    pub fn blocks(&self, piece: Piece) -> impl Iterator<Item = Block> + use<> {
        let geometry = *self;
        (0..self.block_count(piece)).filter_map(move |n| geometry.nth_block(piece, n))
    }

    /// Checks the numbers that a peer sent, and makes a `Block` of them: the only way to do so.
    /// `None` if the block is empty, longer than [`BLOCK_LEN_MAX`] or not inside a piece of this
    /// torrent.
    pub fn block(&self, raw: RawBlock) -> Option<Block> {
        let piece = self.piece(raw.piece)?;
        let end = raw.begin.checked_add(raw.len)?;
        let fits = raw.len > 0 && raw.len <= BLOCK_LEN_MAX && end <= self.piece_len(piece);
        fits.then_some(Block { piece, begin: raw.begin, len: raw.len })
    }
}

impl Piece {
    /// Returns the piece's number, counted from 0.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Returns the piece's number as an index into a slice.
    pub fn index(self) -> usize {
        // u32 to usize: the workspace supports 32- and 64-bit targets only.
        self.0 as usize
    }
}

impl Block {
    /// Returns the piece that the block lies in.
    pub fn piece(self) -> Piece {
        self.piece
    }

    /// Returns the first byte inside the piece.
    pub fn begin(self) -> u32 {
        self.begin
    }

    /// Returns the length in bytes, 1 to [`BLOCK_LEN_MAX`].
    pub fn len(self) -> u32 {
        self.len
    }

    /// Returns false always: an empty block cannot be made.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Returns the block's number in its piece, if it is one of the piece's 16 KiB blocks.
    pub fn nth(self, geometry: &Geometry) -> Option<u32> {
        let n = self.begin / BLOCK_LEN;
        (geometry.nth_block(self.piece, n) == Some(self)).then_some(n)
    }

    /// Returns the three numbers for the wire.
    pub fn raw(self) -> RawBlock {
        RawBlock { piece: self.piece.0, begin: self.begin, len: self.len }
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}+{}", self.piece.0, self.begin, self.len)
    }
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GeometryError::PieceLength => {
                write!(f, "the piece length is not between 1 byte and 512 MiB")
            }
            GeometryError::TotalLength => write!(f, "the total length is over 2^48 bytes"),
            GeometryError::PieceCount => write!(f, "it has more than {PIECES_MAX} pieces"),
        }
    }
}

impl core::error::Error for GeometryError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn impossible_shapes_are_refused() {
        assert_eq!(Geometry::new(1, 0), Err(GeometryError::PieceLength));
        assert_eq!(Geometry::new(1, u32::MAX), Err(GeometryError::PieceLength));
        assert_eq!(Geometry::new(u64::MAX, 1 << 20), Err(GeometryError::TotalLength));
        assert_eq!(Geometry::new(1 << 40, 1), Err(GeometryError::PieceCount));
        assert_eq!(Geometry::new(0, 1).map(|g| g.piece_count()), Ok(0));
    }

    #[test]
    fn the_last_block_of_the_last_piece_is_short() {
        let g = Geometry::new(100_000, 65_536).unwrap();
        let last = g.piece(1).unwrap();
        let lens: Vec<u32> = g.blocks(last).map(Block::len).collect();
        assert_eq!(lens, [16_384, 16_384, 1_696]);
        assert_eq!(g.piece(2), None);
    }

    proptest! {
        #[test]
        fn blocks_cover_each_piece_exactly(total in 0u64..2_000_000, piece_length in 1u32..300_000) {
            let Ok(g) = Geometry::new(total, piece_length) else { return Ok(()) };
            let sum: u64 = g.pieces().flat_map(|p| g.blocks(p)).map(|b| u64::from(b.len())).sum();
            prop_assert_eq!(sum, total);
            for block in g.pieces().flat_map(|p| g.blocks(p)) {
                prop_assert_eq!(g.block(block.raw()), Some(block));
                prop_assert!(block.nth(&g).is_some());
            }
        }

        #[test]
        fn raw_numbers_never_make_a_block_out_of_range(piece: u32, begin: u32, len: u32) {
            let g = Geometry::new(1_000_003, 70_001).unwrap();
            if let Some(b) = g.block(RawBlock { piece, begin, len }) {
                prop_assert!(g.piece_start(b.piece()) + u64::from(b.begin()) + u64::from(b.len()) <= g.total());
            }
        }
    }
}
