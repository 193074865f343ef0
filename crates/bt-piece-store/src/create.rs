//! Makes a torrent of a file or a directory tree.
//!
//! Decides: which files go in, and in which order.
//! Must not know: where the torrent is saved.
//! Invariant: equal trees and options give equal bytes. A torrent is made only of files that did
//! not change meanwhile.

use crate::hashing::{HashError, hash_pieces};
use crate::storage::{DiskStorage, Stat, Storage, StoreError};
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
pub struct Renamed {
    /// Its path as the torrent lists it.
    pub path: PathBuf,
    /// Its path where it is downloaded anew.
    pub stored_as: PathBuf,
}

/// A file in the tree that cannot be in a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Its path below the root.
    pub path: PathBuf,
    /// The reason: "a symlink", "not a regular file".
    pub what: &'static str,
}

/// Why no torrent was made.
#[derive(Debug, thiserror::Error)]
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
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    fn write(root: &Path, name: &str, content: &[u8]) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn create(path: &Path, options: &CreateOptions) -> Result<Created, CreateError> {
        create_torrent(path, options, &Progress::default())
    }

    fn paths(created: &Created) -> Vec<String> {
        created.metainfo.info.files.iter().map(|file| file.path.join("/")).collect()
    }

    fn hash_of(created: &Created) -> String {
        created.metainfo.info_hashes.v1.unwrap().to_string()
    }

    /// Makes a directory `fix` with unicode names, dot files, an empty file and a file of four
    /// pieces.
    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let big: Vec<u8> = (0..100_000u32).map(|n| (n * 31 % 251) as u8).collect();
        for (name, content) in [
            ("a.txt", b"hello".as_slice()),
            ("empty", b""),
            ("d/big", &big),
            ("ünï", b"x"),
            (".dot", b"dot"),
            ("Z", b"Z"),
        ] {
            write(&dir.path().join("fix"), name, content);
        }
        dir
    }

    #[test]
    fn the_info_hash_is_that_of_mktorrent() {
        let dir = tree();
        let options = CreateOptions { piece_length: Some(32_768), ..CreateOptions::default() };
        // mktorrent 1.1: -l 15 -o f1.torrent fix/d/big
        let single = create(&dir.path().join("fix/d/big"), &options).unwrap();
        assert_eq!(hash_of(&single), "eb554da76ae17733ce072eaad46787ddcc58a3e3");
        // mktorrent 1.1: -l 15 -p -s SRC -o fx.torrent fix
        let options = CreateOptions { private: true, source: Some("SRC".into()), ..options };
        let created = create(&dir.path().join("fix"), &options).unwrap();
        assert_eq!(hash_of(&created), "c3aca57a3d49761d5143fe4f82612eb176fbec8a");
        assert_eq!(
            paths(&created),
            ["fix/.dot", "fix/Z", "fix/a.txt", "fix/d/big", "fix/empty", "fix/ünï"]
        );
    }

    #[test]
    fn what_is_outside_info_does_not_change_the_info_hash() {
        let dir = tree();
        let plain = create(&dir.path().join("fix"), &CreateOptions::default()).unwrap();
        let dressed = CreateOptions {
            trackers: vec![vec!["http://a/announce".into()], vec!["udp://b:1".into()]],
            web_seeds: vec!["http://w/".into()],
            comment: Some("c".into()),
            created_by: Some("bt".into()),
            creation_date: Some(1),
            ..CreateOptions::default()
        };
        let dressed = create(&dir.path().join("fix"), &dressed).unwrap();
        assert_eq!(hash_of(&plain), hash_of(&dressed));
        assert_eq!(dressed.metainfo.trackers, [["http://a/announce"], ["udp://b:1"]]);
        assert!(dressed.metainfo.warnings.is_empty());
    }

    #[test]
    fn files_are_ordered_by_components_and_not_by_the_joined_path() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["t/a.txt", "t/a/z", "t/a b/c", "t/B"] {
            write(dir.path(), name, b"x");
        }
        let created = create(&dir.path().join("t"), &CreateOptions::default()).unwrap();
        assert_eq!(paths(&created), ["t/B", "t/a/z", "t/a b/c", "t/a.txt"]);
    }

    #[test]
    fn what_cannot_be_in_a_torrent_is_skipped_and_reported() {
        let dir = tree();
        let root = dir.path().join("fix");
        symlink("a.txt", root.join("link")).unwrap();
        symlink("..", root.join("d/loop")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let created = create(&root, &CreateOptions::default()).unwrap();
        let skipped: Vec<(&str, &str)> = created
            .skipped
            .iter()
            .map(|skipped| (skipped.path.to_str().unwrap(), skipped.what))
            .collect();
        assert_eq!(
            skipped,
            [("d/loop", "a symlink"), ("link", "a symlink"), ("socket", "not a regular file")]
        );
        assert_eq!(paths(&created).len(), 6);
        symlink("fix", dir.path().join("by-link")).unwrap();
        assert_eq!(
            create(&dir.path().join("by-link"), &CreateOptions::default())
                .unwrap()
                .metainfo
                .info
                .name,
            "fix"
        );
    }

    #[test]
    fn patterns_leave_files_and_directories_out() {
        let dir = tree();
        let with = |exclude: &[&str]| {
            let exclude = exclude.iter().map(|pattern| pattern.to_string()).collect();
            create(&dir.path().join("fix"), &CreateOptions { exclude, ..CreateOptions::default() })
        };
        assert_eq!(
            paths(&with(&[".*", "*.txt", "d/big"]).unwrap()),
            ["fix/Z", "fix/empty", "fix/ünï"]
        );
        assert_eq!(paths(&with(&["d", "?*.txt", "[ue]*", ".dot"]).unwrap()), ["fix/Z", "fix/ünï"]);
        assert!(matches!(with(&["*"]), Err(CreateError::Empty(_))));
        assert!(matches!(with(&["["]), Err(CreateError::Pattern(_))));
        write(&dir.path().join("fix"), "[a] [1080p]", b"x");
        assert_eq!(
            paths(&with(&["[a] [1080p]", "d/", ".dot", "empty"]).unwrap()),
            ["fix/Z", "fix/a.txt", "fix/ünï"]
        );
    }

    #[test]
    fn a_torrent_of_the_tree_itself_is_left_out_and_named() {
        let dir = tree();
        let root = dir.path().join("fix");
        let first = create(&root, &CreateOptions::default()).unwrap();
        write(&root, "fix.torrent", &first.bytes);
        let other = create(&root.join("a.txt"), &CreateOptions::default()).unwrap();
        write(&root, "a.torrent", &other.bytes);
        let again = create(&root, &CreateOptions::default()).unwrap();
        assert_eq!(
            again.skipped,
            [Skipped { path: "fix.torrent".into(), what: "a torrent of this directory itself" }]
        );
        assert!(
            paths(&again).contains(&"fix/a.torrent".to_owned()),
            "a torrent of something else is a file like any"
        );
    }

    #[test]
    fn names_that_not_every_system_can_store_are_listed_as_they_are() {
        let odd = ["A", "a", "a ", "aux.c", "b\\c", "plain"];
        let dir = tempfile::tempdir().unwrap();
        for (content, name) in odd.iter().enumerate() {
            write(&dir.path().join("t"), name, &[content as u8]);
            write(&dir.path().join("u"), &content.to_string(), &[content as u8]);
        }
        let of = |name: &str| create(&dir.path().join(name), &CreateOptions::default()).unwrap();
        let (created, plain) = (of("t"), of("u"));
        let renamed: Vec<&Path> =
            created.renamed.iter().map(|renamed| renamed.path.as_path()).collect();
        assert_eq!(renamed, ["t/a", "t/a ", "t/aux.c", "t/b\\c"].map(Path::new));
        assert_eq!(
            created.metainfo.info.digests, plain.metainfo.info.digests,
            "the data under these names was hashed"
        );
        let named = CreateOptions { name: Some("a/b".to_owned()), ..CreateOptions::default() };
        assert!(matches!(create(&dir.path().join("u"), &named), Err(CreateError::Name { .. })));
    }

    #[test]
    fn what_nobody_could_use_is_refused() {
        type Make = fn(&Path);
        let table: [(&str, Make, &str); 3] = [
            ("nothing", |_| (), "holds no data"),
            ("only empty files", |root| write(root, "e", b""), "holds no data"),
            (
                "not UTF-8",
                |root| fs::write(root.join(OsStr::from_bytes(b"\xff")), b"x").unwrap(),
                "is not UTF-8",
            ),
        ];
        for (name, make, message) in table {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("t");
            fs::create_dir(&root).unwrap();
            make(&root);
            let error = create(&root, &CreateOptions::default()).unwrap_err().to_string();
            assert!(error.contains(message), "{name}: {error}");
        }
        let dir = tree();
        for length in [0, 1, 8_192, 24_000, 1 << 30] {
            let options = CreateOptions { piece_length: Some(length), ..CreateOptions::default() };
            assert!(
                matches!(
                    create(&dir.path().join("fix"), &options),
                    Err(CreateError::PieceLength(_))
                ),
                "{length}"
            );
        }
        assert!(matches!(
            create(&dir.path().join("missing"), &CreateOptions::default()),
            Err(CreateError::Io { .. })
        ));
    }

    #[test]
    fn a_file_that_changes_meanwhile_is_noticed() {
        let dir = tree();
        let root = dir.path().join("fix");
        let storage = DiskStorage::open(dir.path()).unwrap();
        let tree = Tree::walk(&root, &storage, Excluded::new(&[], "fix")).unwrap();
        assert!(tree.unchanged(&root, &storage).is_ok());
        fs::File::options()
            .write(true)
            .open(root.join("Z"))
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(
            matches!(tree.unchanged(&root, &storage), Err(CreateError::Changed(path)) if path.ends_with("fix/Z"))
        );
        fs::remove_file(root.join(".dot")).unwrap();
        assert!(
            matches!(tree.unchanged(&root, &storage), Err(CreateError::Changed(path)) if path.ends_with("fix/.dot"))
        );
    }

    #[test]
    fn it_can_be_cancelled() {
        let (dir, progress) = (tree(), Progress::default());
        progress.cancel();
        let result = create_torrent(&dir.path().join("fix"), &CreateOptions::default(), &progress);
        assert!(matches!(result, Err(CreateError::Cancelled)));
    }
}
