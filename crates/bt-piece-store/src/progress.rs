//! How far a long job is, and whether it should stop.
//!
//! Decides: nothing. Must not know: who looks.
//! Invariant: the counts only grow, and that of bytes done is never the larger one.

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

    /// Bytes to look at in all, as far as the job knows: zero at first, and more when it finds that it must look at some again.
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

    /// So many bytes more are looked at from now on.
    pub(crate) fn begin(&self, bytes: u64) {
        self.total.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }
}
