//! One torrent: a router that owns the sub-machines and the peers, and wires them together.
//!
//! Decides: which sub-machine hears of what. Must not know: sockets, files, other torrents.
//! Invariant: the block picker, choker and swarm do not call each other; every path between them is
//! in an `impl Torrent`.

use crate::backlog::HAVES_MAX;
use crate::config::{Budget, Config};
use crate::eviction;
use crate::io::{Event, Output, PeerKey, TorrentKey, TorrentSpec, TrackerKey};
use crate::metadata_upload::MetadataUpload;
use crate::meter::Meter;
use crate::peer::{NewConnection, Peer};
use crate::piece_map;
use crate::rate_limit::RateLimit;
use crate::slow::{self, Facts};
use crate::sources::{SourceId, Sources};
use crate::status::{CloseReason, SourceStat, TorrentStatus};
use crate::super_seeder::SuperSeeder;
use crate::swarm::{Progress, Room, Swarm};
use crate::work::Work;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bt_model::TorrentSettings;
use bt_peer_wire::Message;
use bt_tracker_wire::{AnnounceReply, Failure};
use bt_types::{Bitfield, Geometry, Piece, StoreFault, Time};
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
    pub(crate) key: TorrentKey,
    /// What the user wants of it.
    settings: TorrentSettings,
    /// The trackers, addresses and connections of its swarm.
    pub(crate) swarm: Swarm,
    /// The `info` dictionary, for peers that ask for it; empty if peers get none.
    pub(crate) metadata: Bytes,
    pub(crate) geometry: Geometry,
    pub(crate) have: Bitfield,
    /// The pieces that we want and lack.
    pub(crate) missing: Bitfield,
    pub(crate) bytes_missing: u64,
    /// Bytes of the pieces that we want, whether we have them or not.
    pub(crate) bytes_wanted: u64,
    /// Addresses of peers that were disconnected because neither side wanted anything.
    pub(crate) left_idle: BTreeSet<SocketAddr>,
    pub(crate) peers: BTreeMap<PeerKey, Peer>,
    /// Peers with messages in their outboxes.
    pub(crate) dirty_outboxes: Vec<PeerKey>,
    /// Peers that could take more requests than there were blocks to request.
    pub(crate) hungry: VecDeque<PeerKey>,
    /// Pieces that we have and have not announced to peers.
    pub(crate) haves_pending: Vec<Piece>,
    /// Peers that we have unchoked.
    pub(crate) unchoked: BTreeSet<PeerKey>,
    pub(crate) work: Work,
    /// The super-seeding state, while we are the initial seed of a swarm.
    pub(crate) super_seeder: Option<Box<SuperSeeder>>,
    pub(crate) sources: Sources,
    /// Sources that had a part in a piece that failed.
    pub(crate) on_parole: BTreeSet<SourceId>,
    pub(crate) store_fault: Option<StoreFault>,
    pub(crate) bytes_done: u64,
    pub(crate) down: Meter,
    pub(crate) up: Meter,
    /// The torrent's own rate limits.
    pub(crate) up_limit: RateLimit,
    pub(crate) down_limit: RateLimit,
    /// Peers that join the downlink's queue.
    pub(crate) askers: Vec<PeerKey>,
    /// Peers that join the uplink's queue again.
    unparked: Vec<PeerKey>,
    /// Bytes of requests that were given up.
    pub(crate) unasked: u64,
    pub(crate) downloaded: u64,
    pub(crate) wasted: u64,
    pub(crate) spoiled: u64,
    pub(crate) bad_pieces: u32,
    pub(crate) banned: u32,
    /// The deadline that the engine knows.
    pub(crate) wake_at: Option<Time>,
    /// The engine knows that the torrent acted.
    pub(crate) is_changed: bool,
    /// Upload slots, before rate limits.
    pub(crate) slots: usize,
    pub(crate) next_round: Time,
    pub(crate) rounds: u32,
    next_watch: Option<Time>,
    /// The highest download rate so far, measured once a second.
    best_rate: u64,
    /// The upload rate a second ago, and the highest that lasted for two measurements: at first the
    /// system's buffers fill, which is no rate.
    up_before: u64,
    best_up: u64,
}

