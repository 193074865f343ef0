//! Defines the messages of a peer connection, as values and as bytes (BEP 3, BEP 6, BEP 10).
//!
//! Decides: the layout and the legal lengths of each kind. Must not know: whether a number lies
//! inside the torrent.
//! Invariant: payload is never copied: a `Piece` holds a slice of the buffer that it was received
//! in.

use crate::WireFault;
use alloc::vec::Vec;
use bt_types::{BLOCK_LEN, Bitfield, PIECES_MAX, RawBlock};
use bytes::Bytes;

/// A message. Numbers are as the peer sent them, unchecked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Four zero bytes: "I am still here".
    KeepAlive,
    /// "I will not serve you."
    Choke,
    /// "I serve your requests."
    Unchoke,
    /// "You have pieces that I want."
    Interested,
    /// "You have nothing that I want."
    NotInterested,
    /// "I have this piece now."
    Have(u32),
    /// "I have these pieces", bits as in [`Bitfield`].
    Bitfield(Bytes),
    /// "Send me this block."
    Request(RawBlock),
    /// A block of payload.
    Piece {
        /// Piece number.
        piece: u32,
        /// First byte inside the piece.
        begin: u32,
        /// The payload.
        data: Bytes,
    },
    /// "I do not want this block any more."
    Cancel(RawBlock),
    /// The UDP port of the peer's DHT node (BEP 5).
    Port(u16),
    /// "You might like this piece" (BEP 6).
    Suggest(u32),
    /// "I have everything" (BEP 6).
    HaveAll,
    /// "I have nothing" (BEP 6).
    HaveNone,
    /// "I will not send this block" (BEP 6).
    Reject(RawBlock),
    /// "You may ask for this piece even while choked" (BEP 6).
    AllowedFast(u32),
    /// A message of the extension protocol (BEP 10).
    Extended {
        /// 0 for the extension handshake, else the id that the receiver chose.
        id: u8,
        /// The bytes behind the id.
        payload: Bytes,
    },
    /// A message of an unknown kind, which is ignored.
    Unknown(u8),
}

/// The message ids.
mod id {
    pub(super) const CHOKE: u8 = 0;
    pub(super) const UNCHOKE: u8 = 1;
    pub(super) const INTERESTED: u8 = 2;
    pub(super) const NOT_INTERESTED: u8 = 3;
    pub(super) const HAVE: u8 = 4;
    pub(super) const BITFIELD: u8 = 5;
    pub(super) const REQUEST: u8 = 6;
    pub(super) const PIECE: u8 = 7;
    pub(super) const CANCEL: u8 = 8;
    pub(super) const PORT: u8 = 9;
    pub(super) const SUGGEST: u8 = 13;
    pub(super) const HAVE_ALL: u8 = 14;
    pub(super) const HAVE_NONE: u8 = 15;
    pub(super) const REJECT: u8 = 16;
    pub(super) const ALLOWED_FAST: u8 = 17;
    pub(super) const EXTENDED: u8 = 20;
}

/// The longest extension message that we accept, in bytes, including its ids.
const EXTENDED_MAX: u32 = 64 * 1024;
/// The longest message of an unknown kind that we skip, in bytes.
const UNKNOWN_MAX: u32 = 64 * 1024;
/// Bytes of a piece message before its payload: id, piece, begin.
const PIECE_HEADER: u32 = 9;

impl Message {
    /// Checks whether a message of this kind may have this length (including the id, without the
    /// length prefix). `pieces` is the number of the torrent's pieces, if it is known. Called
    /// before the message is buffered. We request blocks of 16 KiB, so longer payload is refused.
    pub(crate) fn check_len(kind: u8, len: u32, pieces: Option<u32>) -> Result<(), WireFault> {
        let legal = match kind {
            id::CHOKE
            | id::UNCHOKE
            | id::INTERESTED
            | id::NOT_INTERESTED
            | id::HAVE_ALL
            | id::HAVE_NONE => len == 1,
            id::HAVE | id::SUGGEST | id::ALLOWED_FAST => len == 5,
            id::BITFIELD => match pieces {
                Some(pieces) => u64::from(len) == 1 + Bitfield::byte_len(pieces) as u64,
                None => u64::from(len) <= 1 + Bitfield::byte_len(PIECES_MAX) as u64,
            },
            id::REQUEST | id::CANCEL | id::REJECT => len == 13,
            id::PIECE => len > PIECE_HEADER && len <= PIECE_HEADER + BLOCK_LEN,
            id::PORT => len == 3,
            id::EXTENDED => (2..=EXTENDED_MAX).contains(&len),
            _ => len <= UNKNOWN_MAX,
        };
        if legal { Ok(()) } else { Err(WireFault::Length { kind, len }) }
    }

