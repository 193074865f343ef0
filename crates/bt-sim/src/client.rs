//! A peer's program: the real engine, codec, store and announces, driven as a session drives them.
//!
//! Decides: nothing about torrents; it carries the engine's orders out, honestly or not. Must not
//! know: other hosts' programs.
//! Invariant: orders are carried out after every single input, and the watch sees each input and
//! each order.

use crate::announces::{Announced, Announces};
use crate::content::Content;
use crate::network::{Event, HostId, Network};
use crate::store::{Disk, Store};
use crate::stream::{Detail, Parcel};
use crate::tally::Tally;
use crate::violation::Broken;
use crate::watch::Watch;
use crate::wires::{Heard, Wire, Wires};
use bt_engine::admission::{Admission, Admissions};
use bt_engine::placement::Placement;
use bt_engine::{
    Budget, CloseReason, Config, Engine, Input, MagnetSpec, Output, PeerKey, TorrentKey,
    TorrentSettings, TorrentSpec, TorrentView,
};
use bt_peer_wire::{ExtendedHandshake, Handshake, Message, MetadataMessage, Reserved};
use bt_piece_store::{Done, Order};
use bt_types::{Bitfield, Block, PeerId, Piece, PieceCheck, Rng, Source, Time};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The one torrent of this world.
const TORRENT: TorrentKey = TorrentKey(0);
/// From an order to the disk until the disk has carried it out.
const DISK_TIME: Duration = Duration::from_millis(2);
/// A store that failed is tried again after this time. The same as in a session.
const DISK_RETRY: Duration = Duration::from_secs(2);
/// Wakes of one engine in a row at the same moment.
const WAKES_MAX: u32 = 1000;

/// What a peer does with requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manners {
    /// It serves them.
    Honest,
    /// After a number of true blocks it sends wrong bytes for one block in a number.
    Liar {
        /// Blocks that it serves honestly at first.
        after: u64,
        /// Then it lies for one block in this number.
        one_in: u64,
    },
    /// It takes them and never answers.
    Silent,
    /// It says that it has everything, and serves what it has.
    Boaster,
    /// It downloads and never serves a peer.
    FreeRider,
    /// It gives everything as it is but the metadata.
    AboutMetadata(MetadataLie),
}

/// What a peer does to the metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetadataLie {
    /// It gives wrong bytes.
    Bytes,
    /// It claims that the metadata has this many bytes.
    Size(u32),
    /// It offers it and never gives it.
    Silence,
}

impl Manners {
    /// Whether all that it says and sends is true.
    pub fn is_truthful(self) -> bool {
        matches!(self, Manners::Honest | Manners::FreeRider)
    }
}

impl MetadataLie {
    /// What becomes of a message.
    fn told(self, message: Message) -> Option<Message> {
        let Message::Extended { id, payload } = &message else { return Some(message) };
        if *id == 0 {
            let mut hello =
                ExtendedHandshake::parse(payload).expect("the engine says nothing malformed");
            if let (MetadataLie::Size(size), Some(claim)) = (self, &mut hello.metadata_size) {
                *claim = size;
            }
            return Some(Message::Extended { id: 0, payload: hello.to_bytes().into() });
        }
        let Ok(Some(MetadataMessage::Data { part, total, data })) = MetadataMessage::parse(payload)
        else {
            return Some(message);
        };
        let data = match self {
            MetadataLie::Bytes => data.iter().map(|byte| !byte).collect(),
            MetadataLie::Size(_) => data,
            MetadataLie::Silence => return None,
        };
        Some(Message::Extended {
            id: *id,
            payload: MetadataMessage::Data { part, total, data }.to_bytes().into(),
        })
    }
}

/// The world outside of a program, while it acts.
pub(crate) struct Scene<'a> {
    pub(crate) now: Time,
    pub(crate) net: &'a mut Network,
    pub(crate) tally: &'a mut Tally,
}

