//! Peers that send small messages at full speed: memory does not grow, and an honest peer is
//! served.
//!
//! Decides: what is sent, and for how long. Must not know: how a flood is held back.
//! Invariant: the honest download is compared with the same one alone, in the same run.

use crate::Test;
use anyhow::{Result, ensure};
use bt_tests::frames::{
    CHOKE, HAVE, INTERESTED, MODERN, NOT_INTERESTED, REQUEST, UNCHOKE, extended, frame, handshake,
    numbers,
};
use bt_tests::{Process, Seeded, mib};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 8;
/// The time that they send in all.
const LASTS: Duration = Duration::from_secs(10);
/// The greatest growth of memory, in MiB.
const MORE_MAX: f64 = 64.0;
/// The size of the honest download in bytes: it lasts for some seconds.
const SIZE: u64 = 48 << 20;
const UPLINK: &str = "16MiB/s";
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn small_messages_at_full_speed_take_no_memory_and_no_turn_of_others() -> Test {
    let seeded = Seeded::file(SIZE, &["--up", UPLINK])?;
    let (seed, at) = (&seeded.seed, seeded.at.parse()?);
    let hash = seeded.stage.info_hash(&seeded.torrent)?.0;
    let alone = download(&seeded, "alone")?;
    // The messages that each connection repeats.
    let kinds: [(&str, Vec<u8>); 5] = [
        ("keep-alives", vec![0; 4]),
        ("haves", numbers(HAVE, &[1])),
        (
            "changes of mind",
            [INTERESTED, NOT_INTERESTED, CHOKE, UNCHOKE].map(|id| frame(id, &[])).concat(),
        ),
        ("requests of a choked peer", numbers(REQUEST, &[0, 0, 16_384])),
        ("extension handshakes", extended(0, b"d1:md11:ut_metadatai1eee")),
    ];
    // Keep-alives are the cheapest to send: the whole ten seconds of them, and a part for the
    // others.
    for (kind, ((what, message), lasts)) in
        kinds.iter().zip([LASTS, LASTS / 2, LASTS / 2, LASTS / 2, LASTS / 2]).enumerate()
    {
        let before = seed.memory()?;
        seed.forget_peak()?;
        let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let took = thread::scope(|scope| -> Result<Duration> {
            for number in 0..CONNECTIONS {
                let (over, sent) = (&over, &sent);
                // Earlier peers may still be connected, as their bytes are not read to the end. So
                // each flood uses new ids.
                let id = format!("-FL0001-{kind:04}{number:08}");
                scope.spawn(move || flood(at, hash, &id, message, over, sent));
            }
            let began = Instant::now();
            let took = download(&seeded, what);
            while began.elapsed() < lasts && took.is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
            over.store(true, Ordering::Relaxed);
            took
        })?;
        let more = mib(seed.peak_memory()?) - mib(before);
        let (mibs, times) =
            (sent.load(Ordering::Relaxed) >> 20, took.as_secs_f64() / alone.as_secs_f64());
        println!(
            "{what}: {mibs} MiB sent by {CONNECTIONS} peers, {more:.1} MiB more at the peak, {times:.2} times the time"
        );
        ensure!(sent.load(Ordering::Relaxed) > 1 << 20, "{what}: the flood was none");
        ensure!(more <= MORE_MAX, "{what}: {more:.1} MiB more");
        ensure!(times <= 2.0, "{what}: the honest download took {took:?}, alone {alone:?}");
    }
    Ok(())
}

fn download(seeded: &Seeded, who: &str) -> Result<Duration> {
    let began = Instant::now();
    let copy = format!("copy {who}");
    let get = Process::start(who, &mut seeded.get(who, &copy))?;
    get.wait_event("complete", PATIENCE)?;
    let took = began.elapsed();
    get.finish(PATIENCE)?.expect_code(0)?;
    std::fs::remove_dir_all(seeded.stage.path(copy))?;
    Ok(took)
}

/// Sends the message until the flood is over; connects again after each disconnect.
fn flood(
    at: SocketAddr,
    hash: [u8; 20],
    id: &str,
    message: &[u8],
    over: &AtomicBool,
    sent: &AtomicU64,
) {
    let blob = message.repeat((64 << 10) / message.len());
    while !over.load(Ordering::Relaxed) {
        let connection = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(at)?;
            stream.write_all(&handshake(MODERN, hash, id.as_bytes()))?;
            stream.read_exact(&mut [0; 68])?;
            // The sender must notice the end of the flood even if the seed does not read.
            stream.set_write_timeout(Some(Duration::from_millis(200)))?;
            // A partly sent message resumes at its next byte.
            let mut at = 0;
            while !over.load(Ordering::Relaxed) {
                match stream.write(&blob[at..]) {
                    Ok(count) => {
                        at = (at + count) % blob.len();
                        sent.fetch_add(count as u64, Ordering::Relaxed);
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        if connection().is_err() {
            thread::sleep(Duration::from_millis(20));
        }
    }
}
