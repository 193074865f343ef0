//! Handles the messages of the fast extension (BEP 6), and the pieces that a newcomer may request
//! while choked: it soon has something to trade.
//!
//! Decides: which pieces these are. Must not know: the pieces that we have, the choking of peers.
//! Invariant: the set depends on the torrent and on the peer's network only: more addresses there
//! do not bring more pieces.

use alloc::vec::Vec;
use bt_peer_wire::Message;
use bt_types::{Geometry, InfoHash, Piece, normalise};
use core::net::IpAddr;

/// Pieces: a peer with fewer pieces than this is a newcomer, and may request this number of pieces
/// while choked.
pub(crate) const NEWCOMER: u32 = 10;

/// Returns whether only peers with the fast extension may send this message.
pub(crate) fn is_fast_only(message: &Message) -> bool {
    matches!(
        message,
        Message::HaveAll
            | Message::HaveNone
            | Message::Suggest(_)
            | Message::Reject(_)
            | Message::AllowedFast(_)
    )
}

/// Computes the allowed fast set of a peer. Empty for IPv6, for which BEP 6 defines none.
pub(crate) fn allowed_set(
    info_hash: &InfoHash,
    geometry: &Geometry,
    ip: IpAddr,
    count: usize,
) -> Vec<Piece> {
    let IpAddr::V4(ip) = normalise(ip) else { return Vec::new() };
    let [a, b, c, _] = ip.octets();
    let count = count.min(geometry.piece_count() as usize);
    let mut seed: Vec<u8> = [a, b, c, 0].into_iter().chain(info_hash.0).collect();
    let mut set: Vec<Piece> = Vec::with_capacity(count);
    while set.len() < count {
        let digest = bt_hash::sha1(&seed);
        let numbers = digest
            .chunks_exact(4)
            .filter_map(|bytes| bytes.first_chunk::<4>())
            .map(|bytes| u32::from_be_bytes(*bytes));
        for piece in numbers.filter_map(|number| geometry.piece(number % geometry.piece_count())) {
            if set.len() < count && !set.contains(&piece) {
                set.push(piece);
            }
        }
        seed = digest.to_vec();
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_bep() {
        let geometry = Geometry::new(1313 << 14, 1 << 14).unwrap();
        let set = |count| {
            let set =
                allowed_set(&InfoHash([0xaa; 20]), &geometry, "80.4.4.200".parse().unwrap(), count);
            set.into_iter().map(Piece::number).collect::<Vec<_>>()
        };
        assert_eq!(set(7), [1059, 431, 808, 1217, 287, 376, 1188]);
        assert_eq!(set(9), [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]);
    }

    #[test]
    fn a_small_torrent_has_no_more_pieces_than_it_has() {
        let geometry = Geometry::new(3 << 14, 1 << 14).unwrap();
        assert_eq!(
            allowed_set(&InfoHash([1; 20]), &geometry, "1.2.3.4".parse().unwrap(), 10).len(),
            3
        );
        assert!(
            allowed_set(&InfoHash([1; 20]), &geometry, "2001:db8::1".parse().unwrap(), 10)
                .is_empty()
        );
    }
}
