//! What a session tells the program that uses it.
//!
//! Decides: the words of a torrent's life. Must not know: how they are shown.
//! Invariant: values only.

use bt_engine::{Event, MagnetStatus, SourceStat, TorrentStatus};
use std::path::PathBuf;
use std::sync::OnceLock;
use tokio::sync::broadcast;

/// News kept for a listener that is behind.
const NEWS_MAX: usize = 256;

/// Where a torrent stands; always the newest, older ones are not kept.
#[derive(Clone, PartialEq, Debug)]
pub enum TorrentState {
    /// The metadata of its magnet link is sought.
    Finding(MagnetStatus),
    /// The data that is there is being checked.
    Checking,
    /// It is in its swarm.
    Active(TorrentStatus),
    /// Its metadata is known, and nothing else was wanted.
    Known,
    /// It could not be started.
    Failed(AddError),
    /// It was removed.
    Stopped,
}

impl TorrentState {
    /// Whether nothing follows.
    pub fn is_over(&self) -> bool {
        matches!(self, TorrentState::Known | TorrentState::Failed(_) | TorrentState::Stopped)
    }
}

/// News of a torrent. A listener that is too slow misses the oldest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TorrentEvent {
    /// The metadata of a magnet link came and can be used.
    Metadata,
    /// The data was checked: bytes that were there and right.
    Checked {
        /// Bytes in pieces that need not be downloaded.
        bytes_there: u64,
    },
    /// Pieces were remembered, and their files were deleted: the download begins anew.
    Deleted,
    /// From the engine.
    Engine(Event),
    /// Which file the store failed on and what the system said, after [`Event::StoreFailed`].
    StoreDetail(String),
}

/// The news of a torrent on their way to those who listen. Room for them is made when somebody does.
#[derive(Debug, Default)]
pub(crate) struct News(OnceLock<broadcast::Sender<TorrentEvent>>);

impl News {
    /// Tells everybody who listens.
    pub(crate) fn tell(&self, event: TorrentEvent) {
        if let Some(channel) = self.0.get() {
            // Who listened is gone: that is fine.
            let _ = channel.send(event);
        }
    }

    /// News from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<TorrentEvent> {
        self.0.get_or_init(|| broadcast::Sender::new(NEWS_MAX)).subscribe()
    }
}

/// Why a torrent could not be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddError {
    /// The torrent is v2 only.
    #[error("{0}")]
    Unsupported(String),
    /// The metadata that a magnet link names was found, and is refused.
    #[error("the metadata of the magnet link is refused: {why}")]
    Metadata {
        /// Stable, in snake_case.
        code: &'static str,
        /// For a person.
        why: String,
    },
    /// None of its files is wanted.
    #[error("{0}")]
    Selection(String),
    /// A file in the way holds something else than the torrent, or more, and was not made by us.
    #[error("{} is there already, was not made by bt, and differs from this torrent; move it away, or download to another directory with --dir", path.display())]
    Foreign {
        /// The file, relative to the download directory.
        path: PathBuf,
    },
    /// No file that held pieces is there.
    #[error("{} held pieces and is not there; bring it back or mount its disk, or begin anew with --no-resume", path.display())]
    Gone {
        /// The first of them, relative to the download directory.
        path: PathBuf,
    },
    /// Another torrent works on these files, in this session or in another process.
    #[error(
        "{} belongs to another torrent that is being {}; stop that one first, or choose another directory with --dir",
        path.display(),
        if *is_written { "downloaded" } else { "seeded" }
    )]
    Owned {
        /// The file, or the directory of all files, relative to the download directory; or a directory above that one.
        path: PathBuf,
        /// Whether the other one writes.
        is_written: bool,
    },
    /// The disk failed while the data was checked.
    #[error("{detail}")]
    Store {
        /// The cause.
        fault: bt_types::StoreFault,
        /// File and text of the system.
        detail: String,
    },
    /// Another process works on this torrent in this directory.
    #[error("another bt works on this torrent in {}; stop it first, or use another directory", dir.display())]
    Locked {
        /// The download directory.
        dir: PathBuf,
    },
    /// It was given up because of a bug of ours: a panic.
    #[error("this is a bug of bt: {0} panicked; please report what was logged")]
    Bug(&'static str),
    /// This session has the torrent already.
    #[error("this torrent was added already; name it once")]
    Duplicate,
    /// The session is stopping.
    #[error("the session is stopping")]
    Stopping,
}

/// The account of a torrent that was stopped.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Summary {
    /// Bytes of the wanted pieces that were there and right before the start.
    pub bytes_there: u64,
    /// The last status; `None` if the torrent never became active.
    pub status: Option<TorrentStatus>,
    /// What moved between us and each peer.
    pub sources: Vec<SourceStat>,
    /// What stood against writing and syncing everything at the end: not all that was said to be there may outlive a power cut.
    pub unsaved: Option<Unsaved>,
}

/// Why something is not safe on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsaved {
    /// The cause.
    pub fault: bt_types::StoreFault,
    /// The file, and what the system said.
    pub detail: String,
}
