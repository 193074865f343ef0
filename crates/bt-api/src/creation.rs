//! Torrents that the daemon makes of data on its machine.
//!
//! Decides: what a wish for one may say.
//! Must not know: dialects; how data is hashed.
//! Invariant: tasks are bounded; the oldest that ended is forgotten.

use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::Arc;

/// Most tasks that are remembered, and that are under way.
pub const CREATIONS_MAX: usize = 50;

/// What a torrent is to be made of, and how.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreationWish {
    /// The file or directory, an absolute path.
    pub source: PathBuf,
    /// Where the torrent file is written; `None`: it is only kept for who asks.
    pub file: Option<PathBuf>,
    /// Bytes of a piece; `None`: by the size.
    pub piece_length: Option<u32>,
    /// Trackers in tiers.
    pub trackers: Vec<Vec<String>>,
    /// URLs of web seeds.
    pub web_seeds: Vec<String>,
    /// Peers come from trackers only.
    pub private: bool,
    /// The `source` field.
    pub source_field: Option<String>,
    /// Free text.
    pub comment: Option<String>,
    /// The daemon seeds it once it is made.
    pub seed: bool,
}

/// A torrent that is made, or was.
#[derive(Clone, PartialEq, Debug)]
pub struct Creation {
    /// Its id.
    pub id: String,
    /// What was wished for.
    pub wish: CreationWish,
    /// When it was asked for, began and ended, in seconds since 1970; 0 for not yet.
    pub times: [u64; 3],
    /// How far it is.
    pub standing: CreationStanding,
}

/// How far a creation is.
#[derive(Clone, PartialEq, Debug)]
pub enum CreationStanding {
    /// It waits for another one.
    Queued,
    /// Its data is hashed: from 0 to 1.
    Running(f64),
    /// It is made: the bytes of the file, and the length of its pieces.
    Done(Arc<Vec<u8>>, u32),
    /// It could not be made.
    Failed(String),
}

impl Creation {
    /// Returns whether it is over.
    pub fn is_over(&self) -> bool {
        matches!(self.standing, CreationStanding::Done(..) | CreationStanding::Failed(_))
    }
}
