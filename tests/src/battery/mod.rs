//! A battery of misbehaviours, byte by byte, against real `bt` processes: by leeches, seeds,
//! trackers, torrents and journals.
//!
//! Decides: what a case must show, and what is measured beside it. Must not know: how `bt` defends
//! itself.
//! Invariant: each case names its safe outcome and fails without it. The process lives and reports
//! no bug; an honest transfer beside it ends with the right bytes.

mod journal;
mod leech;
mod scene;
mod seed;
mod torrent;
mod tracker;
mod wire;

use anyhow::{Result, bail};
use std::fmt;
use std::time::Duration;

/// The time after a hostile peer has left within which memory must be back.
pub const BACK_WITHIN: Duration = Duration::from_secs(5);
/// The memory that may remain above the level before the case, in MiB.
pub const OVER_MAX: f64 = 8.0;
/// The memory above the level before the case that is allowed while the case lasts, in MiB.
pub const PEAK_MAX: f64 = 64.0;
/// The greatest ratio of the time of an honest transfer to its time without misbehaviour.
pub const TIMES_MAX: f64 = 2.0;
/// The least time of an honest transfer that is judged: below it the noise of the machine decides.
const JUDGED_FROM: Duration = Duration::from_secs(1);

/// What happens to the peer, tracker or input that misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The message is ignored, and its sender is treated as before.
    Ignored,
    /// The request is refused, and the connection stays open.
    Rejected,
    /// The connection is closed.
    Dropped,
    /// The connection is closed, and its address is banned.
    Banned,
    /// The peer that left in the middle is forgotten: a peer that returns with its id is served.
    Forgotten,
    /// Other peers are asked for what does not come.
    OthersAsked,
    /// The command ends with this exit code and states the reason.
    Refused(i32),
    /// The journal is not trusted: the data is checked, and the download goes on.
    Rechecked,
}

/// The result of a case.
#[derive(Clone, Debug)]
pub struct Row {
    /// The party that misbehaves.
    pub party: &'static str,
    /// The name of the case.
    pub case: &'static str,
    /// The outcome, which is the expected one.
    pub outcome: Outcome,
    /// Memory above the level before the case, in MiB: afterwards, and the peak.
    pub held: Held,
    /// The time of the honest transfer beside the case.
    pub took: Duration,
    /// The time of such a transfer alone.
    pub clean: Duration,
}

/// How much is played.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The size of the honest transfer in MiB.
    pub mib: u32,
    /// The uplink limit of honest seeds, as `--up` takes it. It is the measure for time lost on a
    /// hostile peer. A download at a steady rate also holds about the same memory each time.
    pub up: Option<&'static str>,
    /// Whether misbehaviour lasts until the honest transfer beside it has ended, where that makes
    /// sense.
    pub sustained: bool,
}

impl Scale {
    /// The scale that shows the outcome.
    pub const QUICK: Scale = Scale { mib: 4, up: None, sustained: false };
    /// The scale for measurements.
    pub const FULL: Scale = Scale { mib: 48, up: Some("16MiB/s"), sustained: true };
}

/// A function that plays all cases of a party.
pub type Play = fn(&Scale) -> Result<Vec<Row>>;

/// Lists each party with its number of cases and the function that plays them.
pub fn parties() -> [(&'static str, usize, Play); 5] {
    [
        ("leech", leech::CASES.len(), leech::run),
        ("seed", seed::count(), seed::run),
        ("tracker", tracker::CASES.len(), tracker::run),
        ("torrent", torrent::count(), torrent::run),
        ("journal", journal::CASES.len(), journal::run),
    ]
}

impl Row {
    /// Returns the time of the honest transfer as a multiple of its time alone.
    pub fn times(&self) -> f64 {
        self.took.as_secs_f64() / self.clean.as_secs_f64().max(f64::EPSILON)
    }

    /// Describes too much memory while the case lasted, which does not depend on the machine's
    /// speed.
    pub fn peak_excess(&self) -> Option<String> {
        let Row { party, case, held: Held { peak, .. }, .. } = self;
        (*peak > PEAK_MAX)
            .then(|| format!("{party}, {case}: {peak:.1} MiB more than before at its peak"))
    }

    /// Describes the figures that exceed a limit.
    pub fn excess(&self) -> Option<String> {
        let Row { party, case, held: Held { over, .. }, .. } = self;
        let is_slow = self.times() > TIMES_MAX && self.took > JUDGED_FROM;
        match () {
            () if *over > OVER_MAX => {
                Some(format!("{party}, {case}: {over:.1} MiB more than before"))
            }
            () if self.peak_excess().is_some() => self.peak_excess(),
            () if is_slow => {
                Some(format!("{party}, {case}: {:.2} times the clean time", self.times()))
            }
            () => None,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { party, case, outcome, held: Held { over, peak }, .. } = self;
        let outcome = match outcome {
            Outcome::Refused(code) => format!("refused, code {code}"),
            Outcome::OthersAsked => "others asked".into(),
            other => format!("{other:?}").to_lowercase(),
        };
        write!(
            f,
            "  {party:<7} {case:<62} {outcome:<15} {over:>6.1} MiB ({peak:>5.1}) {:>6.2} s {:>6.2} times",
            self.took.as_secs_f64(),
            self.times()
        )
    }
}

/// The results of cases: rows and failures. One failure does not hide another.
#[derive(Debug)]
struct Report {
    party: &'static str,
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Report {
    fn new(party: &'static str) -> Report {
        Report { party, rows: Vec::new(), failures: Vec::new() }
    }

    fn add(&mut self, case: &'static str, outcome: Outcome, played: Result<Figures>) {
        match played {
            Ok(Figures { held, took, clean }) => {
                self.rows.push(Row { party: self.party, case, outcome, held, took, clean });
            }
            Err(error) => self
                .failures
                .push(format!("{}, {case}: {outcome:?} was expected: {error:#}", self.party)),
        }
    }

    fn end(self) -> Result<Vec<Row>> {
        self.rows.iter().for_each(|row| println!("{row}"));
        if !self.failures.is_empty() {
            bail!("{}", self.failures.join("\n"));
        }
        Ok(self.rows)
    }
}

/// Memory of a process above the level before the case, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// The amount shortly after the case.
    pub over: f64,
    /// The peak while the case lasted.
    pub peak: f64,
}

/// The figures that were measured beside a case.
#[derive(Clone, Copy, Debug)]
struct Figures {
    held: Held,
    took: Duration,
    clean: Duration,
}
