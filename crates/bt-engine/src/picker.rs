//! Which piece to open next: rarest first, at random among equals (BEP 3).
//!
//! Decides: the order of pieces that nobody works on yet. Must not know: blocks, peers' names, the store.
//! Invariant: `order` is sorted by availability and `place` is its inverse; every update moves one piece by one bucket.

use alloc::vec;
use alloc::vec::Vec;
use bt_types::{Bitfield, Geometry, Piece, Rng};

/// The first pieces are taken at random, so that a newcomer soon has something to trade.
const RANDOM_FIRST: u32 = 4;

/// The pieces that are wanted and not open, sorted by how many connected leechers have them.
#[derive(Debug)]
pub(crate) struct Picker {
    /// Wanted pieces, rarest first. Peers that have everything do not change the order and are not counted.
    order: Vec<Piece>,
    /// For each piece its index in `order`, or [`ABSENT`].
    place: Vec<u32>,
    /// For each piece the number of leechers that have it.
    availability: Vec<u32>,
    /// `starts[a]` is the index in `order` of the first piece with availability `a` or more.
    starts: Vec<u32>,
    /// Pieces that were ever taken.
    taken: u32,
}

const ABSENT: u32 = u32::MAX;

impl Picker {
    /// All pieces that `have` lacks.
    pub(crate) fn new(geometry: &Geometry, have: &Bitfield, rng: &mut Rng) -> Picker {
        let mut order: Vec<Piece> = geometry.pieces().filter(|&piece| !have.has(piece)).collect();
        rng.shuffle(&mut order);
        let count = geometry.piece_count() as usize;
        let mut picker = Picker {
            starts: vec![0, order.len() as u32],
            place: vec![ABSENT; count],
            availability: vec![0; count],
            taken: have.count(),
            order,
        };
        for index in 0..picker.order.len() {
            picker.note_place(index);
        }
        picker
    }

    /// A leecher has this piece.
    pub(crate) fn more(&mut self, piece: Piece, rng: &mut Rng) {
        let Some(level) = self.availability.get_mut(piece.index()) else { return };
        let from = *level as usize;
        *level += 1;
        if self.is_waiting(piece) {
            // The last of its bucket changes places with it, and the bucket ends one earlier.
            self.ensure_bucket(from + 1);
            let end = self.start(from + 1) - 1;
            self.swap(self.index_of(piece), end);
            self.set_start(from + 1, end);
            self.mix(end, from + 1, rng);
        }
    }

    /// A leecher that had this piece left.
    pub(crate) fn less(&mut self, piece: Piece, rng: &mut Rng) {
        let Some(level) = self.availability.get_mut(piece.index()) else { return };
        let Some(to) = (*level as usize).checked_sub(1) else { return };
        *level -= 1;
        if self.is_waiting(piece) {
            let begin = self.start(to + 1);
            self.swap(self.index_of(piece), begin);
            self.set_start(to + 1, begin + 1);
            self.mix(begin, to, rng);
        }
    }

    /// The best piece for a peer that has the pieces of `has`, or `None` when it has none that waits. `counted` tells that
    /// its pieces are counted in the availability. The piece waits no longer.
    pub(crate) fn take(&mut self, has: &Bitfield, counted: bool, rng: &mut Rng) -> Option<Piece> {
        // Only a peer that is not counted can have what no counted one has.
        let from = if counted { self.start(1) } else { 0 };
        let candidates = self.order.get(from..)?;
        let turn = if self.taken < RANDOM_FIRST { rng.index(candidates.len()) } else { 0 };
        let (before, after) = candidates.split_at_checked(turn)?;
        let piece = after.iter().chain(before).copied().find(|&piece| has.has(piece))?;
        self.remove(piece);
        self.taken += 1;
        Some(piece)
    }

    /// Takes this piece, if it waits.
    pub(crate) fn take_this(&mut self, piece: Piece) -> bool {
        let waits = self.is_waiting(piece);
        if waits {
            self.remove(piece);
            self.taken += 1;
        }
        waits
    }

