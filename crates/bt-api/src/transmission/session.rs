//! The session's keys: `session-get`, `session-set` and `session-stats`.
//!
//! Decides: which of them are settings of ours, and what the others answer.
//! Must not know: the protocols.
//! Invariant: a key that is answered is of the type that callers know; what is set and unknown is
//! ignored. No program to run can be set.

use super::call::RpcError;
use super::{RPC_SEMVER, RPC_VERSION, RPC_VERSION_MINIMUM, VERSION};
use crate::settings::Schedule;
use crate::settings_patch::{SettingsPatch, switched};
use crate::state::DaemonState;
use crate::torrent::Phase;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What limits are while their value was never said: Transmission's defaults.
const KILO: u64 = 1000;
const RATE: u64 = 100 * KILO;
const ALT_RATE: u64 = 50 * KILO;
const RATIO: f64 = 2.0;
const IDLE_MINUTES: u64 = 30;
const DOWNLOADS: u32 = 5;
const SEEDS: u32 = 10;
const STALLED_MINUTES: u32 = 30;
const DAY: Schedule = Schedule { from: 9 * 60, to: 17 * 60, days: 127 };

/// Returns the session's keys; those in `fields`, or all.
pub(super) fn get(state: &DaemonState, fields: Option<&[String]>) -> Value {
    let all = [limits(state), queue(state), network(state), files(state), fixed(state)].concat();
    let is_asked =
        |name: &str| fields.is_none_or(|fields| fields.iter().any(|field| field == name));
    let keys = all.into_iter().filter(|(name, _)| is_asked(name));
    keys.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

type Keys = Vec<(&'static str, Value)>;

fn limits(state: &DaemonState) -> Keys {
    let settings = &state.settings;
    let rates = settings.session.limits;
    let schedule = settings.schedule.unwrap_or(DAY);
    let kilo =
        |rate: Option<u64>, default: u64| Value::from(rate.unwrap_or(default).div_ceil(KILO));
    vec![
        ("alt_speed_down", kilo(settings.slow_limits.down, ALT_RATE)),
        ("alt_speed_enabled", settings.slow.into()),
        ("alt_speed_time_begin", schedule.from.into()),
        ("alt_speed_time_day", schedule.days.into()),
        ("alt_speed_time_enabled", settings.schedule.is_some().into()),
        ("alt_speed_time_end", schedule.to.into()),
        ("alt_speed_up", kilo(settings.slow_limits.up, ALT_RATE)),
        ("idle_seeding_limit", settings.seed_limits.idle_minutes.unwrap_or(IDLE_MINUTES).into()),
        ("idle_seeding_limit_enabled", settings.seed_limits.idle_minutes.is_some().into()),
        ("seed_ratio_limit", settings.seed_limits.ratio.unwrap_or(RATIO).into()),
        ("seed_ratio_limited", settings.seed_limits.ratio.is_some().into()),
        ("speed_limit_down", kilo(rates.down, RATE)),
        ("speed_limit_down_enabled", rates.down.is_some().into()),
        ("speed_limit_up", kilo(rates.up, RATE)),
        ("speed_limit_up_enabled", rates.up.is_some().into()),
    ]
}

fn queue(state: &DaemonState) -> Keys {
    let queue = state.settings.queue;
    let stalled = queue.stalled_after.map_or(STALLED_MINUTES, |seconds| seconds.div_ceil(60));
    vec![
        ("download_queue_enabled", queue.downloads.is_some().into()),
        ("download_queue_size", queue.downloads.unwrap_or(DOWNLOADS).into()),
        ("queue_stalled_enabled", queue.stalled_after.is_some().into()),
        ("queue_stalled_minutes", stalled.into()),
        ("seed_queue_enabled", queue.seeds.is_some().into()),
        ("seed_queue_size", queue.seeds.unwrap_or(SEEDS).into()),
        ("start_added_torrents", state.settings.start_added.into()),
    ]
}

fn network(state: &DaemonState) -> Keys {
    let session = &state.settings.session;
    let blocklist = &state.settings.blocklist;
    let port = state.session.listen.first().map_or(0, std::net::SocketAddr::port);
    vec![
        ("blocklist_enabled", blocklist.enabled.into()),
        ("blocklist_size", state.blocklist_ranges.into()),
        ("blocklist_url", blocklist.url.clone().unwrap_or_default().into()),
        ("default_trackers", "".into()),
        ("dht_enabled", (session.dht && state.session.dht.is_some()).into()),
        ("encryption", "tolerated".into()),
        ("lpd_enabled", session.lsd.into()),
        ("peer_limit_global", session.connections_max.unwrap_or(500).into()),
        ("peer_limit_per_torrent", session.peers_max.unwrap_or(100).into()),
        ("peer_port", port.into()),
        ("peer_port_random_on_start", false.into()),
        ("pex_enabled", session.pex.into()),
        ("port_forwarding_enabled", false.into()),
        ("preferred_transports", json!(["tcp"])),
        ("reqq", 2000.into()),
        ("tcp_enabled", true.into()),
        ("utp_enabled", false.into()),
    ]
}

fn files(state: &DaemonState) -> Keys {
    let text = |path: &Path| Value::from(path.to_string_lossy().trim_end_matches('/'));
    let dir = &state.settings.dir;
    let incomplete = state.settings.incomplete_dir.as_deref();
    let space = state.free_space.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    vec![
        ("cache_size_mib", 4.into()),
        ("config_dir", "".into()),
        ("download_dir", text(dir)),
        ("download_dir_free_space", space.into()),
        ("incomplete_dir", text(incomplete.unwrap_or(dir))),
        ("incomplete_dir_enabled", incomplete.is_some().into()),
        ("rename_partial_files", false.into()),
        ("script_torrent_added_enabled", false.into()),
        ("script_torrent_added_filename", "".into()),
        ("script_torrent_done_enabled", false.into()),
        ("script_torrent_done_filename", "".into()),
        ("script_torrent_done_seeding_enabled", false.into()),
        ("script_torrent_done_seeding_filename", "".into()),
        ("sequential_download", false.into()),
        ("trash_original_torrent_files", false.into()),
    ]
}

fn fixed(state: &DaemonState) -> Keys {
    let speed = ["B/s", "kB/s", "MB/s", "GB/s", "TB/s"];
    let size = ["B", "kB", "MB", "GB", "TB"];
    let memory = ["B", "KiB", "MiB", "GiB", "TiB"];
    vec![
        ("anti_brute_force_enabled", true.into()),
        ("anti_brute_force_threshold", 5.into()),
        ("rpc_version", RPC_VERSION.into()),
        ("rpc_version_minimum", RPC_VERSION_MINIMUM.into()),
        ("rpc_version_semver", RPC_SEMVER.into()),
        ("session_id", format!("{:x}", state.started).into()),
        (
            "units",
            json!({
                "speed_units": speed, "speed_bytes": 1000,
                "size_units": size, "size_bytes": 1000,
                "memory_units": memory, "memory_bytes": 1024,
            }),
        ),
        ("version", VERSION.into()),
    ]
}

/// Returns the change of our settings that these keys ask for: a merge patch.
pub(super) fn set(params: &Map<String, Value>, state: &DaemonState) -> Result<Value, RpcError> {
    let now = &state.settings;
    let mut patch = SettingsPatch::default();
    for (key, place) in [("dht_enabled", "dht"), ("lpd_enabled", "lsd"), ("pex_enabled", "pex")] {
        patch.set(&["session", place], flag(params, key));
    }
    for (key, place) in
        [("peer_limit_global", "connections_max"), ("peer_limit_per_torrent", "peers_max")]
    {
        patch.set(&["session", place], number(params, key));
    }
    let rates = now.session.limits;
    patch.set(&["session", "limits", "down"], rate(params, "speed_limit_down", rates.down));
    patch.set(&["session", "limits", "up"], rate(params, "speed_limit_up", rates.up));
    for (key, place) in [("alt_speed_down", "down"), ("alt_speed_up", "up")] {
        let value = number(params, key).map(|kilo| kilo.saturating_mul(KILO));
        patch.set(&["slow_limits", place], value);
    }
    patch.set(&["blocklist", "enabled"], flag(params, "blocklist_enabled"));
    let url = params.get("blocklist_url").and_then(Value::as_str);
    patch.set(&["blocklist", "url"], url);
    patch.set(&["slow"], flag(params, "alt_speed_enabled"));
    patch.set(&["schedule"], schedule(params, now.schedule));
    patch.set(&["start_added"], flag(params, "start_added_torrents"));

    let stalled = number(params, "queue_stalled_minutes").map(|minutes| minutes.saturating_mul(60));
    let size = |key: &str| number(params, key);
    for (switch, value, place, before, default) in [
        (
            "download_queue_enabled",
            size("download_queue_size"),
            "downloads",
            now.queue.downloads,
            DOWNLOADS,
        ),
        ("seed_queue_enabled", size("seed_queue_size"), "seeds", now.queue.seeds, SEEDS),
        (
            "queue_stalled_enabled",
            stalled,
            "stalled_after",
            now.queue.stalled_after,
            STALLED_MINUTES * 60,
        ),
    ] {
        let before = before.map(u64::from);
        let value = switched(flag(params, switch), value, before, u64::from(default));
        patch.set(&["queue", place], value);
    }

    let ratio = params.get("seed_ratio_limit").and_then(Value::as_f64);
    let value = switched(flag(params, "seed_ratio_limited"), ratio, now.seed_limits.ratio, RATIO);
    patch.set(&["seed_limits", "ratio"], value);
    let idle = number(params, "idle_seeding_limit");
    let switch = flag(params, "idle_seeding_limit_enabled");
    let value = switched(switch, idle, now.seed_limits.idle_minutes, IDLE_MINUTES);
    patch.set(&["seed_limits", "idle_minutes"], value);

    patch.set(&["dir"], dir(params, "download_dir")?);
    let place = dir(params, "incomplete_dir")?;
    let before = now.incomplete_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
    let default = now.dir.join("incomplete").to_string_lossy().into_owned();
    let switch = flag(params, "incomplete_dir_enabled");
    patch.set(&["incomplete_dir"], switched(switch, place, before, default));
    Ok(patch.into_value())
}

fn flag(params: &Map<String, Value>, key: &str) -> Option<bool> {
    params.get(key).and_then(Value::as_bool)
}

fn number(params: &Map<String, Value>, key: &str) -> Option<u64> {
    let value = params.get(key)?;
    value.as_u64().or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|n| n as u64))
}

