//! What a user wants of the daemon as a whole.
//!
//! Decides: the settings and their defaults.
//! Must not know: how a setting is carried out.
//! Invariant: the same settings, given again, change nothing.

use crate::rss::RssSettings;
use crate::seed_limits::{GlobalSeedLimits, SeedLimits};
use bt_model::{Rates, SessionSettings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

/// What a user wants of the daemon as a whole. Kept in the state directory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DaemonSettings {
    /// Where data goes that no torrent and no category says otherwise.
    pub dir: PathBuf,
    /// Where data lies until its torrent is complete; `None` means at its final place.
    pub incomplete_dir: Option<PathBuf>,
    /// New torrents start at once.
    pub start_added: bool,
    /// What is wanted of the session: limits over all torrents, connections, discovery.
    pub session: SessionSettings,
    /// The limits over all torrents that hold in place of the session's while `slow` is on.
    pub slow_limits: Rates,
    /// The alternative limits are on.
    pub slow: bool,
    /// When the alternative limits are switched on and off.
    pub schedule: Option<Schedule>,
    /// How many torrents are active at once.
    pub queue: QueueSettings,
    /// When torrents stop seeding that have no limits of their own.
    pub seed_limits: GlobalSeedLimits,
    /// What is wanted of feeds.
    pub rss: RssSettings,
    /// Groups of torrents by name.
    pub groups: BTreeMap<String, Group>,
    /// Addresses that no torrent has to do with.
    pub blocklist: Blocklist,
}

impl Default for DaemonSettings {
    fn default() -> DaemonSettings {
        DaemonSettings {
            dir: PathBuf::from("."),
            incomplete_dir: None,
            start_added: true,
            session: SessionSettings { lsd: true, ..SessionSettings::default() },
            slow_limits: Rates { up: Some(50_000), down: Some(50_000) },
            slow: false,
            schedule: None,
            queue: QueueSettings::default(),
            seed_limits: GlobalSeedLimits::default(),
            rss: RssSettings::default(),
            groups: BTreeMap::new(),
            blocklist: Blocklist::default(),
        }
    }
}

impl DaemonSettings {
    /// Returns what is wanted of the session now, the alternative limits considered.
    pub fn session_now(&self) -> SessionSettings {
        let limits = if self.slow { self.slow_limits } else { self.session.limits };
        SessionSettings { limits, ..self.session.clone() }
    }

    /// Returns the settings with the changes of a merge patch (RFC 7396), or what is wrong with it.
    pub fn with(&self, patch: &Value) -> Result<DaemonSettings, String> {
        if !patch.is_object() {
            return Err("a change of settings is a JSON object".into());
        }
        let mut json = serde_json::to_value(self).map_err(|error| error.to_string())?;
        merge(&mut json, patch);
        let settings: DaemonSettings =
            serde_json::from_value(json).map_err(|error| error.to_string())?;
        let dirs =
            [("dir", Some(&settings.dir)), ("incomplete_dir", settings.incomplete_dir.as_ref())];
        for (name, dir) in dirs {
            let is_changed = patch.get(name).is_some();
            if let Some(dir) = dir.filter(|dir| is_changed && !dir.is_absolute()) {
                return Err(format!("`{name}` must be an absolute path, not {}", dir.display()));
            }
        }
        Ok(settings)
    }
}

/// Applies a merge patch (RFC 7396) of the settings to them, or to an earlier patch.
pub fn merge(value: &mut Value, patch: &Value) {
    let (Value::Object(object), Value::Object(patch)) = (&mut *value, patch) else {
        *value = patch.clone();
        return;
    };
    for (key, change) in patch {
        // Absent keys get their default, so `null` must stay where `null` is a value.
        match object.get_mut(key) {
            // A list would be read as the fields in their order, and reset those that it lacks.
            Some(old @ Value::Object(_)) if change.is_array() => *old = false.into(),
            Some(old) => merge(old, change),
            None => drop(object.insert(key.clone(), change.clone())),
        }
    }
}

/// When the alternative limits hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The first minute after midnight, local time.
    pub from: u16,
    /// The minute after midnight at which they end. Before `from`: on the next day.
    pub to: u16,
    /// Weekdays on which they begin: bit 0 is Sunday, bit 6 Saturday.
    pub days: u8,
}

