//! The node: a router between the wire, the tables, the searches and the caller.
//!
//! Decides: which part handles each answer and each deadline.
//! Must not know: how the parts decide.
//! Invariant: the shape of every machine: `handle` and `wake` never fail and never block; every
//! order is fetched with `poll`.

use crate::calls::{Call, Calls, Passed};
use crate::contact::{Contact, Family, plain};
use crate::guard::Guard;
use crate::id::Id;
use crate::io::{Ask, AskKey, Config, Event, Input, LookupReport, Output};
use crate::items::ItemStore;
use crate::lookup::Asking;
use crate::message::{Body, KrpcError, KrpcMessage, Query, Response, Want};
use crate::overlay::{Care, Overlay};
use crate::peers::PeerStore;
use crate::read::{Malformed, named};
use crate::saved::SAVED_MAX;
use crate::search::{Kind, Search, merge};
use crate::table::K;
use crate::token::Tokens;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bt_types::{Rng, Source, Time, closeness, may_name};
use core::net::SocketAddr;
use core::time::Duration;

/// The client version that a node sends: the letters of our peer ids (BEP 20), and a version.
pub(crate) const VERSION: [u8; 4] = *b"bt\x01\x00";
/// Time between two maintenance rounds of the tables.
const TICK: Duration = Duration::from_secs(5);
/// Most bootstrap addresses that are kept.
const ROUTERS_MAX: usize = 32;
/// Most saved nodes that one search begins with.
const SAVED_ASKED: usize = 32;
/// Most searches at once; a further one ends at once, with nothing.
const SEARCHES_MAX: usize = 256;

/// A node of the DHT of IPv4, of IPv6, or of both.
#[derive(Debug)]
pub struct Node {
    pub(crate) read_only: bool,
    pub(crate) overlays: Vec<Overlay>,
    pub(crate) guard: Guard,
    pub(crate) tokens: Tokens,
    pub(crate) peers: PeerStore,
    pub(crate) items: ItemStore,
    pub(crate) rng: Rng,
    calls: Calls<Purpose>,
    searches: BTreeMap<u64, Search>,
    /// The partial reports of questions of which one of two searches has ended.
    halves: BTreeMap<AskKey, LookupReport>,
    next_search: u64,
    routers: Vec<SocketAddr>,
    saved: Vec<Contact>,
    tick_at: Time,
    outputs: VecDeque<Output>,
}

/// The purpose of our query.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Check whether a node is alive.
    Check,
    /// A step of a search.
    Step(u64),
    /// Store the result of a search.
    Store(u64),
    /// The caller's question to one address.
    Direct(AskKey),
}

impl Node {
    /// Makes a node that knows no other node. `rng` must be secret: tokens and transaction ids come
    /// from it.
    pub fn new(now: Time, config: Config, mut rng: Rng) -> Node {
        let families = [(config.v4, Family::V4), (config.v6, Family::V6)];
        let families = families.into_iter().filter_map(|(is_on, family)| is_on.then_some(family));
        Node {
            read_only: config.read_only,
            overlays: families
                .map(|family| Overlay::new(now, family, Id::random(&mut rng)))
                .collect(),
            guard: Guard::new(now, config.reply_bytes_per_sec),
            tokens: Tokens::new(now, rng.fork()),
            peers: PeerStore::default(),
            items: ItemStore::default(),
            calls: Calls::new(rng.fork()),
            searches: BTreeMap::new(),
            halves: BTreeMap::new(),
            next_search: 0,
            routers: Vec::new(),
            saved: Vec::new(),
            tick_at: now + TICK,
            outputs: VecDeque::new(),
            rng,
        }
    }

