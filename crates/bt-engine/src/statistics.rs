//! Counts the payload of a torrent since it was added.
//!
//! Decides: which rate counts as the best. Must not know: peers, pieces.
//! Invariant: counts never fall.

use crate::meter::Meter;
use bt_types::Time;

/// The payload of a torrent, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    /// What came, good or not.
    pub(crate) down: Meter,
    /// What was sent.
    pub(crate) up: Meter,
    /// Bytes that became verified pieces.
    pub(crate) downloaded: u64,
    /// Bytes that came without use: bad, late or twice.
    pub(crate) wasted: u64,
    /// The bad ones of these.
    pub(crate) bad: u64,
    /// Pieces that did not match their digest.
    pub(crate) bad_pieces: u32,
    /// Peers that were banned.
    pub(crate) banned: u32,
    /// The highest download rate so far, measured once a second.
    pub(crate) best_down: u64,
    /// The upload rate a second ago, and the highest that lasted for two measurements: at first the
    /// system's buffers fill, which is no rate.
    up_before: u64,
    pub(crate) best_up: u64,
}

impl Statistics {
    /// Measures the rates, once a second. Returns the upload rate.
    pub(crate) fn measure(&mut self, now: Time) -> u64 {
        let up = self.up.rate(now);
        self.best_up = self.best_up.max(up.min(core::mem::replace(&mut self.up_before, up)));
        self.best_down = self.best_down.max(self.down.rate(now));
        up
    }
}
