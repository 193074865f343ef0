//! `api`: the public interface of every library crate, kept in `docs/api` and compared.
//!
//! Decides: which crates are listed, and how a difference is shown.
//! Must not know: Rust's syntax.
//! Invariant: same sources, same listings, whatever toolchain reads them.

mod line;
mod listing;
mod modules;
mod names;
#[cfg(test)]
mod tests;

use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the listings.
const FOLDER: &str = "docs/api";

/// What is done with the listings.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write the listings instead of comparing them
    #[arg(long)]
    write: bool,
}

/// Compares the kept listings with the sources of the workspace at `root`, or writes them.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let mut changes = 0;
    let mut listed = BTreeSet::new();
    for (name, lib) in libraries(root)? {
        let file = root.join(FOLDER).join(format!("{name}.txt"));
        let now = listing::of_crate(&name, &lib).with_context(|| format!("{name}: its sources"))?;
        let kept = match fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            kept => kept.with_context(|| file.display().to_string())?,
        };
        let lines = changed_lines(&kept, &now);
        if !lines.is_empty() {
            println!("{FOLDER}/{name}.txt:");
            lines.iter().for_each(|line| println!("  {line}"));
            changes += lines.len();
        }
        if args.write && kept != now {
            fs::create_dir_all(root.join(FOLDER))?;
            fs::write(&file, now).with_context(|| file.display().to_string())?;
        }
        listed.insert(file);
    }
    for file in kept_files(root)?.difference(&listed) {
        println!("{}: lists a crate that is gone", file.display());
        changes += 1;
        if args.write {
            fs::remove_file(file).with_context(|| file.display().to_string())?;
        }
    }
    match (changes, args.write) {
        (0, _) => println!("api: {} crates are as {FOLDER} lists them", listed.len()),
        (_, true) => println!("api: {changes} lines were written"),
        (_, false) => bail!(
            "api: {changes} lines differ from {FOLDER}: `cargo xtask api --write` accepts them"
        ),
    }
    Ok(())
}

/// Lists the library crates by name, with the folder of their sources.
fn libraries(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let entry = entry?;
        let lib = entry.path().join("src/lib.rs");
        if lib.exists() {
            found.push((entry.file_name().to_string_lossy().into_owned(), lib));
        }
    }
    found.sort();
    Ok(found)
}

fn kept_files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    match fs::read_dir(root.join(FOLDER)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// The lines that only one of two listings has: `-` for the kept one, `+` for today's.
fn changed_lines(kept: &str, now: &str) -> Vec<String> {
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) =
        (kept.lines().collect(), now.lines().collect());
    let gone = kept.lines().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let new = now.lines().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}
