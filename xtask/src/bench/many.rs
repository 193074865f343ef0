//! Many torrents in one process, and two torrents on two shards.
//!
//! Decides: the number of torrents and the time of the measurement. Must not know: how torrents are
//! kept.
//! Invariant: both sides add the same torrents in the same way: complete, unhashed, without a
//! tracker.

use super::Bench;
use super::table::{Table, number};
use anyhow::{Context as _, Result, ensure};
use bt_tests::foreign::Libtorrent;
use bt_tests::{
    Host, Net, PATIENCE, Process, Stage, build_release, ensure_same, listening, random_bytes,
    random_file,
};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The cargo options of the program that adds torrents through the library.
const MANY: &[&str] = &["--package", "bt-session", "--example", "many"];

pub(super) const TORRENTS: u64 = 10_000;
pub(super) const PIECES: u64 = 64;
pub(super) const PIECE: u64 = 16 << 10;

/// The period over which the processor time of torrents without requests is counted.
pub(super) const IDLE: Duration = Duration::from_secs(10);

/// The size of each torrent of the shards, in bytes.
const SHARD_BYTES: u64 = 1 << 30;

/// Measures ten thousand torrents, in `bt` and in libtorrent.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let stage = Stage::within(&bench.args.folder)?;
    let mut sides = sides(bench, "many", &stage, TORRENTS)?;
    let title = format!("many: {TORRENTS} torrents of {PIECES} pieces, seeding in one process");
    let mut table = Table::new(
        title,
        &["", "KiB each", "seconds to add", "CPU s to add", "idle CPU, % of a core"],
    );
    for (name, command) in &mut sides {
        look(bench, name, command)?;
        let median = |what: &str| bench.figures.median(&format!("many/{name}/{what}"));
        table.row([
            (*name).to_owned(),
            number(median("memory").map(|bytes| bytes / 1024.0), 1),
            number(median("add wall"), 2),
            number(median("add cpu"), 2),
            number(median("idle cpu"), 2),
        ]);
    }
    bench.show(table);
    Ok(())
}

/// Makes torrents of sparse files, and the commands that seed them all from one process: ours, and
/// libtorrent's where it is installed.
pub(super) fn sides(
    bench: &mut Bench<'_>,
    scenario: &str,
    stage: &Stage,
    count: u64,
) -> Result<Vec<(&'static str, Command)>> {
    let (torrents, data) = (stage.path("torrents"), stage.path("data"));
    fs::create_dir_all(&torrents)?;
    fs::create_dir_all(&data)?;
    for number in 0..count {
        let name = format!("{number:05}");
        fs::write(torrents.join(format!("{name}.torrent")), metainfo(&name, number))?;
        // A sparse file, which no process reads.
        fs::File::create(data.join(&name))?.set_len(PIECES * PIECE)?;
    }
    let mut ours = Command::new(build_release(MANY)?);
    ours.arg(&torrents).arg(&data);
    let mut sides = vec![("bt", ours)];
    match Libtorrent::find() {
        Some(libtorrent) => sides.push(("libtorrent", libtorrent.many(&torrents, &data))),
        None => bench.skip(scenario, "libtorrent for Python is not installed"),
    }
    Ok(sides)
}

fn look(bench: &mut Bench<'_>, name: &str, command: &mut Command) -> Result<()> {
    let mut process = Process::start_told(name, command)?;
    process.wait_event("open", PATIENCE)?;
    let (memory, cpu) = (process.memory()?, process.cpu_seconds()?);
    let began = Instant::now();
    process.tell("begin")?;
    let added = process.wait_event("added", PATIENCE)?;
    ensure!(added["torrents"] == TORRENTS, "{name} added only {added}");
    let (wall, cpu_added) = (began.elapsed().as_secs_f64(), process.cpu_seconds()?);
    let each = process.memory()?.saturating_sub(memory) as f64 / TORRENTS as f64;
    // This is the period of the measurement, not a wait for an event.
    std::thread::sleep(IDLE);
    let idle = (process.cpu_seconds()? - cpu_added) / IDLE.as_secs_f64() * 100.0;
    for (what, value) in
        [("memory", each), ("add wall", wall), ("add cpu", cpu_added - cpu), ("idle cpu", idle)]
    {
        bench.figures.add(format!("many/{name}/{what}"), value);
    }
    Ok(())
}

