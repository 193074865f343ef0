//! Shares the store's memory among several torrents of one engine.
//!
//! Decides: what is expected of the engine. Must not know: its insides.
//! Invariant: time and chance are fixed.

use bt_engine::{
    Budget, Config, Engine, Input, Output, PeerKey, TorrentKey, TorrentSettings, TorrentSpec,
};
use bt_peer_wire::{Handshake, Message, Reserved};
use bt_types::{
    BLOCK_LEN, Bitfield, Geometry, InfoHash, PIECE_IN_MEMORY_MAX, PeerId, Piece, PieceCheck,
    RawBlock, Rng, Time,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

const MIB: u32 = 1 << 20;

/// An engine with torrents that have one peer each: the peer has everything and has unchoked us.
struct World {
    engine: Engine,
    now: Time,
    /// The requests to each torrent's peer that it has not answered.
    asked: BTreeMap<u32, Vec<RawBlock>>,
    /// Blocks of long pieces that were stored and are not on the disk yet.
    stored: Vec<(TorrentKey, Piece, u64)>,
    complete: Vec<(TorrentKey, Piece)>,
    forgotten: Vec<(TorrentKey, Piece)>,
}

impl World {
    fn new(torrents: u32, piece_length: u32, store_bytes: u64) -> World {
        let geometry = Geometry::new(u64::from(piece_length) * 8, piece_length).unwrap();
        let budget = Budget { store_bytes, ..Budget::default() };
        let engine = Engine::new(Config::new(PeerId([1; 20])), budget, Rng::from_seed(1));
        let (asked, stored, complete, forgotten) = Default::default();
        let mut world = World { engine, now: Time::ZERO, asked, stored, complete, forgotten };
        for n in 0..torrents {
            let (key, peer, info_hash) =
                (TorrentKey(n), PeerKey(n.into()), InfoHash([n as u8; 20]));
            let spec = TorrentSpec {
                info_hash,
                geometry,
                have: Bitfield::empty(8),
                trackers: Vec::new(),
                settings: TorrentSettings::default(),
                files: Vec::new(),
                metadata: Bytes::new(),
                private: false,
            };
            world.give(Input::Add(key, Box::new(spec)));
            let addr = ([10, 0, n as u8, 1], 6881).into();
            let handshake = Handshake {
                reserved: Reserved::OURS,
                info_hash,
                peer_id: PeerId([2 + n as u8; 20]),
            };
            world.give(Input::Connected { peer, torrent: key, addr, outbound: true, handshake });
            world.give(Input::Frames(peer, vec![Message::HaveAll, Message::Unchoke]));
        }
        world
    }

    fn give(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send(peer, messages) => {
                    let asked = self.asked.entry(peer.0 as u32).or_default();
                    for message in messages {
                        match message {
                            Message::Request(block) => asked.push(block),
                            Message::Cancel(block) => asked.retain(|other| *other != block),
                            _ => {}
                        }
                    }
                }
                Output::Store(key, block, data) => {
                    self.stored.push((key, block.piece(), data.len() as u64))
                }
                Output::Check { torrent, piece, .. } => self.complete.push((torrent, piece)),
                Output::Forget(key, piece) => self.forgotten.push((key, piece)),
                _ => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.engine.deadline().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.engine.wake(self.now);
            self.carry_out();
        }
        self.now = until;
    }

    /// Lets the torrent's peer send the first block that it was asked for.
    fn send(&mut self, torrent: u32) -> bool {
        let Some(asked) = self.asked.get_mut(&torrent).filter(|asked| !asked.is_empty()) else {
            return false;
        };
        let RawBlock { piece, begin, len } = asked.remove(0);
        self.give(Input::Frames(
            PeerKey(torrent.into()),
            vec![Message::Piece { piece, begin, data: Bytes::from(vec![0; len as usize]) }],
        ));
        true
    }

    fn reserved(&self) -> u64 {
        (0..16).map(|n| self.engine.reserved(TorrentKey(n))).sum()
    }
}

#[test]
fn all_torrents_together_stay_within_the_budget_and_each_gets_its_turn() {
    let budget = 4 * u64::from(MIB);
    let mut world = World::new(8, MIB, budget);
    let mut done = BTreeMap::<u32, u32>::new();
    let mut most = 0;
    // All torrents have equally fast peers.
    while (0..8).any(|torrent| world.send(torrent)) || !world.complete.is_empty() {
        for torrent in 0..8 {
            world.send(torrent);
        }
        most = most.max(world.reserved());
        for (key, piece) in std::mem::take(&mut world.complete) {
            *done.entry(key.0).or_default() += 1;
            world.give(Input::Checked(key, piece, PieceCheck::Good));
        }
        world.pass(Duration::from_millis(1));
    }
    assert!(most <= budget, "{most}");
    assert_eq!(done, (0..8).map(|n| (n, 8)).collect(), "every piece of every torrent");
}

#[test]
fn pieces_that_are_never_completed_give_way_to_another_torrent() {
    let mut world = World::new(2, MIB, u64::from(MIB));
    assert_eq!(
        (world.engine.reserved(TorrentKey(0)), world.engine.reserved(TorrentKey(1))),
        (u64::from(MIB), 0)
    );
    // The first torrent's peer sends one more block only.
    assert!(world.send(0));
    world.pass(Duration::from_secs(45));
    assert_eq!(world.forgotten.first().map(|(key, _)| *key), Some(TorrentKey(0)));
    let mut pieces = 0;
    for _ in 0..1000 {
        world.send(1);
        for (key, piece) in std::mem::take(&mut world.complete) {
            pieces += 1;
            world.give(Input::Checked(key, piece, PieceCheck::Good));
        }
        world.pass(Duration::from_millis(200));
    }
    assert!(pieces >= 4, "{pieces} pieces of the second torrent");
}

#[test]
fn a_long_piece_reserves_what_is_under_way_and_not_yet_on_the_disk() {
    let budget = u64::from(4 * MIB);
    let mut world = World::new(2, PIECE_IN_MEMORY_MAX + 4 * BLOCK_LEN, budget);
    let (mut came, mut most) = (0u64, 0);
    for _ in 0..600 {
        while (0..2).any(|torrent| world.send(torrent)) {
            most = most.max(world.reserved());
        }
        // The disk is slower than the peers, which wait for it.
        for (key, piece, bytes) in std::mem::take(&mut world.stored) {
            came += bytes;
            world.give(Input::OnDisk(key, piece, bytes));
        }
        world.pass(Duration::from_millis(100));
    }
    assert!(most <= budget, "{most}");
    assert!(!world.complete.is_empty() && came > u64::from(PIECE_IN_MEMORY_MAX), "{came}");
}
