//! `race`: swarms with narrow uplinks, of `bt` and of foreign clients.
//!
//! Decides: the courses, the entrants, what is compared: ratios within one run of the tool.
//! Must not know: how a client works.
//! Invariant: runs are interleaved, A B C A B C, so that a slow minute of the machine hits every
//! entrant.

use crate::median::median;
use anyhow::{Context as _, Result};
use bt_tests::foreign::{Aria2, Libtorrent, Transmission};
use bt_tests::{Bt, Client, Net, Outcome, RaceSpec};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// Which race.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the uplinks are like, and whether the seed stays
    #[arg(long, value_enum, default_value = "flash")]
    scenario: Scenario,
    /// Runs of each entrant
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Only this entrant, by the beginning of its name; repeat for more
    #[arg(long, value_name = "NAME")]
    client: Vec<String>,
    /// Leechers
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=100))]
    leechers: u64,
    /// Write every run into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Scenario {
    /// All peers have the same uplink
    Flash,
    /// Half of the leechers have four times the uplink of the others; the same in sum
    Unequal,
    /// As flash, but the seed dies when it has sent 1.05 copies
    Leave,
}

/// The file and its pieces: 80 of them.
const BYTES: u64 = 20 << 20;
const PIECE: u64 = 256 << 10;

/// An uplink of `flash`, in bits per second.
const UPLINK: u64 = 9_000_000;

/// The client that seeds, and the client that downloads.
struct Entrant {
    name: String,
    seed: &'static dyn Client,
    leecher: &'static dyn Client,
    outcomes: Vec<Outcome>,
}

impl Scenario {
    fn spec(self, leechers: u64) -> RaceSpec {
        let fast_slow = [UPLINK * 8 / 5, UPLINK * 2 / 5];
        let leecher_up = match self {
            Scenario::Unequal => {
                (0..leechers).map(|number| fast_slow[number as usize % 2]).collect()
            }
            Scenario::Flash | Scenario::Leave => vec![UPLINK; leechers as usize],
        };
        let leave_at = (self == Scenario::Leave).then_some(105);
        RaceSpec { bytes: BYTES, piece: PIECE, seed_up: UPLINK, leecher_up, leave_at }
    }

    /// Lists the installed entrants.
    fn entrants(self, only: &[String]) -> Vec<Entrant> {
        let pairs: &[(&'static dyn Client, &'static dyn Client)] = match self {
            Scenario::Leave => &[
                (&Bt::SEED, &Bt::GET),
                (&Bt::SEED, &Libtorrent::DEFAULT),
                (&Libtorrent::DEFAULT, &Libtorrent::DEFAULT),
                (&Libtorrent::SUPER, &Libtorrent::DEFAULT),
            ],
            Scenario::Flash | Scenario::Unequal => &[
                (&Bt::SEED, &Bt::GET),
                (&Libtorrent::DEFAULT, &Libtorrent::DEFAULT),
                (&Libtorrent::TCP, &Libtorrent::TCP),
                (&Aria2, &Aria2),
                (&Transmission, &Transmission),
            ],
        };
        let installed = pairs
            .iter()
            .filter(|(seed, leecher)| seed.version().is_some() && leecher.version().is_some());
        let entrants = installed.map(|&(seed, leecher)| {
            let name = if seed.name() == leecher.name() {
                seed.name().to_owned()
            } else {
                format!("{} from {}", leecher.name(), seed.name())
            };
            Entrant { name, seed, leecher, outcomes: Vec::new() }
        });
        entrants
            .filter(|entrant| {
                only.is_empty() || only.iter().any(|start| entrant.name.starts_with(start))
            })
            .collect()
    }
}

