//! A swarm with narrow uplinks: one seed, leechers that start together, finishers that stay.
//!
//! Decides: which client runs where, what is measured. Must not know: which client it is, nor what
//! a good time is.
//! Invariant: each client has a network namespace and an uplink of its own; only copies that equal
//! the original count as finished.

use crate::{
    Client, ClientConfig, ClientProgress, Host, Net, Protocol, Running, Stage, random_file,
};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The time between two questions for the progress of all clients.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The time without any progress after which a run counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// The shape of a race.
#[derive(Clone, Debug)]
pub struct RaceSpec {
    /// The size of the file, in bytes.
    pub bytes: u64,
    /// The length of a piece, in bytes.
    pub piece: u64,
    /// The seed's uplink in bits per second.
    pub seed_up: u64,
    /// The uplink of each leecher in bits per second.
    pub leecher_up: Vec<u64>,
    /// The amount after which the seed dies, in per cent of a copy that it has sent.
    pub leave_at: Option<u64>,
}

/// The result of a race.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The time at which each finished leecher was complete, counted from when the last one had its
    /// torrent; sorted.
    pub finished: Vec<Duration>,
    /// The time until the last leecher had its torrent.
    pub stagger: Duration,
    /// The payload that the seed sent, in bytes.
    pub seed_sent: u64,
    /// The number of pieces that no leecher has in the end.
    pub lost: usize,
    /// The ends of the outputs of the leechers that did not finish.
    pub stuck: Vec<String>,
}

impl RaceSpec {
    /// Returns the seconds that no protocol can beat where downlinks have no limit. The seed must
    /// send everything once, and all uplinks together must send it to every leecher.
    pub fn bound(&self) -> f64 {
        let bits = (8 * self.bytes) as f64;
        let all = self.seed_up + self.leecher_up.iter().sum::<u64>();
        (bits / self.seed_up as f64).max(self.leecher_up.len() as f64 * bits / all as f64)
    }

    /// Runs the race once.
    pub fn run(&self, net: &Net, seed: &dyn Client, leecher: &dyn Client) -> Result<Outcome> {
        let stage = Stage::new()?;
        let source = stage.path("data.bin");
        random_file(&source, 1, self.bytes)?;
        let tracker_host = net.host()?;
        let at = (tracker_host.v4, 6969).into();
        let (_tracker, url) =
            stage.tracker_with(Protocol::Http, at, Some(&tracker_host), &["--interval", "10s"])?;
        let torrent =
            stage.create(&source, &["--piece-length", &self.piece.to_string(), "-a", &url])?;

        let host = shaped(net, self.seed_up)?;
        let (dir, home) = (stage.path(""), stage.path("home of the seed"));
        let mut seeding = seed.share(&ClientConfig::new(&host, &torrent, &dir, &home))?;
        seeding.wait_complete(crate::PATIENCE)?;
        stage
            .wait_seeders(1, &torrent, Some(&host))
            .with_context(|| format!("{} as a seed", seed.name()))?;

        let hosts =
            self.leecher_up.iter().map(|&up| shaped(net, up)).collect::<Result<Vec<_>>>()?;
        let mut leechers = Vec::new();
        for (number, host) in hosts.iter().enumerate() {
            let (dir, home) = (
                stage.path(format!("leecher {number}")),
                stage.path(format!("home of leecher {number}")),
            );
            let running = leecher.open(&ClientConfig::new(host, &torrent, &dir, &home))?;
            leechers.push(Leecher {
                running,
                copy: dir.join("data.bin"),
                finished: None,
                progress: ClientProgress::default(),
            });
        }
        let first = Instant::now();
        for leecher in &mut leechers {
            leecher.running.add()?;
        }
        let stagger = first.elapsed();
        let seed_sent = self.watch(seeding, &mut leechers)?;
        let mut finished: Vec<Duration> =
            leechers.iter().filter_map(|leecher| leecher.finished).collect();
        finished.sort();
        let lost =
            lost(&source, self.piece, leechers.iter().map(|leecher| leecher.copy.as_path()))?;
        for leecher in &leechers {
            let same = || Ok::<_, anyhow::Error>(fs::read(&source)? == fs::read(&leecher.copy)?);
            ensure!(
                leecher.finished.is_none() || same()?,
                "{} differs from the original",
                leecher.copy.display()
            );
        }
        let stuck = leechers.iter().filter(|leecher| leecher.finished.is_none());
        let stuck = stuck
            .map(|leecher| format!("{:?}\n{}", leecher.progress, leecher.running.transcript()))
            .collect();
        Ok(Outcome { finished, stagger, seed_sent, lost, stuck })
    }

