//! Holds the upload slots of a torrent, and the peers that have them.
//!
//! Decides: nothing. Must not know: how peers are chosen.
//! Invariant: `unchoked` is the set of peers to which our last word was `unchoke`.

use crate::config::Config;
use crate::io::PeerKey;
use alloc::collections::BTreeSet;
use bt_types::Time;

/// The upload slots of a torrent.
#[derive(Debug)]
pub(crate) struct Unchoking {
    /// Peers that we have unchoked.
    pub(crate) unchoked: BTreeSet<PeerKey>,
    /// Upload slots, before rate limits.
    pub(crate) slots: usize,
    pub(crate) next_round: Time,
}

impl Unchoking {
    pub(crate) fn new(now: Time, config: &Config) -> Unchoking {
        let slots = config.upload_slots;
        Unchoking { unchoked: BTreeSet::new(), slots, next_round: now }
    }
}
