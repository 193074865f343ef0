//! The measured figures, by name.
//!
//! Decides: that the median of the runs stands for them. Must not know: what a figure means.
//! Invariant: every run is kept, so that a user can check a median.

use crate::median::median;
use serde_json::Value;
use std::collections::BTreeMap;

/// Figures of all runs.
#[derive(Default, Debug)]
pub(super) struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    /// Adds the figure of a further run.
    pub(super) fn add(&mut self, name: String, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    /// Returns the median of a figure, if it was measured.
    pub(super) fn median(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|runs| median(runs.iter().copied()))
    }

    /// Returns the least value of a figure, if it was measured.
    pub(super) fn least(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.iter().copied().min_by(f64::total_cmp)
    }

    /// Returns the medians of all figures whose names begin and end with these texts.
    pub(super) fn medians<'a>(
        &'a self,
        start: &'a str,
        end: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> {
        let matching =
            self.0.iter().filter(move |(name, _)| name.starts_with(start) && name.ends_with(end));
        matching.map(|(name, runs)| (name.as_str(), median(runs.iter().copied())))
    }

    /// Returns all figures as JSON.
    pub(super) fn json(&self) -> Value {
        self.0.iter().map(|(name, runs)| (name.clone(), Value::from(runs.clone()))).collect()
    }
}
