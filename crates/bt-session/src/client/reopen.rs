//! Takes a torrent out of its swarm and its store, and opens it again: to check all its data, to
//! move it, or to rename a file of it.
//!
//! Decides: the order of the steps.
//! Must not know: how data is checked or moved.
//! Invariant: while files are moved no thread has them open for the torrent, and no other torrent
//! reads them. Its place is changed only when all of them lie at the new one.

use crate::client::inner::{DataPlace, Inner, Known};
use crate::client::opening::{OpenTask, Stage};
use crate::client::options::AddOptions;
use crate::mail::disk_order::DiskOrder;
use crate::mail::events::{TorrentError, TorrentState};
use crate::mail::owner::Claim;
use crate::mail::to_shard::ToShard;
use bt_piece_store::{Layout, MoveError, Trust, Use, fault_of, move_data, rename_file, rename_top};
use bt_types::StoreFault;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
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
    /// The directory of all files gets this name.
    RenameTop(OsString),
}

impl Inner {
    /// Takes the torrent out of its swarm, acts, and opens it again. Returns when its data is
    /// checked, or with the reason why there was no act. Once it has left its swarm it is opened
    /// again in either case, also if the caller no longer waits.
    pub(crate) async fn reopen(self: &Arc<Self>, act: Act) -> Result<(), TorrentError> {
        let one = Arc::clone(&self.reopening).lock_owned().await;
        let known = self.known().ok_or(TorrentError::NotReady)?;
        if known.storage.is_some() && !matches!(act, Act::Check) {
            return Err(TorrentError::Unsupported("its storage is the program's own".into()));
        }
        match &act {
            Act::Rename(number, path) => drop(renamed(&known.layout, *number, path)?),
            Act::RenameTop(name) => drop(top_renamed(&known.layout, name)?),
            Act::Check | Act::Move(_) => {}
        }
        let stage = match &*self.shared.state.borrow() {
            TorrentState::Finding(_) | TorrentState::Checking | TorrentState::Known => {
                return Err(TorrentError::NotReady);
            }
            TorrentState::Stopped => return Err(TorrentError::Stopping),
            TorrentState::Failed(_) => Stage::New,
            TorrentState::Active(_) => Stage::Again,
        };
        let (told, result) = oneshot::channel();
        let inner = Arc::clone(self);
        self.step(move || {
            inner.leave(stage);
            let result = inner.act(&known, stage, act);
            drop(one);
            // The caller may wait no longer.
            let _ = told.send(result);
        })?;
        let result = result.await.unwrap_or(Err(TorrentError::Stopping));
        // Its shard has it again, also after an error: another act may follow at once.
        let mut state = self.shared.state.subscribe();
        let _ = state.wait_for(|state| !matches!(state, TorrentState::Checking)).await;
        result
    }

    /// Leaves the swarm, then closes the store. A torrent that failed has left its swarm.
    fn leave(&self, stage: Stage) {
        self.shared.set_state(TorrentState::Checking);
        if stage == Stage::Again {
            let (done, left) = oneshot::channel();
            let _ = self.shard.blocking_send(ToShard::Leave(self.shared.key, done));
            let _ = left.blocking_recv();
        }
        let (done, detached) = oneshot::channel();
        self.session.disks.submit([(self.shared.key, DiskOrder::Detach(done))].into_iter());
        let _ = detached.blocking_recv();
        self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.progress.restart();
    }

    fn act(
        self: &Arc<Self>,
        known: &Arc<Known>,
        stage: Stage,
        act: Act,
    ) -> Result<(), TorrentError> {
        let place = || known.place();
        match act {
            Act::Check => {
                self.opener(known, stage, Trust::Nothing, place()).open(known.metainfo());
                Ok(())
            }
            Act::Move(dir) => {
                let result = self.open_moved(known, stage, &dir);
                self.open_as_it_was(known, stage, result)
            }
            Act::RenameTop(name) => {
                let result = self.open_top_renamed(known, stage, &name);
                self.open_as_it_was(known, stage, result)
            }
            Act::Rename(number, path) => {
                let result = self.open_renamed(known, stage, number, &path);
                self.open_as_it_was(known, stage, result)
            }
        }
    }

    /// Opens the torrent where it was, if the act did not open it elsewhere.
    fn open_as_it_was(
        self: &Arc<Self>,
        known: &Arc<Known>,
        stage: Stage,
        result: Result<(), NotOpened>,
    ) -> Result<(), TorrentError> {
        result.map_err(|error| match error {
            NotOpened::Before(error) => {
                self.know(Known::clone(known));
                let opener = self.opener(known, stage, Trust::Journal, known.place());
                opener.open(known.metainfo());
                error
            }
            NotOpened::After(error) => error,
        })
    }

