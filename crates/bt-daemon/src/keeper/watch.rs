//! Follows the session: what changed of its torrents goes into the state.
//!
//! Decides: how often it looks; when a torrent is complete, or has seeded enough.
//! Must not know: dialects.
//! Invariant: a torrent at rest costs nothing but its share of one look a minute.

use super::hooks::Moment;
use super::{Keeper, not_stored};
use crate::clock::now;
use crate::store::Batch;
use bt_api::{DaemonState, Phase, Record, SeedAction, Torrent, TrackerSummary};
use bt_model::{TrackerStanding, TrackerView};
use bt_session::{Subscription, TorrentHandle, TorrentState};
use bt_types::InfoHash;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Least time between two looks at what changed.
const LOOK: Duration = Duration::from_millis(400);
/// How often sums are stored, in seconds.
pub(super) const SAVE: u64 = 60;
/// All trackers are looked at within this many seconds, also those of which nothing is expected.
const SWEEP: u64 = 240;
/// The trackers of a torrent are looked at each second until it has done the same for this
/// long.
const YOUNG: u64 = 30;
/// Times of the next announce that differ by no more seconds are one: it is read off by the second.
const SAME_TIME: u64 = 2;

impl Keeper {
    /// Follows the session until the daemon stops. Who subscribed before the first torrent is added
    /// misses none: a stopped torrent whose data is checked changes no more.
    pub(super) async fn watch(self: Arc<Self>, mut changes: Subscription) {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut next_look = Instant::now();
        let mut ticks = 0;
        loop {
            let look = async {
                sleep_until(next_look).await;
                changes.changed().await
            };
            tokio::select! {
                () = self.asked_to_stop() => return,
                _ = second.tick() => {
                    ticks += 1;
                    self.every_second(ticks).await;
                }
                changed = look => {
                    next_look = Instant::now() + LOOK;
                    changed.into_iter().for_each(|hash| self.refresh(hash));
                    self.follow_up().await;
                }
            }
            if self.session().is_none() {
                return;
            }
        }
    }

