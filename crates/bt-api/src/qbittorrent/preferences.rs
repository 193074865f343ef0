//! `app/preferences`, `app/setPreferences` and the state of the server.
//!
//! Decides: which preferences are settings of ours, and what the others answer.
//! Must not know: requests.
//! Invariant: what is set and unknown is ignored. No program to run can be set.

use crate::rss::REFRESH_MIN;
use crate::seed_limits::SeedAction;
use crate::settings::Schedule;
use crate::settings_patch::{SettingsPatch, switched};
use crate::state::DaemonState;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::path::Path;

const DOWNLOADS: u32 = 3;
const SEEDS: u32 = 3;
const TOTAL: u32 = 5;

/// Returns the preferences.
pub(super) fn get(state: &DaemonState) -> Value {
    let parts = [downloads(state), limits(state), network(state), others(state)];
    parts.into_iter().flatten().collect::<Map<_, _>>().into()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn downloads(state: &DaemonState) -> Map<String, Value> {
    let settings = &state.settings;
    let text = |path: &Path| super::rows::path(path);
    let temp = settings.incomplete_dir.clone().unwrap_or_else(|| settings.dir.join("incomplete"));
    object(json!({
        "add_stopped_enabled": !settings.start_added,
        "add_to_top_of_queue": false,
        "auto_delete_mode": 0,
        "auto_tmm_enabled": false,
        "autorun_enabled": false,
        "autorun_on_torrent_added_enabled": false,
        "autorun_on_torrent_added_program": "",
        "autorun_program": "",
        "category_changed_tmm_enabled": true,
        "create_subfolder_enabled": true,
        "excluded_file_names": "",
        "excluded_file_names_enabled": false,
        "export_dir": "",
        "export_dir_fin": "",
        "incomplete_files_ext": false,
        "preallocate_all": false,
        "save_path": text(&settings.dir),
        "save_path_changed_tmm_enabled": false,
        "scan_dirs": {},
        "start_paused_enabled": !settings.start_added,
        "temp_path": text(&temp),
        "temp_path_enabled": settings.incomplete_dir.is_some(),
        "torrent_changed_tmm_enabled": true,
        "torrent_content_layout": "Original",
        "torrent_content_remove_option": "Delete",
        "torrent_stop_condition": "None",
        "use_category_paths_in_manual_mode": true,
    }))
}

fn limits(state: &DaemonState) -> Map<String, Value> {
    let settings = &state.settings;
    let (rates, slow) = (settings.session.limits, settings.slow_limits);
    let schedule = settings.schedule.unwrap_or(Schedule { from: 480, to: 1200, days: 127 });
    let (queue, seeds) = (settings.queue, settings.seed_limits);
    let signed =
        |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    object(json!({
        "alt_dl_limit": slow.down.unwrap_or(0),
        "alt_up_limit": slow.up.unwrap_or(0),
        "bittorrent_protocol": 1,
        "dl_limit": rates.down.unwrap_or(0),
        "dont_count_slow_torrents": queue.stalled_after.is_some(),
        "limit_lan_peers": true,
        "limit_tcp_overhead": false,
        "limit_utp_rate": true,
        "max_active_checking_torrents": 1,
        "max_active_downloads": queue.downloads.unwrap_or(DOWNLOADS),
        "max_active_torrents": queue.total.unwrap_or(TOTAL),
        "max_active_uploads": queue.seeds.unwrap_or(SEEDS),
        "max_inactive_seeding_time": signed(seeds.idle_minutes),
        "max_inactive_seeding_time_enabled": seeds.idle_minutes.is_some(),
        "max_ratio": seeds.ratio.unwrap_or(-1.0),
        "max_ratio_act": action_number(seeds.action),
        "max_ratio_enabled": seeds.ratio.is_some(),
        "max_seeding_time": signed(seeds.minutes),
        "max_seeding_time_enabled": seeds.minutes.is_some(),
        "queueing_enabled": queue.downloads.or(queue.seeds).or(queue.total).is_some(),
        "schedule_from_hour": schedule.from / 60,
        "schedule_from_min": schedule.from % 60,
        "schedule_to_hour": schedule.to / 60,
        "schedule_to_min": schedule.to % 60,
        "scheduler_days": day_number(schedule.days),
        "scheduler_enabled": settings.schedule.is_some(),
        "slow_torrent_dl_rate_threshold": 2,
        "slow_torrent_inactive_timer": queue.stalled_after.unwrap_or(60),
        "slow_torrent_ul_rate_threshold": 2,
        "up_limit": rates.up.unwrap_or(0),
    }))
}

fn network(state: &DaemonState) -> Map<String, Value> {
    let session = &state.settings.session;
    let port = state.session.listen.first().map_or(0, std::net::SocketAddr::port);
    let banned: Vec<String> =
        state.settings.blocklist.banned.iter().map(ToString::to_string).collect();
    object(json!({
        "add_trackers": "",
        "add_trackers_enabled": false,
        "announce_ip": "",
        "announce_to_all_tiers": false,
        "announce_to_all_trackers": false,
        "anonymous_mode": false,
        "banned_IPs": banned.join("\n"),
        "current_interface_address": "",
        "current_interface_name": "",
        "current_network_interface": "",
        "dht": session.dht && state.session.dht.is_some(),
        "encryption": 2,
        "ip_filter_enabled": state.settings.blocklist.enabled,
        "ip_filter_path": "",
        "ip_filter_trackers": false,
        "listen_port": port,
        "lsd": session.lsd,
        "max_connec": session.connections_max.unwrap_or(500),
        "max_connec_per_torrent": session.peers_max.unwrap_or(100),
        "max_uploads": -1,
        "max_uploads_per_torrent": -1,
        "pex": session.pex,
        "proxy_auth_enabled": false,
        "proxy_ip": "0.0.0.0",
        "proxy_peer_connections": false,
        "proxy_port": 8080,
        "proxy_type": "None",
        "random_port": false,
        "upnp": false,
    }))
}

fn others(state: &DaemonState) -> Map<String, Value> {
    let rss = state.settings.rss;
    object(json!({
        "file_log_enabled": false,
        "locale": "en",
        "mail_notification_enabled": false,
        "performance_warning": false,
        "refresh_interval": 1500,
        "resume_data_storage_type": "Legacy",
        "rss_auto_downloading_enabled": rss.auto_add,
        "rss_download_repack_proper_episodes": rss.repacks,
        "rss_max_articles_per_feed": rss.articles_max,
        "rss_processing_enabled": rss.enabled,
        "rss_refresh_interval": rss.refresh_minutes,
        "web_ui_address": "*",
        "web_ui_ban_duration": 3600,
        "web_ui_csrf_protection_enabled": true,
        "web_ui_host_header_validation_enabled": true,
        "web_ui_max_auth_fail_count": 5,
        "web_ui_session_timeout": 3600,
        "web_ui_use_custom_http_headers_enabled": false,
    }))
}

fn action_number(action: SeedAction) -> u8 {
    match action {
        SeedAction::Stop => 0,
        SeedAction::Remove => 1,
        SeedAction::RemoveWithData => 3,
    }
}

/// Returns days as a number: 0 every day, 1 weekdays, 2 the weekend, 3 to 9 Monday to Sunday.
fn day_number(days: u8) -> u8 {
    match days & 127 {
        0b011_1110 => 1,
        0b100_0001 => 2,
        one if one.count_ones() == 1 => {
            // Bit 0 is Sunday.
            let bit = one.trailing_zeros();
            if bit == 0 { 9 } else { 2 + u8::try_from(bit).unwrap_or(0) }
        }
        _ => 0,
    }
}

fn days_of(number: i64) -> u8 {
    match number {
        1 => 0b011_1110,
        2 => 0b100_0001,
        3..=8 => 1 << (number - 2),
        9 => 1,
        _ => 127,
    }
}

/// Returns the change of our settings that these preferences ask for: a merge patch.
pub(super) fn set(wanted: &Map<String, Value>, state: &DaemonState) -> Value {
    let now = &state.settings;
    let flag = |key: &str| wanted.get(key).and_then(Value::as_bool);
    let number = |key: &str| wanted.get(key).and_then(Value::as_i64);
    let count = |key: &str| number(key).and_then(|number| u64::try_from(number).ok());
    // 0 means none.
    let rate = |key: &str| count(key).map(|rate| Some(rate).filter(|rate| *rate > 0));
    let text = |key: &str| wanted.get(key).and_then(Value::as_str);
    let mut patch = SettingsPatch::default();
    for (key, place) in [("dht", "dht"), ("lsd", "lsd"), ("pex", "pex")] {
        patch.set(&["session", place], flag(key));
    }
    for (key, place) in [("max_connec", "connections_max"), ("max_connec_per_torrent", "peers_max")]
    {
        patch.set(
            &["session", place],
            number(key).map(|n| u64::try_from(n).ok().filter(|n| *n > 0)),
        );
    }
    patch.set(&["session", "limits", "down"], rate("dl_limit"));
    patch.set(&["session", "limits", "up"], rate("up_limit"));
    patch.set(&["slow_limits", "down"], rate("alt_dl_limit"));
    patch.set(&["slow_limits", "up"], rate("alt_up_limit"));
    let stopped = flag("add_stopped_enabled").or(flag("start_paused_enabled"));
    patch.set(&["start_added"], stopped.map(|stopped| !stopped));
    patch.set(&["dir"], text("save_path").filter(|path| path.starts_with('/')));
    let temp = text("temp_path").filter(|path| path.starts_with('/')).map(str::to_owned);
    let before = now.incomplete_dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
    let default = now.dir.join("incomplete").to_string_lossy().into_owned();
    patch.set(&["incomplete_dir"], switched(flag("temp_path_enabled"), temp, before, default));

    let queue = now.queue;
    for (key, place, before, default) in [
        ("max_active_downloads", "downloads", queue.downloads, DOWNLOADS),
        ("max_active_uploads", "seeds", queue.seeds, SEEDS),
        ("max_active_torrents", "total", queue.total, TOTAL),
    ] {
        let value = count(key).map(|value| value.min(u64::from(u32::MAX)));
        let value =
            switched(flag("queueing_enabled"), value, before.map(u64::from), default.into());
        patch.set(&["queue", place], value);
    }
    let timer = count("slow_torrent_inactive_timer");
    let before = queue.stalled_after.map(u64::from);
    let value = switched(flag("dont_count_slow_torrents"), timer, before, 60);
    patch.set(&["queue", "stalled_after"], value);

    patch.set(&["blocklist", "enabled"], flag("ip_filter_enabled"));
    let banned = text("banned_IPs").map(|text| {
        let addresses = text.lines().filter_map(|line| line.trim().parse::<IpAddr>().ok());
        addresses.map(|ip| Value::from(ip.to_canonical().to_string())).collect::<Vec<_>>()
    });
    patch.set(&["blocklist", "banned"], banned);
    for (key, place) in [
        ("rss_processing_enabled", "enabled"),
        ("rss_auto_downloading_enabled", "auto_add"),
        ("rss_download_repack_proper_episodes", "repacks"),
    ] {
        patch.set(&["rss", place], flag(key));
    }
    for (key, place, least) in [
        ("rss_refresh_interval", "refresh_minutes", REFRESH_MIN.into()),
        ("rss_max_articles_per_feed", "articles_max", 1),
    ] {
        let value = count(key).map(|value| value.clamp(least, u64::from(u32::MAX)));
        patch.set(&["rss", place], value);
    }

    let seeds = now.seed_limits;
    let ratio = wanted.get("max_ratio").and_then(Value::as_f64).filter(|ratio| *ratio >= 0.0);
    let value = switched(flag("max_ratio_enabled"), ratio, seeds.ratio, 1.0);
    patch.set(&["seed_limits", "ratio"], value);
    let value =
        switched(flag("max_seeding_time_enabled"), count("max_seeding_time"), seeds.minutes, 1440);
    patch.set(&["seed_limits", "minutes"], value);
    let idle = count("max_inactive_seeding_time");
    let value = switched(flag("max_inactive_seeding_time_enabled"), idle, seeds.idle_minutes, 1440);
    patch.set(&["seed_limits", "idle_minutes"], value);
    let action = number("max_ratio_act").and_then(|action| match action {
        0 | 2 => Some("stop"),
        1 => Some("remove"),
        3 => Some("remove_with_data"),
        _ => None,
    });
    patch.set(&["seed_limits", "action"], action);
    if let Some(schedule) = schedule(wanted, now.schedule) {
        patch.set(&["schedule"], Some(schedule));
    }
    patch.into_value()
}

fn schedule(wanted: &Map<String, Value>, now: Option<Schedule>) -> Option<Value> {
    let number = |key: &str| wanted.get(key).and_then(Value::as_i64);
    let before = now.unwrap_or(Schedule { from: 480, to: 1200, days: 127 });
    let minute = |hour: &str, min: &str, before: u16| {
        let part = |key: &str, before: u16, end: i64| {
            let new = number(key).filter(|number| (0..end).contains(number));
            new.and_then(|number| u16::try_from(number).ok()).unwrap_or(before)
        };
        part(hour, before / 60, 24) * 60 + part(min, before % 60, 60)
    };
    let value = Schedule {
        from: minute("schedule_from_hour", "schedule_from_min", before.from),
        to: minute("schedule_to_hour", "schedule_to_min", before.to),
        days: number("scheduler_days").map_or(before.days, days_of),
    };
    let is_changed = value != before;
    let enabled = wanted.get("scheduler_enabled").and_then(Value::as_bool);
    let changed = switched(enabled, is_changed.then_some(value), now, value);
    changed.map(|schedule| serde_json::to_value(schedule).unwrap_or_default())
}

/// Returns `transfer/info`.
pub(super) fn transfer(state: &DaemonState) -> Map<String, Value> {
    let view = &state.session;
    let limits = state.settings.session_now().limits;
    let status = match (view.listen.is_empty(), view.connections) {
        (true, _) => "disconnected",
        (false, 0) if !state.is_empty() => "firewalled",
        (false, _) => "connected",
    };
    object(json!({
        "connection_status": status,
        "dht_nodes": view.dht.map_or(0, |dht| dht.nodes),
        "dl_info_data": view.bytes_down,
        "dl_info_speed": view.down_rate,
        "dl_rate_limit": limits.down.unwrap_or(0),
        "last_external_address_v4": "",
        "last_external_address_v6": "",
        "up_info_data": view.bytes_up,
        "up_info_speed": view.up_rate,
        "up_rate_limit": limits.up.unwrap_or(0),
    }))
}

/// Returns `server_state` of `sync/maindata`.
pub(super) fn server_state(state: &DaemonState) -> Map<String, Value> {
    let (up, down) = state.earlier;
    let up = up.saturating_add(state.session.bytes_up);
    let down = down.saturating_add(state.session.bytes_down);
    let ratio = if down > 0 { format!("{:.2}", up as f64 / down as f64) } else { "-".into() };
    let queue = state.settings.queue;
    let mut all = transfer(state);
    all.extend(object(json!({
        "alltime_dl": down,
        "alltime_ul": up,
        "average_time_queue": 0,
        "free_space_on_disk": state.free_space.unwrap_or(0),
        "global_ratio": ratio,
        "queued_io_jobs": state.session.disk_orders,
        "queueing": queue.downloads.or(queue.seeds).or(queue.total).is_some(),
        "read_cache_hits": "0",
        "read_cache_overload": "0",
        "refresh_interval": 1500,
        "total_buffers_size": state.session.store_bytes,
        "total_peer_connections": state.session.connections,
        "total_queued_size": 0,
        "total_wasted_session": 0,
        "use_alt_speed_limits": state.settings.slow,
        "use_subcategories": true,
        "write_cache_overload": "0",
    })));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_become_a_merge_patch_of_our_settings() {
        let state = DaemonState::default();
        for (wanted, patch) in [
            (
                json!({"unknown": 1, "autorun_program": "/bin/sh", "web_ui_password": "x"}),
                json!({}),
            ),
            (
                json!({"dl_limit": 5000, "up_limit": 0}),
                json!({"session": {"limits": {"down": 5000, "up": null}}}),
            ),
            (json!({"max_connec": -1}), json!({"session": {"connections_max": null}})),
            (
                json!({"queueing_enabled": true, "max_active_downloads": 7}),
                json!({"queue": {"downloads": 7, "seeds": 3, "total": 5}}),
            ),
            (
                json!({"max_ratio_enabled": true, "max_ratio": 2, "max_ratio_act": 3}),
                json!({"seed_limits": {"ratio": 2.0, "action": "remove_with_data"}}),
            ),
            (
                json!({"save_path": "/data", "temp_path_enabled": true, "temp_path": "/tmp/x"}),
                json!({"dir": "/data", "incomplete_dir": "/tmp/x"}),
            ),
            (
                json!({"scheduler_enabled": true, "schedule_from_hour": 1, "scheduler_days": 1}),
                json!({"schedule": {"from": 60, "to": 1200, "days": 62}}),
            ),
            (json!({"start_paused_enabled": true}), json!({"start_added": false})),
        ] {
            let Value::Object(wanted) = wanted else { panic!("an object") };
            assert_eq!(set(&wanted, &state), patch, "{wanted:?}");
        }
    }

    #[test]
    fn days_are_numbers_and_back() {
        for number in 0..=9 {
            assert_eq!(i64::from(day_number(days_of(number))), number);
        }
    }
}
