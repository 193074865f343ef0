//! The compressions of SHA-1 and SHA-256 for eight or sixteen independent messages at once, with
//! one word of each message in one AVX-512 register.
//!
//! Decides: the order of words in registers.
//! Must not know: padding, slices, what is hashed.
//! Invariant: every lane's result equals hashing it alone; no lane reads another lane's bytes.
//!
//! The SHA instructions of some processors take four cycles for four rounds, with any number of
//! streams. AVX-512 has rotation and three-way logic in one instruction each, which makes the plain
//! rounds (FIPS 180-4) short. Eight lanes side by side are more than twice as fast as the SHA
//! instructions, and sixteen faster still.

use crate::Block;
use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_set_epi64x, _mm256_set_m128i, _mm512_castsi256_si512,
    _mm512_inserti64x4,
};

/// The most messages side by side.
pub(crate) const WIDEST: usize = 16;
/// Messages side by side in registers of half that width.
const HALF: usize = 8;

/// Truth tables of three inputs, for the ternary logic instruction.
const CHOOSE: i32 = 0xca;
const PARITY: i32 = 0x96;
const MAJORITY: i32 = 0xe8;

/// The constants of SHA-1, each for twenty rounds.
const K1: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];
/// The constants of SHA-256, one for each round.
#[rustfmt::skip]
const K256: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// Proof that the processor has the instructions: only [`Wide::detect`] makes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide(());

impl Wide {
    pub(crate) fn detect() -> Option<Wide> {
        let there = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw");
        there.then_some(Wide(()))
    }

    /// Feeds each lane's blocks into its SHA-1 state. All lanes have the same number of blocks;
    /// there are at most [`WIDEST`] lanes.
    pub(crate) fn sha1(self, states: &mut [[u32; 5]], blocks: &[&[Block]]) {
        // SAFETY: these functions need the target features avx2, avx512f, avx512vl and avx512bw.
        // `self` exists, so `detect` found all of them on this processor. They have no other
        // precondition: they take references only and do no pointer arithmetic.
        #[expect(unsafe_code, reason = "calling functions that need target features")]
        unsafe {
            if states.len() > HALF {
                sixteen::sha1(states, blocks)
            } else {
                eight::sha1(states, blocks)
            }
        }
    }

    /// Feeds each lane's blocks into its SHA-256 state, like [`Wide::sha1`].
    pub(crate) fn sha256(self, states: &mut [[u32; 8]], blocks: &[&[Block]]) {
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "calling functions that need target features")]
        unsafe {
            if states.len() > HALF {
                sixteen::sha256(states, blocks)
            } else {
                eight::sha256(states, blocks)
            }
        }
    }
}

/// Loads a quarter of a block as it lies in memory: the compiler makes one unaligned load of this.
#[target_feature(enable = "sse2")]
fn quarter(block: &Block, number: usize) -> __m128i {
    let (quarters, _) = block.as_chunks::<16>();
    let whole = u128::from_le_bytes(quarters[number]);
    let (high, low) = ((whole >> 64) as u64, whole as u64);
    _mm_set_epi64x(high.cast_signed(), low.cast_signed())
}

/// Joins two quarters, the first in the lowest place.
#[target_feature(enable = "avx2")]
fn two([q0, q1]: [__m128i; 2]) -> __m256i {
    _mm256_set_m128i(q1, q0)
}

/// Joins four quarters, the first in the lowest place.
#[target_feature(enable = "avx512f,avx2")]
fn four([q0, q1, q2, q3]: [__m128i; 4]) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(two([q0, q1])), two([q2, q3]))
}

