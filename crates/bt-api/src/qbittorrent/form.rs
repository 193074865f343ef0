//! The parameters of a request: of its query, and of its body.
//!
//! Decides: how booleans, numbers and lists are read.
//! Must not know: actions.
//! Invariant: what cannot be read is as if it were missing.

use crate::command::SeedLimitsPatch;
use crate::seed_limits::Limit;
use crate::seed_limits::SeedAction;
use crate::state::DaemonState;
use bt_types::InfoHash;
use std::collections::BTreeSet;

/// The parameters of a request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Form {
    /// Names and values, in the order in which they came.
    pub fields: Vec<(String, String)>,
    /// The files that were sent, whatever their field's name.
    pub files: Vec<Vec<u8>>,
}

impl Form {
    /// Returns the value of the first parameter with this name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &value[..])
    }

    /// Returns the same, if it is not empty.
    pub(super) fn word(&self, name: &str) -> Option<&str> {
        self.text(name).map(str::trim).filter(|value| !value.is_empty())
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match &self.word(name)?.to_ascii_lowercase()[..] {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        let word = self.word(name)?;
        word.parse().ok().or_else(|| word.parse::<f64>().ok().map(|number| number as i64))
    }

    pub(super) fn float(&self, name: &str) -> Option<f64> {
        self.word(name)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// Returns the parts of a list.
    pub(super) fn list(&self, name: &str, separator: char) -> Vec<String> {
        let parts = self.text(name).unwrap_or_default().split(separator).map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// Returns the torrents of `hashes`: a list, or `all`. Unknown ones are left out.
    pub(super) fn torrents(&self, state: &DaemonState) -> Vec<InfoHash> {
        if self.word("hashes") == Some("all") {
            return state.torrents().map(|torrent| torrent.hash).collect();
        }
        let hashes = self.list("hashes", '|');
        let known = hashes.iter().filter_map(|hash| InfoHash::from_hex(hash));
        known.filter(|hash| state.torrent(*hash).is_some()).collect()
    }
}

/// Reads tags: a list of words.
pub(super) fn tags(form: &Form) -> BTreeSet<String> {
    form.list("tags", ',').into_iter().collect()
}

/// Reads share limits: -2 that of all torrents, -1 none. One that is missing stays.
pub(super) fn seed_limits(form: &Form) -> SeedLimitsPatch {
    let minutes = |name: &str| match form.integer(name)? {
        -2 => Some(Limit::Global),
        limit => Some(u64::try_from(limit).map_or(Limit::Unlimited, Limit::At)),
    };
    SeedLimitsPatch {
        ratio: form.float("ratioLimit").map(|ratio| match ratio {
            -2.0 => Limit::Global,
            ratio if ratio < 0.0 => Limit::Unlimited,
            ratio => Limit::At(ratio),
        }),
        minutes: minutes("seedingTimeLimit"),
        idle_minutes: minutes("inactiveSeedingTimeLimit"),
        action: form.word("shareLimitAction").and_then(|action| match action {
            "Default" => Some(None),
            "Stop" | "EnableSuperSeeding" => Some(Some(SeedAction::Stop)),
            "Remove" => Some(Some(SeedAction::Remove)),
            "RemoveWithContent" => Some(Some(SeedAction::RemoveWithData)),
            _ => None,
        }),
    }
}
