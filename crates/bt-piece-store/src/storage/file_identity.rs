//! Stats of files of the operating system.
//!
//! Decides: which system calls are used.
//! Must not know: what a difference means.
//! Invariant: only a regular file has an identity.

use super::not_a_file;
use crate::identity::{FolderId, Stat};
use rustix::fs::{AtFlags, FileType};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// The stat and the number of names of an open file, at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FileIdentity {
    pub(super) stat: Stat,
    /// Its number of names; 0 when it was deleted.
    pub(super) links: u64,
}

/// Stats an open file. Anything other than a regular file is an error.
pub(super) fn identity_of(file: &OwnedFd) -> io::Result<FileIdentity> {
    match identity_with_birth(file, None, AtFlags::empty())? {
        Some(identity) => Ok(identity),
        None => identity_from(&rustix::fs::fstat(file)?),
    }
}

/// Stats a name in a directory. Anything other than a regular file is an error.
pub(super) fn identity_at(dir: &OwnedFd, name: &Path, flags: AtFlags) -> io::Result<FileIdentity> {
    match identity_with_birth(dir, Some(name), flags)? {
        Some(identity) => Ok(identity),
        None => identity_from(&rustix::fs::statat(dir, name, flags)?),
    }
}

/// Returns the identity of an open directory.
pub(super) fn folder_of(dir: BorrowedFd<'_>) -> io::Result<FolderId> {
    match folder_with_birth(dir)? {
        Some(folder) => Ok(folder),
        None => {
            let stat = rustix::fs::fstat(dir)?;
            // The types of these fields differ between systems.
            #[allow(clippy::unnecessary_cast)]
            Ok(FolderId { id: (stat.st_dev as u64, stat.st_ino as u64), birth_ns: None })
        }
    }
}

#[cfg(target_os = "linux")]
fn folder_with_birth(dir: BorrowedFd<'_>) -> io::Result<Option<FolderId>> {
    use rustix::fs::StatxFlags;
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let stat = match rustix::fs::statx(dir, Path::new(""), AtFlags::EMPTY_PATH, wanted) {
        Err(rustix::io::Errno::NOSYS) => return Ok(None),
        stat => stat?,
    };
    let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let birth = nanoseconds(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec.into());
    let id = (rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino);
    Ok(Some(FolderId { id, birth_ns: has_birth.then_some(birth) }))
}

#[cfg(not(target_os = "linux"))]
fn folder_with_birth(_: BorrowedFd<'_>) -> io::Result<Option<FolderId>> {
    Ok(None)
}

/// Stats a file without its birth. The types of these fields differ between systems, so plain
/// casts.
#[allow(clippy::unnecessary_cast)]
fn identity_from(stat: &rustix::fs::Stat) -> io::Result<FileIdentity> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(not_a_file());
    }
    let stat_of_it = Stat {
        id: (stat.st_dev as u64, stat.st_ino as u64),
        birth_ns: None,
        len: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    };
    Ok(FileIdentity { stat: stat_of_it, links: stat.st_nlink as u64 })
}

/// Stats the file of this name in `fd`, or `fd` itself; `None` where the kernel or a sandbox does
/// not know the call.
#[cfg(target_os = "linux")]
fn identity_with_birth(
    fd: &OwnedFd,
    name: Option<&Path>,
    flags: AtFlags,
) -> io::Result<Option<FileIdentity>> {
    use rustix::fs::{StatxFlags, StatxTimestamp};
    let flags = if name.is_some() { flags } else { AtFlags::EMPTY_PATH };
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat = match rustix::fs::statx(fd, name.unwrap_or(Path::new("")), flags, wanted) {
        Err(rustix::io::Errno::NOSYS) => return Ok(None),
        stat => stat?,
    };
    if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
        return Err(not_a_file());
    }
    let time = |time: StatxTimestamp| nanoseconds(time.tv_sec, time.tv_nsec.into());
    let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let stat_of_it = Stat {
        id: (rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino),
        birth_ns: has_birth.then(|| time(stat.stx_btime)),
        len: stat.stx_size,
        mtime_ns: time(stat.stx_mtime),
        ctime_ns: time(stat.stx_ctime),
    };
    Ok(Some(FileIdentity { stat: stat_of_it, links: stat.stx_nlink.into() }))
}

/// Returns `None`: other systems tell files apart without their birth.
#[cfg(not(target_os = "linux"))]
fn identity_with_birth(
    _: &OwnedFd,
    _: Option<&Path>,
    _: AtFlags,
) -> io::Result<Option<FileIdentity>> {
    Ok(None)
}

/// Converts a time to nanoseconds. Times before 1678 or after 2262 do not matter.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
