//! The owner of one torrent's pieces on their way to the disk.
//!
//! Decides: what is hashed, written and synced, and when. Must not know: threads, clocks, who sent a block.
//! Invariant: a piece is hashed before a byte of it is written; a verified piece is kept until it is written.

use crate::failed::Failed;
use crate::slices::Slices;
use crate::storage::{Storage, StoreError};
use crate::{Journal, Layout};
use bt_metainfo::PieceDigests;
use bt_types::{Block, Piece, StoreFault, Time, Verdict};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that may be written before they are synced.
const SYNC_BYTES: u64 = 64 << 20;
/// How long written bytes may stay unsynced.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// Pieces hashed side by side: a full batch.
const LANES: usize = 8;
/// Bytes of complete pieces that are a full batch too: large pieces are not kept in memory for the sake of lanes.
const LANE_BYTES: u64 = 8 << 20;
/// How long a complete piece waits for others to be hashed with.
const LANE_WAIT: Duration = Duration::from_millis(4);

/// What a worker is asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Keep a block of a piece. Its data is as long as the block says.
    Store {
        /// Which block.
        block: Block,
        /// Its bytes.
        data: Bytes,
    },
    /// Every block of the piece was stored: hash it, and write it if it is right.
    Check {
        /// Which piece.
        piece: Piece,
        /// Do not wait for other pieces to be hashed with it.
        urgent: bool,
    },
    /// Drop the blocks of a piece that will not be completed.
    Forget {
        /// Which piece.
        piece: Piece,
    },
    /// Write what a fault held back.
    Retry,
    /// Sync now.
    Sync,
    /// Nothing more will come: write, sync, and record a clean stop.
    Stop,
}

/// What a worker has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// A piece was hashed: it is good and written, or bad and dropped.
    Checked {
        /// Which piece.
        piece: Piece,
        /// What was found.
        verdict: Verdict,
    },
    /// A piece that was wrong before is right now; told just before that. These blocks were wrong when it failed last.
    Audited {
        /// The wrong blocks, in order.
        wrong: Vec<Block>,
    },
    /// The disk refused. Nothing is lost: the pieces are kept, and written after [`Order::Retry`]. Reported once for each try.
    Failed {
        /// The cause.
        fault: StoreFault,
        /// The file, and what the system said.
        detail: String,
        /// Verified pieces that wait to be written; each is still answered by a [`Done::Checked`].
        pieces: Vec<Piece>,
    },
}

/// Assembles, verifies and writes the pieces of one torrent.
#[derive(Debug)]
pub struct Worker {
    layout: Arc<Layout>,
    digests: Arc<PieceDigests>,
    journal: Journal,
    /// Blocks by their first byte, of pieces that are not complete.
    assembling: BTreeMap<Piece, BTreeMap<u32, Bytes>>,
    /// Complete pieces that wait to be hashed together, since the moment that the first one came.
    complete: Vec<(Piece, Vec<Bytes>)>,
    complete_since: Option<Time>,
    /// What is remembered of pieces that were wrong.
    failed: Failed,
    /// Pieces that are right and not yet written.
    verified: BTreeMap<Piece, Vec<Bytes>>,
    /// The disk refused, and nobody asked to try again.
    held: bool,
    /// For each file, whether it is known to exist in full length.
    ready: Vec<bool>,
    unsynced: Unsynced,
}

/// What was written since the last sync.
#[derive(Default, Debug)]
struct Unsynced {
    pieces: BTreeSet<Piece>,
    files: BTreeSet<usize>,
    bytes: u64,
    since: Option<Time>,
}

impl Worker {
    /// The worker of a torrent that was opened.
    pub fn new(layout: Arc<Layout>, digests: Arc<PieceDigests>, journal: Journal) -> Worker {
        let ready = vec![false; layout.files().len()];
        Worker {
            layout,
            digests,
            journal,
            assembling: BTreeMap::new(),
            complete: Vec::new(),
            complete_since: None,
            failed: Failed::default(),
            verified: BTreeMap::new(),
            held: false,
            ready,
            unsynced: Unsynced::default(),
        }
    }

