//! Magnet links as values (BEP 9, BEP 52 for `btmh`, BEP 53 for `so`).
//!
//! Decides: which links are refused, what goes into a link and how it is escaped. Must not know: how a link is followed.
//! Invariant: a value names a torrent; its link is printable ASCII, and reads back as the same value.

use crate::fields;
use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use bt_types::{InfoHash, InfoHashV2, InfoHashes};
use core::fmt;
use core::ops::RangeInclusive;

/// The longest link that is read, in bytes.
const LINK_MAX: usize = 64 * 1024;
/// The most trackers, web seeds, peers and ranges of files, each, in a link.
const ENTRIES_MAX: usize = 1000;
/// The most characters of a name.
const NAME_MAX: usize = 1024;
/// Multihash prefix of SHA-256 in hex: the function's code and the digest's length.
const SHA256_MULTIHASH: &str = "1220";

/// What a magnet link says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Magnet {
    /// `xt`: what names the torrent; at least one of them is there.
    pub info_hashes: InfoHashes,
    /// `dn`: a name to show, until the torrent's own is known.
    pub name: Option<String>,
    /// `tr`: announce URLs. A link knows no tiers.
    pub trackers: Vec<String>,
    /// `ws`: URLs of web seeds (BEP 19).
    pub web_seeds: Vec<String>,
    /// `x.pe`: peers, as host name or address, and port.
    pub peers: Vec<(String, u16)>,
    /// `so`: numbers of the files to download (BEP 53), all if it is empty.
    pub files: Vec<RangeInclusive<u32>>,
}

/// Why a text is not a magnet link that we accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MagnetError {
    /// It begins with something else than `magnet:?`.
    #[error("it is not a magnet link: it does not begin with \"magnet:?\"")]
    Scheme,
    /// It is longer than any honest link.
    #[error("it is longer than {LINK_MAX} bytes")]
    TooLong,
    /// No `xt` names a torrent.
    #[error("it names no torrent: it has no \"xt=urn:btih:\" or \"xt=urn:btmh:\"")]
    NoTorrent,
    /// An info-hash that is neither 40 hex nor 32 base32 digits, or a multihash that is not SHA-256 in hex.
    #[error("its info-hash is not 40 hex or 32 base32 digits, or its multihash is not 1220 and 64 hex digits")]
    InfoHash,
    /// Two different info-hashes of one kind.
    #[error("it names two torrents")]
    TwoTorrents,
    /// A `%` without two hex digits.
    #[error("it has a \"%\" that is not followed by two hex digits")]
    Escape,
    /// The value of this key is not printable UTF-8 text.
    #[error("the value of \"{0}\" is not printable text")]
    Text(&'static str),
    /// An `x.pe` that is not a host and a port.
    #[error("an \"x.pe\" is not a host and a port")]
    Peer,
    /// An `so` that is not a list of numbers and ranges.
    #[error("its \"so\" is not a list of file numbers and ranges")]
    Files,
    /// More values of this key than any honest link has.
    #[error("it has more than {ENTRIES_MAX} values of \"{0}\"")]
    TooMany(&'static str),
}

impl MagnetError {
    /// The code in `bt.error/1` objects: stable, in snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            MagnetError::Scheme => "not_a_magnet",
            MagnetError::TooLong => "magnet_too_long",
            MagnetError::NoTorrent => "no_info_hash",
            MagnetError::InfoHash => "invalid_info_hash",
            MagnetError::TwoTorrents => "two_info_hashes",
            MagnetError::Escape => "invalid_escape",
            MagnetError::Text(_) => "invalid_text",
            MagnetError::Peer => "invalid_peer",
            MagnetError::Files => "invalid_file_selection",
            MagnetError::TooMany(_) => "too_many_values",
        }
    }
}

impl Magnet {
    /// The link with nothing but info-hashes.
    pub fn new(info_hashes: InfoHashes) -> Magnet {
        Magnet { info_hashes, name: None, trackers: Vec::new(), web_seeds: Vec::new(), peers: Vec::new(), files: Vec::new() }
    }

