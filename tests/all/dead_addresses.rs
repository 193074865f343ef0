//! One living peer among hundreds of addresses that do not answer: it is found in seconds.
//!
//! Decides: the dead addresses: packets to them are lost. Must not know: which address a client
//! dials first.
//! Invariant: the tracker tells each swarm of other addresses, in an order of its own.

use crate::Test;
use anyhow::{Result, bail, ensure};
use bt_tests::foreign::Libtorrent;
use bt_tests::{
    Client, ClientConfig, Host, Net, PATIENCE, Process, Rng, Stage, ensure_same, listening,
    random_file, skip,
};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SIZE: u64 = 3 << 20;
/// A network of the public Internet, with no neighbours.
const SEED_AT: Ipv4Addr = Ipv4Addr::new(45, 10, 20, 30);
const PORT: u16 = 7601;
/// The number of dials of a process that may be under way at once.
const HALF_OPEN_MAX: usize = 200;

#[test]
fn one_seed_among_200_dead_addresses_is_found_in_seconds() -> Test {
    let Some(world) = Surroundings::new()? else {
        skip!("no network namespaces: not root, or no `ip`")
    };
    // The goal is 4 s on a machine that does nothing else.
    let swarms = std::env::var("BT_SWARMS").ok().and_then(|count| count.parse().ok()).unwrap_or(4);
    for swarm in 0..swarms {
        let ours = world.ours(swarm, 200)?;
        println!(
            "swarm {swarm}: complete after {:.1} s, {} dials under way at most",
            ours.took.as_secs_f64(),
            ours.half_open
        );
        ensure!(ours.took < Duration::from_secs(8), "swarm {swarm} took {:?}", ours.took);
        ensure!(ours.half_open <= HALF_OPEN_MAX, "{} dials were under way", ours.half_open);
    }
    match Libtorrent::find() {
        Some(libtorrent) => {
            println!(
                "libtorrent in swarm 0: complete after {:.1} s",
                world.other(0, 200, &libtorrent)?.as_secs_f64()
            )
        }
        None => bt_tests::skipped("libtorrent is not installed"),
    }
    Ok(())
}

#[test]
fn one_seed_among_2000_dead_addresses_is_found_within_half_a_minute() -> Test {
    let Some(world) = Surroundings::new()? else {
        skip!("no network namespaces: not root, or no `ip`")
    };
    let ours = world.ours(0, 2000)?;
    println!(
        "complete after {:.1} s, {} dials under way at most",
        ours.took.as_secs_f64(),
        ours.half_open
    );
    ensure!(ours.took < Duration::from_secs(30), "it took {:?}", ours.took);
    ensure!(ours.half_open <= HALF_OPEN_MAX, "{} dials were under way", ours.half_open);
    Ok(())
}

/// A seed that every swarm has, and the leechers that look for it.
struct Surroundings {
    net: Net,
    seed_host: Host,
    stage: Stage,
    source: PathBuf,
    _seed: Process,
}

/// The result of a leecher.
struct Fared {
    took: Duration,
    /// The greatest number of dials that were under way at once.
    half_open: usize,
}

impl Surroundings {
    fn new() -> Result<Option<Surroundings>> {
        let Some(net) = Net::new() else { return Ok(None) };
        let seed_host = net.host()?;
        seed_host.take_addresses(&[SEED_AT])?;
        let stage = Stage::new()?;
        let source = stage.path("data.bin");
        random_file(&source, 1, SIZE)?;
        let torrent = stage.create(&source, &[])?;
        let at = SocketAddr::from((SEED_AT, PORT));
        let seed = Process::start(
            "seed",
            &mut seed_host.inside(&stage.seed("seed", &torrent, &stage.path(""), at)),
        )?;
        listening(&seed)?;
        Ok(Some(Surroundings { net, seed_host, stage, source, _seed: seed }))
    }

