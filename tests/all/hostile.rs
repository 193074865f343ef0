//! Bad input of every kind: torrents, trackers, peers, disks, forged datagrams. The battery has
//! more cases.
//!
//! Decides: which input is bad. Must not know: where it is refused.
//! Invariant: every refusal has its exit code and states the reason; nothing outside the download
//! folder changes.

use crate::Test;
use crate::liars::{Kind, Liar};
use anyhow::{Context as _, Result, ensure};
use bt_tests::{
    Canary, Finished, LOOPBACK, PATIENCE, Process, Protocol, Seeded, SmallDisk, Stage, ensure_same,
    listening, random_file, skip,
};
use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;

#[test]
fn truncated_torrents_are_refused() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("content");
    bt_tests::tree(&source, 1, 20, 1 << 20)?;
    let whole = fs::read(stage.create(&source, &["-a", "http://127.0.0.1/announce"])?)?;
    let cut = stage.path("cut.torrent");
    for len in (0..whole.len()).step_by(whole.len() / 40) {
        fs::write(&cut, &whole[..len])?;
        let finished = Process::run("show", stage.bt("victim").arg("show").arg(&cut), PATIENCE)?;
        refused(finished).with_context(|| format!("{len} of {} bytes", whole.len()))?;
    }
    Ok(())
}

/// Checks exit code 3, one error object on standard output, and a message on standard error.
fn refused(finished: Finished) -> Test {
    let finished = finished.expect_code(3)?;
    let error = finished.last()?;
    ensure!(error["schema"] == "bt.error/1", "{error}");
    ensure!(error["code"].as_str().is_some_and(|code| !code.is_empty()), "{error}");
    ensure!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
    ensure!(
        finished.err.starts_with("bt: ") && !finished.err.contains("panicked"),
        "standard error: {}",
        finished.err
    );
    Ok(())
}

