//! What a crate leaves out of a build when its features are off.
//!
//! Decides: which dependencies must be gone. Must not know: what a feature does.
//! Invariant: Cargo itself says what is built.

use super::workspace::Workspace;
use anyhow::{Context as _, Result, ensure};
use bt_tests::cargo;

/// A crate, and what it does not depend on without its features, however indirectly.
const LEFT_OUT: &[(&str, &[&str])] = &[
    ("bt-net", &["rustls", "ring", "tokio-rustls", "webpki-roots"]),
    ("bt-tracker-client", &["rustls", "ring", "tokio-rustls", "webpki-roots"]),
    ("bt-session", &["bt-dht", "rustls", "ring", "tokio-rustls", "webpki-roots"]),
];

pub(super) fn problems(workspace: &Workspace) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let members = LEFT_OUT.iter().filter(|(name, _)| {
        // A workspace of tests has some of the crates, without their dependencies.
        workspace.is_member(name) && workspace.is_member("xtask")
    });
    for (name, left_out) in members {
        let mut command = cargo(&workspace.root);
        command.args(["tree", "--offline", "--no-default-features", "--edges", "normal"]);
        let output =
            command.args(["--prefix", "none", "--package", name]).output().context("cargo tree")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let is_built = |dependency: &&&str| {
            text.lines().any(|line| line.split(' ').next() == Some(**dependency))
        };
        problems.extend(
            left_out.iter().filter(is_built).map(|dependency| {
                format!("{name}: without its features it still uses {dependency}")
            }),
        );
    }
    Ok(problems)
}
