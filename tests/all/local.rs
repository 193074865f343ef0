//! Neighbours on one local network, which may meet again and again, and on several addresses at once.
//!
//! Decides: who starts when, and where it can be reached. Must not know: how neighbours are found, which connection stays.
//! Invariant: each scene has a network of its own; a connection that comes late is a failure, as the wait for it would be a person's.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{Discovery, Host, Net, PATIENCE, Process, Stage, discover, ensure_same, listening, random_file, skip};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SIZE: u64 = 4 << 20;
/// From the start of a download to its first byte, or from the first connection to the only one.
const SOON: Duration = Duration::from_secs(2);
/// Where all take connections, of both families.
const EVERYWHERE: &str = "[::]:6881";

#[test]
fn downloads_one_after_another_from_one_address_begin_at_once() -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let scene = Scene::new()?;
    let (there, here) = (net.host()?, net.host()?);
    let seed = scene.seed(&there)?;
    listening(&seed)?;
    for (number, by_magnet) in [false, false, true, true].into_iter().enumerate() {
        let (who, dir) = (format!("getter {number}"), scene.stage.path(format!("copy {number}")));
        let source = if by_magnet { Path::new(&scene.magnet) } else { &scene.torrent };
        let mut command = scene.stage.bt(&who);
        command.arg("get").arg(source).arg("-d").arg(&dir).args(["--listen", EVERYWHERE]);
        let began = Instant::now();
        let getter = Process::start(&who, &mut here.inside(discover(&mut command, Discovery::Lsd)))?;
        let has_bytes = |said: &serde_json::Value| said["bytes_down"].as_u64().is_some_and(|bytes| bytes > 0);
        getter.wait_for("a first byte", PATIENCE, |said| has_bytes(said) || said["event"] == "complete")?;
        let took = began.elapsed();
        getter.finish(PATIENCE)?.expect_code(0)?;
        println!("{who}: first byte after {:.2} s", took.as_secs_f64());
        ensure!(took < SOON, "{who}: {took:?}\n{}", seed.transcript());
        ensure_same(&scene.source, &dir.join("content.bin"))?;
    }
    Ok(())
}

/// A torrent that names no tracker.
struct Scene {
    stage: Stage,
    source: PathBuf,
    torrent: PathBuf,
    magnet: String,
}

impl Scene {
    fn new() -> Result<Scene> {
        let stage = Stage::new()?;
        let source = stage.path("content.bin");
        random_file(&source, 1, SIZE)?;
        let torrent = stage.create(&source, &["--piece-length", "64KiB"])?;
        let magnet = stage.show(&torrent)?["magnet"].as_str().context("a link")?.to_owned();
        Ok(Scene { stage, source, torrent, magnet })
    }

    /// A seed that calls on the local network.
    fn seed(&self, host: &Host) -> Result<Process> {
        Process::start("seed", &mut host.inside(&self.seed_command("seed", &[])))
    }

    fn seed_command(&self, who: &str, options: &[&str]) -> Command {
        let mut command = self.stage.bt(who);
        command.arg("seed").arg(&self.torrent).arg("-d").arg(self.stage.path("")).args(["--listen", EVERYWHERE]).args(options);
        discover(&mut command, Discovery::Lsd);
        command
    }
}
