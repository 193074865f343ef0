//! What was measured, by name.
//!
//! Decides: that the median of the runs stands for them. Must not know: what a figure means.
//! Invariant: every run is kept, so that whoever doubts a median can look.

use crate::median::median;
use serde_json::Value;
use std::collections::BTreeMap;

/// Figures of all runs.
#[derive(Default, Debug)]
pub(super) struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    /// Keeps the figure of one more run.
    pub(super) fn add(&mut self, name: String, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    /// The median of a figure, if it was measured.
    pub(super) fn median(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|runs| median(runs.iter().copied()))
    }

    /// The least of a figure, if it was measured.
    pub(super) fn least(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.iter().copied().min_by(f64::total_cmp)
    }

    /// The medians of all figures whose names begin and end so.
    pub(super) fn medians<'a>(
        &'a self,
        start: &'a str,
        end: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> {
        let matching =
            self.0.iter().filter(move |(name, _)| name.starts_with(start) && name.ends_with(end));
        matching.map(|(name, runs)| (name.as_str(), median(runs.iter().copied())))
    }

    /// Everything, for a file.
    pub(super) fn json(&self) -> Value {
        self.0.iter().map(|(name, runs)| (name.clone(), Value::from(runs.clone()))).collect()
    }
}
