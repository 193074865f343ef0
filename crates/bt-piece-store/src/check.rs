//! Finds which pieces of a torrent are on the disk already, when it is opened and for `verify`.
//!
//! Decides: what of the journal is trusted, what is hashed, which files are not ours.
//! Must not know: how hashing is spread over cores.
//! Invariant: a piece is "have" only if the journal vouches for unchanged files, or another program
//! does and a sample of what it says is right, or it was hashed just now.

use crate::claim::PieceClaim;
use crate::hashing::{HashError, hash_pieces};
use crate::identity::{Change, Noted, Stat, sample};
use crate::journal::Known;
use crate::storage::{Storage, StoreError};
use crate::worker::is_blank;
use crate::{Journal, Layout, LayoutFile, Progress};
use bt_hash::Digest;
use bt_metainfo::PieceDigests;
use bt_types::{Bitfield, Piece, Rng};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A torrent whose data was checked.
#[derive(Debug)]
pub struct Opened {
    /// The pieces that are on the disk.
    pub have: Bitfield,
    /// The journal, brought up to date, for the [`Worker`](crate::Worker).
    pub journal: Journal,
    /// Number of pieces that were found by hashing and that no journal knew.
    pub adopted: u32,
    /// Number of pieces that were hashed.
    pub hashed: u32,
    /// The journal had pieces, and all of them were deleted.
    pub was_deleted: bool,
}

/// What is trusted without hashing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// The journal, for files that did not change.
    Journal,
    /// What another program noted, for files that did not change since, if a sample is right.
    Claim(Arc<PieceClaim>),
    /// Every file that exists in its full length.
    Data,
    /// Nothing: every piece is hashed. Files that the journal knows as ours stay ours.
    Nothing,
}

/// Why a torrent was not opened. No existing file was changed.
///
/// For an incomplete torrent new directories may have been made, and for a torrent of one file that
/// file, empty. The claim needs them.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file with the name of one of the torrent's holds other data, which would be overwritten.
    #[error("{} is another file than the torrent's: move it away, or choose another directory", path.display())]
    Foreign {
        /// The file, relative to the root.
        path: PathBuf,
    },
    /// Every file that held pieces is gone: moved, or its disk is not mounted. They are not made
    /// anew: new files would be in the way when the old ones come back.
    #[error("{} held pieces and is not there: bring it back, or mount its disk", path.display())]
    Gone {
        /// The first of them, relative to the root.
        path: PathBuf,
    },
    /// Another torrent works on these files.
    #[error("{} belongs to another torrent that is being {}", path.display(), if *is_written { "downloaded" } else { "seeded" })]
    Owned {
        /// The file, or the directory of all files.
        path: PathBuf,
        /// Whether the other torrent writes.
        is_written: bool,
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

/// What an opened torrent does with its files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// It is complete: they are read.
    Read,
    /// Something is missing: they are written.
    Write,
}

/// Most repetitions for files that change while they are hashed; then opening fails, as another
/// program keeps writing.
const ROUNDS_MAX: u32 = 5;

