//! A hostile tracker, over HTTP and UDP, that answers as it likes.
//!
//! Decides: the answers, and their outcome. Must not know: how `bt` asks a tracker.
//! Invariant: `bt announce` reports how `bt` judges the answer; a `bt get` beside it has another
//! peer and is not harmed.

use super::scene::{Scene, clean, free_address, settled, sound};
use super::{Figures, Held, Outcome, Report, Row, Scale};
use crate::{LOOPBACK, PATIENCE, Process, random_bytes};
use Outcome::{Ignored, Refused};
use anyhow::{Result, ensure};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The exit code of a command that got no answer from any tracker.
const NETWORK: i32 = 5;
/// The time that `bt announce` waits for a silent tracker.
const TIMEOUT: &str = "2s";
/// The time between two bytes of a slow tracker.
const DRIP: Duration = Duration::from_millis(50);
/// The number of requests that a download of a few seconds may send, redirects included.
const ASKED_MAX: u32 = 30;

pub(super) struct Case {
    name: &'static str,
    outcome: Outcome,
    /// The case ends with a timeout: such cases run at the same time.
    is_slow: bool,
    answer: Answer,
}

#[derive(Clone, Copy)]
enum Answer {
    /// These bytes, then the end of the connection.
    Http(fn() -> Vec<u8>),
    /// The bytes that this function writes.
    Stream(fn(&mut TcpStream) -> std::io::Result<()>),
    /// The datagrams that answer one datagram.
    Udp(fn(&[u8]) -> Vec<Vec<u8>>),
}

const fn http(name: &'static str, outcome: Outcome, answer: fn() -> Vec<u8>) -> Case {
    Case { name, outcome, is_slow: false, answer: Answer::Http(answer) }
}

const fn slow(name: &'static str, answer: fn(&mut TcpStream) -> std::io::Result<()>) -> Case {
    Case { name, outcome: Refused(NETWORK), is_slow: true, answer: Answer::Stream(answer) }
}

const fn udp(name: &'static str, outcome: Outcome, answer: fn(&[u8]) -> Vec<Vec<u8>>) -> Case {
    // A datagram that is not an answer does not end the wait.
    Case { name, outcome, is_slow: matches!(outcome, Refused(_)), answer: Answer::Udp(answer) }
}

