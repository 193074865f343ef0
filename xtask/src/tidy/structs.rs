//! The size of the engine's structs: one with many fields holds several invariants.
//!
//! Decides: what counts as a field. Must not know: what fields mean.
//! Invariant: only structs with named fields at the start of a line are counted, as rustfmt writes
//! them.

use super::workspace::Workspace;
use anyhow::Result;
use std::fs;

/// The crate that is looked at.
const CRATE: &str = "bt-engine";
/// Most fields of a struct.
const FIELDS_MAX: usize = 15;

pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in workspace.packages.iter().filter(|package| package.name == CRATE) {
        for path in package.sources()? {
            let name = path.strip_prefix(&workspace.root).unwrap_or(&path).display().to_string();
            let large = large(&fs::read_to_string(&path)?);
            problems.extend(large.into_iter().map(|(of, fields)| {
                format!(
                    "{name}: {of} has {fields} fields; past {FIELDS_MAX} a struct holds several"
                )
            }));
        }
    }
    Ok(problems)
}

/// Returns the structs with too many fields.
fn large(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((_, rest)) = line.split_once("struct ").filter(|_| line.ends_with('{')) else {
            continue;
        };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let fields = lines.by_ref().take_while(|line| *line != "}").filter(|line| is_field(line));
        let fields = fields.count();
        if fields > FIELDS_MAX {
            found.push((name, fields));
        }
    }
    found
}

fn is_field(line: &str) -> bool {
    let Some(inner) = line.strip_prefix("    ").filter(|inner| !inner.starts_with([' ', '/', '#']))
    else {
        return false;
    };
    inner.contains(':') && !inner.starts_with('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_struct_with_too_many_fields_is_named() {
        let fields = |count: usize| -> String {
            (0..count).map(|n| format!("    /// Field: {n}.\n    f{n}: u8,\n")).collect()
        };
        let text = format!(
            "struct Small {{\n{}}}\n\npub(crate) struct Large<'a> {{\n{}}}\n",
            fields(FIELDS_MAX),
            fields(FIELDS_MAX + 1)
        );
        assert_eq!(large(&text), [("Large".to_owned(), 16)]);
    }
}
