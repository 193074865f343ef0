//! Keeps the torrents: the one place that changes them.
//!
//! Decides: the order of storing and acting.
//! Must not know: HTTP, dialects.
//! Invariant: a command that returned without a fault is stored. Commands are carried out one after
//! the other; only the moving and the checking of data goes on behind.

mod act;
mod add;
mod blocklist;
mod change;
mod creations;
mod groups;
mod hooks;
mod import;
mod labels;
mod open;
mod rss;
#[cfg(test)]
pub(crate) mod tests;
mod turns;
mod undo;
mod watch;

pub(crate) use add::FILE_MAX;

use crate::clock::now;
use crate::store::{Batch, Store, StoreError, TOKENS, TOTALS};
use crate::token::Token;
use bt_api::{
    Command, CommandReply, DaemonSettings, DaemonState, Details, Fault, FaultKind, File, Needs,
    Record, Torrent,
};
use bt_model::Rates;
use bt_piece_store::Progress;
use bt_session::{OneShot, Reader, Session, TorrentError, TorrentHandle};
use bt_types::InfoHash;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::Instant;

/// How long the end waits for those who ask the session something.
const STOP_TIME: Duration = Duration::from_secs(5);
/// The sums of each torrent are stored once within this number of minutes, also at rest.
const SUMS_TURNS: u64 = 30;

/// Keeps the torrents.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// `None` once the daemon stops.
    session: Mutex<Option<Arc<Session>>>,
    state: RwLock<DaemonState>,
    /// The settings as they were set at run time, without what the configuration puts over them.
    kept_settings: Mutex<DaemonSettings>,
    store: Store,
    /// When the runtime last ran a task of its own, in seconds since 1970.
    beat: AtomicU64,
    state_dir: PathBuf,
    /// Held while the filter of addresses is made.
    blocklist_turn: tokio::sync::Mutex<()>,
    /// Wakes who fetches the blocklist.
    blocklist_wake: tokio::sync::Notify,
    /// Files of the configuration with addresses that no torrent has to do with.
    filter_files: Mutex<Vec<PathBuf>>,
    hooks: hooks::Runner,
    /// The limits of torrents in groups, as they were last set.
    grouped: Mutex<HashMap<InfoHash, Rates>>,
    /// Wakes who fetches feeds.
    rss_wake: tokio::sync::Notify,
    /// Wakes who adds what rules want.
    rss_news: tokio::sync::Notify,
    /// Held by the torrent that is made: disks are read one after the other.
    creations: tokio::sync::Semaphore,
    /// The progress of torrents that are being made.
    creating: Mutex<HashMap<String, Arc<Progress>>>,
    /// Held by the command that is carried out.
    turn: tokio::sync::Mutex<()>,
    /// The torrents that the queue lets run.
    running: Mutex<HashSet<InfoHash>>,
    /// What can be taken back, the last step at the end.
    steps: Mutex<VecDeque<undo::Step>>,
    /// Fetches torrent files.
    fetch: OneShot,
    /// The number of the last change.
    sequence: Sender<u64>,
    /// A request asked for the end.
    stop: Sender<bool>,
}

