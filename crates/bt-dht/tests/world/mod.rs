//! A small virtual world of many nodes: latency, loss and liars, in virtual time, all from one
//! seed.
//!
//! Decides: when a datagram arrives, and how liars lie.
//! Must not know: the inside of a node.
//! Invariant: same course and seed, same report, on every machine.

use bt_dht::{
    AnnounceOptions, Ask, AskKey, Body, Config, Contact, Event, Family, Id, Input, KrpcMessage,
    Node, Output, Query, Response, is_secure,
};
use bt_types::{Closeness, InfoHash, Rng, Time, closeness};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Nodes at which all others begin.
const ROUTERS: usize = 4;
/// Time between two nodes that join.
const JOIN_EVERY: Duration = Duration::from_millis(100);
/// Time that the network settles before the silent nodes fall silent.
const SETTLE: Duration = Duration::from_secs(120);
/// Longest time of a question.
const PATIENCE: Duration = Duration::from_secs(60);
/// One way of a datagram, in microseconds.
const LATENCY: std::ops::Range<u64> = 10_000..150_000;

/// The settings of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) nodes: usize,
    /// Datagrams lost, in per cent.
    pub(crate) loss: u64,
    /// Bad nodes, in per cent: a third of each kind.
    pub(crate) bad: usize,
    /// Peers that are stored, and how often each is looked for.
    pub(crate) stored: usize,
    pub(crate) lookups_each: usize,
    pub(crate) seed: u64,
}

/// The result of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct LookupReport {
    pub(crate) lookups: usize,
    pub(crate) found: usize,
    pub(crate) queries: u64,
    pub(crate) answers: u64,
    /// Nodes that confirmed that they stored an announce.
    pub(crate) stores: u64,
    pub(crate) announces: usize,
    /// Time of all lookups until their end, in microseconds.
    pub(crate) micros: u64,
    pub(crate) datagrams: u64,
    /// A number that two equal runs share.
    pub(crate) trace: u64,
}

/// How a node behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Honest,
    /// Honest until the network has settled, then silent.
    Silent,
    /// Names only nodes of its kind, half of them with ids next to the target, and drops announces
    /// to it.
    Clique,
    /// Honest until the network has settled; then it answers with rubbish.
    Rubbish,
}

struct Actor {
    node: Node,
    kind: Kind,
    addr: SocketAddr,
    /// The wake that is in the queue.
    wakes_at: Option<Time>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Arrives { from: usize, to: SocketAddr, bytes: Vec<u8> },
    Wakes(usize),
}

struct World {
    course: Course,
    now: Time,
    rng: Rng,
    actors: Vec<Actor>,
    by_addr: BTreeMap<SocketAddr, usize>,
    clique: Vec<Contact>,
    queue: BinaryHeap<Reverse<(Time, u64, What)>>,
    order: u64,
    settled: bool,
    events: Vec<Event>,
    report: LookupReport,
}

/// Runs a course from its beginning to its end.
pub(crate) fn run(course: Course) -> LookupReport {
    let mut world = World::new(course);
    world.join_all();
    world.search_all();
    world.report
}

impl World {
    fn new(course: Course) -> World {
        let mut world = World {
            course,
            now: Time::ZERO,
            rng: Rng::from_seed(course.seed),
            actors: Vec::new(),
            by_addr: BTreeMap::new(),
            clique: Vec::new(),
            queue: BinaryHeap::new(),
            order: 0,
            settled: false,
            events: Vec::new(),
            report: LookupReport::default(),
        };
        for number in 0..course.nodes {
            world.add(number);
        }
        world
    }

    fn add(&mut self, number: usize) {
        let addr = loop {
            let ip = IpAddr::from(Ipv4Addr::from_bits(self.rng.next_u32()));
            if closeness(ip) == Some(Closeness::Public)
                && !self.by_addr.contains_key(&SocketAddr::new(ip, 6881))
            {
                break SocketAddr::new(ip, 6881);
            }
        };
        let mut node = Node::new(self.now, Config::default(), self.rng.fork());
        node.handle(self.now, Input::External(addr.ip()));
        let bad = self.course.nodes * self.course.bad / 100;
        let kind = match number.checked_sub(ROUTERS).filter(|number| *number < bad) {
            None => Kind::Honest,
            Some(number) => [Kind::Silent, Kind::Clique, Kind::Rubbish][number % 3],
        };
        if kind == Kind::Clique {
            let id = node.id(Family::V4).unwrap_or(Id([0; 20]));
            self.clique.push(Contact { id, addr });
        }
        self.by_addr.insert(addr, self.actors.len());
        self.actors.push(Actor { node, kind, addr, wakes_at: None });
    }

