//! Transfers between pairs of clients.
//!
//! Decides: what is moved, the number of clients, the pairs. Must not know: how a client works.
//! Invariant: runs are interleaved, A B C A B C, so that a slow minute of the machine hits every
//! pair.

use super::Bench;
use super::table::{Table, mib, number};
use anyhow::Result;
use bt_tests::foreign::{Aria2, Libtorrent, Rqbit, Transmission};
use bt_tests::{Bt, Client, Payload};

/// The seed client and the number of seeds, the leecher client and the number of leechers.
type Pair = (&'static dyn Client, usize, &'static dyn Client, usize);

/// The content and the pairs of a measurement.
struct Scenario {
    name: &'static str,
    /// The description for the user.
    what: &'static str,
    files: u32,
    size: Size,
    piece: u64,
    pairs: &'static [Pair],
}

/// The size of the content.
enum Size {
    /// The value of `--size`, divided by this number.
    Part(u64),
    /// This number of pieces.
    Pieces(u64),
}

const LIBTORRENT: &dyn Client = &Libtorrent::DEFAULT;
const TCP: &dyn Client = &Libtorrent::TCP;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The pair of `bt` and that of the fastest other client.
const TWO: &[Pair] = &[(&Bt::SEED, 1, &Bt::GET, 1), (TCP, 1, TCP, 1)];

const SCENARIOS: [Scenario; 9] = [
    Scenario {
        name: "one",
        what: "one seed, one leecher, one file in pieces of 1 MiB",
        files: 1,
        size: Size::Part(1),
        piece: MIB,
        pairs: &[
            (&Bt::SEED, 1, &Bt::GET, 1),
            (TCP, 1, &Bt::GET, 1),
            (&Bt::SEED, 1, TCP, 1),
            (TCP, 1, TCP, 1),
            (&Aria2, 1, &Aria2, 1),
            (&Aria2, 1, &Bt::GET, 1),
            (&Bt::SEED, 1, &Aria2, 1),
            (&Rqbit, 1, &Rqbit, 1),
            (&Rqbit, 1, &Bt::GET, 1),
            (&Bt::SEED, 1, &Rqbit, 1),
        ],
    },
    Scenario {
        name: "others",
        what: "one seed, one leecher; a short file, for those who take long",
        files: 1,
        size: Size::Part(16),
        piece: MIB,
        pairs: &[
            (&Bt::SEED, 1, &Bt::GET, 1),
            (LIBTORRENT, 1, LIBTORRENT, 1),
            (LIBTORRENT, 1, &Bt::GET, 1),
            (&Bt::SEED, 1, LIBTORRENT, 1),
            (&Transmission, 1, &Transmission, 1),
            (&Transmission, 1, &Bt::GET, 1),
            (&Bt::SEED, 1, &Transmission, 1),
        ],
    },
    Scenario {
        name: "fan-out",
        what: "one seed, four leechers",
        files: 1,
        size: Size::Part(2),
        piece: MIB,
        pairs: &[
            (&Bt::SEED, 1, &Bt::GET, 1),
            (&Bt::SEED, 1, &Bt::GET, 4),
            (TCP, 1, TCP, 1),
            (TCP, 1, TCP, 4),
        ],
    },
    Scenario {
        name: "fan-in",
        what: "four seeds, one leecher",
        files: 1,
        size: Size::Part(2),
        piece: MIB,
        pairs: &[(&Bt::SEED, 4, &Bt::GET, 1), (TCP, 4, TCP, 1)],
    },
    Scenario {
        name: "small-pieces",
        what: "pieces of 256 KiB",
        files: 1,
        size: Size::Part(2),
        piece: 256 * KIB,
        pairs: TWO,
    },
    Scenario {
        name: "large-pieces",
        what: "pieces of 16 MiB",
        files: 1,
        size: Size::Part(2),
        piece: 16 * MIB,
        pairs: TWO,
    },
    Scenario {
        name: "files",
        what: "10,000 files",
        files: 10_000,
        size: Size::Part(4),
        piece: MIB,
        pairs: TWO,
    },
    Scenario {
        name: "pieces",
        what: "200,000 pieces of 16 KiB",
        files: 1,
        size: Size::Pieces(200_000),
        piece: 16 * KIB,
        pairs: TWO,
    },
    Scenario {
        name: "crowd",
        what: "fifty seeds, one leecher, pieces of 16 MiB",
        files: 1,
        size: Size::Part(2),
        piece: 16 * MIB,
        pairs: &[(&Bt::TRUST, 50, &Bt::GET, 1)],
    },
];

