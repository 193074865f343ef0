//! The network between the hosts: sockets, links with a rate and a latency, datagrams, timers.
//!
//! Decides: when bytes arrive, and in what portions. Must not know: what the bytes mean, engines.
//! Invariant: a stream arrives whole and in order, or ends; a link never carries more than its
//! rate; chance is the seed's.

use crate::agenda::Agenda;
use crate::stream::{Parcel, Unsent};
use bt_engine::PeerKey;
use bt_peer_wire::Incoming;
use bt_types::{Rng, Time};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Bytes that left a socket and have not arrived, and those that it holds besides, as a part of
/// that: about what a system's congestion window and send buffer come to. On a long and wide way it
/// is more: what fills it.
const UNSENT_PART: usize = 16;
const IN_FLIGHT_MAX: usize = 256 << 10;
/// Bytes that leave a host at once; how many, is chance.
const SEGMENT_MAX: u64 = 16 << 10;
/// Bytes of a stream in a packet, and bytes of headers before them (IPv4, and TCP with
/// timestamps); every second one is acknowledged by headers alone.
const PACKET_LEN: usize = 1448;
const HEADERS_LEN: usize = 52;

/// One computer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub(crate) usize);

/// How a computer is connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Bytes per second that it can send.
    pub up: u64,
    /// Bytes per second that it can receive.
    pub down: u64,
    /// Half the way of a byte: what it takes from two computers to each other is the sum of both.
    pub latency: Duration,
}

/// What a program on a host learns from its system.
#[derive(Debug)]
pub(crate) enum Event {
    /// A host connected from this address.
    Incoming(PeerKey, SocketAddr),
    /// A connection that we asked for stands.
    Connected(PeerKey),
    /// A connection that we asked for was refused.
    Refused(PeerKey),
    /// A part of a stream came.
    Came(PeerKey, Parcel),
    /// A socket that took less than it was given takes more.
    Writable(PeerKey),
    /// The other side closed, or crashed.
    Closed(PeerKey),
    /// A datagram came from this address.
    Datagram(SocketAddr, Vec<u8>),
    /// A GET of this path, to be answered under this number.
    HttpRequest(HttpId, IpAddr, String),
    /// The body of an answer; `None` when the server could not be reached.
    HttpAnswer(HttpId, Option<Vec<u8>>),
    /// The moment that was asked for has come.
    Timer,
}

impl Event {
    /// A number for the trace: what it is, and of how many bytes.
    pub(crate) fn kind(&self) -> u64 {
        match self {
            Event::Incoming(..) => 1,
            Event::Connected(_) => 2,
            Event::Refused(_) => 3,
            Event::Writable(_) => 4,
            Event::Closed(_) => 5,
            Event::Timer => 6,
            Event::HttpRequest(..) => 7,
            Event::HttpAnswer(..) => 8,
            Event::Datagram(_, bytes) => 16 + bytes.len() as u64,
            Event::Came(peer, parcel) => (peer.0 << 32) + parcel.len() as u64,
        }
    }
}

/// One HTTP request, by whom it was made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct HttpId {
    client: HostId,
    number: u64,
}

/// All that lies between programs.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    agenda: Agenda<Step>,
    hosts: Vec<Host>,
    sockets: BTreeMap<PeerKey, Socket>,
    /// Connections and HTTP requests ever made.
    numbers: u64,
    carried: u64,
}

#[derive(Debug)]
struct Host {
    addr: SocketAddr,
    link: Link,
    /// A program listens there.
    is_up: bool,
    /// Sockets that have something to send, by turns.
    line: VecDeque<PeerKey>,
    is_sending: bool,
    /// Bytes of acknowledgements that leave with the next segment. An idle uplink sends them at
    /// once, which costs no other host anything.
    owes: usize,
    receives_until: Time,
    timer: Option<Time>,
}

