//! A client: any program that shares a torrent, `bt` or a foreign one.
//!
//! Decides: the interface of every client to scenes: it is opened, given its torrent and asked for
//! its progress.
//! Must not know: any program.
//! Invariant: seeding and downloading are the same call, with the data present or absent.

mod bt;

pub use bt::{Bt, discover};

use crate::{Host, Process, Protocol};
use anyhow::{Result, bail};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// The time that a program may take until it accepts orders.
pub(crate) const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// The time between two questions to a program that does not report its progress.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A program that can share a torrent.
pub trait Client: Sync {
    /// Returns the name of the client in tables.
    fn name(&self) -> &'static str;

    /// Returns the version that the program prints; `None` where it is not installed.
    fn version(&self) -> Option<String>;

    /// Tells whether it announces over this protocol when all discovery except trackers is off.
    fn announces_over(&self, _protocol: Protocol) -> bool {
        true
    }

    /// Starts the client without a torrent and waits until it can take one.
    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>>;

    /// Starts the client with its torrent.
    fn share(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        let mut running = self.open(at)?;
        running.add()?;
        Ok(running)
    }
}

/// How clients find each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PeersFrom {
    /// Only through the torrent's trackers.
    #[default]
    Trackers,
    /// Only through the DHT, with this node as bootstrap node.
    Dht(SocketAddr),
    /// Only through peer exchange, beginning with this peer.
    Pex(Option<SocketAddr>),
    /// Only through local service discovery.
    Lsd,
}

/// Where a client runs, and on what.
#[derive(Clone, Copy, Debug)]
pub struct ClientConfig<'a> {
    /// The host of this client alone.
    pub host: &'a Host,
    /// The torrent that it shares.
    pub torrent: &'a Path,
    /// The folder that holds the torrent's content, or will hold it.
    pub dir: &'a Path,
    /// A folder for its settings and state.
    pub home: &'a Path,
    /// The magnet link that it gets in place of the torrent.
    pub magnet: Option<&'a str>,
    /// How it finds peers.
    pub discovery: PeersFrom,
}

impl<'a> ClientConfig<'a> {
    /// Returns the configuration of a client that gets the torrent and finds peers through
    /// trackers.
    pub fn new(
        host: &'a Host,
        torrent: &'a Path,
        dir: &'a Path,
        home: &'a Path,
    ) -> ClientConfig<'a> {
        ClientConfig { host, torrent, dir, home, magnet: None, discovery: PeersFrom::Trackers }
    }

    /// Returns what the client gets: the link, or the path of the torrent.
    pub(crate) fn source(&self) -> &'a OsStr {
        self.magnet.map_or(self.torrent.as_os_str(), OsStr::new)
    }
}

/// A client that runs until it is dropped.
pub trait Running: Send {
    /// Adds the torrent: the client checks its data, downloads the rest and seeds.
    fn add(&mut self) -> Result<()>;

    /// Returns the client's progress, which is the default until the client answers.
    fn progress(&mut self) -> Result<ClientProgress>;

    /// Returns the end of the client's output, for a failure message.
    fn transcript(&self) -> String;

    /// Waits until the client has the metadata of its magnet link.
    fn wait_metadata(&mut self, limit: Duration) -> Result<()> {
        self.wait("metadata", limit, &mut |progress| progress.metadata)
    }

    /// Returns the client's process; `None` before it has started.
    fn process(&self) -> Option<&Process>;

    /// Waits until the client has every piece, checked.
    fn wait_complete(&mut self, limit: Duration) -> Result<()> {
        self.wait("every piece", limit, &mut |progress| progress.complete)
    }

    /// Waits until `wanted` accepts the client's progress.
    fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: &mut dyn FnMut(&ClientProgress) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let progress = self.progress()?;
            if wanted(&progress) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "waited {limit:?} for {what}: it did not come: {progress:?}\n{}",
                    self.transcript()
                );
            }
            std::thread::sleep(ASK_EVERY);
        }
    }
}

/// The progress of a client.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ClientProgress {
    /// Whether it reports that it has the metadata of its magnet link.
    pub metadata: bool,
    /// Whether it has every piece, checked.
    pub complete: bool,
    /// The payload that it has, in bytes.
    pub bytes_done: u64,
    /// The payload that it sent, in bytes.
    pub bytes_up: u64,
}

/// Asks again and again until an answer comes: programs do not report when their remote control is
/// ready.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + OPEN_WITHIN;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {OPEN_WITHIN:?} for {what}: it did not come");
        }
        std::thread::sleep(ASK_EVERY);
    }
}
