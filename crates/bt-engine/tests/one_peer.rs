//! Plays two clients that reach each other on several addresses: one connection stays, and both
//! ends keep the same one.
//!
//! Decides: when each end learns which address, and the latency of each path. Must not know: which
//! connection should stay.
//! Invariant: an end that refuses a connection answers its handshake late, as shells do. Closing
//! takes as long as any message.

use bt_engine::{
    Budget, CloseReason, Config, Engine, Input, Output, PeerKey, TorrentKey, TorrentSettings,
    TorrentSpec,
};
use bt_peer_wire::{Handshake, Message, Reserved};
use bt_types::{BLOCK_LEN, Bitfield, Geometry, InfoHash, PeerId, Rng, Source, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const TORRENT: TorrentKey = TorrentKey(0);
const HASH: InfoHash = InfoHash([7; 20]);
/// Seconds after which an end answers the handshake of a connection that it refuses as a duplicate.
const LATE: Duration = Duration::from_secs(1);

/// An event at an end.
#[derive(Debug)]
enum Step {
    Told(SocketAddr),
    Incoming(PeerKey, SocketAddr),
    Answered(PeerKey, SocketAddr),
    Heard(PeerKey),
    Closed(PeerKey),
}

/// Two engines and the paths between them.
struct Pair {
    engines: [Engine; 2],
    now: Time,
    /// The addresses of each end: one for each path.
    addrs: [Vec<SocketAddr>; 2],
    /// The latency of a message on each path.
    latency: Vec<Duration>,
    connected: [BTreeSet<PeerKey>; 2],
    /// The path of each connection.
    ways: BTreeMap<PeerKey, usize>,
    steps: BTreeMap<(Time, u64), (usize, Step)>,
    next: u64,
    dials: usize,
}

fn id(end: usize) -> PeerId {
    PeerId([end as u8 + 1; 20])
}

fn spec() -> TorrentSpec {
    TorrentSpec {
        info_hash: HASH,
        geometry: Geometry::new(u64::from(BLOCK_LEN), BLOCK_LEN).unwrap(),
        have: Bitfield::empty(1),
        trackers: Vec::new(),
        settings: TorrentSettings::default(),
        files: Vec::new(),
        metadata: Vec::new().into(),
        private: false,
    }
}

impl Pair {
    /// Makes two engines that learn each other's addresses within `spread`.
    fn new(seed: u64, ips: [&[&str]; 2], spread: Duration) -> Pair {
        let mut rng = Rng::from_seed(seed);
        let engine = |end: usize, rng: &mut Rng| {
            let mut engine = Engine::new(Config::new(id(end)), Budget::default(), rng.fork());
            engine.handle(Time::ZERO, Input::Add(TORRENT, Box::new(spec())));
            engine
        };
        let engines = [engine(0, &mut rng), engine(1, &mut rng)];
        let addr = |end: usize, ip: &str| {
            SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 1001 + end as u16)
        };
        let addrs = [0, 1].map(|end| ips[end].iter().map(|ip| addr(end, ip)).collect::<Vec<_>>());
        let mut millis =
            |most: Duration| Duration::from_millis(rng.below(most.as_millis() as u64 + 1));
        let latency = ips[0].iter().map(|_| millis(Duration::from_millis(60))).collect();
        let mut told = Vec::new();
        for end in [0, 1] {
            told.extend(addrs[1 - end].iter().map(|&addr| (millis(spread), end, addr)));
        }
        let (connected, ways, steps) = Default::default();
        let mut pair = Pair {
            engines,
            now: Time::ZERO,
            addrs,
            latency,
            connected,
            ways,
            steps,
            next: 0,
            dials: 0,
        };
        told.into_iter()
            .for_each(|(after, end, addr)| pair.plan(Time::ZERO + after, end, Step::Told(addr)));
        pair
    }

    fn plan(&mut self, at: Time, end: usize, step: Step) {
        self.next += 1;
        self.steps.insert((at, self.next), (end, step));
    }

    /// Plays up to this time. Each end sends a message in every second, on each connection.
    fn play(&mut self, until: Time) {
        while self.now < until {
            let next = until.min(self.now + Duration::from_secs(1));
            self.pass(next);
            for end in [0, 1] {
                for peer in self.connected[1 - end].clone() {
                    let at = next + self.latency[self.ways[&peer]];
                    self.plan(at, end, Step::Heard(peer));
                }
            }
            self.now = next;
        }
    }

    fn pass(&mut self, until: Time) {
        loop {
            let step = self.steps.keys().next().map(|(at, _)| *at);
            let wake = self.engines.iter().filter_map(Engine::deadline).min();
            let Some(now) = step.into_iter().chain(wake).min().filter(|at| *at <= until) else {
                return;
            };
            if step == Some(now) {
                let ((now, _), (end, step)) = self.steps.pop_first().unwrap();
                self.take(now, end, step);
            } else {
                self.engines.iter_mut().for_each(|engine| engine.wake(now));
            }
            (0..2).for_each(|end| drop(self.carry_out(now, end)));
        }
    }

    fn take(&mut self, now: Time, end: usize, step: Step) {
        let handshake =
            Handshake { reserved: Reserved::OURS, info_hash: HASH, peer_id: id(1 - end) };
        let (peer, addr, outbound) = match step {
            Step::Told(addr) => {
                return self.engines[end]
                    .handle(now, Input::PeersFound(TORRENT, Source::User, vec![addr]));
            }
            Step::Heard(peer) => {
                if self.connected[end].contains(&peer) {
                    self.engines[end]
                        .handle(now, Input::Frames(peer, vec![Message::NotInterested]));
                }
                return;
            }
            Step::Closed(peer) => {
                if self.connected[end].remove(&peer) {
                    self.engines[end].handle(now, Input::Closed(peer));
                }
                return;
            }
            Step::Incoming(peer, addr) => (peer, addr, false),
            Step::Answered(peer, addr) => (peer, addr, true),
        };
        self.connected[end].insert(peer);
        self.engines[end]
            .handle(now, Input::Connected { peer, torrent: TORRENT, addr, outbound, handshake });
        let is_refused = self.carry_out(now, end).contains(&(peer, CloseReason::Duplicate));
        if !outbound {
            let wait = if is_refused { LATE } else { Duration::ZERO };
            let way = self.ways[&peer];
            let answer = now + wait + self.latency[way];
            let dialled = self.addrs[end][way];
            self.plan(answer, 1 - end, Step::Answered(peer, dialled));
            if is_refused {
                self.plan(answer, 1 - end, Step::Closed(peer));
            }
        }
    }

    /// Carries the outputs of an end out; returns the connections that it ended.
    fn carry_out(&mut self, now: Time, end: usize) -> Vec<(PeerKey, CloseReason)> {
        let mut ended = Vec::new();
        while let Some(output) = self.engines[end].poll() {
            match output {
                Output::Dial(_, to, ..) => {
                    let way = self.addrs[1 - end].iter().position(|addr| *addr == to).unwrap();
                    let peer = PeerKey(self.dials as u64);
                    self.dials += 1;
                    self.ways.insert(peer, way);
                    let from =
                        SocketAddr::new(self.addrs[end][way].ip(), 50_000 + self.dials as u16);
                    self.plan(now + self.latency[way], 1 - end, Step::Incoming(peer, from));
                }
                Output::HangUp(peer, why) => {
                    let was_there = self.connected[end].remove(&peer);
                    let is_late =
                        why == CloseReason::Duplicate && !self.connected[1 - end].contains(&peer);
                    if was_there && !is_late {
                        self.plan(
                            now + self.latency[self.ways[&peer]],
                            1 - end,
                            Step::Closed(peer),
                        );
                    }
                    ended.push((peer, why));
                }
                _ => {}
            }
        }
        ended
    }
}

