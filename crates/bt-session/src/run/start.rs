//! What a thread of a session begins with: its runtime, and random numbers.
//!
//! Decides: that a thread's tasks never leave it.
//! Must not know: what a thread does.
//! Invariant: no two callers get the same random numbers.

use bt_types::Rng;
use std::io;
use std::thread::JoinHandle;
use tokio::task::LocalSet;

/// Starts a thread with its own runtime, for tasks that never leave it.
pub(crate) fn spawn<F: Future<Output = ()>>(
    name: &str,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || LocalSet::new().block_on(&runtime, async { main().await }))
}

/// Makes a source of random numbers from secret ones of the system.
pub(crate) fn os_rng() -> io::Result<Rng> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(Rng::from_secret(seed))
}