/// Names that may be accidents are renamed; the new names stay below the download folder.
#[test]
fn awkward_names_are_renamed() -> Test {
    let stage = Stage::new()?;
    let cases = [
        ("l0:3:etc6:passwde", r#"["a","etc","passwd"]"#),
        ("l12:../../passwde", r#"["a",".._.._passwd"]"#),
        ("l1:.1:be", r#"["a","_","b"]"#),
        ("l7:nul.txte", r#"["a","_nul.txt"]"#),
        ("l3:b\\ce", r#"["a","b_c"]"#),
    ];
    for (path, stored) in cases {
        let torrent = stage.path("awkward.torrent");
        let files = format!(
            "5:filesld6:lengthi9e4:path{path}ee4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa"
        );
        fs::write(&torrent, format!("d4:infod{files}ee"))?;
        let shown = stage.show(&torrent)?;
        assert_eq!(shown["files"][0]["path"].to_string(), stored);
        ensure!(
            shown["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty()),
            "{path}: the user was not warned"
        );
    }
    Ok(())
}

#[test]
fn a_tracker_that_returns_rubbish_is_a_network_failure() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("data.bin");
    random_file(&source, 1, 1 << 20)?;
    let nested: &'static str = Box::leak("l".repeat(100_000).into_boxed_str());
    let liars = [
        ("http", Liar::http_tracker(b"\xff\x00 this is no bencode")?),
        ("http", Liar::http_tracker(nested.as_bytes())?),
        ("http", Liar::http_tracker(b"d5:peers7:1234567e")?),
        ("udp", Liar::udp_tracker()?),
    ];
    // All run at once: each takes the whole time.
    let mut gets = Vec::new();
    for (number, (scheme, liar)) in liars.iter().enumerate() {
        let torrent =
            stage.create(&source, &["-a", &format!("{scheme}://{}/announce", liar.at)])?;
        let own = stage.path(format!("{number}.torrent"));
        fs::rename(torrent, &own)?;
        let mut command = stage.get(
            &format!("get {number}"),
            &own,
            &stage.path(format!("copy {number}")),
            LOOPBACK,
        );
        gets.push(Process::start("get", command.args(["--timeout", "5s"]))?);
    }
    for (get, (_, liar)) in gets.into_iter().zip(&liars) {
        let error = get.finish(PATIENCE)?.expect_code(5)?.event("error")?;
        ensure!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        ensure!(liar.lies() > 0, "the tracker was not asked");
    }
    Ok(())
}

#[test]
fn a_full_disk_is_a_disk_failure_after_the_timeout() -> Test {
    let scene = Seeded::file(24 << 20, &[])?;
    let Some((_disk, copy)) = small_disk(&scene.stage)? else {
        skip!("a small file system cannot be mounted: not root")
    };
    let mut command = scene.get("get", &copy);
    let finished =
        Process::run("get", command.args(["--timeout", "5s"]), PATIENCE)?.expect_code(6)?;
    let error = finished.event("error")?;
    ensure!(error["code"] == "no_space", "{error}");
    ensure!(
        finished.event("reason")?["reason"] == "no_space",
        "the cause was not said while it waited"
    );
    Ok(())
}

#[test]
fn a_full_disk_pauses_a_download_that_goes_on_when_there_is_room() -> Test {
    let scene = Seeded::file(24 << 20, &[])?;
    let Some((disk, copy)) = small_disk(&scene.stage)? else {
        skip!("a small file system cannot be mounted: not root")
    };
    let get = Process::start("get", &mut scene.get("get", &copy))?;
    get.wait_for("the reason", PATIENCE, |event| event["reason"] == "no_space")?;
    disk.grow(64)?;
    get.finish(PATIENCE)?.expect_code(0)?;
    ensure_same(&scene.source, &copy.join("data.bin"))
}

fn small_disk(stage: &Stage) -> Result<Option<(SmallDisk, PathBuf)>> {
    let copy = stage.path("small disk");
    fs::create_dir(&copy)?;
    Ok(SmallDisk::mount(&copy, 8).map(|disk| (disk, copy)))
}

#[test]
fn beside_peers_that_send_rubbish_the_transfer_completes() -> Test {
    // The honest seed is so slow that the download asks the liars, too.
    let scene = Seeded::file(16 << 20, &["--up", "4MiB/s"])?;
    let shown = scene.stage.show(&scene.torrent)?;
    let hash = scene.stage.info_hash(&scene.torrent)?.0;
    let pieces = shown["piece_count"].as_u64().context("the torrent has pieces")? as usize;
    let kinds = [Kind::Noise, Kind::HugeFrame, Kind::BadMessages, Kind::Poison];
    let liars = kinds.map(|kind| Liar::peer(kind, hash, pieces).map(|liar| (kind, liar)));
    let liars = liars.into_iter().collect::<Result<Vec<_>>>()?;
    let copy = scene.stage.path("copy");
    let mut command = scene.get("get", &copy);
    for (_, liar) in &liars {
        command.args(["--peer", &liar.at.to_string()]);
    }
    Process::run("get", &mut command, PATIENCE)?.expect_code(0)?;
    ensure_same(&scene.source, &copy.join("data.bin"))?;
    for (kind, liar) in &liars {
        ensure!(liar.lies() > 0, "{kind:?} had no occasion to lie");
    }
    Ok(())
}

#[test]
fn a_symbolic_link_in_the_download_folder_is_not_followed() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("content");
    bt_tests::tree(&source, 5, 30, 1 << 20)?;
    let torrent = stage.create(&source, &[])?;
    let seed =
        Process::start("seed", &mut stage.seed("seed", &torrent, &stage.path(""), LOOPBACK))?;
    let at = listening(&seed)?;
    let canary = Canary::new(&stage)?;
    fs::create_dir(canary.downloads.join("content"))?;
    std::os::unix::fs::symlink(&canary.neighbour, canary.downloads.join("content/dir 0"))?;
    let mut command = stage.get("get", &torrent, &canary.downloads, LOOPBACK);
    Process::run("get", command.args(["--peer", &at, "--timeout", "5s"]), PATIENCE)?
        .expect_code(6)?;
    canary.ensure_untouched()
}

/// BEP 15: a connection id proves that its owner can receive at its address.
#[test]
fn a_forged_connection_id_gets_no_answer() -> Test {
    let stage = Stage::new()?;
    let (_tracker, url) = stage.tracker(Protocol::Udp, LOOPBACK, None)?;
    let at = url.trim_start_matches("udp://").trim_end_matches("/announce").to_owned();
    let socket = UdpSocket::bind(LOOPBACK)?;
    socket.connect(&at)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let ask = |datagram: &[u8]| -> Result<Vec<u8>> {
        socket.send(datagram)?;
        let mut answer = [0; 2048];
        let len = socket.recv(&mut answer)?;
        Ok(answer[..len].to_vec())
    };
    let connect = |transaction: u32| {
        [&0x0417_2710_1980_u64.to_be_bytes()[..], &[0; 4], &transaction.to_be_bytes()].concat()
    };
    let announce = |connection: &[u8], transaction: u32| {
        let numbers = [&1_u32.to_be_bytes()[..], &transaction.to_be_bytes()].concat();
        let rest =
            [&[7; 20][..], b"-XX0001-abcdefghijkl", &[0; 40], &[0xff; 4], &6881_u16.to_be_bytes()]
                .concat();
        [connection, &numbers, &rest].concat()
    };
    for forged in [[0; 8], [0xff; 8], 0x0417_2710_1980_u64.to_be_bytes()] {
        // Datagrams on loopback keep their order: an answer to the forged one would come first.
        socket.send(&announce(&forged, 1))?;
        let answer = ask(&connect(2))?;
        assert_eq!(answer[..8], [0, 0, 0, 0, 0, 0, 0, 2], "the forged id was answered: {answer:?}");
        let mut real = answer[8..].to_vec();
        assert_eq!(
            ask(&announce(&real, 3))?[..8],
            [0, 0, 0, 1, 0, 0, 0, 3],
            "the real id is not accepted"
        );
        real[7] ^= 1;
        socket.send(&announce(&real, 4))?;
        assert_eq!(
            ask(&connect(5))?[..8],
            [0, 0, 0, 0, 0, 0, 0, 5],
            "an id with one changed bit was answered"
        );
    }
    Ok(())
}
