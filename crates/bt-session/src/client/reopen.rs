//! Takes a torrent out of its swarm and its store, and opens it again: to check all its data, to
//! move it, or to rename a file of it.
//!
//! Decides: the order of the steps.
//! Must not know: how data is checked or moved.
//! Invariant: while files are moved no thread has them open for the torrent, and no other torrent
//! reads them. Its place is changed only when all of them lie at the new one.

use crate::client::inner::{Inner, Known};
use crate::client::opening::{OpenTask, Stage};
use crate::client::options::AddOptions;
use crate::mail::disk_order::DiskOrder;
use crate::mail::events::{TorrentError, TorrentState};
use crate::mail::owner::Claim;
use crate::mail::to_shard::ToShard;
use bt_piece_store::{Layout, MoveError, Trust, Use, fault_of, move_data, rename_file};
use bt_types::StoreFault;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use tokio::sync::oneshot;

/// What is done with a torrent before it is opened again.
#[derive(Debug)]
pub(crate) enum Act {
    /// Nothing: all its data is hashed.
    Check,
    /// Its data moves to this directory.
    Move(PathBuf),
    /// The file with this number gets this path below the directory.
    Rename(usize, PathBuf),
}

impl Inner {
    /// Takes the torrent out of its swarm, acts, and opens it again. Returns when its data is
    /// checked, or with the reason why there was no act. It is opened again in either case.
    pub(crate) async fn restart(self: &Arc<Self>, act: Act) -> Result<(), TorrentError> {
        let _one = self.restarting.lock().await;
        let known = self.known().ok_or(TorrentError::NotReady)?;
        if known.storage.is_some() && !matches!(act, Act::Check) {
            return Err(TorrentError::Unsupported("its storage is the program's own".into()));
        }
        if let Act::Rename(number, path) = &act {
            let mut layout = Layout::clone(&known.layout);
            layout.rename(*number, path).map_err(|error| TorrentError::Name(error.to_string()))?;
        }
        let before = self.shared.state.borrow().clone();
        let (stage, bytes_done) = match before {
            TorrentState::Finding(_) | TorrentState::Checking | TorrentState::Known => {
                return Err(TorrentError::NotReady);
            }
            TorrentState::Stopped => return Err(TorrentError::Stopping),
            TorrentState::Failed(_) => (Stage::New, 0),
            TorrentState::Active(view) => (Stage::Again, view.bytes_done),
        };
        self.shared.state.send_replace(TorrentState::Checking);
        if stage == Stage::Again {
            self.leave().await;
        }
        self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.progress.restart();
        let (told, result) = oneshot::channel();
        let inner = Arc::clone(self);
        let trust = if matches!(act, Act::Check) { Trust::Nothing } else { Trust::Journal };
        let again = Again { known, trust, stage, bytes_done };
        self.step(move || drop(told.send(inner.reopen(&again, act))))?;
        let result = result.await.unwrap_or(Err(TorrentError::Stopping));
        // Its shard has it again, also after an error: another act may follow at once.
        let mut state = self.shared.state.subscribe();
        let _ = state.wait_for(|state| !matches!(state, TorrentState::Checking)).await;
        result
    }

    /// Leaves the swarm, then closes the store.
    async fn leave(&self) {
        let (done, left) = oneshot::channel();
        let _ = self.shard.send(ToShard::Leave(self.shared.key, done)).await;
        let _ = left.await;
        let (done, detached) = oneshot::channel();
        self.session.disks.submit([(self.shared.key, DiskOrder::Detach(done))].into_iter());
        let _ = detached.await;
    }

    fn reopen(self: Arc<Self>, again: &Again, act: Act) -> Result<(), TorrentError> {
        let result = match act {
            Act::Check => {
                self.opener(again, &again.known.dir).open(Arc::clone(&again.known.metainfo));
                return Ok(());
            }
            Act::Move(dir) => self.open_moved(again, &dir),
            Act::Rename(number, path) => self.open_renamed(again, number, path),
        };
        // It was opened where it was moved to, or it is opened where it was.
        let is_as_it_was =
            self.known().is_some_and(|known| Arc::ptr_eq(&known.layout, &again.known.layout));
        if result.is_err() && is_as_it_was {
            self.opener(again, &again.known.dir).open(Arc::clone(&again.known.metainfo));
        }
        result
    }