impl Torrent {
    /// Makes a torrent whose peers come from this swarm.
    pub(crate) fn new(now: Time, spec: TorrentSpec, mut swarm: Swarm, config: &Config) -> Torrent {
        let TorrentSpec { geometry, have, settings, wants, metadata, .. } = spec;
        let mut torrent = Torrent {
            key: swarm.key,
            settings,
            metadata,
            geometry,
            work: Work::new(geometry, &have, swarm.rng.fork()),
            // In the end every peer gets a `have` for every piece: of at most this number of
            // pieces.
            super_seeder: (have.is_full() && have.len() as usize <= HAVES_MAX)
                .then(|| Box::new(SuperSeeder::new(geometry, &mut swarm.rng))),
            swarm,
            sources: Sources::default(),
            on_parole: BTreeSet::new(),
            peers: BTreeMap::new(),
            dirty_outboxes: Vec::new(),
            hungry: VecDeque::new(),
            haves_pending: Vec::new(),
            unchoked: BTreeSet::new(),
            bytes_done: have
                .iter(&geometry)
                .map(|piece| u64::from(geometry.piece_len(piece)))
                .sum(),
            missing: Bitfield::empty(geometry.piece_count()),
            bytes_missing: 0,
            bytes_wanted: 0,
            left_idle: BTreeSet::new(),
            have,
            store_fault: None,
            down: Meter::default(),
            up: Meter::default(),
            up_limit: RateLimit::default(),
            down_limit: RateLimit::default(),
            askers: Vec::new(),
            unparked: Vec::new(),
            unasked: 0,
            downloaded: 0,
            wasted: 0,
            spoiled: 0,
            bad_pieces: 0,
            banned: 0,
            wake_at: None,
            is_changed: false,
            slots: config.upload_slots,
            next_round: now,
            rounds: 0,
            next_watch: None,
            best_rate: 0,
            up_before: 0,
            best_up: 0,
        };
        if !wants.is_empty() {
            // No peer works yet on a piece that could be given up.
            let _ = torrent.work.block_picker().want(&wants);
        }
        torrent.work.block_picker().set_order(settings.order);
        torrent.up_limit.set_rate(settings.limits.up, now);
        torrent.down_limit.set_rate(settings.limits.down, now);
        torrent.count_wanted();
        torrent.swarm.announcer.set_partial(now, torrent.is_partial());
        torrent
    }

    /// Returns the spec with which a torrent like this one would be added.
    pub(crate) fn spec(&self) -> TorrentSpec {
        TorrentSpec {
            info_hash: self.swarm.info_hash,
            geometry: self.geometry,
            have: self.have.clone(),
            trackers: self.swarm.announcer.urls(),
            settings: self.settings,
            wants: Vec::new(),
            metadata: self.metadata.clone(),
            private: self.swarm.private,
        }
    }

    // ---- time ----

    /// Returns when `wake` has something to do.
    pub(crate) fn deadline(&self, budget: &Budget) -> Option<Time> {
        let round = (!self.peers.is_empty()).then_some(self.next_round);
        let paces = [self.up_limit.deadline(), self.down_limit.deadline()];
        [self.swarm.deadline(self.is_done(), budget), round, self.next_watch]
            .into_iter()
            .chain(paces)
            .flatten()
            .min()
    }

    pub(crate) fn wake(
        &mut self,
        now: Time,
        config: &Config,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) {
        self.swarm.wake(now, &self.progress(), budget, out);
        self.askers.extend(self.down_limit.unpark(now));
        self.unparked.extend(self.up_limit.unpark(now));
        if !self.peers.is_empty() && now >= self.next_round {
            self.choke_round(now, config, budget);
        }
        if self.next_watch.is_some_and(|at| at <= now) {
            self.watch(now, budget, out);
        }
    }

    /// Releases what only connected peers need, after something happened while no peer is
    /// connected.
    pub(crate) fn rest(&mut self) {
        self.swarm.rng.rest();
        if self.is_complete() {
            self.work.rest();
        }
    }

    /// Returns the progress that trackers are told.
    pub(crate) fn progress(&self) -> Progress {
        Progress {
            uploaded: self.up.total(),
            downloaded: self.downloaded,
            left: if self.is_partial() {
                self.geometry.total() - self.bytes_done
            } else {
                self.bytes_missing
            },
            is_done: self.is_done(),
        }
    }

