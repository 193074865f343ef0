//! One torrent: a router that owns the sub-machines and the peers, and wires them together.
//!
//! Decides: which sub-machine hears of what. Must not know: sockets, files, other torrents.
//! Invariant: the block picker, choker and swarm do not call each other; every path between them is
//! in an `impl Torrent`.

use crate::backlog::HAVES_MAX;
use crate::close_reason::CloseReason;
use crate::config::{Budget, Config};
use crate::ctx::Ctx;
use crate::deadline::earliest;
use crate::eviction;
use crate::io::{Event, Output, PeerKey, TorrentSpec, TrackerKey};
use crate::lazy_block_picker::LazyBlockPicker;
use crate::metadata_upload::MetadataUpload;
use crate::peer::{NewConnection, Peer};
use crate::pieces::Pieces;
use crate::room::RoomUse;
use crate::sources::Sources;
use crate::statistics::Statistics;
use crate::super_seeder::SuperSeeder;
use crate::swarm::{Progress, Room, Swarm};
use crate::turns::{RequestTurns, UploadTurns};
use crate::upload_slots::Unchoking;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bt_model::{PieceOrder, TorrentSettings};
use bt_peer_wire::Message;
use bt_tracker_wire::{AnnounceReply, Failure};
use bt_types::{StoreFault, Time};
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// A super-seed that sends less than this fraction of its best rate is idle.
const IDLE_PART: u64 = 4;
/// Time between two checks for silent peers: one second.
const WATCH: Duration = Duration::from_secs(1);

/// A torrent and its peers.
#[derive(Debug)]
pub(crate) struct Torrent {
    /// What the user wants of it.
    pub(crate) settings: TorrentSettings,
    /// The trackers, addresses and connections of its swarm.
    pub(crate) swarm: Swarm,
    /// The `info` dictionary, for peers that ask for it; empty if peers get none.
    pub(crate) metadata: Bytes,
    pub(crate) pieces: Pieces,
    pub(crate) peers: BTreeMap<PeerKey, Peer>,
    pub(crate) unchoking: Unchoking,
    pub(crate) blocks: LazyBlockPicker,
    /// The super-seeding state, while we are the initial seed of a swarm.
    pub(crate) super_seeder: Option<Box<SuperSeeder>>,
    pub(crate) sources: Sources,
    pub(crate) store_fault: Option<StoreFault>,
    pub(crate) stats: Statistics,
    pub(crate) upload_turns: UploadTurns,
    pub(crate) request_turns: RequestTurns,
    /// The next check for silent peers.
    pub(crate) next_watch: Option<Time>,
    pub(crate) noted: Noted,
}

/// What the engine has noted of a torrent since it acted last.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// When it must be woken.
    pub(crate) wake_at: Option<Time>,
    /// That it acted.
    pub(crate) is_changed: bool,
    /// What it takes of the store's memory and of the dials; `None` before its first act.
    pub(crate) store: Option<RoomUse>,
    pub(crate) dials: Option<RoomUse>,
}

impl Torrent {
    /// Makes a torrent whose peers come from this swarm.
    pub(crate) fn new(now: Time, spec: TorrentSpec, mut swarm: Swarm, config: &Config) -> Torrent {
        let TorrentSpec { geometry, have, settings, files, metadata, .. } = spec;
        let (order, limits) = (settings.order, settings.limits);
        swarm.links.most = settings.peers_max;
        let mut torrent = Torrent {
            settings,
            metadata,
            blocks: LazyBlockPicker::new(geometry, &have, swarm.rng.fork()),
            // In the end every peer gets a `have` for every piece: of at most this number of
            // pieces.
            super_seeder: (have.is_full() && have.len() as usize <= HAVES_MAX)
                .then(|| Box::new(SuperSeeder::new(geometry, &mut swarm.rng))),
            swarm,
            pieces: Pieces::new(geometry, files, have),
            peers: BTreeMap::new(),
            unchoking: Unchoking::new(now, config),
            sources: Sources::default(),
            store_fault: None,
            stats: Statistics::default(),
            upload_turns: UploadTurns::default(),
            request_turns: RequestTurns::default(),
            next_watch: None,
            noted: Noted::default(),
        };
        let priorities = torrent.changed_priorities();
        if !priorities.is_empty() {
            // No peer works yet on a piece that could be given up.
            let _ = torrent.blocks.block_picker().prioritise(&priorities);
        }
        if order != PieceOrder::default() {
            torrent.blocks.block_picker().set_order(order);
        }
        torrent.upload_turns.limit.set_rate(limits.up, now);
        torrent.request_turns.limit.set_rate(limits.down, now);
        torrent.count_wanted();
        torrent.swarm.announcer.set_partial(now, torrent.is_partial());
        torrent
    }

