//! The engine: takes inputs, hands each to its torrent, and gives out outputs.
//!
//! Decides: what torrents share: uplink, downlink, the store's memory, dials, the routes of
//! connections. Must not know: how an output is carried out.
//! Invariant: `handle` never fails and never blocks. The outputs are complete after `poll` returned
//! `None`.

use crate::bandwidth_queue::BandwidthQueue;
use crate::close_reason::CloseReason;
use crate::config::{Budget, Config};
use crate::ctx::Ctx;
use crate::deadline::earliest;
use crate::io::{Input, Output, PeerKey, TorrentKey, TorrentSpec};
use crate::magnet::Magnet;
use crate::message_in::message_in;
use crate::outboxes::Outboxes;
use crate::peer::NewConnection;
use crate::room::{Room, RoomUse};
use crate::swarm::Swarm;
use crate::torrent::Torrent;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bt_model::{MagnetView, PeerView, SessionView, SourceStat, TorrentView, TrackerView};
use bt_peer_wire::Message;
use bt_types::{Bitfield, Rng, Time};

/// All torrents of one shard of a client, and every decision about them.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    budget: Budget,
    rng: Rng,
    torrents: BTreeMap<TorrentKey, Box<Torrent>>,
    /// Torrents without metadata so far.
    magnets: BTreeMap<TorrentKey, Magnet>,
    /// The torrent of each connection.
    routes: BTreeMap<PeerKey, TorrentKey>,
    /// The queue of peers whose requests wait to be served.
    uplink: BandwidthQueue,
    /// The queue of peers to request blocks from, under a rate limit.
    downlink: BandwidthQueue,
    /// The use of the store's memory by each torrent.
    store_room: Room,
    /// The dials under way of each torrent.
    dial_room: Room,
    outboxes: Outboxes,
    /// Torrents and magnets that acted since the last [`Engine::take_changed`].
    changed: BTreeSet<TorrentKey>,
    /// The time at which each torrent must be woken.
    agenda: BTreeSet<(Time, TorrentKey)>,
    /// Payload bytes of the torrents that were removed: received, and sent.
    removed_bytes: (u64, u64),
    out: VecDeque<Output>,
}

impl Engine {
    /// Makes an engine without torrents. Equal arguments and inputs give equal outputs.
    pub fn new(config: Config, budget: Budget, rng: Rng) -> Engine {
        Engine {
            uplink: BandwidthQueue::new(budget.rates.up),
            downlink: BandwidthQueue::new(budget.rates.down),
            config,
            budget,
            rng,
            torrents: BTreeMap::new(),
            magnets: BTreeMap::new(),
            routes: BTreeMap::new(),
            store_room: Room::default(),
            dial_room: Room::default(),
            outboxes: Outboxes::default(),
            changed: BTreeSet::new(),
            agenda: BTreeSet::new(),
            removed_bytes: (0, 0),
            out: VecDeque::new(),
        }
    }

    // ---- the machine ----

    /// Takes an input.
    pub fn handle(&mut self, now: Time, input: Input) {
        if matches!(input, Input::NetworkChanged) {
            let magnets: Vec<TorrentKey> = self.magnets.keys().copied().collect();
            for key in magnets {
                self.on_magnet(now, key, |magnet, ctx| magnet.swarm.network_changed(ctx));
            }
        }
        match self.magnet_of(&input) {
            Some(key) => self.magnet_in(now, key, input),
            None => self.torrent_in(now, input),
        }
        self.take_turns(now);
    }

