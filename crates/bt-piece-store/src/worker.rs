//! The worker of one torrent: brings its pieces to the disk.
//!
//! Decides: what is hashed, written and synced, and when.
//! Must not know: threads, clocks, which peer sent a block.
//! Invariant: a piece is hashed before a byte of it is written; a verified piece is kept until it
//! is written. The last wanted piece is good only when all are synced and no other program has
//! touched their files since the check.
//!
//! `worker/long_pieces.rs` has the differences for pieces that are too long for memory,
//! `worker/write.rs` writes. `worker/select.rs` changes which files are wanted.
//! `worker/settle.rs` syncs and settles a complete torrent. `worker/touched.rs` looks at files that
//! another program touched.

mod long_pieces;
mod select;
mod settle;
mod touched;
mod write;

pub(crate) use write::is_blank;

use crate::doubt::Doubts;
use crate::failed_blocks::{self, Failed};
use crate::identity::Noted;
use crate::long::LongPieces;
use crate::storage::{Storage, StoreError};
use crate::{Journal, Layout};
use bt_metainfo::PieceDigests;
use bt_types::{Bitfield, Block, Piece, PieceCheck, StoreFault, Time};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that may be written before they are synced.
const SYNC_BYTES: u64 = 64 << 20;
/// Longest time that written bytes stay unsynced.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes of complete pieces that are a full batch too: large pieces are not kept in memory just to
/// fill lanes.
const LANE_BYTES: u64 = 16 << 20;
/// Time that a complete piece waits for others to be hashed with. The record of a written piece
/// waits as long for other records.
const LANE_WAIT: Duration = Duration::from_millis(4);

/// An order to a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Keep a block of a piece. Its data is as long as the block says.
    Store {
        /// The block.
        block: Block,
        /// Its bytes.
        data: Bytes,
    },
    /// Every block of the piece was stored: hash it, and write it if it is right.
    Check {
        /// The piece.
        piece: Piece,
        /// Do not wait for other pieces to be hashed with it.
        urgent: bool,
    },
    /// Drop the blocks of a piece that will not be completed.
    Forget {
        /// The piece.
        piece: Piece,
    },
    /// A block of the piece could not be read, as a file of it changed or is missing.
    Doubt {
        /// The piece.
        piece: Piece,
    },
    /// Want these files, by their numbers in the torrent's list, and no others. Answered by
    /// [`Done::Selected`].
    Select {
        /// The numbers of the files.
        files: BTreeSet<usize>,
    },
    /// Write what a fault held back, and look again at files that another program changed.
    Retry,
    /// Sync now.
    Sync,
    /// Nothing more will come: write and sync.
    Stop,
}

/// A report of a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// A piece was hashed: it is good and written, or bad and dropped.
    Checked {
        /// The piece.
        piece: Piece,
        /// The result.
        verdict: PieceCheck,
    },
    /// Bytes of a piece that is too long for memory are in a file, and no longer in memory.
    OnDisk {
        /// The piece.
        piece: Piece,
        /// Bytes.
        bytes: u64,
    },
    /// A piece that failed before is right now; reported just before its `Checked`. These blocks
    /// were wrong when it last failed.
    Audited {
        /// The wrong blocks, in order.
        wrong: Vec<Block>,
    },
    /// Good pieces, or pieces about to be reported good, are lost: another program overwrote them,
    /// or the disk lost them.
    Lost {
        /// The pieces.
        pieces: Vec<Piece>,
    },
    /// These files are the wanted ones now. If nothing of them is missing, all of it is synced, and
    /// no other program has touched it since it was checked.
    Selected {
        /// The numbers of the files.
        files: BTreeSet<usize>,
    },
    /// The disk refused. Nothing is lost: the pieces are kept, and written after [`Order::Retry`].
    /// Reported once for each try.
    Failed {
        /// The cause.
        fault: StoreFault,
        /// The file, and the system's error text.
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
    /// Blocks by their first byte, of incomplete pieces.
    assembling: BTreeMap<Piece, BTreeMap<u32, Bytes>>,
    /// Complete pieces that wait to be hashed together, and the time at which the first one came.
    complete: Vec<(Piece, Vec<Bytes>)>,
    complete_since: Option<Time>,
    /// Pieces that are too long for memory.
    long: LongPieces,
    /// Digests of the blocks of failed pieces.
    failed: Failed,
    /// Right pieces that are not written yet. Long ones have their blocks elsewhere.
    verified: BTreeMap<Piece, Vec<Bytes>>,
    /// The disk refused, and no retry was ordered since.
    held: bool,
    /// How each file may be written.
    standing: Vec<Standing>,
    /// A file that holds pieces. If it is gone, its disk is, and no other file is made.
    witness: Option<usize>,
    unrecorded: Unrecorded,
    unsynced: Unsynced,
    doubts: Doubts,
    /// Pieces that hold a byte of a wanted file.
    wanted: Bitfield,
    /// Pieces that are wanted and not written.
    missing: Bitfield,
    /// A change of the wanted files that was not reported yet.
    selection: Option<BTreeSet<usize>>,
    /// The last pieces, written and not yet reported.
    last: Vec<Piece>,
    /// Files of which a sample was right since the last piece was written.
    sampled: BTreeSet<usize>,
    /// Number of looks at touched files: the sample differs from look to look.
    looks: u64,
}

