//! SIGTERM in the middle of all work: `bt` ends in time, announces to every tracker, and keeps
//! synced data.
//!
//! Decides: the work under way, and the behaviour of the trackers. Must not know: how `bt` stops.
//! Invariant: the trackers report what they received; five seconds are the product's promise, not a
//! guess at its speed.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{LOOPBACK, PATIENCE, Process, Protocol, Stage, ensure_same, listening, random_file};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The promised time, with a margin for the test itself.
const OUT_WITHIN: Duration = Duration::from_millis(5_500);
const SIZE: u64 = 24 << 20;
/// The bytes of each torrent that are verified and written at the interrupt.
const ENOUGH: u64 = 4 << 20;

#[test]
fn sigterm_in_the_middle_of_everything() -> Test {
    let stage = Stage::new()?;
    // Each tracker has an address of its own, as real trackers have.
    let alive = Tracker::http(2, Some(Duration::ZERO))?;
    let slow = Tracker::http(3, Some(Duration::from_secs(2)))?;
    let dead = Tracker::http(4, None)?;
    let udp = Tracker::udp(5, true)?;
    let dead_udp = Tracker::udp(6, false)?;
    let trackers = [&alive, &slow, &dead, &udp, &dead_udp];

    // One torrent for each tracker, and one with a dead tracker before an alive one.
    let (mut torrents, mut seeds) = (Vec::new(), Vec::new());
    let tiers =
        trackers.iter().map(|tracker| vec![&tracker.url]).chain([vec![&dead.url, &alive.url]]);
    for (number, tiers) in tiers.enumerate() {
        let source = stage.path(format!("data {number}"));
        random_file(&source, number as u64, SIZE)?;
        let mut options = vec!["--piece-length", "256KiB"];
        // The seed knows no tracker, so that all announces come from the download.
        let of_seed = stage.path(format!("seed {number}.torrent"));
        fs::rename(stage.create(&source, &options)?, &of_seed)?;
        seeds.push(of_seed);
        tiers.into_iter().for_each(|url| options.extend(["-a", url]));
        torrents.push(stage.create(&source, &options)?);
    }
    let mut seed = stage.bt("seed");
    seed.arg("seed").args(&seeds).arg("-d").arg(stage.path("")).args([
        "--listen",
        &LOOPBACK.to_string(),
        "--up",
        "16MiB/s",
    ]);
    let seed = Process::start("seed", &mut seed)?;
    let seed_at = listening(&seed)?;
    let copy = stage.path("copy");
    fs::create_dir(&copy)?;
    let hollow = hollow(&stage, &copy, &alive.url)?;
    let link = format!("magnet:?xt=urn:btih:{}&tr={}", "5".repeat(40), udp.url);

    let get = |who: &str, more: &[PathBuf]| {
        let mut get = stage.bt(who);
        get.arg("get").args(&torrents).args(more).arg("-d").arg(&copy);
        get.args(["--listen", &LOOPBACK.to_string(), "--peer", &seed_at]);
        get
    };
    let running = Process::start("get", &mut get("get", &[hollow, PathBuf::from(link)]))?;
    let mut begun: Vec<Value> = Vec::new();
    running.wait_for("all downloads in their middle", PATIENCE, |event| {
        let hash = &event["info_hash"];
        if event["bytes_done"].as_u64() >= Some(ENOUGH) && !begun.contains(hash) {
            begun.push(hash.clone());
        }
        begun.len() == torrents.len()
    })?;
    let deadline = Instant::now() + PATIENCE;
    while trackers.iter().any(|tracker| tracker.told().is_empty()) || udp.told().len() < 2 {
        ensure!(Instant::now() < deadline, "not every tracker was asked");
        thread::sleep(Duration::from_millis(20));
    }
    let datagrams = dead_udp.told().len();

    let asked_at = Instant::now();
    running.terminate()?;
    let finished = running.finish(PATIENCE)?.expect_code(7)?;
    let took = asked_at.elapsed();
    println!(
        "SIGTERM with {} downloads, a check and a magnet link: out after {took:?}",
        torrents.len()
    );
    ensure!(took < OUT_WITHIN, "it took {took:?} to stop");
    // A thread of a tracker may still be about to record the last announce.
    let deadline = Instant::now() + PATIENCE;
    let unsaid = loop {
        let unsaid: Vec<String> = trackers.iter().flat_map(|tracker| tracker.unsaid()).collect();
        if unsaid.is_empty() || Instant::now() > deadline {
            break unsaid;
        }
        thread::sleep(Duration::from_millis(20));
    };
    ensure!(unsaid.is_empty(), "no farewell to {unsaid:?}");
    ensure!(dead_udp.told().len() > datagrams, "the silent UDP tracker heard nothing more");

    let objects = finished.objects();
    let claimed = |hash: &Value| {
        let of_it = objects
            .iter()
            .filter(|event| event["event"] == "progress" && event["info_hash"] == *hash);
        of_it.filter_map(|event| event["bytes_done"].as_u64()).next_back().unwrap_or_default()
    };
    let again = Process::run("get again", &mut get("get", &[]), PATIENCE)?.expect_code(0)?;
    let summaries: Vec<Value> =
        again.objects().into_iter().filter(|event| event["event"] == "summary").collect();
    ensure!(summaries.len() == torrents.len(), "{} summaries", summaries.len());
    for summary in &summaries {
        let there = summary["bytes_there"].as_u64().context("the summary says what was there")?;
        let claimed = claimed(&summary["info_hash"]);
        ensure!(there >= claimed, "{claimed} bytes were verified, only {there} are there");
        ensure!(
            summary["panics"] == serde_json::json!({ "connections": 0, "engines": 0, "others": 0 }),
            "{summary}"
        );
    }
    for number in 0..torrents.len() {
        ensure_same(&stage.path(format!("data {number}")), &copy.join(format!("data {number}")))?;
    }
    Ok(())
}

