//! What qBittorrent keeps of a torrent: its `.fastresume`, and the `.torrent` beside it.
//!
//! Decides: what its keys, and those of libtorrent in it, mean to us.
//! Must not know: disks.
//! Invariant: a key that is missing, or not as it should be, leaves our default.

use super::fields::{Fields, path};
use super::names::Place;
use super::{DataClaim, Found, Import, ImportError, Source, Written};
use crate::command::{SeedLimitsPatch, TorrentPatch};
use crate::seed_limits::Limit;
use crate::v1::AddRequest;
use bt_metainfo::{Magnet, Metainfo};
use bt_model::{PieceOrder, Priority};
use bt_types::{InfoHash, InfoHashV2, InfoHashes};
use std::path::{Path, PathBuf};

/// The end of the names of files that are not complete, where the user wants one.
const SUFFIX: &str = ".!qB";
/// Where libtorrent's priorities go over from normal to high.
const HIGH: i64 = 6;
/// Rates of libtorrent that mean none.
const NO_RATE: u64 = i32::MAX as u64;

/// Reads a torrent: its notes, the torrent file beside them, and when the notes were written, in
/// seconds since 1970.
pub fn read(
    fastresume: &[u8],
    torrent: Option<Vec<u8>>,
    saved_at: i64,
) -> Result<Found, ImportError> {
    let notes = Fields::parse(fastresume).map_err(ImportError::Bencode)?;
    let source = source(&notes, torrent)?;
    let hash = source.hash()?;
    let noted = notes.get("info-hash").and_then(|hash| hash.as_bytes());
    if noted.is_some_and(|noted| noted.len() == 20 && noted != hash.0 && noted != [0; 20]) {
        return Err(ImportError::OtherTorrent);
    }
    let lies = notes.path("save_path").or_else(|| notes.path("qBt-savePath"));
    let lies = lies.ok_or(ImportError::NoPath)?;
    if !lies.is_absolute() {
        return Err(ImportError::Relative(lies));
    }
    let goes = notes.path("qBt-savePath").filter(|path| path.is_absolute());
    let goes = goes.unwrap_or_else(|| lies.clone());
    let mut request = AddRequest {
        start: Some(!is_stopped(&notes)),
        settings: settings(&notes, &source),
        ..AddRequest::default()
    };
    let mut import = import(&notes);
    match source.metainfo() {
        Some(metainfo) => {
            let paths = mapped(&notes);
            let place = Place::of(&metainfo.info, &lies, &paths)?;
            let ends_so = |path: &PathBuf| path.to_string_lossy().ends_with(SUFFIX);
            import.suffix = place.names.values().any(ends_so).then(|| SUFFIX.to_owned());
            import.claim = claim(&notes, metainfo, saved_at);
            request.dir = Some(place.dir(&goes));
            import.incomplete_dir = (goes != lies).then(|| place.dir(&lies));
            import.names = place.names;
        }
        None => request.dir = Some(goes),
    }
    request.import = Some(import);
    source.found(notes.text("qBt-name"), request)
}

/// Returns the torrent, by the file beside the notes, or by what the notes have of it.
fn source(notes: &Fields<'_>, torrent: Option<Vec<u8>>) -> Result<Source, ImportError> {
    let tiers = || notes.tiers("trackers").unwrap_or_default();
    if let Some(bytes) = torrent {
        let metainfo = Metainfo::from_bytes(&bytes).map_err(ImportError::Torrent)?;
        return Ok(Source::File(Box::new(metainfo), bytes));
    }
    if let Some(info) = notes.dict("info").and_then(|_| notes.get("info")) {
        let seeds = notes.labels("url-list").into_iter().collect();
        let metainfo =
            Metainfo::from_info(info.span(), tiers(), seeds).map_err(ImportError::Torrent)?;
        let bytes = metainfo.to_bytes();
        return Ok(Source::File(Box::new(metainfo), bytes));
    }
    let bytes = |key: &str| notes.get(key).and_then(|hash| hash.as_bytes());
    let v1 = bytes("info-hash").and_then(|bytes| bytes.try_into().ok()).map(InfoHash);
    let v2 = bytes("info-hash2").and_then(|bytes| bytes.try_into().ok()).map(InfoHashV2);
    let hashes = InfoHashes {
        v1: v1.filter(|hash| hash.0 != [0; 20]),
        v2: v2.filter(|hash| hash.0 != [0; 32]),
    };
    if hashes.v1.is_none() && hashes.v2.is_none() {
        return Err(ImportError::NoTorrent);
    }
    let name = notes.text("name").filter(|name| !name.is_empty());
    let trackers = tiers().into_iter().flatten().collect();
    Ok(Source::Link(Magnet { name, trackers, ..Magnet::new(hashes) }))
}

/// Returns whether the user stopped it: qBittorrent pauses what waits in its queue, too.
fn is_stopped(notes: &Fields<'_>) -> bool {
    notes.is_set("paused") && !notes.is_set("auto_managed")
}

