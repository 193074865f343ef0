//! Ranks pairs of addresses for dialling (BEP 40).
//!
//! Decides: a number for each pair of addresses, the same at both ends. Must not know: which
//! addresses are dialled.
//! Invariant: the order of all other peers differs from peer to peer, so that no peer is the first
//! choice of all.

use bt_types::normalise;
use core::net::{IpAddr, SocketAddr};

/// Returns a peer's rank in the order of dialling, if we know our own address of its family: the
/// lower, the earlier. Peers behind our own address have no rank.
pub(crate) fn canonical_priority(ours: &[IpAddr], peer: SocketAddr) -> Option<u32> {
    let ip = normalise(peer.ip());
    let ours = ours.iter().find(|ours| ours.is_ipv4() == ip.is_ipv4() && **ours != ip)?;
    match (*ours, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some(!priority(a.octets(), b.octets(), 2)),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some(!priority(a.octets(), b.octets(), 6)),
        _ => None,
    }
}

/// Computes the checksum of both addresses, the lower one first. All bits count in the first
/// `whole` bytes, or up to one byte behind the first difference if that is later. Of later bytes
/// only every second bit counts.
fn priority<const N: usize>(a: [u8; N], b: [u8; N], whole: usize) -> u32 {
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    // Within a /16 three bytes count fully, within a /24 four (for IPv6 within a /48, /56 and so
    // on).
    let full = if same >= whole { same + 1 } else { whole };
    let mask = |ip: [u8; N]| {
        let mut masked = ip;
        masked.iter_mut().skip(full).for_each(|byte| *byte &= 0x55);
        masked
    };
    let (a, b) = (mask(a), mask(b));
    crc32c(a.min(b).iter().chain(&a.max(b)))
}

/// Computes a CRC-32C (Castagnoli), bit by bit: it covers a few bytes, once for each address.
fn crc32c<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_bep() {
        assert_eq!(crc32c(b"123456789".iter()), 0xe306_9283);
        let table = [
            ([123, 213, 32, 10], [98, 76, 54, 32], 0xec2d_7224),
            ([123, 213, 32, 10], [123, 213, 32, 234], 0x9956_8189),
        ];
        for (a, b, expected) in table {
            assert_eq!((priority(a, b, 2), priority(b, a, 2)), (expected, expected), "{a:?} {b:?}");
        }
    }

    #[test]
    fn it_needs_our_own_address_of_the_same_family() {
        let ours: [IpAddr; 2] = [[5, 0, 0, 1].into(), "2001:db8::1".parse().unwrap()];
        let table = [
            ("8.8.8.8:1", &ours[..], true),
            ("[::ffff:8.8.8.8]:1", &ours[..1], true),
            ("8.8.8.8:1", &ours[1..], false),
            ("8.8.8.8:1", &[], false),
            ("5.0.0.1:1", &ours[..], false),
            ("[2001:db8::2]:1", &ours[..], true),
            ("[2001:db8::2]:1", &ours[..1], false),
        ];
        for (peer, ours, known) in table {
            assert_eq!(canonical_priority(ours, peer.parse().unwrap()).is_some(), known, "{peer}");
        }
    }
}
