//! The results of commands that print one object.
//!
//! Decides: what each result tells.
//! Must not know: how a result is found.
//! Invariant: bytes are integers, info-hashes are hex, times are RFC 3339; what does not apply is
//! null and not left out.

use bt_api::Why;
use bt_api::v1::{FileRow, PeerRow, TorrentRow, TrackerRow};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// `bt create`.
#[derive(Serialize)]
pub(crate) struct Create<'a> {
    /// The file that was written.
    pub(crate) path: &'a str,
    pub(crate) name: &'a str,
    pub(crate) info_hash_v1: Option<String>,
    pub(crate) info_hash_v2: Option<String>,
    pub(crate) piece_length: u32,
    pub(crate) piece_count: u32,
    pub(crate) total_size: u64,
    pub(crate) files: usize,
    pub(crate) magnet: String,
    /// Files that were left out.
    pub(crate) skipped: Vec<String>,
    /// Files whose names not every system can store.
    pub(crate) renamed: Vec<String>,
}

/// `bt show`: a torrent, or what a magnet link says of one.
#[derive(Serialize)]
pub(crate) struct Show<'a> {
    pub(crate) name: Option<&'a str>,
    /// `"v1"`, `"v2"` or `"hybrid"`.
    pub(crate) format: Option<&'a str>,
    pub(crate) info_hash_v1: Option<String>,
    pub(crate) info_hash_v2: Option<String>,
    pub(crate) piece_length: Option<u32>,
    pub(crate) piece_count: Option<u32>,
    /// Bytes of all files, without padding.
    pub(crate) total_size: Option<u64>,
    pub(crate) private: Option<bool>,
    /// Tiers (BEP 12).
    pub(crate) trackers: Vec<Vec<&'a str>>,
    pub(crate) web_seeds: &'a [String],
    /// In the torrent's order, without padding.
    pub(crate) files: Option<Vec<ListedFile<'a>>>,
    pub(crate) creation_date: Option<String>,
    pub(crate) created_by: Option<&'a str>,
    pub(crate) comment: Option<&'a str>,
    pub(crate) source: Option<&'a str>,
    pub(crate) magnet: String,
    pub(crate) warnings: &'a [String],
    /// Left out for a torrent.
    #[serde(flatten)]
    pub(crate) link: Option<ShowLink>,
}

/// A file of a torrent.
#[derive(Serialize)]
pub(crate) struct ListedFile<'a> {
    /// The components of its path below the download directory.
    pub(crate) path: &'a [String],
    pub(crate) length: u64,
    /// Letters of BEP 47: `x` executable, `h` hidden, `l` link.
    pub(crate) attr: String,
}

/// What a magnet link says and a torrent does not.
#[derive(Serialize)]
pub(crate) struct ShowLink {
    /// `HOST:PORT` each.
    pub(crate) peers: Vec<String>,
    /// First and last number of each range of chosen files (BEP 53).
    pub(crate) select_only: Vec<[u32; 2]>,
}

/// `bt magnet`.
#[derive(Serialize)]
pub(crate) struct Magnet<'a> {
    pub(crate) magnet: &'a str,
}

/// `bt verify`.
#[derive(Serialize)]
pub(crate) struct Verify {
    pub(crate) complete: bool,
    pub(crate) pieces_good: u32,
    pub(crate) pieces_total: u32,
    /// Their numbers.
    pub(crate) pieces_bad: Vec<u32>,
    pub(crate) files_bad: Vec<BadFile>,
}

/// A file that is not as the torrent says.
#[derive(Serialize)]
pub(crate) struct BadFile {
    pub(crate) path: String,
    /// `"missing"`, `"wrong_length"` or `"bad"`.
    pub(crate) state: &'static str,
    /// Its length, where that is wrong.
    pub(crate) found_length: Option<u64>,
    /// The number of its bad pieces, where its length is right.
    pub(crate) bad_pieces: Option<u32>,
}

/// `bt announce` and `bt scrape`: what each tracker says.
#[derive(Serialize)]
pub(crate) struct TrackerAnswers<T> {
    pub(crate) info_hash: String,
    pub(crate) trackers: Vec<TrackerAnswer<T>>,
}

/// What one tracker says.
#[derive(Serialize)]
pub(crate) struct TrackerAnswer<T> {
    /// Without a password.
    pub(crate) url: String,
    /// Whether it answered.
    pub(crate) ok: bool,
    #[serde(flatten)]
    pub(crate) word: TrackerWord<T>,
}

/// The answer of a tracker, or why there is none.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum TrackerWord<T> {
    Answer(T),
    Error { error: String },
}

/// A tracker's answer to an announce. Times are in seconds.
#[derive(Serialize)]
pub(crate) struct AnnounceAnswer {
    pub(crate) interval: u32,
    pub(crate) min_interval: Option<u32>,
    pub(crate) seeders: Option<u32>,
    pub(crate) leechers: Option<u32>,
    pub(crate) peers: Vec<SocketAddr>,
    /// Our own address as the tracker sees it (BEP 24).
    pub(crate) external_ip: Option<IpAddr>,
    pub(crate) warning: Option<String>,
}

