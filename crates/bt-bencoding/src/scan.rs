//! Checks an input in one pass before any other code reads it.
//!
//! Decides: nesting, key order, duplicates, limits.
//! Must not know: what the value is for.
//! Invariant: an accepted input is one complete value that the cursor and serde can walk without a
//! check or deep recursion.

use crate::Cursor;
use crate::lexer::{Lexed, Token, lex};
use alloc::vec::Vec;

/// The deepest nesting that any [`Limits`] can allow.
const DEPTH_MAX: usize = 128;

/// Total length of second looks at unsorted dictionaries, as a multiple of the input: nesting them
/// must cost no more.
const REWALKS_MAX: usize = 8;

/// Limits of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Lists and dictionaries inside each other; at most 128 count.
    pub depth: usize,
    /// Integers, strings, and the beginnings and ends of lists and dictionaries.
    pub tokens: usize,
    /// Length of the input in bytes.
    pub bytes: usize,
    /// Whether numbers and lengths with leading zeros, and `-0`, are accepted.
    pub odd_numbers: bool,
}

impl Limits {
    /// For messages of peers, trackers and DHT nodes.
    pub const NETWORK: Limits =
        Limits { depth: 32, tokens: 64 * 1024, bytes: 4 << 20, odd_numbers: false };
    /// For `.torrent` files and the `info` that peers send: half a million files at 16 tokens each.
    /// Odd numbers are accepted, as by other clients: such torrents exist, and their info-hash is
    /// that of the bytes as they are.
    pub const TORRENT: Limits =
        Limits { depth: 100, tokens: 8_000_000, bytes: 128 << 20, odd_numbers: true };
}

/// The result of a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scan {
    /// Length in bytes of the value; later bytes were not looked at.
    pub consumed: usize,
    /// Whether the keys of every dictionary are in order.
    pub sorted: bool,
    /// Whether a number or length has leading zeros, or is `-0`.
    pub odd_numbers: bool,
}

impl Scan {
    /// Returns whether the value has its only canonical encoding.
    pub fn is_canonical(&self) -> bool {
        self.sorted && !self.odd_numbers
    }
}

/// Why an input is refused, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct ScanError {
    /// Offset in bytes of the offending token.
    pub at: usize,
    /// What is wrong with it.
    pub kind: ScanErrorKind,
}

/// What is wrong with a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScanErrorKind {
    /// The input ends inside a value, or a length claims more bytes than exist.
    #[error("unexpected end")]
    Truncated,
    /// No value begins with this byte, or a list or dictionary ends that never began.
    #[error("unexpected byte")]
    UnexpectedByte,
    /// An integer that is not canonical: `-0`, leading zeros, `+5`, no digits.
    #[error("malformed integer")]
    OddInteger,
    /// A string length that is not canonical.
    #[error("malformed string length")]
    OddLength,
    /// An integer or length outside 64 bits with sign.
    #[error("integer out of range")]
    IntegerRange,
    /// A dictionary key that is not a string.
    #[error("dictionary key that is not a string")]
    KeyNotString,
    /// A dictionary that ends after a key.
    #[error("dictionary key without a value")]
    MissingValue,
    /// The same key twice in one dictionary: two parsers could read two different values.
    #[error("duplicate dictionary key")]
    DuplicateKey,
    /// Nesting beyond [`Limits::depth`].
    #[error("too deeply nested")]
    TooDeep,
    /// More values than [`Limits::tokens`], or unsorted dictionaries nested so that checking them
    /// costs too much.
    #[error("too many values")]
    TooManyTokens,
    /// The input is longer than [`Limits::bytes`].
    #[error("input too large")]
    TooLarge,
    /// Bytes after the value, where none may be.
    #[error("trailing bytes")]
    TrailingBytes,
}

/// Checks the one value that `bytes` begins with, in one pass and without allocation.
///
/// Only dictionaries with unsorted keys allocate: their keys are gathered and sorted to find
/// duplicates.
pub fn scan(bytes: &[u8], limits: Limits) -> Result<Scan, ScanError> {
    if bytes.len() > limits.bytes {
        return Err(ScanError { at: limits.bytes, kind: ScanErrorKind::TooLarge });
    }
    let mut scanner = Scanner {
        input: bytes,
        stack: Stack::new(limits.depth),
        sorted: true,
        rewalk_budget: bytes.len().saturating_mul(REWALKS_MAX),
    };
    let (mut at, mut odd_numbers) = (0, false);
    for _ in 0..limits.tokens {
        let fail = |kind| ScanError { at, kind };
        let Lexed { token, next, odd } = lex(bytes, at).map_err(fail)?;
        if let Some(kind) = odd {
            odd_numbers = true;
            if !limits.odd_numbers {
                return Err(fail(kind));
            }
        }
        scanner.token(token, at, next).map_err(fail)?;
        at = next;
        if scanner.stack.is_empty() {
            return Ok(Scan { consumed: at, sorted: scanner.sorted, odd_numbers });
        }
    }
    Err(ScanError { at, kind: ScanErrorKind::TooManyTokens })
}