    /// Gives a file another name, and opens the torrent with it.
    fn open_renamed(
        self: &Arc<Self>,
        again: &Again,
        number: usize,
        path: PathBuf,
    ) -> Result<(), TorrentError> {
        let Again { known, .. } = again;
        let old = known.layout.files().get(number).map_or(Path::new(""), |file| &file.path);
        let refused_by = |error: std::io::Error| TorrentError::store(&path, &error);
        let alone = self.have_alone(known)?;
        rename_file(&known.root, old, &path).map_err(refused_by)?;
        drop(alone);
        let mut opener = self.opener(again, &known.dir);
        opener.options.names.insert(number, path.clone());
        opener.try_open(Arc::clone(&known.metainfo)).inspect_err(|_| {
            self.know(Known::clone(known));
            let _ = rename_file(&known.root, &path, old);
        })
    }

    /// Locks the files of a torrent that is closed, to move or delete them. Fails while another
    /// torrent reads or writes them.
    pub(crate) fn have_alone(&self, known: &Known) -> Result<Claim, TorrentError> {
        let top = known.layout.top().unwrap_or(Path::new(""));
        if known.root.join(top).symlink_metadata().is_err() {
            return Ok(Claim::default());
        }
        let dir = self.session.dirs.hold(&known.root)?;
        Ok(Claim::take(&dir, top, known.layout.is_one_file(), Use::Write)?)
    }

    fn opener(self: &Arc<Self>, again: &Again, dir: &Path) -> OpenTask {
        let mut options = AddOptions::new(dir);
        options.no_resume = again.known.no_resume;
        options.storage.clone_from(&again.known.storage);
        options.names.clone_from(&again.known.names);
        OpenTask { inner: Arc::clone(self), options, trust: again.trust, stage: again.stage }
    }

    /// Moves the files, and what is remembered of them, and opens the torrent there.
    fn open_moved(self: &Arc<Self>, again: &Again, dir: &Path) -> Result<(), TorrentError> {
        let Again { known, .. } = again;
        let (hash, state_dir) = (self.shared.info_hash, &self.session.state_dir);
        let refused_by = |error: std::io::Error| TorrentError::store(dir, &error);
        let alone = self.have_alone(known)?;
        let moved = move_data(&known.layout, &known.root, dir, &self.progress).map_err(refused)?;
        drop(alone);
        if let Err(error) = state_dir.carry(hash, &known.root, dir) {
            moved.undo();
            return Err(refused_by(error));
        }
        // Content that has another name than its torrent is found only by that name.
        let top = known.layout.top().filter(|top| *top != Path::new(&known.metainfo.info.name));
        let there = top.map_or_else(|| dir.to_owned(), |top| dir.join(top));
        if let Err(error) = self.opener(again, &there).try_open(Arc::clone(&known.metainfo)) {
            // The torrent's place is the old one again.
            self.know(Known::clone(known));
            let carried = state_dir.carry(hash, dir, &known.root);
            moved.undo();
            carried.map_err(refused_by)?;
            return Err(error);
        }
        let lost = again.bytes_done.saturating_sub(self.bytes_have.load(Relaxed));
        if moved.is_copy() && lost > 0 {
            return Err(TorrentError::Store {
                fault: StoreFault::Changed,
                detail: format!(
                    "{lost} bytes of the copy are not right, and are fetched again; the originals \
                     stay in {}",
                    known.root.display()
                ),
            });
        }
        moved.finish().map_err(|error| TorrentError::store(&known.root, &error))
    }
}

/// How a torrent is opened again.
struct Again {
    /// What was known of it before.
    known: Arc<Known>,
    trust: Trust,
    stage: Stage,
    /// Bytes of verified pieces that it had.
    bytes_done: u64,
}

fn refused(error: MoveError) -> TorrentError {
    let detail = error.to_string();
    match error {
        MoveError::InTheWay(_) => TorrentError::Store { fault: StoreFault::Foreign, detail },
        MoveError::Io { source, .. } => TorrentError::Store { fault: fault_of(&source), detail },
        MoveError::Cancelled => TorrentError::Stopping,
    }
}
