//! Who may use whom: tidy's copy of the table in `docs/architecture.md`.
//!
//! Decides: the edges between crates. A new one is an architectural decision. Must not know: what
//! the crates do.
//! Invariant: every edge goes to a lower floor, except the tests' harness, which `xtask` borrows.

use super::workspace::Workspace;
use anyhow::{Context as _, Result};
use std::collections::BTreeSet;
use std::fs;

/// A crate, its floor, and the crates that it may use.
type Row = (&'static str, u8, &'static [&'static str]);

const TABLE: &[Row] = &[
    ("bt-types", 0, &[]),
    ("bt-bencoding", 0, &[]),
    ("bt-hash", 0, &[]),
    ("bt-web", 0, &[]),
    ("bt-model", 1, &["bt-types"]),
    ("bt-metainfo", 1, &["bt-types", "bt-bencoding", "bt-hash"]),
    ("bt-peer-wire", 1, &["bt-types", "bt-bencoding"]),
    ("bt-tracker-wire", 1, &["bt-types", "bt-bencoding"]),
    // bt-hash: items are stored under their SHA-1 (BEP 44), and so are the bits of a scrape's
    // filters (BEP 33).
    ("bt-dht", 1, &["bt-types", "bt-bencoding", "bt-hash"]),
    ("bt-net", 1, &["bt-types"]),
    ("bt-tracker-client", 2, &["bt-types", "bt-tracker-wire", "bt-net"]),
    ("bt-tracker", 2, &["bt-types", "bt-tracker-wire"]),
    ("bt-engine", 2, &["bt-types", "bt-model", "bt-hash", "bt-peer-wire", "bt-tracker-wire"]),
    ("bt-piece-store", 2, &["bt-types", "bt-hash", "bt-metainfo"]),
    ("bt-api", 2, &["bt-types", "bt-bencoding", "bt-hash", "bt-model", "bt-metainfo"]),
    ("bt-tracker-server", 3, &["bt-types", "bt-tracker", "bt-tracker-wire"]),
    (
        "bt-session",
        3,
        &[
            "bt-types",
            "bt-model",
            "bt-hash",
            "bt-metainfo",
            "bt-peer-wire",
            "bt-tracker-wire",
            "bt-dht",
            "bt-net",
            "bt-engine",
            "bt-piece-store",
            "bt-tracker-client",
        ],
    ),
    (
        "bt-sim",
        3,
        &[
            "bt-types",
            "bt-bencoding",
            "bt-hash",
            "bt-metainfo",
            "bt-peer-wire",
            "bt-tracker-wire",
            "bt-engine",
            "bt-piece-store",
            "bt-tracker",
        ],
    ),
    (
        "bt-daemon",
        4,
        &[
            "bt-types",
            "bt-model",
            "bt-metainfo",
            "bt-piece-store",
            "bt-session",
            "bt-api",
            "bt-web",
        ],
    ),
    (
        "bt-cli",
        5,
        &[
            "bt-daemon",
            "bt-api",
            "bt-session",
            "bt-tracker-server",
            "bt-piece-store",
            "bt-metainfo",
            "bt-types",
        ],
    ),
    ("bt-tests", 5, &["bt-types"]),
    ("bt-fuzz", 5, &[]),
    ("xtask", 6, &["bt-sim", "bt-tests"]),
];

/// Edges that the table does not have.
pub(super) fn problems(workspace: &Workspace) -> Vec<String> {
    let mut problems = Vec::new();
    for package in &workspace.packages {
        let Some((_, floor, uses)) = row(&package.name) else {
            problems.push(format!("{}: this crate is not in tidy's table of floors", package.name));
            continue;
        };
        for dependency in
            package.dependencies.iter().filter(|dependency| workspace.is_member(&dependency.name))
        {
            let name = dependency.name.as_str();
            // Tests may use more of the lower floors than the crate does, but nothing beside or
            // above it.
            let allowed = if dependency.only_tests {
                row(name).is_some_and(|(_, below, _)| below < floor)
            } else {
                uses.contains(&name)
            };
            if !allowed {
                problems.push(format!(
                    "{}: must not use {name}; the table of floors does not have this edge",
                    package.name
                ));
            }
        }
    }
    problems
}

/// Dependencies that no source of their package names: their edge is not needed.
pub(super) fn unused(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in &workspace.packages {
        let texts =
            package.all_sources()?.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
        for dependency in &package.dependencies {
            let name = dependency.name.replace('-', "_");
            let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let is_named = |text: &String| {
                text.match_indices(&name).any(|(at, _)| {
                    let (before, after) = text.split_at(at);
                    let after = after.get(name.len()..).unwrap_or_default();
                    !is_word(before.chars().next_back()) && !is_word(after.chars().next())
                })
            };
            if !texts.iter().any(is_named) {
                problems.push(format!("{}: does not use {}", package.name, dependency.name));
            }
        }
    }
    Ok(problems)
}

/// Foreign crates without a reason: those that the first column of the table does not
/// name.
pub(super) fn unexplained_dependencies(workspace: &Workspace) -> Result<Vec<String>> {
    const REASONS: &str = "docs/decisions/0001-dependencies.md";
    let text = fs::read_to_string(workspace.root.join(REASONS)).context(REASONS)?;
    let cells = text.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let explained: BTreeSet<&str> = cells.flat_map(|cell| cell.split(',')).map(str::trim).collect();
    let used: BTreeSet<&str> = workspace
        .packages
        .iter()
        .flat_map(|package| &package.dependencies)
        .map(|used| used.name.as_str())
        .collect();
    let unexplained = used.difference(&explained).filter(|name| !workspace.is_member(name));
    Ok(unexplained
        .map(|name| format!("{name}: {REASONS} gives no reason for this dependency"))
        .collect())
}

fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|(listed, ..)| *listed == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_itself_only_goes_down() {
        for (name, floor, uses) in TABLE {
            for used in *uses {
                let (_, below, _) =
                    row(used).unwrap_or_else(|| panic!("{name} uses {used}, which is not listed"));
                assert!(below < floor, "{name} uses {used}");
            }
        }
    }
}
