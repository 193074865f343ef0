//! Plays a script to an engine and writes down its outputs.
//!
//! Decides: the words of scripts. Must not know: what an engine should answer.
//! Invariant: a line that cannot be understood is a panic. Every output of the engine is written
//! down, except peers that joined or left.
//!
//! Peers are capital letters: `A` is 1.0.0.1, `B` is 1.0.0.2. A block is `piece:number`. The lines
//! of a script:
//!
//! ```text
//! found A B                     addresses that the user named
//! A: connects                   it dialled us; `answers` when we dialled it; `without fast` may
//!                               follow
//! A: is ourselves | is like B   a connection whose handshake has our peer id, or B's;
//!                               `is B again`: it comes from B's host too
//! A: is B at 10.0.0.1:7         the same from that address; `answers like B at` it when we dialled
//! A: bitfield 101, unchoke      messages of one read
//! A: bytes ff80                 a bitfield of these bytes
//! A: sends 0:0, 0:1             blocks of payload
//! A: sent 16384                 this many payload bytes left for it
//! A: cannot be read 0:0         a block that it was to be served
//! A: closes
//! piece 0 is good | is bad
//! pieces 0 1 are lost           although they were good
//! store failed | recovered
//! tracker answers 1800 | fails  the last announce; the number is its interval in seconds
//! rate 16384                    upload limit in bytes per second
//! want 0-3 skip | low | normal | high, 5 high
//! order sequential | rarest     of what is wanted equally
//! need 3-4 by 30s               a deadline
//! A: offers 40000               its extension handshake: `ut_metadata` is 3, `ut_pex` is 4, and
//!                               metadata of this many bytes
//! A: listens 7                  its extension handshake: the port that it takes connections on
//! A: sees 5.0.0.1               its extension handshake: our address
//! A: gives 0, 2 | gives wrong 1 parts of the metadata, 16 KiB each
//! A: rejects 0 | wants 0        the same part
//! A: tells of B C               peers (BEP 11)
//! A: port 7
//! found B by A                  addresses that a search in the DHT found; the host there is A's
//! neighbour A | neighbour A anew  it calls on the local network; it is another process than before
//! searched dht | lsd              a search is over
//! the metadata is there         the torrent is added
//! leave                         the torrent is removed
//! count bans                    how many peers were banned
//! at 20s                        time passes
//! ```

mod text;

use bt_engine::{
    Budget, Config, Discovery, Engine, Event, Input, MagnetSpec, Output, PeerKey, PieceOrder,
    Rates, TorrentKey, TorrentSettings, TorrentSpec, TrackerKey,
};
use bt_peer_wire::{
    ExtendedHandshake, ExtensionIds, Handshake, METADATA_PART, Message, MetadataMessage, PexFlags,
    PexMessage, Reserved,
};
use bt_tracker_wire::{AnnounceReply, Failure};
use bt_types::{
    BLOCK_LEN, Bitfield, Block, Geometry, InfoHash, PeerId, Piece, PieceCheck, RawBlock, Rng,
    Source, StoreFault, Time,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use text::{addr, bitfield, hello, metadata, name, range, seconds, show_hello, want};

const TORRENT: TorrentKey = TorrentKey(0);
const HASH: InfoHash = InfoHash([7; 20]);
const OURS: PeerId = PeerId([b'm'; 20]);
/// The extension message ids of the script's peers.
const THEIRS: ExtensionIds = ExtensionIds { metadata: Some(3), pex: Some(4), holepunch: None };

/// The torrent of a script.
pub(crate) struct Scene {
    /// Number of pieces.
    pub(crate) pieces: u32,
    /// 16 KiB blocks in each piece.
    pub(crate) blocks: u32,
    /// The pieces that we have, as `101`.
    pub(crate) have: &'static str,
    /// Tracker URLs, each a tier.
    pub(crate) trackers: &'static [&'static str],
    /// The settings beside the pieces.
    pub(crate) setting: Setting,
}

