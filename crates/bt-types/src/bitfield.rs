//! Holds a set of pieces, in the byte order of the wire (BEP 3: the high bit of the first byte is
//! piece 0).
//!
//! Decides: membership and counting. Must not know: why a piece is in the set.
//! Invariant: spare bits are zero; `count` equals the number of set bits.

use crate::{Geometry, Piece};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// A set of the pieces of one torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bitfield {
    bytes: Vec<u8>,
    len: u32,
    count: u32,
}

impl Bitfield {
    /// Makes an empty set, for a torrent of `len` pieces.
    pub fn empty(len: u32) -> Bitfield {
        Bitfield { bytes: vec![0; Self::byte_len(len)], len, count: 0 }
    }

    /// Makes the set of all pieces of a torrent of `len` pieces.
    pub fn full(len: u32) -> Bitfield {
        let mut bytes = vec![0xff; Self::byte_len(len)];
        if let Some(last) = bytes.last_mut() {
            *last &= Self::last_mask(len);
        }
        Bitfield { bytes, len, count: len }
    }

    /// Parses the bytes of a `bitfield` message: `None` if the length is wrong. Spare bits are
    /// cleared: BEP 3 forbids to set them, and some clients do.
    pub fn from_wire(bytes: &[u8], len: u32) -> Option<Bitfield> {
        if bytes.len() != Self::byte_len(len) {
            return None;
        }
        let mut bytes = bytes.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last &= Self::last_mask(len);
        }
        let count = bytes.iter().map(|byte| byte.count_ones()).sum();
        Some(Bitfield { bytes, len, count })
    }

    /// Returns the number of bytes on the wire for `len` pieces.
    pub fn byte_len(len: u32) -> usize {
        // u32 to usize: the workspace supports 32- and 64-bit targets only.
        len.div_ceil(8) as usize
    }

    fn last_mask(len: u32) -> u8 {
        match len % 8 {
            0 => 0xff,
            used => !(0xff >> used),
        }
    }

    /// Returns the bytes for the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the number of pieces of the torrent.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Returns whether the set holds no piece.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the number of pieces in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns whether the set holds every piece.
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Returns whether the piece is in the set.
    pub fn has(&self, piece: Piece) -> bool {
        self.bytes.get(piece.index() / 8).is_some_and(|byte| byte & Self::bit(piece) != 0)
    }

    /// Adds the piece to the set; true if it was not there.
    pub fn insert(&mut self, piece: Piece) -> bool {
        let fresh = piece.number() < self.len && !self.has(piece);
        if let (true, Some(byte)) = (fresh, self.bytes.get_mut(piece.index() / 8)) {
            *byte |= Self::bit(piece);
            self.count += 1;
        }
        fresh
    }

    /// Removes the piece from the set; true if it was there.
    pub fn remove(&mut self, piece: Piece) -> bool {
        let there = self.has(piece);
        if let (true, Some(byte)) = (there, self.bytes.get_mut(piece.index() / 8)) {
            *byte &= !Self::bit(piece);
            self.count -= 1;
        }
        there
    }

    fn bit(piece: Piece) -> u8 {
        0x80 >> (piece.number() % 8)
    }

    /// Returns the pieces in the set, in order.
    pub fn iter<'a>(&'a self, geometry: &'a Geometry) -> impl Iterator<Item = Piece> + 'a {
        self.common(self, geometry)
    }

    /// Returns the pieces in both sets, in order. Empty stretches cost one look for each 64 pieces.
    pub fn common<'a>(
        &'a self,
        other: &'a Bitfield,
        geometry: &'a Geometry,
    ) -> impl Iterator<Item = Piece> + 'a {
        let words = (0u32..).step_by(64).zip(self.bytes.chunks(8).zip(other.bytes.chunks(8)));
        words.flat_map(move |(first, (ours, theirs))| {
            let mut word = word(ours) & word(theirs);
            core::iter::from_fn(move || {
                let zeros = word.leading_zeros();
                // No bit is left: past the end of every word.
                word &= !(1u64 << 63).checked_shr(zeros)?;
                geometry.piece(first + zeros)
            })
        })
    }

    /// Counts the pieces in both sets.
    pub fn count_common(&self, other: &Bitfield) -> u32 {
        self.bytes.iter().zip(&other.bytes).map(|(ours, theirs)| (ours & theirs).count_ones()).sum()
    }

    /// Counts the pieces of the set whose numbers are in the range.
    pub fn count_in(&self, numbers: Range<u32>) -> u32 {
        let first = numbers.start / 8;
        let bytes = self.bytes.get(first as usize..).unwrap_or_default();
        let before = |number: u32| count_before(bytes, number.saturating_sub(first * 8));
        before(numbers.end).saturating_sub(before(numbers.start))
    }

    /// Returns whether `other` holds a piece that this set lacks.
    pub fn lacks_some_of(&self, other: &Bitfield) -> bool {
        self.bytes.iter().zip(&other.bytes).any(|(ours, theirs)| theirs & !ours != 0)
    }
}

