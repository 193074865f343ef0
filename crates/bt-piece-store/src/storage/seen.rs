//! The last known stats of files, to notice that another program touched a file.
//!
//! Decides: when a file is in doubt.
//! Must not know: what is in a file, how it is opened.
//! Invariant: a file in doubt stays so until it is trusted again; our own writes bring no doubt.
//!
//! Our write changes a file's times: the stat is compared right before and noted right after. A
//! write of another program between these two looks like ours.

use super::file_identity::FileIdentity;
use crate::identity::{Change, Stat};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;

/// The files that were looked at.
#[derive(Default, Debug)]
pub(super) struct Seen {
    /// By a keyed hash of the path: a torrent may have half a million files.
    files: HashMap<u64, Known>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    stat: Stat,
    doubt: Change,
    /// We are writing.
    writing: bool,
    /// We wrote, and have not synced.
    unsynced: bool,
}

impl Known {
    fn new(stat: Stat) -> Known {
        Known { stat, doubt: Change::None, writing: false, unsynced: false }
    }
}

impl Seen {
    fn known(&mut self, path: &Path) -> Option<&mut Known> {
        self.files.get_mut(&self.hasher.hash_one(path))
    }

    /// Looks at a file; returns what happened since the first look.
    pub(super) fn look(&mut self, path: &Path, now: Stat) -> Change {
        let known = self.files.entry(self.hasher.hash_one(path)).or_insert_with(|| Known::new(now));
        let is_ours = known.writing && known.stat.id == now.id;
        if !is_ours {
            known.doubt = known.doubt.max(known.stat.change_to(&now));
        }
        known.doubt
    }

    /// Looks at a file that was read or will be written; fails if it is in doubt.
    pub(super) fn check(&mut self, path: &Path, now: FileIdentity) -> io::Result<()> {
        if now.links == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        match self.look(path, now.stat) {
            Change::None => Ok(()),
            Change::Attributes | Change::Content => Err(super::changed()),
        }
    }

    /// Notes that a write of ours begins.
    pub(super) fn begin(&mut self, path: &Path) {
        if let Some(known) = self.known(path) {
            (known.writing, known.unsynced) = (true, true);
        }
    }

    /// Notes that our write has ended, and the stat after it.
    pub(super) fn end(&mut self, path: &Path, now: Stat) {
        if let Some(known) = self.known(path) {
            (known.writing, known.stat) = (false, now);
        }
    }

    /// Returns whether we wrote, and have not synced.
    pub(super) fn is_unsynced(&mut self, path: &Path) -> bool {
        self.known(path).is_some_and(|known| known.unsynced)
    }

    /// Notes that our writes are synced.
    pub(super) fn synced(&mut self, path: &Path) {
        if let Some(known) = self.known(path) {
            known.unsynced = false;
        }
    }

    /// Returns the stat to compare with later, marked if only attributes changed.
    pub(super) fn noted(&mut self, path: &Path) -> Option<Stat> {
        let known = self.known(path)?;
        Some(if known.doubt == Change::Attributes { known.stat.doubted() } else { known.stat })
    }

    /// Trusts a file that was found right at stat `then`; returns what happened since.
    pub(super) fn trust(&mut self, path: &Path, then: &Stat, now: Stat) -> Change {
        let change = then.change_to(&now);
        if change < Change::Content {
            let unsynced = self.is_unsynced(path);
            self.files.insert(self.hasher.hash_one(path), Known { unsynced, ..Known::new(now) });
        }
        change
    }

    /// Forgets a file that we remove or make: its next look is a first one.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.remove(&self.hasher.hash_one(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(ino: u64, mtime_ns: i64, ctime_ns: i64) -> Stat {
        Stat { id: (1, ino), birth_ns: None, len: 5, mtime_ns, ctime_ns }
    }

    fn check(seen: &mut Seen, stat: Stat) -> bool {
        seen.check(Path::new("f"), FileIdentity { stat, links: 1 }).is_ok()
    }

    #[test]
    fn what_others_do_brings_doubt_and_what_we_do_brings_none() {
        let path = Path::new("f");
        let first = stat(1, 1, 1);
        for (other, change) in [
            (stat(1, 2, 2), Change::Content),
            (stat(2, 1, 1), Change::Content),
            (stat(1, 1, 2), Change::Attributes),
        ] {
            let mut seen = Seen::default();
            assert!(check(&mut seen, first) && check(&mut seen, first));
            assert!(!check(&mut seen, other) && !check(&mut seen, first), "doubt stays");
            assert_eq!(seen.look(path, first), change);
            assert_eq!(
                seen.noted(path).unwrap().change_to(&first),
                if change == Change::Content { Change::None } else { change }
            );
            assert_eq!(
                seen.trust(path, &first, stat(1, 9, 9)),
                Change::Content,
                "it changed while it was looked at"
            );
            assert!(!check(&mut seen, first));
            assert_eq!(seen.trust(path, &other, Stat { ctime_ns: 7, ..other }), Change::Attributes);
            assert!(check(&mut seen, Stat { ctime_ns: 7, ..other }));
        }

        let mut seen = Seen::default();
        assert!(check(&mut seen, first) && !seen.is_unsynced(path));
        seen.begin(path);
        assert!(check(&mut seen, stat(1, 3, 3)), "it may be read while we write");
        seen.end(path, stat(1, 4, 4));
        assert!(seen.is_unsynced(path) && check(&mut seen, stat(1, 4, 4)));
        seen.synced(path);
        assert!(
            !seen.is_unsynced(path) && !check(&mut seen, stat(1, 5, 5)),
            "a change between a write and its sync shows"
        );
        seen.forget(path);
        assert!(check(&mut seen, stat(9, 9, 9)));
        let gone = seen.check(path, FileIdentity { stat: stat(9, 9, 9), links: 0 });
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
