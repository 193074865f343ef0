//! System calls of one transfer.
//!
//! Decides: which calls are counted. Must not know: which code makes them, and why.
//! Invariant: the counted calls are counted in both processes, from start to end.

use super::Bench;
use super::table::{Table, number};
use anyhow::{Context as _, Result, ensure};
use bt_tests::{Host, Net, PATIENCE, Process, Stage, ensure_same, listening, random_file};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The size of the file in bytes; its pieces have 1 MiB.
const BYTES: u64 = 1 << 30;

/// Calls that take bytes from a socket, give bytes to one, and write files. The calls of `splice`
/// into sockets are counted apart.
const RECEIVE: &[&str] = &["recvfrom", "recvmsg", "recvmmsg", "readv"];
const SEND: &[&str] = &["sendto", "sendmsg", "sendmmsg", "writev"];
const WRITE: &[&str] = &["pwrite64", "pwritev", "pwritev2", "io_uring_enter"];

/// The options of strace that count calls. It stops a process only for the named calls: a slowed
/// seed makes the leecher read more often.
const COUNT: &[&str] = &["-c", "-U", "calls,name", "-e"];

/// The number of calls, by name.
type Calls = BTreeMap<String, u64>;

/// Counts the calls of `bt seed` and `bt get`, each in a network namespace.
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
    let these = format!("trace={}", [RECEIVE, SEND, WRITE].concat().join(","));
    let sum = |calls: &Calls, names: &[&str]| {
        names.iter().filter_map(|name| calls.get(*name)).sum::<u64>() as f64
    };
    for _ in 0..bench.args.runs {
        let [seed, get] =
            count(&transfer(bench, &stage, &torrent, &hosts, &[COUNT, &[&these]].concat())?)?;
        let spliced =
            spliced(&transfer(bench, &stage, &torrent, &hosts, &["-y", "-e", "trace=splice"])?)?;
        let network = |calls: &Calls| sum(calls, RECEIVE) + sum(calls, SEND);
        let figures = [
            ("seed receive", sum(&seed, RECEIVE)),
            ("seed send", sum(&seed, SEND) + spliced as f64),
            ("leecher receive", sum(&get, RECEIVE)),
            ("leecher send", sum(&get, SEND)),
            ("receive and send", network(&seed) + network(&get) + spliced as f64),
            ("leecher writes", sum(&get, WRITE)),
        ];
        figures
            .into_iter()
            .for_each(|(what, value)| bench.figures.add(format!("calls/{what}"), value));
    }
    let all =
        count(&transfer(bench, &stage, &torrent, &hosts, &[COUNT, &["trace=all"]].concat())?)?;
    bench
        .figures
        .add("calls/all".to_owned(), all.iter().flat_map(Calls::values).sum::<u64>() as f64);
    let mut table = Table::new(
        "calls: system calls of a transfer of 1 GiB in pieces of 1 MiB, the least of the runs (all: of one run)",
        &["", "calls"],
    );
    let names: Vec<String> =
        bench.figures.medians("calls/", "").map(|(name, _)| name.to_owned()).collect();
    for name in names {
        table.row([
            name.trim_start_matches("calls/").to_owned(),
            number(bench.figures.least(&name), 0),
        ]);
    }
    bench.show(table);
    Ok(())
}

/// Runs a transfer under strace with the options `how`; returns the logs of both sides.
fn transfer(
    bench: &Bench<'_>,
    stage: &Stage,
    torrent: &Path,
    [here, there]: &[Host; 2],
    how: &[&str],
) -> Result<[String; 2]> {
    let copies = Stage::within(&bench.args.folder)?;
    let (seed_log, get_log) = (copies.path("seed.calls"), copies.path("get.calls"));
    let mut seed = copies.seed("seed", torrent, &stage.path(""), (here.v4, 0).into());
    let seed =
        Process::start("seed", &mut here.inside(&noted(seed.arg("--no-check"), &seed_log, how)))?;
    let at = listening(&seed)?;
    let mut get = copies.get("get", torrent, &copies.path("copy"), (there.v4, 0).into());
    Process::run(
        "get",
        &mut there.inside(&noted(get.args(["--peer", &at]), &get_log, how)),
        PATIENCE,
    )?
    .expect_code(0)?;
    seed.stop(PATIENCE)?;
    ensure_same(&stage.path("content"), &copies.path("copy/content"))?;
    Ok([read(&seed_log)?, read(&get_log)?])
}

/// Returns the same command, traced by a process that is not its parent: the command keeps its own
/// signals and exit.
fn noted(command: &Command, log: &Path, how: &[&str]) -> Command {
    let mut noted = Command::new("strace");
    noted.args(["-D", "-f", "--seccomp-bpf"]).args(how).arg("-o").arg(log);
    noted.arg(command.get_program()).args(command.get_args());
    noted.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(dir) = command.get_current_dir() {
        noted.current_dir(dir);
    }
    noted
}

/// Reads the log of strace. Its end is written a little after the command has ended.
fn read(log: &Path) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.trim_end().ends_with("total") || text.trim_end().ends_with("+++ exited with 0 +++")
        {
            return Ok(text);
        }
        ensure!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} for strace's account, which did not come: {text}"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Counts the calls of `splice` that gave bytes to sockets. Most other `splice` calls move a header
/// from pipe to pipe. As strace stops for each, this transfer is slow. Only `splice` is counted in
/// it; a fast transfer counts the other calls.
fn spliced([seed, _]: &[String; 2]) -> Result<u64> {
    let into_socket = || seed.lines().filter(|line| line.contains("<socket:"));
    let bytes: u64 =
        into_socket().filter_map(|line| line.rsplit_once("= ")?.1.parse::<u64>().ok()).sum();
    ensure!(
        bytes > BYTES * 9 / 10,
        "{bytes} bytes of {BYTES} left through pipes: the transfer in which `splice` is counted is not like the other"
    );
    Ok(into_socket().count() as u64)
}

/// Parses the sums that strace wrote.
fn count([seed, get]: &[String; 2]) -> Result<[Calls; 2]> {
    let calls = |log: &String| {
        let row = |line: &str| {
            let (calls, name) = line.trim().split_once(' ')?;
            Some((name.trim().to_owned(), calls.parse().ok()?))
        };
        let mut calls: Calls = log.lines().filter_map(row).collect();
        calls.remove("total").context("strace counts calls")?;
        anyhow::Ok(calls)
    };
    Ok([calls(seed)?, calls(get)?])
}
