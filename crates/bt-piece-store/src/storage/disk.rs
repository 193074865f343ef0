//! Storage in a directory of the operating system.
//!
//! Decides: how a path below the root is opened, and which descriptors stay open.
//! Must not know: torrents.
//! Invariant: nothing is written over a link below the held root. No more files stay open than the
//! cache allows. Only `read_raw` reads a file that another program touched since the first look at
//! it. For lent pages this is checked when they are taken.

use super::file_identity::{folder_of, identity_at, identity_of};
use super::open_files::{OpenFiles, OpenFilesOf};
use super::seen::Seen;
use super::{Identity, Storage, StoreError, changed};
use crate::identity::{Change, FolderId, Stat};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most files that a storage keeps open when it shares its cache with no other.
const OPEN_MAX: usize = 64;
/// Number of files from which one call syncs their whole file system: one by one, each would wait
/// for a commit. docs/decisions/0018 has the measurements.
const TOGETHER: usize = 64;
/// Most slices that one call takes (`IOV_MAX`).
const SLICES_MAX: usize = 1024;

/// The identity of a directory under any path: the numbers of its device and its inode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place(u64, u64);

/// A directory that is held open: renaming it, or putting a link in its place, changes nothing.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    /// The file system lives in memory: a read waits for no device except swap.
    in_memory: bool,
    /// A directory above it that is held open as long as this one.
    above: Option<Arc<Directory>>,
}

impl Directory {
    /// Opens an existing directory. The path itself may lead over links, as the user named it.
    pub fn open(path: &Path) -> io::Result<Directory> {
        let fd = rustix::fs::open(
            path,
            OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Directory { in_memory: is_in_memory(&fd), fd, above: None })
    }

    /// Opens a directory, after making it and its parents where they are missing.
    pub fn create(path: &Path) -> io::Result<Directory> {
        std::fs::create_dir_all(path)?;
        Directory::open(path)
    }

    /// Makes the directory hold `above` open, too.
    #[must_use]
    pub fn holding(self, above: Arc<Directory>) -> Directory {
        Directory { above: Some(above), ..self }
    }

    /// Returns whether it holds a directory above it.
    pub fn is_holding(&self) -> bool {
        self.above.is_some()
    }

