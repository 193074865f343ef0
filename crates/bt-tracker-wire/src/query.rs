//! Parses and writes announces and scrapes as HTTP queries (BEP 3, BEP 48).
//!
//! Decides: how bytes are escaped and which keys count. Must not know: the sender, connections,
//! bodies.
//! Invariant: a `+` is the byte 0x2B. Only a bad required key refuses an announce, and the error
//! names the key.

use crate::{Announce, Event, LEFT_UNKNOWN};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bt_types::{InfoHash, PeerId};
use core::fmt::Write as _;
use thiserror::Error;

/// Why a query is not an announce or a scrape; the client gets the text as the failure reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum QueryError {
    /// A required key is missing.
    #[error("missing {0}")]
    Missing(&'static str),
    /// A required key came twice, with two values.
    #[error("more than one {0}")]
    Duplicate(&'static str),
    /// The value is invalid: wrong length, bad escape, not a number.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

impl QueryError {
    /// Returns the key that is at fault.
    pub fn key(&self) -> &'static str {
        match self {
            QueryError::Missing(key) | QueryError::Duplicate(key) | QueryError::Invalid(key) => key,
        }
    }
}

/// Makes the URL of an HTTP announce: the tracker's URL with the query appended.
pub fn announce_url(tracker: &str, announce: &Announce) -> String {
    let mut url = query_start(tracker);
    url.push_str("info_hash=");
    push_escaped(&mut url, &announce.info_hash.0);
    url.push_str("&peer_id=");
    push_escaped(&mut url, &announce.peer_id.0);
    // The order is that of other clients; some trackers are said to care.
    let Announce { port, uploaded, downloaded, left, key, .. } = announce;
    url.push_str(&format!("&port={port}&uploaded={uploaded}&downloaded={downloaded}&left={left}&key={key:08X}&compact=1"));
    match announce.event {
        Event::None => {}
        Event::Started => url.push_str("&event=started"),
        Event::Completed => url.push_str("&event=completed"),
        Event::Stopped => url.push_str("&event=stopped"),
        Event::Paused => url.push_str("&event=paused"),
    }
    if let Some(wanted) = announce.num_want {
        url.push_str(&format!("&numwant={wanted}"));
    }
    if let Some(id) = &announce.tracker_id {
        url.push_str("&trackerid=");
        push_escaped(&mut url, id);
    }
    url
}

/// Makes the URL of an HTTP scrape: the last path component must begin with `announce`, which
/// becomes `scrape` (BEP 48). `None` if the tracker's URL does not have that shape: the tracker
/// cannot be scraped.
pub fn scrape_url(tracker: &str, hashes: &[InfoHash]) -> Option<String> {
    let (path, query) = match tracker.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (tracker, None),
    };
    let (front, last) = path.rsplit_once('/')?;
    let rest = last.strip_prefix("announce")?;
    let mut url = format!("{front}/scrape{rest}");
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    let mut url = query_start(&url);
    for (n, hash) in hashes.iter().enumerate() {
        url.push_str(if n == 0 { "info_hash=" } else { "&info_hash=" });
        push_escaped(&mut url, &hash.0);
    }
    Some(url)
}

/// Returns the URL up to where the next `key=value` goes; a fragment has no place in a request.
fn query_start(url: &str) -> String {
    let url = url.split_once('#').map_or(url, |(front, _)| front);
    let join = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{url}{join}")
}

