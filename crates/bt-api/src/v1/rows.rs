//! What the API answers.
//!
//! Decides: the rows of its lists.
//! Must not know: how they are sent.
//! Invariant: a row is a function of the state alone.

use crate::details::Details;
use crate::state::DaemonState;
use crate::torrent::{Phase, Torrent};
use crate::tracker_url::host;
use bt_model::{PeerView, PieceOrder, Priority, SlowReason, TrackerStanding, TrackerView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

/// A word of ours, which is not copied, or one that was read.
type Word = Cow<'static, str>;

/// The torrents that changed since a number of the sequence.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TorrentList {
    /// The number to ask with next time.
    pub sequence: u64,
    /// It has all torrents: what who asked knew before is not true any more.
    pub full: bool,
    /// Torrents that are new or changed.
    pub torrents: Vec<TorrentRow>,
    /// Info-hashes of torrents that went.
    pub removed: Vec<String>,
}

/// A torrent in a list.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TorrentRow {
    /// Its number, while this process runs.
    pub id: u64,
    /// Its info-hash.
    pub hash: String,
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub state: StateRow,
    /// Sizes and progress.
    #[serde(flatten)]
    pub progress: ProgressRow,
    /// Rates and sums.
    #[serde(flatten)]
    pub transfer: TransferRow,
    /// Peers.
    #[serde(flatten)]
    pub swarm: SwarmRow,
    /// What the user said of it.
    #[serde(flatten)]
    pub wanted: WantedRow,
}

/// What a torrent does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StateRow {
    /// `stopped`, `queued`, `checking`, `metadata`, `downloading`, `seeding`, `moving` or `failed`.
    pub state: Word,
    /// Why it failed.
    pub error: Option<String>,
    /// Why it is slow or stands still.
    pub reason: Option<Word>,
}

/// Sizes and progress of a torrent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProgressRow {
    /// Bytes of all files.
    pub size: u64,
    /// Bytes that are wanted.
    pub bytes_wanted: u64,
    /// Bytes of these that are verified and written.
    pub bytes_done: u64,
    /// From 0 to 1; of the check while it is checked, of the metadata while that is fetched.
    pub progress: f64,
    /// Seconds until it is complete.
    pub eta: Option<u64>,
    /// All that is wanted is there.
    pub complete: bool,
}

/// Rates and sums of a torrent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TransferRow {
    /// Payload bytes per second from peers.
    pub down_rate: u64,
    /// Payload bytes per second to peers.
    pub up_rate: u64,
    /// Payload bytes received, over all runs.
    pub bytes_down: u64,
    /// Payload bytes sent, over all runs.
    pub bytes_up: u64,
    /// Bytes sent for each received.
    pub ratio: Option<f64>,
}

/// The peers of a torrent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SwarmRow {
    /// Connected peers.
    pub peers: usize,
    /// Connected peers that have everything.
    pub seeds: usize,
    /// Seeders of the swarm, as trackers count.
    pub swarm_seeders: Option<u32>,
    /// Leechers of the swarm, as trackers count.
    pub swarm_leechers: Option<u32>,
    /// The host of its first tracker, or of one that works.
    pub tracker: String,
    /// What a tracker that refuses says.
    pub tracker_trouble: Option<String>,
}

/// What the user said of a torrent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WantedRow {
    /// Its category; empty for none.
    pub category: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Its place in the queue, from 0.
    pub queue: u32,
    /// It runs whatever the queue says.
    pub forced: bool,
    /// The directory that contains its name.
    pub dir: String,
    /// Its own limit from peers.
    pub down_limit: Option<u64>,
    /// Its own limit to peers.
    pub up_limit: Option<u64>,
    /// The order of its pieces.
    pub order: PieceOrder,
    /// When it was added.
    pub added: u64,
    /// When it was complete.
    pub completed: Option<u64>,
    /// It uses trackers alone.
    pub private: bool,
}

/// Returns the torrents that changed since a number of the sequence; all of them for `None`.
pub fn torrents(state: &DaemonState, since: Option<u64>) -> TorrentList {
    let known = since.and_then(|since| state.since(since));
    let full = known.is_none();
    let (changed, removed) = known.unwrap_or_else(|| (state.torrents().collect(), Vec::new()));
    TorrentList {
        sequence: state.sequence(),
        full,
        torrents: changed.into_iter().map(|torrent| row(torrent)).collect(),
        removed: removed.iter().map(|removed| removed.hash.to_string()).collect(),
    }
}