/// Builds a torrent of one file with random digests, which no process checks.
pub(super) fn metainfo(name: &str, seed: u64) -> Vec<u8> {
    let digests = random_bytes(seed, PIECES as usize * 20);
    let mut bytes = format!(
        "d4:infod6:lengthi{}e4:name{}:{name}12:piece lengthi{PIECE}e6:pieces{}:",
        PIECES * PIECE,
        name.len(),
        digests.len()
    )
    .into_bytes();
    bytes.extend(digests);
    bytes.extend(b"ee");
    bytes
}

/// Measures two torrents that one process seeds on two shards, each to one leecher.
pub(super) fn shards(bench: &mut Bench<'_>) -> Result<()> {
    let Some(net) = Net::new() else {
        bench.skip("shards", "network namespaces need root and `ip`");
        return Ok(());
    };
    let (host, hosts) = (net.fast_host()?, [net.fast_host()?, net.fast_host()?]);
    let listen = SocketAddr::from((host.v4, 0)).to_string();
    let stage = Stage::within(&bench.args.folder)?;
    let (torrents, data) = (stage.path("torrents"), stage.path("data"));
    fs::create_dir_all(&torrents)?;
    fs::create_dir_all(&data)?;
    let names = ["first", "second"];
    let mut paths = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        random_file(&data.join(name), number as u64, SHARD_BYTES)?;
        let made = stage.create(&data.join(name), &["--piece-length", "1MiB"])?;
        let path = torrents.join(made.file_name().context("a torrent has a name")?);
        fs::rename(&made, &path)?;
        paths.push(path);
    }
    let example = build_release(MANY)?;
    let mut table = Table::new(
        "shards: two torrents of 1 GiB from one process, a leecher for each",
        &["shards", "seconds", "CPU s, first shard", "CPU s, second shard"],
    );
    for count in [1, 2] {
        for _ in 0..bench.args.runs {
            let mut command = Command::new(&example);
            command.arg(&torrents).arg(&data).args([&count.to_string(), &listen]);
            let mut seed = Process::start_told("many", &mut host.inside(&command))?;
            seed.tell("begin")?;
            seed.wait_event("added", PATIENCE)?;
            let at = listening(&seed)?;
            let stage = Stage::within(&bench.args.folder)?;
            let (wall, cpu) = fetch_both(&stage, &seed, &paths, &at, &hosts)?;
            names
                .iter()
                .try_for_each(|name| ensure_same(&data.join(name), &stage.path(name).join(name)))?;
            bench.figures.add(format!("shards/{count}/wall"), wall);
            for (shard, cpu) in cpu.into_iter().enumerate() {
                bench.figures.add(format!("shards/{count}/cpu {shard}"), cpu);
            }
        }
        let median = |what: &str| bench.figures.median(&format!("shards/{count}/{what}"));
        table.row([
            count.to_string(),
            number(median("wall"), 2),
            number(median("cpu 0"), 2),
            number(median("cpu 1"), 2),
        ]);
    }
    bench.show(table);
    Ok(())
}

/// Runs both leechers; returns the seconds until both are complete, and the processor seconds of
/// each shard.
fn fetch_both(
    stage: &Stage,
    seed: &Process,
    torrents: &[PathBuf],
    at: &str,
    hosts: &[Host],
) -> Result<(f64, Vec<f64>)> {
    let began = Instant::now();
    let mut leechers = Vec::new();
    for (torrent, host) in torrents.iter().zip(hosts) {
        let name =
            torrent.file_stem().context("a torrent has a name")?.to_string_lossy().into_owned();
        let mut command = stage.get(&name, torrent, &stage.path(&name), (host.v4, 0).into());
        leechers.push(Process::start(&name, &mut host.inside(command.args(["--peer", at])))?);
    }
    for leecher in leechers {
        leecher.finish(PATIENCE)?.expect_code(0)?;
    }
    let wall = began.elapsed().as_secs_f64();
    let mut threads = seed.cpu_of_threads()?;
    threads.retain(|(name, _)| name.starts_with("bt-shard-"));
    threads.sort_by(|one, other| one.0.cmp(&other.0));
    Ok((wall, threads.into_iter().map(|(_, cpu)| cpu).collect()))
}
