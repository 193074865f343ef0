//! A directory of the operating system: the cases.
//!
//! Decides: what is expected.
//! Must not know: how it is done.
//! Invariant: every case looks at files, not at the code under test.

use super::*;
use std::os::unix::fs::symlink;

fn path(text: &str) -> &Path {
    Path::new(text)
}

#[cfg(target_os = "linux")]
#[test]
fn that_a_file_was_read_is_not_noted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), b"bytes").unwrap();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let file = std::fs::File::options().write(true).open(dir.path().join("file")).unwrap();
    file.set_times(std::fs::FileTimes::new().set_accessed(long_ago)).unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap();
    assert_eq!(storage.read_at(path("file"), 0, &mut [0; 5]).unwrap(), 5);
    assert_eq!(file.metadata().unwrap().accessed().unwrap(), long_ago);
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::create(&dir.path().join("made")).unwrap();
    let file = path("a/b/file");
    assert_eq!(storage.stat(file).unwrap(), None);
    storage.create_new(file).unwrap();
    assert_eq!(storage.create_new(file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    storage.set_len(file, 10).unwrap();
    // More slices than one call takes, with empty ones between.
    let letters: Vec<IoSlice<'_>> =
        (0..3000).map(|n| IoSlice::new(if n % 2 == 0 { b"x" } else { b"" })).collect();
    storage.write_at(file, 5, &letters).unwrap();
    storage.sync(file).unwrap();
    assert_eq!(storage.stat(file).unwrap().unwrap().len, 1505);
    let mut buf = [1; 2000];
    assert_eq!(storage.read_at(file, 3, &mut buf).unwrap(), 1502);
    assert_eq!((&buf[..3], &buf[1500..1503]), (b"\0\0x".as_slice(), b"xx\x01".as_slice()));
    storage.rename(file, path("a/other")).unwrap();
    assert_eq!(storage.stat(file).unwrap(), None);
    storage.remove(path("a/other")).unwrap();
    assert_eq!(fault(storage.read_at(path("a/other"), 0, &mut buf)), "missing");
}

fn fault<T>(result: io::Result<T>) -> &'static str {
    result.map_or_else(|error| super::super::fault_of(&error).name(), |_| "ok")
}

#[test]
fn cached_bytes_are_read_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap();
    storage.create_new(path("f")).unwrap();
    storage.write_at(path("f"), 0, &[IoSlice::new(b"hello")]).unwrap();
    let mut buf = [0; 8];
    // None is right too: the kernel may have dropped the page, or the file system may not say.
    if let Some(n) = storage.try_read_at(path("f"), 0, &mut buf).unwrap() {
        assert_eq!(&buf[..n], b"hello");
    }
}

#[test]
fn no_link_is_followed_and_nothing_outside_is_touched() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(outside.path(), dir.path().join("dir")).unwrap();
    symlink(outside.path().join("secret"), dir.path().join("file")).unwrap();
    symlink(outside.path().join("new"), dir.path().join("dangling")).unwrap();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap();
    let mut buf = [0; 8];
    for name in ["dir/secret", "file", "dangling", "real"] {
        assert_eq!(fault(storage.read_at(path(name), 0, &mut buf)), "changed", "{name}");
        assert_eq!(
            fault(storage.write_at(path(name), 0, &[IoSlice::new(b"x")])),
            "changed",
            "{name}"
        );
        assert_eq!(fault(storage.set_len(path(name), 0)), "changed", "{name}");
        assert_eq!(fault(storage.stat(path(name))), "changed", "{name}");
    }
    for (name, cause) in
        [("dir/new", "changed"), ("dangling", "foreign"), ("dir/sub/new", "changed")]
    {
        assert_eq!(fault(storage.create_new(path(name))), cause, "{name}");
    }
    assert!(
        storage.create_new(path("../escape")).is_err()
            && storage.read_at(path("../x"), 0, &mut buf).is_err()
    );
    assert!(storage.remove(path("dir/secret")).is_err());
    let names: Vec<_> = std::fs::read_dir(outside.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["secret"]);
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn links_that_the_user_laid_are_read_over_and_not_written_over() {
    let library = tempfile::tempdir().unwrap();
    std::fs::write(library.path().join("a"), "hello").unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(library.path(), dir.path().join("dir")).unwrap();
    symlink(library.path().join("a"), dir.path().join("file")).unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap().over_links();
    for name in ["dir/a", "file"] {
        let mut buf = [0; 5];
        assert_eq!(storage.stat(path(name)).unwrap().unwrap().len, 5);
        assert_eq!(storage.read_at(path(name), 0, &mut buf).unwrap(), 5);
        assert_eq!(&buf, b"hello");
        let refusals = [
            storage.write_at(path(name), 0, &[IoSlice::new(b"x")]),
            storage.set_len(path(name), 0),
        ];
        for refusal in refusals {
            assert!(refusal.unwrap_err().to_string().contains("symbolic link"), "{name}");
        }
        assert_eq!(
            fault(storage.create_new(path(name))),
            if name == "file" { "foreign" } else { "changed" }
        );
    }
    assert_eq!(storage.stat(path("dir/none")).unwrap(), None);
    assert!(storage.read_at(path("../escape"), 0, &mut [0; 1]).is_err());
    assert_eq!(std::fs::read(library.path().join("a")).unwrap(), b"hello");
}

