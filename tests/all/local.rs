//! Neighbours on one local network, which may meet again and again, and on several addresses at
//! once.
//!
//! Decides: when each process starts, and where it can be reached. Must not know: how neighbours
//! are found, which connection stays.
//! Invariant: each scene has a network of its own; a connection that comes late is a failure, as
//! the wait for it would be a person's.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{
    Host, Net, PATIENCE, PeersFrom, Process, Stage, discover, ensure_same, listening, random_file,
    skip,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SIZE: u64 = 4 << 20;
/// The time from the start of a download to its first byte, or from the first connection to the
/// only one.
const SOON: Duration = Duration::from_secs(2);
/// The port on which all processes accept connections, of both families.
const EVERYWHERE: &str = "[::]:6881";

#[test]
fn downloads_one_after_another_from_one_address_begin_at_once() -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let scene = Scene::new()?;
    let (there, here) = (net.host()?, net.host()?);
    let seed = scene.seed(&there)?;
    listening(&seed)?;
    for (number, by_magnet) in [false, false, true, true].into_iter().enumerate() {
        let (who, dir) = (format!("getter {number}"), scene.stage.path(format!("copy {number}")));
        let source = if by_magnet { Path::new(&scene.magnet) } else { &scene.torrent };
        let mut command = scene.stage.bt(&who);
        command.arg("get").arg(source).arg("-d").arg(&dir).args(["--listen", EVERYWHERE]);
        let began = Instant::now();
        let getter =
            Process::start(&who, &mut here.inside(discover(&mut command, PeersFrom::Lsd)))?;
        let has_bytes =
            |said: &serde_json::Value| said["bytes_down"].as_u64().is_some_and(|bytes| bytes > 0);
        getter.wait_for("a first byte", PATIENCE, |said| {
            has_bytes(said) || said["event"] == "complete"
        })?;
        let took = began.elapsed();
        getter.finish(PATIENCE)?.expect_code(0)?;
        println!("{who}: first byte after {:.2} s", took.as_secs_f64());
        ensure!(took < SOON, "{who}: {took:?}\n{}", seed.transcript());
        ensure_same(&scene.source, &dir.join("content.bin"))?;
    }
    Ok(())
}

#[test]
fn two_processes_that_meet_on_three_addresses_have_one_connection() -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let scene = Scene::new()?;
    let host = net.host()?;
    let at = |port: u16| {
        [
            format!("127.0.0.1:{port}"),
            format!("{}:{port}", host.v4),
            format!("[{}]:{port}", host.v6),
        ]
    };
    let [ours, theirs] = [at(6881), at(6882)]
        .map(|at| at.into_iter().flat_map(|addr| ["--peer".into(), addr]).collect());
    let names: [Vec<String>; 2] = [theirs, ours];
    let dir = scene.stage.path("copy");
    // The rate keeps both busy all the time.
    let mut seed = scene.stage.bt("seed");
    seed.arg("seed")
        .arg(&scene.torrent)
        .arg("-d")
        .arg(scene.stage.path(""))
        .args(["--up", "256KiB/s", "--listen", EVERYWHERE]);
    let mut get = scene.stage.bt("getter");
    get.arg("get").arg(&scene.torrent).arg("-d").arg(&dir).args(["--listen", "[::]:6882"]);
    let start = |who: &str, command: &mut Command, peers: &[String]| {
        Process::start(who, &mut host.inside(discover(command.args(peers), PeersFrom::Lsd)))
    };
    let both = [start("seed", &mut seed, &names[0])?, start("getter", &mut get, &names[1])?];
    let met = |process: &Process| {
        process.wait_for("a peer", PATIENCE, |said| {
            said["event"] == "progress" && said["peers"].as_u64() > Some(0)
        })
    };
    met(&both[1])?;
    let began = Instant::now();
    met(&both[0])?;
    // What each says from two seconds after it met the other one on, until enough was said to tell.
    let deadline = began + PATIENCE;
    let (mut counts, mut connections) = ([Vec::new(), Vec::new()], 0);
    while counts.iter().any(|counts| counts.len() < 20) {
        ensure!(
            Instant::now() < deadline,
            "they fell silent: {counts:?}\n{}",
            both[1].transcript()
        );
        ensure!(!both[1].is_over()?, "the download ended too soon: {counts:?}");
        std::thread::sleep(Duration::from_millis(100));
        for (process, counts) in both.iter().zip(&mut counts) {
            counts.extend(
                process
                    .last_event("progress")
                    .filter(|_| began.elapsed() > SOON)
                    .map(|said| said["peers"].clone()),
            );
        }
        if began.elapsed() > SOON {
            connections = connections.max(established(&host)?);
        }
    }
    let is_one = counts.iter().flatten().all(|count| *count == 1);
    ensure!(is_one && connections == 1, "{connections} connections, {counts:?}");
    let [_, getter] = both;
    getter.finish(PATIENCE)?.expect_code(0)?;
    ensure_same(&scene.source, &dir.join("content.bin"))
}

/// Counts the established TCP connections between processes of this host.
fn established(host: &Host) -> Result<usize> {
    let mut command = Command::new("cat");
    command.args(["/proc/net/tcp", "/proc/net/tcp6"]);
    let shown = Process::run("connections", &mut host.inside(&command), PATIENCE)?;
    // The state of an established connection is 01. Each has two ends here.
    let ends =
        shown.out.lines().filter(|line| line.split_whitespace().nth(3) == Some("01")).count();
    Ok(ends / 2)
}

/// Makes a torrent that names no tracker.
struct Scene {
    stage: Stage,
    source: PathBuf,
    torrent: PathBuf,
    magnet: String,
}

impl Scene {
    fn new() -> Result<Scene> {
        let stage = Stage::new()?;
        let source = stage.path("content.bin");
        random_file(&source, 1, SIZE)?;
        let torrent = stage.create(&source, &["--piece-length", "64KiB"])?;
        let magnet = stage.show(&torrent)?["magnet"].as_str().context("a link")?.to_owned();
        Ok(Scene { stage, source, torrent, magnet })
    }

    /// Starts a seed that announces itself on the local network.
    fn seed(&self, host: &Host) -> Result<Process> {
        let mut command = self.stage.bt("seed");
        command
            .arg("seed")
            .arg(&self.torrent)
            .arg("-d")
            .arg(self.stage.path(""))
            .args(["--listen", EVERYWHERE]);
        Process::start("seed", &mut host.inside(discover(&mut command, PeersFrom::Lsd)))
    }
}
