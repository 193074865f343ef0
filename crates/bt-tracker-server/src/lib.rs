//! The UDP and HTTP fronts around `bt-tracker`: sockets, deadlines and caps.
//!
//! Decides: how many connections are held, and for how long.
//! Must not know: what an announce means.
//! Invariant: every socket feeds the same shards. Whatever a client sends, it is answered or closed
//! within a known time.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use bt_tracker_server::{Config, TrackerServer};
//! let http = vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
//! let udp = vec!["127.0.0.1:0".parse().unwrap()];
//! let server = TrackerServer::start(Config { http, udp, ..Config::default() }).await.unwrap();
//! println!("announce at http://{}/announce", server.http_addrs()[0]);
//! assert_eq!(server.stats().peers, 0);
//! server.stop().await;
//! # });
//! ```
#![forbid(unsafe_code)]

mod batch;
mod gzip;
mod http;
mod places;
mod shards;
mod socket;
mod udp;

pub use bt_tracker::{Config as TrackerConfig, Stats};

use shards::Shards;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinSet;
use udp::Workers;

/// How often silent peers are looked for when no request comes.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// Where to listen and how to track.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Addresses for HTTP; port 0 takes a free one. IPv6 sockets are for IPv6 only, so `0.0.0.0`
    /// and `[::]` can both be given.
    pub http: Vec<SocketAddr>,
    /// Addresses for UDP, in the same way. The system picks the address that a reply leaves from.
    /// So a host with several addresses should name each one instead of `0.0.0.0`. Clients drop a
    /// reply from an address that they did not ask.
    pub udp: Vec<SocketAddr>,
    /// Threads that answer UDP; each owns a part of the info-hashes. `None` takes as many as there
    /// are processors.
    pub workers: Option<NonZero<usize>>,
    /// Intervals and limits of the table.
    pub tracker: TrackerConfig,
}

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {protocol} {addr}: {source}")]
    Listen {
        /// `HTTP` or `UDP`.
        protocol: &'static str,
        /// The address as it was configured.
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The threads for UDP cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The operating system gave no random bytes.
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
}

/// A running tracker. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct TrackerServer {
    shards: Shards,
    http_addrs: Vec<SocketAddr>,
    udp_addrs: Vec<SocketAddr>,
    tasks: JoinSet<()>,
    workers: Workers,
}

impl TrackerServer {
    /// Binds every address and starts to serve, in tasks of the current tokio runtime. When one
    /// address fails, none is kept.
    pub async fn start(config: Config) -> Result<TrackerServer, ServeError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(ServeError::Random)?;
        let workers = config.workers.or_else(|| std::thread::available_parallelism().ok());
        let workers = workers.filter(|_| !config.udp.is_empty()).map_or(1, NonZero::get);
        let shards = Shards::new(&config.tracker, secret, workers);
        let places = places::Places::new();
        let (mut http_addrs, mut udp_addrs, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
        for addr in config.http {
            let fail = |source| ServeError::Listen { protocol: "HTTP", addr, source };
            let listener = socket::listen(addr).map_err(fail)?;
            http_addrs.push(listener.local_addr().map_err(fail)?);
            tasks.spawn(http::serve(listener, shards.clone(), places.clone()));
        }
        let mut sockets: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for addr in config.udp {
            let fail = |source| ServeError::Listen { protocol: "UDP", addr, source };
            let group = socket::udp(addr, workers).map_err(fail)?;
            let first = group.first().map(std::net::UdpSocket::local_addr);
            udp_addrs.push(first.unwrap_or(Ok(addr)).map_err(fail)?);
            sockets.iter_mut().zip(group).for_each(|(of, socket)| of.push(socket));
        }
        let workers = match udp_addrs.is_empty() {
            true => Workers::default(),
            false => Workers::start(sockets, &shards).map_err(ServeError::Thread)?,
        };
        tasks.spawn(tend(shards.clone()));
        Ok(TrackerServer { shards, http_addrs, udp_addrs, tasks, workers })
    }

    /// Returns the HTTP addresses, with the real ports, in the order of the configuration.
    pub fn http_addrs(&self) -> &[SocketAddr] {
        &self.http_addrs
    }

    /// Returns the UDP addresses, with the real ports, in the order of the configuration.
    pub fn udp_addrs(&self) -> &[SocketAddr] {
        &self.udp_addrs
    }

    /// Returns the tracker's counters.
    pub fn stats(&self) -> Stats {
        self.shards.stats()
    }

    /// Closes every socket and connection, and returns when they are closed.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.workers.stop();
    }
}

/// Forgets silent peers until the task is aborted.
async fn tend(shards: Shards) {
    let mut interval = tokio::time::interval(TEND_EVERY);
    loop {
        interval.tick().await;
        shards.tend();
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
