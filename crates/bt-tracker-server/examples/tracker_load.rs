//! Loads a UDP tracker with announces, connects and scrapes, and measures what an answer costs it.
//!
//! Decides: which requests, how many at once. Must not know: which tracker answers.
//! Invariant: it and the tracker run on the same machine; it reads the tracker's processor time
//! and memory from the system.
//!
//! - `tracker_load echo ADDR` answers each datagram with 200 bytes: the floor of any tracker.
//! - `tracker_load hashes TORRENTS` prints the info-hashes, for a tracker that wants a list.
//! - `tracker_load load ADDR PID [peers=N] [torrents=N] [want=N] [seconds=N] [rate=N]` announces
//!   each peer once, then peers at random, and prints one JSON object with the figures. Without
//!   `rate` a fixed number of requests is always on its way; with it, that number is sent each
//!   second.

use anyhow::{Context as _, Result, bail, ensure};
use bt_tracker_wire::{Announce, UdpRequest};
use bt_types::{InfoHash, PeerId, Rng};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

/// Sockets of the load, each at an address of its own.
const SOCKETS: usize = 64;
/// Requests of a socket that are on their way at once, without a rate.
const WINDOW: usize = 4;
/// After this time without a reply a socket's requests are lost.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// Time for the tracker to answer the first request.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Time before the measurement.
const WARM: Duration = Duration::from_millis(500);
/// Bytes of the echo's answers, as of a tracker that names 30 peers.
const ECHO: usize = 200;
/// Of 1,000 requests, connects and scrapes.
const CONNECTS: u64 = 10;
const SCRAPES: u64 = 10;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["echo", addr] => echo(addr.parse()?),
        ["hashes", torrents] => hashes(torrents.parse()?),
        ["load", addr, pid, options @ ..] => {
            let mut load = Load::new(addr.parse()?, pid.parse()?, options)?;
            println!("{}", load.run()?);
            Ok(())
        }
        _ => bail!("usage: tracker_load echo ADDR | hashes TORRENTS | load ADDR PID [KEY=N]..."),
    }
}

/// Answers each datagram in its own calls, as simply as can be.
fn echo(addr: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(addr)?;
    println!("ready: {}", socket.local_addr()?);
    let (mut request, mut reply) = ([0; 2_048], [0; ECHO]);
    loop {
        let (_, from) = socket.recv_from(&mut request)?;
        // Action and transaction, as a reply has them.
        reply[..8].copy_from_slice(&request[8..16]);
        let _ = socket.send_to(&reply, from);
    }
}

fn hashes(torrents: u64) -> Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for torrent in 0..torrents {
        info_hash(torrent).0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
        writeln!(out)?;
    }
    Ok(())
}

fn info_hash(torrent: u64) -> InfoHash {
    let mut hash = [0; 20];
    hash[..8].copy_from_slice(&mix(torrent).to_be_bytes());
    hash[8..16].copy_from_slice(&mix(!torrent).to_be_bytes());
    hash[16..].copy_from_slice(&mix(torrent ^ 0x5555).to_be_bytes()[..4]);
    InfoHash(hash)
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30) ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

struct Load {
    clients: Vec<Client>,
    pid: u32,
    peers: u64,
    torrents: u64,
    want: u32,
    period: Duration,
    rate: u64,
    /// Requests leave at the rate now, whatever is on its way.
    is_paced: bool,
    rng: Rng,
    transaction: u32,
    /// When each of the last requests left, by transaction; and how long replies took.
    sent_at: Vec<Instant>,
    latencies: Vec<u32>,
    tally: Tally,
    headers: MultiHeaders<SockaddrStorage>,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    sent: u64,
    answers: u64,
    bytes: u64,
    errors: u64,
    lost: u64,
}

/// A socket, which is the host of many peers.
struct Client {
    socket: UdpSocket,
    connection: u64,
    on_their_way: usize,
    heard: Instant,
}