fn settings(notes: &Fields<'_>, source: &Source) -> TorrentPatch {
    let rate = |key: &str| notes.positive(key).filter(|rate| *rate < NO_RATE).map(Some);
    let mut patch = TorrentPatch {
        down_limit: rate("download_rate_limit"),
        up_limit: rate("upload_rate_limit"),
        category: notes.text("qBt-category").filter(|category| !category.is_empty()),
        add_tags: notes.labels("qBt-tags"),
        seed_limits: SeedLimitsPatch {
            ratio: ratio(notes),
            minutes: minutes(notes, "qBt-seedingTimeLimit"),
            idle_minutes: minutes(notes, "qBt-inactiveSeedingTimeLimit"),
            action: None,
        },
        trackers: notes.tiers("trackers").and_then(|tiers| source.other_trackers(tiers)),
        ..TorrentPatch::default()
    };
    if notes.is_set("sequential_download") {
        patch.order = Some(PieceOrder::Sequential);
    }
    let is_forced = notes.int("paused") == Some(0) && notes.int("auto_managed") == Some(0);
    patch.forced = is_forced.then_some(true);
    patch.first_last = notes.is_set("qBt-firstLastPiecePriority").then_some(true);
    let count = source.metainfo().map_or(0, |metainfo| metainfo.info.files.len());
    let priorities = notes.get("file_priority").map(|list| list.list());
    let numbered = (0..count).zip(priorities.into_iter().flatten());
    let files = numbered.filter_map(|(number, value)| Some((number, priority(value.as_int()?)?)));
    patch.files = files.collect();
    patch
}

fn priority(value: i64) -> Option<Priority> {
    match value {
        0 => Some(Priority::Skip),
        HIGH.. => Some(Priority::High),
        _ => None,
    }
}

/// Returns the limit of the ratio: thousandths, or text of older versions; -1 is none, and -2 is
/// that of all torrents.
fn ratio(notes: &Fields<'_>) -> Option<Limit<f64>> {
    let value = match notes.int("qBt-ratioLimit") {
        Some(thousandths) => thousandths as f64 / 1000.0,
        None => notes.real("qBt-ratioLimit")?,
    };
    match value {
        value if value >= 0.0 => Some(Limit::At(value)),
        value if value > -1.5 => Some(Limit::Unlimited),
        _ => None,
    }
}

fn minutes(notes: &Fields<'_>, key: &str) -> Option<Limit<u64>> {
    match notes.int(key)? {
        -1 => Some(Limit::Unlimited),
        minutes => u64::try_from(minutes).ok().map(Limit::At),
    }
}

fn import(notes: &Fields<'_>) -> Import {
    let seeding = notes.count("finished_time").or_else(|| notes.count("seeding_time"));
    let seeding = seeding.unwrap_or(0);
    let active = notes.count("active_time").unwrap_or(0);
    Import {
        added: notes.positive("added_time"),
        completed: notes.positive("completed_time"),
        active: notes.positive("last_upload").max(notes.positive("last_download")),
        bytes_up: notes.count("total_uploaded").unwrap_or(0),
        bytes_down: notes.count("total_downloaded").unwrap_or(0),
        seconds_down: active.saturating_sub(seeding),
        seconds_seeding: seeding,
        ..Import::default()
    }
}

/// Returns the path of each file below the save path; nothing where no file has another than the
/// torrent says.
fn mapped(notes: &Fields<'_>) -> Vec<Option<PathBuf>> {
    let list = notes.get("mapped_files").map(|list| list.list());
    let paths = list.into_iter().flatten().map(path);
    paths.map(|path| Some(path).filter(|path| path != Path::new(""))).collect()
}

/// Returns which pieces are there. libtorrent notes no times of files since 1.2: they were not
/// written after the notes.
fn claim(notes: &Fields<'_>, metainfo: &Metainfo, saved_at: i64) -> Option<DataClaim> {
    let count = metainfo.info.geometry.piece_count() as usize;
    let pieces = notes.get("pieces").and_then(|pieces| pieces.as_bytes()).unwrap_or_default();
    let is_seed = notes.is_set("seed_mode");
    if pieces.len() != count && !is_seed {
        return None;
    }
    let there = (0..count).map(|n| is_seed || pieces.get(n).is_some_and(|byte| byte & 1 == 1));
    let sizes = notes.get("file sizes").or_else(|| notes.get("file_sizes"));
    let mut times = sizes.map(|list| list.list()).into_iter().flatten();
    let written = metainfo.info.files.iter().map(|_| {
        let noted = times.next().and_then(|pair| pair.list().nth(1)?.as_int());
        Some(noted.filter(|time| *time > 0).map_or(Written::By(saved_at), Written::At))
    });
    Some(DataClaim::new(there, written.collect()))
}
