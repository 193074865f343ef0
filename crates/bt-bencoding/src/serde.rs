//! Types through serde, for our own files and other values that are decoded whole.
//!
//! Decides: which bytes may reach `serde_bencode`.
//! Must not know: the types.
//! Invariant: the decoder sees only bytes that the scanner accepted, so its recursion is bounded
//! and no key comes twice.
//!
//! `serde_bencode` on its own overflows the stack on deep nesting, even inside fields that a type
//! ignores. It also accepts trailing bytes, duplicate keys and odd integers. Two of its habits
//! remain. A dictionary that becomes a struct must have UTF-8 keys. A byte string must be declared
//! with `serde_bytes`, or it is taken for a list.

use crate::scan::{Limits, ScanError, scan};
use ::serde::{Serialize, de::DeserializeOwned};
use alloc::{string::String, string::ToString as _, vec::Vec};

/// A decoded value, and what was tolerated on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded<T> {
    /// The value.
    pub value: T,
    /// What a stricter reader would refuse.
    pub warnings: Vec<Warning>,
}

/// Input that is not canonical and yet accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Warning {
    /// The keys of a dictionary are not in order.
    #[error("dictionary keys are not sorted")]
    UnsortedKeys,
    /// This many bytes follow the value.
    #[error("{0} bytes follow the end")]
    TrailingBytes(usize),
}

/// Why bytes are not a value of the type.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not well-formed bencode within the limits.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The bytes are well-formed, but not of this type.
    #[error("not the expected value: {0}")]
    Type(String),
}

/// A value that bencode cannot hold: a float, a map whose keys are not strings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot be written as bencode: {0}")]
pub struct EncodeError(String);

/// Decodes the value that `bytes` begins with.
pub fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    limits: Limits,
) -> Result<Decoded<T>, DecodeError> {
    let found = scan(bytes, limits)?;
    let (span, rest) = bytes.split_at_checked(found.consumed).unwrap_or((bytes, &[]));
    let value =
        serde_bencode::from_bytes(span).map_err(|error| DecodeError::Type(short(&error)))?;
    let unsorted = (!found.sorted).then_some(Warning::UnsortedKeys);
    let trailing = (!rest.is_empty()).then_some(Warning::TrailingBytes(rest.len()));
    Ok(Decoded { value, warnings: unsorted.into_iter().chain(trailing).collect() })
}

/// Encodes canonically: the keys of structs and maps are sorted. Never take an info-hash over a
/// re-encoding.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, EncodeError> {
    serde_bencode::to_bytes(value).map_err(|error| EncodeError(short(&error)))
}

/// Shortens the error's text to a line without control characters: it may quote the input.
fn short(error: &serde_bencode::Error) -> String {
    error.to_string().chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ScanErrorKind;
    use ::serde::Deserialize;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec;

    #[derive(Serialize, Deserialize, PartialEq, Eq, Debug)]
    struct Node {
        port: u16,
        #[serde(with = "serde_bytes")]
        id: Vec<u8>,
    }

    #[test]
    fn a_type_round_trips_with_sorted_keys() {
        let node = Node { port: 6881, id: vec![0xff, 0] };
        let bytes = encode(&node).unwrap();
        assert_eq!(bytes, b"d2:id2:\xff\x004:porti6881ee");
        assert_eq!(
            decode::<Node>(&bytes, Limits::NETWORK),
            Ok(Decoded { value: node, warnings: vec![] })
        );
    }

    #[test]
    fn what_is_tolerated_is_reported() {
        let decoded = decode::<Node>(b"d4:porti1e2:id0:eXY", Limits::NETWORK).unwrap();
        assert_eq!(decoded.warnings, [Warning::UnsortedKeys, Warning::TrailingBytes(2)]);
    }

    #[test]
    fn the_decoder_never_sees_what_the_scanner_refuses() {
        let deep = [b"d1:x".as_slice(), &b"l".repeat(100_000)].concat();
        let error = decode::<Node>(&deep, Limits::TORRENT).unwrap_err();
        assert!(
            matches!(error, DecodeError::Scan(ScanError { kind: ScanErrorKind::TooDeep, .. })),
            "{error}"
        );
        let error = decode::<Node>(b"d2:id0:4:porti70000ee", Limits::NETWORK).unwrap_err();
        assert!(matches!(error, DecodeError::Type(_)), "{error}");
    }

    proptest! {
        #[test]
        fn maps_round_trip(map: BTreeMap<String, Vec<i64>>) {
            let bytes = encode(&map).unwrap();
            let decoded = decode::<BTreeMap<String, Vec<i64>>>(&bytes, Limits::TORRENT).unwrap();
            prop_assert_eq!(decoded, Decoded { value: map, warnings: vec![] });
        }
    }
}
