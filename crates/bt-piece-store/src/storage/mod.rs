//! Files as the store needs them: few blocking operations, relative to one root directory.
//!
//! Decides: the operations and their errors.
//! Must not know: torrents, pieces.
//! Invariant: an implementation never changes anything outside its root, nor over a symlink below
//! it.

mod disk;
mod faulty;
mod file_identity;
mod mem;
mod open_files;
mod seen;

pub use disk::{Directory, DiskStorage, Place};
pub use faulty::{FaultyStorage, Op};
pub use mem::MemStorage;
pub use open_files::OpenFiles;

pub(crate) use crate::identity::{Change, FolderId, Stat};
use bt_types::StoreFault;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// The bytes of files below a root. Paths are relative, without `.` and `..`.
///
/// A program's own storage implements the methods without a default, and may implement the others.
/// Most calls may wait for a device. [`Storage::try_read_at`], and [`Storage::lend`] without
/// `wait`, wait at most for a file to be opened.
pub trait Storage: Send + Sync {
    /// Reads until `buf` is full or the file ends; returns the number of bytes read.
    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `data` at `offset` of a file that exists.
    fn write_at(&self, path: &Path, offset: u64, data: &[IoSlice<'_>]) -> io::Result<()>;

    /// Returns the length of a file; `None` when there is none.
    fn len(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Makes an existing file this long: cut, or grown with a hole.
    fn set_len(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Makes the file's bytes and length survive a power cut.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Makes an empty file, and the directories it lies in. Fails when the name is taken.
    fn create_new(&self, path: &Path) -> io::Result<()>;

    /// Puts a file in the place of another one, durably.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Reads like [`Storage::read_at`], from memory only: `None` when it would have to wait for a
    /// device.
    fn try_read_at(
        &self,
        _path: &Path,
        _offset: u64,
        _buf: &mut [u8],
    ) -> io::Result<Option<usize>> {
        Ok(None)
    }

    /// Lends the file itself to `take`, which passes its pages on without copying. Then checks
    /// whether the file changed, as after a read.
    ///
    /// False when a device may have to be waited for and `wait` is false. An error when files have
    /// no descriptors here.
    fn lend(
        &self,
        _path: &Path,
        _wait: bool,
        _take: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Finds the next byte that may be outside a hole, at `offset` or after it; `None` when only a
    /// hole follows.
    fn next_data(&self, _path: &Path, offset: u64) -> io::Result<Option<u64>> {
        Ok(Some(offset))
    }

    /// Syncs many files, all at once where that is faster. The error names the first file that is
    /// known to have failed.
    fn sync_many(&self, paths: &[&Path]) -> Result<(), StoreError> {
        paths.iter().try_for_each(|path| self.sync(path).map_err(StoreError::at(path)))
    }

    /// Makes the names of new files survive a power cut.
    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    /// Returns the means to see what other programs did to the files. `None` where no other program
    /// changes them: a file is then known by its path and length alone.
    fn identity(&self) -> Option<&dyn Identity> {
        None
    }
}

/// Shows what other programs did to the files of a storage: which file has a path now, and how it
/// changed since it was looked at.
pub trait Identity {
    /// Stats a file; `None` when there is none. Anything other than a regular file is an error.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;

    /// Reads like [`Storage::read_at`], even a file that changed: to hash it.
    fn read_raw(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Returns the identity of the root directory; `None` where there are no directories, or where
    /// they cannot be told apart.
    fn folder(&self) -> io::Result<Option<FolderId>> {
        Ok(None)
    }

    /// Returns how other programs changed the file since it was first looked at or trusted. Reads
    /// and writes of a changed file are errors.
    fn change(&self, _path: &Path) -> io::Result<Change> {
        Ok(Change::None)
    }

    /// Returns the stat to compare with later: after our last write, or when the file was first
    /// looked at or trusted.
    fn noted(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.stat(path)
    }

    /// Trusts a file that was found right at this stat, unless its content changed since; returns
    /// whether.
    fn trust(&self, _path: &Path, _stat: &Stat) -> io::Result<bool> {
        Ok(true)
    }
}

/// The methods of [`Identity`], for any storage. Without [`Storage::identity`] a file is known by
/// its path and length alone, and no other program changes it.
impl dyn Storage + '_ {
    pub(crate) fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.identity() {
            Some(identity) => identity.stat(path),
            None => Ok(self.len(path)?.map(Stat::of_len)),
        }
    }

    pub(crate) fn read_raw(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        match self.identity() {
            Some(identity) => identity.read_raw(path, offset, buf),
            None => self.read_at(path, offset, buf),
        }
    }

    pub(crate) fn folder(&self) -> io::Result<Option<FolderId>> {
        self.identity().map_or(Ok(None), Identity::folder)
    }

    pub(crate) fn change(&self, path: &Path) -> io::Result<Change> {
        self.identity().map_or(Ok(Change::None), |identity| identity.change(path))
    }

    pub(crate) fn noted(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.identity() {
            Some(identity) => identity.noted(path),
            None => self.stat(path),
        }
    }

    pub(crate) fn trust(&self, path: &Path, stat: &Stat) -> io::Result<bool> {
        self.identity().map_or(Ok(true), |identity| identity.trust(path, stat))
    }
}

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct StoreError {
    /// The file, relative to the root of its storage.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl StoreError {
    /// Makes a function for `map_err`.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError { path, source }
    }

    /// Returns the cause.
    pub fn fault(&self) -> StoreFault {
        fault_of(&self.source)
    }
}

/// Returns the cause behind an error of the system.
pub fn fault_of(error: &io::Error) -> StoreFault {
    use io::ErrorKind::{
        AlreadyExists, CrossesDevices, FileTooLarge, InvalidData, IsADirectory, NotADirectory,
        NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull, UnexpectedEof,
    };
    const TOO_MANY_FILES: [i32; 2] =
        [rustix::io::Errno::MFILE.raw_os_error(), rustix::io::Errno::NFILE.raw_os_error()];
    const SYMLINK: i32 = rustix::io::Errno::LOOP.raw_os_error();
    if error.get_ref().is_some_and(|source| source.is::<NewerFormat>()) {
        return StoreFault::Newer;
    }
    match (error.raw_os_error(), error.kind()) {
        (Some(code), _) if TOO_MANY_FILES.contains(&code) => StoreFault::TooManyFiles,
        (Some(SYMLINK), _) => StoreFault::Changed,
        (_, StorageFull | QuotaExceeded | FileTooLarge) => StoreFault::NoSpace,
        (_, PermissionDenied | ReadOnlyFilesystem) => StoreFault::Permission,
        (_, NotFound) => StoreFault::Missing,
        (_, AlreadyExists) => StoreFault::Foreign,
        (_, CrossesDevices | InvalidData | IsADirectory | NotADirectory | UnexpectedEof) => {
            StoreFault::Changed
        }
        _ => StoreFault::Io,
    }
}

/// Makes the error for a foreign file under the name of a torrent's file.
pub(crate) fn foreign() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "it is there and is none of the torrent's; move it away, or choose another directory with --dir",
    )
}

/// A file of the state has a newer format.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "a newer version of bt wrote it (format {found}, and this version knows {known}): use that version, or keep the state elsewhere with --state DIR"
)]
struct NewerFormat {
    found: u8,
    known: u8,
}