    /// Parses the body of a message: its id and the bytes behind it. The length passed
    /// [`Message::check_len`].
    pub(crate) fn parse(mut body: Bytes) -> Result<Message, WireFault> {
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let Some(&kind) = body.first() else { return Ok(Message::KeepAlive) };
        let wrong = || WireFault::Length { kind, len };
        let rest = body.get(1..).unwrap_or_default();
        Ok(match kind {
            id::CHOKE => Message::Choke,
            id::UNCHOKE => Message::Unchoke,
            id::INTERESTED => Message::Interested,
            id::NOT_INTERESTED => Message::NotInterested,
            id::HAVE => Message::Have(number(rest).ok_or_else(wrong)?),
            id::SUGGEST => Message::Suggest(number(rest).ok_or_else(wrong)?),
            id::ALLOWED_FAST => Message::AllowedFast(number(rest).ok_or_else(wrong)?),
            id::REQUEST => Message::Request(raw_block(rest).ok_or_else(wrong)?),
            id::CANCEL => Message::Cancel(raw_block(rest).ok_or_else(wrong)?),
            id::REJECT => Message::Reject(raw_block(rest).ok_or_else(wrong)?),
            id::HAVE_ALL => Message::HaveAll,
            id::HAVE_NONE => Message::HaveNone,
            id::BITFIELD => Message::Bitfield(body.split_off(1)),
            id::PIECE => {
                let [piece, begin] = numbers(rest).ok_or_else(wrong)?;
                Message::Piece { piece, begin, data: body.split_off(PIECE_HEADER as usize) }
            }
            id::PORT => Message::Port(u16::from_be_bytes(rest.try_into().map_err(|_| wrong())?)),
            id::EXTENDED => Message::Extended {
                id: *rest.first().ok_or_else(wrong)?,
                payload: body.split_off(2),
            },
            _ => Message::Unknown(kind),
        })
    }

    /// Returns the number of bytes that [`Message::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        let body = match self {
            Message::KeepAlive => return 4,
            Message::Choke | Message::Unchoke | Message::Interested | Message::NotInterested => 0,
            Message::HaveAll | Message::HaveNone | Message::Unknown(_) => 0,
            Message::Have(_) | Message::Suggest(_) | Message::AllowedFast(_) => 4,
            Message::Request(_) | Message::Cancel(_) | Message::Reject(_) => 12,
            Message::Bitfield(bits) => bits.len(),
            Message::Piece { data, .. } => 8 + data.len(),
            Message::Port(_) => 2,
            Message::Extended { payload, .. } => 1 + payload.len(),
        };
        4 + 1 + body
    }

    /// Appends the message with its length prefix, and a piece's payload. The connection queues
    /// payload through [`crate::Connection::send_piece`] instead, without a copy.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Message::KeepAlive => out.extend_from_slice(&[0; 4]),
            Message::Choke => head(out, 1, id::CHOKE),
            Message::Unchoke => head(out, 1, id::UNCHOKE),
            Message::Interested => head(out, 1, id::INTERESTED),
            Message::NotInterested => head(out, 1, id::NOT_INTERESTED),
            Message::HaveAll => head(out, 1, id::HAVE_ALL),
            Message::HaveNone => head(out, 1, id::HAVE_NONE),
            Message::Have(piece) => with_numbers(out, id::HAVE, &[*piece]),
            Message::Suggest(piece) => with_numbers(out, id::SUGGEST, &[*piece]),
            Message::AllowedFast(piece) => with_numbers(out, id::ALLOWED_FAST, &[*piece]),
            Message::Request(block) => {
                with_numbers(out, id::REQUEST, &[block.piece, block.begin, block.len])
            }
            Message::Cancel(block) => {
                with_numbers(out, id::CANCEL, &[block.piece, block.begin, block.len])
            }
            Message::Reject(block) => {
                with_numbers(out, id::REJECT, &[block.piece, block.begin, block.len])
            }
            Message::Bitfield(bits) => with_bytes(out, id::BITFIELD, &[], bits),
            Message::Piece { piece, begin, data } => {
                out.extend_from_slice(&piece_header(RawBlock {
                    piece: *piece,
                    begin: *begin,
                    len: data.len() as u32,
                }));
                out.extend_from_slice(data);
            }
            Message::Port(port) => with_bytes(out, id::PORT, &[], &port.to_be_bytes()),
            Message::Extended { id, payload } => with_bytes(out, id::EXTENDED, &[*id], payload),
            Message::Unknown(kind) => head(out, 1, *kind),
        }
    }
}