/// Loopback, and an address of each family on one network.
const NEAR: [&[&str]; 2] =
    [&["127.0.0.1", "10.0.0.1", "fd00::1"], &["127.0.0.1", "10.0.0.2", "fd00::2"]];
/// One end has two addresses, and reaches the other end from a single address.
const ONE_WAY: [&[&str]; 2] = [&["10.0.0.1", "10.0.0.1"], &["10.0.0.2", "10.0.0.3"]];
/// A public address of each family.
const FAR: [&[&str]; 2] = [&["9.0.0.1", "2a01::1"], &["9.0.1.2", "2a02::2"]];

#[test]
fn one_connection_stays_whichever_end_dials_first() {
    for (seed, ips, spread) in (0..30).flat_map(|seed| {
        [NEAR, FAR, ONE_WAY].into_iter().flat_map(move |ips| {
            [0, 100, 1000].map(|spread| (seed, ips, Duration::from_millis(spread)))
        })
    }) {
        let mut pair = Pair::new(seed, ips, spread);
        pair.play(Time::ZERO + spread + Duration::from_secs(2));
        let (dials, stays) = (pair.dials, pair.connected.clone());
        let what = format!("seed {seed}, {ips:?}, {spread:?}: {stays:?}, {:?}", pair.latency);
        assert_eq!((stays[0].len(), &stays[0]), (1, &stays[1]), "{what}");
        pair.play(Time::from_secs(200));
        assert_eq!(
            (&pair.connected, pair.dials),
            (&stays, dials),
            "{what}: nothing is dialled again"
        );
    }
}

#[test]
fn when_the_connection_is_lost_the_other_addresses_are_tried() {
    let mut pair = Pair::new(1, NEAR, Duration::ZERO);
    let mut now = Time::from_secs(5);
    pair.play(now);
    for _ in 0..3 {
        let lost = *pair.connected[0].first().unwrap();
        (0..2).for_each(|end| pair.plan(now + Duration::from_millis(1), end, Step::Closed(lost)));
        let before = pair.dials;
        now = now + Duration::from_secs(120);
        pair.play(now);
        assert_eq!((pair.connected[0].len(), &pair.connected[0]), (1, &pair.connected[1]));
        assert!((1..=6).contains(&(pair.dials - before)), "{} dials", pair.dials - before);
    }
}
