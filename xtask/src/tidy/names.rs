//! One public name means one thing in the whole workspace.
//!
//! Decides: which names may stand in two packages. Must not know: what they mean.
//! Invariant: types that only their own package can see are not compared.

use super::workspace::Workspace;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Words of the machine shape, used with their crate's name.
const SHARED: &[&str] = &["Input", "Output", "Event", "Config", "Error"];

/// Words that begin the declaration of a public type.
const TYPES: &[&str] = &["struct", "enum", "trait", "type", "union"];

pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut packages: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for package in &workspace.packages {
        for path in package.sources()? {
            for name in public_types(&fs::read_to_string(path)?) {
                packages.entry(name).or_default().insert(&package.name);
            }
        }
    }
    packages.retain(|name, of| of.len() > 1 && !SHARED.contains(&name.as_str()));
    let problem = |(name, of): (String, BTreeSet<&str>)| {
        let of: Vec<&str> = of.into_iter().collect();
        format!("{name}: a public type of {}: one noun means one thing", of.join(" and of "))
    };
    Ok(packages.into_iter().map(problem).collect())
}

/// The public types that a file declares before its tests.
fn public_types(text: &str) -> impl Iterator<Item = String> {
    let shipped = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    shipped.lines().filter_map(|line| {
        let (kind, rest) = line.trim_start().strip_prefix("pub ")?.split_once(' ')?;
        let name = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        TYPES.contains(&kind).then_some(name)
    })
}
