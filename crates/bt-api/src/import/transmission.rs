//! What Transmission keeps of a torrent: its `.resume`, and the `.torrent` or `.magnet`.
//!
//! Decides: what its keys mean to us, of versions 2 to 4.
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
use bt_types::{Bitfield, Geometry, InfoHash, InfoHashes};
use std::path::PathBuf;

/// The end of the names of files that are not complete, unless the user wants none.
const SUFFIX: &str = ".part";
/// The length of Transmission's blocks; before version 4, pieces are halved down to it.
const BLOCK: u64 = 16 * 1024;

/// What lies in the directory of torrents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kept {
    /// A `.torrent`. Before version 4 it may be a link in the form of one.
    Torrent(Vec<u8>),
    /// A `.magnet`.
    Magnet(Vec<u8>),
}

/// Reads a torrent: what is kept of it, its notes, and when those were written, in seconds since
/// 1970.
pub fn read(kept: Kept, resume: &[u8], saved_at: i64) -> Result<Found, ImportError> {
    let notes = Fields::parse(resume).map_err(ImportError::Bencode)?;
    let source = source(kept)?;
    let goes = notes.path("destination").ok_or(ImportError::NoPath)?;
    if !goes.is_absolute() {
        return Err(ImportError::Relative(goes));
    }
    let lies = notes.path("incomplete-dir").filter(|path| path.is_absolute() && *path != goes);
    let mut request = AddRequest {
        start: Some(!notes.is_set("paused")),
        settings: settings(&notes, &source),
        ..AddRequest::default()
    };
    let mut import = import(&notes);
    match source.metainfo() {
        Some(metainfo) => {
            let place = Place::of(&metainfo.info, &goes, &renamed(&notes))?;
            import.claim = claim(&notes, metainfo, saved_at);
            import.suffix = Some(SUFFIX.to_owned());
            request.dir = Some(place.dir(&goes));
            import.incomplete_dir = lies.map(|lies| place.dir(&lies));
            import.names = place.names;
        }
        None => request.dir = Some(goes),
    }
    request.import = Some(import);
    source.found(notes.text("name"), request)
}

fn source(kept: Kept) -> Result<Source, ImportError> {
    match kept {
        Kept::Magnet(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            Magnet::parse(text.trim()).map(Source::Link).map_err(ImportError::Link)
        }
        Kept::Torrent(bytes) => match link(&bytes) {
            Some(magnet) => Ok(Source::Link(magnet)),
            None => {
                let metainfo = Metainfo::from_bytes(&bytes).map_err(ImportError::Torrent)?;
                Ok(Source::File(Box::new(metainfo), bytes))
            }
        },
    }
}

/// Reads a link in the form of a torrent file, as versions before 4 keep it.
fn link(bytes: &[u8]) -> Option<Magnet> {
    let file = Fields::parse(bytes).ok()?;
    let info = file.dict("magnet-info")?;
    let hash = info.get("info_hash")?.as_bytes()?.try_into().ok().map(InfoHash)?;
    let name = info.text("display-name").filter(|name| !name.is_empty());
    let tiers = file.tiers("announce-list").unwrap_or_default();
    let mut trackers: Vec<String> = tiers.into_iter().flatten().collect();
    if trackers.is_empty() {
        trackers.extend(file.text("announce"));
    }
    let hashes = InfoHashes { v1: Some(hash), v2: None };
    Some(Magnet { name, trackers, ..Magnet::new(hashes) })
}

fn settings(notes: &Fields<'_>, source: &Source) -> TorrentPatch {
    let mut patch = TorrentPatch {
        down_limit: speed(notes, "speed-limit-down"),
        up_limit: speed(notes, "speed-limit-up"),
        add_tags: notes.labels("labels"),
        seed_limits: SeedLimitsPatch {
            ratio: ratio(notes),
            minutes: None,
            idle_minutes: idle(notes),
            action: None,
        },
        ..TorrentPatch::default()
    };
    if notes.is_set("sequential-download") {
        patch.order = Some(PieceOrder::Sequential);
    }
    let count = source.metainfo().map_or(0, |metainfo| metainfo.info.files.len());
    let values = |key: &str| {
        let list = notes.get(key).map(|list| list.list());
        list.into_iter().flatten().map(|value| value.as_int().unwrap_or(0))
    };
    let (mut priorities, mut skips) = (values("priority"), values("dnd"));
    for number in 0..count {
        let priority = match (skips.next().unwrap_or(0), priorities.next().unwrap_or(0)) {
            (1.., _) => Priority::Skip,
            (_, ..=-1) => Priority::Low,
            (_, 0) => continue,
            (_, 1..) => Priority::High,
        };
        patch.files.push((number, priority));
    }
    patch
}

