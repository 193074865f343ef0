//! Reads the fields of bencoded notes.
//!
//! Decides: what a field of a wrong type, or out of range, is read as: nothing.
//! Must not know: what a field means.
//! Invariant: nothing here fails, whatever the bytes are.

use bt_bencoding::{Cursor, Limits, ScanError};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// Most labels and trackers of a torrent that are read.
const TEXTS_MAX: usize = 1000;
/// Most bytes of a label.
const LABEL_MAX: usize = 255;

/// A dictionary whose keys another client may write with `-` or with `_`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(Cursor<'a>);

impl<'a> Fields<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Fields<'a>, ScanError> {
        Ok(Fields(Cursor::parse(bytes, Limits::TORRENT)?))
    }

    /// Returns the value of a key, also with `_` in place of each `-` and space.
    pub(super) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        let other = || self.0.get(key.replace(['-', ' '], "_").as_bytes());
        self.0.get(key.as_bytes()).or_else(other)
    }

    pub(super) fn dict(&self, key: &str) -> Option<Fields<'a>> {
        self.get(key).filter(|value| value.kind() == bt_bencoding::Kind::Dict).map(Fields)
    }

    pub(super) fn int(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_int()
    }

    /// Returns a number that is not negative.
    pub(super) fn count(&self, key: &str) -> Option<u64> {
        u64::try_from(self.int(key)?).ok()
    }

    /// Returns a number above 0: a time that is known, or a limit that is one.
    pub(super) fn positive(&self, key: &str) -> Option<u64> {
        self.count(key).filter(|count| *count > 0)
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.int(key).is_some_and(|value| value != 0)
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        Some(String::from_utf8_lossy(self.get(key)?.as_bytes()?).into_owned())
    }

    /// Returns a real number, which clients write as text or as an integer.
    pub(super) fn real(&self, key: &str) -> Option<f64> {
        let value = self.get(key)?;
        let text = value.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let real = match (text, value.as_int()) {
            (Some(text), _) => text.trim().parse().ok()?,
            // Exact up to 2^53, and no ratio is beyond.
            (None, Some(int)) => int as f64,
            (None, None) => return None,
        };
        Some(real).filter(|real: &f64| real.is_finite())
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        Some(path(self.get(key)?)).filter(|path| !path.as_os_str().is_empty())
    }

    /// Returns labels as our tags can be.
    pub(super) fn labels(&self, key: &str) -> BTreeSet<String> {
        let Some(list) = self.get(key) else { return BTreeSet::new() };
        let texts = list.list().take(TEXTS_MAX).filter_map(|item| item.as_bytes());
        texts.map(label).filter(|label| !label.is_empty()).collect()
    }

    /// Returns the tiers of trackers.
    pub(super) fn tiers(&self, key: &str) -> Option<Vec<Vec<String>>> {
        let text = |item: Cursor<'_>| {
            item.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let tier = |tier: Cursor<'_>| tier.list().take(TEXTS_MAX).filter_map(text).collect();
        let tiers = self.get(key)?.list().take(TEXTS_MAX).map(tier);
        Some(tiers.filter(|tier: &Vec<String>| !tier.is_empty()).collect())
    }
}

pub(super) fn path(value: Cursor<'_>) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(value.as_bytes().unwrap_or_default()))
}

/// Returns a text as our tags can be: no commas, no control characters, not too long.
fn label(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let plain = text.replace(|c: char| c == ',' || c.is_control(), " ");
    let mut end = plain.len().min(LABEL_MAX);
    while !plain.is_char_boundary(end) {
        end -= 1;
    }
    plain.get(..end).unwrap_or_default().trim().to_owned()
}
