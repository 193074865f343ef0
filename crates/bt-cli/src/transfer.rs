//! Running torrents until they are done: what `get` and `seed` share.
//!
//! Decides: when a transfer is over, and with which exit code. Must not know: sockets, files.
//! Invariant: whatever ends it, state is saved, trackers are told, and the summary comes last.

use crate::args::NetArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::progress::{Board, Line};
use crate::reason::{self, Teller};
use crate::signals::Stop;
use crate::units;
use bt_metainfo::Metainfo;
use bt_session::{
    AddError, AddOptions, Budget, Event, Rates, Reason, Roots, Session, SessionConfig, StartError, Summary, TorrentEvent,
    TorrentHandle, TorrentState, TorrentStatus,
};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};
use tokio::task::LocalSet;

/// Time between two looks at the torrents: progress is printed at least four times a second while bytes move.
const TICK: Duration = Duration::from_millis(200);
/// Stopping must not take longer, whatever trackers do.
const STOP_MAX: Duration = Duration::from_secs(6);

/// What to run.
pub(crate) struct Plan {
    pub(crate) torrents: Vec<(Metainfo, AddOptions)>,
    pub(crate) net: NetArgs,
    /// Certificates to trust for HTTPS trackers.
    pub(crate) roots: Roots,
    /// Give up after so long without progress.
    pub(crate) timeout: Option<Duration>,
    pub(crate) after: After,
    /// `bt seed`: a signal is its normal end.
    pub(crate) is_seed: bool,
}

/// What happens when a download is complete.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct After {
    pub(crate) seed: bool,
    pub(crate) ratio: Option<f64>,
    pub(crate) time: Option<Duration>,
}

impl After {
    /// Whether a torrent that was completed so long ago, and uploaded so much, is over.
    fn is_over(&self, since: Duration, up: u64, total: u64) -> bool {
        let ratio = |ratio: f64| up as f64 >= ratio * total as f64;
        match (self.seed, self.ratio, self.time) {
            (true, ..) => false,
            (_, None, None) => true,
            (_, by_ratio, by_time) => by_ratio.is_some_and(ratio) || by_time.is_some_and(|time| since >= time),
        }
    }
}

/// Runs the plan to its end.
pub(crate) async fn run(plan: Plan, output: &Output) -> Outcome {
    LocalSet::new().run_until(run_local(plan, output)).await
}

async fn run_local(plan: Plan, output: &Output) -> Outcome {
    let stop = Stop::listen().map_err(anyhow::Error::from)?;
    stop.exit_with(if plan.is_seed { 0 } else { Exit::Interrupted as i32 });
    let config = SessionConfig {
        listen: plan.net.listen,
        state_dir: Some(state_dir(&plan.net)?),
        limits: Budget { rates: Rates { up: plan.net.up, down: plan.net.down }, ..Budget::default() },
        extra_roots: plan.roots,
        ..SessionConfig::default()
    };
    let session = Session::start(config).map_err(|error| match error {
        StartError::Listen { .. } => Failure::new(Exit::Other, "cannot_listen", error),
        error => Failure::from(anyhow::Error::from(error)),
    })?;
    let board = Board::new(output);
    let mut jobs = Vec::new();
    for (torrent, options) in plan.torrents {
        let name = torrent.info.name.clone();
        let added = session.add(&torrent, options);
        let total = added.as_ref().map_or_else(|_| torrent.info.geometry.total(), TorrentHandle::bytes_wanted);
        output.event("checking", json!({ "name": name, "info_hash": hash(&torrent), "bytes_total": total }));
        jobs.push(Job::new(name, hash(&torrent).unwrap_or_default(), total, added, &board));
    }
    let end = watch_jobs(&mut jobs, &session, &plan.after, plan.timeout, plan.is_seed, &stop, output, &board).await;
    board.clear();
    if stop.is_asked() {
        output.event("stopped", json!({ "reason": "signal" }));
    }
    let farewell = async {
        let mut summaries = Vec::new();
        for job in &jobs {
            summaries.push(match &job.handle {
                Some(handle) => handle.stop().await,
                None => Summary::default(),
            });
        }
        session.stop().await;
        summaries
    };
    let summaries = tokio::time::timeout(STOP_MAX, farewell).await.unwrap_or_default();
    // Errors are said before the summaries, which come last.
    let all_failed = jobs.iter().all(|job| job.failure.is_some());
    let mut failures: Vec<Failure> = jobs.iter_mut().filter_map(|job| job.failure.take()).collect();
    let interrupted = end.err();
    failures.iter().chain(&interrupted).for_each(|failure| output.failure(failure));
    for (job, summary) in jobs.iter().zip(&summaries) {
        job.report(summary, output);
    }
    match interrupted.or_else(|| failures.pop()) {
        None => Ok(()),
        Some(failure) if all_failed || failure.exit == Exit::Interrupted => Err(Failure { told: true, ..failure }),
        Some(failure) => Err(Failure { exit: Exit::Partial, told: true, ..failure }),
    }
}

