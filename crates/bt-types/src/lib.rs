//! Defines the types that all crates of the workspace share: info-hashes, peer ids, pieces and
//! blocks, bitfields, virtual time, seeded randomness, compact addresses. Also the rule of which
//! source may name which address, and the rule of which table entry gives way when there is no
//! room.
//!
//! Decides: which values are valid. Must not know: any file, socket, clock or format above it.
//! Invariant: a value that exists is in range; nothing checks it again.
//!
//! ```
//! use bt_types::{Geometry, RawBlock};
//! let geometry = Geometry::new(40_000, 32_768).unwrap();
//! assert_eq!(geometry.piece_count(), 2);
//! let last = geometry.piece(1).unwrap();
//! assert_eq!(geometry.piece_len(last), 40_000 - 32_768);
//! assert!(geometry.block(RawBlock { piece: 1, begin: 0, len: 16_384 }).is_none()); // past the end
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod addr;
mod bitfield;
mod fault;
mod geometry;
mod id;
mod rng;
mod shares;
mod text;
mod time;

pub use addr::{
    Closeness, Source, closeness, compact_v4, compact_v6, may_name, network, normalise,
    normalise_addr, push_compact, subscriber,
};
pub use bitfield::Bitfield;
pub use fault::{PieceCheck, StoreFault};
pub use geometry::{
    BLOCK_LEN, BLOCK_LEN_MAX, Block, Geometry, GeometryError, PIECE_IN_MEMORY_MAX,
    PIECE_LENGTH_MAX, PIECES_MAX, Piece, RawBlock,
};
pub use id::{InfoHash, InfoHashV2, InfoHashes, PeerId, push_hex};
pub use rng::Rng;
pub use shares::{Shares, Yields};
pub use text::{is_steering, printable};
pub use time::Time;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