/// The compressions, over one kind of register.
macro_rules! compressions {
    (
        $name:ident, $lanes:expr, $join:ident [$($part:literal)*], $register:ident, $broadcast:ident,
        $add:ident, $xor:ident, $ternary:ident, $rotate:ident, $shift:ident, $shuffle:ident,
        $low32:ident, $high32:ident, $low64:ident, $high64:ident
    ) => {
        mod $name {
            use super::{$join, Block, quarter, CHOOSE, K1, K256, MAJORITY, PARITY};
            use core::arch::x86_64::{_mm_set_epi64x,
                $add, $broadcast, $high32, $high64, $low32, $low64, $register, $rotate, $shift, $shuffle, $ternary, $xor,
            };

            const LANES: usize = $lanes;

            #[target_feature(enable = "avx2,avx512f,avx512vl,avx512bw")]
            pub(super) fn sha1(states: &mut [[u32; 5]], blocks: &[&[Block]]) {
                let [mut a, mut b, mut c, mut d, mut e] = gather(states);
                let blocks = spread(blocks);
                for n in 0..count(&blocks) {
                    let before = [a, b, c, d, e];
                    let mut w = load(&blocks, n);
                    macro_rules! round {
                        ($logic:ident, $k:ident, $i:expr, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident) => {
                            if $i >= 16 {
                                let mixed = $ternary::<PARITY>(w[($i + 13) % 16], w[($i + 8) % 16], w[($i + 2) % 16]);
                                w[$i % 16] = $rotate::<1>($xor(mixed, w[$i % 16]));
                            }
                            let word = $add($add($e, $k), w[$i % 16]);
                            let word = $add(word, $ternary::<$logic>($b, $c, $d));
                            $e = $add(word, $rotate::<5>($a));
                            $b = $rotate::<30>($b);
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
                        ($logic:ident, $n:expr) => {
                            let k = $broadcast(K1[$n].cast_signed());
                            five!($logic, k, 20 * $n);
                            five!($logic, k, 20 * $n + 5);
                            five!($logic, k, 20 * $n + 10);
                            five!($logic, k, 20 * $n + 15);
                        };
                    }
                    twenty!(CHOOSE, 0);
                    twenty!(PARITY, 1);
                    twenty!(MAJORITY, 2);
                    twenty!(PARITY, 3);
                    for (word, before) in [&mut a, &mut b, &mut c, &mut d, &mut e].into_iter().zip(before) {
                        *word = $add(*word, before);
                    }
                }
                scatter([a, b, c, d, e], states);
            }

            #[target_feature(enable = "avx2,avx512f,avx512vl,avx512bw")]
            pub(super) fn sha256(states: &mut [[u32; 8]], blocks: &[&[Block]]) {
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = gather(states);
                let blocks = spread(blocks);
                for n in 0..count(&blocks) {
                    let before = [a, b, c, d, e, f, g, h];
                    let mut w = load(&blocks, n);
                    // Left by 32 - n is right by n.
                    macro_rules! sum {
                        ($word:expr, $r:literal, $s:literal, $t:literal) => {{
                            let word = $word;
                            $ternary::<PARITY>($rotate::<{ 32 - $r }>(word), $rotate::<{ 32 - $s }>(word), $rotate::<{ 32 - $t }>(word))
                        }};
                    }
                    macro_rules! mix {
                        ($word:expr, $r:literal, $s:literal, $t:literal) => {{
                            let word = $word;
                            $ternary::<PARITY>($rotate::<{ 32 - $r }>(word), $rotate::<{ 32 - $s }>(word), $shift::<$t>(word))
                        }};
                    }
                    macro_rules! round {
                        ($first:expr, $i:expr, $a:ident, $b:ident, $c:ident, $d:ident, $e:ident, $f:ident, $g:ident, $h:ident) => {
                            if $first > 0 {
                                let older = $add(mix!(w[($i + 1) % 16], 7, 18, 3), w[($i + 9) % 16]);
                                let newer = $add(mix!(w[($i + 14) % 16], 17, 19, 10), w[$i]);
                                w[$i] = $add(older, newer);
                            }
                            let k = $broadcast(K256[$first + $i].cast_signed());
                            let word = $add($add($h, k), w[$i]);
                            let word = $add($add(word, sum!($e, 6, 11, 25)), $ternary::<CHOOSE>($e, $f, $g));
                            $d = $add($d, word);
                            $h = $add($add(word, sum!($a, 2, 13, 22)), $ternary::<MAJORITY>($a, $b, $c));
                        };
                    }
                    // Eight rounds: after them each word is in its own register again.
                    macro_rules! eight {
                        ($first:expr, $i:expr) => {
                            round!($first, $i, a, b, c, d, e, f, g, h);
                            round!($first, $i + 1, h, a, b, c, d, e, f, g);
                            round!($first, $i + 2, g, h, a, b, c, d, e, f);
                            round!($first, $i + 3, f, g, h, a, b, c, d, e);
                            round!($first, $i + 4, e, f, g, h, a, b, c, d);
                            round!($first, $i + 5, d, e, f, g, h, a, b, c);
                            round!($first, $i + 6, c, d, e, f, g, h, a, b);
                            round!($first, $i + 7, b, c, d, e, f, g, h, a);
                        };
                    }
                    for first in [0, 16, 32, 48] {
                        eight!(first, 0);
                        eight!(first, 8);
                    }
                    let words = [&mut a, &mut b, &mut c, &mut d, &mut e, &mut f, &mut g, &mut h];
                    for (word, before) in words.into_iter().zip(before) {
                        *word = $add(*word, before);
                    }
                }
                scatter([a, b, c, d, e, f, g, h], states);
            }

            /// Gives lanes without a message the last message again; their results are dropped.
            fn spread<'a>(blocks: &[&'a [Block]]) -> [&'a [Block]; LANES] {
                core::array::from_fn(|lane| blocks[lane.min(blocks.len() - 1)])
            }

            fn count(blocks: &[&[Block]; LANES]) -> usize {
                blocks.iter().map(|blocks| blocks.len()).min().unwrap_or(0)
            }

            /// Puts each word of all lanes' states into one register.
            fn gather<const WORDS: usize>(states: &[[u32; WORDS]]) -> [$register; WORDS] {
                let lane = |lane: usize| &states[lane.min(states.len() - 1)];
                core::array::from_fn(|word| register(core::array::from_fn(|n| lane(n)[word])))
            }

            fn scatter<const WORDS: usize>(registers: [$register; WORDS], states: &mut [[u32; WORDS]]) {
                for (word, register) in registers.into_iter().enumerate() {
                    for (state, lane) in states.iter_mut().zip(words(register)) {
                        state[word] = lane;
                    }
                }
            }

            /// Loads the sixteen words of block `n`, each of all lanes in one register.
            #[target_feature(enable = "avx2,avx512f,avx512vl,avx512bw")]
            fn load(blocks: &[&[Block]; LANES], n: usize) -> [$register; 16] {
                // Reverses the bytes of each word.
                let turn = $join([_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203); LANES / 4]);
                let mut words = [turn; 16];
                let (groups, _) = words.as_chunks_mut::<4>();
                for (number, group) in groups.iter_mut().enumerate() {
                    // Four words of lanes n, n + 4, … side by side; then these four by four words
                    // are transposed in each quarter.
                    let row = |lane: usize| {
                        $shuffle($join([$(quarter(&blocks[lane + 4 * $part][n], number)),*]), turn)
                    };
                    let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
                    let (low01, high01) = ($low32(r0, r1), $high32(r0, r1));
                    let (low23, high23) = ($low32(r2, r3), $high32(r2, r3));
                    *group = [$low64(low01, low23), $high64(low01, low23), $low64(high01, high23), $high64(high01, high23)];
                }
                words
            }

            /// Makes a register of these words, the first in the lowest place.
            fn register(words: [u32; LANES]) -> $register {
                // SAFETY: both are as large, any bits are a register, and no reference is involved.
                #[expect(unsafe_code, reason = "words become a register")]
                unsafe {
                    core::mem::transmute::<[u32; LANES], $register>(words)
                }
            }

            /// Returns the words of a register, the lowest first.
            fn words(register: $register) -> [u32; LANES] {
                // SAFETY: both are as large, any bits are words, and no reference is involved.
                #[expect(unsafe_code, reason = "a register becomes words")]
                unsafe {
                    core::mem::transmute::<$register, [u32; LANES]>(register)
                }
            }
        }
    };
}

compressions!(
    eight,
    super::HALF,
    two [0 1],
    __m256i,
    _mm256_set1_epi32,
    _mm256_add_epi32,
    _mm256_xor_si256,
    _mm256_ternarylogic_epi32,
    _mm256_rol_epi32,
    _mm256_srli_epi32,
    _mm256_shuffle_epi8,
    _mm256_unpacklo_epi32,
    _mm256_unpackhi_epi32,
    _mm256_unpacklo_epi64,
    _mm256_unpackhi_epi64
);
compressions!(
    sixteen,
    super::WIDEST,
    four [0 1 2 3],
    __m512i,
    _mm512_set1_epi32,
    _mm512_add_epi32,
    _mm512_xor_si512,
    _mm512_ternarylogic_epi32,
    _mm512_rol_epi32,
    _mm512_srli_epi32,
    _mm512_shuffle_epi8,
    _mm512_unpacklo_epi32,
    _mm512_unpackhi_epi32,
    _mm512_unpacklo_epi64,
    _mm512_unpackhi_epi64
);
