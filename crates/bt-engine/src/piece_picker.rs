//! Picks the next piece to open: by priority, then rarest first, at random among equals (BEP 3), or
//! in order.
//!
//! Decides: the order of the pieces that no peer works on yet. Must not know: blocks, peers' names,
//! the store.
//! Invariant: `order` is sorted by bucket and `place` is its inverse; every update of a count moves
//! one piece by one bucket.

use alloc::vec;
use alloc::vec::Vec;
use bt_model::{PieceOrder, Priority};
use bt_types::{Bitfield, Geometry, Piece, Rng};
use core::ops::Range;

/// Pieces that are first taken at random, so that a newcomer soon has something to trade.
const RANDOM_FIRST: u32 = 4;
/// Pieces that are looked at one by one for a peer. A peer that has none of them has few pieces,
/// and those are searched instead.
const LOOK: usize = 64;
/// The bands of buckets, in their order. The last band holds the skipped pieces, which are never
/// taken.
const BANDS: [Priority; 4] = [Priority::High, Priority::Normal, Priority::Low, Priority::Skip];

/// The pieces that we lack and that are not open, sorted by priority and by how many connected
/// leechers have them.
#[derive(Debug)]
pub(crate) struct Picker {
    geometry: Geometry,
    /// The pieces, best first. Peers that have everything do not change the order and are not
    /// counted.
    order: Vec<Piece>,
    /// For each piece its index in `order`, or [`ABSENT`].
    place: Vec<u32>,
    /// For each piece the number of leechers that have it.
    availability: Vec<u32>,
    priority: Vec<Priority>,
    /// The pieces in each band.
    members: [Bitfield; 4],
    /// `starts[b]` is the index in `order` of the first piece of bucket `b` or a later bucket. A
    /// band has `levels` buckets, one for each number of leechers.
    starts: Vec<u32>,
    levels: usize,
    by: PieceOrder,
    /// The number of pieces that were ever taken.
    taken: u32,
}

const ABSENT: u32 = u32::MAX;

impl Picker {
    /// Makes a picker of all pieces that `have` lacks, with normal priority.
    pub(crate) fn new(geometry: &Geometry, have: &Bitfield, rng: &mut Rng) -> Picker {
        let count = geometry.piece_count();
        let mut picker = Picker {
            geometry: *geometry,
            order: geometry.pieces().filter(|&piece| !have.has(piece)).collect(),
            place: vec![ABSENT; count as usize],
            availability: vec![0; count as usize],
            priority: vec![Priority::Normal; count as usize],
            members: BANDS.map(|_| Bitfield::empty(count)),
            starts: Vec::new(),
            levels: 2,
            by: PieceOrder::RarestFirst,
            taken: have.count(),
        };
        picker.arrange(rng);
        picker
    }

    /// Sets the priorities of pieces; open pieces have them when they are put back.
    pub(crate) fn prioritise(
        &mut self,
        changes: impl Iterator<Item = (Range<u32>, Priority)>,
        rng: &mut Rng,
    ) {
        for (pieces, priority) in changes {
            let (start, end) =
                (pieces.start as usize, (pieces.end as usize).min(self.priority.len()));
            if let Some(pieces) = self.priority.get_mut(start..end) {
                pieces.fill(priority);
            }
        }
        self.arrange(rng);
    }

    /// Sets the order among pieces of the same priority. Returns whether that is a change.
    pub(crate) fn set_order(&mut self, by: PieceOrder) -> bool {
        core::mem::replace(&mut self.by, by) != by
    }

    pub(crate) fn priority(&self, piece: Piece) -> Priority {
        self.priority.get(piece.index()).copied().unwrap_or(Priority::Skip)
    }

