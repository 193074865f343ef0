//! `torture`: kills, power cuts, full and failing disks, changed files and misbehaviour of every
//! kind, with real `bt` processes.
//!
//! Decides: the ordeals and the promises. Must not know: how `bt` keeps a promise.
//! Invariant: a broken promise fails the run; an ordeal that cannot run here is reported as
//! skipped, and fails in CI.

mod battery;
mod beside;
mod changed;
mod cuts;
mod disks;
mod full;
mod kills;

use crate::median::median;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// The extent of a run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of kills
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Number of power cuts
    #[arg(long, default_value_t = 50)]
    cuts: u32,
    /// A few rounds of everything
    #[arg(long)]
    short: bool,
    /// Only these ordeals; repeat for more
    #[arg(long, value_enum)]
    only: Vec<Ordeal>,
    /// Seed of the random moments; equal seeds give equal moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The number of rounds of [`Ordeal::Beside`] in a short run, which take under a minute.
const BESIDE_SHORT: u32 = 16;

/// An ordeal of processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Ordeal {
    /// Killed and started again
    Kills,
    /// The power of the disk is cut
    Cuts,
    /// The disk is full, and grows
    Full,
    /// Files change under a seed
    Changed,
    /// The disk goes away, and comes back
    Disks,
    /// Another program writes, cuts, links, renames and makes files beside a download
    Beside,
    /// Peers, trackers, torrents and journals misbehave; not in short, as the tests play it too
    Battery,
}

/// Runs every ordeal, prints the result of each, and fails when a promise was broken.
pub(crate) fn run(args: &Args) -> Result<()> {
    let (rounds, cuts) = if args.short { (6, 2) } else { (args.rounds, args.cuts) };
    let mut broken = Vec::new();
    for ordeal in [
        Ordeal::Kills,
        Ordeal::Cuts,
        Ordeal::Full,
        Ordeal::Changed,
        Ordeal::Disks,
        Ordeal::Beside,
        Ordeal::Battery,
    ] {
        let is_meant = if args.only.is_empty() {
            !args.short || ordeal != Ordeal::Battery
        } else {
            args.only.contains(&ordeal)
        };
        if !is_meant {
            continue;
        }
        let began = Instant::now();
        let done = match ordeal {
            Ordeal::Kills => kills::run(rounds, args.seed, args.short),
            Ordeal::Cuts => cuts::run(cuts, args.seed, args.short),
            Ordeal::Full => full::run(),
            Ordeal::Changed => changed::run(args.short),
            Ordeal::Disks => disks::run(),
            Ordeal::Beside => {
                beside::run(if args.short { BESIDE_SHORT } else { args.rounds }, args.seed)
            }
            Ordeal::Battery => battery::run(),
        };
        match done {
            Ok(()) => {
                println!("{ordeal:?}: {:.0} s, every promise kept\n", began.elapsed().as_secs_f64())
            }
            Err(error) => {
                println!("{ordeal:?}: {:.0} s, BROKEN: {error:#}\n", began.elapsed().as_secs_f64());
                broken.push(format!("{ordeal:?}: {error:#}"));
            }
        }
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    Ok(())
}

/// Prints a row of the table: the median and the maximum of figures.
fn row(what: &str, unit: &str, figures: &[f64]) {
    let most = figures.iter().copied().fold(0.0, f64::max);
    println!(
        "  {what:<44} median {:>8.2} {unit:<4} max {most:>8.2} {unit}",
        median(figures.iter().copied())
    );
}

/// Lets the processes run for `moment`.
fn let_run(moment: Duration) {
    std::thread::sleep(moment);
}
