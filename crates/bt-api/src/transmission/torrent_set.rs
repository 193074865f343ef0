//! The parameters of `torrent-set` and `torrent-add` as a patch.
//!
//! Decides: what a parameter changes.
//! Must not know: the protocols, how a patch is carried out.
//! Invariant: a number of a file that does not exist is an error; unknown names are ignored.

use super::call::RpcError;
use crate::command::{SeedLimitsPatch, TorrentPatch};
use crate::details::{Details, File};
use crate::seed_limits::Limit;
use crate::torrent::Torrent;
use bt_model::{PieceOrder, Priority};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What limits are while their value was never said: Transmission's defaults.
const RATE: u64 = 100_000;
const RATIO: f64 = 2.0;
const IDLE_MINUTES: u64 = 30;

/// Returns the changes to a torrent; to one that is not there yet without `torrent`.
pub(super) fn patch(
    params: &Map<String, Value>,
    torrent: Option<&Torrent>,
) -> Result<TorrentPatch, RpcError> {
    let settings = torrent.map(|torrent| &torrent.record.settings);
    let limits = settings.map(|settings| settings.limits).unwrap_or_default();
    let labels = labels(params)?;
    Ok(TorrentPatch {
        down_limit: rate(params, "download_limit", limits.down),
        up_limit: rate(params, "upload_limit", limits.up),
        order: params.get("sequential_download").and_then(Value::as_bool).map(|sequential| {
            if sequential { PieceOrder::Sequential } else { PieceOrder::RarestFirst }
        }),
        files: files(params, torrent)?,
        trackers: trackers(params, torrent)?,
        group: params.get("group").and_then(Value::as_str).map(str::to_owned),
        peers_max: number(params, "peer_limit")
            .map(|max| Some(u32::try_from(max).unwrap_or(u32::MAX))),
        category: labels.as_ref().map(|labels| labels.first().cloned().unwrap_or_default()),
        tags: labels.map(|labels| labels.into_iter().skip(1).collect()),
        seed_limits: seed_limits(params, torrent),
        ..TorrentPatch::default()
    })
}

fn number(params: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = params.get(name)?;
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64))
}

/// Reads `NAME` in 1,000 bytes per second and `NAMEed`, which switches it.
fn rate(params: &Map<String, Value>, name: &str, now: Option<u64>) -> Option<Option<u64>> {
    let value = number(params, name).map(|kilo| kilo.saturating_mul(1000));
    match params.get(&format!("{name}ed")).and_then(Value::as_bool) {
        Some(false) => Some(None),
        Some(true) => Some(Some(value.or(now).unwrap_or(RATE))),
        // A value for a limit that is off changes nothing yet.
        None => value.filter(|_| now.is_some()).map(Some),
    }
}

fn seed_limits(params: &Map<String, Value>, torrent: Option<&Torrent>) -> SeedLimitsPatch {
    let now = torrent.map(|torrent| torrent.record.seed_limits).unwrap_or_default();
    SeedLimitsPatch {
        ratio: limit(
            params.get("seed_ratio_limit").and_then(Value::as_f64),
            number(params, "seed_ratio_mode"),
            now.ratio,
            RATIO,
        ),
        idle_minutes: limit(
            number(params, "seed_idle_limit"),
            number(params, "seed_idle_mode"),
            now.idle_minutes,
            IDLE_MINUTES,
        ),
        ..SeedLimitsPatch::default()
    }
}

fn limit<T>(value: Option<T>, mode: Option<u64>, now: Limit<T>, default: T) -> Option<Limit<T>> {
    let before = match now {
        Limit::At(before) => Some(before),
        Limit::Global | Limit::Unlimited => None,
    };
    match mode {
        Some(0) => Some(Limit::Global),
        Some(1) => Some(Limit::At(value.or(before).unwrap_or(default))),
        Some(2) => Some(Limit::Unlimited),
        _ if before.is_some() => value.map(Limit::At),
        _ => None,
    }
}

/// Reads labels: they replace those that are there. The first is the category, the others tags.
fn labels(params: &Map<String, Value>) -> Result<Option<Vec<String>>, RpcError> {
    let Some(labels) = params.get("labels") else { return Ok(None) };
    let labels = labels.as_array().map(Vec::as_slice).unwrap_or_default();
    let read = |label: &Value| {
        let text = label.as_str().map(str::trim).unwrap_or_default();
        if text.is_empty() || text.contains(',') {
            let why = "labels must not be empty and must have no comma";
            return Err(RpcError::params(why));
        }
        Ok(text.to_owned())
    };
    labels.iter().map(read).collect::<Result<_, _>>().map(Some)
}