    /// Lets all nodes join, one after the other in a random order behind the routers.
    fn join_all(&mut self) {
        let mut order: Vec<usize> = (ROUTERS..self.actors.len()).collect();
        self.rng.shuffle(&mut order);
        let routers: Vec<SocketAddr> =
            self.actors.iter().take(ROUTERS).map(|actor| actor.addr).collect();
        for index in (0..ROUTERS).chain(order) {
            let Actor { node, addr, .. } = &mut self.actors[index];
            routers
                .iter()
                .filter(|router| *router != addr)
                .for_each(|router| node.handle(self.now, Input::Router(*router)));
            self.settle(index);
            self.run_until(self.now + JOIN_EVERY, |_| false);
        }
        self.run_until(self.now + SETTLE, |_| false);
        self.settled = true;
    }

    /// Lets honest nodes announce a torrent each, and others look for it.
    fn search_all(&mut self) {
        let mut key = 0;
        for _ in 0..self.course.stored {
            let info_hash = InfoHash(Id::random(&mut self.rng).0);
            let holder = self.honest();
            let announce = Some(AnnounceOptions { port: Some(7000), seed: true });
            key += 1;
            let (_, done) =
                self.ask(holder, AskKey(key), Ask::GetPeers { info_hash, announce, scrape: false });
            self.report.announces += 1;
            self.report.stores += u64::from(done.stored);
            let peer = SocketAddr::new(self.actors[holder].addr.ip(), 7000);
            for _ in 0..self.course.lookups_each {
                key += 1;
                let began = self.now;
                let seeker = self.honest();
                let ask = Ask::GetPeers { info_hash, announce: None, scrape: false };
                let (peers, done) = self.ask(seeker, AskKey(key), ask);
                self.report.lookups += 1;
                self.report.found += usize::from(peers.contains(&peer));
                self.report.queries += u64::from(done.queries);
                self.report.answers += u64::from(done.answers);
                self.report.micros += self.now.since(began).as_micros() as u64;
            }
        }
    }

    fn honest(&mut self) -> usize {
        loop {
            let index = self.rng.index(self.actors.len());
            if self.actors[index].kind == Kind::Honest {
                return index;
            }
        }
    }

    /// Asks a node, and returns the peers it found and its report.
    fn ask(
        &mut self,
        index: usize,
        key: AskKey,
        ask: Ask,
    ) -> (Vec<SocketAddr>, bt_dht::LookupReport) {
        self.events.clear();
        self.actors[index].node.handle(self.now, Input::Ask(key, ask));
        self.settle(index);
        let is_done = |event: &Event| matches!(event, Event::Done { ask, .. } if *ask == key);
        self.run_until(self.now + PATIENCE, |world| world.events.iter().any(is_done));
        let (mut peers, mut report) = (Vec::new(), bt_dht::LookupReport::default());
        for event in self.events.drain(..) {
            match event {
                Event::Peers { ask, peers: found, .. } if ask == key => peers.extend(found),
                Event::Done { ask, report: done } if ask == key => report = done,
                _ => {}
            }
        }
        (peers, report)
    }

