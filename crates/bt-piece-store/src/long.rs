//! Pieces that are too long for memory: assembled in a file of their own, and hashed as their
//! blocks come.
//!
//! Decides: where in that file a piece lies, and how many of its bytes are hashed.
//! Must not know: which peer sent a block, payload files.
//! Invariant: a block is in memory only until it is in the file. The file is gone when no long
//! piece is open. Its content is not trusted after a restart.

use crate::failed_blocks;
use crate::storage::{Storage, StoreError};
use bt_hash::{Algorithm, Digest, State};
use bt_types::{Block, Geometry, InfoHash, Piece};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::PathBuf;

/// Bytes that are copied or hashed at a time.
pub(crate) const CHUNK: u32 = 1 << 20;

/// The incomplete long pieces of a torrent.
#[derive(Debug)]
pub(crate) struct LongPieces {
    algorithm: Algorithm,
    geometry: Geometry,
    /// The file in which they are assembled, below the download directory.
    path: PathBuf,
    /// This process made the file: an older file is left from a killed process.
    is_made: bool,
    open: BTreeMap<Piece, LongPiece>,
    /// Blocks that the disk refused.
    refused: Vec<(Block, Bytes)>,
    /// Pieces to check when the refused blocks are in the file.
    postponed: Vec<Piece>,
}

struct LongPiece {
    /// Its place in the file, counted in pieces.
    slot: u64,
    hash: State,
    /// Bytes that are hashed: all that came without a gap.
    hashed: u32,
    /// Blocks that came behind a gap: first byte, and length.
    ahead: BTreeMap<u32, u32>,
}

impl std::fmt::Debug for LongPiece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LongPiece")
            .field("slot", &self.slot)
            .field("hashed", &self.hashed)
            .finish_non_exhaustive()
    }
}

impl LongPieces {
    pub(crate) fn new(algorithm: Algorithm, geometry: Geometry, torrent: InfoHash) -> LongPieces {
        let path = PathBuf::from(format!(".bt-{torrent}.part"));
        LongPieces {
            algorithm,
            geometry,
            path,
            is_made: false,
            open: BTreeMap::new(),
            refused: Vec::new(),
            postponed: Vec::new(),
        }
    }

    /// Postpones the check of a piece while the disk refuses blocks; returns whether it did.
    pub(crate) fn postpones(&mut self, piece: Piece) -> bool {
        let refuses = !self.refused.is_empty();
        if refuses {
            self.postponed.push(piece);
        }
        refuses
    }