fn rate(params: &Map<String, Value>, key: &str, now: Option<u64>) -> Option<Option<u64>> {
    let value = number(params, key).map(|kilo| kilo.saturating_mul(KILO));
    switched(flag(params, &format!("{key}_enabled")), value, now, RATE)
}

fn schedule(params: &Map<String, Value>, now: Option<Schedule>) -> Option<Value> {
    let before = now.unwrap_or(DAY);
    let minute = |key: &str| {
        number(params, key).and_then(|minute| u16::try_from(minute).ok()).filter(|m| *m < 24 * 60)
    };
    let days = number(params, "alt_speed_time_day").and_then(|days| u8::try_from(days & 127).ok());
    let (from, to) = (minute("alt_speed_time_begin"), minute("alt_speed_time_end"));
    let is_changed = from.is_some() || to.is_some() || days.is_some();
    let value = Schedule {
        from: from.unwrap_or(before.from),
        to: to.unwrap_or(before.to),
        days: days.unwrap_or(before.days),
    };
    let changed =
        switched(flag(params, "alt_speed_time_enabled"), is_changed.then_some(value), now, value);
    changed.map(|schedule| serde_json::to_value(schedule).unwrap_or_default())
}

fn dir(params: &Map<String, Value>, key: &str) -> Result<Option<String>, RpcError> {
    let Some(text) = params.get(key).and_then(Value::as_str) else { return Ok(None) };
    if !Path::new(text).is_absolute() {
        return Err(RpcError::new(3, format!("{} is not absolute", key.replace('_', "-"))));
    }
    Ok(Some(text.to_owned()))
}

