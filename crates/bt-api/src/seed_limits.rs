//! When torrents stop seeding.
//!
//! Decides: which limit holds: a torrent's own, that of its category, or that of all.
//! Must not know: torrents, categories.
//! Invariant: a limit says its own value, none, or that of the next.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a torrent stops seeding. `None` means no limit.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GlobalSeedLimits {
    /// Bytes sent for each byte of the torrent's wanted size.
    pub ratio: Option<f64>,
    /// Minutes of seeding.
    pub minutes: Option<u64>,
    /// Minutes without sending payload while seeding.
    pub idle_minutes: Option<u64>,
    /// What happens then.
    pub action: SeedAction,
}

/// What happens to a torrent that reached a seed limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SeedAction {
    /// It stops.
    #[default]
    Stop,
    /// It is removed, its data stays.
    Remove,
    /// It is removed with its data.
    RemoveWithData,
}

/// A limit of one torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit<T> {
    /// That of all torrents.
    #[default]
    Global,
    /// None.
    Unlimited,
    /// This one.
    At(T),
}

impl<T> Limit<T> {
    /// Returns the limit that holds, where this is that of all torrents.
    pub fn or(self, global: Option<T>) -> Option<T> {
        match self {
            Limit::Global => global,
            Limit::Unlimited => None,
            Limit::At(limit) => Some(limit),
        }
    }
}

/// When one torrent, or those of a category, stop seeding.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SeedLimits {
    /// Bytes sent for each byte of its wanted size.
    pub ratio: Limit<f64>,
    /// Minutes of seeding.
    pub minutes: Limit<u64>,
    /// Minutes without sending payload while seeding.
    pub idle_minutes: Limit<u64>,
    /// What happens then; `None` as for all torrents.
    pub action: Option<SeedAction>,
}

impl SeedLimits {
    /// Returns the limits that hold where these come before those.
    pub fn over(&self, global: &GlobalSeedLimits) -> GlobalSeedLimits {
        GlobalSeedLimits {
            ratio: self.ratio.or(global.ratio),
            minutes: self.minutes.or(global.minutes),
            idle_minutes: self.idle_minutes.or(global.idle_minutes),
            action: self.action.unwrap_or(global.action),
        }
    }
}
