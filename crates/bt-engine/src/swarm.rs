//! Holds the swarm of a torrent or magnet: its trackers and searches, addresses, dials, and
//! connected peers.
//!
//! Decides: which trackers and searches are asked for peers, which connections stay, what connected
//! peers are told of each other. Must not know: pieces, metadata.
//! Invariant: a private torrent is announced to its trackers only, and only its trackers and the
//! user name its peers (BEP 27).

use crate::announcer::{self, Announcer};
use crate::close_reason::{AddressFate, CloseReason};
use crate::config::{Budget, Config};
use crate::ctx::Ctx;
use crate::deadline::earliest;
use crate::dials::{self, Dials};
use crate::external_ip::ExternalIp;
use crate::io::{AnnounceOrder, Discovery, Event, Output, PeerKey, TorrentKey, TrackerKey};
use crate::links::Links;
use crate::peer::NewConnection;
use crate::peer_link::PeerLink;
use crate::peer_list::{PeerList, PeerSource};
use crate::peer_search::PeerSearch;
use crate::tracker::Call;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use bt_tracker_wire::{AnnounceReply, Failure};
use bt_types::{Closeness, InfoHash, Rng, Source, Time, closeness, normalise, normalise_addr};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Seconds within which two connections, one dialled by each end, may have crossed: neither end
/// knew of the other's dial.
const CROSSING: Duration = Duration::from_secs(3);
/// The end that gives up its own connection waits this much longer: it counts from a later moment
/// than the other end, and both connections would end.
const CROSSING_SLACK: Duration = Duration::from_secs(1);
/// Connections: with fewer, while something is missing, trackers and the DHT are asked as soon as
/// they welcome it.
const PEERS_WANTED: usize = 20;

/// The swarm of one torrent or magnet.
#[derive(Debug)]
pub(crate) struct Swarm {
    pub(crate) key: TorrentKey,
    pub(crate) info_hash: InfoHash,
    /// Peers come from trackers and the user only (BEP 27).
    pub(crate) private: bool,
    pub(crate) peer_list: PeerList,
    pub(crate) announcer: Announcer,
    pub(crate) rng: Rng,
    searches: Vec<PeerSearch>,
    pub(crate) external_ip: ExternalIp,
    pub(crate) links: Links,
    /// Addresses of peers that were disconnected because neither side wanted anything.
    pub(crate) left_idle: BTreeSet<SocketAddr>,
    dials: Dials,
    counts: Option<(u32, u32)>,
    /// Changes whenever a peer that others can connect to comes or goes.
    pub(crate) pex_version: u64,
    /// No dials, searches, announces and connections.
    pub(crate) is_paused: bool,
    /// The torrent's own trackers, while the user has replaced them.
    replaced: Option<Vec<Vec<String>>>,
}

/// The progress that trackers are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) uploaded: u64,
    pub(crate) downloaded: u64,
    pub(crate) left: u64,
    /// Nothing is missing.
    pub(crate) is_done: bool,
}

/// The room for a new connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// There is room.
    Free,
    /// In place of this older connection to the same peer.
    Of(PeerKey),
    /// Only if the connection of another peer is closed.
    None,
}

impl Swarm {
    pub(crate) fn new(
        now: Time,
        key: TorrentKey,
        info_hash: InfoHash,
        trackers: Vec<Vec<String>>,
        private: bool,
        config: &Config,
        mut rng: Rng,
    ) -> Swarm {
        let searches = ways(config, private).map(PeerSearch::new).collect();
        Swarm {
            key,
            info_hash,
            private,
            peer_list: PeerList::default(),
            announcer: Announcer::new(now, trackers, &mut rng),
            rng,
            searches,
            external_ip: ExternalIp::default(),
            links: Links::default(),
            left_idle: BTreeSet::new(),
            dials: Dials::new(),
            counts: None,
            pex_version: 0,
            is_paused: false,
            replaced: None,
        }
    }

    // ---- time ----

    /// Returns when `wake` has something to do.
    pub(crate) fn deadline(&self, is_done: bool, budget: &Budget) -> Option<Time> {
        if self.is_paused {
            return None;
        }
        let wants_peers = self.lacks_peers(is_done);
        // An address may become due while others have all dials: `wake` notes that one is lacking.
        let is_unnoted = !self.dials.is_short && self.dials.lacks(self.links.by_key.len(), budget);
        let is_next = self.may_dial(budget) || is_unnoted;
        let dial = if is_next { self.peer_list.deadline() } else { None };
        let first = earliest([self.announcer.deadline(wants_peers), dial]);
        let searches = self.searches.iter().map(|search| search.deadline(wants_peers));
        searches.fold(first, |first, search| earliest([first, search]))
    }