/// What a program is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) host: HostId,
    pub(crate) addr: SocketAddr,
    pub(crate) manners: Manners,
    pub(crate) budget: Budget,
    pub(crate) trackers: Vec<Vec<String>>,
    /// Addresses that the user named.
    pub(crate) told: Vec<SocketAddr>,
    /// It knows a magnet link only.
    pub(crate) is_magnet: bool,
    pub(crate) content: Arc<Content>,
    pub(crate) disk: Disk,
    pub(crate) rng: Rng,
}

/// The running program of one peer.
pub(crate) struct Client {
    host: HostId,
    manners: Manners,
    budget: Budget,
    rng: Rng,
    /// Blocks that it served.
    served: u64,
    ours: Handshake,
    content: Arc<Content>,
    /// The torrent, while its metadata is not there.
    awaited: Option<TorrentSpec>,
    engine: Engine,
    admissions: Admissions,
    /// The admission of each accepted connection.
    admitted: BTreeMap<PeerKey, Admission>,
    store: Store,
    wires: Wires,
    announces: Announces,
    watch: Watch,
    inputs: VecDeque<Input>,
    to_disk: Vec<Order>,
    disk_at: Option<Time>,
    retry_at: Option<Time>,
    last_wake: (Time, u32),
    /// Peers that the engine hung up on for a fault.
    blamed: Vec<(SocketAddr, CloseReason)>,
    /// A piece that the store called good and that is not on the disk.
    not_held: Option<Piece>,
    is_leaving: bool,
}

impl Client {
    /// Opens the torrent from the disk, and joins its swarm.
    pub(crate) fn start(start: Start, scene: &mut Scene<'_>) -> Client {
        let Start {
            host,
            addr,
            manners,
            budget,
            trackers,
            told,
            is_magnet,
            content,
            disk,
            mut rng,
        } = start;
        let geometry = content.geometry;
        let detail = if content.files.is_some() { Detail::Bytes } else { Detail::Messages };
        let (store, have) = Store::open(&content, &disk);
        let peer_id = PeerId::ours(&mut rng);
        let config = Config { listen_port: Some(addr.port()), ..Config::new(peer_id) };
        let mut placement = Placement::new(budget, 1);
        let _only_one = placement.place();
        let budget = placement.leases().first().copied().unwrap_or(budget);
        let mut client = Client {
            host,
            manners,
            budget,
            ours: Handshake { reserved: Reserved::OURS, info_hash: content.info_hash, peer_id },
            content: Arc::clone(&content),
            awaited: None,
            admissions: Admissions::default(),
            admitted: BTreeMap::new(),
            engine: Engine::new(config, budget, rng.fork()),
            store,
            wires: Wires::new(detail),
            announces: Announces::new(host, content.info_hash, peer_id, addr.port(), rng.fork()),
            watch: Watch::new(geometry, have.clone()),
            rng,
            served: 0,
            inputs: VecDeque::new(),
            to_disk: Vec::new(),
            disk_at: None,
            retry_at: None,
            last_wake: (Time::ZERO, 0),
            blamed: Vec::new(),
            not_held: None,
            is_leaving: false,
        };
        have.iter(&geometry).for_each(|piece| client.inspect(piece));
        let spec = TorrentSpec {
            info_hash: client.ours.info_hash,
            geometry,
            have,
            trackers: trackers.clone(),
            settings: TorrentSettings::default(),
            files: Vec::new(),
            metadata: content.metadata.clone(),
            private: false,
        };
        if is_magnet {
            client.awaited = Some(spec);
            let magnet = MagnetSpec {
                info_hash: content.info_hash,
                settings: TorrentSettings::default(),
                trackers,
            };
            client.inputs.push_back(Input::AddMagnet(TORRENT, Box::new(magnet)));
        } else {
            client.add(spec);
        }
        client.inputs.push_back(Input::PeersFound(TORRENT, Source::User, told));
        client.settle(scene);
        client
    }

    /// The torrent is known.
    fn add(&mut self, spec: TorrentSpec) {
        self.wires.set_pieces(spec.geometry.piece_count());
        self.inputs.push_back(Input::Add(TORRENT, Box::new(spec)));
    }

