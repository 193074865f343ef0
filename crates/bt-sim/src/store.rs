//! A peer's disk, and its program's store on it, in the detail of the world: the real store on
//! files in memory, or flags.
//!
//! Decides: nothing for files; for flags, that a piece is right when each of its blocks is true.
//! Must not know: engines, peers.
//! Invariant: a disk outlives programs, and keeps after a power cut only what was synced.

use crate::content::{Content, Files};
use crate::disk::WatchedDisk;
use bt_piece_store::{
    Done, Journal, MemStorage, Order, Progress, Trust, Worker, open_torrent, read_blocks,
};
use bt_types::{BLOCK_LEN, Bitfield, Block, Geometry, Piece, PieceCheck, Time};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A disk of flags syncs what is older than this, as the real store does.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// The payload of every block in a world of messages; a lie differs in its first byte.
static TRUTH: [u8; BLOCK_LEN as usize] = [0; BLOCK_LEN as usize];

/// The disk of one computer.
#[derive(Clone, Debug)]
pub(crate) enum Disk {
    Files {
        files: Arc<WatchedDisk>,
        /// Where the journal lies.
        state: Arc<MemStorage>,
    },
    Flags(Arc<Mutex<Flags>>),
}

/// The pieces on a disk without bytes.
#[derive(Debug)]
pub(crate) struct Flags {
    safe: Bitfield,
    /// Written and not synced yet, with the time of writing.
    fresh: Vec<(Time, Piece)>,
}

impl Disk {
    /// The disk of a peer that has everything, or nothing.
    pub(crate) fn new(content: &Arc<Content>, is_seed: bool) -> Disk {
        let pieces = content.geometry.piece_count();
        let Some(torrent) = &content.files else {
            let safe = if is_seed { Bitfield::full(pieces) } else { Bitfield::empty(pieces) };
            return Disk::Flags(Arc::new(Mutex::new(Flags { safe, fresh: Vec::new() })));
        };
        let files = Arc::new(WatchedDisk::new(Arc::clone(torrent)));
        if is_seed {
            torrent.put(&files.files).expect("a disk in memory does not fail");
        }
        Disk::Files { files, state: Arc::default() }
    }

    /// The power is cut.
    pub(crate) fn crash(&self) {
        match self {
            Disk::Files { files, state } => {
                files.files.crash();
                state.crash();
            }
            Disk::Flags(flags) => lock(flags).fresh.clear(),
        }
    }

    /// Bytes that fit on it.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        match self {
            Disk::Files { files, .. } => files.files.set_capacity(room),
            Disk::Flags(_) => {
                unreachable!("a disk of flags is never full: that needs a world of bytes")
            }
        }
    }

    /// Whether it holds the whole torrent.
    pub(crate) fn is_whole(&self, content: &Content) -> bool {
        match (self, &content.files) {
            (Disk::Files { files, .. }, Some(torrent)) => torrent.is_whole(&files.files),
            (Disk::Flags(flags), _) => lock(flags).have().is_full(),
            (Disk::Files { .. }, None) => unreachable!("a world has one detail"),
        }
    }
}

impl Flags {
    fn have(&self) -> Bitfield {
        let mut have = self.safe.clone();
        for (_, piece) in &self.fresh {
            have.insert(*piece);
        }
        have
    }

    fn write(&mut self, now: Time, piece: Piece) {
        let old = self.fresh.partition_point(|(at, _)| *at + SYNC_INTERVAL <= now);
        for (_, piece) in self.fresh.drain(..old) {
            self.safe.insert(piece);
        }
        self.fresh.push((now, piece));
    }
}

fn lock(flags: &Mutex<Flags>) -> MutexGuard<'_, Flags> {
    flags.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The store of a running program.
pub(crate) enum Store {
    Worker {
        worker: Box<Worker>,
        disk: Arc<WatchedDisk>,
        torrent: Arc<Files>,
    },
    Flags {
        geometry: Geometry,
        /// Blocks of pieces on their way, and whether they are true.
        assembling: BTreeMap<Piece, BTreeMap<Block, bool>>,
        /// The wrong blocks of pieces that failed.
        failed: BTreeMap<Piece, Vec<Block>>,
        disk: Arc<Mutex<Flags>>,
    },
}

