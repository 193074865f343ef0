//! The SHA-1 compression of eight independent messages at once, a word of each in one register of AVX-512.
//!
//! Decides: the order of words in registers. Must not know: padding, slices, what is hashed.
//! Invariant: every lane's result equals hashing it alone; no lane reads another lane's bytes.
//!
//! The SHA instructions of some processors take four cycles for four rounds, however many streams there are. Rotation and three-way
//! logic in one instruction each make plain SHA-1 so short that eight lanes side by side are more than twice as fast as that.

use crate::sha1_ni::{BLOCK, State};
use core::arch::x86_64::{
    __m128i, __m256i, _mm_set_epi64x, _mm256_add_epi32, _mm256_extract_epi32, _mm256_rol_epi32, _mm256_set_epi32,
    _mm256_set_m128i, _mm256_set1_epi32, _mm256_shuffle_epi8, _mm256_ternarylogic_epi32, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

/// Messages side by side.
pub(crate) const WIDTH: usize = 8;

/// Truth tables of three inputs, for the ternary logic instruction.
const CHOOSE: i32 = 0xca;
const PARITY: i32 = 0x96;
const MAJORITY: i32 = 0xe8;

/// Proof that the processor has the instructions: only [`Wide::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide(());

impl Wide {
    pub(crate) fn detect() -> Option<Wide> {
        let there =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
        there.then_some(Wide(()))
    }

    /// Feeds each lane's blocks into its state. All lanes have the same number of blocks. Where there are fewer than eight, the last
    /// one is hashed again and again beside them.
    pub(crate) fn compress<const N: usize>(self, states: &mut [State; N], blocks: [&[[u8; BLOCK]]; N]) {
        const { assert!(0 < N && N <= WIDTH) };
        let mut all: [State; WIDTH] = core::array::from_fn(|lane| states[lane.min(N - 1)]);
        let blocks = core::array::from_fn(|lane| blocks[lane.min(N - 1)]);
        // SAFETY: `compress` needs the target features avx2, avx512f and avx512vl. `self` exists, so `detect` found all of them on
        // this processor. The function has no other precondition: it takes references only and does no pointer arithmetic.
        #[expect(unsafe_code, reason = "calling a function that needs target features")]
        unsafe {
            compress(&mut all, blocks);
        }
        states.copy_from_slice(&all[..N]);
    }
}

#[target_feature(enable = "avx2,avx512f,avx512vl")]
fn compress(states: &mut [State; WIDTH], blocks: [&[[u8; BLOCK]]; WIDTH]) {
    let [mut a, mut b, mut c, mut d, mut e] = [0, 1, 2, 3, 4].map(|word| {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = states.each_ref().map(|state| state[word].cast_signed());
        _mm256_set_epi32(s7, s6, s5, s4, s3, s2, s1, s0)
    });
    let count = blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0);
    for n in 0..count {
        let before = [a, b, c, d, e];
        let mut w = load(blocks.map(|blocks| &blocks[n]));
        macro_rules! round {
            ($logic:ident, $k:ident, $i:expr, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident) => {
                if $i >= 16 {
                    let mixed = _mm256_ternarylogic_epi32::<PARITY>(w[($i + 13) % 16], w[($i + 8) % 16], w[($i + 2) % 16]);
                    w[$i % 16] = _mm256_rol_epi32::<1>(_mm256_xor_si256(mixed, w[$i % 16]));
                }
                let word = _mm256_add_epi32(_mm256_add_epi32($e, $k), w[$i % 16]);
                let word = _mm256_add_epi32(word, _mm256_ternarylogic_epi32::<$logic>($b, $c, $d));
                $e = _mm256_add_epi32(word, _mm256_rol_epi32::<5>($a));
                $b = _mm256_rol_epi32::<30>($b);
            };
        }
        // Five rounds: after them each word is in its own register again.
        macro_rules! five {
            ($logic:ident, $k:ident, $i:expr) => {
                round!($logic, $k, $i, a, b, c, d, e);
                round!($logic, $k, $i + 1, e, a, b, c, d);
                round!($logic, $k, $i + 2, d, e, a, b, c);
                round!($logic, $k, $i + 3, c, d, e, a, b);
                round!($logic, $k, $i + 4, b, c, d, e, a);
            };
        }
        macro_rules! twenty {
            ($logic:ident, $k:expr, $i:expr) => {
                let k = _mm256_set1_epi32(u32::cast_signed($k));
                five!($logic, k, $i);
                five!($logic, k, $i + 5);
                five!($logic, k, $i + 10);
                five!($logic, k, $i + 15);
            };
        }
        twenty!(CHOOSE, 0x5a82_7999, 0);
        twenty!(PARITY, 0x6ed9_eba1, 20);
        twenty!(MAJORITY, 0x8f1b_bcdc, 40);
        twenty!(PARITY, 0xca62_c1d6, 60);
        for (word, before) in [&mut a, &mut b, &mut c, &mut d, &mut e].into_iter().zip(before) {
            *word = _mm256_add_epi32(*word, before);
        }
    }
    for (word, register) in [a, b, c, d, e].into_iter().enumerate() {
        let lanes = [
            _mm256_extract_epi32::<0>(register),
            _mm256_extract_epi32::<1>(register),
            _mm256_extract_epi32::<2>(register),
            _mm256_extract_epi32::<3>(register),
            _mm256_extract_epi32::<4>(register),
            _mm256_extract_epi32::<5>(register),
            _mm256_extract_epi32::<6>(register),
            _mm256_extract_epi32::<7>(register),
        ];
        for (state, lane) in states.iter_mut().zip(lanes) {
            state[word] = lane.cast_unsigned();
        }
    }
}

/// The sixteen words of a block, each of all lanes in one register.
#[target_feature(enable = "avx2,avx512f,avx512vl")]
fn load(blocks: [&[u8; BLOCK]; WIDTH]) -> [__m256i; 16] {
    // Turns the bytes of each word around.
    let turn = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let turn = _mm256_set_m128i(turn, turn);
    let mut words = [turn; 16];
    let (groups, _) = words.as_chunks_mut::<4>();
    for (quarter, group) in groups.iter_mut().enumerate() {
        // Four words of lane n below four words of lane n + 4; then these four by four words are transposed in both halves.
        let row = |lane: usize| {
            let both = _mm256_set_m128i(sixteen(blocks[lane + 4], quarter), sixteen(blocks[lane], quarter));
            _mm256_shuffle_epi8(both, turn)
        };
        let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
        let (low01, high01) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
        let (low23, high23) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
        *group = [
            _mm256_unpacklo_epi64(low01, low23),
            _mm256_unpackhi_epi64(low01, low23),
            _mm256_unpacklo_epi64(high01, high23),
            _mm256_unpackhi_epi64(high01, high23),
        ];
    }
    words
}

/// A quarter of a block as it lies in memory: the compiler makes one unaligned load of this.
#[target_feature(enable = "sse2")]
fn sixteen(block: &[u8; BLOCK], quarter: usize) -> __m128i {
    let (quarters, _) = block.as_chunks::<16>();
    let whole = u128::from_le_bytes(quarters[quarter]);
    let (high, low) = ((whole >> 64) as u64, whole as u64);
    _mm_set_epi64x(high.cast_signed(), low.cast_signed())
}
