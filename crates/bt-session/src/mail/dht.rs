//! What other threads ask a DHT node, and its answers.
//!
//! Decides: how a caller asks a node.
//! Must not know: sockets; which torrents are private: the caller must keep those out.
//! Invariant: a question ends when its reader is dropped, or the node is gone.

use bt_dht::{AnnounceOptions, Ask, Event, LookupReport};
use bt_model::DhtStatus;
use bt_types::InfoHash;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use bt_dht::{Contact, ContactsError, read_contacts, write_contacts};

/// Unread events of one question; a reader that is too slow misses the newest.
const NEWS_MAX: usize = 256;

/// A message to a node's task.
#[derive(Debug)]
pub(crate) enum ToDht {
    Ask(Ask, mpsc::Sender<Event>, oneshot::Sender<LookupReport>),
    Port(SocketAddr),
    Router(String),
    Contacts(oneshot::Sender<Vec<Contact>>),
    Stop(oneshot::Sender<Vec<Contact>>),
}

/// A handle of a running node. Clones reach the same node.
#[derive(Clone, Debug)]
pub struct DhtHandle {
    to: mpsc::Sender<ToDht>,
    status: watch::Receiver<DhtStatus>,
}

impl DhtHandle {
    /// Makes the handle of a node that takes its messages from `to` and tells `status`.
    pub(crate) fn new(to: mpsc::Sender<ToDht>, status: watch::Receiver<DhtStatus>) -> DhtHandle {
        DhtHandle { to, status }
    }

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

    /// Returns every known node, for `DhtConfig::saved`.
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

    /// Returns how the node is doing, for code that is built without nodes too.
    pub(crate) fn status_now(&self) -> Option<DhtStatus> {
        Some(self.status())
    }

    /// Returns how the node is doing.
    pub fn status(&self) -> DhtStatus {
        *self.status.borrow()
    }
}

/// The events of one question. Dropping it ends the search.
#[derive(Debug)]
#[must_use = "dropping it ends the search"]
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
#[must_use = "dropping it ends the search"]
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
