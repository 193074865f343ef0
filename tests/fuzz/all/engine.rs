//! The engine, among peers that say anything.
//!
//! Decides: which orders are allowed after each input. Must not know: the inside of the engine.
//! Invariant: messages of peers are bytes that the codec accepted; the store and the tracker are
//! honest.

use crate::steps::Steps;
use crate::wire::{PIECES, read};
use bt_engine::{
    Budget, Config, Discovery, Engine, Event, Input, Output, PeerKey, PieceOrder, Priority,
    TorrentKey, TorrentSettings, TorrentSpec, TrackerKey,
};
use bt_fuzz::fuzz;
use bt_peer_wire::{Handshake, Incoming, Message, Reserved};
use bt_tracker_wire::{AnnounceReply, Failure};
use bt_types::{
    Bitfield, Block, Geometry, InfoHash, PeerId, Piece, PieceCheck, Rng, Source, StoreFault, Time,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const KEY: TorrentKey = TorrentKey(1);
/// The number of blocks in a piece.
const BLOCKS: u32 = 2;
/// The greatest number of orders after one input.
const ORDERS_MAX: usize = 5_000;
/// The number of wakes within which the engine must handle a passed deadline.
const WAKES_MAX: usize = 100;

/// The state of a peer, from the messages on its connection.
#[derive(Default)]
struct Peer {
    is_unchoked: bool,
    fast: BTreeSet<u32>,
}

struct World {
    engine: Engine,
    geometry: Geometry,
    now: Time,
    have: Bitfield,
    peers: BTreeMap<PeerKey, Peer>,
    gone: BTreeSet<PeerKey>,
    stored: BTreeSet<Block>,
    to_check: Vec<Piece>,
    served: Vec<(PeerKey, Block)>,
    announces: Vec<TrackerKey>,
    searches: Vec<Discovery>,
    removed: bool,
    settings: TorrentSettings,
}

impl World {
    fn new(rng: u64, seed: bool) -> World {
        let geometry = Geometry::new(u64::from(PIECES * BLOCKS) * 16_384 - 1, BLOCKS * 16_384)
            .expect("a torrent");
        let have = if seed { Bitfield::full(PIECES) } else { Bitfield::empty(PIECES) };
        let config = Config { dht_port: Some(7), lsd: true, ..Config::new(PeerId([9; 20])) };
        let budget = Budget {
            store_bytes: u64::from(4 * BLOCKS) * 16_384,
            peers_per_torrent: 6,
            ..Budget::default()
        };
        let mut engine = Engine::new(config, budget, Rng::from_seed(rng));
        let spec = TorrentSpec {
            info_hash: InfoHash([1; 20]),
            geometry,
            have: have.clone(),
            trackers: vec![
                vec!["http://192.0.2.1/announce".into()],
                vec!["udp://192.0.2.2:1".into()],
            ],
            settings: TorrentSettings::default(),
            files: geometry.pieces().map(|piece| piece.number()..piece.number() + 1).collect(),
            metadata: Bytes::from_static(&[0; 20_000]),
            private: false,
        };
        engine.handle(Time::ZERO, Input::Add(KEY, Box::new(spec)));
        World {
            engine,
            geometry,
            now: Time::ZERO,
            have,
            peers: BTreeMap::new(),
            gone: BTreeSet::new(),
            stored: BTreeSet::new(),
            to_check: Vec::new(),
            served: Vec::new(),
            announces: Vec::new(),
            searches: Vec::new(),
            removed: false,
            settings: TorrentSettings::default(),
        }
    }

    fn tell(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.obey();
    }

    /// Takes all orders and fails at one that is not allowed.
    fn obey(&mut self) {
        let mut orders = 0;
        while let Some(output) = self.engine.poll() {
            orders += 1;
            assert!(orders <= ORDERS_MAX, "it orders without end");
            self.hear(output);
        }
    }

    fn hear(&mut self, output: Output) {
        match output {
            Output::Send(key, messages) => {
                let peer = self
                    .peers
                    .get(&key)
                    .unwrap_or_else(|| panic!("words for {key:?}, who is gone"));
                for message in messages {
                    match message {
                        Message::Request(raw) => {
                            let block =
                                self.geometry.block(raw).expect("a request within the torrent");
                            assert!(
                                peer.is_unchoked || peer.fast.contains(&raw.piece),
                                "a request while choked"
                            );
                            assert!(!self.have.has(block.piece()), "a request for what is there");
                        }
                        Message::Have(piece) => {
                            assert!(
                                self.geometry
                                    .piece(piece)
                                    .is_some_and(|piece| self.have.has(piece)),
                                "have {piece}"
                            );
                        }
                        Message::Bitfield(bits) => {
                            let claims = Bitfield::from_wire(&bits, PIECES)
                                .expect("a bitfield of ours is right");
                            assert!(claims.iter(&self.geometry).all(|piece| self.have.has(piece)));
                        }
                        Message::HaveAll => assert!(self.have.is_full()),
                        _ => {}
                    }
                }
            }
            Output::Serve { peer: key, blocks, .. } => {
                assert!(self.peers.contains_key(&key), "{key:?} is served, who is gone");
                for block in blocks {
                    assert!(
                        self.have.has(block.piece()),
                        "served is {block:?}, which is not there"
                    );
                    self.served.push((key, block));
                }
            }
            Output::Store(_, block, data) => {
                assert_eq!(data.len(), block.len() as usize);
                assert!(!self.have.has(block.piece()), "stored is what is there");
                assert!(self.stored.insert(block), "stored twice: {block:?}");
                let limit = 4 * BLOCKS as usize + BLOCKS as usize;
                assert!(self.stored.len() <= limit, "{} blocks are stored", self.stored.len());
            }
            Output::Check { piece, .. } => {
                assert!(
                    self.geometry.blocks(piece).all(|block| self.stored.contains(&block)),
                    "{piece:?} is not whole"
                );
                assert!(!self.to_check.contains(&piece), "{piece:?} is checked twice");
                self.to_check.push(piece);
            }
            Output::Forget(_, piece) => {
                assert!(
                    !self.to_check.contains(&piece),
                    "{piece:?} is forgotten while it is checked"
                );
                self.stored.retain(|block| block.piece() != piece);
            }
            Output::HangUp(key, _) => {
                // The engine may refuse a new connection.
                self.peers.remove(&key);
                self.gone.insert(key);
            }
            Output::Announce(_, order) => self.announces.push(order.tracker),
            Output::FindPeers(_, via) => self.searches.push(via),
            Output::Event(_, Event::Complete) => assert!(!self.removed),
            Output::Dial(..) | Output::DhtNode(_) | Output::Metadata(..) | Output::Event(..) => {}
        }
    }

    /// Decodes the bytes of a peer. A fault ends the connection.
    fn frames(&mut self, key: PeerKey, bytes: &[u8]) {
        let shaken = [&handshake([0; 8], 0).to_bytes()[..], bytes].concat();
        let (came, fault) = read(&shaken, std::iter::empty());
        let messages: Vec<Message> = came
            .into_iter()
            .filter_map(|incoming| {
                if let Incoming::Message(message) = incoming { Some(message) } else { None }
            })
            .collect();
        let Some(peer) = self.peers.get_mut(&key) else { return };
        for message in &messages {
            match message {
                Message::Choke => peer.is_unchoked = false,
                Message::Unchoke => peer.is_unchoked = true,
                Message::AllowedFast(piece) => drop(peer.fast.insert(*piece)),
                _ => {}
            }
        }
        // The engine may send requests to a peer that unchokes and chokes in one read.
        let was_unchoked = messages.contains(&Message::Unchoke);
        let is_unchoked = peer.is_unchoked;
        peer.is_unchoked |= was_unchoked;
        self.tell(Input::Frames(key, messages));
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.is_unchoked = is_unchoked;
        }
        if fault.is_some() {
            self.close(key);
        }
    }

    fn close(&mut self, key: PeerKey) {
        if self.peers.remove(&key).is_some() {
            self.gone.insert(key);
            self.tell(Input::Closed(key));
        }
    }

    /// Sends the right block for a request that stands, or some block.
    fn step(&mut self, step: u8, steps: &mut Steps<'_>) {
        let key = PeerKey(u64::from(steps.below(8)));
        match step {
            0 if !self.peers.contains_key(&key) && !self.gone.contains(&key) => {
                let number = steps.below(8);
                let reserved = if steps.below(2) == 0 { Reserved::OURS } else { Reserved([0; 8]) };
                let addr: SocketAddr =
                    (Ipv4Addr::new(8, 8, number, 1), 1000 + u16::from(steps.below(3))).into();
                self.peers.insert(key, Peer::default());
                let outbound = steps.below(2) == 0;
                let handshake = handshake(reserved.0, number);
                self.tell(Input::Connected { peer: key, torrent: KEY, addr, outbound, handshake });
            }
            0 => self.close(key),
            1..=4 => self.frames(key, steps.bytes()),
            5 => {
                let Some(piece) = self.geometry.piece(u32::from(steps.below(16))) else { return };
                let Some(block) = self.geometry.nth_block(piece, u32::from(steps.below(2))) else {
                    return;
                };
                let data = Bytes::from(vec![steps.below(2); block.len() as usize]);
                let mut bytes = Vec::new();
                Message::Piece { piece: piece.number(), begin: block.begin(), data }
                    .encode(&mut bytes);
                self.frames(key, &bytes);
            }
            6 if !self.to_check.is_empty() => {
                let piece = self.to_check.remove(usize::from(steps.below(8)) % self.to_check.len());
                self.stored.retain(|block| block.piece() != piece);
                let verdict = if steps.below(4) > 0 { PieceCheck::Good } else { PieceCheck::Bad };
                if verdict == PieceCheck::Good {
                    self.have.insert(piece);
                } else if steps.below(2) > 0 {
                    self.tell(Input::Audited(KEY, self.geometry.blocks(piece).take(1).collect()));
                }
                self.tell(Input::Checked(KEY, piece, verdict));
            }
            7 if !self.served.is_empty() => {
                let (key, block) =
                    self.served.remove(usize::from(steps.below(64)) % self.served.len());
                let input = if steps.below(8) > 0 {
                    Input::Sent(key, block.len().into())
                } else {
                    Input::ReadFailed(key, block)
                };
                self.tell(input);
            }
            8 => {
                let fault =
                    if steps.below(2) == 0 { StoreFault::NoSpace } else { StoreFault::Changed };
                self.tell(Input::StoreFailed(KEY, fault));
            }
            9 => self.tell(Input::StoreRecovered(KEY)),
            10 if !self.announces.is_empty() => {
                let tracker = self.announces.remove(0);
                let reply = bt_tracker_wire::read_announce_body(steps.bytes())
                    .unwrap_or_else(|_| AnnounceReply::default());
                let result = if steps.below(2) == 0 {
                    Ok((Ipv4Addr::new(192, 0, 2, 1).into(), reply))
                } else {
                    Err(Failure::new("no"))
                };
                self.tell(Input::Announced(KEY, tracker, result));
            }
            11 => {
                let addrs =
                    (0..steps.below(8)).map(|n| (Ipv4Addr::new(8, 8, n, 1), 6881).into()).collect();
                self.tell(Input::PeersFound(
                    KEY,
                    Source::Host(Ipv4Addr::new(8, 8, 8, 8).into()),
                    addrs,
                ));
                if let Some(via) = self.searches.pop() {
                    self.tell(Input::FindPeersDone(KEY, via, 0));
                }
            }
            12 => {
                let from = u32::from(steps.below(16));
                let range = from..from + u32::from(steps.below(16));
                if steps.below(4) == 0 {
                    self.settings.running = steps.below(2) == 0;
                    self.settings.order = match steps.below(2) {
                        0 => PieceOrder::Sequential,
                        _ => PieceOrder::RarestFirst,
                    };
                    self.settings.peers_max = match steps.below(3) {
                        0 => None,
                        _ => Some(u32::from(steps.below(4))),
                    };
                    self.settings.trackers = match steps.below(3) {
                        0 => None,
                        1 => Some(Vec::new()),
                        _ => Some(vec![vec!["http://192.0.2.1/announce".into(), "udp://n".into()]]),
                    };
                } else {
                    let priority = match steps.below(5) {
                        0 => Priority::Skip,
                        1 => Priority::Low,
                        2 => Priority::High,
                        3 => {
                            let by = self.now + Duration::from_secs(9);
                            return self.tell(Input::Deadline(KEY, range, Some(by)));
                        }
                        _ => Priority::Normal,
                    };
                    range.for_each(|piece| self.settings.set_file(piece as usize, priority));
                }
                self.tell(Input::Set(KEY, Box::new(self.settings.clone())));
            }
            13 => self.tell(Input::DialFailed(
                KEY,
                (Ipv4Addr::new(8, 8, steps.below(8), 1), 6881).into(),
            )),
            _ => {
                let at = if steps.below(4) > 0 { self.engine.deadline() } else { None };
                self.now = at.unwrap_or_else(|| steps.later(self.now)).max(self.now);
                self.wake();
            }
        }
    }

    /// Wakes the engine until nothing is due any more.
    fn wake(&mut self) {
        let mut wakes = 0;
        while self.engine.deadline().is_some_and(|at| at <= self.now) {
            wakes += 1;
            assert!(wakes <= WAKES_MAX, "a deadline that does not pass");
            self.engine.wake(self.now);
            self.obey();
        }
    }
}

fn handshake(reserved: [u8; 8], number: u8) -> Handshake {
    Handshake {
        reserved: Reserved(reserved),
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([number; 20]),
    }
}

#[test]
fn engine() {
    fuzz("engine", |input| {
        let mut steps = Steps::new(input);
        let mut world = World::new(steps.below(255).into(), steps.below(4) == 0);
        world.obey();
        while let Some(step) = steps.choose(17) {
            world.step(step, &mut steps);
        }
        world.removed = true;
        world.tell(Input::Remove(KEY));
        assert!(world.peers.is_empty(), "a peer is still there");
        assert_eq!(world.engine.deadline(), None);
    });
}
