//! A scene with `bt` processes: a folder with their data, and the separate state of each.
//!
//! Decides: where files lie, and the arguments that every scene repeats. Must not know: what a
//! scene shows.
//! Invariant: two actors share no state.

use crate::foreign::Libtorrent;
use crate::{Host, InfoHash, PATIENCE, Process, bt, bt_for_people, random_file};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The loopback address with any port, out of reach for other machines.
pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A folder for the data and state of processes, which is removed on drop.
#[derive(Debug)]
pub struct Stage {
    dir: TempDir,
}

/// The protocol of a tracker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// BEP 3
    Http,
    /// BEP 15
    Udp,
}

impl Stage {
    /// Makes an empty stage in the system's folder for temporary files.
    pub fn new() -> Result<Stage> {
        Ok(Stage { dir: tempfile::Builder::new().prefix("bt-tests-").tempdir()? })
    }

    /// Makes an empty stage in this folder.
    pub fn within(folder: &Path) -> Result<Stage> {
        Ok(Stage { dir: tempfile::Builder::new().prefix("bt-tests-").tempdir_in(folder)? })
    }

    /// Returns a path on the stage and makes nothing.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a `bt --json` command with the state of the actor `who`, in the stage's folder.
    pub fn bt(&self, who: &str) -> Command {
        let mut command = bt(&self.path(format!("state of {who}")));
        command.current_dir(self.dir.path());
        command
    }

    /// Returns the same command with output for people.
    pub fn bt_for_people(&self, who: &str) -> Command {
        let mut command = bt_for_people(&self.path(format!("state of {who}")));
        command.current_dir(self.dir.path());
        command
    }

    /// Makes `NAME.torrent` of `source` with `bt create` and these further options, and returns its
    /// path.
    pub fn create(&self, source: &Path, options: &[&str]) -> Result<PathBuf> {
        let name = source.file_name().context("the source has a name")?.to_string_lossy();
        let torrent = self.path(format!("{name}.torrent"));
        let mut command = self.bt("creator");
        command.arg("create").arg(source).arg("-o").arg(&torrent).arg("--force").args(options);
        Process::run("create", &mut command, PATIENCE)?.expect_code(0)?;
        Ok(torrent)
    }

    /// Runs `bt show` and returns its description of a torrent.
    pub fn show(&self, torrent: &Path) -> Result<Value> {
        Process::run("show", self.bt("shower").arg("show").arg(torrent), PATIENCE)?
            .expect_code(0)?
            .last()
    }

    /// Returns the v1 info-hash of a torrent, as `bt show` prints it.
    pub fn info_hash(&self, torrent: &Path) -> Result<InfoHash> {
        let shown = self.show(torrent)?;
        let hash = shown["info_hash_v1"].as_str().and_then(InfoHash::from_hex);
        hash.with_context(|| format!("no v1 info-hash: {shown}"))
    }

    /// Starts `bt tracker` at this address (port 0: any), in `host` or on this machine; returns it
    /// and its announce URL.
    pub fn tracker(
        &self,
        protocol: Protocol,
        at: SocketAddr,
        host: Option<&Host>,
    ) -> Result<(Process, String)> {
        self.tracker_with(protocol, at, host, &[])
    }

    /// Starts the same tracker with further options.
    pub fn tracker_with(
        &self,
        protocol: Protocol,
        at: SocketAddr,
        host: Option<&Host>,
        options: &[&str],
    ) -> Result<(Process, String)> {
        let option = match protocol {
            Protocol::Http => "--http",
            Protocol::Udp => "--udp",
        };
        let mut command = self.bt("tracker");
        command.args(["tracker", option, &at.to_string()]).args(options);
        let tracker = match host {
            Some(host) => Process::start("tracker", &mut host.inside(&command))?,
            None => Process::start("tracker", &mut command)?,
        };
        let url = listening(&tracker)?;
        Ok((tracker, url))
    }

