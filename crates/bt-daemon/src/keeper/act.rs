//! Acts on torrents and their data.
//!
//! Decides: what goes on behind, and what is noted before data moves.
//! Must not know: dialects.
//! Invariant: a move that was begun is noted until it is done, so that a restart goes on with it.

use super::hooks::Moment;
use super::{Keeper, refused};
use crate::clock::now;
use bt_api::{Fault, FaultKind, Phase, Record};
use bt_types::InfoHash;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The deadline of the ends of files that are preferred.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

impl Keeper {
    /// Hashes all data of torrents again, behind. One that failed is opened anew.
    pub(super) async fn check(self: &Arc<Self>, torrents: &[InfoHash]) -> Result<(), Fault> {
        let mut again = Ok(());
        for hash in torrents {
            if self.has_failed(*hash) {
                again = again.and(self.reopen(*hash).await);
                continue;
            }
            let Some(handle) = self.handle(*hash) else { continue };
            let (keeper, hash) = (Arc::clone(self), *hash);
            tokio::spawn(async move {
                if let Err(error) = handle.check().await {
                    tracing::warn!(%hash, %error, "the check did not end");
                }
                keeper.refresh(hash);
            });
        }
        self.arrange().await;
        again
    }

    fn has_failed(&self, hash: InfoHash) -> bool {
        let state = self.state();
        state.torrent(hash).is_some_and(|t| matches!(t.live.phase, Phase::Failed(_)))
    }

    /// Opens those torrents anew that failed; returns the last fault.
    pub(super) async fn retry(self: &Arc<Self>, torrents: &[InfoHash]) -> Result<(), Fault> {
        let mut done = Ok(());
        for hash in torrents {
            if self.has_failed(*hash) {
                done = done.and(self.reopen(*hash).await);
            }
        }
        done
    }

    /// Returns what is kept of torrents.
    pub(super) fn records(&self, torrents: &[InfoHash]) -> Vec<(InfoHash, Record)> {
        let state = self.state();
        let record = |hash: &InfoHash| Some((*hash, state.torrent(*hash)?.record.clone()));
        torrents.iter().filter_map(record).collect()
    }

    pub(super) async fn reannounce(&self, torrents: &[InfoHash]) {
        for handle in torrents.iter().filter_map(|hash| self.handle(*hash)) {
            handle.reannounce().await;
        }
    }

    /// Gives torrents peers.
    pub(super) fn add_peers(&self, torrents: &[InfoHash], peers: &[SocketAddr]) {
        for handle in torrents.iter().filter_map(|hash| self.handle(*hash)) {
            let peers = peers.to_vec();
            tokio::spawn(async move { handle.add_peers(peers).await });
        }
    }

    /// Lets the first and the last piece of each file of a torrent come before others, or no more.
    pub(super) fn prefer_ends(&self, hash: InfoHash, prefer: bool) {
        let Some(handle) = self.handle(hash) else { return };
        tokio::spawn(async move {
            if handle.wait_active().await.is_err() {
                return;
            }
            let within = prefer.then_some(ENDS_WITHIN);
            for file in handle.files().await {
                let Some(pieces) = handle.pieces_of(file.number).filter(|p| !p.is_empty()) else {
                    continue;
                };
                for piece in [pieces.start, pieces.end - 1] {
                    handle.need_within(piece..piece + 1, within).await;
                }
            }
        });
    }

    /// Moves the data of torrents, behind; or looks for it at another place.
    pub(super) async fn move_to(
        self: &Arc<Self>,
        torrents: &[InfoHash],
        dir: &Path,
        move_data: bool,
    ) -> Result<(), Fault> {
        if !dir.is_absolute() {
            let why = format!("{} is not an absolute path", dir.display());
            return Err(Fault::new(FaultKind::Invalid, why));
        }
        for hash in torrents {
            self.check_move(*hash, move_data)?;
        }
        tokio::fs::create_dir_all(dir).await.map_err(|error| {
            Fault::new(FaultKind::Disk, format!("cannot make {}: {error}", dir.display()))
        })?;
        for hash in torrents {
            let torrent = self.torrent(*hash)?;
            if torrent.record.dir == dir {
                continue;
            }
            if torrent.metainfo.is_some() && move_data {
                self.note(*hash, |record| record.moving_to = Some(dir.to_owned())).await?;
                self.move_behind(*hash, dir.to_owned());
            } else {
                self.settle(*hash, dir).await?;
            }
        }
        Ok(())
    }

    /// Refuses a move that cannot begin now.
    fn check_move(&self, hash: InfoHash, move_data: bool) -> Result<(), Fault> {
        let torrent = self.torrent(hash)?;
        let conflict =
            |why: &str| Err(Fault::new(FaultKind::Conflict, format!("{}: {why}", torrent.name())));
        match torrent.live.phase {
            Phase::Failed(_) if move_data && torrent.metainfo.is_some() => {
                conflict("it failed, so its data cannot move; start or check it first")
            }
            Phase::Failed(_) => Ok(()),
            _ if torrent.record.moving_to.is_some() => {
                conflict("its data moves already; wait for the end of that")
            }
            _ => Ok(()),
        }
    }

    /// Looks for a torrent's data at another place.
    async fn settle(self: &Arc<Self>, hash: InfoHash, dir: &Path) -> Result<(), Fault> {
        let there = |record: &mut Record| {
            record.dir = dir.to_owned();
            record.final_dir = None;
            record.moving_to = None;
        };
        self.note(hash, there).await?;
        self.reopen(hash).await?;
        self.arrange().await;
        Ok(())
    }