/// Reads the priorities of files. An empty list means all of them.
fn files(
    params: &Map<String, Value>,
    torrent: Option<&Torrent>,
) -> Result<Vec<(usize, Priority)>, RpcError> {
    let all = torrent.map(|torrent| Details::files_of(None, torrent));
    let mut changes: Vec<(usize, Priority)> = Vec::new();
    let skipped: BTreeSet<usize> = chosen(params, "files_unwanted", all.as_deref())?;
    let wanted: BTreeSet<usize> = chosen(params, "files_wanted", all.as_deref())?;
    for (name, priority) in [
        ("priority_low", Priority::Low),
        ("priority_normal", Priority::Normal),
        ("priority_high", Priority::High),
    ] {
        for number in chosen(params, name, all.as_deref())? {
            changes.retain(|(other, _)| *other != number);
            changes.push((number, priority));
        }
    }
    // A file that is not wanted has no other priority here: it gets one when it is wanted again.
    let is_skipped_now = |number: usize| {
        torrent.is_some_and(|torrent| torrent.record.settings.file(number) == Priority::Skip)
    };
    changes.retain(|(number, _)| {
        !skipped.contains(number) && (wanted.contains(number) || !is_skipped_now(*number))
    });
    let has = |changes: &[(usize, Priority)], number: usize| {
        changes.iter().any(|(other, _)| *other == number)
    };
    for number in &wanted {
        let is_new = torrent.is_none() || is_skipped_now(*number);
        if is_new && !has(&changes, *number) && !skipped.contains(number) {
            changes.push((*number, Priority::Normal));
        }
    }
    changes.extend(skipped.into_iter().map(|number| (number, Priority::Skip)));
    Ok(changes)
}

/// Returns the numbers of the files that a parameter names.
fn chosen(
    params: &Map<String, Value>,
    name: &str,
    all: Option<&[File]>,
) -> Result<BTreeSet<usize>, RpcError> {
    let Some(list) = params.get(name).and_then(Value::as_array) else { return Ok(BTreeSet::new()) };
    let out_of_range = || RpcError::new(6, "file index out of range");
    if list.is_empty() {
        return Ok(all.unwrap_or_default().iter().map(|file| file.number).collect());
    }
    let find = |place: &Value| {
        let place = place.as_u64().and_then(|place| usize::try_from(place).ok());
        let place = place.ok_or_else(out_of_range)?;
        match all {
            Some(all) => all.get(place).map(|file| file.number).ok_or_else(out_of_range),
            None => Ok(place),
        }
    };
    list.iter().map(find).collect()
}

/// Reads changes to the trackers.
fn trackers(
    params: &Map<String, Value>,
    torrent: Option<&Torrent>,
) -> Result<Option<Option<Vec<Vec<String>>>>, RpcError> {
    if let Some(text) = params.get("tracker_list").and_then(Value::as_str) {
        return read_list(text).map(|tiers| Some(Some(tiers)));
    }
    let names = ["tracker_add", "tracker_remove", "tracker_replace"];
    if !names.iter().any(|name| params.contains_key(*name)) {
        return Ok(None);
    }
    let failed = || RpcError::new(1, "error setting announce list");
    let before = torrent.map(super::fields::numbered).unwrap_or_default();
    let mut now: Vec<(Option<usize>, usize, String)> =
        before.iter().cloned().map(|(id, tier, url)| (Some(id), tier, url)).collect();
    for (id, url) in pairs(params.get("tracker_replace"))? {
        let place = now.iter_mut().find(|(known, _, _)| *known == Some(id)).ok_or_else(failed)?;
        place.2 = checked(&url)?;
    }
    for id in array(params, "tracker_remove") {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok()).ok_or_else(failed)?;
        let length = now.len();
        now.retain(|(known, _, _)| *known != Some(id));
        if now.len() == length {
            return Err(failed());
        }
    }
    for url in array(params, "tracker_add") {
        let url = checked(url.as_str().ok_or_else(failed)?)?;
        if now.iter().any(|(_, _, known)| *known == url) {
            continue;
        }
        let tier = now.iter().map(|(_, tier, _)| tier + 1).max().unwrap_or(0);
        now.push((None, tier, url));
    }
    if now.len() == before.len() && now.iter().zip(&before).all(|(now, before)| now.2 == before.2) {
        return Err(failed());
    }
    let mut tiers: Vec<(usize, Vec<String>)> = Vec::new();
    for (_, tier, url) in now {
        match tiers.last_mut() {
            Some((last, urls)) if *last == tier => urls.push(url),
            _ => tiers.push((tier, vec![url])),
        }
    }
    Ok(Some(Some(tiers.into_iter().map(|(_, urls)| urls).collect())))
}

