//! A file of a torrent as its dictionary lists it, before its path is made safe.
//!
//! Decides: what its length and attributes are.
//! Must not know: other files, disks.
//! Invariant: a length is never negative.

use crate::{Attr, MetainfoError, fields};
use alloc::vec::Vec;
use bt_bencoding::Cursor;

/// Most components in the path of a file.
pub(crate) const DEPTH_MAX: usize = 64;

/// A file as the torrent lists it.
#[derive(Debug)]
pub(crate) struct RawFile<'a> {
    /// Components, the torrent's name first.
    pub(crate) path: Vec<&'a [u8]>,
    pub(crate) length: u64,
    pub(crate) attr: Attr,
}

impl<'a> RawFile<'a> {
    /// Returns whether the file exists on a disk.
    pub(crate) fn is_stored(&self) -> bool {
        self.attr.is_stored()
    }

    /// Reads the dictionary of a file, except its path. A symlink has no length of its own (BEP
    /// 47).
    pub(crate) fn new(path: Vec<&'a [u8]>, dict: Cursor<'a>) -> Result<RawFile<'a>, MetainfoError> {
        let attr = Attr::from_letters(
            dict.get(b"attr").and_then(|attr| attr.as_bytes()).unwrap_or_default(),
        );
        let length = match attr.symlink {
            true => 0,
            false => {
                u64::try_from(fields::int(dict, "length")?).map_err(|_| MetainfoError::FileSize)?
            }
        };
        Ok(RawFile { path, length, attr })
    }
}
