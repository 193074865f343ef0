//! Writes canonical bencode without values in between: small messages, and torrents as they are
//! made.
//!
//! Decides: the canonical form of integers and lengths.
//! Must not know: what is written.
//! Invariant: each `Writer` is used for exactly one value; keys come in order (asserted in debug
//! builds).

use alloc::{format, vec::Vec};
use core::ops::Range;

/// Returns the bytes of the one value that `value` writes.
pub fn write(value: impl FnOnce(Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    value(Writer::new(&mut out));
    out
}

/// The place of one value. Each method writes the value and ends the writer.
#[must_use = "a place without a value is malformed"]
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Makes a writer that appends one value.
    pub fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out }
    }

    /// Writes an integer.
    pub fn int(self, value: i64) {
        self.out.extend_from_slice(format!("i{value}e").as_bytes());
    }

    /// Writes a byte string.
    pub fn bytes(self, value: &[u8]) {
        self.out.extend_from_slice(format!("{}:", value.len()).as_bytes());
        self.out.extend_from_slice(value);
    }

    /// Writes a value that is bencoded already, as [`Cursor::span`](crate::Cursor::span) gives it.
    pub fn encoded(self, span: &[u8]) {
        self.out.extend_from_slice(span);
    }

    /// Writes a list of the items that `fill` adds.
    pub fn list(self, fill: impl FnOnce(&mut ListWriter<'_>)) {
        self.out.push(b'l');
        fill(&mut ListWriter { out: self.out });
        self.out.push(b'e');
    }

    /// Writes a dictionary of the entries that `fill` adds, in the order of their keys as bytes.
    pub fn dict(self, fill: impl FnOnce(&mut DictWriter<'_>)) {
        self.out.push(b'd');
        fill(&mut DictWriter { out: self.out, last_key: None });
        self.out.push(b'e');
    }
}

/// Adds items to a list.
#[derive(Debug)]
pub struct ListWriter<'a> {
    out: &'a mut Vec<u8>,
}

/// Adds entries to a dictionary.
#[derive(Debug)]
pub struct DictWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Where the last key stands in `out`.
    last_key: Option<Range<usize>>,
}

impl ListWriter<'_> {
    /// Returns the place of the next item.
    pub fn item(&mut self) -> Writer<'_> {
        Writer::new(self.out)
    }
}

impl DictWriter<'_> {
    /// Writes the next key and returns the place of its value. Panics in debug builds when the key
    /// does not follow the last one.
    pub fn key(&mut self, key: &[u8]) -> Writer<'_> {
        let last_key = self.last_key.take().and_then(|range| self.out.get(range));
        debug_assert!(last_key < Some(key), "keys must be in order and differ");
        Writer::new(self.out).bytes(key);
        self.last_key = Some(self.out.len() - key.len()..self.out.len());
        Writer::new(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Scan, scan};

    #[test]
    fn what_is_written_is_canonical() {
        let bytes = write(|w| {
            w.dict(|d| {
                d.key(b"").list(|l| {
                    l.item().int(i64::MIN);
                    l.item().bytes(b"\xff");
                    l.item().dict(|_| {});
                });
                d.key(b"info").encoded(b"d1:ai0ee");
            })
        });
        assert_eq!(bytes, b"d0:li-9223372036854775808e1:\xffdee4:infod1:ai0eee");
        assert_eq!(
            scan(&bytes, Limits::NETWORK),
            Ok(Scan { consumed: bytes.len(), sorted: true, odd_numbers: false })
        );
    }

    #[test]
    #[should_panic(expected = "in order")]
    fn keys_out_of_order_are_our_bug() {
        write(|w| {
            w.dict(|d| {
                d.key(b"b").int(1);
                d.key(b"a").int(1);
            })
        });
    }
}
