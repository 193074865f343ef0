//! Tests of the whole crate: torrents as bytes, made by hand or by the builder.
//!
//! Decides: nothing.
//! Must not know: private parts of the modules.
//! Invariant: each table row differs from a good torrent in one thing.

use crate::{Builder, Format, Metainfo, MetainfoError, auto_piece_length};
use alloc::{format, string::String, string::ToString as _, vec, vec::Vec};
use bt_bencoding::{Writer, write};
use bytes::Bytes;
use proptest::prelude::*;

/// Makes a torrent whose `info` is the given, already encoded entries.
fn torrent(info: &str) -> Vec<u8> {
    write(|w| w.dict(|d| d.key(b"info").encoded(&[b"d", info.as_bytes(), b"e"].concat())))
}

fn code(bytes: &[u8]) -> &'static str {
    Metainfo::from_bytes(bytes).map_or_else(|error| error.code(), |_| "ok")
}

const PIECE: &str = "6:pieces20:aaaaaaaaaaaaaaaaaaaa";

#[test]
fn hostile_and_broken_torrents_are_refused_with_a_code() {
    let single = |length: &str, piece_length: &str| {
        torrent(&format!("6:length{length}4:name1:x12:piece length{piece_length}{PIECE}"))
    };
    let tree =
        |files: &str| torrent(&format!("5:filesl{files}e4:name1:x12:piece lengthi16384e{PIECE}"));
    let named = |name: &str| {
        torrent(&format!("6:lengthi1e4:name{}:{name}12:piece lengthi16384e{PIECE}", name.len()))
    };
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("ok", single("i5e", "i16384e")),
        ("ok", single("i5e", "i7e")),
        ("ok", tree("d6:lengthi5e4:pathl1:aee")),
        ("invalid_bencode", single("i5e", "i16384e")[..40].to_vec()),
        ("invalid_bencode", b"".to_vec()),
        ("invalid_bencode", [b"d1:x".as_slice(), &b"l".repeat(100_000)].concat()),
        ("ok", single("i05e", "i16384e")),
        ("invalid_bencode", single("i+5e", "i16384e")),
        ("invalid_bencode", single("i5e6:lengthi6e", "i16384e")),
        ("not_a_torrent", b"le".to_vec()),
        ("not_a_torrent", b"de".to_vec()),
        ("missing_key", b"d1:a1:be".to_vec()),
        ("wrong_type", b"d4:info1:be".to_vec()),
        ("missing_key", torrent("")),
        ("missing_key", torrent(&format!("6:lengthi5e12:piece lengthi16384e{PIECE}"))),
        ("missing_key", torrent(&format!("4:name1:x12:piece lengthi16384e{PIECE}"))),
        ("missing_key", torrent("6:lengthi5e4:name1:x12:piece lengthi16384e")),
        ("wrong_type", single("1:5", "i16384e")),
        ("invalid_file_size", single("i-5e", "i16384e")),
        ("invalid_geometry", single("i9223372036854775807e", "i16384e")),
        ("invalid_file_size", tree(&"d6:lengthi9223372036854775807e4:pathl1:aee".repeat(3))),
        ("invalid_piece_length", single("i5e", "i0e")),
        ("invalid_piece_length", single("i5e", "i-1e")),
        ("invalid_piece_length", single("i5e", "i4294967297e")),
        ("invalid_piece_hashes", single("i16385e", "i16384e")),
        ("invalid_piece_hashes", single("i0e", "i16384e")),
        (
            "invalid_piece_hashes",
            torrent("6:lengthi5e4:name1:x12:piece lengthi16384e6:pieces3:abc"),
        ),
        ("no_files", tree("")),
        (
            "no_files",
            torrent(&format!("5:filesle6:lengthi5e4:name1:x12:piece lengthi16384e{PIECE}")),
        ),
        ("missing_key", tree("d6:lengthi5ee")),
        ("missing_key", tree("d6:lengthi5e4:pathlee")),
        ("wrong_type", tree("d6:lengthi5e4:pathli1eee")),
        ("missing_key", tree("d4:pathl1:aee")),
        ("unsafe_path", tree("d6:lengthi5e4:pathl2:..1:aee")),
        ("unsafe_path", tree("d6:lengthi5e4:pathl1:a2:..ee")),
        ("unsafe_path", tree("d6:lengthi5e4:pathl11:/etc/passwdee")),
        ("unsafe_path", tree("d6:lengthi5e4:pathl3:a\0bee")),
        ("unsafe_path", named("..")),
        ("unsafe_path", named("a\0b")),
        ("ok", named("/etc/passwd")),
        ("invalid_path_length", tree(&format!("d6:lengthi5e4:pathl{}ee", "1:a".repeat(64)))),
        (
            "invalid_path_length",
            tree(&format!(
                "d6:lengthi5e4:pathl{}ee",
                format!("200:{}", "a".repeat(200)).repeat(20)
            )),
        ),
        ("unsupported_version", torrent("12:meta versioni3e")),
        ("missing_key", torrent("12:meta versioni2e4:name1:x")),
    ];
    for (number, (expected, bytes)) in table.iter().enumerate() {
        assert_eq!(
            code(bytes),
            *expected,
            "row {number}: {}",
            bytes[..bytes.len().min(120)].escape_ascii()
        );
    }
}

