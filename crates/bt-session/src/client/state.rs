//! The state directory: one journal and one lock for each torrent and download directory, and the
//! DHT's known nodes.
//!
//! Decides: names below the state directory.
//! Must not know: what a journal says.
//! Invariant: two processes never work on one torrent in one directory; no reader sees half a file.

use crate::client::dirs::Dirs;
use crate::mail::dht::{Contact, ContactsError, read_contacts, write_contacts};
use crate::mail::owner::Lock;
use bt_piece_store::{DiskStorage, Journal, Remembered, StoreError};
use bt_types::{Geometry, InfoHash};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file with the DHT's nodes, and the most bytes that are read from it.
const NODES: &str = "dht.nodes";
const NODES_BYTES_MAX: u64 = 64 << 10;
/// The end of a journal's name.
const JOURNAL: &str = ".journal";

/// The directory of the journals; `None` if nothing is saved.
#[derive(Clone, Debug)]
pub(crate) struct StateDir(Option<PathBuf>);

impl StateDir {
    pub(crate) fn new(dir: Option<PathBuf>) -> StateDir {
        StateDir(dir)
    }

    /// Locks a torrent in a directory; `None` when another session or process holds the lock.
    pub(crate) fn lock(&self, hash: InfoHash, root: &Path) -> io::Result<Option<Lock>> {
        let Some(dir) = &self.0 else { return Ok(Some(Lock::none())) };
        std::fs::create_dir_all(dir)?;
        lock_file(&dir.join(format!("{}.lock", stem(hash, root))))
    }

    pub(crate) fn journal(
        &self,
        dirs: &Dirs,
        hash: InfoHash,
        root: &Path,
        geometry: &Geometry,
    ) -> Result<Journal, StoreError> {
        let Some(dir) = &self.0 else { return Ok(Journal::in_memory(hash, geometry)) };
        let dir = dirs.open(dir).map_err(|source| StoreError { path: dir.clone(), source })?;
        // A torrent at rest needs no descriptor for its journal.
        let storage = Arc::new(DiskStorage::below(dir).sharing(dirs.open_files()));
        let dir = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        Ok(Journal::open(
            storage,
            Path::new(&format!("{}{JOURNAL}", stem(hash, root))),
            hash,
            geometry,
        )?
        .living_in(&dir))
    }

    /// Carries what is remembered of a torrent from one directory to another. Fails if another
    /// session or process works on the torrent there.
    pub(crate) fn carry(&self, hash: InfoHash, from: &Path, to: &Path) -> io::Result<()> {
        let Some(dir) = &self.0 else { return Ok(()) };
        let (old, new) = (stem(hash, from), stem(hash, to));
        if old == new {
            return Ok(());
        }
        if self.lock(hash, to)?.is_none() {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another bt works on this torrent there",
            ));
        }
        let journal = |stem: &str| dir.join(format!("{stem}{JOURNAL}"));
        match std::fs::rename(journal(&old), journal(&new)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets a torrent in a directory, if no other session or process works on it there.
    pub(crate) fn forget(&self, hash: InfoHash, root: &Path) -> io::Result<()> {
        match self.lock(hash, root)? {
            Some(_lock) => self.remove_journal(&stem(hash, root)),
            None => Ok(()),
        }
    }

    /// Forgets a torrent whose lock is held.
    pub(crate) fn remove_journal(&self, stem: &str) -> io::Result<()> {
        let Some(dir) = &self.0 else { return Ok(()) };
        match std::fs::remove_file(dir.join(format!("{stem}{JOURNAL}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads the DHT nodes that an earlier run saved; none if the file is missing, damaged or of a
    /// newer version.
    pub(crate) fn nodes(&self) -> Vec<Contact> {
        let Some(path) = self.0.as_ref().map(|dir| dir.join(NODES)) else { return Vec::new() };
        match read_nodes(&path) {
            Ok(Ok(nodes)) => return nodes,
            Ok(Err(error)) if matches!(error, ContactsError::Newer(_)) => {
                tracing::error!(path = %path.display(), %error, "these nodes of the DHT are not used; the file stays as it is")
            }
            Ok(Err(error)) => tracing::warn!(path = %path.display(), %error, "passed over"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the nodes of the DHT")
            }
        }
        Vec::new()
    }

    /// Saves DHT nodes. Of several processes the last one wins. A file of a newer version stays.
    pub(crate) fn save_nodes(&self, nodes: &[Contact]) -> io::Result<()> {
        let Some(dir) = &self.0 else { return Ok(()) };
        if matches!(read_nodes(&dir.join(NODES)), Ok(Err(ContactsError::Newer(_)))) {
            return Ok(());
        }
        std::fs::create_dir_all(dir)?;
        let fresh = dir.join(format!("{NODES}.{}", std::process::id()));
        // A killed process with the same id may have left a file.
        let _ = std::fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&fresh)?;
        file.write_all(&write_contacts(nodes))?;
        std::fs::rename(&fresh, dir.join(NODES))
    }
}

/// A torrent that a state directory remembers in a download directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedTorrent {
    /// The name of its files below the state directory, without their endings.
    stem: String,
    /// What is remembered.
    pub torrent: Remembered,
}

/// Lists what a state directory remembers, by name. Files that are no journals are skipped; an
/// unreadable journal is an error.
pub fn saved_torrents(state_dir: &Path) -> Result<Vec<SavedTorrent>, StoreError> {
    let at = |source| StoreError { path: state_dir.to_owned(), source };
    let entries = match std::fs::read_dir(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at)?,
    };
    let storage = DiskStorage::open(state_dir).map_err(at)?;
    let mut found = Vec::new();
    for entry in entries {
        let name = PathBuf::from(entry.map_err(at)?.file_name());
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(JOURNAL)) else {
            continue;
        };
        if let Some(torrent) = Journal::look(&storage, &name)? {
            found.push(SavedTorrent { stem: stem.to_owned(), torrent });
        }
    }
    found.sort_by(|a, b| (&a.torrent.name, &a.stem).cmp(&(&b.torrent.name, &b.stem)));
    Ok(found)
}

