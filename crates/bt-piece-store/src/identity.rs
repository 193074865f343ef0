//! What is trusted of a file that was verified or written before.
//!
//! Decides: what a difference between two looks at a file means, and which pieces are a sample.
//! Must not know: disks, journals.
//! Invariant: bytes are trusted without hashing only while length, time of change and inode are as
//! noted, and the birth where it is known.
//!
//! docs/decisions/0017 has the reasons, and says what a sample catches.

use bt_types::{Piece, Rng};

/// Most bytes that a sample reads, unless one piece is longer.
const SAMPLE_BYTES: u64 = 16 << 20;

/// What tells one state of a file from others. Times are nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stat {
    /// Device and inode: the file itself under any name. A later file may get the inode of a
    /// removed one.
    pub id: (u64, u64),
    /// When the file was made, where that is known.
    pub birth_ns: Option<i64>,
    /// Length in bytes.
    pub len: u64,
    /// When the content last changed. Programs can set it.
    pub mtime_ns: i64,
    /// When content or attributes last changed. No program can set it.
    pub ctime_ns: i64,
}

/// What tells one directory from others, under any name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FolderId {
    /// Device and inode.
    pub id: (u64, u64),
    /// When it was made, where that is known.
    pub birth_ns: Option<i64>,
}

impl FolderId {
    /// Returns whether `now` is the same directory, or one made in its place on the same file
    /// system after `since`.
    ///
    /// A mount point fails this: its directory was there before.
    pub(crate) fn is_succeeded_by(&self, now: &FolderId, since: i64) -> bool {
        let is_same = self.id == now.id && self.birth_ns == now.birth_ns;
        let is_younger = now.birth_ns.is_some_and(|birth| birth > since);
        is_same || (self.id.0 == now.id.0 && is_younger)
    }
}

/// What happened to a file between two looks, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Change {
    /// Nothing.
    #[default]
    None,
    /// Its inode was touched and its content seems to be the same: a link, `chmod`, `chown`, a
    /// rename, a backup's visit. A write with a time that was set back looks like this too.
    Attributes,
    /// Its content changed, or another file has its name.
    Content,
}

impl Stat {
    /// Compares this earlier stat of a file with `now`.
    pub fn change_to(&self, now: &Stat) -> Change {
        match () {
            () if !self.is_same_file(now)
                || self.len != now.len
                || self.mtime_ns != now.mtime_ns =>
            {
                Change::Content
            }
            // The number of a device may change when the system starts.
            () if self.id != now.id || self.ctime_ns != now.ctime_ns => Change::Attributes,
            () => Change::None,
        }
    }

    /// Makes the stat of a file of which only the length is known.
    pub(crate) fn of_len(len: u64) -> Stat {
        Stat { id: (0, 0), birth_ns: None, len, mtime_ns: 0, ctime_ns: 0 }
    }

    /// Returns whether this is the same file with any content. A birth that only one of them has is
    /// not compared.
    pub(crate) fn is_same_file(&self, other: &Stat) -> bool {
        let births = self.birth_ns.zip(other.birth_ns);
        self.id.1 == other.id.1 && births.is_none_or(|(birth, other)| birth == other)
    }

    /// Marks the stat, so that any later look finds at least a changed attribute.
    pub(crate) fn doubted(self) -> Stat {
        Stat { ctime_ns: i64::MIN, ..self }
    }
}

/// A file as it was when we last wrote it, or found it right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Noted {
    pub(crate) stat: Stat,
    /// We made the file: bytes beyond its proper length are not the user's.
    pub(crate) made: bool,
}

impl Noted {
    /// Returns whether this is the file, with any content.
    pub(crate) fn is_file(&self, stat: &Stat) -> bool {
        self.stat.is_same_file(stat)
    }
}

/// Picks a sample of the pieces: a random one of each of as many equal parts as may be read.
///
/// A changed stretch longer than two parts is certain to be met.
pub(crate) fn sample(pieces: &[Piece], piece_length: u32, rng: &mut Rng) -> Vec<Piece> {
    let count =
        usize::try_from(SAMPLE_BYTES / u64::from(piece_length.max(1))).unwrap_or(usize::MAX).max(1);
    if pieces.len() <= count {
        return pieces.to_vec();
    }
    let part = |n: usize| n * pieces.len() / count;
    (0..count)
        .filter_map(|n| pieces.get(part(n) + rng.index(part(n + 1) - part(n))).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_types::Geometry;

    #[test]
    fn what_a_difference_means() {
        let then = Stat { id: (1, 2), birth_ns: Some(3), len: 3, mtime_ns: 4, ctime_ns: 5 };
        let table = [
            ("nothing", then, Change::None),
            (
                "a link, chmod, chown, a rename and back",
                Stat { ctime_ns: 6, ..then },
                Change::Attributes,
            ),
            ("the system started anew", Stat { id: (9, 2), ..then }, Change::Attributes),
            ("a write", Stat { mtime_ns: 6, ctime_ns: 6, ..then }, Change::Content),
            (
                "a time that was set, also back",
                Stat { mtime_ns: 1, ctime_ns: 6, ..then },
                Change::Content,
            ),
            ("longer", Stat { len: 4, ..then }, Change::Content),
            ("cut", Stat { len: 0, ..then }, Change::Content),
            (
                "a copy with its times in its place",
                Stat { id: (1, 7), ctime_ns: 6, ..then },
                Change::Content,
            ),
            (
                "such a copy that got its inode",
                Stat { birth_ns: Some(6), ctime_ns: 6, ..then },
                Change::Content,
            ),
            ("a birth that was not noted", Stat { birth_ns: None, ..then }, Change::None),
        ];
        for (what, now, change) in table {
            assert_eq!(then.change_to(&now), change, "{what}");
            assert_eq!(then.doubted().change_to(&now), change.max(Change::Attributes), "{what}");
        }
    }

    #[test]
    fn a_sample_is_spread_and_bounded() {
        let geometry = Geometry::new(1 << 30, 1 << 18).unwrap();
        let pieces: Vec<Piece> = geometry.pieces().collect();
        let mut rng = Rng::from_seed(1);
        for few in [0, 1, 64] {
            assert_eq!(sample(&pieces[..few], 1 << 18, &mut rng), &pieces[..few]);
        }
        for _ in 0..50 {
            let found = sample(&pieces, 1 << 18, &mut rng);
            assert_eq!(found.len(), 64);
            assert!(
                found.iter().enumerate().all(|(n, piece)| piece.index() / 64 == n),
                "one of each part"
            );
        }
        assert_eq!(sample(&pieces, 64 << 20, &mut rng).len(), 1, "however long a piece is");
    }
}
