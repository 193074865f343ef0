//! `packages`: every shipped crate, packed as it would be published and built from what was packed.
//!
//! Decides: what is packed. Must not know: what is in a crate.
//! Invariant: what is built is what was packed now, not what an earlier run left behind.

use anyhow::{Context as _, Result, ensure};
use bt_tests::cargo;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The packages that are not published.
const NOT_SHIPPED: [&str; 3] = ["xtask", "bt-tests", "bt-fuzz"];

/// The texts that every package holds.
const TEXTS: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Packs and builds the crates of the workspace at `root`.
pub(crate) fn run(root: &Path) -> Result<()> {
    // Cargo tells builds of a registry crate apart by version alone, so nothing of an earlier run
    // may remain.
    let target = root.join("target/packages");
    remove(&target)?;
    forget_unpacked(root)?;
    let mut command = cargo(root);
    command.args(["package", "--quiet", "--workspace"]).arg("--target-dir").arg(&target);
    command.args(NOT_SHIPPED.iter().flat_map(|name| ["--exclude", name]));
    ensure!(command.status().context("cargo can be run")?.success(), "cargo package failed");
    for name in names(&root.join("crates"))? {
        let packed = target.join("package").join(format!("{name}-{}", env!("CARGO_PKG_VERSION")));
        for text in TEXTS {
            ensure!(packed.join(text).is_file(), "{name}: its package lacks {text}");
        }
    }
    Ok(())
}

/// Removes our crates from among the sources that Cargo unpacked from local registries.
///
/// To build a packed crate that needs another of ours, Cargo makes a local registry in the target
/// folder. It unpacks that under its home, in a folder named after the registry's path, and does
/// not check existing content. So a second run with the same version would build against the crates
/// of the first.
fn forget_unpacked(root: &Path) -> Result<()> {
    let Some(sources) = cargo_home().map(|home| home.join("registry/src")) else { return Ok(()) };
    let crates: Vec<_> = names(&root.join("crates"))?
        .iter()
        .map(|name| format!("{name}-{}", env!("CARGO_PKG_VERSION")))
        .collect();
    // The name of a remote registry begins with its host. The name of a local one begins with the
    // dash before the hash.
    for registry in names(&sources)?.iter().filter(|name| name.starts_with('-')) {
        for name in &crates {
            remove(&sources.join(registry).join(name))?;
        }
    }
    Ok(())
}

/// Removes a folder if there is one.
fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} stays", folder.display()))
        }
        _ => Ok(()),
    }
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")))
}

/// Lists the names in a folder; none where there is no folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            entries?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        }
    }
}