    /// The engine has found the metadata.
    fn metadata(&mut self, bytes: &Bytes) {
        match self.awaited.take().filter(|_| *bytes == self.content.metadata) {
            Some(spec) => self.add(spec),
            None => self.watch.wrong_metadata(),
        }
    }

    /// Something happened on its host.
    pub(crate) fn handle(&mut self, event: Event, scene: &mut Scene<'_>) {
        let now = scene.now;
        match event {
            Event::Incoming(peer, addr) => self.accept(peer, addr, scene),
            Event::Connected(peer) => self.wires.connected(now, peer, &self.ours),
            Event::Refused(peer) => self.lose(peer),
            Event::Closed(peer) => self.lose(peer),
            Event::Came(peer, parcel) => self.hear(peer, parcel, scene),
            Event::Writable(peer) => self.wires.touch(peer),
            Event::Datagram(from, datagram) => {
                let announced = self.announces.datagram(now, from, &datagram, scene.net);
                self.announced(announced);
            }
            Event::HttpAnswer(id, body) => {
                let announced = self.announces.body(id, body.as_deref());
                self.announced(announced);
            }
            Event::HttpRequest(..) => {}
            Event::Timer => self.wake(scene),
        }
        self.settle(scene);
    }

    /// Leaves the swarm in good order. The program is over when [`Client::is_gone`].
    pub(crate) fn leave(&mut self, scene: &mut Scene<'_>) {
        self.is_leaving = true;
        self.inputs.push_back(Input::Remove(TORRENT));
        self.settle(scene);
        self.to_disk.push(Order::Stop);
        self.run_disk(scene.now);
    }

    // ---- reports ----

