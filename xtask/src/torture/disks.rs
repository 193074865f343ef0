//! Disks that go away in the middle of a download, and come back.
//!
//! Decides: what happens to the disk. Must not know: how `bt` notices a fault.
//! Invariant: a torrent on another disk completes while the fault lasts. The torrent that it hit
//! completes afterwards in the same process. It completes in the next process where the old one's
//! open files belong to a disk that is gone.

use anyhow::{Context as _, Result, ensure};
use bt_tests::{
    Finished, LOOPBACK, PATIENCE, PowerDisk, Process, SmallDisk, Stage, ensure_same, listening,
    mib, random_file, skip, tree,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The name of the torrent that the fault hits: a tree, so that files are opened all the time.
const HIT: &str = "hit";
const HIT_FILES: u32 = 300;
const MIB: u64 = 1 << 20;
/// The size of each of the two torrents, in bytes.
const BYTES: u64 = 24 * MIB;
/// The rate limit of the seed for both together.
const UP: &str = "6MiB/s";
/// The bytes that the torrent has when the fault begins.
const HIT_AT: u64 = 4 * MIB;
/// The time within which a process must end after SIGINT.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A download of two torrents into one directory, one of them onto a disk of its own.
struct Scene {
    stage: Stage,
    /// The directory on which the disk is mounted.
    mount: PathBuf,
}

/// A fault of the disk.
struct Fault {
    what: &'static str,
    /// The causes that `bt` may name.
    causes: &'static [&'static str],
    /// Whether the next process completes the torrent, in place of the one that saw the fault.
    restarts: bool,
    /// Makes the disk.
    make: fn(&Scene) -> Result<Box<dyn Disk>>,
}

/// A disk that can be harmed.
trait Disk {
    fn harm(&self, process: u32) -> Result<()>;
    fn mend(&self, process: u32) -> Result<()>;
}

const FAULTS: [Fault; 4] = [
    Fault {
        what: "unmounted",
        causes: &["missing"],
        restarts: false,
        make: |scene| Ok(Box::new(Bound::new(scene)?)),
    },
    Fault {
        what: "gives errors only",
        causes: &["io"],
        restarts: true,
        make: |scene| Ok(Box::new(Dead::new(scene)?)),
    },
    Fault {
        what: "full when it is synced",
        causes: &["io", "no_space"],
        restarts: true,
        make: |scene| Ok(Box::new(Late::new(scene)?)),
    },
    Fault {
        what: "no descriptor is left",
        causes: &["too_many_files"],
        restarts: false,
        make: |_| Ok(Box::new(Few)),
    },
];

