//! Parsers of files, links, datagrams and HTTP bodies.
//!
//! Decides: what must hold of accepted input. Must not know: how it is parsed.
//! Invariant: what was accepted, written and read again is the same.

use bt_api::import::{Found, ImportError, qbittorrent, transmission};
use bt_bencoding::{Cursor, Kind, Limits, Writer, scan, write};
use bt_fuzz::fuzz;
use bt_metainfo::{Magnet, MagnetError, Metainfo};
use bt_piece_store::{Journal, MemStorage, OpenError, Progress, Storage as _, Trust, open_torrent};
use bt_tracker_wire::{
    AddressFamily, LocalAnnounce, SCRAPE_HASHES_MAX, UDP_PAYLOAD_MAX, UdpReply, UdpRequest,
    parse_announce, parse_scrape, read_announce_body, read_scrape_body, write_announce_body,
    write_scrape_body,
};
use bt_types::StoreFault;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

#[test]
fn bencode() {
    fuzz("bencode", |input| {
        let Ok(found) = scan(input, Limits::NETWORK) else {
            return assert!(Cursor::parse(input, Limits::NETWORK).is_err());
        };
        assert!((1..=input.len()).contains(&found.consumed));
        let (value, rest) =
            Cursor::parse_prefix(input, Limits::NETWORK).expect("what was scanned is read");
        assert_eq!(value.span().len() + rest.len(), input.len());
        let again = write(|writer| copy(writer, value, 0));
        if found.sorted {
            assert_eq!(again, value.span(), "there is one encoding of a value");
        }
        assert_eq!(scan(&again, Limits::NETWORK).map(|scan| scan.consumed), Ok(again.len()));
    });
}

/// Writes a value again, piece by piece.
fn copy(writer: Writer<'_>, value: Cursor<'_>, depth: usize) {
    assert!(depth <= Limits::NETWORK.depth);
    match value.kind() {
        Kind::Int => writer.int(value.as_int().expect("an integer is one")),
        Kind::Bytes => writer.bytes(value.as_bytes().expect("a string is one")),
        Kind::List => {
            writer.list(|list| value.list().for_each(|item| copy(list.item(), item, depth + 1)))
        }
        Kind::Dict => {
            let mut entries: Vec<_> = value.dict().collect();
            entries.sort_by_key(|(key, _)| *key);
            writer.dict(|dict| {
                entries.into_iter().for_each(|(key, item)| copy(dict.key(key), item, depth + 1))
            });
        }
    }
}

#[test]
fn metainfo() {
    fuzz("metainfo", |input| {
        let Ok(torrent) = Metainfo::from_bytes(input) else { return };
        let info = &torrent.info;
        let mut at = 0;
        for file in &info.files {
            assert!(file.offset >= at, "files overlap");
            at = file.offset + file.length;
            assert_eq!(file.path.first(), Some(&info.name));
            for part in &file.path {
                let is_plain = !part.is_empty()
                    && part != "."
                    && part != ".."
                    && !part.contains(['/', '\0', '\\']);
                assert!(is_plain && part.len() <= 255, "{part:?}");
            }
        }
        assert!(at <= info.geometry.total());
        if let Ok(digests) = info.require_digests() {
            assert!(info.geometry.pieces().all(|piece| digests.expected(piece).is_some()));
        }
        let again = Metainfo::from_bytes(&torrent.to_bytes()).expect("what we write is a torrent");
        assert_eq!(
            (&again.info_hashes, &again.info, &again.trackers),
            (&torrent.info_hashes, info, &torrent.trackers)
        );
        assert!(
            Magnet::parse(&torrent.magnet())
                .is_ok_and(|magnet| magnet.info_hashes == torrent.info_hashes)
        );
    });
}

#[test]
fn magnet() {
    fuzz("magnet", |input| {
        let Ok(mut magnet) = Magnet::parse(&String::from_utf8_lossy(input)) else { return };
        // Skipped parts of a link are not written again.
        magnet.warnings.clear();
        match Magnet::parse(&magnet.to_string()) {
            // Escaped, a link may be three times as long.
            Err(MagnetError::TooLong) => {}
            again => assert_eq!(again.as_ref(), Ok(&magnet)),
        }
    });
}

#[test]
fn tracker_http() {
    fuzz("tracker_http", |input| {
        if let Ok(reply) = read_announce_body(input) {
            assert!(reply.peers.len() <= input.len());
            let again =
                read_announce_body(&write_announce_body(&reply)).expect("what we write is read");
            assert!(again.peers.len() <= reply.peers.len() && again.interval == reply.interval);
        }
        if let Ok(reply) = read_scrape_body(input) {
            assert!(
                read_scrape_body(&write_scrape_body(&reply))
                    .is_ok_and(|again| again.swarms.len() <= reply.swarms.len())
            );
        }
        let query = String::from_utf8_lossy(input);
        let _ = (parse_announce(&query), parse_scrape(&query));
    });
}

