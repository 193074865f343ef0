//! A disk half the size of the file.
//!
//! Decides: when the disk grows. Must not know: how `bt` notices that it is full.
//! Invariant: the process that waits for space completes the download.

use anyhow::{Context as _, Result, ensure};
use bt_tests::{Fixture, PATIENCE, Process, SmallDisk, ensure_same, mib, skip};
use std::fs;
use std::time::{Duration, Instant};

/// The size of the file in MiB.
const MIB: usize = 48;
/// The time within which the download must complete after the disk has grown.
const COMPLETE_WITHIN: Duration = Duration::from_secs(35);
/// The bytes that may be fetched again: single blocks that came twice, not whole pieces.
const AGAIN_MAX: u64 = 1 << 20;

/// Runs the ordeal and prints the figures.
pub(super) fn run() -> Result<()> {
    println!("a full disk: a file of {MIB} MiB, a disk of {} MiB", MIB / 2);
    let fixture = Fixture::new(MIB, "64MiB/s")?;
    let _source = fixture.seed()?;
    let (dir, home) = (fixture.stage.path("small"), fixture.stage.path("home"));
    fs::create_dir(&dir)?;
    let Some(disk) = SmallDisk::mount(&dir, (MIB / 2) as u32) else {
        skip!("a small file system cannot be mounted: not root");
    };

    let impatient =
        Process::run("get", fixture.get(&home, &dir).args(["--timeout", "5s"]), PATIENCE)?;
    let error = impatient.expect_code(6)?.event("error")?;
    ensure!(error["code"] == "no_space", "it gave up for another reason: {error}");

    let there = fixture.right_bytes(&dir);
    let get = Process::start("get", &mut fixture.get(&home, &dir))?;
    get.wait_for("the reason", PATIENCE, |event| event["reason"] == "no_space")?;
    let grown = Instant::now();
    disk.grow(2 * MIB as u32)?;
    get.wait_event("complete", PATIENCE)?;
    let took = grown.elapsed();
    let summary = get.finish(PATIENCE)?.expect_code(0)?.event("summary")?;
    ensure_same(&fixture.stage.path("data.bin"), &Fixture::copy(&dir))?;
    let count =
        |field: &str| summary[field].as_u64().with_context(|| format!("the summary has {field}"));
    let again =
        (count("bytes_there")? + count("bytes_downloaded")?).saturating_sub(fixture.total());
    let forgotten = there.saturating_sub(count("bytes_there")?);
    println!("  with --timeout it ended with code 6; {:.1} MiB were there then", mib(there));
    println!(
        "  complete {:.1} s after there was room, {:.2} MiB fetched again",
        took.as_secs_f64(),
        mib(again)
    );
    ensure!(forgotten == 0, "{:.1} MiB that were on the disk were not found again", mib(forgotten));
    ensure!(took <= COMPLETE_WITHIN, "it took {:.1} s", took.as_secs_f64());
    ensure!(again <= AGAIN_MAX, "{:.1} MiB were fetched again", mib(again));
    Ok(())
}
