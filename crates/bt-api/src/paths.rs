//! New paths for the files of a torrent.
//!
//! Decides: which files a renamed directory has.
//! Must not know: dialects.
//! Invariant: no two files of a torrent get one path.

use crate::details::{Details, File};
use crate::torrent::Torrent;
use std::collections::BTreeSet;

/// Returns the files at or below a path with their new paths: the file alone for `is_file`. `None`
/// if there is none, or if a new path is that of another file.
pub(crate) fn renamed(
    torrent: &Torrent,
    old: &str,
    new: &str,
    is_file: bool,
) -> Option<Vec<(usize, String)>> {
    let now = |file: &File| match torrent.record.names.get(&file.number) {
        Some(path) => path.to_string_lossy().into_owned(),
        None => file.path.clone(),
    };
    let files = Details::files_of(None, torrent);
    let (mut moved, mut stays) = (Vec::new(), BTreeSet::new());
    for file in &files {
        let path = now(file);
        let below = path.strip_prefix(old).and_then(|rest| rest.strip_prefix('/'));
        match below {
            _ if path == old => moved.push((file.number, new.to_owned())),
            Some(below) if !is_file => moved.push((file.number, format!("{new}/{below}"))),
            _ => drop(stays.insert(path)),
        }
    }
    let is_free = moved.iter().all(|(_, path)| !stays.contains(path));
    (!moved.is_empty() && is_free).then_some(moved)
}
