//! A transfer at full speed: complete seeds, leechers that start together, no rate limits.
//!
//! Decides: which client runs where, what is measured. Must not know: which client it is, nor what
//! a good figure is.
//! Invariant: what a client did before the leechers began is not counted, above all its own check
//! of the data.

use crate::{
    Client, ClientConfig, Host, Net, PATIENCE, Process, Protocol, Running, Stage, ensure_same,
    random_file,
};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The tracker's address: that of the first host of every network.
const TRACKER: &str = "http://10.77.0.1:6969/announce";

/// The time that a transfer may take: the slowest client with the most pieces needs minutes on a
/// slow machine.
const TRANSFER: Duration = Duration::from_secs(600);

/// The number of files of a tree in one directory.
const FILES_TOGETHER: u32 = 100;

/// Content, and its torrent.
#[derive(Debug)]
pub struct Payload {
    stage: Stage,
    source: PathBuf,
    torrent: PathBuf,
    bytes: u64,
}

/// What a transfer cost.
#[derive(Clone, Copy, Debug)]
pub struct TransferCost {
    /// The time from when the first leecher got its torrent until the last one was complete.
    pub wall: Duration,
    /// Processor seconds of all seeds together.
    pub seed_cpu: f64,
    /// Processor seconds of all leechers together.
    pub leecher_cpu: f64,
    /// The most memory that a seed held, in bytes.
    pub seed_peak: u64,
    /// The most memory that a leecher held, in bytes.
    pub leecher_peak: u64,
}

impl Payload {
    /// Makes `files` files of random bytes in this folder, `bytes` together, and their torrent with
    /// pieces of this length.
    pub fn new(folder: &Path, files: u32, bytes: u64, piece: u64) -> Result<Payload> {
        let stage = Stage::within(folder)?;
        let source = stage.path("content");
        if files == 1 {
            random_file(&source, 1, bytes)?;
        } else {
            for number in 0..files {
                let dir = source.join(format!("{:04}", number / FILES_TOGETHER));
                fs::create_dir_all(&dir)?;
                random_file(
                    &dir.join(format!("{number:06}.bin")),
                    number.into(),
                    bytes / u64::from(files),
                )?;
            }
        }
        let torrent =
            stage.create(&source, &["--piece-length", &piece.to_string(), "-a", TRACKER])?;
        Ok(Payload { stage, source, torrent, bytes })
    }

    /// Returns the size of the content in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Moves the content once, from the given number of seeds to that of leechers. Copies lie
    /// beside the source.
    pub fn transfer(
        &self,
        folder: &Path,
        seed: (&dyn Client, usize),
        leecher: (&dyn Client, usize),
    ) -> Result<TransferCost> {
        let net = Net::new().context("network namespaces need root and `ip`")?;
        let stage = Stage::within(folder)?;
        let tracker_host = net.host()?;
        let at = (tracker_host.v4, 6969).into();
        let (_tracker, _) =
            stage.tracker_with(Protocol::Http, at, Some(&tracker_host), &["--interval", "10s"])?;

        let hosts = hosts(&net, seed.1)?;
        let mut seeds = Vec::new();
        for (number, host) in hosts.iter().enumerate() {
            let (dir, home) = (self.stage.path(""), stage.path(format!("home of seed {number}")));
            seeds.push(seed.0.share(&ClientConfig::new(host, &self.torrent, &dir, &home))?);
        }
        for running in &mut seeds {
            running
                .wait_complete(PATIENCE)
                .with_context(|| format!("{} as a seed", seed.0.name()))?;
        }
        let known = stage.wait_seeders(seed.1 as u64, &self.torrent, Some(&tracker_host));
        known.with_context(|| format!("{} as a seed", seed.0.name()))?;

        let hosts = self::hosts(&net, leecher.1)?;
        let (mut leechers, mut copies) = (Vec::new(), Vec::new());
        for (number, host) in hosts.iter().enumerate() {
            let (dir, home) = (
                stage.path(format!("copy {number}")),
                stage.path(format!("home of leecher {number}")),
            );
            leechers.push(leecher.0.open(&ClientConfig::new(host, &self.torrent, &dir, &home))?);
            copies.push(dir.join("content"));
        }
        let before = (cpu(&seeds)?, cpu(&leechers)?);
        let began = Instant::now();
        for running in &mut leechers {
            running.add()?;
        }
        for running in &mut leechers {
            let what = || format!("{} from {}", leecher.0.name(), seed.0.name());
            running.wait_complete(TRANSFER).with_context(what)?;
        }
        let wall = began.elapsed();
        let cost = TransferCost {
            wall,
            seed_cpu: cpu(&seeds)? - before.0,
            leecher_cpu: cpu(&leechers)? - before.1,
            seed_peak: peak(&seeds)?,
            leecher_peak: peak(&leechers)?,
        };
        drop((seeds, leechers));
        copies.iter().try_for_each(|copy| ensure_same(&self.source, copy))?;
        Ok(cost)
    }
}

fn hosts(net: &Net, count: usize) -> Result<Vec<Host>> {
    (0..count).map(|_| net.fast_host()).collect()
}

fn processes(all: &[Box<dyn Running>]) -> impl Iterator<Item = &Process> {
    all.iter().filter_map(|running| running.process())
}

/// Sums the processor seconds so far of the clients that run.
fn cpu(all: &[Box<dyn Running>]) -> Result<f64> {
    processes(all).map(Process::cpu_seconds).sum()
}

fn peak(all: &[Box<dyn Running>]) -> Result<u64> {
    processes(all).try_fold(0, |most, process| Ok(process.peak_memory()?.max(most)))
}
