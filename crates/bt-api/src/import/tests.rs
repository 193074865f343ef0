//! What is read of the notes of other clients: the cases.

use super::transmission::Kept;
use super::*;
use crate::seed_limits::Limit;
use bt_bencoding::{DictWriter, write};
use bt_metainfo::Builder;
use bt_model::{PieceOrder, Priority};
use std::path::Path;

const SAVED: i64 = 1_700_000_000;

/// A torrent `t` of files `a` and `sub/b`, of six pieces of 16 KiB each, or of the one file `t`.
fn torrent(is_one_file: bool) -> Vec<u8> {
    let length = 6 * 16_384;
    let files = match is_one_file {
        true => vec![(vec![], 2 * length)],
        false => vec![(vec!["a".into()], length), (vec!["sub".into(), "b".into()], length)],
    };
    let builder =
        Builder { piece_length: 16_384, single_file: is_one_file, ..Builder::new("t", files) };
    builder.build(&[[7; 20]; 12])
}

fn notes(fill: impl FnOnce(&mut DictWriter<'_>)) -> Vec<u8> {
    write(|writer| writer.dict(fill))
}

fn text(dict: &mut DictWriter<'_>, key: &str, value: &str) {
    dict.key(key.as_bytes()).bytes(value.as_bytes());
}

fn texts(dict: &mut DictWriter<'_>, key: &str, values: &[&str]) {
    let list = dict.key(key.as_bytes());
    list.list(|list| values.iter().for_each(|value| list.item().bytes(value.as_bytes())));
}

fn ints(dict: &mut DictWriter<'_>, key: &str, values: &[i64]) {
    let list = dict.key(key.as_bytes());
    list.list(|list| values.iter().for_each(|value| list.item().int(*value)));
}

fn import(found: &Found) -> &Import {
    found.request.import.as_ref().expect("an import")
}

/// Reads the notes of a torrent of two files, at /data, with these paths.
fn mapped(save: &str, paths: &[&str]) -> Result<Found, ImportError> {
    let bytes = notes(|dict| {
        texts(dict, "mapped_files", paths);
        text(dict, "save_path", save);
    });
    qbittorrent::read(&bytes, Some(torrent(paths.len() == 1)), SAVED)
}

#[test]
fn all_of_a_fastresume_is_read() {
    let bytes = notes(|dict| {
        dict.key(b"active_time").int(500);
        dict.key(b"added_time").int(11);
        dict.key(b"auto_managed").int(0);
        dict.key(b"completed_time").int(22);
        dict.key(b"download_rate_limit").int(70_000);
        ints(dict, "file_priority", &[0, 6]);
        dict.key(b"finished_time").int(300);
        dict.key(b"last_download").int(33);
        dict.key(b"last_upload").int(44);
        dict.key(b"paused").int(1);
        dict.key(b"pieces").bytes(&[0, 1, 3, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        text(dict, "qBt-category", "film");
        dict.key(b"qBt-firstLastPiecePriority").int(1);
        dict.key(b"qBt-inactiveSeedingTimeLimit").int(-2);
        text(dict, "qBt-name", "Another name");
        dict.key(b"qBt-ratioLimit").int(2500);
        text(dict, "qBt-savePath", "/final/");
        dict.key(b"qBt-seedingTimeLimit").int(120);
        texts(dict, "qBt-tags", &["new", "a, comma", " "]);
        text(dict, "save_path", "/temp");
        dict.key(b"sequential_download").int(1);
        dict.key(b"total_downloaded").int(55);
        dict.key(b"total_uploaded").int(66);
        dict.key(b"trackers").list(|list| {
            list.item().list(|tier| tier.item().bytes(b"http://a.example/announce"));
        });
        dict.key(b"upload_rate_limit").int(-1);
    });
    let found = qbittorrent::read(&bytes, Some(torrent(false)), SAVED).expect("a torrent");
    assert_eq!((&found.name[..], found.request.start), ("Another name", Some(false)));
    assert_eq!(found.request.dir.as_deref(), Some(Path::new("/final/")));
    let wanted = &found.request.settings;
    assert_eq!(wanted.name, Some(Some("Another name".into())));
    assert_eq!((wanted.down_limit, wanted.up_limit), (Some(Some(70_000)), None));
    assert_eq!(wanted.files, [(0, Priority::Skip), (1, Priority::High)]);
    assert_eq!((wanted.order, wanted.first_last), (Some(PieceOrder::Sequential), Some(true)));
    assert_eq!(wanted.category.as_deref(), Some("film"));
    assert_eq!(wanted.add_tags, ["new", "a  comma"].map(String::from).into());
    let limits = wanted.seed_limits;
    assert_eq!(limits.ratio, Some(Limit::At(2.5)));
    assert_eq!((limits.minutes, limits.idle_minutes), (Some(Limit::At(120)), None));
    let trackers = vec![vec!["http://a.example/announce".to_owned()]];
    assert_eq!(wanted.trackers, Some(Some(trackers)));
    let claim = DataClaim {
        pieces: vec![1, 2, 3, 6],
        written: vec![Some(Written::By(SAVED)), Some(Written::By(SAVED))],
    };
    let known = Import {
        added: Some(11),
        completed: Some(22),
        active: Some(44),
        bytes_up: 66,
        bytes_down: 55,
        seconds_down: 200,
        seconds_seeding: 300,
        incomplete_dir: Some("/temp".into()),
        claim: Some(claim.clone()),
        ..Import::default()
    };
    assert_eq!(import(&found), &known);

    // What is sent to the daemon is what it reads.
    let json = serde_json::to_string(&found.request).expect("JSON");
    let read: AddRequest = serde_json::from_str(&json).expect("a request");
    assert_eq!(read, found.request);

    let geometry = Geometry::new(12 * 16_384, 16_384).expect("a geometry");
    let have = claim.have(&geometry).expect("it fits");
    assert_eq!(
        have.iter(&geometry).map(|piece| piece.index()).collect::<Vec<_>>(),
        [1, 2, 6, 7, 8, 9, 10, 11]
    );
    let shorter = Geometry::new(11 * 16_384, 16_384).expect("a geometry");
    assert_eq!(claim.have(&shorter), None);
    let huge = DataClaim { pieces: vec![u32::MAX, u32::MAX], written: vec![] };
    assert_eq!(huge.have(&geometry), None);
}

#[test]
fn files_are_found_where_a_layout_or_a_new_name_has_them() {
    let expect = |save: &str, paths: &[&str], dir: &str, names: &[(usize, &str)]| {
        let found = mapped(save, paths).expect("a torrent");
        assert_eq!(found.request.dir.as_deref(), Some(Path::new(dir)), "{paths:?}");
        let names = names.iter().map(|(number, name)| (*number, PathBuf::from(name)));
        assert_eq!(import(&found).names, names.collect(), "{paths:?}");
    };
    expect("/data", &["t/a", "t/sub/b"], "/data", &[]);
    expect("/data", &["t/x", "t/sub/b"], "/data", &[(0, "t/x")]);
    expect("/data", &["t/a", "t/sub/b.!qB"], "/data", &[(1, "t/sub/b.!qB")]);
    expect("/data", &["other/a", "other/sub/b"], "/data", &[(0, "other/a")]);
    expect("/data", &["other/a", "other/y"], "/data", &[(0, "other/a"), (1, "other/y")]);
    expect("/data/here", &["a", "sub/b"], "/data", &[(0, "here/a")]);
    expect("/data", &["t"], "/data", &[]);
    expect("/data", &["x"], "/data", &[(0, "x")]);
    expect("/data", &["t/t"], "/data/t", &[]);
    assert_eq!(
        import(&mapped("/data", &["t/a", "t/b.!qB"]).expect("it")).suffix.as_deref(),
        Some(".!qB")
    );
    assert_eq!(mapped("/", &["a", "sub/b"]).expect_err("no name"), ImportError::NoPath);
    let relative = mapped("data", &["t/a", "t/sub/b"]).expect_err("a relative path");
    assert_eq!(relative, ImportError::Relative("data".into()));
}

#[test]
fn a_link_without_metadata_stays_a_link() {
    let bytes = notes(|dict| {
        dict.key(b"info-hash").bytes(&[7; 20]);
        text(dict, "name", "a link");
        text(dict, "save_path", "/data");
    });
    let found = qbittorrent::read(&bytes, None, SAVED).expect("a link");
    assert_eq!((&found.name[..], found.file), ("a link", None));
    let link = found.request.source.expect("a link");
    assert!(link.contains(&"07".repeat(20)) && link.contains("a%20link"), "{link}");

    let kept = notes(|dict| {
        dict.key(b"magnet-info").dict(|dict| {
            text(dict, "display-name", "old");
            dict.key(b"info_hash").bytes(&[7; 20]);
        });
    });
    let resume = notes(|dict| text(dict, "destination", "/data"));
    for kept in [Kept::Torrent(kept), Kept::Magnet(link.into_bytes())] {
        let found = transmission::read(kept, &resume, SAVED).expect("a link");
        assert_eq!((found.hash, &found.file), (InfoHash([7; 20]), &None));
        assert!(import(&found).claim.is_none());
    }
}

#[test]
fn the_info_in_a_fastresume_takes_the_place_of_a_file() {
    let file = torrent(false);
    let metainfo = Metainfo::from_bytes(&file).expect("a torrent");
    let bytes = notes(|dict| {
        dict.key(b"info").encoded(&metainfo.info_bytes);
        text(dict, "save_path", "/data");
    });
    let found = qbittorrent::read(&bytes, None, SAVED).expect("a torrent");
    assert_eq!(Some(found.hash), metainfo.info_hashes.v1);
    assert!(found.file.is_some());
}

/// Writes a Transmission's notes with `-` or with `_` in its keys.
fn resume(joint: &str, progress: impl FnOnce(&mut DictWriter<'_>)) -> Vec<u8> {
    let key = |name: &str| name.replace('-', joint).into_bytes();
    notes(|dict| {
        dict.key(&key("added-date")).int(11);
        text(dict, "destination", "/data");
        ints(dict, "dnd", &[0, 1]);
        dict.key(&key("done-date")).int(22);
        dict.key(b"downloaded").int(55);
        dict.key(&key("idle-limit")).dict(|dict| {
            dict.key(&key("idle-limit")).int(45);
            dict.key(&key("idle-mode")).int(1);
        });
        dict.key(&key("incomplete-dir")).bytes(b"/temp");
        texts(dict, "labels", &["tv"]);
        dict.key(b"paused").int(0);
        ints(dict, "priority", &[-1, 1]);
        dict.key(b"progress").dict(progress);
        dict.key(&key("ratio-limit")).dict(|dict| {
            dict.key(&key("ratio-limit")).bytes(b"2.500000");
            dict.key(&key("ratio-mode")).int(1);
        });
        dict.key(&key("seeding-time-seconds")).int(300);
        dict.key(&key("speed-limit-up")).dict(|dict| {
            dict.key(&key("speed-Bps")).int(50_000);
            dict.key(&key("use-speed-limit")).int(1);
        });
        dict.key(b"uploaded").int(66);
    })
}

#[test]
fn all_of_a_resume_is_read_in_both_spellings() {
    for joint in ["-", "_"] {
        let bytes = resume(joint, |dict| {
            dict.key(b"blocks").bytes(&[0b1100_0000, 0b0011_0000]);
            ints(dict, "mtimes", &[99, 0]);
        });
        let kept = Kept::Torrent(torrent(false));
        let found = transmission::read(kept, &bytes, SAVED).expect("a torrent");
        let wanted = &found.request.settings;
        assert_eq!((found.request.start, wanted.up_limit), (Some(true), Some(Some(50_000))));
        assert_eq!(wanted.files, [(0, Priority::Low), (1, Priority::Skip)]);
        assert_eq!(wanted.add_tags, ["tv".to_owned()].into());
        assert_eq!(wanted.seed_limits.ratio, Some(Limit::At(2.5)));
        assert_eq!(wanted.seed_limits.idle_minutes, Some(Limit::At(45)));
        let known = Import {
            added: Some(11),
            completed: Some(22),
            bytes_up: 66,
            bytes_down: 55,
            seconds_seeding: 300,
            incomplete_dir: Some("/temp".into()),
            suffix: Some(".part".into()),
            claim: Some(DataClaim {
                pieces: vec![0, 2, 8, 2],
                written: vec![Some(Written::At(99)), Some(Written::By(SAVED))],
            }),
            ..Import::default()
        };
        assert_eq!(import(&found), &known);
    }
}

#[test]
fn blocks_of_another_torrent_claim_nothing() {
    let runs = |bits: &[u8]| {
        let bytes = resume("-", |dict| dict.key(b"blocks").bytes(bits));
        let kept = Kept::Torrent(torrent(false));
        let found = transmission::read(kept, &bytes, SAVED).expect("a torrent");
        import(&found).claim.clone().map(|claim| claim.pieces)
    };
    assert_eq!(runs(b"all"), Some(vec![0, 12]));
    assert_eq!(runs(b"none"), Some(vec![12]));
    assert_eq!(runs(&[0xff; 2]), Some(vec![0, 12]));
    assert_eq!(runs(&[0xff; 3]), None);
}

#[test]
fn what_is_damaged_or_of_another_torrent_is_refused() {
    let read = |bytes: &[u8], file: Option<Vec<u8>>| qbittorrent::read(bytes, file, SAVED);
    assert!(matches!(read(b"d4:info", None), Err(ImportError::Bencode(_))));
    assert!(matches!(read(b"de", Some(b"x".to_vec())), Err(ImportError::Torrent(_))));
    assert_eq!(read(b"de", None), Err(ImportError::NoTorrent));
    assert_eq!(read(b"de", Some(torrent(true))), Err(ImportError::NoPath));
    let other = notes(|dict| dict.key(b"info-hash").bytes(&[1; 20]));
    assert_eq!(read(&other, Some(torrent(true))), Err(ImportError::OtherTorrent));
    let v2 = notes(|dict| dict.key(b"info-hash2").bytes(&[1; 32]));
    assert_eq!(read(&v2, None), Err(ImportError::Version2));
    let deep = [vec![b'l'; 100_000], vec![b'e'; 100_000]].concat();
    assert!(matches!(read(&deep, None), Err(ImportError::Bencode(_))));
    let odd = b"d6:pausedl1:xe6:piecesi4e8:qBt-tagsd1:a1:be9:save_path5:/data8:trackersi1ee";
    assert!(read(odd, Some(torrent(true))).is_ok(), "fields of a wrong type are left out");
}