struct Scanner<'a> {
    input: &'a [u8],
    stack: Stack<'a>,
    sorted: bool,
    rewalk_budget: usize,
}

impl<'a> Scanner<'a> {
    /// Processes the token at `at..next`.
    fn token(&mut self, token: Token<'a>, at: usize, next: usize) -> Result<(), ScanErrorKind> {
        match (self.stack.top(), token) {
            (Some(Frame::Dict(dict)), Token::Bytes(key)) if !dict.has_key => return dict.key(key),
            (Some(Frame::Dict(dict)), Token::End) if !dict.has_key => {
                let (start, sorted) = (dict.start, dict.sorted);
                self.stack.pop();
                return if sorted { Ok(()) } else { self.refuse_duplicates(start, next) };
            }
            (Some(Frame::Dict(dict)), _) if !dict.has_key => {
                return Err(ScanErrorKind::KeyNotString);
            }
            (Some(Frame::Dict(_)), Token::End) => return Err(ScanErrorKind::MissingValue),
            (Some(Frame::Dict(dict)), _) => dict.has_key = false,
            (Some(Frame::List), Token::End) => {
                self.stack.pop();
                return Ok(());
            }
            (None, Token::End) => return Err(ScanErrorKind::UnexpectedByte),
            (Some(Frame::List) | None, _) => {}
        }
        match token {
            Token::List => self.stack.push(Frame::List),
            Token::Dict => self.stack.push(Frame::Dict(DictFrame {
                start: at,
                last_key: None,
                has_key: false,
                sorted: true,
            })),
            _ => Ok(()),
        }
    }

    /// Looks again at an unsorted dictionary: equal keys need not be neighbours.
    fn refuse_duplicates(&mut self, start: usize, end: usize) -> Result<(), ScanErrorKind> {
        self.sorted = false;
        let span = self.input.get(start..end).unwrap_or_default();
        self.rewalk_budget =
            self.rewalk_budget.checked_sub(span.len()).ok_or(ScanErrorKind::TooManyTokens)?;
        let mut keys: Vec<&[u8]> = Cursor::scanned(span).dict().map(|(key, _)| key).collect();
        keys.sort_unstable();
        let twice = keys.iter().zip(keys.iter().skip(1)).any(|(key, next)| key == next);
        if twice { Err(ScanErrorKind::DuplicateKey) } else { Ok(()) }
    }
}

/// The open lists and dictionaries, the innermost on top.
struct Stack<'a> {
    frames: [Frame<'a>; DEPTH_MAX],
    len: usize,
    limit: usize,
}

#[derive(Clone, Copy)]
enum Frame<'a> {
    List,
    Dict(DictFrame<'a>),
}

#[derive(Clone, Copy)]
struct DictFrame<'a> {
    start: usize,
    last_key: Option<&'a [u8]>,
    /// A key was read and its value is next.
    has_key: bool,
    sorted: bool,
}

impl<'a> DictFrame<'a> {
    fn key(&mut self, key: &'a [u8]) -> Result<(), ScanErrorKind> {
        if self.last_key == Some(key) {
            return Err(ScanErrorKind::DuplicateKey);
        }
        self.sorted &= self.last_key < Some(key);
        self.last_key = Some(key);
        self.has_key = true;
        Ok(())
    }
}

