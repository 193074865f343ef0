//! A torrent of which only the info-hash is known: it connects to peers and gets its metadata from
//! them (BEP 9).
//!
//! Decides: the handling of peers while there are no pieces. Must not know: pieces, how metadata is
//! assembled.
//! Invariant: connections are kept, and what their peers say is kept within bounds, until the
//! torrent takes them over.

use crate::backlog::Backlog;
use crate::close_reason::CloseReason;
use crate::config::{Budget, Config};
use crate::io::{Event, Input, MagnetSpec, Output, PeerKey, TorrentKey};
use crate::metadata_download::{MetadataDownload, Whole};
use crate::peer::NewConnection;
use crate::swarm::{Progress, Room, Swarm};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bt_model::{MagnetView, TorrentSettings};
use bt_peer_wire::{ExtendedHandshake, ExtensionIds, Message, MetadataMessage};
use bt_types::{BLOCK_LEN, Rng, Time};
use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;

/// Time between two checks for silent peers and for parts to ask for again: one second.
const WATCH: Duration = Duration::from_secs(1);
/// Seconds after which a peer that gives no metadata makes room for a dial, if there is no other
/// room.
const PATIENCE: Duration = Duration::from_secs(60);
/// The progress that trackers are told while it is unknown how much is left: something is.
const PROGRESS: Progress =
    Progress { uploaded: 0, downloaded: 0, left: BLOCK_LEN as u64, is_done: false };

/// A torrent without metadata, and its peers.
#[derive(Debug)]
pub(crate) struct Magnet {
    pub(crate) swarm: Swarm,
    metadata_download: MetadataDownload,
    peers: BTreeMap<PeerKey, MagnetPeer>,
    /// The metadata was given out.
    is_found: bool,
    next_watch: Option<Time>,
    /// The deadline that the engine knows.
    pub(crate) wake_at: Option<Time>,
}

#[derive(Debug)]
struct MagnetPeer {
    connection: NewConnection,
    since: Time,
    backlog: Backlog,
}

/// The parts of the engine that a magnet may use while it acts.
pub(crate) struct Scope<'a> {
    pub(crate) config: &'a Config,
    pub(crate) budget: &'a Budget,
    /// The process has room for another connection.
    pub(crate) room: bool,
    pub(crate) out: &'a mut VecDeque<Output>,
}

impl Magnet {
    pub(crate) fn new(
        now: Time,
        key: TorrentKey,
        spec: MagnetSpec,
        config: &Config,
        rng: Rng,
    ) -> Magnet {
        let MagnetSpec { info_hash, settings, trackers } = spec;
        let mut swarm = Swarm::new(now, key, info_hash, trackers, false, config, rng);
        // No tracker knows of it yet.
        swarm.is_paused = !settings.running;
        Magnet {
            swarm,
            metadata_download: MetadataDownload::new(info_hash),
            peers: BTreeMap::new(),
            is_found: false,
            next_watch: None,
            wake_at: None,
        }
    }

    // ---- the machine ----

    /// Takes an input for it or for one of its peers.
    pub(crate) fn handle(&mut self, now: Time, input: Input, scope: &mut Scope<'_>) {
        match input {
            Input::PeersFound(_, source, addrs) => self.swarm.found(now, source, &addrs),
            Input::Called { addr, .. } => self.swarm.called(now, addr),
            Input::Connected { peer, addr, outbound, handshake, .. } => {
                self.connected(
                    now,
                    NewConnection { key: peer, addr, outbound, handshake, room: scope.room },
                    scope,
                );
            }
            Input::DialFailed(_, addr) => self.swarm.dial_failed(now, addr),
            Input::Frames(peer, messages) => {
                if let Some(spare) = self.swarm.on_message(now, peer) {
                    self.hang_up(now, spare, CloseReason::Duplicate, scope);
                }
                let done = messages
                    .into_iter()
                    .try_for_each(|message| self.on_message(now, peer, message, scope));
                done.unwrap_or_else(|why| self.hang_up(now, peer, why, scope));
            }
            Input::Closed(peer) => self.closed(now, peer, CloseReason::Gone, scope),
            Input::Announced(_, tracker, result) => {
                self.swarm.announced(now, tracker, result, scope.out);
            }
            Input::Reannounce(_) => self.swarm.hurry(now),
            Input::Set(_, settings) => self.set(now, &settings, scope),
            Input::FindPeersDone(_, via, found) => self.swarm.sought(now, via, found, scope.out),
            _ => {}
        }
        self.swarm.dial(now, scope.budget, scope.out);
    }

    pub(crate) fn deadline(&self, budget: &Budget) -> Option<Time> {
        self.swarm.deadline(self.is_found, budget).into_iter().chain(self.next_watch).min()
    }

