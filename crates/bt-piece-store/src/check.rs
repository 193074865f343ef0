//! What of a torrent is on the disk already: at opening, and for `verify`.
//!
//! Decides: what the journal is believed, what is hashed, which files are not ours. Must not know: how hashing is spread.
//! Invariant: a piece is "have" only if the journal vouches for unchanged files, or it was hashed just now.

use crate::hashing::{HashError, hash_pieces};
use crate::journal::Known;
use crate::storage::{Stat, Storage, StoreError};
use crate::{Journal, Layout, LayoutFile, Progress};
use bt_metainfo::PieceDigests;
use bt_types::{Bitfield, Piece};
use std::path::PathBuf;

/// A torrent whose data was looked at.
#[derive(Debug)]
pub struct Opened {
    /// The pieces that are there.
    pub have: Bitfield,
    /// The journal, brought up to date, for the [`Worker`](crate::Worker).
    pub journal: Journal,
    /// Number of pieces that were found by hashing and that no journal knew.
    pub adopted: u32,
    /// Number of pieces that were hashed.
    pub hashed: u32,
}

/// What is believed without hashing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// What the journal says of files that did not change.
    Journal,
    /// Every file that exists in its full length.
    Data,
}

/// Why a torrent was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file with the name of one of the torrent's is something else, and would be overwritten.
    #[error("{} is another file than the torrent's: move it away, or choose another directory", path.display())]
    Foreign {
        /// The file, relative to the root.
        path: PathBuf,
    },
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// [`Progress::cancel`] was called.
    #[error("the check was interrupted")]
    Cancelled,
}

impl From<HashError> for OpenError {
    fn from(error: HashError) -> OpenError {
        match error {
            HashError::Store(error) => OpenError::Store(error),
            HashError::Cancelled => OpenError::Cancelled,
        }
    }
}

/// Finds out which pieces are there. After a clean stop nothing is hashed but what changed since; after a crash what was being
/// written; without a journal whatever data there is. Then makes the empty files, and brings the journal up to date.
pub fn open_torrent(
    layout: &Layout,
    digests: &PieceDigests,
    mut journal: Journal,
    storage: &dyn Storage,
    trust: Trust,
    progress: &Progress,
) -> Result<Opened, OpenError> {
    let stats = stat_files(layout, storage)?;
    let known = journal.known();
    let Plan { mut have, suspect, unknown } = match trust {
        Trust::Journal => Plan::new(layout, known, &stats),
        Trust::Data => Plan::trusting(layout, &stats),
    };
    let found = hash_pieces(layout, digests.algorithm(), storage, &suspect, progress)?;
    let mut adopted = 0;
    for (&piece, digest) in suspect.iter().zip(found) {
        if digest.is_some_and(|digest| digests.matches(piece, &digest)) {
            have.insert(piece);
            adopted += u32::from(!known.have.has(piece) && !known.dirty.has(piece));
        }
    }
    if let Some(file) = unknown.into_iter().find(|(file, stat)| is_foreign(layout, file, stat, &have)).map(|(file, _)| file) {
        return Err(OpenError::Foreign { path: file.path.clone() });
    }
    for ((_, file), _) in layout.stored().zip(&stats).filter(|((index, file), _)| file.length == 0 && stats[*index].is_none()) {
        storage.create_new(&file.path).map_err(StoreError::at(&file.path))?;
    }
    // Pieces that we wrote to and that are not right stay dirty: their files are ours.
    let mut dirty = Bitfield::empty(layout.geometry().piece_count());
    layout.geometry().pieces().filter(|&piece| (known.have.has(piece) || known.dirty.has(piece)) && !have.has(piece)).for_each(
        |piece| {
            dirty.insert(piece);
        },
    );
    if (&have, &dirty) != (&known.have, &known.dirty) {
        journal.reset(have.clone(), dirty)?;
    }
    Ok(Opened { have, journal, adopted, hashed: u32::try_from(suspect.len()).unwrap_or(u32::MAX) })
}

/// The stats of all files, in torrent order; `None` for what is missing or never stored.
pub(crate) fn stat_files(layout: &Layout, storage: &dyn Storage) -> Result<Vec<Option<Stat>>, StoreError> {
    let stat = |file: &LayoutFile| match file.is_stored {
        true => storage.stat(&file.path).map_err(StoreError::at(&file.path)),
        false => Ok(None),
    };
    layout.files().iter().map(stat).collect()
}

/// What is believed and what must be hashed.
struct Plan<'a> {
    have: Bitfield,
    /// Pieces to hash, none of them in `have`.
    suspect: Vec<Piece>,
    /// Files that are there and that the journal does not know.
    unknown: Vec<(&'a LayoutFile, Stat)>,
}

