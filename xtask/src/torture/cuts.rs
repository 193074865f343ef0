//! The power of the disk is cut in the middle of a download.
//!
//! Decides: when, and what may be lost. Must not know: the journal, what was synced.
//! Invariant: payload and state lie on the same disk; what it holds after the cut is compared before the next start.

use super::kills::Runner;
use super::{let_run, row};
use anyhow::{Context as _, Result, ensure};
use bt_tests::{PATIENCE, PowerDisk, Rng, Trial, ensure_same, mib, skip};
use std::time::Duration;

/// Size of the file in MiB.
const MIB: usize = 64;
/// How fast the seed sends: slow enough that a copy takes longer than the time after which it must be safe.
const UP: &str = "10MiB/s";
/// A process lives for less than this.
const LIFE_MAX_MS: u64 = 7000;
/// And the first one for more.
const FIRST_LIFE_MS: u64 = 2000;
/// The most that may be unsynced at any moment.
const UNSYNCED_MAX: u64 = 128 << 20;
/// In one round of so many a process is killed, and the power is cut just after its successor has looked at the data.
const KILLED_FIRST: u64 = 3;

/// Runs so many rounds and prints the figures.
pub(super) fn run(rounds: u32, seed: u64) -> Result<()> {
    println!("power cuts, {rounds} rounds, ext4 without a flush of its journal, a file of {MIB} MiB at {UP}");
    if let Some(why) = PowerDisk::obstacle() {
        skip!("{why}");
    }
    let (trial, mut rng) = (Trial::new(MIB, UP)?, Rng::from_seed(seed));
    let mount = trial.stage.path("disk");
    let disk = PowerDisk::new(&trial.stage.path("disk image"), &mount, 4 * MIB as u64)?;
    let _source = trial.seed()?;
    let (mut lost, mut copies, mut round) = (Vec::new(), 0, 0);
    while round < rounds {
        let (dir, home) = (mount.join(format!("copy {copies}")), mount.join(format!("home {copies}")));
        let mut had = 0;
        loop {
            let mut runner = Runner::start(&trial, &home, &dir)?;
            runner.ensure_claims(&trial, &dir).with_context(|| format!("round {round}"))?;
            let there = runner.life(None).there;
            if had > 0 {
                let gone = u64::saturating_sub(had, there);
                ensure!(gone <= UNSYNCED_MAX, "round {round}: {:.1} MiB are fetched again", mib(gone));
                lost.push(mib(gone));
            }
            if round >= rounds {
                runner.process.finish(PATIENCE)?.expect_code(0)?;
                break;
            }
            // In the first round something was written, and not synced.
            let least = if round == 0 { FIRST_LIFE_MS } else { 0 };
            let_run(Duration::from_millis(rng.below(LIFE_MAX_MS).clamp(least, LIFE_MAX_MS)));
            if round == 0 || rng.below(KILLED_FIRST) == 0 {
                runner.process.kill()?;
                if runner.process.finish(PATIENCE)?.code == Some(0) {
                    break;
                }
                runner = Runner::start(&trial, &home, &dir)?;
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
        ensure_same(&trial.stage.path("data.bin"), &Trial::copy(&dir)).with_context(|| format!("copy {copies}"))?;
        std::fs::remove_dir_all(&dir)?;
        copies += 1;
    }
    println!("  {copies} copies, each as the original; no claimed piece was missing; no restart was refused");
    row("fetched again for a cut, open pieces counted", "MiB", &lost);
    Ok(())
}
