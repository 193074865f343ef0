//! Parses and writes the messages that carry a torrent's `info` dictionary between peers (BEP 9,
//! `ut_metadata`).
//!
//! Decides: their bytes and legal lengths. Must not know: the use of the metadata, or its content.
//! Invariant: a part is exactly as long as its number and the total length say; it is never copied
//! here.

use crate::{LENIENT, WireFault};
use alloc::vec::Vec;
use bt_bencoding::{Cursor, Kind, write};
use bytes::Bytes;

/// The length in bytes of each part of the metadata except the last.
pub const METADATA_PART: u32 = 16 * 1024;

const REQUEST: i64 = 0;
const DATA: i64 = 1;
const REJECT: i64 = 2;

/// One `ut_metadata` message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataMessage {
    /// "Send me this part."
    Request(u32),
    /// A part.
    Data {
        /// Its number.
        part: u32,
        /// Length in bytes of the whole metadata.
        total: u32,
        /// The bytes of the part.
        data: Bytes,
    },
    /// "I do not send this part."
    Reject(u32),
}

impl MetadataMessage {
    /// Parses the payload behind the id of an extended message; `None` for an unknown type, which
    /// the caller must ignore.
    pub fn parse(payload: &Bytes) -> Result<Option<MetadataMessage>, WireFault> {
        const FAULT: WireFault = WireFault::Extension("ut_metadata");
        let (dict, rest) = Cursor::parse_prefix(payload, LENIENT).map_err(|_| FAULT)?;
        if dict.kind() != Kind::Dict {
            return Err(FAULT);
        }
        let number = |key: &[u8]| dict.get(key).and_then(|value| value.as_int());
        let small = |key: &[u8]| number(key).and_then(|n| u32::try_from(n).ok()).ok_or(FAULT);
        let part = small(b"piece");
        match number(b"msg_type").ok_or(FAULT)? {
            REQUEST => Ok(Some(MetadataMessage::Request(part?))),
            REJECT => Ok(Some(MetadataMessage::Reject(part?))),
            DATA => {
                let (part, total) = (part?, small(b"total_size")?);
                let fits =
                    part_len(part, total).is_some_and(|len| usize::try_from(len) == Ok(rest.len()));
                let data = payload.slice_ref(rest);
                if fits {
                    Ok(Some(MetadataMessage::Data { part, total, data }))
                } else {
                    Err(FAULT)
                }
            }
            _ => Ok(None),
        }
    }

    /// Returns the payload behind the id of an extended message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, part, total, data): (_, _, _, &[u8]) = match self {
            MetadataMessage::Request(part) => (REQUEST, *part, None, &[]),
            MetadataMessage::Data { part, total, data } => (DATA, *part, Some(*total), data),
            MetadataMessage::Reject(part) => (REJECT, *part, None, &[]),
        };
        let mut bytes = write(|out| {
            out.dict(|dict| {
                dict.key(b"msg_type").int(kind);
                dict.key(b"piece").int(i64::from(part));
                if let Some(total) = total {
                    dict.key(b"total_size").int(i64::from(total));
                }
            });
        });
        bytes.extend_from_slice(data);
        bytes
    }
}

/// Returns the length in bytes of a part of metadata of `total` bytes; `None` if there is no such
/// part.
fn part_len(part: u32, total: u32) -> Option<u32> {
    let rest = total.checked_sub(part.checked_mul(METADATA_PART)?)?;
    (rest > 0).then_some(rest.min(METADATA_PART))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    #[test]
    fn bytes_are_as_bep_9_says() {
        let table = [
            (MetadataMessage::Request(0), &b"d8:msg_typei0e5:piecei0ee"[..]),
            (MetadataMessage::Reject(5), b"d8:msg_typei2e5:piecei5ee"),
            (
                MetadataMessage::Data { part: 0, total: 3, data: Bytes::from_static(b"abc") },
                b"d8:msg_typei1e5:piecei0e10:total_sizei3eeabc",
            ),
        ];
        for (message, bytes) in table {
            assert_eq!(message.to_bytes(), bytes);
            assert_eq!(MetadataMessage::parse(&Bytes::from_static(bytes)), Ok(Some(message)));
        }
    }

    #[test]
    fn hostile_messages_are_faults() {
        let table: [&[u8]; 12] = [
            b"",
            b"le",
            b"de",
            b"d8:msg_typei0ee",
            b"d8:msg_typei0e5:piecei-1ee",
            b"d8:msg_typei0e5:piecei4294967296ee",
            b"d8:msg_typei0e5:piece1:0e",
            b"d8:msg_typei1e5:piecei0eeabc",
            b"d8:msg_typei1e5:piecei0e10:total_sizei4eeabc",
            b"d8:msg_typei1e5:piecei0e10:total_sizei2eeabc",
            b"d8:msg_typei1e5:piecei1e10:total_sizei3eeabc",
            b"d8:msg_typei1e5:piecei4294967295e10:total_sizei3eeabc",
        ];
        for bytes in table {
            let parsed = MetadataMessage::parse(&Bytes::from_static(bytes));
            assert_eq!(
                parsed,
                Err(WireFault::Extension("ut_metadata")),
                "{}",
                bytes.escape_ascii()
            );
        }
        assert_eq!(MetadataMessage::parse(&Bytes::from_static(b"d8:msg_typei9eeabc")), Ok(None));
        let untidy = Bytes::from_static(b"d8:msg_typei00e5:piecei07eex");
        assert_eq!(MetadataMessage::parse(&untidy), Ok(Some(MetadataMessage::Request(7))));
    }

    #[test]
    fn each_part_has_one_length() {
        let table = [
            (0, 0, None),
            (0, 1, Some(1)),
            (0, 16_384, Some(16_384)),
            (1, 16_384, None),
            (1, 16_385, Some(1)),
        ];
        for (part, total, len) in table {
            assert_eq!(part_len(part, total), len, "{part} of {total}");
        }
    }

    proptest! {
        #[test]
        fn a_part_round_trips(part in 0u32..1000, len in 1u32..=METADATA_PART, more: bool) {
            let len = if more { METADATA_PART } else { len };
            let total = part * METADATA_PART + len + u32::from(more);
            let message = MetadataMessage::Data { part, total, data: vec![9; len as usize].into() };
            prop_assert_eq!(MetadataMessage::parse(&message.to_bytes().into()), Ok(Some(message)));
        }

        #[test]
        fn rubbish_never_panics(bytes: Vec<u8>) {
            let _ = MetadataMessage::parse(&bytes.into());
        }
    }
}
