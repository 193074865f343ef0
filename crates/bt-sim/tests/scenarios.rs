//! Every scenario with a few seeds: all rules hold, and the run is what its name says.
//!
//! Decides: what each scenario must show. Must not know: how the world works.
//! Invariant: nothing here depends on the speed of the machine.

use bt_sim::scenarios::{names, run};
use bt_sim::{Report, Violation};
use bt_types::Time;

/// A run in which every rule held.
fn report(name: &str, seed: u64) -> Report {
    run(name, seed).unwrap_or_else(|violation| panic!("{name}: {violation}"))
}

/// When something whose text ends so was done.
fn act(report: &Report, text: &str) -> Time {
    report.acts.iter().find(|(_, act)| act.ends_with(text)).map(|(at, _)| *at).unwrap()
}

#[test]
fn the_same_seed_shows_the_same_run_and_another_seed_another() {
    // The large swarms are for `cargo xtask sim`, which is optimised.
    for name in names().filter(|name| !name.contains(|c: char| c.is_ascii_digit())) {
        let first = report(name, 1);
        assert_eq!(first, report(name, 1), "{name}");
        assert_ne!(first.trace_hash, report(name, 2).trace_hash, "{name}");
        let told =
            if ["strangers", "word-of-mouth"].contains(&name) { 0 } else { first.finishers.len() };
        assert_eq!(
            first.completed as usize, told,
            "{name}: the tracker counts everybody who asks it once"
        );
    }
    assert_eq!(run("nothing", 1), Err(Violation::UnknownScenario("nothing".into())));
}

#[test]
fn nineteen_leechers_finish_without_the_seed() {
    let report = report("seed-crash", 3);
    let crash = act(&report, "power cut");
    assert_eq!(report.finishers.len(), 19);
    assert!(
        report.finishers.iter().all(|finisher| finisher.finished > crash),
        "it was needed to the end"
    );
    assert!((1_500..1_510).contains(&report.seed_copies_milli), "{}", report.seed_copies_milli);
    assert_eq!(report.hang_ups_for_fault, 0);
}

#[test]
fn seeds_without_addresses_end_super_seeding() {
    for seed in 1..=2 {
        let report = report("strangers", seed);
        let slowest =
            report.finishers.iter().map(|finisher| finisher.finished - finisher.joined).max();
        assert!(slowest < Some(std::time::Duration::from_secs(12)), "{report}");
    }
}

#[test]
fn one_poisoner_spoils_one_piece() {
    for name in ["poison-all", "poison-some"] {
        let report = report(name, 1);
        assert_eq!((report.bad_pieces, report.hang_ups_for_fault), (1, 1), "{name}");
    }
}

#[test]
fn liars_are_banned_by_all_peers_and_no_honest_peer_is() {
    for seed in 1..=3 {
        let report = report("liars", seed);
        assert_eq!(report.finishers.len(), 9);
        assert!(
            report.hang_ups_for_fault >= 9,
            "nine peers met two liars: {}",
            report.hang_ups_for_fault
        );
    }
}

#[test]
fn silence_costs_a_snub_and_no_more() {
    for seed in 1..=3 {
        let report = report("silent", seed);
        assert_eq!(report.finishers.len(), 8);
        assert!(
            report.finishers.iter().all(|finisher| finisher.finished < Time::from_secs(40)),
            "{report}"
        );
    }
}

#[test]
fn magnets_get_their_metadata_from_one_honest_peer_among_ten() {
    let mut banned = 0;
    for seed in 1..=3 {
        let report = report("magnets", seed);
        assert_eq!(report.finishers.len(), 5);
        assert!(
            report.finishers.iter().all(|finisher| finisher.finished < Time::from_secs(60)),
            "{report}"
        );
        banned += report.hang_ups_for_fault;
    }
    assert!(banned > 0, "who gave wrong bytes alone is banned");
}

#[test]
fn a_swarm_forms_by_word_of_mouth() {
    for seed in 1..=3 {
        let report = report("word-of-mouth", seed);
        assert_eq!(report.finishers.len(), 10);
        assert!(report.seed_copies_milli < 2_000, "leechers serve each other: {report}");
        let start = report.progress.iter().find(|sample| sample.at >= Time::from_secs(4)).unwrap();
        assert!(start.payload > start.from_seeds, "after seconds: {report}");
    }
}

#[test]
fn a_power_cut_costs_what_was_not_synced() {
    for seed in 1..=3 {
        let report = report("churn", seed);
        assert_eq!(report.finishers.len(), 10);
        assert_eq!(report.acts.iter().filter(|(_, act)| act.ends_with("is back")).count(), 3);
    }
}

#[test]
fn a_tracker_that_comes_late_is_found() {
    for seed in 1..=3 {
        let report = report("tracker-late", seed);
        let there = act(&report, "is there");
        assert!(report.finishers.iter().all(|finisher| finisher.finished > there));
    }
}

#[test]
fn a_full_disk_holds_one_peer_up_and_loses_nothing() {
    for seed in 1..=3 {
        let report = report("full-disk", seed);
        let room = act(&report, "has room again");
        let late: Vec<bool> =
            report.finishers.iter().map(|finisher| finisher.finished > room).collect();
        assert_eq!(late, [true, false, false, false], "{report}");
    }
}
