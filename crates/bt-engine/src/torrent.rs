//! One torrent: a router that owns the sub-machines and the peers, and wires them together.
//!
//! Decides: only who hears of what. Must not know: sockets, files, other torrents.
//! Invariant: the picker, ledger, choker, book and announcer cannot see each other; every path between them is here.

use crate::announcer::{self, Announcer};
use crate::book::Book;
use crate::config::{Budget, Config, Rates};
use crate::io::{AnnounceOrder, Event, Output, PeerKey, TorrentKey, TorrentSpec, TrackerKey};
use crate::map;
use crate::meter::Meter;
use crate::pace::Pace;
use crate::peer::{Arrival, Peer};
use crate::reveal::Reveal;
use crate::slow::{self, Facts};
use crate::sources::{SourceId, Sources};
use crate::status::{SourceStat, TorrentStatus, Why};
use crate::tracker::Call;
use crate::work::Work;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use bt_peer_wire::{ExtendedHandshake, Message};
use bt_tracker_wire::{AnnounceReply, Failure};
use bt_types::{Bitfield, Closeness, Geometry, InfoHash, PeerId, Piece, Rng, Source, StoreFault, Time, closeness};
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Dials under way per torrent.
const DIALS_MAX: usize = 20;
/// Per cent of its connections that a torrent makes itself at first, and how much more in each second that it has peers.
const REACH_START: usize = 40;
const REACH_STEP: usize = 5;
/// Fewer connections than this while downloading: trackers are asked as soon as they welcome it, and more of them.
const PEERS_WANTED: usize = 20;
/// Time between two looks for silent peers.
const WATCH: Duration = Duration::from_secs(1);

/// A torrent and its peers.
#[derive(Debug)]
pub(crate) struct Torrent {
    pub(crate) key: TorrentKey,
    pub(crate) info_hash: InfoHash,
    pub(crate) geometry: Geometry,
    pub(crate) have: Bitfield,
    /// The pieces that we want and lack.
    pub(crate) missing: Bitfield,
    pub(crate) bytes_missing: u64,
    /// Bytes of the pieces that we want, there or not.
    pub(crate) bytes_wanted: u64,
    /// Peers that we left because neither wanted anything.
    pub(crate) parted: BTreeSet<SocketAddr>,
    pub(crate) peers: BTreeMap<PeerKey, Peer>,
    /// Peers with messages in their outboxes.
    pub(crate) talked_to: Vec<PeerKey>,
    /// Peers that could be given more requests than there were blocks.
    pub(crate) hungry: VecDeque<PeerKey>,
    /// Pieces that we have and that peers have not heard of.
    pub(crate) untold: Vec<Piece>,
    /// Peers that we serve.
    pub(crate) unchoked: BTreeSet<PeerKey>,
    /// The connection to each peer.
    ids: BTreeMap<PeerId, PeerKey>,
    /// Connections that we made.
    outbound: usize,
    pub(crate) work: Work,
    /// Present while we are the seed that a swarm begins with.
    pub(crate) reveal: Option<Reveal>,
    pub(crate) book: Book,
    pub(crate) announcer: Announcer,
    pub(crate) sources: Sources,
    /// Those with a part in a piece that failed.
    pub(crate) on_parole: BTreeSet<SourceId>,
    pub(crate) rng: Rng,
    dialing: usize,
    /// Per cent of the connections that we may make ourselves.
    reach: usize,
    pub(crate) store_fault: Option<StoreFault>,
    pub(crate) bytes_done: u64,
    pub(crate) down: Meter,
    pub(crate) up: Meter,
    /// The torrent's own limits.
    pub(crate) up_pace: Pace,
    pub(crate) down_pace: Pace,
    /// Peers that join the downlink's line.
    pub(crate) askers: Vec<PeerKey>,
    /// Peers that join the uplink's line again.
    unparked: Vec<PeerKey>,
    /// Bytes of requests that were given up.
    pub(crate) unasked: u64,
    pub(crate) downloaded: u64,
    pub(crate) wasted: u64,
    pub(crate) spoiled: u64,
    pub(crate) bad_pieces: u32,
    pub(crate) banned: u32,
    swarm: Option<(u32, u32)>,
    /// The deadline that the engine knows of.
    pub(crate) planned: Option<Time>,
    /// Upload slots, before limits.
    pub(crate) slots: usize,
    pub(crate) next_round: Time,
    pub(crate) rounds: u32,
    next_watch: Option<Time>,
    /// The highest rate of the download so far, looked at once a second.
    best_rate: u64,
}