/// Metadata, and ways to find peers.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// Length of the metadata in bytes; 0 means that there is none.
    pub(crate) metadata: usize,
    /// The torrent begins as a magnet.
    pub(crate) magnet: bool,
    /// The torrent is private, or turns out to be.
    pub(crate) private: bool,
    /// There are a DHT node, on port 9, and a local network to call on.
    pub(crate) searches: bool,
    /// Most connections.
    pub(crate) room: usize,
    /// Bytes that the store may hold unwritten.
    pub(crate) store: u64,
}

/// A torrent from its file, whose peers come from trackers, the user and each other.
pub(crate) const PLAIN: Setting = Setting {
    metadata: 0,
    magnet: false,
    private: false,
    searches: false,
    room: 100,
    store: 64 << 20,
};

/// Returns the script with the engine's outputs below each line.
pub(crate) fn play(scene: &Scene, script: &str) -> String {
    let mut player = Player::new(scene);
    player.answers();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        player.text.push_str(&format!("> {line}\n"));
        player.say(line);
        player.answers();
    }
    player.text
}

struct Player {
    engine: Engine,
    /// The torrent, while its metadata is missing.
    awaited: Option<TorrentSpec>,
    settings: TorrentSettings,
    metadata: Bytes,
    hash: InfoHash,
    geometry: Geometry,
    now: Time,
    keys: BTreeMap<char, PeerKey>,
    next_key: u64,
    tracker: TrackerKey,
    text: String,
}

impl Player {
    fn new(scene: &Scene) -> Player {
        let piece_length = scene.blocks * BLOCK_LEN;
        let geometry =
            Geometry::new(u64::from(scene.pieces) * u64::from(piece_length), piece_length).unwrap();
        let Setting { metadata, magnet, private, searches, room, store } = scene.setting;
        let dht_port = searches.then_some(9);
        let config =
            Config { listen_port: Some(6881), dht_port, lsd: searches, ..Config::new(OURS) };
        let mut engine = Engine::new(
            config,
            Budget { peers_per_torrent: room, store_bytes: store, ..Budget::default() },
            Rng::from_seed(1),
        );
        let trackers: Vec<Vec<String>> =
            scene.trackers.iter().map(|url| vec![url.to_string()]).collect();
        let have = bitfield(scene.have, &geometry);
        let metadata = Bytes::from((0..metadata).map(|n| n as u8).collect::<Vec<u8>>());
        let info_hash = if metadata.is_empty() { HASH } else { InfoHash(bt_hash::sha1(&metadata)) };
        let spec = TorrentSpec {
            info_hash,
            geometry,
            have,
            trackers: trackers.clone(),
            settings: TorrentSettings::default(),
            // A file for each piece.
            files: geometry.pieces().map(|piece| piece.number()..piece.number() + 1).collect(),
            metadata: metadata.clone(),
            private,
        };
        let mut awaited = Some(spec);
        let input = match awaited.take_if(|_| !magnet) {
            Some(spec) => Input::Add(TORRENT, Box::new(spec)),
            None => Input::AddMagnet(
                TORRENT,
                Box::new(MagnetSpec { info_hash, settings: TorrentSettings::default(), trackers }),
            ),
        };
        engine.handle(Time::ZERO, input);
        let (keys, tracker) = (BTreeMap::new(), TrackerKey(0));
        Player {
            engine,
            awaited,
            settings: TorrentSettings::default(),
            metadata,
            hash: info_hash,
            geometry,
            now: Time::ZERO,
            keys,
            next_key: 0,
            tracker,
            text: String::new(),
        }
    }

    // ---- the script ----