    /// Returns the spec with which a torrent like this one would be added.
    pub(crate) fn spec(&self) -> TorrentSpec {
        TorrentSpec {
            info_hash: self.swarm.info_hash,
            geometry: self.pieces.geometry,
            have: self.pieces.have.clone(),
            trackers: self.swarm.own_trackers(),
            settings: self.settings.clone(),
            files: self.pieces.files.clone(),
            metadata: self.metadata.clone(),
            private: self.swarm.private,
        }
    }

    // ---- time ----

    /// Returns when `wake` has something to do.
    pub(crate) fn deadline(&self, budget: &Budget) -> Option<Time> {
        earliest([
            self.swarm.deadline(self.is_done(), budget),
            (!self.peers.is_empty()).then_some(self.unchoking.next_round),
            self.next_watch,
            self.upload_turns.limit.deadline(),
            self.request_turns.limit.deadline(),
        ])
    }

    pub(crate) fn wake(&mut self, ctx: &mut Ctx<'_>) {
        self.swarm.wake(ctx, &self.progress());
        self.request_turns.joining.extend(self.request_turns.limit.unpark(ctx.now));
        self.upload_turns.joining.extend(self.upload_turns.limit.unpark(ctx.now));
        if !self.peers.is_empty() && ctx.now >= self.unchoking.next_round {
            self.choke_round(ctx);
        }
        if self.next_watch.is_some_and(|at| at <= ctx.now) {
            self.watch(ctx);
        }
    }

    /// Releases what only connected peers need, after something happened while no peer is
    /// connected.
    pub(crate) fn free_tables(&mut self) {
        self.swarm.rng.rest();
        if self.is_complete() {
            self.blocks.free_tables();
        }
    }

