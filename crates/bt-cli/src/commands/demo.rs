//! `bt demo`: a whole swarm on this machine, with real sockets and files.
//!
//! Decides: the cast: one tracker, one seeder, a few leechers.
//! Must not know: how any of them works.
//! Invariant: it succeeds only when every copy was verified byte by byte against the torrent.

use crate::args::DemoArgs;
use crate::commands::{create, verify};
use crate::exit::{Exit, Failure, Outcome};
use crate::frame::Style;
use crate::json::{Complete, Event, Progress, Ready, Received, Summary as Totals};
use crate::output::Output;
use crate::progress::Board;
use crate::row::{Phase, Row};
use crate::signals::{Hangup, Stop};
use crate::units;
use anyhow::Context as _;
use bt_metainfo::Metainfo;
use bt_piece_store::CreateOptions;
use bt_session::{
    AddOptions, Rates, Session, SessionConfig, SessionSettings, Summary, TorrentHandle,
    TorrentState,
};
use bt_tracker_server::{Config, TrackerServer};
use bt_types::{PeerId, Rng};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest time of a demo: a longer one is broken.
const LIMIT: Duration = Duration::from_secs(600);

pub(crate) async fn run(args: DemoArgs, output: &Output) -> Outcome {
    tokio::task::LocalSet::new().run_until(run_local(args, output)).await
}

async fn run_local(args: DemoArgs, output: &Output) -> Outcome {
    let stop = Stop::listen(Hangup::Stops).map_err(anyhow::Error::from)?;
    stop.exit_with(Exit::Interrupted as i32);
    let stage = tempfile::Builder::new()
        .prefix("bt-demo-")
        .tempdir()
        .context("no room for the demo's files")?;
    let source = match args.path {
        Some(path) => path,
        None => generate(stage.path(), args.size)?,
    };

    let config = Config {
        http: Vec::new(),
        udp: vec![(Ipv4Addr::LOCALHOST, 0).into()],
        workers: Some(NonZero::<usize>::MIN),
        ..Config::default()
    };
    let tracker = TrackerServer::start(config).await.context("the tracker")?;
    let addr = tracker.udp_addrs().first().copied().context("the tracker has no address")?;
    let url = format!("udp://{addr}/announce");
    output.note(format_args!("tracker   {url}"));

    let options = CreateOptions { trackers: vec![vec![url]], ..create::options() };
    let torrent = create::create(&source, &options, output)?.metainfo;
    output.note(format_args!(
        "torrent   {} ({})",
        torrent.info.name,
        units::size(torrent.info.payload_len())
    ));

    let seeder = Actor::start(
        "seeder",
        &torrent,
        AddOptions { trust_data: true, ..AddOptions::new(&source) },
        Some(args.up),
    )?;
    output.note(format_args!("seeder    uploads at most {}", units::rate(args.up)));
    let mut leechers = Vec::new();
    for n in 1..=args.leechers {
        let name = format!("leecher {n}");
        let dir = stage.path().join(&name);
        leechers.push(Actor::start(&name, &torrent, AddOptions::new(dir), None)?);
    }
    output.event(&Event::Ready(Ready::Demo { tracker: addr, leechers: args.leechers }));
    let began = Instant::now();
    let downloaded = download(&leechers, &seeder, &torrent, &stop, output).await;
    let took = began.elapsed();

    // All clients stop before the result is judged, so that a failure leaves nothing running.
    let mut accounts = Vec::new();
    let mut cast = Vec::new();
    for actor in leechers.into_iter().chain([seeder]) {
        accounts.push(actor.handle.stop().await);
        cast.push((actor.name, actor.session.peer_id(), actor.dir));
        actor.session.stop().await;
    }
    tracker.stop().await;
    downloaded?;

    for (name, _, dir) in cast.iter().take(args.leechers.into()) {
        let report = verify::check(&torrent, dir, output)?;
        if !report.is_complete() {
            return Err(Failure::new(
                Exit::Verify,
                "bad_data",
                format!("{name} has {} bad pieces", report.bad.len()),
            ));
        }
    }
    summarise(&cast, &accounts, took, output);
    if args.keep {
        let kept = stage.keep();
        output.line(format_args!("the copies are in {}", kept.display()));
    }
    Ok(())
}

/// One client of the demo.
struct Actor {
    name: String,
    dir: PathBuf,
    session: Session,
    handle: TorrentHandle,
}

