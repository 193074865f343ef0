//! What all parties of the battery share: a torrent, honest processes, and checks of every process.
//!
//! Decides: what an honest transfer is, and how memory and time are measured. Must not know: any
//! case.
//! Invariant: a process that printed a panic or a bug fails its case.

use super::wire::Swarm;
use super::{BACK_WITHIN, Held, OVER_MAX, Scale};
use crate::{
    Canary, Finished, LOOPBACK, PATIENCE, Process, Stage, ensure_same, listening, mib, random_bytes,
};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The length of a piece, in bytes.
const PIECE: u32 = 64 << 10;
/// The number of clean transfers, whose median time is the reference.
const CLEAN: usize = 3;

/// A torrent, and a folder for the processes that share it.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) swarm: Arc<Swarm>,
    pub(super) torrent: PathBuf,
    /// The file that is shared.
    pub(super) source: PathBuf,
    canary: Canary,
    copies: AtomicU32,
}

impl Scene {
    /// Makes a torrent whose last piece is short, and whose bitfield has spare bits in its last
    /// byte.
    pub(super) fn new(scale: &Scale) -> Result<Scene> {
        let stage = Stage::new()?;
        let source = stage.path("data.bin");
        let pieces = scale.mib * ((1 << 20) / PIECE) - 3;
        let content = random_bytes(u64::from(scale.mib), (pieces * PIECE - 1234) as usize);
        fs::write(&source, &content)?;
        let torrent =
            stage.create(&source, &["--piece-length", &PIECE.to_string(), "--no-date"])?;
        let bytes = fs::read(&torrent)?;
        let at = bytes
            .windows(7)
            .position(|window| window == b"4:infod")
            .context("a torrent has an info dictionary")?;
        // `info` is the last key of the torrent.
        let info = bytes[at + 6..bytes.len() - 1].to_vec();
        let swarm = Swarm { info_hash: stage.info_hash(&torrent)?.0, info, content, piece: PIECE };
        let canary = Canary::new(&stage)?;
        Ok(Scene {
            swarm: Arc::new(swarm),
            torrent,
            source,
            canary,
            copies: AtomicU32::new(0),
            stage,
        })
    }

    /// Returns an unused name for a copy or an actor.
    pub(super) fn fresh(&self, name: &str) -> String {
        format!("{name} {}", self.copies.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns a folder for a download, beside the canary.
    pub(super) fn copy(&self) -> PathBuf {
        self.canary.downloads.join(self.fresh("copy"))
    }

    /// Starts an honest seed with this uplink that connects to these peers.
    pub(super) fn seed(&self, up: Option<&str>, peers: &[SocketAddr]) -> Result<Process> {
        let mut command =
            self.stage.seed(&self.fresh("seed"), &self.torrent, &self.stage.path(""), LOOPBACK);
        command.arg("--no-check").args(up.iter().flat_map(|up| ["--up", up]));
        command.args(peers.iter().flat_map(|peer| ["--peer".into(), peer.to_string()]));
        Process::start("honest seed", &mut command)
    }

    /// Starts such a seed, waits until it is ready, and returns its address.
    pub(super) fn ready_seed(&self, up: Option<&str>) -> Result<(Process, SocketAddr)> {
        let seed = self.seed(up, &[])?;
        let at = listening(&seed)?.parse()?;
        Ok((seed, at))
    }

    /// Returns a `bt get` command without any peer.
    pub(super) fn get(&self, source: impl AsRef<Path>, copy: &Path, listen: SocketAddr) -> Command {
        let mut command = self.stage.bt(&self.fresh("get"));
        command
            .arg("get")
            .arg(source.as_ref())
            .arg("-d")
            .arg(copy)
            .args(["--listen", &listen.to_string()]);
        command
    }

    /// Runs an honest download of everything and returns how long it took.
    pub(super) fn honest(&self, from: SocketAddr) -> Result<Duration> {
        let copy = self.copy();
        let mut command = self.get(&self.torrent, &copy, LOOPBACK);
        let began = Instant::now();
        let get = Process::start("honest get", command.args(["--peer", &from.to_string()]))?;
        get.wait_event("complete", PATIENCE)?;
        let took = began.elapsed();
        sound(get.finish(PATIENCE)?.expect_code(0)?)?;
        self.ensure_copy(&copy)?;
        Ok(took)
    }

    /// Fails if a copy differs from the original; removes it.
    pub(super) fn ensure_copy(&self, copy: &Path) -> Result<()> {
        ensure_same(&self.source, &copy.join("data.bin"))?;
        Ok(fs::remove_dir_all(copy)?)
    }

    /// Fails if anything outside the download folders changed.
    pub(super) fn ensure_untouched(&self) -> Result<()> {
        self.canary.ensure_untouched()
    }
}

/// Runs a few clean transfers and returns their median time.
pub(super) fn clean(mut transfer: impl FnMut() -> Result<Duration>) -> Result<Duration> {
    let mut times = (0..CLEAN).map(|_| transfer()).collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[CLEAN / 2])
}

/// Returns a loopback address whose port was free a moment ago.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(LOOPBACK)?.local_addr()?)
}

/// Fails if a process printed a panic or a bug.
pub(super) fn sound(finished: Finished) -> Result<Finished> {
    for word in ["panicked", "bug:"] {
        ensure!(!finished.err.contains(word), "it printed {word:?}: {}", finished.err);
    }
    Ok(finished)
}

/// Waits until a process holds about as much memory as before. Returns the MiB above that, then and
/// at the peak.
pub(super) fn settled(process: &Process, before: u64) -> Result<Held> {
    let deadline = Instant::now() + BACK_WITHIN;
    loop {
        let over = mib(process.memory()?) - mib(before);
        if over <= OVER_MAX || Instant::now() > deadline {
            let peak = mib(process.peak_memory()?) - mib(before);
            return Ok(Held { over: over.max(0.0), peak: peak.max(0.0) });
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command that ends by itself, and returns the greatest memory that was seen, in MiB.
pub(super) fn watched(name: &str, command: &mut Command) -> Result<(Finished, f64)> {
    let process = Process::start(name, command)?;
    let deadline = Instant::now() + PATIENCE;
    let mut peak = 0;
    while !process.is_over()? {
        ensure!(Instant::now() < deadline, "{name} does not end\n{}", process.transcript());
        // A process that has ended in the meantime holds none.
        peak = process.peak_memory().unwrap_or_default().max(peak);
        thread::sleep(Duration::from_millis(1));
    }
    Ok((sound(process.finish(PATIENCE)?)?, mib(peak)))
}
