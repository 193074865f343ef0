//! Bencode (BEP 3) for bytes from untrusted hosts: a limited scanner, a borrowed cursor, a writer,
//! and serde behind them.
//!
//! Decides: what well-formed bencode is, and how much of it we look at.
//! Must not know: what any key means.
//! Invariant: nothing recurses, panics or allocates from a claimed length, with any input.
//!
//! ```
//! use bt_bencoding::{Cursor, Limits, write};
//! let bytes = write(|w| {
//!     w.dict(|d| {
//!         d.key(b"interval").int(1800);
//!         d.key(b"peers").bytes(&[127, 0, 0, 1, 0x1a, 0xe1]);
//!     })
//! });
//! assert_eq!(bytes, b"d8:intervali1800e5:peers6:\x7f\x00\x00\x01\x1a\xe1e");
//!
//! let answer = Cursor::parse(&bytes, Limits::NETWORK).unwrap();
//! assert_eq!(answer.get(b"interval").and_then(|value| value.as_int()), Some(1800));
//! assert!(Cursor::parse(b"i007e", Limits::NETWORK).is_err());
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod cursor;
mod lexer;
mod scan;
mod serde;
mod writer;

pub use cursor::{Cursor, DictIter, Kind, ListIter};
pub use scan::{Limits, Scan, ScanError, ScanErrorKind, scan};
pub use serde::{DecodeError, Decoded, EncodeError, Warning, decode, encode};
pub use writer::{DictWriter, ListWriter, Writer, write};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
