//! `torrents/info`: filters, order and parts of the list.
//!
//! Decides: which torrents a filter shows.
//! Must not know: how a field is made.
//! Invariant: an unknown filter shows all, an unknown field to sort by is an error.

use super::form::Form;
use super::rows::{FIELDS, state};
use crate::details::{Details, File};
use crate::state::DaemonState;
use crate::torrent::Torrent;
use bt_types::InfoHash;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// Returns the torrents that are asked for, in their order; `None` for an unknown field.
pub(super) fn chosen(form: &Form, all: &DaemonState) -> Option<Vec<Arc<Torrent>>> {
    let hashes: Option<Vec<InfoHash>> =
        form.word("hashes").filter(|hashes| *hashes != "all").map(|_| form.torrents(all));
    let filter = form.word("filter").unwrap_or("all");
    let is_shown = |torrent: &&Arc<Torrent>| {
        let labels = &torrent.record.labels;
        let private = torrent.metainfo.as_ref().map(|metainfo| metainfo.private);
        hashes.as_ref().is_none_or(|hashes| hashes.contains(&torrent.hash))
            && form.text("category").is_none_or(|category| is_in(category, &labels.category))
            && form.text("tag").is_none_or(|tag| match tag {
                "" => labels.tags.is_empty(),
                tag => labels.tags.contains(tag),
            })
            && form.flag("private").is_none_or(|wanted| private == Some(wanted))
            && passes(filter, torrent, all)
    };
    let mut torrents: Vec<Arc<Torrent>> = all.torrents().filter(is_shown).cloned().collect();
    if let Some(name) = form.word("sort") {
        if name == "hash" {
            torrents.sort_by_key(|torrent| torrent.hash);
        } else {
            let (_, field) = FIELDS.iter().find(|(field, _)| *field == name)?;
            torrents.sort_by_cached_key(|torrent| Key(field(torrent, all)));
        }
    }
    if form.flag("reverse") == Some(true) {
        torrents.reverse();
    }
    let length = torrents.len();
    let offset = form.integer("offset").unwrap_or(0);
    let from_end = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
    let skip = if offset < 0 { length.saturating_sub(from_end) } else { from_end };
    let limit = form.integer("limit").filter(|limit| *limit > 0);
    let take = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    Some(torrents.into_iter().skip(skip).take(take).collect())
}

/// Returns whether a category is the one that is asked for, or lies below it.
fn is_in(asked: &str, category: &str) -> bool {
    category == asked
        || !asked.is_empty()
            && category.strip_prefix(asked).is_some_and(|rest| rest.starts_with('/'))
}

fn passes(filter: &str, torrent: &Torrent, all: &DaemonState) -> bool {
    let name = state(torrent, all);
    let is_stopped = name.starts_with("stopped");
    let moves = torrent.live.view.as_ref().is_some_and(|view| view.down_rate + view.up_rate > 0);
    match filter {
        "downloading" => !torrent.is_done(),
        "seeding" => torrent.is_done() && !is_stopped,
        "completed" => torrent.is_done(),
        "stopped" | "paused" => is_stopped,
        "running" | "resumed" => !is_stopped,
        "active" => moves,
        "inactive" => !moves,
        "stalled" => name.starts_with("stalled"),
        "stalled_uploading" => name == "stalledUP",
        "stalled_downloading" => name == "stalledDL",
        "checking" => name.starts_with("checking"),
        "moving" => name == "moving",
        "errored" => ["error", "missingFiles"].contains(&name),
        _ => true,
    }
}

