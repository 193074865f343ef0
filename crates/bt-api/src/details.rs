//! What an answer needs of single torrents beyond the list.
//!
//! Decides: nothing. Must not know: dialects, sessions.
//! Invariant: values only.

use bt_model::{PeerView, Priority, TrackerView};
use bt_types::{Bitfield, InfoHash};
use std::ops::Range;

/// Which details of which torrents an answer needs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Of these torrents.
    pub torrents: Vec<InfoHash>,
    /// Their files.
    pub files: bool,
    /// Their peers.
    pub peers: bool,
    /// Their trackers.
    pub trackers: bool,
    /// Their pieces.
    pub pieces: bool,
}

impl Needs {
    /// Returns whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.torrents.is_empty() || !(self.files || self.peers || self.trackers || self.pieces)
    }
}

/// The details of one torrent. What was not asked for is empty.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Details {
    /// Its files without padding files, in the torrent's order.
    pub files: Vec<File>,
    /// Its peers.
    pub peers: Vec<PeerView>,
    /// Its trackers.
    pub trackers: Vec<TrackerView>,
    /// The pieces that are there.
    pub pieces: Option<Bitfield>,
}

/// A file of a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Its number in the torrent's own list, padding files counted.
    pub number: usize,
    /// Its path below the torrent's directory, with the torrent's name first.
    pub path: String,
    /// Its length in bytes.
    pub length: u64,
    /// Bytes of it in verified pieces.
    pub bytes_done: u64,
    /// How much the user wants it.
    pub priority: Priority,
    /// The pieces that hold a byte of it.
    pub pieces: Range<u32>,
}
