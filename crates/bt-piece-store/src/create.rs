//! Makes a torrent of a file or a directory tree.
//!
//! Decides: which files go in, and in which order.
//! Must not know: where the torrent is saved.
//! Invariant: equal trees and options give equal bytes. A torrent is made only of files that did
//! not change meanwhile.

use crate::hashing::{HashError, hash_pieces};
use crate::storage::{DiskStorage, Identity, Stat, StoreError};
use crate::{Layout, PathPattern, Progress};
use bt_hash::{Algorithm, Digest, Sha1Digest};
use bt_metainfo::{Builder, Info, Metainfo, MetainfoError};
use bt_types::{Geometry, PIECE_LENGTH_MAX, Piece};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// The shortest piece length that we make, in bytes: one block.
const PIECE_LENGTH_MIN: u32 = 16 * 1024;
/// The longest file in bytes that is parsed to see whether it is a torrent of the tree itself.
const OWN_TORRENT_MAX: u64 = 64 << 20;

/// The parts of a torrent besides its files.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CreateOptions {
    /// Another name than that of the file or directory.
    pub name: Option<String>,
    /// Piece length in bytes, a power of two of at least 16 KiB; chosen by the size when `None`.
    pub piece_length: Option<u32>,
    /// Announce URLs in tiers.
    pub trackers: Vec<Vec<String>>,
    /// URLs of web seeds.
    pub web_seeds: Vec<String>,
    /// Peers may come from the trackers only (BEP 27).
    pub private: bool,
    /// Makes this torrent's info-hash differ from that of an equal one.
    pub source: Option<String>,
    /// Free text.
    pub comment: Option<String>,
    /// The program that makes it.
    pub created_by: Option<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    /// [`PathPattern`]s of files and directories to leave out. Each is matched with the path below
    /// the root and with the name alone.
    pub exclude: Vec<String>,
}

/// A torrent that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Created {
    /// The bytes of the `.torrent` file.
    pub bytes: Vec<u8>,
    /// The same, parsed.
    pub metainfo: Metainfo,
    /// Files that were left out though the user did not exclude them.
    pub skipped: Vec<Skipped>,
    /// Files whose names not every system can store.
    pub renamed: Vec<Renamed>,
}

/// A file that gets another name where its own is not possible.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Renamed {
    /// Its path as the torrent lists it.
    pub path: PathBuf,
    /// Its path where it is downloaded anew.
    pub stored_as: PathBuf,
}

/// A file in the tree that cannot be in a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Skipped {
    /// Its path below the root.
    pub path: PathBuf,
    /// The reason: "a symlink", "not a regular file".
    pub what: &'static str,
}

/// Why no torrent was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// A file or directory could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no file, or only empty ones: a torrent needs data.
    #[error("{} holds no data: a torrent needs a file with at least one byte", .0.display())]
    Empty(PathBuf),
    /// A name is not UTF-8.
    #[error("the name of {} is not UTF-8: rename it, or leave it out", .0.display())]
    NotUtf8(PathBuf),
    /// A name that no system allows for a file.
    #[error("{} is no name of a file (it would become {}): choose another one", path.display(), stored_as.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The name that it would get.
        stored_as: PathBuf,
    },
    /// A file changed while it was hashed.
    #[error("{} changed while it was read: wait until no program writes to it", .0.display())]
    Changed(PathBuf),
    /// The piece length is not a power of two of at least 16 KiB.
    #[error(
        "a piece length of {0} bytes is not possible: it must be a power of two from 16KiB to 512MiB, for example 1MiB"
    )]
    PieceLength(u32),
    /// A pattern is neither a glob nor the name of a file.
    #[error("the pattern {0:?} is no valid glob and names no file: check its brackets and braces")]
    Pattern(String),
    /// Clients would refuse the torrent.
    #[error("no valid torrent can be made of this: {0}")]
    Invalid(#[from] MetainfoError),
    /// [`Progress::cancel`] was called.
    #[error("the creation was interrupted")]
    Cancelled,
}

/// Makes a v1 torrent of a file or a directory. The path itself may be a symlink; symlinks below it
/// are skipped.
pub fn create_torrent(
    path: &Path,
    options: &CreateOptions,
    progress: &Progress,
) -> Result<Created, CreateError> {
    let path = &path.canonicalize().map_err(io_error(path))?;
    let (Some(parent), Some(top)) = (path.parent(), path.file_name()) else {
        return Err(CreateError::Empty(path.clone()));
    };
    let storage = DiskStorage::open(parent).map_err(io_error(parent))?;
    let tree =
        Tree::walk(path, &storage, Excluded::new(&options.exclude, &torrent_name(path, options)?))?;

    let builder = builder(path, &tree, options)?;
    let draft = draft(path, &builder)?;
    let renamed = renamed(&builder, &draft.info)?;
    let mut layout = Layout::with_top(&draft.info, top);
    layout.look_for(parent);
    let digests = hash(&layout, &storage, progress)?;
    tree.unchanged(path, &storage)?;
    let bytes = builder.build(&digests);
    Ok(Created { metainfo: Metainfo::from_bytes(&bytes)?, bytes, skipped: tree.skipped, renamed })
}