    /// Whether it left and nothing of it is on its way any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_leaving && self.announces.are_done()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.watch.is_complete()
    }

    pub(crate) fn status(&self, now: Time) -> Option<TorrentView> {
        self.engine.view(now, TORRENT)
    }

    /// The pieces that it has; none after it left.
    pub(crate) fn have(&self) -> Option<&Bitfield> {
        self.engine.have(TORRENT)
    }

    /// The peers that it blamed since this was last asked.
    pub(crate) fn take_blamed(&mut self) -> Vec<(SocketAddr, CloseReason)> {
        std::mem::take(&mut self.blamed)
    }

    /// The first rule that it broke since this was last asked.
    pub(crate) fn broken(&mut self) -> Option<Broken> {
        let watched = self.watch.broken();
        let is_restless = self.last_wake.1 > WAKES_MAX;
        watched
            .or_else(|| self.store.was_wronged().then_some(Broken::UnverifiedWrite))
            .or_else(|| self.not_held.map(|piece| Broken::NotHeld(piece.number())))
            .or_else(|| is_restless.then_some(Broken::Restless))
    }

    // ---- connections ----

    /// A host connects.
    fn accept(&mut self, peer: PeerKey, addr: SocketAddr, scene: &mut Scene<'_>) {
        match self.admissions.accept(scene.now, addr.ip()) {
            Some(admission) => {
                let goes = self
                    .admitted
                    .iter()
                    .find(|(_, other)| Some(other.number) == admission.instead_of);
                if let Some((&other, _)) = goes {
                    scene.net.close(scene.now, other);
                    self.lose(other);
                }
                self.admitted.insert(peer, admission);
                self.wires.incoming(scene.now, peer, addr);
            }
            None => scene.net.close(scene.now, peer),
        }
    }

    fn hear(&mut self, peer: PeerKey, parcel: Parcel, scene: &mut Scene<'_>) {
        let Some(heard) = self.wires.receive(scene.now, peer, parcel, &self.ours) else { return };
        let Heard { addr, outbound, handshake, messages, is_over } = heard;
        if let Some(handshake) = handshake {
            if let Some(admission) = self.admitted.get(&peer) {
                self.admissions.handshaken(admission);
            }
            self.inputs.push_back(Input::Connected {
                peer,
                torrent: TORRENT,
                addr,
                outbound,
                handshake,
            });
        }
        for message in &messages {
            if let Message::Piece { data, .. } = message {
                *scene.tally.payload.entry(addr.ip()).or_default() += data.len() as u64;
            }
        }
        if !messages.is_empty() {
            self.inputs.push_back(Input::Frames(peer, messages));
        }
        if is_over {
            scene.net.close(scene.now, peer);
            self.lose(peer);
        }
    }

    /// A connection is over, and not by our order.
    fn lose(&mut self, peer: PeerKey) {
        if let Some(wire) = self.forget(peer) {
            let input = if wire.is_shaken() {
                Some(Input::Closed(peer))
            } else {
                wire.dialled().map(|to| Input::DialFailed(TORRENT, to))
            };
            self.inputs.extend(input);
        }
    }

    fn forget(&mut self, peer: PeerKey) -> Option<Wire> {
        let wire = self.wires.remove(peer)?;
        if let Some(admission) = self.admitted.remove(&peer) {
            self.admissions.ended(admission);
        }
        Some(wire)
    }

    fn announced(&mut self, announced: impl IntoIterator<Item = Announced>) {
        let input = |(tracker, result)| Input::Announced(TORRENT, tracker, result);
        self.inputs.extend(announced.into_iter().map(input));
    }

    // ---- time ----

    fn wake(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now;
        if self.engine.deadline().is_some_and(|at| at <= now) {
            self.last_wake =
                if self.last_wake.0 == now { (now, self.last_wake.1 + 1) } else { (now, 0) };
            self.engine.wake(now);
            self.carry_out(scene);
        }
        if self.disk_at.take_if(|at| *at <= now).is_some()
            || self.disk_deadline().is_some_and(|at| at <= now)
        {
            self.run_disk(now);
        }
        for peer in self.wires.wake(now) {
            scene.net.close(now, peer);
            self.lose(peer);
        }
        let announced = self.announces.wake(now, scene.net);
        self.announced(announced);
    }

    /// Handles inputs, carries out orders and writes until nothing is left to do.
    fn settle(&mut self, scene: &mut Scene<'_>) {
        loop {
            while let Some(input) = self.inputs.pop_front() {
                self.watch.input(scene.now, &input);
                if let Input::Checked(_, piece, PieceCheck::Good) = input {
                    self.inspect(piece);
                }
                self.engine.handle(scene.now, input);
                self.carry_out(scene);
            }
            let Some((peer, sent)) = self.wires.write(scene.now, scene.net) else { break };
            if sent > 0 {
                self.inputs.push_back(Input::Sent(peer, sent));
            }
        }
        self.watch.reserved(self.engine.reserved(TORRENT), self.budget.store_bytes);
        self.watch.metadata_held(self.engine.magnet(TORRENT).map_or(0, |magnet| magnet.held));
        let due = [
            self.engine.deadline(),
            self.disk_at,
            self.disk_deadline(),
            self.wires.deadline(),
            self.announces.deadline(),
        ];
        if let Some(at) = due.into_iter().flatten().min() {
            scene.net.set_timer(self.host, at.max(scene.now));
        }
    }

    /// The store says that the piece is written: looks whether it is.
    fn inspect(&mut self, piece: Piece) {
        if !self.store.holds(piece) {
            self.not_held = Some(piece);
        }
    }

    // ---- orders ----

    fn carry_out(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now;
        while let Some(output) = self.engine.poll() {
            self.watch.output(now, &output);
            scene.tally.order(now, self.host, &output);
            match output {
                Output::Dial(_, addr, ..) => {
                    let peer = scene.net.connect(now, self.host, addr);
                    self.wires.dialled(now, peer, addr);
                }
                Output::HangUp(peer, why) => {
                    scene.net.close(now, peer);
                    let addr = self.forget(peer).map(|wire| wire.addr());
                    self.blamed.extend(addr.filter(|_| why.is_fault()).map(|addr| (addr, why)));
                }
                Output::Send(peer, messages) => self.say(now, peer, messages),
                Output::Serve { peer, blocks, .. } => self.serve(now, peer, &blocks),
                Output::Store(_, block, data) => self.order(now, Order::Store { block, data }),
                Output::Check { piece, urgent, .. } => {
                    self.order(now, Order::Check { piece, urgent })
                }
                Output::Forget(_, piece) => self.order(now, Order::Forget { piece }),
                Output::Announce(_, order) => {
                    let announced = self.announces.start(now, *order, scene.net);
                    self.announced(announced);
                }
                Output::Metadata(_, bytes) => self.metadata(&bytes),
                // There is no DHT here, and there are no neighbours.
                Output::FindPeers(..) | Output::DhtNode(_) | Output::Event(..) => {}
            }
        }
        self.watch.orders_over();
    }

    fn serve(&mut self, now: Time, peer: PeerKey, blocks: &[Block]) {
        if self.manners == Manners::Silent {
            return;
        }
        match self.store.read(blocks) {
            Some(read) => {
                for (block, data) in blocks.iter().zip(read) {
                    let data = self.tell_truth_or_lie(data);
                    self.wires.serve(now, peer, block.raw(), data);
                }
            }
            None => self.inputs.extend(blocks.iter().map(|&block| Input::ReadFailed(peer, block))),
        }
    }

    fn tell_truth_or_lie(&mut self, data: Bytes) -> Bytes {
        self.served += 1;
        match self.manners {
            Manners::Liar { after, one_in }
                if self.served > after && self.rng.below(one_in) == 0 =>
            {
                let mut wrong = data.to_vec();
                wrong.iter_mut().take(1).for_each(|byte| *byte ^= 1);
                wrong.into()
            }
            _ => data,
        }
    }

    fn say(&mut self, now: Time, peer: PeerKey, mut messages: Vec<Message>) {
        match self.manners {
            Manners::FreeRider => messages.retain(|message| *message != Message::Unchoke),
            Manners::Boaster => {
                for message in &mut messages {
                    if matches!(message, Message::HaveNone | Message::Bitfield(_)) {
                        *message = Message::HaveAll;
                    }
                }
            }
            Manners::AboutMetadata(lie) => {
                messages = messages.into_iter().filter_map(|message| lie.told(message)).collect()
            }
            _ => {}
        }
        self.wires.send(now, peer, &messages);
    }

    // ---- the disk ----

    fn order(&mut self, now: Time, order: Order) {
        self.to_disk.push(order);
        self.disk_at.get_or_insert(now + DISK_TIME);
    }

    fn disk_deadline(&self) -> Option<Time> {
        [self.store.deadline(), self.retry_at].into_iter().flatten().min()
    }

    fn run_disk(&mut self, now: Time) {
        let retries = self.retry_at.take_if(|at| *at <= now).is_some();
        if retries {
            self.to_disk.push(Order::Retry);
        }
        let mut failed = false;
        for done in self.store.run(now, std::mem::take(&mut self.to_disk)) {
            match done {
                Done::Checked { piece, verdict } => {
                    self.inputs.push_back(Input::Checked(TORRENT, piece, verdict))
                }
                Done::OnDisk { piece, bytes } => {
                    self.inputs.push_back(Input::OnDisk(TORRENT, piece, bytes))
                }
                Done::Lost { pieces } => self.inputs.push_back(Input::Lost(TORRENT, pieces)),
                // A simulated client wants all files.
                Done::Selected { .. } => {}
                Done::Audited { wrong } => self.inputs.push_back(Input::Audited(TORRENT, wrong)),
                Done::Failed { fault, .. } => {
                    failed = true;
                    self.inputs.push_back(Input::StoreFailed(TORRENT, fault));
                }
            }
        }
        if failed {
            self.retry_at = Some(now + DISK_RETRY);
        } else if retries {
            self.inputs.push_back(Input::StoreRecovered(TORRENT));
        }
    }
}
