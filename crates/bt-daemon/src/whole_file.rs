//! Files that are there whole or not at all.
//!
//! Decides: where they lie until they are whole.
//! Must not know: what they hold.
//! Invariant: a file has its name only when its bytes are on the disk.

use std::io::{self, Write as _};
use std::path::Path;
use tempfile::NamedTempFile;

/// Writes a file in place of an earlier one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    beside(path, bytes)?.persist(path).map(drop).map_err(|error| error.error)
}

/// Writes a new file, never over another one. Its mode is that of any other new file.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    beside(path, bytes)?.persist_noclobber(path).map(drop).map_err(|error| error.error)
}

fn beside(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file = tempfile::Builder::new().prefix(".bt-").permissions(mode).tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}
