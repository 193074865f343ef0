//! A torrent as `torrents/info` and `sync/maindata` show it.
//!
//! Decides: how each field is made.
//! Must not know: requests.
//! Invariant: every field has a value for every torrent. Sizes are bytes, rates bytes per second,
//! times seconds.

use super::ETA_UNKNOWN;
use crate::seed_limits::Limit;
use crate::seed_limits::SeedAction;
use crate::state::DaemonState;
use crate::torrent::{Phase, Torrent};
use bt_model::PieceOrder;
use serde_json::Value;
use std::path::Path;

/// Seconds without payload after which a torrent is shown as stalled.
const STALLED: u64 = 5;

type Field = fn(&Torrent, &DaemonState) -> Value;

/// All fields by name.
pub(super) const FIELDS: &[(&str, Field)] = &[
    ("added_on", |t, _| t.record.dates.added.into()),
    ("amount_left", |t, _| t.wanted().saturating_sub(t.done()).into()),
    ("auto_tmm", |t, _| t.record.auto_dir.into()),
    ("availability", |t, _| availability(t)),
    ("category", |t, _| t.record.labels.category.clone().into()),
    ("comment", |t, _| comment(t).into()),
    ("completed", |t, _| t.done().into()),
    ("completion_on", |t, _| t.record.dates.completed.map_or(Value::from(-1), Value::from)),
    ("content_path", |t, _| content_path(t).into()),
    ("dl_limit", |t, _| t.record.settings.limits.down.unwrap_or(0).into()),
    ("dlspeed", |t, _| view(t, |view| view.down_rate)),
    ("download_path", |t, _| match &t.record.final_dir {
        Some(_) => path(&t.record.dir).into(),
        None => "".into(),
    }),
    ("downloaded", |t, _| t.totals().down.into()),
    ("downloaded_session", |t, _| view(t, |view| view.bytes_down)),
    ("eta", |t, _| t.eta().unwrap_or(ETA_UNKNOWN).min(ETA_UNKNOWN).into()),
    ("f_l_piece_prio", |t, _| t.record.first_last.into()),
    ("force_start", |t, _| t.record.queue.forced.into()),
    ("has_metadata", |t, _| t.metainfo.is_some().into()),
    ("inactive_seeding_time_limit", |t, _| minutes(t.record.seed_limits.idle_minutes)),
    ("infohash_v1", |t, _| t.hash.to_string().into()),
    ("infohash_v2", |t, _| {
        let v2 = t.metainfo.as_ref().and_then(|metainfo| metainfo.info_hashes.v2);
        v2.map_or(String::new(), |hash| hash.to_string()).into()
    }),
    ("last_activity", |t, _| t.record.dates.active.unwrap_or(t.record.dates.added).into()),
    ("magnet_uri", |t, _| magnet(t).into()),
    ("max_inactive_seeding_time", |t, s| signed(s.seed_limits(t).idle_minutes)),
    ("max_ratio", |t, s| s.seed_limits(t).ratio.map_or(Value::from(-1.0), Value::from)),
    ("max_seeding_time", |t, s| signed(s.seed_limits(t).minutes)),
    ("name", |t, _| t.name().into()),
    ("num_complete", |t, _| count(t.live.trackers.seeders)),
    ("num_incomplete", |t, _| count(t.live.trackers.leechers)),
    ("num_leechs", |t, _| view(t, |view| view.peers.saturating_sub(view.seeds) as u64)),
    ("num_seeds", |t, _| view(t, |view| view.seeds as u64)),
    ("popularity", |t, s| popularity(t, s).into()),
    ("priority", |t, s| priority(t, s)),
    ("private", |t, _| t.metainfo.as_ref().map_or(Value::Null, |metainfo| metainfo.private.into())),
    ("progress", |t, _| t.progress().into()),
    ("ratio", |t, _| t.ratio().unwrap_or(0.0).into()),
    ("ratio_limit", |t, _| match t.record.seed_limits.ratio {
        Limit::Global => (-2.0).into(),
        Limit::Unlimited => (-1.0).into(),
        Limit::At(limit) => limit.into(),
    }),
    ("reannounce", |t, s| t.live.trackers.next_at.saturating_sub(s.now).into()),
    ("root_path", |t, _| root_path(t).into()),
    ("save_path", |t, _| path(save_path(t)).into()),
    ("seeding_time", |t, s| t.seconds(s.now).1.into()),
    ("seeding_time_limit", |t, _| minutes(t.record.seed_limits.minutes)),
    ("seen_complete", |t, _| t.record.dates.completed.map_or(Value::from(-1), Value::from)),
    ("seq_dl", |t, _| (t.record.settings.order == PieceOrder::Sequential).into()),
    ("share_limit_action", |t, _| action(t.record.seed_limits.action).into()),
    ("size", |t, _| t.wanted().into()),
    ("state", |t, s| state(t, s).into()),
    ("super_seeding", |_, _| false.into()),
    ("tags", |t, _| t.record.labels.tags.iter().cloned().collect::<Vec<_>>().join(", ").into()),
    ("time_active", |t, s| {
        let (down, seeding) = t.seconds(s.now);
        down.saturating_add(seeding).into()
    }),
    ("total_size", |t, _| t.size().into()),
    ("tracker", |t, _| t.live.trackers.working.clone().unwrap_or_default().into()),
    ("trackers_count", |t, _| t.trackers().concat().len().into()),
    ("up_limit", |t, _| t.record.settings.limits.up.unwrap_or(0).into()),
    ("uploaded", |t, _| t.totals().up.into()),
    ("uploaded_session", |t, _| view(t, |view| view.bytes_up)),
    ("upspeed", |t, _| view(t, |view| view.up_rate)),
];

