//! Programs and libraries that people use with Transmission and qBittorrent, unmodified, against
//! `bt daemon`; and a person's path through its page in Chromium.
//!
//! Decides: the calls. Must not know: the daemon's inside.
//! Invariant: a program that is not installed is a skipped test on a user's machine.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{LOOPBACK, PATIENCE, Process, RunningDaemon, Seeded};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A script that tells which calls of its library it did not make.
macro_rules! watched {
    ($script:literal) => {
        concat!(include_str!("../scripts/calls.py"), include_str!(concat!("../scripts/", $script)))
    };
}

fn has_python(module: &str) -> bool {
    let import = format!("import {module}");
    Command::new("python3").args(["-c", &import]).output().is_ok_and(|run| run.status.success())
}

fn python(name: &str, script: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-W", "ignore", "-c", script]).args(args).env_remove("BT_API");
    Process::run(name, &mut command, PATIENCE)?.expect_code(0)?;
    Ok(())
}

/// Starts a daemon beside a foreign seed of a torrent with a folder of files.
fn beside_a_seed() -> Result<(Process, Seeded, RunningDaemon)> {
    let stage = bt_tests::Stage::new()?;
    let source = stage.path("album");
    bt_tests::tree(&source, 3, 5, 2 << 20)?;
    let (tracker, url) = stage.tracker(bt_tests::Protocol::Http, LOOPBACK, None)?;
    let seeded = Seeded::foreign(stage, &source, &url)?;
    let daemon = RunningDaemon::start(&seeded.stage, "daemon", &seeded.stage.path("data"), &[])?;
    Ok((tracker, seeded, daemon))
}

