//! The peer protocol byte by byte, for peers of the tests: valid and invalid frames and handshakes,
//! built by hand.
//!
//! Decides: what a handshake and a frame look like. Must not know: the sender, `bt`'s own codec.
//! Invariant: it owns no connection; a length is checked before its message is read.

use std::io::{self, Read};

/// The length of a block, in bytes.
pub const BLOCK: u32 = 16 << 10;
/// The greatest length of a message that is read, in bytes.
pub const MESSAGE_MAX: usize = 1 << 20;
/// The reserved bytes of a client with extensions (BEP 10) and the fast extension (BEP 6).
pub const MODERN: [u8; 8] = [0, 0, 0, 0, 0, 0x10, 0, 4];
/// The reserved bytes of a client without extensions.
pub const PLAIN: [u8; 8] = [0; 8];

/// Message: the sender serves no blocks.
pub const CHOKE: u8 = 0;
/// Message: the sender serves requested blocks.
pub const UNCHOKE: u8 = 1;
/// Message: the receiver has a piece that the sender wants.
pub const INTERESTED: u8 = 2;
/// Message: the receiver has no piece that the sender wants.
pub const NOT_INTERESTED: u8 = 3;
/// Message: the sender has a further piece.
pub const HAVE: u8 = 4;
/// Message: the pieces that the sender has.
pub const BITFIELD: u8 = 5;
/// Message: a request for a block.
pub const REQUEST: u8 = 6;
/// Message: a block.
pub const PIECE: u8 = 7;
/// Message: a requested block is no longer needed.
pub const CANCEL: u8 = 8;
/// Message: the port of the sender's DHT node (BEP 5).
pub const PORT: u8 = 9;
/// Message: a suggested piece (BEP 6).
pub const SUGGEST: u8 = 13;
/// Message: the sender has every piece (BEP 6).
pub const HAVE_ALL: u8 = 14;
/// Message: the sender has no piece (BEP 6).
pub const HAVE_NONE: u8 = 15;
/// Message: a requested block will not come (BEP 6).
pub const REJECT: u8 = 16;
/// Message: a piece that may be requested while choked (BEP 6).
pub const ALLOWED_FAST: u8 = 17;
/// Message: a message of an extension (BEP 10).
pub const EXTENDED: u8 = 20;

/// Builds a frame: length, id, body.
pub fn frame(id: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 1).to_be_bytes()[..], &[id], body].concat()
}

/// Builds a frame whose body is numbers.
pub fn numbers(id: u8, numbers: &[u32]) -> Vec<u8> {
    frame(id, &numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>())
}

/// Builds a frame of the extension protocol; number 0 is its handshake.
pub fn extended(number: u8, payload: &[u8]) -> Vec<u8> {
    frame(EXTENDED, &[&[number], payload].concat())
}

/// Builds a handshake.
pub fn handshake(reserved: [u8; 8], info_hash: [u8; 20], id: &[u8]) -> Vec<u8> {
    [&b"\x13BitTorrent protocol"[..], &reserved, &info_hash, id].concat()
}

/// Builds a bitfield that claims every piece, with spare bits clear.
pub fn all_bits(pieces: usize) -> Vec<u8> {
    let mut bits = vec![0xff; pieces.div_ceil(8)];
    let spare = bits.len() * 8 - pieces;
    bits.last_mut().into_iter().for_each(|last| *last = 0xff << spare);
    bits
}

/// Reads a message and returns it without its length; an empty message is a keep-alive.
pub fn read_message(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len) as usize;
    if len > MESSAGE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of {len} bytes"),
        ));
    }
    let mut message = vec![0; len];
    from.read_exact(&mut message)?;
    Ok(message)
}

/// Parses three numbers: a block, as a request names it.
pub fn three(body: &[u8]) -> Option<[u32; 3]> {
    let (words, []) = body.as_chunks::<4>() else { return None };
    <[u32; 3]>::try_from(words.iter().map(|word| u32::from_be_bytes(*word)).collect::<Vec<_>>())
        .ok()
}

/// Finds the number that follows a text.
pub fn number_after(bytes: &[u8], text: &str) -> Option<u32> {
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes())? + text.len();
    let digits: Vec<u8> = bytes[at..].iter().copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).ok()?.parse().ok()
}
