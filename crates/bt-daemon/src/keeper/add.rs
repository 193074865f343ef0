//! Adds a torrent.
//!
//! Decides: what a source is, where a torrent goes.
//! Must not know: dialects.
//! Invariant: a torrent that is reported as added is stored, and is in the state.

use super::hooks::Moment;
use super::{Keeper, not_stored, refused};
use crate::clock::now;
use crate::store::Batch;
use bt_api::{
    Add, AddSource, CommandReply, DaemonState, Dates, Fault, FaultKind, QueueMove, QueuePlace,
    Record,
};
use bt_metainfo::{Magnet, Metainfo};
use bt_session::FetchError;
use bt_types::Source;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of a torrent file.
pub(crate) const FILE_MAX: usize = 32 << 20;

/// Most files of a link's torrent, of which priorities may be wanted before its metadata is there.
const LINK_FILES_MAX: usize = 500_000;

/// What a source turned out to be.
enum Found {
    Torrent(Arc<Metainfo>, Vec<u8>),
    Link(Magnet, String),
}

impl Keeper {
    pub(super) async fn add(self: &Arc<Self>, add: Add) -> Result<CommandReply, Fault> {
        let found = self.find(&add.source).await?;
        let hash = match &found {
            Found::Torrent(metainfo, _) => metainfo.info_hashes.swarm(),
            Found::Link(magnet, _) => magnet.info_hashes.swarm(),
        };
        let hash = hash.ok_or_else(|| {
            Fault::new(FaultKind::NotATorrent, "it has no info-hash of version 1")
        })?;
        super::labels::check_labels(&add.patch)?;
        let count = match &found {
            Found::Torrent(metainfo, _) => metainfo.info.files.len(),
            Found::Link(..) => LINK_FILES_MAX,
        };
        super::change::check_files(count, &add.patch)?;
        let place = match (&add.import, &found) {
            (Some(import), Found::Torrent(metainfo, _)) => {
                let dir = dir_of(&self.state(), &add);
                Some(super::import::look(import, &dir, metainfo).await?)
            }
            _ => None,
        };
        let _turn = self.turn.lock().await;
        if self.state().torrent(hash).is_some() {
            return Ok(CommandReply {
                torrent: Some(hash),
                duplicate: true,
                ..CommandReply::default()
            });
        }
        let (metainfo, file, magnet) = match found {
            Found::Torrent(metainfo, bytes) => (Some(metainfo), Some(bytes), None),
            Found::Link(_, link) => (None, None, Some(link)),
        };
        let mut record = self.new_record(&add, magnet);
        if let Some(import) = &add.import {
            super::import::take(&mut record, import, place);
        }
        let mut batch = Batch::default();
        batch.record(hash, &record);
        if let Some(bytes) = file {
            batch.file(hash, bytes);
        }
        let labels = self.keep_labels([&record.labels], &mut batch);
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        self.update(|state| {
            (state.categories, state.tags) = labels;
            state.add(hash, record.clone(), metainfo.clone())
        });
        if let Err(error) = self.begin(hash, &record, metainfo, add.trust_data) {
            let mut batch = Batch::default();
            batch.remove(hash);
            self.store.write(batch).await.map_err(|error| not_stored(&error))?;
            self.update(|state| state.remove(hash));
            return Err(refused(&error));
        }
        if !add.peers.is_empty() {
            self.add_peers(&[hash], &add.peers);
        }
        if add.to_top {
            self.queue(&[hash], QueueMove::Top).await?;
        }
        if record.first_last {
            self.prefer_ends(hash, true);
        }
        self.arrange().await;
        self.refresh(hash);
        // What is imported was added long ago.
        if add.import.is_none() {
            self.run_hook(Moment::Added, hash);
        }
        Ok(CommandReply { torrent: Some(hash), ..CommandReply::default() })
    }

    fn new_record(&self, add: &Add, magnet: Option<String>) -> Record {
        let state = self.state();
        let mut record = Record { magnet, ..Record::default() };
        super::change::patch_record(&mut record, &add.patch);
        record.settings.running = add.start.unwrap_or(state.settings.start_added);
        let dir = dir_of(&state, add);
        // Data that is there already stays where it is.
        let is_there = add.trust_data || add.import.is_some();
        let incomplete = state.settings.incomplete_dir.clone().filter(|_| !is_there);
        record.final_dir = incomplete.is_some().then(|| dir.clone());
        record.dir = incomplete.unwrap_or(dir);
        record.dates = Dates { added: now(), ..Dates::default() };
        let last = state.torrents().map(|torrent| torrent.record.queue.place + 1).max();
        let place = last.unwrap_or(0);
        record.queue = QueuePlace { place, forced: record.queue.forced };
        match add.stop_on {
            // What was wanted to stop there is checked while it is stopped.
            Some(_) if record.magnet.is_none() => record.settings.running = false,
            stop_on => record.stop_on = stop_on,
        }
        record
    }

    async fn find(&self, source: &AddSource) -> Result<Found, Fault> {
        match source {
            AddSource::Bytes(bytes) => parse(bytes.clone()),
            AddSource::Path(path) => parse(read(path).await?),
            AddSource::Link(text) => self.follow(Source::Api, text.trim()).await,
            AddSource::Heard(text, server) => {
                let source = server.map_or(Source::Link, Source::Host);
                self.follow(source, text.trim()).await
            }
        }
    }

    async fn follow(&self, source: Source, text: &str) -> Result<Found, Fault> {
        let is_url = ["http://", "https://"].iter().any(|scheme| {
            text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        if !is_url {
            return link(text);
        }
        match self.fetch.fetch_for(source, text, FILE_MAX).await {
            Ok(bytes) => parse(bytes),
            Err(FetchError::Magnet(text)) => link(&text),
            Err(error) => Err(Fault::new(FaultKind::Network, error.to_string())),
        }
    }
}

/// Returns the directory that a torrent goes to in the end.
fn dir_of(state: &DaemonState, add: &Add) -> PathBuf {
    let category = add.patch.category.as_deref().unwrap_or_default();
    add.dir.clone().unwrap_or_else(|| state.dir_of(category))
}

fn link(text: &str) -> Result<Found, Fault> {
    let magnet = match Magnet::of_digits(text) {
        Some(magnet) => magnet,
        None => Magnet::parse(text).map_err(|error| {
            Fault::new(FaultKind::Invalid, format!("not a magnet link or URL: {error}"))
        })?,
    };
    let text = magnet.to_string();
    Ok(Found::Link(magnet, text))
}

fn parse(bytes: Vec<u8>) -> Result<Found, Fault> {
    let metainfo = Metainfo::from_bytes(&bytes)
        .map_err(|error| Fault::new(FaultKind::NotATorrent, format!("not a torrent: {error}")))?;
    Ok(Found::Torrent(Arc::new(metainfo), bytes))
}

async fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    use tokio::io::AsyncReadExt as _;
    let why = |error: std::io::Error| {
        Fault::new(FaultKind::Invalid, format!("cannot read {}: {error}", path.display()))
    };
    let file = tokio::fs::File::open(path).await.map_err(why)?;
    if !file.metadata().await.map_err(why)?.is_file() {
        let why = format!("{} is not a file", path.display());
        return Err(Fault::new(FaultKind::Invalid, why));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes).await.map_err(why)?;
    if bytes.len() > FILE_MAX {
        let why = format!("{} is longer than a torrent may be", path.display());
        return Err(Fault::new(FaultKind::NotATorrent, why));
    }
    Ok(bytes)
}
