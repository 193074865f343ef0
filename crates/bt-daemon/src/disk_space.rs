//! The space of file systems.
//!
//! Decides: nothing. Must not know: who asks.
//! Invariant: a file system that does not answer holds up only who asks for its space.

use std::path::{Path, PathBuf};

/// Bytes of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DiskSpace {
    /// Free for us.
    pub(crate) free: u64,
    /// All.
    pub(crate) total: u64,
}

/// Returns the space of the file system of a path; `None` if it cannot be looked at.
pub(crate) async fn of(path: PathBuf) -> Option<DiskSpace> {
    tokio::task::spawn_blocking(move || look(&path)).await.ok().flatten()
}

/// Returns the same of a path that may not exist yet: of the nearest directory above it.
pub(crate) async fn of_nearest(path: PathBuf) -> Option<DiskSpace> {
    let look = move || look(path.ancestors().find(|path| path.exists())?);
    tokio::task::spawn_blocking(look).await.ok().flatten()
}

fn look(path: &Path) -> Option<DiskSpace> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.checked_mul(stat.f_frsize);
    Some(DiskSpace { free: bytes(stat.f_bavail)?, total: bytes(stat.f_blocks)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_path_that_does_not_exist_yet_has_the_space_above_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let below = dir.path().join("a/b");
        assert_eq!(of(below.clone()).await, None);
        let space = of_nearest(below).await.expect("a file system");
        assert!(space.free <= space.total && space.total > 0);
    }
}
