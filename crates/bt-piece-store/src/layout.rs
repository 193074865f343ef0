//! Maps pieces to ranges of files.
//!
//! Decides: the mapping from torrent offsets to files, and which names files have on the disk.
//! Must not know: any byte of a file.
//! Invariant: the spans of a range follow each other without a gap and add up to the range.

use bt_metainfo::{FileEntry, Info};
use bt_types::{Bitfield, Geometry, Piece};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// The files of a torrent, with paths relative to a storage's root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    geometry: Geometry,
    files: Vec<LayoutFile>,
}

/// One file of a layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LayoutFile {
    /// Path below the root.
    pub path: PathBuf,
    /// The path as the torrent lists it, if it differs: looked for first.
    listed: Option<PathBuf>,
    /// Length in bytes.
    pub length: u64,
    /// Offset in bytes of its first byte in the torrent.
    pub offset: u64,
    /// Whether it exists on the disk; padding and symlinks do not, and read as zeros.
    pub is_stored: bool,
    /// Whether it is wanted. An unwanted file is made only for a piece that it shares with a wanted
    /// one.
    pub is_wanted: bool,
}

/// A range of one file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span<'a> {
    /// The file's number in [`Layout::files`].
    pub index: usize,
    /// The file.
    pub file: &'a LayoutFile,
    /// First byte inside the file.
    pub offset: u64,
    /// Length in bytes, never zero.
    pub len: u32,
}

impl Layout {
    /// Makes the layout below a directory that contains the torrent's name.
    pub fn new(info: &Info) -> Layout {
        Layout::with_top(info, OsStr::new(&info.name))
    }

    /// Makes the layout with another name in place of the torrent's.
    pub(crate) fn with_top(info: &Info, top: &OsStr) -> Layout {
        // A renamed top keeps its new name.
        let listed_top = |parts: &[Vec<u8>]| match parts.first() {
            Some(part) if top == OsStr::new(&info.name) => OsStr::from_bytes(part).to_owned(),
            _ => top.to_owned(),
        };
        let listed = |parts: &Vec<Vec<u8>>| {
            let below = parts.iter().skip(1).map(|part| OsStr::from_bytes(part).to_owned());
            std::iter::once(listed_top(parts)).chain(below).collect::<PathBuf>()
        };
        let file = |entry: &FileEntry| LayoutFile {
            path: std::iter::once(top).chain(entry.path.iter().skip(1).map(OsStr::new)).collect(),
            listed: entry.listed.as_ref().map(listed),
            length: entry.length,
            offset: entry.offset,
            is_stored: entry.is_stored(),
            is_wanted: true,
        };
        Layout { geometry: info.geometry, files: info.files.iter().map(file).collect() }
    }

    /// Uses the listed name of each file that exists under it below this directory. Missing files
    /// keep names that are safe on every system.
    pub(crate) fn look_for(&mut self, root: &Path) {
        // By their names in small letters: on a disk that ignores case two such names are one file.
        let mut taken: HashMap<String, PathBuf> = HashMap::new();
        let key = |path: &Path| path.to_string_lossy().to_lowercase();
        for file in self.files.iter_mut().filter(|file| file.is_stored) {
            if let Some(listed) = file.listed.take() {
                let safe = std::mem::take(&mut file.path);
                for (safe, listed) in safe.iter().zip(&listed) {
                    let is_there = safe != listed
                        && root.join(&file.path).join(listed).symlink_metadata().is_ok();
                    file.path.push(if is_there { listed } else { safe });
                }
                let other = taken.get(&key(&file.path));
                if other.is_some_and(|other| {
                    *other == file.path || is_same(&root.join(other), &root.join(&file.path))
                }) && let Some(name) = safe.file_name()
                {
                    file.path.set_file_name(name);
                }
            }
            taken.insert(key(&file.path), file.path.clone());
        }
    }

