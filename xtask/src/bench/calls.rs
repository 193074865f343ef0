//! System calls of one transfer.
//!
//! Decides: which calls are counted. Must not know: who makes them, and why.
//! Invariant: of the calls that are counted, those of both processes are, from their start to their end.

use super::Bench;
use super::table::{Table, number};
use anyhow::{Context as _, Result, ensure};
use bt_tests::{Host, Net, PATIENCE, Process, Stage, ensure_same, listening, random_file};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The file, in pieces of a MiB.
const BYTES: u64 = 1 << 30;

/// Calls that take bytes from a socket, give bytes to one, and write files. `splice` only ever moves bytes from a pipe into a socket here.
const RECEIVE: &[&str] = &["recvfrom", "recvmsg", "recvmmsg", "readv"];
const SEND: &[&str] = &["sendto", "sendmsg", "sendmmsg", "writev", "splice"];
const WRITE: &[&str] = &["pwrite64", "pwritev", "pwritev2", "io_uring_enter"];

/// How many times a call was made, by its name.
type Calls = BTreeMap<String, u64>;

/// Counts the calls of `bt seed` and `bt get`, a network namespace each.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let Some(net) = Net::new() else {
        bench.skip("calls", "network namespaces need root and `ip`");
        return Ok(());
    };
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        bench.skip("calls", "strace is not installed");
        return Ok(());
    }
    let stage = Stage::within(&bench.args.folder)?;
    let source = stage.path("content");
    random_file(&source, 1, BYTES)?;
    let torrent = stage.create(&source, &["--piece-length", "1MiB"])?;
    let hosts = [net.fast_host()?, net.fast_host()?];
    // Only these are counted, so that no other call is slower than it would be: a slow seed is read from more often.
    let these = [RECEIVE, SEND, WRITE].concat().join(",");
    let sum = |calls: &Calls, names: &[&str]| names.iter().filter_map(|name| calls.get(*name)).sum::<u64>() as f64;
    for _ in 0..bench.args.runs {
        let [seed, get] = transfer(bench, &stage, &torrent, &hosts, &these)?;
        let network = |calls: &Calls| sum(calls, RECEIVE) + sum(calls, SEND);
        let figures = [
            ("seed receive", sum(&seed, RECEIVE)),
            ("seed send", sum(&seed, SEND)),
            ("leecher receive", sum(&get, RECEIVE)),
            ("leecher send", sum(&get, SEND)),
            ("receive and send", network(&seed) + network(&get)),
            ("leecher writes", sum(&get, WRITE)),
        ];
        figures.into_iter().for_each(|(what, value)| bench.figures.add(format!("calls/{what}"), value));
    }
    let all = transfer(bench, &stage, &torrent, &hosts, "all")?;
    bench.figures.add("calls/all".to_owned(), all.iter().flat_map(Calls::values).sum::<u64>() as f64);
    let mut table = Table::new(
        "calls: system calls of a transfer of 1 GiB in pieces of 1 MiB, the least of the runs (all: of one run)",
        &["", "calls"],
    );
    let names: Vec<String> = bench.figures.medians("calls/", "").map(|(name, _)| name.to_owned()).collect();
    for name in names {
        table.row([name.trim_start_matches("calls/").to_owned(), number(bench.figures.least(&name), 0)]);
    }
    bench.show(table);
    Ok(())
}

fn transfer(bench: &Bench<'_>, stage: &Stage, torrent: &Path, [here, there]: &[Host; 2], which: &str) -> Result<[Calls; 2]> {
    let copies = Stage::within(&bench.args.folder)?;
    let (seed_log, get_log) = (copies.path("seed.calls"), copies.path("get.calls"));
    let mut seed = copies.seed("seed", torrent, &stage.path(""), (here.v4, 0).into());
    let seed = Process::start("seed", &mut here.inside(&counted(seed.arg("--no-check"), &seed_log, which)))?;
    let at = listening(&seed)?;
    let mut get = copies.get("get", torrent, &copies.path("copy"), (there.v4, 0).into());
    Process::run("get", &mut there.inside(&counted(get.args(["--peer", &at]), &get_log, which)), PATIENCE)?.expect_code(0)?;
    seed.stop(PATIENCE)?;
    ensure_same(&stage.path("content"), &copies.path("copy/content"))?;
    Ok([read(&seed_log)?, read(&get_log)?])
}

/// The same command, `which` of its calls counted by a process that is nobody's parent: signals and the end are the command's own.
fn counted(command: &Command, log: &Path, which: &str) -> Command {
    let mut counted = Command::new("strace");
    counted.args(["-D", "-f", "-c", "-U", "calls,name", "--seccomp-bpf", "-e"]).arg(format!("trace={which}"));
    counted.arg("-o").arg(log).arg(command.get_program()).args(command.get_args());
    counted.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(dir) = command.get_current_dir() {
        counted.current_dir(dir);
    }
    counted
}

/// What was counted. It is written when the command has ended, a little later.
fn read(log: &Path) -> Result<Calls> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.lines().any(|line| line.ends_with("total")) {
            let row = |line: &str| {
                let (calls, name) = line.trim().split_once(' ')?;
                Some((name.trim().to_owned(), calls.parse().ok()?))
            };
            let mut calls: Calls = text.lines().filter_map(row).collect();
            calls.remove("total").context("strace counts calls")?;
            return Ok(calls);
        }
        ensure!(Instant::now() < deadline, "waited {PATIENCE:?} for strace's account, in vain: {text}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
