//! The battery of misbehaviours, quick: the outcome and the peak of memory are asserted; remaining
//! memory and time are printed.
//!
//! Decides: how much is played here. Must not know: any case; they are in `bt_tests::battery`.
//! Invariant: no test judges a time. `cargo xtask torture --only battery` does.

use crate::Test;
use anyhow::{Context as _, ensure};
use bt_tests::battery::{Scale, parties};

/// The number of cases that there must be.
const CASES_MIN: usize = 80;

#[test]
fn a_battery_of_misbehaviours_as_a_leech() -> Test {
    play("leech")
}

#[test]
fn a_battery_of_misbehaviours_as_a_seed() -> Test {
    play("seed")
}

#[test]
fn a_battery_of_tracker_replies() -> Test {
    play("tracker")
}

#[test]
fn a_battery_of_torrents_and_magnet_links() -> Test {
    play("torrent")
}

#[test]
fn a_battery_of_spoilt_journals() -> Test {
    play("journal")
}

#[test]
fn the_battery_is_as_large_as_it_should_be() -> Test {
    let counts = parties().map(|(party, count, _)| (party, count));
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    println!("the battery: {all} cases, {counts:?}");
    ensure!(all >= CASES_MIN, "{all} cases");
    Ok(())
}

fn play(party: &str) -> Test {
    let (_, count, play) =
        parties().into_iter().find(|(name, ..)| *name == party).context("there is such a party")?;
    let rows = play(&Scale::QUICK)?;
    ensure!(rows.len() == count, "{} of {count} cases were played", rows.len());
    let peaks: Vec<String> = rows.iter().filter_map(|row| row.peak_excess()).collect();
    ensure!(peaks.is_empty(), "{}", peaks.join("\n"));
    rows.iter()
        .filter_map(|row| row.excess())
        .for_each(|excess| println!("  beyond what torture allows: {excess}"));
    Ok(())
}
