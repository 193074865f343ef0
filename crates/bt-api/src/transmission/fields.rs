//! The fields of `torrent-get`.
//!
//! Decides: how each field is made of a torrent.
//! Must not know: the protocols.
//! Invariant: every field in [`FIELDS`] has a value for every torrent, also without metadata.
//! Sizes are bytes, rates bytes per second, limits 1,000 bytes per second, dates seconds since 1970
//! with 0 for never.

use crate::details::{Details, File, Needs};
use crate::seed_limits::Limit;
use crate::state::DaemonState;
use crate::torrent::{Phase, Torrent};
use crate::tracker_url::authority;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bt_model::{PeerView, PieceOrder, Priority, TrackerStanding, TrackerView};
use serde_json::{Value, json};
use std::path::Path;

/// What the fields of one torrent are made of.
pub(super) struct Source<'a> {
    pub(super) state: &'a DaemonState,
    pub(super) torrent: &'a Torrent,
    pub(super) details: Option<&'a Details>,
}

type Field = fn(&Source<'_>) -> Value;

/// All fields by their name in snake_case.
const FIELDS: &[(&str, Field)] = &[
    ("activity_date", |s| date(s.torrent.record.dates.active)),
    ("added_date", |s| s.torrent.record.dates.added.into()),
    ("availability", availability),
    ("bandwidth_priority", |_| 0.into()),
    ("bytes_completed", |s| s.files().iter().map(|file| file.bytes_done).collect()),
    ("comment", |s| s.comment().into()),
    ("corrupt_ever", |s| s.torrent.totals().bad.into()),
    ("creator", |s| s.text(|metainfo| metainfo.created_by.as_deref())),
    ("date_created", |s| {
        s.torrent.metainfo.as_ref().and_then(|metainfo| metainfo.creation_date).unwrap_or(0).into()
    }),
    ("desired_available", desired_available),
    ("done_date", |s| date(s.torrent.record.dates.completed)),
    ("download_dir", |s| path(&s.torrent.record.dir)),
    ("download_limit", |s| kilo(s.torrent.record.settings.limits.down)),
    ("download_limited", |s| s.torrent.record.settings.limits.down.is_some().into()),
    ("downloaded_ever", |s| s.torrent.totals().down.into()),
    ("edit_date", |s| date(s.torrent.record.dates.edited)),
    ("error", |s| error(s.torrent).0.into()),
    ("error_string", |s| error(s.torrent).1.into()),
    ("eta", eta),
    ("eta_idle", |_| (-1).into()),
    // Callers ask for it in lists of all torrents: no torrent is asked.
    ("file_count", |s| {
        let info = s.torrent.metainfo.as_ref().map(|metainfo| &metainfo.info);
        info.map_or(0, |info| info.files.iter().filter(|file| file.is_stored()).count()).into()
    }),
    ("files", |s| s.files().iter().map(file).collect()),
    ("file_stats", |s| s.files().iter().map(file_stat).collect()),
    ("group", |s| s.torrent.record.group.clone().into()),
    ("hash_string", |s| s.torrent.hash.to_string().into()),
    ("have_unchecked", |_| 0.into()),
    ("have_valid", |s| s.view(|view| view.bytes_done).min(s.torrent.size()).into()),
    ("honors_session_limits", |_| true.into()),
    ("id", |s| s.torrent.number.into()),
    ("is_finished", |s| s.torrent.record.finished.into()),
    ("is_private", |s| s.torrent.metainfo.as_ref().is_some_and(|metainfo| metainfo.private).into()),
    ("is_stalled", is_stalled),
    ("labels", labels),
    ("left_until_done", |s| s.torrent.wanted().saturating_sub(s.torrent.done()).into()),
    ("magnet_link", |s| magnet(s.torrent).into()),
    ("manual_announce_time", |_| (-1).into()),
    ("max_connected_peers", peer_limit),
    ("metadata_percent_complete", metadata_percent),
    ("name", |s| s.torrent.name().into()),
    ("peer_limit", peer_limit),
    ("peers", peers),
    ("peers_connected", |s| s.view(|view| view.peers as u64).into()),
    ("peers_from", peers_from),
    ("peers_getting_from_us", |s| s.peers().iter().filter(|peer| peer.up_rate > 0).count().into()),
    ("peers_sending_to_us", |s| s.view(|view| view.serving_us as u64).into()),
    ("percent_complete", |s| {
        let (size, done) = (s.torrent.size(), s.view(|view| view.bytes_done));
        part(done.min(size), size)
    }),
    ("percent_done", |s| s.torrent.progress().into()),
    ("piece_count", |s| {
        s.torrent.metainfo.as_ref().map_or(0, |m| m.info.geometry.piece_count()).into()
    }),
    ("piece_size", |s| {
        s.torrent.metainfo.as_ref().map_or(0, |m| m.info.geometry.piece_length()).into()
    }),
    ("pieces", |s| {
        let pieces = s.details.and_then(|details| details.pieces.as_ref());
        pieces.map_or(String::new(), |pieces| STANDARD.encode(pieces.as_bytes())).into()
    }),
    ("primary_mime_type", |s| mime(&s.files()).into()),
    ("priorities", |s| s.files().iter().map(|file| priority(file.priority)).collect()),
    ("queue_position", |s| s.torrent.live.rank.into()),
    ("rate_download", |s| s.view(|view| view.down_rate).into()),
    ("rate_upload", |s| s.view(|view| view.up_rate).into()),
    ("recheck_progress", |s| match s.torrent.live.phase {
        Phase::Checking { done, total } => part(done, total),
        _ => 0.0.into(),
    }),
    ("seconds_downloading", |s| s.torrent.seconds(s.state.now).0.into()),
    ("seconds_seeding", |s| s.torrent.seconds(s.state.now).1.into()),
    ("seed_idle_limit", |s| limit(s.torrent.record.seed_limits.idle_minutes, 30).1.into()),
    ("seed_idle_mode", |s| limit(s.torrent.record.seed_limits.idle_minutes, 30).0.into()),
    ("seed_ratio_limit", |s| limit(s.torrent.record.seed_limits.ratio, 2.0).1.into()),
    ("seed_ratio_mode", |s| limit(s.torrent.record.seed_limits.ratio, 2.0).0.into()),
    ("sequential_download", |s| (s.torrent.record.settings.order == PieceOrder::Sequential).into()),
    ("sequential_download_from_piece", |_| 0.into()),
    ("size_when_done", |s| s.torrent.wanted().into()),
    ("source", |s| s.text(|metainfo| metainfo.source.as_deref())),
    ("start_date", |s| date(s.torrent.record.dates.started)),
    ("status", |s| status(s.torrent).into()),
    ("torrent_file", |_| "".into()),
    ("total_size", |s| s.torrent.size().into()),
    ("tracker_list", |s| tracker_list(&s.torrent.trackers()).into()),
    ("tracker_stats", tracker_stats),
    ("trackers", trackers),
    ("upload_limit", |s| kilo(s.torrent.record.settings.limits.up)),
    ("upload_limited", |s| s.torrent.record.settings.limits.up.is_some().into()),
    ("upload_ratio", |s| s.torrent.ratio().unwrap_or(-1.0).into()),
    ("uploaded_ever", |s| s.torrent.totals().up.into()),
    ("wanted", |s| {
        s.files().iter().map(|file| u8::from(file.priority != Priority::Skip)).collect()
    }),
    ("webseeds", |s| {
        let seeds = s.torrent.metainfo.as_ref().map(|metainfo| metainfo.web_seeds.clone());
        seeds.unwrap_or_default().into()
    }),
    ("webseeds_ex", |_| Value::Array(Vec::new())),
    ("webseeds_sending_to_us", |_| 0.into()),
];

/// Returns how the field with this name is made.
pub(super) fn field(name: &str) -> Option<Field> {
    FIELDS.iter().find(|(field, _)| *field == name).map(|(_, make)| *make)
}

/// Adds the details that a field needs.
pub(super) fn need(name: &str, needs: &mut Needs) {
    match name {
        "bytes_completed" | "files" | "file_stats" | "primary_mime_type" | "priorities"
        | "wanted" => needs.files = true,
        "peers" | "peers_from" | "peers_getting_from_us" => needs.peers = true,
        "tracker_stats" => needs.trackers = true,
        "availability" | "pieces" => needs.pieces = true,
        _ => {}
    }
}

impl Source<'_> {
    fn files(&self) -> Vec<File> {
        Details::files_of(self.details, self.torrent)
    }

    fn peers(&self) -> &[PeerView] {
        self.details.map_or(&[], |details| &details.peers)
    }

    fn view(&self, read: impl FnOnce(&bt_model::TorrentView) -> u64) -> u64 {
        self.torrent.live.view.as_deref().map_or(0, read)
    }

    fn text(&self, read: impl FnOnce(&bt_metainfo::Metainfo) -> Option<&str>) -> Value {
        self.torrent.metainfo.as_deref().and_then(read).unwrap_or_default().into()
    }

    fn comment(&self) -> String {
        let own = self.torrent.record.comment.clone();
        let its = || self.torrent.metainfo.as_ref().and_then(|metainfo| metainfo.comment.clone());
        own.or_else(its).unwrap_or_default()
    }
}

