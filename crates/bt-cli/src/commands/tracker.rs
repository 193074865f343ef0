//! `bt tracker`: run a tracker until stopped.
//!
//! Decides: the default addresses.
//! Must not know: swarms.
//! Invariant: the ready line is printed after the sockets are bound.

use crate::addresses::ListenAddr;
use crate::args::TrackerArgs;
use crate::exit::{self, Exit, Failure, Outcome};
use crate::json::{Event, Ready, Summary};
use crate::output::Output;
use crate::signals::{Hangup, Stop};
use bt_tracker_server::{Config, ServeError, TrackerConfig, TrackerServer};
use std::net::SocketAddr;
use std::num::NonZero;

/// The usual port of a tracker.
const PORT: u16 = 6969;

pub(crate) async fn run(args: TrackerArgs, output: &Output) -> Outcome {
    let all = |listen: Vec<ListenAddr>| listen.into_iter().flat_map(ListenAddr::all).collect();
    let (udp, http) = match (args.udp.is_empty(), args.http.is_empty()) {
        (true, true) => (ListenAddr::Port(PORT).all(), ListenAddr::Port(PORT).all()),
        _ => (all(args.udp), all(args.http)),
    };
    let tracker = TrackerConfig {
        interval: args.interval,
        memory: usize::try_from(args.memory).unwrap_or(usize::MAX),
        ..TrackerConfig::default()
    };
    let workers = args.workers.and_then(|workers| NonZero::new(workers.into()));
    tokio::task::LocalSet::new()
        .run_until(async {
            let stop = Stop::listen(Hangup::GoesOn).map_err(anyhow::Error::from)?;
            let server = TrackerServer::start(Config { http, udp, workers, tracker }).await;
            let server = server.map_err(|error| match &error {
                ServeError::Listen { source, .. } => {
                    let advice = exit::listen_advice(source);
                    Failure::new(
                        Exit::Other,
                        "cannot_listen",
                        format!("{error}; {advice} with --udp or --http"),
                    )
                }
                ServeError::Random(_) | ServeError::Thread(_) => {
                    Failure::new(Exit::Other, "cannot_start", error)
                }
            })?;
            let announce = |scheme: &str, addr: &SocketAddr| format!("{scheme}://{addr}/announce");
            let udp = server.udp_addrs().iter().map(|addr| announce("udp", addr));
            let urls: Vec<String> =
                udp.chain(server.http_addrs().iter().map(|addr| announce("http", addr))).collect();
            output.event(&Event::Ready(Ready::Tracker { listen: &urls }));
            output.line(format_args!("ready: {}", urls.join(" ")));
            stop.asked().await;
            let stats = server.stats();
            server.stop().await;
            output.event(&Event::Stopped { reason: None });
            output.event(&Event::Summary(Summary::Tracker {
                torrents: stats.torrents,
                peers: stats.peers,
                announces: stats.announces,
                scrapes: stats.scrapes,
            }));
            Ok(())
        })
        .await
}
