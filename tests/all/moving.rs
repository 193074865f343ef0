//! A machine that gets another address in mid-transfer, and machines that have no address but that
//! of their cable.
//!
//! Decides: what happens to addresses, and when. Must not know: how a program notices.
//! Invariant: what counts is payload that comes after the change; the deadline is the product's
//! promise.

use crate::Test;
use anyhow::{Context as _, ensure};
use bt_tests::{
    Host, Net, PATIENCE, PeersFrom, Process, Protocol, Stage, discover, ensure_same, listening,
    random_file, skip,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// The size of the content in bytes: a minute at [`RATE`], so that the change comes in
/// mid-transfer.
const SIZE: u64 = 60 << 20;
const RATE: &str = "1MiB/s";
const PORT: u16 = 6881;
/// The time from the change to the next payload.
const GOES_ON_WITHIN: Duration = Duration::from_secs(10);
/// An amount of payload beyond what the system may buffer from before the change, in bytes.
const NEWS: u64 = 4 << 20;

#[test]
fn a_leecher_that_gets_another_address_goes_on() -> Test {
    goes_on(|_, leecher| leecher)
}

#[test]
fn a_leecher_goes_on_when_its_seed_gets_another_address() -> Test {
    goes_on(|seed, _| seed)
}

/// Takes the address of one of both away in mid-transfer, and gives it another one.
fn goes_on(who_moves: impl for<'a> Fn(&'a Host, &'a Host) -> &'a Host) -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let (tracker_host, seed_host, host) = (net.host()?, net.host()?, net.host()?);
    let stage = Stage::new()?;
    let (_tracker, url) =
        stage.tracker(Protocol::Http, (tracker_host.v4, 0).into(), Some(&tracker_host))?;
    let source = stage.path("data.bin");
    random_file(&source, 1, SIZE)?;
    let torrent = stage.create(&source, &["-a", &url])?;
    let anywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let seed = Process::start(
        "seed",
        &mut seed_host.inside(&stage.seed("seed", &torrent, &stage.path(""), anywhere)),
    )?;
    listening(&seed)?;
    stage.wait_seeders(1, &torrent, Some(&tracker_host))?;
    let mut get = stage.get("get", &torrent, &stage.path("copy"), anywhere);
    let get = Process::start("get", &mut host.inside(get.args(["--down", RATE])))?;
    get.wait_for("payload", PATIENCE, |event| event["bytes_down"].as_u64() >= Some(NEWS))?;

    let moves = who_moves(&seed_host, &host);
    let other = Ipv4Addr::from(u32::from(moves.v4) + 100);
    moves.ip(&format!(
        "address del {}/24 dev eth0\naddress add {other}/24 dev eth0\nroute replace default dev eth0\n",
        moves.v4
    ))?;
    let began = Instant::now();
    let before = get
        .last_event("progress")
        .and_then(|said| said["bytes_down"].as_u64())
        .context("it says how far it is")?;
    get.wait_for("payload after the change", PATIENCE, |event| {
        event["bytes_down"].as_u64() > Some(before + NEWS)
    })
    .with_context(|| format!("the seed:\n{}", seed.transcript()))?;
    // The bytes that prove it take a while at that rate.
    let took = began.elapsed().saturating_sub(Duration::from_secs(NEWS >> 20));
    println!("payload again after {:.1} s", took.as_secs_f64());
    ensure!(
        took < GOES_ON_WITHIN,
        "it went on after {took:?}\n{}\n{}",
        get.transcript(),
        seed.transcript()
    );
    Ok(())
}

#[test]
fn machines_with_no_address_but_that_of_their_cable_find_each_other() -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let (seed_host, host) = (net.host()?, net.host()?);
    for (number, host) in [(1, &seed_host), (2, &host)] {
        host.ip(&format!(
            "address flush dev eth0\naddress add fe80::{number}/64 dev eth0 nodad\n"
        ))?;
    }
    let stage = Stage::new()?;
    let source = stage.path("data.bin");
    random_file(&source, 1, 1 << 20)?;
    let torrent = stage.create(&source, &[])?;
    let anywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    let mut seed = stage.seed("seed", &torrent, &stage.path(""), anywhere);
    let seed = Process::start("seed", &mut seed_host.inside(discover(&mut seed, PeersFrom::Lsd)))?;
    listening(&seed)?;
    // Found by a call on the cable, and by the word of the user.
    let copy = stage.path("copy");
    let mut get = stage.get("get", &torrent, &copy, anywhere);
    Process::run("get", &mut host.inside(discover(&mut get, PeersFrom::Lsd)), PATIENCE)?
        .expect_code(0)?;
    ensure_same(&source, &copy.join("data.bin"))?;
    let copy = stage.path("second copy");
    let mut get = stage.get("second get", &torrent, &copy, anywhere);
    let peer = format!("[fe80::1%eth0]:{PORT}");
    Process::run("second get", &mut host.inside(get.args(["--peer", &peer])), PATIENCE)?
        .expect_code(0)?;
    ensure_same(&source, &copy.join("data.bin"))?;
    Ok(())
}
