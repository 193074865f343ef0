//! One end of a connection, in the detail of the world: the real codec, or messages that travel
//! whole.
//!
//! Decides: nothing; it moves words. Must not know: torrents, or what a message means.
//! Invariant: both kinds take and give the same words; the credit for payload returns when the
//! socket has taken it.

use crate::network::Network;
use crate::stream::{Detail, Parcel};
use bt_engine::PeerKey;
use bt_peer_wire::{Connection, Handshake, Incoming, Message, WireFault};
use bt_types::{RawBlock, Time};
use bytes::Bytes;
use std::collections::VecDeque;

/// One end of a connection.
#[derive(Debug)]
pub(crate) enum Pipe {
    Codec(Box<Connection>),
    Whole {
        /// Received and not read yet.
        input: VecDeque<Incoming>,
        /// To be sent.
        output: VecDeque<Incoming>,
    },
}

impl Pipe {
    pub(crate) fn new(now: Time, detail: Detail) -> Pipe {
        match detail {
            Detail::Bytes => Pipe::Codec(Box::new(Connection::new(now))),
            Detail::Messages => Pipe::Whole { input: VecDeque::new(), output: VecDeque::new() },
        }
    }

    pub(crate) fn set_pieces(&mut self, pieces: u32) {
        if let Pipe::Codec(codec) = self {
            codec.set_pieces(pieces);
        }
    }

    // ---- reading ----

    /// A part of the stream came.
    pub(crate) fn receive(&mut self, now: Time, parcel: Parcel) {
        match (self, parcel) {
            (Pipe::Codec(codec), Parcel::Bytes(bytes)) => {
                codec.receive(&bytes);
                codec.heard(now);
            }
            (Pipe::Whole { input, .. }, Parcel::Messages(messages, _)) => input.extend(messages),
            _ => unreachable!("a world has one detail"),
        }
    }

    /// The next word that is complete. A fault ends the connection.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, WireFault> {
        match self {
            Pipe::Codec(codec) => codec.next(),
            Pipe::Whole { input, .. } => Ok(input.pop_front()),
        }
    }

    // ---- writing ----

    pub(crate) fn send_handshake(&mut self, handshake: &Handshake) {
        match self {
            Pipe::Codec(codec) => codec.send_handshake(handshake),
            Pipe::Whole { output, .. } => output.push_back(Incoming::Handshake(*handshake)),
        }
    }

    pub(crate) fn send(&mut self, now: Time, message: &Message) {
        match self {
            Pipe::Codec(codec) => {
                begin(codec, now);
                codec.send(message);
            }
            Pipe::Whole { output, .. } => output.push_back(Incoming::Message(message.clone())),
        }
    }

    pub(crate) fn send_piece(&mut self, now: Time, block: RawBlock, data: Bytes) {
        match self {
            Pipe::Codec(codec) => {
                begin(codec, now);
                codec.send_piece(block, data);
            }
            Pipe::Whole { output, .. } => {
                output.push_back(Incoming::Message(Message::Piece {
                    piece: block.piece,
                    begin: block.begin,
                    data,
                }));
            }
        }
    }

    /// Gives the socket what it takes; how many bytes of payload that were.
    pub(crate) fn write(&mut self, now: Time, peer: PeerKey, net: &mut Network) -> u64 {
        match self {
            Pipe::Codec(codec) => {
                let mut written = 0;
                for chunk in codec.chunks() {
                    let taken = net.write(now, peer, chunk);
                    written += taken;
                    if taken < chunk.len() {
                        break;
                    }
                }
                if written > 0 {
                    codec.wrote(written, now);
                }
                codec.take_payload_written()
            }
            Pipe::Whole { output, .. } => {
                let mut payload = 0;
                while !output.is_empty() && net.has_room(peer) {
                    let Some(word) = output.pop_front() else { break };
                    if let Incoming::Message(Message::Piece { data, .. }) = &word {
                        payload += data.len() as u64;
                    }
                    net.put(now, peer, word);
                }
                payload
            }
        }
    }

    // ---- time ----

    /// When [`Pipe::wake`] must be called. Messages that travel whole know no silence.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self {
            Pipe::Codec(codec) => Some(codec.deadline()),
            Pipe::Whole { .. } => None,
        }
    }

    pub(crate) fn wake(&mut self, now: Time) -> Result<(), WireFault> {
        match self {
            Pipe::Codec(codec) => codec.wake(now),
            Pipe::Whole { .. } => Ok(()),
        }
    }
}

fn begin(codec: &mut Connection, now: Time) {
    if codec.queued() == 0 {
        codec.begin_write(now);
    }
}