#[derive(Debug)]
struct Socket {
    host: HostId,
    unsent: Unsent,
    /// Bytes that left and have not arrived, and how many these may be.
    in_flight: usize,
    in_flight_max: usize,
    in_line: bool,
    /// The program waits for room.
    is_full: bool,
}

/// What the network itself does later.
#[derive(Debug)]
enum Step {
    /// A connection request arrives at this address.
    Knock(PeerKey, SocketAddr),
    /// The uplink of a host is free again.
    UplinkFree(HostId),
    /// The last byte of a segment is at the downlink of this socket's host.
    AtDownlink(PeerKey, Parcel),
    /// A segment is there.
    Arrived(PeerKey, Parcel),
    /// The other side of this socket is gone.
    Gone(PeerKey),
    /// Anything else that a host learns.
    Tell(HostId, Event),
}

impl Network {
    pub(crate) fn new(rng: Rng) -> Network {
        let (agenda, hosts, sockets) = (Agenda::default(), Vec::new(), BTreeMap::new());
        Network { rng, agenda, hosts, sockets, numbers: 0, carried: 0 }
    }

    /// A computer with this address and link, on which no program runs yet.
    pub(crate) fn add(&mut self, addr: SocketAddr, link: Link) -> HostId {
        let (line, receives_until) = (VecDeque::new(), Time::ZERO);
        self.hosts.push(Host {
            addr,
            link,
            is_up: false,
            line,
            is_sending: false,
            owes: 0,
            receives_until,
            timer: None,
        });
        HostId(self.hosts.len() - 1)
    }

    /// A program starts there.
    pub(crate) fn start(&mut self, host: HostId) {
        self.host_mut(host).is_up = true;
    }

    /// The program is gone: its connections are reset.
    pub(crate) fn stop(&mut self, now: Time, host: HostId) {
        let sockets: Vec<PeerKey> =
            self.sockets.iter().filter(|(_, s)| s.host == host).map(|(&key, _)| key).collect();
        sockets.into_iter().for_each(|key| self.close(now, key));
        let host = self.host_mut(host);
        (host.is_up, host.timer) = (false, None);
        host.line.clear();
    }

    /// Stream bytes that arrived anywhere.
    pub(crate) fn carried(&self) -> u64 {
        self.carried
    }

    // ---- for programs ----

    /// The program wants a `Timer` at this moment, or earlier.
    pub(crate) fn set_timer(&mut self, host: HostId, at: Time) {
        let known = &mut self.host_mut(host).timer;
        if known.is_none_or(|known| at < known) {
            *known = Some(at);
            self.agenda.plan(at, Step::Tell(host, Event::Timer));
        }
    }

    /// Asks for a connection; answered by `Connected` or `Refused`.
    pub(crate) fn connect(&mut self, now: Time, host: HostId, to: SocketAddr) -> PeerKey {
        // A connection has two sockets, with numbers that differ in the last bit.
        let key = PeerKey(self.number() * 2);
        let latency = self.latency_to(host, to.ip());
        self.sockets.insert(key, self.socket(host, latency));
        self.agenda.plan(now + latency, Step::Knock(key, to));
        key
    }

    /// Gives bytes to a socket; how many it took. When it took less than all, `Writable` tells when
    /// it takes more.
    pub(crate) fn write(&mut self, now: Time, key: PeerKey, bytes: &[u8]) -> usize {
        let Some(socket) = self.sockets.get_mut(&key) else { return bytes.len() };
        let taken = socket.room().min(bytes.len());
        socket.is_full = taken < bytes.len();
        socket.unsent.push_bytes(&bytes[..taken]);
        let host = socket.host;
        self.join_line(key);
        self.send(now, host);
        taken
    }

    /// Whether a socket takes a message. When not, `Writable` tells when it does.
    pub(crate) fn has_room(&mut self, key: PeerKey) -> bool {
        let Some(socket) = self.sockets.get_mut(&key) else { return true };
        socket.is_full = socket.room() == 0;
        !socket.is_full
    }

