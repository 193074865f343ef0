//! What is going to happen, in order of virtual time.
//!
//! Decides: the order of what happens at the same moment: as it was planned. Must not know: what it
//! is.
//! Invariant: equal plans are taken in equal order.

use bt_types::Time;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A queue by virtual time.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    items: BinaryHeap<Reverse<Plan<T>>>,
    planned: u64,
}

/// Something planned; ordered by its time, then by its number, which no other has.
#[derive(Debug)]
struct Plan<T> {
    at: Time,
    number: u64,
    item: T,
}

impl<T> Default for Agenda<T> {
    fn default() -> Agenda<T> {
        Agenda { items: BinaryHeap::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    /// Plans something.
    pub(crate) fn plan(&mut self, at: Time, item: T) {
        self.items.push(Reverse(Plan { at, number: self.planned, item }));
        self.planned += 1;
    }

    /// Everything that is planned, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|Reverse(plan)| &plan.item)
    }

    /// When the next thing happens.
    pub(crate) fn next_at(&self) -> Option<Time> {
        self.items.peek().map(|Reverse(plan)| plan.at)
    }

    /// The next thing, which happens now.
    pub(crate) fn take(&mut self) -> Option<(Time, T)> {
        self.items.pop().map(|Reverse(plan)| (plan.at, plan.item))
    }
}

impl<T> Ord for Plan<T> {
    fn cmp(&self, other: &Plan<T>) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> PartialOrd for Plan<T> {
    fn partial_cmp(&self, other: &Plan<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Plan<T> {
    fn eq(&self, other: &Plan<T>) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Plan<T> {}
