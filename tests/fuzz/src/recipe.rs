//! Bytes that describe how an input is made of others.
//!
//! Decides: what is done to an input. Must not know: what the input is for.
//! Invariant: every recipe makes an input, and the same one each time; one that is short does
//! little.

/// The greatest number of changes of one input.
const STEPS_MAX: u8 = 12;
/// The greatest length of an input, in bytes.
const INPUT_MAX: usize = 1 << 16;

/// Texts that parsers often get wrong.
const SPITEFUL: [&[u8]; 16] = [
    b"0",
    b"-1",
    b"-0",
    b"00",
    b"2147483648",
    b"4294967296",
    b"9223372036854775807",
    b"9223372036854775808",
    b"18446744073709551616",
    b"i-9223372036854775808e",
    b"de",
    b"le",
    b"0:",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
];

/// A recipe that is being read.
pub(crate) struct Recipe<'a>(&'a [u8]);

impl<'a> Recipe<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Recipe<'a> {
        Recipe(bytes)
    }

    /// Makes the input.
    pub(crate) fn cook(mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let kind = self.byte();
        // One input in eight is the bytes of the recipe itself.
        if kind.is_multiple_of(8) {
            return self.0.to_vec();
        }
        let mut input = self.pick(corpus).to_vec();
        for _ in 0..self.byte() % STEPS_MAX {
            self.step(&mut input, corpus);
            input.truncate(INPUT_MAX);
        }
        input
    }

    fn step(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let kind = self.byte() % 9;
        let at = self.below(input.len() + 1);
        let end = (at + self.below(64)).min(input.len());
        match kind {
            0 => {
                let value = self.byte();
                input.get_mut(at).into_iter().for_each(|byte| *byte = value);
            }
            1 => {
                let bit = self.byte() % 8;
                input.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
            }
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input.get(at..end).unwrap_or_default().to_vec();
                input.splice(at..at, part);
            }
            4 => input.truncate(at),
            5 => {
                let count = self.below(16);
                let fresh: Vec<u8> = (0..count).map(|_| self.byte()).collect();
                input.splice(at..at, fresh);
            }
            // A number, or any other text, becomes one that parsers often get wrong.
            6 => {
                let rest = input.get(at..).unwrap_or_default();
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let spiteful = SPITEFUL[self.below(SPITEFUL.len())];
                input.splice(at..at + digits, spiteful.iter().copied());
            }
            7 => {
                let other = self.pick(corpus);
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            _ => {
                let times = self.below(200);
                let part = input.get(at..end).unwrap_or_default().repeat(times);
                input.splice(at..at, part);
            }
        }
    }

    fn pick<'c>(&mut self, corpus: &'c [Vec<u8>]) -> &'c [u8] {
        corpus.get(self.below(corpus.len())).map_or(&[], Vec::as_slice)
    }

    /// Returns the next byte; zero at the end.
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Returns a number below `bound`; zero if `bound` is zero.
    fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        number.checked_rem(bound).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Recipe;

    #[test]
    fn a_recipe_makes_the_same_each_time_and_an_empty_one_makes_nothing() {
        let corpus = [b"d3:fooi42ee".to_vec(), b"le".to_vec()];
        let cook = |recipe: &[u8]| Recipe::new(recipe).cook(&corpus);
        assert_eq!(cook(&[]), b"");
        assert_eq!(cook(b"\x08as it is"), b"as it is");
        assert_eq!(cook(&[1, 0, 0, 0]), corpus[0]);
        // The number at 7 becomes the fourth spiteful one.
        assert_eq!(cook(&[1, 0, 0, 1, 6, 0, 7, 0, 0, 0, 3]), b"d3:fooi00ee");
        for recipe in [[7; 200].as_slice(), &[255; 99], &[1, 0, 0, 11, 8, 0, 0, 0, 63, 0, 199]] {
            assert_eq!(cook(recipe), cook(recipe));
        }
    }
}
