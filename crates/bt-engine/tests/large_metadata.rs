//! Sends metadata from a seed to a magnet, engine to engine: the largest metadata of honest
//! torrents passes in seconds.
//!
//! Decides: what passes between two engines. Must not know: the content of the messages.
//! Invariant: virtual time; a message takes ten milliseconds.

use bt_engine::{
    Budget, Config, Engine, Input, MagnetSpec, Output, PeerKey, TorrentKey, TorrentSettings,
    TorrentSpec,
};
use bt_peer_wire::{Handshake, Message, Reserved};
use bt_types::{Bitfield, Geometry, InfoHash, PeerId, Rng, Time};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

const TORRENT: TorrentKey = TorrentKey(0);
const PEER: PeerKey = PeerKey(0);
const LATENCY: Duration = Duration::from_millis(10);

/// Two engines with one connection; engine 0 is the magnet.
struct Pair {
    engines: [Engine; 2],
    now: Time,
    /// Messages under way, with the engine that they go to.
    wire: BTreeMap<(Time, u64), (usize, Vec<Message>)>,
    sent: u64,
}

impl Pair {
    fn new(metadata: &Bytes) -> Pair {
        let info_hash = InfoHash(bt_hash::sha1(metadata));
        let ids = [PeerId([1; 20]), PeerId([2; 20])];
        let mut engines =
            ids.map(|id| Engine::new(Config::new(id), Budget::default(), Rng::from_seed(1)));
        let magnet =
            MagnetSpec { info_hash, settings: TorrentSettings::default(), trackers: Vec::new() };
        engines[0].handle(Time::ZERO, Input::AddMagnet(TORRENT, Box::new(magnet)));
        let torrent = TorrentSpec {
            info_hash,
            geometry: Geometry::new(1 << 20, 1 << 14).unwrap(),
            have: Bitfield::full(64),
            trackers: Vec::new(),
            settings: TorrentSettings::default(),
            files: Vec::new(),
            metadata: metadata.clone(),
            private: false,
        };
        engines[1].handle(Time::ZERO, Input::Add(TORRENT, Box::new(torrent)));
        for (engine, other) in engines.iter_mut().zip([1, 0]) {
            let handshake = Handshake { reserved: Reserved::OURS, info_hash, peer_id: ids[other] };
            let addr = ([1, 0, 0, other as u8 + 1], 1).into();
            engine.handle(
                Time::ZERO,
                Input::Connected {
                    peer: PEER,
                    torrent: TORRENT,
                    addr,
                    outbound: other == 1,
                    handshake,
                },
            );
        }
        Pair { engines, now: Time::ZERO, wire: BTreeMap::new(), sent: 0 }
    }

    /// Plays until the magnet has its metadata.
    fn run(&mut self) -> Bytes {
        loop {
            for from in 0..2 {
                while let Some(output) = self.engines[from].poll() {
                    match output {
                        Output::Send(_, messages) => {
                            self.sent += 1;
                            self.wire.insert((self.now + LATENCY, self.sent), (1 - from, messages));
                        }
                        Output::Metadata(_, bytes) => return bytes,
                        Output::HangUp(_, why) => {
                            panic!("{}: engine {from} hangs up: {why}", self.now)
                        }
                        _ => {}
                    }
                }
            }
            let arrives = self.wire.keys().next().map(|(at, _)| *at);
            let wakes = self.engines.iter().filter_map(Engine::deadline).min();
            self.now = [arrives, wakes].into_iter().flatten().min().unwrap().max(self.now);
            if arrives == Some(self.now) {
                let (_, (to, messages)) = self.wire.pop_first().unwrap();
                self.engines[to].handle(self.now, Input::Frames(PEER, messages));
            }
            self.engines.iter_mut().for_each(|engine| engine.wake(self.now));
        }
    }
}

#[test]
fn eight_mebibytes_of_metadata_pass_in_seconds() {
    for len in [1, 16 << 10, 8 << 20, (16 << 20) - 1] {
        let mut metadata = vec![0; len];
        Rng::from_seed(len as u64).fill(&mut metadata);
        let metadata = Bytes::from(metadata);
        let mut pair = Pair::new(&metadata);
        assert_eq!(pair.run(), metadata);
        // A mebibyte in a second, and two more seconds to begin.
        let seconds = 2 + len as u64 / (1 << 20);
        assert!(pair.now <= Time::from_secs(seconds), "{len} bytes took until {}", pair.now);
        assert_eq!(pair.engines[0].magnet(TORRENT).unwrap().held, 0);
    }
}