    /// Counts one more leecher with this piece.
    pub(crate) fn more(&mut self, piece: Piece, rng: &mut Rng) {
        let Some(level) = self.availability.get_mut(piece.index()) else { return };
        *level += 1;
        let level = *level as usize;
        self.ensure_level(level);
        if self.is_waiting(piece) {
            // The last piece of its bucket changes places with it, and the bucket ends one earlier.
            let to = self.bucket_of(piece);
            let end = self.start(to) - 1;
            self.swap(self.index_of(piece), end);
            self.set_start(to, end);
            self.mix(end, to, rng);
        }
    }

    /// Counts one fewer leecher with this piece.
    pub(crate) fn less(&mut self, piece: Piece, rng: &mut Rng) {
        let Some(level) = self.availability.get_mut(piece.index()).filter(|level| **level > 0)
        else {
            return;
        };
        *level -= 1;
        if self.is_waiting(piece) {
            let to = self.bucket_of(piece);
            let begin = self.start(to + 1);
            self.swap(self.index_of(piece), begin);
            self.set_start(to + 1, begin + 1);
            self.mix(begin, to, rng);
        }
    }

    /// Takes the best piece for a peer that has the pieces of `has`, or `None` if none of them
    /// waits. `counted`: the peer's pieces are counted in the availability.
    pub(crate) fn take(&mut self, has: &Bitfield, counted: bool, rng: &mut Rng) -> Option<Piece> {
        let piece = (0..BANDS.len() - 1).find_map(|band| match self.by {
            PieceOrder::Sequential => self.members.get(band)?.common(has, &self.geometry).next(),
            PieceOrder::RarestFirst => self.rarest(band, has, counted, rng),
        })?;
        self.remove(piece);
        self.taken += 1;
        Some(piece)
    }

    /// Returns the rarest piece of the band among those in `has`.
    fn rarest(&self, band: usize, has: &Bitfield, counted: bool, rng: &mut Rng) -> Option<Piece> {
        // Only a peer that is not counted can have a piece that no counted peer has.
        let first = self.start(self.bucket(band, u32::from(counted)));
        let candidates = self.order.get(first..self.start(self.bucket(band + 1, 0)))?;
        if candidates.is_empty() {
            return None;
        }
        let turn = if self.taken < RANDOM_FIRST { rng.index(candidates.len()) } else { 0 };
        let (before, after) = candidates.split_at_checked(turn)?;
        let front = after.iter().chain(before).take(LOOK).copied().find(|&piece| has.has(piece));
        front.or_else(|| {
            // The places of its pieces give the same order as a walk along all places.
            let steps =
                |index: usize| if index < turn { index + after.len() } else { index - turn };
            let theirs = self.members.get(band)?.common(has, &self.geometry);
            let placed = theirs
                .filter_map(|piece| Some((steps(self.index_of(piece).checked_sub(first)?), piece)));
            placed.min_by_key(|(steps, _)| *steps).map(|(_, piece)| piece)
        })
    }

    /// Takes this piece, if it waits and is not skipped.
    pub(crate) fn take_this(&mut self, piece: Piece) -> bool {
        let waits = self.is_waiting(piece) && self.priority(piece) > Priority::Skip;
        if waits {
            self.remove(piece);
            self.taken += 1;
        }
        waits
    }

    /// Returns whether a waiting piece is as urgent and as rare as any other waiting piece.
    pub(crate) fn is_first(&self, piece: Piece) -> bool {
        let best = self.order.first().map(|&first| self.bucket_of(first));
        self.by == PieceOrder::RarestFirst
            && self.is_waiting(piece)
            && best.is_some_and(|best| self.bucket_of(piece) <= best)
    }

