//! Reads one token at a time: the only code that reads bencode's bytes.
//!
//! Decides: the form of integers and lengths, and which odd forms have a meaning.
//! Must not know: nesting, which caller tolerates odd forms.
//! Invariant: a token's payload lies inside the input; the next offset is always larger than the
//! last.

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

/// A token with its place, and the oddity of its form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lexed<'a> {
    pub(crate) token: Token<'a>,
    /// Offset in bytes after the token.
    pub(crate) next: usize,
    /// Leading zeros or `-0`: the number is clear, but not in canonical form.
    pub(crate) odd: Option<ScanErrorKind>,
}

/// Reads the token that begins at `at`.
pub(crate) fn lex(bytes: &[u8], at: usize) -> Result<Lexed<'_>, ScanErrorKind> {
    let rest = bytes.get(at..).unwrap_or_default();
    let (token, len, odd) = match rest {
        [] => return Err(ScanErrorKind::Truncated),
        [b'i', digits @ ..] => integer(digits)?,
        [b'l', ..] => (Token::List, 1, false),
        [b'd', ..] => (Token::Dict, 1, false),
        [b'e', ..] => (Token::End, 1, false),
        [b'0'..=b'9', ..] => string(rest)?,
        _ => return Err(ScanErrorKind::UnexpectedByte),
    };
    let kind = if matches!(token, Token::Int(_)) {
        ScanErrorKind::OddInteger
    } else {
        ScanErrorKind::OddLength
    };
    // No overflow: `len` bytes of `rest` exist.
    Ok(Lexed { token, next: at + len, odd: odd.then_some(kind) })
}

/// Reads `<digits>e` after the `i`. The value is gathered below zero, where `i64` reaches one
/// further.
fn integer(text: &[u8]) -> Result<(Token<'_>, usize, bool), ScanErrorKind> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let Number { value: below_zero, len, leading_zero } =
        number(digits, b'e', ScanErrorKind::OddInteger, |value, digit| {
            value.checked_mul(10)?.checked_sub(digit)
        })?;
    let value = if negative {
        below_zero
    } else {
        below_zero.checked_neg().ok_or(ScanErrorKind::IntegerRange)?
    };
    Ok((
        Token::Int(value),
        1 + usize::from(negative) + len,
        leading_zero || (negative && value == 0),
    ))
}

/// Reads `<length>:<payload>`.
fn string(text: &[u8]) -> Result<(Token<'_>, usize, bool), ScanErrorKind> {
    let Number { value, len: prefix, leading_zero } =
        number(text, b':', ScanErrorKind::OddLength, |value, digit| {
            value.checked_mul(10)?.checked_add(digit)
        })?;
    let len = usize::try_from(value).map_err(|_| ScanErrorKind::Truncated)?;
    let payload =
        text.get(prefix..).and_then(|rest| rest.get(..len)).ok_or(ScanErrorKind::Truncated)?;
    Ok((Token::Bytes(payload), prefix + len, leading_zero))
}

/// Decimal digits that were read.
struct Number {
    value: i64,
    /// Bytes read, with the stop byte.
    len: usize,
    leading_zero: bool,
}

/// Folds decimal digits up to `stop`. No digits and any other byte are `odd`.
fn number(
    text: &[u8],
    stop: u8,
    odd: ScanErrorKind,
    fold: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Number, ScanErrorKind> {
    let mut value = 0;
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                value = fold(value, i64::from(byte - b'0')).ok_or(ScanErrorKind::IntegerRange)?;
            }
            byte if byte == stop && index > 0 => {
                return Ok(Number {
                    value,
                    len: index + 1,
                    leading_zero: index > 1 && text.first() == Some(&b'0'),
                });
            }
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
        type Row =
            (&'static [u8], Result<(Token<'static>, usize, Option<ScanErrorKind>), ScanErrorKind>);
        let table: [Row; 32] = [
            (b"i0e", Ok((Token::Int(0), 3, None))),
            (b"i42eX", Ok((Token::Int(42), 4, None))),
            (b"i-7e", Ok((Token::Int(-7), 4, None))),
            (b"i9223372036854775807e", Ok((Token::Int(i64::MAX), 21, None))),
            (b"i-9223372036854775808e", Ok((Token::Int(i64::MIN), 22, None))),
            (b"i9223372036854775808e", Err(IntegerRange)),
            (b"i-9223372036854775809e", Err(IntegerRange)),
            (b"i99999999999999999999999e", Err(IntegerRange)),
            (b"i-0e", Ok((Token::Int(0), 4, Some(OddInteger)))),
            (b"i00e", Ok((Token::Int(0), 4, Some(OddInteger)))),
            (b"i007e", Ok((Token::Int(7), 5, Some(OddInteger)))),
            (b"i00000000000000000000000007e", Ok((Token::Int(7), 28, Some(OddInteger)))),
            (b"i-00e", Ok((Token::Int(0), 5, Some(OddInteger)))),
            (b"i-07e", Ok((Token::Int(-7), 5, Some(OddInteger)))),
            (b"i+5e", Err(OddInteger)),
            (b"ie", Err(OddInteger)),
            (b"i-e", Err(OddInteger)),
            (b"i--1e", Err(OddInteger)),
            (b"i5.0e", Err(OddInteger)),
            (b"i 5e", Err(OddInteger)),
            (b"i5", Err(Truncated)),
            (b"i", Err(Truncated)),
            (b"0:", Ok((Token::Bytes(b""), 2, None))),
            (b"3:abcd", Ok((Token::Bytes(b"abc"), 5, None))),
            (b"3:ab", Err(Truncated)),
            (b"3", Err(Truncated)),
            (b"03:abc", Ok((Token::Bytes(b"abc"), 6, Some(OddLength)))),
            (b"00:", Ok((Token::Bytes(b""), 3, Some(OddLength)))),
            (b"1-2:x", Err(OddLength)),
            (b"9223372036854775807:x", Err(Truncated)),
            (b"18446744073709551615:x", Err(IntegerRange)),
            (b"-5:x", Err(UnexpectedByte)),
        ];
        for (input, expected) in table {
            let found = lex(input, 0).map(|lexed| (lexed.token, lexed.next, lexed.odd));
            assert_eq!(found, expected, "{}", input.escape_ascii());
        }
    }
}
