//! The SHA-1 compression of several independent messages at once, with the processor's SHA
//! instructions.
//!
//! Decides: the interleaving.
//! Must not know: padding, slices, what is hashed.
//! Invariant: every lane's result equals hashing it alone; no lane reads another lane's bytes.
//!
//! One stream of `sha1rnds4` waits for its own result most of the time. Two to four streams side by
//! side fill those waits: on one core two lanes hash 1.7 times, four lanes 2.5 times as many bytes
//! as one.

use crate::Block;
use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x, _mm_sha1msg1_epu32,
    _mm_sha1msg2_epu32, _mm_sha1nexte_epu32, _mm_sha1rnds4_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32, _mm_xor_si128,
};

/// The five words of a SHA-1 state.
type State = [u32; 5];

/// Proof that the processor has the instructions: only [`ShaNi::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShaNi(());

impl ShaNi {
    pub(crate) fn detect() -> Option<ShaNi> {
        let there = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("sse4.1");
        there.then_some(ShaNi(()))
    }

    /// Feeds each lane's blocks into its state, four, two or one lane at a time. All lanes have the
    /// same number of blocks.
    pub(crate) fn sha1(self, states: &mut [State], blocks: &[&[Block]]) {
        let ((fours, states), (blocks_of_fours, blocks)) =
            (states.as_chunks_mut::<4>(), blocks.as_chunks::<4>());
        fours
            .iter_mut()
            .zip(blocks_of_fours)
            .for_each(|(states, blocks)| self.compress(states, blocks));
        let ((twos, states), (blocks_of_twos, blocks)) =
            (states.as_chunks_mut::<2>(), blocks.as_chunks::<2>());
        twos.iter_mut()
            .zip(blocks_of_twos)
            .for_each(|(states, blocks)| self.compress(states, blocks));
        let ((ones, _), (blocks_of_ones, _)) =
            (states.as_chunks_mut::<1>(), blocks.as_chunks::<1>());
        ones.iter_mut()
            .zip(blocks_of_ones)
            .for_each(|(states, blocks)| self.compress(states, blocks));
    }

    fn compress<const N: usize>(self, states: &mut [State; N], blocks: &[&[Block]; N]) {
        // SAFETY: `compress` needs the target features sha, ssse3 and sse4.1. `self` exists, so
        // `detect` found all of them on this processor. The function has no other precondition: it
        // takes references only and does no pointer arithmetic.
        #[expect(unsafe_code, reason = "calling a function that needs target features")]
        unsafe {
            compress(states, blocks);
        }
    }
}

/// One lane between two groups of four rounds.
#[derive(Clone, Copy)]
struct Lane {
    abcd: __m128i,
    /// `abcd` before the last group: `e` of the next group is made of it.
    before: __m128i,
    /// The last sixteen words of the message schedule, four to a register.
    words: [__m128i; 4],
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress<const N: usize>(states: &mut [State; N], blocks: &[&[Block]; N]) {
    let zero = _mm_set_epi64x(0, 0);
    let mut abcd = [zero; N];
    let mut e = [zero; N];
    for (lane, state) in states.iter().enumerate() {
        let [a, b, c, d, last] = state.map(u32::cast_signed);
        abcd[lane] = _mm_set_epi32(a, b, c, d);
        e[lane] = _mm_set_epi32(last, 0, 0, 0);
    }
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    for n in 0..count {
        let mut lanes = [Lane { abcd: zero, before: zero, words: [zero; 4] }; N];
        for (lane, blocks) in lanes.iter_mut().zip(blocks) {
            lane.words = load(&blocks[n]);
        }
        for ((lane, abcd), e) in lanes.iter_mut().zip(abcd).zip(e) {
            lane.before = abcd;
            lane.abcd = _mm_sha1rnds4_epu32::<0>(abcd, _mm_add_epi32(e, lane.words[0]));
        }
        // Twenty groups of four rounds; the first is done. `$i` is the place of the group's words.
        macro_rules! group {
            ($first:expr, $i:expr, $k:expr) => {
                for lane in &mut lanes {
                    let w = &mut lane.words;
                    if !$first {
                        let mixed = _mm_xor_si128(
                            _mm_sha1msg1_epu32(w[$i], w[($i + 1) % 4]),
                            w[($i + 2) % 4],
                        );
                        w[$i] = _mm_sha1msg2_epu32(mixed, w[($i + 3) % 4]);
                    }
                    let e = _mm_sha1nexte_epu32(lane.before, w[$i]);
                    lane.before = lane.abcd;
                    lane.abcd = _mm_sha1rnds4_epu32::<$k>(lane.abcd, e);
                }
            };
        }
        group!(true, 1, 0);
        group!(true, 2, 0);
        group!(true, 3, 0);
        group!(false, 0, 0);
        group!(false, 1, 1);
        group!(false, 2, 1);
        group!(false, 3, 1);
        group!(false, 0, 1);
        group!(false, 1, 1);
        group!(false, 2, 2);
        group!(false, 3, 2);
        group!(false, 0, 2);
        group!(false, 1, 2);
        group!(false, 2, 2);
        group!(false, 3, 3);
        group!(false, 0, 3);
        group!(false, 1, 3);
        group!(false, 2, 3);
        group!(false, 3, 3);
        for ((lane, abcd), e) in lanes.iter().zip(&mut abcd).zip(&mut e) {
            *e = _mm_sha1nexte_epu32(lane.before, *e);
            *abcd = _mm_add_epi32(lane.abcd, *abcd);
        }
    }
    for (lane, state) in states.iter_mut().enumerate() {
        let turned = _mm_shuffle_epi32::<0b00_01_10_11>(abcd[lane]);
        *state = [
            _mm_extract_epi32::<0>(turned),
            _mm_extract_epi32::<1>(turned),
            _mm_extract_epi32::<2>(turned),
            _mm_extract_epi32::<3>(turned),
            _mm_extract_epi32::<3>(e[lane]),
        ]
        .map(i32::cast_unsigned);
    }
}

/// Loads a block as four registers of big-endian words, the first word in the highest place.
#[target_feature(enable = "sse2,ssse3")]
fn load(block: &Block) -> [__m128i; 4] {
    let turn = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
    let (quarters, _) = block.as_chunks::<16>();
    let mut words = [turn; 4];
    for (word, quarter) in words.iter_mut().zip(quarters) {
        // The compiler makes one unaligned load of this.
        let whole = u128::from_le_bytes(*quarter);
        let (high, low) = ((whole >> 64) as u64, whole as u64);
        *word = _mm_shuffle_epi8(_mm_set_epi64x(high.cast_signed(), low.cast_signed()), turn);
    }
    words
}