#[test]
fn what_paths_share_does_not_make_more_of_a_torrent_than_it_is() {
    // A name of a megabyte for each of a thousand files, and as much of directories.
    let name = format!("4:name{}:{}", 1 << 20, "n".repeat(1 << 20));
    let files = "d6:lengthi0e4:pathl1:aee".repeat(1_000);
    let long_name = torrent(&format!("5:filesl{files}e{name}12:piece lengthi16384e6:pieces0:"));
    let files: String = (0..80_000).map(|n| format!("6:{n:06}d0:d6:lengthi0eee")).collect();
    let deep = (0..15).fold(files, |inside, _| format!("200:{}d{inside}e", "d".repeat(200)));
    let deep =
        torrent(&format!("9:file treed{deep}e12:meta versioni2e4:name1:t12:piece lengthi16384e"));
    for bytes in [long_name, deep] {
        assert_eq!(code(&bytes), "invalid_path_length");
    }
}

#[test]
fn what_is_tolerated_is_a_warning() {
    let unsorted = torrent(&format!("4:name1:x6:lengthi5e12:piece lengthi16384e{PIECE}"));
    let parsed = Metainfo::from_bytes(&[unsorted.as_slice(), b"junk"].concat()).unwrap();
    assert_eq!(
        parsed.warnings,
        ["the keys of a dictionary are not sorted", "4 bytes after the end were ignored"]
    );
    assert_eq!(parsed.info_hashes.v1.unwrap().0, bt_hash::sha1(&parsed.info_bytes));
    assert!(unsorted.windows(parsed.info_bytes.len()).any(|window| window == parsed.info_bytes));
}

#[test]
fn what_other_clients_take_is_taken_with_a_warning() {
    let both = format!(
        "5:filesld6:lengthi5e4:pathl1:aeee6:lengthi9e4:name1:x12:piece lengthi16384e{PIECE}"
    );
    let table: [(Vec<u8>, &str, &str); 3] = [
        (
            torrent(&format!("6:lengthi005e4:name1:x12:piece lengthi16384e{PIECE}")),
            "x",
            "a number has leading zeros, or is -0",
        ),
        (torrent(&both), "x/a", "it has both \"length\" and \"files\": \"files\" counts"),
        (
            torrent(&format!("6:lengthi1e4:name11:/etc/passwd12:piece lengthi16384e{PIECE}")),
            "_etc_passwd",
            "\"/etc/passwd\" is stored as \"_etc_passwd\"",
        ),
    ];
    for (bytes, path, warning) in table {
        let parsed = Metainfo::from_bytes(&bytes).unwrap();
        assert_eq!(parsed.info.files[0].path.join("/"), path);
        assert_eq!(parsed.warnings, [warning]);
    }
}

