//! How a torrent is added.
//!
//! Decides: the defaults.
//! Must not know: how a torrent is opened.
//! Invariant: values only, one function and one storage that the caller gives.

use bt_metainfo::Metainfo;
use bt_model::TorrentSettings;
use bt_piece_store::{PieceClaim, Storage, Trust};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// How a torrent is added.
#[derive(Clone, Debug)]
pub struct AddOptions {
    /// The directory that contains the torrent's name, or will; or the content itself.
    pub dir: PathBuf,
    /// Peers to begin with.
    pub peers: Vec<SocketAddr>,
    /// Trust the files on disk without hashing them.
    pub trust_data: bool,
    /// What another program says of the data on disk. It is believed where the files are as they
    /// were then and a sample is right; else all is hashed.
    pub claim: Option<Arc<PieceClaim>>,
    /// Forget what earlier runs saved, and save nothing for later ones.
    pub no_resume: bool,
    /// Which of its files are wanted. A piece that a wanted file shares with another file is
    /// fetched whole.
    pub select: Select,
    /// Of a magnet link, fetch only the metadata.
    pub metadata_only: bool,
    /// What the user wants of it: whether it runs, its limits, its files, its trackers.
    pub settings: TorrentSettings,
    /// Files with another path below `dir` than the torrent says, by their number in its list.
    /// [`crate::TorrentHandle::names`] has those that were renamed.
    pub names: BTreeMap<usize, PathBuf>,
    /// Where its files are, in place of `dir`: a storage of the program's own. What it holds is
    /// hashed at the start, and nothing is saved for later runs.
    pub storage: Option<OwnStorage>,
}

/// A storage of the program's own.
#[derive(Clone)]
pub struct OwnStorage(pub Arc<dyn Storage>);

impl std::fmt::Debug for OwnStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnStorage(..)")
    }
}

/// Which files of a torrent are wanted.
#[derive(Clone, Default)]
pub enum Select {
    /// All of them; of a magnet link those that it selects itself (BEP 53).
    #[default]
    All,
    /// The files with these numbers in the torrent's list.
    Files(BTreeSet<usize>),
    /// The files that this function chooses once the torrent is known; `None` is all of them.
    By(Arc<Chooser>),
}

/// Chooses the numbers of the wanted files, or says why it cannot.
pub type Chooser = dyn Fn(&Metainfo) -> Result<Option<BTreeSet<usize>>, String> + Send + Sync;

impl std::fmt::Debug for Select {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Select::All => f.write_str("All"),
            Select::Files(files) => f.debug_tuple("Files").field(files).finish(),
            Select::By(_) => f.write_str("By(..)"),
        }
    }
}

impl AddOptions {
    /// Returns what is trusted of the data at the first look.
    pub(crate) fn trust(&self) -> Trust {
        match &self.claim {
            _ if self.trust_data => Trust::Data,
            Some(claim) => Trust::Claim(Arc::clone(claim)),
            None => Trust::Journal,
        }
    }

    /// Makes options to download to, or seed from, this directory.
    pub fn new(dir: impl Into<PathBuf>) -> AddOptions {
        AddOptions {
            dir: dir.into(),
            peers: Vec::new(),
            trust_data: false,
            claim: None,
            no_resume: false,
            select: Select::All,
            metadata_only: false,
            settings: TorrentSettings::default(),
            names: BTreeMap::new(),
            storage: None,
        }
    }
}
