//! Hostile torrents and magnet links.
//!
//! Decides: their bytes, and the exit code. Must not know: which check refuses which input.
//! Invariant: every command that reads a torrent refuses it alike, and writes nothing.

use super::scene::{Scene, clean, sound, watched};
use super::{Figures, Held, Outcome, Report, Row, Scale};
use crate::{Finished, random_bytes};
use Outcome::Refused;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

/// The exit code of a command whose input cannot be used.
const INPUT: i32 = 3;
/// The number of refusals of an empty file that are measured for the memory of one refusal.
const REFUSALS: usize = 5;
/// The greatest length of a refusal, in bytes.
const WORDS_MAX: usize = 4000;
/// A `pieces` entry with the hash of one piece.
const HASH: &str = "6:pieces20:aaaaaaaaaaaaaaaaaaaa";

type Bytes = fn() -> Vec<u8>;

const TORRENTS: &[(&str, Bytes)] = &[
    // ---- bencode ----
    ("empty", Vec::new),
    ("noise", || random_bytes(1, 10_000)),
    ("nested lists", || nested("l", "e").into_bytes()),
    ("nested dictionaries", || nested("d1:a", "e").into_bytes()),
    ("nested inside info", || info(&format!("4:name{}", nested("l", "e")))),
    ("unclosed nesting", || "l".repeat(100_000).into_bytes()),
    ("a million tokens, and no info", || {
        format!("d1:al{}ee", "i0e".repeat(1_000_000)).into_bytes()
    }),
    ("a string longer than the file", || b"d4:info99999999999:x".to_vec()),
    ("a string length that overflows", || b"d4:info99999999999999999999999:x".to_vec()),
    ("a negative string length", || b"d4:info-1:xe".to_vec()),
    ("duplicate keys", || b"d4:infod6:lengthi9eee4:infod6:lengthi9eee".to_vec()),
    ("no info", || b"d8:announce3:abce".to_vec()),
    ("info is a list", || b"d4:infolee".to_vec()),
    ("a list of all", || b"le".to_vec()),
    // ---- sizes ----
    ("a negative size", || file("-1")),
    ("a size that overflows", || file("99999999999999999999")),
    ("the largest size", || file("9223372036854775807")),
    ("a size with a plus", || file("+7")),
    ("sizes whose sum overflows", || {
        tree("d6:lengthi9223372036854775807e4:pathl1:aeed6:lengthi9223372036854775807e4:pathl1:bee")
    }),
    ("a negative size in a tree", || tree("d6:lengthi-9e4:pathl1:aee")),
    ("piece length 0", || piece_length("0")),
    ("a negative piece length", || piece_length("-16384")),
    ("a piece length that overflows", || piece_length("18446744073709551616")),
    ("pieces that are no hashes", || {
        info("6:lengthi9e4:name1:a12:piece lengthi16384e6:pieces19:aaaaaaaaaaaaaaaaaaa")
    }),
    ("too few hashes", || file("99999999")),
    ("too many hashes", || {
        info(&format!(
            "6:lengthi9e4:name1:a12:piece lengthi16384e6:pieces2000000:{}",
            "a".repeat(2_000_000)
        ))
    }),
    // ---- names ----
    ("no files", || tree("")),
    ("a path of nothing", || tree("d6:lengthi9e4:pathlee")),
    ("a path that climbs", || tree("d6:lengthi9e4:pathl2:..2:..6:passwdee")),
    ("a path that climbs in the middle", || tree("d6:lengthi9e4:pathl1:a2:..2:..1:bee")),
    ("a path of 10,000 folders", || {
        tree(&format!("d6:lengthi9e4:pathl{}ee", "1:a".repeat(10_000)))
    }),
    ("an absolute path", || tree("d6:lengthi9e4:pathl4:/etc6:passwdee")),
    ("an absolute path in one component", || tree("d6:lengthi9e4:pathl11:/etc/passwdee")),
    ("a name that climbs", || name("..")),
    ("a name with a NUL", || name("a\0b")),
];

/// Magnet links, without `magnet:`.
const MAGNETS: &[(&str, &str)] = &[
    ("a link of nothing", "?"),
    ("a link without a hash", "?dn=name&tr=http://127.0.0.1/announce"),
    ("a hash that is too short", "?xt=urn:btih:0123456789abcdef"),
    ("a hash that is too long", "?xt=urn:btih:0123456789abcdef0123456789abcdef0123456789abcdef"),
    ("a hash that is none", "?xt=urn:btih:zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"),
    ("a hash of bytes that are no text", "?xt=urn:btih:%ff%00%1b%5b2J%07%fe"),
    (
        "two hashes that differ",
        concat!(
            "?xt=urn:btih:0123456789abcdef0123456789abcdef01234567",
            "&xt=urn:btih:76543210fedcba9876543210fedcba9876543210"
        ),
    ),
];

