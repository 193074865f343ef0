//! The licences of what is in the program.
//!
//! Decides: which crates are named. Must not know: where the text goes.
//! Invariant: Cargo itself says what is built.

use super::said;
use anyhow::{Result, ensure};
use bt_tests::cargo;
use std::collections::BTreeSet;
use std::path::Path;

/// Returns the foreign crates in the program, with their licences, one a line.
pub(super) fn of_crates(root: &Path) -> Result<String> {
    let mut command = cargo(root);
    command.args(["tree", "--quiet", "--offline", "--package", "bt-cli", "--edges", "normal"]);
    command.args(["--prefix", "none", "--format", "{p}: {l}"]);
    let text = said(&mut command)?;
    // Our own crates are named with their paths.
    let lines: BTreeSet<&str> = text.lines().filter(|line| !line.contains("(/")).collect();
    let lines: BTreeSet<&str> =
        lines.into_iter().map(|line| line.trim_end_matches(" (*)")).collect();
    ensure!(!lines.is_empty(), "the program has foreign crates");
    Ok(lines.into_iter().flat_map(|line| [line, "\n"]).collect())
}
