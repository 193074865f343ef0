//! Parses and writes the datagrams of the UDP tracker protocol (BEP 15), and the options after an
//! announce (BEP 41).
//!
//! Decides: which bytes are a request or a reply. Must not know: which connection ids are valid,
//! when to send again.
//! Invariant: nothing that we write is longer than `UDP_PAYLOAD_MAX`, so no datagram is fragmented.

use crate::options::{push_url_data, read_url_data};
use crate::value::words;
use crate::{Announce, AnnounceReply, Event, SwarmCounts};
use alloc::string::String;
use alloc::vec::Vec;
use bt_types::{InfoHash, PeerId, compact_v4, compact_v6, push_compact};

/// Most bytes in one datagram: the smallest IPv6 path (1,280) without the headers.
pub const UDP_PAYLOAD_MAX: usize = 1_232;
/// Most hashes of one UDP scrape that are read and answered: BEP 15 allows "about 74". The answer
/// to 74 hashes is 896 bytes.
pub const SCRAPE_HASHES_MAX: usize = 74;
/// Most hashes that are written into one UDP scrape: 74 make 1,496 bytes, which with headers is
/// more than Ethernet carries.
pub const SCRAPE_ASKED_MAX: usize = (UDP_PAYLOAD_MAX - SCRAPE_HEAD) / 20;

/// The number that opens every connect request (BEP 15).
const PROTOCOL: u64 = 0x0417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;
/// Bytes of an announce reply before its peers.
const ANNOUNCE_REPLY_HEAD: usize = 20;
/// Bytes of a scrape before its hashes.
const SCRAPE_HEAD: usize = 16;

/// The address family that a datagram travels in; it decides the size of the peers in an announce
/// reply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AddressFamily {
    /// IPv4: 6 bytes a peer.
    V4,
    /// IPv6: 18 bytes a peer.
    V6,
}

/// Returns the most peers that fit in one announce reply of the family.
pub fn udp_peers_max(family: AddressFamily) -> usize {
    let peer = match family {
        AddressFamily::V4 => 6,
        AddressFamily::V6 => 18,
    };
    (UDP_PAYLOAD_MAX - ANNOUNCE_REPLY_HEAD) / peer
}

/// A request of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UdpRequest {
    /// Ask for a connection id: 16 bytes.
    Connect {
        /// Comes back in the reply.
        transaction: u32,
    },
    /// Announce: 98 bytes, and options (BEP 41).
    Announce {
        /// From the connect reply.
        connection: u64,
        /// Comes back in the reply.
        transaction: u32,
        /// The announce; its `tracker_id` is not sent.
        announce: Announce,
    },
    /// Scrape: 16 bytes and 20 for each hash.
    Scrape {
        /// From the connect reply.
        connection: u64,
        /// Comes back in the reply.
        transaction: u32,
        /// The swarms to count, in order, duplicates kept.
        hashes: Vec<InfoHash>,
    },
}

impl UdpRequest {
    /// Parses a request; `None` for a datagram that gets no reply: too short, an unknown action, a
    /// scrape without hashes. Bytes after an announce that are not options are skipped, and hashes
    /// after the 74th.
    pub fn parse(datagram: &[u8]) -> Option<UdpRequest> {
        let (head, rest) = UdpHead::parse(datagram)?;
        let UdpHead { connection, transaction, .. } = head;
        Some(match head.body(rest)? {
            UdpBody::Connect => UdpRequest::Connect { transaction },
            UdpBody::Announce(announce, options) => {
                let announce = Announce { url_data: read_url_data(options), ..announce };
                UdpRequest::Announce { connection, transaction, announce }
            }
            UdpBody::Scrape(hashes) => {
                let hashes = hashes.iter().copied().map(InfoHash).collect();
                UdpRequest::Scrape { connection, transaction, hashes }
            }
        })
    }

    /// Writes the datagram. Whatever makes it longer than [`UDP_PAYLOAD_MAX`] is left out: hashes
    /// after the [`SCRAPE_ASKED_MAX`]th, and URL data.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(98);
        let mut head = |connection: u64, action: u32, transaction: u32| {
            out.extend_from_slice(&connection.to_be_bytes());
            out.extend_from_slice(&action.to_be_bytes());
            out.extend_from_slice(&transaction.to_be_bytes());
        };
        match self {
            UdpRequest::Connect { transaction } => head(PROTOCOL, CONNECT, *transaction),
            UdpRequest::Announce { connection, transaction, announce } => {
                head(*connection, ANNOUNCE, *transaction);
                push_announce(&mut out, announce);
                if let Some(data) = &announce.url_data {
                    push_url_data(&mut out, data, UDP_PAYLOAD_MAX);
                }
            }
            UdpRequest::Scrape { connection, transaction, hashes } => {
                head(*connection, SCRAPE, *transaction);
                hashes
                    .iter()
                    .take(SCRAPE_ASKED_MAX)
                    .for_each(|hash| out.extend_from_slice(&hash.0));
            }
        }
        out
    }
}