    pub(crate) fn wake(&mut self, now: Time, scope: &mut Scope<'_>) {
        self.swarm.wake(now, &self.progress(), scope.budget, scope.out);
        if self.next_watch.take_if(|at| *at <= now).is_some() {
            for peer in self.metadata_download.watch(now, self.swarm.is_full(scope.budget)) {
                self.hang_up(now, peer, CloseReason::NoMetadata, scope);
            }
            self.make_room(now, scope);
            self.swarm.reach_further();
            // The metadata under way may be that of a private torrent.
            if !self.is_found {
                self.swarm.send_pex(now, |_| false, scope.out);
            }
            self.ask_everybody(now, scope);
            self.next_watch = (!self.peers.is_empty()).then_some(now + WATCH);
        }
    }

    /// Makes the magnet as the user wants it. While it is paused, the metadata that came is kept.
    pub(crate) fn set(&mut self, now: Time, settings: &TorrentSettings, scope: &mut Scope<'_>) {
        let (running, progress) = (settings.running, self.progress());
        self.swarm.links.most = settings.peers_max;
        self.swarm.set_trackers(now, settings.trackers.as_deref(), &progress, scope.out);
        self.swarm.set_running(now, running, &self.progress(), scope.out);
        if !running {
            let peers: Vec<PeerKey> = self.peers.keys().copied().collect();
            peers.into_iter().for_each(|peer| self.hang_up(now, peer, CloseReason::Paused, scope));
        }
    }

    /// Leaves the swarm.
    pub(crate) fn stop(&mut self, out: &mut VecDeque<Output>) {
        let progress = self.progress();
        self.swarm.stop(&progress, out);
    }

    /// Hands the swarm to the torrent, and the peers with what they said. A private torrent
    /// closes the connections of peers that came to us, or that neither the user nor a tracker
    /// named (BEP 27).
    pub(crate) fn hand_over(
        mut self,
        now: Time,
        private: bool,
        scope: &mut Scope<'_>,
    ) -> (Swarm, Vec<(NewConnection, Vec<Message>)>) {
        if private {
            for peer in self.swarm.make_private() {
                self.hang_up(now, peer, CloseReason::Private, scope);
            }
        }
        let peers = self
            .peers
            .into_values()
            .map(|MagnetPeer { connection, backlog, .. }| (connection, backlog.into_messages()));
        (self.swarm, peers.collect())
    }

    pub(crate) fn view(&self) -> MagnetView {
        let (held, fullest) = self.metadata_download.progress();
        let (received, size) = fullest.unzip();
        MagnetView { peers: self.peers.len(), size, received: received.unwrap_or(0), held }
    }

    fn progress(&self) -> Progress {
        Progress { is_done: self.is_found, ..PROGRESS }
    }

    // ---- peers ----

    fn connected(&mut self, now: Time, connection: NewConnection, scope: &mut Scope<'_>) {
        let (key, addr, peer_id) = (connection.key, connection.addr, connection.handshake.peer_id);
        if let Err(why) = self.admit(now, &connection, scope) {
            self.swarm.refused(now, &connection, why);
            scope.out.push_back(Output::HangUp(key, why));
            return;
        }
        self.swarm.join(now, &connection);
        let opening = connection.is_fast().then_some(Message::HaveNone);
        let hello = self.swarm.hello_message(key, &self.swarm.hello(key, scope.config));
        let port = self.swarm.port_message(key, scope.config);
        let words: Vec<Message> = opening.into_iter().chain(hello).chain(port).collect();
        if !words.is_empty() {
            scope.out.push_back(Output::Send(key, words));
        }
        self.peers.insert(key, MagnetPeer { connection, since: now, backlog: Backlog::default() });
        self.next_watch.get_or_insert(now + WATCH);
        scope.out.push_back(Output::Event(self.swarm.key, Event::PeerJoined(addr, peer_id)));
    }

    fn admit(
        &mut self,
        now: Time,
        connection: &NewConnection,
        scope: &mut Scope<'_>,
    ) -> Result<(), CloseReason> {
        match self.swarm.admit(now, connection, scope.config, scope.budget)? {
            Room::Free => {}
            Room::Of(twin) => self.hang_up(now, twin, CloseReason::Duplicate, scope),
            // A peer that gives us nothing makes room for a peer that connects to us.
            Room::None => {
                let idle = self.idle(now).filter(|_| !connection.outbound);
                self.hang_up(now, idle.ok_or(CloseReason::Full)?, CloseReason::Full, scope);
            }
        }
        Ok(())
    }

    /// Returns the peer without metadata for us that is connected longest.
    fn idle(&self, now: Time) -> Option<PeerKey> {
        self.peers.keys().copied().find(|peer| !self.metadata_download.is_giving(now, *peer))
    }

    /// Closes a connection that gives nothing, if all places are taken and an address waits to be
    /// dialled.
    fn make_room(&mut self, now: Time, scope: &mut Scope<'_>) {
        let someone_waits = self.swarm.peer_list.deadline().is_some_and(|at| at <= now);
        let crowded = !self.is_found && self.swarm.is_full(scope.budget) && someone_waits;
        let is_late =
            |key: &PeerKey| self.peers.get(key).is_some_and(|peer| peer.since + PATIENCE <= now);
        if let Some(idle) = self.idle(now).filter(is_late).filter(|_| crowded) {
            self.hang_up(now, idle, CloseReason::NoMetadata, scope);
        }
    }

