//! `sim`: a named simulation, again; or over many seeds, with its goals.
//!
//! Decides: what is printed. Must not know: what a scenario does.
//! Invariant: the trace hash is printed, so that two runs can be compared; a goal that is missed is
//! an error.

mod chart;

use anyhow::{Context as _, Result, bail};
use bt_sim::goals::goals;
use bt_sim::{Report, scenarios};
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The simulation to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The scenario
    #[arg(
        value_parser = clap::builder::PossibleValuesParser::new(scenarios::names()),
        required_unless_present = "hashes"
    )]
    name: Option<String>,
    /// Seed of all chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run with all of these seeds and print a row for each
    #[arg(long, value_name = "A..B", value_parser = parse_seeds, conflicts_with_all = ["seed", "trace", "chart"])]
    seeds: Option<RangeInclusive<u64>>,
    /// Print the trace hash of each scenario, or of the named one: a change that changes nothing
    /// keeps them all
    #[arg(long, conflicts_with_all = ["seeds", "trace", "chart"])]
    hashes: bool,
    /// Print every order of every engine
    #[arg(long)]
    trace: bool,
    /// Draw the swarm's progress
    #[arg(long, value_name = "FILE.svg")]
    chart: Option<PathBuf>,
}

/// Runs the simulation and prints the report, or a table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Some(name) = args.name.as_deref().filter(|_| !args.hashes) else {
        return hashes(args.name.as_deref(), args.seed);
    };
    if let Some(seeds) = &args.seeds {
        return many(name, seeds.clone());
    }
    let report = if args.trace {
        let mut out = std::io::BufWriter::new(std::io::stdout());
        let sink =
            move |now, host: &str, line: &str| drop(writeln!(out, "{now:>12} {host:<12} {line}"));
        scenarios::run_traced(name, args.seed, Box::new(sink))?
    } else {
        scenarios::run(name, args.seed)?
    };
    println!("{report}");
    if let Some(file) = &args.chart {
        let title = format!("{name}, seed {}", args.seed);
        std::fs::write(file, chart::draw(&title, &report))
            .with_context(|| file.display().to_string())?;
    }
    judge(name, &[report])
}

/// Prints the trace hash of each scenario, in the order of their list.
fn hashes(name: Option<&str>, seed: u64) -> Result<()> {
    let names: Vec<&str> =
        scenarios::names().filter(|listed| name.is_none_or(|name| name == *listed)).collect();
    let reports = on_all_cores(&names, |name| Ok(scenarios::run(name, seed)?))?;
    for (name, report) in names.iter().zip(reports) {
        println!("{:016x}  {name}", report.trace_hash);
    }
    Ok(())
}

/// Runs all seeds on all cores.
fn many(name: &str, seeds: RangeInclusive<u64>) -> Result<()> {
    println!(
        "{:>6}  {:>9}  {:>9}  {:>9}  {:>7}  {:>7}  {:>6}  {:>7}",
        "seed", "first", "median", "last", "ideal ×", "copies", "vain %", "wrong %"
    );
    let seeds: Vec<u64> = seeds.collect();
    let reports = on_all_cores(&seeds, |seed| {
        let report = scenarios::run(name, *seed)?;
        println!("{}", row(&report));
        Ok(report)
    })?;
    judge(name, &reports)
}

/// Does this with each of the items, and returns the results in the same order. After an error no
/// more items are begun.
fn on_all_cores<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Relaxed);
            let Some(item) = items.get(index) else { return Ok(()) };
            let result = work(item).inspect_err(|_| next.store(usize::MAX / 2, Relaxed))?;
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    let mut results = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

fn row(report: &Report) -> String {
    let mut times: Vec<_> = report.finishers.iter().map(|finisher| finisher.finished).collect();
    times.sort();
    let time = |index: usize| times.get(index).map(ToString::to_string).unwrap_or_default();
    let thousandth = |milli: u64| format!("{}.{:03}", milli / 1000, milli % 1000);
    format!(
        "{:>6}  {:>9}  {:>9}  {:>9}  {:>7}  {:>7}  {:>6}  {:>7}",
        report.seed,
        time(0),
        time(times.len() / 2),
        time(times.len().saturating_sub(1)),
        thousandth(report.last_milli()),
        thousandth(report.seed_copies_milli),
        thousandth(report.wasted * 100_000 / report.payload.max(1)),
        thousandth(report.spoiled * 100_000 / report.payload.max(1)),
    )
}

fn judge(name: &str, reports: &[Report]) -> Result<()> {
    let goals = goals(name, reports);
    for goal in &goals {
        println!("{goal}");
    }
    match goals.iter().filter(|goal| !goal.holds()).count() {
        0 => Ok(()),
        missed => bail!("{name}: {missed} goals are missed"),
    }
}

/// Parses a range of seeds: `3..7` is 3, 4, 5, 6 and 7.
fn parse_seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let parse = || -> Option<RangeInclusive<u64>> {
        let (first, last) = text.split_once("..")?;
        let (first, last) = (first.parse().ok()?, last.trim_start_matches('=').parse().ok()?);
        (first <= last).then_some(first..=last)
    };
    parse().ok_or_else(|| "seeds are given as 1..20".to_owned())
}
