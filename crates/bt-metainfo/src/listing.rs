//! The files of a torrent while they are read, within the limits of a torrent.
//!
//! Decides: how many files and paths are too many.
//! Must not know: where files lie in the pieces.
//! Invariant: a listing stays within [`FILES_MAX`] and [`PATHS_MAX`].

use crate::raw_file::RawFile;
use crate::{MetainfoError, sanitise};
use alloc::string::String;
use alloc::vec::Vec;

/// Most files that a torrent may list.
const FILES_MAX: usize = 500_000;
/// Most bytes that the paths of all files may take, each with the name and the directories that it
/// shares with others. A long name with many files, or a deep tree, would otherwise become far
/// larger than the torrent itself.
const PATHS_MAX: usize = 256 << 20;

/// The files that were read until now.
pub(crate) struct Listing<'a> {
    files: Vec<RawFile<'a>>,
    /// Bytes that further paths may take.
    room: usize,
}

impl<'a> Listing<'a> {
    pub(crate) fn new() -> Listing<'a> {
        Listing { files: Vec::new(), room: PATHS_MAX }
    }

    /// Adds a file, within the limits of a torrent.
    pub(crate) fn push(&mut self, file: RawFile<'a>) -> Result<(), MetainfoError> {
        if self.files.len() == FILES_MAX {
            return Err(MetainfoError::TooManyFiles(FILES_MAX));
        }
        let taken = file.path.iter().map(|part| part.len() + size_of::<String>()).sum();
        let room = self.room.checked_sub(taken);
        self.room = room.ok_or_else(|| MetainfoError::PathLength(sanitise::shown(&file.path)))?;
        self.files.push(file);
        Ok(())
    }

    /// Returns the files; at least one.
    pub(crate) fn finish(self) -> Result<Vec<RawFile<'a>>, MetainfoError> {
        if self.files.is_empty() { Err(MetainfoError::NoFiles) } else { Ok(self.files) }
    }
}