/// Returns a torrent as a row.
pub fn row(torrent: &Torrent) -> TorrentRow {
    let record = &torrent.record;
    let view = torrent.live.view.as_deref();
    let totals = torrent.totals();
    TorrentRow {
        id: torrent.number,
        hash: torrent.hash.to_string(),
        name: torrent.name(),
        state: state_row(torrent),
        progress: ProgressRow {
            size: torrent.size(),
            bytes_wanted: torrent.wanted(),
            bytes_done: torrent.done(),
            progress: shown_progress(torrent),
            eta: torrent.eta(),
            complete: torrent.is_done(),
        },
        transfer: TransferRow {
            down_rate: view.map_or(0, |view| view.down_rate),
            up_rate: view.map_or(0, |view| view.up_rate),
            bytes_down: totals.down,
            bytes_up: totals.up,
            ratio: torrent.ratio(),
        },
        swarm: swarm_row(torrent),
        wanted: WantedRow {
            category: record.labels.category.clone(),
            tags: record.labels.tags.clone(),
            queue: torrent.live.rank,
            forced: record.queue.forced,
            dir: text(&record.dir),
            down_limit: record.settings.limits.down,
            up_limit: record.settings.limits.up,
            order: record.settings.order,
            added: record.dates.added,
            completed: record.dates.completed,
            private: torrent.metainfo.as_ref().is_some_and(|metainfo| metainfo.private),
        },
    }
}

fn state_row(torrent: &Torrent) -> StateRow {
    let (state, error) = match &torrent.live.phase {
        Phase::Stopped => ("stopped", None),
        Phase::Queued => ("queued", None),
        Phase::Checking { .. } => ("checking", None),
        Phase::Metadata(_) => ("metadata", None),
        Phase::Downloading => ("downloading", None),
        Phase::Seeding => ("seeding", None),
        Phase::Moving => ("moving", None),
        Phase::Failed(why) => ("failed", Some(why.clone())),
    };
    let error = error.or_else(|| torrent.live.move_trouble.clone());
    let slow = torrent.live.view.as_ref().and_then(|view| view.slow);
    StateRow { state: state.into(), error, reason: slow.map(|slow| reason(slow).into()) }
}

fn reason(slow: SlowReason) -> &'static str {
    match slow {
        SlowReason::Paused => "paused",
        SlowReason::Store(_) => "disk",
        SlowReason::Limit => "limit",
        SlowReason::NoPeers => "no_peers",
        SlowReason::NoData => "no_data",
        SlowReason::Choked => "choked",
        SlowReason::RarestOnePeer => "rarest_one_peer",
        SlowReason::SlowPeers => "slow_peers",
    }
}

fn shown_progress(torrent: &Torrent) -> f64 {
    let part = |done: u64, all: u64| if all == 0 { 0.0 } else { done.min(all) as f64 / all as f64 };
    match &torrent.live.phase {
        Phase::Checking { done, total } => part(*done, *total),
        Phase::Metadata(view) => part(view.received, u64::from(view.size.unwrap_or(0))),
        _ => torrent.progress(),
    }
}

fn swarm_row(torrent: &Torrent) -> SwarmRow {
    let view = torrent.live.view.as_deref();
    let said = &torrent.live.trackers;
    let first = torrent.trackers().into_iter().flatten().next();
    SwarmRow {
        peers: view.map_or(0, |view| view.peers),
        seeds: view.map_or(0, |view| view.seeds),
        swarm_seeders: said.seeders,
        swarm_leechers: said.leechers,
        tracker: said
            .working
            .clone()
            .or(first)
            .map(|url| host(&url).to_owned())
            .unwrap_or_default(),
        tracker_trouble: said.trouble.clone(),
    }
}

/// A file of a torrent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileRow {
    /// Its number, by which priorities are set.
    pub number: usize,
    /// Its path, with the torrent's name first.
    pub path: String,
    /// Its length.
    pub length: u64,
    /// Bytes of it that are verified and written.
    pub bytes_done: u64,
    /// How much it is wanted.
    pub priority: Priority,
}

/// Returns the files of a torrent.
pub fn files(details: &Details) -> Vec<FileRow> {
    let row = |file: &crate::details::File| FileRow {
        number: file.number,
        path: file.path.clone(),
        length: file.length,
        bytes_done: file.bytes_done,
        priority: file.priority,
    };
    details.files.iter().map(row).collect()
}

/// A connected peer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PeerRow {
    /// Its address.
    pub address: String,
    /// Its client, as it says itself.
    pub client: Option<String>,
    /// We dialled it.
    pub outbound: bool,
    /// From 0 to 1.
    pub progress: f64,
    /// Payload bytes per second from it.
    pub down_rate: u64,
    /// Payload bytes per second to it.
    pub up_rate: u64,
    /// Payload bytes from it.
    pub bytes_down: u64,
    /// Payload bytes to it.
    pub bytes_up: u64,
    /// It chokes us.
    pub choking_us: bool,
    /// We choke it.
    pub choked: bool,
    /// It wants pieces of ours.
    pub interested: bool,
    /// We want pieces of it.
    pub interesting: bool,
}

/// Returns the peers of a torrent with this many pieces.
pub fn peers(details: &Details, pieces: u32) -> Vec<PeerRow> {
    let row = |peer: &PeerView| PeerRow {
        address: peer.addr.to_string(),
        client: peer.client.clone(),
        outbound: peer.outbound,
        progress: f64::from(peer.pieces) / f64::from(pieces.max(1)),
        down_rate: peer.down_rate,
        up_rate: peer.up_rate,
        bytes_down: peer.bytes_down,
        bytes_up: peer.bytes_up,
        choking_us: peer.peer_choking,
        choked: peer.am_choking,
        interested: peer.peer_interested,
        interesting: peer.am_interested,
    };
    details.peers.iter().map(row).collect()
}

