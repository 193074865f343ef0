//! `bt create`: its torrents equal those of other programs, which accept them.
//!
//! Decides: the trees that are compared. Must not know: how hashing is spread over threads.
//! Invariant: info-hashes are compared, so that a difference of one byte in `info` is found.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::foreign::{Libtorrent, Mktorrent};
use bt_tests::{PATIENCE, Process, Stage, random_file, skip, tree};
use std::path::Path;
use std::process::Command;

#[test]
fn info_hash_equals_that_of_mktorrent_for_a_file() -> Test {
    let Some(mktorrent) = Mktorrent::find() else { skip!("mktorrent is not installed") };
    let stage = Stage::new()?;
    let source = stage.path("ünïcödé 日本.bin");
    random_file(&source, 1, (5 << 20) + 123)?;
    same_info_hash(&stage, mktorrent, &source)
}

#[test]
fn info_hash_equals_that_of_mktorrent_for_a_tree() -> Test {
    let Some(mktorrent) = Mktorrent::find() else { skip!("mktorrent is not installed") };
    let stage = Stage::new()?;
    let source = stage.path("ünïcödé tree");
    tree(&source, 2, 300, 20 << 20)?;
    same_info_hash(&stage, mktorrent, &source)
}

fn same_info_hash(stage: &Stage, mktorrent: Mktorrent, source: &Path) -> Test {
    let ours = stage.create(source, &["--piece-length", "256KiB"])?;
    let theirs = stage.path("theirs.torrent");
    Process::run("mktorrent", &mut mktorrent.create(source, &theirs, 18), PATIENCE)?
        .expect_code(0)?;
    let (ours, theirs) = (stage.show(&ours)?, stage.show(&theirs)?);
    ensure!(ours["info_hash_v1"].is_string());
    assert_eq!(
        ours["info_hash_v1"], theirs["info_hash_v1"],
        "{:#}\n{:#}",
        ours["files"], theirs["files"]
    );
    Ok(())
}

/// BEP 52 orders by path components, so the directory `a` comes before `a.txt`. mktorrent compares
/// whole paths as strings, where `.` comes before `/`.
#[test]
fn a_directory_comes_before_a_file_whose_name_continues_its_name() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("order");
    std::fs::create_dir_all(source.join("a"))?;
    for (name, bytes) in [("a.txt", "1"), ("a/z", "22"), ("a-b", "333"), ("B", "4444")] {
        std::fs::write(source.join(name), bytes)?;
    }
    let shown = stage.show(&stage.create(&source, &[])?)?;
    let files = shown["files"].as_array().context("a tree has files")?;
    let paths: Vec<String> = files.iter().map(|file| file["path"].to_string()).collect();
    assert_eq!(
        paths,
        [r#"["order","B"]"#, r#"["order","a","z"]"#, r#"["order","a-b"]"#, r#"["order","a.txt"]"#]
    );
    Ok(())
}

#[test]
fn libtorrent_loads_every_torrent_and_finds_all_its_data() -> Test {
    let Some(libtorrent) = Libtorrent::find() else {
        skip!("libtorrent for Python is not installed")
    };
    let stage = Stage::new()?;
    random_file(&stage.path("empty end.bin"), 1, 1 << 18)?;
    random_file(&stage.path("odd.bin"), 2, (1 << 20) + 1)?;
    random_file(&stage.path("tiny"), 3, 1)?;
    tree(&stage.path("tree"), 4, 200, 8 << 20)?;
    tree(&stage.path("one in a tree"), 5, 1, 70_000)?;
    let private: &[&str] = &[
        "--private",
        "--source",
        "here",
        "--comment",
        "c",
        "-a",
        "http://a/x,http://b/x",
        "-a",
        "udp://c:1/x",
    ];
    let cases: &[(&str, &[&str])] = &[
        ("empty end.bin", &["--piece-length", "256KiB"]),
        ("odd.bin", private),
        ("tiny", &["--web-seed", "http://127.0.0.1/tiny"]),
        ("tree", &["--no-date", "--piece-length", "16KiB"]),
        ("one in a tree", &[]),
    ];
    let torrents = cases
        .iter()
        .map(|(name, options)| stage.create(&stage.path(name), options))
        .collect::<Result<Vec<_>>>()?;
    let mut command = libtorrent.check(torrents.iter().map(AsRef::as_ref), &stage.path(""));
    let checked = Process::run("libtorrent", &mut command, PATIENCE)?.expect_code(0)?.objects();
    assert_eq!(checked.len(), torrents.len());
    for (torrent, theirs) in torrents.iter().zip(&checked) {
        assert_eq!(theirs["progress"], 1.0, "{theirs}");
        assert_eq!(stage.show(torrent)?["info_hash_v1"], theirs["info_hash"]);
    }
    Ok(())
}

#[test]
fn a_tree_of_100_000_files_needs_few_descriptors_and_has_one_info_hash() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("many");
    tree(&source, 6, 100_000, 100_000 * 40)?;
    let mut hashes = Vec::new();
    for run in ["first", "second"] {
        let mut create = stage.bt("creator");
        create.arg("create").arg(&source).arg("-o").arg(stage.path(run));
        let mut command = few_descriptors(&create);
        let made = Process::run("create", &mut command, PATIENCE)?.expect_code(0)?.last()?;
        assert_eq!(made["files"], 100_000);
        hashes.push(made["info_hash_v1"].clone());
    }
    ensure!(hashes[0].is_string());
    assert_eq!(hashes[0], hashes[1]);
    Ok(())
}

/// Returns the same command with at most 256 open files.
fn few_descriptors(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 256 && exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    limited
}
