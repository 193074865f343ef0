//! Makes torrents of folders, as users have them.
//!
//! Decides: what a torrent must say, and what is refused. Must not know: how files are read.
//! Invariant: every case has a folder of its own.

use super::*;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::time::SystemTime;

fn write(root: &Path, name: &str, content: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn create(path: &Path, options: &CreateOptions) -> Result<Created, CreateError> {
    create_torrent(path, options, &Progress::default())
}

fn paths(created: &Created) -> Vec<String> {
    created.metainfo.info.files.iter().map(|file| file.path.join("/")).collect()
}

fn hash_of(created: &Created) -> String {
    created.metainfo.info_hashes.v1.unwrap().to_string()
}

/// Makes a directory `fix` with unicode names, dot files, an empty file and a file of four
/// pieces.
fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let big: Vec<u8> = (0..100_000u32).map(|n| (n * 31 % 251) as u8).collect();
    for (name, content) in [
        ("a.txt", b"hello".as_slice()),
        ("empty", b""),
        ("d/big", &big),
        ("ünï", b"x"),
        (".dot", b"dot"),
        ("Z", b"Z"),
    ] {
        write(&dir.path().join("fix"), name, content);
    }
    dir
}

#[test]
fn the_info_hash_is_that_of_mktorrent() {
    let dir = tree();
    let options = CreateOptions { piece_length: Some(32_768), ..CreateOptions::default() };
    // mktorrent 1.1: -l 15 -o f1.torrent fix/d/big
    let single = create(&dir.path().join("fix/d/big"), &options).unwrap();
    assert_eq!(hash_of(&single), "eb554da76ae17733ce072eaad46787ddcc58a3e3");
    // mktorrent 1.1: -l 15 -p -s SRC -o fx.torrent fix
    let options = CreateOptions { private: true, source: Some("SRC".into()), ..options };
    let created = create(&dir.path().join("fix"), &options).unwrap();
    assert_eq!(hash_of(&created), "c3aca57a3d49761d5143fe4f82612eb176fbec8a");
    assert_eq!(
        paths(&created),
        ["fix/.dot", "fix/Z", "fix/a.txt", "fix/d/big", "fix/empty", "fix/ünï"]
    );
}

#[test]
fn what_is_outside_info_does_not_change_the_info_hash() {
    let dir = tree();
    let plain = create(&dir.path().join("fix"), &CreateOptions::default()).unwrap();
    let dressed = CreateOptions {
        trackers: vec![vec!["http://a/announce".into()], vec!["udp://b:1".into()]],
        web_seeds: vec!["http://w/".into()],
        comment: Some("c".into()),
        created_by: Some("bt".into()),
        creation_date: Some(1),
        ..CreateOptions::default()
    };
    let dressed = create(&dir.path().join("fix"), &dressed).unwrap();
    assert_eq!(hash_of(&plain), hash_of(&dressed));
    assert_eq!(dressed.metainfo.trackers, [["http://a/announce"], ["udp://b:1"]]);
    assert!(dressed.metainfo.warnings.is_empty());
}

#[test]
fn files_are_ordered_by_components_and_not_by_the_joined_path() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["t/a.txt", "t/a/z", "t/a b/c", "t/B"] {
        write(dir.path(), name, b"x");
    }
    let created = create(&dir.path().join("t"), &CreateOptions::default()).unwrap();
    assert_eq!(paths(&created), ["t/B", "t/a/z", "t/a b/c", "t/a.txt"]);
}

