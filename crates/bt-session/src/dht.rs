//! A node of the DHT with sockets: the shell around `bt-dht`, to be embedded (BEP 5).
//!
//! Decides: how a node is asked. Must not know: torrents, which are private; that gate is the caller's.
//! Invariant: one thread owns the node; no datagram goes to an address that `may_name` does not allow whoever named it.
//!
//! ```no_run
//! use bt_session::dht::{Dht, DhtConfig};
//! use bt_types::InfoHash;
//!
//! # async fn example(hash: InfoHash) -> Result<(), Box<dyn std::error::Error>> {
//! let dht = Dht::start(&[], DhtConfig { bootstrap: vec!["router.example:6881".into()], ..DhtConfig::default() })?;
//! let mut peers = dht.handle().get_peers(hash, Some(6881)).await;
//! while let Some((_, found)) = peers.next().await {
//!     println!("{found:?}");
//! }
//! let nodes = dht.stop().await; // for `DhtConfig::saved` of the next run
//! # Ok(())
//! # }
//! ```

mod driver;

use crate::clock::Clock;
use crate::session::{StartError, os_rng, spawn};
use crate::udp;
use bt_net::{Egress, EgressConfig};
use bt_types::InfoHash;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

pub use bt_dht::{
    Announce, Ask, AskKey, Bloom, Contact, Event, Family, Id, Item, ItemFault, KrpcError, Mutable, Report, SALT_MAX, Samples,
    Scrape, VALUE_MAX, Value, mutable_target, public_key,
};
pub(crate) use driver::Driver;
use driver::ToDht;

/// Nodes that answer everybody who begins, run by authors of clients: for those who know nobody else.
pub const PUBLIC_ROUTERS: [&str; 4] =
    ["router.bittorrent.com:6881", "dht.transmissionbt.com:6881", "dht.libtorrent.org:25401", "router.utorrent.com:6881"];

/// News of one question that nobody has read yet; a reader that is too slow misses the newest.
const NEWS_MAX: usize = 256;

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct DhtConfig {
    /// `HOST:PORT` of nodes to begin at, as the user named them.
    pub bootstrap: Vec<String>,
    /// Nodes of an earlier run.
    pub saved: Vec<Contact>,
    /// Ask only, and be in no table (BEP 43).
    pub read_only: bool,
    /// Bytes per second of all answers to others.
    pub reply_bytes_per_sec: u64,
}

impl Default for DhtConfig {
    fn default() -> DhtConfig {
        let bt_dht::Config { read_only, reply_bytes_per_sec, .. } = bt_dht::Config::default();
        DhtConfig { bootstrap: Vec::new(), saved: Vec::new(), read_only, reply_bytes_per_sec }
    }
}

/// A running node. Dropping it ends the node.
#[derive(Debug)]
pub struct Dht {
    handle: DhtHandle,
    listen: Vec<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

/// The way to a running node. Clones reach the same node.
#[derive(Clone, Debug)]
pub struct DhtHandle {
    to: mpsc::Sender<ToDht>,
    status: watch::Receiver<DhtStatus>,
}

/// How a node is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DhtStatus {
    /// Whether we know our neighbours.
    pub joined: bool,
    /// Nodes in our tables.
    pub nodes: usize,
    /// Torrents that others announced here.
    pub torrents: usize,
    /// Datagrams that came, and that were sent.
    pub received: u64,
    /// See `received`.
    pub sent: u64,
}