/// Escapes all bytes except the unreserved characters of RFC 3986.
fn push_escaped(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Parses the query of an announce, without its `?`.
///
/// `info_hash`, `peer_id` and `port` must be there, with one value each. Of every other key the
/// last readable value counts: the tracker's own URL comes first and may hold the same key
/// (`key=PASSKEY`).
///
/// Missing `uploaded` and `downloaded` are 0, and a missing `left` is unknown. A number that is too
/// large becomes the largest possible; a negative number counts as missing. The `ip` key is
/// ignored: an address is proven by its packets.
pub fn parse_announce(query: &str) -> Result<Announce, QueryError> {
    let fields = Fields(query);
    let info_hash = InfoHash(fields.twenty_bytes("info_hash")?);
    let peer_id = PeerId(fields.twenty_bytes("peer_id")?);
    let port = fields.one("port")?.parse().map_err(|_| QueryError::Invalid("port"))?;
    let event = fields.last("event", |event| match event {
        "started" => Some(Event::Started),
        "completed" => Some(Event::Completed),
        "stopped" => Some(Event::Stopped),
        "paused" => Some(Event::Paused),
        _ => None,
    });
    Ok(Announce {
        uploaded: fields.last("uploaded", number).unwrap_or(0),
        downloaded: fields.last("downloaded", number).unwrap_or(0),
        left: fields.last("left", number).unwrap_or(LEFT_UNKNOWN),
        event: event.unwrap_or_default(),
        // Any text may be a key; we compare only keys of our own kind.
        key: fields.last("key", |key| u32::from_str_radix(key, 16).ok()).unwrap_or(0),
        num_want: fields
            .last("numwant", number)
            .map(|wanted| u32::try_from(wanted).unwrap_or(u32::MAX)),
        tracker_id: fields.last("trackerid", unescape),
        ..Announce::new(info_hash, peer_id, port)
    })
}

/// Parses the query of a scrape, without its `?`: every readable `info_hash`, in order, duplicates
/// kept; at least one.
pub fn parse_scrape(query: &str) -> Result<Vec<InfoHash>, QueryError> {
    let mut missing = QueryError::Missing("info_hash");
    let mut hashes = Vec::new();
    for value in Fields(query).all("info_hash") {
        match twenty_bytes("info_hash", value) {
            Ok(hash) => hashes.push(InfoHash(hash)),
            Err(invalid) => missing = invalid,
        }
    }
    if hashes.is_empty() { Err(missing) } else { Ok(hashes) }
}

/// The `key=value` pairs of a query; a bare key has the empty value.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn all(&self, key: &'static str) -> impl Iterator<Item = &'a str> {
        self.0
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(move |pair| pair.0 == key)
            .map(|pair| pair.1)
    }

    /// Returns the value of a required key; it may come twice with the same value.
    fn one(&self, key: &'static str) -> Result<&'a str, QueryError> {
        let mut values = self.all(key);
        let first = values.next().ok_or(QueryError::Missing(key))?;
        if values.any(|other| other != first) { Err(QueryError::Duplicate(key)) } else { Ok(first) }
    }

    /// Returns the last readable value of a key.
    fn last<T>(&self, key: &'static str, read: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        self.all(key).filter_map(read).last()
    }

    fn twenty_bytes(&self, key: &'static str) -> Result<[u8; 20], QueryError> {
        twenty_bytes(key, self.one(key)?)
    }
}

/// Parses a number of decimal digits only; a number beyond the type becomes its largest value.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

fn twenty_bytes(key: &'static str, value: &str) -> Result<[u8; 20], QueryError> {
    unescape(value).and_then(|bytes| bytes.try_into().ok()).ok_or(QueryError::Invalid(key))
}