    /// Puts a taken piece back, because it is lacking again.
    pub(crate) fn put_back(&mut self, piece: Piece, rng: &mut Rng) {
        if self.is_waiting(piece) {
            return;
        }
        // Append it, then let it move down bucket by bucket to its own bucket.
        let bucket = self.bucket_of(piece);
        self.order.push(piece);
        self.note_place(self.order.len() - 1);
        let top = self.starts.len() - 1;
        if let Some(end) = self.starts.last_mut() {
            *end += 1;
        }
        let mut at = self.index_of(piece);
        let mut starts = core::mem::take(&mut self.starts);
        for start in starts.get_mut(bucket + 1..top).unwrap_or_default().iter_mut().rev() {
            self.swap(at, *start as usize);
            at = *start as usize;
            *start += 1;
        }
        self.starts = starts;
        if let Some(members) = self.members_with(piece) {
            members.insert(piece);
        }
        self.mix(self.index_of(piece), bucket, rng);
    }

    /// Returns how many leechers have this piece.
    pub(crate) fn availability(&self, piece: Piece) -> u32 {
        self.availability.get(piece.index()).copied().unwrap_or(0)
    }

    /// Returns whether a piece waits that no leecher has.
    pub(crate) fn has_unseen(&self) -> bool {
        let is_unseen = |band| self.start(self.bucket(band, 1)) > self.start(self.bucket(band, 0));
        (0..BANDS.len() - 1).any(is_unseen)
    }

    /// Counts the waiting pieces, without skipped ones.
    pub(crate) fn waiting(&self) -> usize {
        self.start(self.bucket(BANDS.len() - 1, 0))
    }

    /// Shuffles all pieces and sorts them anew.
    fn arrange(&mut self, rng: &mut Rng) {
        let mut order = core::mem::take(&mut self.order);
        rng.shuffle(&mut order);
        order.sort_by_key(|&piece| self.bucket_of(piece));
        let buckets = BANDS.len() * self.levels;
        let start = |bucket| order.partition_point(|&piece| self.bucket_of(piece) < bucket) as u32;
        self.starts = (0..=buckets).map(start).collect();
        self.order = order;
        self.members = BANDS.map(|_| Bitfield::empty(self.geometry.piece_count()));
        for index in 0..self.order.len() {
            self.note_place(index);
            if let Some(&piece) = self.order.get(index)
                && let Some(members) = self.members_with(piece)
            {
                members.insert(piece);
            }
        }
    }

    fn remove(&mut self, piece: Piece) {
        let (mut at, above) = (self.index_of(piece), self.bucket_of(piece) + 1);
        let mut starts = core::mem::take(&mut self.starts);
        let mut above = starts.get_mut(above..).unwrap_or_default().iter_mut();
        while at + 1 < self.order.len()
            && let Some(start) = above.next()
        {
            *start -= 1;
            self.swap(at, *start as usize);
            at = *start as usize;
        }
        // It is the last piece, so the other buckets are empty: there are thousands at times.
        above.into_slice().fill(at as u32);
        self.starts = starts;
        if let (Some(last), Some(place)) = (self.order.pop(), self.place.get_mut(piece.index())) {
            debug_assert_eq!(last, piece, "the piece sank to the end");
            *place = ABSENT;
        }
        if let Some(members) = self.members_with(piece) {
            members.remove(piece);
        }
    }

    /// Returns the members of the piece's band.
    fn members_with(&mut self, piece: Piece) -> Option<&mut Bitfield> {
        let band = self.band_of(piece);
        self.members.get_mut(band)
    }

    fn is_waiting(&self, piece: Piece) -> bool {
        self.place.get(piece.index()).is_some_and(|&place| place != ABSENT)
    }

    fn index_of(&self, piece: Piece) -> usize {
        self.place.get(piece.index()).copied().unwrap_or(ABSENT) as usize
    }

    fn band_of(&self, piece: Piece) -> usize {
        Priority::High as usize - self.priority(piece) as usize
    }

    fn bucket_of(&self, piece: Piece) -> usize {
        self.bucket(self.band_of(piece), self.availability(piece))
    }

    fn bucket(&self, band: usize, level: u32) -> usize {
        band * self.levels + level as usize
    }

