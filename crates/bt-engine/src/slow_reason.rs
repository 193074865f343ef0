//! Finds the reason why a download is slow.
//!
//! Decides: which downloads are slow, and the one reason that is given. Must not know: how the
//! reason is worded, or how often it is shown.
//! Invariant: a reason is given only while something is missing; it is a function of the facts.

use bt_model::SlowReason;
use bt_types::StoreFault;

/// A download is slow below this fraction of the best rate that it had, or below this number of
/// bytes per second.
const BEST_PART: u64 = 20;
const RATE_MIN: u64 = 32 * 1024;

/// The facts of a download at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Nothing is missing.
    pub(crate) is_done: bool,
    pub(crate) is_paused: bool,
    pub(crate) store_fault: Option<StoreFault>,
    /// Bytes per second now.
    pub(crate) rate: u64,
    /// The highest rate so far.
    pub(crate) best_rate: u64,
    /// Peers could be sent more requests, and wait for a rate limit.
    pub(crate) waits_for_limit: bool,
    pub(crate) peers: usize,
    /// Peers that have a missing piece.
    pub(crate) holders: usize,
    /// Holders that can be sent requests.
    pub(crate) servers: usize,
}

/// Returns the reason, if the download is slow or held by our own limit.
pub(crate) fn reason(facts: &Facts) -> Option<SlowReason> {
    let is_slow = facts.rate < RATE_MIN || facts.rate < facts.best_rate / BEST_PART;
    match *facts {
        Facts { is_done: true, .. } => None,
        Facts { is_paused: true, .. } => Some(SlowReason::Paused),
        Facts { store_fault: Some(fault), .. } => Some(SlowReason::Store(fault)),
        // A limit is reported even while it lets much through: nothing else would make the download
        // faster.
        Facts { waits_for_limit: true, .. } => Some(SlowReason::Limit),
        _ if !is_slow => None,
        Facts { peers: 0, .. } => Some(SlowReason::NoPeers),
        Facts { holders: 0, .. } => Some(SlowReason::NoData),
        Facts { servers: 0, .. } => Some(SlowReason::Choked),
        Facts { holders: 1, peers: 2.., .. } => Some(SlowReason::RarestOnePeer),
        _ => Some(SlowReason::SlowPeers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_true_reason_of_a_slow_download() {
        let fast = Facts {
            is_done: false,
            is_paused: false,
            store_fault: None,
            rate: 1_000_000,
            best_rate: 2_000_000,
            waits_for_limit: false,
            peers: 9,
            holders: 5,
            servers: 3,
        };
        let slow = Facts { rate: 90_000, ..fast };
        let table = [
            ("it is fast enough", fast, None),
            ("fast, with one holder", Facts { holders: 1, servers: 1, ..fast }, None),
            ("a twentieth of what it was", Facts { rate: 100_000, ..fast }, None),
            ("less than a twentieth", slow, Some(SlowReason::SlowPeers)),
            (
                "few bytes, though it was never faster",
                Facts { rate: 9_000, best_rate: 9_000, ..fast },
                Some(SlowReason::SlowPeers),
            ),
            ("done", Facts { is_done: true, rate: 0, peers: 0, ..slow }, None),
            (
                "done on a full disk",
                Facts { is_done: true, store_fault: Some(StoreFault::NoSpace), ..slow },
                None,
            ),
            (
                "a full disk",
                Facts { store_fault: Some(StoreFault::NoSpace), peers: 0, ..fast },
                Some(SlowReason::Store(StoreFault::NoSpace)),
            ),
            ("our limit", Facts { waits_for_limit: true, ..fast }, Some(SlowReason::Limit)),
            (
                "a low limit",
                Facts { waits_for_limit: true, rate: 0, ..fast },
                Some(SlowReason::Limit),
            ),
            (
                "alone",
                Facts { peers: 0, holders: 0, servers: 0, ..slow },
                Some(SlowReason::NoPeers),
            ),
            (
                "among the equally poor",
                Facts { holders: 0, servers: 0, ..slow },
                Some(SlowReason::NoData),
            ),
            ("choked by all", Facts { servers: 0, ..slow }, Some(SlowReason::Choked)),
            (
                "choked by the only one",
                Facts { holders: 1, servers: 0, ..slow },
                Some(SlowReason::Choked),
            ),
            (
                "one of nine has it",
                Facts { holders: 1, servers: 1, ..slow },
                Some(SlowReason::RarestOnePeer),
            ),
            (
                "one slow seed and no other peer",
                Facts { peers: 1, holders: 1, servers: 1, ..slow },
                Some(SlowReason::SlowPeers),
            ),
        ];
        for (what, facts, wanted) in table {
            assert_eq!(reason(&facts), wanted, "{what}");
        }
    }
}