/// Builds the name of a pair's figure, as the goals know it.
pub(super) fn figure(scenario: &str, seed: &str, leecher: &str, what: &str) -> String {
    format!("{scenario}/{seed} to {leecher}/{what}")
}

/// Runs the selected scenarios.
pub(super) fn run(bench: &mut Bench<'_>) {
    for scenario in &SCENARIOS {
        bench.attempt(scenario.name, |bench| scenario.run(bench));
    }
}

impl Scenario {
    fn run(&self, bench: &mut Bench<'_>) -> Result<()> {
        let bytes = match self.size {
            Size::Part(part) => (bench.args.size << 20) / part,
            Size::Pieces(count) => count * self.piece,
        };
        let payload = Payload::new(&bench.args.folder, self.files, bytes, self.piece)?;
        let here = |pair: &&Pair| pair.0.version().is_some() && pair.2.version().is_some();
        let bt = Bt::GET.name();
        let is_ours = |pair: &&Pair| pair.0.name() == bt || pair.2.name() == bt;
        let wanted = |pair: &&Pair| here(pair) && (!bench.args.ours || is_ours(pair));
        let pairs: Vec<&Pair> = self.pairs.iter().filter(wanted).collect();
        for run in 1..=bench.args.runs {
            for pair in &pairs {
                self.measure(bench, &payload, pair, run)?;
            }
        }
        let title = format!("{}: {}, {} MiB", self.name, self.what, bytes >> 20);
        let head = [
            "",
            "seconds",
            "CPU s/GiB, seeds",
            "CPU s/GiB, leechers",
            "peak MiB, seed",
            "peak MiB, leecher",
        ];
        let mut table = Table::new(title, &head);
        for pair in pairs {
            let [seed, leecher] = names(pair);
            let median = |what| bench.figures.median(&figure(self.name, &seed, &leecher, what));
            table.row([
                format!("{seed} to {leecher}"),
                number(median("wall"), 2),
                number(median("seed cpu"), 2),
                number(median("leecher cpu"), 2),
                mib(median("seed peak")),
                mib(median("leecher peak")),
            ]);
        }
        bench.show(table);
        Ok(())
    }

    fn measure(
        &self,
        bench: &mut Bench<'_>,
        payload: &Payload,
        pair: &Pair,
        run: u32,
    ) -> Result<()> {
        let (seed, seeds, leecher, leechers) = *pair;
        let cost = payload.transfer(&bench.args.folder, (seed, seeds), (leecher, leechers))?;
        let gib = (payload.bytes() * leechers as u64) as f64 / f64::from(1 << 30);
        let figures = [
            ("wall", cost.wall.as_secs_f64()),
            ("seed cpu", cost.seed_cpu / gib),
            ("leecher cpu", cost.leecher_cpu / gib),
            ("cpu", (cost.seed_cpu + cost.leecher_cpu) / gib),
            ("seed peak", cost.seed_peak as f64),
            ("leecher peak", cost.leecher_peak as f64),
        ];
        let [seed, leecher] = names(pair);
        eprintln!(
            "{}, run {run}, {seed} to {leecher}: {:.2} s, {:.2} and {:.2} CPU s/GiB",
            self.name, figures[0].1, figures[1].1, figures[2].1
        );
        for (what, value) in figures {
            bench.figures.add(figure(self.name, &seed, &leecher, what), value);
        }
        Ok(())
    }
}

/// Returns the names of both sides, with their numbers where these are not one.
fn names(pair: &Pair) -> [String; 2] {
    let name = |client: &dyn Client, count: usize| match count {
        1 => client.name().to_owned(),
        count => format!("{count} {}", client.name()),
    };
    [name(pair.0, pair.1), name(pair.2, pair.3)]
}