#[test]
fn what_cannot_be_in_a_torrent_is_skipped_and_reported() {
    let dir = tree();
    let root = dir.path().join("fix");
    symlink("a.txt", root.join("link")).unwrap();
    symlink("..", root.join("d/loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let created = create(&root, &CreateOptions::default()).unwrap();
    let skipped: Vec<(&str, &str)> = created
        .skipped
        .iter()
        .map(|skipped| (skipped.path.to_str().unwrap(), skipped.what))
        .collect();
    assert_eq!(
        skipped,
        [("d/loop", "a symlink"), ("link", "a symlink"), ("socket", "not a regular file")]
    );
    assert_eq!(paths(&created).len(), 6);
    symlink("fix", dir.path().join("by-link")).unwrap();
    assert_eq!(
        create(&dir.path().join("by-link"), &CreateOptions::default()).unwrap().metainfo.info.name,
        "fix"
    );
}

#[test]
fn patterns_leave_files_and_directories_out() {
    let dir = tree();
    let with = |exclude: &[&str]| {
        let exclude = exclude.iter().map(|pattern| pattern.to_string()).collect();
        create(&dir.path().join("fix"), &CreateOptions { exclude, ..CreateOptions::default() })
    };
    assert_eq!(paths(&with(&[".*", "*.txt", "d/big"]).unwrap()), ["fix/Z", "fix/empty", "fix/ünï"]);
    assert_eq!(paths(&with(&["d", "?*.txt", "[ue]*", ".dot"]).unwrap()), ["fix/Z", "fix/ünï"]);
    assert!(matches!(with(&["*"]), Err(CreateError::Empty(_))));
    assert!(matches!(with(&["["]), Err(CreateError::Pattern(_))));
    write(&dir.path().join("fix"), "[a] [1080p]", b"x");
    assert_eq!(
        paths(&with(&["[a] [1080p]", "d/", ".dot", "empty"]).unwrap()),
        ["fix/Z", "fix/a.txt", "fix/ünï"]
    );
}

#[test]
fn a_torrent_of_the_tree_itself_is_left_out_and_named() {
    let dir = tree();
    let root = dir.path().join("fix");
    let first = create(&root, &CreateOptions::default()).unwrap();
    write(&root, "fix.torrent", &first.bytes);
    let other = create(&root.join("a.txt"), &CreateOptions::default()).unwrap();
    write(&root, "a.torrent", &other.bytes);
    let again = create(&root, &CreateOptions::default()).unwrap();
    assert_eq!(
        again.skipped,
        [Skipped { path: "fix.torrent".into(), what: "a torrent of this directory itself" }]
    );
    assert!(
        paths(&again).contains(&"fix/a.torrent".to_owned()),
        "a torrent of something else is a file like any"
    );
}

#[test]
fn names_that_not_every_system_can_store_are_listed_as_they_are() {
    let odd = ["A", "a", "a ", "aux.c", "b\\c", "plain"];
    let dir = tempfile::tempdir().unwrap();
    for (content, name) in odd.iter().enumerate() {
        write(&dir.path().join("t"), name, &[content as u8]);
        write(&dir.path().join("u"), &content.to_string(), &[content as u8]);
    }
    let of = |name: &str| create(&dir.path().join(name), &CreateOptions::default()).unwrap();
    let (created, plain) = (of("t"), of("u"));
    let renamed: Vec<&Path> =
        created.renamed.iter().map(|renamed| renamed.path.as_path()).collect();
    assert_eq!(renamed, ["t/a", "t/a ", "t/aux.c", "t/b\\c"].map(Path::new));
    assert_eq!(
        created.metainfo.info.digests, plain.metainfo.info.digests,
        "the data under these names was hashed"
    );
    let named = CreateOptions { name: Some("a/b".to_owned()), ..CreateOptions::default() };
    assert!(matches!(create(&dir.path().join("u"), &named), Err(CreateError::Name { .. })));
}

#[test]
fn trees_without_data_or_with_names_that_are_not_utf8_are_refused() {
    type Make = fn(&Path);
    let table: [(&str, Make, &str); 3] = [
        ("nothing", |_| (), "holds no data"),
        ("only empty files", |root| write(root, "e", b""), "holds no data"),
        (
            "not UTF-8",
            |root| fs::write(root.join(OsStr::from_bytes(b"\xff")), b"x").unwrap(),
            "is not UTF-8",
        ),
    ];
    for (name, make, message) in table {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("t");
        fs::create_dir(&root).unwrap();
        make(&root);
        let error = create(&root, &CreateOptions::default()).unwrap_err().to_string();
        assert!(error.contains(message), "{name}: {error}");
    }
    let dir = tree();
    for length in [0, 1, 8_192, 24_000, 1 << 30] {
        let options = CreateOptions { piece_length: Some(length), ..CreateOptions::default() };
        assert!(
            matches!(create(&dir.path().join("fix"), &options), Err(CreateError::PieceLength(_))),
            "{length}"
        );
    }
    assert!(matches!(
        create(&dir.path().join("missing"), &CreateOptions::default()),
        Err(CreateError::Io { .. })
    ));
}

#[test]
fn a_file_that_changes_meanwhile_is_noticed() {
    let dir = tree();
    let root = dir.path().join("fix");
    let storage = DiskStorage::open(dir.path()).unwrap();
    let tree = Tree::walk(&root, &storage, Excluded::new(&[], "fix")).unwrap();
    assert!(tree.unchanged(&root, &storage).is_ok());
    fs::File::options()
        .write(true)
        .open(root.join("Z"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(
        matches!(tree.unchanged(&root, &storage), Err(CreateError::Changed(path)) if path.ends_with("fix/Z"))
    );
    fs::remove_file(root.join(".dot")).unwrap();
    assert!(
        matches!(tree.unchanged(&root, &storage), Err(CreateError::Changed(path)) if path.ends_with("fix/.dot"))
    );
}

#[test]
fn it_can_be_cancelled() {
    let (dir, progress) = (tree(), Progress::default());
    progress.cancel();
    let result = create_torrent(&dir.path().join("fix"), &CreateOptions::default(), &progress);
    assert!(matches!(result, Err(CreateError::Cancelled)));
}
