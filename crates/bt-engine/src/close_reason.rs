//! Defines why a connection ended.
//!
//! Decides: which reasons are faults of the peer, and what becomes of its address. Must not know:
//! how they are displayed.
//! Invariant: the reasons are closed.

use core::fmt;

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The peer or the network closed it.
    Gone,
    /// The torrent was removed.
    Removed,
    /// The torrent is paused.
    Paused,
    /// The peer is this client itself.
    Ourselves,
    /// There is another connection to the same peer.
    Duplicate,
    /// There is no room for another connection.
    Full,
    /// Neither side wants anything: each has everything, or all that it wants.
    BothSeeds,
    /// The peer gave no metadata, although it offered some and was asked, or while other peers
    /// waited for its place.
    NoMetadata,
    /// Its metadata is longer than the engine accepts, or it changed the length.
    MetadataSize,
    /// It sent more than the engine keeps while the metadata is not there.
    Backlog,
    /// The torrent turned out to be private, and neither a tracker nor the user named this peer
    /// (BEP 27).
    Private,
    /// Fault: it answered for another torrent than it was asked for.
    WrongTorrent,
    /// Fault: it named a piece or block outside the torrent.
    OutOfRange,
    /// Fault: a bitfield where none is allowed, or of the wrong size.
    Bitfield,
    /// Fault: a message of the fast extension without having offered that extension (BEP 6).
    NotFast,
    /// Fault: an unreadable metadata message, while we have no metadata (BEP 9).
    Extended,
    /// Fault: it sent PEX messages far too often (BEP 11).
    Flood,
    /// Fault: too many blocks that were not requested.
    Unrequested,
    /// Fault: it alone sent a piece that did not match its digest. Its address is banned.
    BadPiece,
    /// Fault: it alone sent metadata with a wrong hash. Its address is banned.
    BadMetadata,
    /// Fault: its address is banned for an earlier fault.
    Banned,
}

impl CloseReason {
    /// Returns whether the peer is to blame.
    pub fn is_fault(self) -> bool {
        match self {
            CloseReason::Gone
            | CloseReason::Removed
            | CloseReason::Paused
            | CloseReason::Ourselves
            | CloseReason::Duplicate
            | CloseReason::Full
            | CloseReason::BothSeeds
            | CloseReason::NoMetadata
            | CloseReason::MetadataSize
            | CloseReason::Backlog
            | CloseReason::Private => false,
            CloseReason::WrongTorrent
            | CloseReason::OutOfRange
            | CloseReason::Bitfield
            | CloseReason::NotFast
            | CloseReason::Extended
            | CloseReason::Flood
            | CloseReason::Unrequested
            | CloseReason::BadPiece
            | CloseReason::BadMetadata
            | CloseReason::Banned => true,
        }
    }
}

/// What becomes of a peer's address when its connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AddressFate {
    /// It may be dialled again.
    Again,
    /// It may be dialled again after other addresses.
    Later,
    /// It is forgotten, until a source names it again.
    Forgotten,
    /// It is banned.
    Banned,
    /// Nothing: the torrent remembers the peer, or has another connection to it.
    Kept,
}

impl CloseReason {
    pub(crate) fn address_fate(self) -> AddressFate {
        match self {
            CloseReason::Gone
            | CloseReason::Removed
            | CloseReason::Paused
            | CloseReason::Full
            | CloseReason::Backlog
            | CloseReason::WrongTorrent
            | CloseReason::OutOfRange
            | CloseReason::Bitfield
            | CloseReason::NotFast
            | CloseReason::Extended
            | CloseReason::Flood
            | CloseReason::Unrequested => AddressFate::Again,
            CloseReason::NoMetadata => AddressFate::Later,
            CloseReason::Ourselves
            | CloseReason::MetadataSize
            | CloseReason::Private
            | CloseReason::Banned => AddressFate::Forgotten,
            CloseReason::BadPiece | CloseReason::BadMetadata => AddressFate::Banned,
            CloseReason::Duplicate | CloseReason::BothSeeds => AddressFate::Kept,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Gone => "the connection was closed",
            CloseReason::Removed => "the torrent was removed",
            CloseReason::Paused => "the torrent is paused",
            CloseReason::Ourselves => "it is ourselves",
            CloseReason::Duplicate => "we are connected to this peer already",
            CloseReason::Full => "no room for another connection",
            CloseReason::BothSeeds => "neither wants anything",
            CloseReason::NoMetadata => "it gave no metadata",
            CloseReason::MetadataSize => "it offers metadata of an impossible length",
            CloseReason::Backlog => "it said too much before the metadata was there",
            CloseReason::Private => "the torrent is private",
            CloseReason::WrongTorrent => "it answered for another torrent",
            CloseReason::OutOfRange => "it named a block outside the torrent",
            CloseReason::Bitfield => "it sent a wrong bitfield",
            CloseReason::NotFast => "it used the fast extension without offering it",
            CloseReason::Extended => "it sent a broken extension message",
            CloseReason::Flood => "it told of peers too often",
            CloseReason::Unrequested => "it sent blocks that were not requested",
            CloseReason::BadPiece => "it sent a piece with wrong bytes",
            CloseReason::BadMetadata => "it sent wrong metadata",
            CloseReason::Banned => "its address is banned",
        })
    }
}
