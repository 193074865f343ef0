//! The owner of one torrent's pieces on their way to the disk.
//!
//! Decides: what is hashed, written and synced, and when. Must not know: threads, clocks, who sent a block.
//! Invariant: a piece is hashed before a byte of it is written; a verified piece is kept until it is written.

use crate::doubt::Doubts;
use crate::failed::{self, Failed};
use crate::long::{CHUNK, LongPieces};
use crate::slices::Slices;
use crate::storage::{Stat, Storage, StoreError};
use crate::{Journal, Layout, LayoutFile};
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

/// Bytes of complete pieces that are a full batch too: large pieces are not kept in memory for the sake of lanes.
const LANE_BYTES: u64 = 16 << 20;
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
    /// Blocks of these pieces will come: what is recorded of them together need not be recorded one by one.
    Expect {
        /// Which pieces.
        pieces: Vec<Piece>,
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
    /// A block of the piece could not be read, as a file of it changed, or is not there.
    Doubt {
        /// Which piece.
        piece: Piece,
    },
    /// Write what a fault held back, and look again at files that somebody else changed.
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
    /// So many bytes of a piece that is too long for memory are in a file: they are not held any more.
    OnDisk {
        /// Which piece.
        piece: Piece,
        /// Bytes.
        bytes: u64,
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
    /// Pieces that this processor hashes side by side: a full batch.
    lanes: usize,
    journal: Journal,
    /// Blocks by their first byte, of pieces that are not complete.
    assembling: BTreeMap<Piece, BTreeMap<u32, Bytes>>,
    /// Pieces that will come.
    expected: BTreeSet<Piece>,
    /// Complete pieces that wait to be hashed together, since the moment that the first one came.
    complete: Vec<(Piece, Vec<Bytes>)>,
    complete_since: Option<Time>,
    /// Pieces that are too long for memory.
    long: LongPieces,
    /// What is remembered of pieces that were wrong.
    failed: Failed,
    /// Pieces that are right and not yet written. Long ones have their blocks elsewhere.
    verified: BTreeMap<Piece, Vec<Bytes>>,
    /// The disk refused, and nobody asked to try again.
    held: bool,
    /// For each file, whether it is known to exist in full length.
    ready: Vec<bool>,
    /// A file that holds pieces. Where it is gone, its disk is, and no other file is made.
    witness: Option<usize>,
    unsynced: Unsynced,
    doubts: Doubts,
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
        let first = journal.known().have.iter(layout.geometry()).next();
        let witness = first.and_then(|piece| layout.piece_spans(piece).find(|span| span.file.is_stored).map(|span| span.index));
        let long = LongPieces::new(digests.algorithm(), *layout.geometry(), journal.torrent());
        Worker {
            layout,
            lanes: bt_hash::lanes(digests.algorithm()),
            digests,
            journal,
            assembling: BTreeMap::new(),
            expected: BTreeSet::new(),
            complete: Vec::new(),
            complete_since: None,
            long,
            failed: Failed::default(),
            verified: BTreeMap::new(),
            held: false,
            ready,
            witness,
            unsynced: Unsynced::default(),
            doubts: Doubts::default(),
        }
    }

    /// Carries out a batch, which may be empty when the deadline has passed.
    pub fn run(&mut self, now: Time, batch: Vec<Order>, storage: &dyn Storage) -> Vec<Done> {
        let mut done = Vec::new();
        let (mut urgent, mut sync, mut stop, mut retry) = (false, false, false, false);
        for order in batch {
            match order {
                Order::Store { block, data } if self.has_long_pieces() => self.store_long(block, data, storage, &mut done),
                Order::Store { block, data } => {
                    self.assembling.entry(block.piece()).or_default().insert(block.begin(), data);
                }
                Order::Expect { pieces } => self.expected.extend(pieces),
                Order::Check { piece, urgent: hurry } => {
                    self.expected.remove(&piece);
                    if self.long.postpones(piece) {
                        continue;
                    }
                    let blocks = self.assembling.remove(&piece).unwrap_or_default();
                    self.complete.push((piece, blocks.into_values().collect()));
                    self.complete_since.get_or_insert(now);
                    urgent |= hurry;
                }
                Order::Forget { piece } => {
                    self.expected.remove(&piece);
                    self.assembling.remove(&piece);
                    self.long.forget(piece, storage);
                }
                Order::Doubt { piece } => self.doubt(piece, storage),
                Order::Retry => retry = true,
                Order::Sync => sync = true,
                Order::Stop => stop = true,
            }
        }
        if retry {
            self.held = false;
            self.retry_long(storage, &mut done);
            self.look_again(storage, &mut done);
        }
        self.doubts.step(&self.layout, &self.digests, storage);
        let due = if urgent || stop { self.complete.len() } else { self.batch_due(now) };
        if due > 0 {
            self.hash(due, now, storage, &mut done);
        }
        if !self.held || stop {
            self.write(now, storage, &mut done);
        }
        if sync || stop || self.is_sync_due(now) {
            self.sync(now, storage, &mut done);
        }
        if stop {
            if self.has_long_pieces() {
                self.long.clear(storage);
            }
            self.stop(storage, &mut done);
        }
        done
    }

    /// When `run` must be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let at_once = self.doubts.is_looking().then_some(Time::ZERO);
        at_once.or_else(|| self.sync_deadline().into_iter().chain(self.batch_deadline()).min())
    }

    /// Whether a file that somebody else changed was not found right since.
    pub fn is_in_doubt(&self) -> bool {
        !self.doubts.is_empty()
    }

    fn doubt(&mut self, piece: Piece, storage: &dyn Storage) {
        let files = || self.layout.piece_spans(piece).filter(|span| span.file.is_stored);
        let is_changed = |path| storage.is_changed(path).unwrap_or(true);
        let changed: Vec<usize> = files().filter(|span| is_changed(&span.file.path)).map(|span| span.index).collect();
        // If none of them changed, one is too short: it was so when it was believed.
        let all = || files().map(|span| span.index).collect();
        for index in if changed.is_empty() { all() } else { changed } {
            self.doubts.add(index);
        }
    }

    fn look_again(&mut self, storage: &dyn Storage, done: &mut Vec<Done>) {
        let had = |piece| self.journal.known().have.has(piece) || self.unsynced.pieces.contains(&piece);
        if let Some(error) = self.doubts.retry(&self.layout, storage, had) {
            done.push(self.failed(&error));
        }
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
        let are_large = self.lanes as u64 * piece_length > LANE_BYTES && count as u64 * piece_length >= LANE_BYTES;
        let all = are_large || self.assembling.is_empty() || self.batch_deadline().is_some_and(|deadline| now >= deadline);
        if all { count } else { count - count % self.lanes }
    }

    fn is_sync_due(&self, now: Time) -> bool {
        self.unsynced.bytes >= SYNC_BYTES || self.sync_deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Hashes the first `count` complete pieces at once. Right ones wait to be written; wrong ones are dropped.
    fn hash(&mut self, count: usize, now: Time, storage: &dyn Storage, done: &mut Vec<Done>) {
        let pieces: Vec<(Piece, Vec<Bytes>)> = self.complete.drain(..count).collect();
        self.complete_since = (!self.complete.is_empty()).then_some(now);
        if self.has_long_pieces() {
            return pieces.into_iter().for_each(|(piece, _)| self.check_long(piece, storage, done));
        }
        let messages: Vec<Vec<&[u8]>> = pieces.iter().map(|(_, blocks)| blocks.iter().map(|data| &data[..]).collect()).collect();
        let messages: Vec<&[&[u8]]> = messages.iter().map(Vec::as_slice).collect();
        let mut digests = Vec::with_capacity(messages.len());
        bt_hash::digest_many(self.digests.algorithm(), &messages, &mut digests);
        for ((piece, blocks), digest) in pieces.into_iter().zip(digests) {
            if self.digests.matches(piece, &digest) {
                let blocks_digests = if self.failed.has(piece) { failed::digests(&blocks) } else { Vec::new() };
                let wrong = self.failed.audit(self.layout.geometry(), piece, &blocks_digests);
                done.extend(wrong.map(|wrong| Done::Audited { wrong }));
                self.verified.insert(piece, blocks);
            } else {
                self.failed.remember(piece, failed::digests(&blocks));
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
            result = if self.has_long_pieces() {
                self.write_long(piece, storage)
            } else {
                self.write_range(piece, 0, &blocks, storage)
            };
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

    // ---- pieces that are too long for memory ----

    fn has_long_pieces(&self) -> bool {
        self.layout.geometry().has_long_pieces()
    }

    fn store_long(&mut self, block: Block, data: Bytes, storage: &dyn Storage, done: &mut Vec<Done>) {
        match self.long.store(block, data, storage) {
            // It waits behind one that the disk refused.
            Ok(()) if self.held => {}
            Ok(()) => on_disk(block.piece(), u64::from(block.len()), done),
            Err(error) => {
                self.held = true;
                done.push(self.failed(&error));
            }
        }
    }

    fn retry_long(&mut self, storage: &dyn Storage, done: &mut Vec<Done>) {
        match self.long.retry(storage) {
            Ok(written) => {
                written.into_iter().for_each(|(piece, bytes)| on_disk(piece, bytes, done));
                self.complete.extend(self.long.take_postponed().into_iter().map(|piece| (piece, Vec::new())));
            }
            Err(error) => {
                self.held = true;
                done.push(self.failed(&error));
            }
        }
    }

    /// Compares the digest of a long piece. A wrong one is let go of.
    fn check_long(&mut self, piece: Piece, storage: &dyn Storage, done: &mut Vec<Done>) {
        let is_good = self.long.digest(piece).is_some_and(|digest| self.digests.matches(piece, &digest));
        // Who sent what is told apart only if every block can be read back.
        if is_good
            && self.failed.has(piece)
            && let Ok(digests) = self.long.block_digests(piece, storage)
        {
            let wrong = self.failed.audit(self.layout.geometry(), piece, &digests);
            done.extend(wrong.map(|wrong| Done::Audited { wrong }));
        }
        if is_good {
            self.verified.insert(piece, Vec::new());
            return;
        }
        if let Ok(digests) = self.long.block_digests(piece, storage) {
            self.failed.remember(piece, digests);
        }
        self.long.forget(piece, storage);
        done.push(Done::Checked { piece, verdict: Verdict::Bad });
    }

    /// Copies a verified piece to its files.
    fn write_long(&mut self, piece: Piece, storage: &dyn Storage) -> Result<(), StoreError> {
        let end = self.layout.geometry().piece_len(piece);
        for begin in (0..end).step_by(CHUNK as usize) {
            let part = self.long.read(piece, begin, CHUNK.min(end - begin), storage)?;
            self.write_range(piece, begin, &[part], storage)?;
        }
        self.long.forget(piece, storage);
        Ok(())
    }

    /// Records what is about to be written, together with everything that is under way: that will be written soon, and one record
    /// does for all.
    fn mark_dirty(&mut self) -> Result<(), StoreError> {
        let dirty = &self.journal.known().dirty;
        if self.verified.keys().all(|piece| dirty.has(*piece)) {
            return Ok(());
        }
        let complete = self.complete.iter().map(|(piece, _)| piece);
        let under_way = complete.chain(self.assembling.keys()).chain(&self.expected);
        let mut pieces: Vec<Piece> = self.verified.keys().chain(under_way).copied().collect();
        pieces.sort_unstable();
        pieces.dedup();
        self.journal.dirty(&pieces)
    }

    /// One vectored write for each file that a part of the piece touches.
    fn write_range(&mut self, piece: Piece, begin: u32, blocks: &[Bytes], storage: &dyn Storage) -> Result<(), StoreError> {
        let layout = Arc::clone(&self.layout);
        let mut slices = Slices::of(blocks);
        let len: usize = blocks.iter().map(Bytes::len).sum();
        for span in layout.spans(piece, begin, u32::try_from(len).unwrap_or(u32::MAX)) {
            let data = slices.take(span.len as usize);
            if !span.file.is_stored {
                continue;
            }
            self.make_ready(span.index, storage)?;
            self.unsynced.files.insert(span.index);
            storage.write_at(&span.file.path, span.offset, &data).map_err(|error| {
                self.ready[span.index] = false;
                let error = StoreError { path: span.file.path.clone(), source: error };
                if error.fault() == StoreFault::Changed {
                    self.doubts.add(span.index);
                }
                error
            })?;
            self.witness = Some(span.index);
        }
        Ok(())
    }

    /// Makes sure that a file exists in its full length, the unwritten part a hole. A file that held pieces and vanished is not
    /// made anew: it would look complete and be empty. Nor is any other where one vanished: it would lie where the disk was mounted.
    fn make_ready(&mut self, index: usize, storage: &dyn Storage) -> Result<(), StoreError> {
        if self.ready[index] {
            return Ok(());
        }
        let layout = Arc::clone(&self.layout);
        let file = &layout.files()[index];
        let here = StoreError::at(&file.path);
        match storage.stat(&file.path).map_err(StoreError::at(&file.path))? {
            Some(stat) if stat.len >= file.length => {}
            Some(_) => storage.set_len(&file.path, file.length).map_err(here)?,
            None if self.held_pieces(file) => return Err(here(io::ErrorKind::NotFound.into())),
            None => {
                self.ensure_witness(storage)?;
                storage.create_new(&file.path).and_then(|()| storage.set_len(&file.path, file.length)).map_err(here)?;
            }
        }
        self.ready[index] = true;
        Ok(())
    }

    fn held_pieces(&self, file: &LayoutFile) -> bool {
        let have = &self.journal.known().have;
        self.layout.pieces_of(file).any(|piece| have.has(piece) || self.unsynced.pieces.contains(&piece))
    }

    /// That what held pieces is still there: the witness, or another file in its place. Somebody may move one away as soon as it is
    /// whole.
    fn ensure_witness(&mut self, storage: &dyn Storage) -> Result<(), StoreError> {
        let Some(index) = self.witness else { return Ok(()) };
        let path = &self.layout.files()[index].path;
        if storage.stat(path).map_err(StoreError::at(path))?.is_some() {
            return Ok(());
        }
        let is_there = |file: &LayoutFile| self.held_pieces(file) && matches!(storage.stat(&file.path), Ok(Some(_)));
        let other = self.layout.stored().find(|(_, file)| is_there(file)).map(|(index, _)| index);
        self.witness = Some(other.ok_or_else(|| StoreError::at(path)(io::ErrorKind::NotFound.into()))?);
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
        } else if !list.is_empty() && self.is_complete() {
            // Nothing is written from here on: a seed that is killed is as good as one that was stopped.
            self.stop(storage, done);
        }
    }

    fn is_complete(&self) -> bool {
        let (wanted, have) = (self.layout.wanted(), &self.journal.known().have);
        wanted.common(have, self.layout.geometry()).count() == wanted.count() as usize
    }

    /// Notes what the files look like. One that somebody else changed is noted as nothing looks, so that the next start hashes it.
    fn stop(&mut self, storage: &dyn Storage, done: &mut Vec<Done>) {
        let result = crate::check::stat_files(&self.layout, storage).and_then(|mut stats| {
            for (index, file) in self.layout.stored().filter(|&(index, _)| stats[index].is_some()).collect::<Vec<_>>() {
                if storage.is_changed(&file.path).unwrap_or(true) {
                    stats[index] = Some(Stat::NONE);
                }
            }
            self.journal.clean_stop(stats)
        });
        if let Err(error) = result {
            done.push(self.failed(&error));
        }
    }

    fn failed(&self, error: &StoreError) -> Done {
        Done::Failed { fault: error.fault(), detail: error.to_string(), pieces: self.verified.keys().copied().collect() }
    }
}

/// Adds to what was told of the piece already.
fn on_disk(piece: Piece, bytes: u64, done: &mut Vec<Done>) {
    match done.last_mut() {
        Some(Done::OnDisk { piece: last, bytes: sum }) if *last == piece => *sum += bytes,
        _ => done.push(Done::OnDisk { piece, bytes }),
    }
}

#[cfg(test)]
mod tests;
