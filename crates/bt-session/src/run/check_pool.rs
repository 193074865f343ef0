//! Threads on which torrents are opened: steps that may wait long for a disk.
//!
//! Decides: how many torrents are opened at a time.
//! Must not know: how a torrent is opened.
//! Invariant: a torrent has at most one waiting step; a forgotten step never runs.

use bt_engine::TorrentKey;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Torrents that are opened at a time. Checking one uses all cores: more would only make a disk
/// seek.
const OPENERS_MAX: usize = 8;
/// Time that an idle thread waits for more work before it ends.
const LINGER: Duration = Duration::from_millis(500);

/// Work for one of the threads.
type Step = Box<dyn FnOnce() + Send>;

/// The threads, started when they are needed and ended when they are idle.
#[derive(Default)]
pub(crate) struct CheckPool {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// In the order in which the torrents were added.
    steps: BTreeMap<TorrentKey, Step>,
    threads: usize,
    idle: usize,
}

impl std::fmt::Debug for CheckPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Openers").finish_non_exhaustive()
    }
}

impl CheckPool {
    /// Runs a torrent's step as soon as a thread is free.
    pub(crate) fn begin(
        self: &Arc<Self>,
        key: TorrentKey,
        step: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let mut waiting = self.lock();
        if waiting.idle <= waiting.steps.len() && waiting.threads < OPENERS_MAX {
            let check_pool = Arc::clone(self);
            std::thread::Builder::new().name("bt-check".into()).spawn(move || check_pool.run())?;
            waiting.threads += 1;
        }
        waiting.steps.insert(key, Box::new(step));
        self.more.notify_one();
        Ok(())
    }

    /// Drops the waiting step of a torrent, if it has one.
    pub(crate) fn forget(&self, key: TorrentKey) {
        let step = self.lock().steps.remove(&key);
        // Dropped after the lock is released: the step may hold much.
        drop(step);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let mut waiting = self.lock();
            waiting.idle += 1;
            let is_idle = |waiting: &mut Waiting| waiting.steps.is_empty();
            waiting = self
                .more
                .wait_timeout_while(waiting, LINGER, is_idle)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            waiting.idle -= 1;
            let Some((_, step)) = waiting.steps.pop_first() else {
                waiting.threads -= 1;
                return;
            };
            drop(waiting);
            // A panic ends the step of one torrent, not the steps that wait behind it.
            if catch_unwind(AssertUnwindSafe(step)).is_err() {
                tracing::error!("bug: opening a torrent panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_few_steps_run_at_a_time_and_one_that_is_forgotten_does_not() {
        let check_pool = Arc::new(CheckPool::default());
        let gate = Arc::new(Mutex::new(()));
        let (begun, steps) = mpsc::channel();
        let closed = gate.lock().unwrap();
        let all = u32::try_from(OPENERS_MAX).unwrap() + 3;
        for key in (0..all).map(TorrentKey) {
            let (begun, gate) = (begun.clone(), Arc::clone(&gate));
            let step = move || {
                begun.send(key).unwrap();
                drop(gate.lock());
                assert_ne!(
                    key,
                    TorrentKey(0),
                    "a step that panics does not take its thread's place away"
                );
            };
            check_pool.begin(key, step).unwrap();
        }
        drop(begun);
        let mut ran: Vec<TorrentKey> = (0..OPENERS_MAX).map(|_| steps.recv().unwrap()).collect();
        assert!(steps.try_recv().is_err());
        check_pool.forget(TorrentKey(all - 2));
        drop(closed);
        ran.extend(steps);
        ran.sort_unstable();
        let (forgotten, last) = (all - 2, all - 1);
        assert_eq!(ran, (0..forgotten).chain([last]).map(TorrentKey).collect::<Vec<_>>());
    }
}
