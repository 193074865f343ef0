//! The power of the disk is cut in the middle of a download.
//!
//! Decides: when the power is cut, and what may be lost. Must not know: the journal, what was
//! synced.
//! Invariant: payload and state lie on the same disk; its content is compared after the cut, before
//! the next start.

use super::kills::Runner;
use super::{let_run, row};
use anyhow::{Context as _, Result, ensure};
use bt_tests::{Fixture, PATIENCE, PowerDisk, Rng, ensure_same, mib, skip};
use std::time::Duration;

/// The size of the file in MiB.
const MIB: usize = 64;
/// The number of one-byte files of a tree, in a long and in a short run. Then the size in MiB of a
/// disk with room for them.
const FILES: [usize; 2] = [100_000, 10_000];
const TREE_DISK: u64 = 2048;
/// The rate limit of the seed: a copy takes longer than the time after which data must be safe.
const UP: &str = "10MiB/s";
/// The limit of a process's life, in milliseconds, in proportion to the size of a tree. It shrinks
/// by a quarter after each copy that was complete before any cut, as the speed depends on the
/// machine.
const LIFE_MAX_MS: u64 = 7000;
/// The least value of that limit, in milliseconds.
const LIFE_LEAST_MS: u64 = 20;
/// The divisor of that limit that gives the shortest first life: a quarter.
const FIRST_LIFE_PART: u64 = 4;
/// The number of copies that may be complete before a cut, beside one for each round. It ends a run
/// without cuts.
const COPIES_MAX: u32 = 50;
/// The greatest amount of unsynced data at any moment, in bytes.
const UNSYNCED_MAX: u64 = 128 << 20;
/// One round in this number kills a process, and cuts the power just after the next process has
/// checked the data.
const KILLED_FIRST: u64 = 3;

/// Runs the rounds for a file, and for a tree of small files, and prints the figures.
pub(super) fn run(rounds: u32, seed: u64, short: bool) -> Result<()> {
    println!(
        "power cuts, {rounds} rounds, ext4 without a flush of its journal, a file of {MIB} MiB at {UP}"
    );
    if let Some(why) = PowerDisk::obstacle() {
        skip!("{why}");
    }
    cut(&Fixture::new(MIB, UP)?, 4 * MIB as u64, LIFE_MAX_MS, rounds, seed)?;
    let files = FILES[usize::from(short)];
    println!("  the same with {files} files of one byte");
    let life_max_ms = LIFE_MAX_MS * files as u64 / FILES[0] as u64;
    cut(&Fixture::tree(files, UP)?, TREE_DISK, life_max_ms, rounds, seed)
}

fn cut(
    fixture: &Fixture,
    disk_mib: u64,
    mut life_max_ms: u64,
    rounds: u32,
    seed: u64,
) -> Result<()> {
    let mut rng = Rng::from_seed(seed);
    let mount = fixture.stage.path("disk");
    let disk = PowerDisk::new(&fixture.stage.path("disk image"), &mount, disk_mib)?;
    let _source = fixture.seed()?;
    let (mut lost, mut copies, mut round) = (Vec::new(), 0, 0);
    while round < rounds {
        let (dir, home) =
            (mount.join(format!("copy {copies}")), mount.join(format!("home {copies}")));
        let (mut had, round_before, mut is_new) = (0, round, true);
        loop {
            let mut runner = Runner::start(fixture, &home, &dir)?;
            // A new copy claims nothing yet. While it is asked for a first claim, a tree of small
            // files would complete before the power is cut.
            if !std::mem::take(&mut is_new) {
                runner.ensure_claims(fixture, &dir).with_context(|| format!("round {round}"))?;
            }
            let there = runner.life(None).there;
            if had > 0 {
                let gone = u64::saturating_sub(had, there);
                ensure!(
                    gone <= UNSYNCED_MAX,
                    "round {round}: {:.1} MiB are fetched again",
                    mib(gone)
                );
                lost.push(mib(gone));
            }
            if round >= rounds {
                runner.process.finish(PATIENCE)?.expect_code(0)?;
                break;
            }
            // The first round needs data that was written and not synced.
            let least = if round == 0 { life_max_ms / FIRST_LIFE_PART } else { 0 };
            let_run(Duration::from_millis(rng.below(life_max_ms).clamp(least, life_max_ms)));
            if round == 0 || rng.below(KILLED_FIRST) == 0 {
                runner.process.kill()?;
                if runner.process.finish(PATIENCE)?.code == Some(0) {
                    break;
                }
                runner = Runner::start(fixture, &home, &dir)?;
            }
            let life = runner.life(None);
            disk.cut()?;
            runner.process.kill()?;
            // A complete process had synced everything before it reported that.
            let is_over = runner.process.finish(PATIENCE)?.code == Some(0);
            disk.restart()?;
            if is_over {
                break;
            }
            (had, round) = (life.there + life.down, round + 1);
        }
        ensure_same(&fixture.stage.path("data.bin"), &Fixture::copy(&dir))
            .with_context(|| format!("copy {copies}"))?;
        std::fs::remove_dir_all(&dir)?;
        copies += 1;
        ensure!(
            copies < COPIES_MAX + rounds,
            "in {copies} copies the power was cut {round} times: each was complete too soon"
        );
        if round == round_before {
            life_max_ms = (life_max_ms * 3 / 4).max(LIFE_LEAST_MS);
        }
    }
    println!(
        "  {copies} copies, each as the original; no claimed piece was missing; no restart was refused"
    );
    row("fetched again for a cut, open pieces counted", "MiB", &lost);
    Ok(())
}
