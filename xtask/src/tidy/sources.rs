//! Rules about the text of files: headers, purity, length, and words that must not be there.
//!
//! Decides: what each rule looks for. Must not know: crates' edges.
//! Invariant: tests inside a file are held to the rules about headers and length only.

use super::workspace::{Package, Workspace, is_rust};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;

/// Crates in which a clock, a socket, a thread cannot even be named.
const PURE: &[&str] = &[
    "bt-types",
    "bt-bencoding",
    "bt-metainfo",
    "bt-peer-wire",
    "bt-tracker-wire",
    "bt-dht",
    "bt-model",
    "bt-engine",
    "bt-tracker",
];

/// Programs: they print, and end when something is badly wrong.
const PROGRAMS: &[&str] = &["bt-cli", "bt-tests", "bt-fuzz", "xtask"];

/// A file of more lines usually holds two things.
const LINES_MAX: usize = 600;

/// Columns of a line. rustfmt keeps code within them where it formats, so that only comments are
/// looked at here.
const COLUMNS_MAX: usize = 100;

/// Phrases that hide who acts, or that are not understood at first reading. See
/// `docs/glossary.md`.
const PHRASES: &[&str] =
    &["nobody", "somebody", "whoever", "anybody", "but for", "as far as", "so many", "in vain"];

/// What a library's code never says, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    (".unwrap()", "a library does not panic on what comes from outside"),
    ("println!(", "only programs print"),
    ("print!(", "only programs print"),
    ("unbounded_channel", "every channel has a named limit"),
    ("mpsc::channel()", "every channel has a named limit"),
];

/// Directories of one person's machine. Cut in two, so that this file does not contain them.
const PLACES: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/"), concat!("/Us", "ers/")];

pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for path in workspace.files()? {
        let name = path.strip_prefix(&workspace.root).unwrap_or(&path);
        // What is not text has no words and no header.
        if let Ok(text) = fs::read_to_string(&path) {
            problems.extend(wording(name, &text));
            if is_rust(name) {
                problems.extend(shape(name, &text));
                problems.extend(comments(name, &text));
            }
            if name.extension().is_some_and(|extension| extension == "md") {
                problems.extend(numbered(&text).flat_map(|(at, line)| phrases(name, at, line)));
            }
        }
    }
    for package in &workspace.packages {
        problems.extend(library_code(workspace, package)?);
        if PURE.contains(&package.name.as_str()) {
            problems.extend(purity(workspace, package)?);
        }
        if !PROGRAMS.contains(&package.name.as_str()) && !package.dir.join("README.md").is_file() {
            problems.push(format!("{}: has no README.md", package.name));
        }
    }
    Ok(problems)
}

fn wording(name: &Path, text: &str) -> Vec<String> {
    let found = |place: &&&str| {
        numbered(text).find(|(_, line)| line.contains(**place)).map(|(number, _)| number)
    };
    PLACES
        .iter()
        .filter_map(|place| {
            found(&place).map(|line| {
                format!("{}:{line}: names {place}, a directory of one machine", name.display())
            })
        })
        .collect()
}

fn shape(name: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!(
            "{}:1: does not open with `//!`: what it decides, must not know, and its invariant",
            name.display()
        ));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        problems.push(format!(
            "{}: has {lines} lines; past {LINES_MAX} a file holds two things",
            name.display()
        ));
    }
    problems
}

/// Comments that are too wide, or that say a phrase of [`PHRASES`].
fn comments(name: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (number, line) in numbered(text) {
        let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            problems.push(format!(
                "{}:{number}: a comment of {columns} columns; at most {COLUMNS_MAX}",
                name.display()
            ));
        }
        problems.extend(phrases(name, number, comment));
    }
    problems
}

/// The phrases of [`PHRASES`] in a line, as whole words.
fn phrases(name: &Path, number: usize, line: &str) -> Vec<String> {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let line = line.to_lowercase();
    let says = |phrase: &&&str| {
        line.match_indices(**phrase).any(|(at, _)| {
            let (before, after) = line.split_at(at);
            let after = after.get(phrase.len()..).unwrap_or_default();
            !is_word(before.chars().next_back()) && !is_word(after.chars().next())
        })
    };
    let found = PHRASES.iter().filter(says);
    found
        .map(|phrase| {
            format!(
                "{}:{number}: says \"{phrase}\": name who acts, or say it plainly",
                name.display()
            )
        })
        .collect()
}

fn purity(workspace: &Workspace, package: &Package) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let lib = package.dir.join("src/lib.rs");
    let text = fs::read_to_string(&lib).with_context(|| lib.display().to_string())?;
    for header in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        if !text.lines().any(|line| line == header) {
            problems.push(format!(
                "{}: src/lib.rs lacks {header}, which proves the crate pure",
                package.name
            ));
        }
    }
    for path in package.sources()? {
        let text = fs::read_to_string(&path)?;
        let mut before = "";
        for (number, line) in numbered(&text) {
            if line.trim() == "extern crate std;" && before.trim() != "#[cfg(test)]" {
                let name = path.strip_prefix(&workspace.root).unwrap_or(&path);
                problems.push(format!(
                    "{}:{number}: `extern crate std` outside of tests",
                    name.display()
                ));
            }
            before = line;
        }
    }
    Ok(problems)
}

fn library_code(workspace: &Workspace, package: &Package) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    if PROGRAMS.contains(&package.name.as_str()) {
        return Ok(problems);
    }
    for path in package.sources()? {
        let text = fs::read_to_string(&path)?;
        let name = path.strip_prefix(&workspace.root).unwrap_or(&path);
        for (number, line) in shipped(name, &text) {
            let code = line.split("//").next().unwrap_or_default();
            let found = FORBIDDEN.iter().find(|(word, _)| code.contains(word));
            problems.extend(
                found.map(|(word, why)| format!("{}:{number}: `{word}`: {why}", name.display())),
            );
        }
    }
    Ok(problems)
}

/// The lines of a file before its tests, which come last. Files of nothing but tests, and the kits
/// of tests, have none.
fn shipped<'a>(name: &Path, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let is_kit = |part: &std::ffi::OsStr| part == "tests" || part == "testkit";
    let only_tests = name.with_extension("").iter().any(is_kit);
    let end =
        if only_tests { 0 } else { text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len()) };
    numbered(text.get(..end).unwrap_or(text))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}
