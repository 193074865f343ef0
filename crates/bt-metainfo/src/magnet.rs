//! Magnet links as values (BEP 9, BEP 52 for `btmh`, BEP 53 for `so`).
//!
//! Decides: which links are refused, which values are left out, and how a link is escaped.
//! Must not know: how a link is followed.
//! Invariant: a value names a torrent; its link is printable ASCII, and reads back as the same
//! value.

use crate::fields;
use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bt_types::{InfoHash, InfoHashV2, InfoHashes};
use core::fmt;
use core::ops::RangeInclusive;

/// The longest link that is read, in bytes.
const LINK_MAX: usize = 64 * 1024;
/// Most trackers, web seeds, peers and ranges of files, each, in a link.
const ENTRIES_MAX: usize = 1000;
/// Most characters of a name.
const NAME_MAX: usize = 1024;
/// Most warnings about one link.
const WARNINGS_MAX: usize = 20;
/// Multihash prefix of SHA-256 in hex: the function's code and the digest's length.
const SHA256_MULTIHASH: &str = "1220";

/// The content of a magnet link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Magnet {
    /// `xt`: the info-hashes of the torrent; it has at least one.
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
    /// Warnings about values that were left out, one sentence each; not a part of the link.
    pub warnings: Vec<String>,
}

/// Why a text is not a magnet link that we accept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MagnetError {
    /// It does not begin with `magnet:?`.
    #[error("it is not a magnet link: it does not begin with \"magnet:?\"")]
    Scheme,
    /// It is longer than any honest link.
    #[error("it is longer than {LINK_MAX} bytes")]
    TooLong,
    /// No `xt` names a torrent.
    #[error("it names no torrent: it has no \"xt=urn:btih:\" or \"xt=urn:btmh:\"")]
    NoTorrent,
    /// An info-hash that is neither 40 hex nor 32 base32 digits, or a multihash that is not SHA-256
    /// in hex.
    #[error(
        "its info-hash is not 40 hex or 32 base32 digits, or its multihash is not 1220 and 64 hex digits"
    )]
    InfoHash,
    /// Two different info-hashes of one kind.
    #[error("it names two torrents")]
    TwoTorrents,
}

impl MagnetError {
    /// Returns the code in `bt.error/1` objects: stable, in snake_case.
    pub fn code(&self) -> &'static str {
        match self {
            MagnetError::Scheme => "not_a_magnet",
            MagnetError::TooLong => "magnet_too_long",
            MagnetError::NoTorrent => "no_info_hash",
            MagnetError::InfoHash => "invalid_info_hash",
            MagnetError::TwoTorrents => "two_info_hashes",
        }
    }
}

impl Magnet {
    /// Makes a link with nothing but info-hashes.
    pub fn new(info_hashes: InfoHashes) -> Magnet {
        Magnet {
            info_hashes,
            name: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            peers: Vec::new(),
            files: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Reads a link as people paste it: blanks around it, either case, `&amp;` from a web page.
    ///
    /// Only a readable info-hash is required (BEP 9). Other unreadable values are left out, with a
    /// warning. Unknown keys and empty values are ignored.
    pub fn parse(link: &str) -> Result<Magnet, MagnetError> {
        if link.len() > LINK_MAX {
            return Err(MagnetError::TooLong);
        }
        let query =
            after(link.trim(), "magnet:?").ok_or(MagnetError::Scheme)?.replace("&amp;", "&");
        let mut magnet = Magnet::new(InfoHashes { v1: None, v2: None });
        let mut has_unreadable_hash = false;
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = unescape(value.trim());
            // Some writers number the keys that they repeat: `tr.1`, `tr.2`.
            let key = key.trim().to_ascii_lowercase();
            let key = key
                .split_once('.')
                .filter(|(_, n)| n.parse::<u32>().is_ok())
                .map_or(&*key, |(key, _)| key);
            if value.trim_ascii().is_empty() {
                continue;
            }
            match key {
                "xt" => has_unreadable_hash |= !magnet.add_topic(&value)?,
                "dn" => magnet.name = name(&value).or(magnet.name),
                "tr" => keep(
                    &mut magnet.trackers,
                    &mut magnet.warnings,
                    "tr",
                    text(&value).map(str::to_owned),
                ),
                "ws" => keep(
                    &mut magnet.web_seeds,
                    &mut magnet.warnings,
                    "ws",
                    text(&value).map(str::to_owned),
                ),
                "x.pe" => keep(
                    &mut magnet.peers,
                    &mut magnet.warnings,
                    "x.pe",
                    text(&value).and_then(peer),
                ),
                "so" => {
                    for range in text(&value).unwrap_or("?").split(',') {
                        keep(&mut magnet.files, &mut magnet.warnings, "so", files(range.trim()));
                    }
                }
                _ => {}
            }
        }
        match magnet.info_hashes.swarm() {
            Some(_) => Ok(magnet),
            None if has_unreadable_hash => Err(MagnetError::InfoHash),
            None => Err(MagnetError::NoTorrent),
        }
    }

    /// Makes the link of an info-hash alone: 40 hex or 32 base32 digits, or 64 hex digits of
    /// version 2.
    pub fn of_digits(digits: &str) -> Option<Magnet> {
        let v1 = InfoHash::from_hex(digits).or_else(|| base32(digits));
        let v2 = InfoHashV2::from_hex(digits);
        (v1.is_some() || v2.is_some()).then(|| Magnet::new(InfoHashes { v1, v2 }))
    }

    /// Adds an `xt`; returns whether it was read. Names other than info-hashes are ignored.
    fn add_topic(&mut self, topic: &[u8]) -> Result<bool, MagnetError> {
        let Some(topic) = text(topic) else { return Ok(false) };
        if let Some(digits) = after(topic, "urn:btih:").map(str::trim) {
            let hash = InfoHash::from_hex(digits).or_else(|| base32(digits));
            return hash.map_or(Ok(false), |hash| set(&mut self.info_hashes.v1, hash));
        }
        if let Some(digits) = after(topic, "urn:btmh:").map(str::trim) {
            let hash = digits.strip_prefix(SHA256_MULTIHASH).and_then(InfoHashV2::from_hex);
            return hash.map_or(Ok(false), |hash| set(&mut self.info_hashes.v2, hash));
        }
        Ok(true)
    }
}

/// Returns the rest of the text behind a prefix of either case.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn set<T: PartialEq>(known: &mut Option<T>, hash: T) -> Result<bool, MagnetError> {
    if known.as_ref().is_some_and(|old| *old != hash) {
        return Err(MagnetError::TwoTorrents);
    }
    *known = Some(hash);
    Ok(true)
}

