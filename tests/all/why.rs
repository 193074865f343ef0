//! `bt why` beside `bt get` and `bt seed`: what it says without a daemon.
//!
//! Decides: the stories. Must not know: how a process is asked.
//! Invariant: every wait has a deadline.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{LOOPBACK, PATIENCE, Process, Seeded, Stage, random_file};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A daemon that is not there: other tests may have one where daemons usually are.
const NO_DAEMON: [&str; 2] = ["--api", "http://127.0.0.1:1"];

/// Asks the processes with this state until the answer is as wanted.
fn ask_until(stage: &Stage, who: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut command = stage.bt(who);
        command.arg("why").args(NO_DAEMON).arg("--state").arg(state(stage, who));
        let finished = Process::run("why", &mut command, PATIENCE)?;
        let answer = finished.last()?;
        if finished.code == Some(0) && wanted(&answer) {
            return Ok(answer);
        }
        ensure!(Instant::now() < deadline, "{answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Where the commands of an actor keep their state.
fn state(stage: &Stage, who: &str) -> PathBuf {
    stage.path(format!("state of {who}"))
}

fn has(list: &Value, text: &str) -> bool {
    let lines = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.into_iter().any(|line| line.contains(text))
}

/// Returns the sockets in a state directory.
fn sockets(stage: &Stage, who: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(state(stage, who))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    Ok(paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "sock")).collect())
}

#[test]
fn a_download_without_a_peer_says_so_and_what_each_source_said() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("data.bin");
    random_file(&source, 1, 1 << 20)?;
    let nowhere = "http://127.0.0.1:1/announce";
    let torrent = stage.create(&source, &["-a", nowhere])?;
    let none_answers = |stage: &Stage| -> Result<Value> {
        let mut command = stage.bt("get");
        command.arg("why").args(NO_DAEMON).arg("--state").arg(state(stage, "get"));
        Process::run("why", &mut command, PATIENCE)?.expect_code(8)?.last()
    };
    let error = none_answers(&stage)?;
    ensure!(error["code"] == "unreachable", "{error}");
    let mut get = stage.get("get", &torrent, &stage.path("copy"), LOOPBACK);
    let get = Process::start("get", &mut get)?;
    let answer = ask_until(&stage, "get", |answer| {
        let why = &answer["torrents"][0];
        why["reason"] == "no_peers" && has(&why["tried"], "failed")
    })?;
    ensure!(answer["schema"] == "bt.why/1", "{answer}");
    let why = &answer["torrents"][0];
    ensure!(why["name"] == "data.bin" && why["process"] == get.id(), "{why}");
    ensure!(why["summary"] == "No peer is connected.", "{why}");
    for tried in [nowhere, "The DHT is off.", "The local network is not asked."] {
        ensure!(has(&why["tried"], tried), "{tried}: {why}");
    }
    ensure!(has(&why["advice"], "add a tracker or a peer"), "{why}");

    // The same for a person, who names no daemon: one torrent by its name, or by its info-hash.
    let hash = stage.info_hash(&torrent)?.to_string();
    for id in ["data.bin", &hash[..8]] {
        let mut command = stage.bt_for_people("get");
        command.args(["why", id]).env_remove("BT_API");
        let said = Process::run("why", &mut command, PATIENCE)?.expect_code(0)?.out;
        let first = format!("data.bin (process {}): No peer is connected.", get.id());
        ensure!(said.starts_with(&first) && said.contains(nowhere), "{said}");
    }
    let mut command = stage.bt("get");
    command.args(["why", "nothing"]).args(NO_DAEMON).arg("--state").arg(state(&stage, "get"));
    Process::run("why", &mut command, PATIENCE)?.expect_code(3)?;

    let socket = sockets(&stage, "get")?.pop().context("a socket")?;
    let mode = std::fs::metadata(&socket)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    get.stop(PATIENCE)?.expect_code(7)?;
    ensure!(sockets(&stage, "get")?.is_empty(), "the socket goes with its process");
    none_answers(&stage)?;
    Ok(())
}

#[test]
fn a_limit_is_named_on_the_side_that_has_it_and_the_dead_are_left_out() -> Test {
    let seeded = Seeded::file(4 << 20, &["--up", "64KiB/s"])?;
    let stage = &seeded.stage;
    let get = |down: &[&str]| -> Command {
        let mut command = seeded.get("get", "copy");
        command.args(down);
        command
    };
    // A killed process leaves its socket; the next one removes it.
    let killed = Process::start("killed", &mut get(&[]))?;
    ask_until(stage, "get", |answer| answer["torrents"][0]["name"] == "data.bin")?;
    killed.kill()?;
    killed.finish(PATIENCE)?;
    let left = sockets(stage, "get")?;
    ensure!(left.len() == 1, "{left:?}");
    let get = Process::start("get", &mut get(&["--down", "32KiB/s"]))?;
    let answer = ask_until(stage, "get", |answer| answer["torrents"][0]["reason"] == "limit")?;
    let why = &answer["torrents"][0];
    ensure!(answer["torrents"].as_array().is_some_and(|all| all.len() == 1), "{answer}");
    ensure!(why["process"] == get.id(), "{why}");
    ensure!(has(&why["facts"], "The limit from peers over all torrents is 32.0 KiB"), "{why}");
    ensure!(has(&why["facts"], "1 of 1 peers have pieces that are missing"), "{why}");
    ensure!(has(&why["advice"], "Raise the limit."), "{why}");
    let now = sockets(stage, "get")?;
    ensure!(now.len() == 1 && now != left, "{now:?}");

    let answer = ask_until(stage, "seed", |answer| answer["torrents"][0]["reason"] == "fine")?;
    let why = &answer["torrents"][0];
    ensure!(has(&why["facts"], "The limit to peers over all torrents is 64.0 KiB"), "{why}");
    get.stop(PATIENCE)?.expect_code(7)?;
    Ok(())
}
