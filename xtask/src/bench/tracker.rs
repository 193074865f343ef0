//! The cost of an answer of the tracker over UDP, beside a bare echo and other trackers.
//!
//! Decides: the tables and loads. Must not know: how a tracker works.
//! Invariant: the tracker has one processor and the load another; runs of all entrants are
//! interleaved. What an echo costs is the system's; a tracker's own work is what it costs more.

use super::Bench;
use super::table::{Table, mib, number};
use anyhow::{Context as _, Result};
use bt_tests::foreign::{Aquatic, Opentracker};
use bt_tests::{PATIENCE, Process, Stage, build_release};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The cargo options of the load tool.
const LOAD: &[&str] = &["--package", "bt-tracker-server", "--example", "tracker_load"];
/// Time for a load: a table of three million peers takes half a minute to fill.
const LOAD_WITHIN: Duration = Duration::from_secs(180);
/// Seconds of each measurement.
const SECONDS: u64 = 4;
/// Requests a second of the paced load.
const RATE: u64 = 20_000;

/// A table of peers, and the load on it.
struct Load {
    name: &'static str,
    peers: u64,
    torrents: u64,
    want: u64,
    /// Requests a second; 0 for as many as are answered.
    rate: u64,
    entrants: &'static [&'static str],
}

const ALL: &[&str] = &["echo", "bt", "aquatic_udp", "opentracker"];
const BT: &[&str] = &["echo", "bt"];

#[rustfmt::skip]
const LOADS: [Load; 6] = [
    Load { name: "200 k", peers: 200_000, torrents: 100_000, want: 30, rate: 0, entrants: ALL },
    Load { name: "1 M", peers: 1_000_000, torrents: 250_000, want: 30, rate: 0, entrants: ALL },
    Load { name: "3 M", peers: 3_000_000, torrents: 750_000, want: 30, rate: 0, entrants: BT },
    Load { name: "one swarm, 30 wanted", peers: 1_000_000, torrents: 1, want: 30, rate: 0, entrants: ALL },
    Load { name: "one swarm, 200 wanted", peers: 1_000_000, torrents: 1, want: 200, rate: 0, entrants: ALL },
    Load { name: "paced", peers: 200_000, torrents: 100_000, want: 30, rate: RATE, entrants: ALL },
];

/// Measures every load, and two workers beside one.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let tool = build_release(LOAD)?;
    for load in &LOADS {
        for _ in 0..bench.args.runs {
            for who in load.entrants {
                measure(bench, &tool, load, who)?;
            }
        }
        show(bench, load);
    }
    workers(bench, &tool)
}

fn measure(bench: &mut Bench<'_>, tool: &Path, load: &Load, who: &str) -> Result<()> {
    let stage = Stage::within(&bench.args.folder)?;
    let Some((process, addr)) = start(&stage, tool, load, who)? else { return Ok(()) };
    let figures = drive(&process, addr, tool, load)?;
    for what in ["cpu_us", "per_second", "memory", "p99_us", "p999_us", "lost", "refused"] {
        if let Some(value) = figures[what].as_f64() {
            bench.figures.add(format!("tracker/{}/{who}/{what}", load.name), value);
        }
    }
    Ok(())
}

/// Loads a tracker from the second processor; returns the figures of the load tool.
fn drive(
    process: &Process,
    addr: SocketAddr,
    tool: &Path,
    load: &Load,
) -> Result<serde_json::Value> {
    let mut command = pinned("1", tool);
    command.args(["load", &addr.to_string(), &process.id().to_string()]);
    command.args([format!("peers={}", load.peers), format!("torrents={}", load.torrents)]);
    command.args([format!("want={}", load.want), format!("rate={}", load.rate)]);
    command.arg(format!("seconds={SECONDS}"));
    let finished = Process::run("load", &mut command, LOAD_WITHIN)?.expect_code(0)?;
    finished.last().with_context(|| process.transcript())
}

/// Starts an entrant on the first processor; `None` if it is not installed.
fn start(
    stage: &Stage,
    tool: &Path,
    load: &Load,
    who: &str,
) -> Result<Option<(Process, SocketAddr)>> {
    let home = stage.path(who);
    std::fs::create_dir_all(&home)?;
    Ok(match who {
        "echo" => {
            let echo = Process::start(who, pinned("0", tool).args(["echo", "127.0.0.1:0"]))?;
            let ready = |line: &str| line.strip_prefix("ready: ")?.parse().ok();
            let addr = echo.wait_line("an address", PATIENCE, ready)?;
            Some((echo, addr))
        }
        "bt" => Some(bt(stage, Some("0"), 1)?),
        "aquatic_udp" => match Aquatic::find() {
            Some(aquatic) => {
                let addr = free_port()?;
                let process = Process::start(who, &mut on("0", &aquatic.serve(addr, &home)?))?;
                Some((process, addr))
            }
            None => None,
        },
        _ => match Opentracker::find() {
            Some(opentracker) => {
                let list = Process::run(
                    "hashes",
                    Command::new(tool).args(["hashes", &load.torrents.to_string()]),
                    PATIENCE,
                )?;
                let hashes: Vec<&str> = list.out.lines().collect();
                let command = opentracker.serve(Ipv4Addr::LOCALHOST, &hashes, &home)?;
                let process = Process::start(who, &mut on("0", &command))?;
                Some((process, Opentracker::address(Ipv4Addr::LOCALHOST).into()))
            }
            None => None,
        },
    })
}