#[test]
fn two_hundred_torrents_leave_together() -> Test {
    const COUNT: usize = 200;
    let stage = Stage::new()?;
    let (_tracker, url) = stage.tracker(Protocol::Udp, LOOPBACK, None)?;
    let mut torrents = Vec::new();
    for number in 0..COUNT {
        let source = stage.path(format!("file {number}"));
        random_file(&source, number as u64, 256 << 10)?;
        torrents.push(stage.create(&source, &["-a", &url, "--piece-length", "16KiB"])?);
    }
    let mut seed = stage.bt("seed");
    seed.arg("seed").args(&torrents).arg("-d").arg(stage.path("")).args([
        "--listen",
        &LOOPBACK.to_string(),
        "--up",
        "2MiB/s",
    ]);
    let seed = Process::start("seed", &mut seed)?;
    let mut get = stage.bt("get");
    get.arg("get").args(&torrents).arg("-d").arg(stage.path("copy")).args([
        "--listen",
        &LOOPBACK.to_string(),
        "--seed",
    ]);
    get.args(["--peer", &listening(&seed)?]);
    let get = Process::start("get", &mut get)?;
    let mut complete = 0;
    get.wait_for("half of the downloads", PATIENCE, |event| {
        complete += usize::from(event["event"] == "complete");
        2 * complete >= COUNT
    })?;
    for (who, process, code) in [("get", get, 7), ("seed", seed, 0)] {
        let asked_at = Instant::now();
        process.terminate()?;
        process.finish(PATIENCE)?.expect_code(code)?;
        let took = asked_at.elapsed();
        println!("SIGTERM to the {who} of {COUNT} torrents: out after {took:?}");
        ensure!(took < OUT_WITHIN, "it took the {who} {took:?} to stop");
    }
    // The tracker must know no peer of the stopped process any more.
    for torrent in torrents.iter().step_by(20) {
        let swarm =
            Process::run("scrape", stage.bt("scraper").arg("scrape").arg(torrent), PATIENCE)?
                .expect_code(0)?
                .last()?;
        let count = |field: &str| swarm["trackers"][0][field].as_u64();
        ensure!((count("seeders"), count("leechers")) == (Some(0), Some(0)), "{swarm}");
    }
    Ok(())
}