    /// Makes the torrent as the user wants it. A torrent that pauses keeps its open pieces, while
    /// no other torrent lacks their room.
    pub(crate) fn set(
        &mut self,
        now: Time,
        settings: TorrentSettings,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) {
        self.settings = settings;
        self.up_limit.set_rate(settings.limits.up, now);
        self.down_limit.set_rate(settings.limits.down, now);
        self.work.block_picker().set_order(settings.order);
        self.run_or_pause(now, out);
        self.swarm.dial(now, budget, out);
        self.feed_everybody(now, budget);
    }

    /// Pauses, or goes on, as the settings say.
    pub(crate) fn run_or_pause(&mut self, now: Time, out: &mut VecDeque<Output>) {
        self.swarm.set_running(now, self.settings.running, &self.progress(), out);
        if !self.settings.running {
            let peers: Vec<PeerKey> = self.peers.keys().copied().collect();
            peers.into_iter().for_each(|peer| self.hang_up(now, peer, CloseReason::Paused, out));
        }
    }

    /// Takes the peers that join the uplink's queue again.
    pub(crate) fn take_unparked(&mut self) -> Vec<PeerKey> {
        core::mem::take(&mut self.unparked)
    }

    /// Takes a tracker's answer or failure.
    pub(crate) fn announced(
        &mut self,
        now: Time,
        tracker: TrackerKey,
        result: Result<(IpAddr, AnnounceReply), Failure>,
        out: &mut VecDeque<Output>,
    ) {
        if self.swarm.announced(now, tracker, result, out).is_some_and(|seeders| seeders > 1) {
            self.reveal_all();
        }
    }

    pub(crate) fn stop(&mut self, out: &mut VecDeque<Output>) {
        let progress = self.progress();
        self.swarm.stop(&progress, out);
    }

    // ---- peers come and go ----

    pub(crate) fn connected(
        &mut self,
        now: Time,
        connection: NewConnection,
        config: &Config,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) {
        let (key, addr, peer_id) = (connection.key, connection.addr, connection.handshake.peer_id);
        if let Err(why) = self.admit(now, &connection, config, budget, out) {
            self.swarm.refused(now, &connection, why);
            out.push_back(Output::HangUp(key, why));
            return;
        }
        self.swarm.join(now, &connection);
        let opening = self.opening(connection.is_fast());
        let hello = self.swarm.hello_message(key, &self.hello(key, config));
        let port = self.swarm.port_message(key, config);
        self.welcome(now, &connection, opening.into_iter().chain(hello).chain(port), config);
        out.push_back(Output::Event(self.key, Event::PeerJoined(addr, peer_id)));
    }

    /// Takes over a peer that connected while the metadata was missing. It was told that we have
    /// nothing: it now gets the metadata size, and a `have` for each of our pieces, up to
    /// [`HAVES_MAX`].
    pub(crate) fn adopt(&mut self, now: Time, connection: &NewConnection, config: &Config) {
        let shown = self.have.iter(&self.geometry).filter(|_| self.super_seeder.is_none());
        let haves: Vec<Message> =
            shown.take(HAVES_MAX).map(|piece| Message::Have(piece.number())).collect();
        let mut hello = self.hello(connection.key, config);
        // Extensions that are switched off are named too: they may have been on.
        hello.ids.pex = hello.ids.pex.or(Some(0));
        let hello = self.swarm.hello_message(connection.key, &hello);
        self.welcome(now, connection, haves.into_iter().chain(hello), config);
    }

