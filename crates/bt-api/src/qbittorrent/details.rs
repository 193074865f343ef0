//! One torrent in detail: properties, trackers, files, pieces, peers.
//!
//! Decides: the rows of these lists.
//! Must not know: requests.
//! Invariant: each is a function of the torrent and its details.

use super::ETA_UNKNOWN;
use super::rows::{comment, path, save_path};
use crate::details::{Details, File};
use crate::state::DaemonState;
use crate::torrent::{Phase, Torrent};
use bt_hash::Digest;
use bt_model::{PeerView, Priority, TrackerStanding, TrackerView};
use serde_json::{Map, Value, json};

/// Returns `torrents/properties`.
pub(super) fn properties(torrent: &Torrent, all: &DaemonState) -> Value {
    let view = torrent.live.view.as_deref();
    let number = |read: fn(&bt_model::TorrentView) -> u64| view.map_or(0, read);
    let totals = torrent.totals();
    let (down, seeding) = torrent.seconds(all.now);
    let info = torrent.metainfo.as_deref();
    let date = |date: Option<u64>| date.map_or(Value::from(-1), Value::from);
    let limit = |limit: Option<u64>| limit.map_or(Value::from(-1), Value::from);
    let average = |bytes: u64, seconds: u64| bytes.checked_div(seconds).unwrap_or(0);
    let private = info.is_some_and(|metainfo| metainfo.private);
    let text =
        |read: fn(&bt_metainfo::Metainfo) -> Option<&str>| info.and_then(read).unwrap_or_default();
    let count = |count: Option<u32>| count.map_or(-1, i64::from);
    let mut object = json!({
        "addition_date": torrent.record.dates.added,
        "comment": comment(torrent),
        "completion_date": date(torrent.record.dates.completed),
        "created_by": text(|metainfo| metainfo.created_by.as_deref()),
        "creation_date": info.and_then(|metainfo| metainfo.creation_date).unwrap_or(-1),
        "dl_limit": limit(torrent.record.settings.limits.down),
        "dl_speed": number(|view| view.down_rate),
        "dl_speed_avg": average(totals.down, down),
        "download_path": torrent.record.final_dir.as_ref().map_or(String::new(), |_| path(&torrent.record.dir)),
        "eta": torrent.eta().unwrap_or(ETA_UNKNOWN),
        "has_metadata": info.is_some(),
        "hash": torrent.hash.to_string(),
        "infohash_v1": torrent.hash.to_string(),
        "infohash_v2": info.and_then(|m| m.info_hashes.v2).map_or(String::new(), |hash| hash.to_string()),
        "is_private": private,
        "last_seen": date(torrent.record.dates.completed),
        "name": torrent.name(),
        "nb_connections": number(|view| view.peers as u64),
        "nb_connections_limit": torrent.record.settings.peers_max.unwrap_or(100),
        "peers": number(|view| view.peers.saturating_sub(view.seeds) as u64),
        "peers_total": count(torrent.live.trackers.leechers),
        "piece_size": info.map_or(0, |metainfo| metainfo.info.geometry.piece_length()),
        "pieces_have": number(|view| u64::from(view.pieces_done)),
        "pieces_num": info.map_or(0, |metainfo| metainfo.info.geometry.piece_count()),
        "popularity": 0.0,
        "private": private,
        "progress": torrent.progress(),
        "reannounce": torrent.live.trackers.next_at.saturating_sub(all.now),
    });
    if let Value::Object(object) = &mut object {
        let more = json!({
            "save_path": path(save_path(torrent)),
            "seeding_time": seeding,
            "seeds": number(|view| view.seeds as u64),
            "seeds_total": count(torrent.live.trackers.seeders),
            "share_ratio": torrent.ratio().unwrap_or(0.0),
            "time_elapsed": down.saturating_add(seeding),
            "total_downloaded": totals.down,
            "total_downloaded_session": number(|view| view.bytes_down),
            "total_size": torrent.size(),
            "total_uploaded": totals.up,
            "total_uploaded_session": number(|view| view.bytes_up),
            "total_wasted": totals.wasted,
            "up_limit": limit(torrent.record.settings.limits.up),
            "up_speed": number(|view| view.up_rate),
            "up_speed_avg": average(totals.up, down.saturating_add(seeding)),
        });
        if let Value::Object(more) = more {
            object.extend(more);
        }
    }
    object
}