impl Store {
    /// Opens the torrent from its disk: the store, and the pieces that are there.
    pub(crate) fn open(content: &Content, disk: &Disk) -> (Store, Bitfield) {
        match (disk, &content.files) {
            (Disk::Files { files, state }, Some(torrent)) => {
                let journal = Journal::open(
                    Arc::clone(state) as _,
                    Path::new("journal"),
                    content.info_hash,
                    &content.geometry,
                );
                let (layout, digests) = (Arc::clone(&torrent.layout), Arc::clone(&torrent.digests));
                let journal = journal.expect("memory does not fail");
                let opened = open_torrent(
                    &layout,
                    &digests,
                    journal,
                    files.as_ref(),
                    Trust::Journal,
                    &Progress::default(),
                    &mut |_| Ok(()),
                );
                let opened = opened.expect("the torrent's own files can be opened");
                let worker = Box::new(Worker::new(layout, digests, opened.journal));
                (
                    Store::Worker { worker, disk: Arc::clone(files), torrent: Arc::clone(torrent) },
                    opened.have,
                )
            }
            (Disk::Flags(flags), _) => {
                let (geometry, disk) = (content.geometry, Arc::clone(flags));
                let store = Store::Flags {
                    geometry,
                    assembling: BTreeMap::new(),
                    failed: BTreeMap::new(),
                    disk,
                };
                (store, lock(flags).have())
            }
            (Disk::Files { .. }, None) => unreachable!("a world has one detail"),
        }
    }

    pub(crate) fn run(&mut self, now: Time, orders: Vec<Order>) -> Vec<Done> {
        match self {
            Store::Worker { worker, disk, .. } => worker.run(now, orders, disk.as_ref()),
            Store::Flags { geometry, assembling, failed, disk } => {
                let mut done = Vec::new();
                for order in orders {
                    match order {
                        Order::Store { block, data } => {
                            let is_true = data.first() == TRUTH.first();
                            assembling.entry(block.piece()).or_default().insert(block, is_true);
                        }
                        Order::Forget { piece } => drop(assembling.remove(&piece)),
                        Order::Check { piece, .. } => {
                            let blocks = assembling.remove(&piece).unwrap_or_default();
                            let is_whole = blocks.len() == geometry.block_count(piece) as usize;
                            let wrong: Vec<Block> = blocks
                                .iter()
                                .filter(|(_, is_true)| !**is_true)
                                .map(|(&block, _)| block)
                                .collect();
                            let verdict = if is_whole && wrong.is_empty() {
                                PieceCheck::Good
                            } else {
                                PieceCheck::Bad
                            };
                            if verdict == PieceCheck::Good {
                                done.extend(
                                    failed.remove(&piece).map(|wrong| Done::Audited { wrong }),
                                );
                                lock(disk).write(now, piece);
                            } else {
                                failed.insert(piece, wrong);
                            }
                            done.push(Done::Checked { piece, verdict });
                        }
                        Order::Doubt { .. }
                        | Order::Select { .. }
                        | Order::Retry
                        | Order::Sync
                        | Order::Stop => {}
                    }
                }
                done
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        match self {
            Store::Worker { worker, .. } => worker.deadline(),
            Store::Flags { .. } => None,
        }
    }

    /// The bytes of blocks; `None` when they cannot be read.
    pub(crate) fn read(&self, blocks: &[Block]) -> Option<Vec<Bytes>> {
        match self {
            Store::Worker { disk, torrent, .. } => {
                read_blocks(&torrent.layout, disk.as_ref(), blocks, true).ok()?
            }
            Store::Flags { .. } => {
                let data =
                    |block: &Block| TRUTH.get(..block.len() as usize).map(Bytes::from_static);
                blocks.iter().map(data).collect()
            }
        }
    }

    /// Whether the disk holds every byte of a piece.
    pub(crate) fn holds(&self, piece: Piece) -> bool {
        match self {
            Store::Worker { disk, torrent, .. } => torrent.holds(&disk.files, piece),
            // Pieces are flags here, and a flag was set or not.
            Store::Flags { .. } => true,
        }
    }

    /// Whether a byte was ever written that is not the torrent's.
    pub(crate) fn was_wronged(&self) -> bool {
        match self {
            Store::Worker { disk, .. } => disk.was_wronged(),
            Store::Flags { .. } => false,
        }
    }
}
