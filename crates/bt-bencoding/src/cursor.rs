//! A borrowed view into a value that the scanner accepted.
//!
//! Decides: nothing.
//! Must not know: limits, or what a key means.
//! Invariant: it never allocates. Asking a value for another kind than its own gives nothing, never
//! an error.

use crate::lexer::{Lexed, Token, lex};
use crate::scan::{Limits, ScanError, ScanErrorKind, scan};

/// One value inside a scanned input. Copying it copies a slice. Finding a key or the next item
/// walks over the values before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor<'a> {
    span: &'a [u8],
}

/// The kind of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An integer of 64 bits.
    Int,
    /// A byte string.
    Bytes,
    /// A list.
    List,
    /// A dictionary.
    Dict,
}

impl<'a> Cursor<'a> {
    /// Scans `bytes`, which must be one value and nothing else.
    pub fn parse(bytes: &'a [u8], limits: Limits) -> Result<Cursor<'a>, ScanError> {
        match Cursor::parse_prefix(bytes, limits)? {
            (value, []) => Ok(value),
            (value, _) => {
                Err(ScanError { at: value.span.len(), kind: ScanErrorKind::TrailingBytes })
            }
        }
    }

    /// Scans the value that `bytes` begins with; also returns the bytes after it (BEP 9 puts
    /// payload there).
    pub fn parse_prefix(
        bytes: &'a [u8],
        limits: Limits,
    ) -> Result<(Cursor<'a>, &'a [u8]), ScanError> {
        let consumed = scan(bytes, limits)?.consumed;
        let (span, rest) = bytes.split_at_checked(consumed).unwrap_or((bytes, &[]));
        Ok((Cursor::scanned(span), rest))
    }

    /// Makes a view of exactly one value that the scanner accepted.
    pub(crate) fn scanned(span: &'a [u8]) -> Cursor<'a> {
        Cursor { span }
    }

    /// Returns the bytes of this value as they came: an info-hash is taken over these.
    pub fn span(&self) -> &'a [u8] {
        self.span
    }

    /// Returns the kind of the value.
    pub fn kind(&self) -> Kind {
        match self.span {
            [b'i', ..] => Kind::Int,
            [b'l', ..] => Kind::List,
            [b'd', ..] => Kind::Dict,
            _ => Kind::Bytes,
        }
    }

    /// Returns the integer.
    pub fn as_int(&self) -> Option<i64> {
        match lex(self.span, 0) {
            Ok(Lexed { token: Token::Int(value), .. }) => Some(value),
            _ => None,
        }
    }

    /// Returns the byte string.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match lex(self.span, 0) {
            Ok(Lexed { token: Token::Bytes(value), .. }) => Some(value),
            _ => None,
        }
    }

    /// Returns the value of a key, when this is a dictionary that has it.
    pub fn get(&self, key: &[u8]) -> Option<Cursor<'a>> {
        self.dict().find(|(candidate, _)| *candidate == key).map(|(_, value)| value)
    }

    /// Iterates over the items in order; none when this is not a list.
    pub fn list(&self) -> ListIter<'a> {
        ListIter { rest: self.inside(Kind::List) }
    }

    /// Iterates over the keys and values in the order of the input; none when this is not a
    /// dictionary.
    pub fn dict(&self) -> DictIter<'a> {
        DictIter { rest: self.inside(Kind::Dict) }
    }

    fn inside(&self, kind: Kind) -> &'a [u8] {
        match self.span {
            [_, inside @ .., _] if self.kind() == kind => inside,
            _ => &[],
        }
    }
}

/// Iterates over the items of a list: see [`Cursor::list`].
#[derive(Clone, Debug)]
pub struct ListIter<'a> {
    rest: &'a [u8],
}

/// Iterates over the entries of a dictionary: see [`Cursor::dict`].
#[derive(Clone, Debug)]
pub struct DictIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ListIter<'a> {
    type Item = Cursor<'a>;

    fn next(&mut self) -> Option<Cursor<'a>> {
        take_value(&mut self.rest)
    }
}

impl<'a> Iterator for DictIter<'a> {
    type Item = (&'a [u8], Cursor<'a>);