fn date(seconds: Option<u64>) -> Value {
    seconds.unwrap_or(0).into()
}

/// A limit in 1,000 bytes per second; what is shown where there is none is Transmission's default.
fn kilo(limit: Option<u64>) -> Value {
    limit.map_or(100, |limit| limit.div_ceil(1000)).into()
}

fn part(done: u64, all: u64) -> Value {
    if all == 0 { 0.0.into() } else { (done as f64 / all as f64).into() }
}

fn path(path: &Path) -> Value {
    let text = path.to_string_lossy();
    let bare = text.trim_end_matches('/');
    if bare.is_empty() { "/".into() } else { bare.into() }
}

/// Returns a seed limit as its mode (0 that of all torrents, 1 its own, 2 none) and its value.
fn limit<T>(limit: Limit<T>, default: T) -> (u8, T) {
    match limit {
        Limit::Global => (0, default),
        Limit::At(value) => (1, value),
        Limit::Unlimited => (2, default),
    }
}

fn labels(s: &Source<'_>) -> Value {
    let labels = &s.torrent.record.labels;
    let category = Some(&labels.category).filter(|category| !category.is_empty());
    category.into_iter().chain(&labels.tags).cloned().collect()
}

fn peer_limit(s: &Source<'_>) -> Value {
    let own = s.torrent.record.settings.peers_max;
    own.or(s.state.settings.session.peers_max).unwrap_or(100).into()
}

