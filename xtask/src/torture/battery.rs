//! The battery of misbehaviours, each sustained while an honest transfer runs beside it.
//!
//! Decides: that memory and time have limits. Must not know: any case; they are in
//! `bt_tests::battery`.
//! Invariant: a case that exceeds memory or time is played again before it counts, as other
//! programs load the machine, too.

use anyhow::{Result, bail};
use bt_tests::battery::{OVER_MAX, Play, Scale, TIMES_MAX, parties};
use std::collections::BTreeMap;

/// The number of times that a party is played while figures exceed their limits.
const TRIES: usize = 3;

/// Plays every party and prints the figures.
pub(super) fn run() -> Result<()> {
    let cases: usize = parties().iter().map(|(_, count, _)| count).sum();
    println!(
        "{cases} misbehaviours beside honest transfers of {} MiB: at most {OVER_MAX} MiB and {TIMES_MAX} times the time",
        Scale::FULL.mib
    );
    // All parties run at once: honest transfers are slow enough that each has the time it needs.
    let failures: Vec<String> = std::thread::scope(|scope| {
        let played: Vec<_> =
            parties().into_iter().map(|(_, _, play)| scope.spawn(move || party(play))).collect();
        let ends = played
            .into_iter()
            .map(|party| party.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ends.filter_map(|end| Some(format!("{:#}", end.err()?))).collect()
    });
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}

/// Plays all cases of a party, again while figures exceed their limits.
fn party(play: Play) -> Result<()> {
    // The report of each case whose figures exceeded their limits each time.
    let mut excess: Option<BTreeMap<&str, String>> = None;
    for _ in 0..TRIES {
        let rows = play(&Scale::FULL)?;
        let now: BTreeMap<&str, String> =
            rows.iter().filter_map(|row| Some((row.case, row.excess()?))).collect();
        let still = excess.iter().flatten().filter(|(case, _)| now.contains_key(*case));
        excess = Some(if excess.is_none() {
            now
        } else {
            still.map(|(case, said)| (*case, said.clone())).collect()
        });
        if excess.iter().all(BTreeMap::is_empty) {
            return Ok(());
        }
    }
    bail!("{}", excess.into_iter().flatten().map(|(_, said)| said).collect::<Vec<_>>().join("\n"))
}
