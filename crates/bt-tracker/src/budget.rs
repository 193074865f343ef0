//! Counts the bytes of the table against their limit.
//!
//! Decides: whether more memory may be taken. Must not know: what for.
//! Invariant: `held` never exceeds `limit`.

/// The memory of a table, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    held: usize,
    limit: usize,
}

impl Budget {
    /// Makes a budget of which nothing is held.
    pub(crate) fn new(limit: usize) -> Budget {
        Budget { held: 0, limit }
    }

    /// Returns the bytes that are held.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes bytes; `false`, and nothing taken, if that exceeds the limit.
    pub(crate) fn claim(&mut self, bytes: usize) -> bool {
        let held = self.held.checked_add(bytes).filter(|&held| held <= self.limit);
        self.held = held.unwrap_or(self.held);
        held.is_some()
    }

    /// Gives bytes back.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }
}
