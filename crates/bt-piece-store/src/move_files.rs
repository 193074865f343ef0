//! Moves a torrent's files to another directory, and deletes them.
//!
//! Decides: the order of the steps, and what is in the way.
//! Must not know: pieces, journals, who else has the files open.
//! Invariant: no file that lies at the new place is overwritten. An original goes only after its
//! copy is whole, synced and compared with it. No link, and no file behind a link to a directory,
//! is moved or deleted.

use crate::layout::Layout;
use crate::progress::Progress;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes that are copied or compared at a time.
const CHUNK: usize = 1 << 20;
/// The name of a copy that is not whole.
const UNFINISHED: &str = ".unfinished.bt-move";

/// Why files were not moved. They lie where they lay.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// Another file has the name at the new place.
    #[error("{} is there already and differs; move it away, or choose another directory", .0.display())]
    InTheWay(PathBuf),
    /// It is a link, or lies behind a link to a directory.
    #[error("{} is a link or lies behind one; move it by hand, and choose the new directory", .0.display())]
    Linked(PathBuf),
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// [`Progress::cancel`] was called.
    #[error("the move was interrupted")]
    Cancelled,
}

/// Files that were moved. The originals of copies are still there, until [`Moved::finish`].
#[derive(Debug, Default)]
#[must_use = "the originals of copied files are still there"]
pub struct Moved {
    renamed: Vec<(PathBuf, PathBuf)>,
    copied: Vec<(PathBuf, PathBuf)>,
    /// Files whose bytes lay at the new place before.
    found: Vec<(PathBuf, PathBuf)>,
    /// Directories of the torrent at the old place, which may be empty now.
    left: BTreeSet<PathBuf>,
}

/// Moves the files of a torrent that exist below `from` to the same names below `to`, which is made
/// if it is missing. On the same file system they are renamed, else copied and synced.
///
/// A process that ends meanwhile leaves each file whole at one of the two places. What lies at the
/// new place already, with the same bytes, stays there when the move is ordered again. After an
/// error everything lies where it lay.
pub fn move_data(
    layout: &Layout,
    from: &Path,
    to: &Path,
    progress: &Progress,
) -> Result<Moved, MoveError> {
    let mut moved = Moved::default();
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| MoveError::Io { path, source }
    };
    std::fs::create_dir_all(to).map_err(at(to))?;
    if is_same(from, to) {
        return Ok(moved);
    }
    let mut files = Vec::new();
    for (_, file) in layout.stored() {
        let (old, new) = (from.join(&file.path), to.join(&file.path));
        let Ok(stat) = old.symlink_metadata() else { continue };
        if !stat.is_file() || is_behind_link(from, &file.path) {
            moved.undo();
            return Err(MoveError::Linked(old));
        }
        if is_behind_link(to, &file.path) {
            moved.undo();
            return Err(MoveError::Linked(new));
        }
        files.push((old, new));
    }
    let sizes = files.iter().filter_map(|(old, _)| old.metadata().ok()).map(|stat| stat.len());
    progress.begin(sizes.sum());
    moved.left = directories(layout, from);
    for (old, new) in files {
        if let Err(error) = move_file(&mut moved, &old, &new, progress) {
            moved.undo();
            return Err(error);
        }
    }
    let news = moved.renamed.iter().chain(&moved.copied).map(|(_, new)| new.clone());
    let below = |new: PathBuf| {
        let parents = new.ancestors().skip(1).take_while(|parent| parent.starts_with(to));
        parents.map(Path::to_owned).collect::<Vec<_>>()
    };
    let dirs: BTreeSet<PathBuf> = news.flat_map(below).collect();
    for dir in dirs {
        if let Err(source) = sync_dir(&dir) {
            moved.undo();
            return Err(MoveError::Io { path: dir, source });
        }
    }
    Ok(moved)
}

impl Moved {
    /// Compares the copies with their originals, then deletes the originals, and directories that
    /// are empty now. With a difference nothing is deleted.
    pub fn finish(self, progress: &Progress) -> Result<(), MoveError> {
        for (old, new) in &self.copied {
            let at = |source| MoveError::Io { path: new.clone(), source };
            if !is_equal(old, new, progress).map_err(at)? {
                return Err(MoveError::InTheWay(new.clone()));
            }
        }
        let mut result = Ok(());
        for (old, _) in self.copied.iter().chain(&self.found) {
            let at = |source| MoveError::Io { path: old.clone(), source };
            result = result.and(std::fs::remove_file(old).map_err(at));
        }
        remove_empty(&self.left);
        result
    }

