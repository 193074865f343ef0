//! Runs the engine among puppets: a number of inputs, so that a profiler can count the cost of one.
//!
//! Decides: the puppets' acts. Must not know: how the engine works.
//! Invariant: equal arguments give equal inputs, and the mix of inputs does not depend on the
//! number of puppets, pieces or torrents.
//!
//! `cost PEERS PIECES IDLE INPUTS`: downloads a torrent from puppets that each have half of it,
//! have unchoked us, and are interested. There are also `IDLE` complete torrents without peers.
//! `cargo xtask cost` runs it under a profiler with few and many of each.

use bt_engine::{
    Budget, Config, Engine, Input, Output, PeerKey, TorrentKey, TorrentSettings, TorrentSpec,
};
use bt_peer_wire::{Handshake, Message, Reserved};
use bt_tracker_wire::AnnounceReply;
use bt_types::{BLOCK_LEN, Bitfield, Geometry, InfoHash, PeerId, PieceCheck, RawBlock, Rng, Time};
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

const TORRENT: TorrentKey = TorrentKey(0);
const HASH: InfoHash = InfoHash([1; 20]);
const BLOCKS_PER_PIECE: u32 = 32;
/// Pieces of each idle torrent.
const IDLE_PIECES: u32 = 64;
/// The time between two inputs: the traffic of a link does not depend on the number of peers that
/// share it.
const TICK: Duration = Duration::from_millis(1);
/// The inputs of a round: this number of blocks, and the `have`s and requests that follow.
const BLOCKS_A_ROUND: u32 = 8;
const HAVES_A_ROUND: u32 = 2;
const REQUESTS_A_ROUND: u32 = 4;

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [peers, pieces, idle, inputs] = numbers[..] else {
        eprintln!("usage: cost PEERS PIECES IDLE INPUTS");
        std::process::exit(2);
    };
    let mut puppets = Puppets::new(peers, pieces, idle);
    let done = puppets.play(inputs);
    println!(
        "{done} inputs; {} blocks came, {} pieces were checked, {} blocks were served",
        puppets.came, puppets.checked, puppets.served
    );
}

#[derive(Default)]
struct Puppet {
    /// The requests that it has not answered.
    asked: VecDeque<RawBlock>,
    has: Vec<bool>,
}

struct Puppets {
    engine: Engine,
    geometry: Geometry,
    now: Time,
    rng: Rng,
    puppets: Vec<Puppet>,
    /// Puppets with unanswered requests, in the order of their first.
    busy: VecDeque<u64>,
    /// The puppets that we have unchoked.
    unchoked: BTreeSet<u64>,
    /// The pieces that we have.
    ours: Vec<u32>,
    answers: VecDeque<Input>,
    came: u32,
    checked: u32,
    served: u32,
}

impl Puppets {
    fn new(peers: u32, pieces: u32, idle: u32) -> Puppets {
        let piece_length = BLOCKS_PER_PIECE * BLOCK_LEN;
        let geometry = Geometry::new(u64::from(pieces) * u64::from(piece_length), piece_length)
            .expect("a piece and more");
        let budget = Budget {
            peers_per_torrent: peers as usize,
            peers: peers as usize,
            ..Budget::default()
        };
        let engine = Engine::new(Config::new(PeerId([0; 20])), budget, Rng::from_seed(1));
        let mut puppets = Puppets {
            engine,
            geometry,
            now: Time::ZERO,
            rng: Rng::from_seed(2),
            puppets: (0..peers).map(|_| Puppet::default()).collect(),
            busy: VecDeque::new(),
            unchoked: BTreeSet::new(),
            ours: Vec::new(),
            answers: VecDeque::new(),
            came: 0,
            checked: 0,
            served: 0,
        };
        let have = Bitfield::empty(geometry.piece_count());
        puppets.add(TORRENT, geometry, have);
        let small =
            Geometry::new(u64::from(IDLE_PIECES * BLOCK_LEN), BLOCK_LEN).expect("a piece and more");
        (1..=idle)
            .for_each(|number| puppets.add(TorrentKey(number), small, Bitfield::full(IDLE_PIECES)));
        (0..u64::from(peers)).for_each(|peer| puppets.join(peer));
        puppets
    }

    fn add(&mut self, key: TorrentKey, geometry: Geometry, have: Bitfield) {
        let spec = TorrentSpec {
            info_hash: HASH,
            geometry,
            trackers: if have.is_full() {
                vec![vec!["http://tracker/".into()]]
            } else {
                Vec::new()
            },
            have,
            settings: TorrentSettings::default(),
            files: Vec::new(),
            metadata: Bytes::new(),
            private: false,
        };
        self.give(Input::Add(key, Box::new(spec)));
    }