#[test]
fn every_integer_but_zero_makes_a_torrent_private() {
    for (value, private) in [
        ("i1e", true),
        ("i2e", true),
        ("i-1e", true),
        ("i0e", false),
        ("i-0e", false),
        ("1:1", false),
    ] {
        let inner = format!("6:lengthi5e4:name1:x12:piece lengthi16384e{PIECE}7:private{value}");
        assert_eq!(Metainfo::from_bytes(&torrent(&inner)).unwrap().private, private, "{value}");
    }
}

#[test]
fn padding_and_symlinks_are_placed_but_not_payload() {
    let files = "d6:lengthi5e4:pathl1:aeed4:attr1:p6:lengthi11e4:pathl4:.pad2:11eed4:attr1:l4:pathl4:linke12:symlink pathl1:aeed4:attr1:x6:lengthi3e4:pathl1:bee";
    let parsed = Metainfo::from_bytes(&torrent(&format!(
        "5:filesl{files}e4:name1:t12:piece lengthi16384e{PIECE}"
    )))
    .unwrap();
    let table: Vec<(String, u64, u64, bool)> = parsed
        .info
        .files
        .iter()
        .map(|file| (file.path.join("/"), file.offset, file.length, file.is_stored()))
        .collect();
    let row = |path: &str, offset, length, stored| (path.to_string(), offset, length, stored);
    assert_eq!(
        table,
        [
            row("t/a", 0, 5, true),
            row("t/.pad/11", 5, 11, false),
            row("t/link", 16, 0, false),
            row("t/b", 16, 3, true)
        ]
    );
    assert_eq!((parsed.info.payload_len(), parsed.info.geometry.total()), (8, 19));
    assert!(parsed.info.files[3].attr.executable);
    assert_eq!(parsed.warnings, ["symlinks left out: 1"]);
}

#[test]
fn trackers_come_in_tiers() {
    let with = |outer: &dyn Fn(&mut bt_bencoding::DictWriter<'_>)| {
        let bytes = write(|w: Writer<'_>| {
            w.dict(|d| {
                outer(d);
                d.key(b"info").encoded(
                    format!("d6:lengthi5e4:name1:x12:piece lengthi16384e{PIECE}e").as_bytes(),
                );
            })
        });
        Metainfo::from_bytes(&bytes).unwrap().trackers
    };
    assert_eq!(with(&|d| d.key(b"announce").bytes(b"http://a")), [["http://a"]]);
    let tiers = with(&|d| {
        d.key(b"announce").bytes(b"http://a");
        d.key(b"announce-list").encoded(b"llee");
    });
    assert_eq!(tiers, [["http://a"]], "an empty list does not win");
    let tiers = with(&|d| {
        d.key(b"announce").bytes(b"http://a");
        d.key(b"announce-list").encoded(b"ll8:http://b8: udp://cel9:http://\xff\xfee8:http://de");
    });
    assert_eq!(tiers, [vec!["http://b", "udp://c"], vec!["http://d"]]);
}

#[test]
fn texts_cannot_steer_a_terminal() {
    let bytes = write(|w| {
        w.dict(|d| {
            d.key(b"comment").bytes(b"\x1b[2Jhi");
            d.key(b"created by").int(1);
            d.key(b"info")
                .encoded(format!("d6:lengthi5e4:name1:x12:piece lengthi16384e{PIECE}e").as_bytes());
            d.key(b"nodes").encoded(b"ll9:127.0.0.1i6881eel1:xi0eee");
            d.key(b"url-list").bytes(b"http://seed/");
        })
    });
    let parsed = Metainfo::from_bytes(&bytes).unwrap();
    assert_eq!(parsed.comment.as_deref(), Some("\u{fffd}[2Jhi"));
    assert_eq!(parsed.created_by, None);
    assert_eq!(parsed.web_seeds, ["http://seed/"]);
    assert_eq!(parsed.nodes, [("127.0.0.1".to_string(), 6881)]);
}

