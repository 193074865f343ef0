//! Floors of modules inside a crate: a file uses files of its own floor and of lower ones.
//!
//! Decides: which crates have such floors, and their order. Must not know: what the files do.
//! Invariant: every file of such a crate is on a floor, except the root and what only tests use. No
//! file uses a name of the root, which may come from any floor.

use super::circles::{Files, files};
use super::workspace::Workspace;
use anyhow::Result;

/// A crate, and its floors from the lowest to the highest.
const TABLE: &[(&str, &[&str])] = &[("bt-session", &["mail", "net", "run", "client"])];

/// Files on no floor, and uses of a higher floor or of the root.
pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in &workspace.packages {
        if let Some((name, floors)) = TABLE.iter().find(|(name, _)| *name == package.name) {
            let found = upward(&files(package)?, floors).into_iter();
            problems.extend(found.map(|problem| format!("{name}: {problem}")));
        }
    }
    Ok(problems)
}

fn upward(files: &Files, floors: &[&str]) -> Vec<String> {
    let floor = |file: &[String]| {
        floors.iter().position(|floor| file.first().is_some_and(|top| top == floor))
    };
    let mut problems = Vec::new();
    for (file, used) in files {
        let Some(own) = floor(file) else {
            problems.push(format!("{} is on none of the floors {floors:?}", file.join("::")));
            continue;
        };
        if used.contains(&Vec::new()) {
            problems.push(format!("{} uses a name of the crate's root", file.join("::")));
        }
        let higher = used.iter().filter(|used| floor(used).is_some_and(|other| other > own));
        problems.extend(
            higher.map(|used| {
                format!("{} uses a higher floor: {}", file.join("::"), used.join("::"))
            }),
        );
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_file_uses_its_own_floor_and_lower_ones() {
        let path = |path: &str| {
            path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let found = |file: &str, used: &[&str]| {
            let used: BTreeSet<_> = used.iter().copied().map(path).collect();
            upward(&Files::from([(path(file), used)]), &["low", "high"])
        };
        assert_eq!(found("high::a", &["high::b", "low::c"]), Vec::<String>::new());
        assert_eq!(
            found("low::a::b", &["low::c", "high::d"]),
            ["low::a::b uses a higher floor: high::d"]
        );
        assert_eq!(found("low::a", &[""]), ["low::a uses a name of the crate's root"]);
        assert_eq!(found("other", &[]), ["other is on none of the floors [\"low\", \"high\"]"]);
    }
}