fn view(torrent: &Torrent, read: impl FnOnce(&bt_model::TorrentView) -> u64) -> Value {
    torrent.live.view.as_deref().map_or(0, read).into()
}

fn count(count: Option<u32>) -> Value {
    count.map_or(-1, i64::from).into()
}

fn signed(limit: Option<u64>) -> Value {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX)).into()
}

fn minutes(limit: Limit<u64>) -> Value {
    match limit {
        Limit::Global => (-2).into(),
        Limit::Unlimited => (-1).into(),
        Limit::At(limit) => limit.into(),
    }
}

pub(super) fn action(action: Option<SeedAction>) -> &'static str {
    match action {
        None => "Default",
        Some(SeedAction::Stop) => "Stop",
        Some(SeedAction::Remove) => "Remove",
        Some(SeedAction::RemoveWithData) => "RemoveWithContent",
    }
}

/// Returns a path without a slash at its end.
pub(super) fn path(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.trim_end_matches('/') {
        "" => "/".into(),
        bare => bare.to_owned(),
    }
}

/// Returns the directory that contains the torrent's name once it is complete.
pub(super) fn save_path(torrent: &Torrent) -> &Path {
    torrent.record.final_dir.as_deref().unwrap_or(&torrent.record.dir)
}

/// Returns the path of the torrent's file or directory, which is never `save_path` itself.
pub(super) fn content_path(torrent: &Torrent) -> String {
    let name = torrent.content_path();
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    format!("{}/{name}", path(&torrent.record.dir).trim_end_matches('/'))
}

fn root_path(torrent: &Torrent) -> String {
    if torrent.is_directory() == Some(true) { content_path(torrent) } else { String::new() }
}

pub(super) fn comment(torrent: &Torrent) -> String {
    torrent.comment().unwrap_or_default().to_owned()
}

fn magnet(torrent: &Torrent) -> String {
    match &torrent.metainfo {
        Some(metainfo) => metainfo.magnet(),
        None => torrent.record.magnet.clone().unwrap_or_default(),
    }
}

/// Copies of the data that are connected: whole ones, which are the seeds, and ours.
fn availability(torrent: &Torrent) -> Value {
    match (&torrent.live.phase, torrent.live.view.as_deref()) {
        (Phase::Downloading, Some(view)) => (view.seeds as f64 + torrent.progress()).into(),
        _ => (-1.0).into(),
    }
}

fn popularity(torrent: &Torrent, state: &DaemonState) -> f64 {
    let months = torrent.seconds(state.now).1 as f64 / (30.0 * 86_400.0);
    let ratio = torrent.ratio().unwrap_or(0.0);
    if months > 0.0 { ratio / months } else { 0.0 }
}

