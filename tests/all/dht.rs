//! The DHT between real processes on loopback: our nodes, libtorrent's, and a hostile node.
//!
//! Decides: which nodes store and which search. Must not know: how nodes decide.
//! Invariant: a search is repeated until its deadline, so that no test depends on which node joined
//! first.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::foreign::{Libtorrent, Webtorrent};
use bt_tests::{PATIENCE, Process, Stage, listening, skip};
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

const HASH: &str = "0123456789abcdef0123456789abcdef01234567";
/// Where libtorrent's item with the key of BEP 44's test vectors is stored.
const SIGNED_TARGET: &str = "4a533d47ec9c7d95b1ad75f576cffc641853b750";

#[test]
fn libtorrent_and_bt_find_each_others_peers() -> Test {
    let Some(libtorrent) = Libtorrent::find() else {
        skip!("libtorrent's Python binding is not installed")
    };
    let stage = Stage::new()?;
    let (_router, at) = node(&stage, "router", &[])?;
    let theirs = Process::start("libtorrent", &mut libtorrent.dht("announce", HASH, &at))?;
    theirs.wait_event("ready", PATIENCE)?;
    let found = until(
        || dht(&stage, &["get-peers", HASH], &at),
        |found| found["peers"] == json!(["127.0.0.1:7777"]),
    )?;
    ensure!(found["schema"] == "bt.dht/1" && found["info_hash"] == HASH, "{found}");

    let announced =
        dht(&stage, &["get-peers", HASH, "--announce", "8888"], &at)?.expect_code(0)?.last()?;
    ensure!(announced["stored"].as_u64() > Some(0), "{announced}");
    let seeker = Process::start("libtorrent", &mut libtorrent.dht("get-peers", HASH, &at))?;
    seeker.wait_for("our peer", PATIENCE, |said| {
        said["peers"].to_string().contains("127.0.0.1:8888")
    })?;
    Ok(())
}

#[test]
fn bittorrent_dht_and_bt_find_each_others_peers() -> Test {
    let stage = Stage::new()?;
    let (_router, at) = node(&stage, "router", &[])?;
    let Some(mut announcer) = Webtorrent::dht("announce", HASH, &at) else {
        skip!("WebTorrent is not installed")
    };
    let _theirs = Process::start("bittorrent-dht", &mut announcer)?;
    until(
        || dht(&stage, &["get-peers", HASH], &at),
        |found| found["peers"] == json!(["127.0.0.1:7777"]),
    )?;

    dht(&stage, &["get-peers", HASH, "--announce", "8888"], &at)?.expect_code(0)?;
    let mut seeker = Webtorrent::dht("get-peers", HASH, &at).context("it was there")?;
    let seeker = Process::start("bittorrent-dht", &mut seeker)?;
    seeker.wait_for("our peer", PATIENCE, |said| {
        said["peers"].to_string().contains("127.0.0.1:8888")
    })?;
    Ok(())
}

#[test]
fn libtorrent_and_bt_exchange_items() -> Test {
    let Some(libtorrent) = Libtorrent::find() else {
        skip!("libtorrent's Python binding is not installed")
    };
    let stage = Stage::new()?;
    let (_router, at) = node(&stage, "router", &[])?;
    let run = |mode, what: &str| Process::start("libtorrent", &mut libtorrent.dht(mode, what, &at));

    let theirs = run("put", "from libtorrent")?;
    let target =
        theirs.wait_event("put", PATIENCE)?["target"].as_str().context("a target")?.to_owned();
    theirs.wait_event("stored", PATIENCE)?;
    let got = dht(&stage, &["get", &target], &at)?.expect_code(0)?.last()?;
    assert_eq!((&got["value"], &got["seq"]), (&json!("from libtorrent"), &Value::Null));

    let signing = run("put-mutable", "Hello Surroundings!")?;
    signing.wait_event("stored", PATIENCE)?;
    let got = dht(&stage, &["get", SIGNED_TARGET], &at)?.expect_code(0)?.last()?;
    assert_eq!((&got["value"], &got["seq"]), (&json!("Hello Surroundings!"), &json!(1)));

    let put = dht(&stage, &["put", "from bt"], &at)?.expect_code(0)?.last()?;
    let target = put["target"].as_str().context("a target")?;
    run("get", target)?.wait_for("our item", PATIENCE, |said| said["value"] == "from bt")?;
    for (version, text) in [(1, "first"), (2, "second")] {
        let put = dht(&stage, &["put", text, "--key", "key"], &at)?.expect_code(0)?.last()?;
        assert_eq!(put["seq"], version);
        let key = put["key"].as_str().context("a key")?;
        run("get-mutable", key)?.wait_for("our item", PATIENCE, |said| said["value"] == text)?;
    }
    Ok(())
}