    /// Returns the identity of the directory. No other directory has it while this one is open.
    pub fn place(&self) -> io::Result<Place> {
        let stat = rustix::fs::fstat(&self.fd)?;
        // The types of these fields differ between systems.
        #[allow(clippy::unnecessary_cast)]
        Ok(Place(stat.st_dev as u64, stat.st_ino as u64))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Files below a directory.
#[derive(Debug)]
pub struct DiskStorage {
    root: Arc<Directory>,
    /// Reads follow links that the user made.
    over_links: bool,
    open: OpenFilesOf,
    seen: Mutex<Seen>,
    /// Directories in which names were made, and not synced.
    named: Mutex<BTreeSet<PathBuf>>,
    /// The directory in which a file was made last, until names are synced: the next file is often
    /// made there, too.
    last_dir: Mutex<Option<(PathBuf, Arc<OwnedFd>)>>,
}

impl DiskStorage {
    /// Makes a storage below an open directory. Other storages may have files of their own open
    /// there.
    pub fn below(root: Arc<Directory>) -> DiskStorage {
        DiskStorage {
            root,
            over_links: false,
            open: OpenFilesOf::new(OpenFiles::new(OPEN_MAX)),
            seen: Mutex::default(),
            named: Mutex::default(),
            last_dir: Mutex::default(),
        }
    }

    /// Lets reads follow links below the root: the user made them, and reading changes nothing.
    /// Writing over a link stays an error.
    #[must_use]
    pub fn over_links(self) -> DiskStorage {
        DiskStorage { over_links: true, ..self }
    }

    /// Keeps its open files in this cache, which other storages share.
    #[must_use]
    pub fn sharing(self, open_files: &Arc<OpenFiles>) -> DiskStorage {
        DiskStorage { open: OpenFilesOf::new(Arc::clone(open_files)), ..self }
    }

    /// Opens [`DiskStorage::below`] a directory that exists.
    pub fn open(root: &Path) -> io::Result<DiskStorage> {
        Directory::open(root).map(Arc::new).map(DiskStorage::below)
    }

    /// Opens [`DiskStorage::below`] a directory that is made if it is missing.
    pub fn create(root: &Path) -> io::Result<DiskStorage> {
        Directory::create(root).map(Arc::new).map(DiskStorage::below)
    }

    /// Opens a regular file, or takes it from the cache when its access mode suffices.
    fn file(&self, path: &Path, write: bool) -> io::Result<Arc<OwnedFd>> {
        if let Some(file) = self.open.get(path, write) {
            return Ok(file);
        }
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        // NONBLOCK: opening a pipe that lies there must not hang; regular files ignore it.
        let flags = access | OFlags::NONBLOCK;
        let open = || match write || !self.over_links {
            true => {
                open_beneath(self.root.fd.as_fd(), path, flags).map_err(|error| self.explain(error))
            }
            false => Ok(rustix::fs::openat(
                &self.root.fd,
                relative(path)?,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
            )?),
        };
        let file = Arc::new(match open() {
            // Idle open files of the cache are closed to make room.
            Err(error) if is_out_of_descriptors(&error) && self.open.shared().give_way() => open()?,
            opened => opened?,
        });
        identity_of(&file)?;
        // Reads need not update the access time. Only the file's owner may ask for that.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fcntl_setfl(&file, access | OFlags::NOATIME);
        self.open.put(path, write, Arc::clone(&file));
        Ok(file)
    }

    /// Opens the directory that holds the path's last component, and returns that component. `make`
    /// creates missing directories.
    fn parent<'p>(&self, path: &'p Path, make: bool) -> io::Result<(OwnedFd, &'p Path)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = walk(self.root.fd.as_fd(), path.parent().unwrap_or(Path::new("")), make)?;
        Ok((parent, Path::new(name)))
    }

    /// Explains to the user an error of an open that follows no link.
    fn explain(&self, error: io::Error) -> io::Error {
        const WHY: &str = "it lies behind a symbolic link: it is read there and not written; name the place that the link leads to with --dir";
        let is_link = self.over_links && error.raw_os_error() == Some(Errno::LOOP.raw_os_error());
        if is_link { io::Error::new(io::ErrorKind::InvalidData, WHY) } else { error }
    }

    /// Stats the file that has the name now.
    fn find(&self, path: &Path) -> io::Result<Option<Stat>> {
        let found = if self.over_links {
            identity_at(&self.root.fd, relative(path)?, AtFlags::empty())
        } else {
            let (parent, name) = match self.parent(path, false) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                found => found?,
            };
            identity_at(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
        };
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => Ok(Some(found?.stat)),
        }
    }

    /// Stats the file that has the name now, and returns what happened to it since the first look.
    fn look(&self, path: &Path) -> io::Result<(Option<Stat>, Change)> {
        let found = self.find(path)?;
        let change = found.map_or(Change::Content, |stat| self.seen().look(path, stat));
        if change == Change::Content {
            // The cached descriptor may be of another file than the one that has the name now.
            self.forget(path);
        }
        Ok((found, change))
    }

    fn forget(&self, path: &Path) {
        self.open.remove(path);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an error if another program touched the file. Looks under the lock, so that no write
    /// of ours comes between.
    fn check(&self, path: &Path, file: &OwnedFd) -> io::Result<()> {
        let mut seen = self.seen();
        let checked = seen.check(path, identity_of(file)?);
        if checked.is_err() {
            drop(seen);
            self.forget(path);
            // Another file may have its name by now.
            if let Ok(Some(other)) = self.find(path) {
                self.seen().look(path, other);
                return Err(changed());
            }
        }
        checked
    }

    /// Writes by `write`, between two looks. A file with changed attributes only is written: we
    /// know its content while its name leads to it.
    fn change_by(
        &self,
        path: &Path,
        write: impl FnOnce(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = self.file(path, true)?;
        let mut checked = self.check(path, &file);
        if checked.is_err() && self.change(path)? == Change::Attributes {
            checked = Ok(());
        }
        checked?;
        self.seen().begin(path);
        let written = write(&file);
        let mut seen = self.seen();
        seen.end(path, identity_of(&file)?.stat);
        written
    }

    fn last_dir(&self) -> MutexGuard<'_, Option<(PathBuf, Arc<OwnedFd>)>> {
        self.last_dir.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the directories in which names were made; later ones are noted anew.
    fn take_named(&self) -> BTreeSet<PathBuf> {
        *self.last_dir() = None;
        std::mem::take(&mut *self.named())
    }

    fn named(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for DiskStorage {
    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let file = self.file(path, false)?;
        let read = fill(buf, |rest, done| {
            rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut *rest, offset + done))
        })?;
        // Checked afterwards: a change before or during the read shows.
        self.check(path, &file)?;
        Ok(read)
    }

    fn try_read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        if self.root.in_memory {
            return self.read_at(path, offset, buf).map(Some);
        }
        let file = self.file(path, false)?;
        match fill(buf, |rest, done| read_cached(&file, rest, offset + done)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(None),
            result => {
                let read = result?;
                self.check(path, &file)?;
                Ok(Some(read))
            }
        }
    }