#[test]
fn the_slow_way_of_opening_follows_no_link_either() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("real/sub")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    let root = Directory::open(dir.path()).unwrap().fd;
    assert!(walk(root.as_fd(), path("real/sub"), false).is_ok());
    assert!(walk(root.as_fd(), path("link/sub"), false).is_err());
    assert!(walk(root.as_fd(), path("real/.."), false).is_err());
}

#[test]
fn a_file_that_another_program_changed_is_neither_read_nor_written() {
    let harms: [(&str, fn(&Path)); 6] = [
        ("overwritten", |file| std::fs::write(file, "HELLO").unwrap()),
        ("longer", |file| std::fs::write(file, "hello hello").unwrap()),
        ("cut", |file| std::fs::write(file, "h").unwrap()),
        ("its time put back", |file| {
            let modified = file.metadata().unwrap().modified().unwrap();
            std::fs::write(file, "HELLO").unwrap();
            std::fs::File::options()
                .write(true)
                .open(file)
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }),
        ("replaced", |file| {
            std::fs::write(file.with_extension("new"), "HELLO").unwrap();
            std::fs::rename(file.with_extension("new"), file).unwrap();
        }),
        ("deleted", |file| std::fs::remove_file(file).unwrap()),
    ];
    for (what, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let (storage, file, mut buf) = (DiskStorage::open(dir.path()).unwrap(), path("f"), [0; 5]);
        storage.create_new(file).unwrap();
        storage.write_at(file, 0, &[IoSlice::new(b"hello")]).unwrap();
        storage.sync(file).unwrap();
        assert_eq!(
            (storage.read_at(file, 0, &mut buf).unwrap(), storage.change(file).unwrap()),
            (5, Change::None),
            "{what}"
        );
        harm(&dir.path().join("f"));
        let expected = if what == "deleted" { "missing" } else { "changed" };
        let change = if what == "its time put back" { Change::Attributes } else { Change::Content };
        assert_eq!(storage.change(file).unwrap(), change, "{what}");
        for _ in 0..2 {
            assert_ne!(fault(storage.read_at(file, 0, &mut buf)), "ok", "{what}");
            assert_eq!(fault(storage.read_at(file, 0, &mut buf)), expected, "{what}");
            // A file with changed attributes only is looked at in the end.
            let written = if change == Change::Attributes { "ok" } else { expected };
            assert_eq!(fault(storage.write_at(file, 0, &[IoSlice::new(b"x")])), written, "{what}");
        }
        assert_ne!(fault(storage.try_read_at(file, 0, &mut buf)), "ok", "{what}");
    }
}

#[test]
fn a_file_that_vanished_is_not_written_into_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap();
    storage.create_new(path("f")).unwrap();
    storage.write_at(path("f"), 0, &[IoSlice::new(b"x")]).unwrap();
    std::fs::remove_file(dir.path().join("f")).unwrap();
    assert_eq!(fault(storage.write_at(path("f"), 0, &[IoSlice::new(b"x")])), "missing");
}

#[test]
fn many_files_are_synced_together_and_none_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap();
    let files: Vec<PathBuf> = (0..2 * TOGETHER).map(|n| PathBuf::from(format!("d/{n}"))).collect();
    for count in [TOGETHER - 1, 2 * TOGETHER] {
        let files = &files[..count];
        for file in files {
            let _ = storage.create_new(file);
            storage.write_at(file, 0, &[IoSlice::new(b"x")]).unwrap();
        }
        let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        storage.sync_many(&paths).unwrap();
        storage.sync_names().unwrap();
        assert!(
            files.iter().all(|file| !storage.seen().is_unsynced(file))
                && storage.named().is_empty()
        );
    }
    assert_eq!(storage.sync_many(&[path("gone")]).unwrap_err().path, path("gone"));
}

#[test]
fn a_thousand_files_need_few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap();
    for n in 0..1000 {
        storage.create_new(&PathBuf::from(n.to_string())).unwrap();
    }
    assert_eq!(storage.open.shared().count(), OPEN_MAX);
}

#[test]
fn when_a_file_was_made_is_known_where_the_system_says_it() {
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap();
    storage.create_new(path("file")).unwrap();
    let made = || storage.stat(path("file")).unwrap().unwrap().birth_ns;
    let created = std::fs::metadata(dir.path().join("file")).unwrap().created().ok();
    let expected = created.map(|at| at.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos());
    if cfg!(target_os = "linux") {
        assert_eq!(made().map(|birth| u128::try_from(birth).unwrap()), expected);
    }
    let first = made();
    storage.write_at(path("file"), 0, &[IoSlice::new(b"bytes")]).unwrap();
    assert_eq!(made(), first);
    assert_eq!(
        storage.noted(path("file")).unwrap().unwrap().birth_ns,
        first,
        "the same of the open file"
    );
}
