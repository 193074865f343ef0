//! Bytes that choose the inputs of a machine, step by step.
//!
//! Decides: how a byte becomes a choice. Must not know: any machine.
//! Invariant: it ends when the bytes do.

use bt_types::Time;
use std::time::Duration;

/// The steps that are left.
pub(crate) struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Steps<'a> {
        Steps(bytes)
    }

    /// Returns the next choice among `among`; `None` at the end.
    pub(crate) fn choose(&mut self, among: u8) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        first.checked_rem(among)
    }

    /// Returns the next choice below `bound`; zero at the end.
    pub(crate) fn below(&mut self, bound: u8) -> u8 {
        self.choose(bound).unwrap_or_default()
    }

    /// Reads bytes with their length before them.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let Some((&[high, low], rest)) = self.0.split_first_chunk() else { return &[] };
        let len = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (bytes, rest) = rest.split_at(len);
        self.0 = rest;
        bytes
    }

    /// Returns a later moment: from a millisecond to four minutes.
    pub(crate) fn later(&mut self, now: Time) -> Time {
        now + Duration::from_millis(u64::from(self.below(16)) + (1 << self.below(18)))
    }
}
