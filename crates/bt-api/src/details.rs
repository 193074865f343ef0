//! What an answer needs of single torrents beyond the list.
//!
//! Decides: which files are shown of a torrent that does not run.
//! Must not know: dialects, sessions.
//! Invariant: files are in the torrent's order, padding left out.

use crate::torrent::Torrent;
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

impl Details {
    /// Returns for each piece whether it is there; of no piece while that is not known.
    pub fn pieces_there(&self) -> impl Iterator<Item = bool> + '_ {
        self.pieces.iter().flat_map(|pieces| {
            let bit = |number: u32| {
                let byte = pieces.as_bytes().get(number as usize / 8).copied().unwrap_or(0);
                byte << (number % 8) & 0x80 != 0
            };
            (0..pieces.len()).map(bit)
        })
    }

    /// Returns the files of a torrent: those of its details, or what its file says while it does
    /// not run.
    pub fn files_of(details: Option<&Details>, torrent: &Torrent) -> Vec<File> {
        if let Some(details) = details.filter(|details| !details.files.is_empty()) {
            return details.files.clone();
        }
        let Some(metainfo) = &torrent.metainfo else { return Vec::new() };
        let info = &metainfo.info;
        let piece = u64::from(info.geometry.piece_length()).max(1);
        let narrow = |piece: u64| u32::try_from(piece).unwrap_or(u32::MAX);
        let file = |(number, file): (usize, &bt_metainfo::FileEntry)| {
            let first = file.offset / piece;
            let end = file.offset.saturating_add(file.length).div_ceil(piece).max(first);
            File {
                number,
                path: file.path.join("/"),
                length: file.length,
                bytes_done: 0,
                priority: torrent.record.settings.file(number),
                pieces: narrow(first)..narrow(end),
            }
        };
        info.files.iter().enumerate().filter(|(_, file)| file.is_stored()).map(file).collect()
    }
}
