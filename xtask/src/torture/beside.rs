//! Another program writes, cuts, links, renames and makes files beside a download that is killed
//! again and again.
//!
//! Decides: what the other program does and when. Must not know: how `bt` notices it.
//! Invariant: the other program notes the time after each of its writes. Before the last run its
//! changes to names are undone; its changes to bytes stay.

use super::let_run;
use anyhow::{Context as _, Result, bail, ensure};
use bt_tests::{Fixture, PATIENCE, Process, Rng};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The size of the file in MiB, and the rate limit of each download: one second undisturbed.
const MIB: usize = 8;
const DOWN: &str = "8MiB/s";
/// The rate limit of the seed for all downloads together.
const UP: &str = "128MiB/s";
/// The number of rounds that run at a time: most of a round is waiting.
const AT_ONCE: u32 = 8;
/// The exclusive limit of a process's life, in milliseconds, and the greatest number of kills in a
/// round.
const LIFE_MAX_MS: u64 = 800;
const KILLS: u64 = 3;
/// The longest pause between two acts of the other program, in milliseconds. The long one is for
/// rounds in which it acts to the end: the download must be able to complete.
const PAUSE_MAX_MS: u64 = 120;
const LONG_PAUSE_MAX_MS: u64 = 2500;
/// The wait for the end of a download.
const END_WITHIN: Duration = Duration::from_secs(30);
/// The bytes that the other program writes at a time.
const WRITE: usize = 5000;
/// A write this long before `complete` was surely there at the last check of its piece.
const SURELY_BEFORE: Duration = Duration::from_secs(2);
const FOREIGN: &[u8] = b"this is the user's, and no part of any torrent";

/// A write of the other program.
#[derive(Clone, Copy, Debug)]
struct Written {
    from: u64,
    to: u64,
    at: Instant,
}

