//! Sets of addresses in 256 bytes, and estimates of their size (BEP 33).
//!
//! Decides: the bits of an address, and the estimate.
//! Must not know: peers, torrents.
//! Invariant: integers only. The logarithm is taken in fixed point, so the estimate is the same on
//! every machine.

use bt_types::normalise;
use core::fmt;
use core::net::IpAddr;

/// Bits of a filter, and the base-2 logarithm of that.
const BITS: u16 = 2048;
const LOG2_BITS: u64 = 11;
/// Bits behind the point of our fixed-point numbers.
const POINT: u32 = 32;
/// -log2(1 - 1/2048) with 40 bits behind the point: log2(e) · (1/2048 + 1/2048²/2 + …).
const LOG2_STEP: u64 = 774_730_161;

/// A Bloom filter of addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bloom([u8; 256]);

impl Default for Bloom {
    fn default() -> Bloom {
        Bloom([0; 256])
    }
}

impl Bloom {
    /// Makes the filter from another node's bytes.
    pub fn from_bytes(bytes: [u8; 256]) -> Bloom {
        Bloom(bytes)
    }

    /// Returns the filter as it is sent.
    pub fn bytes(&self) -> &[u8; 256] {
        &self.0
    }

    /// Adds an address.
    pub fn insert(&mut self, ip: IpAddr) {
        let [a, b, c, d, ..] = match normalise(ip) {
            IpAddr::V4(ip) => bt_hash::sha1(&ip.octets()),
            IpAddr::V6(ip) => bt_hash::sha1(&ip.octets()),
        };
        for index in [u16::from_le_bytes([a, b]) % BITS, u16::from_le_bytes([c, d]) % BITS] {
            if let Some(byte) = self.0.get_mut(usize::from(index / 8)) {
                *byte |= 1 << (index % 8);
            }
        }
    }

    /// Returns whether an address may have been added.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let mut with = *self;
        with.insert(ip);
        with == *self
    }

    /// Adds all addresses of another filter.
    pub fn union(&mut self, other: &Bloom) {
        self.0.iter_mut().zip(other.0).for_each(|(byte, other)| *byte |= other);
    }

    /// Estimates the number of addresses, in thousandths: log(c/m) / (k · log(1 - 1/m)) with c zero
    /// bits of m, and k = 2.
    pub fn estimate_milli(&self) -> u64 {
        let zeros: u32 = self.0.iter().map(|byte| byte.count_zeros()).sum();
        let zeros = u64::from(zeros).min(u64::from(BITS) - 1).max(1);
        // log2(m / c) = 11 - log2(c), scaled to the 40 bits of the divisor.
        let log = ((LOG2_BITS << POINT) - log2(zeros)) << 8;
        u64::try_from(u128::from(log) * 1000 / u128::from(2 * LOG2_STEP)).unwrap_or(u64::MAX)
    }

    /// Estimates like [`estimate_milli`](Self::estimate_milli), rounded to whole addresses.
    pub fn estimate(&self) -> u64 {
        if self.0 == [0; 256] { 0 } else { (self.estimate_milli() + 500) / 1000 }
    }
}

/// Computes the logarithm of a number from 1 to 2^31 with 32 bits behind the point: by squaring,
/// one bit a time.
fn log2(value: u64) -> u64 {
    let whole = u64::from(value.ilog2());
    // Between 1 and 2, with 32 bits behind the point.
    let mut rest = (value << POINT) >> whole;
    let mut log = whole << POINT;
    for bit in (0..POINT).rev() {
        rest = u64::try_from((u128::from(rest) * u128::from(rest)) >> POINT).unwrap_or(u64::MAX);
        if rest >= 2 << POINT {
            rest >>= 1;
            log |= 1 << bit;
        }
    }
    log
}

impl fmt::Debug for Bloom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bloom(about {})", self.estimate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::string::String;

    const VECTOR: &str = "\
        F6C3F5EA A07FFD91 BDE89F77 7F26FB2B FF37BDB8 FB2BBAA2 FD3DDDE7 BACFFF75 EE7CCBAE \
        FE5EEDB1 FBFAFF67 F6ABFF5E 43DDBCA3 FD9B9FFD F4FFD3E9 DFF12D1B DF59DB53 DBE9FA5B \
        7FF3B8FD FCDE1AFB 8BEDD7BE 2F3EE71E BBBFE93B CDEEFE14 8246C2BC 5DBFF7E7 EFDCF24F \
        D8DC7ADF FD8FFFDF DDFFF7A4 BBEEDF5C B95CE81F C7FCFF1F F4FFFFDF E5F7FDCB B7FD79B3 \
        FA1FC77B FE07FFF9 05B7B7FF C7FEFEFF E0B8370B B0CD3F5B 7F2BD93F EB4386CF DD6F7FD5 \
        BFAF2E9E BFFFFEEC D67ADBF7 C67F17EF D5D75EBA 6FFEBA7F FF47A91E B1BFBB53 E8ABFB57 \
        62ABE8FF 237279BF EFBFEEF5 FFC5FEBF DFE5ADFF ADFEE1FB 737FFFFB FD9F6AEF FEEE76B6 \
        FD8F72EF";

    /// The test vector of BEP 33: its bits, and its estimate of 1224.9308.
    #[test]
    fn the_vector_of_the_proposal() {
        let mut bloom = Bloom::default();
        (0..=255).for_each(|last| bloom.insert(Ipv4Addr::new(192, 0, 2, last).into()));
        (0..=0x3e7).for_each(|last| {
            bloom.insert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into())
        });
        let mut hex = String::new();
        bt_types::push_hex(&mut hex, bloom.bytes());
        assert_eq!(hex.to_uppercase(), VECTOR.replace(' ', ""));
        assert_eq!(bloom.estimate_milli(), 1_224_930);
    }

    #[test]
    fn small_sets_are_counted_exactly_and_unions_do_not_count_twice() {
        let mut all = Bloom::default();
        assert_eq!(all.estimate(), 0);
        for count in 1..=20 {
            all.insert(Ipv4Addr::new(10, 0, 0, count).into());
            assert_eq!(all.estimate(), u64::from(count));
        }
        let again = all;
        all.union(&again);
        assert_eq!(all.estimate(), 20);
        assert!(
            all.contains("10.0.0.7".parse().unwrap())
                && !all.contains("10.0.0.99".parse().unwrap())
        );
        assert_eq!(
            Bloom::from_bytes([0xff; 256]).estimate(),
            7806,
            "a full filter says little, but something"
        );
    }
}
