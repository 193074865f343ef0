//! Circles among the files of a crate: a file that uses a second one, which leads back to it.
//!
//! Decides: which paths count as a use. Must not know: what the files do.
//! Invariant: a path through `crate::`, `super::` or `self::` counts once for the file it reaches;
//! tests and comments do not count. Names that the crate's root exports again, and paths that begin
//! with a child module, are not followed.

use super::workspace::{Package, Workspace};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The files of a package by their modules, and what each uses; the root is used as an empty path.
pub(super) type Files = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in &workspace.packages {
        if let Some(circle) = circle(&files(package)?) {
            let names: Vec<String> = circle.iter().map(|file| file.join("::")).collect();
            problems.push(format!("{}: a circle of files: {}", package.name, names.join(" → ")));
        }
    }
    Ok(problems)
}

/// Reads which file of a package uses which others.
pub(super) fn files(package: &Package) -> Result<Files> {
    let src = package.dir.join("src");
    let mut texts = BTreeMap::new();
    for path in package.sources()? {
        let module = module(path.strip_prefix(&src).unwrap_or(&path));
        let is_test = module.iter().any(|name| name == "tests" || name == "testkit");
        if !module.is_empty() && !is_test {
            texts.insert(module, fs::read_to_string(&path)?);
        }
    }
    let known: BTreeSet<Vec<String>> = texts.keys().cloned().collect();
    let used = |(module, text): (Vec<String>, String)| {
        let uses = uses(&module, &text).into_iter();
        let files = uses.map(|path| reached(&known, path)).filter(|file| *file != module);
        let files = files.collect();
        (module, files)
    };
    Ok(texts.into_iter().map(used).collect())
}

/// The module of a file below `src`; empty for the crate's root.
fn module(path: &Path) -> Vec<String> {
    let stem = path.with_extension("");
    let parts = stem.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let mut parts: Vec<String> = parts.collect();
    if matches!(parts.last().map(String::as_str), Some("mod")) {
        parts.pop();
    }
    if matches!(parts.as_slice(), [only] if only == "lib" || only == "main") {
        parts.clear();
    }
    parts
}

/// Every path of a file that begins in its own crate, from the crate's root on.
fn uses(module: &[String], text: &str) -> Vec<Vec<String>> {
    let shipped = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String = shipped
        .lines()
        .flat_map(|line| [line.split("//").next().unwrap_or_default(), "\n"])
        .collect();
    let parent = module.split_last().map_or(&[][..], |(_, parent)| parent);
    let mut found = Vec::new();
    for (word, base) in [("crate::", &[][..]), ("super::", parent), ("self::", module)] {
        for (at, _) in code.match_indices(word) {
            let before = code.get(..at).and_then(|before| before.chars().next_back());
            if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                branches(base, code.get(at + word.len()..).unwrap_or_default(), &mut found);
            }
        }
    }
    found
}

/// The paths of `a::{b, c::d}`, each behind `base`. Returns how many bytes of the text were read.
fn branches(base: &[String], text: &str, found: &mut Vec<Vec<String>>) -> usize {
    let mut path = base.to_vec();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        if rest.starts_with('{') {
            at += 1;
            while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
                match next {
                    '}' => return at + 1,
                    c if c.is_alphanumeric() || c == '_' || c == '{' => {
                        let read = branches(&path, text.get(at..).unwrap_or_default(), found);
                        at += read.max(1);
                    }
                    c => at += c.len_utf8(),
                }
            }
            return at;
        }
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        at += word.len();
        path.push(word);
        match text.get(at..).is_some_and(|rest| rest.starts_with("::")) {
            true => at += 2,
            false => {
                found.push(path);
                return at;
            }
        }
    }
}

/// The file in which a path ends: the longest part of it that is a file, else the crate's root.
fn reached(known: &BTreeSet<Vec<String>>, mut path: Vec<String>) -> Vec<String> {
    while !path.is_empty() && !known.contains(&path) {
        path.pop();
    }
    path
}

/// A circle, if there is one: every file of it uses the next, and the last uses the first.
fn circle(files: &Files) -> Option<Vec<Vec<String>>> {
    let mut left: BTreeSet<&Vec<String>> = files.keys().collect();
    // A file that uses no file that is left is in no circle, and neither is what uses only such.
    loop {
        let is_done = |file: &&Vec<String>| {
            files.get(*file).is_none_or(|used| !used.iter().any(|used| left.contains(used)))
        };
        let done: Vec<&Vec<String>> = left.iter().copied().filter(is_done).collect();
        if done.is_empty() {
            break;
        }
        left.retain(|file| !done.contains(file));
    }
    let mut path: Vec<Vec<String>> = vec![(*left.first()?).clone()];
    loop {
        let next = files.get(path.last()?)?.iter().find(|used| left.contains(used))?;
        if let Some(start) = path.iter().position(|file| file == next) {
            return Some(path.split_off(start));
        }
        path.push(next.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_with_their_braces() {
        let module = vec!["a".to_string(), "b".to_string()];
        let text =
            "use crate::{c, d::{E, f::g}};\nuse super::h;\nlet x = self::i::j();\nuse std::k;\n";
        let found: Vec<String> = uses(&module, text).iter().map(|path| path.join("::")).collect();
        assert_eq!(found, ["c", "d::E", "d::f::g", "a::h", "a::b::i::j"]);
    }

    #[test]
    fn a_circle_is_found_and_named() {
        let files = |edges: &[(&str, &str)]| -> Files {
            let name = |name: &str| vec![name.to_string()];
            let mut files = Files::new();
            for (from, to) in edges {
                files.entry(name(from)).or_default().insert(name(to));
                files.entry(name(to)).or_default();
            }
            files
        };
        let found =
            |edges: &[(&str, &str)]| circle(&files(edges)).map(|circle| circle.concat().join(" "));
        assert_eq!(found(&[("a", "b"), ("b", "c"), ("a", "c")]), None);
        assert_eq!(
            found(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]).as_deref(),
            Some("b c")
        );
    }
}