    /// Carries out a batch, which may be empty when the deadline has passed.
    pub fn run(&mut self, now: Time, batch: Vec<Order>, storage: &dyn Storage) -> Vec<Done> {
        let mut done = Vec::new();
        let (mut urgent, mut sync, mut stop) = (false, false, false);
        for order in batch {
            match order {
                Order::Store { block, data } => {
                    self.assembling.entry(block.piece()).or_default().insert(block.begin(), data);
                }
                Order::Check { piece, urgent: hurry } => {
                    let blocks = self.assembling.remove(&piece).unwrap_or_default();
                    self.complete.push((piece, blocks.into_values().collect()));
                    self.complete_since.get_or_insert(now);
                    urgent |= hurry;
                }
                Order::Forget { piece } => {
                    self.assembling.remove(&piece);
                }
                Order::Retry => self.held = false,
                Order::Sync => sync = true,
                Order::Stop => stop = true,
            }
        }
        let due = if urgent || stop { self.complete.len() } else { self.batch_due(now) };
        if due > 0 {
            self.hash(due, now, &mut done);
        }
        if !self.held || stop {
            self.write(now, storage, &mut done);
        }
        if sync || stop || self.is_sync_due(now) {
            self.sync(now, storage, &mut done);
        }
        if stop {
            self.stop(storage, &mut done);
        }
        done
    }