/// Runs the race and prints a table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let spec = args.scenario.spec(args.leechers);
    let mut entrants = args.scenario.entrants(&args.client);
    for run in 1..=args.runs {
        for entrant in &mut entrants {
            // The rest of a run is removed with its network.
            let net = Net::new().context("network namespaces need root and `ip`")?;
            let outcome = spec
                .run(&net, entrant.seed, entrant.leecher)
                .with_context(|| entrant.name.clone())?;
            eprintln!("run {run}, {}: {}", entrant.name, brief(&outcome, &spec));
            // Without a seed an unfinished leecher is a result; with a seed it needs an
            // explanation.
            if let (None, Some(stuck)) = (spec.leave_at, outcome.stuck.first()) {
                eprintln!("one that did not finish: {stuck}");
            }
            entrant.outcomes.push(outcome);
        }
    }
    println!("{}", table(&entrants, &spec));
    if let Some(path) = &args.json {
        std::fs::write(path, format!("{:#}\n", report(&entrants, &spec)))
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn brief(outcome: &Outcome, spec: &RaceSpec) -> String {
    let seconds = |took: Option<&Duration>| {
        took.map_or("-".into(), |took| format!("{:.1} s", took.as_secs_f64()))
    };
    format!(
        "{} of {} finished, first {}, last {}; the seed sent {:.2} copies; {} pieces lost; started within {:.1} s",
        outcome.finished.len(),
        spec.leecher_up.len(),
        seconds(outcome.finished.first()),
        seconds(outcome.finished.last()),
        outcome.seed_sent as f64 / spec.bytes as f64,
        outcome.lost,
        outcome.stagger.as_secs_f64()
    )
}

/// Returns the median over runs of the time at which the last leecher finished; `None` if any
/// leecher did not.
fn last(entrant: &Entrant, spec: &RaceSpec) -> Option<f64> {
    let all =
        entrant.outcomes.iter().all(|outcome| outcome.finished.len() == spec.leecher_up.len());
    all.then(|| {
        median(
            entrant
                .outcomes
                .iter()
                .filter_map(|outcome| Some(outcome.finished.last()?.as_secs_f64())),
        )
    })
}

fn table(entrants: &[Entrant], spec: &RaceSpec) -> String {
    let bound = spec.bound();
    let foreign = entrants.iter().filter(|entrant| entrant.leecher.name() != Bt::GET.name());
    let best = foreign.filter_map(|entrant| last(entrant, spec)).fold(f64::INFINITY, f64::min);
    let ratio = |time: Option<f64>, to: f64| {
        time.filter(|_| to.is_finite()).map_or("-".into(), |time| format!("{:.2}", time / to))
    };
    let mut lines = vec![
        format!(
            "bound: {bound:.1} s; medians of {} runs",
            entrants.first().map_or(0, |entrant| entrant.outcomes.len())
        ),
        format!(
            "{:<34} {:>8} {:>9} {:>12} {:>10} {:>12}",
            "", "last", "to bound", "to best else", "finishers", "pieces lost"
        ),
    ];
    for entrant in entrants {
        let time = last(entrant, spec);
        let each = |count: fn(&Outcome) -> usize| {
            median(entrant.outcomes.iter().map(|outcome| count(outcome) as f64))
        };
        lines.push(format!(
            "{:<34} {:>8} {:>9} {:>12} {:>10} {:>12}",
            entrant.name,
            time.map_or("-".into(), |time| format!("{time:.1} s")),
            ratio(time, bound),
            ratio(time, best),
            each(|outcome| outcome.finished.len()),
            each(|outcome| outcome.lost),
        ));
    }
    lines.join("\n")
}

fn report(entrants: &[Entrant], spec: &RaceSpec) -> Value {
    let runs = |entrant: &Entrant| -> Vec<Value> {
        let seconds = |outcome: &Outcome| {
            outcome.finished.iter().map(Duration::as_secs_f64).collect::<Vec<_>>()
        };
        let run = |outcome: &Outcome| {
            json!({
                "finished": seconds(outcome), "stagger": outcome.stagger.as_secs_f64(), "seed_sent": outcome.seed_sent,
                "pieces_lost": outcome.lost,
            })
        };
        entrant.outcomes.iter().map(run).collect()
    };
    let entrants: Vec<Value> = entrants
        .iter()
        .map(|entrant| {
            json!({
                "name": entrant.name, "seed": entrant.seed.name(), "leecher": entrant.leecher.name(),
                "version": entrant.leecher.version(), "runs": runs(entrant),
            })
        })
        .collect();
    json!({
        "bytes": spec.bytes, "piece_length": spec.piece, "seed_up": spec.seed_up, "leecher_up": spec.leecher_up,
        "leave_at_percent": spec.leave_at, "bound": spec.bound(), "entrants": entrants,
    })
}