    fn hang_up(&mut self, now: Time, peer: PeerKey, why: CloseReason, scope: &mut Scope<'_>) {
        if self.peers.contains_key(&peer) {
            scope.out.push_back(Output::HangUp(peer, why));
            self.closed(now, peer, why, scope);
        }
    }

    fn closed(&mut self, now: Time, peer: PeerKey, why: CloseReason, scope: &mut Scope<'_>) {
        let Some(MagnetPeer { connection, .. }) = self.peers.remove(&peer) else { return };
        self.swarm.leave(now, peer, why, self.is_found);
        self.metadata_download.left(peer);
        scope.out.push_back(Output::Event(self.swarm.key, Event::PeerLeft(connection.addr, why)));
        self.ask_everybody(now, scope);
    }

    /// Takes one message of a peer. An error ends the connection.
    fn on_message(
        &mut self,
        now: Time,
        key: PeerKey,
        message: Message,
        scope: &mut Scope<'_>,
    ) -> Result<(), CloseReason> {
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        match message {
            Message::Port(port) => self.swarm.dht_node(key, port, scope.config, scope.out),
            Message::Extended { id: 0, payload } => {
                let Ok(hello) = ExtendedHandshake::parse(&payload) else { return Ok(()) };
                self.swarm.greeted(now, key, &hello, scope.config);
                if let Some(size) =
                    hello.metadata_size.filter(|_| self.swarm.metadata_id(key).is_some())
                {
                    self.metadata_download.offered(now, key, peer.connection.addr, size)?;
                }
                peer.backlog.on_extended_handshake(hello);
                self.ask(now, key, scope);
            }
            Message::Extended { id: ExtensionIds::METADATA, payload } => {
                self.on_metadata(now, key, &payload, scope)?
            }
            Message::Extended { id: ExtensionIds::PEX, payload } => {
                self.swarm.on_pex(now, key, &payload, scope.config)?
            }
            message => {
                let answer = peer.backlog.on_message(message, peer.connection.is_fast())?;
                scope.out.extend(answer.map(|answer| Output::Send(key, vec![answer])));
            }
        }
        Ok(())
    }

    // ---- metadata ----

    fn on_metadata(
        &mut self,
        now: Time,
        peer: PeerKey,
        payload: &Bytes,
        scope: &mut Scope<'_>,
    ) -> Result<(), CloseReason> {
        match MetadataMessage::parse(payload).map_err(|_| CloseReason::Extended)? {
            Some(MetadataMessage::Request(part)) => {
                self.send(peer, &MetadataMessage::Reject(part), scope)
            }
            Some(MetadataMessage::Reject(part)) => self.metadata_download.rejected(now, peer, part),
            Some(MetadataMessage::Data { part, total, data }) => {
                match self.metadata_download.received(now, peer, part, total, &data)? {
                    None => self.ask(now, peer, scope),
                    Some(Whole::Wrong(liar)) => {
                        liar.into_iter().for_each(|liar| self.ban(now, liar, scope));
                        self.ask_everybody(now, scope);
                    }
                    Some(Whole::Right(metadata)) => {
                        self.is_found = true;
                        scope.out.push_back(Output::Metadata(self.swarm.key, metadata));
                    }
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Bans the peer that made a wrong copy alone.
    fn ban(&mut self, now: Time, liar: SocketAddr, scope: &mut Scope<'_>) {
        self.swarm.peer_list.ban(liar);
        let peer_list = &self.swarm.peer_list;
        let connected = self.peers.iter().filter(|(_, peer)| {
            peer.connection.addr == liar || peer_list.is_banned(peer.connection.addr)
        });
        let connected = connected.map(|(key, peer)| {
            (
                *key,
                if peer.connection.addr == liar {
                    CloseReason::BadMetadata
                } else {
                    CloseReason::Banned
                },
            )
        });
        for (key, why) in connected.collect::<Vec<_>>() {
            self.hang_up(now, key, why, scope);
        }
    }

    fn ask_everybody(&mut self, now: Time, scope: &mut Scope<'_>) {
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.ask(now, peer, scope);
        }
    }

    /// Asks a peer for as many parts as it may be asked for.
    fn ask(&mut self, now: Time, peer: PeerKey, scope: &mut Scope<'_>) {
        if self.is_found || self.swarm.metadata_id(peer).is_none() {
            return;
        }
        for part in self.metadata_download.ask(now, peer) {
            self.send(peer, &MetadataMessage::Request(part), scope);
        }
    }

    fn send(&self, peer: PeerKey, message: &MetadataMessage, scope: &mut Scope<'_>) {
        let id = self.swarm.metadata_id(peer);
        let message = id.map(|id| Message::Extended { id, payload: message.to_bytes().into() });
        scope.out.extend(message.map(|message| Output::Send(peer, vec![message])));
    }
}