/// A tracker's answer to a scrape; null counts of a torrent that it does not know.
#[derive(Serialize)]
pub(crate) struct ScrapeAnswer {
    pub(crate) known: bool,
    pub(crate) seeders: Option<u32>,
    pub(crate) leechers: Option<u32>,
    /// Of the leechers, those that are no partial seeds (BEP 21).
    pub(crate) downloaders: Option<u32>,
    pub(crate) downloaded: Option<u32>,
}

/// `bt dht ping`.
#[derive(Serialize)]
pub(crate) struct DhtPing {
    pub(crate) verb: &'static str,
    pub(crate) addr: SocketAddr,
    pub(crate) id: String,
    /// Its client: two letters, and two bytes of version.
    pub(crate) version: Option<String>,
    /// Milliseconds until the answer.
    pub(crate) ms: f64,
}

/// `bt dht get-peers`, `get` and `put`: what a lookup found, and its cost.
#[derive(Serialize)]
pub(crate) struct DhtLookup {
    #[serde(flatten)]
    pub(crate) found: Found,
    /// Queries that were sent.
    pub(crate) queries: u32,
    /// Answers that arrived.
    pub(crate) answers: u32,
    /// Nodes that stored the announce or the item.
    pub(crate) stored: u32,
}

/// What a lookup found, by its `verb`.
#[derive(Serialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub(crate) enum Found {
    GetPeers {
        info_hash: String,
        peers: Vec<SocketAddr>,
        /// Null without `--scrape` (BEP 33).
        seeds_estimated: Option<u64>,
        leechers_estimated: Option<u64>,
    },
    Get {
        target: String,
        /// Null if the item is no text.
        value: Option<String>,
        /// The bencoded item in hex.
        encoded: String,
        /// Null of an immutable item (BEP 44), like `key`.
        seq: Option<i64>,
        key: Option<String>,
    },
    Put {
        target: String,
        key: Option<String>,
        seq: Option<i64>,
    },
}

/// `bt list --state`.
#[derive(Serialize)]
pub(crate) struct StateList {
    /// The state directory.
    pub(crate) state: String,
    pub(crate) torrents: Vec<Remembered>,
}

/// `bt forget`.
#[derive(Serialize)]
pub(crate) struct StateForgotten {
    pub(crate) forgotten: Vec<Remembered>,
}

/// A download that is remembered.
#[derive(Serialize)]
pub(crate) struct Remembered {
    pub(crate) info_hash: String,
    pub(crate) name: String,
    /// The download directory.
    pub(crate) dir: String,
    pub(crate) bytes_have: u64,
    pub(crate) bytes_total: u64,
}

/// `bt man`: the directory of the pages.
#[derive(Serialize)]
pub(crate) struct ManPages {
    pub(crate) dir: String,
}

/// `bt list`, `bt add` and `bt watch`: torrents of a daemon, as its API tells them.
#[derive(Serialize)]
pub(crate) struct DaemonList {
    pub(crate) torrents: Vec<TorrentRow>,
}

/// A torrent that was added to a daemon, as its API answers.
#[derive(Deserialize)]
pub(crate) struct Added {
    pub(crate) duplicate: bool,
    pub(crate) torrent: Option<TorrentRow>,
}

/// `bt import`.
#[derive(Serialize)]
pub(crate) struct Imported {
    pub(crate) dry_run: bool,
    /// Torrents that were added, or would be.
    pub(crate) added: usize,
    /// Torrents that the daemon had.
    pub(crate) present: usize,
    /// Torrents that were not imported.
    pub(crate) failed: usize,
    pub(crate) torrents: Vec<ImportedTorrent>,
}

/// A torrent of another client.
#[derive(Serialize)]
pub(crate) struct ImportedTorrent {
    /// The file in the other client's directory.
    pub(crate) from: String,
    /// Null of a file that was not read, like `name` and `dir`.
    pub(crate) info_hash: Option<String>,
    pub(crate) name: Option<String>,
    /// The directory that contains its name.
    pub(crate) dir: Option<String>,
    /// `added`, `present` or `failed`.
    pub(crate) outcome: &'static str,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// `bt info`; null for what was not asked for.
#[derive(Serialize)]
pub(crate) struct Info<'a> {
    pub(crate) torrent: &'a TorrentRow,
    pub(crate) files: Option<Vec<FileRow>>,
    pub(crate) peers: Option<Vec<PeerRow>>,
    pub(crate) trackers: Option<Vec<TrackerRow>>,
    /// Runs of pieces that are missing and there, by turns.
    pub(crate) pieces: Option<Vec<u32>>,
}

/// `bt pause`, `resume`, `check`, `remove`, `set`, `move`, `undo`: the info-hashes of the torrents.
#[derive(Serialize)]
pub(crate) struct Changed {
    pub(crate) torrents: Vec<String>,
}

/// `bt why`, and the answer of a process that it asks.
#[derive(Serialize, Deserialize)]
pub(crate) struct Reasons {
    pub(crate) torrents: Vec<TorrentWhy>,
}

/// Why a torrent is slow or waits.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct TorrentWhy {
    pub(crate) info_hash: String,
    pub(crate) name: String,
    /// The number of the `bt get` or `bt seed` that works on it; null for a daemon.
    pub(crate) process: Option<u32>,
    #[serde(flatten)]
    pub(crate) why: Why,
}
