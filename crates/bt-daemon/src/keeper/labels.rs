//! Categories and tags.
//!
//! Decides: which names they can have, and what follows a category that changes.
//! Must not know: dialects.
//! Invariant: a label that a torrent has exists.

use super::{Keeper, not_stored};
use crate::store::{Batch, CATEGORIES, TAGS};
use bt_api::{Category, Fault, FaultKind, Labels, Record, Torrent, TorrentPatch};
use bt_types::InfoHash;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Keeper {
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
        let of_it = |torrent: &&Arc<Torrent>| torrent.record.labels.category == name;
        let mut bare = Vec::new();
        match category {
            Some(category) => drop(categories.insert(name.to_owned(), category)),
            None => {
                categories.remove(name);
                let state = self.state();
                bare.extend(state.torrents().filter(of_it).map(|torrent| torrent.hash));
            }
        }
        batch.value(CATEGORIES, &categories);
        self.note_all(&bare, batch, |_, record| record.labels.category.clear()).await?;
        self.update(|state| state.categories = categories);
        // Those that lie where their category says go with it.
        let lies_there = |torrent: &&Arc<Torrent>| torrent.record.auto_dir && of_it(torrent);
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
        batch.value(TAGS, &left);
        let has_one = |torrent: &&Arc<Torrent>| !torrent.record.labels.tags.is_disjoint(tags);
        let changed: Vec<InfoHash> =
            self.state().torrents().filter(has_one).map(|torrent| torrent.hash).collect();
        let without = |_, record: &mut Record| record.labels.tags.retain(|tag| !tags.contains(tag));
        self.note_all(&changed, batch, without).await?;
        self.update(|state| state.tags = left);
        Ok(())
    }
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
    if bt_api::is_tag(tag) {
        return Ok(());
    }
    let why = format!("{tag:?} cannot be a tag: it has a comma, is empty or has over 255 bytes");
    Err(Fault::new(FaultKind::Invalid, why))
}