fn array<'a>(params: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    params.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Reads `[id, url, id, url…]`, or nested pairs, which a library sends.
fn pairs(value: Option<&Value>) -> Result<Vec<(usize, String)>, RpcError> {
    let Some(list) = value.and_then(Value::as_array) else { return Ok(Vec::new()) };
    let flat: Vec<&Value> = list
        .iter()
        .flat_map(|entry| entry.as_array().map_or(std::slice::from_ref(entry), Vec::as_slice))
        .collect();
    let pair = |pair: &[&Value]| match pair {
        [id, url] => {
            let id = id.as_u64().and_then(|id| usize::try_from(id).ok())?;
            Some((id, url.as_str()?.to_owned()))
        }
        _ => None,
    };
    let pairs: Option<Vec<_>> = flat.chunks(2).map(pair).collect();
    pairs.ok_or_else(|| RpcError::params("trackerReplace is a list of ids and URLs"))
}

fn read_list(text: &str) -> Result<Vec<Vec<String>>, RpcError> {
    let mut tiers: Vec<Vec<String>> = vec![Vec::new()];
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            tiers.push(Vec::new());
        } else if let Some(tier) = tiers.last_mut() {
            tier.push(checked(line)?);
        }
    }
    tiers.retain(|tier| !tier.is_empty());
    Ok(tiers)
}

fn checked(url: &str) -> Result<String, RpcError> {
    let url = url.trim();
    let is_tracker = ["http://", "https://", "udp://"].iter().any(|scheme| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            && url.len() > scheme.len()
    });
    let is_plain = url.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if is_tracker && is_plain {
        return Ok(url.to_owned());
    }
    Err(RpcError::new(2, "invalid tracker list"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::DaemonState;
    use crate::torrent::Record;
    use bt_types::InfoHash;
    use serde_json::json;

    fn torrent() -> Torrent {
        let mut state = DaemonState::default();
        let mut record = Record::default();
        let tiers = [vec!["http://a.example/announce"], vec!["udp://b.example:1"]];
        let tiers = tiers.iter().map(|tier| tier.iter().map(|url| (*url).to_owned()).collect());
        record.settings.trackers = Some(tiers.collect());
        state.add(InfoHash([1; 20]), record, None);
        (**state.by_number(1).expect("a torrent")).clone()
    }

    fn read(params: Value) -> Result<TorrentPatch, RpcError> {
        let Value::Object(params) = params else { panic!("an object") };
        patch(&params, Some(&torrent()))
    }

    #[test]
    fn trackers_are_added_removed_and_replaced() {
        let tiers = |params: Value| {
            let patch = read(params)?;
            Ok::<_, RpcError>(patch.trackers.flatten().expect("trackers").concat())
        };
        let add = tiers(json!({"tracker_add": ["udp://c.example:2"]})).expect("added");
        assert_eq!(add.len(), 3);
        let removed = tiers(json!({"tracker_remove": [0]})).expect("removed");
        assert_eq!(removed, ["udp://b.example:1"]);
        for replace in [json!([1, "udp://d.example:3"]), json!([[1, "udp://d.example:3"]])] {
            let now = tiers(json!({"tracker_replace": replace})).expect("replaced");
            assert_eq!(now, ["http://a.example/announce", "udp://d.example:3"]);
        }
        let list = tiers(
            json!({"tracker_list": "udp://x.example:1\nudp://y.example:1\n\n\nudp://z.example:1"}),
        );
        assert_eq!(list.expect("a list").len(), 3);
        for (wrong, code) in [
            (json!({"tracker_replace": [1, "udp://b.example:1"]}), 1),
            (json!({"tracker_remove": [9]}), 1),
            (json!({"tracker_add": ["file:///etc/passwd"]}), 2),
            (json!({"tracker_list": "nonsense"}), 2),
            (json!({"tracker_replace": [1]}), -32602),
        ] {
            assert_eq!(read(wrong.clone()).expect_err("refused").code, code, "{wrong}");
        }
    }

    #[test]
    fn limits_have_a_value_and_a_switch() {
        let patch = read(json!({"download_limit": 50, "download_limited": true})).expect("a patch");
        assert_eq!(patch.down_limit, Some(Some(50_000)));
        let off = read(json!({"upload_limited": false})).expect("a patch");
        assert_eq!((off.up_limit, off.down_limit), (Some(None), None));
        let ratio = read(json!({"seed_ratio_limit": 1.5, "seed_ratio_mode": 1})).expect("a patch");
        assert_eq!(ratio.seed_limits.ratio, Some(Limit::At(1.5)));
        let none = read(json!({"seed_idle_mode": 2})).expect("a patch");
        assert_eq!(none.seed_limits.idle_minutes, Some(Limit::Unlimited));
    }

    #[test]
    fn labels_are_words_without_commas() {
        let patch = read(json!({"labels": [" tv ", "x"]})).expect("a patch");
        assert_eq!(patch.category.as_deref(), Some("tv"));
        assert_eq!(patch.tags, Some(["x".to_owned()].into()));
        assert!(read(json!({"labels": ["a,b"]})).is_err());
        assert!(read(json!({"labels": [""]})).is_err());
        assert_eq!(read(json!({})).expect("a patch"), TorrentPatch::default());
    }
}
