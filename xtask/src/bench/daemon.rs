//! A daemon with ten thousand torrents, as its callers see it. Where the system allows too few open
//! files, those that find no place are links without metadata.
//!
//! Decides: the questions, and the time that it rests. Must not know: how it keeps torrents.
//! Invariant: what is timed is a whole request, from the connection to the last byte.

use super::Bench;
use super::figures::Figures;
use super::many::{PIECE, PIECES, TORRENTS, metainfo};
use super::table::{Table, number};
use anyhow::{Context as _, Result, ensure};
use bt_tests::{PATIENCE, RawAnswer, RunningDaemon, Stage, allow_descriptors};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Descriptors of a torrent at rest, and those of everything else.
const DESCRIPTORS: (u64, u64) = (2, 1600);
/// Torrents of one request that adds some.
const TOGETHER: u64 = 500;
/// The requests of which a figure is the median.
const ASKED: u32 = 11;
/// The time after which torrents that were just started are looked at as rarely as others.
const SETTLES: Duration = Duration::from_secs(40);
/// The period over which the processor time of a daemon at rest is counted.
const RESTS: Duration = Duration::from_secs(20);
/// What Sonarr asks of every torrent.
const FIELDS: [&str; 20] = [
    "id",
    "hashString",
    "name",
    "downloadDir",
    "totalSize",
    "leftUntilDone",
    "isFinished",
    "eta",
    "status",
    "secondsDownloading",
    "secondsSeeding",
    "errorString",
    "uploadedEver",
    "downloadedEver",
    "seedRatioLimit",
    "seedRatioMode",
    "seedIdleLimit",
    "seedIdleMode",
    "fileCount",
    "labels",
];

/// The figures: name, unit in the table, digits, goal and what the goal is of.
const FIGURES: [(&str, &str, usize, f64, &str); 9] = [
    ("list qBittorrent", "ms", 0, 300.0, "daemon: ms for all torrents over qBittorrent's API"),
    ("list Transmission", "ms", 0, 300.0, "daemon: ms for 20 fields of all torrents over RPC"),
    ("list own", "ms", 0, 300.0, "daemon: ms for all torrents over its own API"),
    ("maindata idle", "ms", 1, 10.0, "daemon: ms for a maindata when nothing changed"),
    ("maindata change", "ms", 1, 10.0, "daemon: ms for a maindata after a change"),
    ("memory", "KiB each", 1, 12.0, "daemon: KiB a torrent"),
    ("ready", "s", 2, 2.0, "daemon: seconds from its start until it is ready"),
    ("rest", "% of a core", 2, 2.0, "daemon: % of a core at rest beside a page"),
    ("events", "KiB", 1, 64.0, "daemon: KiB that a page is sent in 20 s at rest"),
];

/// Returns the goals: what is measured, its value, and its limit.
pub(super) fn goals(figures: &Figures) -> [(&'static str, Option<f64>, f64); 9] {
    FIGURES
        .map(|(name, _, _, limit, what)| (what, figures.median(&format!("daemon/{name}")), limit))
}

/// Measures a daemon with ten thousand torrents.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let count = count()?;
    let stage = Stage::within(&bench.args.folder)?;
    let data = stage.path("data");
    fs::create_dir_all(&data)?;
    for number in 0..count {
        // A sparse file, which no process reads.
        fs::File::create(data.join(name(number)))?.set_len(PIECES * PIECE)?;
    }
    let daemon = RunningDaemon::start(&stage, "daemon", &data, &[])?;
    let empty = daemon.process.memory()?;
    add_all(&daemon, count)?;
    add_links(&daemon, TORRENTS - count)?;
    let each = daemon.process.memory()?.saturating_sub(empty) as f64 / TORRENTS as f64 / 1024.0;
    bench.figures.add("daemon/memory".into(), each);
    daemon.process.stop(PATIENCE)?.expect_code(0)?;

    let began = Instant::now();
    let daemon = RunningDaemon::start(&stage, "daemon", &data, &[])?;
    bench.figures.add("daemon/ready".into(), began.elapsed().as_secs_f64());
    seeds_all(&daemon, count)?;
    ask(bench, &daemon)?;
    rest(bench, &daemon)?;
    daemon.process.stop(PATIENCE)?.expect_code(0)?;

    let links = TORRENTS - count;
    let title = format!("daemon: {count} seeded torrents, and {links} links without metadata");
    let mut table = Table::new(title, &["", "", "goal"]);
    for (name, unit, digits, limit, _) in FIGURES {
        let median = bench.figures.median(&format!("daemon/{name}"));
        let value = format!("{} {unit}", number(median, digits));
        table.row([name.to_owned(), value, format!("{limit}")]);
    }
    bench.show(table);
    Ok(())
}

