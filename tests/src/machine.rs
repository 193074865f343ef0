//! A copy of this machine's files, in which a package can be installed and removed.
//!
//! Decides: how the copy is made, and what is a change of it. Must not know: what is installed.
//! Invariant: the machine itself is not changed. The copy is gone on drop.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A layer over the files of this machine.
#[derive(Debug)]
pub struct MachineCopy {
    /// The file system of the layer.
    base: PathBuf,
    /// The files as a process inside sees them.
    root: PathBuf,
}

impl MachineCopy {
    /// Makes a copy below an empty directory. It costs no time: files are copied when they change.
    pub fn new(base: &Path) -> Result<MachineCopy> {
        let root = base.join("root");
        let copy = MachineCopy { base: base.to_path_buf(), root: root.clone() };
        run(Command::new("mount").args(["-t", "tmpfs", "bt-machine"]).arg(base))?;
        let (changes, work) = (base.join("changes"), base.join("work"));
        for dir in [&root, &changes, &work] {
            fs::create_dir(dir)?;
        }
        let layers =
            format!("lowerdir=/,upperdir={},workdir={}", changes.display(), work.display());
        run(Command::new("mount").args(["-t", "overlay", "-o", &layers, "overlay"]).arg(&root))?;
        run(Command::new("mount").args(["--bind", "/dev"]).arg(root.join("dev")))?;
        run(Command::new("mount").args(["-t", "proc", "proc"]).arg(root.join("proc")))?;
        Ok(copy)
    }

    /// Returns where a file of the copy is on this machine.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    /// Returns a command that sees the copy alone.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.root).arg(program);
        command
    }

    /// Runs a command inside, which must succeed, and returns what it prints.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = run(self.inside(program).args(args))?;
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Returns the files of the copy that are not as they are on this machine: those that are new,
    /// changed or gone. New directories are named, too.
    pub fn changes(&self) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let changes = self.base.join("changes");
        let mut dirs = vec![changes.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir)? {
                let path = entry?.path();
                let inside = Path::new("/").join(path.strip_prefix(&changes)?);
                let is_dir = fs::symlink_metadata(&path)?.is_dir();
                if is_dir {
                    dirs.push(path);
                }
                let there = fs::symlink_metadata(&inside);
                if !is_dir || there.is_err() {
                    found.insert(inside.to_string_lossy().into_owned());
                }
            }
        }
        Ok(found)
    }

    /// Returns the owner of a file, by the copy's own list of users.
    pub fn owner(&self, inside: &str) -> Result<String> {
        let id = fs::symlink_metadata(self.path(inside))?.uid().to_string();
        let users = fs::read_to_string(self.path("/etc/passwd"))?;
        let is_owner = |line: &&str| line.split(':').nth(2) == Some(&id);
        let line = users.lines().find(is_owner).context("a user")?;
        Ok(line.split(':').next().unwrap_or_default().to_owned())
    }
}

impl Drop for MachineCopy {
    fn drop(&mut self) {
        // Lazy and with all that is below, so that a process that still runs inside keeps nothing.
        for path in [&self.root, &self.base] {
            let _ = Command::new("umount").args(["--lazy", "--recursive"]).arg(path).output();
        }
    }
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(output)
}
