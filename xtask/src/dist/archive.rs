//! The archive: the program, and what belongs to it, to unpack anywhere.
//!
//! Decides: its layout. Must not know: how the program was built.
//! Invariant: everything lies in one directory that is named like the archive.

use super::tree::{PROGRAM, TEXT, Tree};
use super::{Made, VERSION, licences, pages, said};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// What is copied, and from where in the workspace.
const TEXTS: [(&str, &str); 6] = [
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("deploy/bt.service", "docs/deploy/bt.service"),
    ("deploy/config.toml", "docs/deploy/config.toml"),
];

/// Makes the archive and returns its path.
pub(super) fn make(made: &Made<'_>) -> Result<PathBuf> {
    let workshop = made.workshop()?;
    let name = format!("bt-{VERSION}-{}", made.program.target);
    let mut tree = Tree::new(workshop.path().join(&name))?;
    tree.copy("bt", PROGRAM, &made.program.path)?;
    for (path, from) in TEXTS {
        tree.copy(path, TEXT, &made.root.join(from))?;
    }
    tree.add("LICENSES-OF-CRATES", TEXT, licences::of_crates(made.root)?.as_bytes())?;
    for (name, page) in pages::man(&made.program.path, workshop.path())? {
        tree.add(&format!("man/{name}"), TEXT, &page)?;
    }
    for (_, name, script) in pages::completions(&made.program.path)? {
        tree.add(&format!("completions/{name}"), TEXT, &script)?;
    }
    tree.date(made.epoch)?;
    let path = made.dir.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=root:0", "--group=root:0", "--format=ustar"]);
    tar.args(["--use-compress-program", "gzip -9n"]);
    tar.arg("--create").arg("--file").arg(&path).arg("-C").arg(workshop.path()).arg(&name);
    said(&mut tar)?;
    Ok(path)
}
