//! Rate limits, over real time: the bytes that pass match the limit, and no peer is dropped for
//! being slow.
//!
//! Decides: the rates, how long they are watched, the tolerance. Must not know: how a limit is
//! kept.
//! Invariant: the watch begins with the first block, and each side's own account is believed: both
//! are compared with the rate.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{LOOPBACK, PATIENCE, Process, Stage, listening, random_file};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const BLOCK: u64 = 16 << 10;

/// The side that is limited.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Limited {
    Get,
    Seeds,
}

#[test]
fn five_mib_a_second_are_held_within_five_per_cent() -> Test {
    for limited in [Limited::Get, Limited::Seeds] {
        let swarm = Swarm::start(limited, "5MiB/s", 1, 160 << 20, "256KiB")?;
        let [passed] = swarm.watch(Duration::from_secs(20))?[..] else {
            unreachable!("one is limited")
        };
        let allowed = 20 * (5 << 20);
        println!("{limited:?} limited to 5 MiB/s: {passed} bytes in 20 s, {allowed} allowed");
        ensure!(passed.abs_diff(allowed) <= allowed / 20, "{passed} bytes, {allowed} allowed");
    }
    Ok(())
}

#[test]
fn five_kib_a_second_are_held_within_a_block_and_none_of_four_peers_is_given_up() -> Test {
    // Both run at once: neither loads the machine.
    let watch = |limited| {
        let swarm = Swarm::start(limited, "5KiB/s", 4, 4 << 20, "16KiB")?;
        Ok::<_, anyhow::Error>((swarm.watch(Duration::from_secs(60))?, swarm.served()?))
    };
    let (get, seeds) = std::thread::scope(|scope| {
        let get = scope.spawn(|| watch(Limited::Get));
        let seeds = watch(Limited::Seeds);
        (get.join().expect("no panic"), seeds)
    });
    let allowed = 60 * (5 << 10);
    for (limited, (passed, served)) in [(Limited::Get, get?), (Limited::Seeds, seeds?)] {
        println!(
            "{limited:?} limited to 5 KiB/s: {passed:?} bytes in 60 s, {allowed} allowed; the seeds served {served:?}"
        );
        ensure!(
            passed.iter().all(|bytes| bytes.abs_diff(allowed) <= BLOCK),
            "{limited:?}: {passed:?} bytes, {allowed} allowed"
        );
        ensure!(
            served.iter().all(|bytes| *bytes >= 2 * BLOCK),
            "a seed was given up: they served {served:?} bytes"
        );
    }
    Ok(())
}

/// Seeds, and a leecher that downloads from all of them.
struct Swarm {
    limited: Limited,
    seeds: Vec<Process>,
    get: Process,
    _stage: Stage,
}

impl Swarm {
    fn start(limited: Limited, rate: &str, seeds: usize, size: u64, piece: &str) -> Result<Swarm> {
        let stage = Stage::new()?;
        let source = stage.path("data.bin");
        random_file(&source, 1, size)?;
        let torrent = stage.create(&source, &["--piece-length", piece])?;
        let copy: PathBuf = stage.path("copy");
        let mut get = stage.get("get", &torrent, &copy, LOOPBACK);
        if limited == Limited::Get {
            get.args(["--down", rate]);
        }
        let mut processes = Vec::new();
        for number in 0..seeds {
            let mut command =
                stage.seed(&format!("seed {number}"), &torrent, &stage.path(""), LOOPBACK);
            if limited == Limited::Seeds {
                command.args(["--up", rate]);
            }
            let seed = Process::start("seed", &mut command)?;
            get.args(["--peer", &listening(&seed)?]);
            processes.push(seed);
        }
        let get = Process::start("get", &mut get)?;
        Ok(Swarm { limited, seeds: processes, get, _stage: stage })
    }

    /// Returns the bytes that pass at each limited process within a time from the first block on.
    fn watch(&self, time: Duration) -> Result<Vec<u64>> {
        let limited: Vec<(&Process, &str)> = match self.limited {
            Limited::Get => vec![(&self.get, "bytes_down")],
            Limited::Seeds => self.seeds.iter().map(|seed| (seed, "bytes_up")).collect(),
        };
        let mut starts = Vec::new();
        for &(process, field) in &limited {
            let first = process.wait_for("the first block", PATIENCE, |event| {
                bytes(event, field).is_some_and(|bytes| bytes > 0)
            })?;
            starts.push((Instant::now(), bytes(&first, field).unwrap_or_default()));
        }
        let mut passed = Vec::new();
        for (&(process, field), (began, first)) in limited.iter().zip(starts) {
            std::thread::sleep((began + time).saturating_duration_since(Instant::now()));
            let last = process.last_event("progress").context("it tells how far it is")?;
            passed.push(bytes(&last, field).context(field.to_owned())? - first);
        }
        Ok(passed)
    }

    /// Returns the bytes that each seed has served.
    fn served(&self) -> Result<Vec<u64>> {
        let served = |seed: &Process| bytes(&seed.last_event("progress")?, "bytes_up");
        self.seeds.iter().map(|seed| served(seed).context("a seed tells what it served")).collect()
    }
}

fn bytes(event: &serde_json::Value, field: &str) -> Option<u64> {
    event[field].as_u64()
}