pub(super) const CASES: &[Case] = &[
    // ---- bencode ----
    http("no bencode", Refused(NETWORK), || body(b"\xff\x00 this is no bencode")),
    http("nothing at all", Refused(NETWORK), || body(b"")),
    http("a dictionary cut off", Refused(NETWORK), || body(b"d8:intervali1800e5:peers6:\x7f\x00")),
    http("bencode nested 100,000 times", Refused(NETWORK), || body("l".repeat(100_000).as_bytes())),
    http("a list", Refused(NETWORK), || body(b"le")),
    http("a number that overflows", Refused(NETWORK), || {
        body(b"d8:intervali99999999999999999999999e5:peers0:e")
    }),
    http("a string longer than the answer", Refused(NETWORK), || {
        body(b"d8:intervali1800e5:peers4294967295:x")
    }),
    // ---- what the tracker says ----
    http("an interval of less than 0", Ignored, || body(b"d8:intervali-1e5:peers0:e")),
    http("an interval of 0", Ignored, || body(b"d8:intervali0e12:min intervali0e5:peers0:e")),
    http("an interval of 292 billion years", Ignored, || {
        body(b"d8:intervali9223372036854775807e5:peers0:e")
    }),
    http("swarms at the limits of numbers", Ignored, || {
        body(b"d8:completei-9223372036854775808e10:incompletei9223372036854775807e8:intervali1800e5:peers0:e")
    }),
    http("7 bytes of peers", Ignored, || body(b"d8:intervali1800e5:peers7:1234567e")),
    http("peers that are numbers", Ignored, || body(b"d8:intervali1800e5:peersli1ei2el1:xeee")),
    http("peers with impossible ports and names", Ignored, || {
        body(b"d8:intervali1800e5:peersld2:ip9:127.0.0.14:porti99999eed2:ip16:../../etc/passwd4:porti80eed2:ip3:\x00\x1b[4:porti-1eeee")
    }),
    http("peers that no host can be: port 0, multicast, 0.0.0.0", Ignored, || {
        body(b"d8:intervali1800e5:peers18:\x7f\x00\x00\x01\x00\x00\xe0\x00\x00\x01\x1a\xe1\x00\x00\x00\x00\x1a\xe1e")
    }),
    http("100,000 peers", Ignored, || {
        // Addresses in a network without a route from this machine.
        body(
            &[
                &b"d8:intervali1800e5:peers600000:"[..],
                &b"\x00\x01\x02\x03\x1a\xe1".repeat(100_000),
                b"e",
            ]
            .concat(),
        )
    }),
    http("a million peers", Refused(NETWORK), || {
        body(
            &[
                &b"d8:intervali1800e5:peers6000000:"[..],
                &b"\x00\x01\x02\x03\x1a\xe1".repeat(1_000_000),
                b"e",
            ]
            .concat(),
        )
    }),
    http("a failure of 500,000 control characters", Refused(NETWORK), || {
        body(&[&b"d14:failure reason500000:"[..], &b"\x1b[2J\x07".repeat(100_000), b"e"].concat())
    }),
    http("a warning of escapes, and an id of 100,000 bytes", Ignored, || {
        let id = random_bytes(1, 100_000);
        body(
            &[
                &b"d8:intervali1800e5:peers0:10:tracker id100000:"[..],
                &id,
                b"15:warning message6:\x1b[2J\x07\xffe",
            ]
            .concat(),
        )
    }),
    http("our address in 3 bytes", Ignored, || {
        body(b"d11:external ip3:abc8:intervali1800e5:peers0:e")
    }),
    // ---- HTTP ----
    http("no HTTP", Refused(NETWORK), || random_bytes(1, 10_000)),
    http("the end without a word", Refused(NETWORK), Vec::new),
    http("status 500", Refused(NETWORK), || {
        b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".to_vec()
    }),
    http("status 999", Refused(NETWORK), || {
        b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n".to_vec()
    }),
    http("HTTP/9.9", Refused(NETWORK), || {
        b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nde".to_vec()
    }),
    http("a status that never comes, an answer of 10,000 times 100", Refused(NETWORK), || {
        b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000)
    }),
    http("10,000 headers", Refused(NETWORK), || {
        [&b"HTTP/1.1 200 OK\r\n"[..], &b"X-Y: z\r\n".repeat(10_000), b"\r\nde"].concat()
    }),
    http("a header of 1 MiB", Refused(NETWORK), || {
        [&b"HTTP/1.1 200 OK\r\nX-Y: "[..], &b"z".repeat(1 << 20), b"\r\n\r\nde"].concat()
    }),
    http("a length of less than 0", Refused(NETWORK), || {
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nde".to_vec()
    }),
    http("a length that overflows", Refused(NETWORK), || {
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nde".to_vec()
    }),
    http("two lengths", Refused(NETWORK), || {
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 30\r\n\r\nd8:intervali1800e5:peers0:e".to_vec()
    }),
    http("a length of 4 GiB, and half a dictionary", Refused(NETWORK), || {
        b"HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\nd8:interval".to_vec()
    }),
    http("chunks that are none", Refused(NETWORK), || {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nde\r\n".to_vec()
    }),
    http("a chunk whose length overflows", Refused(NETWORK), || {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nde\r\n0\r\n\r\n".to_vec()
    }),
    http("a body of 64 MiB without an end", Refused(NETWORK), || {
        [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b'l'; 64 << 20]].concat()
    }),
    http("a gzip bomb", Refused(NETWORK), || coded("gzip", &gzip_bomb())),
    http("gzip that is none", Refused(NETWORK), || coded("gzip", b"\x1f\x8b\x08\x00garbage")),
    http("a coding that no client knows", Refused(NETWORK), || {
        coded("br, zstd, gzip, gzip, gzip", b"de")
    }),
    // ---- redirects ----
    http("a redirect to itself for ever", Refused(NETWORK), || redirect("/announce")),
    http("a redirect to a file", Refused(NETWORK), || redirect("file:///etc/passwd")),
    http("a redirect to another protocol", Refused(NETWORK), || redirect("gopher://127.0.0.1:70/")),
    http("a redirect to no place", Refused(NETWORK), || redirect("http://:::::/")),
    http("a redirect without a place", Refused(NETWORK), || {
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec()
    }),
    // ---- time ----
    slow("silence", |stream| stream.read_to_end(&mut Vec::new()).map(drop)),
    slow("a head byte by byte", |stream| drip(stream, b"HTTP/1.1 200 OK\r\nX-Y: ")),
    slow("a body byte by byte", |stream| {
        drip(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nd1:x90000:")
    }),
    // ---- UDP ----
    udp("UDP: noise", Refused(NETWORK), |asked| vec![random_bytes(asked.len() as u64, 64)]),
    udp("UDP: silence", Refused(NETWORK), |_| Vec::new()),
    udp("UDP: an empty datagram", Refused(NETWORK), |_| vec![Vec::new()]),
    udp("UDP: another transaction", Refused(NETWORK), |asked| {
        vec![[&asked[8..12], &[0xff; 4], &[7; 8]].concat()]
    }),
    udp("UDP: an answer to connect that is too short", Refused(NETWORK), |asked| {
        vec![[&[0; 4], &asked[12..16], &[7; 7]].concat()]
    }),
    udp("UDP: an announce for an answer to connect", Refused(NETWORK), |asked| {
        vec![[&[0, 0, 0, 1], &asked[12..16], &[0; 12]].concat()]
    }),
    udp("UDP: a scrape for an answer to announce", Refused(NETWORK), |asked| {
        match is_connect(asked) {
            true => vec![connected(asked)],
            false => vec![[&[0, 0, 0, 2], &asked[12..16], &[0; 12]].concat()],
        }
    }),
    udp("UDP: an announce that is too short", Refused(NETWORK), |asked| match is_connect(asked) {
        true => vec![connected(asked)],
        false => vec![[&[0, 0, 0, 1], &asked[12..16], &[0; 11]].concat()],
    }),
    udp("UDP: an error of 60,000 control characters", Refused(NETWORK), |asked| {
        vec![[&[0, 0, 0, 3], &asked[12..16], &b"\x1b[2J\x07\xff".repeat(10_000)[..]].concat()]
    }),
    udp("UDP: connect answered ten times, with ten ids", Ignored, |asked| {
        match is_connect(asked) {
            true => (0..10).map(|n| [&[0; 4], &asked[12..16], &[n; 8]].concat()).collect(),
            false => vec![announced(asked, 1800, b"")],
        }
    }),
    udp("UDP: 65,000 bytes of peers, and a byte more", Ignored, |asked| match is_connect(asked) {
        true => vec![connected(asked)],
        false => vec![announced(
            asked,
            1800,
            &[&b"\x00\x01\x02\x03\x1a\xe1".repeat(10_000)[..], &[1]].concat(),
        )],
    }),
    udp("UDP: an interval of 0", Ignored, |asked| match is_connect(asked) {
        true => vec![connected(asked)],
        false => vec![announced(asked, 0, b"")],
    }),
    udp("UDP: an interval of 136 years", Ignored, |asked| match is_connect(asked) {
        true => vec![connected(asked)],
        false => vec![announced(asked, u32::MAX, b"")],
    }),
];