    pub(crate) fn wake(&mut self, ctx: &mut Ctx<'_>, progress: &Progress) {
        if self.is_paused {
            return;
        }
        let wants_peers = self.lacks_peers(progress.is_done);
        while let Some(call) = self.announcer.take(ctx.now, wants_peers) {
            let free = ctx
                .budget
                .peers_per_torrent
                .saturating_sub(self.links.by_key.len() + self.dials.under_way);
            let order = self.announce_order(call, progress, free);
            ctx.event(self.key, Event::TrackerAsked(order.url.clone()));
            ctx.out.push_back(Output::Announce(self.key, Box::new(order)));
        }
        for search in &mut self.searches {
            if search.take(ctx.now, wants_peers) {
                ctx.event(self.key, Event::SearchBegan(search.via));
                ctx.out.push_back(Output::FindPeers(self.key, search.via));
            }
        }
        self.dial(ctx);
    }

    /// Allows more dials, because a second with peers has passed.
    pub(crate) fn reach_further(&mut self) {
        self.dials.reach_further();
    }

    /// Returns whether trackers and searches should help: peers are lacking, and something is
    /// missing.
    fn lacks_peers(&self, is_done: bool) -> bool {
        let most = self.links.most.map_or(usize::MAX, |most| most as usize);
        self.links.by_key.len() + self.dials.under_way < PEERS_WANTED.min(most) && !is_done
    }

    /// Returns the most connections that it may have.
    pub(crate) fn peers_max(&self, budget: &Budget) -> usize {
        let most = self.links.most.map_or(usize::MAX, |most| most as usize);
        most.min(budget.peers_per_torrent)
    }

    // ---- trackers and searches ----

    fn announce_order(&self, call: Call, progress: &Progress, free: usize) -> AnnounceOrder {
        let leaves = call.event == bt_tracker_wire::Event::Stopped;
        AnnounceOrder {
            tracker: call.tracker,
            url: call.url,
            event: call.event,
            uploaded: progress.uploaded,
            downloaded: progress.downloaded,
            left: progress.left,
            num_want: announcer::num_want(free, self.peer_list.fresh(), progress.is_done, leaves),
            tracker_id: call.tracker_id,
        }
    }

    /// Takes a tracker's answer. Returns how many seeders the tracker knows, if it says so.
    pub(crate) fn announced(
        &mut self,
        ctx: &mut Ctx<'_>,
        tracker: TrackerKey,
        result: Result<(IpAddr, AnnounceReply), Failure>,
    ) -> Option<u32> {
        let url = self.announcer.url(tracker).map(String::from)?;
        match result {
            Ok((from, mut reply)) => {
                let near = closeness(from) == Some(Closeness::Loopback);
                self.announcer.answered(ctx.now, tracker, &reply, near, &mut self.rng);
                self.counts = reply.seeders.zip(reply.leechers).or(self.counts);
                let (peers, warning) = (reply.peers.len(), reply.warning.take());
                self.add(ctx.now, PeerSource::Tracker(from), &reply.peers);
                let external_ip = reply.external_ip;
                self.seen_at(from, external_ip);
                ctx.out.push_back(Output::Event(
                    self.key,
                    Event::TrackerReply { url, peers, warning, external_ip },
                ));
                reply.seeders
            }
            Err(Failure { reason, retry_in }) => {
                self.announcer.failed(ctx.now, tracker, retry_in, &reason, &mut self.rng);
                ctx.event(self.key, Event::TrackerFailed { url, why: reason });
                None
            }
        }
    }

    /// Searches for peers by the ways that the user wants from now on.
    pub(crate) fn set_searches(&mut self, config: &Config) {
        let mut before = core::mem::take(&mut self.searches);
        self.searches = ways(config, self.private)
            .map(|via| match before.iter().position(|search| search.via == via) {
                Some(at) => before.swap_remove(at),
                None => PeerSearch::new(via),
            })
            .collect();
    }

    /// Notes that a search is over.
    pub(crate) fn search_ended(&mut self, ctx: &mut Ctx<'_>, via: Discovery, found: usize) {
        ctx.event(self.key, Event::SearchEnded { via, found });
        self.searches
            .iter_mut()
            .filter(|search| search.via == via)
            .for_each(|search| search.ended(ctx.now));
    }