    /// Takes an input.
    pub fn handle(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => self.receive(now, plain(from), bytes),
            Input::Port(addr) => {
                let addr = plain(addr);
                if may_name(Source::Host(addr.ip()), addr) {
                    self.ping(now, Asking { addr, id: None, named_by: Source::Host(addr.ip()) });
                }
            }
            Input::Router(addr) => {
                if self.routers.len() < ROUTERS_MAX && !self.routers.contains(&plain(addr)) {
                    self.routers.push(plain(addr));
                }
                self.join(now);
            }
            Input::Saved(contacts) => {
                let room = SAVED_MAX.saturating_sub(self.saved.len());
                self.saved.extend(contacts.into_iter().take(room));
                self.join(now);
            }
            Input::External(ip) => {
                let family = Family::of(SocketAddr::new(ip, 0));
                if let Some(overlay) =
                    self.overlays.iter_mut().find(|overlay| overlay.family == family)
                {
                    overlay.live_at(now, ip, &mut self.rng);
                }
            }
            Input::Ask(key, ask) => self.ask(now, key, ask),
            Input::Cancel(key) => {
                let ours: Vec<u64> = self
                    .searches
                    .iter()
                    .filter(|(_, s)| s.ask == Some(key))
                    .map(|(at, _)| *at)
                    .collect();
                ours.into_iter().for_each(|at| self.finish(at));
            }
        }
    }

    /// Takes the next order, until none is left.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when to call [`wake`](Self::wake).
    pub fn deadline(&self) -> Option<Time> {
        Some(self.calls.deadline().map_or(self.tick_at, |at| at.min(self.tick_at)))
    }

    /// Handles a deadline that has passed.
    pub fn wake(&mut self, now: Time) {
        while let Some(passed) = self.calls.pass(now) {
            match passed {
                Passed::Late(Call { purpose: Purpose::Step(at), to, .. }) => {
                    if let Some(search) = self.searches.get_mut(&at) {
                        search.lookup.is_late(to);
                    }
                    self.step(now, at);
                }
                Passed::Late(_) => {}
                Passed::Failed(call) => self.failed(now, call, None),
            }
        }
        if now >= self.tick_at {
            self.tick_at = now + TICK;
            self.peers.expire(now);
            self.items.expire(now);
            (0..self.overlays.len()).for_each(|index| self.care(now, index));
        }
    }

    /// Returns every node of the tables, for [`Input::Saved`] of a later run.
    pub fn contacts(&self) -> Vec<Contact> {
        self.overlays.iter().flat_map(|overlay| overlay.table.contacts()).collect()
    }

    /// Returns our id in a DHT, if we are in it.
    pub fn id(&self, family: Family) -> Option<Id> {
        self.overlays.iter().find(|overlay| overlay.family == family).map(Overlay::own)
    }

    /// Counts the nodes in the tables.
    pub fn nodes(&self) -> usize {
        self.overlays.iter().map(|overlay| overlay.table.len()).sum()
    }

    /// Counts the torrents that other peers announced here.
    pub fn torrents(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn overlay(&mut self, addr: SocketAddr) -> Option<&mut Overlay> {
        let family = Family::of(addr);
        self.overlays.iter_mut().find(|overlay| overlay.family == family)
    }

    pub(crate) fn send(&mut self, to: SocketAddr, named_by: Source, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Send { to, named_by, bytes });
    }

    /// Returns whether our query to this address waits for its answer.
    pub(crate) fn is_asking(&self, addr: SocketAddr) -> bool {
        self.calls.is_asking(addr)
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn receive(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        if from.port() == 0 || closeness(from.ip()).is_none() {
            return;
        }
        match KrpcMessage::parse(bytes) {
            Ok(KrpcMessage { transaction, read_only, body: Body::Query { id, query }, .. }) => {
                self.answer(
                    now,
                    Contact { id, addr: from },
                    bytes.len(),
                    transaction,
                    query,
                    read_only,
                );
            }
            Err(Malformed::Query { transaction, error }) => {
                self.refuse(now, from, bytes.len(), transaction, error)
            }
            Ok(message) => {
                if let Some(call) = self.calls.end(from, &message.transaction) {
                    self.guard.answered(now, from);
                    self.answered(now, call, message);
                }
            }
            Err(Malformed::NoMessage) => {}
        }
    }

    /// Handles an answer from the address that was asked.
    fn answered(&mut self, now: Time, call: Call<Purpose>, message: KrpcMessage) {
        let response = match message.body {
            Body::Response(response) => response,
            Body::Error(error) => return self.failed(now, call, Some(error)),
            Body::Query { .. } => return,
        };
        let contact = Contact { id: response.id, addr: call.to };
        let rng = &mut self.rng;
        let Some(overlay) =
            self.overlays.iter_mut().find(|overlay| overlay.family == Family::of(call.to))
        else {
            return;
        };
        // Another node answers there now, or our own datagram comes back.
        if call.id.is_some_and(|id| id != contact.id) || contact.id == overlay.own() {
            return self.failed(now, call, None);
        }
        if let Some(seen_at) = message.seen_as.filter(|seen| Family::of(*seen) == overlay.family) {
            overlay.vote(now, call.to.ip(), seen_at.ip(), rng);
        }
        if let Some(questionable) = overlay.table.answered(now, contact) {
            self.ping(now, Asking::known(questionable));
        }
        match call.purpose {
            Purpose::Check => {}
            Purpose::Step(at) => self.stepped(now, at, contact, *response),
            Purpose::Store(at) => self.stored(at, Some(Ok(()))),
            Purpose::Direct(ask) => {
                let round_trip = now.since(call.sent);
                self.tell(match response.samples {
                    Some(samples) => Event::Samples { ask, samples },
                    None => {
                        Event::Pong { ask, node: contact, version: message.version, round_trip }
                    }
                });
                self.tell(Event::Done {
                    ask,
                    report: LookupReport {
                        queries: 1,
                        answers: 1,
                        closest: [contact].into(),
                        ..LookupReport::default()
                    },
                });
            }
        }
    }

    fn stepped(&mut self, now: Time, at: u64, from: Contact, response: Response) {
        let Some(search) = self.searches.get_mut(&at) else { return };
        search.report.answers = search.report.answers.saturating_add(1);
        let event = search.take(from, &response);
        let (family, own) = (
            search.family,
            self.overlays.iter().find(|overlay| overlay.family == search.family).map(Overlay::own),
        );
        // The named nodes may include us.
        let others = named(&response)
            .filter(|contact| Family::of(contact.addr) == family && Some(contact.id) != own);
        search.lookup.answered(from, response.token.clone(), others);
        if let Some(event) = event {
            self.tell(event);
        }
        self.step(now, at);
    }

    /// Handles a query of ours without an answer, or with a refusal.
    fn failed(&mut self, now: Time, call: Call<Purpose>, refusal: Option<KrpcError>) {
        if let (None, Some(id), Some(overlay)) = (&refusal, call.id, self.overlay(call.to)) {
            overlay.table.failed(now, Contact { id, addr: call.to });
        }
        match call.purpose {
            Purpose::Check => {}
            Purpose::Step(at) => {
                if let Some(search) = self.searches.get_mut(&at) {
                    search.lookup.failed(call.to);
                }
                self.step(now, at);
            }
            Purpose::Store(at) => self.stored(at, refusal.map(Err)),
            Purpose::Direct(ask) => {
                let report = LookupReport {
                    queries: 1,
                    answers: refusal.is_some().into(),
                    refused: refusal,
                    ..LookupReport::default()
                };
                self.tell(Event::Done { ask, report });
            }
        }
    }

    fn stored(&mut self, at: u64, result: Option<Result<(), KrpcError>>) {
        if let Some(search) = self.searches.get_mut(&at) {
            search.stored(result);
            if search.is_over() {
                self.finish(at);
            }
        }
    }

    fn ask(&mut self, now: Time, ask: AskKey, what: Ask) {
        let (target, kind) = match what {
            Ask::Ping(addr) => return self.ask_one(now, ask, addr, Query::Ping),
            Ask::SampleInfohashes(addr) => {
                let target = Id::random(&mut self.rng);
                return self.ask_one(
                    now,
                    ask,
                    addr,
                    Query::SampleInfohashes { target, want: None },
                );
            }
            Ask::FindNode(target) => (target, Kind::Nodes),
            Ask::GetPeers { info_hash, announce, scrape } => {
                (info_hash.into(), Kind::Peers { info_hash, announce, scrape })
            }
            Ask::Get { target, salt } => (target, Kind::Get { salt }),
            Ask::Put { item, cas } => (item.target(), Kind::Put { item: Box::new(item), cas }),
        };
        let families: Vec<Family> = self.overlays.iter().map(|overlay| overlay.family).collect();
        let started: Vec<u64> = families
            .into_iter()
            .filter_map(|f| self.begin(Some(ask), f, target, kind.clone()))
            .collect();
        if started.is_empty() {
            self.tell(Event::Done { ask, report: LookupReport::default() });
        }
        started.into_iter().for_each(|at| self.step(now, at));
    }

    fn ask_one(&mut self, now: Time, ask: AskKey, addr: SocketAddr, query: Query) {
        let asking = Asking { addr: plain(addr), id: None, named_by: Source::User };
        if !may_name(Source::User, asking.addr)
            || !self.query(now, asking, query, Purpose::Direct(ask))
        {
            self.tell(Event::Done { ask, report: LookupReport::default() });
        }
    }

    /// Starts a search with the closest nodes that we know, and with routers and saved nodes when
    /// those are few.
    fn begin(
        &mut self,
        ask: Option<AskKey>,
        family: Family,
        target: Id,
        kind: Kind,
    ) -> Option<u64> {
        if self.searches.len() >= SEARCHES_MAX {
            return None;
        }
        let overlay = self.overlays.iter().find(|overlay| overlay.family == family)?;
        let mut search = Search::new(ask, family, target, kind);
        overlay
            .table
            .closest(target, 2 * K)
            .into_iter()
            .for_each(|contact| search.lookup.add_known(contact));
        if overlay.is_thin() {
            let saved = self
                .saved
                .iter()
                .filter(|contact| Family::of(contact.addr) == family)
                .take(SAVED_ASKED);
            saved.for_each(|contact| search.lookup.add_known(*contact));
            self.routers
                .iter()
                .filter(|addr| Family::of(**addr) == family)
                .for_each(|addr| search.lookup.add_address(*addr));
        }
        let at = self.next_search;
        self.next_search += 1;
        self.searches.insert(at, search);
        Some(at)
    }

    /// Asks the next nodes of a search, and ends the search when it is done.
    fn step(&mut self, now: Time, at: u64) {
        while let Some(search) = self.searches.get_mut(&at).filter(|search| search.is_searching()) {
            let Some(asking) = search.lookup.next() else { break };
            // While few nodes are known, those of the other DHT are asked for as well (BEP 32).
            let thin = self.overlays.len() > 1 && self.overlays.iter().any(Overlay::is_thin);
            let query = search.query(thin.then_some(Want { v4: true, v6: true }));
            search.report.queries = search.report.queries.saturating_add(1);
            if !self.query(now, asking, query, Purpose::Step(at))
                && let Some(search) = self.searches.get_mut(&at)
            {
                search.report.queries = search.report.queries.saturating_sub(1);
                search.lookup.failed(asking.addr);
            }
        }
        let Some(search) = self.searches.get_mut(&at).filter(|search| search.is_found()) else {
            return;
        };
        for (contact, query) in search.stores() {
            let sent = self.query(now, Asking::known(contact), query, Purpose::Store(at));
            if let Some(search) = self.searches.get_mut(&at) {
                if sent {
                    search.report.queries = search.report.queries.saturating_add(1)
                } else {
                    search.stored(None)
                }
            }
        }
        if self.searches.get(&at).is_some_and(Search::is_over) {
            self.finish(at);
        }
    }

    /// Ends a search. The question is over when no other search is for it.
    fn finish(&mut self, at: u64) {
        let Some(search) = self.searches.remove(&at) else { return };
        if let Some(overlay) = self.overlays.iter_mut().find(|overlay| overlay.joining == Some(at))
        {
            overlay.joining = None;
            let (family, nodes) = (overlay.family, overlay.table.len());
            if nodes > 0 && !core::mem::replace(&mut overlay.told_joined, true) {
                self.tell(Event::Joined { family, nodes });
            }
        }
        let Some(ask) = search.ask else { return };
        let mut report = self.halves.remove(&ask).unwrap_or_default();
        merge(&mut report, search.report);
        if self.searches.values().any(|other| other.ask == Some(ask)) {
            self.halves.insert(ask, report);
        } else {
            self.tell(Event::Done { ask, report });
        }
    }

    /// Uses new bootstrap addresses at once in each DHT where few nodes are known.
    fn join(&mut self, now: Time) {
        for index in 0..self.overlays.len() {
            let Some(overlay) = self.overlays.get_mut(index).filter(|overlay| overlay.is_thin())
            else {
                continue;
            };
            overlay.join_soon(now);
            match overlay.joining.map(|at| (at, overlay.family)) {
                None => self.care(now, index),
                Some((at, family)) => {
                    let routers = self.routers.iter().filter(|addr| Family::of(**addr) == family);
                    if let Some(search) = self.searches.get_mut(&at) {
                        routers.for_each(|addr| search.lookup.add_address(*addr));
                    }
                    self.step(now, at);
                }
            }
        }
    }

    fn care(&mut self, now: Time, index: usize) {
        let Some(overlay) = self.overlays.get_mut(index) else { return };
        let (family, own) = (overlay.family, overlay.own());
        match overlay.care(now, &mut self.rng) {
            Some(Care::Join) => {
                let at = self.begin(None, family, own, Kind::Nodes);
                if let Some(overlay) = self.overlays.get_mut(index) {
                    overlay.joining = at;
                }
                at.into_iter().for_each(|at| self.step(now, at));
            }
            Some(Care::Refresh(target)) => {
                let at = self.begin(None, family, target, Kind::Nodes);
                at.into_iter().for_each(|at| self.step(now, at));
            }
            Some(Care::Ping(contact)) => self.ping(now, Asking::known(contact)),
            None => {}
        }
    }

    /// Pings a node, unless another query of ours to it is under way.
    pub(crate) fn ping(&mut self, now: Time, asking: Asking) {
        if !self.calls.is_asking(asking.addr) {
            self.query(now, asking, Query::Ping, Purpose::Check);
        }
    }

    /// Sends a query; false when too many wait, or we are not in the DHT of this address.
    fn query(&mut self, now: Time, asking: Asking, query: Query, purpose: Purpose) -> bool {
        let Some(id) = self.overlay(asking.addr).map(|overlay| overlay.own()) else { return false };
        let Some(transaction) = self.calls.begin(now, asking.addr, asking.id, purpose) else {
            return false;
        };
        let message = KrpcMessage {
            transaction,
            version: Some(VERSION),
            seen_as: None,
            read_only: self.read_only,
            body: Body::Query { id, query },
        };
        self.send(asking.addr, asking.named_by, message.write());
        true
    }
}