    /// Gives a file another path. Fails if that is no path below the torrent's top, or leads to
    /// another file of the torrent, or through one.
    pub fn rename(&mut self, index: usize, path: &Path) -> Result<(), NameError> {
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let file = self.files.get(index).filter(|file| file.is_stored);
        let Some(file) = file else { return Err(NameError::NoFile(index)) };
        let is_same_top = self.is_one_file() || path.iter().next() == file.path.iter().next();
        let depth = path.iter().count();
        let is_alone = (depth == 1) == self.is_one_file();
        if !is_plain || depth == 0 || !is_same_top || !is_alone {
            return Err(NameError::Outside(path.to_owned()));
        }
        let is_taken = |(other, file): (usize, &LayoutFile)| {
            other != index && (file.path.starts_with(path) || path.starts_with(&file.path))
        };
        if self.stored().any(is_taken) {
            return Err(NameError::Taken(path.to_owned()));
        }
        if let Some(file) = self.files.get_mut(index) {
            file.path = path.to_owned();
        }
        Ok(())
    }

    /// Gives files the paths that they have, by number. A first component of them that is not the
    /// torrent's name takes its place for all files.
    pub fn rename_all(
        &mut self,
        info: &Info,
        root: &Path,
        names: &BTreeMap<usize, PathBuf>,
    ) -> Result<(), NameError> {
        let top = names.values().next().and_then(|path| path.components().next());
        if let Some(Component::Normal(top)) = top
            && !self.is_one_file()
            && self.top().is_some_and(|own| own.as_os_str() != top)
        {
            *self = Layout::with_top(info, top);
            self.look_for(root);
        }
        for (index, path) in names {
            if self.files.get(*index).is_none_or(|file| file.path != *path) {
                self.rename(*index, path)?;
            }
        }
        Ok(())
    }

    /// Gives the directory of all files another name. Fails for a torrent that is one file, and for
    /// what is no name.
    pub fn rename_top(&mut self, name: &OsStr) -> Result<(), NameError> {
        let mut parts = Path::new(name).components();
        let is_name = matches!(parts.next(), Some(Component::Normal(part)) if part == name);
        if !is_name || parts.next().is_some() || self.is_one_file() {
            return Err(NameError::Outside(name.into()));
        }
        for file in &mut self.files {
            let below = file.path.iter().skip(1);
            file.path = std::iter::once(name).chain(below).collect();
        }
        Ok(())
    }

    /// Selects the files with these numbers as the only wanted ones.
    pub fn select(&mut self, wanted: &BTreeSet<usize>) {
        for (index, file) in self.files.iter_mut().enumerate() {
            file.is_wanted = wanted.contains(&index);
        }
    }

    /// Returns the piece geometry.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Returns all files in torrent order.
    pub fn files(&self) -> &[LayoutFile] {
        &self.files
    }

