//! Represents time as data: microseconds since a moment that the shell chose.
//!
//! Decides: arithmetic that cannot overflow. Must not know: any clock.
//! Invariant: integer only, so equal on every machine.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// Microseconds since a moment chosen by the shell (process start, or zero in the simulator).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The time zero.
    pub const ZERO: Time = Time(0);

    /// Returns the time `secs` seconds after zero.
    pub const fn from_secs(secs: u64) -> Time {
        Time(secs.saturating_mul(1_000_000))
    }

    /// Returns the time `millis` milliseconds after zero.
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis.saturating_mul(1_000))
    }

    /// Returns the microseconds since zero.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns how long before `self` the time `earlier` was; zero if it was not before.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, rhs: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Time> for Time {
    type Output = Duration;
    fn sub(self, rhs: Time) -> Duration {
        self.since(rhs)
    }
}

impl fmt::Display for Time {
    /// Writes seconds with three decimals, as `12.345s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn arithmetic_saturates_and_prints() {
        assert_eq!(Time(5).since(Time(9)), Duration::ZERO);
        assert_eq!(Time(u64::MAX) + Duration::from_secs(1), Time(u64::MAX));
        assert_eq!(format!("{}", Time::from_millis(12_345)), "12.345s");
    }
}
