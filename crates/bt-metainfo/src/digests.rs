//! The expected digests of pieces, for every version of the format.
//!
//! Decides: which digest a piece must have.
//! Must not know: where its bytes are.
//! Invariant: there is one digest for each piece of the torrent.

use bt_hash::{Algorithm, Digest, Sha1Digest};
use bt_types::{Geometry, Piece};
use bytes::Bytes;

/// The expected digests of a torrent's pieces. Today those of the v1 side: SHA-1 of each piece (BEP
/// 3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PieceDigests(Bytes);

impl PieceDigests {
    /// Makes the digests of a v1 torrent, 20 bytes each: `None` unless there is one for each piece.
    pub fn v1(digests: Bytes, geometry: &Geometry) -> Option<PieceDigests> {
        let is_whole = digests.len() as u64
            == u64::from(geometry.piece_count()) * size_of::<Sha1Digest>() as u64;
        is_whole.then_some(PieceDigests(digests))
    }

    /// Returns how the bytes of a piece are to be hashed.
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::Sha1
    }

    /// Returns the digest that the piece must have; `None` for a piece of another torrent.
    pub fn expected(&self, piece: Piece) -> Option<Digest> {
        let (digests, _) = self.0.as_chunks();
        digests.get(piece.index()).map(|&digest: &Sha1Digest| Digest::Sha1(digest))
    }

    /// Returns whether a piece whose bytes hash to `digest` is right.
    pub fn matches(&self, piece: Piece, digest: &Digest) -> bool {
        self.expected(piece).as_ref() == Some(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn each_piece_has_its_own_digest() {
        let geometry = Geometry::new(20, 10).unwrap();
        let [first, second] = [geometry.piece(0).unwrap(), geometry.piece(1).unwrap()];
        assert_eq!(PieceDigests::v1(vec![1; 20].into(), &geometry), None);
        assert_eq!(PieceDigests::v1(vec![1; 39].into(), &geometry), None);
        let digests = PieceDigests::v1([[1; 20], [2; 20]].concat().into(), &geometry).unwrap();
        assert!(digests.matches(first, &Digest::Sha1([1; 20])));
        assert!(!digests.matches(second, &Digest::Sha1([1; 20])));
        assert!(!digests.matches(first, &Digest::Sha256([1; 32])));
        let foreign = Geometry::new(30, 10).unwrap().piece(2).unwrap();
        assert!(!digests.matches(foreign, &Digest::Sha1([1; 20])));
    }
}