#[expect(clippy::too_many_arguments, reason = "one caller; the parts of a run")]
async fn watch_jobs(
    jobs: &mut [Job],
    session: &Session,
    after: &After,
    timeout: Option<Duration>,
    is_seed: bool,
    stop: &Stop,
    output: &Output,
    board: &Board,
) -> Outcome {
    let mut tick = tokio::time::interval(TICK);
    let mut ready = false;
    loop {
        tokio::select! {
            () = stop.asked() => {
                let complete = jobs.iter().all(|job| job.completed_at.is_some());
                return if is_seed || complete { Ok(()) } else { Err(Failure::interrupted()) };
            }
            _ = tick.tick() => {}
        }
        for job in jobs.iter_mut() {
            job.look(after, timeout, is_seed, output, board);
        }
        if !ready && jobs.iter().all(|job| job.began || job.over) {
            ready = true;
            if jobs.iter().any(|job| job.began) {
                let listen: Vec<String> = session.listen_addrs().iter().map(ToString::to_string).collect();
                output.event("ready", json!({ "listen": listen }));
                if is_seed {
                    output.line(format_args!("ready: {}", listen.join(" ")));
                }
            }
        }
        if jobs.iter().all(|job| job.completed_at.is_some() || job.over) && !is_seed {
            stop.exit_with(0);
        }
        if jobs.iter().all(|job| job.over) {
            return Ok(());
        }
    }
}

/// One torrent on its way.
struct Job {
    name: String,
    /// Bytes of what is wanted.
    total: u64,
    info_hash: String,
    handle: Option<TorrentHandle>,
    state: Option<watch::Receiver<TorrentState>>,
    events: Option<broadcast::Receiver<TorrentEvent>>,
    line: Line,
    /// Its data was checked.
    began: bool,
    completed_at: Option<Instant>,
    over: bool,
    failure: Option<Failure>,
    shown: Option<TorrentStatus>,
    moved_at: Instant,
    bytes_seen: u64,
    reasons: Teller,
    /// What a tracker or the disk said last.
    detail: Option<String>,
}

impl Job {
    fn new(name: String, info_hash: String, total: u64, added: Result<TorrentHandle, AddError>, board: &Board) -> Job {
        let (handle, failure) = match added {
            Ok(handle) => (Some(handle), None),
            Err(error) => (None, Some(add_failure(&name, &error))),
        };
        Job {
            line: board.line(&name, total),
            name,
            total,
            info_hash,
            state: handle.as_ref().map(TorrentHandle::state),
            events: handle.as_ref().map(TorrentHandle::events),
            over: failure.is_some(),
            handle,
            began: false,
            completed_at: None,
            failure,
            shown: None,
            moved_at: Instant::now(),
            bytes_seen: 0,
            reasons: Teller::new(Instant::now()),
            detail: None,
        }
    }

    /// Tells what is new, and decides whether the torrent is over.
    fn look(&mut self, after: &After, timeout: Option<Duration>, is_seed: bool, output: &Output, board: &Board) {
        if self.over {
            return;
        }
        self.hear(output, board);
        let Some(state) = self.state.as_ref().map(|state| state.borrow().clone()) else { return };
        match state {
            TorrentState::Checking => {
                let (done, total) = self.handle.as_ref().map(TorrentHandle::check_progress).unwrap_or_default();
                self.line.update(done, total.max(1), "checking");
                self.moved_at = Instant::now();
            }
            TorrentState::Failed(error) => self.fail(add_failure(&self.name, &error)),
            TorrentState::Stopped => {
                let message =
                    format!("{}: its thread ended; this is a bug, run again with -v and report what it says", self.name);
                self.fail(Failure::new(Exit::Other, "stopped", message));
            }
            TorrentState::Active(status) => self.advance(&status, after, timeout, is_seed, output, board),
        }
    }