/// Adds a value of a key to its list, or warns that it was left out.
fn keep<T: PartialEq>(list: &mut Vec<T>, warnings: &mut Vec<String>, key: &str, value: Option<T>) {
    let warning = match value {
        Some(value) if list.contains(&value) => return,
        Some(value) if list.len() < ENTRIES_MAX => return list.push(value),
        Some(_) => format!("more than {ENTRIES_MAX} values of \"{key}\": the others were left out"),
        None => format!("a value of \"{key}\" cannot be read and was left out"),
    };
    if warnings.len() < WARNINGS_MAX && !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

/// Returns a name to show, without blanks around it; `None` if nothing is left.
fn name(value: &[u8]) -> Option<String> {
    let name: String = fields::printable(value).trim().chars().take(NAME_MAX).collect();
    // The cut may leave blanks again.
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}

/// Returns printable text, without blanks around it.
fn text(value: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(value).ok()?.trim();
    (!text.is_empty() && !text.contains(fields::is_steering)).then_some(text)
}

/// Parses `host:port`, an IPv6 address in brackets. The host is not checked further.
fn peer(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = match host.strip_prefix('[') {
        Some(rest) => {
            rest.strip_suffix(']').filter(|host| host.parse::<core::net::Ipv6Addr>().is_ok())?
        }
        None => {
            Some(host).filter(|host| !host.is_empty() && !host.contains([':', ']', '/', ' ']))?
        }
    };
    Some((bare.to_owned(), port))
}

/// Parses `3`, or `3-5` with both ends.
fn files(text: &str) -> Option<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|_| !digits.starts_with('+'));
    let range = number(first)?..=number(last)?;
    (!range.is_empty()).then_some(range)
}

/// Decodes 32 digits of base32 (RFC 4648), of either case, into 20 bytes.
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

/// Unescapes a value: `%41` is one byte, `+` a space. A `%` without two hex digits stays as it is.
fn unescape(value: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [byte, behind @ ..] = rest {
        let digit = |at: usize| behind.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        let escaped =
            digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        rest = behind;
        bytes.push(match (byte, escaped) {
            (b'%', Some(escaped)) => {
                rest = behind.get(2..).unwrap_or_default();
                escaped
            }
            (b'+', _) => b' ',
            (other, _) => *other,
        });
    }
    bytes
}

