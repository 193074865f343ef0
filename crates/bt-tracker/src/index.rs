//! Finds numbers by hash: an open-addressed table of 32-bit slots that grows without a pause.
//!
//! Decides: where a number lies. Must not know: what the numbers mean; the caller compares.
//! Invariant: every number is in exactly one slot, of `slots` or of `old`. A slot of `old` never
//! becomes empty, so no chain breaks while numbers move over.

use crate::budget::Budget;
use alloc::vec;
use alloc::vec::Vec;

/// Bits of a slot that hold the number, plus one; the other bits hold a part of its hash.
const NUMBER_BITS: u32 = 26;
/// Numbers are below this: the greatest value stands for a slot that is gone.
pub(crate) const NUMBERS_MAX: u32 = (1 << NUMBER_BITS) - 2;
const NUMBER: u32 = (1 << NUMBER_BITS) - 1;
const EMPTY: u32 = 0;
/// A slot of `old` whose number moved or was removed.
const GONE: u32 = NUMBER;
/// Slots of the smallest table.
const SLOTS_MIN: usize = 64;
/// Slots moved with each change while the table grows or shrinks, and numbers in them. Either
/// suffices to be done before the next time.
const SLOTS_AT_ONCE: usize = 64;
const MOVED_AT_ONCE: usize = 8;

/// Numbers by hash. Equal hashes may have several numbers.
#[derive(Debug, Default)]
pub(crate) struct Index {
    slots: Vec<u32>,
    /// The table of before the last growth; numbers move out of it.
    old: Vec<u32>,
    /// Slots of `old` that have moved.
    moved: usize,
    len: usize,
}

impl Index {
    /// Returns the bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        (self.slots.len() + self.old.len()) * size_of::<u32>()
    }

    /// Returns the first number of this hash that `is_it` accepts.
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        chain(&self.slots, hash)
            .chain(chain(&self.old, hash))
            .map(|(_, number)| number)
            .find(|&number| is_it(number))
    }

    /// Adds a number; `false` if the budget has no room for a larger table. `hash_of` returns the
    /// hash of a number that was added before.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        number: u32,
        budget: &mut Budget,
        hash_of: impl Fn(u32) -> u64,
    ) -> bool {
        // At three quarters chains become long; at 15 of 16 they are no longer worth it.
        if self.len >= self.slots.len() / 4 * 3 && self.old.is_empty() {
            self.resize(self.slots.len() * 2, budget);
        }
        if number >= NUMBERS_MAX || self.len >= self.slots.len() / 16 * 15 {
            return false;
        }
        put(&mut self.slots, hash, number);
        self.len += 1;
        self.advance(budget, hash_of);
        true
    }

    /// Removes a number.
    pub(crate) fn remove(
        &mut self,
        hash: u64,
        number: u32,
        budget: &mut Budget,
        hash_of: impl Fn(u32) -> u64,
    ) {
        if let Some(at) = place_of(&self.slots, hash, number) {
            close(&mut self.slots, at, &hash_of);
            self.len -= 1;
        } else if let Some(at) = place_of(&self.old, hash, number) {
            set(&mut self.old, at, GONE);
            self.len -= 1;
        }
        if self.len < self.slots.len() / 8 && self.old.is_empty() && self.slots.len() > SLOTS_MIN {
            self.resize(self.slots.len() / 2, budget);
        }
        self.advance(budget, hash_of);
    }

    /// Gives a number another hash. A table that holds it needs no more room for that.
    pub(crate) fn rehash(
        &mut self,
        number: u32,
        [before, after]: [u64; 2],
        budget: &mut Budget,
        hash_of: impl Fn(u32) -> u64,
    ) {
        self.remove(before, number, budget, &hash_of);
        self.insert(after, number, budget, &hash_of);
    }

    /// Exchanges two numbers: each gets the other's hash. Both places are found before either is
    /// written. Else a number would be in two slots for a moment, and where a chain meets the
    /// other, the wrong one could be found.
    pub(crate) fn swap(&mut self, (one_hash, one): (u64, u32), (other_hash, other): (u64, u32)) {
        let places = [self.place(one_hash, one), self.place(other_hash, other)];
        let slots = [slot(one_hash, other), slot(other_hash, one)];
        for (place, slot) in places.into_iter().zip(slots) {
            match place {
                Some((true, at)) => set(&mut self.slots, at, slot),
                Some((false, at)) => set(&mut self.old, at, slot),
                None => {}
            }
        }
    }

    /// Returns where a number lies, and whether that is in `slots`.
    fn place(&self, hash: u64, number: u32) -> Option<(bool, usize)> {
        let new = place_of(&self.slots, hash, number).map(|at| (true, at));
        new.or_else(|| place_of(&self.old, hash, number).map(|at| (false, at)))
    }

    /// Starts to move into a table of another size, if the budget has room.
    fn resize(&mut self, len: usize, budget: &mut Budget) {
        let len = len.max(SLOTS_MIN);
        if budget.claim(len * size_of::<u32>()) {
            // The system hands out zeroed pages when they are touched: no pause here.
            self.old = core::mem::replace(&mut self.slots, vec![EMPTY; len]);
            self.moved = 0;
        }
    }

    /// Moves a few numbers out of the old table.
    fn advance(&mut self, budget: &mut Budget, hash_of: impl Fn(u32) -> u64) {
        let mut numbers = 0;
        for _ in 0..SLOTS_AT_ONCE.min(self.old.len()) {
            if numbers == MOVED_AT_ONCE {
                return;
            }
            let Some(from) = self.old.get_mut(self.moved) else {
                budget.release(core::mem::take(&mut self.old).len() * size_of::<u32>());
                return;
            };
            if let Some(number) = number_in(*from) {
                *from = GONE;
                put(&mut self.slots, hash_of(number), number);
                numbers += 1;
            }
            self.moved += 1;
        }
    }
}

