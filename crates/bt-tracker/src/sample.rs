//! Draws positions at random: a few windows, each in its own stretch of the range.
//!
//! Decides: which positions are drawn. Must not know: what lies there.
//! Invariant: every position is as likely as every other, and none is drawn twice.

use bt_types::Rng;

/// Windows of an answer: of at most this number of peers wanted, each is drawn for itself. More
/// windows would cost a cache miss each.
const WINDOWS_MAX: u64 = 32;
/// Positions looked at for each one wanted, when many do not suit.
const LOOKS: u64 = 4;

/// A quick generator for one answer, seeded from the secret one.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(rng: &mut Rng) -> Draw {
        Draw(rng.next_u64())
    }

    /// Draws any number (SplitMix64).
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Draws a number below `bound`, which fits into 32 bits.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((self.word() >> 32) * bound) >> 32
    }

    /// Offers positions below `len` to `take`, which returns whether it took one, until `wanted`
    /// are taken or few are left that may suit. Returns how many were taken.
    pub(crate) fn positions(
        &mut self,
        len: u32,
        wanted: usize,
        take: impl FnMut(u32) -> bool,
    ) -> usize {
        self.positions_ahead(len, wanted, |_| {}, take)
    }

    /// Offers positions like [`positions`](Self::positions), and shows the ends of all windows to
    /// `ahead` before.
    pub(crate) fn positions_ahead(
        &mut self,
        len: u32,
        wanted: usize,
        mut ahead: impl FnMut(u32),
        mut take: impl FnMut(u32) -> bool,
    ) -> usize {
        let (len, wanted) = (u64::from(len), wanted as u64);
        if len == 0 || wanted == 0 {
            return 0;
        }
        // A window of half of the range leaves no choice that several would have.
        let windows = if len < 2 * wanted { 1 } else { wanted.min(WINDOWS_MAX) };
        let (size, longer) = (len / windows, len % windows);
        let (quota, fuller) = (wanted / windows, wanted % windows);
        // Stretches differ by one position, and quotas by one: none of them is always the same's.
        let mut start = self.below(len);
        let mut drawn = [Window::default(); WINDOWS_MAX as usize];
        for (number, window) in (0..windows).zip(&mut drawn) {
            let size = size + u64::from(number < longer);
            let quota = (quota + u64::from(number < fuller)).min(size);
            *window = Window { start, size, quota, first: self.below(size) };
            ahead(window.at(0, len));
            ahead(window.at(quota - 1, len));
            start = wrapped(start + size, len);
        }
        let mut taken = 0;
        for window in drawn.iter().take(windows as usize) {
            let mut left = window.quota;
            for step in 0..window.size.min(LOOKS * (window.quota + 1)) {
                left -= u64::from(take(window.at(step, len)));
                if left == 0 {
                    break;
                }
            }
            taken += window.quota - left;
        }
        taken as usize
    }
}

/// A window: where its stretch begins and how long that is, how many are wanted of it, and where
/// in the stretch it begins.
#[derive(Clone, Copy, Default)]
struct Window {
    start: u64,
    size: u64,
    quota: u64,
    first: u64,
}

impl Window {
    /// Returns a position of the window, which goes round within its stretch.
    fn at(&self, step: u64, len: u64) -> u32 {
        wrapped(self.start + wrapped(self.first + step, self.size), len) as u32
    }
}

/// Returns the rest of a number below twice the size.
fn wrapped(number: u64, size: u64) -> u64 {
    if number >= size { number - size } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_draw_is_full_and_has_no_position_twice(len in 0u32..5_000, wanted in 0usize..300, seed: u64) {
            let mut drawn = Vec::new();
            let mut ahead = Vec::new();
            let mut draw = Draw(seed);
            let taken =
                draw.positions_ahead(len, wanted, |at| ahead.push(at), |at| { drawn.push(at); true });
            prop_assert!(ahead.iter().all(|at| drawn.contains(at)));
            let distinct: BTreeSet<u32> = drawn.iter().copied().collect();
            prop_assert_eq!((taken, distinct.len()), (drawn.len(), drawn.len()));
            prop_assert_eq!(taken, wanted.min(len as usize));
            prop_assert!(drawn.iter().all(|&at| at < len));
        }

        #[test]
        fn what_does_not_suit_is_passed_over(len in 1u32..2_000, wanted in 1usize..100, seed: u64) {
            let mut looks = 0;
            let taken = Draw(seed).positions(len, wanted, |at| { looks += 1; at % 2 == 0 });
            prop_assert!(taken <= wanted && looks <= (wanted + 32) * 8);
            // Half of the range suits: half of what is wanted is always found.
            prop_assert!(2 * taken >= wanted.min((len / 2) as usize), "{taken} of {wanted}");
        }
    }

    #[test]
    fn every_position_is_as_likely_as_another() {
        for (len, wanted) in [(20, 5), (20, 15), (100, 50), (1_000, 47)] {
            let mut drawn = vec![0u32; len];
            let mut draw = Draw(7);
            let rounds = 20_000;
            for _ in 0..rounds {
                draw.positions(len as u32, wanted, |at| {
                    drawn[at as usize] += 1;
                    true
                });
            }
            let share = wanted as f64 / len as f64;
            let expected = f64::from(rounds) * share;
            let deviation = (expected * (1.0 - share)).sqrt();
            let worst = drawn.iter().map(|&count| (f64::from(count) - expected).abs() / deviation);
            let worst = worst.fold(0.0, f64::max);
            assert!(worst < 5.0, "{worst} of {len}, {wanted}");
        }
    }
}
