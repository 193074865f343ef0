//! Runs one peer connection as a machine: received bytes become messages, messages become chunks to
//! write.
//!
//! Decides: framing, coalescing, and the deadlines of handshake, silence and stalled writes.
//! Must not know: the socket, or what a message leads to.
//! Invariant: payload is copied neither in nor out; the input buffer holds at most one incomplete
//! message.

use crate::message::piece_header;
use crate::{HANDSHAKE_LEN, Handshake, Message, WireFault};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bt_types::{RawBlock, Time};
use bytes::{Buf as _, Bytes, BytesMut};
use core::time::Duration;

/// Seconds after which the handshake must be complete.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds without a message after which a peer counts as gone. Keep-alives come every two minutes
/// (BEP 3).
const IDLE_TIMEOUT: Duration = Duration::from_secs(180);
/// Seconds without a write after which we send a keep-alive.
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// Seconds without a write after which a peer with queued bytes counts as having stopped reading.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A parsed part of a peer's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// The handshake, always first and once.
    Handshake(Handshake),
    /// Any later message.
    Message(Message),
}

/// The state of one connection, in both directions.
#[derive(Debug)]
pub struct Connection {
    input: BytesMut,
    shaken: bool,
    /// The number of pieces of the torrent, if it is known.
    pieces: Option<u32>,
    /// Chunks to write, in order. Small messages gather in `tail` until a payload chunk or a write
    /// comes.
    chunks: VecDeque<Chunk>,
    tail: Vec<u8>,
    /// Payload bytes written since the last [`Connection::take_payload_written`].
    payload_written: u64,
    queued: usize,
    opened_at: Time,
    heard_at: Time,
    wrote_at: Time,
}

/// A part of the bytes that wait to be written.
#[derive(Debug)]
enum Chunk {
    Bytes {
        bytes: Bytes,
        payload: bool,
    },
    /// Bytes that the shell holds, and how many of them are payload.
    Elsewhere {
        len: usize,
        payload: usize,
    },
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Chunk::Bytes { bytes, .. } => bytes.len(),
            Chunk::Elsewhere { len, .. } => *len,
        }
    }

    fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Chunk::Bytes { bytes, .. } => Some(bytes),
            Chunk::Elsewhere { .. } => None,
        }
    }

    /// Removes the first `n` bytes; returns how many of them count as payload.
    fn advance(&mut self, n: usize) -> usize {
        match self {
            Chunk::Bytes { bytes, payload } => {
                bytes.advance(n);
                if *payload { n } else { 0 }
            }
            Chunk::Elsewhere { len, payload } => {
                // Only the shell knows where the headers lie; the sum is the same in the end.
                let counted = n.min(*payload);
                *payload -= counted;
                *len -= n;
                counted
            }
        }
    }
}

impl Connection {
    /// Makes a connection that was established `now`, in either direction.
    pub fn new(now: Time) -> Connection {
        Connection {
            input: BytesMut::new(),
            shaken: false,
            pieces: None,
            chunks: VecDeque::new(),
            tail: Vec::new(),
            payload_written: 0,
            queued: 0,
            opened_at: now,
            heard_at: now,
            wrote_at: now,
        }
    }

    /// Sets the number of the torrent's pieces. Call it before reading the first message after the
    /// handshake, if the number is known. Until then a bitfield may be as long as that of the
    /// largest torrent, and the caller must check its length later.
    pub fn set_pieces(&mut self, pieces: u32) {
        self.pieces = Some(pieces);
    }

