//! What the API is asked.
//!
//! Decides: what a request must say.
//! Must not know: HTTP.
//! Invariant: what is read here is in range; unknown keys are refused by name.

use crate::command::{Add, AddSource, Command, QueueMove, TorrentPatch};
use crate::import::Import;
use bt_types::InfoHash;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A request that does not say something that can be done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// Neither a link nor a path, or both.
    #[error(
        "give one of `source` (a magnet link or a URL) and `path` (a file on the daemon's machine)"
    )]
    Source,
    /// A directory that is not absolute.
    #[error("`dir` must be an absolute path, not {path}", path = .0.display())]
    Relative(PathBuf),
}

/// A torrent to add, as JSON.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AddRequest {
    /// A magnet link, an info-hash, or the URL of a torrent file.
    pub source: Option<String>,
    /// A torrent file on the daemon's machine.
    pub path: Option<PathBuf>,
    /// The directory that contains its name.
    pub dir: Option<PathBuf>,
    /// Whether it starts.
    pub start: Option<bool>,
    /// Trust its data without hashing it.
    pub trust_data: bool,
    /// Peers to begin with.
    pub peers: Vec<SocketAddr>,
    /// What the user wants of it.
    pub settings: TorrentPatch,
    /// What another client knew of it.
    pub import: Option<Import>,
}

impl AddRequest {
    /// Returns the command, for a torrent file that came with the request or for what it names.
    pub fn command(self, file: Option<Vec<u8>>) -> Result<Command, RequestError> {
        let source = match (file, self.source, self.path) {
            (Some(bytes), None, None) => AddSource::Bytes(bytes),
            (None, Some(link), None) => AddSource::Link(link),
            (None, None, Some(path)) => AddSource::Path(path),
            _ => return Err(RequestError::Source),
        };
        if let Some(dir) = &self.dir
            && !dir.is_absolute()
        {
            return Err(RequestError::Relative(dir.clone()));
        }
        let incomplete = self.import.as_ref().and_then(|import| import.incomplete_dir.as_ref());
        if let Some(dir) = incomplete.filter(|dir| !dir.is_absolute()) {
            return Err(RequestError::Relative(dir.clone()));
        }
        Ok(Command::Add(Box::new(Add {
            import: self.import,
            dir: self.dir,
            start: self.start,
            trust_data: self.trust_data,
            patch: self.settings,
            peers: self.peers,
            ..Add::new(source)
        })))
    }
}

/// Something to do with torrents, as JSON: `{"check": {}}`.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Hash all data again.
    Check {},
    /// Ask for peers.
    Reannounce {},
    /// Move the data.
    Move {
        /// The directory that will contain the torrent's name.
        dir: PathBuf,
        /// The data moves; else it is expected there.
        #[serde(default = "yes")]
        move_data: bool,
    },
    /// Give a file another path.
    RenameFile {
        /// Its number.
        file: usize,
        /// The new path, the torrent's name first.
        path: String,
    },
    /// Give the directory of its files another name.
    RenameTop {
        /// The name.
        name: String,
    },
    /// Move in the queue.
    Queue(QueueMove),
    /// Connect to these peers.
    AddPeers(Vec<SocketAddr>),
}

fn yes() -> bool {
    true
}

impl Action {
    /// Returns the command for a torrent.
    pub fn command(self, torrent: InfoHash) -> Result<Command, RequestError> {
        let torrents = vec![torrent];
        Ok(match self {
            Action::Check {} => Command::Check(torrents),
            Action::Reannounce {} => Command::Reannounce(torrents),
            Action::Move { dir, .. } if !dir.is_absolute() => {
                return Err(RequestError::Relative(dir));
            }
            Action::Move { dir, move_data } => Command::Move { torrents, dir, move_data },
            Action::RenameFile { file, path } => Command::RenameFile { torrent, file, path },
            Action::RenameTop { name } => Command::RenameTop(torrent, name),
            Action::Queue(to) => Command::Queue(torrents, to),
            Action::AddPeers(peers) => Command::AddPeers(torrents, peers),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addition_names_one_source() {
        let read = |text: &str| serde_json::from_str::<AddRequest>(text).expect("a request");
        let link = read(r#"{"source":"magnet:?xt=urn:btih:x","dir":"/data","start":false}"#);
        let Ok(Command::Add(add)) = link.clone().command(None) else { panic!("an addition") };
        assert_eq!(add.source, AddSource::Link("magnet:?xt=urn:btih:x".into()));
        assert_eq!((add.dir, add.start), (Some("/data".into()), Some(false)));
        assert_eq!(link.command(Some(vec![1])), Err(RequestError::Source));
        assert_eq!(read("{}").command(None), Err(RequestError::Source));
        let relative = read(r#"{"source":"magnet:?","dir":"data"}"#).command(None);
        assert_eq!(relative, Err(RequestError::Relative("data".into())));
    }

    #[test]
    fn an_action_is_one_key() {
        let read = |text: &str| serde_json::from_str::<Action>(text);
        assert_eq!(read(r#"{"check":{}}"#).expect("an action"), Action::Check {});
        let moved = read(r#"{"move":{"dir":"/data"}}"#).expect("an action");
        assert_eq!(moved, Action::Move { dir: "/data".into(), move_data: true });
        assert_eq!(read(r#"{"queue":"top"}"#).expect("an action"), Action::Queue(QueueMove::Top));
        assert!(read(r#"{"run":"sh"}"#).is_err());
    }
}
