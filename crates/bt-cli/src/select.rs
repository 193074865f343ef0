//! `--select`: which files of a torrent are wanted.
//!
//! Decides: which files a pattern selects.
//! Must not know: pieces, downloads.
//! Invariant: a pattern that matches nothing is an error, never a download of nothing.

use crate::exit::{Failure, Outcome};
use bt_metainfo::{FileEntry, Metainfo};
use bt_piece_store::PathPattern;
use std::collections::BTreeSet;

/// Most files that an error lists.
const LISTED: usize = 8;

/// Returns the numbers of the selected files of each torrent; `None` is all of them.
pub(crate) fn select(
    torrents: &[&Metainfo],
    patterns: &[String],
) -> Outcome<Vec<Option<BTreeSet<usize>>>> {
    if patterns.is_empty() || torrents.is_empty() {
        return Ok(vec![None; torrents.len()]);
    }
    let mut selected = vec![BTreeSet::new(); torrents.len()];
    for text in patterns {
        let pattern = PathPattern::new(text);
        // The name of a file or directory means only that.
        if !add_matches(torrents, &mut selected, |path| pattern.names(path))
            && !add_matches(torrents, &mut selected, |path| pattern.is_glob_match(path))
        {
            return Err(Failure::usage(format!(
                "--select {text:?} matches no file; {}",
                list(torrents)
            )));
        }
    }
    let choose = |(torrent, selected): (&&Metainfo, BTreeSet<usize>)| {
        if selected.is_empty() && stored(torrent).next().is_some() {
            return Err(Failure::usage(format!(
                "--select leaves no file of {}; {}",
                torrent.info.name,
                list(&[torrent])
            )));
        }
        Ok((selected.len() < stored(torrent).count()).then_some(selected))
    };
    torrents.iter().zip(selected).map(choose).collect()
}

/// Adds the files whose path matches, with or without the torrent's name; returns whether there
/// were any.
fn add_matches(
    torrents: &[&Metainfo],
    selected: &mut [BTreeSet<usize>],
    is_match: impl Fn(&str) -> bool,
) -> bool {
    let mut any = false;
    for (torrent, selected) in torrents.iter().zip(selected) {
        for (index, file) in stored(torrent) {
            let below = file.path.get(1..).unwrap_or_default();
            if is_match(&file.path.join("/")) || (!below.is_empty() && is_match(&below.join("/"))) {
                selected.insert(index);
                any = true;
            }
        }
    }
    any
}

/// Returns the files that the user sees, with their numbers.
fn stored(torrent: &Metainfo) -> impl Iterator<Item = (usize, &FileEntry)> {
    torrent.info.files.iter().enumerate().filter(|(_, file)| file.is_stored())
}

fn list(torrents: &[&Metainfo]) -> String {
    let paths: Vec<String> = torrents
        .iter()
        .flat_map(|torrent| stored(torrent))
        .map(|(_, file)| file.path.join("/"))
        .collect();
    let shown: Vec<&str> = paths.iter().take(LISTED).map(String::as_str).collect();
    let more = paths.len() - shown.len();
    let more = if more > 0 {
        format!(" and {more} more (`bt show --files` lists them)")
    } else {
        String::new()
    };
    format!("there are: {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_metainfo::Builder;

    fn torrent(name: &str, files: &[&str]) -> Metainfo {
        let path = |file: &&str| file.split('/').map(String::from).collect();
        let builder = Builder::new(name, files.iter().map(|file| (path(file), 1)).collect());
        Metainfo::from_bytes(&builder.build(&[[0; 20]])).unwrap()
    }

    #[test]
    fn globs_match_below_the_name_and_the_whole_path() {
        let tree = torrent("t", &["a.txt", "b.bin", "deep/c.txt"]);
        let table: &[(&[&str], &[usize])] = &[
            (&["a.txt"], &[0]),
            (&["t/a.txt"], &[0]),
            (&["*.txt"], &[0, 2]),
            (&["deep/*"], &[2]),
            (&["b*", "a*"], &[0, 1]),
        ];
        for (globs, wanted) in table {
            let globs: Vec<String> = globs.iter().map(|glob| glob.to_string()).collect();
            assert_eq!(
                select(&[&tree], &globs).unwrap(),
                [Some(wanted.iter().copied().collect())],
                "{globs:?}"
            );
        }
        assert_eq!(select(&[&tree], &["*".into()]).unwrap(), [None], "all of it");
    }

    #[test]
    fn exact_names_and_directories_mean_themselves() {
        let tree = torrent("[G] t", &["[a] 1.mkv", "a 1.mkv", "b.txt", "d/e/f", "d/g"]);
        let table: &[(&str, &[usize])] = &[
            ("[a] 1.mkv", &[0]),
            ("[a][ ]1.mkv", &[1]),
            ("[G] t/b.txt", &[2]),
            ("d", &[3, 4]),
            ("d/", &[3, 4]),
            ("[G] t/d/e", &[3]),
        ];
        for (pattern, wanted) in table {
            let selected = select(&[&tree], &[pattern.to_string()]).unwrap();
            assert_eq!(selected, [Some(wanted.iter().copied().collect())], "{pattern}");
        }
    }

    #[test]
    fn what_matches_nothing_is_refused_with_the_names_of_files() {
        let (tree, other) = (torrent("t", &["a.txt", "b.bin"]), torrent("u", &["c.txt", "d.txt"]));
        let refusal = |torrents: &[&Metainfo], glob: &str| {
            select(torrents, &[glob.into()]).unwrap_err().message
        };
        assert_eq!(
            refusal(&[&tree], "x*"),
            "--select \"x*\" matches no file; there are: t/a.txt, t/b.bin"
        );
        assert_eq!(
            refusal(&[&tree, &other], "*.bin"),
            "--select leaves no file of u; there are: u/c.txt, u/d.txt"
        );
        assert!(refusal(&[&tree], "[").contains("matches no file"));
        let names: Vec<String> = (0..20).map(|n| format!("f{n:02}")).collect();
        let many = torrent("m", &names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(
            refusal(&[&many], "x").ends_with("m/f07 and 12 more (`bt show --files` lists them)")
        );
    }
}
