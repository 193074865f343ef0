//! What other clients keep of their torrents, read as additions.
//!
//! Decides: what of another client's notes is taken, and how it is said to a daemon.
//! Must not know: disks, HTTP.
//! Invariant: what is read here is a claim: the daemon looks at the data before it believes it.

mod fields;
mod names;
pub mod qbittorrent;
pub mod transmission;

use crate::v1::AddRequest;
use bt_metainfo::Metainfo;
use bt_types::{Bitfield, Geometry, InfoHash};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Most files of a torrent that may have other names than it says.
pub const NAMES_MAX: usize = 10_000;

/// What another client knew of a torrent, beyond what the user wants of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Import {
    /// When it was added, in seconds since 1970.
    pub added: Option<u64>,
    /// When it was complete.
    pub completed: Option<u64>,
    /// When payload last came or went.
    pub active: Option<u64>,
    /// Payload bytes sent.
    pub bytes_up: u64,
    /// Payload bytes received.
    pub bytes_down: u64,
    /// Seconds of downloading.
    pub seconds_down: u64,
    /// Seconds of seeding.
    pub seconds_seeding: u64,
    /// Files with another path below its directory than the torrent says, by number.
    pub names: BTreeMap<usize, PathBuf>,
    /// Where its data may lie while it is incomplete.
    pub incomplete_dir: Option<PathBuf>,
    /// With what the name of a file may end while it is incomplete.
    pub suffix: Option<String>,
    /// Which pieces are there.
    pub claim: Option<DataClaim>,
}

/// Which pieces are there, by the word of another program.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DataClaim {
    /// Runs of pieces that are missing and there, by turns.
    pub pieces: Vec<u32>,
    /// When each file was last written, in torrent order; one that is not known is not believed.
    pub written: Vec<Option<Written>>,
}

/// When a file was last written, in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Written {
    /// In this second.
    At(i64),
    /// In this second or earlier.
    By(i64),
}

impl DataClaim {
    /// Makes a claim of pieces.
    fn new(pieces: impl Iterator<Item = bool>, written: Vec<Option<Written>>) -> DataClaim {
        DataClaim { pieces: runs(pieces), written }
    }

    /// Returns the pieces, for a torrent with this many; `None` if the claim is of more.
    pub fn have(&self, geometry: &Geometry) -> Option<Bitfield> {
        let mut have = Bitfield::empty(geometry.piece_count());
        let (mut at, mut is_there) = (0_u32, false);
        for run in &self.pieces {
            let end = at.checked_add(*run).filter(|end| *end <= geometry.piece_count())?;
            if is_there {
                for piece in (at..end).filter_map(|number| geometry.piece(number)) {
                    have.insert(piece);
                }
            }
            (at, is_there) = (end, !is_there);
        }
        Some(have)
    }
}

/// Returns pieces as runs, `[missing, there, missing, …]`.
pub(crate) fn runs(pieces: impl Iterator<Item = bool>) -> Vec<u32> {
    let mut runs = vec![0];
    let mut was_there = false;
    for is_there in pieces {
        if is_there != was_there {
            runs.push(0);
            was_there = is_there;
        }
        if let Some(run) = runs.last_mut() {
            *run += 1;
        }
    }
    runs
}

/// A torrent that was found in another client.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// Its info-hash.
    pub hash: InfoHash,
    /// Its name.
    pub name: String,
    /// Its file; `None` where the request has its link.
    pub file: Option<Vec<u8>>,
    /// The addition.
    pub request: AddRequest,
}

/// Why a torrent of another client was not read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImportError {
    /// What the client kept is not bencoded.
    #[error("it is damaged: {0}")]
    Bencode(bt_bencoding::ScanError),
    /// Its torrent file is not valid.
    #[error("its torrent file is not valid: {0}")]
    Torrent(bt_metainfo::MetainfoError),
    /// Its link is not valid.
    #[error("its link is not valid: {0}")]
    Link(bt_metainfo::MagnetError),
    /// It has no info-hash of version 1.
    #[error("it is a torrent of version 2 alone, which cannot be transferred yet")]
    Version2,
    /// There is neither a torrent file nor an info-hash.
    #[error("there is neither its torrent file nor its info-hash")]
    NoTorrent,
    /// It is of another torrent than the file beside it.
    #[error("it belongs to another torrent than the file beside it")]
    OtherTorrent,
    /// It does not say where the data is.
    #[error("it does not say where its data is")]
    NoPath,
    /// Its path is relative.
    #[error("its data is at {path}, which is no absolute path: move it there first, or add it by \
             hand", path = .0.display())]
    Relative(PathBuf),
    /// Too many of its files have other names.
    #[error("more than {NAMES_MAX} of its files have other names than it says")]
    Names,
}

/// The torrent itself, of either form.
enum Source {
    File(Box<Metainfo>, Vec<u8>),
    Link(bt_metainfo::Magnet),
}

impl Source {
    fn hash(&self) -> Result<InfoHash, ImportError> {
        let hashes = match self {
            Source::File(metainfo, _) => &metainfo.info_hashes,
            Source::Link(magnet) => &magnet.info_hashes,
        };
        hashes.v1.ok_or(ImportError::Version2)
    }

    fn metainfo(&self) -> Option<&Metainfo> {
        match self {
            Source::File(metainfo, _) => Some(metainfo),
            Source::Link(_) => None,
        }
    }

    /// Returns the trackers if they are others than those of the torrent itself.
    fn other_trackers(&self, tiers: Vec<Vec<String>>) -> Option<Option<Vec<Vec<String>>>> {
        match self {
            Source::File(metainfo, _) if tiers != metainfo.trackers => Some(Some(tiers)),
            _ => None,
        }
    }

    fn found(self, name: Option<String>, mut request: AddRequest) -> Result<Found, ImportError> {
        let hash = self.hash()?;
        let own = match &self {
            Source::File(metainfo, _) => Some(metainfo.info.name.clone()),
            Source::Link(magnet) => magnet.name.clone(),
        };
        let name = name.filter(|name| !name.is_empty());
        if name.is_some() && name != own {
            request.settings.name = Some(name.clone());
        }
        let file = match self {
            Source::File(_, bytes) => Some(bytes),
            Source::Link(magnet) => {
                request.source = Some(magnet.to_string());
                None
            }
        };
        let name = name.or(own).unwrap_or_else(|| hash.to_string());
        Ok(Found { hash, name, file, request })
    }
}

#[cfg(test)]
mod tests;
