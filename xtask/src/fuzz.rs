//! `fuzz`: every target of `tests/fuzz` for a while, with inputs that no run before tried.
//!
//! Decides: for how long, and from which seed. Must not know: any target.
//! Invariant: the same seed and the same number of executions are the same inputs.

use anyhow::{Context as _, Result, ensure};
use bt_tests::cargo;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Which targets.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only targets with this in their name
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the inputs begin; the clock if it is not given
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs the targets, as many at a time as there are cores.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = args.seed.unwrap_or_else(clock);
    println!("fuzz: {} s for each target, seed {seed}", args.seconds);
    let mut command = cargo(root);
    command.args(["test", "--quiet", "--release", "--package", "bt-fuzz", "--test", "all", "--", "--nocapture"]);
    command.args(&args.target);
    command.env("BT_FUZZ_SECONDS", args.seconds.to_string()).env("BOLERO_RANDOM_SEED", seed.to_string());
    ensure!(command.status().context("cargo can be run")?.success(), "there is a finding: make it a file of the target's corpus");
    Ok(())
}