    fn lend(
        &self,
        path: &Path,
        wait: bool,
        take: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<bool> {
        if !wait && !self.root.in_memory {
            return Ok(false);
        }
        let file = self.file(path, false)?;
        take(file.as_fd())?;
        self.check(path, &file)?;
        Ok(true)
    }

    fn next_data(&self, path: &Path, offset: u64) -> io::Result<Option<u64>> {
        let file = self.file(path, false)?;
        match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(offset)) {
            Err(Errno::NXIO) => Ok(None),
            // A file system without knowledge of holes: everything may be data.
            found => Ok(Some(found.unwrap_or(offset))),
        }
    }

    fn write_at(&self, path: &Path, mut offset: u64, data: &[IoSlice<'_>]) -> io::Result<()> {
        self.change_by(path, |file| {
            let mut slices = data.to_vec();
            let mut rest = slices.as_mut_slice();
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let batch = rest.get(..SLICES_MAX).unwrap_or(rest);
                let written =
                    rustix::io::retry_on_intr(|| rustix::io::pwritev(file, batch, offset))?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Ok(())
        })
    }

    fn set_len(&self, path: &Path, len: u64) -> io::Result<()> {
        self.change_by(path, |file| Ok(rustix::fs::ftruncate(file, len)?))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let file = self.file(path, false)?;
        match rustix::fs::fdatasync(&file) {
            // A read-only file system has nothing to sync, unless we could write to it before: that
            // may be lost.
            Err(Errno::INVAL | Errno::ROFS) if !self.seen().is_unsynced(path) => return Ok(()),
            done => done?,
        }
        self.seen().synced(path);
        Ok(())
    }

    fn sync_many(&self, paths: &[&Path]) -> Result<(), StoreError> {
        // Another program's files may be what fails, and files of other disks may lie below: such
        // files are synced one by one.
        let together = paths.len() >= TOGETHER && rustix::fs::syncfs(&self.root.fd).is_ok();
        let here = self.root.place().map(|Place(device, _)| device).ok();
        let named = if together { self.take_named() } else { BTreeSet::new() };
        for &path in paths {
            let mut seen = self.seen();
            let is_safe = together && seen.noted(path).is_some_and(|stat| Some(stat.id.0) == here);
            if is_safe {
                seen.synced(path);
                continue;
            }
            drop(seen);
            if let Err(error) = self.sync(path) {
                self.named().extend(named);
                return Err(StoreError::at(path)(error));
            }
            if together {
                // A file on another disk has its names there.
                self.named().extend(path.ancestors().skip(1).map(Path::to_owned));
            }
        }
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let dirs = self.take_named();
        let sync = |dir: &PathBuf| match rustix::fs::fsync(walk(self.root.fd.as_fd(), dir, false)?)
        {
            // Some file systems cannot sync directories.
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let synced = dirs.iter().try_for_each(sync);
        if synced.is_err() {
            self.named().extend(dirs);
        }
        synced
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let make = |dir: &OwnedFd| rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o666));
        let dir = path.parent().unwrap_or(Path::new(""));
        let last =
            self.last_dir().as_ref().filter(|(last, _)| last == dir).map(|(_, fd)| Arc::clone(fd));
        let file = match last.map(|last| make(&last)) {
            // The directory may have been removed.
            None | Some(Err(Errno::NOENT)) => {
                let fd = Arc::new(walk(self.root.fd.as_fd(), dir, true)?);
                // The root is open anyway.
                if !dir.as_os_str().is_empty() {
                    *self.last_dir() = Some((dir.to_owned(), Arc::clone(&fd)));
                }
                let mut named = self.named();
                // If a directory is noted, those above it are, too.
                for dir in path.ancestors().skip(1) {
                    if !named.insert(dir.to_owned()) {
                        break;
                    }
                }
                make(&fd)?
            }
            Some(made) => made?,
        };
        let mut seen = self.seen();
        seen.forget(path);
        seen.look(path, identity_of(&file)?.stat);
        drop(seen);
        self.open.put(path, true, Arc::new(file));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        for path in [from, to] {
            self.forget(path);
            self.seen().forget(path);
        }
        let (from_dir, from_name) = self.parent(from, false)?;
        let (to_dir, to_name) = self.parent(to, false)?;
        rustix::fs::renameat(&from_dir, from_name, &to_dir, to_name)?;
        Ok(rustix::fs::fsync(&to_dir)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.forget(path);
        self.seen().forget(path);
        let (parent, name) = self.parent(path, false)?;
        Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.stat(path)?.map(|stat| stat.len))
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }
}