fn metadata_percent(s: &Source<'_>) -> Value {
    match &s.torrent.live.phase {
        _ if s.torrent.metainfo.is_some() => 1.0.into(),
        Phase::Metadata(view) => part(view.received, u64::from(view.size.unwrap_or(0))),
        _ => 0.0.into(),
    }
}

/// Returns the state: 0 stopped, 2 checked, 3 waits to download, 4 downloads, 5 waits to seed, 6
/// seeds. Data that moves is shown as checked.
pub(super) fn status(torrent: &Torrent) -> u8 {
    match torrent.live.phase {
        Phase::Stopped | Phase::Failed(_) => 0,
        Phase::Checking { .. } | Phase::Moving => 2,
        Phase::Queued if torrent.is_done() => 5,
        Phase::Queued => 3,
        Phase::Metadata(_) | Phase::Downloading => 4,
        Phase::Seeding => 6,
    }
}

/// Returns the kind of error (0 none, 2 a tracker's, 3 ours) and its words.
fn error(torrent: &Torrent) -> (u8, String) {
    if let Phase::Failed(why) = &torrent.live.phase {
        return (3, why.clone());
    }
    let fault = torrent.live.view.as_ref().and_then(|view| view.store_fault);
    if let Some(fault) = fault {
        return (3, format!("the disk: {}", fault.name()));
    }
    if let Some(why) = &torrent.live.move_trouble {
        return (3, why.clone());
    }
    match &torrent.live.trackers.trouble {
        Some(said) if torrent.record.settings.running => (2, said.clone()),
        _ => (0, String::new()),
    }
}