    fn say(&mut self, line: &str) {
        if let Some((peer, what)) = line.split_once(": ") {
            return self.peer(peer.chars().next().unwrap(), what);
        }
        let words: Vec<&str> = line.split(' ').collect();
        let input = match words[..] {
            ["found", ref peers @ .., "by", finder] => {
                let addrs = peers.iter().map(|peer| addr(peer.chars().next().unwrap())).collect();
                Input::PeersFound(
                    TORRENT,
                    Source::Host(addr(finder.chars().next().unwrap()).ip()),
                    addrs,
                )
            }
            ["neighbour", name] | ["neighbour", name, "anew"] => Input::Called {
                torrent: TORRENT,
                addr: addr(name.chars().next().unwrap()),
                is_new: words.len() == 3,
            },
            ["searched", via] => Input::FindPeersDone(
                TORRENT,
                if via == "dht" { Discovery::Dht } else { Discovery::Lsd },
                0,
            ),
            ["the", "metadata", "is", "there"] => {
                let settings = self.settings.clone();
                let spec = TorrentSpec { settings, ..self.awaited.take().unwrap() };
                Input::Add(TORRENT, Box::new(spec))
            }
            ["found", ref peers @ ..] => {
                let addrs = peers.iter().map(|peer| addr(peer.chars().next().unwrap())).collect();
                Input::PeersFound(TORRENT, Source::User, addrs)
            }
            ["piece", number, "is", verdict] => {
                let verdict = if verdict == "good" { PieceCheck::Good } else { PieceCheck::Bad };
                Input::Checked(TORRENT, self.piece(number), verdict)
            }
            ["pieces", ref numbers @ .., "are", "lost"] => {
                Input::Lost(TORRENT, numbers.iter().map(|number| self.piece(number)).collect())
            }
            ["store", "failed"] => Input::StoreFailed(TORRENT, StoreFault::NoSpace),
            ["store", "recovered"] => Input::StoreRecovered(TORRENT),
            ["tracker", "fails"] => {
                Input::Announced(TORRENT, self.tracker, Err(Failure::new("no")))
            }
            ["tracker", "answers", interval] => {
                let reply = AnnounceReply {
                    interval: interval.parse().unwrap(),
                    ..AnnounceReply::default()
                };
                Input::Announced(TORRENT, self.tracker, Ok(([9, 9, 9, 9].into(), reply)))
            }
            ["rate", rate] => Input::Budget(Budget {
                rates: Rates { up: Some(rate.parse().unwrap()), down: None },
                ..Budget::default()
            }),
            ["want", ..] => {
                for (pieces, priority) in line["want ".len()..].split(", ").map(want) {
                    pieces.for_each(|piece| self.settings.set_file(piece as usize, priority));
                }
                self.set()
            }
            ["order", order] => {
                self.settings.order = if order == "sequential" {
                    PieceOrder::Sequential
                } else {
                    PieceOrder::RarestFirst
                };
                self.set()
            }
            ["pause"] | ["resume"] => {
                self.settings.running = words == ["resume"];
                self.set()
            }
            ["discover", "by", ref ways @ ..] => Input::Discover {
                dht_port: ways.contains(&"dht").then_some(9),
                lsd: ways.contains(&"lsd"),
                pex: ways.contains(&"pex"),
            },
            ["trackers", "of", "the", "torrent"] => {
                self.settings.trackers = None;
                self.set()
            }
            ["trackers", ref urls @ ..] => {
                let tiers = urls.iter().map(|url| vec![url.to_string()]).collect();
                self.settings.trackers = Some(tiers);
                self.set()
            }
            ["peers", "at", "most", max] => {
                self.settings.peers_max = Some(max.parse().unwrap());
                self.set()
            }
            ["need", pieces, "by", moment] => {
                Input::Deadline(TORRENT, range(pieces), Some(seconds(moment)))
            }
            ["leave"] => Input::Remove(TORRENT),
            ["at", moment] => return self.wait(moment),
            ["view", "trackers"] => {
                let trackers = self.engine.trackers(self.now, TORRENT);
                return self.text.extend(trackers.iter().map(text::tracker));
            }
            ["view", "peers"] => {
                let peers = self.engine.peers(self.now, TORRENT);
                return self.text.extend(peers.iter().map(text::peer));
            }
            ["count", "bans"] => {
                let status = self.engine.view(self.now, TORRENT).unwrap();
                return self.text.push_str(&format!("< {} banned\n", status.peers_banned));
            }
            _ => panic!("not understood: {line}"),
        };
        self.engine.handle(self.now, input);
    }