/// Returns how many seeded torrents there are descriptors for, ten thousand at most.
fn count() -> Result<u64> {
    let (each, others) = DESCRIPTORS;
    let most = allow_descriptors(each * TORRENTS + others);
    let count = most.saturating_sub(others) / each;
    ensure!(count > 0, "the system allows too few open files");
    if count < TORRENTS {
        eprintln!("daemon: the system's open files are enough for {count} seeded torrents only");
    }
    Ok(count.min(TORRENTS))
}

fn name(number: u64) -> String {
    format!("{number:05}")
}

/// Adds all torrents over qBittorrent's API; their data is believed to be there.
fn add_all(daemon: &RunningDaemon, count: u64) -> Result<()> {
    const BOUNDARY: &str = "a-boundary-that-is-in-no-torrent";
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    for first in (0..count).step_by(TOGETHER as usize) {
        let part =
            |head: &str| format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n");
        let mut body = format!("{}true\r\n", part("name=\"skip_checking\"")).into_bytes();
        for number in first..count.min(first + TOGETHER) {
            body.extend(part("name=\"torrents\"; filename=\"x.torrent\"").into_bytes());
            body.extend(metainfo(&name(number), number));
            body.extend(b"\r\n");
        }
        body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
        let head = [("Content-Type", &kind[..])];
        let answer = daemon.request("POST", "/api/v2/torrents/add", &head, &body)?;
        ensure!(answer.text() == "Ok.", "{} {}", answer.head, answer.text());
    }
    seeds_all(daemon, count)
}

/// Adds links that no peer can answer.
fn add_links(daemon: &RunningDaemon, count: u64) -> Result<()> {
    let link = |number: u64| format!("magnet:?xt=urn:btih:{number:040x}&dn=link-{number}");
    for first in (0..count).step_by(TOGETHER as usize) {
        let links: Vec<String> = (first..count.min(first + TOGETHER)).map(link).collect();
        let body = format!("urls={}", links.join("%0A").replace('&', "%26"));
        let head = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = daemon.request("POST", "/api/v2/torrents/add", &head, body.as_bytes())?;
        ensure!(answer.text() == "Ok.", "{} {}", answer.head, answer.text());
    }
    Ok(())
}

/// Waits until all torrents with metadata are there and seed.
fn seeds_all(daemon: &RunningDaemon, count: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let list = daemon.api("GET", "torrents", &Value::Null)?.json()?;
        let rows = list["torrents"].as_array().context("a list")?;
        let seeding = rows.iter().filter(|row| row["state"] == "seeding").count();
        if seeding as u64 == count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "only {seeding} of {} torrents seed", rows.len());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Times the requests of callers.
