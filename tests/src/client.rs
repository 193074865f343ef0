//! A client: a program that shares a torrent, whoever wrote it.
//!
//! Decides: the one shape in which scenes see them: opened, given its torrent, asked how far it is.
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

/// How long a program may take until it takes orders.
pub(crate) const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// How often a program that tells nobody of its progress is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A program that can share a torrent.
pub trait Client: Sync {
    /// What tables call it.
    fn name(&self) -> &'static str;

    /// What it says its version is; `None` where it is not installed.
    fn version(&self) -> Option<String>;

    /// Whether it announces over this protocol, with discovery other than trackers off.
    fn announces_over(&self, _protocol: Protocol) -> bool {
        true
    }

    /// Runs it without a torrent, ready to be given one.
    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>>;

    /// Runs it with its torrent.
    fn share(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        let mut running = self.open(at)?;
        running.add()?;
        Ok(running)
    }
}

/// How clients find each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PeersFrom {
    /// Through the torrent's trackers alone.
    #[default]
    Trackers,
    /// Through the DHT alone, which begins at this node.
    Dht(SocketAddr),
    /// Through what other peers tell alone, beginning with this one.
    Pex(Option<SocketAddr>),
    /// On the local network alone.
    Lsd,
}

/// Where a client runs, and on what.
#[derive(Clone, Copy, Debug)]
pub struct ClientConfig<'a> {
    /// Its place in the network; no other client runs there.
    pub host: &'a Host,
    /// What it shares.
    pub torrent: &'a Path,
    /// The folder with the torrent's content, or where it shall be.
    pub dir: &'a Path,
    /// A folder for its settings and state.
    pub home: &'a Path,
    /// The link that it is given in place of the torrent.
    pub magnet: Option<&'a str>,
    /// How it finds others.
    pub discovery: PeersFrom,
}

impl<'a> ClientConfig<'a> {
    /// A seat of a client that is given the torrent, and finds others through its trackers.
    pub fn new(
        host: &'a Host,
        torrent: &'a Path,
        dir: &'a Path,
        home: &'a Path,
    ) -> ClientConfig<'a> {
        ClientConfig { host, torrent, dir, home, magnet: None, discovery: PeersFrom::Trackers }
    }

    /// What the client is given: the link, or the path of the torrent.
    pub(crate) fn source(&self) -> &'a OsStr {
        self.magnet.map_or(self.torrent.as_os_str(), OsStr::new)
    }
}

/// A client that runs until it is dropped.
pub trait Running: Send {
    /// Gives it its torrent: it checks what is there, downloads the rest and seeds.
    fn add(&mut self) -> Result<()>;

    /// How far it is; nothing while it does not answer yet.
    fn progress(&mut self) -> Result<ClientProgress>;

    /// The end of what it printed, for a failure message.
    fn transcript(&self) -> String;

    /// Waits until it knows what the torrent of its magnet link contains.
    fn wait_metadata(&mut self, limit: Duration) -> Result<()> {
        self.wait("metadata", limit, &mut |progress| progress.metadata)
    }

    /// What runs; `None` before it has started.
    fn process(&self) -> Option<&Process>;

    /// Waits until every piece is there and checked.
    fn wait_complete(&mut self, limit: Duration) -> Result<()> {
        self.wait("every piece", limit, &mut |progress| progress.complete)
    }

    /// Waits until its progress is as wanted.
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
                bail!("waited {limit:?} for {what}, in vain: {progress:?}\n{}", self.transcript());
            }
            std::thread::sleep(ASK_EVERY);
        }
    }
}

/// How far a client is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ClientProgress {
    /// Whether it says that it knows what the torrent of its magnet link contains.
    pub metadata: bool,
    /// Whether every piece is there and checked.
    pub complete: bool,
    /// Payload that it has.
    pub bytes_done: u64,
    /// Payload that it sent.
    pub bytes_up: u64,
}

/// Asks again and again until there is an answer, as programs do not say when their remote control
/// is ready.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + OPEN_WITHIN;
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("waited {OPEN_WITHIN:?} for {what}, in vain");
        }
        std::thread::sleep(ASK_EVERY);
    }
}
