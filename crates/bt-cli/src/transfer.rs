//! Runs torrents until they are done: what `get` and `seed` share.
//!
//! Decides: when a transfer is over, and with which exit code.
//! Must not know: sockets, payload files.
//! Invariant: however it ends, state is saved, trackers are told, and the summary comes last.

use crate::addresses::ListenAddr;
use crate::args::{DiscoveryArgs, NetArgs};
use crate::bugs;
use crate::exit::{self, Exit, Failure, Outcome};
use crate::frame::Style;
use crate::goal::{After, MetadataOnly, Rules};
use crate::job::Job;
use crate::json::{Event, Ready};
use crate::output::Output;
use crate::progress::Board;
use crate::signals::{Hangup, Stop};
use crate::source::Source;
use crate::why_socket::{Asked, WhySocket};
use bt_session::dht::{DhtConfig, PUBLIC_ROUTERS};
use bt_session::{
    AddOptions, IpFilter, Rates, Roots, Session, SessionConfig, SessionSettings, StartError,
    Summary, TorrentHandle,
};
use rustix::fs::Access;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// Time between two looks at the torrents: progress is printed at least four times a second while
/// bytes move. A start or a completion is seen at once.
const TICK: Duration = Duration::from_millis(200);
/// Longest time of stopping, however slow trackers are.
const STOP_MAX: Duration = Duration::from_secs(6);

/// What to run.
pub(crate) struct Plan {
    pub(crate) torrents: Vec<(Source, AddOptions)>,
    pub(crate) net: NetArgs,
    /// Certificates to trust for HTTPS trackers.
    pub(crate) roots: Roots,
    /// Give up after this time without progress.
    pub(crate) timeout: Option<Duration>,
    pub(crate) after: After,
    /// Fetch only the metadata of magnet links.
    pub(crate) metadata_only: Option<MetadataOnly>,
    /// `bt seed`: a signal is its normal end.
    pub(crate) is_seed: bool,
}

/// Runs the plan to its end.
pub(crate) async fn run(plan: Plan, output: &Output) -> Outcome {
    LocalSet::new().run_until(run_local(plan, output)).await
}