impl Identity for DiskStorage {
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        Ok(self.look(path)?.0)
    }

    fn read_raw(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let file = self.file(path, false)?;
        fill(buf, |rest, done| {
            rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut *rest, offset + done))
        })
    }

    fn folder(&self) -> io::Result<Option<FolderId>> {
        folder_of(self.root.as_fd()).map(Some)
    }

    fn change(&self, path: &Path) -> io::Result<Change> {
        Ok(self.look(path)?.1)
    }

    fn noted(&self, path: &Path) -> io::Result<Option<Stat>> {
        let noted = self.seen().noted(path);
        if noted.is_some() { Ok(noted) } else { self.stat(path) }
    }

    fn trust(&self, path: &Path, stat: &Stat) -> io::Result<bool> {
        let Some(now) = self.find(path)? else { return Ok(false) };
        self.forget(path);
        Ok(self.seen().trust(path, stat, now) < Change::Content)
    }
}

/// Calls `read` with the unread rest of `buf` and the number of bytes done, until it is full or the
/// file ends.
fn fill(
    buf: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64) -> Result<usize, Errno>,
) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(rest, done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// Returns the path if its names do not lead out of a directory.
fn relative(path: &Path) -> io::Result<&Path> {
    let stays = path.components().all(|component| matches!(component, Component::Normal(_)));
    if stays { Ok(path) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Opens a path below `root`, following no link. One call where the kernel can; otherwise component
/// by component.
fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::ResolveFlags;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // An old kernel, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            result => return Ok(result?),
        }
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = walk(root, path.parent().unwrap_or(Path::new("")), false)?;
    Ok(rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a directory below `root` component by component, following no link; `make` creates missing
/// ones.
fn walk(root: BorrowedFd<'_>, path: &Path, make: bool) -> io::Result<OwnedFd> {
    const DIRECTORY: OFlags =
        OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let mut dir = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty())?;
    for component in path.components() {
        let Component::Normal(name) = component else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if make {
            match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        dir = rustix::fs::openat(&dir, name, DIRECTORY, Mode::empty())?;
    }
    Ok(dir)
}

/// Reads bytes that the page cache holds.
#[cfg(target_os = "linux")]
fn read_cached(file: &OwnedFd, buf: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    rustix::io::retry_on_intr(|| {
        rustix::io::preadv2(file, &mut [io::IoSliceMut::new(buf)], offset, flags)
    })
}

/// Refuses, as other systems cannot tell: every read may wait.
#[cfg(not(target_os = "linux"))]
fn read_cached(_: &OwnedFd, _: &mut [u8], _: u64) -> Result<usize, Errno> {
    Err(Errno::OPNOTSUPP)
}

/// Returns whether the file system is memory. Such systems do not say whether a read would wait; it
/// waits only for swap.
#[cfg(target_os = "linux")]
fn is_in_memory(dir: &OwnedFd) -> bool {
    const TMPFS: i128 = 0x0102_1994;
    const RAMFS: i128 = 0x8584_58f6;
    rustix::fs::fstatfs(dir).is_ok_and(|fs| matches!(fs.f_type.into(), TMPFS | RAMFS))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &OwnedFd) -> bool {
    false
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests;
