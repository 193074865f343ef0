//! One poisoner among honest seeds, each in a network namespace of its own.
//!
//! Decides: how it lies, and how many bad pieces are allowed. Must not know: how `bt` finds the
//! peer that lied.
//! Invariant: the poisoner is faster than all honest seeds together, so that it is always asked.

use crate::Test;
use crate::liars::{Liar, Poisoner};
use anyhow::{Context as _, Result, ensure};
use bt_tests::{
    Bt, Client as _, ClientConfig, Host, Net, PATIENCE, Process, Running, Stage, ensure_same,
    random_file, skip,
};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

const HONEST: usize = 9;

/// The uplink of an honest seed.
const UPLINK: &str = "8mbit";

const SIZE: u64 = 20 << 20;
const PIECE: usize = 256 << 10;

#[test]
fn a_peer_that_sends_nothing_but_poison_spoils_no_download() -> Test {
    beside("all bad", 0, 100, 2)
}

#[test]
fn a_peer_that_turns_bad_after_ten_pieces_spoils_no_download() -> Test {
    beside("20 % bad after ten pieces", 10 * PIECE, 20, 5)
}

/// `allowed`: how many wrong pieces the download may meet until it knows the poisoner.
fn beside(how: &str, honest: usize, percent: u64, allowed: u64) -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let stage = Stage::new()?;
    let source = stage.path("data.bin");
    random_file(&source, 1, SIZE)?;
    let torrent = stage.create(&source, &["--piece-length", &PIECE.to_string()])?;
    let hash = stage.info_hash(&torrent)?.0;

    let hosts = (0..HONEST).map(|_| honest_host(&net)).collect::<Result<Vec<_>>>()?;
    let seeds = hosts.iter().enumerate().map(|(number, host)| {
        let home = stage.path(format!("home of seed {number}"));
        Bt::SEED.share(&ClientConfig::new(host, &torrent, &stage.path(""), &home))
    });
    let mut seeds = seeds.collect::<Result<Vec<Box<dyn Running>>>>()?;
    for seed in &mut seeds {
        seed.wait_complete(PATIENCE)?;
    }
    let bad_host = net.host()?;
    let poisoner =
        Poisoner { content: Arc::new(fs::read(&source)?), piece: PIECE, honest, percent };
    let liar = Liar::poisoner(poisoner, &bad_host, hash)?;

    let copy = stage.path("copy");
    let mut command = stage.get("get", &torrent, &copy, (Ipv4Addr::UNSPECIFIED, 6881).into());
    command.args(["--peer", &liar.at.to_string()]);
    for host in &hosts {
        command.args(["--peer", &SocketAddr::from((host.v4, 6881)).to_string()]);
    }
    let get = Process::run("get", &mut net.host()?.inside(&command), PATIENCE)?.expect_code(0)?;
    ensure_same(&source, &copy.join("data.bin"))?;
    let summary = get.event("summary")?;
    let count =
        |field: &str| summary[field].as_u64().with_context(|| format!("the summary has {field}"));
    let (bad, banned) = (count("pieces_bad")?, count("peers_banned")?);
    println!("{how}: {} wrong blocks sent, {bad} wrong pieces, {banned} banned", liar.lies());
    ensure!(liar.lies() > 0, "it had no occasion to lie");
    ensure!(bad <= allowed, "{bad} wrong pieces, {allowed} allowed");
    // The nine honest seeds sent right bytes, so a peer that is banned for certainly wrong bytes is
    // the poisoner.
    ensure!(banned == 1, "{banned} were banned, of one poisoner and {HONEST} honest seeds");
    Ok(())
}

fn honest_host(net: &Net) -> Result<Host> {
    let host = net.host()?;
    host.shape(UPLINK)?;
    Ok(host)
}