impl<'a> Stack<'a> {
    fn new(limit: usize) -> Stack<'a> {
        Stack { frames: [Frame::List; DEPTH_MAX], len: 0, limit: limit.min(DEPTH_MAX) }
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn top(&mut self) -> Option<&mut Frame<'a>> {
        self.frames.get_mut(self.len.checked_sub(1)?)
    }

    fn push(&mut self, frame: Frame<'a>) -> Result<(), ScanErrorKind> {
        let slot = self
            .frames
            .get_mut(self.len)
            .filter(|_| self.len < self.limit)
            .ok_or(ScanErrorKind::TooDeep)?;
        *slot = frame;
        self.len += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString as _;
    use std::vec;

    #[test]
    fn what_is_refused_and_where() {
        use ScanErrorKind::*;
        let table: [(&[u8], usize, ScanErrorKind); 16] = [
            (b"", 0, Truncated),
            (b"e", 0, UnexpectedByte),
            (b"x", 0, UnexpectedByte),
            (b"l", 1, Truncated),
            (b"li1e", 4, Truncated),
            (b"d1:a", 4, Truncated),
            (b"d1:ae", 4, MissingValue),
            (b"di1ei2ee", 1, KeyNotString),
            (b"dlei2ee", 1, KeyNotString),
            (b"ddei2ee", 1, KeyNotString),
            (b"d1:ai1e1:ai2ee", 7, DuplicateKey),
            (b"d1:bi1e1:ai2e1:bi3ee", 19, DuplicateKey),
            (b"d4:infod1:b0:1:a0:1:b0:ee", 23, DuplicateKey),
            (b"li007ee", 1, OddInteger),
            (b"l005:helloe", 1, OddLength),
            (b"d1:a9:xe", 4, Truncated),
        ];
        for (input, at, kind) in table {
            assert_eq!(
                scan(input, Limits::NETWORK),
                Err(ScanError { at, kind }),
                "{}",
                input.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_accepted_and_how_much_of_it() {
        let table: [(&[u8], usize, bool); 8] = [
            (b"i1eXXXX", 3, true),
            (b"0:", 2, true),
            (b"le", 2, true),
            (b"de", 2, true),
            (b"d1:ai1e1:bi2ee", 14, true),
            (b"d1:bi1e1:ai2ee", 14, false),
            (b"d1:al1:a1:aee", 13, true),
            (b"d0:0:1:\xff0:e", 11, true),
        ];
        for (input, consumed, sorted) in table {
            assert_eq!(
                scan(input, Limits::NETWORK),
                Ok(Scan { consumed, sorted, odd_numbers: false }),
                "{}",
                input.escape_ascii()
            );
        }
    }

    #[test]
    fn odd_numbers_are_taken_in_torrents_alone() {
        for (input, kind) in [
            (b"li007ee".as_slice(), ScanErrorKind::OddInteger),
            (b"l01:ai-0ee", ScanErrorKind::OddLength),
        ] {
            assert_eq!(scan(input, Limits::NETWORK), Err(ScanError { at: 1, kind }));
            let found = scan(input, Limits::TORRENT).unwrap();
            assert!(
                found.odd_numbers
                    && found.sorted
                    && !found.is_canonical()
                    && found.consumed == input.len()
            );
        }
        assert!(scan(b"d1:ai0ee", Limits::TORRENT).unwrap().is_canonical());
        assert_eq!(
            Cursor::parse(b"d01:ai007ee", Limits::TORRENT).unwrap().get(b"a").unwrap().as_int(),
            Some(7)
        );
    }

    #[test]
    fn limits_hold_for_hostile_input() {
        let deep = |n: usize| [vec![b'l'; n], vec![b'e'; n]].concat();
        assert!(scan(&deep(32), Limits::NETWORK).is_ok());
        assert_eq!(
            scan(&deep(33), Limits::NETWORK),
            Err(ScanError { at: 32, kind: ScanErrorKind::TooDeep })
        );
        assert_eq!(
            scan(&deep(100_000), Limits::TORRENT),
            Err(ScanError { at: 100, kind: ScanErrorKind::TooDeep })
        );
        let endless = Limits { depth: usize::MAX, ..Limits::TORRENT };
        assert_eq!(
            scan(&b"d1:a".repeat(100_000), endless).unwrap_err().kind,
            ScanErrorKind::TooDeep
        );
        let wide = [b"l".as_slice(), &b"0:".repeat(70_000), b"e"].concat();
        assert_eq!(scan(&wide, Limits::NETWORK).unwrap_err().kind, ScanErrorKind::TooManyTokens);
        assert!(scan(&wide, Limits::TORRENT).is_ok());
        let limits = Limits { bytes: 2, ..Limits::NETWORK };
        assert_eq!(scan(b"i1e", limits).unwrap_err().kind, ScanErrorKind::TooLarge);
        assert_eq!(
            scan(&b"i0".repeat(1 << 20), Limits::TORRENT).unwrap_err().to_string(),
            "malformed integer at byte 0"
        );
    }

    #[test]
    fn nested_unsorted_dictionaries_cannot_make_it_slow() {
        let nested = (0..90)
            .fold(vec![b'0', b':'], |inner, _| [b"d1:b0:1:a".as_slice(), &inner, b"e"].concat());
        assert_eq!(scan(&nested, Limits::TORRENT).unwrap_err().kind, ScanErrorKind::TooManyTokens);
    }

    proptest! {
        #[test]
        fn no_input_panics_and_no_prefix_of_a_value_is_a_value(bytes in proptest::collection::vec(
            prop_oneof![Just(b'd'), Just(b'l'), Just(b'i'), Just(b'e'), Just(b':'), b'0'..=b'9', any::<u8>()], 0..64)
        ) {
            if let Ok(found) = scan(&bytes, Limits::NETWORK) {
                prop_assert!(found.consumed <= bytes.len());
                for short in 0..found.consumed {
                    prop_assert!(scan(&bytes[..short], Limits::NETWORK).is_err());
                }
            }
        }
    }
}