#[test]
fn tracker_udp() {
    fuzz("tracker_udp", |input| {
        // A longer request is not written in full.
        if let Some(request) = UdpRequest::parse(input).filter(|_| input.len() <= UDP_PAYLOAD_MAX) {
            assert_eq!(UdpRequest::parse(&request.write()), Some(request));
        }
        for family in [AddressFamily::V4, AddressFamily::V6] {
            // A longer reply has more than the writer emits, and bytes that are no UTF-8 become
            // longer replacement characters.
            let is_ours = |reply: &UdpReply| match reply {
                UdpReply::Error { message, .. } => {
                    message.is_ascii() && message.len() <= UDP_PAYLOAD_MAX - 8
                }
                UdpReply::Scrape { counts, .. } => counts.len() <= SCRAPE_HASHES_MAX,
                // An IPv4-mapped IPv6 address is read as IPv4.
                UdpReply::Announce { reply, .. } => {
                    input.len() <= UDP_PAYLOAD_MAX
                        && reply
                            .peers
                            .iter()
                            .all(|peer| peer.is_ipv4() == (family == AddressFamily::V4))
                }
                UdpReply::Connect { .. } => true,
            };
            if let Some(reply) = UdpReply::parse(input, family).filter(is_ours) {
                let again = UdpReply::parse(&reply.write(family), family);
                assert_eq!(again, Some(reply));
            }
        }
    });
}

#[test]
fn lsd() {
    fuzz("lsd", |input| {
        let Some(call) = LocalAnnounce::read(input) else { return };
        let group = SocketAddr::from((Ipv4Addr::new(239, 192, 152, 143), 6771));
        assert_eq!(LocalAnnounce::read(&call.write(group)), Some(call));
    });
}

#[test]
fn krpc() {
    fuzz("krpc", |input| {
        let Ok(message) = bt_dht::KrpcMessage::parse(input) else { return };
        let written = message.write();
        assert_eq!(bt_dht::KrpcMessage::parse(&written).as_ref(), Ok(&message));
    });
}

#[test]
fn dht_nodes() {
    fuzz("dht_nodes", |input| {
        let Ok(contacts) = bt_dht::read_contacts(input) else { return };
        assert_eq!(bt_dht::read_contacts(&bt_dht::write_contacts(&contacts)), Ok(contacts));
    });
}

/// Returns the torrent of the journals in the corpus: seven pieces of zeros in three files.
fn torrent() -> bt_metainfo::Info {
    let digests = vec![bt_hash::sha1(&[0; 16_384]); 7];
    let files = vec![
        (vec!["a".into()], 40_000),
        (vec!["b".into()], 0),
        (vec!["c".into()], 7 * 16_384 - 40_000),
    ];
    let builder =
        bt_metainfo::Builder { piece_length: 16_384, ..bt_metainfo::Builder::new("t", files) };
    Metainfo::from_bytes(&builder.build(&digests)).expect("a torrent").info
}

#[test]
fn journal() {
    let info = torrent();
    let (layout, digests) =
        (bt_piece_store::Layout::new(&info), info.require_digests().expect("digests"));
    let id = bt_types::InfoHash([7; 20]);
    fuzz("journal", |input| {
        let (state, disk, name) = (Arc::new(MemStorage::new()), MemStorage::new(), Path::new("j"));
        state.create_new(name).expect("a new disk");
        state.write_at(name, 0, &[IoSlice::new(input)]).expect("a disk without a limit");
        // No file is there, so that no piece can be had: the journal claims none, or its claims are
        // gone. A journal that was opened yields the same again. One of a newer version is refused
        // and stays.
        let open = || {
            let journal = match Journal::open(state.clone(), name, id, layout.geometry()) {
                Err(error) if error.fault() == StoreFault::Newer => {
                    let mut now = vec![0; input.len() + 1];
                    assert_eq!(state.read_at(name, 0, &mut now).expect("it is there"), input.len());
                    assert!(now.starts_with(input));
                    return None;
                }
                journal => journal.expect("no other journal is an error"),
            };
            match open_torrent(
                &layout,
                &digests,
                journal,
                &disk,
                Trust::Journal,
                &Progress::default(),
                &mut |_| Ok(()),
            ) {
                Ok(opened) => Some(opened.have.count()),
                Err(OpenError::Gone { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        };
        let first = open();
        assert!(first.is_none_or(|count| count == 0));
        assert_eq!(open(), first);
    });
}

/// What was read of another client's notes reaches the daemon as it is, and claims no piece that
/// the torrent does not have.
fn imported(read: Result<Found, ImportError>) {
    let Ok(found) = read else { return };
    let import = found.request.import.as_ref().expect("it was imported");
    if let Some(claim) = &import.claim {
        let bytes = found.file.as_ref().expect("links claim nothing");
        let info = Metainfo::from_bytes(bytes).expect("a torrent").info;
        assert!(claim.have(&info.geometry).is_some());
        assert_eq!(claim.written.len(), info.files.len());
    }
    // Paths that are not UTF-8 have no JSON form.
    if let Ok(json) = serde_json::to_string(&found.request) {
        assert_eq!(serde_json::from_str(&json).ok(), Some(found.request));
    }
}

/// Returns the torrent file of the corpus.
fn library() -> Vec<u8> {
    bt_metainfo::Builder {
        piece_length: 16_384,
        ..bt_metainfo::Builder::new(
            "t",
            vec![(vec!["a".into()], 98_304), (vec!["sub".into(), "b".into()], 98_304)],
        )
    }
    .build(&[[7; 20]; 12])
}

#[test]
fn fastresume() {
    let file = library();
    fuzz("fastresume", |input| {
        imported(qbittorrent::read(input, Some(file.clone()), 1));
        imported(qbittorrent::read(input, None, 1));
    });
}

#[test]
fn resume() {
    let file = library();
    fuzz("resume", |input| {
        imported(transmission::read(transmission::Kept::Torrent(file.clone()), input, 1));
        let notes = b"d11:destination5:/datae";
        imported(transmission::read(transmission::Kept::Torrent(input.to_vec()), notes, 1));
        imported(transmission::read(transmission::Kept::Magnet(input.to_vec()), notes, 1));
    });
}
