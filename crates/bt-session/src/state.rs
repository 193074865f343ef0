//! The state directory: one journal and one lock for each torrent and download directory, and the nodes of the DHT.
//!
//! Decides: names below the state directory. Must not know: what a journal says.
//! Invariant: two processes never work on one torrent in one directory; nobody sees half a file.

use crate::dirs::Dirs;
use bt_dht::Contact;
use bt_piece_store::{DiskStorage, Journal, StoreError};
use bt_types::{Geometry, InfoHash};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file with the nodes of the DHT, and the most bytes that are read of it.
const NODES: &str = "dht.nodes";
const NODES_BYTES_MAX: u64 = 64 << 10;

/// The directory that journals live in, if any does.
#[derive(Clone, Debug)]
pub(crate) struct StateDir(Option<PathBuf>);

/// Held while a torrent is worked on in a directory. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] Option<File>);

impl StateDir {
    pub(crate) fn new(dir: Option<PathBuf>) -> StateDir {
        StateDir(dir)
    }

    /// `None` when somebody else holds it.
    pub(crate) fn lock(&self, hash: InfoHash, root: &Path) -> io::Result<Option<Lock>> {
        let Some(dir) = &self.0 else { return Ok(Some(Lock(None))) };
        std::fs::create_dir_all(dir)?;
        let path = dir.join(format!("{}.lock", stem(hash, root)));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock(Some(file)))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn journal(&self, dirs: &Dirs, hash: InfoHash, root: &Path, geometry: &Geometry) -> Result<Journal, StoreError> {
        let Some(dir) = &self.0 else { return Ok(Journal::in_memory(hash, geometry)) };
        let dir = dirs.open(dir).map_err(|source| StoreError { path: dir.clone(), source })?;
        let storage = Arc::new(DiskStorage::below(dir));
        Journal::open(storage, Path::new(&format!("{}.journal", stem(hash, root))), hash, geometry)
    }

    /// The nodes of the DHT that an earlier run knew; none if there was none, or if its file is spoilt.
    pub(crate) fn nodes(&self) -> Vec<Contact> {
        let Some(path) = self.0.as_ref().map(|dir| dir.join(NODES)) else { return Vec::new() };
        let mut bytes = Vec::new();
        // Longer ones are refused for what is in the bytes that are read.
        let read = File::open(&path).and_then(|file| file.take(NODES_BYTES_MAX).read_to_end(&mut bytes));
        match read.map(|_| bt_dht::read_contacts(&bytes)) {
            Ok(Some(nodes)) => return nodes,
            Ok(None) => tracing::warn!(path = %path.display(), "this is no list of DHT nodes and is passed over"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot read the nodes of the DHT"),
        }
        Vec::new()
    }

    /// Keeps nodes of the DHT. Of several processes the last one wins.
    pub(crate) fn save_nodes(&self, nodes: &[Contact]) -> io::Result<()> {
        let Some(dir) = &self.0 else { return Ok(()) };
        std::fs::create_dir_all(dir)?;
        let fresh = dir.join(format!("{NODES}.{}", std::process::id()));
        // What a killed process of the same number left.
        let _ = std::fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&fresh)?;
        file.write_all(&bt_dht::write_contacts(nodes))?;
        std::fs::rename(&fresh, dir.join(NODES))
    }
}

/// A name for a torrent in a directory: its info-hash, and the start of the hash of the directory's path.
fn stem(hash: InfoHash, root: &Path) -> String {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let mut name = format!("{hash}-");
    let digest = bt_hash::sha1(root.as_os_str().as_bytes());
    bt_types::push_hex(&mut name, digest.first_chunk::<6>().map_or(&[], |start| start));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_kept_and_a_spoilt_file_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(Some(dir.path().join("state")));
        assert_eq!(state.nodes(), []);
        let node = Contact { id: bt_dht::Id([1; 20]), addr: "1.2.3.4:5".parse().unwrap() };
        for nodes in [&[node][..], &[node, Contact { id: bt_dht::Id([2; 20]), ..node }]] {
            state.save_nodes(nodes).unwrap();
            assert_eq!(state.nodes(), nodes);
        }
        assert_eq!(std::fs::read_dir(dir.path().join("state")).unwrap().count(), 1, "nothing is left beside it");
        std::fs::write(dir.path().join("state").join(NODES), vec![b'd'; 1 << 20]).unwrap();
        assert_eq!(state.nodes(), []);
        let nowhere = StateDir::new(None);
        nowhere.save_nodes(&[node]).unwrap();
        assert_eq!(nowhere.nodes(), []);
    }
}