impl<'a> Plan<'a> {
    fn new(layout: &'a Layout, known: &Known, stats: &[Option<Stat>]) -> Plan<'a> {
        let mut have = known.have.clone();
        let mut suspect = known.dirty.clone();
        let mut unknown = Vec::new();
        for (index, file) in layout.stored() {
            let ours = layout.pieces_of(file).any(|piece| known.have.has(piece) || known.dirty.has(piece));
            let stat = stats[index];
            if let (Some(stat), false) = (stat, ours) {
                unknown.push((file, stat));
            }
            if !ours || !is_unchanged(known, index, file, stat) {
                for piece in layout.pieces_of(file) {
                    have.remove(piece);
                    suspect.insert(piece);
                }
            }
        }
        let suspect =
            suspect.iter(layout.geometry()).filter(|&piece| !have.has(piece) && is_there(layout, stats, piece)).collect();
        Plan { have, suspect, unknown }
    }

    fn trusting(layout: &'a Layout, stats: &[Option<Stat>]) -> Plan<'a> {
        let mut have = Bitfield::empty(layout.geometry().piece_count());
        layout.geometry().pieces().filter(|&piece| is_there(layout, stats, piece)).for_each(|piece| {
            have.insert(piece);
        });
        Plan { have, suspect: Vec::new(), unknown: Vec::new() }
    }
}

/// Whether a file is as the journal left it. After a crash its time says nothing: our own writes came after the last record.
fn is_unchanged(known: &Known, index: usize, file: &LayoutFile, stat: Option<Stat>) -> bool {
    match &known.clean {
        Some(then) => match (then.get(index).copied().flatten(), stat) {
            (Some(then), Some(now)) => (then.len, then.mtime_ns) == (now.len, now.mtime_ns),
            (then, now) => then == now,
        },
        None => stat.is_some_and(|stat| stat.len >= file.length),
    }
}

/// Whether every byte of the piece exists.
fn is_there(layout: &Layout, stats: &[Option<Stat>], piece: Piece) -> bool {
    layout
        .piece_spans(piece)
        .all(|span| !span.file.is_stored || stats[span.index].is_some_and(|stat| stat.len >= span.offset + u64::from(span.len)))
}

/// Whether a file that we know nothing of is none of the torrent's.
fn is_foreign(layout: &Layout, file: &LayoutFile, stat: &Stat, have: &Bitfield) -> bool {
    stat.len > 0 && (stat.len > file.length || !layout.pieces_of(file).any(|piece| have.has(piece)))
}

/// What `verify` found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The pieces that are there and right.
    pub good: Bitfield,
    /// The others, in order.
    pub bad: Vec<Piece>,
    /// Every stored file, in torrent order.
    pub files: Vec<FileReport>,
}

/// What `verify` found of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileReport {
    /// The file, relative to the root.
    pub path: PathBuf,
    /// Its state.
    pub state: FileState,
}

/// The state of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileState {
    /// Every piece that it holds a byte of is right.
    Good,
    /// It does not exist.
    Missing,
    /// It is shorter or longer than the torrent says.
    WrongLength {
        /// Its length in bytes.
        found: u64,
    },
    /// Some of its pieces are wrong. A piece on the border of two files may be wrong for the other one's sake.
    Bad {
        /// How many.
        pieces: u32,
    },
}

impl Report {
    /// Whether everything is there and right.
    pub fn is_complete(&self) -> bool {
        self.bad.is_empty() && self.files.iter().all(|file| file.state == FileState::Good)
    }
}

/// Hashes all data. Changes nothing.
pub fn verify(layout: &Layout, digests: &PieceDigests, storage: &dyn Storage, progress: &Progress) -> Result<Report, OpenError> {
    let stats = stat_files(layout, storage)?;
    let pieces: Vec<Piece> = layout.geometry().pieces().collect();
    let found = hash_pieces(layout, digests.algorithm(), storage, &pieces, progress)?;
    let mut good = Bitfield::empty(layout.geometry().piece_count());
    let mut bad = Vec::new();
    for (piece, digest) in pieces.into_iter().zip(found) {
        if digest.is_some_and(|digest| digests.matches(piece, &digest)) {
            good.insert(piece);
        } else {
            bad.push(piece);
        }
    }
    let state = |index: usize, file: &LayoutFile| match stats[index] {
        None => FileState::Missing,
        Some(stat) if stat.len != file.length => FileState::WrongLength { found: stat.len },
        Some(_) => match layout.pieces_of(file).filter(|&piece| !good.has(piece)).count() {
            0 => FileState::Good,
            pieces => FileState::Bad { pieces: u32::try_from(pieces).unwrap_or(u32::MAX) },
        },
    };
    let files = layout.stored().map(|(index, file)| FileReport { path: file.path.clone(), state: state(index, file) }).collect();
    Ok(Report { good, bad, files })
}