    /// Opens a torrent anew.
    async fn reopen(self: &Arc<Self>, hash: InfoHash) -> Result<(), Fault> {
        let torrent = self.torrent(hash)?;
        if torrent.metainfo.is_none() && torrent.record.magnet.is_none() {
            let why = "its stored file is not valid; remove it, and add it again";
            return Err(Fault::new(FaultKind::Conflict, why));
        }
        if let (Some(session), Some(handle)) = (self.session(), self.handle(hash)) {
            session.remove(&handle).await;
        }
        // The sums of the view that ends are kept.
        self.update(|state| {
            state.change(hash, |torrent| {
                torrent.record.totals = torrent.kept(now()).totals;
                torrent.live.phase_since = now();
                torrent.live.view = None;
                torrent.set_phase(Phase::Stopped, now());
            });
        });
        let torrent = self.torrent(hash)?;
        if let Err(error) = self.begin(hash, &torrent.record, torrent.metainfo.clone(), false) {
            self.fail(hash, error.to_string());
            return Err(refused(&error));
        }
        if torrent.record.first_last {
            self.prefer_ends(hash, true);
        }
        if let Some(dir) = torrent.record.moving_to.clone() {
            self.move_behind(hash, dir);
        }
        self.refresh(hash);
        Ok(())
    }

    /// Moves a torrent's data, and notes the end.
    pub(super) fn move_behind(self: &Arc<Self>, hash: InfoHash, dir: PathBuf) {
        let Some(handle) = self.handle(hash) else { return };
        let Ok(number) = self.torrent(hash).map(|torrent| torrent.number) else { return };
        let keeper = Arc::clone(self);
        tokio::spawn(async move {
            let moved = match handle.wait_active().await {
                Ok(_) => {
                    let set = |torrent: &mut bt_api::Torrent| {
                        torrent.set_phase(Phase::Moving, now());
                    };
                    keeper.update(|state| state.change(hash, set));
                    handle.move_to(&dir).await
                }
                Err(error) => Err(error),
            };
            let failed = moved.err().map(|error| format!("its data was not moved: {error}"));
            let is_placed = failed.is_none()
                && keeper
                    .torrent(hash)
                    .is_ok_and(|torrent| torrent.record.final_dir.is_some() && torrent.is_done());
            let done = |record: &mut Record| {
                record.moving_to = None;
                if failed.is_none() {
                    record.final_dir = None;
                    record.dir = dir.clone();
                }
            };
            let _turn = keeper.turn.lock().await;
            // It may have been removed, and another addition have its info-hash now.
            if keeper.torrent(hash).is_ok_and(|torrent| torrent.number != number) {
                return;
            }
            let noted = keeper.note(hash, done).await.err().map(|fault| fault.message);
            match failed.or(noted) {
                Some(why) => {
                    tracing::warn!(%hash, %why, "a move failed");
                    keeper.tell_of_move(hash, Some(why));
                }
                None => keeper.tell_of_move(hash, None),
            }
            keeper.refresh(hash);
            if is_placed {
                keeper.run_hook(Moment::Done, hash);
            }
        });
    }

    /// Notes how the last move of a torrent's data ended.
    pub(super) fn tell_of_move(&self, hash: InfoHash, trouble: Option<String>) {
        self.update(|state| {
            state.change(hash, |torrent| {
                torrent.live.move_trouble = trouble;
                torrent.set_phase(Phase::Stopped, now());
            });
        });
    }

    /// Refuses what would wait for a move or a check: other commands would wait, too.
    fn check_rests(&self, hash: InfoHash) -> Result<(), Fault> {
        let torrent = self.torrent(hash)?;
        let is_busy = matches!(torrent.live.phase, Phase::Moving | Phase::Checking { .. });
        match is_busy || torrent.record.moving_to.is_some() {
            true => {
                let why = "its data moves or is checked; wait for the end of that";
                Err(Fault::new(FaultKind::Conflict, format!("{}: {why}", torrent.name())))
            }
            false => Ok(()),
        }
    }

    /// Gives the directory of a torrent's files another name.
    pub(super) async fn rename_top(&self, hash: InfoHash, name: &str) -> Result<(), Fault> {
        self.check_rests(hash)?;
        let handle = self.handle(hash).ok_or_else(|| {
            Fault::new(FaultKind::Conflict, "the torrent does not run: it failed")
        })?;
        handle.rename_top(name).await.map_err(|error| refused(&error))?;
        let names = handle.names();
        self.note(hash, |record| record.names = names.clone()).await?;
        self.refresh(hash);
        Ok(())
    }

    pub(super) async fn rename_file(
        &self,
        hash: InfoHash,
        file: usize,
        path: &str,
    ) -> Result<(), Fault> {
        self.check_rests(hash)?;
        let path = Path::new(path);
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_plain || path.as_os_str().is_empty() {
            let why = format!("{} does not lie below the torrent's directory", path.display());
            return Err(Fault::new(FaultKind::Invalid, why));
        }
        let handle = self.handle(hash).ok_or_else(|| {
            Fault::new(FaultKind::Conflict, "the torrent does not run: it failed")
        })?;
        handle.rename_file(file, path).await.map_err(|error| refused(&error))?;
        let names = handle.names();
        self.note(hash, |record| record.names = names.clone()).await?;
        self.refresh(hash);
        Ok(())
    }
}