fn eta(s: &Source<'_>) -> Value {
    match &s.torrent.live.phase {
        Phase::Downloading => s.torrent.eta().map_or(Value::from(-2), Value::from),
        _ => (-1).into(),
    }
}

fn is_stalled(s: &Source<'_>) -> Value {
    let is_active = matches!(s.torrent.live.phase, Phase::Downloading | Phase::Seeding);
    let limit = u64::from(s.state.settings.queue.stalled_after.unwrap_or(60));
    (is_active && s.torrent.quiet_for(s.state.now) > limit).into()
}

/// Bytes of what is wanted and missing that a connected peer can give: all of it, or nothing.
fn desired_available(s: &Source<'_>) -> Value {
    let missing = s.torrent.wanted().saturating_sub(s.torrent.done());
    let is_seeded = s.view(|view| view.seeds as u64) > 0;
    if is_seeded { missing.into() } else { 0.into() }
}

/// For each piece, -1 where it is here, and else how many seeds are connected.
fn availability(s: &Source<'_>) -> Value {
    let seeds = s.view(|view| view.seeds as u64);
    let seeds = i64::try_from(seeds).unwrap_or(i64::MAX);
    let there = s.details.into_iter().flat_map(Details::pieces_there);
    there.map(|is_there| if is_there { -1 } else { seeds }).collect()
}

fn magnet(torrent: &Torrent) -> String {
    if let Some(metainfo) = &torrent.metainfo {
        return metainfo.magnet();
    }
    torrent.record.magnet.clone().unwrap_or_default()
}

fn file(file: &File) -> Value {
    json!({
        "name": file.path,
        "length": file.length,
        "bytes_completed": file.bytes_done,
        "begin_piece": file.pieces.start,
        "end_piece": file.pieces.end,
    })
}

fn file_stat(file: &File) -> Value {
    json!({
        "bytes_completed": file.bytes_done,
        "wanted": file.priority != Priority::Skip,
        "priority": priority(file.priority),
    })
}

/// Returns a priority as -1, 0 or 1.
fn priority(priority: Priority) -> i8 {
    match priority {
        Priority::Low => -1,
        Priority::Skip | Priority::Normal => 0,
        Priority::High => 1,
    }
}

/// Guesses the kind of the longest file by the end of its name.
fn mime(files: &[File]) -> &'static str {
    let Some(longest) = files.iter().max_by_key(|file| file.length) else {
        return "application/octet-stream";
    };
    let end = longest.path.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
    match &end[..] {
        "mkv" => "video/x-matroska",
        "mp4" | "m4v" => "video/mp4",
        "avi" => "video/x-msvideo",
        "webm" => "video/webm",
        "mp3" => "audio/mpeg",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "pdf" => "application/pdf",
        "epub" => "application/epub+zip",
        "zip" => "application/zip",
        "iso" => "application/x-iso9660-image",
        "txt" | "nfo" => "text/plain",
        _ => "application/octet-stream",
    }
}

fn peers(s: &Source<'_>) -> Value {
    let pieces = s.view(|view| u64::from(view.pieces_total));
    s.peers().iter().map(|view| peer(view, pieces)).collect()
}

fn peer(peer: &PeerView, pieces: u64) -> Value {
    json!({
        "address": peer.addr.ip().to_string(),
        "port": peer.addr.port(),
        "client_name": peer.client.as_deref().unwrap_or_default(),
        "client_is_choked": peer.peer_choking,
        "client_is_interested": peer.am_interested,
        "peer_is_choked": peer.am_choking,
        "peer_is_interested": peer.peer_interested,
        "flag_str": flags(peer),
        "is_downloading_from": !peer.peer_choking && peer.am_interested,
        "is_uploading_to": !peer.am_choking && peer.peer_interested,
        "is_encrypted": false,
        "is_incoming": !peer.outbound,
        "is_utp": false,
        "progress": part(u64::from(peer.pieces).min(pieces), pieces),
        "rate_to_client": peer.down_rate,
        "rate_to_peer": peer.up_rate,
        "bytes_to_client": peer.bytes_down,
        "bytes_to_peer": peer.bytes_up,
        "peer_id": STANDARD.encode(peer.peer_id.0),
    })
}