    /// Returns the files that exist on the disk, with their numbers.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (usize, &LayoutFile)> {
        self.files.iter().enumerate().filter(|(_, file)| file.is_stored)
    }

    /// Returns whether the torrent is one file, without a directory.
    pub fn is_one_file(&self) -> bool {
        self.files.iter().all(|file| file.path.components().count() == 1)
    }

    /// Returns the top: the directory of all files, or the only file.
    pub fn top(&self) -> Option<&Path> {
        self.files.first().and_then(|file| file.path.iter().next()).map(Path::new)
    }

    /// Returns the file ranges of `len` bytes of a piece from `begin`; bytes beyond the torrent's
    /// end are left out.
    pub fn spans(&self, piece: Piece, begin: u32, len: u32) -> impl Iterator<Item = Span<'_>> {
        self.range(self.geometry.piece_start(piece) + u64::from(begin), u64::from(len))
    }

    /// Returns [`Layout::spans`] by the offset in the torrent, across pieces.
    pub(crate) fn range(&self, mut at: u64, len: u64) -> impl Iterator<Item = Span<'_>> {
        let end = at.saturating_add(len).min(self.geometry.total());
        let mut next = self.files.partition_point(|file| file.offset + file.length <= at);
        std::iter::from_fn(move || {
            while at < end {
                let (index, file) = (next, self.files.get(next)?);
                next += 1;
                let len = u32::try_from((file.offset + file.length).min(end).saturating_sub(at))
                    .unwrap_or(u32::MAX);
                if len > 0 {
                    let span = Span { index, file, offset: at - file.offset, len };
                    at += u64::from(len);
                    return Some(span);
                }
            }
            None
        })
    }

    /// Returns the file ranges of a whole piece.
    pub(crate) fn piece_spans(&self, piece: Piece) -> impl Iterator<Item = Span<'_>> {
        self.spans(piece, 0, self.geometry.piece_len(piece))
    }

    /// Returns the numbers of the pieces that hold a byte of the file.
    pub fn numbers_of(&self, file: &LayoutFile) -> Range<u32> {
        let piece_length = u64::from(self.geometry.piece_length());
        let first = file.offset / piece_length;
        let end = if file.length == 0 {
            first
        } else {
            (file.offset + file.length).div_ceil(piece_length)
        };
        let number = |number| u32::try_from(number).unwrap_or(u32::MAX);
        number(first)..number(end)
    }

    /// Returns the pieces that hold a byte of the file.
    pub(crate) fn pieces_of(&self, file: &LayoutFile) -> impl Iterator<Item = Piece> + use<> {
        let geometry = self.geometry;
        self.numbers_of(file).filter_map(move |number| geometry.piece(number))
    }

    /// Returns how many bytes of a file lie in these pieces.
    pub fn bytes_of(&self, file: &LayoutFile, pieces: &Bitfield) -> u64 {
        let (begin, end) = (file.offset, file.offset + file.length);
        let inside = |piece: Piece| {
            let start = self.geometry.piece_start(piece);
            let stop = start + u64::from(self.geometry.piece_len(piece));
            stop.min(end).saturating_sub(start.max(begin))
        };
        self.pieces_of(file).filter(|&piece| pieces.has(piece)).map(inside).sum()
    }

    /// Returns the pieces that hold a byte of a wanted file.
    pub fn wanted(&self) -> Bitfield {
        self.pieces_of_files(|index| self.files.get(index).is_some_and(|file| file.is_wanted))
    }

    /// Returns the pieces that hold a byte of one of these files, and those that hold only padding.
    /// Padding counts with the file before it: it is not chosen by itself.
    pub(crate) fn pieces_of_files(&self, is_one: impl Fn(usize) -> bool) -> Bitfield {
        let mut pieces = Bitfield::full(self.geometry.piece_count());
        for piece in self.stored().flat_map(|(_, file)| self.pieces_of(file)) {
            pieces.remove(piece);
        }
        let files = self.stored().filter(|(index, _)| is_one(*index));
        for piece in files.flat_map(|(_, file)| self.pieces_of(file)) {
            pieces.insert(piece);
        }
        pieces
    }
}

/// Why a file of a torrent cannot have a name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The torrent has no such file.
    #[error("the torrent has no file {0}")]
    NoFile(usize),
    /// It is no path below the torrent's top.
    #[error("{} is no path below the torrent's own directory", .0.display())]
    Outside(PathBuf),
    /// Another file of the torrent has it.
    #[error("another file of the torrent is at {}", .0.display())]
    Taken(PathBuf),
}

/// Finds a torrent's data in the directory that the user named. The directory contains the
/// torrent's name, or it is the content itself, perhaps renamed. Returns the root for a storage and
/// the layout below it.
pub fn locate(dir: &Path, info: &Info) -> io::Result<(PathBuf, Layout)> {
    let (mut root, mut layout) = (dir.to_owned(), Layout::new(info));
    let listed = layout.files.first().and_then(|file| file.listed.as_ref()?.iter().next());
    let names = [Some(OsStr::new(&info.name)), listed];
    let is_inside =
        names.into_iter().flatten().any(|name| dir.join(name).symlink_metadata().is_ok());
    if !is_inside && is_content(dir, &layout) {
        let dir = dir.canonicalize()?;
        if let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) {
            (root, layout) = (parent.to_owned(), Layout::with_top(info, name));
        }
    }
    layout.look_for(&root);
    Ok((root, layout))
}

