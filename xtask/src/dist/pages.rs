//! Man pages and completions, as the program itself writes them.
//!
//! Decides: the names of the scripts. Must not know: where they are installed.
//! Invariant: they are those of the packed program.

use super::said;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The shells, and the usual name of a script for each.
const SHELLS: [(&str, &str); 3] = [("bash", "bt.bash"), ("zsh", "_bt"), ("fish", "bt.fish")];

/// Returns the man pages, as names and texts in the order of names.
pub(super) fn man(program: &Path, workshop: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let dir = workshop.join("man");
    fs::create_dir_all(&dir)?;
    said(Command::new(program).arg("man").arg(&dir))?;
    let paths: Vec<PathBuf> =
        fs::read_dir(&dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let page = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, fs::read(path)?))
    };
    let mut pages: Vec<(String, Vec<u8>)> = paths.iter().map(page).collect::<Result<_>>()?;
    pages.sort();
    Ok(pages)
}

/// Returns the completions as shells, names and texts.
pub(super) fn completions(program: &Path) -> Result<Vec<(&'static str, &'static str, Vec<u8>)>> {
    let script = |(shell, name): (&'static str, &'static str)| {
        let text = said(Command::new(program).args(["completions", shell]))?;
        Ok((shell, name, text.into_bytes()))
    };
    SHELLS.into_iter().map(script).collect()
}