/// Finds the pieces that are on the disk, and lets the caller claim the files.
///
/// It hashes pieces of files that differ from the journal's notes, and pieces that were being
/// written at a crash. Without a journal it hashes all that exists. Of a file with changed
/// attributes only it hashes a sample.
///
/// Then it calls `claim`, which may refuse. If an incomplete torrent of one file lacks that file,
/// the empty file is made for the claim. Only after that does it change anything else. It makes
/// wanted empty files, cuts files of ours that grew, and brings the journal up to date.
pub fn open_torrent(
    layout: &Layout,
    digests: &PieceDigests,
    mut journal: Journal,
    storage: &dyn Storage,
    trust: Trust,
    progress: &Progress,
    claim: &mut dyn FnMut(Use) -> Result<(), OpenError>,
) -> Result<Opened, OpenError> {
    if journal.is_of_version_1() {
        journal.take_over(&stat_files(layout, storage)?);
    }
    let known = journal.known();
    let looked = look(layout, digests, known, storage, &trust, progress)?;
    let Looked { have, stats, hashed, adopted, was_deleted } = &looked;
    let (mut grown, mut ours, mut blank) = (Vec::new(), Vec::new(), Vec::new());
    for (index, file) in layout.stored() {
        let Some(stat) = stats[index] else { continue };
        let then = known.file(index).filter(|then| then.is_file(&stat));
        let holds = match then {
            // Bytes behind the end of a file that we did not make are the user's.
            Some(then) if stat.len > file.length && !then.made => Holds::Else,
            Some(_) => Holds::Ours,
            None if is_claimed(&trust, layout, index, &stat) => Holds::Ours,
            None => {
                judge(layout, file, &stat, have, storage).map_err(StoreError::at(&file.path))?
            }
        };
        match holds {
            Holds::Else => return Err(OpenError::Foreign { path: file.path.clone() }),
            Holds::Ours => {
                ours.push((index, Noted { stat, made: then.is_some_and(|then| then.made) }))
            }
            Holds::Nothing => blank.push((index, stat)),
            Holds::Unknown => {}
        }
        if stat.len > file.length {
            grown.push((index, file));
        }
    }
    let wanted = layout.wanted();
    let is_complete = wanted.common(have, layout.geometry()).count() == wanted.count() as usize;
    let is_made_now = |index: &usize, file: &LayoutFile| {
        // The file of a torrent of one file is made at once, so that another torrent finds it
        // claimed.
        let at_once = file.length == 0 || (!is_complete && layout.is_one_file());
        at_once && file.is_wanted && stats[*index].is_none()
    };
    let made: Vec<(usize, &LayoutFile)> =
        layout.stored().filter(|(index, file)| is_made_now(index, file)).collect();
    let writes = !is_complete || !grown.is_empty() || !made.is_empty();
    let mut changed = Vec::new();
    if layout.is_one_file() && !is_complete {
        make(&made, storage, &mut changed)?;
    }
    claim(if writes { Use::Write } else { Use::Read })?;
    make(&made, storage, &mut changed)?;
    for &(index, file) in &grown {
        storage.set_len(&file.path, file.length).map_err(StoreError::at(&file.path))?;
        ours.retain(|(other, _)| *other != index);
        changed.push((index, file));
    }
    for (index, file) in changed {
        let stat = storage.noted(&file.path).map_err(StoreError::at(&file.path))?;
        ours.extend(stat.map(|stat| (index, Noted { stat, made: true })));
    }
    // Another program may have written these pieces without syncing. The journal must not say
    // "have" of bytes that a power cut can take.
    let found = |piece: &Piece| {
        have.has(*piece) && (!known.have.has(*piece) || hashed.binary_search(piece).is_ok())
    };
    let unsafe_files: BTreeSet<usize> = layout
        .geometry()
        .pieces()
        .filter(found)
        .flat_map(|piece| layout.piece_spans(piece))
        .map(|span| span.index)
        .collect();
    let found = layout.stored().filter(|(index, _)| unsafe_files.contains(index));
    storage.sync_many(&found.map(|(_, file)| file.path.as_path()).collect::<Vec<_>>())?;
    storage.sync_names().map_err(StoreError::at(Path::new(".")))?;
    let (have, hashed, adopted) =
        (have.clone(), u32::try_from(hashed.len()).unwrap_or(u32::MAX), *adopted);
    let was_deleted = *was_deleted;
    if have != known.have || !known.dirty.is_empty() {
        journal.reset(have.clone())?;
    }
    journal.note(&ours)?;
    if let Some(folder) = storage.folder().map_err(StoreError::at(Path::new(".")))? {
        let name = layout.top().map_or_else(String::new, |top| top.to_string_lossy().into_owned());
        journal.settle(folder, &name)?;
    }
    journal.sync()?;
    journal.set_blank(blank);
    Ok(Opened { have, journal, adopted, hashed, was_deleted })
}

