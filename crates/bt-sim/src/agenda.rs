//! What is going to happen, in order of virtual time.
//!
//! Decides: the order of what happens at the same moment: as it was planned. Must not know: what it is.
//! Invariant: equal plans are taken in equal order.

use bt_types::Time;
use std::collections::BTreeMap;

/// A queue by virtual time.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    /// Keyed by time and by the number of the plan.
    items: BTreeMap<(Time, u64), T>,
    planned: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Agenda<T> {
        Agenda { items: BTreeMap::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    /// Plans something.
    pub(crate) fn plan(&mut self, at: Time, item: T) {
        self.items.insert((at, self.planned), item);
        self.planned += 1;
    }

    /// Everything that is planned.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.values()
    }

    /// When the next thing happens.
    pub(crate) fn next_at(&self) -> Option<Time> {
        self.items.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next thing, which happens now.
    pub(crate) fn take(&mut self) -> Option<(Time, T)> {
        self.items.pop_first().map(|((at, _), item)| (at, item))
    }
}