/// Returns a limit in bytes per second, where it is used.
fn speed(notes: &Fields<'_>, key: &str) -> Option<Option<u64>> {
    let limit = notes.dict(key)?;
    let bytes = || limit.count("speed-Bps");
    let kilobytes = || limit.count("speed").map(|speed| speed.saturating_mul(1000));
    limit.is_set("use-speed-limit").then(|| bytes().or_else(kilobytes)).flatten().map(Some)
}

fn ratio(notes: &Fields<'_>) -> Option<Limit<f64>> {
    let limit = notes.dict("ratio-limit")?;
    match limit.int("ratio-mode")? {
        1 => limit.real("ratio-limit").filter(|ratio| *ratio >= 0.0).map(Limit::At),
        2 => Some(Limit::Unlimited),
        _ => None,
    }
}

fn idle(notes: &Fields<'_>) -> Option<Limit<u64>> {
    let limit = notes.dict("idle-limit")?;
    match limit.int("idle-mode")? {
        1 => limit.count("idle-limit").map(Limit::At),
        2 => Some(Limit::Unlimited),
        _ => None,
    }
}

fn import(notes: &Fields<'_>) -> Import {
    Import {
        added: notes.positive("added-date"),
        completed: notes.positive("done-date"),
        active: notes.positive("activity-date"),
        bytes_up: notes.count("uploaded").unwrap_or(0),
        bytes_down: notes.count("downloaded").unwrap_or(0),
        seconds_down: notes.count("downloading-time-seconds").unwrap_or(0),
        seconds_seeding: notes.count("seeding-time-seconds").unwrap_or(0),
        ..Import::default()
    }
}

/// Returns the path of each file that was renamed.
fn renamed(notes: &Fields<'_>) -> Vec<Option<PathBuf>> {
    let list = notes.get("files").map(|list| list.list());
    let paths = list.into_iter().flatten().map(path);
    paths.map(|path| Some(path).filter(|path| !path.as_os_str().is_empty())).collect()
}

/// Returns which pieces are there: those of which all blocks are.
fn claim(notes: &Fields<'_>, metainfo: &Metainfo, saved_at: i64) -> Option<DataClaim> {
    let progress = notes.dict("progress")?;
    let geometry = &metainfo.info.geometry;
    let blocks = progress.get("blocks").or_else(|| progress.get("bitfield"));
    let blocks = blocks.or_else(|| progress.get("have"))?.as_bytes()?;
    let times = progress.get("mtimes");
    let there: Vec<bool> = match blocks {
        b"all" => vec![true; geometry.piece_count() as usize],
        b"none" => vec![false; geometry.piece_count() as usize],
        bits => pieces(bits, geometry, if times.is_some() { BLOCK } else { halved(geometry) })?,
    };
    let mut times = times.map(|list| list.list()).into_iter().flatten();
    let written = metainfo.info.files.iter().map(|_| {
        let noted = times.next().and_then(|time| time.as_int()).filter(|time| *time > 0);
        Some(noted.map_or(Written::By(saved_at), Written::At))
    });
    Some(DataClaim::new(there.into_iter(), written.collect()))
}

/// Returns the length of blocks before version 4: that of a piece, halved until it is not above
/// 16 KiB.
fn halved(geometry: &Geometry) -> u64 {
    let mut length = u64::from(geometry.piece_length());
    while length > BLOCK {
        length /= 2;
    }
    length
}

/// Returns which pieces have all of their blocks; `None` if the blocks are of another torrent.
fn pieces(bits: &[u8], geometry: &Geometry, block: u64) -> Option<Vec<bool>> {
    let count = u32::try_from(geometry.total().div_ceil(block)).ok()?;
    if bits.len() != Bitfield::byte_len(count) {
        return None;
    }
    let has = |block: u64| {
        let byte = usize::try_from(block / 8).ok().and_then(|at| bits.get(at));
        byte.is_some_and(|byte| byte & (0x80 >> (block % 8)) != 0)
    };
    let is_whole = |piece| {
        let start = geometry.piece_start(piece);
        let end = start + u64::from(geometry.piece_len(piece));
        (start / block..end.div_ceil(block)).all(has)
    };
    Some(geometry.pieces().map(is_whole).collect())
}