impl Torrent {
    pub(crate) fn new(now: Time, key: TorrentKey, spec: TorrentSpec, config: &Config, mut rng: Rng) -> Torrent {
        let TorrentSpec { info_hash, geometry, have, trackers, wants, .. } = spec;
        let mut torrent = Torrent {
            key,
            info_hash,
            geometry,
            work: Work::new(geometry, &have, rng.fork()),
            reveal: have.is_full().then(|| Reveal::new(geometry, &mut rng)),
            book: Book::default(),
            announcer: Announcer::new(now, trackers, &mut rng),
            sources: Sources::default(),
            on_parole: BTreeSet::new(),
            peers: BTreeMap::new(),
            talked_to: Vec::new(),
            hungry: VecDeque::new(),
            untold: Vec::new(),
            unchoked: BTreeSet::new(),
            ids: BTreeMap::new(),
            outbound: 0,
            bytes_done: have.iter(&geometry).map(|piece| u64::from(geometry.piece_len(piece))).sum(),
            missing: Bitfield::empty(geometry.piece_count()),
            bytes_missing: 0,
            bytes_wanted: 0,
            parted: BTreeSet::new(),
            have,
            rng,
            dialing: 0,
            reach: REACH_START,
            store_fault: None,
            down: Meter::default(),
            up: Meter::default(),
            up_pace: Pace::new(now),
            down_pace: Pace::new(now),
            askers: Vec::new(),
            unparked: Vec::new(),
            unasked: 0,
            downloaded: 0,
            wasted: 0,
            spoiled: 0,
            bad_pieces: 0,
            banned: 0,
            swarm: None,
            planned: None,
            slots: config.upload_slots,
            next_round: now,
            rounds: 0,
            next_watch: None,
            best_rate: 0,
        };
        // Nobody works on anything yet that could be given up.
        let _ = torrent.work.want(&wants);
        torrent.count_wanted();
        torrent.announcer.set_partial(now, torrent.is_partial());
        torrent
    }

    // ---- time ----

    /// When `wake` has something to do.
    pub(crate) fn deadline(&self, budget: &Budget) -> Option<Time> {
        let round = (!self.peers.is_empty()).then_some(self.next_round);
        let dial = if self.may_dial(budget) { self.book.deadline() } else { None };
        let paces = [self.up_pace.deadline(), self.down_pace.deadline()];
        [self.announcer.deadline(self.lacks_peers()), round, dial, self.next_watch].into_iter().chain(paces).flatten().min()
    }

    pub(crate) fn wake(&mut self, now: Time, config: &Config, budget: &Budget, out: &mut VecDeque<Output>) {
        self.announce(now, budget, out);
        self.dial(now, budget, out);
        self.askers.extend(self.down_pace.unpark(now));
        self.unparked.extend(self.up_pace.unpark(now));
        if !self.peers.is_empty() && now >= self.next_round {
            self.choke_round(now, config, budget);
        }
        if self.next_watch.is_some_and(|at| at <= now) {
            self.watch(now, out);
        }
    }

    /// The torrent's own limits.
    pub(crate) fn limit(&mut self, now: Time, rates: Rates) {
        self.up_pace.set_rate(rates.up, now);
        self.down_pace.set_rate(rates.down, now);
    }

    /// Peers that join the uplink's line again.
    pub(crate) fn take_unparked(&mut self) -> Vec<PeerKey> {
        core::mem::take(&mut self.unparked)
    }

    // ---- trackers and addresses ----

    /// Whether trackers shall help: peers are lacking, and pieces are wanted.
    fn lacks_peers(&self) -> bool {
        self.peers.len() + self.dialing < PEERS_WANTED && !self.is_done()
    }