/// The first 16 bytes of a request. A tracker checks the connection id before it reads the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpHead {
    /// The connection id; of a connect, the number that opens every connect.
    pub connection: u64,
    action: u32,
    /// Comes back in the reply.
    pub transaction: u32,
}

/// The rest of a request, as it lies in the datagram: nothing is copied to the heap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UdpBody<'a> {
    /// Ask for a connection id.
    Connect,
    /// Announce, without its URL data; and the bytes of the options (BEP 41).
    Announce(Announce, &'a [u8]),
    /// Scrape these info-hashes: one at least, [`SCRAPE_HASHES_MAX`] at most.
    Scrape(&'a [[u8; 20]]),
}

impl UdpHead {
    /// Bytes of the head.
    pub const LEN: usize = 16;

    /// Parses the head; returns the rest of the datagram with it. `None` if it is too short.
    pub fn parse(datagram: &[u8]) -> Option<(UdpHead, &[u8])> {
        let mut read = Reader(datagram);
        let head =
            UdpHead { connection: read.u64()?, action: read.u32()?, transaction: read.u32()? };
        Some((head, read.0))
    }

    /// Returns whether this is a connect, which has no connection id.
    pub fn is_connect(self) -> bool {
        self.action == CONNECT && self.connection == PROTOCOL
    }

    /// Parses the rest of the datagram; `None` as of [`UdpRequest::parse`].
    pub fn body(self, rest: &[u8]) -> Option<UdpBody<'_>> {
        let mut read = Reader(rest);
        match self.action {
            CONNECT if self.is_connect() => Some(UdpBody::Connect),
            ANNOUNCE => {
                let announce = read.announce()?;
                Some(UdpBody::Announce(announce, read.0))
            }
            SCRAPE => {
                let hashes = rest.as_chunks().0;
                let hashes = hashes.get(..SCRAPE_HASHES_MAX).unwrap_or(hashes);
                (!hashes.is_empty()).then_some(UdpBody::Scrape(hashes))
            }
            _ => None,
        }
    }
}

fn push_announce(out: &mut Vec<u8>, announce: &Announce) {
    out.extend_from_slice(&announce.info_hash.0);
    out.extend_from_slice(&announce.peer_id.0);
    for number in [announce.downloaded, announce.left, announce.uploaded] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    let event: u32 = match announce.event {
        Event::None => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
        Event::Paused => 4,
    };
    // On the wire the number is signed, and -1 stands for no preference.
    let num_want = announce.num_want.map_or(-1, |wanted| i32::try_from(wanted).unwrap_or(i32::MAX));
    out.extend_from_slice(&event.to_be_bytes());
    out.extend_from_slice(&[0; 4]); // our address: the tracker takes it from the datagram
    out.extend_from_slice(&announce.key.to_be_bytes());
    out.extend_from_slice(&num_want.to_be_bytes());
    out.extend_from_slice(&announce.port.to_be_bytes());
}

/// A reply of a tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UdpReply {
    /// A connection id: 16 bytes, as long as the request.
    Connect {
        /// The transaction id of the request.
        transaction: u32,
        /// The connection id, to be used for a minute.
        connection: u64,
    },
    /// Interval, counts and peers of one family.
    Announce {
        /// The transaction id of the request.
        transaction: u32,
        /// The reply; only interval, counts and peers are sent.
        reply: AnnounceReply,
    },
    /// Counts in the order of the hashes in the request.
    Scrape {
        /// The transaction id of the request.
        transaction: u32,
        /// One entry for each hash.
        counts: Vec<SwarmCounts>,
    },
    /// A refusal.
    Error {
        /// The transaction id of the request.
        transaction: u32,
        /// Text for the user.
        message: String,
    },
}

