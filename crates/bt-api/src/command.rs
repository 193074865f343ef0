//! What a request asks the daemon to do.
//!
//! Decides: nothing. Must not know: dialects, sessions.
//! Invariant: a command names its torrents by info-hash; what the state refuses is never a command.

use crate::creation::CreationWish;
use crate::import::Import;
use crate::rss::RssCommand;
use crate::seed_limits::Limit;
use crate::seed_limits::SeedAction;
use crate::settings::Category;
use crate::torrent::StopOn;
use bt_model::{PieceOrder, Priority, TorrentSettings};
use bt_types::InfoHash;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// One thing that the daemon shall do.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Add a torrent.
    Add(Box<Add>),
    /// Remove torrents, with their data or without.
    Remove(Vec<InfoHash>, /** with their data */ bool),
    /// Change what is wanted of torrents.
    Change(Vec<InfoHash>, Box<TorrentPatch>),
    /// Hash all data again.
    Check(Vec<InfoHash>),
    /// Ask trackers, DHT and the local network for peers.
    Reannounce(Vec<InfoHash>),
    /// Move the data to this directory; or, without `move_data`, look for it there.
    Move {
        /// The torrents.
        torrents: Vec<InfoHash>,
        /// The directory that will contain their names.
        dir: PathBuf,
        /// The data moves; else it is expected there.
        move_data: bool,
    },
    /// Give a file another path below the torrent's directory.
    RenameFile {
        /// The torrent.
        torrent: InfoHash,
        /// The file's number in the torrent's list.
        file: usize,
        /// The new path, the torrent's name first.
        path: String,
    },
    /// Give the directory of a torrent's files another name.
    RenameTop(InfoHash, String),
    /// Move torrents in the queue.
    Queue(Vec<InfoHash>, QueueMove),
    /// Connect to these peers.
    AddPeers(Vec<InfoHash>, Vec<SocketAddr>),
    /// Change the daemon's settings: a merge patch (RFC 7396) of their JSON.
    Settings(serde_json::Value),
    /// Make or change a category; `None` removes it, and takes it from its torrents.
    Category(String, Option<Category>),
    /// Make tags.
    AddTags(BTreeSet<String>),
    /// Remove tags, also from their torrents.
    RemoveTags(BTreeSet<String>),
    /// Change feeds and their rules.
    Rss(RssCommand),
    /// Have nothing more to do with these addresses.
    Ban(Vec<IpAddr>),
    /// Fetch the blocklist now.
    UpdateBlocklist,
    /// Make a torrent of data on the daemon's machine.
    Create(Box<CreationWish>),
    /// Forget a torrent that is made, or stop making it.
    ForgetCreation(String),
    /// Take back the last removal without data, move or change.
    Undo,
    /// End the daemon.
    Stop,
}

/// A torrent to add.
#[derive(Clone, PartialEq, Debug)]
pub struct Add {
    /// Where it comes from.
    pub source: AddSource,
    /// The directory that contains its name; `None`: that of its category, or the default.
    pub dir: Option<PathBuf>,
    /// Whether it starts; `None`: as the daemon's settings say.
    pub start: Option<bool>,
    /// Trust its data without hashing it.
    pub trust_data: bool,
    /// What the user wants of it beyond its defaults.
    pub patch: TorrentPatch,
    /// Peers to begin with.
    pub peers: Vec<SocketAddr>,
    /// It comes first in the queue.
    pub to_top: bool,
    /// When it stops by itself.
    pub stop_on: Option<StopOn>,
    /// What another client knew of it.
    pub import: Option<Import>,
}

impl Add {
    /// Returns the addition of this torrent by all defaults.
    pub fn new(source: AddSource) -> Add {
        Add {
            source,
            dir: None,
            start: None,
            trust_data: false,
            patch: TorrentPatch::default(),
            peers: Vec::new(),
            to_top: false,
            stop_on: None,
            import: None,
        }
    }
}

/// Where a torrent comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddSource {
    /// The bytes of a torrent file.
    Bytes(Vec<u8>),
    /// A magnet link, or the URL of a torrent file.
    Link(String),
    /// The same, as the server at this address names it: it leads to no other network than the
    /// server's.
    Heard(String, Option<IpAddr>),
    /// A torrent file on the daemon's machine.
    Path(PathBuf),
}

