//! `tidy`: the rules of the house that the compiler does not know.
//!
//! Decides: in which order the rules are checked. Must not know: any rule.
//! Invariant: everything that is wrong is listed, not only the first.

mod circles;
mod features;
mod floors;
mod manifests;
mod modules;
mod names;
mod sources;
mod structs;
mod supply;
#[cfg(test)]
mod tests;
mod workspace;

use anyhow::{Result, bail};
use std::path::Path;
use workspace::Workspace;

/// Checks the workspace at `root` and prints what is wrong.
pub(crate) fn run(root: &Path) -> Result<()> {
    let problems = problems(root)?;
    for problem in &problems {
        println!("{problem}");
    }
    if !problems.is_empty() {
        bail!("tidy: {} problems", problems.len());
    }
    println!(
        "tidy: floors, dependencies, manifests, licences, purity, circles, names, headers and words are in order"
    );
    Ok(())
}

/// Everything that is wrong, one line each.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>> {
    let workspace = Workspace::read(root)?;
    let mut problems = floors::problems(&workspace);
    problems.extend(floors::unused(&workspace)?);
    problems.extend(floors::unexplained_dependencies(&workspace)?);
    problems.extend(circles::problems(&workspace)?);
    problems.extend(features::problems(&workspace)?);
    problems.extend(modules::problems(&workspace)?);
    problems.extend(names::problems(&workspace)?);
    problems.extend(sources::problems(&workspace)?);
    problems.extend(structs::problems(&workspace)?);
    problems.extend(manifests::problems(root)?);
    problems.extend(supply::problems(root)?);
    Ok(problems)
}