impl Actor {
    fn start(
        name: &str,
        torrent: &Metainfo,
        options: AddOptions,
        up: Option<u64>,
    ) -> Outcome<Actor> {
        let config = SessionConfig {
            listen: Some((Ipv4Addr::LOCALHOST, 0).into()),
            settings: SessionSettings {
                limits: Rates { up, down: None },
                ..SessionSettings::default()
            },
            disk_threads: 1,
            ..SessionConfig::default()
        };
        let session = Session::start(config).with_context(|| name.to_owned())?;
        let dir = options.dir.clone();
        let handle = session.add(torrent, options).with_context(|| name.to_owned())?;
        Ok(Actor { name: name.to_owned(), dir, session, handle })
    }
}

/// Waits until every leecher is complete, and shows it live. The seeder must not fail meanwhile.
async fn download(
    leechers: &[Actor],
    seeder: &Actor,
    torrent: &Metainfo,
    stop: &Stop,
    output: &Output,
) -> Outcome {
    let total = torrent.info.geometry.total();
    let board = Board::new(output, Style::Maps);
    let states: Vec<_> = leechers.iter().map(|actor| actor.handle.state()).collect();
    let seeding = seeder.handle.state();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let began = Instant::now();
    loop {
        tokio::select! {
            () = stop.asked() => return Err(Failure::new(Exit::Interrupted, "interrupted", "the demo was interrupted")),
            _ = tick.tick() => {}
        }
        if let TorrentState::Failed(error) = &*seeding.borrow() {
            return Err(Failure::of_adding(&seeder.name, error));
        }
        let (mut complete, mut rows) = (0, Vec::new());
        for (actor, state) in leechers.iter().zip(&states) {
            match &*state.borrow() {
                TorrentState::Active(status) => {
                    let phase = if status.is_done() { Phase::Seeding } else { Phase::Downloading };
                    rows.push(Row::of(&actor.name, phase, status, began.elapsed()));
                    complete += usize::from(status.is_done());
                    output.event(&Event::Progress(Progress::Leecher {
                        name: &actor.name,
                        bytes_done: status.bytes_done,
                        bytes_total: total,
                        down_rate: status.down_rate,
                        up_rate: status.up_rate,
                        peers: status.peers,
                    }));
                }
                TorrentState::Failed(error) => return Err(Failure::of_adding(&actor.name, error)),
                TorrentState::Finding(_)
                | TorrentState::Checking
                | TorrentState::Known
                | TorrentState::Stopped => {}
            }
        }
        board.show(rows);
        if complete == leechers.len() {
            board.clear();
            return Ok(());
        }
        if began.elapsed() > LIMIT {
            return Err(Failure::new(
                Exit::Network,
                "no_progress",
                "the demo did not finish in ten minutes",
            ));
        }
    }
}

/// Prints how much each client got from which other, as the receivers counted it.
fn summarise(
    cast: &[(String, PeerId, PathBuf)],
    accounts: &[Summary],
    took: Duration,
    output: &Output,
) {
    let name_of =
        |id: PeerId| cast.iter().find(|(_, at, _)| *at == id).map_or("somebody", |(name, ..)| name);
    output.line(format_args!(
        "every copy is complete and verified, after {:.1} s; who got what from whom:",
        took.as_secs_f64()
    ));
    let mut rows = Vec::new();
    for ((name, ..), account) in cast.iter().zip(accounts) {
        let mut by_sender = std::collections::BTreeMap::<&str, u64>::new();
        for source in account.sources.iter().filter(|source| source.down > 0) {
            *by_sender.entry(name_of(source.peer_id)).or_default() += source.down;
        }
        if by_sender.is_empty() {
            continue;
        }
        let parts: Vec<String> = by_sender
            .iter()
            .map(|(from, bytes)| format!("{from} {}", units::size(*bytes)))
            .collect();
        output.line(format_args!("  {name:<12} from {}", parts.join(", ")));
        rows.push(Received { name, from: by_sender });
    }
    output.event(&Event::Complete(Complete::Demo { verified: true }));
    output.event(&Event::Summary(Totals::Demo { seconds: took.as_secs_f64(), received: rows }));
}

/// Makes a file of random bytes: equal in every demo, so that it can be compared.
fn generate(dir: &Path, size: u64) -> Outcome<PathBuf> {
    let path = dir.join("demo.bin");
    let write = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        let mut rng = Rng::from_seed(size);
        let mut chunk = vec![0; 1 << 20];
        let mut left = size;
        while left > 0 {
            rng.fill(&mut chunk);
            let n = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
            file.write_all(chunk.get(..n).unwrap_or_default())?;
            left -= n as u64;
        }
        file.flush()
    };
    write().map_err(|error| Failure::disk(&path, &error))?;
    Ok(path)
}