/// Returns `torrents/trackers`: first what is no tracker, then the trackers.
pub(super) fn trackers(torrent: &Torrent, details: Option<&Details>) -> Value {
    let is_private = torrent.metainfo.as_ref().is_some_and(|metainfo| metainfo.private);
    let status = if is_private { 0 } else { 2 };
    let note = if is_private { "This torrent is private" } else { "" };
    let sticky = ["** [DHT] **", "** [PeX] **", "** [LSD] **"].map(|url| {
        json!({
            "url": url, "status": status, "tier": -1, "num_peers": 0, "num_seeds": 0,
            "num_leeches": 0, "num_downloaded": 0, "msg": note,
        })
    });
    let views = details.map_or(&[][..], |details| &details.trackers);
    let tiers = torrent.trackers().into_iter().enumerate();
    let urls = tiers.flat_map(|(tier, urls)| urls.into_iter().map(move |url| (tier, url)));
    let rows = urls.map(|(tier, url)| {
        let view = views.iter().find(|view| view.url == url);
        tracker(&url, tier, view, torrent)
    });
    sticky.into_iter().chain(rows).collect()
}

fn tracker(url: &str, tier: usize, view: Option<&TrackerView>, torrent: &Torrent) -> Value {
    let is_at_rest = matches!(torrent.live.phase, Phase::Stopped | Phase::Queued);
    let status = match view.map(|view| (view.standing, view.is_asked)) {
        Some((TrackerStanding::Gone, _)) => 4,
        Some((TrackerStanding::Works, _)) => 2,
        Some((TrackerStanding::Fails(_), _)) => 4,
        Some((TrackerStanding::Untried, true)) => 3,
        Some((TrackerStanding::Untried, false)) | None if is_at_rest => 1,
        Some((TrackerStanding::Untried, false)) | None => 1,
    };
    let count = |count: Option<u32>| count.map_or(-1, i64::from);
    json!({
        "url": url,
        "status": status,
        "tier": tier,
        "num_peers": view.map_or(0, |view| view.peers),
        "num_seeds": count(view.and_then(|view| view.seeders)),
        "num_leeches": count(view.and_then(|view| view.leechers)),
        "num_downloaded": -1,
        "msg": view.map_or("", |view| &view.message),
    })
}

/// Returns `torrents/files`.
pub(super) fn files(files: &[File], torrent: &Torrent) -> Value {
    let file = |(index, file): (usize, &File)| {
        let progress = match file.length {
            0 => f64::from(u8::from(torrent.live.view.is_some())),
            length => file.bytes_done.min(length) as f64 / length as f64,
        };
        let last = file.pieces.end.saturating_sub(1).max(file.pieces.start);
        let mut row = json!({
            "availability": -1.0,
            "index": index,
            "name": file.path,
            "piece_range": [file.pieces.start, last],
            "priority": priority(file.priority),
            "progress": progress,
            "size": file.length,
        });
        if let (0, Value::Object(row)) = (index, &mut row) {
            row.insert("is_seed".into(), torrent.is_done().into());
        }
        row
    };
    files.iter().enumerate().map(file).collect()
}

fn priority(priority: Priority) -> u8 {
    match priority {
        Priority::Skip => 0,
        Priority::Low | Priority::Normal => 1,
        Priority::High => 6,
    }
}