    /// Reads a link. Keys that are not known are ignored, and so are empty values; a known key with a wrong value refuses the link.
    pub fn parse(link: &str) -> Result<Magnet, MagnetError> {
        if link.len() > LINK_MAX {
            return Err(MagnetError::TooLong);
        }
        let query = after(link.trim(), "magnet:?").ok_or(MagnetError::Scheme)?;
        let mut magnet = Magnet::new(InfoHashes { v1: None, v2: None });
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(_, value)| !value.is_empty()) {
            let value = unescape(value)?;
            // Some writers number the keys that they repeat: `tr.1`, `tr.2`.
            match key.split_once('.').filter(|(_, n)| n.parse::<u32>().is_ok()).map_or(key, |(key, _)| key) {
                "xt" => magnet.add_topic(&value)?,
                "dn" => magnet.name = Some(fields::printable(&value).chars().take(NAME_MAX).collect()),
                "tr" => add(&mut magnet.trackers, "tr", text("tr", &value)?.to_owned())?,
                "ws" => add(&mut magnet.web_seeds, "ws", text("ws", &value)?.to_owned())?,
                "x.pe" => add(&mut magnet.peers, "x.pe", peer(text("x.pe", &value)?).ok_or(MagnetError::Peer)?)?,
                "so" => {
                    for range in text("so", &value)?.split(',') {
                        add(&mut magnet.files, "so", files(range).ok_or(MagnetError::Files)?)?;
                    }
                }
                _ => {}
            }
        }
        if magnet.info_hashes.swarm().is_none() { Err(MagnetError::NoTorrent) } else { Ok(magnet) }
    }

    /// An `xt`: other names than info-hashes are somebody else's.
    fn add_topic(&mut self, topic: &[u8]) -> Result<(), MagnetError> {
        let topic = text("xt", topic)?;
        if let Some(digits) = after(topic, "urn:btih:") {
            let hash = InfoHash::from_hex(digits).or_else(|| base32(digits)).ok_or(MagnetError::InfoHash)?;
            return set(&mut self.info_hashes.v1, hash);
        }
        if let Some(digits) = after(topic, "urn:btmh:") {
            let hash = digits.strip_prefix(SHA256_MULTIHASH).and_then(InfoHashV2::from_hex).ok_or(MagnetError::InfoHash)?;
            return set(&mut self.info_hashes.v2, hash);
        }
        Ok(())
    }
}

/// The rest of the text behind a prefix of either case.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn set<T: PartialEq>(place: &mut Option<T>, value: T) -> Result<(), MagnetError> {
    if place.as_ref().is_some_and(|old| *old != value) {
        return Err(MagnetError::TwoTorrents);
    }
    *place = Some(value);
    Ok(())
}

fn add<T: PartialEq>(list: &mut Vec<T>, key: &'static str, value: T) -> Result<(), MagnetError> {
    if list.len() == ENTRIES_MAX {
        return Err(MagnetError::TooMany(key));
    }
    if !list.contains(&value) {
        list.push(value);
    }
    Ok(())
}

fn text<'a>(key: &'static str, value: &'a [u8]) -> Result<&'a str, MagnetError> {
    let text = core::str::from_utf8(value).map_err(|_| MagnetError::Text(key))?.trim();
    if text.is_empty() || text.contains(fields::is_steering) { Err(MagnetError::Text(key)) } else { Ok(text) }
}

/// `host:port`, an IPv6 address in brackets. What the host is, is for others to find out.
fn peer(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|host| host.parse::<core::net::Ipv6Addr>().is_ok())?,
        None => Some(host).filter(|host| !host.is_empty() && !host.contains([':', ']', '/', ' ']))?,
    };
    Some((bare.to_owned(), port))
}

/// `3`, or `3-5` with both ends.
fn files(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|_| !digits.starts_with('+'));
    let range = number(first)?..=number(last)?;
    (!range.is_empty()).then_some(range)
}

/// The 20 bytes of 32 digits of base32 (RFC 4648), of either case.
fn base32(digits: &str) -> Option<InfoHash> {
    let mut bytes = [0; 20];
    if digits.len() != 32 {
        return None;
    }
    for (bytes, digits) in bytes.chunks_mut(5).zip(digits.as_bytes().chunks(8)) {
        let mut word = 0u64;
        for digit in digits {
            let value = match digit.to_ascii_uppercase() {
                letter @ b'A'..=b'Z' => letter - b'A',
                number @ b'2'..=b'7' => number - b'2' + 26,
                _ => return None,
            };
            word = word << 5 | u64::from(value);
        }
        let [_, _, _, five @ ..] = word.to_be_bytes();
        bytes.copy_from_slice(&five);
    }
    Some(InfoHash(bytes))
}

