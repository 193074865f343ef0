//! Parses and writes the bencoded bodies of HTTP trackers (BEP 3, 7, 21, 23, 24, 31, 48).
//!
//! Decides: which keys are read, and how leniently. Must not know: the HTTP status, the sender.
//! Invariant: an unreadable part is left out, never guessed; what we write is canonical bencode.

use crate::value::words;
use crate::{AnnounceReply, Failure, RetryIn, ScrapeReply, SwarmCounts};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bt_bencoding::{Cursor, Kind, Limits, ScanError, write};
use bt_types::{InfoHash, compact_v4, compact_v6, normalise, push_compact};
use core::net::{IpAddr, SocketAddr};
use thiserror::Error;

/// Seconds between announces when a tracker does not say.
const DEFAULT_INTERVAL: u32 = 1_800;

/// Most bytes of a `tracker id` that is given back. A longer id is ignored: it would be kept for
/// each tracker, and no request could hold it.
const TRACKER_ID_MAX: usize = 1_024;

/// Why a body holds no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ReplyError {
    /// It is not bencode.
    #[error("the reply is not bencoded: {0}")]
    Malformed(#[from] ScanError),
    /// It is bencode, but not a dictionary.
    #[error("the reply is not a dictionary")]
    NotADictionary,
    /// The tracker refused.
    #[error("the tracker refused: {0}")]
    Refused(#[from] Failure),
}

/// Parses the body of an announce reply: compact and dictionary peers, both families. Bytes after
/// the value are skipped.
pub fn read_announce_body(body: &[u8]) -> Result<AnnounceReply, ReplyError> {
    let root = read_root(body)?;
    let mut peers = Vec::new();
    if let Some(value) = root.get(b"peers") {
        match value.kind() {
            Kind::List => peers.extend(value.list().filter_map(read_peer)),
            _ => peers.extend(compact_v4(value.as_bytes().unwrap_or_default())),
        }
    }
    peers.extend(compact_v6(
        root.get(b"peers6").and_then(|value| value.as_bytes()).unwrap_or_default(),
    ));
    Ok(AnnounceReply {
        interval: read_count(root, b"interval").unwrap_or(DEFAULT_INTERVAL),
        min_interval: read_count(root, b"min interval"),
        seeders: read_count(root, b"complete"),
        leechers: read_count(root, b"incomplete"),
        peers,
        warning: read_text(root, b"warning message"),
        tracker_id: root
            .get(b"tracker id")
            .and_then(|value| value.as_bytes())
            .filter(|id| id.len() <= TRACKER_ID_MAX)
            .map(Vec::from),
        external_ip: root.get(b"external ip").and_then(|value| value.as_bytes()).and_then(read_ip),
    })
}

/// Parses the body of a scrape reply; entries whose key is not 20 bytes are left out.
pub fn read_scrape_body(body: &[u8]) -> Result<ScrapeReply, ReplyError> {
    let root = read_root(body)?;
    let entries = root.get(b"files").into_iter().flat_map(|files| files.dict());
    let swarms = entries.filter_map(|(hash, swarm)| {
        let count = |key: &[u8]| read_count(swarm, key).unwrap_or(0);
        let (complete, downloaded, incomplete) =
            (count(b"complete"), count(b"downloaded"), count(b"incomplete"));
        let downloaders = read_count(swarm, b"downloaders");
        Some((
            InfoHash(hash.try_into().ok()?),
            SwarmCounts { complete, downloaded, incomplete, downloaders },
        ))
    });
    Ok(ScrapeReply { swarms: swarms.collect() })
}

fn read_root(body: &[u8]) -> Result<Cursor<'_>, ReplyError> {
    // Numbers with leading zeros have one meaning, and other clients accept them.
    let (root, _rest) =
        Cursor::parse_prefix(body, Limits { odd_numbers: true, ..Limits::NETWORK })?;
    if root.kind() != Kind::Dict {
        return Err(ReplyError::NotADictionary);
    }
    match read_text(root, b"failure reason") {
        Some(reason) => {
            let interval = read_count(root, b"interval")
                .max(read_count(root, b"min interval"))
                .filter(|seconds| *seconds > 0);
            let retry_in =
                root.get(b"retry in").and_then(read_retry).or(interval.map(RetryIn::Seconds));
            Err(Failure { reason, retry_in }.into())
        }
        None => Ok(root),
    }
}

