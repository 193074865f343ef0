//! What the large swarms must show, as medians over several seeds.
//!
//! Decides: which figures of which scenario are promised, and how much. Must not know: how a swarm
//! reaches them.
//! Invariant: integers only; a figure is compared with its limit in the same unit.

use crate::report::{Finisher, Report};
use bt_types::Time;
use std::fmt;

/// A figure over several runs, and its limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Goal {
    /// What is measured.
    pub what: &'static str,
    /// What was measured, in thousandths.
    pub milli: u64,
    /// The limit, in thousandths.
    pub limit_milli: u64,
    /// The limit is a least value, not a greatest one.
    pub at_least: bool,
}

impl Goal {
    /// Whether the limit is kept.
    pub fn holds(&self) -> bool {
        if self.at_least { self.milli >= self.limit_milli } else { self.milli <= self.limit_milli }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, word) =
            (if self.at_least { "≥" } else { "≤" }, if self.holds() { "holds" } else { "MISSED" });
        let number = |milli: u64| format!("{}.{:03}", milli / 1000, milli % 1000);
        write!(
            f,
            "{word:<6}  {} {sign} {}  {}",
            number(self.milli),
            number(self.limit_milli),
            self.what
        )
    }
}

/// The goals of a scenario, measured on these runs of it.
pub fn goals(scenario: &str, runs: &[Report]) -> Vec<Goal> {
    let last = |limit_milli| Goal {
        what: "last finisher, of the ideal time (median)",
        milli: median(runs.iter().map(Report::last_milli)),
        limit_milli,
        at_least: false,
    };
    let waste = Goal {
        what: "payload that arrived late or twice, in per cent (worst)",
        milli: runs.iter().map(|run| run.wasted * 100_000 / run.payload.max(1)).max().unwrap_or(0),
        limit_milli: 1000,
        at_least: false,
    };
    let mut goals = match scenario {
        "flash-50" | "flash-200" => vec![last(1150)],
        // Six seconds until the way is full: a peer is trusted with more pieces only as they turn
        // out right.
        "far" => vec![last(1350)],
        "unequal-50" => {
            let halves = Goal {
                what: "median of the fast half, of that of the slow half (median)",
                milli: median(runs.iter().map(fast_of_slow)),
                limit_milli: 800,
                at_least: false,
            };
            vec![last(1300), halves]
        }
        "hostile-50" => {
            let worst = Goal {
                what: "slowest honest leecher since it came, of the ideal time (median)",
                milli: median(runs.iter().map(slowest_stay)),
                limit_milli: 1500,
                at_least: false,
            };
            vec![worst]
        }
        "riders-20" | "riders-slow" => {
            let before = Goal {
                what: "runs in which every contributor finished before any free rider",
                milli: runs.iter().filter(|run| contributors_come_first(run)).count() as u64 * 1000,
                limit_milli: runs.len() as u64 * 900,
                at_least: true,
            };
            vec![before]
        }
        "poison-all" | "poison-some" => {
            let pieces = Goal {
                what: "wrong pieces until the poisoner is banned (worst)",
                milli: runs.iter().map(|run| u64::from(run.bad_pieces) * 1000).max().unwrap_or(0),
                limit_milli: if scenario == "poison-all" { 2000 } else { 5000 },
                at_least: false,
            };
            let banned = Goal {
                what: "poisoners banned (least)",
                milli: runs
                    .iter()
                    .map(|run| u64::from(run.hang_ups_for_fault) * 1000)
                    .min()
                    .unwrap_or(0),
                limit_milli: 1000,
                at_least: true,
            };
            vec![pieces, banned]
        }
        // That no rule was broken, and all have finished, is enough.
        _ => Vec::new(),
    };
    goals.push(waste);
    goals
}

/// The middle one, or the lower of the two in the middle.
fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0)
}

fn finished(finishers: impl Iterator<Item = Finisher>) -> u64 {
    median(finishers.map(|finisher| finisher.finished.as_micros()))
}

fn fast_of_slow(run: &Report) -> u64 {
    let fastest = run.finishers.iter().map(|finisher| finisher.up).max().unwrap_or(0);
    let half = |fast: bool| {
        finished(run.finishers.iter().filter(|at| (at.up == fastest) == fast).cloned())
    };
    half(true) * 1000 / half(false).max(1)
}

fn slowest_stay(run: &Report) -> u64 {
    let stay = |finisher: &Finisher| (finisher.finished - finisher.joined).as_micros();
    let slowest = run.finishers.iter().map(stay).max().unwrap_or(0);
    u64::try_from(slowest * 1000 / run.ideal.as_micros().max(1)).unwrap_or(u64::MAX)
}

fn contributors_come_first(run: &Report) -> bool {
    let is_rider = |finisher: &&Finisher| finisher.name.starts_with("rider");
    let last = run
        .finishers
        .iter()
        .filter(|at| !is_rider(at))
        .map(|at| at.finished)
        .max()
        .unwrap_or(Time::ZERO);
    run.finishers.iter().filter(is_rider).all(|rider| rider.finished > last)
}
