//! The power of the disk is cut in the middle of a download.
//!
//! Decides: when, and what may be lost. Must not know: the journal, what was synced.
//! Invariant: payload and state lie on the same disk; what it holds after the cut is compared
//! before the next start.

use super::kills::Runner;
use super::{let_run, row};
use anyhow::{Context as _, Result, ensure};
use bt_tests::{Fixture, PATIENCE, PowerDisk, Rng, ensure_same, mib, skip};
use std::time::Duration;

/// Size of the file in MiB.
const MIB: usize = 64;
/// Files of one byte of a tree, in a long run and in a short one, and the size in MiB of a disk
/// that has room for them.
const FILES: [usize; 2] = [100_000, 10_000];
const TREE_DISK: u64 = 2048;
/// How fast the seed sends: slow enough that a copy takes longer than the time after which it must
/// be safe.
const UP: &str = "10MiB/s";
/// A process lives for less than this; where a tree is smaller, it has as much less time to be
/// written. After each copy that was complete before a cut came it lives a quarter shorter: how
/// long a copy takes depends on the machine.
const LIFE_MAX_MS: u64 = 7000;
/// The shortest that this becomes.
const LIFE_LEAST_MS: u64 = 20;
/// The first one lives for more than this part of that: a quarter.
const FIRST_LIFE_PART: u64 = 4;
/// This many copies may be complete before a cut comes, beside one for each round: more never end.
const COPIES_MAX: u32 = 50;
/// The most that may be unsynced at any moment.
const UNSYNCED_MAX: u64 = 128 << 20;
/// In one round of so many a process is killed, and the power is cut just after its successor has
/// looked at the data.
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
        let (mut had, round_before) = (0, round);
        loop {
            let mut runner = Runner::start(fixture, &home, &dir)?;
            runner.ensure_claims(fixture, &dir).with_context(|| format!("round {round}"))?;
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
            // In the first round something was written, and not synced.
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
            // One that was complete had synced everything before it said so.
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