impl UdpReply {
    /// Parses a reply that came over `family`; `None` if it is too short or has an unknown action.
    pub fn parse(datagram: &[u8], family: AddressFamily) -> Option<UdpReply> {
        let mut read = Reader(datagram);
        let action = read.u32()?;
        let transaction = read.u32()?;
        Some(match action {
            CONNECT => UdpReply::Connect { transaction, connection: read.u64()? },
            ANNOUNCE => {
                let (interval, leechers, seeders) = (read.u32()?, read.u32()?, read.u32()?);
                let peers = match family {
                    AddressFamily::V4 => compact_v4(read.0).collect(),
                    AddressFamily::V6 => compact_v6(read.0).collect(),
                };
                let counts = (Some(seeders), Some(leechers));
                let reply = AnnounceReply {
                    interval,
                    seeders: counts.0,
                    leechers: counts.1,
                    peers,
                    ..AnnounceReply::default()
                };
                UdpReply::Announce { transaction, reply }
            }
            SCRAPE => UdpReply::Scrape {
                transaction,
                counts: core::iter::from_fn(|| read.counts()).collect(),
            },
            ERROR => {
                let text = read
                    .0
                    .get(..read.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1))
                    .unwrap_or_default();
                UdpReply::Error { transaction, message: words(text) }
            }
            _ => return None,
        })
    }

    /// Writes the datagram. An announce holds the peers of `family`, as many as fit in
    /// [`UDP_PAYLOAD_MAX`].
    pub fn write(&self, family: AddressFamily) -> Vec<u8> {
        let mut out = Vec::with_capacity(ANNOUNCE_REPLY_HEAD);
        match self {
            UdpReply::Connect { transaction, connection } => {
                push_udp_connect(&mut out, *transaction, *connection);
            }
            UdpReply::Announce { transaction, reply } => {
                let (leechers, seeders) = (reply.leechers.unwrap_or(0), reply.seeders.unwrap_or(0));
                push_udp_announce(&mut out, *transaction, reply.interval, leechers, seeders);
                let ours = reply
                    .peers
                    .iter()
                    .filter(|peer| peer.is_ipv4() == (family == AddressFamily::V4));
                ours.take(udp_peers_max(family)).for_each(|&peer| push_compact(&mut out, peer));
            }
            UdpReply::Scrape { transaction, counts } => {
                push_udp_scrape(&mut out, *transaction);
                let counts = counts.iter().take(SCRAPE_HASHES_MAX);
                counts.for_each(|swarm| push_udp_counts(&mut out, swarm));
            }
            UdpReply::Error { transaction, message } => {
                push_udp_error(&mut out, *transaction, message);
            }
        }
        out
    }
}

/// Writes the reply to a connect: the connection id, to be used for a minute.
pub fn push_udp_connect(out: &mut Vec<u8>, transaction: u32, connection: u64) {
    push_numbers(out, [CONNECT, transaction]);
    out.extend_from_slice(&connection.to_be_bytes());
}

/// Writes the reply to an announce without its peers. They follow in their compact form, as many as
/// [`udp_peers_max`] of the family.
pub fn push_udp_announce(
    out: &mut Vec<u8>,
    transaction: u32,
    interval: u32,
    leechers: u32,
    seeders: u32,
) {
    push_numbers(out, [ANNOUNCE, transaction, interval, leechers, seeders]);
}

/// Writes the reply to a scrape without its counts. [`push_udp_counts`] adds them, in the order of
/// the hashes in the request.
pub fn push_udp_scrape(out: &mut Vec<u8>, transaction: u32) {
    push_numbers(out, [SCRAPE, transaction]);
}

/// Adds the counts of a swarm to the reply to a scrape.
pub fn push_udp_counts(out: &mut Vec<u8>, counts: &SwarmCounts) {
    push_numbers(out, [counts.complete, counts.downloaded, counts.incomplete]);
}

/// Overwrites the counts of the swarm at a place in the reply to a scrape.
pub fn write_udp_counts(reply: &mut [u8], place: usize, counts: &SwarmCounts) {
    let (entries, _) = reply.get_mut(8..).unwrap_or_default().as_chunks_mut::<12>();
    if let Some(entry) = entries.get_mut(place) {
        let numbers = [counts.complete, counts.downloaded, counts.incomplete];
        let (fields, _) = entry.as_chunks_mut::<4>();
        fields.iter_mut().zip(numbers).for_each(|(field, number)| *field = number.to_be_bytes());
    }
}

/// Writes a refusal: text for the user.
pub fn push_udp_error(out: &mut Vec<u8>, transaction: u32, message: &str) {
    push_numbers(out, [ERROR, transaction]);
    out.extend(message.bytes().take(UDP_PAYLOAD_MAX - 8));
}

