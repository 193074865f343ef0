//! The tour of the README, as it is written there.
//!
//! Decides: which commands go on until they are stopped. Must not know: any command's meaning.
//! Invariant: every line that the README shows is printed, figures aside; nothing is run that it
//! does not show.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{Host, Net, PATIENCE, Process, Stage, bt_for_people, skip};
use std::path::Path;
use std::process::Command;

/// Commands that go on until the end of their block.
const GOES_ON: [&str; 2] = ["bt tracker ", "bt seed "];

#[test]
fn the_readme_does_what_it_says() -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let (host, stage) = (net.host()?, Stage::new()?);
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    let blocks: Vec<&str> =
        readme.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    ensure!(blocks.len() >= 5, "{} blocks", blocks.len());
    for block in blocks {
        run(block, &stage, &host)?;
    }
    Ok(())
}

/// Runs one block: each command, until it has printed what follows it, and then to its end or the
/// block's.
fn run(block: &str, stage: &Stage, host: &Host) -> Result<()> {
    let mut going_on = Vec::new();
    for part in block.split("$ ").filter(|part| !part.trim().is_empty()) {
        let (line, expected) = part.split_once('\n').context("a command is a line")?;
        let process = Process::start(line, &mut host.inside(&shell(line, stage)?))?;
        for wanted in expected.lines().filter(|wanted| *wanted != "...") {
            process.wait_line(wanted, PATIENCE, |line| {
                (without_figures(line) == without_figures(wanted)).then_some(())
            })?;
        }
        if GOES_ON.iter().any(|start| line.starts_with(start)) {
            going_on.push(process);
        } else {
            process.finish(PATIENCE)?.expect_code(0)?;
        }
    }
    going_on
        .into_iter()
        .rev()
        .try_for_each(|process| process.stop(PATIENCE)?.expect_code(0).map(drop))
}

/// Returns a command as a user types it, with `bt` on the path and both outputs as one.
fn shell(line: &str, stage: &Stage) -> Result<Command> {
    let home = stage.path("home");
    let bt = bt_for_people(&home);
    let folder = Path::new(bt.get_program()).parent().context("bt lies in a folder")?;
    let path = format!("{}:{}", folder.display(), std::env::var("PATH")?);
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("exec 2>&1; exec {line}"))
        .current_dir(stage.path(""))
        .env("PATH", path)
        .env("HOME", &home);
    for name in ["BT_HOME", "BT_LOG", "XDG_STATE_HOME", "BT_NO_DHT", "BT_NO_LSD"] {
        shell.env_remove(name);
    }
    Ok(shell)
}

/// Replaces figures that differ from run to run, such as times and shares, but keeps info-hashes.
fn without_figures(line: &str) -> String {
    let is_figure = |word: &str| word.parse::<f64>().is_ok();
    line.split(' ')
        .map(|word| if is_figure(word) { "#" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}