    /// Brings everything back; what the disk refuses to bring back stays at the new place.
    pub fn undo(self) {
        for (_, new) in self.copied {
            let _ = std::fs::remove_file(new);
        }
        for (old, new) in self.renamed.into_iter().rev() {
            let _ = rename(&new, &old);
        }
    }
}

fn move_file(
    moved: &mut Moved,
    old: &Path,
    new: &Path,
    progress: &Progress,
) -> Result<(), MoveError> {
    let at = |source: io::Error| match source.kind() {
        io::ErrorKind::Interrupted => MoveError::Cancelled,
        _ => MoveError::Io { path: new.to_owned(), source },
    };
    if let Some(parent) = new.parent() {
        std::fs::create_dir_all(parent).map_err(at)?;
    }
    if let Ok(there) = new.symlink_metadata() {
        // It may be a copy of an earlier move that a crash interrupted, and not the file itself
        // under another path.
        let is_other = there.is_file() && !is_same(old, new);
        if !is_other || !is_equal(old, new, progress).map_err(at)? {
            return Err(MoveError::InTheWay(new.to_owned()));
        }
        moved.found.push((old.to_owned(), new.to_owned()));
        return Ok(());
    }
    match rename(old, new) {
        Ok(()) => {
            progress.add(new.metadata().map_or(0, |stat| stat.len()));
            moved.renamed.push((old.to_owned(), new.to_owned()));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            copy(old, new, progress).map_err(at)?;
            moved.copied.push((old.to_owned(), new.to_owned()));
            Ok(())
        }
        Err(error) => Err(at(error)),
    }
}

/// Renames a file, never over another one.
fn rename(old: &Path, new: &Path) -> io::Result<()> {
    match renameat_with(CWD, old, CWD, new, RenameFlags::NOREPLACE) {
        // The file system does not know the flag. Another program could make the file in this
        // moment.
        Err(Errno::INVAL | Errno::NOSYS) if new.symlink_metadata().is_err() => {
            std::fs::rename(old, new)
        }
        result => result.map_err(io::Error::from),
    }
}

/// Gives a file of a torrent below `root` another name, never over another file, and removes
/// directories that are empty then. Nothing happens if the file is not there.
pub fn rename_file(root: &Path, old: &Path, new: &Path) -> Result<(), MoveError> {
    let (from, to) = (root.join(old), root.join(new));
    let Ok(stat) = from.symlink_metadata() else { return Ok(()) };
    if !stat.is_file() || is_behind_link(root, old) || is_behind_link(root, new) {
        return Err(MoveError::Linked(from));
    }
    let at = |source| MoveError::Io { path: to.clone(), source };
    let parent = to.parent().unwrap_or(root);
    std::fs::create_dir_all(parent).map_err(at)?;
    rename(&from, &to).map_err(at)?;
    if let Err(error) = sync_dir(parent) {
        let _ = rename(&to, &from);
        return Err(at(error));
    }
    let parents = old.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
    remove_empty(&parents.map(|parent| root.join(parent)).collect());
    Ok(())
}

/// Gives the directory of a torrent's files below `root` another name, never that of anything
/// else. Nothing happens if the directory is not there.
pub fn rename_top(root: &Path, old: &Path, new: &Path) -> Result<(), MoveError> {
    let (from, to) = (root.join(old), root.join(new));
    let Ok(stat) = from.symlink_metadata() else { return Ok(()) };
    if !stat.is_dir() {
        return Err(MoveError::Linked(from));
    }
    let at = |source| MoveError::Io { path: to.clone(), source };
    rename(&from, &to).map_err(at)?;
    if let Err(error) = sync_dir(root) {
        let _ = rename(&to, &from);
        return Err(at(error));
    }
    Ok(())
}

/// Copies a file and syncs the copy. It has its name only when it is whole.
fn copy(old: &Path, new: &Path, progress: &Progress) -> io::Result<()> {
    let unfinished = new.with_file_name(UNFINISHED);
    // A killed process may have left it.
    if unfinished.symlink_metadata().is_ok_and(|stat| stat.is_file()) {
        std::fs::remove_file(&unfinished)?;
    }
    let result = copy_to(old, &unfinished, progress).and_then(|()| rename(&unfinished, new));
    if result.is_err() {
        let _ = std::fs::remove_file(&unfinished);
    }
    result
}