/// Makes missing files. A file that another torrent made in this moment is checked when it is
/// written.
fn make<'a>(
    files: &[(usize, &'a LayoutFile)],
    storage: &dyn Storage,
    made: &mut Vec<(usize, &'a LayoutFile)>,
) -> Result<(), StoreError> {
    for &(index, file) in files {
        match storage.create_new(&file.path) {
            Ok(()) => made.push((index, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::at(&file.path)(error)),
        }
    }
    Ok(())
}

/// The result of a look at the files.
struct Looked {
    have: Bitfield,
    /// The stat of each file before it was hashed. Its content has not changed since.
    stats: Vec<Option<Stat>>,
    /// The pieces that were hashed, in order.
    hashed: Vec<Piece>,
    adopted: u32,
    /// All known pieces were deleted.
    was_deleted: bool,
}

/// Looks at the files, hashes what it must, and looks again: content that changed meanwhile is
/// hashed again.
fn look(
    layout: &Layout,
    digests: &PieceDigests,
    known: &Known,
    storage: &dyn Storage,
    trust: &Trust,
    progress: &Progress,
) -> Result<Looked, OpenError> {
    let mut stats = stat_files(layout, storage)?;
    let held = match trust {
        Trust::Claim(claim) => &claim.have,
        _ => &known.have,
    };
    let gone = gone(layout, held, &stats);
    if let Some((_, file)) = gone.filter(|&(index, _)| !was_deleted(known, index, storage)) {
        return Err(OpenError::Gone { path: file.path.clone() });
    }
    let Plan { mut have, mut suspect, touched, doubtful } = match trust {
        Trust::Journal => Plan::new(layout, known, &stats),
        Trust::Claim(claim) => Plan::claimed(layout, claim, &stats),
        Trust::Data => Plan::trusting(layout, &stats),
        Trust::Nothing => Plan::hashing(layout),
    };
    let mut rng = Rng::from_seed(known.have.count().into());
    let mut some = sample(&touched, layout.geometry().piece_length(), &mut rng);
    let hash = |pieces: &mut Vec<Piece>, stats: &[Option<Stat>]| {
        pieces.retain(|&piece| is_there(layout, stats, piece));
        pieces.sort_unstable();
        pieces.dedup();
        let found = hash_pieces(layout, digests.algorithm(), storage, pieces, progress)?;
        let is_right = |(&piece, digest): (&Piece, Option<Digest>)| {
            digest.is_some_and(|digest| digests.matches(piece, &digest))
        };
        Ok::<Vec<bool>, HashError>(pieces.iter().zip(found).map(is_right).collect())
    };
    let mut hashed = BTreeSet::new();
    for round in 0.. {
        some.append(&mut suspect);
        let right = hash(&mut some, &stats)?;
        for (&piece, right) in some.iter().zip(right) {
            hashed.insert(piece);
            if right {
                have.insert(piece)
            } else {
                have.remove(piece)
            };
            // Part of the file is wrong, so the rest may be.
            if !right && touched.binary_search(&piece).is_ok() {
                suspect.extend(doubtful.iter().filter(|piece| !hashed.contains(piece)));
            }
        }
        // Only the files that were hashed must be compared: later changes are noticed elsewhere.
        let files: BTreeSet<usize> = some
            .iter()
            .flat_map(|&piece| layout.piece_spans(piece))
            .map(|span| span.index)
            .collect();
        let mut changed = None;
        for (index, file) in layout.stored().filter(|(index, _)| files.contains(index)) {
            let now = storage.stat(&file.path).map_err(StoreError::at(&file.path))?;
            let then = std::mem::replace(&mut stats[index], now);
            if then == now {
                continue;
            }
            if let Some(now) = &now {
                storage.trust(&file.path, now).map_err(StoreError::at(&file.path))?;
            }
            if then.zip(now).is_none_or(|(then, now)| then.change_to(&now) == Change::Content) {
                changed.get_or_insert(file);
                suspect.extend(layout.pieces_of(file));
            }
        }
        suspect.iter().for_each(|&piece| {
            have.remove(piece);
        });
        some.clear();
        if suspect.is_empty() {
            break;
        }
        if let Some(file) = changed.filter(|_| round == ROUNDS_MAX) {
            let keeps = io::Error::new(
                io::ErrorKind::InvalidData,
                "another program keeps changing it: stop that first",
            );
            return Err(StoreError::at(&file.path)(keeps).into());
        }
    }
    let adopted =
        |piece: &&Piece| have.has(**piece) && !known.have.has(**piece) && !known.dirty.has(**piece);
    let adopted = u32::try_from(hashed.iter().filter(adopted).count()).unwrap_or(u32::MAX);
    Ok(Looked {
        have,
        stats,
        hashed: hashed.into_iter().collect(),
        adopted,
        was_deleted: gone.is_some(),
    })
}

/// Stats all files, in torrent order; `None` for a file that is missing or never stored.
pub(crate) fn stat_files(
    layout: &Layout,
    storage: &dyn Storage,
) -> Result<Vec<Option<Stat>>, StoreError> {
    let stat = |file: &LayoutFile| match file.is_stored {
        true => storage.stat(&file.path).map_err(StoreError::at(&file.path)),
        false => Ok(None),
    };
    layout.files().iter().map(stat).collect()
}

/// What is trusted and what must be hashed.
struct Plan {
    have: Bitfield,
    /// Pieces to hash, none of them in `have`.
    suspect: Vec<Piece>,
    /// Pieces in `have` that are right if a sample of them is, in order: those of files with
    /// changed attributes only, or those that another program claims.
    touched: Vec<Piece>,
    /// Pieces to hash if one of the sample is wrong.
    doubtful: Vec<Piece>,
}

impl Plan {
    fn new(layout: &Layout, known: &Known, stats: &[Option<Stat>]) -> Plan {
        let mut have = known.have.clone();
        let mut suspect = known.dirty.clone();
        let mut touched = Bitfield::empty(layout.geometry().piece_count());
        for (index, file) in layout.stored() {
            let change = match (known.file(index), stats[index]) {
                (Some(then), Some(now)) => then.stat.change_to(&now),
                _ => Change::Content,
            };
            for piece in layout.pieces_of(file) {
                match change {
                    Change::None => {}
                    Change::Attributes => {
                        touched.insert(piece);
                    }
                    Change::Content => {
                        have.remove(piece);
                        suspect.insert(piece);
                    }
                }
            }
        }
        let suspect = suspect.iter(layout.geometry()).filter(|&piece| !have.has(piece)).collect();
        let touched: Vec<Piece> = touched.common(&have, layout.geometry()).collect();
        Plan { have, suspect, doubtful: touched.clone(), touched }
    }

    /// Believes what is claimed of files that are as the claim says. Of others all is hashed.
    fn claimed(layout: &Layout, claim: &PieceClaim, stats: &[Option<Stat>]) -> Plan {
        let geometry = layout.geometry();
        let believed: Vec<bool> = (0..stats.len())
            .map(|index| stats[index].is_some_and(|stat| claim.fits(layout, index, &stat)))
            .collect();
        let (mut have, mut suspect) = (Bitfield::empty(geometry.piece_count()), Vec::new());
        for piece in geometry.pieces() {
            let mut spans = layout.piece_spans(piece).filter(|span| span.file.is_stored);
            let is_believed = spans.all(|span| believed[span.index]);
            match (is_believed && is_there(layout, stats, piece), claim.have.has(piece)) {
                (true, true) => drop(have.insert(piece)),
                (true, false) => {}
                (false, _) => suspect.push(piece),
            }
        }
        let touched = have.iter(geometry).collect();
        Plan { have, suspect, touched, doubtful: geometry.pieces().collect() }
    }

    fn hashing(layout: &Layout) -> Plan {
        let geometry = layout.geometry();
        let have = Bitfield::empty(geometry.piece_count());
        Plan {
            have,
            suspect: geometry.pieces().collect(),
            touched: Vec::new(),
            doubtful: Vec::new(),
        }
    }

    fn trusting(layout: &Layout, stats: &[Option<Stat>]) -> Plan {
        let mut have = Bitfield::empty(layout.geometry().piece_count());
        layout.geometry().pieces().filter(|&piece| is_there(layout, stats, piece)).for_each(
            |piece| {
                have.insert(piece);
            },
        );
        Plan { have, suspect: Vec::new(), touched: Vec::new(), doubtful: Vec::new() }
    }
}

/// Returns whether the file is one that another program worked on for the torrent.
fn is_claimed(trust: &Trust, layout: &Layout, index: usize, stat: &Stat) -> bool {
    matches!(trust, Trust::Claim(claim) if claim.fits(layout, index, stat))
}

/// Returns the first file that held pieces by what is known, if all such files are gone, wanted or
/// not. A single lost file is fetched again.
fn gone<'a>(
    layout: &'a Layout,
    had: &Bitfield,
    stats: &[Option<Stat>],
) -> Option<(usize, &'a LayoutFile)> {
    let held_pieces = |file: &LayoutFile| layout.pieces_of(file).any(|piece| had.has(piece));
    let mut held = layout.stored().filter(|(_, file)| held_pieces(file));
    let (first, file) = held.next()?;
    let is_gone = |index: usize| stats[index].is_none();
    (is_gone(first) && held.all(|(index, _)| is_gone(index))).then_some((first, file))
}

/// Returns whether a missing file was deleted; false if its disk may not be mounted.
///
/// It was deleted if the file lay on the same file system, and the directory is the same or was
/// made anew in its place.
fn was_deleted(known: &Known, index: usize, storage: &dyn Storage) -> bool {
    let now = storage.folder().ok().flatten();
    let (Some(home), Some(file), Some(now)) = (&known.home, known.file(index), now) else {
        return false;
    };
    file.stat.id.0 == home.folder.id.0 && home.folder.is_succeeded_by(&now, file.stat.ctime_ns)
}

/// Returns whether every byte of the piece exists.
fn is_there(layout: &Layout, stats: &[Option<Stat>], piece: Piece) -> bool {
    layout.piece_spans(piece).all(|span| {
        !span.file.is_stored
            || stats[span.index].is_some_and(|stat| stat.len >= span.offset + u64::from(span.len))
    })
}

/// What a file holds.
enum Holds {
    /// It is ours, or holds pieces.
    Ours,
    /// Only zeros.
    Nothing,
    /// Undecided, as the file shares all of its pieces with others that are missing. The
    /// [`Worker`](crate::Worker) compares pieces that arrive with its bytes.
    Unknown,
    /// Data that is not the torrent's.
    Else,
}

/// Judges the content of a file that the journal does not know.
fn judge(
    layout: &Layout,
    file: &LayoutFile,
    stat: &Stat,
    have: &Bitfield,
    storage: &dyn Storage,
) -> io::Result<Holds> {
    let is_alone =
        |piece| layout.piece_spans(piece).filter(|span| span.file.is_stored).count() == 1;
    Ok(match () {
        () if stat.len > file.length => Holds::Else,
        () if layout.pieces_of(file).any(|piece| have.has(piece)) => Holds::Ours,
        () if !layout.pieces_of(file).any(is_alone) => Holds::Unknown,
        () if is_blank(storage, file, stat.len)? => Holds::Nothing,
        () => Holds::Else,
    })
}

/// The result of `verify`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The pieces that are on the disk and right.
    pub good: Bitfield,
    /// The other pieces, in order.
    pub bad: Vec<Piece>,
    /// Every stored file, in torrent order.
    pub files: Vec<FileReport>,
}

/// The result of `verify` for one file.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// The file, relative to the root.
    pub path: PathBuf,
    /// Its state.
    pub state: FileState,
}

/// The state of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileState {
    /// All its pieces are right.
    Good,
    /// It does not exist.
    Missing,
    /// It is shorter or longer than the torrent says.
    WrongLength {
        /// Its length in bytes.
        found: u64,
    },
    /// Some of its pieces are wrong. A piece on the border of two files may be wrong because of the
    /// other file.
    Bad {
        /// How many.
        pieces: u32,
    },
}

impl VerifyReport {
    /// Returns whether all data is on the disk and right.
    pub fn is_complete(&self) -> bool {
        self.bad.is_empty() && self.files.iter().all(|file| file.state == FileState::Good)
    }
}

/// Hashes all data. Changes nothing.
pub fn verify(
    layout: &Layout,
    digests: &PieceDigests,
    storage: &dyn Storage,
    progress: &Progress,
) -> Result<VerifyReport, HashError> {
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
    let files = layout
        .stored()
        .map(|(index, file)| FileReport { path: file.path.clone(), state: state(index, file) })
        .collect();
    Ok(VerifyReport { good, bad, files })
}

#[cfg(test)]
mod tests;