/// How a file may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// It was not looked at, or a write to it failed.
    Unknown,
    /// It is ours, and has its full length.
    Ours,
    /// It may be the user's: its content is compared and never overwritten.
    Unproven,
}

/// What was written since the last record.
#[derive(Default, Debug)]
struct Unrecorded {
    pieces: Vec<Piece>,
    /// How the files looked after our last write.
    files: BTreeMap<usize, Noted>,
    since: Option<Time>,
}

/// What was written since the last sync.
#[derive(Default, Debug)]
struct Unsynced {
    pieces: BTreeSet<Piece>,
    files: BTreeSet<usize>,
    bytes: u64,
    since: Option<Time>,
    /// A sync failed: the written bytes may be neither on the disk nor in memory.
    is_unsafe: bool,
}

impl Worker {
    /// Makes the worker of a torrent that was opened.
    pub fn new(layout: Arc<Layout>, digests: Arc<PieceDigests>, journal: Journal) -> Worker {
        let have = &journal.known().have;
        let first = have.iter(layout.geometry()).next();
        let witness = first.and_then(|piece| {
            layout.piece_spans(piece).find(|span| span.file.is_stored).map(|span| span.index)
        });
        let long = LongPieces::new(digests.algorithm(), *layout.geometry(), journal.torrent());
        let wanted = layout.wanted();
        let mut missing = wanted.clone();
        have.iter(layout.geometry()).for_each(|piece| {
            missing.remove(piece);
        });
        Worker {
            standing: vec![Standing::Unknown; layout.files().len()],
            layout,
            lanes: bt_hash::lanes(digests.algorithm()),
            digests,
            journal,
            assembling: BTreeMap::new(),
            complete: Vec::new(),
            complete_since: None,
            long,
            failed: Failed::default(),
            verified: BTreeMap::new(),
            held: false,
            witness,
            unrecorded: Unrecorded::default(),
            unsynced: Unsynced::default(),
            doubts: Doubts::default(),
            wanted,
            missing,
            selection: None,
            last: Vec::new(),
            sampled: BTreeSet::new(),
            looks: 0,
        }
    }

    /// Carries out a batch, which may be empty when the deadline has passed.
    pub fn run(&mut self, now: Time, batch: Vec<Order>, storage: &dyn Storage) -> Vec<Done> {
        let mut done = Vec::new();
        let (mut urgent, mut sync, mut stop, mut retry) = (false, false, false, false);
        for order in batch {
            match order {
                Order::Store { block, data } if self.has_long_pieces() => {
                    self.store_long(block, data, storage, &mut done)
                }
                Order::Store { block, data } => {
                    self.assembling.entry(block.piece()).or_default().insert(block.begin(), data);
                }
                Order::Check { piece, urgent: hurry } => {
                    if self.long.postpones(piece) {
                        continue;
                    }
                    let blocks = self.assembling.remove(&piece).unwrap_or_default();
                    self.complete.push((piece, blocks.into_values().collect()));
                    self.complete_since.get_or_insert(now);
                    urgent |= hurry;
                }
                Order::Forget { piece } => {
                    self.assembling.remove(&piece);
                    self.long.forget(piece, storage);
                }
                Order::Doubt { piece } => self.doubt(piece, storage),
                Order::Select { files } => self.select(files, storage, &mut done),
                Order::Retry => retry = true,
                Order::Sync => sync = true,
                Order::Stop => stop = true,
            }
        }
        self.held &= !retry;
        if retry {
            self.retry_long(storage, &mut done);
        }
        if retry || stop {
            self.rewrite(storage, &mut done);
        }
        self.look(retry, storage, &mut done);
        let due = if urgent || stop { self.complete.len() } else { self.batch_due(now) };
        if due > 0 {
            self.hash(due, now, storage, &mut done);
        }
        if self.doubts.is_empty() && (!self.held || stop) {
            self.write(now, storage, &mut done);
        }
        if self.record_deadline().is_some_and(|due| now >= due) {
            self.record(&mut done);
        }
        if sync || stop || self.is_sync_due(now) {
            self.sync(now, storage, &mut done);
        }
        if self.waits_to_settle() && (!self.held || stop) {
            self.settle(now, storage, &mut done);
        }
        if !self.missing.is_empty() {
            self.report_selection(&mut done);
        }
        if stop && self.has_long_pieces() {
            // The bytes of unwritten pieces were there, and are fetched again.
            self.verified.clear();
            self.long.clear(storage);
        }
        done
    }