/// Counts the set bits before this bit.
fn count_before(bytes: &[u8], bit: u32) -> u32 {
    let (whole, rest) = bytes.split_at_checked((bit / 8) as usize).unwrap_or((bytes, &[]));
    let part = rest.first().map_or(0, |byte| (byte & !(0xff >> (bit % 8))).count_ones());
    whole.iter().map(|byte| byte.count_ones()).sum::<u32>() + part
}

/// Reads up to eight bytes as a number whose highest bit is the first piece.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
        << (8 * (8 - bytes.len().min(8)) % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wire_form_is_strict() {
        assert!(Bitfield::from_wire(&[0b1110_0000], 3).unwrap().is_full());
        assert_eq!(
            Bitfield::from_wire(&[0b0101_1111], 3),
            Bitfield::from_wire(&[0b0100_0000], 3),
            "spare bits"
        );
        assert_eq!(Bitfield::from_wire(&[], 3), None, "too short");
        assert_eq!(Bitfield::from_wire(&[0, 0], 3), None, "too long");
        assert_eq!(Bitfield::full(3).as_bytes(), [0b1110_0000]);
        assert_eq!(Bitfield::full(16).as_bytes(), [0xff, 0xff]);
    }

    proptest! {
        #[test]
        fn it_is_a_set(len in 1u32..200, picks: Vec<(u32, bool)>) {
            let geometry = Geometry::new(u64::from(len), 1).unwrap();
            let mut model = std::collections::BTreeSet::new();
            let mut set = Bitfield::empty(len);
            for (number, add) in picks {
                let piece = geometry.piece(number % len).unwrap();
                if add {
                    prop_assert_eq!(set.insert(piece), model.insert(piece));
                } else {
                    prop_assert_eq!(set.remove(piece), model.remove(&piece));
                }
            }
            prop_assert_eq!(set.count() as usize, model.len());
            prop_assert!(set.iter(&geometry).eq(model.iter().copied()));
            prop_assert_eq!(Bitfield::from_wire(set.as_bytes(), len).unwrap(), set);
        }

        #[test]
        fn two_sets_meet_in_what_both_hold(len in 1u32..300, ours: Vec<u32>, theirs: Vec<u32>, from: u32, to: u32) {
            let geometry = Geometry::new(u64::from(len), 1).unwrap();
            let set = |numbers: &[u32]| {
                let mut set = Bitfield::empty(len);
                numbers.iter().for_each(|number| { set.insert(geometry.piece(number % len).unwrap()); });
                set
            };
            let (ours, theirs) = (set(&ours), set(&theirs));
            let both: Vec<Piece> = geometry.pieces().filter(|&piece| ours.has(piece) && theirs.has(piece)).collect();
            prop_assert_eq!(ours.count_common(&theirs) as usize, both.len());
            prop_assert!(ours.common(&theirs, &geometry).eq(both));
            let range = from % (len + 10)..to % (len + 10);
            let inside = ours.iter(&geometry).filter(|piece| range.contains(&piece.number())).count();
            prop_assert_eq!(ours.count_in(range) as usize, inside);
        }
    }
}
