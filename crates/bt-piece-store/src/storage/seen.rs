//! What files looked like when they were last known to be ours, to notice that somebody else changed one.
//!
//! Decides: what counts as a change. Must not know: what is in a file, how it is opened.
//! Invariant: a file that somebody else changed stays changed; what we write ourselves is no change.
//!
//! Between a write of ours and the sync that ends it nothing is compared: times may still move then, as on a network's file systems.

use super::Stat;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;

/// What tells one state of one file from others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Face {
    /// The file itself, whatever its name: device and inode.
    pub(super) id: (u64, u64),
    pub(super) stat: Stat,
    /// Names that it has; none when it was deleted.
    pub(super) links: u64,
}

/// The files that were looked at.
#[derive(Default, Debug)]
pub(super) struct Seen {
    /// By a keyed hash of the path: a torrent may have half a million of them.
    files: HashMap<u64, Known>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    face: Face,
    /// We write, or wrote and have not synced.
    ours: bool,
}

impl Seen {
    /// A file is about to be read, was read, or is about to be written: an error if it is not as it was when it was looked at first.
    pub(super) fn check(&mut self, path: &Path, now: Face) -> io::Result<()> {
        let known = self.files.entry(self.hasher.hash_one(path)).or_insert(Known { face: now, ours: false });
        if now.links == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        if (known.ours && known.face.id == now.id) || known.face == now {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "somebody else changed it"))
    }

    /// We are about to write a file that [`Seen::check`] let pass.
    pub(super) fn begin(&mut self, path: &Path) {
        if let Some(known) = self.files.get_mut(&self.hasher.hash_one(path)) {
            known.ours = true;
        }
    }

    /// Whether we wrote, and have not synced.
    pub(super) fn is_ours(&self, path: &Path) -> bool {
        self.files.get(&self.hasher.hash_one(path)).is_some_and(|known| known.ours)
    }

    /// What we wrote is synced, and the file looks so.
    pub(super) fn settle(&mut self, path: &Path, now: Face) {
        if let Some(known) = self.files.get_mut(&self.hasher.hash_one(path)).filter(|known| known.ours) {
            *known = Known { face: now, ours: false };
        }
    }

    /// Whether [`Seen::check`] would find a change.
    pub(super) fn is_changed(&self, path: &Path, now: Face) -> bool {
        let known = self.files.get(&self.hasher.hash_one(path));
        known.is_some_and(|known| known.face != now && (!known.ours || known.face.id != now.id))
    }

    /// The file was found right while it looked so.
    pub(super) fn trust(&mut self, path: &Path, face: Face) {
        self.files.insert(self.hasher.hash_one(path), Known { face, ours: false });
    }

    /// The file is removed or made by us: whatever has its name next is looked at anew.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(&self.hasher.hash_one(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(ino: u64, mtime_ns: i64, links: u64) -> Face {
        Face { id: (1, ino), stat: Stat { len: 5, mtime_ns, ctime_ns: mtime_ns }, links }
    }

    #[test]
    fn what_others_do_is_a_change_and_what_we_do_is_none() {
        let (mut seen, path) = (Seen::default(), Path::new("f"));
        let first = face(1, 1, 1);
        assert!(seen.check(path, first).is_ok() && seen.check(path, first).is_ok());
        for other in [face(1, 2, 1), face(2, 1, 1), face(1, 1, 2)] {
            assert!(seen.is_changed(path, other));
            assert_eq!(seen.check(path, other).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(seen.check(path, face(1, 1, 0)).unwrap_err().kind(), io::ErrorKind::NotFound);

        assert!(!seen.is_ours(path));
        seen.begin(path);
        assert!(seen.is_ours(path));
        assert!(seen.check(path, face(1, 3, 1)).is_ok(), "not synced: times move");
        seen.settle(path, face(1, 4, 1));
        assert!(!seen.is_ours(path));
        assert!(seen.check(path, face(1, 4, 1)).is_ok() && seen.check(path, first).is_err());
        seen.settle(path, face(1, 5, 1));
        assert!(seen.check(path, face(1, 5, 1)).is_err(), "a sync of what we did not write makes nothing ours");

        seen.trust(path, first);
        assert!(seen.check(path, first).is_ok());
        seen.forget(path);
        assert!(seen.check(path, face(9, 9, 1)).is_ok());
    }
}
