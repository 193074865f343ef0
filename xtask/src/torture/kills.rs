//! `kill -9` in the middle of a download, again and again.
//!
//! Decides: which process is killed and when, and what may be lost. Must not know: the journal.
//! Invariant: the disk is compared with the original before the next start; the claims are asked
//! over the wire after it.

use super::{let_run, row};
use anyhow::{Context as _, Result, ensure};
use bt_tests::{Fixture, PATIENCE, Process, Rng, ensure_same, mib};
use std::path::Path;
use std::time::{Duration, Instant};

/// The size of the file in MiB.
const MIB: usize = 96;
/// The rate limit of the seed: a copy in 1.5 s.
const UP: &str = "64MiB/s";
/// The limit of a process's life, in milliseconds.
const LIFE_MAX_MS: u64 = 1200;
/// The greatest loss of a kill besides open pieces, in bytes.
pub(super) const LOST_MAX: u64 = 64 << 20;
/// The time in seconds within which a restart must bring payload. It holds for each restart of a
/// long run. In a short run, beside which other programs run, it holds for half of them.
const RESUMES_WITHIN: f64 = 2.0;
/// The length of a life above which it is reported.
const SLOW: Duration = Duration::from_secs(10);
/// One round in this number kills the seed, too.
const SEED_DIES: u64 = 4;

/// The progress of a killed process.
pub(super) struct Life {
    /// The bytes that were there when it began, at least.
    pub(super) there: u64,
    /// The payload that it received, in bytes.
    pub(super) down: u64,
    /// The time from its start until payload came.
    pub(super) resumed: Option<Duration>,
}

/// A download that runs.
pub(super) struct Runner {
    pub(super) process: Process,
    began: Instant,
}

impl Runner {
    /// Starts a download and waits until it has checked its data. Fails if the restart is refused.
    pub(super) fn start(fixture: &Fixture, home: &Path, dir: &Path) -> Result<Runner> {
        let began = Instant::now();
        let process = Process::start("get", &mut fixture.get(home, dir))?;
        process.wait_event("ready", PATIENCE).context("the restart was refused")?;
        Ok(Runner { process, began })
    }

    /// Waits until payload comes or the download is complete; returns the time since its start.
    pub(super) fn wait_payload(&self) -> Result<Duration> {
        let moves = |event: &serde_json::Value| {
            event["bytes_down"].as_u64() > Some(0) || event["event"] == "complete"
        };
        self.process.wait_for("payload", PATIENCE, moves)?;
        Ok(self.began.elapsed())
    }

    /// Fails if the download claims a piece that is not on the disk. A download that has completed
    /// and ended claims none.
    pub(super) fn ensure_claims(&self, fixture: &Fixture, dir: &Path) -> Result<()> {
        match fixture.ensure_claims(&self.process, dir) {
            Err(error) if self.process.last_event("complete").is_none() => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the progress of the process, by its own account.
    pub(super) fn life(&self, resumed: Option<Duration>) -> Life {
        let progress = |event: &serde_json::Value| {
            Some((event["bytes_done"].as_u64()?, event["bytes_down"].as_u64()?))
        };
        let all: Vec<(u64, u64)> = self.process.objects().iter().filter_map(progress).collect();
        let (first, last) =
            (all.first().copied().unwrap_or_default(), all.last().copied().unwrap_or_default());
        Life { there: first.0.saturating_sub(first.1), down: last.1, resumed }
    }
}

/// Runs `rounds` rounds and prints the figures.
pub(super) fn run(rounds: u32, seed: u64, short: bool) -> Result<()> {
    println!("kill -9, {rounds} rounds, a file of {MIB} MiB at {UP}");
    let (fixture, mut rng) = (Fixture::new(MIB, UP)?, Rng::from_seed(seed));
    let mut source = fixture.seed()?;
    let (mut lost, mut resumed, mut copies, mut round) = (Vec::new(), Vec::new(), 0, 0);
    while round < rounds {
        let (dir, home) = (
            fixture.stage.path(format!("copy {copies}")),
            fixture.stage.path(format!("home {copies}")),
        );
        let mut before: Option<Life> = None;
        loop {
            let runner = Runner::start(&fixture, &home, &dir)?;
            runner.ensure_claims(&fixture, &dir).with_context(|| format!("round {round}"))?;
            let there = runner.life(None).there;
            if let Some(before) = before.take() {
                let gone = (before.there + before.down).saturating_sub(there);
                ensure!(gone <= LOST_MAX, "round {round}: {:.1} MiB are fetched again", mib(gone));
                lost.push(mib(gone));
            }
            if round >= rounds {
                runner.process.finish(PATIENCE)?.expect_code(0)?;
                break;
            }
            // Some processes are killed before any payload comes.
            let moment = Duration::from_millis(rng.below(LIFE_MAX_MS));
            let payload = if rng.below(4) > 0 { Some(runner.wait_payload()?) } else { None };
            let_run(moment);
            let life = runner.life(payload);
            if runner.began.elapsed() > SLOW {
                println!(
                    "  round {round} took {:.1} s\n{}",
                    runner.began.elapsed().as_secs_f64(),
                    runner.process.transcript()
                );
            }
            resumed.extend(life.resumed.map(|after| after.as_secs_f64()));
            runner.process.kill()?;
            let is_over = runner.process.finish(PATIENCE)?.code == Some(0);
            if rng.below(SEED_DIES) == 0 {
                source.kill()?;
                source.finish(PATIENCE)?;
                source = fixture.seed()?;
            }
            if is_over {
                break;
            }
            round += 1;
            before = Some(life);
        }
        ensure_same(&fixture.stage.path("data.bin"), &Fixture::copy(&dir))
            .with_context(|| format!("copy {copies}"))?;
        std::fs::remove_dir_all(&dir)?;
        copies += 1;
    }
    println!(
        "  {copies} copies, each as the original; no claimed piece was missing; no restart was refused"
    );
    row("fetched again for a kill, open pieces counted", "MiB", &lost);
    row("from the start until payload comes", "s", &resumed);
    let (what, after) = match short {
        true => ("median", crate::median::median(resumed.iter().copied())),
        false => ("slowest", resumed.iter().copied().fold(0.0, f64::max)),
    };
    ensure!(after <= RESUMES_WITHIN, "the {what} restart brings payload after {after:.1} s");
    Ok(())
}
