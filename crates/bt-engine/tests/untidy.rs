//! Checks that the engine ignores harmless untidy messages of peers, and keeps the connection.
//!
//! Decides: what the engine must tolerate. Must not know: its insides.
//! Invariant: every case is played on an engine of its own, as a leecher and as a seed.

use bt_engine::{
    Budget, CloseReason, Config, Engine, Input, Output, PeerKey, TorrentKey, TorrentSettings,
    TorrentSpec,
};
use bt_peer_wire::{ExtensionIds, Handshake, Message, Reserved};
use bt_types::{BLOCK_LEN, Bitfield, Geometry, InfoHash, PeerId, RawBlock, Rng, Time};

const TORRENT: TorrentKey = TorrentKey(0);
const PEER: PeerKey = PeerKey(0);
const HASH: InfoHash = InfoHash([7; 20]);

/// Makes three pieces of 256 KiB.
fn geometry() -> Geometry {
    Geometry::new(3 << 18, 1 << 18).unwrap()
}

/// Returns the outputs to a peer that sends these messages, without what every peer is sent. An
/// error if the engine disconnects it.
fn hear(have: Bitfield, said: Vec<Message>) -> Result<Vec<Output>, CloseReason> {
    let mut engine =
        Engine::new(Config::new(PeerId([1; 20])), Budget::default(), Rng::from_seed(1));
    let spec = TorrentSpec {
        info_hash: HASH,
        geometry: geometry(),
        have,
        trackers: Vec::new(),
        settings: TorrentSettings::default(),
        files: Vec::new(),
        metadata: vec![0; 100].into(),
        private: false,
    };
    engine.handle(Time::ZERO, Input::Add(TORRENT, Box::new(spec)));
    let handshake =
        Handshake { reserved: Reserved::OURS, info_hash: HASH, peer_id: PeerId([2; 20]) };
    let addr = "9.9.9.9:6881".parse().unwrap();
    engine.handle(
        Time::ZERO,
        Input::Connected { peer: PEER, torrent: TORRENT, addr, outbound: false, handshake },
    );
    while engine.poll().is_some() {}
    engine.handle(Time::ZERO, Input::Frames(PEER, said));
    let outputs: Vec<Output> = core::iter::from_fn(|| engine.poll()).collect();
    match outputs
        .iter()
        .find_map(|output| if let Output::HangUp(_, why) = output { Some(*why) } else { None })
    {
        Some(why) => Err(why),
        None => Ok(outputs),
    }
}

fn extended(id: u8, payload: &'static [u8]) -> Message {
    Message::Extended { id, payload: payload.into() }
}

#[test]
fn an_untidy_peer_is_kept_and_asked() {
    let block = RawBlock { piece: 9, begin: 0, len: BLOCK_LEN };
    let cases = [
        ("a key twice", extended(0, b"d1:mde1:v1:a1:v1:be")),
        ("a leading zero", extended(0, b"d1:mde4:reqqi0250ee")),
        ("bytes behind the dictionary", extended(0, b"d1:mdee\0\0")),
        ("rubbish", extended(0, b"rubbish")),
        ("nothing", extended(0, b"")),
        ("a list", extended(0, b"le")),
        ("metadata asked for in rubbish", extended(ExtensionIds::METADATA, b"rubbish")),
        ("peers told of in rubbish", extended(ExtensionIds::PEX, b"rubbish")),
        ("a message of an extension that we have not", extended(99, b"rubbish")),
        ("an allowed-fast out of range", Message::AllowedFast(9)),
        ("a suggestion out of range", Message::Suggest(u32::MAX)),
        ("a cancel out of range", Message::Cancel(block)),
        ("a reject out of range", Message::Reject(block)),
        ("a request out of range", Message::Request(block)),
    ];
    for (case, message) in cases {
        // Spare bits of the bitfield are set.
        let bits = Message::Bitfield([0xff][..].into());
        // Before the bitfield only an extension handshake may come.
        let (before, after) = if matches!(message, Message::Extended { .. }) {
            (Some(message), None)
        } else {
            (None, Some(message))
        };
        let said =
            before.into_iter().chain([bits]).chain(after).chain([Message::Unchoke]).collect();
        let outputs = hear(Bitfield::empty(3), said).unwrap_or_else(|why| panic!("{case}: {why}"));
        let requests = |output: &Output| match output {
            Output::Send(_, messages) => {
                messages.iter().filter(|message| matches!(message, Message::Request(_))).count()
            }
            _ => 0,
        };
        assert!(
            outputs.iter().map(requests).sum::<usize>() > 0,
            "{case}: it is not asked for anything"
        );
    }
}

#[test]
fn requests_up_to_128_kib_are_served_and_longer_ones_rejected() {
    let block = |piece, begin, len| RawBlock { piece, begin, len };
    let table = [
        (block(0, 0, 1), true),
        (block(0, 0, BLOCK_LEN), true),
        (block(0, 5, 2 * BLOCK_LEN), true),
        (block(2, 1 << 17, 1 << 17), true),
        (block(0, 0, (1 << 17) + 1), false),
        (block(2, (1 << 17) + 1, 1 << 17), false),
        (block(3, 0, BLOCK_LEN), false),
        (block(0, 0, 0), false),
        (block(u32::MAX, u32::MAX, u32::MAX), false),
    ];
    for (raw, is_served) in table {
        let said = vec![Message::HaveNone, Message::Interested, Message::Request(raw)];
        let outputs = hear(Bitfield::full(3), said).unwrap_or_else(|why| panic!("{raw:?}: {why}"));
        let served = outputs
            .iter()
            .any(|output| matches!(output, Output::Serve { blocks, .. } if blocks[0].raw() == raw));
        let rejected =
            outputs.iter().any(|output| matches!(output, Output::Send(_, said) if said.contains(&Message::Reject(raw))));
        assert_eq!((served, rejected), (is_served, !is_served), "{raw:?}");
    }
}