    /// Whether a piece waits that is as rare as any.
    pub(crate) fn is_rarest(&self, piece: Piece) -> bool {
        let rarest = self.order.first().map(|&first| self.availability(first));
        self.is_waiting(piece) && rarest.is_some_and(|rarest| self.availability(piece) <= rarest)
    }

    /// A taken piece is wanted again.
    pub(crate) fn put_back(&mut self, piece: Piece, rng: &mut Rng) {
        if self.is_waiting(piece) {
            return;
        }
        let level = self.availability.get(piece.index()).copied().unwrap_or(0) as usize;
        // Append it, then let it move down bucket by bucket to its own.
        self.ensure_bucket(level);
        self.order.push(piece);
        self.note_place(self.order.len() - 1);
        let top = self.starts.len() - 1;
        if let Some(end) = self.starts.last_mut() {
            *end += 1;
        }
        for bucket in (level + 1..top).rev() {
            let begin = self.start(bucket);
            self.swap(self.index_of(piece), begin);
            self.set_start(bucket, begin + 1);
        }
        self.mix(self.index_of(piece), level, rng);
    }

    /// How many leechers have this piece.
    pub(crate) fn availability(&self, piece: Piece) -> u32 {
        self.availability.get(piece.index()).copied().unwrap_or(0)
    }

    /// Whether a piece waits that no leecher has.
    pub(crate) fn has_unseen(&self) -> bool {
        self.start(1) > 0
    }