/// Makes a torrent of 64 GiB of zeros and a sparse file of them, whose check takes long.
fn hollow(stage: &Stage, dir: &Path, url: &str) -> Result<PathBuf> {
    const PIECE: u64 = 16 << 20;
    const PIECES: u64 = 4096;
    let one = stage.path("one piece");
    fs::File::create(&one)?.set_len(PIECE)?;
    let torrent = fs::read(stage.create(&one, &["--piece-length", "16MiB"])?)?;
    let digest =
        torrent.windows(11).position(|text| text == b"6:pieces20:").context("it has one piece")?
            + 11;
    let digests = torrent[digest..digest + 20].repeat(PIECES as usize);
    fs::File::create(dir.join("hollow"))?.set_len(PIECE * PIECES)?;
    let head = format!(
        "d8:announce{}:{url}4:infod6:lengthi{}e4:name6:hollow12:piece lengthi{PIECE}e6:pieces{}:",
        url.len(),
        PIECE * PIECES,
        digests.len()
    );
    let path = stage.path("hollow.torrent");
    fs::write(&path, [head.as_bytes(), &digests, b"ee"].concat())?;
    Ok(path)
}

/// An announce at a tracker, and its torrent.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Told {
    event: Word,
    torrent: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Word {
    Started,
    Stopped,
    Other,
}

/// A tracker that knows no peers and reports the announces that it received.
struct Tracker {
    url: String,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Tracker {
    /// Starts a tracker that answers after a delay, or never. `host`: the last number of its
    /// address.
    fn http(host: u8, answers_after: Option<Duration>) -> Result<Tracker> {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, host), 0))?;
        let tracker = Tracker::at("http", listener.local_addr()?);
        let told = Arc::clone(&tracker.told);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = Arc::clone(&told);
                // An error means that the other side closed the connection, as it may.
                thread::spawn(move || hear(stream, answers_after, &told));
            }
        });
        Ok(tracker)
    }

    /// Speaks BEP 15, or receives and does not answer.
    fn udp(host: u8, answers: bool) -> Result<Tracker> {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, host), 0))?;
        let tracker = Tracker::at("udp", socket.local_addr()?);
        let told = Arc::clone(&tracker.told);
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let datagram = &buffer[..len];
                let answer = match (datagram.get(8..12), datagram.get(12..16)) {
                    (Some([0, 0, 0, 0]), Some(transaction)) => {
                        if !answers {
                            note(&told, Told { event: Word::Other, torrent: String::new() });
                        }
                        [&[0, 0, 0, 0], transaction, &[7; 8]].concat()
                    }
                    (Some([0, 0, 0, 1]), Some(transaction)) if len >= 98 => {
                        let event = match datagram[83] {
                            2 => Word::Started,
                            3 => Word::Stopped,
                            _ => Word::Other,
                        };
                        let name = |bytes: &[u8]| {
                            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                        };
                        note(&told, Told { event, torrent: name(&datagram[16..36]) });
                        [&[0, 0, 0, 1], transaction, &1800u32.to_be_bytes(), &[0; 8]].concat()
                    }
                    _ => continue,
                };
                if answers {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(tracker)
    }

    fn at(scheme: &str, at: SocketAddr) -> Tracker {
        Tracker { url: format!("{scheme}://{at}/announce"), told: Arc::default() }
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lists the announces of `started` that no `stopped` followed.
    fn unsaid(&self) -> Vec<String> {
        let told = self.told();
        let left = |one: &Told| told.contains(&Told { event: Word::Stopped, ..one.clone() });
        let unsaid = told.iter().filter(|one| one.event == Word::Started && !left(one));
        unsaid.map(|one| format!("{}: {one:?}", self.url)).collect()
    }
}

fn note(told: &Mutex<Vec<Told>>, one: Told) {
    told.lock().unwrap_or_else(PoisonError::into_inner).push(one);
}

fn hear(
    mut stream: TcpStream,
    answers_after: Option<Duration>,
    told: &Mutex<Vec<Told>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let field = |name: &str| {
        let value = request.split_once(&format!("{name}=")).map_or("", |(_, rest)| rest);
        value.split(['&', ' ']).next().unwrap_or_default().to_owned()
    };
    let event = match field("event").as_str() {
        "started" => Word::Started,
        "stopped" => Word::Stopped,
        _ => Word::Other,
    };
    note(told, Told { event, torrent: field("info_hash") });
    match answers_after {
        Some(wait) => thread::sleep(wait),
        None => return std::io::copy(&mut stream, &mut std::io::sink()).map(drop),
    }
    let body = "d8:intervali1800e5:peers0:e";
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