    fn join(&mut self, peer: u64) {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&(peer + 1).to_be_bytes());
        let [.., a, b, c] = (peer as u32).to_be_bytes();
        let handshake =
            Handshake { reserved: Reserved::OURS, info_hash: HASH, peer_id: PeerId(id) };
        let addr = ([11, a, b, c], 6881).into();
        self.give(Input::Connected {
            peer: PeerKey(peer),
            torrent: TORRENT,
            addr,
            outbound: false,
            handshake,
        });
        let mut bits = Bitfield::empty(self.geometry.piece_count());
        let has = &mut self.puppets[peer as usize].has;
        for piece in self.geometry.pieces() {
            has.push(self.rng.below(2) == 0);
            if has[piece.index()] {
                bits.insert(piece);
            }
        }
        let bits = Message::Bitfield(Bytes::copy_from_slice(bits.as_bytes()));
        self.give(Input::Frames(PeerKey(peer), vec![bits, Message::Interested, Message::Unchoke]));
    }

    /// Plays rounds until this number of inputs was given; returns the number given.
    fn play(&mut self, inputs: u32) -> u32 {
        let mut given = 0;
        while given < inputs {
            for _ in 0..BLOCKS_A_ROUND {
                given += self.block();
            }
            for _ in 0..HAVES_A_ROUND {
                given += self.have();
            }
            for _ in 0..REQUESTS_A_ROUND {
                given += self.request();
            }
        }
        given
    }

    /// Lets the puppet that was asked first send a block.
    fn block(&mut self) -> u32 {
        let Some(peer) = self.busy.pop_front() else { return 0 };
        let asked = &mut self.puppets[peer as usize].asked;
        let Some(RawBlock { piece, begin, len }) = asked.pop_front() else { return 0 };
        if !asked.is_empty() {
            self.busy.push_back(peer);
        }
        self.came += 1;
        let data = Bytes::from_static(&[0; BLOCK_LEN as usize]).slice(..len as usize);
        self.give(Input::Frames(PeerKey(peer), vec![Message::Piece { piece, begin, data }]));
        1
    }

    /// Lets a puppet announce another piece.
    fn have(&mut self) -> u32 {
        let peer = self.rng.below(self.puppets.len() as u64);
        let piece = self.rng.below(u64::from(self.geometry.piece_count()));
        let has = &mut self.puppets[peer as usize].has[piece as usize];
        if std::mem::replace(has, true) {
            return 0;
        }
        self.give(Input::Frames(PeerKey(peer), vec![Message::Have(piece as u32)]));
        1
    }

    /// Lets an unchoked puppet request a block.
    fn request(&mut self) -> u32 {
        let canonical_priority = self.rng.below(self.unchoked.len().max(1) as u64) as usize;
        let Some(&peer) = self.unchoked.iter().nth(canonical_priority) else { return 0 };
        let Some(&piece) = self.ours.get(self.rng.below(self.ours.len().max(1) as u64) as usize)
        else {
            return 0;
        };
        let begin = self.rng.below(u64::from(BLOCKS_PER_PIECE)) as u32 * BLOCK_LEN;
        self.give(Input::Frames(
            PeerKey(peer),
            vec![Message::Request(RawBlock { piece, begin, len: BLOCK_LEN })],
        ));
        1
    }

    /// Gives an input, and the inputs that follow from its outputs.
    fn give(&mut self, input: Input) {
        self.answers.push_back(input);
        while let Some(input) = self.answers.pop_front() {
            self.now = self.now + TICK;
            self.engine.handle(self.now, input);
            if self.engine.deadline().is_some_and(|at| at <= self.now) {
                self.engine.wake(self.now);
            }
            while let Some(output) = self.engine.poll() {
                self.obey(output);
            }
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Send(peer, messages) => {
                messages.into_iter().for_each(|message| self.hear(peer.0, message))
            }
            Output::Serve { peer, blocks, .. } => {
                self.served += blocks.len() as u32;
                self.answers.push_back(Input::Sent(
                    peer,
                    blocks.iter().map(|block| u64::from(block.len())).sum(),
                ));
            }
            Output::Check { piece, .. } => {
                self.checked += 1;
                self.ours.push(piece.number());
                self.answers.push_back(Input::Checked(TORRENT, piece, PieceCheck::Good));
            }
            Output::Announce(key, order) => {
                let reply = AnnounceReply { interval: 1800, ..AnnounceReply::default() };
                self.answers.push_back(Input::Announced(
                    key,
                    order.tracker,
                    Ok(([127, 0, 0, 1].into(), reply)),
                ));
            }
            _ => {}
        }
    }

    fn hear(&mut self, peer: u64, message: Message) {
        let puppet = &mut self.puppets[peer as usize];
        match message {
            Message::Request(block) => {
                if puppet.asked.is_empty() {
                    self.busy.push_back(peer);
                }
                puppet.asked.push_back(block);
            }
            Message::Cancel(block) => puppet.asked.retain(|asked| *asked != block),
            Message::Unchoke => {
                self.unchoked.insert(peer);
            }
            Message::Choke => {
                self.unchoked.remove(&peer);
            }
            _ => {}
        }
    }
}
