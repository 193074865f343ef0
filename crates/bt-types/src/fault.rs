//! What a disk says of a piece or of itself.
//!
//! Decides: the closed list of causes. Must not know: errno values, paths.
//! Invariant: each cause has one name, the same in events, logs and tests.

use core::fmt;

/// What checking a piece against its digest found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
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
    /// We may not read or write there.
    Permission,
    /// The file or directory is gone.
    Missing,
    /// The file is not the one that we wrote: other size, other kind, a link.
    Changed,
    /// A file that is none of the torrent's has the name of one.
    Foreign,
    /// No file descriptor is left.
    TooManyFiles,
    /// The device failed, or gave any other error.
    Io,
}

impl StoreFault {
    /// The name in `--json` events.
    pub fn name(self) -> &'static str {
        match self {
            StoreFault::NoSpace => "no_space",
            StoreFault::Permission => "permission",
            StoreFault::Missing => "missing",
            StoreFault::Changed => "changed",
            StoreFault::Foreign => "foreign",
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
            StoreFault::TooManyFiles => "no file descriptor is left",
            StoreFault::Io => "the disk gave an error",
        })
    }
}

impl core::error::Error for StoreFault {}
