//! Hashes what strangers choose, so that they cannot choose which entries collide.
//!
//! Decides: how a key becomes a hash. Must not know: what is looked up.
//! Invariant: the key is drawn once a process and is never told: a hash means nothing outside.

use bt_types::Rng;
use core::fmt;

/// A keyed hash of a few words: multiplications with secret numbers, folded.
#[derive(Clone)]
pub(crate) struct KeyedHash([u64; 3]);

impl KeyedHash {
    /// Draws a key.
    pub(crate) fn new(rng: &mut Rng) -> KeyedHash {
        // An odd factor loses no bits.
        KeyedHash([rng.next_u64(), rng.next_u64(), rng.next_u64() | 1])
    }

    /// Hashes one word.
    pub(crate) fn word(&self, word: u64) -> u64 {
        let [first, second, factor] = self.0;
        fold(fold(word ^ first, factor) ^ second, factor)
    }

    /// Hashes 20 bytes: an info-hash or a peer id.
    pub(crate) fn bytes(&self, bytes: &[u8; 20]) -> u64 {
        let [first, second, factor] = self.0;
        let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = bytes;
        let head = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let middle = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
        let tail = u64::from(u32::from_le_bytes([q, r, s, t]));
        fold(fold(head ^ first, middle ^ second) ^ tail ^ second, factor)
    }

    /// Hashes an IPv6 address with a port.
    pub(crate) fn wide(&self, address: u128, port: u16) -> u64 {
        let [first, second, factor] = self.0;
        // Both halves of the address, whole.
        let [high, low] = [(address >> 64) as u64, address as u64];
        fold(fold(high ^ first, low ^ second) ^ u64::from(port) ^ second, factor)
    }
}

/// Multiplies, and folds the upper half of the product into the lower one.
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ ((product >> 64) as u64)
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHash") // the key stays out of logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn another_key_gives_another_hash() {
        let of = |seed| KeyedHash::new(&mut Rng::from_seed(seed));
        assert_ne!(of(1).bytes(&[7; 20]), of(2).bytes(&[7; 20]));
        assert_ne!(of(1).word(7), of(2).word(7));
        assert_eq!(of(1).wide(7, 7), of(1).wide(7, 7));
    }

    #[test]
    fn keys_in_a_row_spread_evenly() {
        let hash = KeyedHash::new(&mut Rng::from_seed(1));
        let mut bytes = |n: u32| {
            let mut key = [0; 20];
            key[..4].copy_from_slice(&n.to_be_bytes());
            hash.bytes(&key)
        };
        let ways: [&mut dyn FnMut(u32) -> u64; 3] =
            [&mut bytes, &mut |n| hash.word(u64::from(n) << 16), &mut |n| {
                hash.wide(u128::from(n) << 64, 1)
            }];
        for way in ways {
            let mut low = vec![0u32; 256];
            let mut high = vec![0u32; 64];
            for n in 0..65_536 {
                let hash = way(n);
                low[(hash & 255) as usize] += 1;
                high[(hash >> 58) as usize] += 1;
            }
            // 256 and 1,024 expected; a standard deviation is 16 and 32.
            assert!(low.iter().all(|count| (160..352).contains(count)), "{low:?}");
            assert!(high.iter().all(|count| (832..1_216).contains(count)), "{high:?}");
        }
    }
}