    fn torrent_in(&mut self, now: Time, input: Input) {
        match input {
            Input::Add(key, spec) => self.add(now, key, *spec),
            Input::AddMagnet(key, spec) => {
                let settings = spec.settings.clone();
                let magnet = Magnet::new(now, key, *spec, &self.config, self.rng.fork());
                self.magnets.insert(key, magnet);
                self.on_magnet(now, key, |magnet, ctx| {
                    magnet.set(ctx, &settings);
                    magnet.wake(ctx);
                });
            }
            Input::Remove(key) => self.remove(now, key),
            Input::FindPeersDone(key, via, found) => {
                self.on(now, key, |torrent, ctx| torrent.swarm.search_ended(ctx, via, found));
            }
            Input::PeersFound(key, source, addrs) => self.on(now, key, |torrent, ctx| {
                torrent.swarm.found(now, source, &addrs);
                torrent.swarm.dial(ctx);
            }),
            Input::Called { torrent, addr, is_new } => self.on(now, torrent, |torrent, ctx| {
                torrent.called(now, addr, is_new);
                torrent.swarm.dial(ctx);
            }),
            Input::Connected { peer, torrent, addr, outbound, handshake } => {
                if !self.torrents.contains_key(&torrent) {
                    self.out.push_back(Output::HangUp(peer, CloseReason::Removed));
                    return;
                }
                self.on(now, torrent, |torrent, ctx| {
                    let connection = NewConnection { key: peer, addr, outbound, handshake };
                    torrent.connected(ctx, connection);
                });
                self.routes.insert(peer, torrent);
            }
            Input::DialFailed(key, addr) => self.on(now, key, |torrent, ctx| {
                torrent.swarm.dial_failed(now, addr);
                torrent.swarm.dial(ctx);
            }),
            Input::Frames(peer, messages) => self.frames(now, peer, messages),
            Input::Sent(peer, bytes) => {
                self.on_peer(now, peer, |torrent, _| torrent.sent(now, peer, bytes))
            }
            Input::ReadFailed(peer, block) => {
                self.on_peer(now, peer, |torrent, ctx| torrent.read_failed(ctx, peer, block))
            }
            Input::Closed(peer) => {
                self.on_peer(now, peer, |torrent, ctx| {
                    torrent.closed(ctx, peer, CloseReason::Gone)
                });
                self.routes.remove(&peer);
            }
            Input::Checked(key, piece, verdict) => {
                self.on(now, key, |torrent, ctx| torrent.checked(ctx, piece, verdict))
            }
            Input::OnDisk(key, piece, bytes) => {
                self.on(now, key, |torrent, _| torrent.blocks.block_picker().on_disk(piece, bytes))
            }
            Input::Lost(key, pieces) => {
                self.on(now, key, |torrent, ctx| torrent.lost(ctx, &pieces))
            }
            Input::Audited(key, wrong) => {
                self.on(now, key, |torrent, ctx| torrent.audited(ctx, &wrong))
            }
            Input::StoreFailed(key, fault) => {
                self.on(now, key, |torrent, ctx| torrent.store_failed(ctx, fault))
            }
            Input::StoreRecovered(key) => {
                self.on(now, key, |torrent, ctx| torrent.store_recovered(ctx))
            }
            Input::Announced(key, tracker, result) => self.on(now, key, |torrent, ctx| {
                torrent.announced(ctx, tracker, result);
                torrent.swarm.dial(ctx);
            }),
            Input::Deadline(key, pieces, by) => {
                self.on(now, key, |torrent, ctx| torrent.set_deadline(ctx, pieces, by))
            }
            Input::Set(key, settings) => {
                // The new settings count for the budget with which the torrent acts.
                let torrent = self.torrents.get_mut(&key);
                if let Some(before) = torrent.map(|torrent| torrent.take_settings(*settings)) {
                    self.on(now, key, |torrent, ctx| torrent.settings_changed(ctx, &before));
                }
            }
            Input::Reannounce(key) => self.on(now, key, |torrent, _| torrent.swarm.hurry(now)),
            Input::NetworkChanged => {
                let keys: Vec<TorrentKey> = self.torrents.keys().copied().collect();
                for key in keys {
                    self.on(now, key, |torrent, ctx| torrent.swarm.network_changed(ctx));
                }
            }
            Input::Budget(budget) => {
                self.budget = budget;
                self.uplink.set_rate(budget.rates.up, now);
                self.downlink.set_rate(budget.rates.down, now);
                let keys: Vec<TorrentKey> = self.torrents.keys().copied().collect();
                for key in keys {
                    self.on(now, key, |torrent, ctx| {
                        torrent.keep_to_peers_max(ctx);
                        torrent.fill_all_pipelines(ctx);
                    });
                }
            }
            Input::Discover { dht_port, lsd, pex } => self.discover(now, dht_port, lsd, pex),
        }
    }

