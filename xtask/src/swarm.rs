//! `swarm-test`: real `bt` processes over loopback.
//!
//! Decides: the processes, and which of them is killed. Must not know: how `bt` works.
//! Invariant: it succeeds only when every surviving copy equals the original.

use anyhow::{Context as _, Result};
use bt_tests::{LOOPBACK, PATIENCE, Process, Protocol, Stage, ensure_same, random_file};
use std::time::Instant;

/// The seeds' uplinks together, so that leechers must share.
const UPLINK_MIB: u32 = 16;

/// The processes of a swarm.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seeds; together they upload at most 16 MiB/s
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    seeds: u32,
    /// Downloaders
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    leechers: u32,
    /// Size of the file in MiB
    #[arg(long, default_value_t = 64, value_name = "MIB")]
    size: u64,
    /// Kill the first seed once a whole copy is elsewhere, or the first leecher when it has half
    #[arg(long, value_enum)]
    kill: Option<Victim>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Victim {
    Seed,
    Leecher,
}

/// Runs the swarm and prints a table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let stage = Stage::new()?;
    let source = stage.path("data.bin");
    let bytes = args.size << 20;
    random_file(&source, 1, bytes)?;
    let (_tracker, url) = stage.tracker(Protocol::Udp, LOOPBACK, None)?;
    let torrent = stage.create(&source, &["--piece-length", "256KiB", "-a", &url])?;

    let mut seeds = Vec::new();
    for number in 1..=args.seeds {
        let mut command =
            stage.seed(&format!("seed {number}"), &torrent, &stage.path(""), LOOPBACK);
        command.args(["--up", &format!("{}KiB/s", UPLINK_MIB * 1024 / args.seeds)]);
        let seed = Process::start("seed", &mut command)?;
        seed.wait_event("ready", PATIENCE)?;
        seeds.push(seed);
    }
    let began = Instant::now();
    let mut leechers = Vec::new();
    for number in 1..=args.leechers {
        let name = format!("leecher {number}");
        let mut command = stage.get(&name, &torrent, &stage.path(&name), LOOPBACK);
        leechers.push((Process::start(&name, command.arg("--seed"))?, name));
    }
    match args.kill {
        None => {}
        Some(Victim::Seed) => {
            leechers[0].0.wait_event("complete", PATIENCE)?;
            seeds.remove(0).kill()?;
        }
        Some(Victim::Leecher) => {
            let (leecher, _) = leechers.remove(0);
            leecher.wait_for("half of the file", PATIENCE, |event| {
                event["bytes_done"].as_u64() >= Some(bytes / 2)
            })?;
            leecher.kill()?;
        }
    }

    // A leecher that is complete before a slower one in the list is timed late, never early.
    let mut times = Vec::new();
    for (leecher, _) in &leechers {
        leecher.wait_event("complete", PATIENCE)?;
        times.push(began.elapsed());
    }
    println!("{:<12} {:>12} {:>14} {:>8}", "who", "from seeds", "from leechers", "seconds");
    for ((leecher, name), took) in leechers.into_iter().zip(times) {
        ensure_same(&source, &stage.path(&name).join("data.bin"))?;
        let summary = leecher.stop(PATIENCE)?.event("summary")?;
        let count = |field: &str| summary[field].as_u64().context("the summary counts bytes");
        let (all, shared) = (count("bytes_downloaded")?, count("bytes_from_leechers")?);
        println!(
            "{name:<12} {:>8} MiB {:>10} MiB {:>8.1}",
            (all - shared) >> 20,
            shared >> 20,
            took.as_secs_f64()
        );
    }
    println!("every copy equals the original");
    Ok(())
}