/// The place in the queue, from 1 on; 0 for what is complete, or without a queue.
fn priority(torrent: &Torrent, state: &DaemonState) -> Value {
    let queue = state.settings.queue;
    let is_on = queue.downloads.or(queue.seeds).or(queue.total).is_some();
    let place = torrent.live.rank.saturating_add(1);
    if is_on && !torrent.is_done() { place.into() } else { 0.into() }
}

/// Returns the state as qBittorrent names it.
pub(super) fn state(torrent: &Torrent, state: &DaemonState) -> &'static str {
    let forced = torrent.record.queue.forced;
    let view = torrent.live.view.as_deref();
    let is_done = torrent.is_done();
    let has_fault = view.is_some_and(|view| view.store_fault.is_some());
    let young = state.now.saturating_sub(torrent.live.phase_since) < STALLED;
    match &torrent.live.phase {
        Phase::Failed(why) if why.contains("is not there") => "missingFiles",
        Phase::Failed(_) => "error",
        Phase::Moving => "moving",
        Phase::Checking { .. } if is_done || torrent.record.dates.completed.is_some() => {
            "checkingUP"
        }
        Phase::Checking { .. } => "checkingDL",
        Phase::Stopped if is_done => "stoppedUP",
        Phase::Stopped => "stoppedDL",
        Phase::Queued if is_done => "queuedUP",
        Phase::Queued => "queuedDL",
        Phase::Metadata(_) if forced => "forcedMetaDL",
        Phase::Metadata(_) => "metaDL",
        Phase::Downloading | Phase::Seeding if has_fault => "error",
        Phase::Downloading if forced => "forcedDL",
        Phase::Downloading if young || view.is_some_and(|view| view.down_rate > 0) => "downloading",
        Phase::Downloading => "stalledDL",
        Phase::Seeding if forced => "forcedUP",
        Phase::Seeding if view.is_some_and(|view| view.up_rate > 0) => "uploading",
        Phase::Seeding => "stalledUP",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::Record;
    use bt_types::InfoHash;

    #[test]
    fn every_field_has_a_value_and_integers_are_integers() {
        let mut all = DaemonState::default();
        let record = Record { name: Some("a".into()), dir: "/data/".into(), ..Record::default() };
        all.add(InfoHash([1; 20]), record, None);
        let torrent = all.by_number(1).expect("a torrent").clone();
        let floats =
            ["availability", "max_ratio", "popularity", "progress", "ratio", "ratio_limit"];
        for (name, make) in FIELDS {
            let value = make(&torrent, &all);
            assert_eq!(value.is_f64(), floats.contains(name), "{name}: {value}");
        }
        assert_eq!(save_path(&torrent).to_string_lossy(), "/data/");
        assert_eq!(path(save_path(&torrent)), "/data");
        assert_eq!(content_path(&torrent), "/data/a");
        assert!(FIELDS.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn states_have_the_names_of_version_5() {
        let mut all = DaemonState::default();
        all.now = 1000;
        all.add(InfoHash([1; 20]), Record::default(), None);
        let mut torrent = (**all.by_number(1).expect("a torrent")).clone();
        for (phase, since, forced, name) in [
            (Phase::Stopped, 0, false, "stoppedDL"),
            (Phase::Queued, 0, false, "queuedDL"),
            (Phase::Downloading, 999, false, "downloading"),
            (Phase::Downloading, 0, false, "stalledDL"),
            (Phase::Downloading, 0, true, "forcedDL"),
            (Phase::Seeding, 0, false, "stalledUP"),
            (Phase::Checking { done: 0, total: 1 }, 0, false, "checkingDL"),
            (Phase::Failed("no".into()), 0, false, "error"),
            (Phase::Failed("the data is not there".into()), 0, false, "missingFiles"),
            (Phase::Moving, 0, false, "moving"),
        ] {
            torrent.live.phase = phase;
            torrent.live.phase_since = since;
            torrent.record.queue.forced = forced;
            assert_eq!(state(&torrent, &all), name);
        }
    }
}
