//! Files that change under a seed, and while it is stopped.
//!
//! Decides: how the file is changed. Must not know: how the seed notices a change.
//! Invariant: each block that the seed sends afterwards is compared with the original; an honest
//! leecher ends with the right data.

use anyhow::{Context as _, Result, ensure};
use bt_tests::foreign::Libtorrent;
use bt_tests::{
    Client as _, Fixture, LOOPBACK, PATIENCE, Process, ensure_same, listening, random_bytes,
    skipped,
};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// The size of the file in MiB.
const MIB: usize = 16;
/// The rate limits of the harmed seed and of the honest one.
const UP: [&str; 2] = ["8MiB/s", "4MiB/s"];
/// The bytes that the leecher has when the file changes.
const HARMED_AT: u64 = 3 << 20;
/// The time within which a seed must end after SIGINT.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// The number of pieces that may be wrong: those whose blocks were in flight.
const WRONG_MAX: usize = 16;

type Harm = fn(&Path) -> Result<()>;

/// The changes of the file, the worst last.
const HARMS: [(&str, Harm); 5] = [
    ("overwritten", overwrite),
    ("truncated", |path| Ok(OpenOptions::new().write(true).open(path)?.set_len(1 << 20)?)),
    ("deleted", |path| Ok(fs::remove_file(path)?)),
    ("replaced", |path| {
        let other = path.with_extension("other");
        fs::write(&other, random_bytes(99, MIB << 20))?;
        Ok(fs::rename(other, path)?)
    }),
    ("a piece overwritten, its time put back", |path| {
        let modified = path.metadata()?.modified()?;
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::Start(8 << 20))?;
        file.write_all(&random_bytes(98, 256 << 10))?;
        Ok(file.set_modified(modified)?)
    }),
];

/// Tries every harm and prints the figures.
pub(super) fn run(short: bool) -> Result<()> {
    println!("changed files, a file of {MIB} MiB");
    match Libtorrent::DEFAULT.version() {
        Some(_) => {
            for (what, harm) in if short { &HARMS[3..] } else { &HARMS[..] } {
                under_a_seed(what, *harm).with_context(|| format!("{what} under a seed"))?;
            }
        }
        None => skipped("libtorrent is not installed"),
    }
    for (number, (what, harm)) in HARMS.into_iter().enumerate() {
        for killed in [false, true] {
            // A short run plays each harm once, with the seed killed in every other one.
            if short && killed == number.is_multiple_of(2) {
                continue;
            }
            while_stopped(what, harm, killed)
                .with_context(|| format!("{what} while it was stopped, killed: {killed}"))?;
        }
    }
    Ok(())
}

fn under_a_seed(what: &str, harm: Harm) -> Result<()> {
    let fixture = Fixture::new(MIB, UP[1])?;
    let (dir, copy) = (fixture.stage.path("harmed"), fixture.stage.path("copy"));
    let seed = harmed_seed(&fixture, &dir)?;
    let leecher_at = TcpListener::bind(LOOPBACK)?.local_addr()?.to_string();
    let mut command = Libtorrent::DEFAULT.share_on(&fixture.torrent, &copy, &leecher_at);
    let leecher = Process::start("libtorrent", command.args(["--peer", &listening(&seed)?]))?;
    leecher.wait_for("a beginning", PATIENCE, |event| {
        event["bytes_done"].as_u64() >= Some(HARMED_AT)
    })?;
    harm(&Fixture::copy(&dir))?;
    let honest_dir = fixture.stage.path("");
    let mut honest = fixture.stage.seed("honest", &fixture.torrent, &honest_dir, LOOPBACK);
    let _honest = Process::start("seed", honest.args(["--up", UP[1], "--peer", &leecher_at]))?;
    leecher.wait_event("complete", PATIENCE)?;
    leecher.kill()?;
    let said = leecher.finish(PATIENCE)?.err;
    let wrong = said.lines().filter(|line| line.contains("hash for piece")).count();
    ensure_same(&fixture.stage.path("data.bin"), &Fixture::copy(&copy))?;
    ensure!(wrong <= WRONG_MAX, "{wrong} pieces were wrong");
    let (right, bad) = fixture.served(&listening(&seed)?)?;
    ensure!(bad == 0, "{bad} wrong blocks were served long after the change");
    ends(seed)?;
    println!(
        "  {what:<40} libtorrent: right in the end, {wrong} wrong pieces; later {right} blocks right, none wrong"
    );
    Ok(())
}

fn while_stopped(what: &str, harm: Harm, killed: bool) -> Result<()> {
    let fixture = Fixture::new(MIB, UP[1])?;
    let dir = fixture.stage.path("harmed");
    let seed = harmed_seed(&fixture, &dir)?;
    if killed {
        seed.kill()?;
        seed.finish(PATIENCE)?;
    } else {
        ends(seed)?;
    }
    harm(&Fixture::copy(&dir))?;
    let mut command = fixture.stage.seed("harmed", &fixture.torrent, &dir, LOOPBACK);
    let seed = Process::start("seed", &mut command)?;
    let how = if killed { "killed, then" } else { "stopped, then" };
    if let Err(refusal) = seed.wait_event("ready", PATIENCE) {
        let finished = seed.finish(PATIENCE)?;
        ensure!(matches!(finished.code, Some(4 | 6)), "{refusal:#}");
        println!("  {how} {what:<40} refused with code {}", finished.code.unwrap_or_default());
        return Ok(());
    }
    let (right, bad) = fixture.served(&listening(&seed)?)?;
    ensure!(bad == 0, "{bad} of {} blocks were wrong", right + bad);
    ends(seed)?;
    println!("  {how} {what:<40} {right} blocks right, none wrong");
    Ok(())
}

/// Starts a seed of a copy in `dir` whose file will be changed.
fn harmed_seed(fixture: &Fixture, dir: &Path) -> Result<Process> {
    fs::create_dir_all(dir)?;
    fs::copy(fixture.stage.path("data.bin"), Fixture::copy(dir))?;
    let mut command = fixture.stage.seed("harmed", &fixture.torrent, dir, LOOPBACK);
    let seed = Process::start("seed", command.args(["--up", UP[0]]))?;
    seed.wait_event("ready", PATIENCE)?;
    Ok(seed)
}

fn ends(seed: Process) -> Result<()> {
    let asked = Instant::now();
    seed.stop(PATIENCE)?.expect_code(0)?;
    ensure!(
        asked.elapsed() <= ENDS_WITHIN,
        "it took {:.1} s to end",
        asked.elapsed().as_secs_f64()
    );
    Ok(())
}

fn overwrite(path: &Path) -> Result<()> {
    let mut file = File::options().write(true).open(path)?;
    Ok(file.write_all(&random_bytes(99, MIB << 20))?)
}
