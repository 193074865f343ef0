//! The events of long commands: `get`, `seed`, `demo`, `tracker` and `dht node`.
//!
//! Decides: what each event tells, and its name.
//! Must not know: when an event happens.
//! Invariant: bytes and rates are integers, rates in bytes per second; info-hashes are hex.

use bt_session::Panics;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// An event, in the order in which a torrent has them.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Event<'a> {
    /// The data of a torrent on the disk is being checked.
    Checking {
        name: &'a str,
        info_hash: &'a str,
        /// Bytes of the wanted pieces.
        bytes_total: u64,
    },
    /// The metadata of a magnet link arrived and can be used.
    Metadata {
        info_hash: &'a str,
        name: &'a str,
        /// Bytes of the metadata.
        bytes: usize,
        /// Bytes of all files, without padding.
        total_size: u64,
        piece_length: u32,
        piece_count: u32,
        /// Number of files, without padding.
        files: usize,
        private: bool,
    },
    /// Sockets are bound, and the data was checked.
    Ready(Ready<'a>),
    /// The figures changed.
    Progress(Progress<'a>),
    /// A download is slow or waits, or a tracker failed or warns.
    Reason {
        info_hash: &'a str,
        /// A stable name in snake_case.
        reason: &'a str,
        /// The last error of a tracker or the disk, for people.
        detail: Option<&'a str>,
        /// Null in what is said of a tracker.
        down_rate: Option<u64>,
    },
    /// All wanted bytes are verified and written.
    Complete(Complete<'a>),
    /// A torrent or the command failed.
    Error(Failed<'a>),
    /// The command ends before its work is done, or a service ends.
    Stopped {
        /// `"signal"` for torrents, left out for services.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    /// The last event: of each torrent, or of the command.
    Summary(Summary<'a>),
}

impl Event<'_> {
    /// Returns the value of the key `event`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Event::Checking { .. } => "checking",
            Event::Metadata { .. } => "metadata",
            Event::Ready(_) => "ready",
            Event::Progress(_) => "progress",
            Event::Reason { .. } => "reason",
            Event::Complete(_) => "complete",
            Event::Error(_) => "error",
            Event::Stopped { .. } => "stopped",
            Event::Summary(_) => "summary",
        }
    }
}

/// What is ready.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Ready<'a> {
    /// `bt get`: the addresses at which it listens for peers.
    Get { listen: &'a [SocketAddr] },
    /// `bt seed`: the same, and the link of each torrent that is not private.
    Seed { listen: &'a [SocketAddr], magnets: &'a [&'a str] },
    /// `bt tracker`: its announce URLs.
    Tracker { listen: &'a [String] },
    /// `bt daemon`: the URL of its APIs, and the addresses at which it listens for peers.
    Daemon { api: &'a str, listen: &'a [SocketAddr] },
    /// `bt dht node`: its UDP addresses.
    Node { verb: &'a str, listen: &'a [SocketAddr] },
    /// `bt demo`: the tracker's address, and the number of leechers.
    Demo { tracker: SocketAddr, leechers: u8 },
}

/// The figures of a torrent.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Progress<'a> {
    /// The metadata of a magnet link is being fetched: `phase` is `"metadata"`.
    Metadata {
        info_hash: &'a str,
        phase: &'a str,
        bytes_done: u64,
        /// Null: it is not known yet.
        bytes_total: Option<u64>,
        peers: usize,
        metadata_done: u64,
        /// Null until a peer says it; it may be a lie.
        metadata_total: Option<u32>,
    },
    /// `phase` is `"download"`, or `"seed"` once every wanted byte is there.
    Torrent {
        info_hash: &'a str,
        phase: &'a str,
        /// Bytes of the wanted pieces that are verified and written, and of all wanted pieces.
        bytes_done: u64,
        bytes_total: u64,
        /// Payload since the torrent was added.
        bytes_down: u64,
        bytes_up: u64,
        down_rate: u64,
        up_rate: u64,
        /// Connected peers, and those of them that have everything.
        peers: usize,
        seeds: usize,
        panics: PanicCounts,
    },
    /// A leecher of `bt demo`.
    Leecher {
        name: &'a str,
        bytes_done: u64,
        bytes_total: u64,
        down_rate: u64,
        up_rate: u64,
        peers: usize,
    },
}

/// What is complete.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Complete<'a> {
    Torrent {
        info_hash: &'a str,
        name: &'a str,
    },
    /// Every copy of `bt demo` was compared with the torrent.
    Demo {
        verified: bool,
    },
}

/// The totals.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Summary<'a> {
    /// A torrent of `bt get` or `bt seed`.
    Torrent {
        info_hash: &'a str,
        name: &'a str,
        complete: bool,
        bytes_total: u64,
        /// Bytes that were on the disk at the start.
        bytes_there: u64,
        bytes_downloaded: u64,
        bytes_uploaded: u64,
        /// Bytes that were wrong, late or received twice.
        bytes_wasted: u64,
        peers_banned: u32,
        pieces_bad: u32,
        panics: PanicCounts,
        /// Of the downloaded bytes, those of peers that did not have everything.
        bytes_from_leechers: u64,
        sources: Vec<SourceBytes<'a>>,
    },
    /// `bt get --metadata-only`: the file that was written.
    MetadataOnly {
        info_hash: Option<&'a str>,
        name: &'a str,
        complete: bool,
        metadata_only: bool,
        path: &'a str,
    },
    /// `bt tracker`.
    Tracker { torrents: usize, peers: usize, announces: u64, scrapes: u64 },
    /// `bt dht node`: what it knows, and datagrams that it received and sent.
    Node { nodes: usize, torrents: usize, received: u64, sent: u64 },
    /// `bt demo`: its time, and how many bytes each client got from which other.
    Demo { seconds: f64, received: Vec<Received<'a>> },
}

impl<'a> Summary<'a> {
    /// Makes the summary of `bt get --metadata-only` for a torrent that was written to `path`.
    pub(crate) fn metadata_only(
        info_hash: Option<&'a str>,
        name: &'a str,
        path: &'a str,
    ) -> Summary<'a> {
        Summary::MetadataOnly { info_hash, name, complete: true, metadata_only: true, path }
    }
}

/// The payload that moved between us and one peer.
#[derive(Serialize)]
pub(crate) struct SourceBytes<'a> {
    pub(crate) addr: SocketAddr,
    /// The name and version of its client, if it says so.
    pub(crate) client: Option<&'a str>,
    pub(crate) bytes_down: u64,
    /// Of these, what it sent before it had everything.
    pub(crate) bytes_down_from_leecher: u64,
    pub(crate) bytes_up: u64,
}

/// What a client of `bt demo` got: bytes by sender.
#[derive(Serialize)]
pub(crate) struct Received<'a> {
    pub(crate) name: &'a str,
    pub(crate) from: BTreeMap<&'a str, u64>,
}

/// Why a command or a torrent failed.
#[derive(Serialize)]
pub(crate) struct Failed<'a> {
    /// A stable name in snake_case.
    pub(crate) code: &'a str,
    /// For people.
    pub(crate) message: &'a str,
}

/// How often a bug of ours was contained since the process started. All zero without bugs.
#[derive(Serialize)]
pub(crate) struct PanicCounts {
    connections: u64,
    engines: u64,
    others: u64,
}

impl From<Panics> for PanicCounts {
    fn from(panics: Panics) -> PanicCounts {
        let Panics { connections, engines, others } = panics;
        PanicCounts { connections, engines, others }
    }
}