/// Returns the name that the torrent of this path will have, before the data is read.
pub fn torrent_name(path: &Path, options: &CreateOptions) -> Result<String, CreateError> {
    if let Some(name) = &options.name {
        return Ok(name.clone());
    }
    let path = path.canonicalize().map_err(io_error(path))?;
    let name = path.file_name().ok_or_else(|| CreateError::Empty(path.clone()))?;
    name.to_str().map(str::to_owned).ok_or_else(|| CreateError::NotUtf8(path.clone()))
}

fn builder(path: &Path, tree: &Tree, options: &CreateOptions) -> Result<Builder, CreateError> {
    let name = torrent_name(path, options)?;
    let mut builder = Builder::new(
        &name,
        tree.files.iter().map(|file| (file.path.clone(), file.stat.len)).collect(),
    );
    if let Some(length) = options.piece_length {
        if !length.is_power_of_two() || !(PIECE_LENGTH_MIN..=PIECE_LENGTH_MAX).contains(&length) {
            return Err(CreateError::PieceLength(length));
        }
        builder.piece_length = length;
    }
    let CreateOptions {
        trackers,
        web_seeds,
        private,
        source,
        comment,
        created_by,
        creation_date,
        ..
    } = options.clone();
    Ok(Builder {
        trackers,
        web_seeds,
        private,
        source,
        comment,
        created_by,
        creation_date,
        single_file: tree.is_file,
        ..builder
    })
}

/// Builds the torrent with blank digests and parses it as any client would, so that all limits
/// apply before hashing.
fn draft(path: &Path, builder: &Builder) -> Result<Metainfo, CreateError> {
    let total = builder.files.iter().map(|(_, length)| *length).sum();
    if total == 0 {
        return Err(CreateError::Empty(path.to_owned()));
    }
    let geometry = Geometry::new(total, builder.piece_length).map_err(MetainfoError::from)?;
    Ok(Metainfo::from_bytes(&builder.build(&vec![[0; 20]; geometry.piece_count() as usize]))?)
}

/// Lists the files that get another name where they are downloaded anew. This system has the names,
/// so the torrent lists them as they are.
fn renamed(builder: &Builder, info: &Info) -> Result<Vec<Renamed>, CreateError> {
    let mut renamed = Vec::new();
    for ((below, _), file) in builder.files.iter().zip(&info.files) {
        let path = std::iter::once(&builder.name).chain(below);
        if path.clone().eq(&file.path) {
            continue;
        }
        let (path, stored_as) = (path.collect(), file.path.iter().collect());
        if file.listed.is_none() && file.length > 0 {
            return Err(CreateError::Name { path, stored_as });
        }
        renamed.push(Renamed { path, stored_as });
    }
    Ok(renamed)
}

fn hash(
    layout: &Layout,
    storage: &DiskStorage,
    progress: &Progress,
) -> Result<Vec<Sha1Digest>, CreateError> {
    let pieces: Vec<Piece> = layout.geometry().pieces().collect();
    let found = hash_pieces(layout, Algorithm::Sha1, storage, &pieces, progress)?;
    let digest = |(piece, digest): (Piece, Option<Digest>)| match digest {
        Some(Digest::Sha1(digest)) => Ok(digest),
        // A file is shorter than it was, or gone.
        _ => Err(CreateError::Changed(
            layout.piece_spans(piece).map(|span| span.file.path.clone()).next().unwrap_or_default(),
        )),
    };
    pieces.into_iter().zip(found).map(digest).collect()
}

/// The files below a root.
struct Tree {
    is_file: bool,
    /// Ordered by path components as byte strings (BEP 52 needs this order too).
    files: Vec<Found>,
    skipped: Vec<Skipped>,
}

struct Found {
    /// Components below the root; empty when the root is the file.
    path: Vec<String>,
    stat: Stat,
}

impl Tree {
    /// Lists the tree; only one directory is open at a time. `storage` is the directory that holds
    /// the root.
    fn walk(
        root: &Path,
        storage: &DiskStorage,
        mut excluded: Excluded,
    ) -> Result<Tree, CreateError> {
        let mut tree = Tree { is_file: root.is_file(), files: Vec::new(), skipped: Vec::new() };
        let mut paths = Vec::new();
        if tree.is_file {
            paths.push(Vec::new());
        } else {
            tree.list(root, &mut excluded, &mut paths)?;
            excluded.all_used()?;
        }
        paths.sort_unstable();
        for path in paths {
            let stat = stat(root, &path, storage)?;
            tree.files.push(Found { path, stat });
        }
        Ok(tree)
    }

