//! One token at a time: the only code that reads bencode's bytes.
//!
//! Decides: the form of integers and lengths. Must not know: nesting.
//! Invariant: a token's payload lies inside the input; the next offset is always larger than the last.

use crate::ScanErrorKind;

/// A token, and for strings the payload itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    List,
    Dict,
    End,
}

/// The token that begins at `at`, and the offset after it.
pub(crate) fn lex(bytes: &[u8], at: usize) -> Result<(Token<'_>, usize), ScanErrorKind> {
    let rest = bytes.get(at..).unwrap_or_default();
    let (token, len) = match rest {
        [] => return Err(ScanErrorKind::Truncated),
        [b'i', digits @ ..] => integer(digits)?,
        [b'l', ..] => (Token::List, 1),
        [b'd', ..] => (Token::Dict, 1),
        [b'e', ..] => (Token::End, 1),
        [b'0'..=b'9', ..] => string(rest)?,
        _ => return Err(ScanErrorKind::UnexpectedByte),
    };
    // No overflow: `len` bytes of `rest` exist.
    Ok((token, at + len))
}

/// Reads `<digits>e` after the `i`. The value is gathered below zero, where `i64` reaches one further.
fn integer(text: &[u8]) -> Result<(Token<'_>, usize), ScanErrorKind> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let (below_zero, len) =
        number(digits, b'e', ScanErrorKind::OddInteger, |value, digit| value.checked_mul(10)?.checked_sub(digit))?;
    let value = match (negative, below_zero) {
        (true, 0) => return Err(ScanErrorKind::OddInteger),
        (true, value) => value,
        (false, value) => value.checked_neg().ok_or(ScanErrorKind::IntegerRange)?,
    };
    Ok((Token::Int(value), 1 + usize::from(negative) + len))
}

/// Reads `<length>:<payload>`.
fn string(text: &[u8]) -> Result<(Token<'_>, usize), ScanErrorKind> {
    let (len, prefix) = number(text, b':', ScanErrorKind::OddLength, |value, digit| value.checked_mul(10)?.checked_add(digit))?;
    let len = usize::try_from(len).map_err(|_| ScanErrorKind::Truncated)?;
    let payload = text.get(prefix..).and_then(|rest| rest.get(..len)).ok_or(ScanErrorKind::Truncated)?;
    Ok((Token::Bytes(payload), prefix + len))
}

/// Folds decimal digits up to `stop`; returns the value and the length read, `stop` included. No digits, leading zeros and any
/// other byte are `odd`. It reads at most 20 digits: then the fold has overflowed.
fn number(
    text: &[u8],
    stop: u8,
    odd: ScanErrorKind,
    fold: impl Fn(i64, i64) -> Option<i64>,
) -> Result<(i64, usize), ScanErrorKind> {
    let mut value = 0;
    for (index, &byte) in text.iter().enumerate() {
        let leading_zero = text.first() == Some(&b'0') && index == 1;
        match byte {
            b'0'..=b'9' if !leading_zero => {
                value = fold(value, i64::from(byte - b'0')).ok_or(ScanErrorKind::IntegerRange)?;
            }
            byte if byte == stop && index > 0 => return Ok((value, index + 1)),
            _ => return Err(odd),
        }
    }
    Err(ScanErrorKind::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_token() {
        use ScanErrorKind::*;
        type Row = (&'static [u8], Result<(Token<'static>, usize), ScanErrorKind>);
        let table: [Row; 30] = [
            (b"i0e", Ok((Token::Int(0), 3))),
            (b"i42eX", Ok((Token::Int(42), 4))),
            (b"i-7e", Ok((Token::Int(-7), 4))),
            (b"i9223372036854775807e", Ok((Token::Int(i64::MAX), 21))),
            (b"i-9223372036854775808e", Ok((Token::Int(i64::MIN), 22))),
            (b"i9223372036854775808e", Err(IntegerRange)),
            (b"i-9223372036854775809e", Err(IntegerRange)),
            (b"i99999999999999999999999e", Err(IntegerRange)),
            (b"i-0e", Err(OddInteger)),
            (b"i00e", Err(OddInteger)),
            (b"i007e", Err(OddInteger)),
            (b"i-07e", Err(OddInteger)),
            (b"i+5e", Err(OddInteger)),
            (b"ie", Err(OddInteger)),
            (b"i-e", Err(OddInteger)),
            (b"i--1e", Err(OddInteger)),
            (b"i5.0e", Err(OddInteger)),
            (b"i 5e", Err(OddInteger)),
            (b"i5", Err(Truncated)),
            (b"i", Err(Truncated)),
            (b"0:", Ok((Token::Bytes(b""), 2))),
            (b"3:abcd", Ok((Token::Bytes(b"abc"), 5))),
            (b"3:ab", Err(Truncated)),
            (b"3", Err(Truncated)),
            (b"03:abc", Err(OddLength)),
            (b"00:", Err(OddLength)),
            (b"1-2:x", Err(OddLength)),
            (b"9223372036854775807:x", Err(Truncated)),
            (b"18446744073709551615:x", Err(IntegerRange)),
            (b"-5:x", Err(UnexpectedByte)),
        ];
        for (input, expected) in table {
            assert_eq!(lex(input, 0), expected, "{}", input.escape_ascii());
        }
    }
}
