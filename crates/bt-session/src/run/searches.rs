//! The searches for peers without a tracker, as the user wants them now: in the DHT and on the
//! local network.
//!
//! Decides: which searches may begin, and that all end when the user wants them no more.
//! Must not know: how a search goes; which torrents are private, as the engine orders no search for
//! these.
//! Invariant: every order is answered with `FindPeersDone`, unless its torrent has left.

use crate::mail::clock::Clock;
use crate::mail::registry::Registry;
use crate::net::lsd::{self, Lsd, ToLsd};
use crate::run::lookups::{Lookups, tell};
use bt_engine::{Discovery, Input, TorrentKey};
use bt_model::SessionSettings;
use bt_types::{InfoHash, Rng};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

/// The searches of a session.
pub(crate) struct Searches {
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) registry: Rc<RefCell<Registry>>,
    /// The addresses where peers can connect to us.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) settings: watch::Receiver<SessionSettings>,
    pub(crate) lookups: Lookups,
    /// The LSD task, while the user wants it.
    pub(crate) lsd: Option<mpsc::Sender<ToLsd>>,
}

impl Searches {
    /// Waits for other settings, or for the end of a search; the caller then calls
    /// [`Searches::follow`].
    pub(crate) async fn reap(&mut self) {
        tokio::select! {
            // Without a session there are no further settings.
            Ok(()) = self.settings.changed() => {}
            () = self.lookups.reap() => {}
        }
    }

    /// Does as the user wants now.
    pub(crate) fn follow(&mut self) {
        let SessionSettings { dht, lsd, .. } = *self.settings.borrow_and_update();
        if !dht {
            self.lookups.end_all();
        }
        if !lsd {
            self.lsd = None;
        } else if self.lsd.is_none() {
            let (to, inbox) = mpsc::channel(lsd::INBOX_MAX);
            let (listen, registry) = (self.listen.clone(), Rc::clone(&self.registry));
            spawn_local(Lsd::new(self.clock, self.rng.fork(), listen, registry).run(inbox));
            self.lsd = Some(to);
        }
    }

    /// Begins a search for peers of a torrent.
    pub(crate) async fn begin(&mut self, key: TorrentKey, hash: InfoHash, via: Discovery) {
        // An engine that was told of a change may order a search before this thread looks again.
        self.follow();
        let wants_dht = self.settings.borrow().dht;
        match (via, &self.lsd) {
            (Discovery::Dht, _) if wants_dht => self.lookups.begin(key, hash),
            (Discovery::Lsd, Some(lsd)) => {
                let _ = lsd.send(ToLsd::FindPeers(key, hash)).await;
            }
            (Discovery::Dht | Discovery::Lsd, _) => {
                let done = Input::FindPeersDone(key, via, 0);
                spawn_local(tell(Rc::clone(&self.registry), key, done));
            }
        }
    }

    /// Ends the searches of a torrent that has left.
    pub(crate) async fn leave(&mut self, key: TorrentKey) {
        self.lookups.leave(key);
        if let Some(lsd) = &self.lsd {
            let _ = lsd.send(ToLsd::Leave(key)).await;
        }
    }
}
