//! Programs and libraries that people use with Transmission and qBittorrent, unmodified, against
//! `bt daemon`; and a person's path through its page in Chromium.
//!
//! Decides: the calls. Must not know: the daemon's inside.
//! Invariant: a program that is not installed is a skipped test on a user's machine.

use crate::Test;
use anyhow::{Result, ensure};
use bt_tests::{PATIENCE, Process, RunningDaemon, Seeded};
use std::path::Path;
use std::process::Command;

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

/// Starts a daemon beside a seed of a torrent with a folder of files.
fn beside_a_seed() -> Result<(Process, Seeded, RunningDaemon)> {
    let stage = bt_tests::Stage::new()?;
    let source = stage.path("album");
    bt_tests::tree(&source, 3, 5, 2 << 20)?;
    let (tracker, url) = stage.tracker(bt_tests::Protocol::Http, bt_tests::LOOPBACK, None)?;
    let seeded = Seeded::new(stage, &source, &["-a", &url], &[])?;
    let daemon = RunningDaemon::start(&seeded.stage, "daemon", &seeded.stage.path("data"), &[])?;
    Ok((tracker, seeded, daemon))
}

fn run_script(module: &str, script: &str) -> Test {
    if !has_python(module) {
        bt_tests::skip!("python has no {module}");
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
    run_script("transmission_rpc", include_str!("../scripts/transmission_rpc.py"))
}

#[test]
fn every_call_of_qbittorrent_api_works() -> Test {
    run_script("qbittorrentapi", include_str!("../scripts/qbittorrent_api.py"))
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
    if !is_there {
        bt_tests::skip!("there is no transmission-remote");
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

#[test]
fn the_ctrl_libraries_add_list_and_remove() -> Test {
    let root = Command::new("npm").args(["root", "--global"]).output();
    let root = root.map(|run| String::from_utf8_lossy(&run.stdout).trim().to_owned());
    let root = root.unwrap_or_default();
    if !Path::new(&root).join("@ctrl/qbittorrent").exists() {
        bt_tests::skip!("npm has no @ctrl/qbittorrent");
    }
    let (_tracker, seeded, daemon) = beside_a_seed()?;
    let script = seeded.stage.path("ctrl.mjs");
    std::fs::write(&script, include_str!("../scripts/ctrl.mjs"))?;
    let mut command = Command::new("node");
    command.arg(&script).arg(&root).arg(daemon.api.port().to_string()).arg(&seeded.torrent);
    command.arg(seeded.stage.path("data"));
    Process::run("ctrl", &mut command, PATIENCE)?.expect_code(0)?;
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}