/// Undoes percent escapes only; `None` if a `%` is not followed by two hex digits.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    const GOOD: &str = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1";

    fn good() -> Announce {
        Announce::new(InfoHash([b'a'; 20]), PeerId([b'b'; 20]), 1)
    }

    #[test]
    fn parameter_soup_is_read() {
        let table = [
            (format!("&&{GOOD}&&"), good()),
            (format!("compact&{GOOD}&no_peer_id&x==&supportcrypto=1"), good()),
            (format!("event=&{GOOD}&numwant=-1&left=-1&uploaded="), good()),
            (format!("{GOOD}&event=paused"), Announce { event: Event::Paused, ..good() }),
            (format!("{GOOD}&event=resting"), good()),
            (format!("{GOOD}&ip=6.6.6.6&ip=7.7.7.7"), good()),
            (format!("{GOOD}&key=not-hex"), good()),
            (format!("key=PASSKEY&{GOOD}&key=1F"), Announce { key: 0x1f, ..good() }),
            (
                format!("event=started&{GOOD}&event=stopped"),
                Announce { event: Event::Stopped, ..good() },
            ),
            (format!("{GOOD}&numwant=50&numwant=50"), Announce { num_want: Some(50), ..good() }),
            (format!("{GOOD}&{GOOD}"), good()),
            (format!("{GOOD}&uploaded=-5&downloaded=-1&left=1"), Announce { left: 1, ..good() }),
            (
                format!("{GOOD}&uploaded=1.5e9&downloaded=NaN&left=0.5&numwant=many&trackerid=%"),
                good(),
            ),
            (format!("{GOOD}&left=-"), good()),
            (
                format!(
                    "{GOOD}&left=18446744073709551616&uploaded=99999999999999999999&numwant=99999999999"
                ),
                Announce { left: u64::MAX, uploaded: u64::MAX, num_want: Some(u32::MAX), ..good() },
            ),
            (
                format!("{GOOD}&left=4294967296&event=stopped"),
                Announce { left: 1 << 32, event: Event::Stopped, ..good() },
            ),
            (
                format!("{GOOD}&left=18446744073709551615&numwant=0"),
                Announce { left: u64::MAX, num_want: Some(0), ..good() },
            ),
            (GOOD.replace("aaaaaaaaaaaaaaaaaaaa", "%61aaaaaaaaaaaaaaaaaaa"), good()),
            (
                GOOD.replace("aaaaaaaaaaaaaaaaaaaa", "++++++++++%2b%2B%2b%2b%2b%2b%2b%2b%2b%2b"),
                Announce { info_hash: InfoHash([0x2b; 20]), ..good() },
            ),
        ];
        for (query, expected) in table {
            assert_eq!(parse_announce(&query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn a_bad_field_is_named() {
        use QueryError::{Duplicate, Invalid, Missing};
        let hash = "info_hash=aaaaaaaaaaaaaaaaaaaa";
        let table = [
            (String::new(), Missing("info_hash")),
            (GOOD.replace(hash, "info_hash"), Invalid("info_hash")),
            (GOOD.replace(hash, "info_hash=aaaaaaaaaaaaaaaaaaa"), Invalid("info_hash")),
            (GOOD.replace(hash, "info_hash=aaaaaaaaaaaaaaaaaaaaa"), Invalid("info_hash")),
            (GOOD.replace(hash, "info_hash=aaaaaaaaaaaaaaaaaaa%"), Invalid("info_hash")),
            (GOOD.replace(hash, "info_hash=aaaaaaaaaaaaaaaaaaa%4"), Invalid("info_hash")),
            (GOOD.replace(hash, "info_hash=aaaaaaaaaaaaaaaaaaa%zz"), Invalid("info_hash")),
            (
                format!("{GOOD}&{hash}").replace("&info_hash=aaa", "&info_hash=baa"),
                Duplicate("info_hash"),
            ),
            (format!("{GOOD}&port=2"), Duplicate("port")),
            (GOOD.replace("&peer_id=bbbbbbbbbbbbbbbbbbbb", ""), Missing("peer_id")),
            (GOOD.replace("&port=1", ""), Missing("port")),
            (GOOD.replace("&port=1", "&port=65536"), Invalid("port")),
            (GOOD.replace("&port=1", "&port=-1"), Invalid("port")),
        ];
        for (query, expected) in table {
            assert_eq!(parse_announce(&query), Err(expected), "{query}");
        }
        assert_eq!(format!("{}", Missing("info_hash")), "missing info_hash");
    }

    #[test]
    fn a_scrape_names_its_swarms_in_order() {
        let (a, b) = (InfoHash([b'a'; 20]), InfoHash([0; 20]));
        let url = scrape_url("http://h/announce", &[a, b, a]).unwrap();
        assert_eq!(parse_scrape(url.split_once('?').unwrap().1), Ok(vec![a, b, a]));
        assert_eq!(
            parse_scrape(&format!("info_hash=short&info_hash={}", "a".repeat(20))),
            Ok(vec![a]),
            "what can be read"
        );
        assert_eq!(parse_scrape(""), Err(QueryError::Missing("info_hash")));
        assert_eq!(parse_scrape("info_hash=short"), Err(QueryError::Invalid("info_hash")));
    }

    #[test]
    fn the_scrape_url_is_made_from_the_last_path_component() {
        // The table of BEP 48.
        let table = [
            ("http://example.com/announce", Some("http://example.com/scrape?")),
            ("http://example.com/x/announce", Some("http://example.com/x/scrape?")),
            ("http://example.com/announce.php", Some("http://example.com/scrape.php?")),
            ("http://example.com/a", None),
            ("http://example.com/announce?x2%0644", Some("http://example.com/scrape?x2%0644&")),
            ("http://example.com/announce?x=2/4", Some("http://example.com/scrape?x=2/4&")),
            ("http://example.com/x%064announce", None),
            (
                "http://example.com/announce/key/announce",
                Some("http://example.com/announce/key/scrape?"),
            ),
        ];
        for (tracker, expected) in table {
            assert_eq!(scrape_url(tracker, &[]).as_deref(), expected, "{tracker}");
        }
    }

    #[test]
    fn an_announce_url_keeps_the_query_of_the_tracker() {
        for (tracker, start) in [
            ("http://h/announce", "http://h/announce?info_hash="),
            ("http://h/announce?", "http://h/announce?info_hash="),
            ("http://h/announce?passkey=1", "http://h/announce?passkey=1&info_hash="),
            ("http://h/announce#part", "http://h/announce?info_hash="),
        ] {
            let url = announce_url(tracker, &good());
            assert!(url.starts_with(start), "{url}");
        }
    }

    proptest! {
        #[test]
        fn the_server_reads_what_the_client_writes(
            hash: [u8; 20], id: [u8; 20], port: u16, numbers: (u64, u64, u64), key: u32, num_want: Option<u32>,
            tracker_id: Option<Vec<u8>>, event in 0usize..5,
        ) {
            let event = [Event::None, Event::Started, Event::Completed, Event::Stopped, Event::Paused][event];
            let (uploaded, downloaded, left) = numbers;
            let plain = Announce::new(InfoHash(hash), PeerId(id), port);
            let announce = Announce { uploaded, downloaded, left, event, key, num_want, tracker_id, ..plain };
            let url = announce_url("http://h/announce", &announce);
            prop_assert_eq!(parse_announce(url.split_once('?').unwrap().1), Ok(announce));
        }

        #[test]
        fn no_query_panics(query: String) {
            let _ = parse_announce(&query);
            let _ = parse_scrape(&query);
            let _ = scrape_url(&query, &[]);
        }
    }
}
