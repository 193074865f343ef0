//! Locks on a torrent's files themselves, valid across state directories, processes and users.
//!
//! Decides: what is locked, and what two torrents can share.
//! Must not know: pieces, journals.
//! Invariant: while a torrent writes, no other torrent that locks here reads or writes below its
//! file or directory.
//!
//! A torrent locks its top, the one file or the directory of all files: exclusively while it
//! writes, shared while it reads. Every torrent also takes a shared lock on the directory that the
//! user named, and on those above it. So a torrent that writes a whole directory meets a torrent
//! whose file lies deep in it. docs/decisions/0016 has the alternatives. The system releases the
//! locks when the process ends.

use bt_piece_store::{Directory, OpenError, StoreError, Use};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Held while a torrent is worked on in a directory. The system releases it when the process ends
/// in any way.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] Option<File>);

impl Lock {
    /// Makes the lock of a session that saves nothing.
    pub(crate) fn none() -> Lock {
        Lock(None)
    }

    /// Takes a file that is locked.
    pub(crate) fn of(file: File) -> Lock {
        Lock(Some(file))
    }
}

/// A torrent's lock on its files. Empty on a file system without locks.
#[derive(Debug, Default)]
pub(crate) struct Claim(Option<OwnedFd>);

impl Claim {
    /// Locks `top` in a directory: a file, or a directory, which is made if it is missing and will
    /// be written.
    pub(crate) fn take(
        dir: &Directory,
        top: &Path,
        is_file: bool,
        how: Use,
    ) -> Result<Claim, OpenError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(dir, top, flags, Mode::empty());
        let mut found = open();
        if matches!(found, Err(Errno::NOENT)) && how == Use::Write && !is_file {
            match rustix::fs::mkdirat(dir, top, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => found = open(),
                Err(_) => {}
            }
        }
        let held = match (found, how) {
            (Ok(held), _) => held,
            (Err(error @ (Errno::MFILE | Errno::NFILE)), Use::Write) => {
                return Err(StoreError { path: top.to_owned(), source: error.into() }.into());
            }
            // The later read or write reports why it cannot be opened.
            (Err(_), _) => return Ok(Claim(None)),
        };
        let wanted = match how {
            Use::Read => FlockOperation::NonBlockingLockShared,
            Use::Write => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&held, wanted) {
            Ok(()) => Ok(Claim(Some(held))),
            Err(Errno::WOULDBLOCK) => {
                // A shared lock succeeds only if the other torrent reads.
                let is_written = flock(&held, FlockOperation::NonBlockingLockShared).is_err();
                Err(OpenError::Owned { path: top.to_owned(), is_written })
            }
            Err(error) => {
                tracing::debug!(path = %top.display(), %error, "no locks here");
                Ok(Claim(None))
            }
        }
    }

    /// Takes the lock for writing again, as the torrent wants more files. Fails while another
    /// torrent reads them.
    pub(crate) fn own(
        &mut self,
        dir: &Directory,
        top: &Path,
        is_file: bool,
    ) -> Result<(), OpenError> {
        match &self.0 {
            None => *self = Claim::take(dir, top, is_file, Use::Write)?,
            Some(held) => {
                let taken = flock(held, FlockOperation::NonBlockingLockExclusive);
                if taken == Err(Errno::WOULDBLOCK) {
                    // The failed change may have let the shared lock go.
                    let _ = flock(held, FlockOperation::NonBlockingLockShared);
                    return Err(OpenError::Owned { path: top.to_owned(), is_written: false });
                }
            }
        }
        Ok(())
    }

    /// Shares the lock, as the torrent writes no more.
    pub(crate) fn share(&self) {
        if let Some(held) = &self.0 {
            let _ = flock(held, FlockOperation::NonBlockingLockShared);
        }
    }
}

/// Takes a shared lock on a directory above a torrent's files. False if a torrent writes all that
/// is in it.
pub(crate) fn live_below(dir: &impl AsFd) -> bool {
    !matches!(flock(dir, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::dirs::Dirs;
    use Use::{Read, Write};

    /// Locks `second` while `first` is held. Each is a directory, a name in it, whether it is a
    /// file, and its use.
    fn meet(first: (&str, &str, bool, Use), second: (&str, &str, bool, Use)) -> &'static str {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(base.path().join("real/Show/S1")).unwrap();
        std::fs::write(base.path().join("real/Show/S1/ep1"), "x").unwrap();
        std::fs::hard_link(base.path().join("real/Show/S1/ep1"), base.path().join("real/twin"))
            .unwrap();
        std::os::unix::fs::symlink("real", base.path().join("link")).unwrap();
        let take = |(dir, top, is_file, how): (&str, &str, bool, Use)| {
            // A session of its own.
            let held =
                Dirs::default().hold(&base.path().join(dir)).map_err(|error| match error {
                    OpenError::Owned { is_written: true, .. } => "directory",
                    error => panic!("{error}"),
                })?;
            match Claim::take(&held, Path::new(top), is_file, how) {
                Ok(claim) => Ok((held, claim)),
                Err(OpenError::Owned { is_written, .. }) => {
                    Err(if is_written { "written" } else { "read" })
                }
                Err(error) => panic!("{error}"),
            }
        };
        let _first = take(first).unwrap();
        take(second).err().unwrap_or("both")
    }

    #[test]
    fn what_two_torrents_can_share() {
        let show = |dir, how| (dir, "Show", false, how);
        let table = [
            (show("real", Write), show("real", Write), "written"),
            (show("real", Write), show("real", Read), "written"),
            (show("real", Read), show("real", Write), "read"),
            (show("real", Read), show("real", Read), "both"),
            (show("real", Write), show("link", Write), "written"),
            (show("real", Write), show("real/./Show/..", Write), "written"),
            (show("real", Write), ("real", "Other", false, Write), "both"),
            (show("real", Write), ("real", "show", false, Write), "both"),
            (show("real", Write), ("real/Show/S1", "ep1", true, Write), "directory"),
            (("real/Show/S1", "ep1", true, Read), show("real", Write), "read"),
            (("real/Show/S1", "ep1", true, Read), show("real", Read), "both"),
            (("real/Show/S1", "ep1", true, Write), ("real", "twin", true, Write), "written"),
            (("real/Show", "S1", false, Write), ("real/Show", "S1", true, Write), "written"),
        ];
        for (first, second, expected) in table {
            assert_eq!(meet(first, second), expected, "{first:?} {second:?}");
        }
    }

    #[test]
    fn a_shared_claim_admits_readers_and_no_writer() {
        let base = tempfile::tempdir().unwrap();
        let dir = Dirs::default().hold(base.path()).unwrap();
        let take = |how| Claim::take(&dir, Path::new("t"), false, how);
        let claim = take(Write).unwrap();
        assert!(take(Read).is_err());
        claim.share();
        assert!(take(Read).is_ok() && take(Write).is_err());
        drop(claim);
        assert!(take(Write).is_ok());
    }
}