impl Load {
    fn new(addr: SocketAddr, pid: u32, options: &[&str]) -> Result<Load> {
        let option = |name: &str, or: u64| {
            let given = options.iter().find_map(|option| option.strip_prefix(name));
            given.map_or(Ok(or), |number| number.parse().context("a number"))
        };
        let now = Instant::now();
        let clients = (0..SOCKETS).map(|number| {
            let host = Ipv4Addr::new(127, 1, 0, u8::try_from(number)? + 1);
            let socket = UdpSocket::bind((host, 0))?;
            socket.connect(addr)?;
            Ok(Client { socket, connection: 0, on_their_way: 0, heard: now })
        });
        Ok(Load {
            clients: clients.collect::<Result<_>>()?,
            pid,
            peers: option("peers=", 200_000)?,
            torrents: option("torrents=", 100_000)?,
            want: u32::try_from(option("want=", 30)?)?,
            period: Duration::from_secs(option("seconds=", 4)?),
            rate: option("rate=", 0)?,
            is_paced: false,
            rng: Rng::from_seed(1),
            transaction: 0,
            sent_at: vec![now; 1 << 16],
            latencies: Vec::with_capacity(1 << 22),
            tally: Tally::default(),
            headers: MultiHeaders::preallocate(WINDOW, None),
        })
    }

    fn run(&mut self) -> Result<serde_json::Value> {
        self.connect()?;
        let before = memory(self.pid)?;
        // Peers of a socket are numbered in steps of the number of sockets.
        let mut next: Vec<u64> = (0..SOCKETS as u64).collect();
        while next.iter().any(|&next| next < self.peers) {
            self.round(&mut |load, client| {
                let peer = next[client];
                next[client] += SOCKETS as u64;
                (peer < load.peers).then(|| load.announce(client, peer))
            })?;
        }
        while self.clients.iter().any(|client| client.on_their_way > 0) {
            self.round(&mut |_, _| None)?;
        }
        let (after, populated) = (memory(self.pid)?, self.tally);

        self.is_paced = self.rate > 0;
        self.drive(WARM)?;
        self.latencies.clear();
        let (tally, cpu, began) = (self.tally, cpu_nanos(self.pid)?, Instant::now());
        self.drive(self.period)?;
        let (cpu, seconds) = (cpu_nanos(self.pid)? - cpu, began.elapsed().as_secs_f64());
        let answers = self.tally.answers - tally.answers;
        self.latencies.sort_unstable();
        let late = |share: f64| {
            let at = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(at).map(|micros| f64::from(*micros))
        };
        Ok(serde_json::json!({
            "peers": self.peers,
            "refused": populated.errors,
            "memory": after.saturating_sub(before),
            "rss": after,
            "answers": answers,
            "per_second": answers as f64 / seconds,
            "cpu_us": cpu as f64 / 1e3 / answers as f64,
            "reply_bytes": (self.tally.bytes - tally.bytes) as f64 / answers as f64,
            "lost": (self.tally.lost - tally.lost) as f64
                / (self.tally.sent - tally.sent).max(1) as f64,
            "p50_us": late(0.5),
            "p99_us": late(0.99),
            "p999_us": late(0.999),
        }))
    }

    /// Gets a connection id for each socket. The tracker may have just been started.
    fn connect(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_WITHIN;
        for client in &mut self.clients {
            client.socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            let request = UdpRequest::Connect { transaction: 7 }.write();
            let mut reply = [0; 2_048];
            while client.socket.send(&request).and_then(|_| client.socket.recv(&mut reply)).is_err()
            {
                ensure!(Instant::now() < deadline, "no reply to a connect");
            }
            client.connection = u64::from_be_bytes(reply[8..16].try_into()?);
        }
        Ok(())
    }

    /// Sends and receives for a time.
    fn drive(&mut self, period: Duration) -> Result<()> {
        let (began, from) = (Instant::now(), self.tally.sent);
        while began.elapsed() < period {
            let rate = self.rate as f64;
            let due = (rate > 0.0).then(|| (began.elapsed().as_secs_f64() * rate) as u64);
            self.round(&mut |load, client| {
                let is_due = due.is_none_or(|due| load.tally.sent - from < due);
                is_due.then(|| load.any(client))
            })?;
        }
        Ok(())
    }

    /// Serves each socket once: takes its replies, and sends what `next` gives, up to the window.
    fn round(&mut self, next: &mut dyn FnMut(&mut Load, usize) -> Option<Vec<u8>>) -> Result<()> {
        for number in 0..self.clients.len() {
            self.receive(number)?;
            // Without a rate replies come in groups, and so do requests.
            let room = match self.is_paced {
                false if self.clients[number].on_their_way > 0 => continue,
                false => WINDOW,
                true => 1,
            };
            let mut requests: [Vec<u8>; WINDOW] = Default::default();
            let mut count = 0;
            for request in requests.iter_mut().take(room) {
                let Some(made) = next(self, number) else { break };
                (*request, count) = (made, count + 1);
            }
            self.send(number, &requests[..count])?;
        }
        Ok(())
    }

