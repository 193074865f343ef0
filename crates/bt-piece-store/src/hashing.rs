//! Hashes pieces in files, on all cores.
//!
//! Decides: which thread reads which pieces, and how large the reads are.
//! Must not know: what a digest is compared with.
//! Invariant: a piece has a digest only if every byte of it was read. Files are read as they are,
//! even if they changed: the caller compares their stats before and after.

use crate::memory::Memory;
use crate::storage::StoreError;
use crate::{Layout, LayoutFile, Progress, Storage};
use bt_hash::{Algorithm, Digest, State};
use bt_types::{Piece, StoreFault};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes read at once.
const READ_LEN: usize = 1 << 20;
/// Longest pieces in bytes that are hashed side by side, which takes far fewer cycles. Longer ones
/// are hashed as they are read.
const LANE_LEN_MAX: u32 = 4 << 20;
/// Bytes of neighbouring pieces that one thread takes at once, so that each thread reads in order.
const RUN_LEN: u32 = 16 << 20;

/// Why hashing ended early.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The disk refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// [`Progress::cancel`] was called.
    #[error("the check was interrupted")]
    Cancelled,
}

/// Hashes pieces, in the order asked. `None` for a piece with missing bytes: a file is missing or
/// too short. Any other error ends the job.
pub(crate) fn hash_pieces(
    layout: &Layout,
    algorithm: Algorithm,
    storage: &dyn Storage,
    pieces: &[Piece],
    progress: &Progress,
) -> Result<Vec<Option<Digest>>, HashError> {
    progress.begin(pieces.iter().map(|&piece| u64::from(layout.geometry().piece_len(piece))).sum());
    let run = usize::try_from(RUN_LEN / layout.geometry().piece_length()).unwrap_or(1).max(1);
    let runs: Vec<&[Piece]> = pieces.chunks(run).collect();
    let next = AtomicUsize::new(0);
    let job = Job { layout, algorithm, storage, progress };
    let longest = runs.first().map_or(0, |run| run.len());
    let work = || -> Result<Vec<(usize, Vec<Option<Digest>>)>, HashError> {
        let mut buffer = Memory::new(job.buffer_len(longest));
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(run) = runs.get(number) else { return Ok(done) };
            let digests = job.hash_run(run, &mut buffer);
            // One error ends all threads: nothing is left to take.
            done.push((number, digests.inspect_err(|_| next.store(runs.len(), Relaxed))?));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(runs.len());
    let mut finished = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results.collect::<Result<Vec<_>, _>>()
    })?
    .concat();
    finished.sort_unstable_by_key(|(number, _)| *number);
    Ok(finished.into_iter().flat_map(|(_, digests)| digests).collect())
}

/// Reads bytes of a piece as they are on the disk, even of changed files; `None` when some do not
/// exist.
pub(crate) fn read_range(
    layout: &Layout,
    storage: &dyn Storage,
    piece: Piece,
    begin: u32,
    len: u32,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut bytes = vec![0; len as usize];
    let mut rest = bytes.as_mut_slice();
    for span in layout.spans(piece, begin, len) {
        let (part, after) = rest.split_at_mut(span.len as usize);
        rest = after;
        if !span.file.is_stored {
            continue;
        }
        match storage.read_raw(&span.file.path, span.offset, part) {
            Ok(read) if read == part.len() => {}
            Ok(_) => return Ok(None),
            Err(error) if crate::fault_of(&error) == StoreFault::Missing => return Ok(None),
            Err(error) => return Err(StoreError { path: span.file.path.clone(), source: error }),
        }
    }
    Ok(Some(bytes))
}

/// What all threads share.
#[derive(Clone, Copy)]
struct Job<'a> {
    layout: &'a Layout,
    algorithm: Algorithm,
    storage: &'a dyn Storage,
    progress: &'a Progress,
}

