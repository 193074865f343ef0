//! A DHT node with sockets (BEP 5): the shell around `bt-dht`, for embedding.
//!
//! Decides: how a caller asks a node.
//! Must not know: which torrents are private; the caller must keep those out.
//! Invariant: one thread owns the node. No datagram goes to an address that `may_name` forbids to
//! the source that named it.
//!
//! ```no_run
//! use bt_session::dht::{Dht, DhtConfig};
//! use bt_types::InfoHash;
//!
//! # async fn example(hash: InfoHash) -> Result<(), Box<dyn std::error::Error>> {
//! let bootstrap = vec!["router.example:6881".into()];
//! let dht = Dht::start(&[], DhtConfig { bootstrap, ..DhtConfig::default() })?;
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
    AnnounceOptions, Ask, AskKey, Bloom, Contact, Event, Family, Id, Item, ItemFault, KrpcError,
    LookupReport, Mutable, SALT_MAX, Samples, Scrape, VALUE_MAX, Value, mutable_target, public_key,
};
pub(crate) use driver::Driver;
use driver::ToDht;

/// Bootstrap nodes that the authors of clients run, for a client that knows no other node.
pub const PUBLIC_ROUTERS: [&str; 4] = [
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "dht.libtorrent.org:25401",
    "router.utorrent.com:6881",
];

/// Unread events of one question; a reader that is too slow misses the newest.
const NEWS_MAX: usize = 256;

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct DhtConfig {
    /// `HOST:PORT` of bootstrap nodes that the user gave.
    pub bootstrap: Vec<String>,
    /// Nodes of an earlier run.
    pub saved: Vec<Contact>,
    /// Only ask, and be in no routing table (BEP 43).
    pub read_only: bool,
    /// Bytes per second of all replies to other nodes' queries.
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

/// A handle of a running node. Clones reach the same node.
#[derive(Clone, Debug)]
pub struct DhtHandle {
    to: mpsc::Sender<ToDht>,
    status: watch::Receiver<DhtStatus>,
}

/// How a node is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DhtStatus {
    /// Whether the node knows its neighbours.
    pub joined: bool,
    /// Nodes in the routing tables.
    pub nodes: usize,
    /// Torrents that other peers announced to this node.
    pub torrents: usize,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
}

impl Dht {
    /// Opens sockets at these addresses and starts the thread. At most one address of each family;
    /// with none, any port of both families. The caller needs no async runtime.
    pub fn start(listen: &[SocketAddr], config: DhtConfig) -> Result<Dht, StartError> {
        let sockets = udp::bind_all(listen)?;
        let listen =
            sockets.iter().map(std::net::UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
        let egress = Egress::new(EgressConfig::default())?;
        let (driver, handle) = Driver::new(Clock::start(), os_rng()?, egress, sockets, config)?;
        let thread = spawn("bt-dht", move || driver.run())?;
        Ok(Dht { handle, listen, thread: Some(thread) })
    }

    /// Returns a handle of the node.
    pub fn handle(&self) -> DhtHandle {
        self.handle.clone()
    }

    /// Returns the addresses that the node listens on.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Ends the node, and returns its known nodes for [`DhtConfig::saved`].
    pub async fn stop(mut self) -> Vec<Contact> {
        let nodes = self.handle.stop().await;
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        nodes
    }
}

impl DhtHandle {
    /// Searches for the peers of a torrent that is not private. With a port it announces us too; to
    /// stay announced, ask again every 15 minutes.
    pub async fn get_peers(&self, hash: InfoHash, announce_port: Option<u16>) -> DhtPeers {
        let announce = announce_port.map(|port| AnnounceOptions { port: Some(port), seed: false });
        DhtPeers(self.ask(Ask::GetPeers { info_hash: hash, announce, scrape: false }).await)
    }

    /// Asks any question.
    pub async fn ask(&self, ask: Ask) -> Answers {
        let (news, events) = mpsc::channel(NEWS_MAX);
        let (done, report) = oneshot::channel();
        let _ = self.to.send(ToDht::Ask(ask, news, done)).await;
        Answers { events, report }
    }

    /// Adds the node of a peer that sent a PORT message (BEP 5). Dropped when the node is busy.
    pub fn add_port(&self, addr: SocketAddr) {
        let _ = self.to.try_send(ToDht::Port(addr));
    }

    /// Adds a bootstrap node as `HOST:PORT`. Dropped when the node is busy.
    pub fn add_router(&self, router: String) {
        let _ = self.to.try_send(ToDht::Router(router));
    }

    /// Returns every known node, for [`DhtConfig::saved`].
    pub async fn contacts(&self) -> Vec<Contact> {
        self.contacts_by(ToDht::Contacts).await
    }

    /// Ends the node, and returns its known nodes.
    pub(crate) async fn stop(&self) -> Vec<Contact> {
        self.contacts_by(ToDht::Stop).await
    }

    async fn contacts_by(
        &self,
        order: impl FnOnce(oneshot::Sender<Vec<Contact>>) -> ToDht,
    ) -> Vec<Contact> {
        let (reply, contacts) = oneshot::channel();
        let _ = self.to.send(order(reply)).await;
        contacts.await.unwrap_or_default()
    }

    /// Waits until a node has answered; false when that takes longer than `limit`.
    pub(crate) async fn knows_a_node(&self, limit: Duration) -> bool {
        self.wait(limit, |status| status.nodes > 0).await
    }

    /// Waits until the node knows its neighbours; false when that takes longer than `limit`.
    pub async fn joined(&self, limit: Duration) -> bool {
        self.wait(limit, |status| status.joined).await
    }

    async fn wait(&self, limit: Duration, enough: impl FnMut(&DhtStatus) -> bool) -> bool {
        let mut status = self.status.clone();
        tokio::time::timeout(limit, status.wait_for(enough)).await.is_ok_and(|found| found.is_ok())
    }

    /// Returns how the node is doing.
    pub fn status(&self) -> DhtStatus {
        *self.status.borrow()
    }
}

/// The events of one question. Dropping it ends the search.
#[derive(Debug)]
pub struct Answers {
    events: mpsc::Receiver<Event>,
    report: oneshot::Receiver<LookupReport>,
}

impl Answers {
    /// Waits for the next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Waits for the end, and returns how the search went.
    pub async fn report(self) -> LookupReport {
        self.report.await.unwrap_or_default()
    }
}

/// A stream of peers. Dropping it ends the search.
#[derive(Debug)]
pub struct DhtPeers(Answers);

impl DhtPeers {
    /// Waits for further peers, each returned once, and the host that named them; `None` at the
    /// end.
    pub async fn next(&mut self) -> Option<(IpAddr, Vec<SocketAddr>)> {
        loop {
            if let Event::Peers { from, peers, .. } = self.0.next().await? {
                return Some((from, peers));
            }
        }
    }

    /// Waits for the end, and returns how the search went.
    pub async fn report(self) -> LookupReport {
        self.0.report().await
    }
}

/// Makes 32 secret bytes from the system's random numbers, for [`Mutable::sign`].
pub fn new_secret() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    os_rng()?.fill(&mut secret);
    Ok(secret)
}