    /// Returns the buffer to receive into: append to it, then call [`Connection::next`] until it
    /// returns `None`.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Appends received bytes by copying them: for tests and simulators.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Returns the next complete message. A fault ends the connection.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would hide that more bytes can follow None"
    )]
    pub fn next(&mut self) -> Result<Option<Incoming>, WireFault> {
        if !self.shaken {
            let Some(handshake) = Handshake::parse(&self.input)? else { return Ok(None) };
            self.input.advance(HANDSHAKE_LEN);
            self.shaken = true;
            return Ok(Some(Incoming::Handshake(handshake)));
        }
        let Some(prefix) = self.input.first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_be_bytes(*prefix);
        if len == 0 {
            self.input.advance(4);
            return Ok(Some(Incoming::Message(Message::KeepAlive)));
        }
        let Some(&kind) = self.input.get(4) else { return Ok(None) };
        Message::check_len(kind, len, self.pieces)?;
        // The check bounds `len` far below the range of a usize.
        let len = len as usize;
        if self.input.len() < 4 + len {
            return Ok(None);
        }
        self.input.advance(4);
        let body = self.input.split_to(len).freeze();
        Message::parse(body).map(|message| Some(Incoming::Message(message)))
    }

    /// Queues our handshake.
    pub fn send_handshake(&mut self, handshake: &Handshake) {
        self.tail.extend_from_slice(&handshake.to_bytes());
        self.queued += HANDSHAKE_LEN;
    }

    /// Queues a message behind those queued before.
    pub fn send(&mut self, message: &Message) {
        let before = self.tail.len();
        message.encode(&mut self.tail);
        self.queued += self.tail.len() - before;
    }

    /// Queues a block of payload without copying it. `data` must be as long as `block` says.
    pub fn send_piece(&mut self, block: RawBlock, data: Bytes) {
        debug_assert_eq!(data.len() as u64, u64::from(block.len), "payload of another length");
        let header = piece_header(block);
        self.tail.extend_from_slice(&header);
        self.queued += header.len() + data.len();
        self.close_tail();
        self.chunks.push_back(Chunk::Bytes { bytes: data, payload: true });
    }

    /// Queues `len` bytes that the shell holds itself: whole messages, with `payload` bytes of
    /// piece data.
    pub fn send_elsewhere(&mut self, len: usize, payload: usize) {
        debug_assert!(payload <= len, "more payload than bytes");
        self.close_tail();
        self.queued += len;
        self.chunks.push_back(Chunk::Elsewhere { len, payload });
    }

    /// Returns whether the bytes that were queued last are [held by the
    /// shell](Connection::send_elsewhere), and wait.
    pub fn ends_elsewhere(&self) -> bool {
        self.tail.is_empty() && matches!(self.chunks.back(), Some(Chunk::Elsewhere { .. }))
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(Chunk::Bytes {
                bytes: core::mem::take(&mut self.tail).into(),
                payload: false,
            });
        }
    }

    /// Returns the number of bytes that wait to be written.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Returns the waiting bytes in order, as they lie in memory, for one vectored write. They end
    /// where bytes lie [elsewhere](Connection::begins_elsewhere).
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let tail = (!self.tail.is_empty()).then_some(self.tail.as_slice());
        self.chunks.iter().map(Chunk::in_memory).chain(tail.map(Some)).map_while(|bytes| bytes)
    }

    /// Returns whether bytes that the shell holds itself must be written before anything else.
    pub fn begins_elsewhere(&self) -> bool {
        matches!(self.chunks.front(), Some(Chunk::Elsewhere { .. }))
    }

    /// Notes that the first `n` waiting bytes were written `now`.
    pub fn wrote(&mut self, n: usize, now: Time) {
        self.wrote_at = now;
        let mut left = n.min(self.queued);
        // A write that reaches the tail turns it into a chunk, so that the rest of it keeps its
        // place.
        if left > self.queued - self.tail.len() {
            self.close_tail();
        }
        self.queued -= left;
        while let Some(chunk) = self.chunks.front_mut() {
            let step = left.min(chunk.len());
            self.payload_written += chunk.advance(step) as u64;
            left -= step;
            if chunk.len() > 0 {
                break;
            }
            self.chunks.pop_front();
        }
    }

    /// Returns the payload bytes written since the last call.
    pub fn take_payload_written(&mut self) -> u64 {
        core::mem::take(&mut self.payload_written)
    }

    /// Notes that bytes arrived `now`.
    pub fn heard(&mut self, now: Time) {
        self.heard_at = now;
    }

    /// Returns when [`Connection::wake`] must be called at the latest.
    pub fn deadline(&self) -> Time {
        if !self.shaken {
            return self.opened_at + HANDSHAKE_TIMEOUT;
        }
        let write = if self.queued > 0 { STALL_TIMEOUT } else { KEEP_ALIVE };
        (self.heard_at + IDLE_TIMEOUT).min(self.wrote_at + write)
    }

    /// Acts on a deadline that has passed: queues a keep-alive, or finds the connection dead.
    pub fn wake(&mut self, now: Time) -> Result<(), WireFault> {
        if now < self.deadline() {
            return Ok(());
        }
        if !self.shaken {
            return Err(WireFault::HandshakeTimeout);
        }
        if now >= self.heard_at + IDLE_TIMEOUT {
            return Err(WireFault::Idle);
        }
        if self.queued > 0 {
            return Err(WireFault::Stalled);
        }
        self.send(&Message::KeepAlive);
        self.wrote_at = now;
        Ok(())
    }

    /// Notes that an empty write queue has started to fill: a stall is counted from here.
    pub fn begin_write(&mut self, now: Time) {
        self.wrote_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reserved;
    use bt_types::{InfoHash, PeerId};
    use proptest::prelude::*;
    use std::vec;

    fn handshake() -> Handshake {
        Handshake {
            reserved: Reserved::OURS,
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
        }
    }

    fn shaken() -> Connection {
        let mut connection = Connection::new(Time::ZERO);
        connection.receive(&handshake().to_bytes());
        assert_eq!(connection.next(), Ok(Some(Incoming::Handshake(handshake()))));
        connection.set_pieces(16);
        connection
    }

    fn drain(connection: &mut Connection) -> Result<Vec<Message>, WireFault> {
        let mut messages = Vec::new();
        while let Some(incoming) = connection.next()? {
            match incoming {
                Incoming::Message(message) => messages.push(message),
                Incoming::Handshake(_) => panic!("a second handshake"),
            }
        }
        Ok(messages)
    }

    #[test]
    fn a_claimed_length_is_refused_before_its_bytes_arrive() {
        let mut connection = shaken();
        connection.receive(&[0x7f, 0xff, 0xff, 0xff, 7]);
        assert_eq!(connection.next(), Err(WireFault::Length { kind: 7, len: 0x7fff_ffff }));
    }

    #[test]
    fn deadlines() {
        let mut fresh = Connection::new(Time::ZERO);
        assert_eq!(fresh.deadline(), Time::from_secs(10));
        assert_eq!(fresh.wake(Time::from_secs(10)), Err(WireFault::HandshakeTimeout));

        let mut quiet = shaken();
        assert_eq!(quiet.deadline(), Time::from_secs(100));
        assert_eq!(quiet.wake(Time::from_secs(100)), Ok(()));
        assert_eq!(quiet.chunks().collect::<Vec<_>>(), [[0; 4]], "a keep-alive");
        assert_eq!(
            quiet.wake(Time::from_secs(160)),
            Err(WireFault::Stalled),
            "and it is not taken"
        );

        let mut silent = shaken();
        silent.wrote(0, Time::from_secs(179));
        assert_eq!(silent.wake(Time::from_secs(180)), Err(WireFault::Idle));
    }

    #[test]
    fn writes_are_coalesced_and_payload_is_counted_and_not_copied() {
        let mut connection = Connection::new(Time::ZERO);
        let data = Bytes::from(vec![7; 100]);
        connection.send(&Message::Unchoke);
        connection.send(&Message::Have(1));
        connection.send_piece(RawBlock { piece: 0, begin: 0, len: 100 }, data.clone());
        connection.send(&Message::Choke);
        let chunks: Vec<&[u8]> = connection.chunks().collect();
        assert_eq!(chunks.len(), 3, "small messages and the header share a chunk");
        assert_eq!(chunks[1].as_ptr(), data.as_ptr());
        let total = connection.queued();
        assert_eq!(total, chunks.iter().map(|chunk| chunk.len()).sum());
        connection.wrote(total - 7, Time::ZERO);
        assert_eq!(connection.take_payload_written(), 98);
        connection.wrote(7, Time::ZERO);
        assert_eq!((connection.take_payload_written(), connection.queued()), (2, 0));
        assert_eq!(connection.chunks().count(), 0);
    }

    #[test]
    fn what_lies_elsewhere_keeps_its_place() {
        let mut connection = Connection::new(Time::ZERO);
        connection.send(&Message::Unchoke);
        assert!(!connection.ends_elsewhere());
        connection.send_elsewhere(104, 100);
        assert!(connection.ends_elsewhere());
        connection.send_elsewhere(9, 0);
        connection.send(&Message::Choke);
        assert!(!connection.ends_elsewhere());
        assert_eq!((connection.queued(), connection.begins_elsewhere()), (123, false));
        assert_eq!(
            connection.chunks().map(<[u8]>::len).collect::<Vec<_>>(),
            [5],
            "only what comes before it"
        );
        connection.wrote(5, Time::ZERO);
        assert_eq!((connection.begins_elsewhere(), connection.chunks().count()), (true, 0));
        connection.wrote(40, Time::ZERO);
        connection.wrote(70, Time::ZERO);
        assert_eq!((connection.begins_elsewhere(), connection.take_payload_written()), (true, 100));
        connection.wrote(3, Time::ZERO);
        assert_eq!(
            (connection.begins_elsewhere(), connection.take_payload_written(), connection.queued()),
            (false, 0, 5)
        );
        assert_eq!(connection.chunks().map(<[u8]>::len).collect::<Vec<_>>(), [5]);
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_messages(cuts: Vec<u8>, writes: Vec<u8>) {
            let sent = vec![
                Message::Bitfield(Bytes::from_static(&[0xff, 0])),
                Message::Piece { piece: 3, begin: 0, data: Bytes::from(vec![9; 300]) },
                Message::KeepAlive,
                Message::Request(RawBlock { piece: 1, begin: 2, len: 3 }),
                Message::Piece { piece: 4, begin: 16_384, data: Bytes::from(vec![8; 16_384]) },
                Message::Have(7),
            ];
            let mut from = Connection::new(Time::ZERO);
            for message in &sent {
                match message {
                    Message::Piece { piece, begin, data } => {
                        from.send_piece(RawBlock { piece: *piece, begin: *begin, len: data.len() as u32 }, data.clone());
                    }
                    other => from.send(other),
                }
            }
            let mut wire = Vec::new();
            let mut writes = writes.iter().cycle();
            while from.queued() > 0 {
                let n = usize::from(*writes.next().unwrap_or(&200)) * 20 + 1;
                let bytes: Vec<u8> = from.chunks().flatten().copied().take(n).collect();
                from.wrote(bytes.len(), Time::ZERO);
                wire.extend(bytes);
            }
            let mut to = shaken();
            let mut got = Vec::new();
            let mut cuts = cuts.iter().cycle();
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                let n = (usize::from(*cuts.next().unwrap_or(&100)) * 7 + 1).min(rest.len());
                let (head, tail) = rest.split_at(n);
                to.receive(head);
                rest = tail;
                got.extend(drain(&mut to).unwrap());
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn rubbish_never_panics(bytes: Vec<u8>) {
            let mut connection = shaken();
            connection.receive(&bytes);
            let _ = drain(&mut connection);
        }
    }
}
