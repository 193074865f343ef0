//! `beps`: which crate mentions which BEP.
//!
//! Decides: what counts as a mention. Must not know: whether the BEP is complete; docs/beps.md says
//! that.
//! Invariant: same sources, same table.

use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Prints a table of BEPs and the crates whose sources mention them.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut crates = BTreeMap::<u32, BTreeSet<String>>::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let package = entry?;
        visit(&package.path().join("src"), &mut |text| {
            for bep in mentions(text) {
                crates
                    .entry(bep)
                    .or_default()
                    .insert(format!("`{}`", package.file_name().to_string_lossy()));
            }
        })?;
    }
    println!("| BEP | crates |\n|---|---|");
    for (bep, names) in crates {
        println!("| {bep} | {} |", Vec::from_iter(names).join(", "));
    }
    Ok(())
}

fn mentions(text: &str) -> impl Iterator<Item = u32> {
    text.split("BEP ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
}

fn visit(dir: &Path, seen: &mut dyn FnMut(&str)) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            visit(&path, seen)?;
        } else {
            seen(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_mention_is_a_number_after_the_word() {
        assert_eq!(mentions("BEP 3, BEP 15; a BEP and BEP 52.").collect::<Vec<_>>(), [3, 15, 52]);
    }
}
