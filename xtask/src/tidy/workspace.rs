//! What tidy knows of a workspace: packages, their dependencies, and files.
//!
//! Decides: which files belong to it. Must not know: any rule.
//! Invariant: Cargo itself reads the manifests.

use anyhow::{Context as _, Result, bail};
use bt_tests::cargo;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A Cargo workspace on disk.
#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) root: PathBuf,
    pub(super) packages: Vec<Package>,
}

/// A member.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) dependencies: Vec<Dependency>,
}

/// A line of a member's manifest.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) only_tests: bool,
}

impl Workspace {
    pub(super) fn read(root: &Path) -> Result<Workspace> {
        let metadata = metadata(root, &["--no-deps", "--offline"])?;
        let packages = array(&metadata["packages"]).map(Package::of).collect::<Result<_>>()?;
        Ok(Workspace { root: root.to_path_buf(), packages })
    }

    pub(super) fn is_member(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name)
    }

    /// Every file of the workspace, without what Git or Cargo made.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>> {
        files_below(&self.root)
    }
}

/// What Cargo says of the workspace at `root` and its packages.
pub(super) fn metadata(root: &Path, options: &[&str]) -> Result<Value> {
    let mut command = cargo(root);
    let output = command
        .args(["metadata", "--format-version", "1"])
        .args(options)
        .output()
        .context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

impl Package {
    fn of(value: &Value) -> Result<Package> {
        let manifest = Path::new(value["manifest_path"].as_str().context("manifest_path")?);
        let dependencies = array(&value["dependencies"]).map(|dependency| Dependency {
            name: dependency["name"].as_str().unwrap_or_default().into(),
            only_tests: dependency["kind"] == "dev",
        });
        Ok(Package {
            name: value["name"].as_str().context("name")?.into(),
            dir: manifest.parent().context("a manifest lies in a directory")?.into(),
            dependencies: dependencies.collect(),
        })
    }

    /// Its Rust sources, with those of tests, examples and benches.
    pub(super) fn all_sources(&self) -> Result<Vec<PathBuf>> {
        Ok(files_below(&self.dir)?.into_iter().filter(|path| is_rust(path)).collect())
    }

    /// Its Rust sources: those of the library or program, without tests, examples and benches of
    /// their own.
    pub(super) fn sources(&self) -> Result<Vec<PathBuf>> {
        Ok(files_below(&self.dir.join("src"))?.into_iter().filter(|path| is_rust(path)).collect())
    }
}

pub(super) fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn files_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries = fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_file() {
            found.push(path);
        } else if kind.is_dir() && entry.file_name() != "target" && entry.file_name() != ".git" {
            found.extend(files_below(&path)?);
        }
    }
    Ok(found)
}
