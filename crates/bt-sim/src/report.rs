//! What a run showed.
//!
//! Decides: how it is printed. Must not know: how it came about.
//! Invariant: integers only, so that equal runs print equal reports.

use bt_types::Time;
use std::fmt;
use std::time::Duration;

/// The account of a run in which every rule held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The seed that shows it again.
    pub seed: u64,
    /// Who finished, in the order of joining the world.
    pub finishers: Vec<Finisher>,
    /// What was done to the world, and when.
    pub acts: Vec<(Time, String)>,
    /// Equal for equal runs.
    pub trace_hash: u64,
    /// Things that programs learnt.
    pub events: u64,
    /// Payload bytes that arrived.
    pub payload: u64,
    /// Other bytes of peer connections that arrived: handshakes, headers, haves, requests.
    pub overhead: u64,
    /// Payload bytes that arrived late or twice.
    pub wasted: u64,
    /// Payload bytes of pieces that were wrong.
    pub spoiled: u64,
    /// What the seeds uploaded, in thousandths of the torrent.
    pub seed_copies_milli: u64,
    /// Connections that were ended because the peer was to blame.
    pub hang_ups_for_fault: u32,
    /// Pieces that were wrong, at all peers together.
    pub bad_pieces: u32,
    /// How many `completed` events the tracker counted.
    pub completed: u32,
    /// Virtual time at the end.
    pub lasted: Time,
    /// No swarm of these links can be done earlier after its start: a seed must send everything
    /// once, a leecher must receive everything, and all uplinks together must carry a copy for
    /// each.
    pub ideal: Duration,
    /// The swarm, every second.
    pub progress: Vec<Sample>,
}

/// The swarm at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// When.
    pub at: Time,
    /// Payload bytes that arrived anywhere since the start.
    pub payload: u64,
    /// Payload bytes of these that came from seeds.
    pub from_seeds: u64,
    /// Pieces of each leecher, in the order of joining the world; 0 while its program does not run.
    pub pieces: Vec<u32>,
    /// Pieces that some running leecher has.
    pub spread: u32,
}

/// One peer that finished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finisher {
    /// Its name.
    pub name: String,
    /// When it joined, in virtual time.
    pub joined: Time,
    /// When it had verified and written every piece.
    pub finished: Time,
    /// Bytes per second that its link can send.
    pub up: u64,
}

impl Report {
    /// When the last one finished, in thousandths of the ideal time.
    pub fn last_milli(&self) -> u64 {
        let last =
            self.finishers.iter().map(|finisher| finisher.finished).max().unwrap_or(Time::ZERO);
        last.as_micros() * 1000 / u64::try_from(self.ideal.as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            self.finishers.iter().map(|finisher| finisher.name.len()).max().unwrap_or(0).max(4);
        writeln!(f, "{:width$}  {:>9}  {:>9}", "peer", "joined", "finished")?;
        for Finisher { name, joined, finished, .. } in &self.finishers {
            writeln!(f, "{name:width$}  {:>9}  {:>9}", joined.to_string(), finished.to_string())?;
        }
        if !self.acts.is_empty() {
            writeln!(f)?;
        }
        for (at, act) in &self.acts {
            writeln!(f, "{:>9}  {act}", at.to_string())?;
        }
        writeln!(f)?;
        writeln!(f, "seed                  {}", self.seed)?;
        writeln!(f, "trace hash            {:016x}", self.trace_hash)?;
        writeln!(f, "events                {}", self.events)?;
        let last = self.last_milli();
        writeln!(
            f,
            "last finisher         {}.{:03} of the ideal {}",
            last / 1000,
            last % 1000,
            Time::ZERO + self.ideal
        )?;
        writeln!(f, "virtual time          {}", self.lasted)?;
        writeln!(
            f,
            "payload               {} bytes, {} of them late or twice, {} wrong",
            self.payload, self.wasted, self.spoiled
        )?;
        writeln!(f, "overhead              {} bytes", self.overhead)?;
        writeln!(
            f,
            "copies by the seeds   {}.{:03}",
            self.seed_copies_milli / 1000,
            self.seed_copies_milli % 1000
        )?;
        writeln!(f, "wrong pieces          {}", self.bad_pieces)?;
        writeln!(f, "hung up for a fault   {}", self.hang_ups_for_fault)?;
        write!(f, "completed (tracker)   {}", self.completed)
    }
}
