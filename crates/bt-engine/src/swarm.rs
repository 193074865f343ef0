//! Holds the swarm of a torrent or magnet: its trackers and searches, addresses, dials, and
//! connected peers.
//!
//! Decides: which trackers and searches are asked for peers, which connections stay, what connected
//! peers are told of each other. Must not know: pieces, metadata.
//! Invariant: a private torrent is announced to its trackers only, and only its trackers and the
//! user name its peers (BEP 27).

use crate::announcer::{self, Announcer};
use crate::config::{Budget, Config};
use crate::external_ip::ExternalIp;
use crate::io::{AnnounceOrder, Discovery, Event, Output, PeerKey, TorrentKey, TrackerKey};
use crate::peer::NewConnection;
use crate::peer_link::PeerLink;
use crate::peer_list::{PeerList, PeerSource};
use crate::peer_search::PeerSearch;
use crate::status::CloseReason;
use crate::tracker::Call;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bt_tracker_wire::{AnnounceReply, Failure};
use bt_types::{
    Closeness, InfoHash, PeerId, Rng, Source, Time, closeness, normalise, normalise_addr,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

/// Most dials under way per torrent while dials lead to peers.
const DIALS_MAX: usize = 20;
/// Failed dials in a row after which a torrent with few connected peers dials as many addresses at
/// a time as the budget allows. One living peer among hundreds of dead addresses is found in
/// seconds. Few peers means fewer than [`FEW_PEERS`].
const SILENT_DIALS: usize = 10;
const FEW_PEERS: usize = 8;
/// Seconds after which a dial is given up, as is usual.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds that a first dial has while few peers are connected and many addresses wait. That is
/// enough for two tries of the system, and for every round trip on Earth. An address that failed so
/// soon is dialled again with [`PATIENCE`].
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
/// Per cent of its connections that a torrent may dial itself at first, and the increase for each
/// second with peers.
const REACH_START: usize = 40;
const REACH_STEP: usize = 5;
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
    pub(crate) links: BTreeMap<PeerKey, PeerLink>,
    /// The connections of each peer id.
    ids: BTreeSet<(PeerId, IpAddr, PeerKey)>,
    /// The addresses of a peer whose connection is being replaced by another connection.
    heirloom: Vec<SocketAddr>,
    /// Connections that we dialled.
    outbound: usize,
    dialing: usize,
    /// Failed dials in a row.
    silent_dials: usize,
    /// The budget had fewer dials than the torrent wanted.
    is_short_of_dials: bool,
    /// Per cent of the connections that we may dial ourselves.
    reach: usize,
    counts: Option<(u32, u32)>,
    /// Changes whenever a peer that others can connect to comes or goes.
    pub(crate) pex_version: u64,
    /// No dials, searches, announces and connections.
    pub(crate) is_paused: bool,
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
        let dht = config.dht_port.map(|_| Discovery::Dht);
        let lsd = config.lsd.then_some(Discovery::Lsd);
        let searches =
            dht.into_iter().chain(lsd).filter(|_| !private).map(PeerSearch::new).collect();
        Swarm {
            key,
            info_hash,
            private,
            peer_list: PeerList::default(),
            announcer: Announcer::new(now, trackers, &mut rng),
            rng,
            searches,
            external_ip: ExternalIp::default(),
            links: BTreeMap::new(),
            ids: BTreeSet::new(),
            heirloom: Vec::new(),
            outbound: 0,
            dialing: 0,
            silent_dials: 0,
            is_short_of_dials: false,
            reach: REACH_START,
            counts: None,
            pex_version: 0,
            is_paused: false,
        }
    }

    // ---- time ----

    /// Returns when `wake` has something to do.
    pub(crate) fn deadline(&self, is_done: bool, budget: &Budget) -> Option<Time> {
        if self.is_paused {
            return None;
        }
        let hungry = self.lacks_peers(is_done);
        let dial = if self.may_dial(budget) { self.peer_list.deadline() } else { None };
        let searches = self.searches.iter().filter_map(|search| search.deadline(hungry));
        searches.chain(self.announcer.deadline(hungry)).chain(dial).min()
    }

    pub(crate) fn wake(
        &mut self,
        now: Time,
        progress: &Progress,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) {
        if self.is_paused {
            return;
        }
        let hungry = self.lacks_peers(progress.is_done);
        while let Some(call) = self.announcer.take(now, hungry) {
            let free = budget.peers_per_torrent.saturating_sub(self.links.len() + self.dialing);
            let order = self.announce_order(call, progress, free);
            out.push_back(Output::Event(self.key, Event::TrackerAsked(order.url.clone())));
            out.push_back(Output::Announce(self.key, Box::new(order)));
        }
        for search in &mut self.searches {
            if search.take(now, hungry) {
                out.push_back(Output::Event(self.key, Event::SearchBegan(search.via)));
                out.push_back(Output::FindPeers(self.key, search.via));
            }
        }
        self.dial(now, budget, out);
    }

    /// Allows more dials, because a second with peers has passed.
    pub(crate) fn reach_further(&mut self) {
        self.reach = (self.reach + REACH_STEP).min(100);
    }

    /// Returns whether trackers and searches should help: peers are lacking, and something is
    /// missing.
    fn lacks_peers(&self, is_done: bool) -> bool {
        self.links.len() + self.dialing < PEERS_WANTED && !is_done
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
        now: Time,
        tracker: TrackerKey,
        result: Result<(IpAddr, AnnounceReply), Failure>,
        out: &mut VecDeque<Output>,
    ) -> Option<u32> {
        let url = self.announcer.url(tracker).map(String::from)?;
        match result {
            Ok((from, mut reply)) => {
                let near = closeness(from) == Some(Closeness::Loopback);
                self.announcer.answered(now, tracker, &reply, near, &mut self.rng);
                self.counts = reply.seeders.zip(reply.leechers).or(self.counts);
                let (peers, warning) = (reply.peers.len(), reply.warning.take());
                self.add(now, PeerSource::Tracker(from), &reply.peers);
                let external_ip = reply.external_ip;
                self.seen_at(from, external_ip);
                out.push_back(Output::Event(
                    self.key,
                    Event::TrackerReply { url, peers, warning, external_ip },
                ));
                reply.seeders
            }
            Err(Failure { reason, retry_in }) => {
                self.announcer.failed(now, tracker, retry_in, &mut self.rng);
                out.push_back(Output::Event(self.key, Event::TrackerFailed { url, why: reason }));
                None
            }
        }
    }

    /// Notes that a search is over.
    pub(crate) fn sought(
        &mut self,
        now: Time,
        via: Discovery,
        found: usize,
        out: &mut VecDeque<Output>,
    ) {
        out.push_back(Output::Event(self.key, Event::SearchEnded { via, found }));
        self.searches
            .iter_mut()
            .filter(|search| search.via == via)
            .for_each(|search| search.sought(now));
    }

    /// Returns the seeders and leechers of a tracker's last answer.
    pub(crate) fn counts(&self) -> Option<(u32, u32)> {
        self.counts
    }

    // ---- addresses and dials ----

    /// Adds addresses that a source other than a tracker named.
    pub(crate) fn found(&mut self, now: Time, source: Source, addrs: &[SocketAddr]) {
        match source {
            Source::User => self.add(now, PeerSource::User, addrs),
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
        let dialing = if self.is_silent() { 0 } else { self.dialing };
        let is_room = self.links.len() + dialing < budget.peers_per_torrent;
        is_room
            && !self.is_paused
            && self.dialing < self.dials_max(budget)
            && self.outbound + dialing < (budget.peers_per_torrent * self.reach).div_ceil(100)
    }

    /// Returns whether few peers are connected and dials keep failing.
    fn is_silent(&self) -> bool {
        self.links.len() < FEW_PEERS && self.silent_dials >= SILENT_DIALS
    }

    fn dials_max(&self, budget: &Budget) -> usize {
        if self.is_silent() { budget.dials } else { budget.dials.min(DIALS_MAX) }
    }

    /// Counts the dials under way.
    pub(crate) fn dialing(&self) -> usize {
        self.dialing
    }

    /// Returns whether the dials of other torrents kept some of this torrent's from being made.
    pub(crate) fn is_short_of_dials(&self) -> bool {
        self.is_short_of_dials
    }

    pub(crate) fn dial(&mut self, now: Time, budget: &Budget, out: &mut VecDeque<Output>) {
        while self.may_dial(budget) {
            let is_hurried = self.links.len() < FEW_PEERS && self.peer_list.waiting() > DIALS_MAX;
            let Some(dial) = self.peer_list.take(now) else { break };
            let patience = if is_hurried && dial.is_first { SHORT_PATIENCE } else { PATIENCE };
            self.dialing += 1;
            out.push_back(Output::Dial(self.key, dial.addr, dial.source, patience));
        }
        let wants = if self.is_silent() { usize::MAX } else { DIALS_MAX };
        self.is_short_of_dials = self.dialing >= budget.dials
            && budget.dials < wants
            && self.peer_list.deadline().is_some_and(|at| at <= now);
    }

    /// Tries addresses, trackers and searches again after a change of network; trackers hear our
    /// new address.
    pub(crate) fn network_changed(
        &mut self,
        now: Time,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) {
        self.silent_dials = 0;
        self.peer_list.forgive(now);
        self.announcer.network_changed(now);
        self.searches.iter_mut().for_each(|search| search.hurry());
        self.dial(now, budget, out);
    }

    pub(crate) fn dial_failed(&mut self, now: Time, addr: SocketAddr) {
        self.dialing = self.dialing.saturating_sub(1);
        self.silent_dials = self.silent_dials.saturating_add(1);
        self.peer_list.failed(now, addr);
    }

    // ---- peers come and go ----

    /// Decides whether a new connection may stay, and in which place.
    pub(crate) fn admit(
        &mut self,
        now: Time,
        connection: &NewConnection,
        config: &Config,
        budget: &Budget,
    ) -> Result<Room, CloseReason> {
        let NewConnection { addr, outbound, handshake, room, .. } = connection;
        if *outbound {
            self.dialing = self.dialing.saturating_sub(1);
            self.silent_dials = 0;
        }
        if self.is_paused {
            return Err(CloseReason::Paused);
        }
        if handshake.info_hash != self.info_hash {
            return Err(CloseReason::WrongTorrent);
        }
        if handshake.peer_id == config.peer_id {
            return Err(CloseReason::Ourselves);
        }
        if self.peer_list.is_banned(*addr) {
            return Err(CloseReason::Banned);
        }
        // A dial may have been under way when the torrent turned out to be private.
        if self.private && *outbound && !self.peer_list.knows(*addr) {
            return Err(CloseReason::Private);
        }
        if let Some(key) = self.twin(now, handshake.peer_id, addr.ip())
            && let Some(twin) = self.links.get_mut(&key)
        {
            let (age, is_alive) = (now.since(twin.since), twin.is_alive(now));
            // Both ends dialled at once: both keep the connection that the smaller id dialled.
            let ours_stays = config.peer_id < handshake.peer_id;
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
        let is_free = *room && !self.is_full(budget);
        Ok(if is_free { Room::Free } else { Room::None })
    }

    /// Returns the connection to the peer that has this id and may be at this address. Among
    /// several it prefers a connection that is alive, then a connection that we dialled.
    fn twin(&self, now: Time, id: PeerId, ip: IpAddr) -> Option<PeerKey> {
        let (first, last) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::from_bits(u128::MAX).into());
        let of_id = self.ids.range((id, first, PeerKey(0))..=(id, last, PeerKey(u64::MAX)));
        let twins =
            of_id.filter(|(_, other, _)| may_be_one(*other, normalise(ip))).map(|(.., key)| *key);
        twins.max_by_key(|key| {
            self.links.get(key).map(|twin| (twin.is_alive(now), twin.outbound, twin.heard))
        })
    }

    /// Notes that a peer said something. Returns the later connection to it, which is needless as
    /// this one is alive.
    pub(crate) fn heard(&mut self, now: Time, peer: PeerKey) -> Option<PeerKey> {
        let link = self.links.get_mut(&peer)?;
        link.heard = now;
        link.spare.take()
    }

    /// Notes another address of a peer.
    fn is_also_at(&mut self, now: Time, peer: PeerKey, addr: SocketAddr) {
        let addr = normalise_addr(addr);
        if self.links.get_mut(&peer).is_some_and(|link| link.is_also_at(addr)) {
            self.peer_list.connected(addr);
        } else {
            self.peer_list.closed(now, addr);
        }
    }

    /// Returns whether there is no room for another connection.
    pub(crate) fn is_full(&self, budget: &Budget) -> bool {
        self.links.len() >= budget.peers_per_torrent
    }

    /// Notes that a new connection was refused.
    pub(crate) fn refused(&mut self, now: Time, connection: &NewConnection, why: CloseReason) {
        let NewConnection { addr, outbound, handshake, .. } = connection;
        match why {
            CloseReason::Ourselves | CloseReason::Banned => self.peer_list.forget(*addr),
            CloseReason::Duplicate => {
                let Some(twin) = self.twin(now, handshake.peer_id, addr.ip()) else { return };
                // A peer that dialled us accepts connections at the same port of each of its
                // addresses.
                let port = self
                    .links
                    .get(&twin)
                    .and_then(|link| link.listens)
                    .map(|listens| listens.port());
                let mut alias = *addr;
                alias.set_port(if *outbound { addr.port() } else { port.unwrap_or(0) });
                if alias.port() != 0 {
                    self.is_also_at(now, twin, alias);
                }
            }
            _ => self.peer_list.closed(now, *addr),
        }
    }

    /// Adds a connection that stays.
    pub(crate) fn join(&mut self, now: Time, connection: &NewConnection) {
        let NewConnection { key, addr, outbound, handshake, .. } = connection;
        self.peer_list.connected(*addr);
        self.ids.insert((handshake.peer_id, normalise(addr.ip()), *key));
        self.outbound += usize::from(*outbound);
        self.pex_version += u64::from(*outbound);
        self.links.insert(*key, PeerLink::new(now, connection));
        for addr in core::mem::take(&mut self.heirloom) {
            self.is_also_at(now, *key, addr);
        }
    }

    /// Removes a connection that ended.
    pub(crate) fn leave(&mut self, now: Time, peer: PeerKey, why: CloseReason, is_done: bool) {
        let Some(link) = self.links.remove(&peer) else { return };
        self.ids.remove(&(link.id, normalise(link.addr.ip()), peer));
        self.outbound -= usize::from(link.outbound);
        self.pex_version += u64::from(link.listens.is_some());
        let addr = link.address();
        let twin = self.twin(now, link.id, link.addr.ip());
        // The other end closed it just after the two connections were made: it keeps the other
        // connection.
        let is_needless = why == CloseReason::Gone
            && twin.is_some()
            && now.since(link.since) < CROSSING + CROSSING_SLACK;
        let why = if is_needless { CloseReason::Duplicate } else { why };
        match why {
            CloseReason::Duplicate => {
                let addrs = link.listens.into_iter().chain(link.aliases);
                match twin {
                    Some(twin) => addrs.for_each(|addr| self.is_also_at(now, twin, addr)),
                    None => self.heirloom = addrs.collect(),
                }
            }
            CloseReason::BothSeeds => {}
            // Each alias may be dialled again; all but the first to answer become aliases again.
            _ => link.aliases.iter().for_each(|&alias| self.peer_list.closed(now, alias)),
        }
        match why {
            CloseReason::BadPiece | CloseReason::BadMetadata => self.peer_list.ban(addr),
            // The torrent remembers the peer, and may want it again.
            CloseReason::BothSeeds | CloseReason::Duplicate => {}
            CloseReason::MetadataSize | CloseReason::Private | CloseReason::Banned => {
                self.peer_list.forget(addr)
            }
            // Other addresses come first now.
            CloseReason::NoMetadata => self.peer_list.failed(now, addr),
            _ => self.peer_list.closed(now, addr),
        }
        if self.lacks_peers(is_done) {
            self.announcer.hurry(now);
        }
    }

    /// Returns the address to dial a peer at, or that it connected from, and its other addresses.
    pub(crate) fn addresses(&self, peer: PeerKey) -> impl Iterator<Item = SocketAddr> {
        let link = self.links.get(&peer).into_iter();
        link.flat_map(|link| core::iter::once(link.address()).chain(link.aliases.iter().copied()))
    }

    /// Leaves the swarm: announces `stopped` and closes all connections.
    pub(crate) fn stop(&mut self, progress: &Progress, out: &mut VecDeque<Output>) {
        self.farewell(progress, out);
        out.extend(self.links.keys().map(|&peer| Output::HangUp(peer, CloseReason::Removed)));
    }

    /// Pauses, or goes on. The connections are the caller's to close.
    pub(crate) fn set_running(
        &mut self,
        now: Time,
        running: bool,
        progress: &Progress,
        out: &mut VecDeque<Output>,
    ) {
        if self.is_paused != running {
            return;
        }
        self.is_paused = !running;
        if running {
            self.announcer.resume(now);
            self.searches.iter_mut().for_each(|search| search.hurry());
        } else {
            self.farewell(progress, out);
        }
    }

    fn farewell(&mut self, progress: &Progress, out: &mut VecDeque<Output>) {
        for call in self.announcer.stop() {
            let order = self.announce_order(call, progress, 0);
            out.push_back(Output::Event(self.key, Event::TrackerAsked(order.url.clone())));
            out.push_back(Output::Announce(self.key, Box::new(order)));
        }
    }

    /// Makes the torrent private: forgets addresses that neither the user nor a tracker named.
    /// Returns the peers to disconnect.
    pub(crate) fn make_private(&mut self) -> Vec<PeerKey> {
        self.private = true;
        self.searches.clear();
        self.peer_list.forget_hearsay();
        let is_hearsay = |link: &PeerLink| !self.peer_list.knows(link.address());
        self.links.iter().filter(|(_, link)| is_hearsay(link)).map(|(peer, _)| *peer).collect()
    }
}

/// Returns whether one peer id at two addresses counts as one peer. An id alone proves nothing,
/// since it can be copied. But a host may have an address of each family, and several on networks
/// near us. Two public ones of one family are rarer than a copy.
fn may_be_one(one: IpAddr, other: IpAddr) -> bool {
    let is_near = |ip| closeness(ip) != Some(Closeness::Public);
    one == other || one.is_ipv4() != other.is_ipv4() || (is_near(one) && is_near(other))
}
