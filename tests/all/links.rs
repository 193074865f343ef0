//! Magnet links on the command line: messages, refusals, selected files, and false metadata of
//! liars.
//!
//! Decides: the links and the lies. Must not know: how metadata is assembled.
//! Invariant: all traffic is on loopback, between peers that the arguments name; discovery is off.

use crate::Test;
use crate::liars::Liar;
use anyhow::{Context as _, ensure};
use bt_tests::{
    InfoHash, LOOPBACK, PATIENCE, Process, Stage, ensure_same, listening, random_file, snapshot,
};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

const HASH: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

#[test]
fn links_are_described_and_written_again() -> Test {
    let stage = Stage::new()?;
    let link = format!(
        "magnet:?tr=http%3A%2F%2Fa.example%2F&so=1,3-5&x.pe=127.0.0.1:7&xt=urn:btih:{HASH}&dn=two+words&ws=http://w/"
    );
    let again = format!(
        "magnet:?xt=urn:btih:{HASH}&dn=two%20words&tr=http%3A%2F%2Fa.example%2F&ws=http%3A%2F%2Fw%2F&x.pe=127.0.0.1:7&so=1,3-5"
    );
    let shown = Process::run("show", stage.bt("shower").args(["show", &link]), PATIENCE)?
        .expect_code(0)?
        .last()?;
    for (field, value) in [
        ("schema", json!("bt.show/1")),
        ("name", json!("two words")),
        ("info_hash_v1", json!(HASH)),
        ("info_hash_v2", Value::Null),
        ("total_size", Value::Null),
        ("files", Value::Null),
        ("trackers", json!([["http://a.example/"]])),
        ("web_seeds", json!(["http://w/"])),
        ("peers", json!(["127.0.0.1:7"])),
        ("select_only", json!([[1, 1], [3, 5]])),
        ("magnet", json!(again)),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    let magnet = Process::run("magnet", stage.bt("shower").args(["magnet", &link]), PATIENCE)?
        .expect_code(0)?
        .last()?;
    assert_eq!(magnet["magnet"], json!(again));
    Ok(())
}

#[test]
fn hostile_links_are_refused_by_name() -> Test {
    let stage = Stage::new()?;
    let good = format!("xt=urn:btih:{HASH}");
    let table = [
        ("magnet:".to_owned(), "not_a_magnet"),
        ("magnet:?dn=x".into(), "no_info_hash"),
        ("magnet:?xt=urn:btih:1234".into(), "invalid_info_hash"),
        (format!("magnet:?{good}&xt=urn:btih:{}", "0".repeat(40)), "two_info_hashes"),
        (format!("magnet:?{good}&dn={}", "x".repeat(1 << 16)), "magnet_too_long"),
    ];
    for (link, code) in table {
        for verb in ["show", "magnet", "get"] {
            let finished = Process::run(verb, stage.bt("victim").args([verb, &link]), PATIENCE)?
                .expect_code(3)?;
            let error = finished.last()?;
            ensure!(
                error["schema"] == "bt.error/1" && error["code"] == code,
                "{verb} {link:.80}: {error}"
            );
        }
    }
    let v2 = format!("magnet:?xt=urn:btmh:1220{}", "ab".repeat(32));
    let error = Process::run("get", stage.bt("victim").args(["get", &v2]), PATIENCE)?
        .expect_code(3)?
        .last()?;
    assert_eq!(error["code"], "v2_unsupported");
    Ok(())
}

#[test]
fn a_magnet_link_without_peers_ends_with_its_timeout() -> Test {
    let stage = Stage::new()?;
    let mut command = stage.bt("get");
    command.args([
        "get",
        &format!("magnet:?xt=urn:btih:{HASH}"),
        "--timeout",
        "1s",
        "--listen",
        &LOOPBACK.to_string(),
    ]);
    let finished = Process::run("get", &mut command, PATIENCE)?.expect_code(5)?;
    let error = finished.event("error")?;
    assert_eq!(error["code"], "no_metadata", "{error}");
    let progress = finished.event("progress")?;
    assert_eq!((&progress["phase"], &progress["peers"]), (&json!("metadata"), &json!(0)));
    Ok(())
}

#[test]
fn a_link_leads_to_the_torrent_and_to_the_files_that_are_wanted() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("content");
    fs::create_dir(&source)?;
    for (number, name) in ["a.bin", "b.bin", "c.txt"].iter().enumerate() {
        random_file(&source.join(name), number as u64, 300_000)?;
    }
    let torrent =
        stage.create(&source, &["--piece-length", "16KiB", "-a", "http://127.0.0.1:9/announce"])?;
    let shown = stage.show(&torrent)?;
    let seed =
        Process::start("seed", &mut stage.seed("seed", &torrent, &stage.path(""), LOOPBACK))?;
    let at = listening(&seed)?;
    let link = shown["magnet"].as_str().context("a link")?.to_owned();

    let file = stage.path("again.torrent");
    let mut only = stage.bt("only");
    only.args([
        "get",
        &link,
        "--metadata-only",
        "-o",
        "again.torrent",
        "-d",
        "nothing",
        "--listen",
        &LOOPBACK.to_string(),
    ]);
    only.args(["--peer", &at]);
    let finished = Process::run("get", &mut only, PATIENCE)?.expect_code(0)?;
    let metadata = finished.event("metadata")?;
    assert_eq!(
        (&metadata["name"], &metadata["files"], &metadata["total_size"]),
        (&json!("content"), &json!(3), &json!(900_000))
    );
    assert_eq!(finished.event("summary")?["path"], "again.torrent");
    let again = stage.show(&file)?;
    for field in ["info_hash_v1", "files", "trackers", "private", "piece_length"] {
        assert_eq!(again[field], shown[field], "{field}");
    }
    ensure!(!stage.path("nothing").exists(), "a folder was made");
    let known = Process::run("get", &mut only, PATIENCE)?.expect_code(0)?;
    ensure!(
        known.err.contains("again.torrent is there already and is this torrent"),
        "{}",
        known.err
    );
    fs::write(&file, "something else")?;
    let refused = Process::run("get", &mut only, PATIENCE)?.expect_code(1)?;
    ensure!(refused.objects().iter().any(|object| object["code"] == "exists"), "{}", refused.out);
    assert_eq!(fs::read(&file)?, b"something else");

    // What the link selects, what the option selects in its place, and all of it.
    for (number, (suffix, options, wanted)) in [
        ("&so=1", &[][..], &["b.bin"][..]),
        ("&so=1", &["--select", "*.txt"], &["c.txt"]),
        ("", &["--select", "a.*", "--select", "*.txt"], &["a.bin", "c.txt"]),
        ("", &[], &["a.bin", "b.bin", "c.txt"]),
    ]
    .into_iter()
    .enumerate()
    {
        let dir = stage.path(format!("copy {number}"));
        let mut get = stage.bt(&format!("getter {number}"));
        get.args([
            "get",
            &format!("{link}{suffix}"),
            "--listen",
            &LOOPBACK.to_string(),
            "--peer",
            &at,
        ])
        .args(options)
        .arg("-d")
        .arg(&dir);
        let finished = Process::run("get", &mut get, PATIENCE)?.expect_code(0)?;
        finished.event("complete")?;
        for name in wanted {
            ensure_same(&source.join(name), &dir.join("content").join(name))?;
        }
        let total = finished.event("checking")?["bytes_total"].as_u64().context("a total")?;
        ensure!(
            total >= 300_000 * wanted.len() as u64 && total <= 340_000 * wanted.len() as u64,
            "{total}"
        );
    }
    for (suffix, options, code) in [("&so=7", &[][..], 3), ("", &["--select", "nothing"], 2)] {
        let mut get = stage.bt("choosy");
        get.args([
            "get",
            &format!("{link}{suffix}"),
            "-d",
            "choosy",
            "--listen",
            &LOOPBACK.to_string(),
            "--peer",
            &at,
        ])
        .args(options);
        Process::run("get", &mut get, PATIENCE)?.expect_code(code)?;
    }
    Ok(())
}