async fn run_local(plan: Plan, output: &Output) -> Outcome {
    let stop = Stop::listen(Hangup::Stops).map_err(anyhow::Error::from)?;
    stop.exit_with(if plan.is_seed { 0 } else { Exit::Interrupted as i32 });
    let config = SessionConfig {
        listen: plan.net.listen.map(ListenAddr::for_session),
        state_dir: usable_state_dir(&plan, output)?,
        settings: SessionSettings {
            limits: Rates { up: plan.net.up, down: plan.net.down },
            lsd: !plan.net.discovery.no_lsd,
            pex: !plan.net.discovery.no_pex,
            ..SessionSettings::default()
        },
        extra_roots: plan.roots,
        ip_filter: Arc::new(ip_filter(&plan.net.ip_filter)?),
        dht: dht(&plan.net.discovery).filter(|_| !plan.torrents.iter().all(is_private)),
        ..SessionConfig::default()
    };
    let state = config.state_dir.clone();
    let session = Session::start(config).map_err(|error| match error {
        StartError::Listen { ref source, .. } => {
            let advice = exit::listen_advice(source);
            Failure::new(
                Exit::Other,
                "cannot_listen",
                format!("{error}; {advice}, or leave --listen out"),
            )
        }
        error => Failure::from(anyhow::Error::from(error)),
    })?;
    let board = Board::new(output, Style::Table);
    let (mut jobs, tracker_news) = (Vec::new(), Rc::default());
    for (source, options) in plan.torrents {
        let added = match &source {
            Source::Torrent(torrent) => session.add_shared(Arc::clone(torrent), options),
            Source::Magnet(magnet) => session.add_magnet(magnet, options),
        };
        jobs.push(Job::new(&source, added, &tracker_news, output, &board));
    }
    let Plan { after, timeout, is_seed, metadata_only, .. } = plan;
    let rules = Rules { after: &after, timeout, is_seed, metadata_only: metadata_only.as_ref() };
    let asked = |job: &Job| {
        let link = job.link().map(str::to_owned);
        Some(Asked { handle: job.handle.clone()?, link })
    };
    let asked: Vec<Asked> = jobs.iter().filter_map(asked).collect();
    let end = tokio::select! {
        end = watch_jobs(&mut jobs, &session, rules, &stop, output, &board) => end,
        never = answer_why(state.as_deref(), &session, &asked) => match never {},
    };
    board.clear();
    if stop.is_asked() {
        output.event(&Event::Stopped { reason: Some("signal") });
    }
    let panics = session.panics();
    let farewell = async {
        // All at once. Each has its totals afterwards.
        session.stop().await;
        let mut summaries = Vec::new();
        for job in &jobs {
            summaries.push(match &job.handle {
                Some(handle) => handle.stop().await,
                None => Summary::default(),
            });
        }
        summaries
    };
    let summaries = tokio::time::timeout(STOP_MAX, farewell).await.unwrap_or_default();
    let unsaved = jobs
        .iter_mut()
        .zip(&summaries)
        .fold(false, |unsaved, (job, summary)| job.hear_end(summary, output, &board) || unsaved);
    let all_failed = jobs.iter().all(|job| job.failure.is_some());
    let mut failures: Vec<Failure> = jobs.iter_mut().filter_map(|job| job.failure.take()).collect();
    // Reported data that is not safe on the disk is worse than an interrupt.
    let is_worse = unsaved && end.is_err();
    let interrupted = end.err().filter(|_| !unsaved);
    // Errors are printed before the summaries, which come last; those of torrents were printed when
    // they happened.
    interrupted.iter().for_each(|failure| output.failure(failure));
    for (job, summary) in jobs.iter().zip(&summaries) {
        job.report(summary, panics, output);
    }
    match interrupted.or_else(|| failures.pop()) {
        None => Ok(()),
        Some(failure) if is_worse => Err(Failure { exit: Exit::Disk, told: true, ..failure }),
        Some(failure) if all_failed || failure.exit == Exit::Interrupted => {
            Err(Failure { told: true, ..failure })
        }
        Some(failure) => Err(Failure { exit: Exit::Partial, told: true, ..failure }),
    }
}

/// Tells `bt why` about the torrents. A state directory that takes no socket is no reason to stop.
async fn answer_why(state: Option<&Path>, session: &Session, torrents: &[Asked]) -> Infallible {
    match state.map(WhySocket::open) {
        None => std::future::pending().await,
        Some(opening) => match opening.await {
            Ok(socket) => socket.serve(session, torrents).await,
            Err(error) => {
                tracing::warn!(%error, "`bt why` cannot ask this process");
                std::future::pending().await
            }
        },
    }
}