    /// Takes the pieces whose check was postponed.
    pub(crate) fn take_postponed(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.postponed)
    }

    /// Puts a block into the file; returns whether it is there.
    ///
    /// On an error the block is kept for [`LongPieces::retry`]. While one block waits for that,
    /// later ones wait too.
    pub(crate) fn store(
        &mut self,
        block: Block,
        data: Bytes,
        storage: &dyn Storage,
    ) -> Result<bool, StoreError> {
        if !self.refused.is_empty() {
            self.refused.push((block, data));
            return Ok(false);
        }
        let result = self.write(block, &data, storage).map_err(StoreError::at(&self.path));
        if result.is_err() {
            self.refused.push((block, data));
        }
        result.map(|()| true)
    }

    /// Puts the refused blocks into the file, up to one that the disk refuses again.
    ///
    /// Returns how many bytes of which piece are in the file now, and the error of the rest.
    pub(crate) fn retry(
        &mut self,
        storage: &dyn Storage,
    ) -> (Vec<(Piece, u64)>, Result<(), StoreError>) {
        let (mut written, mut result) = (Vec::new(), Ok(()));
        for (block, data) in std::mem::take(&mut self.refused) {
            match self.store(block, data, storage) {
                Ok(true) => written.push((block.piece(), u64::from(block.len()))),
                Ok(false) => {}
                Err(error) => result = Err(error),
            }
        }
        (written, result)
    }

    fn write(&mut self, block: Block, data: &Bytes, storage: &dyn Storage) -> io::Result<()> {
        if !self.is_made {
            match storage.remove(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => storage.create_new(&self.path)?,
            }
            self.is_made = true;
        }
        let slot =
            self.open.get(&block.piece()).map_or_else(|| self.free_slot(), |piece| piece.slot);
        let fresh = || LongPiece {
            slot,
            hash: State::new(self.algorithm),
            hashed: 0,
            ahead: BTreeMap::new(),
        };
        let piece = self.open.entry(block.piece()).or_insert_with(fresh);
        let start = piece.slot * u64::from(self.geometry.piece_length());
        storage.write_at(&self.path, start + u64::from(block.begin()), &[IoSlice::new(data)])?;
        if block.begin() > piece.hashed {
            piece.ahead.insert(block.begin(), block.len());
        } else if block.begin() == piece.hashed {
            piece.hash.update(data);
            piece.hashed += block.len();
        }
        // Blocks behind the gap are read back: seldom many, as blocks of a piece are requested in
        // order.
        while let Some(&len) = piece.ahead.get(&piece.hashed) {
            let mut bytes = vec![0; len as usize];
            read_exact(storage, &self.path, start + u64::from(piece.hashed), &mut bytes)?;
            piece.ahead.remove(&piece.hashed);
            piece.hash.update(&bytes);
            piece.hashed += len;
        }
        Ok(())
    }

    /// Returns the first free slot in the file.
    fn free_slot(&self) -> u64 {
        let taken: BTreeSet<u64> = self.open.values().map(|piece| piece.slot).collect();
        (0..).find(|slot| !taken.contains(slot)).unwrap_or(0)
    }

    /// Returns the digest of a piece whose blocks were all stored, else `None`.
    pub(crate) fn digest(&self, piece: Piece) -> Option<Digest> {
        let open = self.open.get(&piece)?;
        (open.hashed == self.geometry.piece_len(piece)).then(|| open.hash.clone().finish())
    }

    /// Reads a part of a piece from the file.
    pub(crate) fn read(
        &self,
        piece: Piece,
        begin: u32,
        len: u32,
        storage: &dyn Storage,
    ) -> Result<Bytes, StoreError> {
        let not_here = || StoreError::at(&self.path)(io::ErrorKind::NotFound.into());
        let slot = self.open.get(&piece).ok_or_else(not_here)?.slot;
        let mut bytes = vec![0; len as usize];
        let at = slot * u64::from(self.geometry.piece_length()) + u64::from(begin);
        read_exact(storage, &self.path, at, &mut bytes).map_err(StoreError::at(&self.path))?;
        Ok(bytes.into())
    }

    /// Hashes each block of a piece.
    pub(crate) fn block_digests(
        &self,
        piece: Piece,
        storage: &dyn Storage,
    ) -> Result<Vec<Digest>, StoreError> {
        let digest = |block: Block| {
            Ok(failed_blocks::digests(&[self.read(piece, block.begin(), block.len(), storage)?]))
        };
        self.geometry
            .blocks(piece)
            .map(digest)
            .collect::<Result<Vec<_>, _>>()
            .map(|digests| digests.concat())
    }

    /// Drops a piece; the file goes with the last one.
    pub(crate) fn forget(&mut self, piece: Piece, storage: &dyn Storage) {
        self.open.remove(&piece);
        self.refused.retain(|(block, _)| block.piece() != piece);
        self.postponed.retain(|postponed| *postponed != piece);
        if self.is_made && self.open.is_empty() && self.refused.is_empty() {
            self.remove_file(storage);
        }
    }

    /// Drops all pieces.
    pub(crate) fn clear(&mut self, storage: &dyn Storage) {
        self.open.clear();
        self.refused.clear();
        self.postponed.clear();
        self.remove_file(storage);
    }

    /// Removes the file. If that fails, it is removed before the next file is made.
    fn remove_file(&mut self, storage: &dyn Storage) {
        if let Err(_gone_or_refused) = storage.remove(&self.path) {}
        self.is_made = false;
    }
}

fn read_exact(
    storage: &dyn Storage,
    path: &std::path::Path,
    offset: u64,
    bytes: &mut [u8],
) -> io::Result<()> {
    let read = storage.read_at(path, offset, bytes)?;
    if read == bytes.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