/// Makes the slot of a number: never empty, never gone.
fn slot(hash: u64, number: u32) -> u32 {
    ((hash >> 58) as u32) << NUMBER_BITS | (number + 1)
}

fn number_in(slot: u32) -> Option<u32> {
    (slot & NUMBER).checked_sub(1).filter(|_| slot & NUMBER != GONE)
}

/// Returns the place where the chain of a hash begins. Tables have a power of two of slots.
fn home(slots: &[u32], hash: u64) -> usize {
    hash as usize & slots.len().wrapping_sub(1)
}

/// Visits the numbers that may have this hash, with their places.
fn chain(slots: &[u32], hash: u64) -> impl Iterator<Item = (usize, u32)> {
    let (first, mask) = (home(slots, hash), slots.len().wrapping_sub(1));
    let tag = (hash >> 58) as u32;
    (0..slots.len())
        .map(move |step| (first + step) & mask)
        .map_while(|at| slots.get(at).filter(|&&slot| slot != EMPTY).map(|slot| (at, *slot)))
        .filter(move |&(_, slot)| slot >> NUMBER_BITS == tag)
        .filter_map(|(at, slot)| Some((at, number_in(slot)?)))
}

fn place_of(slots: &[u32], hash: u64, number: u32) -> Option<usize> {
    chain(slots, hash).find(|&(_, found)| found == number).map(|(at, _)| at)
}

fn set(slots: &mut [u32], at: usize, value: u32) {
    if let Some(slot) = slots.get_mut(at) {
        *slot = value;
    }
}

/// Writes a number into the first empty slot of its chain.
fn put(slots: &mut [u32], hash: u64, number: u32) {
    let (mut at, mask) = (home(slots, hash), slots.len().wrapping_sub(1));
    while slots.get(at).is_some_and(|&slot| slot != EMPTY) {
        at = (at + 1) & mask;
    }
    set(slots, at, slot(hash, number));
}

