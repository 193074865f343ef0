//! Points of the key space (BEP 5): node ids, info-hashes and targets share its 160 bits.
//!
//! Decides: distance.
//! Must not know: addresses, messages.
//! Invariant: distance is XOR read as a big-endian number.

use bt_types::{InfoHash, Rng};
use core::fmt;

/// A point of the key space: a node's id, an info-hash, or the target of a search.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 20]);

/// The distance of two points; ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Distance([u8; 20]);

impl Id {
    /// Picks any point.
    pub fn random(rng: &mut Rng) -> Id {
        let mut bytes = [0; 20];
        rng.fill(&mut bytes);
        Id(bytes)
    }

    /// Parses 40 hex digits of either case.
    pub fn from_hex(text: &str) -> Option<Id> {
        InfoHash::from_hex(text).map(Id::from)
    }

    /// Returns the distance to another point.
    pub fn distance(self, other: Id) -> Distance {
        let mut xor = self.0;
        xor.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
        Distance(xor)
    }

    /// Counts the first bits that both points share: 0 to 160.
    pub fn shared_bits(self, other: Id) -> usize {
        let mut shared = 0;
        for (one, other) in self.0.iter().zip(other.0) {
            let zeros = (one ^ other).leading_zeros();
            shared += usize::try_from(zeros).unwrap_or(0);
            if zeros < 8 {
                break;
            }
        }
        shared
    }

    /// Picks a random point that shares the first `bits` bits with this one, and not the bit after
    /// them.
    pub fn beside(self, bits: usize, rng: &mut Rng) -> Id {
        let mut made = Id::random(rng).0;
        for (at, (byte, own)) in made.iter_mut().zip(self.0).enumerate() {
            let mask = match bits.saturating_sub(at * 8) {
                0 => 0,
                kept @ 1..8 => !(0xff >> kept),
                _ => 0xff,
            };
            *byte = (own & mask) | (*byte & !mask);
            if bits / 8 == at {
                let bit = 0x80 >> (bits % 8);
                *byte = (*byte & !bit) | (!own & bit);
            }
        }
        Id(made)
    }
}

impl From<InfoHash> for Id {
    fn from(hash: InfoHash) -> Id {
        Id(hash.0)
    }
}

impl From<Id> for InfoHash {
    fn from(id: Id) -> InfoHash {
        InfoHash(id.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&InfoHash(self.0), f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_beside_another_shares_exactly_so_many_bits() {
        let mut rng = Rng::from_seed(1);
        for bits in 0..160 {
            let own = Id::random(&mut rng);
            assert_eq!(own.shared_bits(own.beside(bits, &mut rng)), bits);
        }
        let own = Id::random(&mut rng);
        assert_eq!(own.shared_bits(own), 160);
    }

    #[test]
    fn distance_orders_by_the_first_bit_that_differs() {
        let (mut near, mut far) = ([0; 20], [0; 20]);
        (near[19], far[0]) = (0xff, 1);
        assert!(Id([0; 20]).distance(Id(near)) < Id([0; 20]).distance(Id(far)));
    }
}
