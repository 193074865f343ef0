//! Panics, which are bugs: caught where they can be contained, and counted.
//!
//! Decides: which panics count for a connection, for an engine, for anything else.
//! Must not know: what happens after a panic.
//! Invariant: all code of a session that catches a panic counts it here.

use bt_model::Panics;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;

/// Where a panic was caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Connection,
    Engine,
    Other,
}

/// The counts of a session, shared by its threads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bugs(Arc<[AtomicU64; 3]>);

impl Bugs {
    /// Runs `act`; `None` if it panicked. The caller must discard what `act` may have left half
    /// changed.
    pub(crate) fn contain<T>(&self, place: Place, act: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(act)).ok();
        if done.is_none() {
            self.caught(place);
        }
        done
    }

    /// Runs a task to its end; `None` if it panicked.
    pub(crate) async fn contain_task<T>(
        &self,
        place: Place,
        task: impl Future<Output = T>,
    ) -> Option<T> {
        let mut task = pin!(task);
        std::future::poll_fn(|context| match self.contain(place, || task.as_mut().poll(context)) {
            Some(poll) => poll.map(Some),
            None => Poll::Ready(None),
        })
        .await
    }

    /// Counts a panic that other code caught.
    pub(crate) fn caught(&self, place: Place) {
        // The panic hook printed the panic's own message.
        tracing::error!(?place, "bug: a panic was contained");
        self.0[place as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn counts(&self) -> Panics {
        let [connections, engines, others] =
            [0, 1, 2].map(|place: usize| self.0[place].load(Relaxed));
        Panics { connections, engines, others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_contained_and_counted_in_its_place() {
        let bugs = Bugs::default();
        assert_eq!(bugs.contain(Place::Engine, || 5), Some(5));
        assert_eq!(bugs.contain(Place::Engine, || panic!("a bug, for a test")), None::<()>);
        let task = async {
            tokio::task::yield_now().await;
            7
        };
        assert_eq!(bugs.contain_task(Place::Connection, task).await, Some(7));
        let task = async {
            tokio::task::yield_now().await;
            panic!("a bug, for a test")
        };
        assert_eq!(bugs.contain_task(Place::Connection, task).await, None::<()>);
        bugs.caught(Place::Connection);
        let counts = bugs.counts();
        assert_eq!(counts, Panics { connections: 2, engines: 1, others: 0 });
        assert_eq!(counts.total(), 3);
    }
}
