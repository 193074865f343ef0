//! The goals of the data path.
//!
//! Decides: which figures have goals, and their limits. Must not know: how they were measured.
//! Invariant: a goal is a ratio of figures of one run, or a count: never seconds. Exceptions are
//! the tracker's own work, which is what remains beyond an echo of the same run, and the daemon,
//! whose callers give up after a time.

use super::figures::Figures;
use super::transfers::figure;
use std::fmt;

/// A figure and its limit.
#[derive(Debug)]
pub(super) struct Goal {
    what: &'static str,
    value: f64,
    limit: f64,
    at_least: bool,
}

impl Goal {
    /// Tells whether the figure keeps its limit.
    pub(super) fn holds(&self) -> bool {
        if self.at_least { self.value >= self.limit } else { self.value <= self.limit }
    }

    /// Returns the cells of a table row: the verdict, the value, its limit and its name.
    pub(super) fn cells(&self) -> [String; 4] {
        let (sign, word) =
            (if self.at_least { "≥" } else { "≤" }, if self.holds() { "holds" } else { "MISSED" });
        let number = |value: f64| {
            if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
        };
        [
            word.to_owned(),
            number(self.value),
            format!("{sign} {}", number(self.limit)),
            self.what.to_owned(),
        ]
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [word, value, limit, what] = self.cells();
        write!(f, "{word:<6}  {value:>6} {limit:<9}  {what}")
    }
}

