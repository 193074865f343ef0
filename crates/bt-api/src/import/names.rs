//! The directory of a torrent, and the names of its files in it.
//!
//! Decides: which directory contains the torrent's name, where a client laid its files otherwise.
//! Must not know: disks.
//! Invariant: the names are relative to the directory. Whether they stay below it is checked by
//! who opens the torrent.

use super::{ImportError, NAMES_MAX};
use bt_metainfo::{FileEntry, Info};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a torrent's files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// What the directories of the other client become: a path below them, or their parent.
    shift: Shift,
    /// Files with another path than the torrent says, by number.
    pub(super) names: BTreeMap<usize, PathBuf>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Shift {
    /// The same directory, or one below.
    Below(PathBuf),
    /// The directory is the torrent's top: its parent contains it.
    Parent,
}

impl Place {
    /// Reads the paths below `dir`, one for each file of the torrent; `None` for one that is as the
    /// torrent says.
    pub(super) fn of(
        info: &Info,
        dir: &Path,
        paths: &[Option<PathBuf>],
    ) -> Result<Place, ImportError> {
        let stored = || info.files.iter().enumerate().filter(|(_, file)| file.is_stored());
        let path = |number: usize| paths.get(number).cloned().flatten();
        if stored().all(|(number, file)| path(number).is_none_or(|path| is_own(file, &path))) {
            return Ok(Place { shift: Shift::Below(PathBuf::new()), names: BTreeMap::new() });
        }
        if let [file] = &info.files[..]
            && file.path.len() == 1
        {
            let path = path(0).unwrap_or_else(|| own(file));
            let above = path.parent().map(Path::to_owned).unwrap_or_default();
            let name = path.file_name().map(PathBuf::from).filter(|name| *name != own(file));
            let names = name.map(|name| (0, name)).into_iter().collect();
            return Ok(Place { shift: Shift::Below(above), names });
        }
        let now: Vec<(usize, &FileEntry, PathBuf)> = stored()
            .map(|(number, file)| (number, file, path(number).unwrap_or_else(|| own(file))))
            .collect();
        let first = |path: &PathBuf| path.iter().next().map(PathBuf::from);
        let top = now.first().and_then(|(_, _, path)| first(path));
        let has_top =
            now.iter().all(|(_, _, path)| path.iter().nth(1).is_some() && first(path) == top);
        let (shift, top, above) = match (top, dir.file_name()) {
            (Some(top), _) if has_top => (Shift::Below(PathBuf::new()), top, PathBuf::new()),
            (_, Some(name)) => (Shift::Parent, PathBuf::from(name), PathBuf::from(name)),
            _ => return Err(ImportError::NoPath),
        };
        let mut names = BTreeMap::new();
        for (number, file, path) in now {
            let path = above.join(path);
            let expected: PathBuf =
                top.iter().chain(file.path.iter().skip(1).map(|part| part.as_ref())).collect();
            // One name tells the top of all.
            let tells_top = names.is_empty() && own(file) != expected;
            if path != expected || tells_top {
                names.insert(number, path);
            }
            if names.len() > NAMES_MAX {
                return Err(ImportError::Names);
            }
        }
        Ok(Place { shift, names })
    }

    /// Returns the directory that contains the torrent's top, for one of the other client.
    pub(super) fn dir(&self, dir: &Path) -> PathBuf {
        match &self.shift {
            Shift::Below(below) if below.as_os_str().is_empty() => dir.to_owned(),
            Shift::Below(below) => dir.join(below),
            Shift::Parent => dir.parent().unwrap_or(dir).to_owned(),
        }
    }
}

/// Returns the path of a file as we call it.
fn own(file: &FileEntry) -> PathBuf {
    file.path.iter().collect()
}

/// Returns whether a path is the torrent's own, in our spelling or as it is listed.
fn is_own(file: &FileEntry, path: &Path) -> bool {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let listed = file.listed.iter().flatten().map(|part| OsStr::from_bytes(part));
    path == own(file) || (file.listed.is_some() && path.iter().eq(listed))
}
