//! `ci`: everything that must pass before a change lands.
//!
//! Decides: which steps, in which order: quick ones first. Must not know: what a step checks.
//! Invariant: it stops at the first failure and names the command that failed.

use anyhow::{Context as _, Result, bail, ensure};
use bt_tests::cargo;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The name of a step, and its arguments to `cargo`.
type Step = (&'static str, &'static [&'static str]);

/// Checks that need no binary.
const CHECKS: &[Step] = &[
    ("format", &["fmt", "--all", "--check"]),
    ("tidy", &["run", "--quiet", "--package", "xtask", "--", "tidy"]),
    ("api", &["run", "--quiet", "--package", "xtask", "--", "api"]),
    ("lints", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("bare session", &bare("bt-session", "check")),
    ("bare tracker client", &bare("bt-tracker-client", "test")),
    ("bare net", &bare("bt-net", "test")),
    ("tests", &["test", "--quiet", "--workspace", "--exclude", "bt-tests"]),
    ("docs", &["doc", "--quiet", "--no-deps", "--workspace"]),
    (
        "simulation",
        &[
            "run",
            "--quiet",
            "--release",
            "--package",
            "xtask",
            "--",
            "sim",
            "seed-crash",
            "--seed",
            "1",
        ],
    ),
    ("sim churn", &sim("churn", "1..20")),
    ("sim strangers", &sim("strangers", "1..20")),
    ("sim poison-all", &sim("poison-all", "1..20")),
    ("sim poison-some", &sim("poison-some", "1..20")),
    ("sim flash-50", &sim("flash-50", "1..2")),
    ("sim unequal-50", &sim("unequal-50", "1..2")),
    ("sim leave-50", &sim("leave-50", "1..2")),
    ("sim leave-12", &sim("leave-12", "1..20")),
    ("sim hostile-50", &sim("hostile-50", "1..2")),
    ("sim riders-20", &sim("riders-20", "1..2")),
    ("sim riders-slow", &sim("riders-slow", "1..2")),
    ("sim far", &sim("far", "1..2")),
    ("sim magnets", &sim("magnets", "1..5")),
    ("sim word-of-mouth", &sim("word-of-mouth", "1..5")),
    ("cost", &["run", "--quiet", "--release", "--package", "xtask", "--", "cost"]),
    (
        "DHT",
        &[
            "run",
            "--quiet",
            "--release",
            "--package",
            "bt-dht",
            "--example",
            "swarm",
            "--",
            "--seed",
            "1",
        ],
    ),
    ("program", &["build", "--quiet", "--release", "--package", "bt-cli"]),
];

/// Checks of real processes and of the packages.
const PROCESSES: &[Step] = &[
    ("dist", &["run", "--quiet", "--package", "xtask", "--", "dist", "--gnu"]),
    ("processes", &["test", "--package", "bt-tests", "--", "--nocapture", "--test-threads", "2"]),
    ("calls", &["run", "--quiet", "--release", "--package", "xtask", "--", "bench", "--calls"]),
    ("torture", &["run", "--quiet", "--release", "--package", "xtask", "--", "torture", "--short"]),
    ("packages", &["run", "--quiet", "--package", "xtask", "--", "packages"]),
];

/// A crate without its features.
const fn bare<'a>(package: &'a str, command: &'a str) -> [&'a str; 5] {
    [command, "--quiet", "--package", package, "--no-default-features"]
}

/// A scenario with several seeds, and its goals.
const fn sim<'a>(name: &'a str, seeds: &'a str) -> [&'a str; 10] {
    ["run", "--quiet", "--release", "--package", "xtask", "--", "sim", name, "--seeds", seeds]
}

/// Runs all steps in the workspace at `root` and prints a table of seconds.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut table = String::from("\n  seconds  step\n");
    let skips = root.join("target/skipped-tests");
    std::fs::create_dir_all(root.join("target"))?;
    std::fs::write(&skips, "")?;
    let began = Instant::now();
    oldest_toolchain(root)?;
    for (name, args) in CHECKS.iter().chain(PROCESSES) {
        println!("== {name}: cargo {}", args.join(" "));
        let (done, took) = step(root, args, &skips)?;
        println!(
            "== {name}: {:.1} s, {:.1} min so far",
            took.as_secs_f64(),
            began.elapsed().as_secs_f64() / 60.0
        );
        writeln!(table, "  {:>7.1}  {name}", took.as_secs_f64())?;
        if !done {
            println!("{table}");
            bail!("step {name} failed: cargo {}", args.join(" "));
        }
    }
    println!("{table}");
    let skipped = std::fs::read_to_string(&skips)?;
    for why in skipped.lines().collect::<BTreeSet<_>>() {
        println!("SKIPPED: {why}");
    }
    println!(
        "ci: all {} steps passed, {} tests were skipped",
        CHECKS.len() + PROCESSES.len(),
        skipped.lines().count()
    );
    Ok(())
}

/// Checks the crates with the oldest toolchain that they promise to build with, where that is
/// installed. Elsewhere clippy's `incompatible_msrv`, an error in this workspace, stands for it.
fn oldest_toolchain(root: &Path) -> Result<()> {
    const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");
    let listed = Command::new("rustup").args(["toolchain", "list"]).output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let listed = listed.unwrap_or_default();
    let Some(toolchain) = listed.split_whitespace().find(|name| is_version(name, OLDEST)) else {
        println!("== oldest toolchain: {OLDEST} is not installed; clippy checks the version");
        return Ok(());
    };
    println!("== oldest toolchain: cargo check with {toolchain}");
    let mut check = Command::new("rustup");
    check.args(["run", toolchain, "cargo", "check", "--quiet", "--target-dir", "target/oldest"]);
    // This process runs under another toolchain, whose variables would win.
    for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        check.env_remove(variable);
    }
    let status = check.current_dir(root).status().context("rustup can be run")?;
    ensure!(status.success(), "the crates do not build with {OLDEST}");
    Ok(())
}

/// Whether a toolchain's name is of this version, with any patch.
fn is_version(name: &str, version: &str) -> bool {
    name.strip_prefix(version).is_some_and(|rest| rest.starts_with(['.', '-']))
}

fn step(root: &Path, args: &[&str], skips: &Path) -> Result<(bool, Duration)> {
    let start = Instant::now();
    let status = cargo(root)
        .args(args)
        .env("RUSTDOCFLAGS", "-D warnings")
        // The file in which tests record that they were skipped.
        .env("BT_SKIPS", skips)
        // The errors of tests name their causes; a backtrace of the harness would add nothing.
        .env("RUST_LIB_BACKTRACE", "0")
        .status()
        .with_context(|| format!("cargo {}", args.join(" ")))?;
    Ok((status.success(), start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::is_version;

    #[test]
    fn a_toolchain_is_told_by_its_version() {
        let table = [
            ("1.90-x86_64-unknown-linux-gnu", true),
            ("1.90.0-x86_64-unknown-linux-gnu", true),
            ("1.9-x86_64-unknown-linux-gnu", false),
            ("1.901-x86_64-unknown-linux-gnu", false),
            ("stable-x86_64-unknown-linux-gnu", false),
        ];
        for (name, is) in table {
            assert_eq!(is_version(name, "1.90"), is, "{name}");
        }
    }
}