impl Keeper {
    /// Returns the state as it is now.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, DaemonState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the session; `None` once the daemon stops.
    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        lock(&self.session).clone()
    }

    /// Watches the number of the last change.
    pub(crate) fn changes(&self) -> Receiver<u64> {
        self.sequence.subscribe()
    }

    /// Waits until a request asks for the end.
    pub(crate) async fn asked_to_stop(&self) {
        let _ = self.stop.subscribe().wait_for(|asked| *asked).await;
    }

    /// Carries out a command. A caller that goes in between ends no command half-way.
    pub(crate) async fn run(self: &Arc<Self>, command: Command) -> Result<CommandReply, Fault> {
        let keeper = Arc::clone(self);
        let done = tokio::spawn(async move { keeper.carry_out(command).await }).await;
        done.unwrap_or_else(|error| {
            Err(Fault::new(FaultKind::Internal, format!("the command did not end: {error}")))
        })
    }

    async fn carry_out(self: &Arc<Self>, command: Command) -> Result<CommandReply, Fault> {
        // What is fetched is fetched before a command has its turn.
        let command = match command {
            Command::Add(add) => return self.add(*add).await,
            Command::UpdateBlocklist => {
                let count = Some(self.update_blocklist().await?);
                return Ok(CommandReply { count, ..CommandReply::default() });
            }
            other => other,
        };
        let _turn = self.turn.lock().await;
        match command {
            Command::Add(_) | Command::UpdateBlocklist => {}
            Command::Remove(torrents, with_data) => self.remove(&torrents, with_data).await?,
            Command::Change(torrents, patch) => self.change(&torrents, &patch).await?,
            Command::Check(torrents) => self.check(&torrents).await?,
            Command::Reannounce(torrents) => self.reannounce(&torrents).await,
            Command::Move { torrents, dir, move_data } => {
                let before = self.records(&torrents);
                self.move_to(&torrents, &dir, move_data).await?;
                self.remember(undo::Step::Changed(before));
            }
            Command::RenameFile { torrent, file, path } => {
                self.rename_file(torrent, file, &path).await?;
            }
            Command::RenameTop(torrent, name) => self.rename_top(torrent, &name).await?,
            Command::Queue(torrents, to) => self.queue(&torrents, to).await?,
            Command::AddPeers(torrents, peers) => self.add_peers(&torrents, &peers),
            Command::Settings(patch) => self.set_settings(&patch).await?,
            Command::Category(name, category) => self.set_category(&name, category).await?,
            Command::AddTags(tags) => self.add_tags(tags).await?,
            Command::RemoveTags(tags) => self.remove_tags(&tags).await?,
            Command::Rss(change) => self.change_rss(change).await?,
            Command::Ban(peers) => self.ban(&peers).await?,
            Command::Create(wish) => {
                let creation = Some(self.create(*wish)?);
                return Ok(CommandReply { creation, ..CommandReply::default() });
            }
            Command::ForgetCreation(id) => self.forget_creation(&id)?,
            Command::Undo => self.undo().await?,
            Command::Stop => {
                self.stop.send_replace(true);
            }
        }
        Ok(CommandReply::default())
    }

    /// Returns whether its tasks ran within the last minute.
    pub(crate) fn is_alive(&self) -> bool {
        now().saturating_sub(self.beat.load(Ordering::Relaxed)) < 60
    }

    /// Returns in a few words what it does.
    pub(crate) fn status(&self) -> String {
        let state = self.state();
        let view = &state.session;
        format!("{} torrents, {} up, {} down B/s", state.len(), view.up_rate, view.down_rate)
    }

    /// Returns details of torrents; those that are not there are left out.
    pub(crate) async fn details(&self, needs: &Needs) -> HashMap<InfoHash, Details> {
        let mut all = HashMap::new();
        if needs.is_empty() {
            return all;
        }
        for hash in &needs.torrents {
            let Some(handle) = self.handle(*hash) else { continue };
            let mut details = Details::default();
            if needs.files {
                details.files = files(&handle).await;
            }
            if needs.peers {
                details.peers = handle.peers().await;
            }
            if needs.trackers {
                details.trackers = handle.trackers().await;
            }
            if needs.pieces {
                details.pieces = handle.pieces().await;
            }
            all.insert(*hash, details);
        }
        all
    }

    /// Returns a reader of a file of a torrent.
    pub(crate) fn reader(&self, hash: InfoHash, file: usize) -> Option<Reader> {
        self.handle(hash)?.reader(file)
    }

    /// Stores the sums, and stops the session.
    pub(crate) async fn stop(&self) {
        let _turn = self.turn.lock().await;
        if let Err(error) = self.save_sums(None).await {
            tracing::error!(%error, "the sums of this run could not be stored");
        }
        let Some(mut session) = lock(&self.session).take() else { return };
        // Who asks the session something right now has it a little longer.
        let deadline = Instant::now() + STOP_TIME;
        loop {
            session = match Arc::try_unwrap(session) {
                Ok(session) => return session.stop().await,
                Err(shared) => shared,
            };
            if Instant::now() >= deadline {
                tracing::error!("the session is still in use: it was not stopped in order");
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the tokens that are stored.
    pub(crate) fn stored_tokens(&self) -> Result<BTreeMap<String, Token>, StoreError> {
        Ok(self.store.value(TOKENS)?.unwrap_or_default())
    }

    /// Stores the tokens.
    pub(crate) async fn store_tokens(&self, tokens: &BTreeMap<String, Token>) -> Result<(), Fault> {
        let mut batch = Batch::default();
        batch.value(TOKENS, tokens);
        self.store.write(batch).await.map_err(|error| not_stored(&error))
    }

    /// Stores what is kept of torrents, with the sums of this run: of all of them, or of those
    /// whose sums matter at this minute.
    async fn save_sums(&self, minute: Option<u64>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        {
            let state = self.state();
            let now = now();
            let is_due = |torrent: &&Arc<Torrent>| {
                minute.is_none_or(|minute| sums_matter(torrent, now, minute))
            };
            for torrent in state.torrents().filter(is_due) {
                let kept = torrent.kept(now);
                if kept != torrent.record {
                    batch.record(torrent.hash, &kept);
                }
            }
            let up = state.earlier.0.saturating_add(state.session.bytes_up);
            let down = state.earlier.1.saturating_add(state.session.bytes_down);
            batch.value(TOTALS, &(up, down));
        }
        self.store.write(batch).await
    }

    /// Changes what is kept of a torrent: stores it, then changes the state.
    async fn note(&self, hash: InfoHash, change: impl Fn(&mut Record)) -> Result<(), Fault> {
        self.note_all(&[hash], Batch::default(), |_, record| change(record)).await
    }

    /// Changes what is kept of torrents: stores it together with the batch, then changes the state.
    async fn note_all(
        &self,
        hashes: &[InfoHash],
        mut batch: Batch,
        change: impl Fn(InfoHash, &mut Record),
    ) -> Result<(), Fault> {
        for hash in hashes {
            let mut torrent = (*self.torrent(*hash)?).clone();
            change(*hash, &mut torrent.record);
            batch.record(*hash, &torrent.kept(now()));
        }
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        self.update(|state| {
            // Sums may have grown while it was written: the record of now is changed.
            for hash in hashes {
                state.change(*hash, |torrent| change(*hash, &mut torrent.record));
            }
        });
        Ok(())
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, DaemonState> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and tells those who wait for changes.
    fn update<T>(&self, change: impl FnOnce(&mut DaemonState) -> T) -> T {
        let mut state = self.state_mut();
        let result = change(&mut state);
        let sequence = state.sequence();
        drop(state);
        self.sequence.send_if_modified(|last| std::mem::replace(last, sequence) != sequence);
        result
    }

    fn handle(&self, hash: InfoHash) -> Option<TorrentHandle> {
        self.session()?.torrent(hash)
    }

    /// Returns a torrent, or says that it is not there.
    fn torrent(&self, hash: InfoHash) -> Result<Arc<Torrent>, Fault> {
        self.state()
            .torrent(hash)
            .cloned()
            .ok_or_else(|| Fault::new(FaultKind::NotFound, format!("there is no torrent {hash}")))
    }
}

/// Returns whether the sums of a torrent are stored at this minute: payload came or went since the
/// last, or it is its turn. At rest only the time of seeding grows, and a kill may take half an
/// hour of that: else all torrents would be written each minute.
fn sums_matter(torrent: &Torrent, now: u64, minute: u64) -> bool {
    let moved =
        torrent.record.dates.active.is_some_and(|at| now.saturating_sub(at) <= 2 * watch::SAVE);
    let first = torrent.hash.0.first().copied().unwrap_or_default();
    moved || u64::from(first) % SUMS_TURNS == minute % SUMS_TURNS
}

/// Returns the files of a torrent, without padding.
async fn files(handle: &TorrentHandle) -> Vec<File> {
    let views = handle.files().await;
    let file = |view: bt_session::FileView| File {
        number: view.number,
        pieces: handle.pieces_of(view.number).unwrap_or(0..0),
        path: view.path.to_string_lossy().into_owned(),
        length: view.length,
        bytes_done: view.bytes_done,
        priority: view.priority,
    };
    views.into_iter().map(file).collect()
}

/// Says what the session refused.
fn refused(error: &TorrentError) -> Fault {
    let kind = match error {
        TorrentError::Unsupported(_) | TorrentError::Metadata { .. } => FaultKind::NotATorrent,
        TorrentError::Selection(_) | TorrentError::Name(_) => FaultKind::Invalid,
        TorrentError::Duplicate | TorrentError::NotReady => FaultKind::Conflict,
        TorrentError::Stopping | TorrentError::Bug(_) => FaultKind::Internal,
        _ => FaultKind::Disk,
    };
    Fault::new(kind, error.to_string())
}

/// Says what the store refused.
fn not_stored(error: &StoreError) -> Fault {
    Fault::new(FaultKind::Disk, format!("it could not be stored: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
