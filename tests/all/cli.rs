//! The contract of the command line: shapes of JSON, exit codes, signals, the demo.
//!
//! Decides: what programs that call `bt` may rely on. Must not know: how a command works.
//! Invariant: fields are compared by name, so that a new field is allowed and a lost one is found.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{LOOPBACK, PATIENCE, Process, Protocol, Stage, listening, random_file};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn show_create_and_magnet_describe_a_torrent() -> Test {
    let (stage, source, torrent) = folder_with_torrent()?;
    let shown = stage.show(&torrent)?;
    assert_eq!(keys(&shown).first().map(String::as_str), Some("schema"));
    let hash = shown["info_hash_v1"].as_str().context("a v1 torrent has a v1 info-hash")?;
    ensure!(hash.len() == 40 && hash.chars().all(|c| c.is_ascii_hexdigit()), "{hash}");
    ensure!(
        shown["magnet"]
            .as_str()
            .is_some_and(|link| link.starts_with(&format!("magnet:?xt=urn:btih:{hash}"))),
        "{shown}"
    );
    ensure!(
        shown["creation_date"]
            .as_str()
            .is_some_and(|date| date.contains('T') && date.ends_with('Z')),
        "{shown}"
    );
    ensure!(shown["created_by"].as_str().is_some_and(|by| by.starts_with("bt/")), "{shown}");
    let expected = json!({
        "schema": "bt.show/1", "name": "folder", "format": "v1", "info_hash_v2": null, "piece_length": 16384, "piece_count": 3,
        "total_size": 40_001, "private": true, "trackers": [["http://a/announce", "http://b/announce"], ["udp://c:1/announce"]],
        "web_seeds": ["http://d/folder"], "comment": "words", "source": "here", "warnings": [],
        "files": [
            { "path": ["folder", "a", "one"], "length": 40_000, "attr": "" },
            { "path": ["folder", "b"], "length": 1, "attr": "" },
            { "path": ["folder", "empty"], "length": 0, "attr": "" },
        ],
    });
    for (key, value) in expected.as_object().context("an object")? {
        assert_eq!(&shown[key], value, "{key}");
    }

    let mut again = stage.bt("creator");
    let made = Process::run(
        "create",
        again.arg("create").arg(&source).args(["-o", "other.torrent"]),
        PATIENCE,
    )?
    .expect_code(0)?
    .last()?;
    assert_eq!(
        (&made["schema"], &made["name"], &made["files"], &made["path"]),
        (&json!("bt.create/1"), &json!("folder"), &json!(3), &json!("other.torrent"))
    );
    let mut magnet = stage.bt("shower");
    let magnet = Process::run("magnet", magnet.arg("magnet").arg(&torrent), PATIENCE)?
        .expect_code(0)?
        .last()?;
    assert_eq!((&magnet["schema"], &magnet["magnet"]), (&json!("bt.magnet/1"), &shown["magnet"]));
    Ok(())
}

#[test]
fn verify_names_what_is_bad() -> Test {
    let (stage, source, torrent) = folder_with_torrent()?;
    let verify = || {
        Process::run(
            "verify",
            stage.bt("verifier").arg("verify").arg(&torrent).arg(stage.path("")),
            PATIENCE,
        )
    };
    let report = verify()?.expect_code(0)?.last()?;
    assert_eq!(
        (&report["schema"], &report["complete"], &report["files_bad"]),
        (&json!("bt.verify/1"), &json!(true), &json!([]))
    );

    let mut bytes = fs::read(source.join("a/one"))?;
    bytes[20_000] ^= 1;
    fs::write(source.join("a/one"), bytes)?;
    fs::remove_file(source.join("empty"))?;
    let report = verify()?.expect_code(4)?.last()?;
    assert_eq!(
        (&report["complete"], &report["pieces_good"], &report["pieces_bad"]),
        (&json!(false), &json!(2), &json!([1]))
    );
    let bad = report["files_bad"].to_string();
    ensure!(bad.contains("a/one") && bad.contains("empty") && !bad.contains("folder/b"), "{bad}");
    Ok(())
}