/// A torrent whose file would lie outside of the download folder, and the SHA-1 of this.
const EVIL: &[u8] =
    b"d5:filesld6:lengthi16384e4:pathl2:..8:evil.bineee4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
const EVIL_HASH: &str = "b911337d32f2dc6c0ba452f7c398938dde746351";

#[test]
fn a_link_does_not_lead_to_services_of_this_machine() -> Test {
    let (stage, service) = (Stage::new()?, std::net::TcpListener::bind(LOOPBACK)?);
    service.set_nonblocking(true)?;
    let link = format!(
        "magnet:?xt=urn:btih:{HASH}&x.pe={}&x.pe=localhost:{}",
        service.local_addr()?,
        service.local_addr()?.port()
    );
    let mut get = stage.bt("get");
    get.args(["get", &link, "-d", "copy", "--timeout", "2s", "--listen", &LOOPBACK.to_string()]);
    Process::run("get", &mut get, PATIENCE)?.expect_code(5)?;
    ensure!(service.accept().is_err(), "a service of this machine was connected to");
    Ok(())
}

#[test]
fn metadata_that_would_lead_out_of_the_folder_is_refused() -> Test {
    let stage = Stage::new()?;
    fs::create_dir(stage.path("downloads"))?;
    let before = snapshot(&stage.path("downloads"))?;
    let liar = Liar::metadata(
        InfoHash::from_hex(EVIL_HASH).context("40 hex digits")?.0,
        EVIL,
        EVIL.len() as u64,
    )?;
    let mut get = stage.bt("victim");
    get.args([
        "get",
        &format!("magnet:?xt=urn:btih:{EVIL_HASH}"),
        "-d",
        "downloads",
        "--peer",
        &liar.at.to_string(),
    ]);
    let finished = Process::run("get", get.args(["--listen", &LOOPBACK.to_string()]), PATIENCE)?
        .expect_code(3)?;
    let error =
        finished.objects().into_iter().find(|said| said["code"].is_string()).context("an error")?;
    assert_eq!(error["code"], "unsafe_path", "{error}");
    ensure!(liar.lies() > 0 && snapshot(&stage.path("downloads"))? == before);
    Ok(())
}