impl fmt::Display for Magnet {
    /// Writes the link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "magnet:?";
        let mut pair = |f: &mut fmt::Formatter<'_>, key: &str| {
            write!(f, "{}{key}=", core::mem::replace(&mut separator, "&"))
        };
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
        for (key, value) in name.chain(trackers).chain(self.web_seeds.iter().map(|url| ("ws", url)))
        {
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
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            write!(f, "{}", char::from(byte))
        }
        _ => write!(f, "%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use proptest::prelude::*;
    use std::vec;

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
                Magnet {
                    info_hashes: InfoHashes { v1: plain.info_hashes.v1, v2 },
                    ..plain.clone()
                },
            ),
            (
                format!("xt.2=urn%3Abtmh:1220{}", "ab".repeat(32)),
                Magnet::new(InfoHashes { v1: None, v2 }),
            ),
            (
                format!(
                    "dn=a+b%20%c3%bc%1b&{HASH}&tr=http%3A%2F%2Fa%2Fx%3Fy%3D1&tr.7=udp://b:1&ws=http://w/&tr=udp://b:1"
                ),
                Magnet {
                    name: Some("a b ü\u{fffd}".into()),
                    trackers: vec!["http://a/x?y=1".into(), "udp://b:1".into()],
                    web_seeds: vec!["http://w/".into()],
                    ..plain.clone()
                },
            ),
            (
                format!(
                    "{HASH}&x.pe=1.2.3.4:5&x.pe=[2001:db8::1]:6&x.pe=host.example:7&so=0,2-4,9"
                ),
                Magnet {
                    peers: vec![
                        ("1.2.3.4".into(), 5),
                        ("2001:db8::1".into(), 6),
                        ("host.example".into(), 7),
                    ],
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
            (
                "no_info_hash",
                "magnet:?dn=x&xt=urn:sha1:YNCKHTQCWBTRNJIV4WNAE52SJUQCZO5C".to_owned(),
            ),
            ("invalid_info_hash", "magnet:?xt=urn:btih:".to_owned()),
            ("invalid_info_hash", format!("magnet:?xt=urn:btih:{}", &HEX[1..])),
            ("invalid_info_hash", format!("magnet:?xt=urn:btih:{HEX}0")),
            ("invalid_info_hash", format!("magnet:?xt=urn:btih:{}", "1".repeat(32))),
            ("invalid_info_hash", format!("magnet:?xt=urn:btih:{}", "ü".repeat(20))),
            ("invalid_info_hash", format!("magnet:?xt=urn:btmh:{}", "ab".repeat(32))),
            ("invalid_info_hash", format!("magnet:?xt=urn:btmh:1220{}", "ab".repeat(31))),
            ("two_info_hashes", with(&format!("&xt=urn:btih:{}", "0".repeat(40)))),
        ];
        for (number, (code, link)) in table.iter().enumerate() {
            let refused = Magnet::parse(link).map_err(|error| error.code());
            assert_eq!(refused, Err(*code), "row {number}: {}", &link[..link.len().min(100)]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out_with_a_warning() {
        let unread = |key: &str| format!("a value of \"{key}\" cannot be read and was left out");
        // (what follows the info-hash, keys that are warned of, the rest of the link)
        let table: [(&str, &[&str], &str); 16] = [
            ("&dn=100%+Real", &[], "&dn=100%25%20Real"),
            ("&dn=%4", &[], "&dn=%254"),
            ("&foo=50%&%=%zz", &[], ""),
            ("&amp;dn=a&amp;tr=http://t/", &[], "&dn=a&tr=http%3A%2F%2Ft%2F"),
            ("&dn=a&dn=%C2%A0", &[], "&dn=a"),
            ("&dn=%E3%80%80", &[], ""),
            ("&DN= a &Tr= http://t/ ", &[], "&dn=a&tr=http%3A%2F%2Ft%2F"),
            ("&tr=%ff&tr=udp://b:1", &["tr"], "&tr=udp%3A%2F%2Fb%3A1"),
            ("&tr=http://x/%0ay&tr=%20", &["tr"], ""),
            ("&ws=%ff", &["ws"], ""),
            ("&x.pe=1.2.3.4&x.pe=1.2.3.4:0&x.pe=1.2.3.4:65536&x.pe=:5", &["x.pe"], ""),
            ("&x.pe=2001:db8::1:5&x.pe=[x]:5&x.pe=1.2.3.4:5", &["x.pe"], "&x.pe=1.2.3.4:5"),
            ("&so=1-&so=5-4&so=4294967296", &["so"], ""),
            ("&so=1,,2", &["so"], "&so=1,2"),
            ("&so=%ff", &["so"], ""),
            ("&xt=urn:btih:junk&xt=urn:btmh:12", &[], ""),
        ];
        for (more, keys, rest) in table {
            let magnet = Magnet::parse(&format!("magnet:?{HASH}{more}")).unwrap();
            let warnings: Vec<String> = keys.iter().map(|key| unread(key)).collect();
            assert_eq!(magnet.warnings, warnings, "{more}");
            assert_eq!(magnet.to_string(), format!("magnet:?{HASH}{rest}"), "{more}");
        }
        let cut =
            Magnet::parse(&format!("magnet:?{HASH}&dn={}+b", "a".repeat(NAME_MAX - 1))).unwrap();
        assert_eq!(Magnet::parse(&cut.to_string()), Ok(cut));
        let many = Magnet::parse(&format!(
            "magnet:?{HASH}{}",
            (0..1001).map(|n| format!("&tr=u{n}")).collect::<String>()
        ))
        .unwrap();
        assert_eq!((many.trackers.len(), many.warnings.len()), (ENTRIES_MAX, 1));
    }

    #[test]
    fn an_info_hash_alone_is_a_link() {
        let table = [
            (HEX, true),
            ("YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK", true),
            (&HEX[1..], false),
            ("", false),
            ("photos", false),
        ];
        for (digits, is_link) in table {
            assert_eq!(Magnet::of_digits(digits).is_some(), is_link, "{digits}");
        }
        assert!(Magnet::of_digits(&"ab".repeat(32)).unwrap().info_hashes.v2.is_some());
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
            let magnet = Magnet { name, web_seeds: trackers.clone(), trackers, peers, files, ..Magnet::new(info_hashes) };
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
