//! A node of the DHT with sockets: the shell around `bt-dht`, to be embedded (BEP 5).
//!
//! Decides: which sockets there are, and who waits for which answer. Must not know: torrents, which are private; that gate is the
//! caller's.
//! Invariant: one thread owns the node; no datagram goes to an address that `may_name` does not allow whoever named it.
//!
//! ```no_run
//! use bt_session::dht::{Dht, DhtConfig};
//! use bt_types::InfoHash;
//!
//! # async fn example(hash: InfoHash) -> Result<(), Box<dyn std::error::Error>> {
//! let dht = Dht::start(DhtConfig { bootstrap: vec!["router.example:6881".into()], ..DhtConfig::default() })?;
//! let mut peers = dht.handle().get_peers(hash, Some(6881)).await;
//! while let Some(found) = peers.next().await {
//!     println!("{found:?}");
//! }
//! let nodes = dht.stop().await; // for `DhtConfig::saved` of the next run
//! # Ok(())
//! # }
//! ```

use crate::clock::Clock;
use crate::session::{os_rng, spawn};
use bt_net::{Egress, EgressConfig, NetError};
use bt_types::{Closeness, InfoHash, Source, closeness, may_name};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

pub use bt_dht::{
    Announce, Ask, AskKey, Bloom, Contact, Event, Family, Id, Item, ItemFault, KrpcError, Mutable, Report, SALT_MAX, Samples,
    Scrape, VALUE_MAX, Value, mutable_target, public_key,
};
use bt_dht::{Config, DATAGRAM_MAX, Input, Node, Output};