fn read_retry(value: Cursor<'_>) -> Option<RetryIn> {
    if value.as_bytes() == Some(b"never") {
        return Some(RetryIn::Never);
    }
    // BEP 31 wants an integer; some trackers send its digits as a string.
    let text = || core::str::from_utf8(value.as_bytes()?).ok()?.parse().ok();
    value.as_int().or_else(text).map(|minutes| RetryIn::Minutes(clamp(minutes)))
}

fn read_peer(peer: Cursor<'_>) -> Option<SocketAddr> {
    let text = core::str::from_utf8(peer.get(b"ip")?.as_bytes()?).ok()?;
    let port = u16::try_from(peer.get(b"port")?.as_int()?).ok()?;
    // BEP 3 allows a DNS name here. No tracker sends one, and a tracker must not make us resolve
    // names.
    Some(SocketAddr::new(normalise(text.parse().ok()?), port))
}

fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4().or_else(|_| v6()).ok().map(normalise)
}

fn read_text(root: Cursor<'_>, key: &[u8]) -> Option<String> {
    Some(words(root.get(key)?.as_bytes()?))
}

fn read_count(root: Cursor<'_>, key: &[u8]) -> Option<u32> {
    root.get(key)?.as_int().map(clamp)
}

/// Returns the nearest number that fits.
fn clamp(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// Writes the body of an announce reply, always compact (BEP 23). `peers` is there even if empty,
/// `peers6` only if not empty.
pub fn write_announce_body(reply: &AnnounceReply) -> Vec<u8> {
    let compact = |v4: bool| {
        let mut bytes = Vec::new();
        reply
            .peers
            .iter()
            .filter(|peer| normalise(peer.ip()).is_ipv4() == v4)
            .for_each(|&peer| push_compact(&mut bytes, peer));
        bytes
    };
    let peers6 = compact(false);
    write(|w| {
        w.dict(|d| {
            if let Some(seeders) = reply.seeders {
                d.key(b"complete").int(seeders.into());
            }
            if let Some(ip) = reply.external_ip {
                match normalise(ip) {
                    IpAddr::V4(ip) => d.key(b"external ip").bytes(&ip.octets()),
                    IpAddr::V6(ip) => d.key(b"external ip").bytes(&ip.octets()),
                }
            }
            if let Some(leechers) = reply.leechers {
                d.key(b"incomplete").int(leechers.into());
            }
            d.key(b"interval").int(reply.interval.into());
            if let Some(seconds) = reply.min_interval {
                d.key(b"min interval").int(seconds.into());
            }
            d.key(b"peers").bytes(&compact(true));
            if !peers6.is_empty() {
                d.key(b"peers6").bytes(&peers6);
            }
            if let Some(id) = &reply.tracker_id {
                d.key(b"tracker id").bytes(id);
            }
            if let Some(warning) = &reply.warning {
                d.key(b"warning message").bytes(warning.as_bytes());
            }
        })
    })
}

/// Writes the body of a scrape reply, sorted; of entries with the same hash the last counts.
pub fn write_scrape_body(reply: &ScrapeReply) -> Vec<u8> {
    let swarms: BTreeMap<_, _> = reply.swarms.iter().copied().collect();
    write(|w| {
        w.dict(|d| {
            d.key(b"files").dict(|files| {
                for (hash, swarm) in swarms {
                    files.key(&hash.0).dict(|d| {
                        d.key(b"complete").int(swarm.complete.into());
                        d.key(b"downloaded").int(swarm.downloaded.into());
                        if let Some(downloaders) = swarm.downloaders {
                            d.key(b"downloaders").int(downloaders.into());
                        }
                        d.key(b"incomplete").int(swarm.incomplete.into());
                    });
                }
            });
        })
    })
}

/// Writes the body of a refusal.
pub fn write_failure_body(failure: &Failure) -> Vec<u8> {
    write(|w| {
        w.dict(|d| {
            d.key(b"failure reason").bytes(failure.reason.as_bytes());
            match failure.retry_in {
                Some(RetryIn::Minutes(minutes)) => d.key(b"retry in").int(minutes.into()),
                Some(RetryIn::Seconds(seconds)) => {
                    d.key(b"retry in").int(i64::from(seconds.div_ceil(60)))
                }
                Some(RetryIn::Never) => d.key(b"retry in").bytes(b"never"),
                None => {}
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn peers_come_in_three_forms() {
        let table: [(&[u8], &[&str]); 8] = [
            (b"d5:peers6:\x01\x02\x03\x04\x00\x05e", &["1.2.3.4:5"]),
            (b"d5:peers7:\x01\x02\x03\x04\x00\x05xe", &["1.2.3.4:5"]),
            (b"d5:peersld2:ip7:1.2.3.44:porti5eed2:ip3:::14:porti6eeee", &["1.2.3.4:5", "[::1]:6"]),
            (b"d5:peersld2:ip11:example.com4:porti5eed4:porti5eei7e3:abce6:peers60:e", &[]),
            (b"d5:peersld2:ip7:1.2.3.44:porti65536eed2:ip7:1.2.3.44:porti-1eeee", &[]),
            (
                b"d5:peers0:6:peers618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x09e",
                &["[2001:db8::1]:9"],
            ),
            (b"d5:peersi1e6:peers6lee", &[]),
            (b"de", &[]),
        ];
        for (body, expected) in table {
            let peers = read_announce_body(body).unwrap().peers;
            assert_eq!(
                peers,
                expected.iter().map(|text| addr(text)).collect::<Vec<_>>(),
                "{}",
                body.escape_ascii()
            );
        }
    }

    #[test]
    fn odd_numbers_are_clamped_and_absent_ones_stay_absent() {
        let reply = read_announce_body(
            b"d8:completei-1e10:incompletei99999999999e8:intervali0e12:min interval1:5e",
        )
        .unwrap();
        assert_eq!(
            (reply.seeders, reply.leechers, reply.interval, reply.min_interval),
            (Some(0), Some(u32::MAX), 0, None)
        );
        assert_eq!(
            read_announce_body(b"de").unwrap(),
            AnnounceReply { interval: 1_800, ..AnnounceReply::default() }
        );
    }

    #[test]
    fn key_order_and_trailing_bytes_do_not_matter() {
        let reply = read_announce_body(b"d5:peers0:8:intervali7ee\r\n").unwrap();
        assert_eq!(reply.interval, 7);
    }

    #[test]
    fn a_tracker_id_is_kept_up_to_a_kibibyte() {
        for (len, is_kept) in [(1, true), (TRACKER_ID_MAX, true), (TRACKER_ID_MAX + 1, false)] {
            let id = alloc::vec![b'x'; len];
            let body = write(|w| w.dict(|d| d.key(b"tracker id").bytes(&id)));
            assert_eq!(
                read_announce_body(&body).unwrap().tracker_id,
                is_kept.then_some(id),
                "{len}"
            );
        }
    }

    #[test]
    fn a_refusal_is_an_error_with_its_retry_time() {
        let refused =
            |retry_in| Err(ReplyError::Refused(Failure { reason: "no".into(), retry_in }));
        let table: [(&[u8], _); 10] = [
            (b"d14:failure reason2:noe", None),
            (b"d14:failure reason2:no8:intervali5ee", Some(RetryIn::Seconds(5))),
            (b"d14:failure reason2:no8:retry ini5ee", Some(RetryIn::Minutes(5))),
            (b"d14:failure reason2:no8:retry in2:15e", Some(RetryIn::Minutes(15))),
            (
                b"d14:failure reason2:no8:intervali1800e12:min intervali900ee",
                Some(RetryIn::Seconds(1800)),
            ),
            (b"d14:failure reason2:no12:min intervali0900ee", Some(RetryIn::Seconds(900))),
            (b"d14:failure reason2:no8:intervali0ee", None),
            (b"d14:failure reason2:no8:intervali1800e8:retry ini5ee", Some(RetryIn::Minutes(5))),
            (b"d14:failure reason2:no8:retry in5:nevere", Some(RetryIn::Never)),
            (b"d14:failure reason2:no8:retry in4:soone", None),
        ];
        for (body, retry_in) in table {
            assert_eq!(read_announce_body(body), refused(retry_in), "{}", body.escape_ascii());
            assert_eq!(read_scrape_body(body).map(|_| AnnounceReply::default()), refused(retry_in));
        }
        let steering = read_announce_body(b"d14:failure reason6:\x1b[2Jnoe");
        assert_eq!(
            steering,
            Err(ReplyError::Refused(Failure::new("\u{fffd}[2Jno"))),
            "no tracker steers a terminal"
        );
        let talkative = read_announce_body(
            &[&b"d14:failure reason100000:"[..], &b"\x07".repeat(100_000), b"e"].concat(),
        );
        assert_eq!(
            talkative,
            Err(ReplyError::Refused(Failure::new("\u{fffd}".repeat(500)))),
            "nor fills a log"
        );
        let failure = Failure { reason: "é".into(), retry_in: Some(RetryIn::Never) };
        assert_eq!(
            read_announce_body(&write_failure_body(&failure)),
            Err(ReplyError::Refused(failure))
        );
    }

    #[test]
    fn rubbish_is_an_error_and_never_a_panic() {
        for body in [b"".as_slice(), b"<html>404</html>", b"d8:interval", b"d5:peers999999999999:e"]
        {
            assert!(
                matches!(read_announce_body(body), Err(ReplyError::Malformed(_))),
                "{}",
                body.escape_ascii()
            );
        }
        assert_eq!(read_announce_body(b"li1ee"), Err(ReplyError::NotADictionary));
        assert_eq!(read_scrape_body(b"i1e"), Err(ReplyError::NotADictionary));
    }

    #[test]
    fn what_we_write_is_sorted_and_complete() {
        let reply = AnnounceReply {
            interval: 9,
            seeders: Some(1),
            leechers: Some(2),
            ..AnnounceReply::default()
        };
        assert_eq!(
            write_announce_body(&reply),
            b"d8:completei1e10:incompletei2e8:intervali9e5:peers0:e"
        );
        let (a, b) = (InfoHash([b'a'; 20]), InfoHash([b'b'; 20]));
        let swarms = vec![
            (b, SwarmCounts::default()),
            (a, SwarmCounts { complete: 1, downloaded: 2, incomplete: 3, downloaders: Some(1) }),
        ];
        let read =
            read_scrape_body(&write_scrape_body(&ScrapeReply { swarms: swarms.clone() })).unwrap();
        assert_eq!(read.swarms, [swarms[1], swarms[0]]);
    }

    proptest! {
        #[test]
        fn the_client_reads_what_the_server_writes(
            numbers: (u32, Option<u32>, Option<u32>, Option<u32>), v4: Vec<([u8; 4], u16)>, v6: Vec<(u128, u16)>,
            warning: Option<String>, tracker_id: Option<Vec<u8>>, external: Option<u32>,
        ) {
            let v4 = v4.into_iter().map(|(ip, port)| SocketAddr::new(ip.into(), port));
            let v6 = v6.into_iter().map(|(ip, port)| SocketAddr::new(core::net::Ipv6Addr::from(ip | 1 << 127).into(), port));
            let (interval, min_interval, seeders, leechers) = numbers;
            // Characters that steer a terminal do not arrive.
            let warning = warning.map(|text| words(text.as_bytes()));
            let external_ip = external.map(|ip| IpAddr::V4(ip.into()));
            let peers = v4.chain(v6).collect();
            let reply = AnnounceReply { interval, min_interval, seeders, leechers, peers, warning, tracker_id, external_ip };
            prop_assert_eq!(read_announce_body(&write_announce_body(&reply)), Ok(reply));
        }

        #[test]
        fn no_body_panics(body: Vec<u8>) {
            let _ = read_announce_body(&body);
            let _ = read_scrape_body(&body);
        }
    }
}