fn run_script(module: &str, script: &str) -> Test {
    for module in [module, "libtorrent"] {
        if !has_python(module) {
            bt_tests::skip!("python has no {module}");
        }
    }
    let (_tracker, seeded, daemon) = beside_a_seed()?;
    let port = daemon.api.port().to_string();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (torrent, dir) = (text(&seeded.torrent), text(&seeded.stage.path("data")));
    python(module, script, &[&port, &torrent, &dir, &seeded.at])?;
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

#[test]
fn every_call_of_transmission_rpc_works() -> Test {
    run_script("transmission_rpc", watched!("transmission_rpc.py"))
}

#[test]
fn every_call_of_qbittorrent_api_works() -> Test {
    run_script("qbittorrentapi", watched!("qbittorrent_api.py"))
}

#[test]
fn a_library_of_json_rpc_drives_it() -> Test {
    run_script("jsonrpcclient", include_str!("../scripts/jsonrpc.py"))
}

#[test]
fn a_person_finds_a_way_through_the_page() -> Test {
    if !Path::new("/usr/bin/chromium").exists() {
        bt_tests::skip!("there is no chromium");
    }
    run_script("playwright", include_str!("../scripts/page.py"))
}

#[test]
fn transmission_remote_adds_lists_and_removes() -> Test {
    let is_there = Command::new("transmission-remote").arg("-V").output().is_ok();
    if !is_there || !has_python("libtorrent") {
        bt_tests::skip!("there is no transmission-remote, or python has no libtorrent");
    }
    let (_tracker, seeded, daemon) = beside_a_seed()?;
    let torrent = seeded.torrent.to_string_lossy().into_owned();
    let remote = |args: &[&str]| -> Result<String> {
        let mut command = Command::new("transmission-remote");
        command.arg(daemon.api.to_string()).args(args);
        let finished = Process::run("transmission-remote", &mut command, PATIENCE)?;
        ensure!(!finished.out.contains("Error"), "{args:?}: {}", finished.out);
        Ok(finished.expect_code(0)?.out)
    };
    remote(&["-a", &torrent])?;
    let hash = seeded.stage.info_hash(&seeded.torrent)?.to_string();
    daemon.wait_torrent(&hash, "the download", |row| row["complete"] == true)?;
    ensure!(remote(&["-l"])?.contains("100%"));
    for (args, said) in [
        (&["-t", "1", "-i"][..], &hash[..]),
        (&["-t", "1", "-if"], "album/"),
        (&["-t", "1", "-it"], "Tracker 0"),
        (&["-t", "1", "-ip"], "Address"),
        (&["-t", "1", "-ic"], "11"),
        (&["-t", "all", "-l"], "album"),
        (&["-t", "active", "-l"], "album"),
        (&["-si"], "Download directory"),
        (&["-st"], "CURRENT SESSION"),
        (&["-t", "1", "-G", "1"], "success"),
        (&["-t", "1", "-g", "1"], "success"),
        (&["-t", "1", "-ph", "0"], "success"),
        (&["-t", "1", "-sr", "2.5"], "success"),
        (&["-t", "1", "-td", "http://127.0.0.1:1/announce"], "success"),
        (&["-t", "1", "-d", "100"], "success"),
        (&["-t", "1", "-v"], "success"),
        (&["-t", "1", "-S"], "success"),
        (&["-t", "1", "-s"], "success"),
        (&["-t", "1", "--reannounce"], "success"),
        (&["-d", "500"], "success"),
        (&["-D"], "success"),
        (&["-as"], "success"),
        (&["-AS"], "success"),
        (&["-t", "1", "-rad"], "success"),
    ] {
        let out = remote(args)?;
        ensure!(out.contains(said), "{args:?}: {out}");
    }
    ensure!(!seeded.stage.path("data").join("album").exists(), "its data is deleted");
    remote(&["--exit"])?;
    daemon.process.finish(PATIENCE)?.expect_code(0)?;
    Ok(())
}

/// Returns npm's folder of global packages, if it has this one.
fn npm_root(package: &str) -> Option<PathBuf> {
    let run = Command::new("npm").args(["root", "--global"]).output().ok()?;
    let root = PathBuf::from(String::from_utf8_lossy(&run.stdout).trim());
    root.join(package).exists().then_some(root)
}

#[test]
fn every_call_of_the_ctrl_libraries_works() -> Test {
    let Some(root) = npm_root("@ctrl/qbittorrent").filter(|_| has_python("libtorrent")) else {
        bt_tests::skip!("npm has no @ctrl/qbittorrent, or python has no libtorrent");
    };
    let (_tracker, seeded, daemon) = beside_a_seed()?;
    let script = seeded.stage.path("ctrl.mjs");
    std::fs::write(&script, include_str!("../scripts/ctrl.mjs"))?;
    let mut command = Command::new("node");
    command.arg(&script).arg(&root).arg(daemon.api.port().to_string()).arg(&seeded.torrent);
    command.arg(seeded.stage.path("data")).arg(&seeded.at);
    Process::run("ctrl", &mut command, PATIENCE)?.expect_code(0)?;
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

/// Runs Flood's server before a daemon, and drives it over its own API.
fn flood(client: impl Fn(&str) -> Vec<String>) -> Test {
    let Some(root) = npm_root("flood").filter(|_| has_python("libtorrent")) else {
        bt_tests::skip!("npm has no flood, or python has no libtorrent");
    };
    let (_tracker, seeded, daemon) = beside_a_seed()?;
    // The port was free a moment ago.
    let at = TcpListener::bind(LOOPBACK)?.local_addr()?;
    let mut command = Command::new("node");
    command.arg(root.join("flood/dist/index.js")).args(["--auth", "none", "--host", "127.0.0.1"]);
    command.args(["--port", &at.port().to_string(), "--rundir"]).arg(seeded.stage.path("flood"));
    command.args(client(&format!("http://{}", daemon.api))).env("HOME", seeded.stage.path(""));
    let flood = Process::start("flood", &mut command)?;
    let mut command = Command::new("node");
    let script = seeded.stage.path("flood.mjs");
    std::fs::write(&script, include_str!("../scripts/flood.mjs"))?;
    command.arg(&script).arg(format!("http://{at}")).arg(&seeded.torrent);
    command.arg(seeded.stage.path("data"));
    Process::run("the user of flood", &mut command, PATIENCE)?
        .expect_code(0)
        .with_context(|| flood.transcript())?;
    ensure!(!seeded.stage.path("data/moved/album").exists(), "its data is deleted");
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

#[test]
fn flood_takes_it_for_qbittorrent() -> Test {
    flood(|url| ["--qburl", url, "--qbuser", "bt", "--qbpass", "any"].map(str::to_owned).to_vec())
}

#[test]
fn flood_takes_it_for_transmission() -> Test {
    flood(|url| {
        let rpc = format!("{url}/transmission/rpc");
        ["--trurl", &rpc, "--truser", "bt", "--trpass", "any"].map(str::to_owned).to_vec()
    })
}