    /// Waits until the torrent's tracker, asked from `host` or from this machine, knows `count`
    /// seeds: it tells every later announcer of them.
    pub fn wait_seeders(&self, count: u64, torrent: &Path, host: Option<&Host>) -> Result<()> {
        let mut scrape = self.bt("scraper");
        scrape.arg("scrape").arg(torrent);
        if let Some(host) = host {
            scrape = host.inside(&scrape);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let swarm = Process::run("scrape", &mut scrape, PATIENCE)?;
            if swarm
                .objects()
                .iter()
                .any(|answer| answer["trackers"][0]["seeders"].as_u64() >= Some(count))
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} for {count} seeds at the tracker: they did not come\n{}",
                swarm.out
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Returns the command `bt seed TORRENT -d DIR --listen AT`; DIR holds the torrent's content.
    pub fn seed(&self, who: &str, torrent: &Path, dir: &Path, listen: SocketAddr) -> Command {
        let mut command = self.bt(who);
        command.arg("seed").arg(torrent).arg("-d").arg(dir).args(["--listen", &listen.to_string()]);
        command
    }

    /// Returns the command `bt get TORRENT -d DIR --listen AT`.
    pub fn get(&self, who: &str, torrent: &Path, dir: &Path, listen: SocketAddr) -> Command {
        let mut command = self.bt(who);
        command.arg("get").arg(torrent).arg("-d").arg(dir).args(["--listen", &listen.to_string()]);
        command
    }
}

/// A stage with content, its torrent, and a seed of it on loopback: `bt`, or a foreign one.
#[derive(Debug)]
pub struct Seeded {
    /// The stage.
    pub stage: Stage,
    /// The seeded file or folder.
    pub source: PathBuf,
    /// The torrent's file.
    pub torrent: PathBuf,
    /// The address at which the seed listens.
    pub at: String,
    /// The seed.
    pub seed: Process,
}

impl Seeded {
    /// Makes a torrent of `source`, a path on the stage, and seeds it, both with these further
    /// options.
    pub fn new(stage: Stage, source: &Path, create: &[&str], seed: &[&str]) -> Result<Seeded> {
        let torrent = stage.create(source, create)?;
        let seed = Process::start(
            "seed",
            stage.seed("seed", &torrent, &stage.path(""), LOOPBACK).args(seed),
        )?;
        let at = listening(&seed)?;
        Ok(Seeded { stage, source: source.to_path_buf(), torrent, at, seed })
    }

    /// Makes a torrent of `source`, a path on the stage, that names a tracker, and seeds it with
    /// libtorrent; returns once the tracker knows the seed.
    pub fn foreign(stage: Stage, source: &Path, tracker: &str) -> Result<Seeded> {
        let torrent = stage.create(source, &["-a", tracker])?;
        let at = LOOPBACK.to_string();
        let mut seed = Libtorrent::DEFAULT.share_on(&torrent, &stage.path(""), &at);
        let seed = Process::start("libtorrent", &mut seed)?;
        let at = listening(&seed)?;
        stage.wait_seeders(1, &torrent, None)?;
        Ok(Seeded { stage, source: source.to_path_buf(), torrent, at, seed })
    }

    /// Makes and seeds a torrent of a file of `size` random bytes in pieces of 256 KiB.
    pub fn file(size: u64, seed: &[&str]) -> Result<Seeded> {
        let stage = Stage::new()?;
        let source = stage.path("data.bin");
        random_file(&source, size, size)?;
        Seeded::new(stage, &source, &["--piece-length", "256KiB"], seed)
    }

    /// Returns the command of a download from the seed into the folder `copy` on the stage.
    pub fn get(&self, who: &str, copy: impl AsRef<Path>) -> Command {
        let mut command = self.stage.get(who, &self.torrent, &self.stage.path(copy), LOOPBACK);
        command.args(["--peer", &self.at]);
        command
    }
}

/// Waits until a `bt` is ready, and returns the first address, or URL, at which it listens.
pub fn listening(process: &Process) -> Result<String> {
    let ready = process.wait_event("ready", PATIENCE)?;
    Ok(ready["listen"][0]
        .as_str()
        .with_context(|| format!("it does not say where it listens: {ready}"))?
        .to_owned())
}
