//! Changes what is wanted: of torrents, of the daemon, of categories and tags.
//!
//! Decides: what a patch does to what is kept.
//! Must not know: dialects.
//! Invariant: it is stored before it is done.

use super::undo::Step;
use super::{Keeper, lock, not_stored};
use crate::clock::now;
use crate::queue::{Entry, running};
use crate::store::{Batch, CATEGORIES, SETTINGS, TAGS};
use bt_api::{
    Category, Fault, FaultKind, Labels, Phase, QueueMove, Record, TorrentPatch, queue_move,
};
use bt_types::InfoHash;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// Changes what is kept of a torrent.
pub(super) fn patch_record(record: &mut Record, patch: &TorrentPatch) {
    patch.apply_to(&mut record.settings);
    if patch.running == Some(true) {
        // Who starts a torrent that reached its limit wants more than that, as with Transmission:
        // it would be stopped again at once.
        if std::mem::take(&mut record.finished) {
            (record.seed_limits.ratio, record.seed_limits.minutes) =
                (bt_api::Limit::Unlimited, bt_api::Limit::Unlimited);
        }
        record.dates.started = Some(now());
    }
    if let Some(forced) = patch.forced {
        record.queue.forced = forced;
    }
    record.auto_dir = patch.auto_dir.unwrap_or(record.auto_dir);
    record.first_last = patch.first_last.unwrap_or(record.first_last);
    if let Some(name) = &patch.name {
        record.name = name.clone();
    }
    if let Some(comment) = &patch.comment {
        record.comment = comment.clone();
    }
    if let Some(category) = &patch.category {
        record.labels.category = category.clone();
    }
    if let Some(tags) = &patch.tags {
        record.labels.tags = tags.clone();
    }
    record.labels.tags.extend(patch.add_tags.iter().cloned());
    record.labels.tags.retain(|tag| !patch.remove_tags.contains(tag));
    let (limits, changes) = (&mut record.seed_limits, &patch.seed_limits);
    limits.ratio = changes.ratio.unwrap_or(limits.ratio);
    limits.minutes = changes.minutes.unwrap_or(limits.minutes);
    limits.idle_minutes = changes.idle_minutes.unwrap_or(limits.idle_minutes);
    limits.action = changes.action.unwrap_or(limits.action);
}

impl Keeper {
    pub(super) async fn change(
        self: &Arc<Self>,
        torrents: &[InfoHash],
        patch: &TorrentPatch,
    ) -> Result<(), Fault> {
        check_labels(patch)?;
        let mut batch = Batch::default();
        let (mut changed, mut moved) = (Vec::<(InfoHash, Record)>::new(), Vec::new());
        for hash in torrents {
            let torrent = self.torrent(*hash)?;
            check_files(torrent.metainfo.as_ref().map_or(0, |m| m.info.files.len()), patch)?;
            let mut record = torrent.record.clone();
            patch_record(&mut record, patch);
            if record == torrent.record {
                continue;
            }
            record.dates.edited = Some(now());
            batch.record(
                *hash,
                &bt_api::Torrent { record: record.clone(), ..(*torrent).clone() }.kept(now()),
            );
            changed.push((*hash, record));
        }
        let labels = self.keep_labels(changed.iter().map(|(_, r)| &r.labels), &mut batch);
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        self.update(|state| (state.categories, state.tags) = labels);
        let hashes: Vec<InfoHash> = changed.iter().map(|(hash, _)| *hash).collect();
        self.remember(Step::Changed(self.records(&hashes)));
        for (hash, record) in changed {
            let settings = record.settings.clone();
            if let Some(first_last) = patch.first_last {
                self.prefer_ends(hash, first_last);
            }
            if record.auto_dir && (patch.category.is_some() || patch.auto_dir == Some(true)) {
                let dir = self.state().dir_of(&record.labels.category);
                moved.push((hash, dir));
            }
            self.update(|state| state.change(hash, |torrent| torrent.record = record));
            if let Some(handle) = self.handle(hash) {
                // Whether it runs is the queue's word.
                let set = |wanted: &mut bt_model::TorrentSettings| {
                    let running = wanted.running;
                    *wanted = settings;
                    wanted.running = running;
                };
                handle.change(set).await;
            }
        }
        // Who starts a torrent that failed wants another try.
        let again = match patch.running {
            Some(true) => self.retry(torrents).await,
            _ => Ok(()),
        };
        self.arrange().await;
        torrents.iter().for_each(|hash| self.refresh(*hash));
        for (hash, dir) in moved {
            self.move_to(&[hash], &dir, true).await?;
        }
        again
    }

