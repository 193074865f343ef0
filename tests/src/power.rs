//! A disk whose power can be cut.
//!
//! Decides: how the disk is made and cut. Must not know: which program writes to it.
//! Invariant: after a cut the disk holds what was synced, and what the system happened to write. It
//! is unmounted on drop.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The script that stops a file system at once. What is not on its device yet, its own journal
/// included, is lost.
const CUT: &str = "
import fcntl, os, struct, sys
EXT4_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587d, 2
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), EXT4_IOC_SHUTDOWN, struct.pack('I', NOLOGFLUSH))
";

/// An ext4 file system in a file.
#[derive(Debug)]
pub struct PowerDisk {
    image: PathBuf,
    mount: PathBuf,
}

impl PowerDisk {
    /// Makes a disk of `mib` MiB in the file `image`, and mounts it on the new directory `mount`.
    pub fn new(image: &Path, mount: &Path, mib: u64) -> Result<PowerDisk> {
        std::fs::File::create_new(image)?.set_len(mib << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image))?;
        std::fs::create_dir(mount)?;
        let disk = PowerDisk { image: image.to_path_buf(), mount: mount.to_path_buf() };
        disk.mount()?;
        Ok(disk)
    }

    /// Returns the reason why no such disk can be made here; `None` if it can.
    pub fn obstacle() -> Option<String> {
        let try_one = || -> Result<()> {
            let dir = tempfile::tempdir()?;
            PowerDisk::new(&dir.path().join("image"), &dir.path().join("mount"), 16)?.cut()
        };
        try_one().err().map(|error| format!("no disk that can be cut: {error:#}"))
    }

    /// Cuts the power: every operation fails from now on.
    pub fn cut(&self) -> Result<()> {
        run(Command::new("python3").args(["-c", CUT]).arg(&self.mount))
    }

    /// Restores the power. Every process that used the disk must have ended.
    pub fn restart(&self) -> Result<()> {
        run(Command::new("umount").arg(&self.mount))?;
        self.mount()
    }

    fn mount(&self) -> Result<()> {
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "loop"])
            .args([&self.image, &self.mount]))
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        // Lazy, so that a process with an open file does not keep the mount visible. The loop
        // device goes with it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.mount).output();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| name.clone())?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
