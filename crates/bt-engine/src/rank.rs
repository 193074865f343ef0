//! In which order two ends of a swarm would like to meet (BEP 40).
//!
//! Decides: a number for each pair of addresses, the same at both ends. Must not know: who is dialled.
//! Invariant: for each of us the order of all others is another one, so that nobody is everybody's first choice.

use bt_types::normalise;
use core::net::{IpAddr, SocketAddr};

/// The place of a peer in the order of dialling, if we know our own address of its family: the lower, the earlier. Two peers
/// behind our own address are as good as each other.
pub(crate) fn lot(ours: &[IpAddr], peer: SocketAddr) -> Option<u32> {
    let ip = normalise(peer.ip());
    let ours = ours.iter().find(|ours| ours.is_ipv4() == ip.is_ipv4() && **ours != ip)?;
    match (*ours, ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => Some(!priority(a.octets(), b.octets(), 2)),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some(!priority(a.octets(), b.octets(), 6)),
        _ => None,
    }
}

/// The checksum of both addresses, the lower one first. Of the bytes behind the first `whole` and those in which they agree, only
/// every second bit counts, from one byte behind the first difference on.
fn priority<const N: usize>(a: [u8; N], b: [u8; N], whole: usize) -> u32 {
    let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    // Within /16 three bytes count, within /24 four (of IPv6 /48, /56 and so on).
    let full = if same >= whole { same + 1 } else { whole };
    let mask = |ip: [u8; N]| {
        let mut masked = ip;
        masked.iter_mut().skip(full).for_each(|byte| *byte &= 0x55);
        masked
    };
    let (a, b) = (mask(a), mask(b));
    crc32c(a.min(b).iter().chain(&a.max(b)))
}

/// CRC-32C (Castagnoli), bit by bit: it is taken over a few bytes, once for each address.
fn crc32c<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_bep() {
        assert_eq!(crc32c(b"123456789".iter()), 0xe306_9283);
        let table = [([123, 213, 32, 10], [98, 76, 54, 32], 0xec2d_7224), ([123, 213, 32, 10], [123, 213, 32, 234], 0x9956_8189)];
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
            assert_eq!(lot(ours, peer.parse().unwrap()).is_some(), known, "{peer}");
        }
    }
}
