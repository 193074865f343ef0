//! Parses and writes the 68 bytes that open a connection (BEP 3), with the eight reserved bytes in
//! them (BEP 4).
//!
//! Decides: the content of a handshake. Must not know: whether we want the torrent that it names.
//! Invariant: a wrong first byte is refused at once, so that a peer trying encryption falls back
//! without waiting.

use crate::WireFault;
use bt_types::{InfoHash, PeerId};

/// Length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 68;

const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The eight reserved bytes: bits for what a client supports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reserved(pub [u8; 8]);

impl Reserved {
    /// What we support: the extension protocol (BEP 10) and the fast extension (BEP 6).
    pub const OURS: Reserved = Reserved([0, 0, 0, 0, 0, 0x10, 0, 0x04]);

    /// Returns [`Reserved::OURS`]; `dht` adds that we have a DHT node (BEP 5), so that peers tell
    /// us theirs.
    pub const fn ours(dht: bool) -> Reserved {
        let [a, b, c, d, e, f, g, flags] = Reserved::OURS.0;
        Reserved([a, b, c, d, e, f, g, if dht { flags | 0x01 } else { flags }])
    }

    /// Returns whether the peer supports the extension protocol (BEP 10).
    pub fn extended(self) -> bool {
        let [.., flags, _, _] = self.0;
        flags & 0x10 != 0
    }

    /// Returns whether the peer supports the fast extension (BEP 6).
    pub fn fast(self) -> bool {
        let [.., flags] = self.0;
        flags & 0x04 != 0
    }

    /// Returns whether the peer has a DHT node (BEP 5).
    pub fn dht(self) -> bool {
        let [.., flags] = self.0;
        flags & 0x01 != 0
    }
}

/// The first message of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// What the client supports.
    pub reserved: Reserved,
    /// The torrent that the connection is for.
    pub info_hash: InfoHash,
    /// The client's own id.
    pub peer_id: PeerId,
}

impl Handshake {
    /// Returns the 68 bytes for the wire.
    pub fn to_bytes(&self) -> [u8; HANDSHAKE_LEN] {
        let mut bytes = [0; HANDSHAKE_LEN];
        let parts =
            PROTOCOL.iter().chain(&self.reserved.0).chain(&self.info_hash.0).chain(&self.peer_id.0);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = *from;
        }
        bytes
    }

    /// Parses the start of a connection: `None` while it is an incomplete handshake.
    pub fn parse(bytes: &[u8]) -> Result<Option<Handshake>, WireFault> {
        if bytes.iter().zip(PROTOCOL).any(|(got, want)| got != want) {
            return Err(WireFault::NotBitTorrent);
        }
        let Some((_, rest)) = bytes.split_first_chunk::<20>() else { return Ok(None) };
        let Some((&reserved, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
        let Some((&info_hash, rest)) = rest.split_first_chunk::<20>() else { return Ok(None) };
        let Some((&peer_id, _)) = rest.split_first_chunk::<20>() else { return Ok(None) };
        let reserved = Reserved(reserved);
        Ok(Some(Handshake { reserved, info_hash: InfoHash(info_hash), peer_id: PeerId(peer_id) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_round_trips_and_every_prefix_waits() {
        let ours = Handshake {
            reserved: Reserved::OURS,
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId([9; 20]),
        };
        let bytes = ours.to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(Handshake::parse(&bytes[..end]), Ok(None));
        }
        assert_eq!(Handshake::parse(&bytes), Ok(Some(ours)));
        assert!(ours.reserved.fast() && ours.reserved.extended());
        assert!(!Reserved::default().fast() && !Reserved::default().extended());
        assert!(Reserved::ours(true).dht() && Reserved::ours(true).fast() && !Reserved::OURS.dht());
        assert_eq!(Reserved::ours(false), Reserved::OURS);
    }

    #[test]
    fn another_protocol_is_refused_at_its_first_wrong_byte() {
        assert_eq!(Handshake::parse(b"GET / HTTP/1.1"), Err(WireFault::NotBitTorrent));
        assert_eq!(Handshake::parse(&[0x5a]), Err(WireFault::NotBitTorrent), "a random MSE key");
        assert_eq!(Handshake::parse(b"\x13BitTorrent protocoL"), Err(WireFault::NotBitTorrent));
    }
}