    /// When `run` must be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        self.sync_deadline().into_iter().chain(self.batch_deadline()).min()
    }

    fn sync_deadline(&self) -> Option<Time> {
        self.unsynced.since.map(|since| since + SYNC_INTERVAL)
    }

    fn batch_deadline(&self) -> Option<Time> {
        self.complete_since.map(|since| since + LANE_WAIT)
    }

    /// How many of the complete pieces wait no longer: those that fill lanes; all if they are large, nothing that could join them is
    /// under way, or it has been long enough.
    fn batch_due(&self, now: Time) -> usize {
        let (count, piece_length) = (self.complete.len(), u64::from(self.layout.geometry().piece_length()));
        let are_large = LANES as u64 * piece_length > LANE_BYTES && count as u64 * piece_length >= LANE_BYTES;
        let all = are_large || self.assembling.is_empty() || self.batch_deadline().is_some_and(|deadline| now >= deadline);
        if all { count } else { count - count % LANES }
    }

    fn is_sync_due(&self, now: Time) -> bool {
        self.unsynced.bytes >= SYNC_BYTES || self.sync_deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Hashes the first `count` complete pieces at once. Right ones wait to be written; wrong ones are dropped.
    fn hash(&mut self, count: usize, now: Time, done: &mut Vec<Done>) {
        let pieces: Vec<(Piece, Vec<Bytes>)> = self.complete.drain(..count).collect();
        self.complete_since = (!self.complete.is_empty()).then_some(now);
        let messages: Vec<Vec<&[u8]>> = pieces.iter().map(|(_, blocks)| blocks.iter().map(|data| &data[..]).collect()).collect();
        let messages: Vec<&[&[u8]]> = messages.iter().map(Vec::as_slice).collect();
        let mut digests = Vec::with_capacity(messages.len());
        bt_hash::digest_many(self.digests.algorithm(), &messages, &mut digests);
        for ((piece, blocks), digest) in pieces.into_iter().zip(digests) {
            if self.digests.matches(piece, &digest) {
                done.extend(self.failed.audit(self.layout.geometry(), piece, &blocks).map(|wrong| Done::Audited { wrong }));
                self.verified.insert(piece, blocks);
            } else {
                self.failed.remember(piece, &blocks);
                done.push(Done::Checked { piece, verdict: Verdict::Bad });
            }
        }
    }

    /// Writes the verified pieces in order, until the disk refuses.
    fn write(&mut self, now: Time, storage: &dyn Storage, done: &mut Vec<Done>) {
        let mut result = self.mark_dirty();
        while result.is_ok()
            && let Some((piece, blocks)) = self.verified.pop_first()
        {
            result = self.write_piece(piece, &blocks, storage);
            if result.is_ok() {
                self.unsynced.pieces.insert(piece);
                self.unsynced.bytes += u64::from(self.layout.geometry().piece_len(piece));
                self.unsynced.since.get_or_insert(now);
                done.push(Done::Checked { piece, verdict: Verdict::Good });
            } else {
                self.verified.insert(piece, blocks);
            }
        }
        if let Err(error) = result {
            self.held = true;
            done.push(self.failed(&error));
        }
    }

    /// Records what is about to be written, together with everything that is under way: that will be written soon, and one record
    /// does for all.
    fn mark_dirty(&mut self) -> Result<(), StoreError> {
        let dirty = &self.journal.known().dirty;
        if self.verified.keys().all(|piece| dirty.has(*piece)) {
            return Ok(());
        }
        let complete = self.complete.iter().map(|(piece, _)| piece);
        let pieces: Vec<Piece> = self.verified.keys().chain(complete).chain(self.assembling.keys()).copied().collect();
        self.journal.dirty(&pieces)
    }

    /// One vectored write for each file that the piece touches.
    fn write_piece(&mut self, piece: Piece, blocks: &[Bytes], storage: &dyn Storage) -> Result<(), StoreError> {
        let layout = Arc::clone(&self.layout);
        let mut slices = Slices::of(blocks);
        for span in layout.piece_spans(piece) {
            let data = slices.take(span.len as usize);
            if !span.file.is_stored {
                continue;
            }
            self.make_ready(span.index, storage)?;
            self.unsynced.files.insert(span.index);
            storage.write_at(&span.file.path, span.offset, &data).map_err(|error| {
                self.ready[span.index] = false;
                StoreError { path: span.file.path.clone(), source: error }
            })?;
        }
        Ok(())
    }

    /// Makes sure that a file exists in its full length, the unwritten part a hole. A file that held pieces and vanished is not
    /// made anew: it would look complete and be empty.
    fn make_ready(&mut self, index: usize, storage: &dyn Storage) -> Result<(), StoreError> {
        if self.ready[index] {
            return Ok(());
        }
        let file = &self.layout.files()[index];
        let held_pieces = || {
            let have = &self.journal.known().have;
            self.layout.pieces_of(file).any(|piece| have.has(piece) || self.unsynced.pieces.contains(&piece))
        };
        let prepare = || match storage.stat(&file.path)? {
            Some(stat) if stat.len >= file.length => Ok(()),
            Some(_) => storage.set_len(&file.path, file.length),
            None if held_pieces() => Err(io::ErrorKind::NotFound.into()),
            None => storage.create_new(&file.path).and_then(|()| storage.set_len(&file.path, file.length)),
        };
        prepare().map_err(StoreError::at(&file.path))?;
        self.ready[index] = true;
        Ok(())
    }

    /// Syncs the files, then records their pieces as "have". After a failed sync nobody knows what reached the disk: those pieces stay
    /// dirty in the journal and are hashed again at the next start.
    fn sync(&mut self, now: Time, storage: &dyn Storage, done: &mut Vec<Done>) {
        let Unsynced { pieces, files, .. } = std::mem::take(&mut self.unsynced);
        let sync = |index: &usize| {
            let path = &self.layout.files()[*index].path;
            storage.sync(path).map_err(StoreError::at(path))
        };
        if let Err(error) = files.iter().try_for_each(sync) {
            done.push(self.failed(&error));
            return;
        }
        let list: Vec<Piece> = pieces.iter().copied().collect();
        if let Err(error) = self.journal.have(&list) {
            // The data is safe and only the record is missing: try again at the next deadline.
            self.unsynced = Unsynced { pieces, since: Some(now), ..Unsynced::default() };
            done.push(self.failed(&error));
        }
    }

    fn stop(&mut self, storage: &dyn Storage, done: &mut Vec<Done>) {
        let result = crate::check::stat_files(&self.layout, storage).and_then(|stats| self.journal.clean_stop(stats));
        if let Err(error) = result {
            done.push(self.failed(&error));
        }
    }

    fn failed(&self, error: &StoreError) -> Done {
        Done::Failed { fault: error.fault(), detail: error.to_string(), pieces: self.verified.keys().copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Fixture;
    use crate::{FaultyStorage, MemStorage, Op, Progress, Trust, open_torrent};
    use proptest::prelude::*;
    use std::path::Path;

    const NOW: Time = Time::ZERO;

    fn worker(fixture: &Fixture) -> Worker {
        Worker::new(Arc::clone(&fixture.layout), Arc::clone(&fixture.digests), fixture.journal())
    }

    fn good(fixture: &Fixture, number: u32) -> Done {
        Done::Checked { piece: fixture.piece(number), verdict: Verdict::Good }
    }

    #[test]
    fn one_record_does_for_all_pieces_that_are_under_way() {
        let fixture = Fixture::new(&[3 * 32_768], 32_768);
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        let begun = |number| fixture.arrival(number).into_iter().take(1);
        worker.run(NOW, fixture.arrival(0).into_iter().chain(begun(2)).collect(), &storage);
        worker.run(NOW + LANE_WAIT, Vec::new(), &storage);
        assert_eq!(recorded(&fixture).1, [0, 2]);
    }

    fn recorded(fixture: &Fixture) -> (Vec<u32>, Vec<u32>) {
        let journal = fixture.journal();
        let numbers = |set: &bt_types::Bitfield| set.iter(fixture.layout.geometry()).map(Piece::number).collect();
        (numbers(&journal.known().have), numbers(&journal.known().dirty))
    }

    #[test]
    fn a_complete_piece_waits_for_company_but_not_long() {
        let fixture = Fixture::new(&[10 * 32_768], 32_768);
        let arrive = |number| fixture.arrival(number);
        // The first block of another piece: something is under way.
        let begun = |number: u32| fixture.arrival(number).into_iter().take(1);
        let late = NOW + LANE_WAIT;
        let hurry = |number| Order::Check { piece: fixture.piece(number), urgent: true };
        let urgent: Vec<Order> =
            arrive(0).into_iter().filter(|order| !matches!(order, Order::Check { .. })).chain([hurry(0)]).collect();
        // (orders, moment of a second look, pieces checked at once, pieces checked by then)
        let table = [
            ("alone", arrive(0), NOW, 1, 1),
            ("another is under way", arrive(0).into_iter().chain(begun(5)).collect(), NOW, 0, 0),
            ("but not for ever", arrive(0).into_iter().chain(begun(5)).collect(), late, 0, 1),
            ("a full batch", (0..8).flat_map(arrive).chain(begun(9)).collect(), NOW, 8, 8),
            ("the ninth waits", (0..9).flat_map(arrive).chain(begun(9)).collect(), late, 8, 9),
            ("urgent", urgent.into_iter().chain(begun(5)).collect(), NOW, 1, 1),
        ];
        for (what, orders, then, at_once, by_then) in table {
            let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
            let first = worker.run(NOW, orders, &storage).len();
            assert!(first > 0 || worker.deadline() == Some(late), "{what}");
            let second = worker.run(then, Vec::new(), &storage).len();
            assert_eq!((first, first + second), (at_once, by_then), "{what}");
        }
    }

    #[test]
    fn good_pieces_reach_their_files_and_bad_ones_reach_nothing() {
        let fixture = Fixture::new(&[3, 0, 40_000, 70_000], 32_768);
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        let mut orders = fixture.arrival(0);
        let mut spoilt = Vec::new();
        if let Some(Order::Store { block, data }) = orders.first_mut() {
            let mut wrong = data.to_vec();
            wrong[7] ^= 1;
            *data = wrong.into();
            spoilt.push(*block);
        }
        let bad = Done::Checked { piece: fixture.piece(0), verdict: Verdict::Bad };
        assert_eq!(worker.run(NOW, orders, &storage), [bad]);
        assert_eq!(storage.content(&fixture.path(0)), None, "not even a file");

        let all: Vec<Order> = [3, 1, 0, 2].into_iter().flat_map(|number| fixture.arrival(number)).collect();
        let done = [0, 1, 2, 3].map(|number| good(&fixture, number));
        assert_eq!(worker.run(NOW, all, &storage), [&[Done::Audited { wrong: spoilt }], &done[..]].concat());
        for file in [0, 2, 3] {
            assert_eq!(storage.content(&fixture.path(file)).unwrap(), fixture.content(file));
        }
    }

    #[test]
    fn a_check_without_all_blocks_is_bad_and_a_forgotten_piece_is_gone() {
        let fixture = Fixture::new(&[40_000], 32_768);
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        let bad = Done::Checked { piece: fixture.piece(0), verdict: Verdict::Bad };
        assert_eq!(worker.run(NOW, fixture.arrival(0).split_off(1), &storage), std::slice::from_ref(&bad));
        let mut orders = fixture.arrival(0);
        let check = orders.pop().unwrap();
        orders.extend([Order::Forget { piece: fixture.piece(0) }, check]);
        assert_eq!(worker.run(NOW, orders, &storage), [bad]);
    }

    #[test]
    fn when_a_piece_is_right_at_last_it_is_known_which_blocks_were_wrong() {
        let fixture = Fixture::new(&[4 * 65_536], 65_536);
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        let mut orders = fixture.arrival(1);
        let mut wrong = Vec::new();
        for (n, order) in orders.iter_mut().enumerate() {
            if let (Order::Store { block, data }, true) = (order, n == 0 || n == 2) {
                *data = Bytes::from(vec![0; data.len()]);
                wrong.push(*block);
            }
        }
        wrong.sort_unstable();
        let bad = Done::Checked { piece: fixture.piece(1), verdict: Verdict::Bad };
        assert_eq!(worker.run(NOW, orders, &storage), [bad]);
        assert_eq!(worker.run(NOW, fixture.arrival(1), &storage), [Done::Audited { wrong }, good(&fixture, 1)]);
        assert_eq!(worker.run(NOW, fixture.arrival(2), &storage), [good(&fixture, 2)]);
    }

    #[test]
    fn have_is_recorded_after_the_sync_and_not_before() {
        let fixture = Fixture::new(&[100_000], 16_384);
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        worker.run(NOW, fixture.arrival(0), &storage);
        assert_eq!(recorded(&fixture), (vec![], vec![0]));
        assert_eq!(worker.deadline(), Some(NOW + SYNC_INTERVAL));
        worker.run(Time::from_secs(4), fixture.arrival(1), &storage);
        assert_eq!(recorded(&fixture), (vec![], vec![0, 1]));
        worker.run(Time::from_secs(5), vec![], &storage);
        assert_eq!(recorded(&fixture), (vec![0, 1], vec![]));
        assert_eq!(worker.deadline(), None);
        worker.run(Time::from_secs(6), [fixture.arrival(2), vec![Order::Sync]].concat(), &storage);
        assert_eq!(recorded(&fixture), (vec![0, 1, 2], vec![]));
        storage.crash();
        assert!((0..3).all(|number| fixture.is_right(&storage, fixture.piece(number))), "it was synced indeed");
    }

    #[test]
    fn many_bytes_are_synced_before_the_time_is_up() {
        let fixture = Fixture::new(&[SYNC_BYTES + 1], 16 << 20);
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        for number in 0..3 {
            worker.run(NOW, fixture.arrival(number), &storage);
        }
        assert_eq!(recorded(&fixture).0, [0; 0]);
        worker.run(NOW, fixture.arrival(3), &storage);
        assert_eq!(recorded(&fixture).0, [0, 1, 2, 3]);
    }

    #[test]
    fn a_full_disk_holds_pieces_back_and_loses_none() {
        let fixture = Fixture::new(&[10_000, 60_000], 16_384);
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        storage.set_capacity(Some(24 << 10));
        let done = worker.run(NOW, [fixture.arrival(0), fixture.arrival(1)].concat(), &storage);
        let detail = "t/1: no storage space".to_owned();
        let failed = |pieces: &[u32]| Done::Failed {
            fault: StoreFault::NoSpace,
            detail: detail.clone(),
            pieces: pieces.iter().map(|&number| fixture.piece(number)).collect(),
        };
        assert_eq!(done, [good(&fixture, 0), failed(&[1])]);
        assert_eq!(worker.run(NOW, fixture.arrival(2), &storage), [], "held, and reported once");
        assert_eq!(worker.run(NOW, vec![Order::Retry], &storage), [failed(&[1, 2])]);
        storage.set_capacity(None);
        assert_eq!(worker.run(NOW, vec![Order::Retry], &storage), [good(&fixture, 1), good(&fixture, 2)]);
        assert!((0..3).all(|number| fixture.is_right(&storage, fixture.piece(number))));
    }

    #[test]
    fn a_file_that_vanished_is_a_fault_and_not_made_anew() {
        let fixture = Fixture::new(&[60_000], 16_384);
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        worker.run(NOW, fixture.arrival(0), &storage);
        storage.remove(&fixture.path(0)).unwrap();
        for orders in [fixture.arrival(1), vec![Order::Retry], vec![Order::Retry]] {
            let done = worker.run(NOW, orders, &storage);
            assert!(matches!(done[..], [Done::Failed { fault: StoreFault::Missing, .. }]), "{done:?}");
        }
    }

    #[test]
    fn after_a_failed_sync_pieces_stay_dirty() {
        let fixture = Fixture::new(&[60_000], 16_384);
        let storage = FaultyStorage::new(MemStorage::new(), |op, _| (op == Op::Sync).then(|| io::Error::from_raw_os_error(5)));
        let mut worker = worker(&fixture);
        let done = worker.run(NOW, [fixture.arrival(0), vec![Order::Sync]].concat(), &storage);
        assert!(matches!(done[..], [Done::Checked { .. }, Done::Failed { fault: StoreFault::Io, .. }]), "{done:?}");
        assert_eq!(recorded(&fixture), (vec![], vec![0]));
    }

    #[test]
    fn a_clean_stop_needs_no_hashing_afterwards() {
        let fixture = Fixture::new(&[10_000, 60_000], 16_384);
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        assert_eq!(worker.run(NOW, [fixture.arrival(0), vec![Order::Stop]].concat(), &storage), [good(&fixture, 0)]);
        let opened =
            open_torrent(&fixture.layout, &fixture.digests, fixture.journal(), &storage, Trust::Journal, &Progress::default())
                .unwrap();
        assert_eq!((opened.have.count(), opened.hashed, opened.adopted), (1, 0, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arrive(u32),
        Sync,
        Later,
        Full(bool),
        Crash,
        Stop,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..7u32).prop_map(Step::Arrive),
            1 => Just(Step::Sync),
            1 => Just(Step::Later),
            1 => any::<bool>().prop_map(Step::Full),
            1 => Just(Step::Crash),
            1 => Just(Step::Stop),
        ]
    }

    proptest! {
        /// The oracle of the whole store: whatever happens, a piece that an opened torrent has is right on the disk.
        #[test]
        fn what_is_had_is_right(steps in proptest::collection::vec(step(), 1..40)) {
            let fixture = Fixture::new(&[5_000, 0, 20_000, 3, 77_000], 16_384);
            let storage = MemStorage::new();
            let open = || {
                let opened = open_torrent(&fixture.layout, &fixture.digests, fixture.journal(), &storage, Trust::Journal, &Progress::default()).unwrap();
                let wrong = opened.have.iter(fixture.layout.geometry()).find(|&piece| !fixture.is_right(&storage, piece));
                assert_eq!(wrong, None, "opened with a wrong piece");
                (opened.have, Worker::new(Arc::clone(&fixture.layout), Arc::clone(&fixture.digests), opened.journal))
            };
            let (mut have, mut worker) = open();
            let mut now = NOW;
            for step in steps {
                let orders = match step {
                    Step::Arrive(number) if have.has(fixture.piece(number)) => vec![],
                    Step::Arrive(number) => fixture.arrival(number),
                    Step::Sync => vec![Order::Sync, Order::Retry],
                    Step::Later => {
                        now = now + SYNC_INTERVAL;
                        vec![]
                    }
                    Step::Full(full) => {
                        storage.set_capacity(full.then_some(40_000));
                        vec![Order::Retry]
                    }
                    Step::Crash => {
                        storage.crash();
                        fixture.state.crash();
                        (have, worker) = open();
                        vec![]
                    }
                    Step::Stop => vec![Order::Stop],
                };
                let stopped = orders == [Order::Stop];
                for done in worker.run(now, orders, &storage) {
                    if let Done::Checked { piece, verdict } = done {
                        prop_assert_eq!(verdict, Verdict::Good);
                        prop_assert!(fixture.is_right(&storage, piece));
                        have.insert(piece);
                    }
                }
                if stopped {
                    let before = have.clone();
                    (have, worker) = open();
                    prop_assert_eq!(&have, &before, "a clean stop keeps everything");
                }
            }
            prop_assert!(fixture.state.content(Path::new("journal")).is_some());
        }
    }
}
