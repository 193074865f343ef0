//! A torrent that is made, as JSON.
//!
//! Decides: nothing. Must not know: HTTP. Invariant: none.

use crate::creation::{Creation, CreationStanding};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// A torrent that is made, or was.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub struct CreationRow {
    /// Its id.
    pub id: String,
    /// The file or directory.
    pub source: PathBuf,
    /// Where the torrent file is written.
    pub file: Option<PathBuf>,
    /// `queued`, `running`, `done` or `failed`.
    pub state: &'static str,
    /// From 0 to 1.
    pub progress: f64,
    /// Why it failed.
    pub error: Option<String>,
}

impl CreationRow {
    /// Returns the row of a task.
    pub fn of(task: &Creation) -> CreationRow {
        let (state, progress, error) = match &task.standing {
            CreationStanding::Queued => ("queued", 0.0, None),
            CreationStanding::Running(progress) => ("running", *progress, None),
            CreationStanding::Done(..) => ("done", 1.0, None),
            CreationStanding::Failed(why) => ("failed", 0.0, Some(why.clone())),
        };
        CreationRow {
            id: task.id.clone(),
            source: task.wish.source.clone(),
            file: task.wish.file.clone(),
            state,
            progress,
            error,
        }
    }
}