fn ask(bench: &mut Bench<'_>, daemon: &RunningDaemon) -> Result<()> {
    let refused = daemon.request("GET", "/transmission/rpc", &[], b"")?;
    let id = refused.header("X-Transmission-Session-Id").context("a session id")?.to_owned();
    let fields = json!({ "method": "torrent-get", "arguments": { "fields": FIELDS } }).to_string();
    let web = || daemon.request("GET", "/api/v2/torrents/info", &[], b"");
    let rpc = || {
        let head = [("X-Transmission-Session-Id", &id[..])];
        daemon.request("POST", "/transmission/rpc", &head, fields.as_bytes())
    };
    let own = || daemon.api("GET", "torrents", &Value::Null);
    let lists: [(&str, &dyn Fn() -> Result<RawAnswer>); 3] =
        [("list qBittorrent", &web), ("list Transmission", &rpc), ("list own", &own)];
    for _ in 0..ASKED {
        for (name, ask) in lists {
            let (answer, ms) = timed(ask)?;
            ensure!(answer.status == 200 && answer.body.len() > 100_000, "{name}");
            bench.figures.add(format!("daemon/{name}"), ms);
        }
    }
    follow(bench, daemon)
}

/// Times the deltas of a caller of `maindata`.
fn follow(bench: &mut Bench<'_>, daemon: &RunningDaemon) -> Result<()> {
    let login = daemon.request("POST", "/api/v2/auth/login", &[], b"username=a&password=a")?;
    let cookie = login.header("Set-Cookie").context("a cookie")?.to_owned();
    let maindata = |rid: u64| {
        let path = format!("/api/v2/sync/maindata?rid={rid}");
        let (answer, ms) = timed(&|| daemon.request("GET", &path, &[("Cookie", &cookie)], b""))?;
        let answer = answer.json()?;
        let rid = answer["rid"].as_u64().context("a rid")?;
        anyhow::Ok((answer, rid, ms))
    };
    let (full, mut rid, _) = maindata(0)?;
    let torrents = full["torrents"].as_object().context("torrents")?;
    let hashes: Vec<String> = torrents.keys().take(ASKED as usize).cloned().collect();
    for hash in hashes {
        let (_, next, idle) = maindata(rid)?;
        let patch = json!({ "add_tags": ["measured"] });
        let changed = daemon.api("PATCH", &format!("torrents/{hash}"), &patch)?;
        ensure!(changed.status == 200, "{}", changed.text());
        let (delta, next, change) = maindata(next)?;
        rid = next;
        ensure!(delta["torrents"][&hash]["tags"] == "measured", "{delta}");
        bench.figures.add("daemon/maindata idle".into(), idle);
        bench.figures.add("daemon/maindata change".into(), change);
    }
    Ok(())
}

fn timed(ask: &dyn Fn() -> Result<RawAnswer>) -> Result<(RawAnswer, f64)> {
    let began = Instant::now();
    let answer = ask()?;
    Ok((answer, began.elapsed().as_secs_f64() * 1000.0))
}

/// Counts the processor time of a daemon at rest beside a page.
fn rest(bench: &mut Bench<'_>, daemon: &RunningDaemon) -> Result<()> {
    let mut page = TcpStream::connect(daemon.api)?;
    write!(page, "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", daemon.api)?;
    // These are periods of the measurement, not waits for an event.
    listen(&mut page, SETTLES)?;
    let before = daemon.process.cpu_seconds()?;
    let heard = listen(&mut page, RESTS)?;
    let cpu = daemon.process.cpu_seconds()? - before;
    bench.figures.add("daemon/rest".into(), cpu / RESTS.as_secs_f64() * 100.0);
    bench.figures.add("daemon/events".into(), heard as f64 / 1024.0);
    Ok(())
}

/// Reads what a page is sent, for so long; returns the number of bytes.
fn listen(page: &mut TcpStream, period: Duration) -> Result<usize> {
    let (end, mut heard, mut buffer) = (Instant::now() + period, 0, vec![0; 1 << 16]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(heard);
        }
        page.set_read_timeout(Some(left))?;
        match page.read(&mut buffer) {
            Ok(0) => anyhow::bail!("the daemon ended the page's stream"),
            Ok(count) => heard += count,
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
