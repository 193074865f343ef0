//! The `file tree` of a v2 torrent (BEP 52).
//!
//! Decides: which entry is a file and which a directory.
//! Must not know: merkle trees, names that a disk refuses.
//! Invariant: the walk is no deeper than the limit on paths.

use crate::listing::Listing;
use crate::raw_file::{DEPTH_MAX, RawFile};
use crate::{MetainfoError, fields};
use alloc::{vec, vec::Vec};
use bt_bencoding::{Cursor, Kind};

/// Length in bytes of a `pieces root`, a SHA-256.
const ROOT_LEN: usize = 32;

/// Lists the files in the order of the tree. A tree of one file with the torrent's name is a
/// single-file torrent.
pub(crate) fn files<'a>(
    info: Cursor<'a>,
    name: &'a [u8],
) -> Result<Vec<RawFile<'a>>, MetainfoError> {
    let root = fields::required(info, "file tree", Kind::Dict)?;
    let mut listing = Listing::new();
    walk(root, &mut vec![name], &mut listing)?;
    let mut files = listing.finish()?;
    if let [only] = files.as_mut_slice()
        && only.path == [name, name]
    {
        only.path.truncate(1);
    }
    Ok(files)
}

/// Adds the files below `dir`. It recurses once for each component, at most [`DEPTH_MAX`] deep.
fn walk<'a>(
    dir: Cursor<'a>,
    path: &mut Vec<&'a [u8]>,
    files: &mut Listing<'a>,
) -> Result<(), MetainfoError> {
    if path.len() > DEPTH_MAX {
        return Err(MetainfoError::PathLength(fields::printable(
            path.get(1).copied().unwrap_or_default(),
        )));
    }
    for (name, entry) in dir.dict() {
        if name.is_empty() || entry.kind() != Kind::Dict {
            return Err(MetainfoError::WrongType("file tree"));
        }
        path.push(name);
        match entry.get(b"") {
            None => walk(entry, path, files)?,
            Some(file) if entry.dict().count() == 1 => files.push(leaf(path.clone(), file)?)?,
            Some(_) => return Err(MetainfoError::WrongType("file tree")),
        }
        path.pop();
    }
    Ok(())
}

fn leaf<'a>(path: Vec<&'a [u8]>, dict: Cursor<'a>) -> Result<RawFile<'a>, MetainfoError> {
    let file = RawFile::new(path, dict)?;
    let root_len = fields::optional(dict, "pieces root", Kind::Bytes)?
        .and_then(|root| root.as_bytes())
        .map(<[u8]>::len);
    if file.length > 0 && root_len != Some(ROOT_LEN) {
        return Err(MetainfoError::MissingKey("pieces root"));
    }
    Ok(file)
}
