//! How many files this process, and those that it starts, may have open.
//!
//! Decides: nothing. Must not know: who needs them.
//! Invariant: a limit is never lowered.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this number of open files, where the system lets us; returns how many there may be.
pub fn allow_descriptors(count: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.map_or(count, |maximum| maximum.max(count));
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) });
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}