    /// Replaces the torrent's trackers by the user's; `None` brings the torrent's own back. A
    /// tracker that is gone and may know us hears `stopped`.
    pub(crate) fn set_trackers(
        &mut self,
        ctx: &mut Ctx<'_>,
        trackers: Option<&[Vec<String>]>,
        progress: &Progress,
    ) {
        let wanted = match (trackers, &mut self.replaced) {
            (None, None) => return,
            (Some(trackers), replaced) => {
                replaced.get_or_insert_with(|| self.announcer.urls());
                trackers.to_vec()
            }
            (None, replaced) => replaced.take().unwrap_or_default(),
        };
        if self.announcer.has(&wanted) {
            return;
        }
        let calls = self.announcer.replace(ctx.now, wanted, &mut self.rng);
        self.send_announces(ctx, calls, progress);
    }

    /// Returns the torrent's own trackers, in tiers.
    pub(crate) fn own_trackers(&self) -> Vec<Vec<String>> {
        self.replaced.clone().unwrap_or_else(|| self.announcer.urls())
    }

    /// Returns the seeders and leechers of a tracker's last answer.
    pub(crate) fn counts(&self) -> Option<(u32, u32)> {
        self.counts
    }

    // ---- addresses and dials ----

    /// Adds addresses that a source other than a tracker named.
    pub(crate) fn found(&mut self, now: Time, source: Source, addrs: &[SocketAddr]) {
        match source {
            Source::User | Source::Api => self.add(now, PeerSource::User, addrs),
            Source::Link | Source::Host(_) if self.private => {}
            Source::Link => self.add(now, PeerSource::Link, addrs),
            Source::Host(host) => self.add(now, PeerSource::Host(host), addrs),
        }
    }

    /// Adds the address of a host on the local network that says it accepts connections there.
    pub(crate) fn called(&mut self, now: Time, addr: SocketAddr) {
        if !self.private {
            self.add(now, PeerSource::Host(addr.ip()), &[addr]);
            self.peer_list.called(now, addr);
        }
    }

    fn add(&mut self, now: Time, found_by: PeerSource, addrs: &[SocketAddr]) {
        for &addr in addrs {
            self.peer_list.add(now, addr, found_by, &mut self.rng);
        }
    }

    /// Returns whether a dial may begin. At first a part of the connections is left to later peers.
    /// If the first peers took all of each other's connections, later peers would starve.
    /// Connections that no peer comes for are dialled in the end.
    fn may_dial(&self, budget: &Budget) -> bool {
        // Most dials in silence fail, and take no connection.
        let connected = self.links.by_key.len();
        let dialing = if self.dials.is_silent(connected) { 0 } else { self.dials.under_way };
        let is_room = connected + dialing < budget.peers_per_torrent;
        is_room
            && !self.is_paused
            && self.dials.under_way < self.dials.max(connected, budget)
            && self.links.outbound + dialing
                < (budget.peers_per_torrent * self.dials.reach).div_ceil(100)
    }

    /// Counts the dials under way.
    pub(crate) fn dialing(&self) -> usize {
        self.dials.under_way
    }

    /// Returns whether the dials of other torrents kept some of this torrent's from being made.
    pub(crate) fn is_short_of_dials(&self) -> bool {
        self.dials.is_short
    }

    pub(crate) fn dial(&mut self, ctx: &mut Ctx<'_>) {
        while self.may_dial(ctx.budget) {
            let (connected, waiting) = (self.links.by_key.len(), self.peer_list.waiting());
            let Some(dial) = self.peer_list.take(ctx.now) else { break };
            let patience = dials::patience(connected, waiting, dial.is_first);
            self.dials.under_way += 1;
            ctx.out.push_back(Output::Dial(self.key, dial.addr, dial.source, patience));
        }
        let is_due = self.peer_list.deadline().is_some_and(|at| at <= ctx.now);
        self.dials.is_short = is_due && self.dials.lacks(self.links.by_key.len(), ctx.budget);
    }

    /// Asks trackers and searches as soon as they welcome it.
    pub(crate) fn hurry(&mut self, now: Time) {
        self.announcer.hurry(now);
        self.searches.iter_mut().for_each(|search| search.hurry());
    }

    /// Tries addresses, trackers and searches again after a change of network; trackers hear our
    /// new address.
    pub(crate) fn network_changed(&mut self, ctx: &mut Ctx<'_>) {
        self.dials.silent = 0;
        self.peer_list.forgive(ctx.now);
        self.announcer.network_changed(ctx.now);
        self.searches.iter_mut().for_each(|search| search.hurry());
        self.dial(ctx);
    }

    pub(crate) fn dial_failed(&mut self, now: Time, addr: SocketAddr) {
        self.dials.failed();
        self.peer_list.failed(now, addr);
    }

    // ---- peers come and go ----