    /// Returns the index at which a bucket begins.
    fn start(&self, bucket: usize) -> usize {
        self.starts.get(bucket).map_or(self.order.len(), |&start| start as usize)
    }

    fn set_start(&mut self, bucket: usize, index: usize) {
        if let Some(start) = self.starts.get_mut(bucket) {
            *start = index as u32;
        }
    }

    /// Makes sure that every band has a bucket for this level.
    fn ensure_level(&mut self, level: usize) {
        if level >= self.levels {
            let levels = level + 1;
            let end_of = |band: usize| (band + 1) * self.levels;
            // The new buckets are empty: each begins where its band ends.
            let old = |bucket: usize| {
                (bucket % levels + bucket / levels * self.levels).min(end_of(bucket / levels))
            };
            self.starts =
                (0..=BANDS.len() * levels).map(|bucket| self.start(old(bucket)) as u32).collect();
            self.levels = levels;
        }
    }

    /// Exchanges the piece at `index`, new in its bucket, with a random piece of the bucket, so
    /// that equals stay shuffled.
    fn mix(&mut self, index: usize, bucket: usize, rng: &mut Rng) {
        let (begin, end) = (self.start(bucket), self.start(bucket + 1));
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
        if let Some(place) =
            self.order.get(index).and_then(|piece| self.place.get_mut(piece.index()))
        {
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

    /// Makes a picker past its random start, where `counts[n]` leechers have piece `n`.
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
        // (leechers that have each piece, what the peer has, whether it is a seed, pieces taken in
        // order)
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
            let taken: Vec<u32> = core::iter::from_fn(|| picker.take(&has, !*seed, &mut rng))
                .map(Piece::number)
                .collect();
            assert_eq!(&taken, wanted, "counts {counts:?}");
        }
    }