    /// Watches until all leechers have finished or none makes progress; returns the bytes that the
    /// seed sent.
    fn watch(&self, seed: Box<dyn Running>, leechers: &mut [Leecher]) -> Result<u64> {
        let start = Instant::now();
        let (mut seed, mut seed_sent, mut moved) = (Some(seed), 0, start);
        loop {
            if let Some(running) = &mut seed {
                seed_sent = running.progress()?.bytes_up;
                if self.leave_at.is_some_and(|percent| seed_sent * 100 >= self.bytes * percent) {
                    seed = None;
                }
            }
            for leecher in leechers.iter_mut().filter(|leecher| leecher.finished.is_none()) {
                let before = std::mem::replace(&mut leecher.progress, leecher.running.progress()?);
                if leecher.progress.complete {
                    leecher.finished = Some(start.elapsed());
                }
                if leecher.progress != before {
                    moved = Instant::now();
                }
            }
            let over = leechers.iter().all(|leecher| leecher.finished.is_some());
            if over || moved.elapsed() > STALLED_AFTER {
                return Ok(seed_sent);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

struct Leecher {
    running: Box<dyn Running>,
    copy: PathBuf,
    finished: Option<Duration>,
    progress: ClientProgress,
}

fn shaped(net: &Net, up: u64) -> Result<Host> {
    let host = net.host()?;
    host.shape(&format!("{up}bit"))?;
    Ok(host)
}

/// Counts the pieces of `source` that no copy has whole.
fn lost<'a>(source: &Path, piece: u64, copies: impl Iterator<Item = &'a Path>) -> Result<usize> {
    let source = fs::read(source)?;
    let mut found = vec![false; source.len().div_ceil(piece as usize)];
    for copy in copies {
        // A leecher without payload may have no file.
        let copy = fs::read(copy).unwrap_or_default();
        for (index, (ours, theirs)) in
            source.chunks(piece as usize).zip(copy.chunks(piece as usize)).enumerate()
        {
            found[index] |= ours == theirs;
        }
    }
    Ok(found.iter().filter(|found| !**found).count())
}

#[cfg(test)]
mod tests {
    use super::{RaceSpec, lost};

    fn spec(seed_up: u64, leecher_up: &[u64]) -> RaceSpec {
        RaceSpec {
            bytes: 1 << 20,
            piece: 1 << 18,
            seed_up,
            leecher_up: leecher_up.to_vec(),
            leave_at: None,
        }
    }

    #[test]
    fn the_bound_is_the_uplink_of_the_seed_or_of_all_peers() {
        // A MiB has 8 Mi bits.
        assert_eq!(spec(1 << 20, &[1 << 30]).bound(), 8.0);
        assert_eq!(spec(1 << 23, &[0, 0]).bound(), 2.0);
    }

    #[test]
    fn a_piece_is_lost_when_no_copy_has_all_of_it() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        for (name, bytes) in [("source", "aabbccd"), ("one", "aaxxcc"), ("other", "axbx")] {
            std::fs::write(path(name), bytes)?;
        }
        let copies = [path("one"), path("other"), path("none")];
        assert_eq!(lost(&path("source"), 2, copies.iter().map(|copy| copy.as_path()))?, 2);
        Ok(())
    }
}
