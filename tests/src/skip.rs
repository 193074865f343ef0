//! Tests that cannot run here say so.
//!
//! Decides: what a missing tool means: a skipped test for a person, a failure in CI. Must not know: any tool.
//! Invariant: with `BT_CI=1` no test is silently left out.

/// Prints `SKIPPED: why` and returns from the test; with `BT_CI=1` it panics instead.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        let why = format!($($why)*);
        assert!(std::env::var_os("BT_CI").is_none_or(|value| value != "1"), "SKIPPED: {why}, but BT_CI=1 forbids skipping");
        eprintln!("SKIPPED: {why}");
        return Ok(());
    }};
}