/// Returns the statistics.
pub(super) fn stats(state: &DaemonState) -> Value {
    let is_active =
        |phase: &Phase| matches!(phase, Phase::Metadata(_) | Phase::Downloading | Phase::Seeding);
    let active = state.torrents().filter(|torrent| is_active(&torrent.live.phase)).count();
    let paused = state.torrents().filter(|torrent| torrent.live.phase == Phase::Stopped).count();
    let view = &state.session;
    let sums = |up: u64, down: u64, seconds: u64| {
        json!({
            "downloaded_bytes": down,
            "files_added": state.len(),
            "seconds_active": seconds,
            "session_count": 1,
            "uploaded_bytes": up,
        })
    };
    let uptime = state.now.saturating_sub(state.started);
    let (up, down) = state.earlier;
    json!({
        "active_torrent_count": active,
        "cumulative_stats": sums(
            up.saturating_add(view.bytes_up),
            down.saturating_add(view.bytes_down),
            uptime,
        ),
        "current_stats": sums(view.bytes_up, view.bytes_down, uptime),
        "download_speed": view.down_rate,
        "paused_torrent_count": paused,
        "torrent_count": state.len(),
        "upload_speed": view.up_rate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_a_merge_patch_of_our_settings() {
        let state = DaemonState::default();
        let set = |params: Value| match params {
            Value::Object(params) => set(&params, &state),
            _ => panic!("an object"),
        };
        for (params, patch) in [
            (json!({"unknown": 1, "script_torrent_done_filename": "/bin/sh"}), json!({})),
            (
                json!({"speed_limit_down": 50, "speed_limit_down_enabled": true}),
                json!({"session": {"limits": {"down": 50_000}}}),
            ),
            (json!({"speed_limit_down": 50}), json!({})),
            (
                json!({"speed_limit_up_enabled": false}),
                json!({"session": {"limits": {"up": null}}}),
            ),
            (
                json!({"alt_speed_enabled": true, "alt_speed_up": 7}),
                json!({"slow_limits": {"up": 7000}, "slow": true}),
            ),
            (
                json!({"alt_speed_time_enabled": true, "alt_speed_time_begin": 0}),
                json!({"schedule": {"from": 0, "to": 1020, "days": 127}}),
            ),
            (json!({"download_queue_enabled": true}), json!({"queue": {"downloads": 5}})),
            (json!({"seedRatioLimit": 1}), json!({})),
            (json!({"download_dir": "/data"}), json!({"dir": "/data"})),
        ] {
            assert_eq!(set(params.clone()).expect("a patch"), patch, "{params}");
        }
        assert_eq!(set(json!({"download_dir": "data"})).expect_err("refused").code, 3);
    }

    #[test]
    fn some_keys_or_all_are_answered() {
        let state = DaemonState::default();
        let some = get(&state, Some(&["version".into(), "nonsense".into()]));
        assert_eq!(some, json!({"version": VERSION}));
        assert!(get(&state, None).as_object().expect("an object").len() > 50);
        assert_eq!(get(&state, None)["speed_limit_down"], 100, "an integer");
    }
}