#[test]
fn exit_codes() -> Test {
    let (stage, _, torrent) = folder_with_torrent()?;
    let torrent = torrent.to_str().context("the path is UTF-8")?;
    let foreign = stage.path("foreign");
    fs::create_dir_all(foreign.join("folder/a"))?;
    fs::write(foreign.join("folder/a/one"), "mine, and no part of any torrent")?;
    let foreign = foreign.to_str().context("the path is UTF-8")?;
    let cases: &[(i32, &[&str])] = &[
        (0, &["--version"]),
        (0, &["--help"]),
        (0, &["completions", "bash"]),
        (2, &[]),
        (2, &["fly"]),
        (2, &["get"]),
        (2, &["get", torrent, "--no-such-option"]),
        (2, &["get", torrent, "--up", "0"]),
        (2, &["get", torrent, "--timeout", "soon"]),
        (2, &["get", torrent, "--listen", "nowhere"]),
        (2, &["create", foreign, "--piece-length", "12345"]),
        (3, &["show", "no such file"]),
        (3, &["show", "."]),
        (3, &["create", "no such file"]),
        (3, &["get", "no such file"]),
        (6, &["get", torrent, "-d", foreign]),
    ];
    for (code, args) in cases {
        let finished = Process::run("bt", stage.bt("caller").args(*args), PATIENCE)?;
        let finished = finished.expect_code(*code).with_context(|| format!("bt {args:?}"))?;
        ensure!(*code == 0 || !finished.err.is_empty(), "bt {args:?} failed without a word");
    }
    assert_eq!(
        fs::read_to_string(Path::new(foreign).join("folder/a/one"))?,
        "mine, and no part of any torrent"
    );
    Ok(())
}

#[test]
fn help_explains_each_exit_code() -> Test {
    let stage = Stage::new()?;
    let help = Process::run("help", stage.bt("reader").args(["help", "exit-codes"]), PATIENCE)?
        .expect_code(0)?
        .out;
    for code in 0..=9 {
        ensure!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))),
            "{code} is not explained:\n{help}"
        );
    }
    Ok(())
}

#[test]
fn announce_and_scrape_print_what_the_tracker_says() -> Test {
    for protocol in [Protocol::Http, Protocol::Udp] {
        let stage = Stage::new()?;
        let (_tracker, url) = stage.tracker(protocol, LOOPBACK, None)?;
        random_file(&stage.path("data.bin"), 1, 100_000)?;
        let torrent = stage.create(&stage.path("data.bin"), &["-a", &url])?;
        let seed =
            Process::start("seed", &mut stage.seed("seed", &torrent, &stage.path(""), LOOPBACK))?;
        seed.wait_event("ready", PATIENCE)?;
        // The first announce and the first question race: ask until the seed is there.
        let link = stage.show(&torrent)?["magnet"].as_str().context("a link")?.to_owned();
        let ask_by = |verb, source: &str| {
            Process::run(verb, stage.bt("asker").args([verb, source]), PATIENCE)?
                .expect_code(0)?
                .last()
        };
        let path = torrent.to_string_lossy();
        let ask = |verb| ask_by(verb, &path);
        let deadline = std::time::Instant::now() + PATIENCE;
        let scraped = loop {
            let answer: Value = ask("scrape")?;
            if answer["trackers"][0]["seeders"] == 1 || std::time::Instant::now() > deadline {
                break answer;
            }
        };
        assert_eq!(
            (&scraped["trackers"][0]["url"], &scraped["trackers"][0]["seeders"]),
            (&json!(url), &json!(1)),
            "{scraped}"
        );
        assert_eq!(ask_by("scrape", &link)?, scraped, "the link asks the same");
        for source in [&*path, &link] {
            let announced = ask_by("announce", source)?;
            ensure!(announced["trackers"][0]["interval"].as_u64() > Some(0), "{announced}");
            assert_eq!(
                announced["trackers"][0]["peers"].as_array().map(Vec::len),
                Some(1),
                "{announced}"
            );
        }
        // A seed announces its stop, so that the tracker forgets it.
        seed.stop(PATIENCE)?.expect_code(0)?;
        assert_eq!(ask("scrape")?["trackers"][0]["seeders"], 0);
    }
    Ok(())
}

