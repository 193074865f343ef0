//! `.torrent` files as values (BEP 3, 9, 12, 19, 27, 47, 52, 53), a builder that makes them, and
//! magnet links (BEP 9, 53).
//!
//! Decides: which torrents are refused, and under which names their files may be stored.
//! Must not know: any disk or network.
//! Invariant: the info-hash is taken over the original bytes; a file path of a [`Metainfo`] stays
//! below the download directory.
//!
//! ```
//! use bt_metainfo::{Builder, Metainfo};
//! let builder = Builder {
//!     piece_length: 16_384,
//!     single_file: true,
//!     ..Builder::new("hello.txt", vec![(vec![], 5)])
//! };
//! let bytes = builder.build(&[bt_hash::sha1(b"hello")]);
//!
//! let torrent = Metainfo::from_bytes(&bytes).unwrap();
//! assert_eq!(torrent.info.files[0].path, ["hello.txt"]);
//! assert_eq!(torrent.info.geometry.piece_count(), 1);
//! let hash = torrent.info_hashes.v1.unwrap();
//! assert_eq!(torrent.magnet(), format!("magnet:?xt=urn:btih:{hash}&dn=hello.txt"));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod attr;
mod builder;
mod digests;
mod error;
mod fields;
mod info;
mod listing;
mod magnet;
mod metainfo;
mod raw_file;
mod sanitise;
#[cfg(test)]
mod tests;
mod tree;

pub use attr::Attr;
pub use builder::{Builder, auto_piece_length};
pub use digests::PieceDigests;
pub use error::MetainfoError;
pub use info::{FileEntry, Info};
pub use magnet::{Magnet, MagnetError};
pub use metainfo::{Format, Metainfo};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
