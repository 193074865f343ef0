//! Takes back what was done last.
//!
//! Decides: what can be taken back, and how much of it is remembered.
//! Must not know: dialects.
//! Invariant: what is taken back is stored like any other change.

use super::{Keeper, lock, not_stored, refused};
use crate::clock::now;
use crate::store::Batch;
use bt_api::{Fault, FaultKind, Record, Torrent};
use bt_types::InfoHash;
use std::sync::Arc;

/// Most steps that can be taken back.
pub(super) const STEPS_MAX: usize = 20;
/// Most torrents of one step.
const TORRENTS_MAX: usize = 1000;

/// Something that can be taken back.
#[derive(Debug)]
pub(super) enum Step {
    /// These torrents were removed, and their data stayed.
    Removed(Vec<Torrent>),
    /// These records were changed, by a setting or a move.
    Changed(Vec<(InfoHash, Record)>),
}

impl Keeper {
    /// Remembers a step. One of too many torrents is not remembered.
    pub(super) fn remember(&self, step: Step) {
        let size = match &step {
            Step::Removed(torrents) => torrents.len(),
            Step::Changed(records) => records.len(),
        };
        if size == 0 || size > TORRENTS_MAX {
            return;
        }
        let mut steps = lock(&self.steps);
        if steps.len() >= STEPS_MAX {
            steps.pop_front();
        }
        steps.push_back(step);
    }

    /// Takes back the last step.
    pub(super) async fn undo(self: &Arc<Self>) -> Result<(), Fault> {
        let moves = |(hash, _): &(InfoHash, Record)| {
            self.torrent(*hash).is_ok_and(|torrent| torrent.record.moving_to.is_some())
        };
        let step = {
            let mut steps = lock(&self.steps);
            match steps.back() {
                Some(Step::Changed(records)) if records.iter().any(moves) => {
                    let why = "its data still moves; wait for the end of that";
                    return Err(Fault::new(FaultKind::Conflict, why));
                }
                _ => steps.pop_back(),
            }
        };
        match step {
            Some(Step::Removed(torrents)) => {
                for torrent in torrents {
                    self.restore(torrent).await?;
                }
            }
            Some(Step::Changed(records)) => {
                for (hash, record) in records {
                    self.take_back(hash, record).await?;
                }
            }
            None => {
                return Err(Fault::new(FaultKind::Conflict, "there is nothing to take back"));
            }
        }
        self.arrange().await;
        Ok(())
    }

    async fn restore(&self, torrent: Torrent) -> Result<(), Fault> {
        let Torrent { hash, record, metainfo, .. } = torrent;
        if self.state().torrent(hash).is_some() {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.record(hash, &record);
        if let Some(metainfo) = &metainfo {
            batch.file(hash, metainfo.to_bytes());
        }
        let labels = self.keep_labels([&record.labels], &mut batch);
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        self.update(|state| {
            (state.categories, state.tags) = labels;
            state.add(hash, record.clone(), metainfo.clone())
        });
        if let Err(error) = self.begin(hash, &record, metainfo, false) {
            self.fail(hash, error.to_string());
            return Err(refused(&error));
        }
        self.refresh(hash);
        Ok(())
    }

    async fn take_back(self: &Arc<Self>, hash: InfoHash, before: Record) -> Result<(), Fault> {
        let Ok(torrent) = self.torrent(hash) else { return Ok(()) };
        let dir = before.dir.clone();
        let now_is = &torrent.record;
        // What came of itself stays, and where the data lies is not a matter of records.
        let record = Record {
            dates: bt_api::Dates { edited: Some(now()), ..now_is.dates },
            names: now_is.names.clone(),
            dir: now_is.dir.clone(),
            final_dir: now_is.final_dir.clone(),
            moving_to: now_is.moving_to.clone(),
            magnet: now_is.magnet.clone(),
            stop_on: now_is.stop_on,
            queue: bt_api::QueuePlace { place: now_is.queue.place, ..before.queue },
            ..before
        };
        let settings = record.settings.clone();
        let taken_back = |place: &mut Record| {
            *place = Record { totals: place.totals, ..record.clone() };
        };
        self.note(hash, taken_back).await?;
        if let Some(handle) = self.handle(hash) {
            handle
                .change(|wanted| {
                    let running = wanted.running;
                    *wanted = settings;
                    wanted.running = running;
                })
                .await;
        }
        self.refresh(hash);
        if torrent.record.dir != dir {
            self.move_to(&[hash], &dir, true).await?;
        }
        Ok(())
    }
}