    fn advance(
        &mut self,
        status: &TorrentStatus,
        after: &After,
        timeout: Option<Duration>,
        is_seed: bool,
        output: &Output,
        board: &Board,
    ) {
        let complete = status.is_done();
        if is_seed && !self.began && status.pieces_done == 0 && !complete {
            let message = format!("{}: none of its data is here; name the directory that holds it with --dir", self.name);
            return self.fail(Failure::new(Exit::Verify, "no_data", message));
        }
        self.began = true;
        self.show(status, output);
        if complete && self.completed_at.is_none() {
            self.completed_at = Some(Instant::now());
            if !is_seed {
                output.event("complete", json!({ "info_hash": self.info_hash, "name": self.name }));
                board.say(format_args!("{}: complete and verified", self.name));
            }
        }
        match self.completed_at {
            Some(at) => self.over = !is_seed && after.is_over(at.elapsed(), status.bytes_up, self.total),
            None => self.wait(status, timeout, output, board),
        }
    }

    fn show(&mut self, status: &TorrentStatus, output: &Output) {
        if self.shown.as_ref() == Some(status) {
            return;
        }
        self.line.show(status);
        output.event(
            "progress",
            json!({
                "info_hash": self.info_hash,
                "bytes_done": status.bytes_wanted - status.bytes_missing,
                "bytes_total": status.bytes_wanted,
                "bytes_down": status.bytes_down,
                "bytes_up": status.bytes_up,
                "down_rate": status.down_rate,
                "up_rate": status.up_rate,
                "peers": status.peers,
                "seeds": status.seeds,
            }),
        );
        self.shown = Some(status.clone());
    }

    /// Not complete: why is it slow, and for how long has it not moved?
    fn wait(&mut self, status: &TorrentStatus, timeout: Option<Duration>, output: &Output, board: &Board) {
        if status.bytes_down > self.bytes_seen && status.store_fault.is_none() {
            self.bytes_seen = status.bytes_down;
            self.moved_at = Instant::now();
        }
        let still = self.moved_at.elapsed();
        if let Some(reason) = self.reasons.hear(Instant::now(), status.slow) {
            self.say_reason(reason, status.down_rate, output, board);
        }
        if timeout.is_some_and(|timeout| still >= timeout) {
            let exit = if status.store_fault.is_some() { Exit::Disk } else { Exit::Network };
            let code = status.store_fault.map_or("no_progress", bt_types::StoreFault::name);
            let why = status.slow.map_or_else(String::new, |reason| format!(": {}", self.explain(reason)));
            let message = format!("{}: no progress for {} s{why}", self.name, still.as_secs());
            self.fail(Failure::new(exit, code, message));
        }
    }

    fn say_reason(&self, reason: Reason, rate: u64, output: &Output, board: &Board) {
        let name = reason::name(reason);
        output.event("reason", json!({ "info_hash": self.info_hash, "reason": name, "detail": self.detail, "down_rate": rate }));
        let state = if rate == 0 { "waiting" } else { "slow" };
        board.say(format_args!("{}: {state}: {}", self.name, self.explain(reason)));
    }

    fn explain(&self, reason: Reason) -> String {
        let text = reason::words(reason);
        // What a tracker or the disk said explains nothing about peers that are connected.
        let detail = self.detail.as_ref().filter(|_| matches!(reason, Reason::NoPeers | Reason::Store(_)));
        detail.map_or_else(|| text.clone(), |detail| format!("{text} ({detail})"))
    }