/// Forgets a torrent in a directory; its data stays. False while another process works on it.
pub fn forget(state_dir: &Path, saved: &SavedTorrent) -> io::Result<bool> {
    let Some(_lock) = lock_file(&state_dir.join(format!("{}.lock", saved.stem)))? else {
        return Ok(false);
    };
    StateDir::new(Some(state_dir.to_owned())).remove_journal(&saved.stem)?;
    Ok(true)
}

/// Reads a file of DHT nodes. A longer one is no list: its beginning is no complete one.
fn read_nodes(path: &Path) -> io::Result<Result<Vec<Contact>, ContactsError>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(NODES_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(read_contacts(&bytes))
}

/// Locks a file; `None` when another process holds the lock.
fn lock_file(path: &Path) -> io::Result<Option<Lock>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock::of(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes a name for a torrent in a directory: its info-hash, and the start of the hash of the
/// directory's path.
pub(crate) fn stem(hash: InfoHash, root: &Path) -> String {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let mut name = format!("{hash}-");
    let digest = bt_hash::sha1(root.as_os_str().as_bytes());
    bt_types::push_hex(&mut name, digest.first_chunk::<6>().map_or(&[], |start| start));
    name
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "dht")]
    #[test]
    fn nodes_are_kept_and_a_spoilt_file_is_passed_over() {
        use super::*;
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(Some(dir.path().join("state")));
        assert_eq!(state.nodes(), []);
        let node = Contact { id: bt_dht::Id([1; 20]), addr: "1.2.3.4:5".parse().unwrap() };
        for nodes in [&[node][..], &[node, Contact { id: bt_dht::Id([2; 20]), ..node }]] {
            state.save_nodes(nodes).unwrap();
            assert_eq!(state.nodes(), nodes);
        }
        assert_eq!(
            std::fs::read_dir(dir.path().join("state")).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        std::fs::write(dir.path().join("state").join(NODES), vec![b'd'; 1 << 20]).unwrap();
        assert_eq!(state.nodes(), []);
        state.save_nodes(&[node]).unwrap();
        assert_eq!(state.nodes(), [node], "a damaged file is replaced");
        let newer = b"d5:tablelld4:kindi3eeee7:versioni2ee";
        std::fs::write(dir.path().join("state").join(NODES), newer).unwrap();
        assert_eq!(state.nodes(), []);
        state.save_nodes(&[node]).unwrap();
        let kept = std::fs::read(dir.path().join("state").join(NODES)).unwrap();
        assert_eq!(kept, newer, "one of a newer version is not");
        let nowhere = StateDir::new(None);
        nowhere.save_nodes(&[node]).unwrap();
        assert_eq!(nowhere.nodes(), []);
    }
}
