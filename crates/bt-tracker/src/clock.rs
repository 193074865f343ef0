//! Counts time in ticks, and notes how far the sweep is.
//!
//! Decides: the length of a tick. Must not know: peers.
//! Invariant: a silent peer lives for [`AGE`] ticks.

use crate::peer::{AGE, Tick};
use bt_types::Time;
use core::time::Duration;

/// The clock, and how far the cursor is.
#[derive(Debug)]
pub(crate) struct Clock {
    /// Microseconds of a tick.
    unit: u64,
    /// The time of the last call.
    pub(crate) now: Time,
    /// Up to when the cursor has done what was due.
    pub(crate) done: Time,
    /// The steps of this pass, as estimated at its start.
    pub(crate) steps: u64,
    /// The torrent that is looked at next.
    pub(crate) torrent: u32,
    /// In a large swarm: the peers that are not looked at yet, of each family.
    pub(crate) left: Option<[u32; 2]>,
}

impl Clock {
    /// Starts at [`Time::ZERO`].
    pub(crate) fn new(peer_age: Duration) -> Clock {
        let micros = u64::try_from(peer_age.as_micros()).unwrap_or(u64::MAX);
        let unit = micros.div_ceil(AGE.into()).clamp(1, u64::MAX / u64::from(AGE));
        Clock { unit, now: Time::ZERO, done: Time::ZERO, steps: 0, torrent: 0, left: None }
    }

    /// Returns the tick of the last call.
    pub(crate) fn tick(&self) -> Tick {
        self.tick_of(self.now)
    }

    /// Returns the tick of a moment.
    pub(crate) fn tick_of(&self, time: Time) -> Tick {
        Tick::of(time.as_micros() / self.unit)
    }

    /// Returns the life of a silent peer in microseconds, in whole ticks.
    pub(crate) fn age(&self) -> u64 {
        self.unit * u64::from(AGE)
    }
}