    /// Notes each second that the runtime runs, until the daemon stops. It waits for no command: a
    /// long one is no reason for a supervisor to end us.
    pub(super) async fn keep_beat(self: Arc<Self>) {
        let mut second = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                () = self.asked_to_stop() => return,
                _ = second.tick() => self.beat.store(now(), Ordering::Relaxed),
            }
            if self.session().is_none() {
                return;
            }
        }
    }

    /// Looks at the space where data goes, until the daemon stops. A file system that does not
    /// answer holds up nothing else.
    pub(super) async fn watch_space(self: Arc<Self>) {
        let mut at_times = interval(Duration::from_secs(10));
        loop {
            tokio::select! {
                () = self.asked_to_stop() => return,
                _ = at_times.tick() => {}
            }
            let dir = self.state().settings.dir.clone();
            let space = crate::disk_space::of_nearest(dir).await;
            self.state_mut().free_space = space.map(|space| space.free);
            if self.session().is_none() {
                return;
            }
        }
    }

    /// Reads off what a torrent does.
    pub(super) fn refresh(&self, hash: InfoHash) {
        let Some(handle) = self.handle(hash) else { return };
        let state = handle.state().borrow().clone();
        let metainfo = handle.metainfo();
        let (check_done, check_total) = handle.check_progress();
        self.update(|all| {
            let Some(before) = all.torrent(hash) else { return };
            let mut torrent = (**before).clone();
            let now = all.now;
            match state {
                TorrentState::Active(view) => {
                    let moved = |view: &bt_model::TorrentView| (view.bytes_down, view.bytes_up);
                    if torrent.live.view.as_deref().is_some_and(|old| moved(old) != moved(&view)) {
                        torrent.record.dates.active = Some(now);
                    }
                    let phase = match (view.is_paused, torrent.record.settings.running) {
                        (true, true) => Phase::Queued,
                        (true, false) => Phase::Stopped,
                        (false, _) if view.is_done() => Phase::Seeding,
                        (false, _) => Phase::Downloading,
                    };
                    torrent.live.view =
                        Some(Box::new(bt_model::TorrentView { map: Vec::new(), ..view }));
                    if torrent.record.moving_to.is_none() {
                        torrent.set_phase(phase, now);
                    }
                }
                TorrentState::Checking if torrent.record.moving_to.is_none() => {
                    torrent
                        .set_phase(Phase::Checking { done: check_done, total: check_total }, now);
                }
                TorrentState::Finding(view) if torrent.record.settings.running => {
                    torrent.set_phase(Phase::Metadata(view), now);
                }
                TorrentState::Failed(error) => {
                    torrent.set_phase(Phase::Failed(error.to_string()), now)
                }
                TorrentState::Checking
                | TorrentState::Finding(_)
                | TorrentState::Known
                | TorrentState::Stopped => {}
            }
            if torrent.metainfo.is_none() {
                torrent.metainfo = metainfo;
            }
            if differs(before, &torrent) {
                all.change(hash, |place| *place = torrent);
            }
        });
    }

    /// Stores what came of changes: metadata that arrived, torrents that are complete.
    async fn follow_up(self: &Arc<Self>) {
        let (mut found, mut complete, mut looked_at) = (Vec::new(), Vec::new(), Vec::new());
        for torrent in self.state().torrents() {
            if torrent.record.magnet.is_some() && torrent.metainfo.is_some() {
                found.push(torrent.hash);
            }
            let is_noted = torrent.record.dates.completed.is_some();
            let is_named = super::import::partial_names(&torrent.record).is_empty();
            // A move that failed is tried again at the next start, or by a command.
            let is_placed =
                torrent.record.final_dir.is_none() || torrent.live.move_trouble.is_some();
            if !(is_noted && is_named && is_placed) && is_whole(torrent) {
                complete.push(torrent.hash);
            }
            if torrent.record.claim.is_some() && torrent.live.view.is_some() {
                looked_at.push(torrent.hash);
            }
        }
        if found.is_empty() && complete.is_empty() && looked_at.is_empty() {
            return;
        }
        let _turn = self.turn.lock().await;
        for hash in found {
            if let Err(fault) = self.keep_metadata(hash).await {
                tracing::error!(%hash, %fault, "metadata could not be stored");
            }
        }
        for hash in looked_at {
            if let Err(fault) = self.drop_claim(hash).await {
                tracing::error!(%hash, %fault, "what was claimed could not be forgotten");
            }
        }
        for hash in complete {
            let Ok(torrent) = self.torrent(hash) else { continue };
            let is_new = torrent.record.dates.completed.is_none();
            let done = |record: &mut Record| record.dates.completed = Some(now());
            if is_new && let Err(fault) = self.note(hash, done).await {
                tracing::error!(%hash, %fault, "a completion could not be stored");
                continue;
            }
            if let Err(fault) = self.complete_names(hash).await {
                tracing::warn!(%hash, %fault, "a complete file keeps the name of a partial one");
            }
            // What moves is done once it has moved.
            match torrent.record.final_dir.clone() {
                Some(dir) => {
                    if let Err(fault) = self.move_to(&[hash], &dir, true).await {
                        tracing::error!(%hash, %fault, "complete data could not be moved");
                        self.tell_of_move(hash, Some(fault.message));
                        self.refresh(hash);
                    }
                }
                None if is_new => self.run_hook(Moment::Done, hash),
                None => {}
            }
        }
        self.arrange().await;
    }

    /// Stores the file of a magnet link whose metadata arrived.
    async fn keep_metadata(&self, hash: InfoHash) -> Result<(), bt_api::Fault> {
        // A command before this one may have changed or removed it.
        let Ok(torrent) = self.torrent(hash) else { return Ok(()) };
        let Some(metainfo) = &torrent.metainfo else { return Ok(()) };
        let mut kept = torrent.kept(now());
        kept.magnet = None;
        let stops = kept.stop_on.take().is_some();
        kept.settings.running &= !stops;
        let mut batch = Batch::default();
        batch.record(torrent.hash, &kept);
        batch.file(torrent.hash, metainfo.to_bytes());
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        self.update(|state| {
            state.change(torrent.hash, |torrent| {
                torrent.record.magnet = None;
                torrent.record.stop_on = None;
                torrent.record.settings.running &= !stops;
            });
        });
        Ok(())
    }

    pub(super) async fn every_second(self: &Arc<Self>, ticks: u64) {
        self.switch_speeds().await;
        let session = match self.session() {
            Some(session) => session.view().await,
            None => return,
        };
        let (checking, finished) = {
            let mut state = self.state_mut();
            state.now = now();
            state.session = session;
            let is_checked =
                |torrent: &&Arc<Torrent>| matches!(torrent.live.phase, Phase::Checking { .. });
            let checking: Vec<InfoHash> =
                state.torrents().filter(is_checked).map(|torrent| torrent.hash).collect();
            let over = |torrent: &&Arc<Torrent>| has_seeded_enough(torrent, &state);
            let finished: Vec<(InfoHash, SeedAction)> = state
                .torrents()
                .filter(over)
                .map(|torrent| (torrent.hash, state.seed_limits(torrent).action))
                .collect();
            (checking, finished)
        };
        checking.into_iter().for_each(|hash| self.refresh(hash));
        for (hash, action) in finished {
            self.finish(hash, action).await;
        }
        self.look_at_trackers(ticks).await;
        self.share_groups().await;
        let has_limits = {
            let queue = self.state().settings.queue;
            queue.downloads.or(queue.seeds).or(queue.total).is_some()
        };
        if has_limits {
            let _turn = self.turn.lock().await;
            self.arrange().await;
        }
        if ticks.is_multiple_of(SAVE) {
            // A command that is stored meanwhile is not to be overwritten.
            let _turn = self.turn.lock().await;
            if let Err(error) = self.save_sums(Some(ticks / SAVE)).await {
                tracing::error!(%error, "sums could not be stored");
            }
        }
    }

    /// Turns the alternative limits on and off at their times.
    async fn switch_speeds(&self) {
        let (schedule, slow) = {
            let state = self.state();
            (state.settings.schedule, state.settings.slow)
        };
        let Some(schedule) = schedule else { return };
        let (weekday, minute) = crate::clock::local();
        let (before, holds) =
            (schedule.holds_before(weekday, minute), schedule.holds(weekday, minute));
        // Only at the turn, so that a person may choose otherwise in between.
        if before != holds && slow != holds {
            let patch = serde_json::json!({ "slow": holds });
            let _turn = self.turn.lock().await;
            if let Err(fault) = self.set_settings(&patch).await {
                tracing::error!(%fault, "the alternative limits could not be switched");
            }
        }
    }

    /// Does what a seed limit asks for.
    pub(super) async fn finish(self: &Arc<Self>, hash: InfoHash, action: SeedAction) {
        let _turn = self.turn.lock().await;
        // A command before this one may have said otherwise.
        let is_so = {
            let state = self.state();
            state.torrent(hash).is_some_and(|torrent| {
                has_seeded_enough(torrent, &state) && state.seed_limits(torrent).action == action
            })
        };
        if !is_so {
            return;
        }
        let job = self.job(Moment::DoneSeeding, hash);
        let done = match action {
            SeedAction::Stop => {
                let stop = |record: &mut Record| {
                    record.settings.running = false;
                    record.finished = true;
                };
                self.note(hash, stop).await
            }
            SeedAction::Remove => self.remove(&[hash], false).await,
            SeedAction::RemoveWithData => self.remove(&[hash], true).await,
        };
        // A torrent that went without its data went.
        if done.is_ok() || self.torrent(hash).is_err() {
            self.run_job(job);
        }
        if let Err(fault) = done {
            tracing::warn!(%hash, %fault, "a seed limit could not be carried out");
        }
        self.arrange().await;
    }

    /// Reads off what the trackers of some torrents said. Each look wakes the session: at rest it
    /// is most of what ten thousand torrents cost.
    async fn look_at_trackers(&self, ticks: u64) {
        let some: Vec<(InfoHash, TorrentHandle)> = {
            let running = super::lock(&self.running);
            let state = self.state();
            let due = state.torrents().filter(|torrent| {
                may_have_news(torrent, state.now, ticks) && running.contains(&torrent.hash)
            });
            due.filter_map(|torrent| Some((torrent.hash, self.handle(torrent.hash)?))).collect()
        };
        for (hash, handle) in some {
            let mut said = summary(&handle.trackers().await, now());
            self.update(|state| {
                let before = state.torrent(hash).map_or(0, |torrent| torrent.live.trackers.next_at);
                if said.next_at.abs_diff(before) <= SAME_TIME {
                    said.next_at = before;
                }
                if state.torrent(hash).is_some_and(|torrent| torrent.live.trackers != said) {
                    state.change(hash, |torrent| torrent.live.trackers = said);
                }
            });
        }
    }
}