fn copy_to(old: &Path, new: &Path, progress: &Progress) -> io::Result<()> {
    let mut from = File::open(old)?;
    let mut to = OpenOptions::new().write(true).create_new(true).open(new)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk)?;
        let Some(part) = chunk.get(..read).filter(|part| !part.is_empty()) else { break };
        to.write_all(part)?;
        progress.add(read as u64);
        if progress.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
    to.set_permissions(from.metadata()?.permissions())?;
    to.sync_all()
}

/// Returns whether both paths lead to one file or directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|stat| (stat.dev(), stat.ino())).ok();
    id(one).is_some_and(|first| id(other) == Some(first))
}

/// Makes the names in a directory survive a power cut, where the file system can do that.
fn sync_dir(dir: &Path) -> io::Result<()> {
    match rustix::fs::fsync(File::open(dir)?) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        result => result.map_err(io::Error::from),
    }
}

/// Returns whether two files hold the same bytes.
fn is_equal(one: &Path, other: &Path, progress: &Progress) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut chunk, mut twin) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let read = one.read(&mut chunk)?;
        let (Some(part), Some(same)) = (chunk.get(..read), twin.get_mut(..read)) else {
            return Ok(false);
        };
        if read == 0 {
            return Ok(true);
        }
        other.read_exact(same)?;
        if part != same {
            return Ok(false);
        }
        if progress.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

/// Deletes the files of a torrent below `root`, and the directories of the torrent that are empty
/// then. Files behind a link to a directory stay, as they may be shared. Returns how many files
/// were deleted; after an error the others are deleted all the same.
pub fn delete_data(layout: &Layout, root: &Path) -> io::Result<usize> {
    let (mut deleted, mut result) = (0, Ok(()));
    for (_, file) in layout.stored().filter(|(_, file)| !is_behind_link(root, &file.path)) {
        match std::fs::remove_file(root.join(&file.path)) {
            Ok(()) => deleted += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => result = result.and(Err(error)),
        }
    }
    remove_empty(&directories(layout, root));
    result.map(|()| deleted)
}

fn is_behind_link(root: &Path, path: &Path) -> bool {
    let parents = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
    parents.into_iter().any(|parent| root.join(parent).is_symlink())
}

/// Returns the directories of a torrent's files, without the one that the user named.
fn directories(layout: &Layout, root: &Path) -> BTreeSet<PathBuf> {
    let parents = |path: &Path| -> Vec<PathBuf> {
        let parents = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        parents.map(|parent| root.join(parent)).collect()
    };
    layout.stored().flat_map(|(_, file)| parents(&file.path)).collect()
}