#[test]
fn v2_and_hybrid_are_recognised() {
    let root = "r".repeat(32);
    let leaf = |name: &str, length: u32| {
        format!("{}:{name}d0:d6:lengthi{length}e11:pieces root32:{root}ee", name.len())
    };
    let v2 = |tree: &str, piece_length: u32| {
        torrent(&format!(
            "9:file treed{tree}e12:meta versioni2e4:name1:t12:piece lengthi{piece_length}e"
        ))
    };

    let parsed = Metainfo::from_bytes(&v2(&[leaf("a", 5), leaf("b", 6)].concat(), 16_384)).unwrap();
    assert_eq!(parsed.format, Format::V2);
    assert_eq!(
        (parsed.info_hashes.v1, parsed.info_hashes.v2.unwrap().0),
        (None, bt_hash::sha256(&parsed.info_bytes))
    );
    assert_eq!(
        (
            parsed.info.payload_len(),
            parsed.info.files[1].offset,
            parsed.info.geometry.piece_count()
        ),
        (11, 16_384, 2)
    );
    assert_eq!(parsed.info.require_digests(), Err(MetainfoError::V2Unsupported));
    assert!(parsed.magnet().starts_with("magnet:?xt=urn:btmh:1220"));
    let single = Metainfo::from_bytes(&v2(&leaf("t", 5), 16_384)).unwrap();
    assert_eq!(single.info.files[0].path, ["t"], "one file with the torrent's name");

    assert_eq!(code(&v2(&leaf("a", 5), 16_385)), "invalid_piece_length");
    assert_eq!(code(&v2(&leaf("a", 5), 8_192)), "invalid_piece_length");
    assert_eq!(code(&v2(&[leaf("b", 5), leaf("a", 6)].concat(), 16_384)), "not_canonical");
    assert_eq!(code(&v2("1:ad0:d6:lengthi5eee", 16_384)), "missing_key", "no pieces root");
    assert_eq!(code(&v2("", 16_384)), "no_files");
    assert_eq!(
        code(&v2(&format!("{}{}", "1:ad".repeat(70), "e".repeat(70)), 16_384)),
        "invalid_path_length"
    );

    let hybrid = |length: u32| {
        torrent(&format!(
            "9:file treed{}e6:lengthi{length}e12:meta versioni2e4:name1:t12:piece lengthi16384e{PIECE}",
            leaf("t", 5)
        ))
    };
    let parsed = Metainfo::from_bytes(&hybrid(5)).unwrap();
    assert_eq!(parsed.format, Format::Hybrid);
    assert!(
        parsed.info_hashes.v1.is_some()
            && parsed.info_hashes.v2.is_some()
            && parsed.info.digests.is_some()
    );
    assert_eq!(code(&hybrid(6)), "hybrid_mismatch");
}

#[test]
fn a_magnet_link_is_escaped() {
    let trackers = vec![vec!["http://a/x?y=1&z".into()], vec!["udp://b:1".into()]];
    let builder = Builder {
        trackers,
        web_seeds: vec!["http://w/".into()],
        ..Builder::new("ü b", vec![(vec!["f".into()], 1)])
    };
    let parsed = Metainfo::from_bytes(&builder.build(&[[0; 20]])).unwrap();
    let hash = parsed.info_hashes.v1.unwrap();
    let rest =
        "dn=%C3%BC%20b&tr=http%3A%2F%2Fa%2Fx%3Fy%3D1%26z&tr=udp%3A%2F%2Fb%3A1&ws=http%3A%2F%2Fw%2F";
    assert_eq!(parsed.magnet(), format!("magnet:?xt=urn:btih:{hash}&{rest}"));
}

