//! Holds the ids of torrents and peers: info-hashes (BEP 3, BEP 52) and peer ids (BEP 20).
//!
//! Decides: how ids are held and printed. Must not know: how they are computed.
//! Invariant: fixed lengths; printing is lower-case hex.

use alloc::string::String;
use core::fmt;

/// The 20 bytes that identify a swarm on the wire and at trackers. They are the SHA-1 of a v1
/// `info`, or the first 20 bytes of the SHA-256 of a v2 `info` (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub [u8; 20]);

/// The SHA-256 of a v2 `info` dictionary (BEP 52).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHashV2(pub [u8; 32]);

/// The info-hashes of one torrent: a v1 torrent has the first, a v2 torrent the second, a hybrid
/// both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InfoHashes {
    /// SHA-1 of `info`, if the torrent has a v1 side.
    pub v1: Option<InfoHash>,
    /// SHA-256 of `info`, if the torrent has a v2 side.
    pub v2: Option<InfoHashV2>,
}

/// A peer id: 20 bytes that a client chose for itself (BEP 3, BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

impl InfoHashV2 {
    /// Parses 64 hex digits of either case.
    pub fn from_hex(text: &str) -> Option<InfoHashV2> {
        from_hex(text).map(InfoHashV2)
    }

    /// Returns the first 20 bytes, which stand for the v2 hash in handshakes and announces
    /// (BEP 52).
    pub fn truncated(&self) -> InfoHash {
        let mut short = [0; 20];
        for (to, from) in short.iter_mut().zip(self.0) {
            *to = from;
        }
        InfoHash(short)
    }
}

impl InfoHashes {
    /// Returns the hash of the swarm to join: the v1 hash if there is one, else the truncated v2
    /// hash.
    pub fn swarm(&self) -> Option<InfoHash> {
        self.v1.or_else(|| self.v2.map(|v2| v2.truncated()))
    }
}

impl InfoHash {
    /// Parses 40 hex digits of either case.
    pub fn from_hex(text: &str) -> Option<InfoHash> {
        from_hex(text).map(InfoHash)
    }
}

impl PeerId {
    /// Makes our client's id: `-bt0100-` and twelve random bytes (BEP 20, Azureus style).
    pub fn ours(rng: &mut crate::Rng) -> PeerId {
        let mut id = *b"-bt0100-............";
        let mut tail = [0; 12];
        rng.fill(&mut tail);
        for (to, from) in id.iter_mut().skip(8).zip(tail) {
            *to = from;
        }
        PeerId(id)
    }
}

/// Appends the lower-case hex digits of `bytes` to `out`.
pub fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(digit), 16).unwrap_or('?'));
        }
    }
}

/// Parses exactly `N` bytes from their hex digits.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        let high = char::from(high).to_digit(16)?;
        let low = char::from(low).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for InfoHashV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for InfoHashV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Display for PeerId {
    /// Writes printable ASCII as it is, any other byte as `.`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.iter().try_for_each(|&byte| {
            f.write_char(if byte.is_ascii_graphic() { char::from(byte) } else { '.' })
        })
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString as _;

    #[test]
    fn hex_round_trips_and_refuses_other_lengths() {
        let hash = InfoHash([0xab; 20]);
        assert_eq!(InfoHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(InfoHash::from_hex(&hash.to_string().to_uppercase()), Some(hash));
        assert_eq!(InfoHash::from_hex("ab"), None);
        assert_eq!(InfoHash::from_hex(&"zz".repeat(20)), None);
        let hash = InfoHashV2([0xcd; 32]);
        assert_eq!(InfoHashV2::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(InfoHashV2::from_hex(&"ab".repeat(20)), None);
    }

    #[test]
    fn a_hybrid_joins_the_v1_swarm() {
        let v2 = InfoHashV2([7; 32]);
        assert_eq!(InfoHashes { v1: None, v2: Some(v2) }.swarm(), Some(InfoHash([7; 20])));
        assert_eq!(
            InfoHashes { v1: Some(InfoHash([1; 20])), v2: Some(v2) }.swarm(),
            Some(InfoHash([1; 20]))
        );
    }
}
