//! The names of the two protocols: `downloadDir`, `download-dir` and `download_dir`.
//!
//! Decides: the spelling of each name in the older protocol.
//! Must not know: what a name means.
//! Invariant: a name that was spelled in any style is read as one name in snake_case.

use serde_json::{Map, Value};

/// Returns a name in snake_case, whatever its style.
pub(super) fn snake(name: &str) -> String {
    match name {
        "cache-size-mb" => return "cache_size_mib".into(),
        "isUTP" => return "is_utp".into(),
        _ => {}
    }
    let mut text = String::with_capacity(name.len() + 4);
    let mut before_is_lower = false;
    for c in name.chars() {
        if c == '-' {
            text.push('_');
        } else if c.is_ascii_uppercase() {
            if before_is_lower {
                text.push('_');
            }
            text.push(c.to_ascii_lowercase());
        } else {
            text.push(c);
        }
        before_is_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    text
}

/// Reads the names of an object, and of no object inside, as snake_case.
pub(super) fn snake_keys(object: Map<String, Value>) -> Map<String, Value> {
    object.into_iter().map(|(key, value)| (snake(&key), value)).collect()
}

/// Names that the older protocol spells with dashes, where it spells others in camelCase.
const DASHED: &[&str] = &[
    "cumulative_stats",
    "current_stats",
    "file_count",
    "peer_limit",
    "primary_mime_type",
    "torrent_added",
    "torrent_duplicate",
    "blocklist_size",
    "port_is_open",
    "size_bytes",
];
/// Names that are in snake_case in both protocols: those that came with JSON-RPC.
const SNAKE: &[&str] = &[
    "begin_piece",
    "bytes_to_client",
    "bytes_to_peer",
    "download_bytes_per_second",
    "downloader_count",
    "end_piece",
    "ip_protocol",
    "is_downloading",
    "peer_id",
    "preferred_transports",
    "sequential_download",
    "sequential_download_from_piece",
    "webseeds_ex",
];

/// Returns how the older protocol spells a name of a torrent, a peer, a file or a statistic.
fn old_torrent_name(name: &str) -> String {
    if name == "is_utp" {
        return "isUTP".into();
    }
    if DASHED.contains(&name) {
        return name.replace('_', "-");
    }
    if SNAKE.contains(&name) {
        return name.into();
    }
    camel(name)
}

/// Returns how the older protocol spells a name of the session.
fn old_session_name(name: &str) -> String {
    match name {
        "cache_size_mib" => "cache-size-mb".into(),
        "seed_ratio_limit" | "seed_ratio_limited" => camel(name),
        name if SNAKE.contains(&name) => name.into(),
        name => name.replace('_', "-"),
    }
}

fn camel(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for (number, word) in name.split('_').enumerate() {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if number > 0 => text.push(first.to_ascii_uppercase()),
            Some(first) => text.push(first),
            None => continue,
        }
        text.push_str(letters.as_str());
    }
    text
}

/// Spells all names of a value as the older protocol does for torrents.
pub(super) fn spell_torrent(value: Value) -> Value {
    respell(value, &old_torrent_name)
}

/// Spells all names of a value as the older protocol does for the session.
pub(super) fn spell_session(value: Value) -> Value {
    respell(value, &old_session_name)
}

fn respell(value: Value, spell: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .map(|(key, value)| (spell(&key), respell(value, spell)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(array) => array.into_iter().map(|value| respell(value, spell)).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_name_in_every_style() {
        for (old, new) in [
            ("downloadDir", "download_dir"),
            ("download-dir", "download_dir"),
            ("download_dir", "download_dir"),
            ("isUTP", "is_utp"),
            ("cache-size-mb", "cache_size_mib"),
            ("files-wanted", "files_wanted"),
            ("seedRatioLimited", "seed_ratio_limited"),
            ("torrent-get", "torrent_get"),
            ("recently-active", "recently_active"),
            ("sequential_download", "sequential_download"),
        ] {
            assert_eq!(snake(old), new);
        }
    }

    #[test]
    fn the_older_protocol_spells_by_its_own_rules() {
        for (new, torrent, session) in [
            ("download_dir", "downloadDir", "download-dir"),
            ("peer_limit", "peer-limit", "peer-limit"),
            ("is_utp", "isUTP", "is-utp"),
            ("seed_ratio_limit", "seedRatioLimit", "seedRatioLimit"),
            ("begin_piece", "begin_piece", "begin_piece"),
            ("cache_size_mib", "cacheSizeMib", "cache-size-mb"),
            ("cumulative_stats", "cumulative-stats", "cumulative-stats"),
            ("id", "id", "id"),
        ] {
            assert_eq!(
                (old_torrent_name(new), old_session_name(new)),
                (torrent.into(), session.into())
            );
        }
        let nested = serde_json::json!({"tracker_stats": [{"last_announce_time": 1}]});
        let spelled = serde_json::json!({"trackerStats": [{"lastAnnounceTime": 1}]});
        assert_eq!(spell_torrent(nested), spelled);
    }
}