    /// Decides whether a new connection may stay, and in which place.
    pub(crate) fn admit(
        &mut self,
        ctx: &Ctx<'_>,
        connection: &NewConnection,
    ) -> Result<Room, CloseReason> {
        let NewConnection { addr, outbound, handshake, .. } = connection;
        if *outbound {
            self.dials.succeeded();
        }
        if self.is_paused {
            return Err(CloseReason::Paused);
        }
        if handshake.info_hash != self.info_hash {
            return Err(CloseReason::WrongTorrent);
        }
        if handshake.peer_id == ctx.config.peer_id {
            return Err(CloseReason::Ourselves);
        }
        if self.peer_list.is_banned(*addr) {
            return Err(CloseReason::Banned);
        }
        // A dial may have been under way when the torrent turned out to be private.
        if self.private && *outbound && !self.peer_list.knows(*addr) {
            return Err(CloseReason::Private);
        }
        if let Some(key) = self.links.twin(ctx.now, handshake.peer_id, addr.ip())
            && let Some(twin) = self.links.by_key.get_mut(&key)
        {
            let (age, is_alive) = (ctx.now.since(twin.since), twin.is_alive(ctx.now));
            // Both ends dialled at once: both keep the connection that the smaller id dialled.
            let ours_stays = ctx.config.peer_id < handshake.peer_id;
            match (twin.outbound, *outbound) {
                (false, true) if ours_stays && age < CROSSING + CROSSING_SLACK => {
                    return Ok(Room::Of(key));
                }
                (true, false) if !ours_stays && age < CROSSING => return Ok(Room::Of(key)),
                (_, true) if is_alive => return Err(CloseReason::Duplicate),
                (_, true) => twin.spare = Some(connection.key),
                (_, false) if is_alive && twin.addr.ip() == addr.ip() => {
                    return Err(CloseReason::Duplicate);
                }
                // The end that dialled ends it, unless the older connection is dead there. If the
                // id is a copy, its owner loses nothing.
                (_, false) => {}
            }
        }
        let is_free = ctx.has_room && !self.is_full(ctx.budget);
        Ok(if is_free { Room::Free } else { Room::None })
    }

    /// Notes that a peer sent a message. Returns the later connection to it, which is needless as
    /// this one is alive.
    pub(crate) fn on_message(&mut self, now: Time, peer: PeerKey) -> Option<PeerKey> {
        let link = self.links.by_key.get_mut(&peer)?;
        link.heard = now;
        link.spare.take()
    }

    /// Notes another address of a peer.
    fn is_also_at(&mut self, now: Time, peer: PeerKey, addr: SocketAddr) {
        let addr = normalise_addr(addr);
        if self.links.by_key.get_mut(&peer).is_some_and(|link| link.is_also_at(addr)) {
            self.peer_list.connected(addr);
        } else {
            self.peer_list.closed(now, addr);
        }
    }

    /// Returns whether there is no room for another connection.
    pub(crate) fn is_full(&self, budget: &Budget) -> bool {
        self.links.by_key.len() >= budget.peers_per_torrent
    }

    /// Notes that a new connection was refused.
    pub(crate) fn refused(&mut self, now: Time, connection: &NewConnection, why: CloseReason) {
        let NewConnection { addr, outbound, handshake, .. } = connection;
        if why != CloseReason::Duplicate {
            return self.end_address(now, *addr, why.address_fate());
        }
        let Some(twin) = self.links.twin(now, handshake.peer_id, addr.ip()) else { return };
        // A peer that dialled us accepts connections at the same port of each of its addresses.
        let listens = self.links.by_key.get(&twin).and_then(|link| link.listens);
        let port = if *outbound { addr.port() } else { listens.map_or(0, |addr| addr.port()) };
        if port != 0 {
            self.is_also_at(now, twin, with_port(*addr, port));
        }
    }

    /// Notes what becomes of an address that has no connection any more.
    fn end_address(&mut self, now: Time, addr: SocketAddr, fate: AddressFate) {
        match fate {
            AddressFate::Again => self.peer_list.closed(now, addr),
            AddressFate::Later => self.peer_list.failed(now, addr),
            AddressFate::Forgotten => self.peer_list.forget(addr),
            AddressFate::Banned => self.peer_list.ban(addr),
            AddressFate::Kept => {}
        }
    }

    /// Adds a connection that stays.
    pub(crate) fn join(&mut self, now: Time, connection: &NewConnection) {
        let NewConnection { key, addr, outbound, handshake, .. } = connection;
        self.peer_list.connected(*addr);
        self.links.ids.insert((handshake.peer_id, normalise(addr.ip()), *key));
        self.links.outbound += usize::from(*outbound);
        self.pex_version += u64::from(*outbound);
        self.links.by_key.insert(*key, PeerLink::new(now, connection));
        for addr in core::mem::take(&mut self.links.inherited_addrs) {
            self.is_also_at(now, *key, addr);
        }
    }