/// Builds 64 MiB of zeros in 400 KiB of gzip, written bit by bit (RFC 1951): a zero, and "258 bytes
/// from one byte back" again and again.
fn gzip_bomb() -> Vec<u8> {
    let (head, zero, again, end) = ("110", "00110000", "1100010100000", "0000000");
    let bits: Vec<u8> = [head, zero, &again.repeat((64 << 20) / 258), end].concat().into_bytes();
    let deflated =
        bits.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | (bit & 1)));
    [&b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"[..], &deflated.collect::<Vec<u8>>()].concat()
}

fn body(bytes: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).as_bytes(), bytes]
        .concat()
}

fn coded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
        bytes.len()
    );
    [head.as_bytes(), bytes].concat()
}

fn redirect(place: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

fn drip(stream: &mut TcpStream, begin: &[u8]) -> std::io::Result<()> {
    stream.write_all(begin)?;
    loop {
        stream.write_all(b"x")?;
        thread::sleep(DRIP);
    }
}

fn is_connect(asked: &[u8]) -> bool {
    asked[8..12] == [0; 4]
}

fn connected(asked: &[u8]) -> Vec<u8> {
    [&[0; 4], &asked[12..16], &[7; 8]].concat()
}

fn announced(asked: &[u8], interval: u32, peers: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 1], &asked[12..16], &interval.to_be_bytes(), &[0xff; 8], peers].concat()
}

/// Plays all cases.
pub(super) fn run(scale: &Scale) -> Result<Vec<Row>> {
    let scene = Scene::new(scale)?;
    let (_seed, honest) = scene.ready_seed(scale.up)?;
    let mut before = 0;
    let alone = clean(|| {
        let get = Get::start(&scene, &scene.torrent, honest)?;
        before = get.process.memory()?.max(before);
        let took = get.took;
        get.end(&scene).map(|()| took)
    })?;
    // One transfer at a time has the seed for itself.
    let (mut report, turn) = (Report::new("tracker"), &Mutex::new(()));
    for batch in CASES.chunk_by(|one, other| one.is_slow && other.is_slow) {
        let played: Vec<Result<Figures>> = thread::scope(|scope| {
            let play = |case| {
                let (took, held) = play(case, &scene, honest, before, turn)?;
                Ok(Figures { took, held, clean: alone })
            };
            let players: Vec<_> =
                batch.iter().map(|case| scope.spawn(move || play(case))).collect();
            players
                .into_iter()
                .map(|player| player.join().unwrap_or_else(|_| panic!("a player panicked")))
                .collect()
        });
        batch
            .iter()
            .zip(played)
            .for_each(|(case, played)| report.add(case.name, case.outcome, played));
    }
    scene.ensure_untouched()?;
    report.end()
}