    /// Puts categories and tags that torrents name and that do not exist yet into a batch. Returns
    /// those that there are once it is stored.
    pub(super) fn keep_labels<'a>(
        &self,
        labels: impl IntoIterator<Item = &'a Labels>,
        batch: &mut Batch,
    ) -> (BTreeMap<String, Category>, BTreeSet<String>) {
        let (mut categories, mut tags) = {
            let state = self.state();
            (state.categories.clone(), state.tags.clone())
        };
        let before = (categories.len(), tags.len());
        for Labels { category, tags: own } in labels {
            if !category.is_empty() {
                categories.entry(category.clone()).or_default();
            }
            tags.extend(own.iter().cloned());
        }
        if categories.len() != before.0 {
            batch.value(CATEGORIES, &categories);
        }
        if tags.len() != before.1 {
            batch.value(TAGS, &tags);
        }
        (categories, tags)
    }

    pub(super) async fn remove(&self, torrents: &[InfoHash], with_data: bool) -> Result<(), Fault> {
        let mut batch = Batch::default();
        torrents.iter().for_each(|hash| batch.remove(*hash));
        // What the last run stored of them is stored no more, whatever happens to the data.
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        let mut trouble = None;
        if !with_data {
            let kept = |hash: &InfoHash| {
                let torrent = self.state().torrent(*hash).cloned()?;
                Some(bt_api::Torrent { record: torrent.kept(now()), ..(*torrent).clone() })
            };
            self.remember(Step::Removed(torrents.iter().filter_map(kept).collect()));
        }
        for hash in torrents {
            self.update(|state| state.remove(*hash));
            lock(&self.running).remove(hash);
            let (Some(session), Some(handle)) = (self.session(), self.handle(*hash)) else {
                continue;
            };
            if !with_data {
                session.remove(&handle).await;
            } else if let Err(error) = session.remove_with_data(&handle).await {
                trouble = Some(format!("the torrent is removed, its data is not: {error}"));
            }
        }
        self.arrange().await;
        trouble.map_or(Ok(()), |why| Err(Fault::new(FaultKind::Disk, why)))
    }

    pub(super) async fn queue(&self, torrents: &[InfoHash], to: QueueMove) -> Result<(), Fault> {
        let mut batch = Batch::default();
        let mut places = Vec::new();
        {
            let state = self.state();
            let mut all: Vec<_> = state.torrents().collect();
            all.sort_by_key(|torrent| torrent.record.queue.place);
            let all: Vec<InfoHash> = all.iter().map(|torrent| torrent.hash).collect();
            for (place, hash) in (0..).zip(queue_move(&all, torrents, to)) {
                let Some(torrent) = state.torrent(hash) else { continue };
                if torrent.record.queue.place != place {
                    let mut kept = torrent.kept(now());
                    kept.queue.place = place;
                    batch.record(hash, &kept);
                    places.push((hash, place));
                }
            }
        }
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        for (hash, place) in places {
            self.update(|state| state.change(hash, |torrent| torrent.record.queue.place = place));
        }
        self.arrange().await;
        Ok(())
    }

    pub(super) async fn set_settings(&self, patch: &serde_json::Value) -> Result<(), Fault> {
        let invalid = |error: serde_json::Error| Fault::new(FaultKind::Invalid, error.to_string());
        if !patch.is_object() {
            return Err(Fault::new(FaultKind::Invalid, "a change of settings is a JSON object"));
        }
        let mut json = serde_json::to_value(&self.state().settings).map_err(invalid)?;
        merge(&mut json, patch);
        let settings: bt_api::DaemonSettings = serde_json::from_value(json).map_err(invalid)?;
        let dirs =
            [("dir", Some(&settings.dir)), ("incomplete_dir", settings.incomplete_dir.as_ref())];
        for (name, dir) in dirs {
            if let Some(dir) = dir.filter(|dir| !dir.is_absolute()) {
                let why = format!("`{name}` must be an absolute path, not {}", dir.display());
                return Err(Fault::new(FaultKind::Invalid, why));
            }
        }
        let mut batch = Batch::default();
        batch.value(SETTINGS, &settings);
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        if let Some(session) = self.session() {
            session.set(settings.session_now());
        }
        self.update(|state| state.settings = settings);
        self.arrange().await;
        Ok(())
    }

    pub(super) async fn set_category(
        self: &Arc<Self>,
        name: &str,
        category: Option<Category>,
    ) -> Result<(), Fault> {
        if let Some(category) = &category {
            check_category(name)?;
            let dirs = [&category.dir, &category.incomplete_dir];
            if let Some(dir) = dirs.into_iter().flatten().find(|dir| !dir.is_absolute()) {
                let why = format!("{} is not an absolute path", dir.display());
                return Err(Fault::new(FaultKind::Invalid, why));
            }
        }
        let mut batch = Batch::default();
        let mut categories = self.state().categories.clone();
        let mut bare = Vec::new();
        match category {
            Some(category) => drop(categories.insert(name.to_owned(), category)),
            None => {
                categories.remove(name);
                let state = self.state();
                for torrent in state.torrents().filter(|t| t.record.labels.category == name) {
                    let mut kept = torrent.kept(now());
                    kept.labels.category.clear();
                    batch.record(torrent.hash, &kept);
                    bare.push(torrent.hash);
                }
            }
        }
        batch.value(CATEGORIES, &categories);
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        self.update(|state| {
            state.categories = categories;
            for hash in bare {
                state.change(hash, |torrent| torrent.record.labels.category.clear());
            }
        });
        // Those that lie where their category says go with it.
        let lies_there = |torrent: &&Arc<bt_api::Torrent>| {
            torrent.record.auto_dir && torrent.record.labels.category == name
        };
        let follow: Vec<InfoHash> =
            self.state().torrents().filter(lies_there).map(|torrent| torrent.hash).collect();
        let dir = self.state().dir_of(name);
        if !follow.is_empty() {
            self.move_to(&follow, &dir, true).await?;
        }
        Ok(())
    }

    pub(super) async fn add_tags(&self, tags: BTreeSet<String>) -> Result<(), Fault> {
        tags.iter().try_for_each(|tag| check_tag(tag))?;
        let mut batch = Batch::default();
        let labels = self.keep_labels([&Labels { tags, ..Labels::default() }], &mut batch);
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        self.update(|state| (state.categories, state.tags) = labels);
        Ok(())
    }

    pub(super) async fn remove_tags(&self, tags: &BTreeSet<String>) -> Result<(), Fault> {
        let mut batch = Batch::default();
        let left: BTreeSet<String> = self.state().tags.difference(tags).cloned().collect();
        let mut changed = Vec::new();
        {
            let state = self.state();
            let has_one =
                |torrent: &&Arc<bt_api::Torrent>| !torrent.record.labels.tags.is_disjoint(tags);
            for torrent in state.torrents().filter(has_one) {
                let mut kept = torrent.kept(now());
                kept.labels.tags.retain(|tag| !tags.contains(tag));
                batch.record(torrent.hash, &kept);
                changed.push(torrent.hash);
            }
        }
        batch.value(TAGS, &left);
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        self.update(|state| {
            state.tags = left;
            for hash in changed {
                let drop_tags = |torrent: &mut bt_api::Torrent| {
                    torrent.record.labels.tags.retain(|tag| !tags.contains(tag));
                };
                state.change(hash, drop_tags);
            }
        });
        Ok(())
    }

    /// Lets those torrents run whose turn it is, and pauses the others.
    pub(super) async fn arrange(&self) {
        let (run, waiting, stopped) = self.turns();
        let run: HashSet<InfoHash> = run.into_iter().collect();
        let (begin, end): (Vec<_>, Vec<_>) = {
            let mut before = lock(&self.running);
            let begin = run.difference(&before).copied().collect();
            let end = before.difference(&run).copied().collect();
            *before = run;
            (begin, end)
        };
        for (torrents, running) in [(&begin, true), (&end, false)] {
            for handle in torrents.iter().filter_map(|hash| self.handle(*hash)) {
                handle.change(|wanted| wanted.running = running).await;
            }
        }
        let now = now();
        for (torrents, phase) in [(waiting, Phase::Queued), (stopped, Phase::Stopped)] {
            for hash in torrents {
                self.update(|state| {
                    state.change(hash, |torrent| torrent.set_phase(phase.clone(), now));
                });
            }
        }
        begin.into_iter().for_each(|hash| self.refresh(hash));
    }

    /// Returns the torrents that run, those that begin to wait, and those that begin to be stopped.
    fn turns(&self) -> (Vec<InfoHash>, Vec<InfoHash>, Vec<InfoHash>) {
        let state = self.state();
        let mut all: Vec<_> = state.torrents().collect();
        all.sort_by_key(|torrent| torrent.record.queue.place);
        let stalled_after = state.settings.queue.stalled_after.map(u64::from);
        let entries: Vec<Entry<InfoHash>> = all
            .iter()
            .filter(|torrent| torrent.record.settings.running)
            .map(|torrent| {
                let quiet_for = state.now.saturating_sub(
                    torrent.record.dates.active.unwrap_or(0).max(torrent.live.phase_since),
                );
                Entry {
                    key: torrent.hash,
                    seeds: torrent.is_done(),
                    forced: torrent.record.queue.forced,
                    stalled: matches!(torrent.live.phase, Phase::Downloading | Phase::Seeding)
                        && stalled_after.is_some_and(|limit| quiet_for > limit),
                }
            })
            .collect();
        let run = running(&entries, &state.settings.queue);
        let set: HashSet<InfoHash> = run.iter().copied().collect();
        let rests = |torrent: &&&Arc<bt_api::Torrent>, phase: &Phase| {
            use Phase::{Downloading, Metadata, Queued, Seeding, Stopped};
            let now = &torrent.live.phase;
            matches!(now, Stopped | Queued | Downloading | Seeding | Metadata(_)) && now != phase
        };
        let waiting = all.iter().filter(|torrent| {
            torrent.record.settings.running
                && !set.contains(&torrent.hash)
                && rests(torrent, &Phase::Queued)
        });
        let stopped = all
            .iter()
            .filter(|torrent| !torrent.record.settings.running && rests(torrent, &Phase::Stopped));
        let waiting = waiting.map(|torrent| torrent.hash).collect();
        let stopped = stopped.map(|torrent| torrent.hash).collect();
        (run, waiting, stopped)
    }
}