#[test]
fn an_info_of_peers_becomes_the_same_torrent() {
    let trackers = vec![vec!["http://a".to_string()], vec!["udp://b:1".into(), "udp://c:2".into()]];
    let builder = Builder {
        trackers: trackers.clone(),
        web_seeds: vec!["http://w/".into()],
        ..Builder::new("t", vec![(vec!["f".into()], 1)])
    };
    let whole = Metainfo::from_bytes(&builder.build(&[[0; 20]])).unwrap();
    let parsed =
        Metainfo::from_info(&whole.info_bytes, trackers, vec!["http://w/".into()]).unwrap();
    assert_eq!(parsed, whole);
    assert_eq!(parsed.to_bytes(), builder.build(&[[0; 20]]));
    let bare = Metainfo::from_info(&whole.info_bytes, vec![], vec![]).unwrap();
    assert_eq!(bare.to_bytes(), [b"d4:info", &whole.info_bytes[..], b"e"].concat());
    let refused =
        |bytes: &[u8]| Metainfo::from_info(bytes, vec![], vec![]).map_err(|error| error.code());
    assert_eq!(refused(b"le"), Err("wrong_type"));
    assert_eq!(refused(b"de"), Err("missing_key"));
    assert_eq!(refused(&[&whole.info_bytes[..], b"x"].concat()), Err("invalid_bencode"));
}

#[test]
fn odd_info_bytes_are_kept_in_a_torrent_file() {
    let unsorted = format!("d4:name1:x6:lengthi5e12:piece lengthi16384e{PIECE}e");
    let parsed = Metainfo::from_info(unsorted.as_bytes(), vec![], vec![]).unwrap();
    let again = Metainfo::from_bytes(&parsed.to_bytes()).unwrap();
    assert_eq!((again.info_bytes, again.info_hashes), (Bytes::from(unsorted), parsed.info_hashes));
}

#[test]
fn piece_lengths_are_sensible() {
    let table: [(u64, u32); 6] = [
        (0, 16 << 10),
        (1 << 20, 16 << 10),
        (128 << 20, 128 << 10),
        (1 << 30, 1 << 20),
        (4 << 30, 4 << 20),
        (u64::MAX, 16 << 20),
    ];
    for (total, expected) in table {
        assert_eq!(auto_piece_length(total), expected, "{total}");
    }
}

#[test]
fn an_empty_torrent_has_no_pieces() {
    let parsed =
        Metainfo::from_bytes(&Builder::new("t", vec![(vec!["empty".into()], 0)]).build(&[]))
            .unwrap();
    assert_eq!((parsed.info.geometry.piece_count(), parsed.info.files.len()), (0, 1));
}

proptest! {
    #[test]
    fn what_the_builder_makes_is_read_back(
        name in "[a-z]{1,8}",
        lengths in proptest::collection::vec(0u64..100_000, 1..20),
        private: bool,
        source in proptest::option::of("[A-Z]{1,5}"),
        trackers in proptest::collection::vec(proptest::collection::vec("http://[a-z]{1,5}/announce", 1..3), 0..3),
        single_file: bool,
    ) {
        let files: Vec<(Vec<String>, u64)> = match single_file {
            true => vec![(vec![], lengths[0])],
            false => lengths.iter().enumerate().map(|(n, length)| (vec!["dir".into(), n.to_string()], *length)).collect(),
        };
        let builder = Builder { private, source: source.clone(), trackers: trackers.clone(), single_file, creation_date: Some(7), ..Builder::new(&name, files) };
        let total: u64 = builder.files.iter().map(|(_, length)| *length).sum();
        let digests = vec![[3; 20]; usize::try_from(total.div_ceil(u64::from(builder.piece_length))).unwrap()];
        let parsed = Metainfo::from_bytes(&builder.build(&digests)).unwrap();
        prop_assert_eq!(&parsed.info.name, &name);
        prop_assert_eq!(parsed.info.geometry.total(), total);
        prop_assert_eq!(parsed.info.files.len(), builder.files.len());
        prop_assert_eq!((parsed.private, parsed.source, parsed.trackers, parsed.creation_date), (private, source, trackers, Some(7)));
        prop_assert_eq!(parsed.warnings, Vec::<String>::new());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, at in 0usize..400, change: u8) {
        let _ = Metainfo::from_bytes(&bytes);
        let mut good = Builder::new("t", vec![(vec!["a".into()], 5), (vec!["b".into()], 70_000)]).build(&[[1; 20]; 5]);
        if let Some(byte) = good.get_mut(at) {
            *byte = change;
        }
        let _ = Metainfo::from_bytes(&good);
    }
}
