//! `cost`: instructions of the engine for one input, with few and with many peers, pieces and idle
//! torrents; and of the decoder for a message.
//!
//! Decides: what is compared, and the limits of the ratios. Must not know: how the engine works.
//! Invariant: only the named calls are counted, without the start: a count is the same in every
//! run.

use anyhow::{Context as _, Result, bail, ensure};
use bt_tests::{build_release, skip};
use std::path::Path;
use std::process::{Command, Stdio};

/// The number of counted inputs, and of those before them in which the swarm starts.
const COUNTED: u64 = 10_000;
const BEFORE: u64 = 10_000;
/// The number of counted messages; as many uncounted ones come first.
const MESSAGES: u64 = 1000;
/// The calls that make an engine work.
const ENGINE: &[&str] = &[
    "bt_engine::engine::Engine::handle",
    "bt_engine::engine::Engine::wake",
    "bt_engine::engine::Engine::poll",
];
/// The calls that turn bytes into messages.
const DECODER: &[&str] = &["bt_peer_wire::connection::Connection::next"];
/// The greatest ratio of the cost of an input with many to that with few.
const TIMES_MAX: f64 = 2.0;

/// Counts, prints a table, and fails if a ratio exceeds its limit.
pub(crate) fn run() -> Result<()> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        skip!("valgrind is not installed");
    }
    let example = build_release(&["--package", "bt-engine", "--example", "cost"])?;
    println!("{:>8} {:>8} {:>8} {:>12} {:>8}", "peers", "pieces", "idle", "per input", "times");
    let mut least = None;
    for (peers, pieces, idle) in
        [(10, 1_000, 10), (1_000, 1_000, 10), (10, 100_000, 10), (10, 1_000, 10_000)]
    {
        let count = |inputs: u64| {
            let numbers = [peers, pieces, idle, inputs].map(|number| number.to_string());
            count(&example, ENGINE, &numbers)
        };
        let per_input = (count(BEFORE + COUNTED)? - count(BEFORE)?) as f64 / COUNTED as f64;
        let times = per_input / *least.get_or_insert(per_input);
        println!("{peers:>8} {pieces:>8} {idle:>8} {per_input:>12.0} {times:>8.2}");
        let many = format!("{peers} peers, {pieces} pieces and {idle} idle torrents");
        ensure!(times <= TIMES_MAX, "{many} cost {times:.2} times as much, {TIMES_MAX} allowed");
    }
    let example = build_release(&["--package", "bt-peer-wire", "--example", "decode"])?;
    for what in ["blocks", "haves"] {
        let count =
            |messages: u64| count(&example, DECODER, &[what.to_owned(), messages.to_string()]);
        let each = (count(2 * MESSAGES)? - count(MESSAGES)?) as f64 / MESSAGES as f64;
        println!("decoding {what}: {each:.0} for each");
    }
    Ok(())
}

/// Counts the instructions of these calls in a run of the example with these arguments.
fn count(example: &Path, calls: &[&str], arguments: &[String]) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
    command.args(calls.iter().map(|call| format!("--toggle-collect={call}")));
    command.arg(example).args(arguments);
    let output = command.output().context("valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {text}");
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .context("valgrind says what it collected")?;
    match collected.1.trim().parse() {
        Ok(0) => bail!("no call was counted: their names have changed: {calls:?}"),
        count => count.context("a number of instructions"),
    }
}