/// Refuses priorities of files that a torrent of this many files does not have.
pub(super) fn check_files(count: usize, patch: &TorrentPatch) -> Result<(), Fault> {
    let wrong = patch.files.iter().find(|(number, _)| *number >= count);
    wrong.map_or(Ok(()), |(number, _)| {
        let why = format!("there is no file with the number {number}");
        Err(Fault::new(FaultKind::Invalid, why))
    })
}

/// Refuses names of categories and tags that would be none.
pub(super) fn check_labels(patch: &TorrentPatch) -> Result<(), Fault> {
    if let Some(category) = patch.category.as_deref().filter(|name| !name.is_empty()) {
        check_category(category)?;
    }
    patch.tags.iter().flatten().chain(&patch.add_tags).try_for_each(|tag| check_tag(tag))
}

fn check_category(name: &str) -> Result<(), Fault> {
    if bt_api::is_category(name) {
        return Ok(());
    }
    let why = format!(
        "{name:?} cannot be a category: it is a relative path without `.` and `..`, of at most 255 \
         bytes"
    );
    Err(Fault::new(FaultKind::Invalid, why))
}

fn check_tag(tag: &str) -> Result<(), Fault> {
    let is_tag = !tag.trim().is_empty()
        && tag.len() <= 255
        && !tag.contains(|c: char| c == ',' || c.is_control());
    if is_tag {
        return Ok(());
    }
    let why = format!("{tag:?} cannot be a tag: it has a comma, is empty or has over 255 bytes");
    Err(Fault::new(FaultKind::Invalid, why))
}