/// Returns whether the trackers of a torrent may say what they did not say before: it was just
/// started, an announce is due or under way, or it is its turn.
fn may_have_news(torrent: &Torrent, now: u64, ticks: u64) -> bool {
    let has_trackers = match (&torrent.record.settings.trackers, &torrent.metainfo) {
        (Some(own), _) => !own.is_empty(),
        (None, Some(metainfo)) => !metainfo.trackers.is_empty(),
        (None, None) => true,
    };
    let first = torrent.hash.0.first().copied().unwrap_or_default();
    let is_turn = u64::from(first) % SWEEP == ticks % SWEEP;
    let is_young = now.saturating_sub(torrent.live.phase_since) < YOUNG;
    has_trackers && (is_turn || is_young || torrent.live.trackers.next_at <= now)
}

/// Returns whether a torrent shows anything new.
fn differs(before: &Torrent, after: &Torrent) -> bool {
    before.live.phase != after.live.phase
        || before.live.view != after.live.view
        || before.record != after.record
        || before.metainfo.is_some() != after.metainfo.is_some()
}

/// Returns whether it has all that is wanted, and something is.
fn is_whole(torrent: &Torrent) -> bool {
    torrent.is_done()
        && torrent.live.view.as_ref().is_some_and(|view| view.pieces_done > 0)
        && torrent.record.moving_to.is_none()
}