/// Starts our tracker, on one processor or on all.
fn bt(stage: &Stage, processor: Option<&str>, workers: usize) -> Result<(Process, SocketAddr)> {
    let mut command = stage.bt("tracker");
    command.args(["tracker", "--udp", "127.0.0.1:0", "--workers", &workers.to_string()]);
    let mut command = match processor {
        Some(processor) => on(processor, &command),
        None => command,
    };
    let process = Process::start("tracker", &mut command)?;
    let ready = process.wait_event("ready", PATIENCE)?;
    let url = ready["listen"][0].as_str().context("an address")?;
    let addr = url.trim_start_matches("udp://").trim_end_matches("/announce").parse()?;
    Ok((process, addr))
}

/// Measures the same paced load on one worker and on two, which share both processors.
fn workers(bench: &mut Bench<'_>, tool: &Path) -> Result<()> {
    let load = Load { name: "workers", rate: RATE, ..LOADS[0] };
    for _ in 0..bench.args.runs {
        for workers in [1, 2] {
            let stage = Stage::within(&bench.args.folder)?;
            let (process, addr) = bt(&stage, None, workers)?;
            let cpu = drive(&process, addr, tool, &load)?["cpu_us"].as_f64().context("a figure")?;
            bench.figures.add(format!("tracker/workers/{workers}/cpu_us"), cpu);
            let mut threads = process.cpu_of_threads()?;
            threads.retain(|(name, _)| name.starts_with("bt-udp-"));
            let share = |pick: fn(f64, f64) -> f64| {
                threads.iter().map(|(_, cpu)| *cpu).reduce(pick).unwrap_or_default()
            };
            let balance = share(f64::min) / share(f64::max);
            bench.figures.add(format!("tracker/workers/{workers}/balance"), balance);
        }
    }
    let title = format!("tracker: {RATE} requests a second, processors shared with the load");
    let mut table = Table::new(title, &["workers", "µs CPU an answer", "CPU of idler/busier"]);
    for workers in ["1", "2"] {
        let median = |what| bench.figures.median(&format!("tracker/workers/{workers}/{what}"));
        table.row([workers.to_owned(), number(median("cpu_us"), 2), number(median("balance"), 2)]);
    }
    bench.show(table);
    Ok(())
}

fn show(bench: &mut Bench<'_>, load: &Load) {
    let Load { name, peers, torrents, want, rate, .. } = load;
    let pace = if *rate == 0 { "without pause".to_owned() } else { format!("{rate} a second") };
    let title = format!(
        "tracker, {name}: {peers} peers in {torrents} torrents, {want} wanted, requests {pace}"
    );
    let head = [
        "",
        "µs CPU",
        "own µs",
        "answers/s",
        "bytes a peer",
        "MiB",
        "p99 µs",
        "p99.9 µs",
        "lost %",
    ];
    let mut table = Table::new(title, &head);
    for who in load.entrants {
        let median = |what| bench.figures.median(&format!("tracker/{name}/{who}/{what}"));
        if median("cpu_us").is_none() {
            continue;
        }
        // The echo keeps no peers.
        let memory = median("memory").filter(|_| *who != "echo");
        table.row([
            (*who).to_owned(),
            number(median("cpu_us"), 2),
            number(own(bench, name, who), 2),
            number(median("per_second"), 0),
            number(memory.map(|bytes| bytes / *peers as f64), 1),
            mib(memory),
            number(median("p99_us"), 0),
            number(median("p999_us"), 0),
            number(median("lost").map(|share| share * 100.0), 2),
        ]);
    }
    bench.show(table);
}

/// Returns the microseconds of an answer beyond those of the echo.
fn own(bench: &Bench<'_>, load: &str, who: &str) -> Option<f64> {
    super::goals::own_work(&bench.figures, load, who)
}

/// Returns a command on one processor.
fn pinned(processor: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", processor]).arg(program);
    command
}

/// Returns the same command on one processor.
fn on(processor: &str, command: &Command) -> Command {
    let mut pinned = pinned(processor, &PathBuf::from(command.get_program()));
    pinned.args(command.get_args());
    pinned.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(dir) = command.get_current_dir() {
        pinned.current_dir(dir);
    }
    pinned
}

/// Returns an address whose UDP port was free a moment ago, for a program that takes no other.
fn free_port() -> Result<SocketAddr> {
    Ok(std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}
