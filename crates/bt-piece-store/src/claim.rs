//! What another program says of a torrent's data.
//!
//! Decides: whether a file is still as that program noted it.
//! Must not know: which program, its formats.
//! Invariant: a file of another length or a later time is not believed.

use crate::Layout;
use crate::identity::Stat;
use bt_types::Bitfield;

const SECOND_NS: i64 = 1_000_000_000;

/// What another program says of a torrent's data: which pieces it had, and how the files were then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PieceClaim {
    /// The pieces that it had; as many as the torrent has.
    pub have: Bitfield,
    /// When each file was last written, in torrent order. A file without a time is not believed.
    pub files: Vec<Option<NotedTime>>,
}

/// When a file was last written, as another program noted it, in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotedTime {
    /// In this second.
    At(i64),
    /// In this second or earlier.
    By(i64),
}

impl PieceClaim {
    /// Returns whether a file is as it was noted: no longer than the torrent says, whole where all
    /// of its pieces are claimed, and not written since.
    pub(crate) fn fits(&self, layout: &Layout, index: usize, stat: &Stat) -> bool {
        let (Some(file), Some(Some(noted))) = (layout.files().get(index), self.files.get(index))
        else {
            return false;
        };
        let written = stat.mtime_ns.div_euclid(SECOND_NS);
        let is_untouched = match noted {
            NotedTime::At(second) => written == *second,
            NotedTime::By(second) => written <= *second,
        };
        let is_whole = || layout.pieces_of(file).all(|piece| self.have.has(piece));
        is_untouched && (stat.len == file.length || (stat.len < file.length && !is_whole()))
    }
}
