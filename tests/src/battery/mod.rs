//! A battery of misbehaviours, byte by byte, against real `bt` processes: as a leech, as a seed, as
//! a tracker, in torrents, in journals.
//!
//! Decides: what a case has to show, and what is measured beside it. Must not know: how `bt`
//! defends itself.
//! Invariant: each case names its safe outcome and fails without it; the process lives, says
//! nothing of a bug, and an honest transfer beside it ends with the right bytes.

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

/// So soon after whoever misbehaved has gone, memory must be back.
pub const BACK_WITHIN: Duration = Duration::from_secs(5);
/// So near to what it was before, in MiB.
pub const OVER_MAX: f64 = 8.0;
/// While a case lasts it is at most this far from it, in MiB.
pub const PEAK_MAX: f64 = 64.0;
/// An honest transfer may take so many times as long as without misbehaviour beside it.
pub const TIMES_MAX: f64 = 2.0;
/// An honest transfer that takes no longer than this is not judged: it would be judged by the noise
/// of the machine.
const JUDGED_FROM: Duration = Duration::from_secs(1);

/// What happens to somebody, or something, that misbehaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is passed over, and whoever sent it is treated as before.
    Ignored,
    /// It is answered by a refusal, and the connection goes on.
    Rejected,
    /// The connection is closed.
    Dropped,
    /// The connection is closed, and its address is not met again.
    Banned,
    /// Who left in the middle is forgotten: whoever comes as the same again is served.
    Forgotten,
    /// Others are asked for what does not come.
    OthersAsked,
    /// The command ends with this exit code and says why.
    Refused(i32),
    /// What is remembered is not believed: the data is looked at, and the download goes on.
    Rechecked,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who misbehaves.
    pub party: &'static str,
    /// How.
    pub case: &'static str,
    /// What happened, as it should.
    pub outcome: Outcome,
    /// Memory over what it was before, in MiB, and the most of it at any time.
    pub held: Held,
    /// Time of the honest transfer beside it.
    pub took: Duration,
    /// Time of such a transfer alone.
    pub clean: Duration,
}

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Size of the honest transfer in MiB.
    pub mib: u32,
    /// What the uplink of honest seeds is limited to: what is lost by waiting for somebody bad has
    /// its measure in that, and a download that is fed evenly has about the same memory each time.
    pub up: Option<&'static str>,
    /// Misbehaviour goes on until the honest transfer beside it has ended, where that makes sense.
    pub sustained: bool,
}

impl Scale {
    /// Enough to see what happens.
    pub const QUICK: Scale = Scale { mib: 4, up: None, sustained: false };
    /// Enough to measure.
    pub const FULL: Scale = Scale { mib: 48, up: Some("16MiB/s"), sustained: true };
}

/// Plays all cases of a party.
pub type Play = fn(&Scale) -> Result<Vec<Row>>;

/// Who misbehaves, how many cases there are, and who plays them.
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
    /// How many times as long as alone the honest transfer took.
    pub fn times(&self) -> f64 {
        self.took.as_secs_f64() / self.clean.as_secs_f64().max(f64::EPSILON)
    }

    /// Too much memory while the case lasted: this does not depend on the machine's speed.
    pub fn peak_excess(&self) -> Option<String> {
        let Row { party, case, held: Held { peak, .. }, .. } = self;
        (*peak > PEAK_MAX)
            .then(|| format!("{party}, {case}: {peak:.1} MiB more than before at its peak"))
    }

    /// What is wrong with the figures.
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

/// Gathers what came of cases: rows, and what failed. One failure does not hide another.
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

/// Memory of a process over what it was before, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// A moment after the case.
    pub over: f64,
    /// The most at any time while it lasted.
    pub peak: f64,
}

/// What was measured beside a case.
#[derive(Clone, Copy, Debug)]
struct Figures {
    held: Held,
    took: Duration,
    clean: Duration,
}