    fn announce(&mut self, now: Time, budget: &Budget, out: &mut VecDeque<Output>) {
        while let Some(call) = self.announcer.take(now, self.lacks_peers()) {
            let free = budget.peers_per_torrent.saturating_sub(self.peers.len() + self.dialing);
            let order = self.announce_order(call, free);
            out.push_back(Output::Announce(self.key, Box::new(order)));
        }
    }

    fn announce_order(&self, call: Call, free: usize) -> AnnounceOrder {
        let leaves = call.event == bt_tracker_wire::Event::Stopped;
        AnnounceOrder {
            tracker: call.tracker,
            url: call.url,
            event: call.event,
            uploaded: self.up.total(),
            downloaded: self.downloaded,
            left: if self.is_partial() { self.geometry.total() - self.bytes_done } else { self.bytes_missing },
            num_want: announcer::num_want(free, self.book.fresh(), self.is_done(), leaves),
            tracker_id: call.tracker_id,
        }
    }

    pub(crate) fn announced(
        &mut self,
        now: Time,
        tracker: TrackerKey,
        result: Result<(IpAddr, AnnounceReply), Failure>,
        out: &mut VecDeque<Output>,
    ) {
        let Some(url) = self.announcer.url(tracker).map(String::from) else { return };
        match result {
            Ok((from, mut reply)) => {
                let near = closeness(from) == Some(Closeness::Loopback);
                self.announcer.answered(now, tracker, &reply, near, &mut self.rng);
                self.swarm = reply.seeders.zip(reply.leechers).or(self.swarm);
                if reply.seeders.is_some_and(|seeders| seeders > 1) {
                    self.reveal_all();
                }
                let (peers, warning) = (reply.peers.len(), reply.warning.take());
                self.found(now, Source::Host(from), &reply.peers);
                let external_ip = reply.external_ip;
                out.push_back(Output::Event(self.key, Event::TrackerReply { url, peers, warning, external_ip }));
            }
            Err(Failure { reason, retry_in }) => {
                self.announcer.failed(now, tracker, retry_in, &mut self.rng);
                out.push_back(Output::Event(self.key, Event::TrackerFailed { url, why: reason }));
            }
        }
    }

    pub(crate) fn found(&mut self, now: Time, source: Source, addrs: &[SocketAddr]) {
        for &addr in addrs {
            self.book.add(now, addr, source, &mut self.rng);
        }
    }

    /// At first a part of the connections is left to those who come later: if the first to join took all of each other's, they would be a
    /// swarm of their own, and who came later would starve. What nobody comes for is dialled for after all.
    fn may_dial(&self, budget: &Budget) -> bool {
        let made = self.outbound + self.dialing;
        let is_room = self.peers.len() + self.dialing < budget.peers_per_torrent;
        is_room && self.dialing < DIALS_MAX && made < (budget.peers_per_torrent * self.reach).div_ceil(100)
    }

    pub(crate) fn dial(&mut self, now: Time, budget: &Budget, out: &mut VecDeque<Output>) {
        while self.may_dial(budget) {
            let Some((addr, source)) = self.book.take(now) else { break };
            self.dialing += 1;
            out.push_back(Output::Dial(self.key, addr, source));
        }
    }

    pub(crate) fn dial_failed(&mut self, now: Time, addr: SocketAddr) {
        self.dialing = self.dialing.saturating_sub(1);
        self.book.failed(now, addr);
    }

    pub(crate) fn stop(&mut self, out: &mut VecDeque<Output>) {
        for call in self.announcer.stop() {
            let order = self.announce_order(call, 0);
            out.push_back(Output::Announce(self.key, Box::new(order)));
        }
        for &peer in self.peers.keys() {
            out.push_back(Output::HangUp(peer, Why::Removed));
        }
    }

    // ---- peers come and go ----