    /// Number of pieces that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.order.len()
    }

    fn remove(&mut self, piece: Piece) {
        let level = self.availability.get(piece.index()).copied().unwrap_or(0) as usize;
        for bucket in level + 1..self.starts.len() {
            let end = self.start(bucket) - 1;
            self.swap(self.index_of(piece), end);
            self.set_start(bucket, end);
        }
        if let (Some(last), Some(place)) = (self.order.pop(), self.place.get_mut(piece.index())) {
            debug_assert_eq!(last, piece, "the piece sank to the end");
            *place = ABSENT;
        }
    }

    fn is_waiting(&self, piece: Piece) -> bool {
        self.place.get(piece.index()).is_some_and(|&place| place != ABSENT)
    }

    fn index_of(&self, piece: Piece) -> usize {
        self.place.get(piece.index()).copied().unwrap_or(ABSENT) as usize
    }

    /// Where bucket `level` begins; buckets that were never used begin at the end.
    fn start(&self, level: usize) -> usize {
        self.starts.get(level).map_or(self.order.len(), |&start| start as usize)
    }

    fn set_start(&mut self, level: usize, index: usize) {
        if let Some(start) = self.starts.get_mut(level) {
            *start = index as u32;
        }
    }

    /// Makes sure that `starts` has an entry for this level and one more as the end.
    fn ensure_bucket(&mut self, level: usize) {
        while self.starts.len() < level + 2 {
            self.starts.push(self.order.len() as u32);
        }
    }

    /// Exchanges the piece at `index`, new in its bucket, with a random one of the bucket, so that equals stay shuffled.
    fn mix(&mut self, index: usize, level: usize, rng: &mut Rng) {
        let (begin, end) = (self.start(level), self.start(level + 1));
        if begin < end {
            self.swap(index, begin + rng.index(end - begin));
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a != b {
            self.order.swap(a, b);
            self.note_place(a);
            self.note_place(b);
        }
    }

    fn note_place(&mut self, index: usize) {
        if let Some(place) = self.order.get(index).and_then(|piece| self.place.get_mut(piece.index())) {
            *place = index as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert_eq, proptest};
    use std::collections::BTreeSet;

    fn geometry(pieces: u32) -> Geometry {
        Geometry::new(u64::from(pieces), 1).unwrap()
    }

    fn set(geometry: &Geometry, pieces: &[u32]) -> Bitfield {
        let mut set = Bitfield::empty(geometry.piece_count());
        pieces.iter().for_each(|&n| assert!(set.insert(geometry.piece(n).unwrap())));
        set
    }

    /// A picker past its random start, where `counts[n]` leechers have piece `n`.
    fn picker(counts: &[u32], rng: &mut Rng) -> (Geometry, Picker) {
        let g = geometry(counts.len() as u32);
        let mut picker = Picker::new(&g, &Bitfield::empty(g.piece_count()), rng);
        picker.taken = RANDOM_FIRST;
        for piece in g.pieces() {
            (0..counts[piece.index()]).for_each(|_| picker.more(piece, rng));
        }
        (g, picker)
    }

    #[test]
    fn rarest_first_among_what_the_peer_has() {
        // (leechers that have each piece, what the peer has, whether it is a seed, pieces taken in order)
        let table: &[(&[u32], &[u32], bool, &[u32])] = &[
            (&[3, 1, 2], &[0, 1, 2], false, &[1, 2, 0]),
            (&[3, 1, 2], &[0, 2], false, &[2, 0]),
            (&[3, 0, 2], &[0, 1, 2], true, &[1, 2, 0]),
            (&[5, 4, 3, 2, 1], &[0, 1, 2, 3, 4], false, &[4, 3, 2, 1, 0]),
            (&[1, 1, 9], &[2], false, &[2]),
            (&[1, 1, 9], &[], false, &[]),
        ];
        for (counts, has, seed, wanted) in table {
            let mut rng = Rng::from_seed(1);
            let (g, mut picker) = picker(counts, &mut rng);
            let has = set(&g, has);
            let taken: Vec<u32> = core::iter::from_fn(|| picker.take(&has, !*seed, &mut rng)).map(Piece::number).collect();
            assert_eq!(&taken, wanted, "counts {counts:?}");
        }
    }

    #[test]
    fn equals_are_taken_in_another_order_by_another_client() {
        let order = |seed| {
            let mut rng = Rng::from_seed(seed);
            let (g, mut picker) = picker(&[2; 40], &mut rng);
            let all = Bitfield::full(g.piece_count());
            core::iter::from_fn(|| picker.take(&all, true, &mut rng)).map(Piece::number).collect::<Vec<u32>>()
        };
        assert_ne!(order(1), order(2));
        assert_eq!(order(1), order(1));
        assert_eq!(order(1).into_iter().collect::<BTreeSet<_>>().len(), 40);
    }

    #[test]
    fn the_first_pieces_are_random_even_when_one_is_rare() {
        let firsts: BTreeSet<u32> = (0..50)
            .map(|seed| {
                let mut rng = Rng::from_seed(seed);
                let (g, mut picker) = picker(&[1, 5, 5, 5, 5, 5, 5, 5], &mut rng);
                picker.taken = 0;
                picker.take(&Bitfield::full(g.piece_count()), true, &mut rng).unwrap().number()
            })
            .collect();
        assert!(firsts.len() > 5, "{firsts:?}");
    }

    fn check(picker: &Picker) {
        let levels: Vec<u32> = picker.order.iter().map(|piece| picker.availability[piece.index()]).collect();
        assert!(levels.is_sorted(), "{levels:?}");
        for (level, pair) in picker.starts.windows(2).enumerate() {
            for &l in &levels[pair[0] as usize..pair[1] as usize] {
                assert_eq!(l as usize, level);
            }
        }
        for (index, piece) in picker.order.iter().enumerate() {
            assert_eq!(picker.place[piece.index()] as usize, index);
        }
        assert_eq!(*picker.starts.last().unwrap() as usize, picker.order.len());
    }

    proptest! {
        #[test]
        fn buckets_stay_sorted_under_any_history(steps: Vec<(u8, u8)>, seed: u64) {
            let mut rng = Rng::from_seed(seed);
            let g = geometry(12);
            let all = Bitfield::full(12);
            let mut picker = Picker::new(&g, &Bitfield::empty(12), &mut rng);
            let mut open = BTreeSet::new();
            for (kind, n) in steps {
                let piece = g.piece(u32::from(n % 12)).unwrap();
                match kind % 4 {
                    0 => picker.more(piece, &mut rng),
                    1 => picker.less(piece, &mut rng),
                    2 => open.extend(picker.take(&all, false, &mut rng)),
                    _ => if open.remove(&piece) { picker.put_back(piece, &mut rng) },
                }
                check(&picker);
                prop_assert_eq!(picker.waiting() + open.len(), 12);
            }
        }
    }
}
