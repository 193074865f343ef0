//! A download that is interrupted, politely or not, and started again.
//!
//! Decides: when it is interrupted. Must not know: the journal.
//! Invariant: what was verified and written before is counted from the program's own events.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{PATIENCE, Process, Seeded, ensure_same};
use serde_json::Value;

const SIZE: u64 = 256 << 20;
/// The bytes that are verified and written at the interrupt: more than may be lost.
const ENOUGH: u64 = 160 << 20;
/// The bytes that may be fetched again after SIGKILL.
const LOST_MAX: u64 = 64 << 20;

#[test]
fn after_sigint_no_verified_piece_is_fetched_again() -> Test {
    let scene = Scene::new()?;
    let get = scene.get_until(ENOUGH)?;
    let first = get.stop(PATIENCE)?.expect_code(7)?;
    let done = last_done(&first.objects());
    let summary = scene.finish()?;
    let there = count(&summary, "bytes_there")?;
    println!(
        "SIGINT: {} MiB verified and written, {} MiB there afterwards",
        done >> 20,
        there >> 20
    );
    ensure!(there >= done, "{done} bytes were verified, only {there} are there");
    Ok(())
}

#[test]
fn after_sigkill_at_most_64_mib_are_fetched_again() -> Test {
    let scene = Scene::new()?;
    let get = scene.get_until(ENOUGH)?;
    get.kill()?;
    let done = last_done(&get.finish(PATIENCE)?.objects());
    let summary = scene.finish()?;
    let there = count(&summary, "bytes_there")?;
    println!(
        "SIGKILL: {} MiB verified and written, {} MiB there afterwards",
        done >> 20,
        there >> 20
    );
    ensure!(there + LOST_MAX >= done, "{done} bytes were verified, only {there} are there");
    Ok(())
}

/// Starts a seed that is slow enough for an interrupt.
struct Scene(Seeded);

impl Scene {
    fn new() -> Result<Scene> {
        Ok(Scene(Seeded::file(SIZE, &["--up", "64MiB/s"])?))
    }

    fn get(&self) -> Result<Process> {
        Process::start("get", &mut self.0.get("get", "copy"))
    }

    /// Starts a download and waits until it has the given bytes.
    fn get_until(&self, bytes: u64) -> Result<Process> {
        let get = self.get()?;
        get.wait_for("enough bytes", PATIENCE, |event| {
            event["bytes_done"].as_u64() >= Some(bytes)
        })?;
        Ok(get)
    }

    /// Runs the same command to its end, and checks its account.
    fn finish(&self) -> Result<Value> {
        let summary = self.get()?.finish(PATIENCE)?.expect_code(0)?.event("summary")?;
        ensure_same(&self.0.source, &self.0.stage.path("copy/data.bin"))?;
        let (there, down, wasted) = (
            count(&summary, "bytes_there")?,
            count(&summary, "bytes_downloaded")?,
            count(&summary, "bytes_wasted")?,
        );
        ensure!(there < SIZE, "it was complete before the interruption");
        ensure!(
            there + down == SIZE + wasted,
            "{there} there + {down} downloaded is not {SIZE} + {wasted} wasted"
        );
        Ok(summary)
    }
}

fn last_done(events: &[Value]) -> u64 {
    events.iter().filter_map(|event| event["bytes_done"].as_u64()).next_back().unwrap_or_default()
}

fn count(summary: &Value, field: &str) -> Result<u64> {
    summary[field].as_u64().with_context(|| format!("the summary has {field}: {summary}"))
}

#[test]
fn what_was_deleted_is_fetched_again_and_what_is_remembered_is_listed_and_forgotten() -> Test {
    let seeded = Seeded::file(1 << 20, &[])?;
    let stage = &seeded.stage;
    let get =
        |options: &[&str]| Process::run("get", seeded.get("get", "copy").args(options), PATIENCE);
    let list = || -> Result<Vec<Value>> {
        let listed = Process::run("list", stage.bt("get").args(["list", "--state"]), PATIENCE)?
            .expect_code(0)?
            .last()?;
        Ok(listed["torrents"].as_array().cloned().unwrap_or_default())
    };
    get(&[])?.expect_code(0)?;
    std::fs::remove_dir_all(stage.path("copy"))?;
    let again = get(&[])?.expect_code(0)?;
    ensure!(again.err.contains("was deleted; the download begins anew"), "{}", again.err);
    ensure_same(&seeded.source, &stage.path("copy/data.bin"))?;

    let saved = list()?;
    ensure!(
        saved.len() == 1 && saved[0]["name"] == "data.bin" && saved[0]["bytes_have"] == 1 << 20,
        "{saved:?}"
    );
    ensure!(saved[0]["dir"].as_str().is_some_and(|dir| dir.ends_with("/copy")), "{saved:?}");
    let forget =
        |name: &str| Process::run("forget", stage.bt("get").args(["forget", name]), PATIENCE);
    forget("other.bin")?.expect_code(3)?;
    forget("data.bin")?.expect_code(0)?;
    ensure!(list()?.is_empty(), "it was forgotten");
    ensure_same(&seeded.source, &stage.path("copy/data.bin"))?;

    get(&[])?.expect_code(0)?;
    ensure!(list()?.len() == 1, "it is remembered again");
    get(&["--no-resume"])?.expect_code(0)?;
    ensure!(list()?.is_empty(), "--no-resume forgets");
    Ok(())
}