    /// News since the last look.
    fn hear(&mut self, output: &Output, board: &Board) {
        while let Some(Ok(event)) = self.events.as_mut().map(broadcast::Receiver::try_recv) {
            match event {
                TorrentEvent::Checked { bytes_there } if bytes_there > 0 => {
                    board.say(format_args!("{}: {} already there", self.name, units::size(bytes_there)));
                }
                TorrentEvent::StoreDetail(detail) => self.detail = Some(detail),
                TorrentEvent::Engine(Event::StoreFailed(fault)) => {
                    self.reasons.told(Instant::now(), Reason::Store(fault));
                    self.say_reason(Reason::Store(fault), 0, output, board);
                }
                TorrentEvent::Engine(Event::StoreRecovered) => {
                    self.detail = None;
                    board.say(format_args!("{}: the disk works again", self.name));
                }
                TorrentEvent::Engine(Event::TrackerFailed { url, why }) => self.detail = Some(format!("{}: {why}", host(&url))),
                TorrentEvent::Engine(Event::TrackerReply { url, warning, .. }) => {
                    self.detail = None;
                    if let Some(warning) = warning {
                        board.say(format_args!("{}: {} says: {warning}", self.name, host(&url)));
                    }
                }
                TorrentEvent::Engine(Event::BadPiece(piece, _)) => {
                    board.say(format_args!("{}: piece {} had wrong bytes and is fetched again", self.name, piece.number()));
                }
                _ => {}
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failure = Some(failure);
        self.over = true;
    }

    fn report(&self, summary: &Summary, output: &Output) {
        let (down, up, wasted) =
            summary.status.as_ref().map(|status| (status.bytes_down, status.bytes_up, status.bytes_wasted)).unwrap_or_default();
        let from_leechers: u64 = summary.sources.iter().map(|source| source.down_as_leecher).sum();
        let sources: Vec<Value> = summary
            .sources
            .iter()
            .map(|source| {
                json!({
                    "addr": source.addr.to_string(),
                    "client": source.client,
                    "bytes_down": source.down,
                    "bytes_down_from_leecher": source.down_as_leecher,
                    "bytes_up": source.up,
                })
            })
            .collect();
        output.event(
            "summary",
            json!({
                "info_hash": self.info_hash,
                "name": self.name,
                "complete": self.completed_at.is_some(),
                "bytes_total": self.total,
                "bytes_there": summary.bytes_there,
                "bytes_downloaded": down,
                "bytes_uploaded": up,
                "bytes_wasted": wasted,
                "peers_banned": summary.status.as_ref().map_or(0, |status| status.peers_banned),
                "pieces_bad": summary.status.as_ref().map_or(0, |status| status.bad_pieces),
                "bytes_from_leechers": from_leechers,
                "sources": sources,
            }),
        );
        output.line(format_args!(
            "{}: {} there before, {} downloaded ({} from other leechers), {} uploaded, {} wasted",
            self.name,
            units::size(summary.bytes_there),
            units::size(down),
            units::size(from_leechers),
            units::size(up),
            units::size(wasted)
        ));
    }
}

/// The host of a tracker's URL: the rest may hold a passkey.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}

fn hash(torrent: &Metainfo) -> Option<String> {
    torrent.info_hashes.swarm().map(|hash| hash.to_string())
}

fn add_failure(name: &str, error: &AddError) -> Failure {
    let (exit, code) = match error {
        AddError::Unsupported(_) => (Exit::Input, "unsupported"),
        AddError::Foreign { .. } => (Exit::Disk, "foreign"),
        AddError::Store { fault, .. } => (Exit::Disk, fault.name()),
        AddError::Locked { .. } => (Exit::Other, "locked"),
        AddError::Duplicate => (Exit::Usage, "duplicate"),
        AddError::Stopping => (Exit::Interrupted, "interrupted"),
    };
    Failure::new(exit, code, format!("{name}: {error}"))
}

/// `--state`, or `BT_HOME`, or `bt` in the XDG state directory.
fn state_dir(net: &NetArgs) -> Outcome<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || var("HOME").map(|home| home.join(".local/state/bt"));
    let found =
        net.state.clone().or_else(|| var("BT_HOME")).or_else(|| var("XDG_STATE_HOME").map(|dir| dir.join("bt"))).or_else(home);
    found.ok_or_else(|| Failure::usage("there is no home directory to keep state in; name one with --state, or use --no-resume"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_seeding_is_over() {
        let (secs, total) = (Duration::from_secs(10), 100);
        let table = [
            (After::default(), 0, true),
            (After { seed: true, ..After::default() }, 1000, false),
            (After { ratio: Some(1.5), ..After::default() }, 149, false),
            (After { ratio: Some(1.5), ..After::default() }, 150, true),
            (After { time: Some(Duration::from_secs(11)), ..After::default() }, 0, false),
            (After { time: Some(secs), ..After::default() }, 0, true),
            (After { ratio: Some(9.0), time: Some(secs), seed: false }, 0, true),
        ];
        for (after, up, over) in table {
            assert_eq!(after.is_over(secs, up, total), over, "{after:?} after {up} bytes");
        }
    }

    #[test]
    fn a_passkey_is_not_shown() {
        assert_eq!(host("https://tracker.example/secret/announce"), "tracker.example");
        assert_eq!(host("udp://[::1]:6969"), "[::1]:6969");
    }
}
