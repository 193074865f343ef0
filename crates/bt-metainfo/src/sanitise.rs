//! File names from a torrent, made safe to store on every system.
//!
//! Decides: how a component is changed, and which file is renamed when two want one name.
//! Must not know: the disk's own rules.
//! Invariant: no result leaves its directory; equal input gives equal names; safe names are not
//! touched.
//!
//! The rules are the same on every system, so that a torrent has the same names everywhere. Only
//! certain attacks are refused: `..`, NUL, an absolute path below the name. Other names are changed
//! with a warning. Unicode normalisation forms are not folded.

use crate::raw_file::{DEPTH_MAX, RawFile};
use crate::{MetainfoError, fields};
use alloc::collections::BTreeMap;
use alloc::{borrow::ToOwned as _, format, string::String, vec, vec::Vec};

/// The longest component in bytes that common file systems hold.
const COMPONENT_MAX: usize = 255;
/// The longest path in bytes below the download directory; Linux takes 4,095 from a call.
const PATH_MAX: usize = 4000;
/// The longest extension in bytes that survives when a name is cut.
const EXTENSION_MAX: usize = 16;
/// Most renamed files that are named one by one.
const WARNINGS_MAX: usize = 20;
/// Stands for a character or a name that cannot be kept.
const SUBSTITUTE: &str = "_";

/// The names under which a torrent's files may be stored.
pub(crate) struct Storable {
    /// The torrent's name.
    pub(crate) name: String,
    /// One path for each file, the torrent's name first. Those of stored files differ from each
    /// other, also when case is ignored.
    pub(crate) paths: Vec<Vec<String>>,
}

/// Makes the paths of all files storable; adds a warning for each path that had to change.
pub(crate) fn storable(
    raw: &[RawFile<'_>],
    warnings: &mut Vec<String>,
) -> Result<Storable, MetainfoError> {
    let mut paths = raw.iter().map(clean_path).collect::<Result<Vec<_>, _>>()?;
    rename_collisions(raw, &mut paths);

    let changed =
        || raw.iter().zip(&paths).filter(|(file, path)| file.is_stored() && !is_same(file, path));
    for (file, path) in changed().take(WARNINGS_MAX) {
        warnings.push(format!("\"{}\" is stored as \"{}\"", shown(&file.path), path.join("/")));
    }
    if let more @ 1.. = changed().count().saturating_sub(WARNINGS_MAX) {
        warnings.push(format!("{more} more files are stored under other names"));
    }
    let name =
        paths.first().and_then(|path| path.first()).cloned().ok_or(MetainfoError::NoFiles)?;
    Ok(Storable { name, paths })
}

fn is_same(file: &RawFile<'_>, path: &[String]) -> bool {
    file.path.iter().copied().eq(path.iter().map(|part| part.as_bytes()))
}

/// Returns the listed path for a message.
pub(crate) fn shown(path: &[&[u8]]) -> String {
    fields::printable(&path.join(&b'/')).chars().take(200).collect()
}

/// Returns the listed path if it differs from the stored one and a Unix system can have it. Another
/// client may have stored the file there.
pub(crate) fn listed(file: &RawFile<'_>, path: &[String]) -> Option<Vec<Vec<u8>>> {
    let (name, below) = file.path.split_first()?;
    let parts: Vec<&[u8]> = core::iter::once(*name)
        .chain(below.iter().copied().filter(|part| !part.is_empty()))
        .collect();
    let is_name = |part: &[u8]| {
        !matches!(part, b"" | b"." | b"..")
            && part.len() <= COMPONENT_MAX
            && !part.iter().any(|byte| matches!(byte, b'/' | 0))
    };
    let differs = !parts.iter().copied().eq(path.iter().map(|part| part.as_bytes()));
    let fits = parts.len() == path.len()
        && parts.iter().map(|part| part.len() + 1).sum::<usize>() <= PATH_MAX;
    let is_place = file.is_stored() && differs && fits && parts.iter().all(|part| is_name(part));
    is_place.then(|| parts.into_iter().map(<[u8]>::to_vec).collect())
}

/// Cleans each component of a path; empty ones vanish. Refuses a path that would leave the
/// directory.
fn clean_path(file: &RawFile<'_>) -> Result<Vec<String>, MetainfoError> {
    let is_absolute = file.path.iter().skip(1).any(|part| part.starts_with(b"/"));
    if is_absolute || file.path.iter().any(|part| *part == b".." || part.contains(&0)) {
        return Err(MetainfoError::UnsafePath(shown(&file.path)));
    }
    let (name, below) = file.path.split_first().ok_or(MetainfoError::NoFiles)?;
    let mut path = vec![component(name)];
    path.extend(below.iter().filter(|part| !part.is_empty()).map(|part| component(part)));
    if path.len() == 1 && !below.is_empty() {
        path.push(SUBSTITUTE.to_owned());
    }
    let bytes: usize = path.iter().map(|part| part.len() + 1).sum();
    if path.len() > DEPTH_MAX || bytes > PATH_MAX {
        return Err(MetainfoError::PathLength(shown(&file.path)));
    }
    Ok(path)
}

/// Makes a component safe on every system. A safe one comes back unchanged.
fn component(bytes: &[u8]) -> String {
    let unsafe_char = |c: char| matches!(c, '/' | '\\') || fields::is_steering(c);
    let name = String::from_utf8_lossy(bytes).replace(unsafe_char, SUBSTITUTE);
    let name = shorten(&name);
    // Windows drops these from the end, so two names would become one; "." and ".." consist of
    // nothing else.
    let name = name.trim_end_matches(['.', ' ']);
    match name {
        "" => SUBSTITUTE.to_owned(),
        // A character longer, the name may be too long.
        name if is_reserved(name) => {
            shorten(&format!("{SUBSTITUTE}{name}")).trim_end_matches(['.', ' ']).to_owned()
        }
        name => name.to_owned(),
    }
}

/// Returns whether Windows takes the name, with any extension, for a device.
fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let mut chars = stem.chars();
    let is_port = matches!(chars.next_back(), Some('0'..='9' | '¹' | '²' | '³'))
        && matches!(chars.as_str(), "COM" | "LPT");
    is_port || matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
}