    /// Tells the engine the settings.
    fn set(&self) -> Input {
        Input::Set(TORRENT, Box::new(self.settings.clone()))
    }

    fn peer(&mut self, name: char, what: &str) {
        let words: Vec<&str> = what.split(' ').collect();
        let input = match words[..] {
            ["connects"] => self.connect(name, false, PeerId([name as u8; 20]), Reserved::OURS),
            ["answers"] => self.connect(name, true, PeerId([name as u8; 20]), Reserved::OURS),
            ["connects", "with", "dht"] => {
                self.connect(name, false, PeerId([name as u8; 20]), Reserved::ours(true))
            }
            ["connects", "without", "fast"] => {
                self.connect(name, false, PeerId([name as u8; 20]), Reserved::default())
            }
            ["is", other, "again"] => {
                let twin = other.chars().next().unwrap();
                let mut input = self.connect(name, false, PeerId([twin as u8; 20]), Reserved::OURS);
                if let Input::Connected { addr: from, .. } = &mut input {
                    *from = SocketAddr::new(addr(twin).ip(), 50_000);
                }
                input
            }
            ["is", other, "at", from] | ["answers", "like", other, "at", from] => {
                let id = PeerId([other.as_bytes()[0]; 20]);
                let mut input = self.connect(name, words[0] == "answers", id, Reserved::OURS);
                if let Input::Connected { addr, .. } = &mut input {
                    *addr = from.parse().unwrap();
                }
                input
            }
            ["is", "ourselves"] => self.connect(name, true, OURS, Reserved::OURS),
            ["is", "like", other] => {
                self.connect(name, false, PeerId([other.as_bytes()[0]; 20]), Reserved::OURS)
            }
            ["sent", bytes] => Input::Sent(self.keys[&name], bytes.parse().unwrap()),
            ["cannot", "be", "read", block] => {
                Input::ReadFailed(self.keys[&name], self.block(block))
            }
            ["closes"] => Input::Closed(self.keys[&name]),
            ["gives", ..] => {
                let (wrong, parts) = what["gives ".len()..]
                    .strip_prefix("wrong ")
                    .map_or((0, &what["gives ".len()..]), |parts| (1, parts));
                let parts =
                    parts.split(", ").map(|part| self.part(part.parse().unwrap(), wrong)).collect();
                Input::Frames(self.keys[&name], parts)
            }
            ["sends", ..] => {
                let blocks =
                    what["sends ".len()..].split(", ").map(|block| self.payload(block)).collect();
                Input::Frames(self.keys[&name], blocks)
            }
            _ => Input::Frames(
                self.keys[&name],
                what.split(", ").map(|message| self.message(message)).collect(),
            ),
        };
        self.engine.handle(self.now, input);
    }

    fn connect(
        &mut self,
        name: char,
        outbound: bool,
        peer_id: PeerId,
        reserved: Reserved,
    ) -> Input {
        let peer = PeerKey(self.next_key);
        self.next_key += 1;
        self.keys.insert(name, peer);
        let handshake = Handshake { reserved, info_hash: self.hash, peer_id };
        Input::Connected { peer, torrent: TORRENT, addr: addr(name), outbound, handshake }
    }

