//! How far a long job is, and whether it should stop.
//!
//! Decides: nothing. Must not know: who looks.
//! Invariant: the count of bytes done only grows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Shared between a job and whoever watches it. The counters are for display: they order nothing, hence relaxed.
#[derive(Default, Debug)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Bytes looked at so far.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Bytes to look at in all; zero until the job knows.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Asks the job to stop soon; it then returns an error that says so.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    pub(crate) fn begin(&self, total: u64) {
        self.total.store(total, Relaxed);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }
}