/// Returns whether both lead to one file.
fn is_same(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|found| (found.dev(), found.ino())).ok();
    id(a).is_some_and(|first| id(b) == Some(first))
}

/// Returns whether the path is the torrent's one file, or a directory that holds one of its files
/// at its place.
fn is_content(dir: &Path, layout: &Layout) -> bool {
    /// Files to look for; more would be slow for a torrent of which nothing is there.
    const TRIES: usize = 100;
    let paths = layout
        .stored()
        .take(TRIES)
        .flat_map(|(_, file)| [Some(&file.path), file.listed.as_ref()])
        .flatten();
    paths.map(|path| path.iter().skip(1).collect::<PathBuf>()).any(|below| {
        let path = if below.as_os_str().is_empty() { dir.to_owned() } else { dir.join(below) };
        path.metadata().is_ok_and(|found| found.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_metainfo::{Builder, Metainfo};
    use proptest::prelude::*;

    fn info(lengths: &[u64], piece_length: u32) -> Info {
        let files = lengths
            .iter()
            .enumerate()
            .map(|(n, length)| (vec!["d".into(), n.to_string()], *length))
            .collect();
        let total: u64 = lengths.iter().sum();
        let digests = vec![[0; 20]; total.div_ceil(u64::from(piece_length)) as usize];
        let builder = Builder { piece_length, ..Builder::new("t", files) };
        Metainfo::from_bytes(&builder.build(&digests)).unwrap().info
    }

    #[test]
    fn a_piece_spans_files_and_skips_empty_ones() {
        let layout = Layout::new(&info(&[3, 0, 4, 10], 8));
        let spans = |piece| -> Vec<(usize, u64, u32)> {
            layout
                .piece_spans(layout.geometry().piece(piece).unwrap())
                .map(|span| (span.index, span.offset, span.len))
                .collect()
        };
        assert_eq!(spans(0), [(0, 0, 3), (2, 0, 4), (3, 0, 1)]);
        assert_eq!(spans(1), [(3, 1, 8)]);
        assert_eq!(spans(2), [(3, 9, 1)]);
        assert_eq!(layout.files()[2].path, Path::new("t/d/2"));
        let pieces = |file: usize| -> Vec<u32> {
            layout.pieces_of(&layout.files()[file]).map(Piece::number).collect()
        };
        assert_eq!((pieces(0), pieces(1), pieces(3)), (vec![0], vec![], vec![0, 1, 2]));
    }

    #[test]
    fn a_shared_piece_is_wanted_for_either_file() {
        // Pieces: 0 is of files 0, 1 and 2; 1 and 2 are of file 2.
        for (files, wanted) in
            [(vec![0], vec![0]), (vec![2], vec![0, 1, 2]), (vec![1], vec![]), (vec![], vec![])]
        {
            let mut layout = Layout::new(&info(&[3, 0, 14], 6));
            layout.select(&files.iter().copied().collect());
            let found: Vec<u32> =
                layout.wanted().iter(layout.geometry()).map(Piece::number).collect();
            assert_eq!(found, wanted, "{files:?}");
        }
    }

    #[test]
    fn padding_is_wanted_with_its_file_and_by_itself_where_nothing_else_is() {
        // Pieces: 0 to 2 are of file 0, and 2 to 4 of the padding behind it.
        let (info, _) = crate::testkit::padded(&[1; 10], 4);
        for (files, wanted) in [(vec![0], 0..5), (vec![1], 3..5), (vec![], 3..5)] {
            let mut layout = Layout::new(&info);
            layout.select(&files.iter().copied().collect());
            let found: Vec<u32> =
                layout.wanted().iter(layout.geometry()).map(Piece::number).collect();
            assert_eq!(found, wanted.collect::<Vec<_>>(), "{files:?}");
        }
    }

    #[test]
    fn content_is_found_inside_and_in_place() {
        let tree = tempfile::tempdir().unwrap();
        let (dir, info) = (tree.path().canonicalize().unwrap(), info(&[1, 1], 8));
        assert_eq!(
            locate(&dir, &info).unwrap(),
            (dir.clone(), Layout::new(&info)),
            "nothing there yet"
        );
        std::fs::create_dir_all(dir.join("renamed/d")).unwrap();
        std::fs::write(dir.join("renamed/d/1"), "x").unwrap();
        let (root, layout) = locate(&dir.join("renamed"), &info).unwrap();
        assert_eq!(
            (root, layout.files()[1].path.as_path()),
            (dir.clone(), Path::new("renamed/d/1"))
        );
        std::fs::create_dir_all(dir.join("renamed/t")).unwrap();
        assert_eq!(
            locate(&dir.join("renamed"), &info).unwrap().0,
            dir.join("renamed"),
            "the name inside wins"
        );
    }

    #[test]
    fn data_under_the_names_that_are_listed_is_found() {
        let listed = ["aux.c", "track 1.", "README", "readme", "a\\b", "same", "same", "plain"];
        let files = listed.iter().map(|name| (vec![(*name).to_owned()], 1)).collect();
        let bytes =
            Builder { piece_length: 16_384, ..Builder::new("Vol. 1...", files) }.build(&[[0; 20]]);
        let info = Metainfo::from_bytes(&bytes).unwrap().info;
        let names = |layout: &Layout| -> Vec<String> {
            layout.files.iter().map(|file| file.path.display().to_string()).collect()
        };
        let safe = ["_aux.c", "track 1", "README", "readme.1", "a_b", "same", "same.1", "plain"]
            .map(|name| format!("Vol. 1/{name}"));
        let tree = tempfile::tempdir().unwrap();
        assert_eq!(names(&locate(tree.path(), &info).unwrap().1), safe, "nothing is there yet");

        let dir = tree.path().join("Vol. 1...");
        std::fs::create_dir(&dir).unwrap();
        let there = ["aux.c", "track 1.", "README", "readme", "same", "plain"];
        there.iter().for_each(|name| std::fs::write(dir.join(name), "x").unwrap());
        let found = ["aux.c", "track 1.", "README", "readme", "a_b", "same", "same.1", "plain"];
        let inside = found.map(|name| format!("Vol. 1.../{name}"));
        assert_eq!(names(&locate(tree.path(), &info).unwrap().1), inside);
        let (root, layout) = locate(&dir, &info).unwrap();
        assert_eq!(
            (root, names(&layout)),
            (tree.path().canonicalize().unwrap(), inside.to_vec()),
            "in place"
        );

        // A disk that ignores case has one file under both names.
        std::fs::remove_file(dir.join("readme")).unwrap();
        std::fs::hard_link(dir.join("README"), dir.join("readme")).unwrap();
        assert_eq!(names(&locate(tree.path(), &info).unwrap().1)[3], "Vol. 1.../readme.1");
    }

    proptest! {
        #[test]
        fn spans_cover_the_range(lengths in proptest::collection::vec(0u64..50, 1..12), piece_length in 1u32..40) {
            let layout = Layout::new(&info(&lengths, piece_length));
            let mut at = 0;
            for piece in layout.geometry().pieces() {
                for span in layout.piece_spans(piece) {
                    prop_assert_eq!(span.file.offset + span.offset, at);
                    prop_assert!(span.len > 0 && span.offset + u64::from(span.len) <= span.file.length);
                    prop_assert!(layout.pieces_of(span.file).any(|p| p == piece));
                    at += u64::from(span.len);
                }
            }
            prop_assert_eq!(at, lengths.iter().sum::<u64>());
        }
    }
}