async fn watch_jobs(
    jobs: &mut [Job],
    session: &Session,
    rules: Rules<'_>,
    stop: &Stop,
    output: &Output,
    board: &Board,
) -> Outcome {
    let is_seed = rules.is_seed;
    let mut tick = tokio::time::interval(TICK);
    let news = Rc::new(Notify::new());
    for handle in jobs.iter().filter_map(|job| job.handle.clone()) {
        tokio::task::spawn_local(tell_turns(handle, Rc::clone(&news)));
    }
    let mut ready = false;
    let mut panics = session.panics();
    loop {
        tokio::select! {
            () = stop.asked() => {
                let complete = jobs.iter().all(|job| job.completed_at.is_some());
                return if is_seed || complete { Ok(()) } else { Err(Failure::interrupted()) };
            }
            _ = tick.tick() => {}
            () = news.notified() => {}
        }
        let before = std::mem::replace(&mut panics, session.panics());
        bugs::warning(before, panics).into_iter().for_each(|warning| board.say(warning));
        for job in jobs.iter_mut() {
            job.look(rules, panics, output, board);
        }
        board.show(jobs.iter().map(Job::row).collect());
        if !ready && jobs.iter().all(|job| job.began || job.over) {
            ready = true;
            if jobs.iter().any(|job| job.began) {
                let listen = session.listen_addrs();
                let shown: Vec<String> = listen.iter().map(ToString::to_string).collect();
                let began = || jobs.iter().filter(|job| job.began);
                if is_seed {
                    let links: Vec<&str> = began().filter_map(Job::link).collect();
                    output.event(&Event::Ready(Ready::Seed { listen, magnets: &links }));
                    board.aside(|| {
                        output.line(format_args!("ready: {}", shown.join(" ")));
                        links.iter().for_each(|link| output.line(link));
                    });
                } else {
                    output.event(&Event::Ready(Ready::Get { listen }));
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

/// Notifies when a torrent has begun, and when it is complete.
async fn tell_turns(handle: TorrentHandle, news: Rc<Notify>) {
    let began = handle.wait_active().await;
    news.notify_one();
    if began.is_ok() {
        let _ = handle.wait_complete().await;
        news.notify_one();
    }
}

/// Returns whether a torrent may not use the DHT.
fn is_private((source, _): &(Source, AddOptions)) -> bool {
    matches!(source, Source::Torrent(torrent) if torrent.private)
}

/// Reads files with addresses of peers that nothing is to do with.
fn ip_filter(files: &[PathBuf]) -> Outcome<IpFilter> {
    let read = |path: &PathBuf| {
        let unusable = |why: &dyn std::fmt::Display| {
            let why = format!("cannot use the addresses in {}: {why}", path.display());
            Failure::new(Exit::Input, "ip_filter", why)
        };
        let bytes = std::fs::read(path).map_err(|error| unusable(&error))?;
        let (filter, _) = IpFilter::from_bytes(&bytes).map_err(|error| unusable(&error))?;
        match filter.is_empty() && !bytes.is_empty() {
            true => {
                Err(unusable(&"it has none; each line is a network, as 192.0.2.0/24, or a range"))
            }
            false => Ok(filter),
        }
    };
    files.iter().try_fold(IpFilter::default(), |all, path| Ok(all.and(read(path)?)))
}

/// Makes the configuration of the DHT node; none if the user does not want it.
pub(crate) fn dht(discovery: &DiscoveryArgs) -> Option<DhtConfig> {
    if discovery.no_dht {
        return None;
    }
    let bootstrap = match discovery.dht_bootstrap.as_slice() {
        [] => PUBLIC_ROUTERS.map(String::from).to_vec(),
        named => named.to_vec(),
    };
    Some(DhtConfig { bootstrap, ..DhtConfig::default() })
}

/// Returns the state directory, if it can be written. Complete data is seeded without one; a
/// download would be lost with the first crash.
fn usable_state_dir(plan: &Plan, output: &Output) -> Outcome<Option<PathBuf>> {
    if plan.net.no_resume {
        // The saved state is forgotten; no directory is made.
        return Ok(state_dir(plan.net.state.as_deref())
            .ok()
            .filter(|dir| rustix::fs::access(dir, Access::WRITE_OK).is_ok()));
    }
    let dir = state_dir(plan.net.state.as_deref())?;
    let probe = || {
        std::fs::create_dir_all(&dir)?;
        tempfile::Builder::new().prefix(".probe-").tempfile_in(&dir).map(drop)
    };
    let Err(error) = probe() else { return Ok(Some(dir)) };
    let fault = bt_piece_store::fault_of(&error);
    let why =
        if dir.is_file() { "it is a file, not a directory".into() } else { exit::cause(&error) };
    let message = format!("cannot keep state in {}: {why}", dir.display());
    if plan.is_seed {
        output.note(format_args!(
            "{message}; going on without: the data is checked at every start (--state DIR names another place)"
        ));
        return Ok(None);
    }
    let message = format!(
        "{message}; name another place with --state DIR, or remember nothing with --no-resume"
    );
    Err(Failure::new(Exit::Disk, fault.name(), message))
}

/// Finds the state directory: `--state`, or `BT_HOME`, or `bt` in the XDG state directory.
pub(crate) fn state_dir(named: Option<&Path>) -> Outcome<PathBuf> {
    let var =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || var("HOME").map(|home| home.join(".local/state/bt"));
    let found = named
        .map(Path::to_owned)
        .or_else(|| var("BT_HOME"))
        .or_else(|| var("XDG_STATE_HOME").map(|dir| dir.join("bt")))
        .or_else(home);
    found.ok_or_else(|| Failure::usage("there is no home directory to keep state in; name one with --state, or use --no-resume"))
}
