//! What a session tells the program that uses it.
//!
//! Decides: the states, events and errors of a torrent, and the errors of a start.
//! Must not know: how they are shown.
//! Invariant: values only.

use bt_engine::{Event, MagnetView, SourceStat, TorrentView};
use bt_net::NetError;
use bt_piece_store::{OpenError, fault_of};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tokio::sync::broadcast;

/// Events kept for a slow listener.
const NEWS_MAX: usize = 256;

/// The state of a torrent. Only the newest is kept.
#[derive(Clone, PartialEq, Debug)]
pub enum TorrentState {
    /// The metadata of its magnet link is being fetched.
    Finding(MagnetView),
    /// The data on disk is being checked.
    Checking,
    /// The torrent is in its swarm.
    Active(TorrentView),
    /// The metadata is known, and the user wanted no more.
    Known,
    /// The torrent could not be started.
    Failed(TorrentError),
    /// The torrent was removed.
    Stopped,
}

impl TorrentState {
    /// Returns whether this is the last state.
    pub fn is_over(&self) -> bool {
        matches!(self, TorrentState::Known | TorrentState::Failed(_) | TorrentState::Stopped)
    }
}

/// An event of a torrent. A listener that is too slow misses the oldest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TorrentEvent {
    /// The metadata of a magnet link arrived and can be used.
    Metadata,
    /// The data on disk was checked.
    Checked {
        /// Bytes in pieces that need no download.
        bytes_there: u64,
    },
    /// Saved pieces were found, but their files were deleted: the download begins anew.
    Deleted,
    /// An event from the engine.
    Engine(Event),
    /// The file on which the store failed, and the system's error text; after
    /// [`Event::StoreFailed`].
    StoreDetail(String),
}

/// The events of a torrent on their way to listeners. The channel is made for the first listener.
#[derive(Debug, Default)]
pub(crate) struct News(OnceLock<broadcast::Sender<TorrentEvent>>);

impl News {
    /// Sends an event to all listeners.
    pub(crate) fn tell(&self, event: TorrentEvent) {
        if let Some(channel) = self.0.get() {
            // All listeners may be gone.
            let _ = channel.send(event);
        }
    }

    /// Listens to events from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<TorrentEvent> {
        self.0.get_or_init(|| broadcast::Sender::new(NEWS_MAX)).subscribe()
    }
}

/// Why a torrent could not be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorrentError {
    /// The torrent is v2 only.
    #[error("{0}")]
    Unsupported(String),
    /// The metadata of a magnet link was found, and is refused.
    #[error("the metadata of the magnet link is refused: {why}")]
    Metadata {
        /// A stable code in snake_case.
        code: &'static str,
        /// A text for the user.
        why: String,
    },
    /// None of its files is wanted.
    #[error("{0}")]
    Selection(String),
    /// A file at this path holds other data than the torrent, or more, and is not ours.
    #[error("{} is there already, was not made by bt, and differs from this torrent; move it away, or download to another directory with --dir", path.display())]
    Foreign {
        /// The file, relative to the download directory.
        path: PathBuf,
    },
    /// Every file that held pieces is gone.
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
        /// The file or the torrent's top directory, relative to the download directory; or a
        /// directory above that.
        path: PathBuf,
        /// Whether the other torrent writes.
        is_written: bool,
    },
    /// The disk failed while the data was checked.
    #[error("{detail}")]
    Store {
        /// The cause.
        fault: bt_types::StoreFault,
        /// The file and the system's error text.
        detail: String,
    },
    /// Another process works on this torrent in this directory.
    #[error("another bt works on this torrent in {}; stop it first, or use another directory", dir.display())]
    Locked {
        /// The download directory.
        dir: PathBuf,
    },
    /// A bug of ours, a panic, ended the torrent.
    #[error("this is a bug of bt: {0} panicked; please report what was logged")]
    Bug(&'static str),
    /// A file of it cannot have that name.
    #[error("{0}")]
    Name(String),
    /// The torrent's data is not known yet, or is being checked.
    #[error("the torrent is being checked, or its metadata is missing; wait until it is active")]
    NotReady,
    /// This session has the torrent already.
    #[error("this torrent was added already; name it once")]
    Duplicate,
    /// The session is stopping.
    #[error("the session is stopping")]
    Stopping,
}

impl TorrentError {
    /// Returns the error's stable code in snake_case, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            TorrentError::Unsupported(_) => "unsupported",
            TorrentError::Metadata { code, .. } => code,
            TorrentError::Selection(_) | TorrentError::Name(_) => "usage",
            TorrentError::Foreign { .. } => "foreign",
            TorrentError::Gone { .. } => bt_types::StoreFault::Missing.name(),
            TorrentError::Owned { .. } => "owned",
            TorrentError::Store { fault, .. } => fault.name(),
            TorrentError::Locked { .. } => "locked",
            TorrentError::Bug(_) => "bug",
            TorrentError::NotReady => "not_ready",
            TorrentError::Duplicate => "duplicate",
            TorrentError::Stopping => "interrupted",
        }
    }

    /// Makes the error of a disk that failed at this path.
    pub(crate) fn store(path: &Path, error: &io::Error) -> TorrentError {
        TorrentError::Store {
            fault: fault_of(error),
            detail: format!("{}: {error}", path.display()),
        }
    }
}

impl From<OpenError> for TorrentError {
    fn from(error: OpenError) -> TorrentError {
        match error {
            OpenError::Foreign { path } => TorrentError::Foreign { path },
            OpenError::Gone { path } => TorrentError::Gone { path },
            OpenError::Owned { path, is_written } => TorrentError::Owned { path, is_written },
            OpenError::Store(error) => {
                TorrentError::Store { fault: error.fault(), detail: error.to_string() }
            }
            OpenError::Cancelled => TorrentError::Stopping,
        }
    }
}

/// Why a session or a DHT node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The listening socket failed.
    #[error("cannot listen{} ({transport}): {source}", .addr.map(|addr| format!(" at {addr}")).unwrap_or_default())]
    Listen {
        /// `TCP` or `UDP`.
        transport: &'static str,
        /// The address that was asked for.
        addr: Option<SocketAddr>,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused a thread or random numbers.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The TLS configuration is wrong.
    #[error(transparent)]
    Net(#[from] NetError),
}

/// The totals of a torrent that was stopped.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Bytes of the wanted pieces that were on disk and verified before the start.
    pub bytes_there: u64,
    /// The last status; `None` if the torrent never became active.
    pub status: Option<TorrentView>,
    /// The bytes exchanged with each peer.
    pub sources: Vec<SourceStat>,
    /// Why not everything was written and synced at the end: some reported pieces may not survive a
    /// power cut.
    pub unsaved: Option<Unsaved>,
}

/// Why something is not safe on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Unsaved {
    /// The cause.
    pub fault: bt_types::StoreFault,
    /// The file, and the system's error text.
    pub detail: String,
}