    fn run_until(&mut self, end: Time, is_over: impl Fn(&World) -> bool) {
        while !is_over(self) && self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= end) {
            let Some(Reverse((at, _, what))) = self.queue.pop() else { break };
            self.now = at;
            match what {
                What::Arrives { from, to, bytes } => self.arrive(from, to, &bytes),
                What::Wakes(index) if self.actors[index].wakes_at == Some(at) => {
                    self.actors[index].wakes_at = None;
                    self.actors[index].node.wake(at);
                    self.settle(index);
                }
                What::Wakes(_) => {}
            }
        }
        if !is_over(self) {
            self.now = self.now.max(end);
        }
    }

    fn arrive(&mut self, from: usize, to: SocketAddr, bytes: &[u8]) {
        let Some(index) = self.by_addr.get(&to).copied() else { return };
        let (sender, kind) = (self.actors[from].addr, self.actors[index].kind);
        let is_query = matches!(bytes, [.., b'1', b':', b'y', b'1', b':', b'q', b'e']);
        match kind {
            Kind::Silent if self.settled => return,
            Kind::Rubbish if self.settled && is_query => {
                let mut rubbish = vec![0; 1 + self.rng.index(300)];
                self.rng.fill(&mut rubbish);
                // Some of it looks like an answer.
                if let Ok(query) = KrpcMessage::parse(bytes)
                    && self.rng.below(2) == 0
                {
                    rubbish = [
                        b"d1:rd2:id20:abcdefghij01234567895:nodes25:",
                        &[7; 25][..],
                        b"e1:t4:",
                        &query.transaction,
                        b"1:y1:re",
                    ]
                    .concat();
                }
                return self.send(index, sender, rubbish);
            }
            Kind::Clique if is_query => return self.lie(index, sender, bytes),
            _ => {}
        }
        self.actors[index].node.handle(self.now, Input::Datagram { from: sender, bytes });
        self.settle(index);
    }

    /// Answers for a member of the clique: as itself, or with an id next to the target, as the
    /// other members claim.
    fn lie(&mut self, index: usize, to: SocketAddr, bytes: &[u8]) {
        let Ok(KrpcMessage { transaction, body: Body::Query { query, .. }, .. }) =
            KrpcMessage::parse(bytes)
        else {
            return;
        };
        let target = match query {
            Query::FindNode { target, .. } => Some(target),
            Query::GetPeers { info_hash, .. } => Some(Id::from(info_hash)),
            _ => None,
        };
        let own = self.actors[index].addr;
        let member = self.clique.iter().position(|contact| contact.addr == own).unwrap_or(0);
        let alias = |member: usize| -> Contact {
            let real = self.clique[member];
            match target {
                Some(target) if usize::from(target.0[0]) % 2 == member % 2 => {
                    let mut id = target;
                    id.0[19] ^= 1 + member as u8;
                    id.0[18] ^= (member >> 8) as u8;
                    Contact { id, ..real }
                }
                _ => real,
            }
        };
        let mut response = Response::new(alias(member).id);
        if let Some(target) = target {
            let mut others: Vec<Contact> = (0..self.clique.len()).map(alias).collect();
            others.sort_by_key(|contact| contact.id.distance(target));
            let mut honest_ids: Vec<Contact> =
                others.iter().filter(|c| is_secure(c.id, c.addr.ip())).copied().take(4).collect();
            honest_ids.extend(others.iter().take(4));
            response.nodes = Some(honest_ids);
            response.token = Some(vec![1; 8]);
        }
        let message = KrpcMessage {
            transaction,
            version: None,
            seen_as: Some(to),
            read_only: false,
            body: Body::Response(Box::new(response)),
        };
        self.send(index, to, message.write());
    }

    /// Carries out a node's orders, and wakes the node at its deadline.
    fn settle(&mut self, index: usize) {
        while let Some(output) = self.actors[index].node.poll() {
            match output {
                Output::Send { to, bytes, .. } => self.send(index, to, bytes),
                Output::Event(event) => self.events.push(event),
            }
        }
        if let Some(at) = self.actors[index].node.deadline()
            && self.actors[index].wakes_at.is_none_or(|before| before != at)
        {
            let at = at.max(self.now);
            self.actors[index].wakes_at = Some(at);
            self.push(at, What::Wakes(index));
        }
    }

    fn send(&mut self, from: usize, to: SocketAddr, bytes: Vec<u8>) {
        self.report.datagrams += 1;
        let trace = self.report.trace ^ (bytes.len() as u64) ^ self.now.as_micros();
        self.report.trace = trace.wrapping_mul(0x0100_0000_01b3).rotate_left(5);
        if self.actors[from].kind == Kind::Silent && self.settled
            || self.rng.below(100) < self.course.loss
        {
            return;
        }
        let at = self.now
            + Duration::from_micros(LATENCY.start + self.rng.below(LATENCY.end - LATENCY.start));
        self.push(at, What::Arrives { from, to, bytes });
    }

    fn push(&mut self, at: Time, what: What) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, what)));
    }
}

impl fmt::Display for LookupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = |sum: u64, count: usize| sum as f64 / count.max(1) as f64;
        writeln!(f, "found              {} of {}", self.found, self.lookups)?;
        writeln!(f, "queries per lookup {:.1}", mean(self.queries, self.lookups))?;
        writeln!(f, "answers per lookup {:.1}", mean(self.answers, self.lookups))?;
        writeln!(f, "messages per lookup {:.1}", mean(self.queries + self.answers, self.lookups))?;
        writeln!(f, "seconds per lookup {:.2}", mean(self.micros, self.lookups) / 1e6)?;
        writeln!(f, "stores per announce {:.1}", mean(self.stores, self.announces))?;
        writeln!(f, "datagrams in all   {}", self.datagrams)?;
        write!(f, "trace              {:016x}", self.trace)
    }
}