    /// Returns when `run` must be called at the latest.
    pub fn deadline(&self) -> Option<Time> {
        let waits =
            self.waits_to_settle() || (!self.verified.is_empty() && !self.doubts.is_empty());
        let at_once = (self.doubts.is_looking() || (waits && !self.held)).then_some(Time::ZERO);
        at_once.or_else(|| {
            [self.sync_deadline(), self.batch_deadline(), self.record_deadline()]
                .into_iter()
                .flatten()
                .min()
        })
    }

    /// Returns whether a file that another program touched still waits to be found right.
    #[cfg(test)]
    fn is_in_doubt(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// Returns whether writing is possible: the disk did not refuse, and no file is in doubt.
    pub fn is_well(&self) -> bool {
        !self.held && self.doubts.is_empty() && !self.unsynced.is_unsafe
    }

    /// Returns whether all wanted pieces are verified, written, synced and reported.
    pub fn is_settled(&self) -> bool {
        self.missing.is_empty() && self.last.is_empty() && self.selection.is_none()
    }

    /// Returns whether nothing is missing, and that was not reported yet.
    fn waits_to_settle(&self) -> bool {
        !self.last.is_empty() || (self.selection.is_some() && self.missing.is_empty())
    }

    /// Returns whether reported pieces are not synced.
    pub fn has_unsynced(&self) -> bool {
        !self.unsynced.pieces.is_empty()
    }

    /// Returns whether the piece was verified and written.
    fn had(&self, piece: Piece) -> bool {
        self.journal.known().have.has(piece) || self.unsynced.pieces.contains(&piece)
    }

    fn sync_deadline(&self) -> Option<Time> {
        self.unsynced.since.map(|since| since + SYNC_INTERVAL)
    }

    fn record_deadline(&self) -> Option<Time> {
        self.unrecorded.since.map(|since| since + LANE_WAIT)
    }

    fn batch_deadline(&self) -> Option<Time> {
        self.complete_since.map(|since| since + LANE_WAIT)
    }

    /// Returns how many of the complete pieces are due: those that fill lanes. All are due if they
    /// are large, if no piece that could join them is under way, or if the wait is over.
    fn batch_due(&self, now: Time) -> usize {
        let (count, piece_length) =
            (self.complete.len(), u64::from(self.layout.geometry().piece_length()));
        let are_large = self.lanes as u64 * piece_length > LANE_BYTES
            && count as u64 * piece_length >= LANE_BYTES;
        let all = are_large
            || self.assembling.is_empty()
            || self.batch_deadline().is_some_and(|deadline| now >= deadline);
        if all { count } else { count - count % self.lanes }
    }

    fn is_sync_due(&self, now: Time) -> bool {
        self.unsynced.bytes >= SYNC_BYTES
            || self.sync_deadline().is_some_and(|deadline| now >= deadline)
    }

    /// Hashes the first `count` complete pieces at once. Right ones wait to be written; wrong ones
    /// are dropped.
    fn hash(&mut self, count: usize, now: Time, storage: &dyn Storage, done: &mut Vec<Done>) {
        let pieces: Vec<(Piece, Vec<Bytes>)> = self.complete.drain(..count).collect();
        self.complete_since = (!self.complete.is_empty()).then_some(now);
        if self.has_long_pieces() {
            return pieces.into_iter().for_each(|(piece, _)| self.check_long(piece, storage, done));
        }
        let messages: Vec<Vec<&[u8]>> = pieces
            .iter()
            .map(|(_, blocks)| blocks.iter().map(|data| &data[..]).collect())
            .collect();
        let messages: Vec<&[&[u8]]> = messages.iter().map(Vec::as_slice).collect();
        let mut digests = Vec::with_capacity(messages.len());
        bt_hash::digest_many(self.digests.algorithm(), &messages, &mut digests);
        for ((piece, blocks), digest) in pieces.into_iter().zip(digests) {
            if self.digests.matches(piece, &digest) {
                let block_digests = if self.failed.has(piece) {
                    failed_blocks::digests(&blocks)
                } else {
                    Vec::new()
                };
                let wrong = self.failed.audit(self.layout.geometry(), piece, &block_digests);
                done.extend(wrong.map(|wrong| Done::Audited { wrong }));
                self.verified.insert(piece, blocks);
            } else {
                self.failed.remember(piece, failed_blocks::digests(&blocks));
                done.push(Done::Checked { piece, verdict: PieceCheck::Bad });
            }
        }
    }

    fn failed(&self, error: &StoreError) -> Done {
        Done::Failed {
            fault: error.fault(),
            detail: error.to_string(),
            pieces: self.verified.keys().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests;