    /// Gives messages to a socket that has room.
    pub(crate) fn put(&mut self, now: Time, key: PeerKey, message: Incoming) {
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        socket.unsent.push_message(message);
        let host = socket.host;
        self.join_line(key);
        self.send(now, host);
    }

    /// Ends a connection. What has not left yet never will.
    pub(crate) fn close(&mut self, now: Time, key: PeerKey) {
        let Some(socket) = self.sockets.remove(&key) else { return };
        if let Some(other) = self.sockets.get(&twin(key)) {
            let latency = self.latency(socket.host, other.host);
            self.agenda.plan(now + latency, Step::Gone(twin(key)));
        }
    }

    /// Sends a datagram.
    pub(crate) fn datagram(&mut self, now: Time, host: HostId, to: SocketAddr, bytes: Vec<u8>) {
        let from = self.host(host).addr;
        let at = now + self.latency_to(host, to.ip());
        if let Some(to) = self.find(to.ip()) {
            self.agenda.plan(at, Step::Tell(to, Event::Datagram(from, bytes)));
        }
    }

    /// Asks a web server for a path; answered by `HttpAnswer`.
    pub(crate) fn get(
        &mut self,
        now: Time,
        host: HostId,
        server: IpAddr,
        target: String,
    ) -> HttpId {
        let id = HttpId { client: host, number: self.number() };
        let latency = self.latency_to(host, server);
        let from = self.host(host).addr.ip();
        match self.find(server).filter(|&server| self.host(server).is_up) {
            Some(server) => self
                .agenda
                .plan(now + latency, Step::Tell(server, Event::HttpRequest(id, from, target))),
            None => {
                self.agenda.plan(now + 2 * latency, Step::Tell(host, Event::HttpAnswer(id, None)))
            }
        }
        id
    }

    /// Answers a GET.
    pub(crate) fn answer(&mut self, now: Time, server: HostId, id: HttpId, body: Vec<u8>) {
        let at = now + self.latency(server, id.client);
        self.agenda.plan(at, Step::Tell(id.client, Event::HttpAnswer(id, Some(body))));
    }

    // ---- time ----

    /// When something happens next.
    pub(crate) fn next_at(&self) -> Option<Time> {
        self.agenda.next_at()
    }

    /// Lets the next thing happen; what a program learns from it, if any does.
    pub(crate) fn step(&mut self) -> Option<(Time, HostId, Event)> {
        let (now, step) = self.agenda.take()?;
        let (host, event) = self.happen(now, step)?;
        self.host(host).is_up.then_some((now, host, event))
    }

    fn happen(&mut self, now: Time, step: Step) -> Option<(HostId, Event)> {
        match step {
            Step::Knock(key, to) => self.knock(now, key, to),
            Step::UplinkFree(host) => {
                self.host_mut(host).is_sending = false;
                self.send(now, host);
                None
            }
            Step::AtDownlink(key, parcel) => {
                let host = self.sockets.get(&key)?.host;
                let host = self.host_mut(host);
                host.receives_until = host.receives_until.max(now)
                    + duration(with_headers(parcel.len()), host.link.down);
                let at = host.receives_until;
                self.agenda.plan(at, Step::Arrived(key, parcel));
                None
            }
            Step::Arrived(key, parcel) => {
                let host = self.sockets.get(&key)?.host;
                self.carried += parcel.len() as u64;
                let receiver = self.host_mut(host);
                receiver.owes += if receiver.is_sending {
                    HEADERS_LEN * parcel.len().div_ceil(2 * PACKET_LEN)
                } else {
                    0
                };
                self.acknowledge(now, twin(key), parcel.len());
                Some((host, Event::Came(key, parcel)))
            }
            Step::Gone(key) => {
                let socket = self.sockets.remove(&key)?;
                Some((socket.host, Event::Closed(key)))
            }
            Step::Tell(host, Event::Timer) => {
                // A timer that was set anew since is not this one.
                self.host_mut(host).timer.take_if(|at| *at == now)?;
                Some((host, Event::Timer))
            }
            Step::Tell(host, event) => {
                let is_alive = match event {
                    Event::Connected(key) | Event::Writable(key) => self.sockets.contains_key(&key),
                    Event::Refused(key) => self.sockets.remove(&key).is_some(),
                    _ => true,
                };
                is_alive.then_some((host, event))
            }
        }
    }

