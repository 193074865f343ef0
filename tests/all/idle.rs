//! Connections that do nothing, hundreds at a seed and thousands at a tracker: an honest client is
//! served all the same.
//!
//! Decides: where they come from, and how they come back. Must not know: which peers a seed or a
//! tracker accepts, or why.
//! Invariant: connections stay until they are closed, and then come back at once; the time limits
//! are the product's promise.

use crate::Test;
use anyhow::{Result, ensure};
use bt_tests::frames::{INTERESTED, PLAIN, frame, handshake};
use bt_tests::{
    Net, NetnsGuard, PATIENCE, Process, Protocol, Stage, ensure_same, listening, random_file, skip,
};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 500;
const NETWORKS: usize = 32;
const SIZE: u64 = 4 << 20;
/// The time from the start of a download to its first payload.
const SERVED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn five_hundred_idle_connections_leave_room_for_a_peer() -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let (seed_host, bad_host, honest_host) = (net.host()?, net.host()?, net.host()?);
    // Networks of the public Internet, where no address is local.
    let sources: Vec<Ipv4Addr> = (0..CONNECTIONS)
        .map(|n| Ipv4Addr::new(45, 1, (n % NETWORKS) as u8, (1 + n / NETWORKS) as u8))
        .collect();
    bad_host.take_addresses(&sources)?;
    let (honest, seed_at) = (Ipv4Addr::new(46, 1, 1, 1), Ipv4Addr::new(47, 1, 1, 1));
    honest_host.take_addresses(&[honest])?;
    seed_host.take_addresses(&[seed_at])?;

    let stage = Stage::new()?;
    let source = stage.path("data.bin");
    random_file(&source, 1, SIZE)?;
    let torrent = stage.create(&source, &["--piece-length", "64KiB"])?;
    let hash = stage.info_hash(&torrent)?.0;
    let at = SocketAddr::from((seed_at, 6881));
    let seed = Process::start(
        "seed",
        &mut seed_host.inside(&stage.seed("seed", &torrent, &stage.path(""), at)),
    )?;
    listening(&seed)?;

    let crowd = Crowd::gather(&bad_host.netns()?, &sources, at, hash)?;
    let deadline = Instant::now() + PATIENCE;
    while crowd.tries.load(Ordering::Relaxed) < CONNECTIONS {
        ensure!(Instant::now() < deadline, "the crowd does not come");
        thread::sleep(Duration::from_millis(20));
    }
    let copy = stage.path("copy");
    let mut get = stage.get("get", &torrent, &copy, (honest, 6881).into());
    let began = Instant::now();
    let get =
        Process::start("get", &mut honest_host.inside(get.args(["--peer", &at.to_string()])))?;
    get.wait_for("payload", PATIENCE, |event| event["bytes_down"].as_u64() > Some(0))?;
    let took = began.elapsed();
    let (tries, inside) =
        (crowd.tries.load(Ordering::Relaxed), crowd.inside.load(Ordering::Relaxed));
    println!(
        "{CONNECTIONS} idle connections, {tries} tries, {inside} shaken now: first payload after {took:?}"
    );
    ensure!(inside > 0, "the crowd never came in");
    ensure!(took < SERVED_WITHIN, "it waited {took:?} for its first payload\n{}", get.transcript());
    get.finish(PATIENCE)?.expect_code(0)?;
    ensure_same(&source, &copy.join("data.bin"))?;
    seed.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

/// The number of idle HTTP connections at a tracker, and the time within which it answers beside
/// them.
const AT_TRACKER: usize = 10_000;
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