    #[test]
    fn equals_are_taken_in_another_order_by_another_client() {
        let order = |seed| {
            let mut rng = Rng::from_seed(seed);
            let (g, mut picker) = picker(&[2; 40], &mut rng);
            let all = Bitfield::full(g.piece_count());
            core::iter::from_fn(|| picker.take(&all, true, &mut rng))
                .map(Piece::number)
                .collect::<Vec<u32>>()
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

    #[test]
    fn priorities_come_before_rarity_and_skipped_pieces_never() {
        use Priority::{High, Low, Normal, Skip};
        // (leechers that have each piece, their priorities, pieces taken in order from a seed:
        // rarest first, and in order)
        let table: &[(&[u32], &[Priority], &[u32], &[u32])] = &[
            (&[3, 1, 2], &[High, Normal, Normal], &[0, 1, 2], &[0, 1, 2]),
            (&[3, 1, 2], &[Low, Low, Normal], &[2, 1, 0], &[2, 0, 1]),
            (&[3, 1, 2], &[Normal, Skip, Normal], &[2, 0], &[0, 2]),
            (&[4, 3, 2, 1], &[High, Normal, High, Low], &[2, 0, 1, 3], &[0, 2, 1, 3]),
            (&[1, 1], &[Skip, Skip], &[], &[]),
        ];
        for (counts, priorities, rarest, in_order) in table {
            for (by, wanted) in
                [(PieceOrder::RarestFirst, rarest), (PieceOrder::Sequential, in_order)]
            {
                let mut rng = Rng::from_seed(1);
                let (g, mut picker) = picker(counts, &mut rng);
                for (n, &priority) in (0..).zip(*priorities) {
                    picker.prioritise([(n..n + 1, priority)].into_iter(), &mut rng);
                }
                picker.set_order(by);
                assert_eq!(picker.waiting(), wanted.len());
                let all = Bitfield::full(g.piece_count());
                let taken: Vec<u32> = core::iter::from_fn(|| picker.take(&all, false, &mut rng))
                    .map(Piece::number)
                    .collect();
                assert_eq!(&taken, wanted, "{counts:?} {priorities:?} {by:?}");
            }
        }
    }

    #[test]
    fn what_a_peer_with_few_pieces_has_is_found_in_the_same_order() {
        let mut rng = Rng::from_seed(1);
        let (g, mut picker) = picker(&[2; 1000], &mut rng);
        let few = set(&g, &[7, 400, 401, 999]);
        let walk: Vec<Piece> =
            picker.order.iter().copied().filter(|&piece| few.has(piece)).collect();
        let taken: Vec<Piece> = core::iter::from_fn(|| picker.take(&few, true, &mut rng)).collect();
        assert_eq!(taken, walk);
    }

    fn check(picker: &Picker) {
        let buckets: Vec<usize> =
            picker.order.iter().map(|&piece| picker.bucket_of(piece)).collect();
        assert!(buckets.is_sorted(), "{buckets:?}");
        assert_eq!(picker.starts.len(), BANDS.len() * picker.levels + 1);
        for (bucket, pair) in picker.starts.windows(2).enumerate() {
            assert!(buckets[pair[0] as usize..pair[1] as usize].iter().all(|&b| b == bucket));
        }
        for (index, &piece) in picker.order.iter().enumerate() {
            assert_eq!(picker.place[piece.index()] as usize, index);
            assert!(picker.members[picker.band_of(piece)].has(piece));
        }
        assert_eq!(
            picker.members.iter().map(Bitfield::count).sum::<u32>() as usize,
            picker.order.len()
        );
    }

    proptest! {
        /// Compares with a model: a set of pieces, their counts and priorities, and the rule
        /// itself.
        #[test]
        fn the_best_piece_is_taken_after_any_history(steps: Vec<(u8, u8, u8)>, few: u16, seed: u64, in_order: bool) {
            let mut rng = Rng::from_seed(seed);
            let g = geometry(12);
            let mut picker = Picker::new(&g, &Bitfield::empty(12), &mut rng);
            picker.taken = RANDOM_FIRST;
            picker.set_order(if in_order { PieceOrder::Sequential } else { PieceOrder::RarestFirst });
            let (mut waiting, mut counts, mut priorities) = ((0..12).collect::<BTreeSet<u32>>(), [0u32; 12], [Priority::Normal; 12]);
            for (kind, n, to) in steps {
                let n = u32::from(n % 12);
                let (piece, at) = (g.piece(n).unwrap(), n as usize);
                match kind % 6 {
                    0 | 1 => { picker.more(piece, &mut rng); counts[at] += 1; }
                    2 => { picker.less(piece, &mut rng); counts[at] = counts[at].saturating_sub(1); }
                    3 => {
                        let has = set(&g, &(0..12).filter(|n| (few.rotate_left(to.into()) >> n) & 1 == 1).collect::<Vec<_>>());
                        let usable = waiting.iter().copied().filter(|&n| has.has(g.piece(n).unwrap()));
                        let rank = |n: u32| {
                            let order = if in_order { n } else { counts[n as usize] };
                            (core::cmp::Reverse(priorities[n as usize]), order)
                        };
                        let best = usable.filter(|&n| priorities[n as usize] > Priority::Skip).map(rank).min();
                        let taken = picker.take(&has, false, &mut rng).map(Piece::number);
                        prop_assert_eq!(taken.map(rank), best);
                        taken.map(|n| waiting.remove(&n));
                    }
                    4 => { picker.put_back(piece, &mut rng); waiting.insert(n); }
                    _ => {
                        let priority = BANDS[usize::from(to % 4)];
                        picker.prioritise([(n..n + 2, priority)].into_iter(), &mut rng);
                        priorities[at..(at + 2).min(12)].fill(priority);
                    }
                }
                check(&picker);
                let wanted = waiting.iter().filter(|&&n| priorities[n as usize] > Priority::Skip).count();
                prop_assert_eq!((picker.waiting(), picker.order.len()), (wanted, waiting.len()));
            }
        }
    }
}
