//! The one tracker, shared by all sockets.
//!
//! Decides: what time it is.
//! Must not know: sockets.
//! Invariant: the lock is held for one request, and never across an await.

use bt_tracker::{Config, HttpAnswer, Stats, Tracker};
use bt_types::Time;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A handle of the tracker; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    tracker: Arc<Mutex<Tracker>>,
    start: Instant,
}

impl Table {
    pub(crate) fn new(config: Config, secret: [u8; 32]) -> Table {
        Table { tracker: Arc::new(Mutex::new(Tracker::new(config, secret))), start: Instant::now() }
    }

    pub(crate) fn udp(&self, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut tracker = self.lock();
        tracker.udp(self.now(), from, datagram)
    }

    pub(crate) fn http(&self, from: IpAddr, target: &str) -> HttpAnswer {
        let mut tracker = self.lock();
        tracker.http(self.now(), from, target)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.lock().stats()
    }

    /// Reads the clock, while the lock is held, so that the tracker never sees time go backwards.
    fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn lock(&self) -> MutexGuard<'_, Tracker> {
        // A panic inside would be our bug in one request; the others must still be served.
        self.tracker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