impl Job<'_> {
    /// Returns the bytes of buffer for a run of this many pieces.
    fn buffer_len(&self, pieces: usize) -> usize {
        match self.layout.geometry().piece_length() {
            long if long > LANE_LEN_MAX => READ_LEN,
            piece_length => pieces.min(self.lanes()) * piece_length as usize,
        }
    }

    /// Returns how many pieces are hashed side by side. More would only take more memory than the
    /// caches hold.
    fn lanes(&self) -> usize {
        bt_hash::lanes(self.algorithm)
    }

    fn hash_run(&self, run: &[Piece], buffer: &mut [u8]) -> Result<Vec<Option<Digest>>, HashError> {
        if self.layout.geometry().piece_length() > LANE_LEN_MAX {
            return run.iter().map(|&piece| self.hash_long(piece, buffer)).collect();
        }
        let mut digests = Vec::with_capacity(run.len());
        for pieces in run.chunks(self.lanes()) {
            digests.extend(self.hash_together(pieces, buffer)?);
        }
        Ok(digests)
    }

    /// Reads a few pieces, then hashes them side by side.
    fn hash_together(
        &self,
        pieces: &[Piece],
        buffer: &mut [u8],
    ) -> Result<Vec<Option<Digest>>, HashError> {
        let geometry = self.layout.geometry();
        let mut complete = Vec::with_capacity(pieces.len());
        for (&piece, mut place) in
            pieces.iter().zip(buffer.chunks_mut(geometry.piece_length() as usize))
        {
            complete.push(self.read_piece(piece, |part| {
                let (now, later) = std::mem::take(&mut place).split_at_mut(part.len);
                place = later;
                self.read_part(&part, now)
            })?);
        }
        let whole: Vec<[&[u8]; 1]> = pieces
            .iter()
            .zip(buffer.chunks(geometry.piece_length() as usize))
            .zip(&complete)
            .filter(|(_, complete)| **complete)
            .map(|((&piece, place), _)| [&place[..geometry.piece_len(piece) as usize]])
            .collect();
        let messages: Vec<&[&[u8]]> = whole.iter().map(<[_; 1]>::as_slice).collect();
        let mut digests = Vec::with_capacity(messages.len());
        bt_hash::digest_many(self.algorithm, &messages, &mut digests);
        let mut digests = digests.into_iter();
        Ok(complete
            .into_iter()
            .map(|complete| if complete { digests.next() } else { None })
            .collect())
    }

    /// Hashes one piece as it is read.
    fn hash_long(&self, piece: Piece, buffer: &mut [u8]) -> Result<Option<Digest>, HashError> {
        let mut state = State::new(self.algorithm);
        let complete = self.read_piece(piece, |part| {
            let there = self.read_part(&part, &mut buffer[..part.len])?;
            state.update(&buffer[..part.len]);
            Ok(there)
        })?;
        Ok(complete.then(|| state.finish()))
    }

    /// Gives the parts of a piece to `read`, one after another, until one does not exist. False if
    /// that happened.
    fn read_piece(
        &self,
        piece: Piece,
        mut read: impl FnMut(Part<'_>) -> Result<bool, HashError>,
    ) -> Result<bool, HashError> {
        let mut complete = true;
        for span in self.layout.piece_spans(piece) {
            let (mut offset, mut left) = (span.offset, span.len as usize);
            while left > 0 && complete {
                if self.progress.is_cancelled() {
                    return Err(HashError::Cancelled);
                }
                let len = left.min(READ_LEN);
                complete = read(Part { file: span.file, offset, len })?;
                offset += len as u64;
                left -= len;
            }
        }
        self.progress.add(u64::from(self.layout.geometry().piece_len(piece)));
        Ok(complete)
    }

    /// Reads a part into a slice of its length. False when some of its bytes do not exist.
    fn read_part(&self, part: &Part<'_>, place: &mut [u8]) -> Result<bool, HashError> {
        if !part.file.is_stored {
            place.fill(0);
            return Ok(true);
        }
        match self.storage.read_raw(&part.file.path, part.offset, place) {
            Ok(read) => Ok(read == place.len()),
            Err(error) if crate::fault_of(&error) == StoreFault::Missing => Ok(false),
            Err(error) => Err(StoreError { path: part.file.path.clone(), source: error }.into()),
        }
    }
}

/// Bytes of one file, read at once.
struct Part<'a> {
    file: &'a LayoutFile,
    offset: u64,
    len: usize,
}
