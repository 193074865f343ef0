//! Draws random numbers from a seed: ChaCha8, whose stream for a seed is fixed by its definition
//! and never changes with a version.
//!
//! Decides: how numbers are drawn. Must not know: where the seed came from.
//! Invariant: equal seeds give equal sequences on every machine.

use alloc::boxed::Box;
use core::fmt;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// A seeded random number generator. With a secret seed its output cannot be guessed.
#[derive(Clone)]
pub struct Rng(State);

#[derive(Clone)]
enum State {
    /// A seed, and how many words of its stream were drawn.
    Resting([u8; 32], u64),
    /// A generator with a stretch of the stream computed ahead.
    Running(Box<ChaCha8Rng>),
}

impl Rng {
    /// Makes a generator for a test or a simulation.
    pub fn from_seed(seed: u64) -> Rng {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(seed.to_le_bytes()) {
            *to = from;
        }
        Rng::from_secret(bytes)
    }

    /// Makes a generator from 32 secret bytes of the operating system.
    pub fn from_secret(seed: [u8; 32]) -> Rng {
        Rng(State::Resting(seed, 0))
    }

    /// Makes a generator whose stream is independent of this one's from here on.
    pub fn fork(&mut self) -> Rng {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Rng::from_secret(seed)
    }

    /// Draws any number.
    pub fn next_u64(&mut self) -> u64 {
        self.running().next_u64()
    }

    /// Draws any number.
    pub fn next_u32(&mut self) -> u32 {
        self.running().next_u32()
    }

    /// Releases the 256 bytes of the stream that were computed ahead, because nothing will be drawn
    /// for a while. The later numbers are the same as without this call.
    pub fn rest(&mut self) {
        if let State::Running(rng) = &self.0 {
            // 2^64 words are never drawn.
            let words = u64::try_from(rng.get_word_pos()).unwrap_or(u64::MAX);
            self.0 = State::Resting(rng.get_seed(), words);
        }
    }

    #[inline]
    fn running(&mut self) -> &mut ChaCha8Rng {
        if let State::Resting(seed, words) = self.0 {
            let mut rng = ChaCha8Rng::from_seed(seed);
            if words > 0 {
                rng.set_word_pos(words.into());
            }
            self.0 = State::Running(Box::new(rng));
        }
        match &mut self.0 {
            State::Running(rng) => rng,
            State::Resting(..) => unreachable!("it was woken"),
        }
    }

    /// Draws a number in `0..bound`, evenly, with a bias below 2^-32 for bounds below 2^32; 0 if
    /// the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of a 128-bit product: no division, no noticeable bias.
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Draws an index into a slice of this length; 0 if it is empty.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Fills the bytes with random ones.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.running().fill_bytes(bytes);
    }

    /// Puts the items into an even random order (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        let mut rng = Rng::from_seed(1);
        let drawn: Vec<u64> = (0..4).map(|_| rng.below(1000)).collect();
        assert_eq!(drawn, [381, 294, 798, 916]);
        assert_eq!(Rng::from_seed(1).below(0), 0);
    }

    #[test]
    fn who_rests_draws_what_it_would_have_drawn() {
        let (mut awake, mut rested) = (Rng::from_seed(7), Rng::from_seed(7));
        for round in 0..1000 {
            // All offsets within a stretch, at its end too.
            let draws = |rng: &mut Rng| match round % 3 {
                0 => u64::from(rng.next_u32()),
                1 => rng.next_u64(),
                _ => rng.fork().next_u64(),
            };
            assert_eq!(draws(&mut awake), draws(&mut rested), "in round {round}");
            if round % 7 != 0 {
                rested.rest();
            }
            assert!(size_of_val(&rested) <= 48);
        }
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Rng::from_seed(3).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
