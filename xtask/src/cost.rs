//! `cost`: instructions of the engine for one input, with few and with many peers, pieces and idle torrents.
//!
//! Decides: what is compared, and how much more the many may cost. Must not know: how the engine works.
//! Invariant: only the engine's own calls are counted, and its start is subtracted: a count is the same in every run.

use anyhow::{Context as _, Result, bail, ensure};
use bt_tests::{build_release, skip};
use std::path::Path;
use std::process::{Command, Stdio};

/// Inputs that are counted, and those before them in which the swarm comes to life.
const COUNTED: u64 = 10_000;
const BEFORE: u64 = 10_000;
/// The calls that make an engine work.
const CALLS: [&str; 3] = ["handle", "wake", "poll"];
/// How many times as much an input may cost at most among the many.
const TIMES_MAX: f64 = 2.0;

/// Counts, prints a table, and fails if many cost too much.
pub(crate) fn run() -> Result<()> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        skip!("valgrind is not installed");
    }
    let example = build_release(&["--package", "bt-engine", "--example", "cost"])?;
    println!("{:>8} {:>8} {:>8} {:>12} {:>8}", "peers", "pieces", "idle", "per input", "times");
    let mut least = None;
    for (peers, pieces, idle) in [(10, 1_000, 10), (1_000, 1_000, 10), (10, 100_000, 10), (10, 1_000, 10_000)] {
        let count = |inputs| count(&example, [peers, pieces, idle, inputs]);
        let per_input = (count(BEFORE + COUNTED)? - count(BEFORE)?) as f64 / COUNTED as f64;
        let times = per_input / *least.get_or_insert(per_input);
        println!("{peers:>8} {pieces:>8} {idle:>8} {per_input:>12.0} {times:>8.2}");
        let many = format!("{peers} peers, {pieces} pieces and {idle} idle torrents");
        ensure!(times <= TIMES_MAX, "{many} cost {times:.2} times as much, {TIMES_MAX} allowed");
    }
    Ok(())
}

/// Instructions with so many peers, pieces and idle torrents, and for so many inputs.
fn count(example: &Path, numbers: [u64; 4]) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
    command.args(CALLS.map(|call| format!("--toggle-collect=bt_engine::engine::Engine::{call}")));
    command.arg(example).args(numbers.map(|number| number.to_string()));
    let output = command.output().context("valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")).context("valgrind says what it collected")?;
    match collected.1.trim().parse() {
        Ok(0) => bail!("no call of the engine was counted: the names of its calls have changed"),
        count => count.context("a number of instructions"),
    }
}