fn push_numbers<const N: usize>(out: &mut Vec<u8>, numbers: [u32; N]) {
    out.extend_from_slice(numbers.map(u32::to_be_bytes).as_flattened());
}

/// Takes fixed-size fields off the front; the rest is in `.0`.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn counts(&mut self) -> Option<SwarmCounts> {
        let (complete, downloaded, incomplete) = (self.u32()?, self.u32()?, self.u32()?);
        Some(SwarmCounts { complete, downloaded, incomplete, downloaders: None })
    }

    fn announce(&mut self) -> Option<Announce> {
        let (info_hash, peer_id) = (InfoHash(self.take()?), PeerId(self.take()?));
        let (downloaded, left, uploaded) = (self.u64()?, self.u64()?, self.u64()?);
        let event = match self.u32()? {
            1 => Event::Completed,
            2 => Event::Started,
            3 => Event::Stopped,
            4 => Event::Paused,
            _ => Event::None,
        };
        // The address that the client claims proves nothing.
        let _claimed_ip = self.u32()?;
        let key = self.u32()?;
        // -1, and numbers above i32::MAX, stand for no preference.
        let num_want = self.u32().map(|wanted| {
            i32::try_from(wanted).ok().and_then(|wanted| u32::try_from(wanted).ok())
        })?;
        let port = self.u16()?;
        let plain = Announce::new(info_hash, peer_id, port);
        Some(Announce { uploaded, downloaded, left, event, key, num_want, ..plain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    fn announce() -> Announce {
        Announce {
            left: 5,
            event: Event::Started,
            key: 7,
            num_want: Some(30),
            ..Announce::new(InfoHash([1; 20]), PeerId([2; 20]), 6881)
        }
    }

    fn announce_datagram() -> Vec<u8> {
        UdpRequest::Announce { connection: 9, transaction: 8, announce: announce() }.write()
    }

    #[test]
    fn a_connect_request_has_the_bytes_of_bep_15() {
        let bytes = UdpRequest::Connect { transaction: 0x0102_0304 }.write();
        assert_eq!(bytes, [0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(
            UdpRequest::parse(&bytes),
            Some(UdpRequest::Connect { transaction: 0x0102_0304 })
        );
        let mut wrong = bytes;
        wrong[7] ^= 1;
        assert_eq!(UdpRequest::parse(&wrong), None, "wrong magic");
    }

    #[test]
    fn an_announce_is_98_bytes_and_anything_after_them() {
        let exact = announce_datagram();
        assert_eq!(exact.len(), 98);
        let expected =
            Some(UdpRequest::Announce { connection: 9, transaction: 8, announce: announce() });
        for trailing in [0, 2, 9, 400] {
            let mut datagram = exact.clone();
            datagram.extend(vec![0xee; trailing]);
            assert_eq!(UdpRequest::parse(&datagram), expected, "{trailing} trailing bytes");
        }
        for len in 0..98 {
            assert_eq!(UdpRequest::parse(&exact[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn an_announce_carries_path_and_query_of_its_url() {
        for (len, datagram, travels) in [
            (0, 98 + 2, true),
            (300, 98 + 304, true),
            (1_124, 98 + 1_134, true),
            (1_125, 98, false),
        ] {
            let asked = Announce { url_data: Some(vec![b'/'; len]), ..announce() };
            let written =
                UdpRequest::Announce { connection: 9, transaction: 8, announce: asked.clone() }
                    .write();
            assert_eq!(written.len(), datagram, "{len} bytes");
            let expected = if travels { asked } else { announce() };
            let expected =
                UdpRequest::Announce { connection: 9, transaction: 8, announce: expected };
            assert_eq!(UdpRequest::parse(&written), Some(expected), "{len} bytes");
        }
    }

    #[test]
    fn odd_numbers_in_an_announce_have_a_meaning() {
        let with = |at: usize, bytes: &[u8]| {
            let mut datagram = announce_datagram();
            datagram[at..at + bytes.len()].copy_from_slice(bytes);
            match UdpRequest::parse(&datagram) {
                Some(UdpRequest::Announce { announce, .. }) => announce,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(with(64, &[0xff; 8]).left, u64::MAX, "left = -1 is a leecher");
        assert_eq!(
            with(64, &(1u64 << 32).to_be_bytes()).left,
            1 << 32,
            "left is not cut to 32 bits"
        );
        assert_eq!(with(80, &[0, 0, 0, 4]).event, Event::Paused);
        assert_eq!(with(80, &[9; 4]).event, Event::None, "unknown event");
        assert_eq!(with(92, &[0xff; 4]).num_want, None);
        assert_eq!(with(92, &[0; 4]).num_want, Some(0));
        assert_eq!(with(84, &[1, 2, 3, 4]), announce(), "the claimed address is ignored");
    }

    #[test]
    fn a_scrape_keeps_order_and_duplicates_and_is_bounded() {
        let hashes =
            |count: usize| (0..count).map(|n| InfoHash([(n / 2) as u8; 20])).collect::<Vec<_>>();
        for (asked, kept) in [(1, 1), (74, 74), (75, 74), (200, 74)] {
            let mut datagram =
                UdpRequest::Scrape { connection: 1, transaction: 2, hashes: Vec::new() }.write();
            hashes(asked).iter().for_each(|hash| datagram.extend_from_slice(&hash.0));
            datagram.extend_from_slice(&[0; 7]);
            let expected =
                UdpRequest::Scrape { connection: 1, transaction: 2, hashes: hashes(kept) };
            assert_eq!(UdpRequest::parse(&datagram), Some(expected), "{asked} hashes");
        }
        assert_eq!(
            UdpRequest::parse(
                &UdpRequest::Scrape { connection: 1, transaction: 2, hashes: Vec::new() }.write()
            ),
            None
        );
    }

    #[test]
    fn no_scrape_of_ours_is_fragmented() {
        for (asked, written) in [(1, 1), (60, 60), (61, 60), (SCRAPE_HASHES_MAX, 60), (200, 60)] {
            let hashes = vec![InfoHash([1; 20]); asked];
            let datagram = UdpRequest::Scrape { connection: 1, transaction: 2, hashes }.write();
            assert_eq!(datagram.len(), SCRAPE_HEAD + written * 20, "{asked} hashes");
            assert!(datagram.len() <= UDP_PAYLOAD_MAX);
        }
        let counts = vec![SwarmCounts::default(); 200];
        let answer = UdpReply::Scrape { transaction: 1, counts }.write(AddressFamily::V4);
        assert_eq!(answer.len(), 8 + SCRAPE_HASHES_MAX * 12, "a request for 74 is told of 74");
        assert!(answer.len() <= UDP_PAYLOAD_MAX);
    }

    #[test]
    fn replies_round_trip_in_both_families() {
        let v4 = "1.2.3.4:5".parse().unwrap();
        let v6 = "[2001:db8::1]:6".parse().unwrap();
        for (family, peer) in [(AddressFamily::V4, v4), (AddressFamily::V6, v6)] {
            let reply = |peers| AnnounceReply {
                interval: 1,
                seeders: Some(2),
                leechers: Some(3),
                peers,
                ..AnnounceReply::default()
            };
            let written =
                UdpReply::Announce { transaction: 9, reply: reply(vec![v4, v6]) }.write(family);
            assert_eq!(
                UdpReply::parse(&written, family),
                Some(UdpReply::Announce { transaction: 9, reply: reply(vec![peer]) })
            );
        }
        let counts = vec![
            SwarmCounts { complete: 1, downloaded: 2, incomplete: 3, downloaders: None },
            SwarmCounts::default(),
        ];
        for reply in [
            UdpReply::Connect { transaction: 0, connection: u64::MAX },
            UdpReply::Scrape { transaction: u32::MAX, counts },
            UdpReply::Error { transaction: 1, message: "no".into() },
        ] {
            assert_eq!(
                UdpReply::parse(&reply.write(AddressFamily::V4), AddressFamily::V4),
                Some(reply)
            );
        }
    }

    #[test]
    fn an_announce_reply_is_never_fragmented() {
        let peers = (0..999u16)
            .flat_map(|port| [([1, 2, 3, 4], port).into(), ([9u16; 8], port).into()])
            .collect();
        let reply = UdpReply::Announce {
            transaction: 1,
            reply: AnnounceReply { peers, ..AnnounceReply::default() },
        };
        assert_eq!(reply.write(AddressFamily::V4).len(), 20 + 202 * 6);
        assert_eq!(reply.write(AddressFamily::V6).len(), 20 + 67 * 18);
    }

    proptest! {
        #[test]
        fn no_datagram_panics(datagram: Vec<u8>) {
            let _ = UdpRequest::parse(&datagram);
            let _ = UdpReply::parse(&datagram, AddressFamily::V4);
            let _ = UdpReply::parse(&datagram, AddressFamily::V6);
        }
    }
}
