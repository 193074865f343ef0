//! Holds the record of each torrent, 64 bytes, and finds it by info-hash.
//!
//! Decides: the number of a torrent. Must not know: peers, limits.
//! Invariant: a number stays with its torrent until the torrent is closed; the index holds exactly
//! the numbers in use.

use crate::budget::Budget;
use crate::index::{Index, NUMBERS_MAX};
use crate::keyed_hash::KeyedHash;
use crate::peer::Tick;
use crate::pool::Peers;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use bt_types::InfoHash;

/// Records of a segment: 64 KiB.
const SEGMENT: usize = 1_024;
/// The end of the free list.
const NONE: u32 = u32::MAX;

/// One torrent.
#[derive(Clone, Debug)]
pub(crate) struct Torrent {
    pub(crate) hash: InfoHash,
    /// Completed downloads.
    pub(crate) completed: u32,
    /// The second of the last announce. In a free record: the number of the next free one.
    pub(crate) heard: u32,
    pub(crate) v4: Peers,
    pub(crate) v6: Peers,
    /// The tick in which expired peers were last looked for.
    pub(crate) swept: Tick,
    is_open: bool,
}

const FREE: Torrent = Torrent {
    hash: InfoHash([0; 20]),
    completed: 0,
    heard: NONE,
    v4: Peers::EMPTY,
    v6: Peers::EMPTY,
    swept: Tick::ZERO,
    is_open: false,
};

impl Torrent {
    /// Returns the peers of both families.
    pub(crate) fn len(&self) -> u32 {
        self.v4.len() + self.v6.len()
    }
}

/// All torrents.
#[derive(Debug)]
pub(crate) struct Torrents {
    segments: Vec<Box<[Torrent]>>,
    /// Records that were ever used.
    used: u32,
    first_free: u32,
    open: usize,
    index: Index,
    hash: KeyedHash,
}

impl Torrents {
    pub(crate) fn new(hash: KeyedHash) -> Torrents {
        Torrents {
            segments: Vec::new(),
            used: 0,
            first_free: NONE,
            open: 0,
            index: Index::default(),
            hash,
        }
    }

    /// Returns the number of torrents.
    pub(crate) fn len(&self) -> usize {
        self.open
    }

    /// Returns the numbers that may be in use: those below.
    pub(crate) fn numbers(&self) -> u32 {
        self.used
    }

    pub(crate) fn find(&self, hash: InfoHash) -> Option<u32> {
        let is_it = |number| self.get(number).is_some_and(|torrent| torrent.hash == hash);
        self.index.find(self.hash.bytes(&hash.0), is_it)
    }

    /// Returns an open torrent.
    pub(crate) fn get(&self, number: u32) -> Option<&Torrent> {
        record(&self.segments, number).filter(|torrent| torrent.is_open)
    }

    /// Returns an open torrent.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Torrent> {
        let segment = self.segments.get_mut(number as usize / SEGMENT)?;
        segment.get_mut(number as usize % SEGMENT).filter(|torrent| torrent.is_open)
    }

    /// Opens a torrent that is not there; `None` if the budget has no room.
    pub(crate) fn open(&mut self, hash: InfoHash, budget: &mut Budget) -> Option<u32> {
        let number = if self.first_free == NONE { self.used } else { self.first_free };
        if number >= NUMBERS_MAX {
            return None;
        }
        if number as usize / SEGMENT >= self.segments.len() {
            let fits = budget.claim(SEGMENT * size_of::<Torrent>());
            fits.then(|| self.segments.push(vec![FREE; SEGMENT].into()))?;
        }
        let (segments, keyed) = (&self.segments, &self.hash);
        let hash_of =
            |number| record(segments, number).map_or(0, |torrent| keyed.bytes(&torrent.hash.0));
        if !self.index.insert(keyed.bytes(&hash.0), number, budget, hash_of) {
            return None;
        }
        self.open += 1;
        let place = self.segments.get_mut(number as usize / SEGMENT)?;
        let place = place.get_mut(number as usize % SEGMENT)?;
        match number == self.used {
            true => self.used += 1,
            false => self.first_free = place.heard,
        }
        *place = Torrent { hash, is_open: true, ..FREE };
        Some(number)
    }

    /// Closes a torrent that has no peers.
    pub(crate) fn close(&mut self, number: u32, budget: &mut Budget) {
        let Some(hash) = self.get(number).map(|torrent| torrent.hash) else { return };
        let (segments, keyed) = (&self.segments, &self.hash);
        let hash_of =
            |number| record(segments, number).map_or(0, |torrent| keyed.bytes(&torrent.hash.0));
        self.index.remove(keyed.bytes(&hash.0), number, budget, hash_of);
        let next = core::mem::replace(&mut self.first_free, number);
        if let Some(torrent) = self.get_mut(number) {
            *torrent = Torrent { heard: next, ..FREE };
        }
        self.open -= 1;
    }
}

fn record(segments: &[Box<[Torrent]>], number: u32) -> Option<&Torrent> {
    segments.get(number as usize / SEGMENT)?.get(number as usize % SEGMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_types::Rng;

    fn hash(number: u32) -> InfoHash {
        let mut hash = [7; 20];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        InfoHash(hash)
    }

    #[test]
    fn torrents_open_and_close_and_their_numbers_are_used_again() {
        assert_eq!(size_of::<Torrent>(), 64);
        let mut torrents = Torrents::new(KeyedHash::new(&mut Rng::from_seed(1)));
        let mut budget = Budget::new(1 << 30);
        for round in 0..3 {
            for number in 0..5_000 {
                torrents.open(hash(number), &mut budget).unwrap();
            }
            assert_eq!((torrents.len(), torrents.numbers()), (5_000, 5_000), "round {round}");
            for number in 0..5_000 {
                let found = torrents.find(hash(number)).unwrap();
                assert_eq!(torrents.get(found).unwrap().hash, hash(number));
                torrents.close(found, &mut budget);
                assert_eq!(torrents.find(hash(number)), None);
            }
        }
        assert_eq!(torrents.len(), 0);
    }

    #[test]
    fn without_room_no_torrent_opens() {
        let mut torrents = Torrents::new(KeyedHash::new(&mut Rng::from_seed(1)));
        let mut budget = Budget::new(65_536 + 1_000);
        let opened = (0..).take_while(|&n| torrents.open(hash(n), &mut budget).is_some()).count();
        assert_eq!(opened, 120, "an index of 128 places");
        assert!((0..120).all(|number| torrents.find(hash(number)).is_some()));
    }
}
