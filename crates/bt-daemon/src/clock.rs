//! The time of day.
//!
//! Decides: nothing. Must not know: what time is used for. Invariant: none.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns seconds since 1970; 0 for a clock before that.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Returns the weekday (0 is Sunday) and the minute after midnight, in local time.
pub(crate) fn local() -> (u8, u16) {
    let now = jiff::Zoned::now();
    let weekday = now.weekday().to_sunday_zero_offset();
    let minute = i32::from(now.hour()) * 60 + i32::from(now.minute());
    (u8::try_from(weekday).unwrap_or(0), u16::try_from(minute).unwrap_or(0))
}