/// Splits off the extension with its dot, if there is a short one.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.').and_then(|dot| name.split_at_checked(dot)) {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= EXTENSION_MAX => {
            (stem, extension)
        }
        _ => (name, ""),
    }
}

/// Cuts a name that is too long; the extension stays.
fn shorten(name: &str) -> String {
    if name.len() <= COMPONENT_MAX {
        return name.to_owned();
    }
    let (stem, extension) = split_extension(name);
    with_ending(stem, extension)
}

/// Cuts the stem so that it makes a component with this ending.
fn with_ending(stem: &str, ending: &str) -> String {
    let max = stem.len().min(COMPONENT_MAX.saturating_sub(ending.len()));
    let end = (0..=max).rev().find(|&at| stem.is_char_boundary(at)).unwrap_or(0);
    format!("{}{ending}", stem.get(..end).unwrap_or_default())
}

/// Renames stored files that would share a name with another file or a directory, on a disk that
/// ignores case. The first in torrent order keeps its name, directories before files.
fn rename_collisions(raw: &[RawFile<'_>], paths: &mut [Vec<String>]) {
    let mut names = Names::default();
    let stored = || raw.iter().map(RawFile::is_stored);
    let parents: Vec<u32> = stored()
        .zip(paths.iter())
        .map(|(stored, path)| if stored { names.directory(path) } else { 0 })
        .collect();
    for ((_, parent), path) in
        stored().zip(parents).zip(paths.iter_mut()).filter(|((stored, _), _)| *stored)
    {
        if let Some(last) = path.last_mut() {
            names.claim(parent, last);
        }
    }
}

/// The names that are taken, as a tree: each directory has a number.
#[derive(Default)]
struct Names {
    taken: BTreeMap<(u32, String), Taken>,
    directories: u32,
}

/// The holder of a name: a directory with its number, or a file. Both with the suffix that the next
/// file of this name tries.
enum Taken {
    Directory { number: u32, next_suffix: u32 },
    File { next_suffix: u32 },
}

impl Names {
    /// Returns the number of the directory that holds the file.
    fn directory(&mut self, path: &[String]) -> u32 {
        let parents = path.split_last().map(|(_, parents)| parents).unwrap_or_default();
        parents.iter().fold(0, |parent, part| {
            match self.taken.get(&(parent, part.to_lowercase())) {
                Some(Taken::Directory { number, .. }) => *number,
                _ => {
                    self.directories += 1;
                    self.taken.insert(
                        (parent, part.to_lowercase()),
                        Taken::Directory { number: self.directories, next_suffix: 1 },
                    );
                    self.directories
                }
            }
        })
    }

    /// Takes the name for a file, changed if it must be: `name.1.ext` and so on.
    fn claim(&mut self, parent: u32, name: &mut String) {
        let wanted = (parent, name.to_lowercase());
        let mut candidate = name.clone();
        while self.taken.contains_key(&(parent, candidate.to_lowercase())) {
            let Some(Taken::Directory { next_suffix, .. } | Taken::File { next_suffix }) =
                self.taken.get_mut(&wanted)
            else {
                break;
            };
            let (stem, extension) = split_extension(name);
            candidate = with_ending(stem, &format!(".{next_suffix}{extension}"));
            *next_suffix = next_suffix.saturating_add(1);
        }
        self.taken.insert((parent, candidate.to_lowercase()), Taken::File { next_suffix: 1 });
        *name = candidate;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attr;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn components_become_safe_and_safe_ones_stay() {
        let long = "ä".repeat(200);
        let table: [(&[u8], &str); 24] = [
            (b"plain.txt", "plain.txt"),
            ("unicode ✓ ünïcode".as_bytes(), "unicode ✓ ünïcode"),
            (b".hidden", ".hidden"),
            (b"a:b*c?", "a:b*c?"),
            (b"a/b", "a_b"),
            (b"a\\b", "a_b"),
            (b"C:\\x", "C:_x"),
            (b".", "_"),
            (b"..", "_"),
            (b"...", "_"),
            (b"", "_"),
            (b"x. . ", "x"),
            (b"a\nb\x1b[1m", "a_b_[1m"),
            ("a\u{202e}txt.exe".as_bytes(), "a_txt.exe"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"CON", "_CON"),
            (b"nul.txt", "_nul.txt"),
            (b"com1", "_com1"),
            ("LPT³.x".as_bytes(), "_LPT³.x"),
            (b"con .txt", "_con .txt"),
            (b"com10", "com10"),
            (b"console", "console"),
            (b"aux.", "_aux"),
            (b"COM", "COM"),
        ];
        for (bytes, expected) in table {
            assert_eq!(component(bytes), expected, "{}", bytes.escape_ascii());
        }
        for (stem, extension) in [("con.", ""), ("aux", ".txt"), ("nul.", "."), ("lpt1. ", " ")] {
            let name = format!(
                "{stem}{}{extension}",
                "x".repeat(COMPONENT_MAX - stem.len() - extension.len())
            );
            let safe = component(name.as_bytes());
            assert!(
                safe.len() <= COMPONENT_MAX
                    && safe == component(safe.as_bytes())
                    && !is_reserved(&safe),
                "{name}: {safe}"
            );
        }
        let cut = component(format!("{long}.flac").as_bytes());
        assert_eq!(cut, format!("{}.flac", "ä".repeat(125)), "250 bytes of stem, 5 of extension");
    }

    /// Returns the stored paths and the warnings for files with these paths, components separated
    /// by `/`.
    fn stored(listed: &[&str]) -> (Vec<String>, Vec<String>) {
        let raw: Vec<RawFile<'_>> = listed
            .iter()
            .map(|path| RawFile {
                path: path.split('/').map(str::as_bytes).collect(),
                length: 1,
                attr: Attr::default(),
            })
            .collect();
        let mut warnings = Vec::new();
        let stored = storable(&raw, &mut warnings).unwrap();
        (stored.paths.iter().map(|path| path.join("/")).collect(), warnings)
    }

    #[test]
    fn no_two_files_get_one_name() {
        let table: [(&[&str], &[&str]); 7] = [
            (&["t/a", "t/b"], &["t/a", "t/b"]),
            (&["t/a.txt", "t/a.txt", "t/a.txt"], &["t/a.txt", "t/a.1.txt", "t/a.2.txt"]),
            (&["t/a.1.txt", "t/a.txt", "t/A.TXT"], &["t/a.1.txt", "t/a.txt", "t/A.2.TXT"]),
            (&["t/x", "t/x/y"], &["t/x.1", "t/x/y"]),
            (&["t/X/y", "t/x/Y"], &["t/X/y", "t/x/Y.1"]),
            (&["t/a\\b", "t/a_b"], &["t/a_b", "t/a_b.1"]),
            (&["t//", "t//a"], &["t/_", "t/a"]),
        ];
        for (listed, expected) in table {
            let (paths, warnings) = stored(listed);
            assert_eq!(paths, expected);
            assert_eq!(warnings.is_empty(), listed == expected, "{warnings:?}");
        }
    }

    #[test]
    fn a_listed_path_is_kept_where_it_is_another_place() {
        let table: [(&[&[u8]], Option<&[&[u8]]>); 8] = [
            (&[b"t", b"plain"], None),
            (&[b"Vol. 1...", b"aux.c"], Some(&[b"Vol. 1...", b"aux.c"])),
            (&[b"t", b"", b"a\\b"], Some(&[b"t", b"a\\b"])),
            (&[b"t", b"\xff"], Some(&[b"t", b"\xff"])),
            (&[b"t", b"a/b"], None),
            (&[b"t", b".", b"x"], None),
            (&[b"t", b""], None),
            (&[b"t", &[b'x'; 256]], None),
        ];
        for (path, expected) in table {
            let raw = RawFile { path: path.to_vec(), length: 1, attr: Attr::default() };
            let clean = clean_path(&raw).unwrap();
            let expected =
                expected.map(|parts| parts.iter().map(|part| part.to_vec()).collect::<Vec<_>>());
            assert_eq!(listed(&raw, &clean), expected, "{clean:?}");
        }
    }

    #[test]
    fn padding_and_symlinks_take_no_name() {
        let file = |attr: &[u8]| RawFile {
            path: vec![b"t", b"same"],
            length: 0,
            attr: Attr::from_letters(attr),
        };
        let paths = storable(&[file(b"p"), file(b"l"), file(b"x")], &mut Vec::new()).unwrap().paths;
        assert!(paths.iter().all(|path| path.join("/") == "t/same"));
    }

    #[test]
    fn many_equal_names_are_told_apart_in_little_time() {
        let listed = vec!["t/same.txt"; 20_000];
        let (paths, warnings) = stored(&listed);
        assert_eq!(paths.last().unwrap(), "t/same.19999.txt");
        assert_eq!(warnings.len(), WARNINGS_MAX + 1);
    }

    proptest! {
        #[test]
        fn whatever_comes_stays_below_and_differs(
            listed in proptest::collection::vec(proptest::collection::vec(
                prop_oneof!["[.aA /\\\\]{0,3}".prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..300)], 1..5), 1..20)
        ) {
            let raw: Vec<RawFile<'_>> = listed
                .iter()
                .map(|path| RawFile {
                    path: core::iter::once(b"t".as_slice()).chain(path.iter().map(Vec::as_slice)).collect(),
                    length: 1,
                    attr: Attr::default(),
                })
                .collect();
            let Ok(stored) = storable(&raw, &mut Vec::new()) else { return Ok(()) };
            for part in stored.paths.iter().flatten() {
                prop_assert!(!part.is_empty() && part.len() <= COMPONENT_MAX && part != "." && part != "..");
                prop_assert!(!part.contains(['/', '\\', '\0']));
                prop_assert_eq!(&component(part.as_bytes()), part, "cleaning twice is cleaning once");
            }
            let folded = |path: &Vec<String>| path.join("/").to_lowercase();
            let files: BTreeSet<String> = stored.paths.iter().map(folded).collect();
            prop_assert_eq!(files.len(), raw.len(), "all differ");
            for path in &stored.paths {
                for end in 1..path.len() {
                    prop_assert!(!files.contains(&folded(&path[..end].to_vec())), "no file is a directory");
                }
            }
        }
    }
}
