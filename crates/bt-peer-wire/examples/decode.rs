//! Sends a number of messages through a connection's decoder, so that a profiler can count the cost
//! of one.
//!
//! Decides: the mix of messages. Must not know: how messages are parsed.
//! Invariant: bytes come in portions of the same length, whatever messages are in them.
//!
//! `decode blocks|haves COUNT`. `cargo xtask cost` runs it under a profiler; `benches/decode.rs`
//! measures the same in time.

use bt_peer_wire::{Connection, Handshake, Message, Reserved};
use bt_types::{BLOCK_LEN, InfoHash, PeerId, RawBlock, Time};
use bytes::Bytes;

/// Bytes of a large read.
const PORTION: usize = 256 << 10;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [what, count] = words.as_slice() else {
        eprintln!("usage: decode blocks|haves COUNT");
        std::process::exit(2);
    };
    println!("{} messages", decode(&stream(what == "blocks", count.parse().unwrap_or(1000))));
}

/// Makes a handshake and `count` messages of a peer.
pub(crate) fn stream(blocks: bool, count: u32) -> Vec<u8> {
    let mut wire = Connection::new(Time::ZERO);
    wire.send_handshake(&Handshake {
        reserved: Reserved::OURS,
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([2; 20]),
    });
    for n in 0..count {
        match blocks {
            true => wire.send_piece(
                RawBlock { piece: 0, begin: n * BLOCK_LEN, len: BLOCK_LEN },
                Bytes::from_static(&[7; BLOCK_LEN as usize]),
            ),
            false => wire.send(&Message::Have(n)),
        }
    }
    wire.chunks().flatten().copied().collect()
}

/// Decodes the stream; returns the number of messages.
pub(crate) fn decode(stream: &[u8]) -> usize {
    let mut wire = Connection::new(Time::ZERO);
    let mut found = 0;
    for portion in stream.chunks(PORTION) {
        wire.receive(portion);
        while let Ok(Some(_)) = wire.next() {
            found += 1;
        }
    }
    found
}