#[test]
fn signals_stop_gracefully() -> Test {
    let (stage, _, torrent) = folder_with_torrent()?;
    let seed = || {
        let seed =
            Process::start("seed", &mut stage.seed("seed", &torrent, &stage.path(""), LOOPBACK))?;
        anyhow::Ok((listening(&seed)?, seed))
    };
    let (_, seeding) = seed()?;
    seeding.terminate()?;
    let finished = seeding.finish(PATIENCE)?.expect_code(0)?;
    assert_eq!(finished.last()?["event"], "summary");

    let (tracker, _) = stage.tracker(Protocol::Udp, LOOPBACK, None)?;
    tracker.stop(PATIENCE)?.expect_code(0)?.event("stopped")?;

    let waiting =
        Process::start("get", &mut stage.get("get", &torrent, &stage.path("copy"), LOOPBACK))?;
    waiting.wait_event("ready", PATIENCE)?;
    waiting.stop(PATIENCE)?.expect_code(7)?.event("summary")?;

    let (at, _seed) = seed()?;
    let mut command = stage.get("get", &torrent, &stage.path("copy"), LOOPBACK);
    let complete = Process::start("get", command.args(["--peer", &at, "--seed"]))?;
    complete.wait_event("complete", PATIENCE)?;
    complete.stop(PATIENCE)?.expect_code(0)?.event("summary")?;
    Ok(())
}

#[test]
fn demo_shows_live_progress_and_ends_verified() -> Test {
    let stage = Stage::new()?;
    let demo = Process::run("demo", stage.bt("demo").arg("demo"), PATIENCE)?.expect_code(0)?;
    assert_eq!(demo.event("complete")?["verified"], true);
    let times: Vec<String> = demo
        .objects()
        .iter()
        .filter(|object| object["event"] == "progress")
        .map(|object| object["time"].to_string())
        .collect();
    let (first, last) = (seconds(times.first())?, seconds(times.last())?);
    // 64 MiB leave the seeder at 16 MiB/s: four seconds on any machine.
    ensure!(
        (last - first).rem_euclid(60.0) >= 3.0,
        "progress from second {first} to second {last} of the minute"
    );
    let received = demo.event("summary")?["received"].clone();
    ensure!(received.as_array().is_some_and(|rows| rows.len() == 3), "{received}");
    println!("demo: {received}");
    Ok(())
}

/// Parses the seconds of an RFC 3339 time.
fn seconds(time: Option<&String>) -> Result<f64> {
    let time = time.context("there was progress")?;
    let seconds = time.trim_matches(['"', 'Z']).rsplit(':').next().context("a time has seconds")?;
    Ok(seconds.trim_end_matches(['"', 'Z']).parse()?)
}

fn folder_with_torrent() -> Result<(Stage, PathBuf, PathBuf)> {
    let stage = Stage::new()?;
    let source = stage.path("folder");
    fs::create_dir_all(source.join("a"))?;
    random_file(&source.join("a/one"), 1, 40_000)?;
    fs::write(source.join("b"), "b")?;
    fs::write(source.join("empty"), "")?;
    let about = [
        "--private",
        "--comment",
        "words",
        "--source",
        "here",
        "--web-seed",
        "http://d/folder",
        "--piece-length",
        "16KiB",
    ];
    let trackers = ["-a", "http://a/announce,http://b/announce", "-a", "udp://c:1/announce"];
    let torrent = stage.create(&source, &[&about[..], &trackers].concat())?;
    Ok((stage, source, torrent))
}

fn keys(object: &Value) -> Vec<String> {
    object.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}
