//! "Is this piece right?", for every version of the format.
//!
//! Decides: which digest a piece must have. Must not know: where its bytes are.
//! Invariant: there is one digest for each piece of the torrent.

use alloc::vec::Vec;
use bt_hash::{Algorithm, Digest, Sha1Digest};
use bt_types::{Geometry, Piece};

/// The expected digests of a torrent's pieces. Today those of the v1 side: SHA-1 of each piece (BEP 3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PieceDigests(Vec<Sha1Digest>);

impl PieceDigests {
    /// The digests of a v1 torrent: `None` when there is not one for each piece.
    pub fn v1(digests: Vec<Sha1Digest>, geometry: &Geometry) -> Option<PieceDigests> {
        (u32::try_from(digests.len()) == Ok(geometry.piece_count())).then_some(PieceDigests(digests))
    }

    /// How the bytes of a piece are to be hashed.
    pub fn algorithm(&self) -> Algorithm {
        Algorithm::Sha1
    }

    /// The digest that the piece must have; `None` for a piece of another torrent.
    pub fn expected(&self, piece: Piece) -> Option<Digest> {
        self.0.get(piece.index()).map(|&digest| Digest::Sha1(digest))
    }

    /// Whether a piece whose bytes hash to `digest` is right.
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
        assert_eq!(PieceDigests::v1(vec![[1; 20]], &geometry), None);
        let digests = PieceDigests::v1(vec![[1; 20], [2; 20]], &geometry).unwrap();
        assert!(digests.matches(first, &Digest::Sha1([1; 20])));
        assert!(!digests.matches(second, &Digest::Sha1([1; 20])));
        assert!(!digests.matches(first, &Digest::Sha256([1; 32])));
        let foreign = Geometry::new(30, 10).unwrap().piece(2).unwrap();
        assert!(!digests.matches(foreign, &Digest::Sha1([1; 20])));
    }
}