    fn ours(&self, swarm: u64, dead: usize) -> Result<Fared> {
        let (host, torrent) = (self.leecher()?, self.torrent(swarm, dead)?);
        let copy = self.stage.path(format!("copy {swarm}"));
        let get = self.stage.get(
            &format!("get {swarm}"),
            &torrent,
            &copy,
            (Ipv4Addr::UNSPECIFIED, 6881).into(),
        );
        let began = Instant::now();
        let get = Process::start("get", &mut host.inside(&get))?;
        let most = AtomicUsize::new(0);
        let finished = thread::scope(|scope| {
            let (pid, most) = (get.id(), &most);
            // The thread ends with the process, whose list of sockets is gone then.
            scope.spawn(move || {
                while let Ok(sockets) = half_open(pid) {
                    most.fetch_max(sockets, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(50));
                }
            });
            get.finish(PATIENCE)
        })?;
        let took = began.elapsed();
        finished.expect_code(0)?;
        ensure_same(&self.source, &copy.join("data.bin"))?;
        Ok(Fared { took, half_open: most.into_inner() })
    }

    fn other(&self, swarm: u64, dead: usize, client: &dyn Client) -> Result<Duration> {
        let (host, torrent) = (self.leecher()?, self.torrent(swarm, dead)?);
        let (copy, home) = (self.stage.path("copy of another"), self.stage.path("home of another"));
        let mut running = client.open(&ClientConfig::new(&host, &torrent, &copy, &home))?;
        let began = Instant::now();
        running.add()?;
        running.wait_complete(PATIENCE)?;
        Ok(began.elapsed())
    }

    /// A host from which what is sent to strangers goes to the seed's, which does not pass it on.
    fn leecher(&self) -> Result<Host> {
        let host = self.net.host()?;
        host.ip(&format!("route replace default via {} dev eth0\n", self.seed_host.v4))?;
        Ok(host)
    }

    /// Makes a torrent whose tracker tells of the seed among `dead` addresses that do not answer.
    fn torrent(&self, swarm: u64, dead: usize) -> Result<PathBuf> {
        let at = SocketAddr::from((self.seed_host.v4, 0));
        let listener = self.seed_host.netns()?.within(|| TcpListener::bind(at))?;
        let url = format!("http://{}/announce", listener.local_addr()?);
        let answer = answer(swarm, dead);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    request.extend(byte);
                }
                let _ = stream.write_all(&answer);
            }
        });
        let made = self.stage.create(&self.source, &["-a", &url])?;
        let torrent = self.stage.path(format!("{swarm} of {dead}.torrent"));
        std::fs::rename(made, &torrent)?;
        Ok(torrent)
    }
}

/// What the tracker answers.
fn answer(swarm: u64, dead: usize) -> Vec<u8> {
    let mut rng = Rng::from_seed(swarm + 1);
    let mut byte = |below: u64| u8::try_from(rng.below(below)).unwrap_or(0);
    let mut peers: Vec<u8> = Vec::new();
    for number in 0..dead {
        let network = [23, 46, 62, 80, 91, 109, 151, 185][usize::from(byte(8))];
        peers.extend([network, byte(255), byte(255), 1 + byte(254), 0x1a, 0xe1]);
        if number == dead / 2 {
            peers.extend(SEED_AT.octets().into_iter().chain(PORT.to_be_bytes()));
        }
    }
    let body =
        [format!("d8:intervali1800e5:peers{}:", peers.len()).as_bytes(), &peers, b"e"].concat();
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body]
        .concat()
}

/// Counts the sockets in the namespace of this process that wait for an answer to their first
/// packet. Only sockets in two successive lists count: while a list is read, sockets close and
/// open.
fn half_open(pid: u32) -> Result<usize> {
    let (before, after) = (dials(pid)?, dials(pid)?);
    Ok(before.intersection(&after).count())
}

/// Lists both ends of each dial.
fn dials(pid: u32) -> Result<BTreeSet<String>> {
    let sockets =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("net/tcp"))?;
    let mut dials = BTreeSet::new();
    for line in sockets.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, state, ..] = fields[..] else {
            bail!("a socket has a state: {line}")
        };
        if state == "02" {
            dials.insert(format!("{local} {remote}"));
        }
    }
    Ok(dials)
}
