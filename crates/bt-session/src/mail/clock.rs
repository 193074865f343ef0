//! The one clock of a session.
//!
//! Decides: that `Time` zero is the start of the session.
//! Must not know: its callers.
//! Invariant: monotonic; every thread of a session agrees.

use bt_types::Time;
use std::time::Instant;

/// Time since the session started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now(&self) -> Time {
        Time(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.0 + time.since(Time::ZERO)
    }
}

/// Waits until the deadline; for ever if there is none.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