#[test]
fn a_peer_that_claims_a_gibibyte_of_metadata_costs_no_memory() -> Test {
    let stage = Stage::new()?;
    let hash = InfoHash::from_hex(HASH).context("40 hex digits")?.0;
    // One liar is refused at once; the other claims the greatest allowed size, and sends rubbish.
    let liars = [Liar::metadata(hash, b"", 1 << 30)?, Liar::metadata(hash, EVIL, 16 << 20)?];
    let mut get = stage.bt("victim");
    get.args(["get", &format!("magnet:?xt=urn:btih:{HASH}"), "--listen", &LOOPBACK.to_string()]);
    for liar in &liars {
        get.args(["--peer", &liar.at.to_string()]);
    }
    let victim = Process::start("victim", &mut get)?;
    let deadline = Instant::now() + PATIENCE;
    while liars[1].lies() == 0 {
        ensure!(Instant::now() < deadline, "it was asked for nothing\n{}", victim.transcript());
        std::thread::sleep(Duration::from_millis(20));
    }
    let peak = victim.peak_memory()?;
    println!("{} MiB at most", peak >> 20);
    ensure!(peak < 128 << 20, "{} MiB", peak >> 20);
    assert_eq!(liars[0].lies(), 0, "it was asked for a part of a gibibyte");
    victim.stop(PATIENCE)?.expect_code(7)?;
    Ok(())
}

#[test]
fn eight_mebibytes_of_metadata_go_from_process_to_process() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("many");
    // Long names and no content: it is the list of files that is long.
    let long = "x".repeat(230);
    fs::create_dir(&source)?;
    for number in 0..33_000 {
        fs::write(
            source.join(format!("{number:06}{long}")),
            if number == 0 { &b"something"[..] } else { b"" },
        )?;
    }
    let torrent = stage.create(&source, &[])?;
    let len = fs::metadata(&torrent)?.len();
    ensure!(len >= 8 << 20, "{len} bytes");
    let seed =
        Process::start("seed", &mut stage.seed("seed", &torrent, &stage.path(""), LOOPBACK))?;
    let at = listening(&seed)?;
    let shown = stage.show(&torrent)?;
    let mut get = stage.bt("getter");
    get.args([
        "get",
        shown["magnet"].as_str().context("a link")?,
        "--peer",
        &at,
        "--metadata-only",
        "-o",
        "copy.torrent",
    ]);
    let began = Instant::now();
    let getter = Process::start("get", get.args(["--listen", &LOOPBACK.to_string()]))?;
    let metadata = getter.wait_event("metadata", PATIENCE)?;
    println!("{} bytes of metadata after {:.2?}", metadata["bytes"], began.elapsed());
    getter.finish(PATIENCE)?.expect_code(0)?;
    assert_eq!(stage.show(&stage.path("copy.torrent"))?["info_hash_v1"], shown["info_hash_v1"]);
    Ok(())
}
