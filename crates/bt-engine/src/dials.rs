//! Counts the dials of a swarm, and limits them.
//!
//! Decides: how many dials may be under way, and how long one may take. Must not know: addresses.
//! Invariant: while dials lead to peers there are few at a time, and many while they do not.

use crate::config::Budget;
use core::time::Duration;

/// Most dials under way per torrent while dials lead to peers.
const DIALS_MAX: usize = 20;
/// Failed dials in a row after which a torrent with few connected peers dials as many addresses at
/// a time as the budget allows. One living peer among hundreds of dead addresses is found in
/// seconds. Few peers means fewer than [`FEW_PEERS`].
const SILENT_DIALS: usize = 10;
const FEW_PEERS: usize = 8;
/// Seconds after which a dial is given up, as is usual.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds that a first dial has while few peers are connected and many addresses wait. That is
/// enough for two tries of the system, and for every round trip on Earth. An address that failed so
/// soon is dialled again with [`PATIENCE`].
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
/// Per cent of its connections that a torrent may dial itself at first, and the increase for each
/// second with peers.
const REACH_START: usize = 40;
const REACH_STEP: usize = 5;
/// The dials of a swarm.
#[derive(Debug)]
pub(crate) struct Dials {
    pub(crate) under_way: usize,
    /// Failed dials in a row.
    pub(crate) silent: usize,
    /// The budget had fewer dials than the torrent wanted.
    pub(crate) is_short: bool,
    /// Per cent of the connections that we may dial ourselves.
    pub(crate) reach: usize,
}

impl Dials {
    pub(crate) fn new() -> Dials {
        Dials { under_way: 0, silent: 0, is_short: false, reach: REACH_START }
    }

    /// Returns whether few peers are connected and dials keep failing.
    pub(crate) fn is_silent(&self, connected: usize) -> bool {
        connected < FEW_PEERS && self.silent >= SILENT_DIALS
    }

    /// Returns the most dials that may be under way.
    pub(crate) fn max(&self, connected: usize, budget: &Budget) -> usize {
        if self.is_silent(connected) { budget.dials } else { budget.dials.min(DIALS_MAX) }
    }

    /// Returns whether the budget has fewer dials than the torrent wants.
    pub(crate) fn lacks(&self, connected: usize, budget: &Budget) -> bool {
        let wants = if self.is_silent(connected) { usize::MAX } else { DIALS_MAX };
        self.under_way >= budget.dials && budget.dials < wants
    }

    pub(crate) fn failed(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.silent = self.silent.saturating_add(1);
    }

    pub(crate) fn succeeded(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.silent = 0;
    }

    /// Allows more dials, because a second with peers has passed.
    pub(crate) fn reach_further(&mut self) {
        self.reach = (self.reach + REACH_STEP).min(100);
    }
}

/// Returns how long a dial may take.
pub(crate) fn patience(connected: usize, waiting: usize, is_first: bool) -> Duration {
    let is_hurried = connected < FEW_PEERS && waiting > DIALS_MAX;
    if is_hurried && is_first { SHORT_PATIENCE } else { PATIENCE }
}