    /// Returns the progress that trackers are told.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            uploaded: self.stats.up.total(),
            downloaded: self.stats.downloaded,
            left: if self.is_partial() {
                self.pieces.geometry.total() - self.pieces.bytes_done
            } else {
                self.pieces.bytes_missing
            },
            is_done: self.is_done(),
        }
    }

    /// Takes new settings; returns those before.
    pub(crate) fn take_settings(&mut self, settings: TorrentSettings) -> TorrentSettings {
        self.swarm.links.most = settings.peers_max;
        core::mem::replace(&mut self.settings, settings)
    }

    /// Makes the torrent as its new settings say. A torrent that pauses keeps its open pieces,
    /// while no other torrent lacks their room.
    pub(crate) fn settings_changed(&mut self, ctx: &mut Ctx<'_>, before: &TorrentSettings) {
        let TorrentSettings { limits, order, .. } = self.settings;
        self.upload_turns.limit.set_rate(limits.up, ctx.now);
        self.request_turns.limit.set_rate(limits.down, ctx.now);
        if order != before.order {
            self.blocks.block_picker().set_order(order);
        }
        if self.settings.files != before.files {
            self.set_files(ctx);
        }
        self.set_trackers(ctx);
        self.run_or_pause(ctx);
        self.keep_to_peers_max(ctx);
        self.swarm.dial(ctx);
        self.fill_all_pipelines(ctx);
    }

    /// Announces to the trackers that the settings name.
    pub(crate) fn set_trackers(&mut self, ctx: &mut Ctx<'_>) {
        let progress = self.progress();
        self.swarm.set_trackers(ctx, self.settings.trackers.as_deref(), &progress);
    }

    /// Pauses, or goes on, as the settings say.
    pub(crate) fn run_or_pause(&mut self, ctx: &mut Ctx<'_>) {
        self.swarm.set_running(ctx, self.settings.running, &self.progress());
        if !self.settings.running {
            let peers: Vec<PeerKey> = self.peers.keys().copied().collect();
            peers.into_iter().for_each(|peer| self.hang_up(ctx, peer, CloseReason::Paused));
        }
    }

    /// Disconnects peers beyond the most that the user wants: first those with which the fewest
    /// bytes were exchanged.
    pub(crate) fn keep_to_peers_max(&mut self, ctx: &mut Ctx<'_>) {
        let excess = self.peers.len().saturating_sub(self.swarm.peers_max(ctx.budget));
        if excess == 0 {
            return;
        }
        let exchanged =
            |peer: &Peer| peer.uploads.meter.total() + peer.requests.pipeline.received();
        let mut peers: Vec<(u64, PeerKey)> =
            self.peers.values().map(|peer| (exchanged(peer), peer.key)).collect();
        peers.sort_unstable();
        for (_, peer) in peers.into_iter().take(excess) {
            self.hang_up(ctx, peer, CloseReason::Full);
        }
    }

    /// Takes the peers that join the uplink's queue.
    pub(crate) fn take_uplink_joiners(&mut self) -> Vec<PeerKey> {
        core::mem::take(&mut self.upload_turns.joining)
    }

    /// Takes a tracker's answer or failure.
    pub(crate) fn announced(
        &mut self,
        ctx: &mut Ctx<'_>,
        tracker: TrackerKey,
        result: Result<(IpAddr, AnnounceReply), Failure>,
    ) {
        if self.swarm.announced(ctx, tracker, result).is_some_and(|seeders| seeders > 1) {
            self.end_super_seeding(ctx);
        }
    }

    pub(crate) fn stop(&mut self, ctx: &mut Ctx<'_>) {
        let progress = self.progress();
        self.swarm.stop(ctx, &progress);
        self.peers.values().for_each(|peer| ctx.outboxes.close(peer.outbox));
    }

    // ---- peers come and go ----

    pub(crate) fn connected(&mut self, ctx: &mut Ctx<'_>, connection: NewConnection) {
        let (key, addr, peer_id) = (connection.key, connection.addr, connection.handshake.peer_id);
        if let Err(why) = self.admit(ctx, &connection) {
            self.swarm.refused(ctx.now, &connection, why);
            ctx.out.push_back(Output::HangUp(key, why));
            return;
        }
        self.swarm.join(ctx.now, &connection);
        let opening = self.opening(connection.is_fast());
        let hello = self.swarm.hello_message(key, &self.hello(key, ctx.config));
        let port = self.swarm.port_message(key, ctx.config);
        self.welcome(ctx, &connection, opening.into_iter().chain(hello).chain(port));
        ctx.event(self.swarm.key, Event::PeerJoined(addr, peer_id));
    }

    /// Takes over a peer that connected while the metadata was missing. It was told that we have
    /// nothing: it now gets the metadata size, and a `have` for each of our pieces, up to
    /// [`HAVES_MAX`].
    pub(crate) fn adopt(&mut self, ctx: &mut Ctx<'_>, connection: &NewConnection) {
        let shown =
            self.pieces.have.iter(&self.pieces.geometry).filter(|_| self.super_seeder.is_none());
        let haves: Vec<Message> =
            shown.take(HAVES_MAX).map(|piece| Message::Have(piece.number())).collect();
        let mut hello = self.hello(connection.key, ctx.config);
        // Extensions that are switched off are named too: they may have been on.
        hello.ids.pex = hello.ids.pex.or(Some(0));
        let hello = self.swarm.hello_message(connection.key, &hello);
        self.welcome(ctx, connection, haves.into_iter().chain(hello));
    }

    /// Adds a connection that stays: its peer is sent these messages first.
    fn welcome(
        &mut self,
        ctx: &mut Ctx<'_>,
        connection: &NewConnection,
        words: impl Iterator<Item = Message>,
    ) {
        // Announce new pieces now: the new peer is told all our pieces at once.
        self.send_haves(ctx);
        let source = self.sources.open(connection.addr, connection.handshake.peer_id);
        let metadata_upload = MetadataUpload::new(self.metadata.len());
        let outbox = ctx.outboxes.open(connection.key);
        let mut peer = Peer::new(
            ctx.now,
            connection,
            source,
            self.pieces.geometry.piece_count(),
            metadata_upload,
            outbox,
        );
        peer.requests.on_parole = self.sources.on_parole.contains(&source);
        words.for_each(|message| ctx.send(peer.outbox, message));
        if self.peers.is_empty() {
            self.unchoking.next_round = ctx.now + ctx.config.choke_round;
        }
        self.peers.insert(connection.key, peer);
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.join(ctx.now, connection.key);
            self.offer(ctx, connection.key);
        }
        self.next_watch.get_or_insert(ctx.now + WATCH);
    }

    /// Takes a call on the local network. We may have disconnected the host because neither side
    /// wanted anything: another process in its place may want something.
    pub(crate) fn called(&mut self, now: Time, addr: SocketAddr, is_new: bool) {
        if is_new && self.swarm.left_idle.remove(&addr) {
            self.swarm.peer_list.closed(now, addr);
        }
        self.swarm.called(now, addr);
    }

    /// Decides whether a new connection may stay. It may replace an older connection to the same
    /// peer, or displace a stranger.
    fn admit(&mut self, ctx: &mut Ctx<'_>, connection: &NewConnection) -> Result<(), CloseReason> {
        match self.swarm.admit(ctx, connection)? {
            Room::Free => {}
            Room::Of(twin) => self.hang_up(ctx, twin, CloseReason::Duplicate),
            Room::None => {
                let stranger =
                    if connection.outbound { None } else { self.stranger(connection.addr) };
                self.hang_up(ctx, stranger.ok_or(CloseReason::Full)?, CloseReason::Full);
            }
        }
        Ok(())
    }

    /// Picks at random a peer with which no payload was ever exchanged, to make room for this
    /// newcomer. Late peers find neighbours this way. Idle peers cannot fill our places, whatever
    /// number of networks they come from.
    fn stranger(&mut self, newcomer: SocketAddr) -> Option<PeerKey> {
        let is_stranger = |peer: &&Peer| {
            peer.uploads.meter.total() == 0 && peer.requests.pipeline.received() == 0
        };
        let here = self.peers.values().filter(is_stranger).map(|peer| (peer.key, peer.addr.ip()));
        let strangers = eviction::give_way(newcomer.ip(), here);
        strangers.get(self.swarm.rng.index(strangers.len())).copied()
    }

    /// Makes the first message: the pieces that we have, in the shortest form (BEP 6).
    fn opening(&self, fast: bool) -> Option<Message> {
        match (
            fast,
            self.pieces.have.is_full(),
            self.pieces.have.is_empty() || self.super_seeder.is_some(),
        ) {
            (true, _, true) => Some(Message::HaveNone),
            (true, true, _) => Some(Message::HaveAll),
            (false, _, true) => None,
            _ => Some(Message::Bitfield(Bytes::copy_from_slice(self.pieces.have.as_bytes()))),
        }
    }

    pub(crate) fn hang_up(&mut self, ctx: &mut Ctx<'_>, peer: PeerKey, why: CloseReason) {
        if self.peers.contains_key(&peer) {
            ctx.out.push_back(Output::HangUp(peer, why));
            self.closed(ctx, peer, why);
        }
    }

    /// Forgets a connection: its requests are released, and its pieces are not counted any more.
    pub(crate) fn closed(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, why: CloseReason) {
        let Some(mut peer) = self.peers.remove(&key) else { return };
        ctx.outboxes.close(peer.outbox);
        // The slot of a peer that is not interested may have been given away already.
        if self.unchoking.unchoked.remove(&key) && peer.choking.peer_interested {
            self.fill_slot(ctx, peer.choking.optimistic);
        }
        self.unask(peer.requests.pipeline.clear());
        self.end_ownership(ctx, key);
        if peer.pieces.counted {
            self.blocks.block_picker().less(peer.pieces.has.iter(&self.pieces.geometry));
        }
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.leave(key);
            peer.pieces
                .has
                .iter(&self.pieces.geometry)
                .filter(|&piece| self.blocks.availability(piece) == 0)
                .for_each(|piece| super_seeder.lost(piece));
        }
        self.swarm.leave(ctx.now, key, why, self.is_done());
        ctx.event(self.swarm.key, Event::PeerLeft(peer.addr, why));
    }

    // ---- the store and silent peers ----

    /// Stops requests and chokes all peers, because the store cannot go on.
    pub(crate) fn store_failed(&mut self, ctx: &mut Ctx<'_>, fault: StoreFault) {
        if self.store_fault.replace(fault) != Some(fault) {
            ctx.event(self.swarm.key, Event::StoreFailed(fault));
            self.choke_round(ctx);
        }
    }

    pub(crate) fn store_recovered(&mut self, ctx: &mut Ctx<'_>) {
        if self.store_fault.take().is_some() {
            ctx.event(self.swarm.key, Event::StoreRecovered);
            self.choke_round(ctx);
            self.fill_all_pipelines(ctx);
        }
    }

    /// Finds peers that were asked and are silent, and gives peers that rejected another chance.
    fn watch(&mut self, ctx: &mut Ctx<'_>) {
        self.send_haves(ctx);
        self.hand_over(ctx);
        let mut again = Vec::new();
        for peer in self.peers.values_mut() {
            let silent = peer.requests.pipeline.snub_if_silent(ctx.now);
            if silent.is_some() || peer.requests.pipeline.resume() {
                let blocks = silent.unwrap_or_default();
                peer.forgive(blocks.len());
                // It may be the only peer that can be asked.
                if !core::mem::replace(&mut peer.requests.wants_requests, true) {
                    self.request_turns.wants_requests.push_back(peer.key);
                }
                again.push((peer.key, blocks));
            }
        }
        // In end-game, blocks are late by now that other peers can be asked for.
        if !again.is_empty() || self.blocks.is_end_game() {
            self.blocks.block_picker().look_again();
        }
        for (key, blocks) in again {
            self.unask(blocks);
            self.end_ownership(ctx, key);
        }
        let up = self.stats.measure(ctx.now);
        if let Some(super_seeder) = &mut self.super_seeder {
            let blocks = &self.blocks;
            super_seeder.set_idle(up < self.stats.best_up / IDLE_PART);
            super_seeder.reclaim(
                ctx.now,
                |key| self.unchoking.unchoked.contains(&key),
                |piece| blocks.availability(piece),
            );
            // The only peer keeps no other peer waiting: it may choose as soon as it pauses.
            let is_alone = self.peers.len() == 1;
            for peer in
                self.peers.values_mut().filter(|peer| !peer.choking.peer_interested || is_alone)
            {
                for piece in super_seeder.let_choose(ctx.now, peer.key, &peer.pieces.has) {
                    ctx.send(peer.outbox, Message::Have(piece.number()));
                }
            }
            let all: Vec<PeerKey> = self.peers.keys().copied().collect();
            for key in all {
                self.show_pieces(ctx, key);
                self.offer(ctx, key);
            }
        }
        if self.super_seeder.as_ref().is_some_and(|super_seeder| super_seeder.is_futile(ctx.now)) {
            self.end_super_seeding(ctx);
        }
        self.swarm.reach_further();
        self.send_extensions(ctx);
        self.next_watch = (!self.peers.is_empty()).then_some(ctx.now + WATCH);
    }
}
