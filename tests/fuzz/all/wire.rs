//! The readers of a peer's bytes.
//!
//! Decides: where the bytes are split. Must not know: frames.
//! Invariant: how the bytes are split changes nothing.

use bt_fuzz::fuzz;
use bt_peer_wire::{
    Connection, ExtendedHandshake, HolepunchMessage, Incoming, Message, MetadataMessage,
    PEX_ENTRIES_MAX, PexMessage, WireFault,
};
use bt_types::Time;
use bytes::Bytes;

/// Pieces of the torrent that the corpus speaks of.
pub(crate) const PIECES: u32 = 12;

/// Feeds a connection bytes in parts of these lengths; returns all its messages and its end.
pub(crate) fn read(
    bytes: &[u8],
    mut lengths: impl Iterator<Item = usize>,
) -> (Vec<Incoming>, Option<WireFault>) {
    let mut connection = Connection::new(Time::ZERO);
    connection.set_pieces(PIECES);
    let (mut came, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(lengths.next().unwrap_or(rest.len()).clamp(1, rest.len()));
        connection.receive(now);
        rest = later;
        loop {
            match connection.next() {
                Ok(Some(incoming)) => came.push(incoming),
                Ok(None) => break,
                Err(fault) => return (came, Some(fault)),
            }
        }
    }
    (came, None)
}

#[test]
fn peer_wire() {
    fuzz("peer_wire", |input| {
        let whole = read(input, std::iter::empty());
        let lengths = input.iter().rev().map(|byte| usize::from(*byte % 97));
        assert_eq!(read(input, lengths), whole);
        assert_eq!(read(input, std::iter::repeat(1)), whole);
        for message in whole.0.iter().filter_map(|incoming| {
            if let Incoming::Message(message) = incoming { Some(message) } else { None }
        }) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            // Of an unknown message only its kind is kept.
            if !matches!(message, Message::Unknown(_)) {
                assert_eq!(bytes.len(), message.encoded_len(), "{message:?}");
            }
        }
    });
}

#[test]
fn extended() {
    fuzz("extended", |input| {
        if let Ok(hello) = ExtendedHandshake::parse(input) {
            let again = ExtendedHandshake::parse(&hello.to_bytes()).expect("what we write is read");
            assert_eq!(ExtendedHandshake::parse(&again.to_bytes()).as_ref(), Ok(&again));
        }
        if let Ok(pex) = PexMessage::parse(input) {
            assert!(pex.added.len() <= PEX_ENTRIES_MAX && pex.dropped.len() <= PEX_ENTRIES_MAX);
            assert!(PexMessage::parse(&pex.to_bytes()).is_ok());
        }
        if let Ok(Some(message)) = MetadataMessage::parse(&Bytes::copy_from_slice(input)) {
            assert_eq!(
                MetadataMessage::parse(&message.to_bytes().into()).as_ref(),
                Ok(&Some(message))
            );
        }
        if let Ok(message) = HolepunchMessage::parse(input) {
            assert_eq!(HolepunchMessage::parse(&message.to_bytes()).as_ref(), Ok(&message));
        }
    });
}