/// Returns the letters for a peer's state: `O` optimistic, `D` and `d` it gives and we want, `U`
/// and `u` we give and it wants, `K` it would give, `?` we would give, `I` it dialled us.
fn flags(peer: &PeerView) -> String {
    let mut flags = String::new();
    flags.extend(peer.optimistic.then_some('O'));
    flags.extend(match (peer.am_interested, peer.peer_choking) {
        (true, false) => Some('D'),
        (true, true) => Some('d'),
        (false, false) => Some('K'),
        (false, true) => None,
    });
    flags.extend(match (peer.peer_interested, peer.am_choking) {
        (true, false) => Some('U'),
        (true, true) => Some('u'),
        (false, false) => Some('?'),
        (false, true) => None,
    });
    flags.extend((!peer.outbound).then_some('I'));
    flags
}

/// The session does not say where an address came from: who dialled us is known.
fn peers_from(s: &Source<'_>) -> Value {
    let incoming = s.peers().iter().filter(|peer| !peer.outbound).count();
    json!({
        "from_cache": 0,
        "from_dht": 0,
        "from_incoming": incoming,
        "from_lpd": 0,
        "from_ltep": 0,
        "from_pex": 0,
        "from_tracker": s.peers().len() - incoming,
    })
}

/// Returns the tiers as text: a URL a line, an empty line between tiers.
fn tracker_list(tiers: &[Vec<String>]) -> String {
    tiers.iter().map(|tier| tier.join("\n")).collect::<Vec<_>>().join("\n\n")
}

/// Returns the URLs with their numbers and tiers.
pub(super) fn numbered(torrent: &Torrent) -> Vec<(usize, usize, String)> {
    let tiers = torrent.trackers().into_iter().enumerate();
    let urls = tiers.flat_map(|(tier, urls)| urls.into_iter().map(move |url| (tier, url)));
    urls.enumerate().map(|(id, (tier, url))| (id, tier, url)).collect()
}

fn trackers(s: &Source<'_>) -> Value {
    let tracker = |(id, tier, url): (usize, usize, String)| {
        json!({
            "announce": url,
            "id": id,
            "scrape": scrape(&url),
            "sitename": sitename(&url),
            "tier": tier,
        })
    };
    numbered(s.torrent).into_iter().map(tracker).collect()
}

fn tracker_stats(s: &Source<'_>) -> Value {
    let views = s.details.map_or(&[][..], |details| &details.trackers);
    let stat = |(id, tier, url): (usize, usize, String)| {
        tracker_stat(id, tier, &url, views.iter().find(|view| view.url == url), s.state.now)
    };
    numbered(s.torrent).into_iter().map(stat).collect()
}

