//! A folder for downloads with a neighbour that must stay as it is.
//!
//! Decides: what lies beside the downloads. Must not know: which program downloads.
//! Invariant: everything beside the download folder is compared, and nothing else of the stage.

use crate::{Snapshot, Stage, snapshot};
use anyhow::{Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// A download folder, and what lies beside it.
#[derive(Debug)]
pub struct Canary {
    parent: PathBuf,
    /// The folder for downloads.
    pub downloads: PathBuf,
    /// A folder with a file that must not change.
    pub neighbour: PathBuf,
    before: Snapshot,
}

impl Canary {
    /// Makes both folders in a new parent folder on the stage.
    pub fn new(stage: &Stage) -> Result<Canary> {
        let parent = stage.path("parent");
        let (downloads, neighbour) = (parent.join("downloads"), parent.join("canary"));
        fs::create_dir_all(&downloads)?;
        fs::create_dir_all(&neighbour)?;
        fs::write(neighbour.join("precious"), "untouched")?;
        Ok(Canary { before: beside(&parent)?, parent, downloads, neighbour })
    }

    /// Fails if anything beside the download folder changed.
    pub fn ensure_untouched(&self) -> Result<()> {
        ensure!(
            self.before == beside(&self.parent)?,
            "something beside the download folder changed"
        );
        Ok(())
    }
}

/// Reads everything below `parent` except the download folder.
fn beside(parent: &Path) -> Result<Snapshot> {
    let mut all = snapshot(parent)?;
    all.retain(|path, _| !path.starts_with("downloads"));
    Ok(all)
}