/// The bytes that a value stands for: `%41` is one byte, `+` a space.
fn unescape(value: &str) -> Result<Vec<u8>, MagnetError> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(MagnetError::Escape);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).map_err(|_| MagnetError::Escape)?
            }
            b'+' => b' ',
            other => other,
        });
    }
    Ok(bytes)
}

impl fmt::Display for Magnet {
    /// The link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "magnet:?";
        let mut pair = |f: &mut fmt::Formatter<'_>, key: &str| write!(f, "{}{key}=", core::mem::replace(&mut separator, "&"));
        if let Some(v1) = self.info_hashes.v1 {
            pair(f, "xt")?;
            write!(f, "urn:btih:{v1}")?;
        }
        if let Some(v2) = self.info_hashes.v2 {
            pair(f, "xt")?;
            write!(f, "urn:btmh:{SHA256_MULTIHASH}{v2}")?;
        }
        let name = self.name.iter().map(|name| ("dn", name));
        let trackers = self.trackers.iter().map(|url| ("tr", url));
        for (key, value) in name.chain(trackers).chain(self.web_seeds.iter().map(|url| ("ws", url))) {
            pair(f, key)?;
            write_escaped(f, value)?;
        }
        for (host, port) in &self.peers {
            pair(f, "x.pe")?;
            if host.contains(':') {
                write!(f, "[{host}]:{port}")?;
            } else {
                write_escaped(f, host)?;
                write!(f, ":{port}")?;
            }
        }
        for (n, range) in self.files.iter().enumerate() {
            if n == 0 {
                pair(f, "so")?;
            } else {
                f.write_str(",")?;
            }
            match range.clone().into_inner() {
                (first, last) if first == last => write!(f, "{first}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// Writes the text with every byte escaped that is not unreserved (RFC 3986).
fn write_escaped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    text.bytes().try_for_each(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => write!(f, "{}", char::from(byte)),
        _ => write!(f, "%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;
    use std::{format, vec};

    const HEX: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";
    const HASH: &str = "xt=urn:btih:c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

    #[test]
    fn what_links_say() {
        let plain = Magnet::new(InfoHashes { v1: InfoHash::from_hex(HEX), v2: None });
        let v2 = InfoHashV2::from_hex(&"ab".repeat(32));
        let table = [
            (HASH.to_owned(), plain.clone()),
            (format!("xt=urn:btih:{}", HEX.to_uppercase()), plain.clone()),
            ("xt=urn:btih:YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK".to_owned(), plain.clone()),
            ("xt=URN:BTIH:yex6dqdlxisuvhoj6um3gnnkpqjwpkek".to_owned(), plain.clone()),
            (format!("{HASH}&{HASH}&xt.1=urn:sha1:ABC&xl=5&foo&=&tr=&dn="), plain.clone()),
            (
                format!("{HASH}&xt=urn:btmh:1220{}", "AB".repeat(32)),
                Magnet { info_hashes: InfoHashes { v1: plain.info_hashes.v1, v2 }, ..plain.clone() },
            ),
            (format!("xt.2=urn%3Abtmh:1220{}", "ab".repeat(32)), Magnet::new(InfoHashes { v1: None, v2 })),
            (
                format!("dn=a+b%20%c3%bc%1b&{HASH}&tr=http%3A%2F%2Fa%2Fx%3Fy%3D1&tr.7=udp://b:1&ws=http://w/&tr=udp://b:1"),
                Magnet {
                    name: Some("a b ü\u{fffd}".into()),
                    trackers: vec!["http://a/x?y=1".into(), "udp://b:1".into()],
                    web_seeds: vec!["http://w/".into()],
                    ..plain.clone()
                },
            ),
            (
                format!("{HASH}&x.pe=1.2.3.4:5&x.pe=[2001:db8::1]:6&x.pe=host.example:7&so=0,2-4,9"),
                Magnet {
                    peers: vec![("1.2.3.4".into(), 5), ("2001:db8::1".into(), 6), ("host.example".into(), 7)],
                    files: vec![0..=0, 2..=4, 9..=9],
                    ..plain
                },
            ),
        ];
        for (query, expected) in table {
            let magnet = Magnet::parse(&format!(" Magnet:?{query}\n"));
            assert_eq!(magnet.as_ref(), Ok(&expected), "{query}");
            assert_eq!(Magnet::parse(&expected.to_string()), Ok(expected), "{query}");
        }
    }

    #[test]
    fn hostile_links_are_refused_with_a_code() {
        let with = |more: &str| format!("magnet:?{HASH}{more}");
        let table = [
            ("not_a_magnet", "".to_owned()),
            ("not_a_magnet", format!("http://x/?{HASH}")),
            ("not_a_magnet", format!("magnet:{HASH}")),
            ("magnet_too_long", with(&"&a=b".repeat(20_000))),
            ("no_info_hash", "magnet:?".to_owned()),
            ("no_info_hash", "magnet:?dn=x&xt=urn:sha1:YNCKHTQCWBTRNJIV4WNAE52SJUQCZO5C".to_owned()),
            ("invalid_info_hash", "magnet:?xt=urn:btih:".to_owned()),
            ("invalid_info_hash", format!("magnet:?xt=urn:btih:{}", &HEX[1..])),
            ("invalid_info_hash", format!("magnet:?xt=urn:btih:{HEX}0")),
            ("invalid_info_hash", format!("magnet:?xt=urn:btih:{}", "1".repeat(32))),
            ("invalid_info_hash", format!("magnet:?xt=urn:btih:{}", "ü".repeat(20))),
            ("invalid_info_hash", format!("magnet:?xt=urn:btmh:{}", "ab".repeat(32))),
            ("invalid_info_hash", format!("magnet:?xt=urn:btmh:1220{}", "ab".repeat(31))),
            ("two_info_hashes", with(&format!("&xt=urn:btih:{}", "0".repeat(40)))),
            ("invalid_escape", with("&dn=%4")),
            ("invalid_escape", with("&tr=%zz")),
            ("invalid_escape", with("&tr=%+1")),
            ("invalid_text", with("&tr=%ff")),
            ("invalid_text", with("&tr=http://x/%0ay")),
            ("invalid_text", with("&ws=%20")),
            ("invalid_peer", with("&x.pe=1.2.3.4")),
            ("invalid_peer", with("&x.pe=1.2.3.4:0")),
            ("invalid_peer", with("&x.pe=1.2.3.4:65536")),
            ("invalid_peer", with("&x.pe=:5")),
            ("invalid_peer", with("&x.pe=2001:db8::1:5")),
            ("invalid_peer", with("&x.pe=[x]:5")),
            ("invalid_file_selection", with("&so=1-")),
            ("invalid_file_selection", with("&so=5-4")),
            ("invalid_file_selection", with("&so=4294967296")),
            ("invalid_file_selection", with("&so=1,,2")),
            ("too_many_values", with(&(0..1001).map(|n| format!("&tr=u{n}")).collect::<String>())),
        ];
        for (number, (code, link)) in table.iter().enumerate() {
            let refused = Magnet::parse(link).map_err(|error| error.code());
            assert_eq!(refused, Err(*code), "row {number}: {}", &link[..link.len().min(100)]);
        }
    }

    fn hash<const N: usize>() -> impl Strategy<Value = Option<[u8; N]>> {
        prop::option::of(any::<[u8; N]>())
    }

    proptest! {
        #[test]
        fn a_link_reads_back_as_the_same_value(
            v1 in hash::<20>(), v2 in hash::<32>(),
            name in prop::option::of("[^\\p{C}\\p{Z}]{1,20}"),
            mut trackers in prop::collection::vec("[!-~ü]{1,20}", 0..4),
            mut peers in prop::collection::vec(("[a-z0-9.-]{1,9}|::1", 1u16..), 0..4),
            files in prop::collection::vec((any::<u32>(), any::<u32>()), 0..4),
        ) {
            prop_assume!(v1.is_some() || v2.is_some());
            // A link holds each value once.
            trackers.sort();
            trackers.dedup();
            peers.sort();
            peers.dedup();
            let mut files: Vec<_> = files.into_iter().map(|(a, b)| a.min(b)..=a.max(b)).collect();
            files.sort_by_key(|range| range.clone().into_inner());
            files.dedup();
            let info_hashes = InfoHashes { v1: v1.map(InfoHash), v2: v2.map(InfoHashV2) };
            let magnet = Magnet { info_hashes, name, web_seeds: trackers.clone(), trackers, peers, files };
            let link = magnet.to_string();
            prop_assert!(link.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(Magnet::parse(&link), Ok(magnet));
        }

        #[test]
        fn no_text_panics(text in ".*", query in "[a-z.=&%0-9+,:\\[\\]-]{0,80}") {
            let _ = Magnet::parse(&text);
            let _ = Magnet::parse(&format!("magnet:?{HASH}&{query}"));
        }
    }
}
