//! `cpu`: what moving a GiB costs, beside libtorrent.
//!
//! Decides: what is measured: user and system seconds of both ends, until the copy is complete. Must not know: how the time is spent.
//! Invariant: both pairs move the same file in the same pieces, from memory to memory, without a tracker.

use anyhow::Result;
use bt_tests::foreign::Libtorrent;
use bt_tests::{LOOPBACK, PATIENCE, Process, Stage, ensure_same, listening, random_file};
use std::path::Path;
use std::time::Instant;

/// What is moved.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Size of the file in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    size: u64,
}

/// Measures both pairs and prints a row for each.
pub(crate) fn run(args: &Args) -> Result<()> {
    let stage = Stage::within(Path::new("/dev/shm"))?;
    let source = stage.path("data.bin");
    random_file(&source, 1, args.size << 20)?;
    let torrent = stage.create(&source, &["--piece-length", "1MiB"])?;

    println!("{:<28} {:>10} {:>10} {:>12} {:>8}", "processor seconds per GiB", "seed", "get", "together", "seconds");
    measure("bt", args.size, &source, &stage.path("bt"), |copy| {
        let seed = Process::start("bt seed", stage.seed("seed", &torrent, &stage.path(""), LOOPBACK).arg("--no-check"))?;
        let at = listening(&seed)?;
        // It stays after the download, so that its account can be read.
        let get = Process::start("bt get", stage.get("get", &torrent, copy, LOOPBACK).args(["--seed", "--peer", &at]))?;
        Ok((seed, get))
    })?;
    let Some(libtorrent) = Libtorrent::find() else {
        println!("libtorrent for Python is not installed");
        return Ok(());
    };
    measure("libtorrent over TCP", args.size, &source, &stage.path("libtorrent"), |copy| {
        let at = "127.0.0.1:16881";
        // Its uTP, which is its default, is many times slower on loopback: that would flatter us.
        let mut command = libtorrent.share_on(&torrent, &stage.path(""), at);
        let seed = Process::start("libtorrent", command.arg("--tcp-only"))?;
        seed.wait_event("complete", PATIENCE)?;
        let mut command = libtorrent.share_on(&torrent, copy, "127.0.0.1:16882");
        Ok((seed, Process::start("libtorrent", command.args(["--tcp-only", "--peer", at]))?))
    })
}

/// `start` makes a seed that is ready and a downloader that begins.
fn measure(
    who: &str,
    mib: u64,
    source: &Path,
    copy: &Path,
    start: impl FnOnce(&Path) -> Result<(Process, Process)>,
) -> Result<()> {
    let (seed, get) = start(copy)?;
    let (began, before) = (Instant::now(), seed.cpu_seconds()?);
    get.wait_event("complete", PATIENCE)?;
    let took = began.elapsed().as_secs_f64();
    let per_gib = |seconds: f64| seconds * 1024.0 / mib as f64;
    let (up, down) = (per_gib(seed.cpu_seconds()? - before), per_gib(get.cpu_seconds()?));
    drop((seed, get));
    ensure_same(source, &copy.join("data.bin"))?;
    println!("{who:<28} {up:>10.2} {down:>10.2} {:>12.2} {took:>8.1}", up + down);
    Ok(())
}