    pub(crate) fn connected(
        &mut self,
        now: Time,
        arrival: Arrival,
        config: &Config,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) {
        let Arrival { key, addr, outbound, handshake, .. } = arrival;
        if outbound {
            self.dialing = self.dialing.saturating_sub(1);
        }
        if let Err(why) = self.admit(now, &arrival, config, budget, out) {
            match why {
                Why::Ourselves | Why::BadPiece => self.book.forget(addr),
                _ => self.book.closed(now, addr),
            }
            out.push_back(Output::HangUp(key, why));
            return;
        }
        self.book.connected(addr);
        // What we have is said to it at once.
        self.tell_haves();
        let source = self.sources.open(addr, handshake.peer_id);
        let mut row = Peer::new(now, &arrival, source, self.geometry.piece_count());
        row.on_parole = self.on_parole.contains(&source);
        if let Some(opening) = self.opening(row.fast) {
            row.say(opening, &mut self.talked_to);
        }
        if handshake.reserved.extended() {
            let upload_only = self.is_upload_only().then_some(true);
            let hello = ExtendedHandshake { upload_only, ..ExtendedHandshake::ours(addr.ip(), config.listen_port) };
            row.say(Message::Extended { id: 0, payload: Bytes::from(hello.to_bytes()) }, &mut self.talked_to);
        }
        if self.peers.is_empty() {
            self.next_round = now + config.choke_round;
        }
        self.ids.insert(handshake.peer_id, key);
        self.outbound += usize::from(outbound);
        self.peers.insert(key, row);
        if let Some(reveal) = &mut self.reveal {
            reveal.join(now, key);
            self.tease(key);
        }
        self.next_watch.get_or_insert(now + WATCH);
        out.push_back(Output::Event(self.key, Event::PeerJoined(addr, handshake.peer_id)));
    }

    /// Whether a new connection may stay. It may push out an older one to the same peer.
    fn admit(
        &mut self,
        now: Time,
        arrival: &Arrival,
        config: &Config,
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) -> Result<(), Why> {
        let Arrival { addr, outbound, handshake, room, .. } = arrival;
        if handshake.info_hash != self.info_hash {
            return Err(Why::WrongTorrent);
        }
        if handshake.peer_id == config.peer_id {
            return Err(Why::Ourselves);
        }
        if self.book.is_banned(*addr) {
            return Err(Why::BadPiece);
        }
        let twin = self.ids.get(&handshake.peer_id).and_then(|key| self.peers.get(key));
        if let Some((twin, twin_outbound)) = twin.map(|peer| (peer.key, peer.outbound)) {
            // Both dialled at once: both sides keep the connection that the smaller id made.
            let ours_stays = config.peer_id < handshake.peer_id;
            if twin_outbound == *outbound || twin_outbound == ours_stays {
                return Err(Why::Duplicate);
            }
            self.hang_up(now, twin, Why::Duplicate, out);
        }
        if !room || self.peers.len() >= budget.peers_per_torrent {
            let stranger = self.stranger().filter(|_| !outbound).ok_or(Why::Full)?;
            self.hang_up(now, stranger, Why::Full, out);
        }
        Ok(())
    }

    /// A peer, by chance, with which nothing was ever exchanged. It makes room for one that comes to us when there is none: so those
    /// who come late find neighbours, and nobody can fill our places by being there and doing nothing.
    fn stranger(&mut self) -> Option<PeerKey> {
        let is_stranger = |peer: &&Peer| peer.up.total() == 0 && peer.pipeline.received() == 0;
        let strangers: Vec<PeerKey> = self.peers.values().filter(is_stranger).map(|peer| peer.key).collect();
        strangers.get(self.rng.index(strangers.len())).copied()
    }

    /// What we have, in the shortest form (BEP 6).
    fn opening(&self, fast: bool) -> Option<Message> {
        match (fast, self.have.is_full(), self.have.is_empty() || self.reveal.is_some()) {
            (true, _, true) => Some(Message::HaveNone),
            (true, true, _) => Some(Message::HaveAll),
            (false, _, true) => None,
            _ => Some(Message::Bitfield(Bytes::copy_from_slice(self.have.as_bytes()))),
        }
    }

    pub(crate) fn hang_up(&mut self, now: Time, peer: PeerKey, why: Why, out: &mut VecDeque<Output>) {
        if self.peers.contains_key(&peer) {
            out.push_back(Output::HangUp(peer, why));
            self.closed(now, peer, why, out);
        }
    }

