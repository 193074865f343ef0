//! The world: hosts with programs, the network between them, what is planned to go wrong, and the
//! rules that must hold.
//!
//! Decides: the order of what happens, from the seed alone. Must not know: how any program decides.
//! Invariant: no clock, no thread, no socket; equal worlds with equal seeds give equal traces.

use crate::agenda::Agenda;
use crate::client::{Client, Manners, Scene, Start};
use crate::content::Content;
use crate::network::{HostId, Link, Network};
use crate::report::{Finisher, Report, Sample};
use crate::store::Disk;
use crate::stream::Detail;
use crate::tally::Tally;
use crate::trace::{Sink, line};
use crate::tracker::TrackerHost;
use crate::violation::{Broken, Violation};
use bt_engine::Budget;
use bt_types::{Bitfield, Rng, Time};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long the world goes on after the last one finished: what is wrong then is found too.
const AFTERWARDS: Duration = Duration::from_secs(15);

/// Time between two samples of the swarm.
const SAMPLE: Duration = Duration::from_secs(1);

/// A swarm in virtual time.
pub struct World {
    seed: u64,
    rng: Rng,
    now: Time,
    content: Arc<Content>,
    net: Network,
    tally: Tally,
    tracker: TrackerHost,
    peers: Vec<PeerHost>,
    plans: Agenda<Act>,
    /// What happens when a host has uploaded this many bytes.
    on_upload: Vec<(HostId, u64, Act)>,
    banned: u32,
    acts: Vec<(Time, String)>,
    progress: Vec<Sample>,
}

/// A peer of the swarm.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name in reports.
    pub name: String,
    /// How it is connected.
    pub link: Link,
    /// What it does with requests.
    pub manners: Manners,
    /// It has everything from the start.
    pub is_seed: bool,
    /// When it joins.
    pub joins: Time,
    /// It leaves in good order so long after it finished.
    pub leaves_after: Option<Duration>,
    /// What its engine may use.
    pub budget: Budget,
    /// Whom it learns of.
    pub knows: Knows,
    /// It knows a magnet link only: its metadata comes from peers.
    pub is_magnet: bool,
}

/// Where a peer learns of others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knows {
    /// From the tracker.
    Tracker,
    /// From its user: everybody who was added before it.
    Earlier,
    /// From its user: who was added first.
    First,
    /// From no source: other hosts must come to it.
    NoPeer,
}

/// Something that is done to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// The peer's program starts.
    Start(HostId),
    /// Its power is cut: what was not synced is lost, its connections are reset.
    Crash(HostId),
    /// It says goodbye and goes.
    Leave(HostId),
    /// The tracker can be reached, or not.
    Tracker(bool),
    /// Bytes that fit on its disk; `None` is no limit.
    DiskRoom(HostId, Option<u64>),
}

struct PeerHost {
    peer: Peer,
    id: HostId,
    addr: SocketAddr,
    disk: Disk,
    client: Option<Client>,
    finished: Option<Time>,
    /// Wasted payload bytes of programs that ended.
    wasted: u64,
    spoiled: u64,
}

impl PeerHost {
    /// Whether the world waits for it. Liars may be banned by everybody.
    fn must_finish(&self) -> bool {
        !self.peer.is_seed && self.peer.manners.is_truthful()
    }

    fn is_honest_seed(&self) -> bool {
        self.peer.is_seed && self.peer.manners == Manners::Honest
    }
}

impl World {
    /// A world with a tracker and a torrent of this many pieces of this length in bytes.
    pub fn new(seed: u64, detail: Detail, pieces: u32, piece_length: u32) -> World {
        let mut rng = Rng::from_seed(seed);
        let mut net = Network::new(rng.fork());
        World {
            content: Arc::new(Content::new(pieces, piece_length, detail, &mut rng)),
            tracker: TrackerHost::new(&mut net, &mut rng),
            seed,
            rng,
            now: Time::ZERO,
            net,
            tally: Tally::default(),
            peers: Vec::new(),
            plans: Agenda::default(),
            on_upload: Vec::new(),
            banned: 0,
            acts: Vec::new(),
            progress: Vec::new(),
        }
    }

    /// Length of the torrent in bytes.
    pub fn torrent_len(&self) -> u64 {
        self.content.geometry.total()
    }

    /// Tells every order of every engine.
    pub fn trace(&mut self, mut sink: Sink) {
        let names: Vec<String> = self.peers.iter().map(|host| host.peer.name.clone()).collect();
        let name = move |host: HostId| names.get(host.0 - 1).cloned().unwrap_or_default();
        self.tally.sink =
            Some(Box::new(move |now, host, output| sink(now, &name(host), &line(output))));
    }