    /// Removes a connection that ended.
    pub(crate) fn leave(&mut self, now: Time, peer: PeerKey, why: CloseReason, is_done: bool) {
        if why == CloseReason::BothSeeds {
            // Only addresses that can be dialled again: others would make the set grow with every
            // connection that they make.
            let known: Vec<SocketAddr> =
                self.links.addresses(peer).filter(|addr| self.peer_list.knows(*addr)).collect();
            self.left_idle.extend(known);
        }
        let Some(link) = self.links.by_key.remove(&peer) else { return };
        self.links.ids.remove(&(link.id, normalise(link.addr.ip()), peer));
        self.links.outbound -= usize::from(link.outbound);
        self.pex_version += u64::from(link.listens.is_some());
        let addr = link.address();
        let twin = self.links.twin(now, link.id, link.addr.ip());
        // The other end closed it just after the two connections were made: it keeps the other
        // connection.
        let is_needless = why == CloseReason::Gone
            && twin.is_some()
            && now.since(link.since) < CROSSING + CROSSING_SLACK;
        let why = if is_needless { CloseReason::Duplicate } else { why };
        let fate = why.address_fate();
        if why == CloseReason::Duplicate {
            let addrs = link.listens.into_iter().chain(link.aliases);
            match twin {
                Some(twin) => addrs.for_each(|addr| self.is_also_at(now, twin, addr)),
                None => self.links.inherited_addrs = addrs.collect(),
            }
        } else if fate != AddressFate::Kept {
            // Each alias may be dialled again; all but the first to answer become aliases again.
            link.aliases.iter().for_each(|&alias| self.peer_list.closed(now, alias));
        }
        self.end_address(now, addr, fate);
        if self.lacks_peers(is_done) {
            self.announcer.hurry(now);
        }
    }

    /// Leaves the swarm: announces `stopped` and closes all connections.
    pub(crate) fn stop(&mut self, ctx: &mut Ctx<'_>, progress: &Progress) {
        self.announce_stopped(ctx, progress);
        ctx.out.extend(
            self.links.by_key.keys().map(|&peer| Output::HangUp(peer, CloseReason::Removed)),
        );
    }

    /// Pauses, or goes on. The connections are the caller's to close.
    pub(crate) fn set_running(&mut self, ctx: &mut Ctx<'_>, running: bool, progress: &Progress) {
        if self.is_paused != running {
            return;
        }
        self.is_paused = !running;
        if running {
            self.announcer.resume(ctx.now);
            self.searches.iter_mut().for_each(|search| search.hurry());
        } else {
            self.announce_stopped(ctx, progress);
        }
    }

    fn announce_stopped(&mut self, ctx: &mut Ctx<'_>, progress: &Progress) {
        let calls = self.announcer.stop();
        self.send_announces(ctx, calls, progress);
    }

    /// Orders announces that ask for no peers.
    fn send_announces(&self, ctx: &mut Ctx<'_>, calls: Vec<Call>, progress: &Progress) {
        for call in calls {
            let order = self.announce_order(call, progress, 0);
            ctx.event(self.key, Event::TrackerAsked(order.url.clone()));
            ctx.out.push_back(Output::Announce(self.key, Box::new(order)));
        }
    }

    /// Makes the torrent private: forgets addresses that neither the user nor a tracker named.
    /// Returns the peers to disconnect.
    pub(crate) fn make_private(&mut self) -> Vec<PeerKey> {
        self.private = true;
        self.searches.clear();
        self.peer_list.forget_ignored_when_private();
        let is_ignored_when_private = |link: &PeerLink| !self.peer_list.knows(link.address());
        self.links
            .by_key
            .iter()
            .filter(|(_, link)| is_ignored_when_private(link))
            .map(|(peer, _)| *peer)
            .collect()
    }
}

/// Returns the ways to find peers without a tracker: none for a private torrent (BEP 27).
fn ways(config: &Config, private: bool) -> impl Iterator<Item = Discovery> {
    let dht = config.dht_port.map(|_| Discovery::Dht);
    let lsd = config.lsd.then_some(Discovery::Lsd);
    dht.into_iter().chain(lsd).filter(move |_| !private)
}

fn with_port(mut addr: SocketAddr, port: u16) -> SocketAddr {
    // A copy of the address, because it keeps the scope of a link-local address.
    addr.set_port(port);
    addr
}
