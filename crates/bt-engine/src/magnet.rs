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
use crate::ctx::Ctx;
use crate::io::{Event, Input, MagnetSpec, Output, PeerKey, TorrentKey};
use crate::metadata_download::{MetadataDownload, Whole};
use crate::peer::NewConnection;
use crate::swarm::{Progress, Room, Swarm};
use alloc::collections::BTreeMap;
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
    pub(crate) fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input) {
        match input {
            Input::PeersFound(_, source, addrs) => self.swarm.found(ctx.now, source, &addrs),
            Input::Called { addr, .. } => self.swarm.called(ctx.now, addr),
            Input::Connected { peer, addr, outbound, handshake, .. } => {
                self.connected(ctx, NewConnection { key: peer, addr, outbound, handshake });
            }
            Input::DialFailed(_, addr) => self.swarm.dial_failed(ctx.now, addr),
            Input::Frames(peer, messages) => {
                if let Some(spare) = self.swarm.on_message(ctx.now, peer) {
                    self.hang_up(ctx, spare, CloseReason::Duplicate);
                }
                let done = messages
                    .into_iter()
                    .try_for_each(|message| self.on_message(ctx, peer, message));
                done.unwrap_or_else(|why| self.hang_up(ctx, peer, why));
            }
            Input::Closed(peer) => self.closed(ctx, peer, CloseReason::Gone),
            Input::Announced(_, tracker, result) => {
                self.swarm.announced(ctx, tracker, result);
            }
            Input::Reannounce(_) => self.swarm.hurry(ctx.now),
            Input::Set(_, settings) => self.set(ctx, &settings),
            Input::FindPeersDone(_, via, found) => self.swarm.search_ended(ctx, via, found),
            // The engine gives it no other input.
            Input::Add(..)
            | Input::AddMagnet(..)
            | Input::Remove(_)
            | Input::NetworkChanged
            | Input::Sent(..)
            | Input::Checked(..)
            | Input::OnDisk(..)
            | Input::Audited(..)
            | Input::Lost(..)
            | Input::StoreFailed(..)
            | Input::StoreRecovered(_)
            | Input::ReadFailed(..)
            | Input::Deadline(..)
            | Input::Budget(_)
            | Input::Discover { .. } => {}
        }
        self.swarm.dial(ctx);
    }

    pub(crate) fn deadline(&self, budget: &Budget) -> Option<Time> {
        self.swarm.deadline(self.is_found, budget).into_iter().chain(self.next_watch).min()
    }

    pub(crate) fn wake(&mut self, ctx: &mut Ctx<'_>) {
        self.swarm.wake(ctx, &self.progress());
        if self.next_watch.take_if(|at| *at <= ctx.now).is_some() {
            for peer in self.metadata_download.watch(ctx.now, self.swarm.is_full(ctx.budget)) {
                self.hang_up(ctx, peer, CloseReason::NoMetadata);
            }
            self.make_room(ctx);
            self.swarm.reach_further();
            // The metadata under way may be that of a private torrent.
            if !self.is_found {
                self.swarm.send_pex(ctx, |_| false);
            }
            self.ask_all_peers(ctx);
            self.next_watch = (!self.peers.is_empty()).then_some(ctx.now + WATCH);
        }
    }

    /// Makes the magnet as the user wants it. While it is paused, the metadata that came is kept.
    pub(crate) fn set(&mut self, ctx: &mut Ctx<'_>, settings: &TorrentSettings) {
        let (running, progress) = (settings.running, self.progress());
        self.swarm.links.most = settings.peers_max;
        self.swarm.set_trackers(ctx, settings.trackers.as_deref(), &progress);
        self.swarm.set_running(ctx, running, &self.progress());
        if !running {
            let peers: Vec<PeerKey> = self.peers.keys().copied().collect();
            peers.into_iter().for_each(|peer| self.hang_up(ctx, peer, CloseReason::Paused));
        }
    }

    /// Leaves the swarm.
    pub(crate) fn stop(&mut self, ctx: &mut Ctx<'_>) {
        let progress = self.progress();
        self.swarm.stop(ctx, &progress);
    }

    /// Hands the swarm to the torrent, and the peers with what they said. A private torrent
    /// closes the connections of peers that came to us, or that neither the user nor a tracker
    /// named (BEP 27).
    pub(crate) fn hand_over(
        mut self,
        ctx: &mut Ctx<'_>,
        private: bool,
    ) -> (Swarm, Vec<(NewConnection, Vec<Message>)>) {
        if private {
            for peer in self.swarm.make_private() {
                self.hang_up(ctx, peer, CloseReason::Private);
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

    fn connected(&mut self, ctx: &mut Ctx<'_>, connection: NewConnection) {
        let (key, addr, peer_id) = (connection.key, connection.addr, connection.handshake.peer_id);
        if let Err(why) = self.admit(ctx, &connection) {
            self.swarm.refused(ctx.now, &connection, why);
            ctx.out.push_back(Output::HangUp(key, why));
            return;
        }
        self.swarm.join(ctx.now, &connection);
        let opening = connection.is_fast().then_some(Message::HaveNone);
        let hello = self.swarm.hello_message(key, &self.swarm.hello(key, ctx.config));
        let port = self.swarm.port_message(key, ctx.config);
        let words: Vec<Message> = opening.into_iter().chain(hello).chain(port).collect();
        if !words.is_empty() {
            ctx.send_at_once(key, words);
        }
        self.peers
            .insert(key, MagnetPeer { connection, since: ctx.now, backlog: Backlog::default() });
        self.next_watch.get_or_insert(ctx.now + WATCH);
        ctx.event(self.swarm.key, Event::PeerJoined(addr, peer_id));
    }

    fn admit(&mut self, ctx: &mut Ctx<'_>, connection: &NewConnection) -> Result<(), CloseReason> {
        match self.swarm.admit(ctx, connection)? {
            Room::Free => {}
            Room::Of(twin) => self.hang_up(ctx, twin, CloseReason::Duplicate),
            // A peer that gives us nothing makes room for a peer that connects to us.
            Room::None => {
                let idle = self.idle(ctx.now).filter(|_| !connection.outbound);
                self.hang_up(ctx, idle.ok_or(CloseReason::Full)?, CloseReason::Full);
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
    fn make_room(&mut self, ctx: &mut Ctx<'_>) {
        let someone_waits = self.swarm.peer_list.deadline().is_some_and(|at| at <= ctx.now);
        let crowded = !self.is_found && self.swarm.is_full(ctx.budget) && someone_waits;
        let is_late = |key: &PeerKey| {
            self.peers.get(key).is_some_and(|peer| peer.since + PATIENCE <= ctx.now)
        };
        if let Some(idle) = self.idle(ctx.now).filter(is_late).filter(|_| crowded) {
            self.hang_up(ctx, idle, CloseReason::NoMetadata);
        }
    }

    fn hang_up(&mut self, ctx: &mut Ctx<'_>, peer: PeerKey, why: CloseReason) {
        if self.peers.contains_key(&peer) {
            ctx.out.push_back(Output::HangUp(peer, why));
            self.closed(ctx, peer, why);
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, peer: PeerKey, why: CloseReason) {
        let Some(MagnetPeer { connection, .. }) = self.peers.remove(&peer) else { return };
        self.swarm.leave(ctx.now, peer, why, self.is_found);
        self.metadata_download.left(peer);
        ctx.event(self.swarm.key, Event::PeerLeft(connection.addr, why));
        self.ask_all_peers(ctx);
    }

    /// Takes one message of a peer. An error ends the connection.
    fn on_message(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: PeerKey,
        message: Message,
    ) -> Result<(), CloseReason> {
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if let Message::Port(port) = message {
            self.swarm.dht_node(ctx, key, port);
            return Ok(());
        }
        if let Message::Extended { id, payload } = message {
            return self.on_extended(ctx, key, id, &payload);
        }
        let answer = peer.backlog.on_message(message, peer.connection.is_fast())?;
        answer.into_iter().for_each(|answer| ctx.send_at_once(key, vec![answer]));
        Ok(())
    }

    fn on_extended(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: PeerKey,
        id: u8,
        payload: &Bytes,
    ) -> Result<(), CloseReason> {
        match id {
            0 => {
                let Ok(hello) = ExtendedHandshake::parse(payload) else { return Ok(()) };
                self.swarm.greeted(ctx, key, &hello);
                let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
                if let Some(size) =
                    hello.metadata_size.filter(|_| self.swarm.metadata_id(key).is_some())
                {
                    self.metadata_download.offered(ctx.now, key, peer.connection.addr, size)?;
                }
                peer.backlog.on_extended_handshake(hello);
                self.ask(ctx, key);
                Ok(())
            }
            ExtensionIds::METADATA => self.on_metadata(ctx, key, payload),
            ExtensionIds::PEX => self.swarm.on_pex(ctx, key, payload),
            _ => Ok(()),
        }
    }

    // ---- metadata ----

    fn on_metadata(
        &mut self,
        ctx: &mut Ctx<'_>,
        peer: PeerKey,
        payload: &Bytes,
    ) -> Result<(), CloseReason> {
        match MetadataMessage::parse(payload).map_err(|_| CloseReason::Extended)? {
            Some(MetadataMessage::Request(part)) => {
                self.send(ctx, peer, &MetadataMessage::Reject(part))
            }
            Some(MetadataMessage::Reject(part)) => {
                self.metadata_download.rejected(ctx.now, peer, part)
            }
            Some(MetadataMessage::Data { part, total, data }) => {
                match self.metadata_download.received(ctx.now, peer, part, total, &data)? {
                    None => self.ask(ctx, peer),
                    Some(Whole::Wrong(liar)) => {
                        liar.into_iter().for_each(|liar| self.ban(ctx, liar));
                        self.ask_all_peers(ctx);
                    }
                    Some(Whole::Right(metadata)) => {
                        self.is_found = true;
                        ctx.out.push_back(Output::Metadata(self.swarm.key, metadata));
                    }
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Bans the peer that made a wrong copy alone.
    fn ban(&mut self, ctx: &mut Ctx<'_>, liar: SocketAddr) {
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
            self.hang_up(ctx, key, why);
        }
    }

    fn ask_all_peers(&mut self, ctx: &mut Ctx<'_>) {
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.ask(ctx, peer);
        }
    }

    /// Asks a peer for as many parts as it may be asked for.
    fn ask(&mut self, ctx: &mut Ctx<'_>, peer: PeerKey) {
        if self.is_found || self.swarm.metadata_id(peer).is_none() {
            return;
        }
        for part in self.metadata_download.ask(ctx.now, peer) {
            self.send(ctx, peer, &MetadataMessage::Request(part));
        }
    }

    fn send(&self, ctx: &mut Ctx<'_>, peer: PeerKey, message: &MetadataMessage) {
        let id = self.swarm.metadata_id(peer);
        if let Some(id) = id {
            let payload = message.to_bytes().into();
            ctx.send_at_once(peer, vec![Message::Extended { id, payload }]);
        }
    }
}
