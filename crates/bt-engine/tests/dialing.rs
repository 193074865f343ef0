//! Measures in virtual time how long it takes to find one peer among addresses that do not answer.
//!
//! Decides: which addresses answer, and how soon. Must not know: the order and the patience of the
//! engine's dials.
//! Invariant: a dial to a dead address ends when the engine's patience does, and not before.

use bt_engine::{
    AnnounceOrder, Budget, Config, Engine, Input, Output, TorrentKey, TorrentSettings, TorrentSpec,
};
use bt_peer_wire::{Handshake, Reserved};
use bt_tracker_wire::AnnounceReply;
use bt_types::{BLOCK_LEN, Bitfield, Geometry, InfoHash, PeerId, Rng, Source, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Dials of a process that may be under way at once.
const DIALS_MAX: usize = 200;
const LIVING: u32 = 0x2d0a_141e;

/// The result of a played swarm.
struct Fared {
    /// When each torrent's living peer was connected.
    found: BTreeMap<TorrentKey, Duration>,
    /// The most dials that were under way at once.
    under_way: usize,
}

fn spec(number: u32, trackers: Vec<Vec<String>>) -> Box<TorrentSpec> {
    Box::new(TorrentSpec {
        info_hash: InfoHash([number as u8; 20]),
        geometry: Geometry::new(u64::from(BLOCK_LEN), BLOCK_LEN).unwrap(),
        have: Bitfield::empty(1),
        trackers,
        settings: TorrentSettings::default(),
        files: Vec::new(),
        metadata: Vec::new().into(),
        private: false,
    })
}

/// Plays one torrent for each of `dead`, with that number of dead addresses and a living peer that
/// answers after `answers`.
fn play(seed: u64, dead: &[u32], answers: Duration) -> Fared {
    let mut rng = Rng::from_seed(seed);
    let mut engine = Engine::new(Config::new(PeerId([1; 20])), Budget::default(), rng.fork());
    for (key, _) in (0..).zip(dead) {
        let trackers = vec![vec!["http://tracker/announce".into()]];
        engine.handle(Time::ZERO, Input::Add(TorrentKey(key), spec(key, trackers)));
    }
    let mut fared = Fared { found: BTreeMap::new(), under_way: 0 };
    // When each dial ends, and whether a peer answers it.
    let mut ends: BTreeMap<(Time, u32), (TorrentKey, SocketAddr, bool)> = BTreeMap::new();
    let (mut now, mut number) = (Time::ZERO, 0);
    loop {
        while let Some(output) = engine.poll() {
            match output {
                Output::Dial(key, addr, _, patience) => {
                    let is_heard = is_alive(addr) && answers <= patience;
                    number += 1;
                    ends.insert(
                        (now + if is_heard { answers } else { patience }, number),
                        (key, addr, is_heard),
                    );
                }
                Output::Announce(key, order) => {
                    tell(&mut engine, now, key, &order, dead[key.0 as usize], &mut rng)
                }
                _ => {}
            }
        }
        fared.under_way = fared.under_way.max(ends.len());
        if fared.found.len() == dead.len() {
            return fared;
        }
        let dial = ends.first_key_value().map(|((at, _), _)| *at);
        now = [dial, engine.deadline()]
            .into_iter()
            .flatten()
            .min()
            .expect("it tries until it has found the peer")
            .max(now);
        assert!(now < Time::from_secs(3600), "seed {seed}: the peer was not found in an hour");
        let later = ends.split_off(&(now, u32::MAX));
        let due = std::mem::replace(&mut ends, later);
        for ((at, number), (key, addr, is_heard)) in due {
            if is_heard {
                fared.found.entry(key).or_insert(at.since(Time::ZERO));
                let handshake = Handshake {
                    reserved: Reserved::OURS,
                    info_hash: InfoHash([key.0 as u8; 20]),
                    peer_id: PeerId([2; 20]),
                };
                let peer = bt_engine::PeerKey(number.into());
                engine.handle(
                    now,
                    Input::Connected { peer, torrent: key, addr, outbound: true, handshake },
                );
            } else {
                engine.handle(now, Input::DialFailed(key, addr));
            }
        }
        if engine.deadline().is_some_and(|at| at <= now) {
            engine.wake(now);
        }
    }
}

fn is_alive(addr: SocketAddr) -> bool {
    addr.ip() == std::net::Ipv4Addr::from(LIVING)
}

/// Lets the tracker name all addresses, the living one among them.
fn tell(
    engine: &mut Engine,
    now: Time,
    key: TorrentKey,
    order: &AnnounceOrder,
    dead: u32,
    rng: &mut Rng,
) {
    let mut peers: Vec<SocketAddr> = (0..dead)
        .map(|n| SocketAddr::from(((0x5000_0000 + n * 997).to_be_bytes(), 6881)))
        .collect();
    peers.push(SocketAddr::from((LIVING.to_be_bytes(), 6881)));
    rng.shuffle(&mut peers);
    let reply = AnnounceReply { interval: 1800, peers, ..AnnounceReply::default() };
    engine.handle(now, Input::Announced(key, order.tracker, Ok(([9, 9, 9, 9].into(), reply))));
}

#[test]
fn a_live_peer_is_found_in_seconds_among_dead_addresses() {
    // (dead addresses of each torrent, when the living peer answers, seconds within which it is
    // found)
    let table: [(&[u32], u64, u64); 5] = [
        (&[0], 100, 1),
        (&[200], 100, 4),
        (&[2000], 100, 30),
        // Slower than the first patience.
        (&[200], 3_000, 30),
        (&[200; 10], 100, 40),
    ];
    for (dead, answers, within) in table {
        let fared: Vec<Fared> =
            (0..20).map(|seed| play(seed, dead, Duration::from_millis(answers))).collect();
        let latest = fared.iter().flat_map(|fared| fared.found.values()).max().unwrap();
        let under_way = fared.iter().map(|fared| fared.under_way).max().unwrap();
        println!(
            "{dead:?}, answering after {answers} ms: found after {latest:?} at the latest, {under_way} dials at once"
        );
        assert!(*latest <= Duration::from_secs(within), "{dead:?}, {answers} ms: after {latest:?}");
        assert!(under_way <= DIALS_MAX, "{dead:?}: {under_way} dials were under way");
    }
}

#[test]
fn an_address_that_becomes_due_while_all_dials_are_taken_is_dialled_when_one_ends() {
    let budget = Budget { dials: 1, ..Budget::default() };
    let mut engine = Engine::new(Config::new(PeerId([1; 20])), budget, Rng::from_seed(1));
    let dials = |engine: &mut Engine| -> Vec<TorrentKey> {
        let outputs = core::iter::from_fn(|| engine.poll());
        outputs
            .filter_map(|output| if let Output::Dial(key, ..) = output { Some(key) } else { None })
            .collect()
    };
    let (a, b) = (TorrentKey(1), TorrentKey(2));
    let addr = |key: TorrentKey| SocketAddr::from(([80, 0, 0, key.0 as u8], 6881));
    for key in [a, b] {
        engine.handle(Time::ZERO, Input::Add(key, spec(key.0, Vec::new())));
    }
    engine.handle(Time::ZERO, Input::PeersFound(b, Source::User, vec![addr(b)]));
    assert_eq!(dials(&mut engine), [b]);
    engine.handle(Time::ZERO, Input::DialFailed(b, addr(b)));
    engine.handle(Time::ZERO, Input::PeersFound(a, Source::User, vec![addr(a)]));
    assert_eq!(dials(&mut engine), [a]);
    // It acts while there is no dial for it, and its address is not due.
    engine.handle(Time::ZERO, Input::Reannounce(b));
    let later = Time::from_secs(3600);
    let mut wakes = 0;
    while let Some(at) = engine.deadline().filter(|at| *at < later) {
        engine.wake(at);
        wakes += 1;
        assert!(wakes < 1000 && dials(&mut engine).is_empty());
    }
    engine.handle(later, Input::DialFailed(a, addr(a)));
    assert_eq!(dials(&mut engine), [b]);
}