/// Makes the error for a file of a newer format: it is not read, and never overwritten.
pub(crate) fn newer_format(found: u8, known: u8) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, NewerFormat { found, known })
}

/// Makes the error for a file that another program touched.
pub(crate) fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "another program changed it")
}

/// Makes the error for a directory, link, pipe or device where a file should be.
fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_names() {
        let table = [
            (io::Error::from_raw_os_error(28), StoreFault::NoSpace),
            (io::Error::from_raw_os_error(122), StoreFault::NoSpace),
            (io::Error::from_raw_os_error(27), StoreFault::NoSpace),
            (io::Error::from_raw_os_error(13), StoreFault::Permission),
            (io::Error::from_raw_os_error(30), StoreFault::Permission),
            (io::Error::from_raw_os_error(2), StoreFault::Missing),
            (io::Error::from_raw_os_error(24), StoreFault::TooManyFiles),
            (io::Error::from_raw_os_error(40), StoreFault::Changed),
            (io::Error::from_raw_os_error(21), StoreFault::Changed),
            (io::Error::from_raw_os_error(17), StoreFault::Foreign),
            (not_a_file(), StoreFault::Changed),
            (io::Error::from_raw_os_error(5), StoreFault::Io),
        ];
        for (error, fault) in table {
            assert_eq!(fault_of(&error), fault, "{error}");
        }
    }
}
