//! `bench`: the cost of the data path, beside other clients.
//!
//! Decides: what is measured, in which order, where it is written. Must not know: how a client
//! works.
//! Invariant: compared figures come from the same run on the same machine, interleaved.

mod calls;
mod daemon;
mod figures;
mod goals;
mod hashing;
mod idle;
mod many;
mod page;
mod table;
mod tracker;
mod transfers;

use anyhow::{Context as _, Result, ensure};
use figures::Figures;
use serde_json::json;
use std::path::{Path, PathBuf};
use table::Table;

/// The extent of a run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Size of the file of the first scenario in MiB; others move a part of it
    #[arg(long, default_value_t = 2048, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..))]
    size: u64,
    /// Runs of each pair
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only this: one, others, fan-out, fan-in, small-pieces, large-pieces, files, pieces, crowd,
    /// hashing, many, idle, shards, calls, tracker, daemon; repeat for more
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only pairs with bt on a side: to compare two builds, each given by BT_BIN
    #[arg(long)]
    ours: bool,
    /// Only the system calls of a fixed transfer
    #[arg(long, conflicts_with = "only")]
    calls: bool,
    /// Folder of all files: in memory, so that no disk is measured
    #[arg(long, default_value = "/dev/shm", value_name = "DIR")]
    folder: PathBuf,
    /// Write the figures of every run into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables into docs/performance.md
    #[arg(long, conflicts_with_all = ["only", "ours", "calls", "folder"])]
    write: bool,
}

/// A run of the tool.
struct Bench<'a> {
    args: &'a Args,
    /// The root of the workspace.
    root: &'a Path,
    figures: Figures,
    tables: Vec<Table>,
    /// Scenarios that could not run here, and why.
    skipped: Vec<String>,
    /// Scenarios that failed, and why.
    failed: Vec<String>,
}

impl Bench<'_> {
    fn wants(&self, name: &str) -> bool {
        match self.args.calls {
            true => name == "calls",
            false => self.args.only.is_empty() || self.args.only.iter().any(|only| only == name),
        }
    }

    fn show(&mut self, table: Table) {
        println!("{}", table.plain());
        self.tables.push(table);
    }

    fn skip(&mut self, name: &str, why: &str) {
        eprintln!("SKIPPED: {name}: {why}");
        self.skipped.push(format!("{name}: {why}"));
    }

    /// Runs a scenario if it is selected. A scenario that fails leaves the figures of others
    /// intact.
    fn attempt(&mut self, name: &str, scenario: impl FnOnce(&mut Self) -> Result<()>) {
        if self.wants(name)
            && let Err(error) = scenario(self)
        {
            eprintln!("FAILED: {name}: {error:#}");
            self.failed.push(format!("{name}: {error:#}"));
        }
    }
}

/// Measures, prints tables and goals, and fails if a goal is missed.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let mut bench = Bench {
        args,
        root,
        figures: Figures::default(),
        tables: Vec::new(),
        skipped: Vec::new(),
        failed: Vec::new(),
    };
    transfers::run(&mut bench);
    type Part = fn(&mut Bench<'_>) -> Result<()>;
    let parts: [(&str, Part); 7] = [
        ("hashing", hashing::run),
        ("many", many::run),
        ("idle", idle::run),
        ("shards", many::shards),
        ("calls", calls::run),
        ("tracker", tracker::run),
        ("daemon", daemon::run),
    ];
    for (name, part) in parts {
        bench.attempt(name, part);
    }
    let in_ci = std::env::var_os("BT_CI").is_some_and(|value| value == "1");
    ensure!(
        !in_ci || bench.skipped.is_empty(),
        "BT_CI=1 forbids skipping: {}",
        bench.skipped.join("; ")
    );

    let goals = goals::goals(&bench.figures);
    goals.iter().for_each(|goal| println!("{goal}"));
    if let Some(path) = &args.json {
        let report = json!({ "machine": page::machine(), "clients": page::clients(), "size_mib": args.size, "figures": bench.figures.json() });
        std::fs::write(path, format!("{report:#}\n"))
            .with_context(|| path.display().to_string())?;
    }
    if args.write {
        page::write(&bench, &goals)?;
    }
    ensure!(bench.failed.is_empty(), "not measured: {}", bench.failed.join("; "));
    let missed = goals.iter().filter(|goal| !goal.holds()).count();
    ensure!(missed == 0, "{missed} of {} goals are missed", goals.len());
    Ok(())
}
