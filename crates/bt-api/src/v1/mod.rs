//! The API of our own, at `/api/v1`: the model as JSON, and changes since a number of the sequence.
//!
//! Decides: the names and shapes of its JSON. Bytes and rates are integers, times are seconds since
//! 1970, what is unknown is `null`.
//! Must not know: HTTP, sessions.
//! Invariant: who knows a list and hears all changes since it has the list of now.

mod creation;
mod openapi;
mod request;
mod rows;

pub use creation::CreationRow;
pub use openapi::openapi;
pub use request::{Action, AddRequest, RequestError};
pub use rows::{
    FileRow, PeerRow, SessionRow, TorrentList, TorrentRow, TrackerRow, files, peers, pieces, row,
    session, torrents, trackers,
};