/// Tries every fault and prints the result.
pub(super) fn run() -> Result<()> {
    println!(
        "faults of a disk, two torrents of {} MiB, one of them in {HIT_FILES} files on that disk",
        BYTES / MIB
    );
    if let Some(why) = PowerDisk::obstacle() {
        skip!("{why}");
    }
    let broken: Vec<String> = FAULTS
        .iter()
        .filter_map(|fault| Some(format!("{}: {:#}", fault.what, one(fault).err()?)))
        .collect();
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

fn one(fault: &Fault) -> Result<()> {
    let stage = Stage::new()?;
    let (hit, other) = (stage.path(HIT), stage.path("other.bin"));
    tree(&hit, 1, HIT_FILES, BYTES)?;
    random_file(&other, 2, BYTES)?;
    let torrents = [stage.create(&hit, &["--piece-length", "64KiB"])?, stage.create(&other, &[])?];
    let mut command = stage.bt("seed");
    command.arg("seed").args(&torrents).arg("-d").arg(stage.path("")).args([
        "--listen",
        &LOOPBACK.to_string(),
        "--up",
        UP,
    ]);
    let seed = Process::start("seed", &mut command)?;
    let at = listening(&seed)?;

    let dir = stage.path("copy");
    let mount = dir.join(HIT);
    fs::create_dir_all(&mount)?;
    let scene = Scene { stage, mount };
    let disk = (fault.make)(&scene)?;
    let start = || {
        let mut command = scene.stage.bt("get");
        command.arg("get").args(&torrents).arg("-d").arg(&dir).args([
            "--listen",
            &LOOPBACK.to_string(),
            "--peer",
            &at,
        ]);
        Process::start("get", &mut command)
    };
    let mut get = start()?;
    let hash = |torrent: &Path| scene.stage.info_hash(torrent).map(|hash| hash.to_string());
    let (hit_hash, other_hash) = (hash(&torrents[0])?, hash(&torrents[1])?);
    let has = |event: &serde_json::Value| {
        event["info_hash"] == hit_hash && event["bytes_done"].as_u64() >= Some(HIT_AT)
    };
    get.wait_for("a beginning", PATIENCE, has)?;
    disk.harm(get.id())?;
    let is_cause = |event: &serde_json::Value| {
        event["info_hash"] == hit_hash && event["event"] == "reason" && event["reason"] != "choked"
    };
    let cause = get.wait_for("the cause", PATIENCE, |event| {
        is_cause(event) && fault.causes.iter().any(|cause| event["reason"] == *cause)
    })?;
    let is_complete = |event: &serde_json::Value, hash: &str| {
        event["event"] == "complete" && event["info_hash"] == hash
    };
    get.wait_for("the other torrent", PATIENCE, |event| is_complete(event, &other_hash))?;
    ensure!(
        !get.objects().iter().any(|event| is_complete(event, &hit_hash)),
        "it was complete too early to be hit"
    );
    let mut down = 0;
    if fault.restarts {
        let asked = Instant::now();
        let stopped = get.stop(PATIENCE)?;
        // A process reports pieces that it announced and did not sync; its exit code then outranks
        // that of an interrupt.
        let is_told = |event: &serde_json::Value| {
            event["message"].as_str().is_some_and(|text| text.contains("not all of it is safe"))
        };
        let code = if stopped.objects().iter().any(is_told) { 6 } else { 7 };
        let stopped = stopped.expect_code(code)?;
        down += downloaded(&stopped, &hit_hash)?;
        ensure!(
            asked.elapsed() <= ENDS_WITHIN,
            "it took {:.1} s to end",
            asked.elapsed().as_secs_f64()
        );
        disk.mend(0)?;
        get = start()?;
    } else {
        disk.mend(get.id())?;
    }
    get.wait_for("the torrent that was hit", PATIENCE, |event| is_complete(event, &hit_hash))?;
    let finished = get.finish(PATIENCE)?.expect_code(0)?;
    ensure_same(&other, &dir.join("other.bin"))?;
    ensure_same(&hit, &scene.mount)?;
    down += downloaded(&finished, &hit_hash)?;
    println!(
        "  {:<24} {:<14} the other completed meanwhile, this one {}, {:.2} MiB fetched again",
        fault.what,
        cause["reason"].as_str().unwrap_or_default(),
        if fault.restarts { "after a restart" } else { "afterwards" },
        mib(down.saturating_sub(BYTES))
    );
    Ok(())
}

/// Returns the bytes of a torrent that a process fetched, by its own account.
fn downloaded(finished: &Finished, hash: &str) -> Result<u64> {
    let summary = finished
        .objects()
        .into_iter()
        .find(|event| event["event"] == "summary" && event["info_hash"] == hash);
    summary.context("it sums up")?["bytes_downloaded"]
        .as_u64()
        .context("it says how much it fetched")
}

/// A directory that is bind-mounted, and whose mount goes away.
struct Bound {
    real: PathBuf,
    mount: PathBuf,
}

impl Bound {
    fn new(scene: &Scene) -> Result<Bound> {
        let real = scene.stage.path("real");
        fs::create_dir(&real)?;
        let bound = Bound { real, mount: scene.mount.clone() };
        bound.bind()?;
        Ok(bound)
    }

    fn bind(&self) -> Result<()> {
        succeed(Command::new("mount").arg("--bind").args([&self.real, &self.mount]))
    }
}

impl Disk for Bound {
    fn harm(&self, _: u32) -> Result<()> {
        // Lazy, as the process has files open.
        succeed(Command::new("umount").arg("--lazy").arg(&self.mount))
    }

    fn mend(&self, _: u32) -> Result<()> {
        self.bind()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.mount).output();
    }
}

/// A disk that fails, and is mounted again.
struct Dead(PowerDisk);

impl Dead {
    fn new(scene: &Scene) -> Result<Dead> {
        Ok(Dead(formatted(&scene.stage.path("disk image"), scene)?))
    }
}

impl Disk for Dead {
    fn harm(&self, _: u32) -> Result<()> {
        self.0.cut()
    }

    fn mend(&self, _: u32) -> Result<()> {
        self.0.restart()
    }
}

/// Makes an empty ext4 in this file and mounts it where the torrent will be.
fn formatted(image: &Path, scene: &Scene) -> Result<PowerDisk> {
    fs::remove_dir(&scene.mount)?;
    let disk = PowerDisk::new(image, &scene.mount, 4 * BYTES / MIB)?;
    fs::remove_dir(scene.mount.join("lost+found"))?;
    // Without a sync the disk would have this directory again after its failure.
    succeed(Command::new("sync").arg("--file-system").arg(&scene.mount))?;
    Ok(disk)
}

/// A file system in a file that cannot grow: the sync of written data fails.
struct Late {
    disk: PowerDisk,
    below: SmallDisk,
}

impl Late {
    fn new(scene: &Scene) -> Result<Late> {
        let below = scene.stage.path("below");
        fs::create_dir(&below)?;
        let small = SmallDisk::mount(&below, (BYTES / MIB / 2) as u32)
            .context("a small file system can be mounted")?;
        Ok(Late { disk: formatted(&below.join("image"), scene)?, below: small })
    }
}

impl Disk for Late {
    fn harm(&self, _: u32) -> Result<()> {
        Ok(())
    }

    fn mend(&self, _: u32) -> Result<()> {
        self.below.grow((8 * BYTES / MIB) as u32)?;
        self.disk.restart()
    }
}

/// A limit on open files: the process can open no further file.
struct Few;

impl Disk for Few {
    fn harm(&self, process: u32) -> Result<()> {
        limit(process, "16")
    }

    fn mend(&self, process: u32) -> Result<()> {
        limit(process, "1024")
    }
}

fn limit(process: u32, descriptors: &str) -> Result<()> {
    succeed(
        Command::new("prlimit")
            .arg(format!("--nofile={descriptors}:"))
            .args(["--pid", &process.to_string()]),
    )
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
