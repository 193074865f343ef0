//! The driver of a DHT node: datagrams and questions in, orders out.
//!
//! Decides: which caller waits for which answer.
//! Must not know: which thread it runs on, torrents.
//! Invariant: one task owns the node; a question is cancelled when its caller is gone.

use crate::mail::clock::Clock;
use crate::mail::dht::{DhtHandle, ToDht};
use crate::net::udp_port::{BATCH, Datagram, UdpGuest, UdpSender};
use bt_dht::{Ask, AskKey, Config, Contact, Event, Input, LookupReport, Node, Output};
use bt_model::DhtStatus;
use bt_net::Egress;
use bt_types::{Closeness, Rng, closeness};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

/// Messages that wait for the node's task.
const INBOX_MAX: usize = 256;
/// Addresses of routers that wait for the node's task.
const ROUTERS_MAX: usize = 32;
/// Time to resolve a router's name, and the wait before another try.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);
/// Names of routers that are being resolved: as many as a node keeps addresses.
const RESOLVING_MAX: usize = 32;

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
        let Config { read_only, reply_bytes_per_sec, .. } = Config::default();
        DhtConfig { bootstrap: Vec::new(), saved: Vec::new(), read_only, reply_bytes_per_sec }
    }
}

/// A node that is ready to run.
#[derive(Debug)]
pub(crate) struct Driver {
    clock: Clock,
    node: Node,
    guest: UdpGuest,
    egress: Egress,
    from: mpsc::Receiver<ToDht>,
    bootstrap: Vec<String>,
    tell: watch::Sender<DhtStatus>,
}

impl Driver {
    /// Makes a node that is a guest of a UDP port, and its handle.
    pub(crate) fn new(
        clock: Clock,
        rng: Rng,
        egress: Egress,
        guest: UdpGuest,
        config: DhtConfig,
    ) -> (Driver, DhtHandle) {
        let listen: Vec<SocketAddr> = guest.sender.local_addrs().collect();
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
        let (to, from) = mpsc::channel(INBOX_MAX);
        let (tell, status) = watch::channel(DhtStatus::default());
        let driver = Driver { clock, node, guest, egress, from, bootstrap: config.bootstrap, tell };
        (driver, DhtHandle::new(to, status))
    }

    /// Runs until stopped, or until every handle is gone.
    pub(crate) async fn run(self) {
        let Driver { clock, node, guest, egress, mut from, bootstrap, tell } = self;
        let UdpGuest { mut inbox, sender } = guest;
        let (found, mut resolved) = mpsc::channel(ROUTERS_MAX);
        let mut resolving = tokio::task::JoinSet::new();
        let mut resolve_more = |router: String| {
            while resolving.try_join_next().is_some() {}
            if resolving.len() < RESOLVING_MAX {
                resolving.spawn_local(resolve(egress.clone(), router, found.clone()));
            }
        };
        bootstrap.into_iter().for_each(&mut resolve_more);
        let mut work = Work { clock, node, asked: BTreeMap::new(), next_ask: 0, sender, tell };
        let mut datagrams = Vec::with_capacity(BATCH);
        let mut has_port = true;
        loop {
            work.carry_out();
            let deadline =
                work.node.deadline().map_or_else(Instant::now, |at| clock.instant(at).into());
            tokio::select! {
                message = from.recv() => match message {
                    Some(ToDht::Ask(ask, news, done)) => work.ask(ask, news, done),
                    Some(ToDht::Port(addr)) => work.node.handle(clock.now(), Input::Port(addr)),
                    Some(ToDht::Router(router)) => resolve_more(router),
                    Some(ToDht::Contacts(reply)) => drop(reply.send(work.node.contacts())),
                    Some(ToDht::Stop(done)) => return drop(done.send(work.node.contacts())),
                    None => return,
                },
                Some(router) = resolved.recv() => work.node.handle(clock.now(), Input::Router(router)),
                count = inbox.recv_many(&mut datagrams, BATCH), if has_port => {
                    has_port = count > 0;
                    work.receive(datagrams.drain(..));
                    // Other tasks have their turn after each batch.
                    yield_now().await;
                }
                () = sleep_until(deadline) => work.node.wake(clock.now()),
            }
        }
    }
}