pub(super) fn count() -> usize {
    TORRENTS.len() + MAGNETS.len()
}

fn nested(open: &str, close: &str) -> String {
    [&open.repeat(100_000), "0:", &close.repeat(100_000)].concat()
}

fn info(inner: &str) -> Vec<u8> {
    format!("d4:infod{inner}ee").into_bytes()
}

fn file(length: &str) -> Vec<u8> {
    info(&format!("6:lengthi{length}e4:name1:a12:piece lengthi16384e{HASH}"))
}

fn tree(files: &str) -> Vec<u8> {
    info(&format!("5:filesl{files}e4:name1:a12:piece lengthi16384e{HASH}"))
}

fn piece_length(length: &str) -> Vec<u8> {
    info(&format!("6:lengthi9e4:name1:a12:piece lengthi{length}e{HASH}"))
}

fn name(name: &str) -> Vec<u8> {
    info(&format!("6:lengthi9e4:name{}:{name}12:piece lengthi16384e{HASH}", name.len()))
}

/// Plays all cases.
pub(super) fn run(scale: &Scale) -> Result<Vec<Row>> {
    let scene = Scene::new(scale)?;
    let (seed, at) = scene.ready_seed(None)?;
    let alone = clean(|| scene.honest(at))?;
    // The memory of a refusal. A single sample may miss the peak of such a short command.
    let nothing = scene.stage.path("nothing.torrent");
    fs::write(&nothing, "")?;
    let nothing = nothing.to_string_lossy();
    let before = (0..REFUSALS)
        .map(|_| refused_by_all(&scene, &nothing))
        .try_fold(0.0, |most, peak| anyhow::Ok(f64::max(most, peak?)))?;
    let mut report = Report::new("torrent");
    let torrents = TORRENTS.iter().map(|&(case, bytes)| {
        let path = scene.stage.path("hostile.torrent");
        let written = fs::write(&path, bytes());
        (case, path.to_string_lossy().into_owned(), written)
    });
    let magnets = MAGNETS.iter().map(|&(case, link)| (case, format!("magnet:{link}"), Ok(())));
    for (case, source, written) in torrents.chain(magnets) {
        let is_over = AtomicBool::new(false);
        let (took, played) = thread::scope(|scope| {
            let player = scope.spawn(|| {
                written?;
                let mut peak = refused_by_all(&scene, &source)?;
                while scale.sustained && !is_over.load(Relaxed) {
                    peak = refused_by_all(&scene, &source)?.max(peak);
                }
                anyhow::Ok(peak)
            });
            let took = scene.honest(at);
            is_over.store(true, Relaxed);
            (took, player.join().unwrap_or_else(|_| panic!("a player panicked")))
        });
        let figures = took.and_then(|took| {
            // The command has ended, so that its peak is the only figure left.
            let peak = (played? - before).max(0.0);
            Ok(Figures { held: Held { over: peak, peak }, took, clean: alone })
        });
        report.add(case, Refused(INPUT), figures);
    }
    sound(seed.stop(crate::PATIENCE)?.expect_code(0)?)?;
    scene.ensure_untouched()?;
    report.end()
}

/// Fails unless every command that reads a torrent refuses it; returns the peak memory of one
/// command, in MiB.
fn refused_by_all(scene: &Scene, source: &str) -> Result<f64> {
    let downloads = scene.copy();
    let is_torrent = !source.starts_with("magnet:");
    let mut most = 0.0;
    for verb in ["show", "get", "verify", "seed"] {
        // Only a torrent can be compared with data, or seeded.
        if !is_torrent && ["verify", "seed"].contains(&verb) {
            continue;
        }
        let mut command = scene.stage.bt("victim");
        command.arg(verb).arg(source);
        match verb {
            "get" | "seed" => drop(command.arg("-d").arg(&downloads)),
            "verify" => drop(command.arg(&downloads)),
            _ => {}
        }
        let (finished, peak) = watched(verb, &mut command)?;
        refused(finished).with_context(|| format!("bt {verb}"))?;
        most = peak.max(most);
    }
    ensure!(!Path::new(&downloads).exists(), "something was downloaded");
    Ok(most)
}

/// Checks the exit code, one error object on standard output, and a message on standard error.
fn refused(finished: Finished) -> Result<()> {
    let finished = finished.expect_code(INPUT)?;
    let error = finished.last()?;
    ensure!(error["schema"] == "bt.error/1", "{error}");
    ensure!(error["code"].as_str().is_some_and(|code| !code.is_empty()), "{error}");
    ensure!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
    ensure!(finished.err.starts_with("bt: "), "standard error: {}", finished.err);
    ensure!(finished.err.len() < WORDS_MAX, "it says {} bytes", finished.err.len());
    ensure!(
        !finished.err.chars().any(|c| c.is_control() && c != '\n'),
        "control characters are printed: {:?}",
        finished.err
    );
    Ok(())
}