/// Applies a merge patch (RFC 7396).
fn merge(value: &mut serde_json::Value, patch: &serde_json::Value) {
    let (serde_json::Value::Object(object), serde_json::Value::Object(patch)) =
        (&mut *value, patch)
    else {
        *value = patch.clone();
        return;
    };
    for (key, change) in patch {
        // Absent keys get their default, so `null` must stay where `null` is a value.
        match object.get_mut(key) {
            // A list would be read as the fields in their order, and reset those that it lacks.
            Some(old @ serde_json::Value::Object(_)) if change.is_array() => *old = false.into(),
            Some(old) => merge(old, change),
            None => drop(object.insert(key.clone(), change.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_api::{Limit, SeedLimitsPatch};

    #[test]
    fn a_patch_changes_what_it_names_and_nothing_else() {
        let mut record = Record::default();
        record.labels.tags = ["a", "b"].map(String::from).into();
        record.finished = true;
        let patch = TorrentPatch {
            add_tags: ["c".to_owned()].into(),
            remove_tags: ["a".to_owned()].into(),
            seed_limits: SeedLimitsPatch {
                ratio: Some(Limit::At(2.0)),
                ..SeedLimitsPatch::default()
            },
            ..TorrentPatch::default()
        };
        patch_record(&mut record, &patch);
        assert_eq!(record.labels.tags, ["b", "c"].map(String::from).into());
        assert_eq!(record.seed_limits.ratio, Limit::At(2.0));
        assert_eq!((record.seed_limits.minutes, record.finished), (Limit::Global, true));
        patch_record(&mut record, &TorrentPatch { running: Some(true), ..TorrentPatch::default() });
        assert!(!record.finished, "who starts a torrent wants more than its limit");
        assert_eq!(record.seed_limits.ratio, Limit::Unlimited, "or it would stop again at once");
    }

    #[test]
    fn a_merge_patch_reaches_into_objects() {
        let mut value = serde_json::json!({"limits": {"up": 1, "down": 2}, "dir": "/a"});
        merge(&mut value, &serde_json::json!({"limits": {"up": null}}));
        assert_eq!(value, serde_json::json!({"limits": {"up": null, "down": 2}, "dir": "/a"}));
    }
}