struct Work {
    clock: Clock,
    node: Node,
    /// The callers that wait for answers, by question.
    asked: BTreeMap<AskKey, (mpsc::Sender<Event>, oneshot::Sender<LookupReport>)>,
    next_ask: u64,
    sender: UdpSender,
    tell: watch::Sender<DhtStatus>,
}

impl Work {
    fn ask(&mut self, ask: Ask, news: mpsc::Sender<Event>, done: oneshot::Sender<LookupReport>) {
        let key = AskKey(self.next_ask);
        self.next_ask += 1;
        self.asked.insert(key, (news, done));
        self.node.handle(self.clock.now(), Input::Ask(key, ask));
    }

    fn receive(&mut self, datagrams: impl Iterator<Item = Datagram>) {
        let now = self.clock.now();
        let mut received = 0;
        for Datagram { from, bytes } in datagrams {
            received += 1;
            self.node.handle(now, Input::Datagram { from, bytes: &bytes });
        }
        self.tell.send_modify(|status| status.received += received);
    }

    /// Sends the node's datagrams, passes its events on, and cancels questions whose callers are
    /// gone.
    fn carry_out(&mut self) {
        let mut sent = 0;
        while let Some(output) = self.node.poll() {
            match output {
                Output::Send { to, named_by, bytes } => {
                    sent += u64::from(self.sender.send(to, named_by, bytes))
                }
                Output::Event(event) => self.news(event),
            }
        }
        let (nodes, torrents) = (self.node.nodes(), self.node.torrents());
        self.tell.send_modify(|status| {
            (status.nodes, status.torrents) = (nodes, torrents);
            status.sent += sent;
        });
        let gone: Vec<AskKey> = self
            .asked
            .iter()
            .filter(|(_, (news, _))| news.is_closed())
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.asked.remove(&key);
            self.node.handle(self.clock.now(), Input::Cancel(key));
        }
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
            Event::Pong { ask, .. }
            | Event::Peers { ask, .. }
            | Event::Item { ask, .. }
            | Event::Samples { ask, .. } => {
                if let Some((news, _)) = self.asked.get(&ask) {
                    let _ = news.try_send(event);
                }
            }
        }
    }
}

/// Resolves a router's name, with unlimited tries.
async fn resolve(egress: Egress, router: String, found: mpsc::Sender<SocketAddr>) {
    let Some((host, port)) =
        router.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
    else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::udp_port::UdpPort;
    use bt_net::EgressConfig;
    use std::collections::BTreeSet;
    use std::net::UdpSocket;
    use tokio::task::{LocalSet, spawn_local};

    #[tokio::test]
    async fn a_flood_of_datagrams_leaves_others_their_turn() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let at = socket.local_addr().unwrap();
        let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..2 * BATCH {
            flood.send_to(b"d", at).unwrap();
        }
        let egress = Egress::new(EgressConfig::default()).unwrap();
        let mut port = UdpPort::new(vec![socket]).unwrap();
        let (clock, rng) = (Clock::start(), Rng::from_seed(1));
        let (driver, handle) =
            Driver::new(clock, rng, egress, port.dht_guest(), DhtConfig::default());
        let tasks = LocalSet::new();
        let seen = tasks.run_until(async {
            port.start();
            spawn_local(driver.run());
            let mut seen = BTreeSet::new();
            while seen.last() != Some(&(2 * BATCH as u64)) {
                seen.insert(handle.status().received);
                yield_now().await;
            }
            seen
        });
        let seen = tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap();
        assert!(seen.contains(&(BATCH as u64)), "{seen:?}");
    }
}
