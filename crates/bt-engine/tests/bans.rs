//! Checks that a ban closes all connections of a host that poisoned a piece, and refuses its other
//! addresses.
//!
//! Decides: which addresses are one host. Must not know: the engine's insides.
//! Invariant: a peer of another host is never harmed.

use bt_engine::{
    Budget, CloseReason, Config, Engine, Input, Output, PeerKey, TorrentKey, TorrentSettings,
    TorrentSpec,
};
use bt_peer_wire::{Handshake, Message, Reserved};
use bt_types::{BLOCK_LEN, Bitfield, Geometry, InfoHash, PeerId, PieceCheck, Rng, Time};

const TORRENT: TorrentKey = TorrentKey(0);
const HASH: InfoHash = InfoHash([7; 20]);

/// Makes a leecher of two pieces of one block.
fn leecher() -> Engine {
    let mut engine =
        Engine::new(Config::new(PeerId([1; 20])), Budget::default(), Rng::from_seed(1));
    let spec = TorrentSpec {
        info_hash: HASH,
        geometry: Geometry::new(2 * u64::from(BLOCK_LEN), BLOCK_LEN).unwrap(),
        have: Bitfield::empty(2),
        trackers: Vec::new(),
        settings: TorrentSettings::default(),
        files: Vec::new(),
        metadata: Vec::new().into(),
        private: false,
    };
    engine.handle(Time::ZERO, Input::Add(TORRENT, Box::new(spec)));
    engine
}

/// Lets a peer connect from this address.
fn connect(engine: &mut Engine, number: u64, from: &str) {
    let peer_id = PeerId([10 + number as u8; 20]);
    let handshake = Handshake { reserved: Reserved::OURS, info_hash: HASH, peer_id };
    let addr = from.parse().unwrap();
    engine.handle(
        Time::ZERO,
        Input::Connected {
            peer: PeerKey(number),
            torrent: TORRENT,
            addr,
            outbound: false,
            handshake,
        },
    );
}

/// Carries the outputs out; returns the peers that were disconnected, and why.
fn hung_up(engine: &mut Engine) -> Vec<(u64, CloseReason)> {
    let orders = core::iter::from_fn(|| engine.poll());
    orders
        .filter_map(
            |order| if let Output::HangUp(peer, why) = order { Some((peer.0, why)) } else { None },
        )
        .collect()
}

#[test]
fn a_poisoner_is_banned_with_all_connections_of_its_host() {
    // (the liar, another connection, whether it is of the same host)
    let table = [
        ("9.9.9.9:1", "9.9.9.9:2", true),
        ("9.9.9.9:1", "9.9.9.8:1", false),
        ("[2a01:1:2:3::1]:1", "[2a01:1:2:3:ffff::9]:2", true),
        ("[2a01:1:2:3::1]:1", "[2a01:1:2:4::1]:1", false),
        ("127.0.0.1:1", "127.0.0.1:2", false),
    ];
    for (liar, other, is_same) in table {
        let mut engine = leecher();
        connect(&mut engine, 0, liar);
        connect(&mut engine, 1, other);
        let has_the_first = Message::Bitfield([0x80][..].into());
        engine.handle(Time::ZERO, Input::Frames(PeerKey(0), vec![has_the_first, Message::Unchoke]));
        let wrong = Message::Piece { piece: 0, begin: 0, data: vec![0; BLOCK_LEN as usize].into() };
        engine.handle(Time::ZERO, Input::Frames(PeerKey(0), vec![wrong]));
        let geometry = Geometry::new(2 * u64::from(BLOCK_LEN), BLOCK_LEN).unwrap();
        engine.handle(
            Time::ZERO,
            Input::Checked(TORRENT, geometry.piece(0).unwrap(), PieceCheck::Bad),
        );
        let mut expected = vec![(0, CloseReason::BadPiece)];
        expected.extend(is_same.then_some((1, CloseReason::Banned)));
        assert_eq!(hung_up(&mut engine), expected, "{liar} and {other}");
        connect(&mut engine, 2, other);
        let refused = is_same.then_some((2, CloseReason::Banned));
        assert_eq!(hung_up(&mut engine), Vec::from_iter(refused), "{other} comes again");
    }
}
