//! The progress of a long job, and whether it should stop.
//!
//! Decides: nothing.
//! Must not know: which code reads it.
//! Invariant: within a job the counts only grow, and bytes done never exceed the total.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Shared between a job and its watchers. The counters are for display: they order nothing, hence
/// relaxed.
#[derive(Default, Debug)]
pub struct Progress {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    /// Returns the bytes that were hashed or read so far.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Returns the bytes of the whole job that are known so far: zero at first, and more when some
    /// must be read again.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Asks the job to stop soon; it then returns an error that says so.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    /// Begins the count anew, for another job. A job that was asked to stop stays so.
    pub fn restart(&self) {
        self.total.store(0, Relaxed);
        self.done.store(0, Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// Adds bytes to the total.
    pub(crate) fn begin(&self, bytes: u64) {
        self.total.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }
}
