//! A disk that is soon full.
//!
//! Decides: how the disk is mounted. Must not know: which program fills it.
//! Invariant: it is unmounted on drop.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of `mib` MiB on an empty directory; returns `None` where that is not allowed.
    pub fn mount(path: &Path, mib: u32) -> Option<SmallDisk> {
        let size = format!("size={mib}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "bt-small-disk"])
            .arg(path)
            .output()
            .ok()?;
        mounted.status.success().then(|| SmallDisk { path: path.to_path_buf() })
    }

    /// Grows the disk to `mib` MiB while it is in use.
    pub fn grow(&self, mib: u32) -> std::io::Result<()> {
        let options = format!("remount,size={mib}m");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.path).status()?;
        if status.success() { Ok(()) } else { Err(std::io::Error::other("remount failed")) }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy, so that a process with an open file does not keep the mount visible.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).output();
    }
}