impl Dht {
    /// Opens sockets at these addresses, at most one of each family (none: any port of both), and starts the thread. Needs no async
    /// runtime of the caller.
    pub fn start(listen: &[SocketAddr], config: DhtConfig) -> Result<Dht, StartError> {
        let sockets = udp::bind_all(listen)?;
        let listen = sockets.iter().map(std::net::UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
        let egress = Egress::new(EgressConfig::default())?;
        let (driver, handle) = Driver::new(Clock::start(), os_rng()?, egress, sockets, config)?;
        let thread = spawn("bt-dht", move || driver.run())?;
        Ok(Dht { handle, listen, thread: Some(thread) })
    }

    /// The way to it.
    pub fn handle(&self) -> DhtHandle {
        self.handle.clone()
    }

    /// Where it listens.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Ends it, and returns the nodes that it knew, for [`DhtConfig::saved`].
    pub async fn stop(mut self) -> Vec<Contact> {
        let nodes = self.handle.stop().await;
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        nodes
    }
}

impl DhtHandle {
    /// Searches for the peers of a torrent, which is not private; with a port, we become one of them. To stay one, ask again
    /// every 15 minutes.
    pub async fn get_peers(&self, hash: InfoHash, announce_port: Option<u16>) -> DhtPeers {
        let announce = announce_port.map(|port| Announce { port: Some(port), seed: false });
        DhtPeers(self.ask(Ask::GetPeers { info_hash: hash, announce, scrape: false }).await)
    }

    /// Asks anything.
    pub async fn ask(&self, ask: Ask) -> Answers {
        let (news, events) = mpsc::channel(NEWS_MAX);
        let (done, report) = oneshot::channel();
        let _ = self.to.send(ToDht::Ask(ask, news, done)).await;
        Answers { events, report }
    }

    /// A peer said that its node is at this address (the PORT message of BEP 5). Dropped when the node is busy.
    pub fn add_port(&self, addr: SocketAddr) {
        let _ = self.to.try_send(ToDht::Port(addr));
    }

    /// A host, and the port of its node, to begin at: `HOST:PORT`. Dropped when the node is busy.
    pub fn add_router(&self, router: String) {
        let _ = self.to.try_send(ToDht::Router(router));
    }

    /// Every node that it knows, for [`DhtConfig::saved`].
    pub async fn contacts(&self) -> Vec<Contact> {
        self.contacts_by(ToDht::Contacts).await
    }

    /// Ends the node, and returns the nodes that it knew.
    pub(crate) async fn stop(&self) -> Vec<Contact> {
        self.contacts_by(ToDht::Stop).await
    }

    async fn contacts_by(&self, order: impl FnOnce(oneshot::Sender<Vec<Contact>>) -> ToDht) -> Vec<Contact> {
        let (reply, contacts) = oneshot::channel();
        let _ = self.to.send(order(reply)).await;
        contacts.await.unwrap_or_default()
    }

    /// Waits until a node has answered us; false when that takes longer than `limit`.
    pub(crate) async fn knows_somebody(&self, limit: Duration) -> bool {
        self.wait(limit, |status| status.nodes > 0).await
    }

    /// Waits until we know our neighbours; false when that takes longer than `limit`.
    pub async fn joined(&self, limit: Duration) -> bool {
        self.wait(limit, |status| status.joined).await
    }

    async fn wait(&self, limit: Duration, enough: impl FnMut(&DhtStatus) -> bool) -> bool {
        let mut status = self.status.clone();
        tokio::time::timeout(limit, status.wait_for(enough)).await.is_ok_and(|found| found.is_ok())
    }

    /// How it is doing.
    pub fn status(&self) -> DhtStatus {
        *self.status.borrow()
    }
}

/// What comes of one question. Dropping it ends the search.
#[derive(Debug)]
pub struct Answers {
    events: mpsc::Receiver<Event>,
    report: oneshot::Receiver<Report>,
}

impl Answers {
    /// The next news; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Waits for the end, and returns how it went.
    pub async fn report(self) -> Report {
        self.report.await.unwrap_or_default()
    }
}

/// A stream of peers. Dropping it ends the search.
#[derive(Debug)]
pub struct DhtPeers(Answers);

impl DhtPeers {
    /// Further peers, each told once, and the host that told them; `None` at the end.
    pub async fn next(&mut self) -> Option<(IpAddr, Vec<SocketAddr>)> {
        loop {
            if let Event::Peers { from, peers, .. } = self.0.next().await? {
                return Some((from, peers));
            }
        }
    }

    /// Waits for the end, and returns how it went.
    pub async fn report(self) -> Report {
        self.0.report().await
    }
}

/// 32 secret bytes of the system, for [`Mutable::sign`].
pub fn new_secret() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    os_rng()?.fill(&mut secret);
    Ok(secret)
}
