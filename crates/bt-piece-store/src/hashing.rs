//! Hashing pieces that are in files, on all cores.
//!
//! Decides: who reads what, and how large the reads are. Must not know: what a digest is compared with.
//! Invariant: a piece has a digest only if every byte of it was read.

use crate::storage::StoreError;
use crate::{Layout, Progress, Storage};
use bt_hash::{Algorithm, Digest, State};
use bt_types::{Piece, StoreFault};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes read at once.
const READ_LEN: usize = 1 << 20;
/// Bytes of neighbouring pieces that one thread takes at once, so that each reads in order.
const RUN_LEN: u32 = 16 << 20;

/// Why hashing ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cancelled")]
    Cancelled,
}

/// The digests of pieces, in the order asked. `None` for a piece some of whose bytes do not exist: a file is missing or too short.
/// Any other error ends the job.
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
    let work = || -> Result<Vec<(usize, Vec<Option<Digest>>)>, HashError> {
        let mut buffer = vec![0; READ_LEN];
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(run) = runs.get(number) else { return Ok(done) };
            let digests: Result<_, _> =
                run.iter().map(|&piece| hash_piece(layout, algorithm, storage, piece, &mut buffer, progress)).collect();
            // One error ends all threads: there is nothing left to take.
            done.push((number, digests.inspect_err(|_| next.store(runs.len(), Relaxed))?));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(runs.len());
    let mut finished = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results.collect::<Result<Vec<_>, _>>()
    })?
    .concat();
    finished.sort_unstable_by_key(|(number, _)| *number);
    Ok(finished.into_iter().flat_map(|(_, digests)| digests).collect())
}

fn hash_piece(
    layout: &Layout,
    algorithm: Algorithm,
    storage: &dyn Storage,
    piece: Piece,
    buffer: &mut [u8],
    progress: &Progress,
) -> Result<Option<Digest>, HashError> {
    let mut state = State::new(algorithm);
    let mut complete = true;
    for span in layout.piece_spans(piece) {
        let (mut offset, mut left) = (span.offset, span.len as usize);
        while left > 0 && complete {
            if progress.is_cancelled() {
                return Err(HashError::Cancelled);
            }
            let len = left.min(buffer.len());
            let part = &mut buffer[..len];
            if span.file.is_stored {
                match storage.read_at(&span.file.path, offset, part) {
                    Ok(read) => complete = read == len,
                    Err(error) if crate::fault_of(&error) == StoreFault::Missing => complete = false,
                    Err(error) => return Err(StoreError { path: span.file.path.clone(), source: error }.into()),
                }
            } else {
                part.fill(0);
            }
            state.update(part);
            offset += len as u64;
            left -= len;
        }
    }
    progress.add(u64::from(layout.geometry().piece_len(piece)));
    Ok(complete.then(|| state.finish()))
}