    /// Adds a connection that stays: its peer is sent these messages first.
    fn welcome(
        &mut self,
        now: Time,
        connection: &NewConnection,
        words: impl Iterator<Item = Message>,
        config: &Config,
    ) {
        // Announce new pieces now: the new peer is told all our pieces at once.
        self.tell_haves();
        let source = self.sources.open(connection.addr, connection.handshake.peer_id);
        let metadata_upload = MetadataUpload::new(self.metadata.len());
        let mut row =
            Peer::new(now, connection, source, self.geometry.piece_count(), metadata_upload);
        row.on_parole = self.on_parole.contains(&source);
        words.for_each(|message| row.say(message, &mut self.dirty_outboxes));
        if self.peers.is_empty() {
            self.next_round = now + config.choke_round;
        }
        self.peers.insert(connection.key, row);
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.join(now, connection.key);
            self.offer(connection.key);
        }
        self.next_watch.get_or_insert(now + WATCH);
    }

    /// Takes a call on the local network. We may have disconnected the host because neither side
    /// wanted anything: another process in its place may want something.
    pub(crate) fn called(&mut self, now: Time, addr: SocketAddr, is_new: bool) {
        if is_new && self.left_idle.remove(&addr) {
            self.swarm.peer_list.closed(now, addr);
        }
        self.swarm.called(now, addr);
    }

    /// Decides whether a new connection may stay. It may replace an older connection to the same
    /// peer, or displace a stranger.
    fn admit(
        &mut self,
        now: Time,
        connection: &NewConnection,
        config: &Config,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) -> Result<(), CloseReason> {
        match self.swarm.admit(now, connection, config, budget)? {
            Room::Free => {}
            Room::Of(twin) => self.hang_up(now, twin, CloseReason::Duplicate, out),
            Room::None => {
                let stranger =
                    if connection.outbound { None } else { self.stranger(connection.addr) };
                self.hang_up(now, stranger.ok_or(CloseReason::Full)?, CloseReason::Full, out);
            }
        }
        Ok(())
    }

    /// Picks at random a peer with which no payload was ever exchanged, to make room for this
    /// newcomer. Late peers find neighbours this way. Idle peers cannot fill our places, whatever
    /// number of networks they come from.
    fn stranger(&mut self, newcomer: SocketAddr) -> Option<PeerKey> {
        let is_stranger = |peer: &&Peer| peer.up.total() == 0 && peer.pipeline.received() == 0;
        let here = self.peers.values().filter(is_stranger).map(|peer| (peer.key, peer.addr.ip()));
        let strangers = eviction::give_way(newcomer.ip(), here);
        strangers.get(self.swarm.rng.index(strangers.len())).copied()
    }

    /// Makes the first message: the pieces that we have, in the shortest form (BEP 6).
    fn opening(&self, fast: bool) -> Option<Message> {
        match (fast, self.have.is_full(), self.have.is_empty() || self.super_seeder.is_some()) {
            (true, _, true) => Some(Message::HaveNone),
            (true, true, _) => Some(Message::HaveAll),
            (false, _, true) => None,
            _ => Some(Message::Bitfield(Bytes::copy_from_slice(self.have.as_bytes()))),
        }
    }

    pub(crate) fn hang_up(
        &mut self,
        now: Time,
        peer: PeerKey,
        why: CloseReason,
        out: &mut VecDeque<Output>,
    ) {
        if self.peers.contains_key(&peer) {
            out.push_back(Output::HangUp(peer, why));
            self.closed(now, peer, why, out);
        }
    }

    /// Forgets a connection: its requests are released, and its pieces are not counted any more.
    pub(crate) fn closed(
        &mut self,
        now: Time,
        peer: PeerKey,
        why: CloseReason,
        out: &mut VecDeque<Output>,
    ) {
        let Some(mut row) = self.peers.remove(&peer) else { return };
        // The slot of a peer that is not interested may have been given away already.
        if self.unchoked.remove(&peer) && row.interested {
            self.fill_slot(now, row.optimistic);
        }
        self.unask(row.pipeline.clear());
        self.leave_lead(peer, out);
        if row.counted {
            self.work.block_picker().less(row.has.iter(&self.geometry));
        }
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.leave(peer);
            row.has
                .iter(&self.geometry)
                .filter(|&piece| self.work.availability(piece) == 0)
                .for_each(|piece| super_seeder.lost(piece));
        }
        if why == CloseReason::BothSeeds {
            // Only addresses that can be dialled again: others would make the set grow with every
            // connection that they make.
            self.left_idle.extend(
                self.swarm.addresses(peer).filter(|addr| self.swarm.peer_list.knows(*addr)),
            );
        }
        self.swarm.leave(now, peer, why, self.is_done());
        out.push_back(Output::Event(self.key, Event::PeerLeft(row.addr, why)));
    }

    // ---- the store and silent peers ----

    /// Stops requests and chokes all peers, because the store cannot go on.
    pub(crate) fn store_failed(
        &mut self,
        now: Time,
        fault: StoreFault,
        config: &Config,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) {
        if self.store_fault.replace(fault) != Some(fault) {
            out.push_back(Output::Event(self.key, Event::StoreFailed(fault)));
            self.choke_round(now, config, budget);
        }
    }

    pub(crate) fn store_recovered(
        &mut self,
        now: Time,
        config: &Config,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) {
        if self.store_fault.take().is_some() {
            out.push_back(Output::Event(self.key, Event::StoreRecovered));
            self.choke_round(now, config, budget);
            self.feed_everybody(now, budget);
        }
    }

    /// Finds peers that were asked and are silent, and gives peers that rejected another chance.
    fn watch(&mut self, now: Time, budget: &Budget, out: &mut VecDeque<Output>) {
        self.tell_haves();
        self.hand_over(now, budget);
        let mut again = Vec::new();
        for peer in self.peers.values_mut() {
            let silent = peer.pipeline.snub_if_silent(now);
            if silent.is_some() || peer.pipeline.resume() {
                let blocks = silent.unwrap_or_default();
                peer.forgive(blocks.len());
                // It may be the only peer that can be asked.
                if !core::mem::replace(&mut peer.hungry, true) {
                    self.hungry.push_back(peer.key);
                }
                again.push((peer.key, blocks));
            }
        }
        // In end-game, blocks are late by now that other peers can be asked for.
        if !again.is_empty() || self.work.is_end_game() {
            self.work.block_picker().look_again();
        }
        for (peer, blocks) in again {
            self.unask(blocks);
            self.leave_lead(peer, out);
        }
        let up = self.up.rate(now);
        self.best_up = self.best_up.max(up.min(core::mem::replace(&mut self.up_before, up)));
        if let Some(super_seeder) = &mut self.super_seeder {
            let work = &self.work;
            super_seeder.set_idle(up < self.best_up / IDLE_PART);
            super_seeder.reclaim(
                now,
                |peer| self.unchoked.contains(&peer),
                |piece| work.availability(piece),
            );
            // The only peer keeps no other peer waiting: it may choose as soon as it pauses.
            let is_alone = self.peers.len() == 1;
            for row in self.peers.values_mut().filter(|row| !row.interested || is_alone) {
                for piece in super_seeder.let_choose(now, row.key, &row.has) {
                    row.say(Message::Have(piece.number()), &mut self.dirty_outboxes);
                }
            }
            let all: Vec<PeerKey> = self.peers.keys().copied().collect();
            for peer in all {
                self.reveal_to(now, peer);
                self.offer(peer);
            }
        }
        if self.super_seeder.as_ref().is_some_and(|super_seeder| super_seeder.is_vain(now)) {
            self.reveal_all();
        }
        self.best_rate = self.best_rate.max(self.down.rate(now));
        self.swarm.reach_further();
        self.tell_extensions(now, out);
        self.next_watch = (!self.peers.is_empty()).then_some(now + WATCH);
    }

    // ---- reports ----

    pub(crate) fn status(&self, now: Time) -> TorrentStatus {
        TorrentStatus {
            pieces_done: self.have.count(),
            pieces_total: self.have.len(),
            pieces_missing: self.missing.count(),
            bytes_wanted: self.bytes_wanted,
            bytes_missing: self.bytes_missing,
            bytes_done: self.bytes_done,
            bytes_down: self.down.total(),
            bytes_up: self.up.total(),
            bytes_wasted: self.wasted,
            bytes_bad: self.spoiled,
            bad_pieces: self.bad_pieces,
            peers_banned: self.banned,
            down_rate: self.down.rate(now),
            up_rate: self.up.rate(now),
            peers: self.peers.len(),
            seeds: self.peers.values().filter(|peer| peer.has.is_full()).count(),
            partial_seeds: self
                .peers
                .values()
                .filter(|peer| peer.upload_only && !peer.has.is_full())
                .count(),
            serving_us: self.peers.values().filter(|peer| peer.serves_us).count(),
            swarm: self.swarm.counts(),
            is_paused: self.swarm.is_paused,
            store_fault: self.store_fault,
            slow: slow::reason(&self.facts(now)),
            map: piece_map::cells(&self.have, &self.missing, self.work.open()),
        }
    }

    /// Collects the facts that tell why the download is slow.
    fn facts(&self, now: Time) -> Facts {
        let holders = || self.peers.values().filter(|peer| peer.wanted > 0);
        Facts {
            is_done: self.is_done(),
            is_paused: self.swarm.is_paused,
            store_fault: self.store_fault,
            rate: self.down.rate(now),
            best_rate: self.best_rate,
            waits_for_limit: self.peers.values().any(|peer| peer.asks),
            peers: self.peers.len(),
            holders: holders().count(),
            servers: holders().filter(|peer| peer.can_be_asked()).count(),
        }
    }

    pub(crate) fn source_stats(&self) -> Vec<SourceStat> {
        self.sources.active()
    }
}