    /// Returns the next output, or `None` when all were given.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        if self.out.is_empty() {
            self.outboxes.flush_all(&mut self.out);
        }
        let output = self.out.pop_front();
        if let Some(Output::HangUp(peer, _)) = &output {
            self.routes.remove(peer);
        }
        output
    }

    /// Returns when [`Engine::wake`] must be called, if no input comes before.
    pub fn deadline(&self) -> Option<Time> {
        earliest([
            self.agenda.first().map(|(at, _)| *at),
            self.uplink.deadline(),
            self.downlink.deadline(),
            self.store_room.deadline(),
        ])
    }

    /// Acts on what has become due.
    pub fn wake(&mut self, now: Time) {
        let due: Vec<TorrentKey> =
            self.agenda.range(..=(now, TorrentKey(u32::MAX))).map(|(_, key)| *key).collect();
        for key in due {
            self.on(now, key, |torrent, ctx| torrent.wake(ctx));
            self.on_magnet(now, key, |magnet, ctx| magnet.wake(ctx));
        }
        for key in self.store_room.take_holders(now) {
            self.on(now, key, |torrent, ctx| torrent.give_up_stalled(ctx));
        }
        self.take_turns(now);
    }

    // ---- reports ----

    /// Returns what is known of a torrent at this moment.
    pub fn view(&self, now: Time, key: TorrentKey) -> Option<TorrentView> {
        self.torrents.get(&key).map(|torrent| torrent.view(now))
    }

    /// Returns this engine's part of what is known of the session at this moment.
    pub fn session_view(&self, now: Time) -> SessionView {
        let mut view = SessionView::default();
        (view.bytes_down, view.bytes_up) = self.removed_bytes;
        (view.connections, view.store_bytes_max) = (self.routes.len(), self.budget.store_bytes);
        for torrent in self.torrents.values() {
            view.down_rate += torrent.stats.down.rate(now);
            view.up_rate += torrent.stats.up.rate(now);
            view.bytes_down += torrent.stats.down.total();
            view.bytes_up += torrent.stats.up.total();
            view.store_bytes += torrent.blocks.reserved();
        }
        let magnets = self.magnets.values().map(|magnet| &magnet.swarm);
        for swarm in self.torrents.values().map(|torrent| &torrent.swarm).chain(magnets) {
            view.dials += swarm.dialing();
            swarm.external_ip.votes().for_each(|ip| *view.external_ips.entry(ip).or_default() += 1);
        }
        view
    }

    /// Returns what is known of the connected peers of a torrent at this moment.
    pub fn peers(&self, now: Time, key: TorrentKey) -> Vec<PeerView> {
        self.torrents.get(&key).map(|torrent| torrent.peer_views(now)).unwrap_or_default()
    }

    /// Returns what is known of the trackers of a torrent or magnet at this moment, in the order in
    /// which they are asked.
    pub fn trackers(&self, now: Time, key: TorrentKey) -> Vec<TrackerView> {
        let torrent = self.torrents.get(&key).map(|torrent| &torrent.swarm);
        let swarm = torrent.or_else(|| self.magnets.get(&key).map(|magnet| &magnet.swarm));
        swarm.map(|swarm| swarm.announcer.views(now)).unwrap_or_default()
    }

    /// Takes the torrents and magnets whose view may have changed since the last call. The view of
    /// the others is the same, except for falling rates.
    #[must_use]
    pub fn take_changed(&mut self) -> BTreeSet<TorrentKey> {
        for key in &self.changed {
            if let Some(torrent) = self.torrents.get_mut(key) {
                torrent.noted.is_changed = false;
            }
        }
        core::mem::take(&mut self.changed)
    }

    /// Returns what is known of a magnet at this moment; `None` after its torrent was added.
    pub fn magnet(&self, key: TorrentKey) -> Option<MagnetView> {
        self.magnets.get(&key).map(Magnet::view)
    }

    /// Returns the pieces that a torrent has, verified and written.
    pub fn have(&self, key: TorrentKey) -> Option<&Bitfield> {
        self.torrents.get(&key).map(|torrent| &torrent.pieces.have)
    }

    /// Returns the spec with which a torrent like this one at this moment would be added.
    pub fn spec(&self, key: TorrentKey) -> Option<TorrentSpec> {
        self.torrents.get(&key).map(|torrent| torrent.spec())
    }

    /// Returns the bytes moved between us and each peer of a torrent.
    pub fn sources(&self, key: TorrentKey) -> Vec<SourceStat> {
        self.torrents.get(&key).map(|torrent| torrent.source_stats()).unwrap_or_default()
    }

    /// Returns the bytes of a torrent that the store may have to hold in memory.
    pub fn reserved(&self, key: TorrentKey) -> u64 {
        self.torrents.get(&key).map_or(0, |torrent| torrent.blocks.reserved())
    }

    // ---- magnets ----

    /// Returns the magnet that an input is for, if it is for a magnet.
    fn magnet_of(&self, input: &Input) -> Option<TorrentKey> {
        if self.magnets.is_empty() {
            return None;
        }
        let key = match input {
            Input::PeersFound(key, ..)
            | Input::DialFailed(key, _)
            | Input::Announced(key, ..)
            | Input::Set(key, _)
            | Input::Reannounce(key)
            | Input::FindPeersDone(key, ..) => key,
            Input::Called { torrent, .. } | Input::Connected { torrent, .. } => torrent,
            Input::Frames(peer, _) | Input::Closed(peer) => self.routes.get(peer)?,
            // A magnet has no pieces to serve, store or want, and what concerns all torrents is no
            // input of one.
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
            | Input::Discover { .. } => return None,
        };
        self.magnets.contains_key(key).then_some(*key)
    }

    fn magnet_in(&mut self, now: Time, key: TorrentKey, input: Input) {
        let closed = if let Input::Closed(peer) = input { Some(peer) } else { None };
        let joins = if let Input::Connected { peer, .. } = input { Some(peer) } else { None };
        self.on_magnet(now, key, |magnet, ctx| magnet.handle(ctx, input));
        self.routes.extend(joins.map(|peer| (peer, key)));
        closed.map(|peer| self.routes.remove(&peer));
    }

    /// Lets a magnet act, and notes its deadline.
    fn on_magnet(
        &mut self,
        now: Time,
        key: TorrentKey,
        act: impl FnOnce(&mut Magnet, &mut Ctx<'_>),
    ) {
        let has_room = self.has_room();
        let Some(magnet) = self.magnets.get_mut(&key) else { return };
        let budget = Budget {
            dials: dials_of(&self.budget, &self.dial_room, key),
            peers_per_torrent: magnet.swarm.peers_max(&self.budget),
            ..self.budget
        };
        let (config, outboxes, out) = (&self.config, &mut self.outboxes, &mut self.out);
        act(magnet, &mut Ctx { now, config, budget: &budget, has_room, outboxes, out });
        self.dial_room.note(key, dials_taken(&magnet.swarm));
        let next = magnet.deadline(&budget);
        let wake_at = core::mem::replace(&mut magnet.wake_at, next);
        self.changed.insert(key);
        self.replan(key, wake_at, next);
    }

    /// Adds a torrent, with what its magnet has gathered, if there was one.
    fn add(&mut self, now: Time, key: TorrentKey, spec: TorrentSpec) {
        let (swarm, peers) = match self.magnets.remove(&key) {
            Some(magnet) => {
                self.replan(key, magnet.wake_at, None);
                let (config, budget) = (&self.config, &self.budget);
                let (outboxes, out) = (&mut self.outboxes, &mut self.out);
                let mut ctx = Ctx { now, config, budget, has_room: true, outboxes, out };
                magnet.hand_over(&mut ctx, spec.private)
            }
            None => {
                let (trackers, rng) = (spec.trackers.clone(), self.rng.fork());
                (
                    Swarm::new(now, key, spec.info_hash, trackers, spec.private, &self.config, rng),
                    Vec::new(),
                )
            }
        };
        self.torrents.insert(key, Box::new(Torrent::new(now, spec, swarm, &self.config)));
        self.on(now, key, |torrent, ctx| {
            torrent.set_trackers(ctx);
            torrent.run_or_pause(ctx);
            torrent.wake(ctx)
        });
        for (connection, said) in peers {
            self.on(now, key, |torrent, ctx| torrent.adopt(ctx, &connection));
            self.frames(now, connection.key, said);
        }
        // Its magnet may have left it connections.
        self.on(now, key, |torrent, ctx| {
            torrent.run_or_pause(ctx);
            torrent.keep_to_peers_max(ctx);
        });
    }

    // ---- inside ----

    /// Takes messages of one peer, one after another; the first fault ends its connection.
    fn frames(&mut self, now: Time, peer: PeerKey, messages: Vec<Message>) {
        self.on_peer(now, peer, |torrent, ctx| {
            if let Some(spare) = torrent.swarm.on_message(now, peer) {
                torrent.hang_up(ctx, spare, CloseReason::Duplicate);
            }
            for message in messages {
                if let Err(why) = message_in(ctx, torrent, peer, message) {
                    torrent.hang_up(ctx, peer, why);
                    return;
                }
            }
            torrent.fill_pipeline(ctx, peer);
        });
    }

    /// Finds peers by these ways from now on. A search under way goes on, and its end is ignored.
    fn discover(&mut self, now: Time, dht_port: Option<u16>, lsd: bool, pex: bool) {
        let is_news = self.config.pex != pex;
        self.config = Config { dht_port, lsd, pex, ..self.config.clone() };
        let keys: Vec<TorrentKey> =
            self.torrents.keys().chain(self.magnets.keys()).copied().collect();
        let change = |swarm: &mut Swarm, ctx: &mut Ctx<'_>| {
            swarm.set_searches(ctx.config);
            if is_news {
                swarm.set_pex(ctx);
            }
        };
        for key in keys {
            self.on(now, key, |torrent, ctx| change(&mut torrent.swarm, ctx));
            self.on_magnet(now, key, |magnet, ctx| change(&mut magnet.swarm, ctx));
        }
    }

    /// Leaves the swarm of a torrent or magnet, and forgets it.
    fn remove(&mut self, now: Time, key: TorrentKey) {
        self.act(now, key, |torrent, ctx| torrent.stop(ctx));
        self.on_magnet(now, key, |magnet, ctx| magnet.stop(ctx));
        if let Some(torrent) = self.torrents.remove(&key) {
            self.removed_bytes.0 += torrent.stats.down.total();
            self.removed_bytes.1 += torrent.stats.up.total();
            self.forget(key, torrent.noted.wake_at, &torrent.swarm);
        }
        if let Some(magnet) = self.magnets.remove(&key) {
            self.forget(key, magnet.wake_at, &magnet.swarm);
        }
    }

    /// Gives the links to queued peers while the limits allow it, and the store's room and dials to
    /// torrents that lack them.
    fn take_turns(&mut self, now: Time) {
        for key in self.store_room.take_retries() {
            self.on(now, key, |torrent, _| torrent.blocks.block_picker().look_for_room());
        }
        for key in self.dial_room.take_retries() {
            self.on(now, key, |torrent, ctx| torrent.swarm.dial(ctx));
            self.on_magnet(now, key, |magnet, ctx| magnet.swarm.dial(ctx));
        }
        self.store_room.plan(now);
        while let Some((key, peer, bytes)) = self.uplink.next(now) {
            let ordered = self.act(now, key, |torrent, ctx| torrent.serve(ctx, peer, bytes));
            self.uplink.charge(ordered.unwrap_or(0));
        }
        while let Some((key, peer, bytes)) = self.downlink.next(now) {
            let asked = self.act(now, key, |torrent, ctx| torrent.ask_in_turn(ctx, peer, bytes));
            self.downlink.charge(asked.unwrap_or(0));
        }
    }

    fn on_peer(&mut self, now: Time, peer: PeerKey, act: impl FnOnce(&mut Torrent, &mut Ctx<'_>)) {
        if let Some(&key) = self.routes.get(&peer) {
            self.on(now, key, act);
        }
    }

    /// Lets a torrent act, and sends the requests that this made possible.
    fn on(&mut self, now: Time, key: TorrentKey, act: impl FnOnce(&mut Torrent, &mut Ctx<'_>)) {
        self.act(now, key, |torrent, ctx| {
            act(torrent, ctx);
            torrent.fill_waiting_pipelines(ctx);
        });
    }

    /// Lets a torrent act, and notes what came of it; `None` if there is no such torrent.
    fn act<T>(
        &mut self,
        now: Time,
        key: TorrentKey,
        act: impl FnOnce(&mut Torrent, &mut Ctx<'_>) -> T,
    ) -> Option<T> {
        let has_room = self.has_room();
        let torrent = self.torrents.get_mut(&key)?;
        let budget = budget_of(&self.budget, &self.store_room, &self.dial_room, torrent);
        let (config, outboxes, out) = (&self.config, &mut self.outboxes, &mut self.out);
        let mut ctx = Ctx { now, config, budget: &budget, has_room, outboxes, out };
        let done = act(torrent, &mut ctx);
        self.settle(key, budget);
        Some(done)
    }

    /// Returns whether the process has room for another connection.
    fn has_room(&self) -> bool {
        self.routes.len() < self.budget.peers
    }

    /// Notes a torrent's deadline, and its peers that must join a queue, after the torrent acted
    /// with this budget.
    fn settle(&mut self, key: TorrentKey, mut budget: Budget) {
        let Some(torrent) = self.torrents.get_mut(&key) else { return };
        if torrent.peers.is_empty() {
            torrent.free_tables();
        }
        let taken = torrent.blocks.reserved();
        let store = Some(RoomUse { taken, is_short: torrent.blocks.is_short() });
        if torrent.noted.store != store {
            torrent.noted.store = store;
            store.into_iter().for_each(|store| self.store_room.note(key, store));
        }
        let dials = Some(dials_taken(&torrent.swarm));
        if torrent.noted.dials != dials {
            torrent.noted.dials = dials;
            dials.into_iter().for_each(|dials| self.dial_room.note(key, dials));
            budget.dials = dials_of(&self.budget, &self.dial_room, key);
        }
        if !core::mem::replace(&mut torrent.noted.is_changed, true) {
            self.changed.insert(key);
        }
        self.downlink.give_back(torrent.take_unasked());
        torrent.take_downlink_joiners().into_iter().for_each(|peer| self.downlink.join(key, peer));
        torrent.take_uplink_joiners().into_iter().for_each(|peer| self.uplink.join(key, peer));
        let (wake_at, next) = (torrent.noted.wake_at, torrent.deadline(&budget));
        if wake_at != next {
            torrent.noted.wake_at = next;
            self.replan(key, wake_at, next);
        }
    }

    /// Removes every reference to a torrent or magnet that is gone.
    fn forget(&mut self, key: TorrentKey, wake_at: Option<Time>, swarm: &Swarm) {
        self.replan(key, wake_at, None);
        for peer in swarm.links.by_key.keys() {
            self.routes.remove(peer);
        }
        self.store_room.forget(key);
        self.dial_room.forget(key);
        self.changed.remove(&key);
    }

    fn replan(&mut self, key: TorrentKey, wake_at: Option<Time>, next: Option<Time>) {
        if let Some(wake_at) = wake_at {
            self.agenda.remove(&(wake_at, key));
        }
        self.agenda.extend(next.map(|next| (next, key)));
    }
}

/// Computes a torrent's budget at this moment: its part of what all torrents share.
fn budget_of(budget: &Budget, store_room: &Room, dial_room: &Room, torrent: &Torrent) -> Budget {
    Budget {
        store_bytes: store_room.limit(torrent.swarm.key, torrent.blocks.unit(), budget.store_bytes),
        dials: dials_of(budget, dial_room, torrent.swarm.key),
        peers_per_torrent: torrent.swarm.peers_max(budget),
        ..*budget
    }
}

fn dials_taken(swarm: &Swarm) -> RoomUse {
    RoomUse { taken: swarm.dialing() as u64, is_short: swarm.is_short_of_dials() }
}

fn dials_of(budget: &Budget, dial_room: &Room, key: TorrentKey) -> usize {
    usize::try_from(dial_room.limit(key, 1, budget.dials as u64)).unwrap_or(usize::MAX)
}