    /// A connection request is at its address.
    fn knock(&mut self, now: Time, key: PeerKey, to: SocketAddr) -> Option<(HostId, Event)> {
        let caller = self.sockets.get(&key)?.host;
        let back = now + self.latency_to(caller, to.ip());
        let listener =
            self.find(to.ip()).filter(|&host| self.host(host).is_up && self.host(host).addr == to);
        let Some(listener) = listener else {
            self.agenda.plan(back, Step::Tell(caller, Event::Refused(key)));
            return None;
        };
        let latency = self.latency(caller, listener);
        self.sockets.insert(twin(key), self.socket(listener, latency));
        self.agenda.plan(back, Step::Tell(caller, Event::Connected(key)));
        // A caller has another port for each connection.
        let port = 40_000 + (key.0 / 2 % 20_000) as u16;
        Some((
            listener,
            Event::Incoming(twin(key), SocketAddr::new(self.host(caller).addr.ip(), port)),
        ))
    }

    // ---- streams ----

    fn join_line(&mut self, key: PeerKey) {
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        if !socket.in_line && socket.unsent.len() > 0 {
            socket.in_line = true;
            let host = socket.host;
            self.host_mut(host).line.push_back(key);
        }
    }

    /// Puts the next segment on an uplink that is free.
    fn send(&mut self, now: Time, from: HostId) {
        while !self.host(from).is_sending {
            let Some(key) = self.host_mut(from).line.pop_front() else { return };
            let Some(to) = self.sockets.get(&twin(key)).map(|socket| socket.host) else { continue };
            let len = 1 + self.rng.below(SEGMENT_MAX);
            let Some(socket) = self.sockets.get_mut(&key) else { continue };
            socket.in_line = false;
            let segment = socket.unsent.take(usize::try_from(len).unwrap_or(usize::MAX));
            socket.in_flight += segment.len();
            self.join_line(key);
            let sender = self.host_mut(from);
            let left = now
                + duration(
                    with_headers(segment.len()) + std::mem::take(&mut sender.owes),
                    sender.link.up,
                );
            sender.is_sending = true;
            let latency = self.latency(from, to);
            self.agenda.plan(left, Step::UplinkFree(from));
            self.agenda.plan(left + latency, Step::AtDownlink(twin(key), segment));
        }
    }

    /// Bytes arrived: the sender has room again. Its acknowledgement takes no time, so a window
    /// counts one way only.
    fn acknowledge(&mut self, now: Time, sender: PeerKey, bytes: usize) {
        let Some(socket) = self.sockets.get_mut(&sender) else { return };
        socket.in_flight -= bytes;
        if std::mem::take(&mut socket.is_full) {
            let host = socket.host;
            self.agenda.plan(now, Step::Tell(host, Event::Writable(sender)));
        }
    }

    // ---- hosts ----

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn find(&self, ip: IpAddr) -> Option<HostId> {
        self.hosts.iter().position(|host| host.addr.ip() == ip).map(HostId)
    }

    fn latency(&self, a: HostId, b: HostId) -> Duration {
        self.host(a).link.latency + self.host(b).link.latency
    }

    /// A socket of this host, whose bytes take so long.
    fn socket(&self, host: HostId, latency: Duration) -> Socket {
        let under_way = u128::from(self.host(host).link.up) * 2 * latency.as_micros() / 1_000_000;
        Socket::new(host, IN_FLIGHT_MAX.max(usize::try_from(under_way).unwrap_or(usize::MAX)))
    }

    fn latency_to(&self, from: HostId, ip: IpAddr) -> Duration {
        self.latency(from, self.find(ip).unwrap_or(from))
    }