#[test]
fn ten_thousand_idle_http_connections_keep_no_announce_out() -> Test {
    if !can_open(AT_TRACKER + 500) {
        skip!("the system does not let a process open {AT_TRACKER} files")
    }
    let stage = Stage::new()?;
    let (tracker, url) = stage.tracker(Protocol::Http, "127.0.0.1:0".parse()?, None)?;
    let at: SocketAddr = url.trim_start_matches("http://").trim_end_matches("/announce").parse()?;
    for addresses in [32, AT_TRACKER] {
        let mut idle = VecDeque::new();
        // Every other one begins a request that never ends.
        let connect = |n: usize| -> Result<TcpStream> {
            let [.., high, low] = (n % addresses).to_be_bytes();
            let mut stream = connect_from(Ipv4Addr::new(127, 9, high, low), at)?;
            // The tracker may have closed this connection already.
            let _ = if n.is_multiple_of(2) {
                stream.write_all(b"GET /announce?info_hash=")
            } else {
                Ok(())
            };
            Ok(stream)
        };
        for n in 0..AT_TRACKER {
            idle.push_back(connect(n)?);
        }
        let mut slowest = Duration::ZERO;
        for round in 0..50 {
            for n in 0..20 {
                idle.pop_front();
                idle.push_back(connect(AT_TRACKER + round * 20 + n)?);
            }
            let began = Instant::now();
            let mut honest = connect_from(Ipv4Addr::new(127, 8, 0, 1), at)?;
            honest.set_read_timeout(Some(PATIENCE))?;
            let query =
                "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&left=1";
            write!(
                honest,
                "GET /announce?{query} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = Vec::new();
            honest.read_to_end(&mut answer)?;
            ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            slowest = slowest.max(began.elapsed());
        }
        println!(
            "{AT_TRACKER} idle connections from {addresses} addresses: the slowest announce took {slowest:?}"
        );
        ensure!(
            slowest < ANSWERED_WITHIN,
            "an announce took {slowest:?} beside idle connections from {addresses} addresses"
        );
    }
    tracker.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

/// Raises the limit of open files to the hard limit; tells whether it allows `files`.
fn can_open(files: usize) -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.is_none_or(|current| current >= files as u64)
}

fn connect_from(source: Ipv4Addr, at: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
    rustix::net::connect(&socket, &at)?;
    Ok(TcpStream::from(socket))
}

/// Connections that do nothing: half of them after a handshake and `interested`, half of them at
/// once.
struct Crowd {
    tries: Arc<AtomicUsize>,
    inside: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Crowd {
    fn gather(
        netns: &NetnsGuard,
        sources: &[Ipv4Addr],
        at: SocketAddr,
        hash: [u8; 20],
    ) -> Result<Crowd> {
        let crowd = Crowd { tries: Arc::default(), inside: Arc::default(), over: Arc::default() };
        let gather = || {
            for (number, &source) in sources.iter().enumerate() {
                let (tries, inside, over) =
                    (Arc::clone(&crowd.tries), Arc::clone(&crowd.inside), Arc::clone(&crowd.over));
                // A thread starts in the namespace of the thread that spawned it.
                thread::Builder::new().stack_size(128 << 10).spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let _ = idle(source, at, number, hash, &tries, &inside);
                        // A refused peer connects again a moment later.
                        thread::sleep(Duration::from_millis(100));
                    }
                })?;
            }
            Ok(())
        };
        netns.within(gather)?;
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Keeps one connection until the other side closes it.
fn idle(
    source: Ipv4Addr,
    at: SocketAddr,
    number: usize,
    hash: [u8; 20],
    tries: &AtomicUsize,
    inside: &AtomicUsize,
) -> std::io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
    let connected = rustix::net::connect(&socket, &at);
    tries.fetch_add(1, Ordering::Relaxed);
    connected?;
    let mut stream = TcpStream::from(socket);
    if number % 2 == 1 {
        return std::io::copy(&mut stream, &mut std::io::sink()).map(drop);
    }
    let id = format!("-ID0001-{number:012}");
    stream.write_all(&handshake(PLAIN, hash, id.as_bytes()))?;
    stream.read_exact(&mut [0; 68])?;
    stream.write_all(&frame(INTERESTED, &[]))?;
    inside.fetch_add(1, Ordering::Relaxed);
    let ended = std::io::copy(&mut stream, &mut std::io::sink()).map(drop);
    inside.fetch_sub(1, Ordering::Relaxed);
    ended
}