    /// Forgets a connection: its requests go back, its pieces count no more.
    pub(crate) fn closed(&mut self, now: Time, peer: PeerKey, why: Why, out: &mut VecDeque<Output>) {
        let Some(mut row) = self.peers.remove(&peer) else { return };
        self.ids.remove(&row.id);
        self.unchoked.remove(&peer);
        self.outbound -= usize::from(row.outbound);
        self.unask(row.pipeline.clear());
        self.leave_lead(peer, out);
        if row.counted {
            self.work.less(row.has.iter(&self.geometry));
        }
        if let Some(reveal) = &mut self.reveal {
            reveal.leave(peer);
            row.has.iter(&self.geometry).filter(|&piece| self.work.availability(piece) == 0).for_each(|piece| reveal.lost(piece));
        }
        if why == Why::BadPiece {
            self.book.ban(row.addr);
        } else if why == Why::BothSeeds {
            self.parted.insert(row.addr);
        } else {
            self.book.closed(now, row.addr);
        }
        if self.lacks_peers() {
            self.announcer.hurry(now);
        }
        out.push_back(Output::Event(self.key, Event::PeerLeft(row.addr, why)));
    }

    // ---- the store and silent peers ----

    /// The store cannot go on: nothing is asked for, nobody is served, until it can.
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

    pub(crate) fn store_recovered(&mut self, now: Time, config: &Config, budget: &Budget, out: &mut VecDeque<Output>) {
        if self.store_fault.take().is_some() {
            out.push_back(Output::Event(self.key, Event::StoreRecovered));
            self.choke_round(now, config, budget);
            self.feed_everybody(now, budget);
        }
    }

    /// Looks for peers that were asked and are silent, and gives those that rejected another chance.
    fn watch(&mut self, now: Time, out: &mut VecDeque<Output>) {
        self.tell_haves();
        let mut again = Vec::new();
        for peer in self.peers.values_mut() {
            let silent = peer.pipeline.snub_if_silent(now);
            if silent.is_some() || peer.pipeline.resume() {
                let blocks = silent.unwrap_or_default();
                peer.forgive(blocks.len());
                // It may be the only one that can be asked.
                if !core::mem::replace(&mut peer.hungry, true) {
                    self.hungry.push_back(peer.key);
                }
                again.push((peer.key, blocks));
            }
        }
        // In end-game, blocks are late by now that can be asked of somebody else.
        if !again.is_empty() || self.work.is_end_game() {
            self.work.look_again();
        }
        for (peer, blocks) in again {
            self.unask(blocks);
            self.leave_lead(peer, out);
        }
        if let Some(reveal) = &mut self.reveal {
            let work = &self.work;
            reveal.reclaim(now, |peer| self.unchoked.contains(&peer), |piece| work.availability(piece) > 0);
            for row in self.peers.values_mut().filter(|row| !row.interested) {
                for piece in reveal.let_choose(now, row.key, &row.has) {
                    row.say(Message::Have(piece.number()), &mut self.talked_to);
                }
            }
            let all: Vec<PeerKey> = self.peers.keys().copied().collect();
            for peer in all {
                self.reveal_to(now, peer);
                self.tease(peer);
            }
        }
        if self.reveal.as_ref().is_some_and(|reveal| reveal.is_vain(now)) {
            self.reveal_all();
        }
        self.best_rate = self.best_rate.max(self.down.rate(now));
        self.reach = (self.reach + REACH_STEP).min(100);
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
            partial_seeds: self.peers.values().filter(|peer| peer.upload_only && !peer.has.is_full()).count(),
            serving_us: self.peers.values().filter(|peer| peer.serves_us).count(),
            swarm: self.swarm,
            store_fault: self.store_fault,
            slow: slow::reason(&self.facts(now)),
            map: map::cells(&self.have, &self.missing, self.work.open()),
        }
    }

    /// What tells why the download is slow, if it is.
    fn facts(&self, now: Time) -> Facts {
        let holders = || self.peers.values().filter(|peer| peer.wanted > 0);
        Facts {
            is_done: self.is_done(),
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
