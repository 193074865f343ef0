//! What outlives the daemon: torrents, settings, categories, tags, totals.
//!
//! Decides: the tables, and what is written together.
//! Must not know: what a torrent does.
//! Invariant: what a write says is there after a crash as a whole or not at all. A write that
//! returned is there.

use bt_api::Record;
use bt_types::InfoHash;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;

const FILE: &str = "daemon.redb";
/// The format of the tables' values. A store with a higher one is refused.
const FORMAT: u64 = 1;
/// A torrent's record as JSON, by info-hash.
const RECORDS: TableDefinition<'_, [u8; 20], &[u8]> = TableDefinition::new("torrents");
/// A torrent's file, by info-hash.
const FILES: TableDefinition<'_, [u8; 20], &[u8]> = TableDefinition::new("metainfo");
/// Single values as JSON.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// Bytes of pages that are held in memory.
const CACHE: usize = 4 << 20;

/// The names of single values.
pub(crate) const SETTINGS: &str = "settings";
pub(crate) const CATEGORIES: &str = "categories";
pub(crate) const TAGS: &str = "tags";
pub(crate) const TOKENS: &str = "tokens";
pub(crate) const RSS: &str = "rss";
pub(crate) const TOTALS: &str = "totals";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another process has it open.
    #[error("another process uses it")]
    InUse,
    /// It was written by a later version.
    #[error("it was written by a newer version of bt (format {0}); use that version")]
    Newer(u64),
    /// It cannot be read or written.
    #[error("{0}")]
    Other(String),
}

impl StoreError {
    fn other(error: impl std::fmt::Display) -> StoreError {
        StoreError::Other(error.to_string())
    }
}

/// The store. Clones are the same store.
#[derive(Clone, Debug)]
pub(crate) struct Store(Arc<Database>);

/// A torrent as it was stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) hash: InfoHash,
    pub(crate) record: Record,
    /// The bytes of its file, once they are there.
    pub(crate) file: Option<Vec<u8>>,
    /// Why its record could not be read; it is as if it were empty then.
    pub(crate) wrong: Option<String>,
}

/// What is written together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    records: Vec<(InfoHash, Option<Vec<u8>>)>,
    files: Vec<(InfoHash, Option<Vec<u8>>)>,
    values: Vec<(&'static str, Vec<u8>)>,
}

impl Batch {
    /// Stores a torrent's record.
    pub(crate) fn record(&mut self, hash: InfoHash, record: &Record) {
        self.records.push((hash, json(record)));
    }

    /// Stores a torrent's file.
    pub(crate) fn file(&mut self, hash: InfoHash, bytes: Vec<u8>) {
        self.files.push((hash, Some(bytes)));
    }

    /// Removes a torrent.
    pub(crate) fn remove(&mut self, hash: InfoHash) {
        self.records.push((hash, None));
        self.files.push((hash, None));
    }

    /// Stores a single value.
    pub(crate) fn value(&mut self, name: &'static str, value: &impl Serialize) {
        self.values.extend(json(value).map(|bytes| (name, bytes)));
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.files.is_empty() && self.values.is_empty()
    }
}

/// Our values have string keys and finite numbers: they always have a JSON form.
fn json(value: &impl Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(value)
        .inspect_err(|error| tracing::error!(%error, "a value has no JSON form"))
        .ok()
}