    fn next(&mut self) -> Option<(&'a [u8], Cursor<'a>)> {
        let key = take_value(&mut self.rest)?.as_bytes()?;
        Some((key, take_value(&mut self.rest)?))
    }
}

/// Splits off the first value; `None` at the end.
fn take_value<'a>(rest: &mut &'a [u8]) -> Option<Cursor<'a>> {
    let (mut at, mut open) = (0, 0usize);
    loop {
        let Lexed { token, next, .. } = lex(rest, at).ok()?;
        at = next;
        match token {
            Token::List | Token::Dict => open += 1,
            Token::End => open = open.checked_sub(1)?,
            Token::Int(_) | Token::Bytes(_) => {}
        }
        if open == 0 {
            let (span, after) = rest.split_at_checked(at)?;
            *rest = after;
            return Some(Cursor { span });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_bencode::value::Value;
    use std::vec::Vec;

    #[test]
    fn it_walks_what_the_scanner_accepted() {
        let bytes = b"d4:infod4:name1:x6:lengthi5ee4:listli1el1:aede2:\xff\xfeee";
        let root = Cursor::parse(bytes, Limits::NETWORK).unwrap();
        assert_eq!(root.kind(), Kind::Dict);
        assert_eq!(root.get(b"info").unwrap().span(), b"d4:name1:x6:lengthi5ee");
        assert_eq!(root.get(b"info").unwrap().get(b"length").unwrap().as_int(), Some(5));
        let spans: Vec<&[u8]> = root.get(b"list").unwrap().list().map(|item| item.span()).collect();
        assert_eq!(spans, [b"i1e".as_slice(), b"l1:ae", b"de", b"2:\xff\xfe"]);
        assert!(root.dict().map(|(key, _)| key).eq([b"info", b"list"]));
    }

    #[test]
    fn a_value_is_nothing_but_what_it_is() {
        for bytes in [b"i1e".as_slice(), b"1:a", b"l1:ae", b"d1:a1:be"] {
            let value = Cursor::parse(bytes, Limits::NETWORK).unwrap();
            assert_eq!(value.as_int().is_some(), value.kind() == Kind::Int);
            assert_eq!(value.as_bytes().is_some(), value.kind() == Kind::Bytes);
            assert_eq!(value.list().next().is_some(), value.kind() == Kind::List);
            assert_eq!(value.dict().next().is_some(), value.kind() == Kind::Dict);
            assert_eq!(value.get(b"a").is_some(), value.kind() == Kind::Dict);
        }
    }

    #[test]
    fn trailing_bytes_are_an_error_or_the_rest() {
        let error = Cursor::parse(b"deX", Limits::NETWORK).unwrap_err();
        assert_eq!(error, ScanError { at: 2, kind: ScanErrorKind::TrailingBytes });
        let (value, rest) = Cursor::parse_prefix(b"deX", Limits::NETWORK).unwrap();
        assert_eq!((value.span(), rest), (b"de".as_slice(), b"X".as_slice()));
    }

    /// Returns the value as `serde_bencode` would hold it.
    fn model(value: Cursor<'_>) -> Value {
        match value.kind() {
            Kind::Int => Value::Int(value.as_int().unwrap()),
            Kind::Bytes => Value::Bytes(value.as_bytes().unwrap().to_vec()),
            Kind::List => Value::List(value.list().map(model).collect()),
            Kind::Dict => {
                Value::Dict(value.dict().map(|(key, value)| (key.to_vec(), model(value))).collect())
            }
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<i64>().prop_map(Value::Int), any::<Vec<u8>>().prop_map(Value::Bytes)];
        leaf.prop_recursive(6, 60, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                proptest::collection::hash_map(any::<Vec<u8>>(), inner, 0..6).prop_map(Value::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_what_another_encoder_wrote(value in any_value()) {
            let bytes = serde_bencode::to_bytes(&value).unwrap();
            prop_assert!(scan(&bytes, Limits::NETWORK).unwrap().sorted);
            prop_assert_eq!(model(Cursor::parse(&bytes, Limits::NETWORK).unwrap()), value);
        }
    }
}
