//! Holds blocks of peers in segments that never move.
//!
//! Decides: which block is given out. Must not know: which swarm has it.
//! Invariant: a block of class `c` has `1 << c` places and begins at a multiple of that; a block is
//! given out once, or lies in the free list of its class.

use crate::budget::Budget;
use crate::peer::Peer;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Blocks have 1, 2, 4, … 64 places.
const CLASSES: usize = 7;
/// Places of the largest block: a page.
pub(crate) const PAGE: u32 = 64;
/// Places of a segment: 32 KiB of IPv4 peers.
const SEGMENT: u32 = 4_096;
/// The end of a free list.
const NONE: u32 = u32::MAX;
/// Places are numbered below this: the top bit of a block's number is the caller's.
const PLACES_MAX: u32 = 1 << 31;

/// Blocks of peers of one family.
#[derive(Debug)]
pub(crate) struct Arena<P> {
    segments: Vec<Box<[P]>>,
    /// The first place that was never given out.
    untouched: u32,
    /// The first free block of each class; each holds the number of the next.
    free: [u32; CLASSES],
}

impl<P: Peer> Arena<P> {
    pub(crate) fn new() -> Arena<P> {
        Arena { segments: Vec::new(), untouched: 0, free: [NONE; CLASSES] }
    }

    /// Returns the class of the smallest block for this many peers, 64 at most.
    pub(crate) fn class_for(peers: u32) -> usize {
        peers.max(1).next_power_of_two().trailing_zeros() as usize
    }

    /// Gives out a block; `None` if the budget has no room.
    pub(crate) fn take(&mut self, class: usize, budget: &mut Budget) -> Option<u32> {
        let (block, mut of) = match (class..CLASSES).find_map(|of| Some((self.pop(of)?, of))) {
            Some(free) => free,
            None => (self.page(budget)?, CLASSES - 1),
        };
        // The upper halves stay free.
        while of > class {
            of -= 1;
            self.give(block + (1 << of), of);
        }
        Some(block)
    }

    /// Takes a block back.
    pub(crate) fn give(&mut self, block: u32, class: usize) {
        let Some(first) = self.free.get_mut(class) else { return };
        let next = core::mem::replace(first, block);
        self.set(block, P::free(next));
    }

    /// Returns the peers of a block, or of the beginning of a block.
    pub(crate) fn slice(&self, block: u32, len: u32) -> &[P] {
        let at = (block % SEGMENT) as usize;
        self.segments
            .get((block / SEGMENT) as usize)
            .and_then(|segment| segment.get(at..at + len as usize))
            .unwrap_or_default()
    }

    pub(crate) fn get(&self, place: u32) -> P {
        let segment = self.segments.get((place / SEGMENT) as usize);
        segment
            .and_then(|places| places.get((place % SEGMENT) as usize))
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn set(&mut self, place: u32, peer: P) {
        let segment = self.segments.get_mut((place / SEGMENT) as usize);
        if let Some(place) = segment.and_then(|places| places.get_mut((place % SEGMENT) as usize)) {
            *place = peer;
        }
    }

    fn pop(&mut self, class: usize) -> Option<u32> {
        let block = *self.free.get(class).filter(|&&block| block != NONE)?;
        let next = self.get(block).next_free();
        self.free.get_mut(class).into_iter().for_each(|first| *first = next);
        Some(block)
    }

    /// Takes a page that was never given out.
    fn page(&mut self, budget: &mut Budget) -> Option<u32> {
        let page = self.untouched;
        if (page / SEGMENT) as usize >= self.segments.len() {
            let fits = page < PLACES_MAX && budget.claim(SEGMENT as usize * size_of::<P>());
            fits.then(|| self.segments.push(vec![P::default(); SEGMENT as usize].into()))?;
        }
        self.untouched += PAGE;
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::V4;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn no_place_is_given_out_twice(steps: Vec<(bool, u8)>) {
            let (mut arena, mut budget) = (Arena::<V4>::new(), Budget::new(1 << 20));
            let mut taken: BTreeMap<u32, usize> = BTreeMap::new();
            for (take, number) in steps {
                let class = usize::from(number) % CLASSES;
                if take {
                    let block = arena.take(class, &mut budget).unwrap();
                    prop_assert_eq!(block % (1 << class), 0);
                    let before = taken.range(..=block).next_back();
                    prop_assert!(before.is_none_or(|(other, class)| other + (1 << class) <= block));
                    let after = taken.range(block..).next();
                    prop_assert!(after.is_none_or(|(other, _)| block + (1 << class) <= *other));
                    prop_assert_eq!(arena.slice(block, 1 << class).len(), 1 << class);
                    taken.insert(block, class);
                } else if let Some((&block, &class)) = taken.iter().nth(usize::from(number)) {
                    taken.remove(&block);
                    arena.give(block, class);
                }
            }
        }
    }

    #[test]
    fn it_takes_no_more_memory_than_the_budget_has() {
        let (mut arena, mut budget) = (Arena::<V4>::new(), Budget::new(100_000));
        let blocks: Vec<u32> = core::iter::from_fn(|| arena.take(6, &mut budget)).collect();
        assert_eq!((blocks.len(), budget.held()), (3 * 64, 3 * 32_768));
        arena.give(blocks[7], 6);
        assert_eq!((0..64).filter_map(|_| arena.take(0, &mut budget)).count(), 64, "a page splits");
        assert_eq!(arena.take(0, &mut budget), None);
    }
}
