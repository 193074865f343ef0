//! `bt daemon`: what it keeps, and what the verbs make it do.
//!
//! Decides: the stories. Must not know: how the daemon works inside.
//! Invariant: what an API acknowledged is there after the process was killed.

use crate::Test;
use anyhow::{Context as _, ensure};
use bt_tests::{PATIENCE, Process, RawAnswer, Rng, RunningDaemon, Seeded, Stage, ensure_same};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;

/// Kills in CI; `BT_KILLS` asks for more.
const KILLS: u64 = 20;

#[test]
fn a_torrent_arrives_is_moved_removed_and_brought_back() -> Test {
    let seeded = Seeded::file(4 << 20, &[])?;
    let Seeded { stage, source, torrent, at, .. } = &seeded;
    let data = stage.path("data");
    let daemon = RunningDaemon::start(stage, "daemon", &data, &[])?;
    let url = format!("http://{}", daemon.api);
    let bt = |args: &[&str]| {
        let mut command = stage.bt("person");
        Process::run("bt", command.args(args).args(["--api", &url]), PATIENCE)
    };
    let added = bt(&["add", &torrent.to_string_lossy(), "--category", "film"])?.expect_code(0)?;
    let hash = added.last()?["torrents"][0]["hash"].as_str().context("a hash")?.to_owned();
    let peers = json!({ "add_peers": [at] });
    let act = |action: &Value| {
        daemon.api("POST", &format!("torrents/{hash}/actions"), action).map(|a| a.status)
    };
    ensure!(act(&peers)? == 204);
    daemon.wait_torrent(&hash, "the download", |row| row["complete"] == true)?;
    ensure_same(source, &data.join("film").join("data.bin"))?;

    // A reader over HTTP has the same bytes, and a link opens this file alone.
    let whole = daemon.request("GET", &format!("/stream/{hash}/0"), &[], b"")?;
    ensure!(whole.status == 200 && whole.body == std::fs::read(source)?, "{}", whole.head);
    let range = [("Range", "bytes=1000-1003")];
    let part = daemon.request("GET", &format!("/stream/{hash}/0"), &range, b"")?;
    ensure!(part.status == 206 && part.body == whole.body[1000..1004], "{}", part.head);

    let elsewhere = stage.path("elsewhere");
    bt(&["move", "1", &elsewhere.to_string_lossy()])?.expect_code(0)?;
    let is_there = |row: &Value| row["dir"] == elsewhere.to_string_lossy().into_owned();
    daemon.wait_torrent(&hash, "the move", |row| is_there(row) && row["state"] == "seeding")?;
    ensure_same(source, &elsewhere.join("data.bin"))?;
    bt(&["pause", "data.bin"])?.expect_code(0)?;
    let paused = daemon.wait_torrent(&hash, "the pause", |row| row["state"] == "stopped")?;
    bt(&["remove", &hash])?.expect_code(0)?;
    ensure!(elsewhere.join("data.bin").exists(), "the data stays");
    bt(&["info", &hash])?.expect_code(3)?;
    bt(&["undo"])?.expect_code(0)?;
    let back = daemon.wait_torrent(&hash, "the data", |row| row["complete"] == true)?;
    for key in ["bytes_down", "category", "dir", "added"] {
        ensure!(back[key] == paused[key], "{key}: {back}");
    }
    bt(&["remove", &hash, "--with-data"])?.expect_code(0)?;
    ensure!(!elsewhere.join("data.bin").exists(), "the data goes");
    let why = bt(&["why"])?.expect_code(0)?.last()?;
    ensure!(why["torrents"] == json!([]));
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    bt(&["list"])?.expect_code(8)?;
    Ok(())
}

/// What is known of a torrent of the script: its category, and whether it runs.
type Known = BTreeMap<String, (String, bool)>;

#[test]
fn what_was_acknowledged_survives_kills() -> Test {
    let kills = std::env::var("BT_KILLS").ok().and_then(|kills| kills.parse().ok());
    let stage = Stage::new()?;
    let data = stage.path("data");
    let mut rng = Rng::from_seed(1);
    let mut known = Known::new();
    let mut daemon = RunningDaemon::start(&stage, "daemon", &data, &[])?;
    for round in 0..kills.unwrap_or(KILLS) {
        for _ in 0..1 + rng.below(6) {
            let (request, after) = step(&known, &mut rng);
            let answer = daemon.raw(&request)?;
            ensure!((200..300).contains(&answer.status), "{}: {}", answer.head, answer.text());
            known = after;
        }
        // One more is under way when the process is killed.
        let (request, after) = step(&known, &mut rng);
        let mut stream = TcpStream::connect(daemon.api)?;
        stream.write_all(&request)?;
        std::thread::sleep(std::time::Duration::from_micros(rng.below(8_000)));
        daemon.process.kill()?;
        let RunningDaemon { process, .. } = daemon;
        process.finish(PATIENCE)?;
        daemon = RunningDaemon::start(&stage, "daemon", &data, &[])?;
        let now = listed(&daemon.api("GET", "torrents", &Value::Null)?)?;
        ensure!(now == known || now == after, "round {round}: {now:?}\n{known:?}\n{after:?}");
        known = now;
    }
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

/// Returns the bytes of a request, and what is known after it.
fn step(known: &Known, rng: &mut Rng) -> (Vec<u8>, Known) {
    let mut after = known.clone();
    let some = known.keys().nth(usize::try_from(rng.below(64)).unwrap_or(0) % known.len().max(1));
    let (method, path, body) = match (rng.below(4), some) {
        (0, Some(hash)) => {
            after.remove(hash);
            ("DELETE", format!("torrents/{hash}"), String::new())
        }
        (1, Some(hash)) => {
            let entry = after.entry(hash.clone()).or_default();
            entry.1 = !entry.1;
            let body = json!({ "running": entry.1 });
            ("PATCH", format!("torrents/{hash}"), body.to_string())
        }
        (2, Some(hash)) => {
            let entry = after.entry(hash.clone()).or_default();
            entry.0 = format!("c{}", rng.below(5));
            let body = json!({ "category": entry.0 });
            ("PATCH", format!("torrents/{hash}"), body.to_string())
        }
        _ => {
            let hash = format!("{:040x}", 1 + rng.below(1 << 40));
            after.insert(hash.clone(), (String::new(), true));
            let body = json!({ "source": format!("magnet:?xt=urn:btih:{hash}"), "start": true });
            ("POST", "torrents".to_owned(), body.to_string())
        }
    };
    let request = format!(
        "{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    (request.into_bytes(), after)
}

fn listed(answer: &RawAnswer) -> anyhow::Result<Known> {
    let list = answer.json()?;
    let rows = list["torrents"].as_array().context("torrents")?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let known: Known = rows
        .iter()
        .map(|row| (text(row, "hash"), (text(row, "category"), text(row, "state") != "stopped")))
        .collect();
    ensure!(known.len() == rows.len(), "a torrent is there twice: {list}");
    Ok(known)
}
