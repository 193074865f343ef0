//! Changes what is wanted of torrents and of the daemon; removes torrents.
//!
//! Decides: what a patch does to what is kept.
//! Must not know: dialects.
//! Invariant: it is stored before it is done.

use super::undo::Step;
use super::{Keeper, lock, not_stored};
use crate::clock::now;
use crate::store::{Batch, SETTINGS};
use bt_api::{Fault, FaultKind, Record, TorrentPatch};
use bt_types::InfoHash;
use std::sync::Arc;

/// Most addresses that can be banned by hand.
const BANNED_MAX: usize = 10_000;

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
    if let Some(group) = &patch.group {
        record.group = group.clone();
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
        super::labels::check_labels(patch)?;
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

    pub(super) async fn set_settings(&self, patch: &serde_json::Value) -> Result<(), Fault> {
        let invalid = |why: String| Fault::new(FaultKind::Invalid, why);
        let settings = self.state().settings.with(patch).map_err(invalid)?;
        let kept = lock(&self.kept_settings).with(patch).map_err(invalid)?;
        let mut batch = Batch::default();
        batch.value(SETTINGS, &kept);
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        *lock(&self.kept_settings) = kept;
        self.take_settings(settings).await;
        Ok(())
    }

    /// Bans addresses, besides those that are.
    pub(super) async fn ban(&self, peers: &[std::net::IpAddr]) -> Result<(), Fault> {
        let mut banned = self.state().settings.blocklist.banned.clone();
        banned.extend(peers);
        if banned.len() > BANNED_MAX {
            let why = format!("at most {BANNED_MAX} addresses can be banned");
            return Err(Fault::new(FaultKind::Conflict, why));
        }
        self.set_settings(&serde_json::json!({ "blocklist": { "banned": banned } })).await
    }

    /// Says what is wrong with settings of the configuration.
    pub(crate) fn check_settings(&self, patch: &serde_json::Value) -> Result<(), String> {
        match patch.is_null() {
            true => Ok(()),
            false => lock(&self.kept_settings).with(patch).map(drop),
        }
    }

    /// Puts settings of the configuration over those that were set at run time, which stay stored.
    pub(crate) async fn override_settings(&self, patch: &serde_json::Value) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let kept = lock(&self.kept_settings).clone();
        let settings = if patch.is_null() { kept } else { kept.with(patch)? };
        self.take_settings(settings).await;
        Ok(())
    }

    async fn take_settings(&self, settings: bt_api::DaemonSettings) {
        if let Some(session) = self.session() {
            session.set(settings.session_now());
        }
        let before = self.update(|state| std::mem::replace(&mut state.settings, settings));
        if before.rss != self.state().settings.rss {
            self.wake_rss();
        }
        if before.blocklist != self.state().settings.blocklist {
            self.load_blocklist().await;
            self.blocklist_wake.notify_one();
        }
        self.arrange().await;
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
}