fn play(
    case: &Case,
    scene: &Scene,
    honest: SocketAddr,
    before: u64,
    turn: &Mutex<()>,
) -> Result<(Duration, Held)> {
    let liar = Liar::listen(case.answer)?;
    let torrent = scene.stage.path(scene.fresh("hostile")).with_extension("torrent");
    let url = liar.url.as_bytes();
    fs::write(
        &torrent,
        [format!("d8:announce{}:", url.len()).as_bytes(), url, b"4:info", &scene.swarm.info, b"e"]
            .concat(),
    )?;
    let mut command = scene.stage.bt(&scene.fresh("announce"));
    let said = Process::run(
        "announce",
        command.arg("announce").arg(&torrent).args(["--timeout", TIMEOUT]),
        PATIENCE,
    )?;
    let said = sound(said)?;
    ensure!(liar.asked.load(Relaxed) > 0, "the tracker was not asked");
    ensure!(
        !said.err.chars().any(|c| c.is_control() && c != '\n'),
        "control characters are printed: {:?}",
        said.err
    );
    match case.outcome {
        Refused(code) => {
            let said = said.expect_code(code)?;
            ensure!(said.err.len() > 10, "it does not say why");
            ensure!(said.err.len() < 4000, "it says {} bytes", said.err.len());
        }
        _ => drop(said.expect_code(0)?),
    }
    let asked = liar.asked.swap(0, Relaxed);
    ensure!(asked <= ASKED_MAX, "one announce asked {asked} times");
    let get = {
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        Get::start(scene, &torrent, honest)?
    };
    let deadline = Instant::now() + PATIENCE;
    while liar.asked.load(Relaxed) == 0 {
        ensure!(Instant::now() < deadline, "the download does not ask the tracker");
        thread::sleep(Duration::from_millis(5));
    }
    let held = settled(&get.process, before)?;
    let took = get.took;
    get.end(scene)?;
    let asked = liar.asked.load(Relaxed);
    ensure!(asked <= ASKED_MAX, "a download asked {asked} times");
    Ok((took, held))
}

/// A complete download that seeds.
struct Get {
    process: Process,
    copy: PathBuf,
    took: Duration,
}

impl Get {
    fn start(scene: &Scene, torrent: &Path, honest: SocketAddr) -> Result<Get> {
        let copy = scene.copy();
        let mut command = scene.get(torrent, &copy, free_address()?);
        let began = Instant::now();
        let process =
            Process::start("get", command.args(["--seed", "--peer", &honest.to_string()]))?;
        process.wait_event("complete", PATIENCE)?;
        Ok(Get { process, copy, took: began.elapsed() })
    }

    fn end(self, scene: &Scene) -> Result<()> {
        sound(self.process.stop(PATIENCE)?.expect_code(0)?)?;
        scene.ensure_copy(&self.copy)
    }
}

/// A running hostile tracker.
struct Liar {
    url: String,
    /// The number of requests that it received.
    asked: Arc<AtomicU32>,
}

impl Liar {
    fn listen(answer: Answer) -> Result<Liar> {
        let asked = Arc::<AtomicU32>::default();
        let count = Arc::clone(&asked);
        let url = match answer {
            Answer::Udp(answer) => {
                let socket = UdpSocket::bind(LOOPBACK)?;
                let at = socket.local_addr()?;
                thread::spawn(move || {
                    let mut datagram = [0; 2048];
                    while let Ok((len, from)) = socket.recv_from(&mut datagram) {
                        count.fetch_add(1, Relaxed);
                        for reply in answer(&datagram[..len]) {
                            let _ = socket.send_to(&reply, from);
                        }
                    }
                });
                format!("udp://{at}/announce")
            }
            _ => {
                let listener = TcpListener::bind(LOOPBACK)?;
                let at = listener.local_addr()?;
                thread::spawn(move || {
                    for mut stream in listener.incoming().flatten() {
                        count.fetch_add(1, Relaxed);
                        thread::spawn(move || {
                            // An error means that the client closed the connection, which it may.
                            let _ = answer.over_tcp(&mut stream);
                        });
                    }
                });
                format!("http://{at}/announce")
            }
        };
        Ok(Liar { url, asked })
    }
}

impl Answer {
    fn over_tcp(self, stream: &mut TcpStream) -> std::io::Result<()> {
        let mut request = [0; 4096];
        if stream.read(&mut request)? == 0 {
            return Ok(());
        }
        match self {
            Answer::Http(answer) => stream.write_all(&answer()),
            Answer::Stream(answer) => answer(stream),
            Answer::Udp(_) => Ok(()),
        }
    }
}
