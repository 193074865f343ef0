//! The measured part of docs/performance.md.
//!
//! Decides: the order of the page. Must not know: what a figure means.
//! Invariant: the text above the mark stays.

use super::Bench;
use super::goals::Goal;
use super::table::Table;
use anyhow::{Context as _, Result};
use bt_tests::foreign::{Aria2, Libtorrent, Rqbit, Transmission};
use bt_tests::{Bt, Client};
use std::process::Command;

/// The mark between the written text and the generated part.
const MARK: &str = "<!-- what follows is written by `cargo xtask bench --write` -->\n";

/// Writes goals and tables into the page.
pub(super) fn write(bench: &Bench<'_>, goals: &[Goal]) -> Result<()> {
    let path = bench.root.join("docs/performance.md");
    let page = std::fs::read_to_string(&path)?;
    let (text, _) = page.split_once(MARK).context("docs/performance.md has lost its mark")?;
    let mut list = Table::new("Goals", &["", "measured", "goal", "of what"]);
    goals.iter().for_each(|goal| list.row(goal.cells()));
    let tables: Vec<String> =
        std::iter::once(&list).chain(&bench.tables).map(Table::markdown).collect();
    let how =
        format!("{}, {}. {}. Medians of {} runs.", date(), machine(), clients(), bench.args.runs);
    let skipped: String = bench
        .skipped
        .iter()
        .chain(&bench.failed)
        .map(|what| format!("\nNot measured: {what}.\n"))
        .collect();
    Ok(std::fs::write(&path, format!("{text}{MARK}\n{how}\n{skipped}\n{}", tables.join("\n")))?)
}

/// Describes the machine: the processor, the number of cores, and the kernel.
pub(super) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {model}, Linux {}", kernel.trim())
}

/// Lists the measured clients with their versions.
pub(super) fn clients() -> String {
    let all: [&dyn Client; 5] = [&Bt::GET, &Libtorrent::DEFAULT, &Aria2, &Rqbit, &Transmission];
    let named = all.map(|client| match client.version() {
        Some(version) => format!("{} {version}", client.name()),
        None => format!("{} (not installed)", client.name()),
    });
    named.join(", ")
}

fn date() -> String {
    let said = Command::new("date").args(["-u", "+%F"]).output();
    said.map_or("an unknown day".into(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}