fn has_seeded_enough(torrent: &Torrent, state: &DaemonState) -> bool {
    if torrent.live.phase != Phase::Seeding {
        return false;
    }
    let (limits, now) = (state.seed_limits(torrent), state.now);
    limits.ratio.is_some_and(|limit| torrent.ratio().is_some_and(|ratio| ratio >= limit))
        || limits.minutes.is_some_and(|limit| torrent.seconds(now).1 / 60 >= limit)
        || limits.idle_minutes.is_some_and(|limit| torrent.quiet_for(now) / 60 >= limit)
}

/// Sums up what trackers said.
fn summary(trackers: &[TrackerView], now: u64) -> TrackerSummary {
    let works = trackers.iter().find(|tracker| tracker.standing == TrackerStanding::Works);
    let fails = trackers.iter().find(|tracker| {
        matches!(tracker.standing, TrackerStanding::Fails(_) | TrackerStanding::Gone)
    });
    TrackerSummary {
        working: works.map(|tracker| tracker.url.clone()),
        trouble: fails.filter(|_| works.is_none()).map(|tracker| tracker.message.clone()),
        seeders: trackers.iter().filter_map(|tracker| tracker.seeders).max(),
        leechers: trackers.iter().filter_map(|tracker| tracker.leechers).max(),
        next_at: works.or(trackers.first()).map_or(0, |t| now.saturating_add(t.next_in.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_api::Live;

    #[test]
    fn trackers_are_looked_at_when_they_may_have_news() {
        let torrent = |trackers: Option<Vec<Vec<String>>>, phase_since, next_at| {
            let mut record = Record::default();
            record.settings.trackers = trackers;
            let trackers = TrackerSummary { next_at, ..TrackerSummary::default() };
            let live = Live { phase_since, trackers, ..Live::default() };
            let hash = InfoHash([7; 20]);
            Torrent { number: 1, hash, record, metainfo: None, live, changed: 0 }
        };
        let some = || Some(vec![vec!["http://a.example/announce".to_owned()]]);
        for (torrent, ticks, expected) in [
            (torrent(some(), 0, 2000), 1, false),
            (torrent(some(), 0, 2000), SWEEP + 7, true),
            (torrent(some(), 990, 2000), 1, true),
            (torrent(some(), 0, 1000), 1, true),
            (torrent(None, 0, 2000), 7, true),
            (torrent(Some(Vec::new()), 990, 0), 7, false),
        ] {
            assert_eq!(may_have_news(&torrent, 1000, ticks), expected, "{torrent:?} {ticks}");
        }
    }
}
