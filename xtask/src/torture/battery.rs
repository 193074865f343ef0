//! The battery of misbehaviours, each sustained while an honest transfer runs beside it.
//!
//! Decides: that memory and time bind. Must not know: any case; they are in `bt_tests::battery`.
//! Invariant: a case whose time is too long is played again before it counts: the machine does other things, too.

use anyhow::{Result, bail};
use bt_tests::battery::{OVER_MAX, Row, Scale, TIMES_MAX, parties};
use std::collections::BTreeMap;

/// How often a party is played while figures are too bad.
const TRIES: usize = 3;

/// Plays every party and prints the figures.
pub(super) fn run() -> Result<()> {
    let cases: usize = parties().iter().map(|(_, count, _)| count).sum();
    println!(
        "{cases} misbehaviours beside honest transfers of {} MiB: at most {OVER_MAX} MiB and {TIMES_MAX} times the time",
        Scale::FULL.mib
    );
    let mut failures = Vec::new();
    for (_, _, play) in parties() {
        // The best figures of each case, as far as they are too bad.
        let mut excess: BTreeMap<&str, String> = BTreeMap::new();
        for attempt in 0..TRIES {
            let rows = play(&Scale::FULL)?;
            let bad = |row: &Row| Some((row.case, row.excess()?));
            let now: BTreeMap<&str, String> = rows.iter().filter_map(bad).collect();
            excess = if attempt == 0 { now } else { excess.into_iter().filter(|(case, _)| now.contains_key(case)).collect() };
            if excess.is_empty() {
                break;
            }
        }
        failures.extend(excess.into_values());
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}
