//! Starts with what an earlier run kept.
//!
//! Decides: the order of the start.
//! Must not know: APIs.
//! Invariant: a torrent that cannot be started is there, and says why.

use super::{Keeper, lock};
use crate::clock::now;
use crate::config::{DaemonConfig, DaemonError};
use crate::store::{Batch, CATEGORIES, RSS, SETTINGS, Store, StoreError, Stored, TAGS, TOTALS};
use bt_api::{DaemonSettings, DaemonState, Phase, Record};
use bt_metainfo::{Magnet, Metainfo};
use bt_session::{AddOptions, OneShot, Session, SessionConfig, TorrentError};
use bt_types::InfoHash;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::watch;

impl Keeper {
    /// Opens the store, starts the session, and adds the torrents of the earlier run.
    pub(crate) async fn open(config: &DaemonConfig) -> Result<Arc<Keeper>, DaemonError> {
        let dir = config.state_dir.clone();
        let unusable = |error: StoreError| match error {
            StoreError::InUse => DaemonError::InUse { dir: config.state_dir.clone() },
            error => DaemonError::State { dir: config.state_dir.clone(), why: error.to_string() },
        };
        let opened = tokio::task::spawn_blocking(move || {
            let store = Store::open(&dir)?;
            let torrents = store.torrents()?;
            Ok((store, torrents))
        });
        let (store, mut torrents) = match opened.await {
            Ok(opened) => opened.map_err(unusable)?,
            Err(error) => return Err(unusable(StoreError::Other(error.to_string()))),
        };
        let mut state = DaemonState::default();
        (state.now, state.started) = (now(), now());
        state.begin(state.now);
        let sequence = state.sequence();
        let first = DaemonSettings { dir: config.dir.clone(), ..DaemonSettings::default() };
        let kept: DaemonSettings = store.value(SETTINGS).map_err(unusable)?.unwrap_or(first);
        let patch = &config.reloadable.settings;
        state.settings = match patch.is_null() {
            true => kept.clone(),
            false => kept.with(patch).map_err(DaemonError::Settings)?,
        };
        state.categories = store.value(CATEGORIES).map_err(unusable)?.unwrap_or_default();
        state.rss = store.value(RSS).map_err(unusable)?.unwrap_or_default();
        state.tags = store.value(TAGS).map_err(unusable)?.unwrap_or_default();
        state.earlier = store.value(TOTALS).map_err(unusable)?.unwrap_or_default();
        if store.value::<DaemonSettings>(SETTINGS).map_err(unusable)?.is_none() {
            let mut batch = Batch::default();
            batch.value(SETTINGS, &kept);
            store.write(batch).await.map_err(unusable)?;
        }

        let (dir, files) = (config.state_dir.clone(), config.reloadable.ip_filter.clone());
        let blocklist = state.settings.blocklist.clone();
        let loaded =
            tokio::task::spawn_blocking(move || super::blocklist::load(&dir, &files, &blocklist));
        let loaded = loaded.await.unwrap_or_else(|error| Err(error.to_string()));
        // Who keeps addresses out does not want to start without that.
        let (filter, ranges) = loaded.map_err(DaemonError::IpFilter)?;
        state.blocklist_ranges = ranges;
        let session = SessionConfig {
            state_dir: Some(config.state_dir.clone()),
            settings: state.settings.session_now(),
            ip_filter: Arc::new(filter),
            ..config.session.clone()
        };
        let session = Session::start(session)?;
        state.session = session.view().await;
        let changes = session.subscribe();
        torrents.sort_by_key(|stored| (stored.record.queue.place, stored.record.dates.added));
        let keeper = Arc::new(Keeper {
            session: Mutex::new(Some(Arc::new(session))),
            state: RwLock::new(state),
            kept_settings: Mutex::new(kept),
            store,
            blocklist_turn: tokio::sync::Mutex::default(),
            blocklist_wake: tokio::sync::Notify::new(),
            beat: AtomicU64::new(now()),
            state_dir: config.state_dir.clone(),
            filter_files: Mutex::new(config.reloadable.ip_filter.clone()),
            grouped: Mutex::default(),
            rss_wake: tokio::sync::Notify::new(),
            rss_news: tokio::sync::Notify::new(),
            creations: tokio::sync::Semaphore::new(1),
            creating: Mutex::default(),
            hooks: super::hooks::Runner::start(config.reloadable.hooks.clone()),
            turn: tokio::sync::Mutex::default(),
            running: Mutex::default(),
            steps: Mutex::default(),
            fetch: OneShot::new(config.extra_roots.clone())?,
            sequence: watch::Sender::new(sequence),
            stop: watch::Sender::new(false),
        });
        tokio::spawn(Arc::clone(&keeper).watch(changes));
        tokio::spawn(Arc::clone(&keeper).watch_space());
        tokio::spawn(Arc::clone(&keeper).keep_beat());
        tokio::spawn(Arc::clone(&keeper).watch_rss());
        tokio::spawn(Arc::clone(&keeper).watch_wanted());
        tokio::spawn(Arc::clone(&keeper).watch_blocklist());
        keeper.resume_all(torrents).await;
        Ok(keeper)
    }

    /// Adds the torrents of the earlier run to the state and to the session.
    async fn resume_all(self: &Arc<Self>, torrents: Vec<Stored>) {
        for Stored { hash, record, file, wrong } in torrents {
            let metainfo = file.map(|bytes| Metainfo::from_bytes(&bytes));
            let (metainfo, wrong) = match metainfo {
                Some(Ok(metainfo)) => (Some(Arc::new(metainfo)), wrong),
                Some(Err(error)) => (None, wrong.or(Some(error.to_string()))),
                None => (None, wrong),
            };
            let moving_to = record.moving_to.clone();
            self.update(|state| state.add(hash, record.clone(), metainfo.clone()));
            let begun = match wrong {
                Some(why) => Err(format!("what was stored of it is not valid: {why}")),
                None => {
                    self.begin(hash, &record, metainfo, false).map_err(|error| error.to_string())
                }
            };
            if record.first_last && begun.is_ok() {
                self.prefer_ends(hash, true);
            }
            match (begun, moving_to) {
                (Ok(()), Some(dir)) => self.move_behind(hash, dir),
                (Ok(()), None) => {}
                (Err(why), _) => self.fail(hash, why),
            }
        }
        self.arrange().await;
    }

    /// Adds a torrent to the session. It stays paused until the queue lets it run.
    pub(super) fn begin(
        &self,
        hash: InfoHash,
        record: &Record,
        metainfo: Option<Arc<Metainfo>>,
        trust_data: bool,
    ) -> Result<(), TorrentError> {
        let session = self.session().ok_or(TorrentError::Stopping)?;
        let mut options = AddOptions::new(&record.dir);
        options.settings = record.settings.clone();
        options.settings.running = false;
        options.names = record.names.clone();
        options.trust_data = trust_data;
        options.claim = super::import::claim(record, metainfo.as_deref());
        lock(&self.running).remove(&hash);
        if let Some(metainfo) = metainfo {
            return session.add_shared(metainfo, options).map(drop);
        }
        let link = record.magnet.as_deref().unwrap_or_default();
        let magnet = Magnet::parse(link)
            .map_err(|error| TorrentError::Unsupported(format!("its link: {error}")))?;
        session.add_magnet(&magnet, options).map(drop)
    }

    /// Says why a torrent cannot go on.
    pub(super) fn fail(&self, hash: InfoHash, why: String) {
        let now = now();
        self.update(|state| {
            state.change(hash, |torrent| torrent.set_phase(Phase::Failed(why), now))
        });
    }
}