/// Returns a priority from its number.
pub(super) fn of_number(number: i64) -> Option<Priority> {
    match number {
        0 => Some(Priority::Skip),
        1 => Some(Priority::Normal),
        6 | 7 => Some(Priority::High),
        _ => None,
    }
}

/// Returns `torrents/pieceStates`: 0 missing, 2 there.
pub(super) fn piece_states(details: Option<&Details>) -> Value {
    let there = details.into_iter().flat_map(Details::pieces_there);
    there.map(|is_there| if is_there { 2 } else { 0 }).collect()
}

/// Returns `torrents/pieceHashes`.
pub(super) fn piece_hashes(torrent: &Torrent) -> Value {
    let Some(metainfo) = &torrent.metainfo else { return Value::Array(Vec::new()) };
    let Some(digests) = &metainfo.info.digests else { return Value::Array(Vec::new()) };
    let hex = |digest: Digest| match digest {
        Digest::Sha1(digest) => hex(&digest),
        Digest::Sha256(digest) => hex(&digest),
    };
    let pieces = metainfo.info.geometry.pieces();
    pieces.filter_map(|piece| digests.expected(piece)).map(hex).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the peers of `sync/torrentPeers` by their address.
pub(super) fn peers(torrent: &Torrent, details: Option<&Details>) -> Map<String, Value> {
    let pieces = torrent.live.view.as_ref().map_or(0, |view| view.pieces_total);
    let peers = details.map_or(&[][..], |details| &details.peers);
    peers.iter().map(|view| (view.addr.to_string(), peer(view, pieces))).collect()
}

fn peer(peer: &PeerView, pieces: u32) -> Value {
    let progress = match pieces {
        0 => 0.0,
        pieces => f64::from(peer.pieces.min(pieces)) / f64::from(pieces),
    };
    let (flags, meaning) = flags(peer);
    let id: String = peer
        .peer_id
        .0
        .iter()
        .take(8)
        .map(|byte| char::from(*byte))
        .filter(char::is_ascii_graphic)
        .collect();
    json!({
        "client": peer.client.as_deref().unwrap_or_default(),
        "connection": "BT",
        "country": "",
        "country_code": "",
        "dl_speed": peer.down_rate,
        "downloaded": peer.bytes_down,
        "files": "",
        "flags": flags,
        "flags_desc": meaning,
        "ip": peer.addr.ip().to_string(),
        "peer_id_client": id,
        "port": peer.addr.port(),
        "progress": progress,
        "relevance": if peer.pieces_wanted > 0 { 1.0 } else { 0.0 },
        "up_speed": peer.up_rate,
        "uploaded": peer.bytes_up,
    })
}

/// Returns the letters of a peer's state, and what they mean, one a line.
fn flags(peer: &PeerView) -> (String, String) {
    let all = [
        (peer.am_interested && !peer.peer_choking, 'D', "interested (local) and unchoked (peer)"),
        (peer.am_interested && peer.peer_choking, 'd', "interested (local) and choked (peer)"),
        (peer.peer_interested && !peer.am_choking, 'U', "interested (peer) and unchoked (local)"),
        (peer.peer_interested && peer.am_choking, 'u', "interested (peer) and choked (local)"),
        (
            !peer.am_interested && !peer.peer_choking,
            'K',
            "not interested (local) and unchoked (peer)",
        ),
        (
            !peer.peer_interested && !peer.am_choking,
            '?',
            "not interested (peer) and unchoked (local)",
        ),
        (peer.optimistic, 'O', "optimistic unchoke"),
        (peer.snubbed, 'S', "peer snubbed"),
        (!peer.outbound, 'I', "incoming connection"),
    ];
    let held = || all.iter().filter(|(is_so, _, _)| *is_so);
    let letters: Vec<String> = held().map(|(_, letter, _)| letter.to_string()).collect();
    let lines: Vec<String> =
        held().map(|(_, letter, words)| format!("{letter} = {words}")).collect();
    (letters.join(" "), lines.join("\n"))
}