    /// Number of peers that were added.
    pub fn size(&self) -> usize {
        self.peers.len()
    }

    /// A number below this one, by the seed.
    pub fn chance(&mut self, below: u64) -> u64 {
        self.rng.below(below)
    }

    /// Adds a peer.
    pub fn add(&mut self, peer: Peer) -> HostId {
        // One address for each peer, all public: a ban is by address.
        let [.., high, low] = (self.peers.len() as u32 + 1).to_be_bytes();
        let addr = SocketAddr::from((Ipv4Addr::new(20, 0, high, low), 6881));
        let id = self.net.add(addr, peer.link);
        let disk = Disk::new(&self.content, peer.is_seed);
        self.plan(peer.joins, Act::Start(id));
        self.peers.push(PeerHost {
            peer,
            id,
            addr,
            disk,
            client: None,
            finished: None,
            wasted: 0,
            spoiled: 0,
        });
        id
    }

    /// Plans something for a moment.
    pub fn plan(&mut self, at: Time, act: Act) {
        self.plans.plan(at, act);
    }

    /// Plans something for when this many payload bytes of this peer have arrived at others.
    pub fn plan_on_upload(&mut self, host: HostId, bytes: u64, act: Act) {
        self.on_upload.push((host, bytes, act));
    }

    /// Runs until every honest peer that did not crash for good has finished, and a little longer.
    /// It is a violation when that is not so at the deadline.
    pub fn run(mut self, deadline: Time) -> Result<Report, Violation> {
        let mut end = deadline;
        loop {
            if end == deadline && self.is_over() {
                end = self.now + AFTERWARDS;
            }
            let next = [self.plans.next_at(), self.net.next_at()].into_iter().flatten().min();
            match next.filter(|at| *at <= end) {
                Some(_) => self.step()?,
                None if self.is_over() => return self.report(),
                None => {
                    self.now = deadline;
                    return Err(self.unfinished());
                }
            }
        }
    }

    // ---- one step ----

    fn step(&mut self) -> Result<(), Violation> {
        let planned = self.plans.next_at();
        if planned.is_some_and(|at| self.net.next_at().is_none_or(|next| at <= next)) {
            if let Some((at, act)) = self.plans.take() {
                self.now = at;
                self.act(act)?;
            }
            return Ok(());
        }
        let Some((now, host, event)) = self.net.step() else { return Ok(()) };
        self.now = now;
        if self.progress.last().is_none_or(|last| last.at + SAMPLE <= now) {
            self.progress.push(self.sample());
        }
        self.tally.events += 1;
        self.tally.note(&[now.as_micros(), host.0 as u64, event.kind()]);
        if host == self.tracker.id {
            self.tracker.handle(now, event, &mut self.net);
            return Ok(());
        }
        self.with(host, |client, scene| client.handle(event, scene))?;
        self.act_on_upload()
    }

