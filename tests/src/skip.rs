//! Reports of tests that cannot run here.
//!
//! Decides: what a missing tool means: a skipped test for a person, a failure in CI. Must not know:
//! any tool.
//! Invariant: with `BT_CI=1` no test is silently left out.

use std::io::Write as _;

/// Prints `SKIPPED: why`, and adds a line to the file that `BT_SKIPS` names; with `BT_CI=1` it
/// panics instead.
pub fn skipped(why: &str) {
    assert!(
        std::env::var_os("BT_CI").is_none_or(|value| value != "1"),
        "SKIPPED: {why}, but BT_CI=1 forbids skipping"
    );
    eprintln!("SKIPPED: {why}");
    if let Some(notes) = std::env::var_os("BT_SKIPS") {
        let note = || writeln!(std::fs::OpenOptions::new().append(true).open(notes)?, "{why}");
        note().unwrap_or_else(|error: std::io::Error| eprintln!("cannot note that: {error}"));
    }
}

/// Calls [`skipped`](crate::skipped) and returns from the test.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::skipped(&format!($($why)*));
        return Ok(());
    }};
}
