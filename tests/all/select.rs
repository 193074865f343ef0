//! Selected files of a torrent, and the report of a slow download.
//!
//! Decides: which files. Must not know: pieces, other than that files share them.
//! Invariant: of unselected files only the parts are fetched that share a piece with a selected
//! file.

use crate::Test;
use anyhow::{Result, ensure};
use bt_tests::{LOOPBACK, PATIENCE, Process, Seeded, Stage, ensure_same, listening, random_file};
use std::fs;
use std::process::Command;

#[test]
fn selected_files_come_and_a_second_run_fetches_the_rest() -> Test {
    let scene = Scene::new(&[])?;
    let get =
        |select: &[&str]| scene.get("get").args(select).start()?.finish(PATIENCE)?.expect_code(0);

    let first = get(&["--select", "c.bin"])?.event("summary")?;
    let copy = scene.0.stage.path("copy of get/tree");
    ensure_same(&scene.0.stage.path("tree/c.bin"), &copy.join("c.bin"))?;
    // The first piece of c.bin holds the end of b.bin too.
    let names: Vec<_> =
        fs::read_dir(&copy)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(names.len() == 2 && names.contains(&"b.bin".into()), "made: {names:?}");
    let (total, down) = (first["bytes_total"].as_u64(), first["bytes_downloaded"].as_u64());
    ensure!(first["complete"] == true && total == down && total < Some(760_000), "{first}");

    let second = get(&[])?.event("summary")?;
    ensure_same(&scene.0.stage.path("tree"), &copy)?;
    ensure!(
        second["bytes_there"] == first["bytes_total"] && second["bytes_total"] == 1_300_000,
        "{second}"
    );
    Ok(())
}

#[test]
fn a_partial_seed_serves_its_files_and_disconnects_upload_only_peers() -> Test {
    let scene = Scene::new(&[])?;
    let partial = scene.get("partial").args(&["--select", "tree/a*", "--seed"]).start()?;
    let complete = partial.wait_event("complete", PATIENCE)?;
    // The seed wants nothing either, so that both close the connection.
    partial.wait_for("the seed to leave", PATIENCE, |event| {
        event["event"] == "progress" && event["peers"] == 0
    })?;
    let at =
        partial.objects().iter().find_map(|event| event["listen"][0].as_str().map(String::from));

    let mut other =
        scene.0.stage.get("other", &scene.0.torrent, &scene.0.stage.path("other"), LOOPBACK);
    other.args(["--select", "a.bin", "--peer", &at.unwrap_or_default()]);
    Process::run("other", &mut other, PATIENCE)?.expect_code(0)?;
    ensure_same(&scene.0.stage.path("tree/a.bin"), &scene.0.stage.path("other/tree/a.bin"))?;
    partial.stop(PATIENCE)?.expect_code(0)?;
    ensure!(complete["name"] == "tree", "{complete}");
    Ok(())
}

#[test]
fn a_glob_that_matches_nothing_is_refused_with_names() -> Test {
    let scene = Scene::new(&[])?;
    let refused =
        scene.get("get").args(&["--select", "*.iso"]).start()?.finish(PATIENCE)?.expect_code(2)?;
    let error = refused.last()?;
    ensure!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains("*.iso") && text.contains("tree/a.bin")),
        "{error}"
    );
    Ok(())
}

#[test]
fn the_true_reason_of_a_slow_download_is_told() -> Test {
    let slow = Scene::new(&["--up", "12KiB/s"])?;
    let quick = Scene::new(&[])?;
    let poor = quick.0.stage.get("poor", &quick.0.torrent, &quick.0.stage.path("poor"), LOOPBACK);
    let poor = Ready(poor).start()?;
    let poor_at = listening(&poor)?;
    let among_poor = quick.0.stage.get(
        "among poor",
        &quick.0.torrent,
        &quick.0.stage.path("among poor"),
        LOOPBACK,
    );
    let waiting = [
        ("slow_peers", slow.get("slow").start()?),
        ("limit", quick.get("limited").args(&["--down", "64KiB/s"]).start()?),
        ("no_data", Ready(among_poor).args(&["--peer", &poor_at]).start()?),
    ];
    poor.wait_for("no_peers", PATIENCE, |event| {
        event["reason"] == "no_peers" || event["reason"] == "no_data"
    })?;
    for (reason, get) in &waiting {
        let first = get.wait_event("reason", PATIENCE)?;
        ensure!(first["reason"] == *reason, "not {reason}: {first}");
    }
    Ok(())
}

/// Starts a seed of a folder of three files and an empty one, whose pieces cross file ends.
struct Scene(Seeded);

impl Scene {
    fn new(seed: &[&str]) -> Result<Scene> {
        let stage = Stage::new()?;
        let tree = stage.path("tree");
        fs::create_dir(&tree)?;
        for (n, (name, len)) in
            (1..).zip([("a.bin", 100_000), ("b.bin", 500_000), ("c.bin", 700_000), ("empty", 0)])
        {
            random_file(&tree.join(name), n, len)?;
        }
        Ok(Scene(Seeded::new(stage, &tree, &["--piece-length", "32KiB"], seed)?))
    }

    /// Returns the command of a download from the seed.
    fn get(&self, who: &str) -> Ready {
        Ready(self.0.get(who, format!("copy of {who}")))
    }
}

/// A command that is ready to be started.
struct Ready(Command);

impl Ready {
    fn args(mut self, args: &[&str]) -> Ready {
        self.0.args(args);
        self
    }

    fn start(mut self) -> Result<Process> {
        Process::start("get", &mut self.0)
    }
}
