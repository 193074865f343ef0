//! Parses and writes announces on the local network (BEP 14): a multicast datagram that reads like
//! HTTP.
//!
//! Decides: which announces are well-formed. Must not know: sockets, the sender, when to announce.
//! Invariant: what is written is read back; no more is read than one datagram can hold.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use bt_types::InfoHash;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The multicast group of IPv4 (BEP 14).
pub const LSD_V4: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 192, 152, 143), 6771);
/// The multicast group of IPv6 (BEP 14).
pub const LSD_V6: SocketAddrV6 =
    SocketAddrV6::new(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0xefc0, 0x988f), 6771, 0, 0);
/// The longest datagram that is sent or read, in bytes: a longer datagram would be cut into
/// fragments.
pub const LSD_MAX: usize = 1400;
/// Most torrents in one announce: as many as fit behind its longest head.
pub const LSD_HASHES_MAX: usize = 20;

/// The longest cookie that is kept, in bytes.
const COOKIE_MAX: usize = 64;

/// An announce of a client on the local network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalAnnounce {
    /// The TCP port that the client listens on.
    pub port: u16,
    /// The swarms that the client is in.
    pub hashes: Vec<InfoHash>,
    /// Tells the client its own announces from those of others.
    pub cookie: Option<String>,
}

impl LocalAnnounce {
    /// Writes the datagram to a group, with at most the first [`LSD_HASHES_MAX`] torrents.
    pub fn write(&self, group: SocketAddr) -> Vec<u8> {
        let mut text = format!("BT-SEARCH * HTTP/1.1\r\nHost: {group}\r\nPort: {}\r\n", self.port);
        for hash in self.hashes.iter().take(LSD_HASHES_MAX) {
            text.push_str(&format!("Infohash: {hash}\r\n"));
        }
        if let Some(cookie) = &self.cookie {
            text.push_str(&format!("cookie: {cookie}\r\n"));
        }
        text.push_str("\r\n\r\n");
        text.into_bytes()
    }

    /// Parses a datagram; `None` if it is not an announce with a port and a torrent. Unknown
    /// headers and invalid info-hashes are skipped.
    pub fn read(datagram: &[u8]) -> Option<LocalAnnounce> {
        let text = core::str::from_utf8(datagram.get(..LSD_MAX).unwrap_or(datagram)).ok()?;
        let mut lines = text.lines();
        let mut request = lines.next()?.split_whitespace();
        if request.next() != Some("BT-SEARCH")
            || request.next() != Some("*")
            || !request.next()?.starts_with("HTTP/1.")
        {
            return None;
        }
        let (mut port, mut hashes, mut cookie) = (None, Vec::new(), None);
        for (name, value) in
            lines.take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'))
        {
            let value = value.trim();
            if name.eq_ignore_ascii_case("Port") {
                port = Some(value.parse::<u16>().ok().filter(|port| *port != 0)?);
            } else if name.eq_ignore_ascii_case("Infohash") {
                hashes.extend(InfoHash::from_hex(value));
            } else if name.eq_ignore_ascii_case("cookie") {
                cookie = Some(value)
                    .filter(|value| value.len() <= COOKIE_MAX)
                    .map(|value| value.to_string());
            }
        }
        hashes.sort_unstable();
        hashes.dedup();
        (!hashes.is_empty()).then_some(LocalAnnounce { port: port?, hashes, cookie })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn announce(hashes: usize) -> LocalAnnounce {
        let hashes = (0..hashes).map(|n| InfoHash([u8::try_from(n).unwrap(); 20])).collect();
        LocalAnnounce { port: 6881, hashes, cookie: Some("name=value 1".into()) }
    }

    #[test]
    fn an_announce_reads_as_the_proposal_says() {
        let bytes = announce(1).write(LSD_V6.into());
        let hash = "00".repeat(20);
        let text = format!(
            "BT-SEARCH * HTTP/1.1\r\nHost: [ff15::efc0:988f]:6771\r\nPort: 6881\r\nInfohash: {hash}\r\ncookie: name=value 1\r\n\r\n\r\n"
        );
        assert_eq!(core::str::from_utf8(&bytes).unwrap(), text);
        assert!(
            announce(1)
                .write(LSD_V4.into())
                .starts_with(b"BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\n")
        );
    }

    #[test]
    fn the_longest_announce_fits_a_datagram() {
        let cookie = Some("c".repeat(COOKIE_MAX));
        let full = LocalAnnounce { port: u16::MAX, cookie, ..announce(LSD_HASHES_MAX) };
        let bytes = full.write(LSD_V6.into());
        assert!(bytes.len() <= LSD_MAX, "{}", bytes.len());
        assert_eq!(LocalAnnounce::read(&bytes), Some(full));
    }

    #[test]
    fn others_write_otherwise() {
        let hash = "0123456789abcdef0123456789ABCDEF01234567";
        let expected = LocalAnnounce {
            port: 1,
            hashes: vec![InfoHash::from_hex(hash).unwrap()],
            cookie: None,
        };
        for text in [
            format!("BT-SEARCH * HTTP/1.1\r\nPORT:1\r\nINFOHASH:{hash}\r\n\r\n"),
            format!("BT-SEARCH * HTTP/1.0\nInfohash: {hash}\nx-what: ever\nPort: 1\n"),
            format!(
                "BT-SEARCH * HTTP/1.1\r\nInfohash: nothing\r\nInfohash: {hash}\r\nInfohash: {hash}\r\nPort: 1\r\n\r\nPort: 2\r\n"
            ),
        ] {
            assert_eq!(LocalAnnounce::read(text.as_bytes()).as_ref(), Some(&expected), "{text}");
        }
        for text in [
            String::new(),
            format!("GET * HTTP/1.1\r\nPort: 1\r\nInfohash: {hash}\r\n\r\n"),
            format!("BT-SEARCH / HTTP/1.1\r\nPort: 1\r\nInfohash: {hash}\r\n\r\n"),
            format!("BT-SEARCH * HTTP/1.1\r\nPort: 0\r\nInfohash: {hash}\r\n\r\n"),
            format!("BT-SEARCH * HTTP/1.1\r\nPort: 65536\r\nInfohash: {hash}\r\n\r\n"),
            format!("BT-SEARCH * HTTP/1.1\r\nInfohash: {hash}\r\n\r\n"),
            "BT-SEARCH * HTTP/1.1\r\nPort: 1\r\n\r\n".into(),
            format!("BT-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: {}\r\n\r\n", &hash[1..]),
        ] {
            assert_eq!(LocalAnnounce::read(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = LocalAnnounce::read(&bytes);
            let head = [b"BT-SEARCH * HTTP/1.1\r\n".as_slice(), &bytes].concat();
            let _ = LocalAnnounce::read(&head);
        }
    }
}