fn tracker_stat(id: usize, tier: usize, url: &str, view: Option<&TrackerView>, now: u64) -> Value {
    let standing = view.map_or(TrackerStanding::Untried, |view| view.standing);
    let has_announced = standing != TrackerStanding::Untried;
    let worked = standing == TrackerStanding::Works;
    let result = match view {
        Some(_) if worked => "Success".to_owned(),
        Some(view) => view.message.clone(),
        None => String::new(),
    };
    let state = match view {
        None => 0,
        Some(_) if standing == TrackerStanding::Gone => 0,
        Some(view) if view.is_asked => 3,
        Some(_) => 1,
    };
    let count = |count: Option<u32>| count.map_or(-1, i64::from);
    let next = view.map_or(0, |view| now.saturating_add(view.next_in.as_secs()));
    let mut stat = json!({
        "announce": url,
        "announce_state": state,
        "download_count": -1,
        "downloader_count": -1,
        "has_announced": has_announced,
        "has_scraped": false,
        "host": host(url),
        "id": id,
        "is_backup": tier > 0 && !has_announced,
        "last_announce_peer_count": view.map_or(0, |view| view.peers),
        "last_announce_result": result,
        "last_announce_start_time": 0,
        "last_announce_succeeded": worked,
        "last_announce_time": if has_announced { now } else { 0 },
        "last_announce_timed_out": false,
        "last_scrape_result": "",
        "last_scrape_start_time": 0,
        "last_scrape_succeeded": false,
        "last_scrape_time": 0,
        "last_scrape_timed_out": false,
        "leecher_count": count(view.and_then(|view| view.leechers)),
        "next_announce_time": if state == 1 { next } else { 0 },
        "next_scrape_time": 0,
        "scrape": scrape(url),
        "scrape_state": 0,
    });
    if let Value::Object(stat) = &mut stat {
        stat.insert("seeder_count".into(), count(view.and_then(|view| view.seeders)).into());
        stat.insert("sitename".into(), sitename(url).into());
        stat.insert("tier".into(), tier.into());
    }
    stat
}

/// Returns the scrape URL by BEP 48's convention; empty where there is none.
fn scrape(url: &str) -> String {
    match url.rsplit_once('/') {
        Some((before, last)) if last.starts_with("announce") => {
            format!("{before}/scrape{}", last.trim_start_matches("announce"))
        }
        _ => String::new(),
    }
}

/// Returns host and port.
fn host(url: &str) -> String {
    let host = authority(url);
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("https") if !has_port => format!("{host}:443"),
        Some("http" | "udp") if !has_port => format!("{host}:80"),
        _ => host.to_owned(),
    }
}

/// Returns the part of the host's name that names the site: `tracker.example.org` is `example`.
fn sitename(url: &str) -> String {
    let host = host(url);
    let name = host.rsplit_once(':').map_or(&host[..], |(name, _)| name);
    if name.parse::<std::net::IpAddr>().is_ok() || name.starts_with('[') {
        return name.to_owned();
    }
    let mut labels = name.rsplit('.');
    let last = labels.next().unwrap_or_default();
    labels.next().unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::Record;
    use bt_types::InfoHash;

    #[test]
    fn every_field_has_a_value_without_metadata() {
        let mut state = DaemonState::default();
        let magnet = "magnet:?xt=urn:btih:0101010101010101010101010101010101010101&dn=a&tr=udp%3A%2F%2Fb.tracker.example%3A80".to_owned();
        state.add(InfoHash([1; 20]), Record { magnet: Some(magnet), ..Record::default() }, None);
        let torrent = state.by_number(1).expect("a torrent").clone();
        let source = Source { state: &state, torrent: &torrent, details: None };
        for (name, make) in FIELDS {
            assert!(!make(&source).is_null(), "{name}");
            assert!(field(name).is_some(), "{name}");
        }
        assert_eq!(field("name").expect("a field")(&source), "a");
        assert_eq!(field("pieces").expect("a field")(&source), "");
        let stats = field("tracker_stats").expect("a field")(&source);
        assert_eq!(
            (&stats[0]["sitename"], &stats[0]["seeder_count"]),
            (&"tracker".into(), &(-1).into())
        );
    }

    #[test]
    fn urls_are_taken_apart() {
        for (url, scraped, place, site) in [
            (
                "http://tracker.example.org:6969/announce",
                "http://tracker.example.org:6969/scrape",
                "tracker.example.org:6969",
                "example",
            ),
            (
                "https://a.org/KEY/announce.php?x=1",
                "https://a.org/KEY/scrape.php?x=1",
                "a.org:443",
                "a",
            ),
            ("udp://[2001:db8::1]:80", "", "[2001:db8::1]:80", "[2001:db8::1]"),
            ("udp://192.0.2.1:80/other", "", "192.0.2.1:80", "192.0.2.1"),
        ] {
            assert_eq!(
                (&scrape(url)[..], &host(url)[..], &sitename(url)[..]),
                (scraped, place, site)
            );
        }
    }
}
