//! Defines the result of checking a piece, and the faults of storage.
//!
//! Decides: the closed list of causes. Must not know: errno values, paths.
//! Invariant: each cause has one name, the same in events, logs and tests.

use core::fmt;

/// The result of checking a piece against its digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PieceCheck {
    /// The digest matched and the bytes are written.
    Good,
    /// The digest did not match; nothing was written.
    Bad,
}

/// Why a torrent's storage cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StoreFault {
    /// The file system is full, or a quota is used up.
    NoSpace,
    /// The program may not read or write there.
    Permission,
    /// The file or directory is gone.
    Missing,
    /// The file is not ours any more: another size, another kind, a link.
    Changed,
    /// A file that does not belong to the torrent has the name of one of its files.
    Foreign,
    /// Another torrent has the files, and they cannot be shared for writing.
    Owned,
    /// A newer version wrote a file of the state, in a format that this one does not know.
    Newer,
    /// No file descriptor is left.
    TooManyFiles,
    /// The device failed, or gave any other error.
    Io,
}

impl StoreFault {
    /// Returns the name in `--json` events.
    pub fn name(self) -> &'static str {
        match self {
            StoreFault::NoSpace => "no_space",
            StoreFault::Permission => "permission",
            StoreFault::Missing => "missing",
            StoreFault::Changed => "changed",
            StoreFault::Foreign => "foreign",
            StoreFault::Owned => "owned",
            StoreFault::Newer => "newer_format",
            StoreFault::TooManyFiles => "too_many_files",
            StoreFault::Io => "io",
        }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoreFault::NoSpace => "no space left on the disk",
            StoreFault::Permission => "no permission for the files",
            StoreFault::Missing => "a file is missing",
            StoreFault::Changed => "a file was changed by another program",
            StoreFault::Foreign => "a file that is none of the torrent's is in the way",
            StoreFault::Owned => "another torrent has the files",
            StoreFault::Newer => "a newer version wrote the saved state",
            StoreFault::TooManyFiles => "no file descriptor is left",
            StoreFault::Io => "the disk gave an error",
        })
    }
}

impl core::error::Error for StoreFault {}
