//! Whether two trees are the same, and whether a tree was touched.
//!
//! Decides: what "identical" means: names, kinds and bytes. Must not know: the origin of the trees.
//! Invariant: every file is read whole; no size or time is trusted.

use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

/// The bytes that are compared at once.
const PART: usize = 1 << 20;

/// Every path below a root with its bytes; `None` for an entry that is no regular file.
pub type Snapshot = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Reads a whole tree. It is meant for small trees: the bytes stay in memory.
pub fn snapshot(root: &Path) -> Result<Snapshot> {
    let mut found = Snapshot::new();
    visit(root, root, &mut |path, inner| {
        let bytes =
            if fs::symlink_metadata(path)?.is_file() { Some(fs::read(path)?) } else { None };
        found.insert(inner.to_path_buf(), bytes);
        Ok(())
    })?;
    Ok(found)
}

/// Fails with the name of the first difference between two files or trees.
pub fn ensure_same(left: &Path, right: &Path) -> Result<()> {
    let names = |root: &Path| {
        let mut found = Vec::new();
        visit(root, root, &mut |_, inner| {
            found.push(inner.to_path_buf());
            Ok(())
        })?;
        found.sort();
        anyhow::Ok(found)
    };
    let (ours, theirs) = (names(left)?, names(right)?);
    if let Some(lost) = ours.iter().find(|name| theirs.binary_search(name).is_err()) {
        bail!("{} is in {} and not in {}", lost.display(), left.display(), right.display());
    }
    if let Some(extra) = theirs.iter().find(|name| ours.binary_search(name).is_err()) {
        bail!("{} is in {} and not in {}", extra.display(), right.display(), left.display());
    }
    for name in ours {
        // Joining an empty name would ask for a directory.
        let of = |root: &Path| {
            if name.as_os_str().is_empty() { root.to_path_buf() } else { root.join(&name) }
        };
        let (one, other) = (of(left), of(right));
        if one.is_dir() != other.is_dir() || (one.is_file() && !same_bytes(&one, &other)?) {
            bail!("{} differs from {}", one.display(), other.display());
        }
    }
    Ok(())
}

/// Tells whether two files have the same bytes; only a part of them is in memory at a time.
fn same_bytes(one: &Path, other: &Path) -> Result<bool> {
    if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
        return Ok(false);
    }
    let open = |path| Ok::<_, io::Error>(BufReader::with_capacity(PART, fs::File::open(path)?));
    let (mut one, mut other) = (open(one)?, open(other)?);
    loop {
        let (ours, theirs) = (one.fill_buf()?, other.fill_buf()?);
        let len = ours.len().min(theirs.len());
        if len == 0 {
            return Ok(ours.len() == theirs.len());
        }
        if ours[..len] != theirs[..len] {
            return Ok(false);
        }
        one.consume(len);
        other.consume(len);
    }
}

/// Calls `seen` with each path and its name below `root`; links are not followed.
fn visit(root: &Path, at: &Path, seen: &mut dyn FnMut(&Path, &Path) -> Result<()>) -> Result<()> {
    seen(at, at.strip_prefix(root).unwrap_or(at))?;
    if fs::symlink_metadata(at).with_context(|| at.display().to_string())?.is_dir() {
        for entry in fs::read_dir(at)? {
            visit(root, &entry?.path(), seen)?;
        }
    }
    Ok(())
}
