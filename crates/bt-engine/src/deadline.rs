//! Finds the earliest of several times.
//!
//! Decides: nothing. Must not know: what is due.
//! Invariant: a time that is absent comes after all others.

use bt_types::Time;

/// Returns the earliest time, if there is one.
pub(crate) fn earliest<const N: usize>(times: [Option<Time>; N]) -> Option<Time> {
    // A plain loop: it runs for each input.
    let mut first: Option<Time> = None;
    for time in times {
        if let Some(time) = time
            && first.is_none_or(|first| time < first)
        {
            first = Some(time);
        }
    }
    first
}
