//! What flows between two sockets: bytes of the real codec, or whole messages that count as this
//! many bytes.
//!
//! Decides: where a stream is cut. Must not know: links, time, what a message means.
//! Invariant: what goes in comes out, in order; a stream of bytes may be cut anywhere, one of
//! messages between them.

use bt_peer_wire::{HANDSHAKE_LEN, Incoming};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// How closely the world looks at connections and disks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// The real codec and the real store: every byte exists, and is cut at random on its way.
    Bytes,
    /// Messages travel whole and payload is a flag that tells whether it is true, so that hundreds
    /// of peers and gigabytes fit. They take as long as their bytes would.
    Messages,
}

/// A part of a stream on its way.
#[derive(Debug)]
pub(crate) enum Parcel {
    Bytes(Bytes),
    /// Messages, and how many bytes they count as.
    Messages(Vec<Incoming>, usize),
}

impl Parcel {
    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Parcel::Bytes(bytes) => bytes.len(),
            Parcel::Messages(_, len) => *len,
        }
    }
}

/// What a socket holds and has not sent.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    bytes: BytesMut,
    messages: VecDeque<Incoming>,
    len: usize,
}

impl Unsent {
    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(crate) fn push_message(&mut self, message: Incoming) {
        self.len += len_of(&message);
        self.messages.push_back(message);
    }

    /// The first `max` bytes, or the first messages up to that length, one at least.
    pub(crate) fn take(&mut self, max: usize) -> Parcel {
        if self.messages.is_empty() {
            let bytes = self.bytes.split_to(max.min(self.bytes.len())).freeze();
            self.len -= bytes.len();
            return Parcel::Bytes(bytes);
        }
        let (mut taken, mut len) = (Vec::new(), 0);
        while let Some(message) = self.messages.front()
            && (taken.is_empty() || len + len_of(message) <= max)
        {
            len += len_of(message);
            taken.extend(self.messages.pop_front());
        }
        self.len -= len;
        Parcel::Messages(taken, len)
    }
}

/// The bytes that a message counts as.
fn len_of(message: &Incoming) -> usize {
    match message {
        Incoming::Handshake(_) => HANDSHAKE_LEN,
        Incoming::Message(message) => message.encoded_len(),
    }
}
