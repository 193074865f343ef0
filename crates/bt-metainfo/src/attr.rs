//! Attributes of a file (BEP 47).
//!
//! Decides: which letters mean what. Must not know: paths, lengths.
//! Invariant: an unknown letter changes nothing.

/// File attributes (BEP 47).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Attr {
    /// `p`: zeros that only align the next file; never written.
    pub padding: bool,
    /// `x`: executable. Shown, not applied.
    pub executable: bool,
    /// `h`: hidden. Shown, not applied.
    pub hidden: bool,
    /// `l`: a symlink; never created.
    pub symlink: bool,
}

impl Attr {
    /// Reads the letters of an `attr` value; unknown letters are ignored.
    pub(crate) fn from_letters(letters: &[u8]) -> Attr {
        let has = |letter| letters.contains(&letter);
        Attr { padding: has(b'p'), executable: has(b'x'), hidden: has(b'h'), symlink: has(b'l') }
    }

    /// Returns whether such a file exists on a disk.
    pub(crate) fn is_stored(self) -> bool {
        !self.padding && !self.symlink
    }
}