/// Questions that wait for the thread of the node.
const INBOX_MAX: usize = 256;
/// News of one question that nobody has read yet; a reader that is too slow misses the newest.
const NEWS_MAX: usize = 256;
/// Addresses of routers that wait for the thread of the node.
const ROUTERS_MAX: usize = 32;
/// Datagrams that are read of one socket before anything else has its turn.
const BATCH: usize = 64;
/// How long resolving a router may take, and when it is tried again if it failed.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);
/// Rest after a socket failed, so that the loop does not spin.
const SOCKET_REST: Duration = Duration::from_millis(200);

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct DhtConfig {
    /// UDP addresses, at most one of each family; none: any port of both.
    pub listen: Vec<SocketAddr>,
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
        let Config { read_only, reply_bytes_per_sec, .. } = Config::default();
        DhtConfig { listen: Vec::new(), bootstrap: Vec::new(), saved: Vec::new(), read_only, reply_bytes_per_sec }
    }
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum DhtError {
    /// A socket.
    #[error("cannot listen at {addr} (UDP): {source}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread, or randomness, was refused.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The way out.
    #[error(transparent)]
    Net(#[from] NetError),
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

#[derive(Debug)]
enum ToDht {
    Ask(Ask, mpsc::Sender<Event>, oneshot::Sender<Report>),
    Port(SocketAddr),
    Stop(oneshot::Sender<Vec<Contact>>),
}

impl Dht {
    /// Opens the sockets and starts the thread. Needs no async runtime of the caller.
    pub fn start(config: DhtConfig) -> Result<Dht, DhtError> {
        let sockets = bind_all(&config.listen)?;
        let listen = sockets.iter().map(std::net::UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
        let rng = os_rng()?;
        let egress = Egress::new(EgressConfig::default())?;
        let (to, from) = mpsc::channel(INBOX_MAX);
        let (tell, status) = watch::channel(DhtStatus::default());
        let clock = Clock::start();
        let node_config = Config {
            v4: listen.iter().any(SocketAddr::is_ipv4),
            v6: listen.iter().any(SocketAddr::is_ipv6),
            read_only: config.read_only,
            reply_bytes_per_sec: config.reply_bytes_per_sec,
        };
        let mut node = Node::new(clock.now(), node_config, rng);
        for addr in listen.iter().filter(|addr| closeness(addr.ip()) == Some(Closeness::Public)) {
            node.handle(clock.now(), Input::External(addr.ip()));
        }
        node.handle(clock.now(), Input::Saved(config.saved));
        let driver = Driver { clock, node, asked: BTreeMap::new(), next_ask: 0, sockets: Vec::new(), tell };
        let thread = spawn("bt-dht", move || driver.run(sockets, from, egress, config.bootstrap))?;
        Ok(Dht { handle: DhtHandle { to, status }, listen, thread: Some(thread) })
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
        let (done, nodes) = oneshot::channel();
        let _ = self.handle.to.send(ToDht::Stop(done)).await;
        let nodes = nodes.await.unwrap_or_default();
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

    /// Waits until we know our neighbours; false when that takes longer than `limit`.
    pub async fn joined(&self, limit: Duration) -> bool {
        let mut status = self.status.clone();
        let joined = status.wait_for(|status| status.joined);
        tokio::time::timeout(limit, joined).await.is_ok_and(|joined| joined.is_ok())
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
    /// Further peers, each told once; `None` at the end.
    pub async fn next(&mut self) -> Option<Vec<SocketAddr>> {
        loop {
            if let Event::Peers { peers, .. } = self.0.next().await? {
                return Some(peers);
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

struct Driver {
    clock: Clock,
    node: Node,
    /// Who waits for which question.
    asked: BTreeMap<AskKey, (mpsc::Sender<Event>, oneshot::Sender<Report>)>,
    next_ask: u64,
    sockets: Vec<UdpSocket>,
    tell: watch::Sender<DhtStatus>,
}

impl Driver {
    async fn run(
        mut self,
        sockets: Vec<std::net::UdpSocket>,
        mut from: mpsc::Receiver<ToDht>,
        egress: Egress,
        routers: Vec<String>,
    ) {
        for socket in sockets {
            match UdpSocket::from_std(socket) {
                // Only what the runtime has seen writable once can be written to without waiting.
                Ok(socket) => match socket.writable().await {
                    Ok(()) => self.sockets.push(socket),
                    Err(error) => tracing::error!(%error, "cannot use a UDP socket"),
                },
                Err(error) => tracing::error!(%error, "cannot use a UDP socket"),
            }
        }
        let (found, mut resolved) = mpsc::channel(ROUTERS_MAX);
        for router in routers {
            tokio::task::spawn_local(resolve(egress.clone(), router, found.clone()));
        }
        drop(found);
        let mut buffer = vec![0; DATAGRAM_MAX + 1];
        loop {
            self.carry_out();
            let deadline = self.node.deadline().map_or_else(Instant::now, |at| self.clock.instant(at).into());
            tokio::select! {
                message = from.recv() => match message {
                    Some(ToDht::Ask(ask, news, done)) => self.ask(ask, news, done),
                    Some(ToDht::Port(addr)) => self.node.handle(self.clock.now(), Input::Port(addr)),
                    Some(ToDht::Stop(done)) => return drop(done.send(self.node.contacts())),
                    None => return,
                },
                Some(router) = resolved.recv() => self.node.handle(self.clock.now(), Input::Router(router)),
                readable = any_readable(&self.sockets) => match readable {
                    Ok(index) => self.receive(index, &mut buffer),
                    Err(error) => {
                        tracing::warn!(%error, "cannot receive");
                        sleep(SOCKET_REST).await;
                    }
                },
                () = sleep_until(deadline) => self.node.wake(self.clock.now()),
            }
        }
    }

    fn ask(&mut self, ask: Ask, news: mpsc::Sender<Event>, done: oneshot::Sender<Report>) {
        let key = AskKey(self.next_ask);
        self.next_ask += 1;
        self.asked.insert(key, (news, done));
        self.node.handle(self.clock.now(), Input::Ask(key, ask));
    }

    fn receive(&mut self, index: usize, buffer: &mut [u8]) {
        let now = self.clock.now();
        for _ in 0..BATCH {
            let Some(received) = self.sockets.get(index).map(|socket| socket.try_recv_from(buffer)) else { return };
            // An error of a datagram that was sent before may be told here; the next call goes on.
            let Ok((len, from)) = received else { return };
            self.tell.send_modify(|status| status.received += 1);
            self.node.handle(now, Input::Datagram { from, bytes: buffer.get(..len).unwrap_or_default() });
        }
    }

    /// Sends what is to be sent, and tells what is to be told.
    fn carry_out(&mut self) {
        let mut sent = 0;
        while let Some(output) = self.node.poll() {
            match output {
                Output::Send { to, named_by, bytes } => sent += u64::from(self.send(to, named_by, &bytes)),
                Output::Event(event) => self.news(event),
            }
        }
        let (nodes, torrents) = (self.node.nodes(), self.node.torrents());
        self.tell.send_modify(|status| {
            (status.nodes, status.torrents) = (nodes, torrents);
            status.sent += sent;
        });
        let gone: Vec<AskKey> = self.asked.iter().filter(|(_, (news, _))| news.is_closed()).map(|(key, _)| *key).collect();
        for key in gone {
            self.asked.remove(&key);
            self.node.handle(self.clock.now(), Input::Cancel(key));
        }
    }

    /// A datagram that cannot leave now is lost, as datagrams are.
    fn send(&self, to: SocketAddr, named_by: Source, bytes: &[u8]) -> bool {
        let ours = |socket: &&UdpSocket| socket.local_addr().is_ok_and(|own| own.is_ipv4() == to.is_ipv4());
        may_name(named_by, to)
            && self.sockets.iter().find(ours).is_some_and(|socket| match socket.try_send_to(bytes, to) {
                Ok(_) => true,
                Err(error) => {
                    tracing::debug!(%to, %error, "cannot send");
                    false
                }
            })
    }

    fn news(&mut self, event: Event) {
        match event {
            Event::Joined { family, nodes } => {
                tracing::info!(?family, nodes, "joined the DHT");
                self.tell.send_modify(|status| status.joined = true);
            }
            Event::Done { ask, report } => {
                if let Some((_, done)) = self.asked.remove(&ask) {
                    let _ = done.send(report);
                }
            }
            Event::Pong { ask, .. } | Event::Peers { ask, .. } | Event::Item { ask, .. } | Event::Samples { ask, .. } => {
                if let Some((news, _)) = self.asked.get(&ask) {
                    let _ = news.try_send(event);
                }
            }
        }
    }
}

/// The first socket that has something.
async fn any_readable(sockets: &[UdpSocket]) -> io::Result<usize> {
    let mut readable: Vec<_> = sockets.iter().map(|socket| Box::pin(socket.readable())).collect();
    std::future::poll_fn(|context| {
        for (index, socket) in readable.iter_mut().enumerate() {
            if let std::task::Poll::Ready(result) = socket.as_mut().poll(context) {
                return std::task::Poll::Ready(result.map(|()| index));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Finds the addresses of a router that the user named, however long that takes.
async fn resolve(egress: Egress, router: String, found: mpsc::Sender<SocketAddr>) {
    let Some((host, port)) = router.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) else {
        tracing::error!(router, "a router is HOST:PORT");
        return;
    };
    loop {
        match egress.resolve(host, port, Instant::now() + RESOLVE_TIMEOUT).await {
            Ok(addrs) => {
                for addr in addrs {
                    let _ = found.send(addr).await;
                }
                return;
            }
            Err(error) => tracing::warn!(router, %error, "cannot resolve"),
        }
        sleep(RESOLVE_AGAIN).await;
    }
}

/// Both families on any port, if no address is asked for; a machine without one of them has the other.
fn bind_all(asked: &[SocketAddr]) -> Result<Vec<std::net::UdpSocket>, DhtError> {
    let listen = |addr: &SocketAddr| bind(*addr).map_err(|source| DhtError::Listen { addr: *addr, source });
    if !asked.is_empty() {
        return asked.iter().map(listen).collect();
    }
    let any = [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
    let (bound, mut failed): (Vec<_>, Vec<_>) = any.iter().map(listen).partition(Result::is_ok);
    match failed.pop() {
        Some(error) if bound.is_empty() => error.map(|socket| vec![socket]),
        _ => bound.into_iter().collect(),
    }
}

fn bind(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}