impl Store {
    /// Opens the store in the state directory, or makes it.
    pub(crate) fn open(dir: &Path) -> Result<Store, StoreError> {
        std::fs::create_dir_all(dir).map_err(StoreError::other)?;
        let database = Database::builder().set_cache_size(CACHE).create(dir.join(FILE));
        let database = database.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse,
            error => StoreError::other(error),
        })?;
        let store = Store(Arc::new(database));
        match store.value::<u64>("format")? {
            Some(format) if format > FORMAT => return Err(StoreError::Newer(format)),
            Some(_) => {}
            None => {
                let mut batch = Batch::default();
                batch.value("format", &FORMAT);
                store.write_now(&batch)?;
            }
        }
        Ok(store)
    }

    /// Reads a single value.
    pub(crate) fn value<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let read = self.0.begin_read().map_err(StoreError::other)?;
        let table = match read.open_table(VALUES) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(StoreError::other(error)),
        };
        let value = table.get(name).map_err(StoreError::other)?;
        value
            .map(|value| serde_json::from_slice(value.value()))
            .transpose()
            .map_err(StoreError::other)
    }

    /// Reads all torrents.
    pub(crate) fn torrents(&self) -> Result<Vec<Stored>, StoreError> {
        let read = self.0.begin_read().map_err(StoreError::other)?;
        let (records, files) = match (read.open_table(RECORDS), read.open_table(FILES)) {
            (Ok(records), Ok(files)) => (records, files),
            (Err(redb::TableError::TableDoesNotExist(_)), _)
            | (_, Err(redb::TableError::TableDoesNotExist(_))) => return Ok(Vec::new()),
            (Err(error), _) | (_, Err(error)) => return Err(StoreError::other(error)),
        };
        let mut torrents = Vec::new();
        for entry in records.iter().map_err(StoreError::other)? {
            let (key, value) = entry.map_err(StoreError::other)?;
            let hash = InfoHash(key.value());
            let (record, wrong) = match serde_json::from_slice(value.value()) {
                Ok(record) => (record, None),
                Err(error) => (Record::default(), Some(error.to_string())),
            };
            let file = files.get(key.value()).map_err(StoreError::other)?;
            let file = file.map(|file| file.value().to_vec());
            torrents.push(Stored { hash, record, file, wrong });
        }
        Ok(torrents)
    }

    /// Writes all of a batch, and syncs it.
    pub(crate) async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let store = self.clone();
        let written = tokio::task::spawn_blocking(move || store.write_now(&batch)).await;
        written.unwrap_or_else(|error| Err(StoreError::other(error)))
    }

    fn write_now(&self, batch: &Batch) -> Result<(), StoreError> {
        let write = self.0.begin_write().map_err(StoreError::other)?;
        {
            let mut records = write.open_table(RECORDS).map_err(StoreError::other)?;
            let mut files = write.open_table(FILES).map_err(StoreError::other)?;
            let mut values = write.open_table(VALUES).map_err(StoreError::other)?;
            for (table, changes) in [(&mut records, &batch.records), (&mut files, &batch.files)] {
                for (hash, bytes) in changes {
                    match bytes {
                        Some(bytes) => {
                            drop(table.insert(hash.0, &bytes[..]).map_err(StoreError::other)?)
                        }
                        None => drop(table.remove(hash.0).map_err(StoreError::other)?),
                    }
                }
            }
            for (name, bytes) in &batch.values {
                values.insert(*name, &bytes[..]).map_err(StoreError::other)?;
            }
        }
        write.commit().map_err(StoreError::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_there_after_it_is_opened_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let hash = InfoHash([7; 20]);
        let record = Record { name: Some("seven".into()), ..Record::default() };
        let store = Store::open(dir.path()).expect("a store");
        assert!(store.torrents().expect("torrents").is_empty());
        let mut batch = Batch::default();
        batch.record(hash, &record);
        batch.file(hash, b"d4:infoe".to_vec());
        batch.value(TAGS, &["a"]);
        store.write(batch).await.expect("a write");
        assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse)));
        drop(store);

        let store = Store::open(dir.path()).expect("a store");
        let stored = store.torrents().expect("torrents");
        let [torrent] = &stored[..] else { panic!("one torrent") };
        assert_eq!((torrent.hash, &torrent.record), (hash, &record));
        assert_eq!(torrent.file.as_deref(), Some(&b"d4:infoe"[..]));
        assert_eq!(store.value::<Vec<String>>(TAGS).expect("tags"), Some(vec!["a".into()]));
        let mut batch = Batch::default();
        batch.remove(hash);
        store.write(batch).await.expect("a write");
        assert!(store.torrents().expect("torrents").is_empty());
    }

    #[tokio::test]
    async fn a_newer_format_is_refused_and_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let mut batch = Batch::default();
        batch.value("format", &(FORMAT + 1));
        store.write(batch).await.expect("a write");
        drop(store);
        for _ in 0..2 {
            assert!(matches!(Store::open(dir.path()), Err(StoreError::Newer(2))));
        }
    }
}