/// Runs the rounds and prints their results.
pub(super) fn run(rounds: u32, seed: u64) -> Result<()> {
    println!(
        "another program beside a download that is killed, {rounds} rounds, a file of {MIB} MiB at {UP}"
    );
    let (fixture, mut rng) = (Fixture::new(MIB, UP)?, Rng::from_seed(seed));
    let _source = fixture.seed()?;
    let original = fs::read(fixture.stage.path("data.bin"))?;
    let did = thread::scope(|scope| -> Result<Vec<Did>> {
        let players: Vec<_> = (0..AT_ONCE.min(rounds))
            .map(|first| {
                let (fixture, original, mut rng) = (&fixture, &original, rng.fork());
                scope.spawn(move || -> Result<Vec<Did>> {
                    let play = |round: u32| {
                        // In half of the rounds the other program stops before the end.
                        let until_the_end = (round / AT_ONCE) % 2 == 1;
                        play(fixture, original, until_the_end, &mut rng)
                            .with_context(|| format!("round {round} of seed {seed}"))
                    };
                    (first..rounds).step_by(AT_ONCE as usize).map(play).collect()
                })
            })
            .collect();
        let ends = players
            .into_iter()
            .map(|player| player.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        Ok(ends.collect::<Result<Vec<_>>>()?.concat())
    })?;
    let sum = |count: fn(&Did) -> u32| did.iter().map(count).sum::<u32>();
    let (acts, kills, foreign, late) =
        (sum(|did| did.acts), sum(|did| did.kills), sum(|did| did.foreign), sum(|did| did.late));
    println!(
        "  {acts} acts beside {kills} kills; {foreign} foreign files, each untouched; {late} complete beside the other program"
    );
    println!(
        "  {rounds} downloads ended right; none called complete what had been spoilt before it was checked"
    );
    Ok(())
}

/// What happened in a round.
#[derive(Clone, Copy, Debug, Default)]
struct Did {
    acts: u32,
    kills: u32,
    foreign: u32,
    /// The number of downloads that reported `complete` while the other program was at work.
    late: u32,
}

fn play(fixture: &Fixture, original: &[u8], until_the_end: bool, rng: &mut Rng) -> Result<Did> {
    let name = format!("round {}", rng.next_u32());
    let (dir, home) = (fixture.stage.path(&name), fixture.stage.path(format!("home of {name}")));
    let (copy, over) = (Fixture::copy(&dir), AtomicBool::new(false));
    let mut did = Did::default();
    let mut their_rng = rng.fork();
    let (complete_at, written) = thread::scope(|scope| {
        let (copy_too, over_too) = (&copy, &over);
        let pause = if until_the_end { LONG_PAUSE_MAX_MS } else { PAUSE_MAX_MS };
        let meddler = scope.spawn(move || meddle(copy_too, over_too, pause, &mut their_rng));
        let lived = lives(fixture, &home, &dir, until_the_end, &over, rng, &mut did);
        over.store(true, Ordering::Relaxed);
        let meddled = meddler.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let complete_at = lived?;
        let (written, acts, foreign) = meddled?;
        (did.acts, did.foreign) = (acts, foreign);
        anyhow::Ok((complete_at, written))
    })?;
    did.late = u32::from(complete_at.is_some());
    if let Some(complete_at) = complete_at {
        let now = fs::read(&copy).unwrap_or_default();
        for spoilt in written.iter().filter(|written| written.at + SURELY_BEFORE < complete_at) {
            let range = spoilt.from as usize..spoilt.to as usize;
            // Bytes that a later write covers do not count.
            let is_last = written.iter().all(|other| {
                other.at <= spoilt.at || other.to <= spoilt.from || other.from >= spoilt.to
            });
            let is_right = now.get(range.clone()) == original.get(range);
            ensure!(
                !is_last || is_right,
                "complete, with bytes {}..{} that were spoilt before",
                spoilt.from,
                spoilt.to
            );
        }
    }
    // Undisturbed, the same command ends with the right data.
    let finished = Process::run("get in peace", &mut fixture.get(&home, &dir), PATIENCE)?;
    let finished = finished.expect_code(0)?;
    ensure!(finished.event("complete").is_ok(), "it did not say complete");
    ensure!(fs::read(&copy)? == original, "complete, and not as the original");
    fs::remove_dir_all(&dir)?;
    Ok(did)
}

/// Starts the download and kills it a few times; the last life ends by itself. Returns when it
/// reported `complete`, if the other program was still at work then.
fn lives(
    fixture: &Fixture,
    home: &Path,
    dir: &Path,
    until_the_end: bool,
    over: &AtomicBool,
    rng: &mut Rng,
    did: &mut Did,
) -> Result<Option<Instant>> {
    for _ in 0..rng.below(KILLS + 1) {
        let process = Process::start("get", fixture.get(home, dir).args(["--down", DOWN]))?;
        let_run(Duration::from_millis(rng.below(LIFE_MAX_MS)));
        process.kill()?;
        process.finish(PATIENCE)?;
        did.kills += 1;
    }
    let process = Process::start("get", fixture.get(home, dir).args(["--down", DOWN]))?;
    if !until_the_end {
        let_run(Duration::from_millis(rng.below(LIFE_MAX_MS)));
        over.store(true, Ordering::Relaxed);
    }
    let said = process.wait_event("complete", END_WITHIN);
    let complete_at = said.is_ok().then(Instant::now);
    over.store(true, Ordering::Relaxed);
    if complete_at.is_none() && !process.is_over()? {
        // While the other program acts, the download may never end.
        ensure!(until_the_end, "left in peace it did not end\n{}", process.transcript());
        process.interrupt()?;
    }
    let finished = process.finish(PATIENCE)?;
    match finished.code {
        Some(0) if complete_at.is_some() => {}
        // The download was stopped, or a name belonged to the other program at the start.
        Some(6 | 7) => {}
        code => bail!("it ended with {code:?}\n{}", finished.err),
    }
    Ok(complete_at.filter(|_| until_the_end))
}

/// Plays the other program; returns its writes and the numbers of its acts and foreign files.
fn meddle(
    copy: &Path,
    over: &AtomicBool,
    pause: u64,
    rng: &mut Rng,
) -> Result<(Vec<Written>, u32, u32)> {
    let (mut written, mut acts, mut foreign) = (Vec::new(), 0, 0);
    while !over.load(Ordering::Relaxed) {
        let_run(Duration::from_millis(rng.below(pause)));
        let act = rng.below(6);
        match act_once(act, copy, rng, &mut written) {
            Ok(()) => {
                acts += 1;
                foreign += u32::from(act == 5);
            }
            // The file is not there yet.
            Err(error)
                if error
                    .downcast_ref::<io::Error>()
                    .is_some_and(|error| error.kind() == io::ErrorKind::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((written, acts, foreign))
}

fn act_once(act: u64, copy: &Path, rng: &mut Rng, written: &mut Vec<Written>) -> Result<()> {
    let beside = |ending: &str| PathBuf::from(format!("{}.{ending}", copy.display()));
    let len = fs::metadata(copy)?.len();
    match act {
        0 => {
            let from = rng.below(len.saturating_sub(WRITE as u64).max(1));
            OpenOptions::new().write(true).open(copy)?.write_all_at(&[0x5a; WRITE], from)?;
            written.push(Written { from, to: from + WRITE as u64, at: Instant::now() });
        }
        1 => {
            let to = rng.below(len.max(1));
            OpenOptions::new().write(true).open(copy)?.set_len(to)?;
            written.push(Written { from: to, to: len, at: Instant::now() });
        }
        2 => {
            fs::hard_link(copy, beside("link"))?;
            fs::remove_file(beside("link"))?;
        }
        3 => fs::set_permissions(
            copy,
            Permissions::from_mode(if rng.below(2) == 0 { 0o600 } else { 0o644 }),
        )?,
        4 => {
            fs::rename(copy, beside("away"))?;
            let_run(Duration::from_millis(rng.below(50)));
            put_back(copy, &beside("away"))?;
        }
        _ => {
            fs::rename(copy, beside("away"))?;
            // The download may have made the name anew in between: then the file is its own and
            // stays.
            if let Ok(file) = File::options().write(true).create_new(true).open(copy) {
                file.write_all_at(FOREIGN, 0)?;
                let_run(Duration::from_millis(rng.below(200)));
                ensure!(fs::read(copy)? == FOREIGN, "a foreign file was written to");
                fs::remove_file(copy)?;
            }
            put_back(copy, &beside("away"))?;
        }
    }
    Ok(())
}

/// Gives the file its name back, unless the download has made another file meanwhile.
fn put_back(copy: &Path, away: &Path) -> Result<()> {
    match fs::hard_link(away, copy) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fs::remove_file(away)?)
}