/// Removes directories that are empty, the deepest first. A link is no directory, and stays.
fn remove_empty(dirs: &BTreeSet<PathBuf>) {
    for dir in dirs.iter().rev() {
        // It fails where something is left, as it should.
        let _ = std::fs::remove_dir(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Fixture;

    /// Writes the files of a torrent of three files, one of them empty.
    fn torrent(root: &Path) -> Fixture {
        let fixture = Fixture::new(&[40_000, 0, 70_000], 32_768);
        for index in 0..3 {
            let path = root.join(fixture.path(index));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, fixture.content(index)).unwrap();
        }
        fixture
    }

    fn is_whole(fixture: &Fixture, root: &Path) -> bool {
        (0..3).all(|index| {
            std::fs::read(root.join(fixture.path(index))).ok()
                == Some(fixture.content(index).to_vec())
        })
    }

    fn is_empty(dir: &Path) -> bool {
        std::fs::read_dir(dir).unwrap().next().is_none()
    }

    #[test]
    fn files_move_with_their_directories() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("a/new"));
        let fixture = torrent(&old);
        let moved = move_data(&fixture.layout, &old, &new, &Progress::default()).unwrap();
        assert!(moved.copied.is_empty());
        moved.finish(&Progress::default()).unwrap();
        assert!(is_whole(&fixture, &new) && is_empty(&old));
        let again = move_data(&fixture.layout, &new, &new, &Progress::default()).unwrap();
        again.finish(&Progress::default()).unwrap();
        assert!(is_whole(&fixture, &new), "a move to where it is changes nothing");
    }

    #[test]
    fn a_file_in_the_way_stays_and_all_is_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let fixture = torrent(&old);
        let foreign = new.join(fixture.path(2));
        std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
        std::fs::write(&foreign, "mine").unwrap();
        let error = move_data(&fixture.layout, &old, &new, &Progress::default()).unwrap_err();
        assert!(matches!(&error, MoveError::InTheWay(path) if *path == foreign), "{error}");
        assert!(is_whole(&fixture, &old));
        assert_eq!(std::fs::read(&foreign).unwrap(), b"mine");
        assert!(!new.join(fixture.path(0)).exists());
    }

    #[test]
    fn between_file_systems_the_original_stays_until_the_end() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm"));
        let Ok(other) = other else { return };
        let fixture = torrent(dir.path());
        let progress = Progress::default();
        let moved = move_data(&fixture.layout, dir.path(), other.path(), &progress).unwrap();
        if moved.copied.is_empty() {
            return; // One file system on this machine.
        }
        assert_eq!((progress.done(), progress.total()), (110_000, 110_000));
        assert!(is_whole(&fixture, dir.path()) && is_whole(&fixture, other.path()));
        // As if the process was killed here: the move is ordered again.
        drop(moved);
        let moved =
            move_data(&fixture.layout, dir.path(), other.path(), &Progress::default()).unwrap();
        moved.finish(&Progress::default()).unwrap();
        assert!(is_whole(&fixture, other.path()) && is_empty(dir.path()));
        let back = Progress::default();
        back.cancel();
        let error = move_data(&fixture.layout, other.path(), dir.path(), &back).unwrap_err();
        assert!(matches!(error, MoveError::Cancelled), "{error}");
        assert!(is_whole(&fixture, other.path()));
        assert!(!dir.path().join(fixture.path(0)).exists());
    }

    #[test]
    fn data_is_deleted_and_what_is_none_of_the_torrents_stays() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = torrent(dir.path());
        let top = dir.path().join(fixture.layout.top().unwrap());
        std::fs::write(top.join("mine"), "mine").unwrap();
        assert_eq!(delete_data(&fixture.layout, dir.path()).unwrap(), 3);
        assert_eq!(std::fs::read(top.join("mine")).unwrap(), b"mine");
        std::fs::remove_file(top.join("mine")).unwrap();
        assert_eq!(delete_data(&fixture.layout, dir.path()).unwrap(), 0);
        assert!(is_empty(dir.path()), "empty directories go too");
    }

    #[test]
    fn data_behind_a_link_is_not_deleted() {
        let (dir, library) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let fixture = torrent(library.path());
        let top = fixture.layout.top().unwrap();
        std::os::unix::fs::symlink(library.path().join(top), dir.path().join(top)).unwrap();
        assert_eq!(delete_data(&fixture.layout, dir.path()).unwrap(), 0);
        assert!(is_whole(&fixture, library.path()));
    }

    #[test]
    fn what_is_linked_is_not_moved_and_not_deleted_as_its_own_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let fixture = torrent(&old);
        let top = fixture.layout.top().unwrap();
        std::fs::create_dir(&new).unwrap();
        let link = |to: &Path| std::os::unix::fs::symlink(old.join(top), to.join(top)).unwrap();
        link(&new);
        let moves = |from: &Path, to: &Path| {
            move_data(&fixture.layout, from, to, &Progress::default()).map(|_| ())
        };
        // The new place leads to the old one, and the other way round.
        assert!(matches!(moves(&old, &new), Err(MoveError::Linked(_))));
        assert!(matches!(moves(&new, &dir.path().join("x")), Err(MoveError::Linked(_))));
        std::fs::remove_file(new.join(top)).unwrap();
        // One file of it is a hard link to the file itself.
        let twin = new.join(fixture.path(0));
        std::fs::create_dir_all(twin.parent().unwrap()).unwrap();
        std::fs::hard_link(old.join(fixture.path(0)), &twin).unwrap();
        assert!(matches!(moves(&old, &new), Err(MoveError::InTheWay(_))));
        assert!(is_whole(&fixture, &old));
    }

    #[test]
    fn a_torrent_moves_with_what_there_is_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let fixture = torrent(&old);
        std::fs::remove_file(old.join(fixture.path(2))).unwrap();
        std::fs::create_dir_all(&old).unwrap();
        let progress = Progress::default();
        move_data(&fixture.layout, &old, &new, &progress).unwrap().finish(&progress).unwrap();
        assert_eq!(std::fs::read(new.join(fixture.path(0))).unwrap(), fixture.content(0));
        move_data(&fixture.layout, &old, &dir.path().join("x"), &progress)
            .unwrap()
            .finish(&progress)
            .unwrap();
    }
}
