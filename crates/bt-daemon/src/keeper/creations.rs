//! Torrents that are made of data on this machine.
//!
//! Decides: how many are made at once.
//! Must not know: dialects; how data is hashed.
//! Invariant: a file that is there is not overwritten. A task that is forgotten stops.

use super::{Keeper, lock};
use crate::clock::now;
use crate::secret::secret;
use crate::whole_file;
use bt_api::creation::{CREATIONS_MAX, Creation, CreationStanding, CreationWish};
use bt_api::{Add, AddSource, Command, Fault, FaultKind};
use bt_piece_store::{CreateOptions, Created, Progress, create_torrent};
use std::sync::Arc;
use std::time::Duration;

/// How often the progress is read off.
const LOOK: Duration = Duration::from_millis(300);

impl Keeper {
    /// Begins to make a torrent, and returns the task's id.
    pub(super) fn create(self: &Arc<Self>, wish: CreationWish) -> Result<String, Fault> {
        let fault = |kind, why: &str| Fault::new(kind, why);
        if !wish.source.is_absolute() || wish.file.as_ref().is_some_and(|f| !f.is_absolute()) {
            return Err(fault(FaultKind::Invalid, "paths must be absolute"));
        }
        let id = secret().map_err(|error| fault(FaultKind::Internal, &error.to_string()))?;
        let task = Creation {
            id: id.clone(),
            wish: wish.clone(),
            times: [now(), 0, 0],
            standing: CreationStanding::Queued,
        };
        let has_place = self.update(|state| {
            if state.creations.len() >= CREATIONS_MAX {
                let oldest = state.creations.iter().position(Creation::is_over);
                let Some(oldest) = oldest else { return false };
                state.creations.remove(oldest);
            }
            state.creations.push(task);
            true
        });
        if !has_place {
            return Err(fault(FaultKind::Conflict, "50 torrents are being made; wait for one"));
        }
        let (keeper, progress) = (Arc::clone(self), Arc::new(Progress::default()));
        lock(&self.creating).insert(id.clone(), Arc::clone(&progress));
        let task = id.clone();
        tokio::spawn(async move {
            let made = keeper.make(&task, wish, progress).await;
            lock(&keeper.creating).remove(&task);
            keeper.set_standing(&task, 2, made);
        });
        Ok(id)
    }

    pub(super) fn forget_creation(&self, id: &str) -> Result<(), Fault> {
        if let Some(progress) = lock(&self.creating).remove(id) {
            progress.cancel();
        }
        let there = self.update(|state| {
            let before = state.creations.len();
            state.creations.retain(|task| task.id != id);
            before != state.creations.len()
        });
        match there {
            true => Ok(()),
            false => Err(Fault::new(FaultKind::NotFound, "there is no such task")),
        }
    }

    async fn make(
        self: &Arc<Self>,
        id: &str,
        wish: CreationWish,
        progress: Arc<Progress>,
    ) -> CreationStanding {
        let Ok(_place) = self.creations.acquire().await else {
            return CreationStanding::Failed("the daemon stops".into());
        };
        self.set_standing(id, 1, CreationStanding::Running(0.0));
        let (job, of) = (Arc::clone(&progress), wish.clone());
        let mut made = tokio::task::spawn_blocking(move || make(&of, &job));
        let made = loop {
            match tokio::time::timeout(LOOK, &mut made).await {
                Ok(made) => break made,
                Err(_) => {
                    let share = progress.done() as f64 / progress.total().max(1) as f64;
                    self.set_standing(id, 1, CreationStanding::Running(share.clamp(0.0, 1.0)));
                }
            }
        };
        let created = match made {
            Ok(Ok(created)) => created,
            Ok(Err(why)) => return CreationStanding::Failed(why),
            Err(error) => return CreationStanding::Failed(error.to_string()),
        };
        if wish.seed
            && let Some(dir) = wish.source.parent()
        {
            let source = AddSource::Bytes(created.bytes.clone());
            // It was hashed just now.
            let add = Add {
                dir: Some(dir.to_owned()),
                start: Some(true),
                trust_data: true,
                ..Add::new(source)
            };
            if let Err(fault) = self.run(Command::Add(Box::new(add))).await {
                return CreationStanding::Failed(fault.message);
            }
        }
        let piece_length = created.metainfo.info.geometry.piece_length();
        CreationStanding::Done(Arc::new(created.bytes), piece_length)
    }

    /// Notes how far a task is, and the time of it.
    fn set_standing(&self, id: &str, moment: usize, standing: CreationStanding) {
        self.update(|state| {
            let Some(task) = state.creations.iter_mut().find(|task| task.id == id) else { return };
            if let Some(time) = task.times.get_mut(moment).filter(|time| **time == 0) {
                *time = now();
            }
            task.standing = standing;
        });
    }
}

fn make(wish: &CreationWish, progress: &Progress) -> Result<Created, String> {
    let options = CreateOptions {
        piece_length: wish.piece_length,
        trackers: wish.trackers.clone(),
        web_seeds: wish.web_seeds.clone(),
        private: wish.private,
        source: wish.source_field.clone(),
        comment: wish.comment.clone(),
        created_by: Some(concat!("bt/", env!("CARGO_PKG_VERSION")).into()),
        creation_date: i64::try_from(now()).ok(),
        ..CreateOptions::default()
    };
    let created = create_torrent(&wish.source, &options, progress);
    let created = created.map_err(|error| error.to_string())?;
    if let Some(file) = &wish.file {
        whole_file::write_new(file, &created.bytes)
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    Ok(created)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::{keeper, until_some};

    #[tokio::test]
    async fn a_torrent_is_made_and_seeded_and_no_file_is_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let keeper = keeper(dir.path()).await;
        let source = dir.path().join("film");
        std::fs::write(&source, [7; 100_000]).expect("a file");
        let file = dir.path().join("film.torrent");
        let wish = CreationWish {
            source: source.clone(),
            file: Some(file.clone()),
            seed: true,
            ..CreationWish::default()
        };
        let run = async |wish: &CreationWish| {
            let reply = keeper.run(Command::Create(Box::new(wish.clone()))).await;
            let id = reply.expect("a task").creation.expect("an id");
            until_some(|| {
                let state = keeper.state();
                let task = state.creations.iter().find(|task| task.id == id)?;
                task.is_over().then(|| task.clone())
            })
            .await
        };
        let task = run(&wish).await;
        let CreationStanding::Done(bytes, _) = &task.standing else { panic!("{task:?}") };
        assert_eq!(std::fs::read(&file).expect("a file"), **bytes);
        assert!(task.times.iter().all(|time| *time > 0));
        until_some(|| keeper.state().torrents().next().filter(|t| t.is_done()).map(drop)).await;
        let again = run(&wish).await;
        assert!(matches!(again.standing, CreationStanding::Failed(_)), "the file is there");
        assert_eq!(std::fs::read(&file).expect("a file"), **bytes);
        let missing = CreationWish { source: dir.path().join("no"), ..CreationWish::default() };
        let missing = run(&missing).await;
        assert!(matches!(missing.standing, CreationStanding::Failed(_)));
        keeper.run(Command::ForgetCreation(task.id.clone())).await.expect("a removal");
        assert_eq!(keeper.state().creations.len(), 2);
        let gone = keeper.run(Command::ForgetCreation(task.id)).await;
        assert_eq!(gone.expect_err("gone").kind, FaultKind::NotFound);
    }
}
