//! Implements the BitTorrent peer protocol without I/O (BEP 3, 5, 6, 9, 10, 11, 20, 55): bytes in,
//! messages out, writes coalesced.
//!
//! Decides: the meaning of the bytes of a peer connection, and how long a silence may last.
//! Must not know: sockets, torrents, the reaction to a message.
//! Invariant: no length that a peer claims is believed before it passed the limit of its message
//! kind.
//!
//! ```
//! use bt_peer_wire::{Connection, Handshake, Incoming, Message, Reserved};
//! use bt_types::{InfoHash, PeerId, Time};
//!
//! let ours = Handshake {
//!     reserved: Reserved::OURS,
//!     info_hash: InfoHash([1; 20]),
//!     peer_id: PeerId(*b"-bt0100-aaaaaaaaaaaa"),
//! };
//! let mut alice = Connection::new(Time::ZERO);
//! let mut bob = Connection::new(Time::ZERO);
//! alice.send_handshake(&ours);
//! alice.send(&Message::Have(3));
//!
//! let mut wire = Vec::new();
//! for chunk in alice.chunks() { wire.extend_from_slice(chunk) }
//! bob.receive(&wire);
//! assert_eq!(bob.next(), Ok(Some(Incoming::Handshake(ours))));
//! bob.set_pieces(8);
//! assert_eq!(bob.next(), Ok(Some(Incoming::Message(Message::Have(3)))));
//! assert_eq!(bob.next(), Ok(None));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod allowance;
mod connection;
mod extended;
mod fault;
mod handshake;
mod holepunch;
mod message;
mod metadata;
mod pex;

pub use allowance::MessageAllowance;
pub use connection::{Connection, Incoming};
pub use extended::{ExtendedHandshake, ExtensionIds};
pub use fault::WireFault;
pub use handshake::{HANDSHAKE_LEN, Handshake, Reserved};
pub use holepunch::{HolepunchFault, HolepunchMessage};
pub use message::{Message, PIECE_HEADER_LEN, piece_header};
pub use metadata::{METADATA_PART, MetadataMessage};
pub use pex::{PEX_ENTRIES_MAX, PexFlags, PexMessage};

/// The limits for bencoded messages of peers: numbers with leading zeros are accepted, as some
/// clients write them.
pub(crate) const LENIENT: bt_bencoding::Limits =
    bt_bencoding::Limits { odd_numbers: true, ..bt_bencoding::Limits::NETWORK };

/// Requests that we let a peer queue at us, advertised as `reqq` (BEP 10).
pub const REQUESTS_QUEUED_MAX: u32 = 2048;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