/// A value to sort by: numbers by size, texts without regard to case.
#[derive(Debug)]
struct Key(Value);

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (&self.0, &other.0) {
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0))
            }
            (Value::String(a), Value::String(b)) => {
                a.to_lowercase().cmp(&b.to_lowercase()).then_with(|| a.cmp(b))
            }
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (a, b) => a.is_null().cmp(&b.is_null()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key {}

/// Returns all fields of a torrent.
fn fields(torrent: &Torrent, all: &DaemonState) -> impl Iterator<Item = (&'static str, Value)> {
    let hash = ("hash", torrent.hash.to_string().into());
    FIELDS.iter().map(|(name, make)| (*name, make(torrent, all))).chain([hash])
}

/// Writes the torrents with what was asked for beside their fields, one after the other: all rows
/// of thousands at a time would be tens of MiB.
pub(super) fn rows(
    torrents: &[Arc<Torrent>],
    form: &Form,
    all: &DaemonState,
    details: &HashMap<InfoHash, Details>,
) -> Vec<u8> {
    let (with_trackers, with_files) =
        (form.flag("includeTrackers") == Some(true), form.flag("includeFiles") == Some(true));
    let mut body = vec![b'['];
    for torrent in torrents {
        body.extend_from_slice(if body.len() > 1 { b",{" } else { b"{" });
        for (name, value) in fields(torrent, all) {
            write(&mut body, name, &value);
        }
        let details = details.get(&torrent.hash);
        if with_trackers {
            write(&mut body, "trackers", &super::details::trackers(torrent, details));
        }
        if with_files {
            let files: Vec<File> = Details::files_of(details, torrent);
            write(&mut body, "files", &super::details::files(&files, torrent));
        }
        body.push(b'}');
    }
    body.push(b']');
    body
}

/// Writes a member of an object; the names of fields need no escapes.
fn write(body: &mut Vec<u8>, name: &str, value: &Value) {
    if body.last() != Some(&b'{') {
        body.push(b',');
    }
    body.push(b'"');
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(b"\":");
    // Memory takes every value.
    let _ = serde_json::to_writer(body, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::{Phase, Record};

    fn ask(query: &[(&str, &str)]) -> Option<Vec<u64>> {
        let mut all = DaemonState::default();
        for (n, name, category) in [(1, "b", "tv"), (2, "C", "tv/hd"), (3, "a", "")] {
            let mut record = Record { name: Some(name.into()), ..Record::default() };
            record.labels.category = category.into();
            all.add(InfoHash([n; 20]), record, None);
        }
        all.change(InfoHash([3; 20]), |torrent| torrent.live.phase = Phase::Failed("no".into()));
        let fields = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let form = Form { fields, files: Vec::new() };
        Some(chosen(&form, &all)?.iter().map(|torrent| torrent.number).collect())
    }

    #[test]
    fn rows_are_written_as_json() {
        let mut all = DaemonState::default();
        for n in [1, 2] {
            all.add(
                InfoHash([n; 20]),
                Record { name: Some("\"".into()), ..Record::default() },
                None,
            );
        }
        let torrents: Vec<_> = all.torrents().cloned().collect();
        let fields = ["includeTrackers", "includeFiles"].map(|name| (name.into(), "true".into()));
        let form = Form { fields: fields.into(), files: Vec::new() };
        for (form, more) in [(Form::default(), 0), (form, 2)] {
            let body = rows(&torrents, &form, &all, &HashMap::new());
            let list: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(
                list[1].as_object().map(serde_json::Map::len),
                Some(FIELDS.len() + 1 + more)
            );
            assert_eq!(
                (&list[1]["name"], &list[1]["hash"]),
                (&"\"".into(), &"02".repeat(20).into())
            );
        }
        assert_eq!(rows(&[], &Form::default(), &all, &HashMap::new()), b"[]");
    }

    #[test]
    fn lists_are_filtered_sorted_and_cut() {
        for (query, expected) in [
            (&[][..], vec![1, 2, 3]),
            (&[("category", "tv")], vec![1, 2]),
            (&[("category", "")], vec![3]),
            (&[("filter", "errored")], vec![3]),
            (&[("filter", "stopped")], vec![1, 2]),
            (&[("sort", "name")], vec![3, 1, 2]),
            (&[("sort", "name"), ("reverse", "true")], vec![2, 1, 3]),
            (&[("limit", "1"), ("offset", "-2")], vec![2]),
            (&[("hashes", "0303030303030303030303030303030303030303|xx")], vec![3]),
        ] {
            assert_eq!(ask(query), Some(expected), "{query:?}");
        }
        assert_eq!(ask(&[("sort", "nonsense")]), None);
    }
}
