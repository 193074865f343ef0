//! A tree of files that is about to be packed.
//!
//! Decides: modes of files and directories. Must not know: what is packed.
//! Invariant: nothing in it depends on the umask or on who makes it.

use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

/// The mode of a program and of a directory.
pub(super) const PROGRAM: u32 = 0o755;
/// The mode of a text.
pub(super) const TEXT: u32 = 0o644;

/// A tree.
pub(super) struct Tree {
    root: PathBuf,
    /// The paths of its files below its root.
    files: Vec<String>,
}

impl Tree {
    /// Begins an empty tree at a path that does not exist.
    pub(super) fn new(root: PathBuf) -> Result<Tree> {
        fs::create_dir(&root)?;
        set_mode(&root, PROGRAM)?;
        Ok(Tree { root, files: Vec::new() })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the paths of its files below its root, in order.
    pub(super) fn files(&self) -> Vec<&str> {
        let mut files: Vec<&str> = self.files.iter().map(String::as_str).collect();
        files.sort_unstable();
        files
    }

    /// Adds a file.
    pub(super) fn add(&mut self, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        let mut dir = self.root.clone();
        let parents = Path::new(path).parent().unwrap_or(Path::new(""));
        for part in parents.components() {
            dir.push(part);
            if !dir.exists() {
                fs::create_dir(&dir)?;
                set_mode(&dir, PROGRAM)?;
            }
        }
        let file = self.root.join(path);
        fs::write(&file, bytes).with_context(|| file.display().to_string())?;
        set_mode(&file, mode)?;
        self.files.push(path.to_owned());
        Ok(())
    }

    /// Adds a copy of a file.
    pub(super) fn copy(&mut self, path: &str, mode: u32, from: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| from.display().to_string())?;
        self.add(path, mode, &bytes)
    }

    /// Gives everything in it the same time, in seconds since 1970.
    pub(super) fn date(&self, epoch: u64) -> Result<()> {
        let time = UNIX_EPOCH + Duration::from_secs(epoch);
        for path in self.files.iter().map(Path::new).flat_map(Path::ancestors) {
            fs::File::open(self.root.join(path))?.set_modified(time)?;
        }
        Ok(())
    }

    /// Returns the bytes of its files.
    pub(super) fn size(&self) -> Result<u64> {
        self.files.iter().map(|path| Ok(fs::metadata(self.root.join(path))?.len())).sum()
    }
}

/// Compresses without a name and a time.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new("gzip");
    command.args(["-9", "--no-name"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run gzip")?;
    let mut input = child.stdin.take().context("stdin is piped")?;
    let wrote = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(bytes));
        child.wait_with_output()
    });
    let output = wrote?;
    ensure!(output.status.success(), "gzip failed");
    Ok(output.stdout)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}
