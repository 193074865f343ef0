//! The cost of connected peers that do nothing.
//!
//! Decides: the number of peers and the time of the measurement. Must not know: how a connection is
//! kept.
//! Invariant: both sides keep the same peers in the same way; each peer has exchanged handshakes
//! and received the claims.

use super::Bench;
use super::many::{IDLE, PIECES, sides};
use super::table::{Table, number};
use anyhow::{Context as _, Result};
use bt_tests::{Asker, PATIENCE, Process, Stage, listening};
use std::process::Command;

const TORRENTS: u64 = 10;
/// The number of peers of each torrent: 500 in all, the default limit of `bt`.
const PEERS: u64 = 50;

/// Measures five hundred idle peers, in `bt` and in libtorrent.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let stage = Stage::within(&bench.args.folder)?;
    let mut sides = sides(bench, "idle", &stage, TORRENTS)?;
    let title = format!(
        "idle: {} connected peers of {TORRENTS} torrents that do nothing",
        TORRENTS * PEERS
    );
    let mut table = Table::new(title, &["", "KiB each", "CPU, % of a core"]);
    for (name, command) in &mut sides {
        for _ in 0..bench.args.runs {
            look(bench, &stage, name, command)?;
        }
        let median = |what: &str| bench.figures.median(&format!("idle/{name}/{what}"));
        let cells =
            [number(median("memory").map(|bytes| bytes / 1024.0), 1), number(median("cpu"), 2)];
        table.row([(*name).to_owned()].into_iter().chain(cells));
    }
    bench.show(table);
    Ok(())
}

fn look(bench: &mut Bench<'_>, stage: &Stage, name: &str, command: &mut Command) -> Result<()> {
    let mut process = Process::start_told(name, command)?;
    process.wait_event("open", PATIENCE)?;
    process.tell("begin")?;
    let at = listening(&process)?;
    let torrents = (0..TORRENTS)
        .map(|number| stage.info_hash(&stage.path(format!("torrents/{number:05}.torrent"))));
    let torrents = torrents.collect::<Result<Vec<_>>>()?;
    let before = process.memory()?;
    let meet = |n: u64| {
        Asker::meet(&at, torrents[(n % TORRENTS) as usize].0, PIECES as usize)
            .with_context(|| format!("peer {n}"))
    };
    let peers = (0..TORRENTS * PEERS)
        .map(meet)
        .collect::<Result<Vec<_>>>()
        .with_context(|| name.to_owned())?;
    let (memory, cpu) = (process.memory()?, process.cpu_seconds()?);
    // This is the period of the measurement, not a wait for an event.
    std::thread::sleep(IDLE);
    let idle = (process.cpu_seconds()? - cpu) / IDLE.as_secs_f64() * 100.0;
    bench.figures.add(
        format!("idle/{name}/memory"),
        memory.saturating_sub(before) as f64 / peers.len() as f64,
    );
    bench.figures.add(format!("idle/{name}/cpu"), idle);
    Ok(())
}
