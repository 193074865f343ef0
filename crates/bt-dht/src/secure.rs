//! Node ids that follow from an address (BEP 42): to get close to a key an attacker needs
//! addresses, not patience.
//!
//! Decides: which ids an address may have.
//! Must not know: what happens to a node that has another id.
//! Invariant: only public addresses are held to the rule.

use crate::id::Id;
use bt_types::{Closeness, Rng, closeness, normalise};
use core::net::IpAddr;

/// The bits of an address that count: the further right the byte, the more of it.
const MASK_V4: [u8; 4] = [0x03, 0x0f, 0x3f, 0xff];
const MASK_V6: [u8; 8] = [0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff];
/// The bits of the third byte that the address decides: the last 5 of 21.
const THIRD_BYTE: u8 = 0xf8;

/// Makes a random id that a node at this address may have.
pub fn secure_id(ip: IpAddr, rng: &mut Rng) -> Id {
    let mut id = Id::random(rng);
    let [first, second, third, .., last] = &mut id.0;
    let [a, b, c, _] = checksum(ip, *last).to_be_bytes();
    (*first, *second, *third) = (a, b, (c & THIRD_BYTE) | (*third & !THIRD_BYTE));
    id
}

/// Returns whether a node at this address may have this id. Addresses that are not public may have
/// any.
pub fn is_secure(id: Id, ip: IpAddr) -> bool {
    if closeness(ip) != Some(Closeness::Public) {
        return true;
    }
    let [first, second, third, .., last] = id.0;
    let [a, b, c, _] = checksum(ip, last).to_be_bytes();
    (first, second, third & THIRD_BYTE) == (a, b, c & THIRD_BYTE)
}

/// Computes the CRC32C of the masked address, with the low three bits of the id's last byte in
/// front.
fn checksum(ip: IpAddr, last: u8) -> u32 {
    let front = (last & 7) << 5;
    match normalise(ip) {
        IpAddr::V4(ip) => masked(ip.octets(), MASK_V4, front),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, ..] = ip.octets();
            masked([a, b, c, d, e, f, g, h], MASK_V6, front)
        }
    }
}

fn masked<const N: usize>(mut octets: [u8; N], mask: [u8; N], front: u8) -> u32 {
    octets.iter_mut().zip(mask).for_each(|(octet, mask)| *octet &= mask);
    if let Some(first) = octets.first_mut() {
        *first |= front;
    }
    crc32c::crc32c(&octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of BEP 42.
    #[test]
    fn the_vectors_of_the_proposal() {
        for (ip, id) in [
            ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
            ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
            ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
            ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
            ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
        ] {
            let (ip, id) = (ip.parse().unwrap(), Id::from_hex(id).unwrap());
            assert!(is_secure(id, ip), "{ip}");
            let mut other = id;
            other.0[2] ^= 0x08;
            assert!(!is_secure(other, ip), "{ip}: the 21st bit counts");
            other = id;
            other.0[2] ^= 0x04;
            assert!(is_secure(other, ip), "{ip}: the 22nd does not");
        }
    }

    #[test]
    fn what_is_made_is_right_for_its_address_and_no_other() {
        let mut rng = Rng::from_seed(1);
        for ip in ["5.6.7.8", "2a00:1450:4001::8888"] {
            let ip: IpAddr = ip.parse().unwrap();
            for _ in 0..100 {
                let id = secure_id(ip, &mut rng);
                assert!(is_secure(id, ip), "{ip}");
                assert!(!is_secure(id, "9.9.9.9".parse().unwrap()), "{ip}");
            }
        }
        let any = Id([1; 20]);
        for (ip, exempt) in [
            ("10.1.2.3", true),
            ("127.0.0.1", true),
            ("fe80::1", true),
            ("8.8.8.8", false),
            ("2a00::1", false),
        ] {
            assert_eq!(is_secure(any, ip.parse().unwrap()), exempt, "{ip}");
        }
    }

    /// Checks that only the network half of an IPv6 address decides the id.
    #[test]
    fn the_host_part_of_ipv6_does_not_count() {
        let id = secure_id("2a00:1450:4001:8888::1".parse().unwrap(), &mut Rng::from_seed(2));
        assert!(is_secure(id, "2a00:1450:4001:8888:ffff::2".parse().unwrap()));
        assert!(!is_secure(id, "2a00:1450:4001:8889::1".parse().unwrap()));
    }
}
