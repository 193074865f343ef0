//! What lies in a directory, for callers that let their user choose one.
//!
//! Decides: which names are told.
//! Must not know: who asks.
//! Invariant: nothing is opened, and no link is followed to tell what it is.

use std::path::{Path, PathBuf};

/// Most names of an answer.
const NAMES_MAX: usize = 10_000;

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entries {
    All,
    Directories,
    Files,
}

impl Entries {
    pub(super) fn parse(mode: &str) -> Option<Entries> {
        match mode {
            "" | "all" => Some(Entries::All),
            "dirs" => Some(Entries::Directories),
            "files" => Some(Entries::Files),
            _ => None,
        }
    }
}

/// Returns the paths of what lies in a directory, in order; `None` if it is none.
pub(super) async fn list(dir: PathBuf, entries: Entries) -> Option<Vec<String>> {
    tokio::task::spawn_blocking(move || look(&dir, entries)).await.ok().flatten()
}

fn look(dir: &Path, entries: Entries) -> Option<Vec<String>> {
    let found = std::fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let is_wanted = |entry: &std::fs::DirEntry| {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match entries {
            Entries::All => true,
            Entries::Directories => is_dir,
            Entries::Files => !is_dir,
        }
    };
    let path = |entry: std::fs::DirEntry| entry.path().to_string_lossy().into_owned();
    let mut paths: Vec<String> = found.filter(is_wanted).take(NAMES_MAX).map(path).collect();
    paths.sort();
    Some(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn directories_and_files_are_told_apart() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("b")).expect("a directory");
        std::fs::write(path("a"), "").expect("a file");
        let text = |name: &str| path(name).to_string_lossy().into_owned();
        for (mode, expected) in [
            ("", vec![text("a"), text("b")]),
            ("dirs", vec![text("b")]),
            ("files", vec![text("a")]),
        ] {
            let entries = Entries::parse(mode).expect("a mode");
            assert_eq!(list(dir.path().into(), entries).await, Some(expected), "{mode}");
        }
        assert_eq!(Entries::parse("other"), None);
        assert_eq!(list(path("c"), Entries::All).await, None);
        assert_eq!(list(path("a"), Entries::All).await, None, "a file is no directory");
    }
}
