//! Downloads a torrent into memory, by a storage of its own, and writes the first file to the
//! standard output: `cargo run -p bt-session --example own_storage -- FILE.torrent [PEER]...`.

use bt_session::{AddOptions, Metainfo, OwnStorage, Session, SessionConfig, Storage};
use std::collections::BTreeMap;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Files in memory: a storage of bytes alone. No other program changes them, so they need no
/// identity.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<PathBuf, Vec<u8>>>);

impl Memory {
    /// Lets `act` use a file.
    fn with<T>(&self, path: &Path, act: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        let mut files = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        files.get_mut(path).map(act).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for Memory {
    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.with(path, |bytes| {
            let rest = bytes.get(offset as usize..).unwrap_or_default();
            let len = rest.len().min(buf.len());
            buf[..len].copy_from_slice(&rest[..len]);
            len
        })
    }

    fn write_at(&self, path: &Path, offset: u64, data: &[IoSlice<'_>]) -> io::Result<()> {
        let data: Vec<u8> = data.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.with(path, |bytes| {
            let (start, end) = (offset as usize, offset as usize + data.len());
            bytes.resize(bytes.len().max(end), 0);
            bytes[start..end].copy_from_slice(&data);
        })
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(self.with(path, |bytes| bytes.len() as u64).ok())
    }

    fn set_len(&self, path: &Path, len: u64) -> io::Result<()> {
        self.with(path, |bytes| bytes.resize(len as usize, 0))
    }

    fn sync(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.entry(path.to_owned()).or_default();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.with(from, std::mem::take)?;
        self.create_new(to)?;
        self.with(to, |place| *place = bytes)?;
        self.remove(from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut files = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or(anyhow::anyhow!("usage: own_storage FILE.torrent [PEER]..."))?;
    let torrent = Metainfo::from_bytes(&std::fs::read(path)?)?;
    let peers = args.map(|peer| peer.parse()).collect::<Result<_, _>>()?;
    let memory = Arc::new(Memory::default());
    let storage = Some(OwnStorage(Arc::clone(&memory) as Arc<dyn Storage>));
    let session = Session::start(SessionConfig::default())?;
    let options = AddOptions { peers, storage, ..AddOptions::new("nowhere") };
    let download = session.add(&torrent, options)?;
    download.wait_complete().await?;
    // All is hashed anew, as the storage has it.
    download.check().await?;
    let first = download.files().await.into_iter().next().ok_or(anyhow::anyhow!("no file"))?;
    memory.with(&first.path, |bytes| io::stdout().write_all(bytes))??;
    session.stop().await;
    Ok(())
}
