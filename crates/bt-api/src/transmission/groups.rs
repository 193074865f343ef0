//! Bandwidth groups.
//!
//! Decides: how their limits are read and shown.
//! Must not know: how torrents share a limit.
//! Invariant: limits are in 1,000 bytes per second; one that is off is none.

use super::call::RpcError;
use crate::settings::Group;
use crate::settings_patch::{SettingsPatch, switched};
use crate::state::DaemonState;
use serde_json::{Map, Value, json};

/// What a limit is while its value was never said.
const RATE: u64 = 100_000;

/// Returns the names that are asked for; `None` for all.
pub(super) fn chosen(params: &Map<String, Value>) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match params.get("name").or(params.get("group"))? {
        Value::Array(names) => Some(names.iter().filter_map(text).collect()),
        name => text(name).map(|name| vec![name]),
    }
}

/// Returns the change of settings that makes or changes a group.
pub(super) fn set(params: &Map<String, Value>, state: &DaemonState) -> Result<Value, RpcError> {
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default().trim();
    if name.is_empty() || name.len() > 255 {
        return Err(RpcError::params("a group has a name"));
    }
    if params.get("honors_session_limits").and_then(Value::as_bool) == Some(false) {
        return Err(RpcError::params("the limits of all torrents hold for groups, too"));
    }
    let now = state.settings.groups.get(name).cloned().unwrap_or_default().limits;
    let mut patch = SettingsPatch::default();
    // A group that has no limits is one, too.
    patch.set(&["groups", name, "limits"], Some(json!({})));
    for (key, place, now) in
        [("speed_limit_down", "down", now.down), ("speed_limit_up", "up", now.up)]
    {
        let value = params.get(key).and_then(Value::as_u64).map(|kilo| kilo.saturating_mul(1000));
        let switch = params.get(&format!("{key}_enabled")).and_then(Value::as_bool);
        patch.set(&["groups", name, "limits", place], switched(switch, value, now, RATE));
    }
    Ok(patch.into_value())
}

/// Returns groups as they are shown.
pub(super) fn rows(names: Option<&[String]>, state: &DaemonState, is_old: bool) -> Vec<Value> {
    let is_chosen = |name: &String| names.is_none_or(|names| names.contains(name));
    let groups = state.settings.groups.iter().filter(|(name, _)| is_chosen(name));
    groups.map(|(name, group)| row(name, group, is_old)).collect()
}

fn row(name: &str, group: &Group, is_old: bool) -> Value {
    let kilo = |limit: Option<u64>| limit.unwrap_or(RATE) / 1000;
    let limits = group.limits;
    let fields: [(&str, Value); 6] = [
        ("name", name.into()),
        ("honors_session_limits", true.into()),
        ("speed_limit_down", kilo(limits.down).into()),
        ("speed_limit_down_enabled", limits.down.is_some().into()),
        ("speed_limit_up", kilo(limits.up).into()),
        ("speed_limit_up_enabled", limits.up.is_some().into()),
    ];
    let spell = |key: &str| match (is_old, key) {
        (true, "honors_session_limits") => "honorsSessionLimits".to_owned(),
        (true, key) => key.replace('_', "-"),
        (false, key) => key.to_owned(),
    };
    fields.into_iter().map(|(key, value)| (spell(key), value)).collect::<Map<_, _>>().into()
}