/// The length of [`piece_header`] in bytes.
pub const PIECE_HEADER_LEN: usize = 13;

/// Returns the bytes before the payload of a piece message, for a caller whose payload is
/// [elsewhere](crate::Connection::send_elsewhere).
pub fn piece_header(block: RawBlock) -> [u8; PIECE_HEADER_LEN] {
    let mut header = [id::PIECE; PIECE_HEADER_LEN];
    header[..4].copy_from_slice(&(PIECE_HEADER + block.len).to_be_bytes());
    header[5..9].copy_from_slice(&block.piece.to_be_bytes());
    header[9..].copy_from_slice(&block.begin.to_be_bytes());
    header
}

fn head(out: &mut Vec<u8>, len: u32, kind: u8) {
    out.extend_from_slice(&len.to_be_bytes());
    out.push(kind);
}

fn with_numbers(out: &mut Vec<u8>, kind: u8, numbers: &[u32]) {
    head(out, 1 + 4 * numbers.len() as u32, kind);
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
}

fn with_bytes(out: &mut Vec<u8>, kind: u8, prefix: &[u8], bytes: &[u8]) {
    // Our own bitfields and extension messages are far below 4 GiB.
    head(out, 1 + (prefix.len() + bytes.len()) as u32, kind);
    out.extend_from_slice(prefix);
    out.extend_from_slice(bytes);
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

fn numbers(bytes: &[u8]) -> Option<[u32; 2]> {
    Some([number(bytes)?, number(bytes.get(4..)?)?])
}

fn raw_block(bytes: &[u8]) -> Option<RawBlock> {
    let [piece, begin] = numbers(bytes)?;
    Some(RawBlock { piece, begin, len: number(bytes.get(8..)?)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn every_kind() -> Vec<Message> {
        let block = RawBlock { piece: 1, begin: 16_384, len: 16_384 };
        vec![
            Message::KeepAlive,
            Message::Choke,
            Message::Unchoke,
            Message::Interested,
            Message::NotInterested,
            Message::Have(0x0102_0304),
            Message::Bitfield(Bytes::from_static(&[0xf0, 0x80])),
            Message::Request(block),
            Message::Piece { piece: 5, begin: 16_384, data: Bytes::from_static(b"payload") },
            Message::Cancel(block),
            Message::Port(6881),
            Message::Suggest(3),
            Message::HaveAll,
            Message::HaveNone,
            Message::Reject(block),
            Message::AllowedFast(2),
            Message::Extended { id: 0, payload: Bytes::from_static(b"de") },
        ]
    }

    #[test]
    fn every_kind_round_trips_and_passes_its_own_length_check() {
        for message in every_kind() {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            assert_eq!(message.encoded_len(), bytes.len(), "{message:?}");
            let (prefix, body) = bytes.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*prefix) as usize, body.len(), "{message:?}");
            if let Some(kind) = body.first() {
                assert_eq!(
                    Message::check_len(*kind, body.len() as u32, Some(16)),
                    Ok(()),
                    "{message:?}"
                );
            }
            assert_eq!(Message::parse(Bytes::copy_from_slice(body)), Ok(message));
        }
    }

    #[test]
    fn bytes_are_as_bep_3_says() {
        let mut out = Vec::new();
        Message::Request(RawBlock { piece: 1, begin: 2, len: 3 }).encode(&mut out);
        assert_eq!(out, [0, 0, 0, 13, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]);
    }

    #[test]
    fn impossible_lengths_are_refused_by_kind() {
        let table = [
            (id::CHOKE, 2),
            (id::HAVE, 4),
            (id::BITFIELD, 2),
            (id::BITFIELD, 4),
            (id::REQUEST, 12),
            (id::PIECE, 9),
            (id::PIECE, 9 + 16_385),
            (id::PORT, 2),
            (id::EXTENDED, 1),
            (id::EXTENDED, 65_537),
            (99, 65_537),
        ];
        for (kind, len) in table {
            assert_eq!(
                Message::check_len(kind, len, Some(16)),
                Err(WireFault::Length { kind, len })
            );
        }
        assert_eq!(Message::check_len(id::BITFIELD, 3, Some(16)), Ok(()));
        // Of a torrent without metadata so far.
        assert_eq!(Message::check_len(id::BITFIELD, 1 + 262_144, None), Ok(()));
        assert!(Message::check_len(id::BITFIELD, 2 + 262_144, None).is_err());
    }
}