#[test]
fn nodes_find_each_other_through_one_that_they_know() -> Test {
    let stage = Stage::new()?;
    let (router, at) = node(&stage, "router", &[])?;
    let others: Vec<(Process, String)> = (0..4)
        .map(|number| node(&stage, &format!("node {number}"), &["--dht-bootstrap", &at]))
        .collect::<Result<_>>()?;
    // Through the last node, which knows the others from the first.
    let last = &others[3].1;
    let announce = || dht(&stage, &["get-peers", HASH, "--announce", "7000"], last);
    until(announce, |announced| announced["stored"] == 5)?;
    let found = dht(&stage, &["get-peers", HASH, "--scrape"], &at)?.expect_code(0)?.last()?;
    assert_eq!(found["peers"], json!(["127.0.0.1:7000"]));
    assert_eq!(
        (&found["seeds_estimated"], &found["leechers_estimated"]),
        (&json!(0), &json!(1)),
        "{found}"
    );
    let pong = dht(&stage, &["ping", last], &at)?.expect_code(0)?.last()?;
    ensure!(pong["id"].as_str().is_some_and(|id| id.len() == 40), "{pong}");
    let summary = router.stop(PATIENCE)?.expect_code(0)?.event("summary")?;
    ensure!(summary["torrents"] == 1 && summary["nodes"] == 4, "{summary}");
    Ok(())
}

#[test]
fn commands_say_why_they_fail() -> Test {
    let stage = Stage::new()?;
    let (_router, at) = node(&stage, "router", &[])?;
    let closed = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let cases: &[(i32, &[&str], &str)] = &[
        (2, &["get-peers", HASH], ""),
        (2, &["get-peers", "xyz"], &at),
        (2, &["get-peers", HASH, "--announce", "0"], &at),
        (2, &["put", "text", "--salt", "s"], &at),
        (6, &["put", "text", "--key", "."], &at),
        (5, &["get", HASH], &at),
        (5, &["get-peers", HASH, "--timeout", "1s"], &closed),
        (5, &["ping", &closed], &at),
    ];
    for (code, args, bootstrap) in cases {
        let finished = dht(&stage, args, bootstrap)?
            .expect_code(*code)
            .with_context(|| format!("bt dht {args:?}"))?;
        ensure!(!finished.err.is_empty(), "bt dht {args:?} failed without a word");
    }
    Ok(())
}

/// A foreign node that answers no ping: it gets at most three times the bytes that it sent, and
/// cannot store.
#[test]
fn a_stranger_is_not_amplified_and_stores_nothing_without_a_token() -> Test {
    let stage = Stage::new()?;
    let (_router, at) = node(&stage, "router", &[])?;
    let others: Vec<(Process, String)> = (0..10)
        .map(|number| node(&stage, &format!("node {number}"), &["--dht-bootstrap", &at]))
        .collect::<Result<_>>()?;
    let full = |finished: &Value| finished["answers"].as_u64() >= Some(8);
    until(|| dht(&stage, &["get-peers", HASH], &others[9].1), full)?;

    let stranger = UdpSocket::bind("127.0.0.1:0")?;
    stranger.set_read_timeout(Some(Duration::from_millis(500)))?;
    let (mut sent, mut received) = (0, 0);
    for number in 0..20_u8 {
        let target = [number.wrapping_mul(13); 20];
        let query = [
            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:".as_slice(),
            &target,
            b"e1:q9:get_peers1:t2:aa1:y1:qe",
        ]
        .concat();
        sent += stranger.send_to(&query, &at)?;
        let mut buffer = [0; 2048];
        while let Ok(len) = stranger.recv(&mut buffer) {
            received += len;
            if buffer.starts_with(b"d2:ip") {
                break;
            }
        }
    }
    println!(
        "a stranger sent {sent} bytes and got {received}: {:.2} times as much",
        f64::from(u32::try_from(received)?) / f64::from(u32::try_from(sent)?)
    );
    ensure!(received > sent && received <= 3 * sent, "sent {sent} bytes, got {received}");

    let forged = [
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:".as_slice(),
        &[7; 20],
        b"4:porti7000e5:token8:aoeusnthe1:q13:announce_peer1:t2:bb1:y1:qe",
    ]
    .concat();
    stranger.send_to(&forged, &at)?;
    let mut buffer = [0; 2048];
    let len = loop {
        let len = stranger.recv(&mut buffer).context("the node answers")?;
        if buffer[..len].windows(7).any(|window| window == b"1:t2:bb") {
            break len;
        }
    };
    ensure!(buffer.starts_with(b"d1:eli203e"), "{}", buffer[..len].escape_ascii());
    let found = dht(&stage, &["get-peers", &"07".repeat(20)], &at)?.expect_code(0)?.last()?;
    assert_eq!(found["peers"], json!([]));
    Ok(())
}

/// Starts `bt dht node` on loopback and returns it with its address.
fn node(stage: &Stage, who: &str, options: &[&str]) -> Result<(Process, String)> {
    let mut command: Command = stage.bt(who);
    let node = Process::start(
        who,
        command.args(["dht", "node", "--listen", "127.0.0.1:0"]).args(options),
    )?;
    let at = listening(&node)?;
    Ok((node, at))
}

/// Runs `bt dht ARGS` with `bootstrap` as bootstrap node; an empty text means none.
fn dht(stage: &Stage, args: &[&str], bootstrap: &str) -> Result<bt_tests::Finished> {
    let mut command = stage.bt("asker");
    command.arg("dht").args(args).args(["--listen", "127.0.0.1:0"]);
    if !bootstrap.is_empty() {
        command.args(["--dht-bootstrap", bootstrap]);
    }
    Process::run("dht", &mut command, PATIENCE)
}

/// Repeats a command until its output is accepted.
fn until(
    run: impl Fn() -> Result<bt_tests::Finished>,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = run()?.last()?;
        if wanted(&said) {
            return Ok(said);
        }
        ensure!(Instant::now() < deadline, "it did not come; at last: {said}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
