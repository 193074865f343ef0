//! Why a command was not carried out.
//!
//! Decides: the kinds. Must not know: dialects, commands.
//! Invariant: a fault has words for a person.

/// Why a command was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The kind, for a status code.
    pub kind: FaultKind,
    /// What and why, in words for a person.
    pub message: String,
}

impl Fault {
    /// Makes a fault.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault { kind, message: message.into() }
    }
}

/// The kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The request does not say something that can be done.
    Invalid,
    /// There is no such torrent, file, category.
    NotFound,
    /// It is there already, or cannot be done now.
    Conflict,
    /// What should be a torrent file is none.
    NotATorrent,
    /// A server did not give the torrent file.
    Network,
    /// The disk refuses.
    Disk,
    /// The daemon stops, or a bug of ours.
    Internal,
}