/// Changes to what is wanted of a torrent. What is `None` stays.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TorrentPatch {
    /// It is started, or stopped.
    pub running: Option<bool>,
    /// It runs whatever the queue says.
    pub forced: Option<bool>,
    /// Its limit from peers in bytes per second; `null` for none.
    #[serde(deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub down_limit: Option<Option<u64>>,
    /// Its limit to peers in bytes per second; `null` for none.
    #[serde(deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub up_limit: Option<Option<u64>>,
    /// The order of its pieces.
    pub order: Option<PieceOrder>,
    /// The priorities of files by number.
    pub files: Vec<(usize, Priority)>,
    /// Its trackers in tiers; `null` for those of its file.
    #[serde(deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub trackers: Option<Option<Vec<Vec<String>>>>,
    /// Its most connections; `null` for the limit of all torrents.
    #[serde(deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub peers_max: Option<Option<u32>>,
    /// Its name; `null` for that of its file.
    #[serde(deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub name: Option<Option<String>>,
    /// Its category; empty for none.
    pub category: Option<String>,
    /// All its tags.
    pub tags: Option<BTreeSet<String>>,
    /// Tags that it gets.
    pub add_tags: BTreeSet<String>,
    /// Tags that it loses.
    pub remove_tags: BTreeSet<String>,
    /// Its seed limits.
    pub seed_limits: SeedLimitsPatch,
    /// It lies where its category says, and moves with that.
    pub auto_dir: Option<bool>,
    /// The first and the last piece of each file come before others.
    pub first_last: Option<bool>,
    /// The group whose limits it shares; empty for none.
    pub group: Option<String>,
    /// The user's comment; `null` for that of its file.
    #[serde(deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub comment: Option<Option<String>>,
}

/// Changes to the seed limits of a torrent. What is `None` stays.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SeedLimitsPatch {
    /// The ratio.
    pub ratio: Option<Limit<f64>>,
    /// Minutes of seeding.
    pub minutes: Option<Limit<u64>>,
    /// Minutes without sending payload.
    pub idle_minutes: Option<Limit<u64>>,
    /// What happens then; `null` as for all torrents.
    #[serde(deserialize_with = "some", skip_serializing_if = "Option::is_none")]
    pub action: Option<Option<SeedAction>>,
}

impl TorrentPatch {
    /// Returns the settings of a session's torrent with these changes.
    pub fn apply_to(&self, settings: &mut TorrentSettings) {
        set(&mut settings.running, self.running);
        set(&mut settings.limits.down, self.down_limit);
        set(&mut settings.limits.up, self.up_limit);
        set(&mut settings.order, self.order);
        set(&mut settings.peers_max, self.peers_max);
        set(&mut settings.trackers, self.trackers.clone());
        for (number, priority) in &self.files {
            settings.set_file(*number, *priority);
        }
    }
}

/// Takes a value that is to change.
pub(crate) fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Reads a key that is there, also as `null`.
fn some<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(from).map(Some)
}

/// How torrents move in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueMove {
    /// To its begin.
    Top,
    /// One place towards its begin.
    Up,
    /// One place towards its end.
    Down,
    /// To its end.
    Bottom,
    /// To this place, counted from 0.
    To(u32),
}

/// What a command did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CommandReply {
    /// The torrent that was added, or was there already.
    pub torrent: Option<InfoHash>,
    /// It was there already.
    pub duplicate: bool,
    /// The id of a torrent that is being made.
    pub creation: Option<String>,
    /// The ranges of the blocklist that was fetched.
    pub count: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_model::Rates;

    #[test]
    fn a_patch_tells_nothing_from_null_from_a_value() {
        let patch: TorrentPatch =
            serde_json::from_str(r#"{"down_limit":5,"up_limit":null,"files":[[1,"skip"]]}"#)
                .expect("a patch");
        let mut settings = TorrentSettings {
            limits: Rates { up: Some(9), down: Some(9) },
            peers_max: Some(3),
            ..TorrentSettings::default()
        };
        patch.apply_to(&mut settings);
        assert_eq!(settings.limits, Rates { up: None, down: Some(5) });
        assert_eq!((settings.peers_max, settings.file(1)), (Some(3), Priority::Skip));
        let wrong = serde_json::from_str::<TorrentPatch>(r#"{"down":5}"#);
        assert!(wrong.expect_err("no such key").to_string().contains("unknown field `down`"));
    }
}