/// A tracker of a torrent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TrackerRow {
    /// Its URL.
    pub url: String,
    /// Its tier, from 0.
    pub tier: usize,
    /// `untried`, `works`, `fails` or `gone`.
    pub standing: Word,
    /// What it said last.
    pub message: String,
    /// Seeders that it counts.
    pub seeders: Option<u32>,
    /// Leechers that it counts.
    pub leechers: Option<u32>,
    /// Peers that it named last.
    pub peers: u32,
    /// Seconds until the next announce.
    pub next_in: u64,
}

/// Returns the trackers of a torrent.
pub fn trackers(details: &Details) -> Vec<TrackerRow> {
    let row = |tracker: &TrackerView| TrackerRow {
        url: tracker.url.clone(),
        tier: tracker.tier,
        standing: match tracker.standing {
            TrackerStanding::Untried => "untried",
            TrackerStanding::Works => "works",
            TrackerStanding::Fails(_) => "fails",
            TrackerStanding::Gone => "gone",
        }
        .into(),
        message: tracker.message.clone(),
        seeders: tracker.seeders,
        leechers: tracker.leechers,
        peers: tracker.peers,
        next_in: tracker.next_in.as_secs(),
    };
    details.trackers.iter().map(row).collect()
}

/// Returns the pieces as runs, `[missing, have, missing, …]`; empty while they are not known.
pub fn pieces(details: &Details) -> Vec<u32> {
    let runs = crate::import::runs(details.pieces_there());
    if details.pieces.is_some() { runs } else { Vec::new() }
}

/// The daemon as a whole.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionRow {
    /// The version of the program.
    pub version: Word,
    /// Torrents.
    pub torrents: usize,
    /// Payload bytes per second from peers.
    pub down_rate: u64,
    /// Payload bytes per second to peers.
    pub up_rate: u64,
    /// Payload bytes received over all runs.
    pub bytes_down: u64,
    /// Payload bytes sent over all runs.
    pub bytes_up: u64,
    /// Connected peers.
    pub peers: usize,
    /// The port on which peers are accepted.
    pub peer_port: u16,
    /// Nodes of the DHT that are known.
    pub dht_nodes: usize,
    /// Bytes free where data goes by default.
    pub free_space: Option<u64>,
    /// Seconds since the daemon started.
    pub uptime: u64,
}

/// Returns the daemon as a whole.
pub fn session(state: &DaemonState) -> SessionRow {
    let view = &state.session;
    SessionRow {
        version: env!("CARGO_PKG_VERSION").into(),
        torrents: state.len(),
        down_rate: view.down_rate,
        up_rate: view.up_rate,
        bytes_down: state.earlier.1.saturating_add(view.bytes_down),
        bytes_up: state.earlier.0.saturating_add(view.bytes_up),
        peers: view.connections,
        peer_port: view.listen.first().map_or(0, SocketAddr::port),
        dht_nodes: view.dht.map_or(0, |dht| dht.nodes),
        free_space: state.free_space,
        uptime: state.now.saturating_sub(state.started),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::Record;
    use bt_types::{Bitfield, Geometry, InfoHash};

    #[test]
    fn a_list_names_what_changed_and_what_went() {
        let mut state = DaemonState::default();
        let record = |name: &str| Record { name: Some(name.into()), ..Record::default() };
        state.add(InfoHash([1; 20]), record("one"), None);
        state.add(InfoHash([2; 20]), record("two"), None);
        let all = torrents(&state, None);
        assert_eq!((all.full, all.torrents.len()), (true, 2));
        state.remove(InfoHash([1; 20]));
        state.change(InfoHash([2; 20]), |torrent| {
            torrent.live.phase = Phase::Failed("no disk".into())
        });
        let list = torrents(&state, Some(all.sequence));
        assert_eq!((list.full, list.removed), (false, vec!["01".repeat(20)]));
        let json = serde_json::to_value(&list.torrents).expect("rows");
        assert_eq!(json[0]["name"], "two");
        assert_eq!((&json[0]["state"], &json[0]["error"]), (&"failed".into(), &"no disk".into()));
        assert!(torrents(&state, Some(999)).full, "a number that is not ours");
    }

    #[test]
    fn pieces_are_runs_of_missing_and_there() {
        let geometry = Geometry::new(10 << 14, 1 << 14).expect("a geometry");
        let mut have = Bitfield::empty(10);
        for number in [0, 1, 5] {
            have.insert(geometry.piece(number).expect("a piece"));
        }
        let details = Details { pieces: Some(have), ..Details::default() };
        assert_eq!(pieces(&details), [0, 2, 3, 1, 4]);
    }
}