    fn send(&mut self, number: usize, requests: &[Vec<u8>]) -> Result<()> {
        let client = &mut self.clients[number];
        let slices = std::array::from_fn::<_, WINDOW, _>(|n| {
            [IoSlice::new(requests.get(n).map_or(&[], Vec::as_slice))]
        });
        let mut control: [_; WINDOW] = std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut slices = slices.iter();
        let mut messages = control
            .each_mut()
            .map(|control| MMsgHdr::new(slices.next().map_or(&[], |slice| slice), control));
        let mut left = &mut messages[..requests.len()];
        while !left.is_empty() {
            let sent = sendmmsg(&client.socket, left, SendFlags::empty())?;
            left = &mut left[sent..];
        }
        if !requests.is_empty() {
            (client.on_their_way, client.heard) =
                (client.on_their_way + requests.len(), Instant::now());
            self.tally.sent += requests.len() as u64;
        }
        Ok(())
    }

    fn receive(&mut self, number: usize) -> Result<()> {
        let client = &mut self.clients[number];
        if client.on_their_way == 0 {
            return Ok(());
        }
        let mut buffers = [[0; 1_300]; WINDOW];
        let mut lengths = [0; WINDOW];
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let fd = client.socket.as_raw_fd();
        match recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(messages) => messages.zip(&mut lengths).for_each(|(it, len)| *len = it.bytes),
            Err(nix::errno::Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        for (reply, len) in buffers.iter().zip(lengths).filter(|(_, len)| *len >= 8) {
            client.on_their_way = client.on_their_way.saturating_sub(1);
            client.heard = now;
            self.tally.answers += 1;
            self.tally.bytes += len as u64;
            match reply[3] {
                0 if len == 16 => {
                    client.connection = u64::from_be_bytes(reply[8..16].try_into()?);
                }
                3 => self.tally.errors += 1,
                _ => {}
            }
            let transaction = usize::from(u16::from_be_bytes([reply[6], reply[7]]));
            let took = now.duration_since(self.sent_at[transaction]).as_micros();
            self.latencies.push(u32::try_from(took).unwrap_or(u32::MAX));
        }
        if client.on_their_way > 0 && now.duration_since(client.heard) > LOST_AFTER {
            self.tally.lost += client.on_their_way as u64;
            client.on_their_way = 0;
        }
        Ok(())
    }

    fn transaction(&mut self) -> u32 {
        self.transaction = self.transaction.wrapping_add(1);
        let place = self.transaction as usize % self.sent_at.len();
        self.sent_at[place] = Instant::now();
        self.transaction
    }

    /// Makes a request of a socket, mostly an announce.
    fn any(&mut self, client: usize) -> Vec<u8> {
        let connection = self.clients[client].connection;
        match self.rng.below(1_000) {
            0..CONNECTS => UdpRequest::Connect { transaction: self.transaction() }.write(),
            draw if draw < CONNECTS + SCRAPES => {
                let hashes = (0..3).map(|_| info_hash(self.rng.below(self.torrents))).collect();
                let transaction = self.transaction();
                UdpRequest::Scrape { connection, transaction, hashes }.write()
            }
            _ => {
                let of_socket = self.rng.below(self.peers.div_ceil(SOCKETS as u64));
                let peer = of_socket * SOCKETS as u64 + client as u64;
                // The last round may be cut off.
                self.announce(client, if peer < self.peers { peer } else { client as u64 })
            }
        }
    }

    fn announce(&mut self, client: usize, peer: u64) -> Vec<u8> {
        let mut id = [b'-'; 20];
        id[..8].copy_from_slice(&mix(peer).to_be_bytes());
        // A socket has fewer peers than there are ports.
        let port = (peer / SOCKETS as u64 % 65_535) as u16 + 1;
        let announce = Announce {
            left: u64::from(!peer.is_multiple_of(4)) << 20,
            uploaded: 1,
            num_want: Some(self.want),
            ..Announce::new(info_hash(mix(peer) % self.torrents), PeerId(id), port)
        };
        let connection = self.clients[client].connection;
        UdpRequest::Announce { connection, transaction: self.transaction(), announce }.write()
    }
}

/// Returns the nanoseconds of processor time of all threads of a process.
fn cpu_nanos(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().context("a field")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// Returns the bytes of memory of a process.
fn memory(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    Ok(kib.context("a process has memory")?.trim().parse::<u64>()? << 10)
}
