//! A change of settings that grows: a merge patch (RFC 7396).
//!
//! Decides: what a limit with a switch beside it becomes.
//! Must not know: dialects, which settings there are.
//! Invariant: what is not named stays as it is.

use serde_json::{Map, Value};

/// A merge patch that grows.
#[derive(Debug, Default)]
pub(crate) struct SettingsPatch(Map<String, Value>);

impl SettingsPatch {
    /// Sets the value at a path of keys, if there is one. `Some(None)` sets `null`.
    pub(crate) fn set(&mut self, path: &[&str], value: Option<impl Into<Value>>) {
        let (Some(value), Some((last, parents))) = (value, path.split_last()) else { return };
        let mut object = &mut self.0;
        for key in parents {
            let inner = object.entry(*key).or_insert_with(|| Map::new().into());
            let Value::Object(inner) = inner else { return };
            object = inner;
        }
        object.insert((*last).to_owned(), value.into());
    }

    /// Returns the patch.
    pub(crate) fn into_value(self) -> Value {
        self.0.into()
    }
}

/// Returns the new value of a limit with a switch beside it. `Some(None)` switches it off. A value
/// without the switch changes a limit that is on.
pub(crate) fn switched<T>(
    switch: Option<bool>,
    value: Option<T>,
    now: Option<T>,
    default: T,
) -> Option<Option<T>> {
    match switch {
        Some(false) => Some(None),
        Some(true) => Some(Some(value.or(now).unwrap_or(default))),
        None => value.filter(|_| now.is_some()).map(Some),
    }
}