    /// Checks that every file is as it was when it was listed.
    fn unchanged(&self, root: &Path, storage: &DiskStorage) -> Result<(), CreateError> {
        self.files.iter().try_for_each(|file| match stat(root, &file.path, storage)? {
            now if now == file.stat => Ok(()),
            _ => Err(CreateError::Changed(root.join(file.path.iter().collect::<PathBuf>()))),
        })
    }

    fn list(
        &mut self,
        root: &Path,
        excluded: &mut Excluded,
        paths: &mut Vec<Vec<String>>,
    ) -> Result<(), CreateError> {
        let mut directories = vec![Vec::<String>::new()];
        while let Some(parent) = directories.pop() {
            let directory = root.join(parent.iter().collect::<PathBuf>());
            for entry in std::fs::read_dir(&directory).map_err(io_error(&directory))? {
                let entry = entry.map_err(io_error(&directory))?;
                let name = entry.file_name();
                let below: PathBuf =
                    parent.iter().map(OsStr::new).chain([name.as_os_str()]).collect();
                if excluded.is_match(&below, &name) {
                    continue;
                }
                let kind = entry.file_type().map_err(io_error(&entry.path()))?;
                if kind.is_symlink() || !(kind.is_file() || kind.is_dir()) {
                    let what = if kind.is_symlink() { "a symlink" } else { "not a regular file" };
                    self.skipped.push(Skipped { path: below, what });
                    continue;
                }
                if parent.is_empty() && excluded.is_own_torrent(&entry.path()) {
                    self.skipped
                        .push(Skipped { path: below, what: "a torrent of this directory itself" });
                    continue;
                }
                let name = name.into_string().map_err(|_| CreateError::NotUtf8(entry.path()))?;
                let path = parent.iter().cloned().chain([name]).collect();
                if kind.is_dir() { directories.push(path) } else { paths.push(path) }
            }
        }
        self.skipped.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }
}

/// Stats a file that was listed below the root.
fn stat(root: &Path, path: &[String], storage: &DiskStorage) -> Result<Stat, CreateError> {
    let below: PathBuf = root.file_name().into_iter().chain(path.iter().map(OsStr::new)).collect();
    let stat = storage.stat(&below).map_err(StoreError::at(&below))?;
    stat.ok_or_else(|| CreateError::Changed(root.with_file_name(&below)))
}

/// The files to leave out of a tree.
struct Excluded {
    /// Each with its text, and whether it is a glob or has matched a file.
    patterns: Vec<(String, PathPattern, bool)>,
    /// The torrent's name: a torrent of that name in the tree was made of it before.
    name: String,
}

impl Excluded {
    fn new(patterns: &[String], name: &str) -> Excluded {
        let pattern = |text: &String| {
            let pattern = PathPattern::new(text);
            let is_glob = pattern.is_glob();
            (text.clone(), pattern, is_glob)
        };
        Excluded { patterns: patterns.iter().map(pattern).collect(), name: name.to_owned() }
    }

    fn is_match(&mut self, below: &Path, name: &OsStr) -> bool {
        let (below, name) = (below.to_string_lossy(), name.to_string_lossy());
        let mut found = false;
        for (_, pattern, used) in &mut self.patterns {
            let is_match = [&below, &name]
                .iter()
                .any(|path| pattern.names(path) || pattern.is_glob_match(path));
            *used |= is_match;
            found |= is_match;
        }
        found
    }

    /// Returns whether the file is a torrent of this tree, which an earlier run left there.
    fn is_own_torrent(&self, path: &Path) -> bool {
        let is_small = || path.metadata().is_ok_and(|found| found.len() <= OWN_TORRENT_MAX);
        path.extension().is_some_and(|extension| extension == "torrent")
            && is_small()
            && std::fs::read(path).is_ok_and(|bytes| {
                Metainfo::from_bytes(&bytes).is_ok_and(|torrent| torrent.info.name == self.name)
            })
    }

    /// Refuses a pattern that can have no effect.
    fn all_used(&self) -> Result<(), CreateError> {
        match self.patterns.iter().find(|(_, _, used)| !used) {
            Some((text, ..)) => Err(CreateError::Pattern(text.clone())),
            None => Ok(()),
        }
    }
}

/// Makes a function for `map_err`.
fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CreateError {
    let path = path.to_owned();
    move |source| CreateError::Io { path, source }
}

impl From<StoreError> for CreateError {
    fn from(StoreError { path, source }: StoreError) -> CreateError {
        CreateError::Io { path, source }
    }
}

impl From<HashError> for CreateError {
    fn from(error: HashError) -> CreateError {
        match error {
            HashError::Store(error) => error.into(),
            HashError::Cancelled => CreateError::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests;