    /// Lets a peer's program act, and looks at it afterwards.
    fn with(
        &mut self,
        host: HostId,
        act: impl FnOnce(&mut Client, &mut Scene<'_>),
    ) -> Result<(), Violation> {
        let index = self.index(host);
        let Some(client) = &mut self.peers[index].client else { return Ok(()) };
        act(client, &mut Scene { now: self.now, net: &mut self.net, tally: &mut self.tally });
        self.look_at(index)
    }

    fn look_at(&mut self, index: usize) -> Result<(), Violation> {
        let Some(client) = &mut self.peers[index].client else { return Ok(()) };
        let (broken, blamed) = (client.broken(), client.take_blamed());
        let (is_complete, is_gone) = (client.is_complete(), client.is_gone());
        if let Some(broken) = broken {
            return Err(self.violation(index, broken));
        }
        for (addr, why) in blamed {
            let is_honest =
                |at: &PeerHost| at.addr.ip() == addr.ip() && at.peer.manners.is_truthful();
            if self.peers.iter().any(is_honest) {
                return Err(self.violation(index, Broken::Blamed(addr, why)));
            }
            self.banned += 1;
        }
        let host = &mut self.peers[index];
        if is_complete && !host.peer.is_seed && host.finished.is_none() {
            host.finished = Some(self.now);
            if let Some(after) = host.peer.leaves_after {
                self.plans.plan(self.now + after, Act::Leave(host.id));
            }
        }
        if is_gone {
            self.end(index);
        }
        Ok(())
    }

    fn sample(&self) -> Sample {
        let mut spread = Bitfield::empty(self.content.geometry.piece_count());
        let mut pieces_of = |host: &PeerHost| {
            let have = host.client.as_ref().and_then(Client::have)?;
            for piece in have.iter(&self.content.geometry) {
                spread.insert(piece);
            }
            Some(have.count())
        };
        let leechers = self.peers.iter().filter(|host| !host.peer.is_seed);
        Sample {
            at: self.now,
            payload: self.tally.payload.values().sum(),
            from_seeds: self
                .peers
                .iter()
                .filter(|host| host.is_honest_seed())
                .map(|host| self.uploaded(host))
                .sum(),
            pieces: leechers.map(|host| pieces_of(host).unwrap_or(0)).collect(),
            spread: spread.count(),
        }
    }

    // ---- what is done to it ----

    fn act_on_upload(&mut self) -> Result<(), Violation> {
        let has_sent = |(host, bytes, _): &(HostId, u64, Act)| {
            let addr = self.peers[self.index(*host)].addr;
            self.tally.payload.get(&addr.ip()).is_some_and(|sent| sent >= bytes)
        };
        let Some(due) = self.on_upload.iter().position(has_sent) else { return Ok(()) };
        let (_, _, act) = self.on_upload.remove(due);
        self.act(act)
    }

    fn act(&mut self, act: Act) -> Result<(), Violation> {
        self.tally.note(&[self.now.as_micros(), act.kind()]);
        self.acts.extend(self.describe(act).map(|text| (self.now, text)));
        match act {
            Act::Start(host) => return self.start(host),
            Act::Crash(host) => {
                let index = self.index(host);
                self.end(index);
                self.peers[index].disk.crash();
            }
            Act::Leave(host) => return self.with(host, Client::leave),
            Act::Tracker(true) => self.net.start(self.tracker.id),
            Act::Tracker(false) => self.net.stop(self.now, self.tracker.id),
            Act::DiskRoom(host, room) => self.peers[self.index(host)].disk.set_room(room),
        }
        Ok(())
    }

    /// What a report says of it; a peer's first start is in its row already.
    fn describe(&self, act: Act) -> Option<String> {
        let of = |host: HostId| &self.peers[self.index(host)].peer;
        Some(match act {
            Act::Start(host) if of(host).joins == self.now => return None,
            Act::Start(host) => format!("{} is back", of(host).name),
            Act::Crash(host) => format!("{} has a power cut", of(host).name),
            Act::Leave(host) => format!("{} leaves", of(host).name),
            Act::Tracker(true) => "the tracker is there".to_owned(),
            Act::Tracker(false) => "the tracker is gone".to_owned(),
            Act::DiskRoom(host, Some(room)) => {
                format!("the disk of {} holds {room} bytes", of(host).name)
            }
            Act::DiskRoom(host, None) => format!("the disk of {} has room again", of(host).name),
        })
    }

    fn start(&mut self, host: HostId) -> Result<(), Violation> {
        let index = self.index(host);
        let PeerHost { peer, addr, disk, .. } = &self.peers[index];
        let start = Start {
            host,
            addr: *addr,
            manners: peer.manners,
            budget: peer.budget,
            trackers: if peer.knows == Knows::Tracker {
                vec![vec![self.tracker.url(host)]]
            } else {
                Vec::new()
            },
            told: match peer.knows {
                Knows::Earlier => self.peers[..index].iter().map(|host| host.addr).collect(),
                Knows::First => self.peers[..index.min(1)].iter().map(|host| host.addr).collect(),
                Knows::Tracker | Knows::NoPeer => Vec::new(),
            },
            is_magnet: peer.is_magnet,
            content: Arc::clone(&self.content),
            disk: disk.clone(),
            rng: self.rng.fork(),
        };
        self.net.start(host);
        let client = Client::start(
            start,
            &mut Scene { now: self.now, net: &mut self.net, tally: &mut self.tally },
        );
        self.peers[index].client = Some(client);
        self.look_at(index)
    }

    /// The peer's program is over.
    fn end(&mut self, index: usize) {
        let host = &mut self.peers[index];
        if let Some(status) = host.client.take().and_then(|client| client.status(self.now)) {
            host.wasted += status.bytes_wasted - status.bytes_bad;
            host.spoiled += status.bytes_bad;
        }
        self.net.stop(self.now, host.id);
    }

    // ---- the end ----

    /// Whether everybody who should finish has.
    fn is_over(&self) -> bool {
        let will_start = |host: &PeerHost| self.plans.iter().any(|act| *act == Act::Start(host.id));
        let is_done = |host: &PeerHost| {
            host.finished.is_some() || (host.client.is_none() && !will_start(host))
        };
        self.peers.iter().filter(|host| host.must_finish()).all(is_done)
    }

    fn report(mut self) -> Result<Report, Violation> {
        let is_wrong =
            |host: &PeerHost| host.finished.is_some() && !host.disk.is_whole(&self.content);
        if let Some(index) = self.peers.iter().position(is_wrong) {
            return Err(self.violation(index, Broken::WrongFiles));
        }
        let uploaded: u64 = self
            .peers
            .iter()
            .filter(|host| host.is_honest_seed())
            .map(|host| self.uploaded(host))
            .sum();
        let payload: u64 = self.tally.payload.values().sum();
        let (trace_hash, events) = (self.tally.hash(), self.tally.events);
        (0..self.peers.len()).for_each(|index| self.end(index));
        let finisher = |host: &PeerHost| {
            Some(Finisher {
                name: host.peer.name.clone(),
                joined: host.peer.joins,
                finished: host.finished?,
                up: host.peer.link.up,
            })
        };
        Ok(Report {
            seed: self.seed,
            finishers: self.peers.iter().filter_map(finisher).collect(),
            acts: std::mem::take(&mut self.acts),
            trace_hash,
            events,
            payload,
            overhead: self.net.carried() - payload.min(self.net.carried()),
            wasted: self.peers.iter().map(|host| host.wasted).sum(),
            spoiled: self.peers.iter().map(|host| host.spoiled).sum(),
            seed_copies_milli: uploaded * 1000 / self.torrent_len(),
            bad_pieces: self.tally.bad_pieces,
            hang_ups_for_fault: self.banned,
            completed: self.tracker.completed(self.now, self.content.info_hash),
            lasted: self.now,
            ideal: self.ideal(),
            progress: std::mem::take(&mut self.progress),
        })
    }

    /// The bound of [`Report::ideal`].
    fn ideal(&self) -> Duration {
        let seeds: Vec<&PeerHost> =
            self.peers.iter().filter(|host| host.is_honest_seed()).collect();
        let leechers: Vec<&PeerHost> =
            self.peers.iter().filter(|host| host.must_finish()).collect();
        let len = u128::from(self.torrent_len());
        let micros = |bytes: u128, rate: u64| bytes * 1_000_000 / u128::from(rate.max(1));
        let gives = |host: &&&PeerHost| host.peer.manners == Manners::Honest;
        let up = |hosts: &[&PeerHost]| {
            hosts.iter().filter(gives).map(|host| host.peer.link.up).sum::<u64>()
        };
        let slowest = leechers.iter().map(|host| host.peer.link.down).min().unwrap_or(u64::MAX);
        let all = micros(leechers.len() as u128 * len, up(&seeds) + up(&leechers));
        let bound = micros(len, up(&seeds)).max(micros(len, slowest)).max(all);
        Duration::from_micros(u64::try_from(bound).unwrap_or(u64::MAX))
    }

    fn unfinished(&self) -> Violation {
        let is_late = |host: &PeerHost| {
            host.client.is_some() && host.must_finish() && host.finished.is_none()
        };
        let index = self.peers.iter().position(is_late).unwrap_or(0);
        let have =
            self.peers[index].client.as_ref().and_then(Client::have).map_or(0, Bitfield::count);
        self.violation(index, Broken::Unfinished(have, self.content.geometry.piece_count()))
    }

    fn violation(&self, index: usize, broken: Broken) -> Violation {
        Violation::Broken {
            seed: self.seed,
            at: self.now,
            host: self.peers[index].peer.name.clone(),
            broken,
        }
    }

    /// Payload bytes of this peer that arrived at others.
    fn uploaded(&self, host: &PeerHost) -> u64 {
        self.tally.payload.get(&host.addr.ip()).copied().unwrap_or(0)
    }

    /// The tracker is the first host of the network.
    fn index(&self, host: HostId) -> usize {
        host.0 - 1
    }
}

impl Act {
    /// A number for the trace.
    fn kind(self) -> u64 {
        match self {
            Act::Start(host) => 100 + host.0 as u64,
            Act::Crash(host) => 10_100 + host.0 as u64,
            Act::Leave(host) => 20_100 + host.0 as u64,
            Act::Tracker(is_up) => u64::from(is_up),
            Act::DiskRoom(host, room) => 30_100 + host.0 as u64 + (room.unwrap_or(0) << 16),
        }
    }
}