    fn host(&self, id: HostId) -> &Host {
        &self.hosts[id.0]
    }

    fn host_mut(&mut self, id: HostId) -> &mut Host {
        &mut self.hosts[id.0]
    }
}

impl Socket {
    fn new(host: HostId, in_flight_max: usize) -> Socket {
        Socket {
            host,
            unsent: Unsent::default(),
            in_flight: 0,
            in_flight_max,
            in_line: false,
            is_full: false,
        }
    }

    /// How many more bytes it holds.
    fn room(&self) -> usize {
        (self.in_flight_max / UNSENT_PART)
            .min(self.in_flight_max.saturating_sub(self.in_flight))
            .saturating_sub(self.unsent.len())
    }
}

/// The socket at the other end.
fn twin(key: PeerKey) -> PeerKey {
    PeerKey(key.0 ^ 1)
}

/// Returns the bytes on the link for a number of bytes of a stream.
fn with_headers(len: usize) -> usize {
    len + HEADERS_LEN * len.div_ceil(PACKET_LEN)
}

/// Returns how long bytes take at a rate in bytes per second.
fn duration(bytes: usize, rate: u64) -> Duration {
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000).div_ceil(rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_arrives_in_order_at_the_rate_of_the_slower_link() {
        let mut net = Network::new(Rng::from_seed(1));
        let link = |up, down| Link { up, down, latency: Duration::from_millis(50) };
        let addr = |n| SocketAddr::from(([20, 0, 0, n], 1));
        let (a, b) =
            (net.add(addr(1), link(1 << 20, 1 << 20)), net.add(addr(2), link(1 << 20, 256 << 10)));
        [a, b].into_iter().for_each(|host| net.start(host));
        let sent: Vec<u8> = (0..1u32 << 20).map(|n| (n * 7 % 251) as u8).collect();
        let key = net.connect(Time::ZERO, a, addr(2));
        let (mut given, mut got, mut now) = (0, Vec::new(), Time::ZERO);
        while let Some(at) = net.next_at() {
            now = at;
            match net.step() {
                Some((_, _, Event::Connected(socket) | Event::Writable(socket))) => {
                    assert_eq!(socket, key);
                    given += net.write(now, key, &sent[given..]);
                }
                Some((_, host, Event::Came(_, Parcel::Bytes(bytes)))) => {
                    assert_eq!(host, b);
                    got.extend_from_slice(&bytes);
                }
                _ => {}
            }
        }
        assert_eq!(got, sent);
        // Two ways of 100 ms for the connection, one for the first byte, and four seconds for a
        // mebibyte, with 4 % for headers.
        assert!((Time::from_millis(4_450)..Time::from_millis(4_600)).contains(&now), "{now}");
    }

    #[test]
    fn a_crash_ends_connections_and_later_ones_are_refused() {
        let mut net = Network::new(Rng::from_seed(1));
        let link = Link { up: 1000, down: 1000, latency: Duration::from_millis(50) };
        let addr = |n| SocketAddr::from(([20, 0, 0, n], 1));
        let (a, b) = (net.add(addr(1), link), net.add(addr(2), link));
        [a, b].into_iter().for_each(|host| net.start(host));
        let key = net.connect(Time::ZERO, a, addr(2));
        let connected = std::iter::from_fn(|| net.next_at().map(|_| net.step())).flatten().last();
        assert!(
            matches!(connected, Some((now, _, Event::Connected(_))) if now == Time::from_millis(200))
        );
        net.stop(Time::from_secs(1), b);
        assert!(
            matches!(net.step(), Some((now, host, Event::Closed(at))) if (host, at) == (a, key) && now == Time::from_millis(1_100))
        );
        let late = net.connect(Time::from_secs(2), a, addr(2));
        let refused = std::iter::from_fn(|| net.next_at().map(|_| net.step())).flatten().last();
        assert!(matches!(refused, Some((_, _, Event::Refused(at))) if at == late));
    }
}