    /// Gives a file another name, and opens the torrent with it.
    fn open_renamed(
        self: &Arc<Self>,
        known: &Arc<Known>,
        stage: Stage,
        number: usize,
        path: &Path,
    ) -> Result<(), NotOpened> {
        let layout = renamed(&known.layout, number, path).map_err(NotOpened::Before)?;
        let old = known.layout.files().get(number).map_or(Path::new(""), |file| &file.path);
        let alone = self.have_alone(known).map_err(NotOpened::Before)?;
        rename_file(&known.root, old, path).map_err(refused)?;
        drop(alone);
        let place = DataPlace { root: known.root.clone(), layout };
        let mut opener = self.opener(known, stage, Trust::Journal, place);
        opener.options.names.insert(number, path.to_owned());
        opener.try_open(known.metainfo()).map_err(|error| {
            let _ = rename_file(&known.root, path, old);
            NotOpened::Before(error)
        })
    }

    /// Gives the directory of all files another name, and opens the torrent with it.
    fn open_top_renamed(
        self: &Arc<Self>,
        known: &Arc<Known>,
        stage: Stage,
        name: &OsStr,
    ) -> Result<(), NotOpened> {
        let layout = top_renamed(&known.layout, name).map_err(NotOpened::Before)?;
        let old = known.layout.top().unwrap_or(Path::new(""));
        let alone = self.have_alone(known).map_err(NotOpened::Before)?;
        rename_top(&known.root, old, Path::new(name)).map_err(refused)?;
        drop(alone);
        // The name of one file tells that of all, at the next start too.
        let first = layout.files().iter().position(|file| file.is_stored);
        let numbers = known.names.keys().copied().chain(first);
        let path = |number: usize| Some((number, layout.files().get(number)?.path.clone()));
        let names = numbers.filter_map(path).collect();
        let place = DataPlace { root: known.root.clone(), layout };
        let mut opener = self.opener(known, stage, Trust::Journal, place);
        opener.options.names = names;
        opener.try_open(known.metainfo()).map_err(|error| {
            let _ = rename_top(&known.root, Path::new(name), old);
            NotOpened::Before(error)
        })
    }

    /// Moves the files, and what is remembered of them, and opens the torrent there.
    fn open_moved(
        self: &Arc<Self>,
        known: &Arc<Known>,
        stage: Stage,
        dir: &Path,
    ) -> Result<(), NotOpened> {
        let (hash, state_dir) = (self.shared.info_hash, &self.session.state_dir);
        let refused_by =
            |error: std::io::Error| NotOpened::Before(TorrentError::store(dir, &error));
        let alone = self.have_alone(known).map_err(NotOpened::Before)?;
        let moved = move_data(&known.layout, &known.root, dir, &self.progress).map_err(refused)?;
        drop(alone);
        if let Err(error) = state_dir.carry(hash, &known.root, dir) {
            moved.undo();
            return Err(refused_by(error));
        }
        let place = DataPlace { root: dir.to_owned(), layout: Layout::clone(&known.layout) };
        let opener = self.opener(known, stage, Trust::Journal, place);
        if let Err(error) = opener.try_open(known.metainfo()) {
            // The torrent's place is the old one again.
            let carried = state_dir.carry(hash, dir, &known.root);
            moved.undo();
            carried.map_err(refused_by)?;
            return Err(NotOpened::Before(error));
        }
        moved.finish(&self.progress).map_err(|error| match refused(error) {
            NotOpened::Before(error) | NotOpened::After(error) => NotOpened::After(error),
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

    fn opener(
        self: &Arc<Self>,
        known: &Known,
        stage: Stage,
        trust: Trust,
        place: DataPlace,
    ) -> OpenTask {
        let mut options = AddOptions::new(place.dir(&known.metainfo, &known.names));
        options.no_resume = known.no_resume;
        options.storage.clone_from(&known.storage);
        options.names.clone_from(&known.names);
        OpenTask { inner: Arc::clone(self), options, trust, stage, place: Some(place) }
    }
}

/// Why a torrent was not opened in another way.
enum NotOpened {
    /// It must be opened as it was.
    Before(TorrentError),
    /// It is open, and something that comes after failed.
    After(TorrentError),
}

/// Returns the layout with another path of a file.
fn renamed(layout: &Layout, number: usize, path: &Path) -> Result<Layout, TorrentError> {
    let mut layout = Layout::clone(layout);
    layout.rename(number, path).map_err(|error| TorrentError::Name(error.to_string()))?;
    Ok(layout)
}

/// Returns the layout with another name of the directory of all files.
fn top_renamed(layout: &Layout, name: &OsStr) -> Result<Layout, TorrentError> {
    let mut layout = Layout::clone(layout);
    layout.rename_top(name).map_err(|error| TorrentError::Name(error.to_string()))?;
    Ok(layout)
}

fn refused(error: MoveError) -> NotOpened {
    let detail = error.to_string();
    NotOpened::Before(match error {
        MoveError::InTheWay(_) => TorrentError::Store { fault: StoreFault::Foreign, detail },
        MoveError::Linked(_) => TorrentError::Store { fault: StoreFault::Changed, detail },
        MoveError::Io { source, .. } => TorrentError::Store { fault: fault_of(&source), detail },
        MoveError::Cancelled => TorrentError::Stopping,
    })
}