/// Returns the goals whose figures were measured.
pub(super) fn goals(figures: &Figures) -> Vec<Goal> {
    let ratio = |ours: Option<f64>, theirs: Option<f64>| Some(ours? / theirs?);
    // Libtorrent with its defaults, which is slow, and without uTP. Figures are compared only
    // within one scenario.
    let beside = |theirs: &'static str, ours: [&str; 2], what: &str| {
        let scenario = if theirs == "libtorrent" { "others" } else { "one" };
        let median =
            |[seed, leecher]: [&str; 2]| figures.median(&figure(scenario, seed, leecher, what));
        ratio(median(ours), median([theirs, theirs]))
    };
    let (default, tcp) = ("libtorrent", "libtorrent TCP");
    // Each scenario is compared with its own pairs, which move the same file.
    let of_next = |scenario: &str| {
        let ours = figure(scenario, "bt", "bt", "wall");
        let start = format!("{scenario}/");
        let others = figures
            .medians(&start, "/wall")
            .filter(|(name, _)| *name != ours)
            .map(|(_, wall)| wall);
        ratio(figures.median(&ours), others.min_by(f64::total_cmp))
    };
    let hashing = |who: &str, what: &str| figures.median(&format!("hashing/{who}/{what}"));
    let made = |who: &str| ratio(hashing(who, "cpu"), hashing("mktorrent -t 2", "cpu"));
    let faster = |who: &str| ratio(hashing("mktorrent -t 2", "wall"), hashing(who, "wall"));
    let fan = |leecher: &str| figures.median(&figure("fan-out", "bt", leecher, "cpu"));
    let shard = |number: &str| figures.median(&format!("shards/2/cpu {number}"));
    let balance = || Some(shard("0")?.min(shard("1")?) / shard("0")?.max(shard("1")?));
    let many = |what: &str| {
        let of = |who: &str| figures.median(&format!("many/{who}/{what}"));
        ratio(of("bt"), of("libtorrent"))
    };
    // The bytes that the engine may hold while the store lags behind.
    let budget = f64::from(64 << 20);
    let peak = |side: &str| {
        let median = |who: &str| figures.median(&figure("one", who, who, side));
        ratio(median("bt"), median("rqbit").map(|bytes| bytes + budget))
    };
    let crowd = figures.median(&figure("crowd", "50 bt", "bt", "leecher peak"));

    let tracker =
        |load: &str, who: &str, what: &str| figures.median(&format!("tracker/{load}/{who}/{what}"));
    let bytes = |load, peers| Some(tracker(load, "bt", "memory")? / peers);
    let own = |load, who| own_work(figures, load, who);
    let wanted = |wanted| tracker(wanted, "bt", "cpu_us");
    let workers = |count| tracker("workers", count, "cpu_us");

    let at_most = [
        ("tracker: own µs an answer, 200 k peers", own("200 k", "bt"), 0.7),
        (
            "tracker: own µs an answer, 1 M peers, of aquatic_udp's",
            ratio(own("1 M", "bt"), own("1 M", "aquatic_udp")),
            1.0,
        ),
        ("tracker: bytes a peer, 1 M in 250,000 torrents", bytes("1 M", 1e6), 40.0),
        ("tracker: bytes a peer, 3 M in 750,000 torrents", bytes("3 M", 3e6), 45.0),
        ("tracker: bytes a peer, 1 M in one swarm", bytes("one swarm, 30 wanted", 1e6), 30.0),
        (
            "tracker: CPU of an answer with 200 of 1 M wanted, of that with 30",
            ratio(wanted("one swarm, 200 wanted"), wanted("one swarm, 30 wanted")),
            1.3,
        ),
        (
            "tracker: p99.9 at 20,000 a second, of aquatic_udp's",
            ratio(tracker("paced", "bt", "p999_us"), tracker("paced", "aquatic_udp", "p999_us")),
            1.0,
        ),
        (
            "tracker: CPU of an answer with two workers, of that with one",
            ratio(workers("2"), workers("1")),
            1.1,
        ),
        (
            "CPU per GiB as a leecher of libtorrent, of libtorrent's own",
            beside(default, [default, "bt"], "leecher cpu"),
            0.70,
        ),
        (
            "CPU per GiB as a leecher of libtorrent, of libtorrent's own, without uTP",
            beside(tcp, [tcp, "bt"], "leecher cpu"),
            0.70,
        ),
        (
            "CPU per GiB as a seed for libtorrent, of libtorrent's own",
            beside(default, ["bt", default], "seed cpu"),
            0.30,
        ),
        (
            "CPU per GiB as a seed for libtorrent, of libtorrent's own, without uTP",
            beside(tcp, ["bt", tcp], "seed cpu"),
            0.30,
        ),
        (
            "seconds from bt to bt, of libtorrent to libtorrent",
            beside(default, ["bt", "bt"], "wall"),
            0.50,
        ),
        (
            "seconds from bt to bt, of libtorrent to libtorrent without uTP",
            beside(tcp, ["bt", "bt"], "wall"),
            0.50,
        ),
        ("seconds from bt to bt, of the fastest other pair", of_next("one"), 1.0),
        (
            "seconds from bt to bt, of the fastest other pair of those who take long",
            of_next("others"),
            1.0,
        ),
        ("peak memory of a leecher, of rqbit's and the block budget", peak("leecher peak"), 1.0),
        ("peak memory of a seed, of rqbit's and the block budget", peak("seed peak"), 1.0),
        (
            "peak MiB of a leecher of 50 seeds, pieces of 16 MiB",
            crowd.map(|bytes| bytes / f64::from(1 << 20)),
            128.0,
        ),
        ("CPU per GiB of bt create, of mktorrent's", made("bt create"), 0.60),
        ("CPU per GiB of bt verify, of mktorrent's", made("bt verify"), 0.60),
        (
            "CPU per delivered GiB with four leechers, of that with one",
            ratio(fan("4 bt"), fan("bt")),
            1.10,
        ),
        ("memory of a torrent that is seeded, of libtorrent's", many("memory"), 1.0),
        ("seconds to add ten thousand torrents, of libtorrent's", many("add wall"), 1.0),
        ("CPU of ten thousand idle torrents, of libtorrent's", many("idle cpu"), 1.0),
        (
            "receive and send calls for 1 GiB, both sides",
            figures.least("calls/receive and send"),
            10_000.0,
        ),
        ("the leecher's writes for 1 GiB", figures.least("calls/leecher writes"), 1100.0),
    ];
    let at_least = [
        (
            "tracker: answers a second of a processor, 200 k peers, of aquatic_udp's",
            ratio(
                tracker("200 k", "bt", "per_second"),
                tracker("200 k", "aquatic_udp", "per_second"),
            ),
            1.15,
        ),
        (
            "tracker: CPU of the idler of two workers, of the busier's",
            tracker("workers", "2", "balance"),
            0.9,
        ),
        ("times as fast as mktorrent: bt create", faster("bt create"), 1.70),
        ("times as fast as mktorrent: bt verify", faster("bt verify"), 1.70),
        ("CPU of the idler of two shards, of the busier's", balance(), 0.50),
    ];
    let goal = |at_least| {
        move |(what, value, limit): (_, Option<f64>, _)| {
            Some(Goal { what, value: value?, limit, at_least })
        }
    };
    at_most
        .into_iter()
        .chain(super::daemon::goals(figures))
        .filter_map(goal(false))
        .chain(at_least.into_iter().filter_map(goal(true)))
        .collect()
}

/// Returns the microseconds of processor time that an answer of a tracker takes beyond those of the
/// bare echo in the same run.
pub(super) fn own_work(figures: &Figures, load: &str, who: &str) -> Option<f64> {
    let cpu = |who: &str| figures.median(&format!("tracker/{load}/{who}/cpu_us"));
    Some((cpu(who)? - cpu("echo")?).max(0.0))
}
