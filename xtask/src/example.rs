//! Examples of the crates, built to be run by tools.
//!
//! Decides: how cargo is asked for one. Must not know: what it does.
//! Invariant: it is a release build, and cargo itself says where it lies.

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds an example of a crate of the workspace at `root`, and returns its path.
pub(crate) fn build(root: &Path, package: &str, example: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--package", package, "--example", example]);
    command.args(["--message-format", "json-render-diagnostics"]).current_dir(root).stderr(Stdio::inherit());
    let output = command.output().context("cargo")?;
    ensure!(output.status.success(), "the example {example} does not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next().context("cargo names the executable")
}