    /// Wakes the engine at each deadline, up to this time.
    fn wait(&mut self, moment: &str) {
        let until = seconds(moment);
        while let Some(at) = self.engine.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.engine.wake(self.now);
            self.answers();
        }
        self.now = until;
    }

    fn message(&self, text: &str) -> Message {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["choke"] => Message::Choke,
            ["unchoke"] => Message::Unchoke,
            ["interested"] => Message::Interested,
            ["not", "interested"] => Message::NotInterested,
            ["have", piece] => Message::Have(piece.parse().unwrap()),
            ["have-all"] => Message::HaveAll,
            ["upload-only"] => {
                hello(ExtendedHandshake { upload_only: Some(true), ..ExtendedHandshake::default() })
            }
            ["hello"] => hello(ExtendedHandshake { ids: THEIRS, ..ExtendedHandshake::default() }),
            ["offers", bytes] => {
                let metadata_size = Some(bytes.parse().unwrap());
                hello(ExtendedHandshake {
                    ids: THEIRS,
                    metadata_size,
                    ..ExtendedHandshake::default()
                })
            }
            ["listens", port] => hello(ExtendedHandshake {
                ids: THEIRS,
                port: Some(port.parse().unwrap()),
                ..ExtendedHandshake::default()
            }),
            ["sees", ip] => hello(ExtendedHandshake {
                your_ip: Some(ip.parse().unwrap()),
                ..ExtendedHandshake::default()
            }),
            ["rejects", part] => metadata(&MetadataMessage::Reject(part.parse().unwrap())),
            ["wants", part] => metadata(&MetadataMessage::Request(part.parse().unwrap())),
            ["tells", "of", ref peers @ ..] => {
                let added = peers
                    .iter()
                    .map(|peer| (addr(peer.chars().next().unwrap()), PexFlags(0)))
                    .collect();
                let message = PexMessage { added, dropped: Vec::new() };
                Message::Extended { id: ExtensionIds::PEX, payload: message.to_bytes().into() }
            }
            ["port", port] => Message::Port(port.parse().unwrap()),
            ["bytes", hex] => Message::Bitfield(
                hex.as_bytes()
                    .chunks(2)
                    .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
                    .collect(),
            ),
            ["bitfield", bits] => {
                Message::Bitfield(Bytes::copy_from_slice(bitfield(bits, &self.geometry).as_bytes()))
            }
            ["request", block] => Message::Request(self.block(block).raw()),
            ["cancel", block] => Message::Cancel(self.block(block).raw()),
            ["reject", block] => Message::Reject(self.block(block).raw()),
            _ => panic!("not understood: {text}"),
        }
    }

    fn payload(&self, block: &str) -> Message {
        let RawBlock { piece, begin, len } = self.block(block).raw();
        Message::Piece { piece, begin, data: vec![0; len as usize].into() }
    }

    /// Makes a part of the metadata, with `wrong` added to each byte.
    fn part(&self, part: u32, wrong: u8) -> Message {
        let start = (part * METADATA_PART) as usize;
        let end = self.metadata.len().min(start + METADATA_PART as usize);
        let data = self.metadata[start..end].iter().map(|byte| byte.wrapping_add(wrong)).collect();
        metadata(&MetadataMessage::Data { part, total: self.metadata.len() as u32, data })
    }

    fn piece(&self, number: &str) -> Piece {
        self.geometry.piece(number.parse().unwrap()).unwrap()
    }

    fn block(&self, text: &str) -> Block {
        let (piece, n) = text.split_once(':').unwrap();
        self.geometry.nth_block(self.piece(piece), n.parse().unwrap()).unwrap()
    }

    // ---- the answers ----

    fn answers(&mut self) {
        while let Some(output) = self.engine.poll() {
            if let Some(text) = self.answer(output) {
                let at =
                    if self.now == Time::ZERO { String::new() } else { format!("{} ", self.now) };
                self.text.push_str(&format!("< {at}{text}\n"));
            }
        }
    }

    fn answer(&mut self, output: Output) -> Option<String> {
        Some(match output {
            Output::Dial(_, addr, ..) => format!("dial {}", name(addr)),
            Output::HangUp(peer, why) => format!("{}: hang up, {why}", self.name(peer)),
            Output::Send(peer, messages) => {
                let messages: Vec<String> =
                    messages.iter().map(|message| self.show(message)).collect();
                format!("{}: {}", self.name(peer), messages.join(", "))
            }
            Output::Serve { peer, blocks, at_once, .. } => {
                let blocks: Vec<String> =
                    blocks.iter().map(|block| self.show_block(block.raw())).collect();
                format!(
                    "{}: serve {}{}",
                    self.name(peer),
                    blocks.join(" "),
                    if at_once { ", taken at once" } else { "" }
                )
            }
            Output::Store(_, block, _) => format!("store {}", self.show_block(block.raw())),
            // A hint for the store, which may ignore it.
            Output::Check { piece, urgent, .. } => {
                format!("check {piece:?}{}", if urgent { " urgently" } else { "" })
            }
            Output::Forget(_, piece) => format!("forget {piece:?}"),
            Output::Announce(_, order) => {
                self.tracker = order.tracker;
                format!("announce {:?} to {}, {} bytes left", order.event, order.url, order.left)
            }
            Output::FindPeers(_, via) => format!("find peers by {via:?}"),
            Output::DhtNode(addr) => format!("a DHT node at {addr}"),
            Output::Metadata(_, bytes) => format!("metadata of {} bytes", bytes.len()),
            Output::Event(_, Event::PeerJoined(..) | Event::PeerLeft(..)) => return None,
            // They repeat the outputs beside them and the inputs.
            Output::Event(
                _,
                Event::TrackerAsked(_) | Event::SearchBegan(_) | Event::SearchEnded { .. },
            ) => return None,
            Output::Event(_, Event::BadPiece(piece, from)) => {
                let from: String = from.into_iter().map(name).collect();
                format!("event: piece {piece:?} is bad, from {from}")
            }
            Output::Event(_, Event::TrackerReply { url, .. }) => format!("event: {url} answered"),
            Output::Event(_, Event::TrackerFailed { url, .. }) => format!("event: {url} failed"),
            Output::Event(_, event) => format!("event: {event:?}"),
        })
    }

    fn show(&self, message: &Message) -> String {
        match message {
            Message::Bitfield(bits) => {
                let set = Bitfield::from_wire(bits, self.geometry.piece_count()).unwrap();
                let bits: String = self
                    .geometry
                    .pieces()
                    .map(|piece| if set.has(piece) { '1' } else { '0' })
                    .collect();
                format!("bitfield {bits}")
            }
            Message::HaveAll => "have-all".into(),
            Message::HaveNone => "have-none".into(),
            Message::Have(piece) => format!("have {piece}"),
            Message::Request(block) => format!("request {}", self.show_block(*block)),
            Message::Cancel(block) => format!("cancel {}", self.show_block(*block)),
            Message::Reject(block) => format!("reject {}", self.show_block(*block)),
            Message::NotInterested => "not interested".into(),
            Message::Extended { id: 0, payload } => {
                show_hello(&ExtendedHandshake::parse(payload).unwrap())
            }
            Message::Extended { id: 3, payload } => {
                match MetadataMessage::parse(payload).unwrap().unwrap() {
                    MetadataMessage::Request(part) => format!("wants part {part}"),
                    MetadataMessage::Reject(part) => format!("rejects part {part}"),
                    MetadataMessage::Data { part, total, data } => {
                        let start = (part * METADATA_PART) as usize;
                        assert_eq!(
                            (data, total as usize),
                            (
                                self.metadata.slice(start..self.metadata.len().min(start + 16_384)),
                                self.metadata.len()
                            )
                        );
                        format!("part {part}")
                    }
                }
            }
            Message::Extended { id: 4, payload } => {
                let PexMessage { added, dropped } = PexMessage::parse(payload).unwrap();
                let added = added
                    .into_iter()
                    .map(|(addr, flags)| format!(" {}/{}:{}", name(addr), addr.port(), flags.0));
                let dropped = dropped.into_iter().map(|addr| format!(" -{}", name(addr)));
                format!("tells of{}", added.chain(dropped).collect::<String>())
            }
            other => format!("{other:?}").to_lowercase(),
        }
    }

    fn show_block(&self, block: RawBlock) -> String {
        format!("{}:{}", block.piece, block.begin / BLOCK_LEN)
    }

    fn name(&self, peer: PeerKey) -> char {
        self.keys.iter().find(|(_, key)| **key == peer).map_or('?', |(name, _)| *name)
    }
}