impl Schedule {
    /// Returns whether the alternative limits hold on this weekday (0 is Sunday) at this minute
    /// after midnight.
    pub fn holds(&self, weekday: u8, minute: u16) -> bool {
        let is_day = |day: u8| self.days >> (day % 7) & 1 == 1;
        if self.from <= self.to {
            return is_day(weekday) && (self.from..self.to).contains(&minute);
        }
        let yesterday = (weekday % 7 + 6) % 7;
        is_day(weekday) && minute >= self.from || is_day(yesterday) && minute < self.to
    }

    /// Returns the same for the minute before.
    pub fn holds_before(&self, weekday: u8, minute: u16) -> bool {
        match minute.checked_sub(1) {
            Some(minute) => self.holds(weekday, minute),
            None => self.holds((weekday % 7 + 6) % 7, 24 * 60 - 1),
        }
    }
}

/// How many torrents are active at once; the others wait in their order. `None` means no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Torrents that download.
    pub downloads: Option<u32>,
    /// Torrents that seed.
    pub seeds: Option<u32>,
    /// Torrents that do either.
    pub total: Option<u32>,
    /// Seconds without payload after which a torrent does not count; `None`: it always counts.
    pub stalled_after: Option<u32>,
}

impl Default for QueueSettings {
    fn default() -> QueueSettings {
        QueueSettings { downloads: None, seeds: None, total: None, stalled_after: Some(60) }
    }
}

/// The limits of several torrents together, which share them by what each of them can use.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Group {
    /// In bytes per second.
    pub limits: Rates,
}

/// Addresses that no torrent has to do with.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Blocklist {
    /// The list is used, and fetched once a day.
    pub enabled: bool,
    /// Where it is fetched: P2P text, eMule's format, or networks; may be gzip.
    pub url: Option<String>,
    /// Addresses that the user banned; whether the list is used or not.
    pub banned: BTreeSet<IpAddr>,
}

/// A category: a torrent has one at most.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Category {
    /// Where the data of its torrents goes; `None`: below the default directory, by its name.
    pub dir: Option<PathBuf>,
    /// Where their data lies until it is complete; `None` as for all torrents.
    pub incomplete_dir: Option<PathBuf>,
    /// When they stop seeding, where they do not say so themselves.
    pub seed_limits: SeedLimits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_patch_lies_over_an_earlier_one() {
        let mut patch = serde_json::json!({"queue": {"downloads": 5, "seeds": 1}, "slow": true});
        merge(&mut patch, &serde_json::json!({"queue": {"downloads": null}, "start_added": false}));
        let expected = serde_json::json!({
            "queue": {"downloads": null, "seeds": 1}, "slow": true, "start_added": false,
        });
        assert_eq!(patch, expected);
        let mut nothing = Value::Null;
        merge(&mut nothing, &patch);
        assert_eq!(nothing, patch);
    }

    #[test]
    fn a_merge_patch_reaches_into_objects() {
        let mut value = serde_json::json!({"limits": {"up": 1, "down": 2}, "dir": "/a"});
        merge(&mut value, &serde_json::json!({"limits": {"up": null}}));
        assert_eq!(value, serde_json::json!({"limits": {"up": null, "down": 2}, "dir": "/a"}));
    }

    #[test]
    fn a_schedule_may_cross_midnight() {
        // From Friday 22:00 to Saturday 06:00.
        let night = Schedule { from: 22 * 60, to: 6 * 60, days: 1 << 5 };
        let at = |day: u8, hour: u16| night.holds(day, hour * 60);
        assert_eq!(
            (at(5, 21), at(5, 22), at(6, 5), at(6, 6), at(6, 22)),
            (false, true, true, false, false)
        );
        let day = Schedule { from: 9 * 60, to: 17 * 60, days: 0b111_1111 };
        assert!(day.holds(0, 9 * 60) && !day.holds(0, 17 * 60));
    }

    #[test]
    fn settings_of_an_earlier_version_get_the_new_defaults() {
        let old: DaemonSettings =
            serde_json::from_str(r#"{"dir":"/data","slow":true}"#).expect("settings");
        assert_eq!(
            old,
            DaemonSettings { dir: "/data".into(), slow: true, ..DaemonSettings::default() }
        );
        let text = serde_json::to_string(&old).expect("settings");
        assert_eq!(serde_json::from_str::<DaemonSettings>(&text).expect("settings"), old);
    }
}