/// Empties a place; what could lie nearer to its home moves up, so chains stay whole.
fn close(slots: &mut [u32], mut hole: usize, hash_of: impl Fn(u32) -> u64) {
    let mask = slots.len().wrapping_sub(1);
    let mut at = hole;
    loop {
        at = (at + 1) & mask;
        let Some(&here) = slots.get(at).filter(|&&slot| slot != EMPTY) else { break };
        let Some(number) = number_in(here) else { break };
        let (from_home, from_hole) =
            (at.wrapping_sub(home(slots, hash_of(number))) & mask, at.wrapping_sub(hole) & mask);
        if from_home >= from_hole {
            set(slots, hole, here);
            hole = at;
        }
    }
    set(slots, hole, EMPTY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Spreads badly on purpose: chains meet and wrap.
    fn hash_of(number: u32) -> u64 {
        u64::from(number % 97).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(steps: Vec<(u8, u16)>) {
            let (mut index, mut budget) = (Index::default(), Budget::new(1 << 20));
            let mut model = BTreeSet::new();
            for (kind, number) in steps {
                let number = u32::from(number % 1_000);
                match kind % 4 {
                    0 => {
                        if model.remove(&number) {
                            index.remove(hash_of(number), number, &mut budget, hash_of);
                        }
                    }
                    1 if model.contains(&number) => {
                        // Its place in the chain may be anywhere: any other serves.
                        let other = *model.iter().next().unwrap_or(&number);
                        let pair = |number: u32| (hash_of(number), number);
                        if hash_of(other) != hash_of(number) {
                            index.swap(pair(number), pair(other));
                            let has = |hash, number| index.find(hash, |n| n == number).is_some();
                            prop_assert!(has(hash_of(number), other));
                            prop_assert!(has(hash_of(other), number));
                            index.swap((hash_of(number), other), (hash_of(other), number));
                        }
                    }
                    _ => {
                        if model.insert(number) {
                            prop_assert!(index.insert(hash_of(number), number, &mut budget, hash_of));
                        }
                    }
                }
                prop_assert_eq!(index.len, model.len());
                prop_assert_eq!(budget.held(), index.bytes());
                for number in 0..1_000 {
                    let found = index.find(hash_of(number), |found| found == number);
                    prop_assert_eq!(found.is_some(), model.contains(&number));
                }
            }
        }
    }

    #[test]
    fn two_numbers_of_one_chain_are_exchanged() {
        // One home and one tag, and other hashes: what tells them apart is the number alone.
        let hash_of = |number: u32| u64::from(number) << 20;
        let (mut index, mut budget) = (Index::default(), Budget::new(1 << 20));
        for number in 0..8 {
            assert!(index.insert(hash_of(number), number, &mut budget, hash_of));
        }
        for one in 0..8 {
            for other in (0..8).filter(|other| *other != one) {
                index.swap((hash_of(one), one), (hash_of(other), other));
                let slots: Vec<u32> =
                    (0..8).filter_map(|at| index.slots.get(at).copied()).collect();
                let numbers: Vec<u32> = slots.iter().filter_map(|slot| number_in(*slot)).collect();
                let mut expected: Vec<u32> = (0..8).collect();
                expected.swap(one as usize, other as usize);
                assert_eq!(numbers, expected, "{one} and {other}");
                index.swap((hash_of(one), other), (hash_of(other), one));
            }
        }
    }

    #[test]
    fn it_grows_and_shrinks_a_few_slots_at_a_time() {
        let mix = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (mut index, mut budget) = (Index::default(), Budget::new(1 << 30));
        for number in 0..100_000 {
            let before = index.moved;
            assert!(index.insert(mix(number), number, &mut budget, mix));
            assert!(index.moved <= before + SLOTS_AT_ONCE, "no step moves more");
        }
        assert!(index.bytes() <= 100_000 * 4 * 4);
        assert!((0..100_000).all(|n| index.find(mix(n), |found| found == n).is_some()));
        (0..100_000).for_each(|number| index.remove(mix(number), number, &mut budget, mix));
        assert!(index.bytes() < 10_000, "{} bytes", index.bytes());
    }

    #[test]
    fn without_room_it_fills_and_then_refuses() {
        let mix = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (mut index, mut budget) = (Index::default(), Budget::new(256));
        let taken = (0..1_000).take_while(|&n| index.insert(mix(n), n, &mut budget, mix)).count();
        assert_eq!((taken, budget.held()), (60, 256));
        assert!((0..60).all(|n| index.find(mix(n), |found| found == n).is_some()));
        assert!(!index.insert(0, NUMBERS_MAX + 1, &mut Budget::new(1 << 20), mix));
    }
}
