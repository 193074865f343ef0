//! A hostile seed: a peer that a `bt get` connects to, and that serves payload and magnet metadata
//! as it likes.
//!
//! Decides: how the hostile seed serves, and the outcome. Must not know: how the download detects
//! it.
//! Invariant: the honest seed starts after the misbehaviour, so that the download gets nothing from
//! it before.

use super::scene::{Scene, clean, free_address, settled, sound};
use super::wire::{Swarm, Wire};
use super::{Figures, Held, Outcome, Report, Row, Scale};
use crate::frames::*;
use crate::{InfoHash, LOOPBACK, PATIENCE, Process, random_bytes};
use Outcome::{Banned, Dropped, Forgotten, Ignored, OthersAsked, Rejected};
use anyhow::{Context as _, Result, ensure};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// The time between two bytes of a slow peer.
const DRIP: Duration = Duration::from_millis(5);

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    outcome: Outcome,
    /// How the connection begins.
    begin: fn(&mut Wire) -> Result<()>,
    /// What the peer does then: once, or for ever where the download must ask other peers.
    act: fn(&mut Wire) -> Result<()>,
}

type Step = fn(&mut Wire) -> Result<()>;

const fn case(name: &'static str, outcome: Outcome, begin: Step, act: Step) -> Case {
    Case { name, outcome, begin, act }
}

/// The cases against a download of a torrent.
const PAYLOAD: &[Case] = &[
    // ---- the handshake ----
    case("a handshake for another torrent", Dropped, Wire::hear_first, |wire| {
        wire.send(&handshake(MODERN, [7; 20], &wire.id.clone()))
    }),
    case("noise for a handshake", Dropped, Wire::hear_first, |wire| {
        wire.send(&random_bytes(1, 64 << 10))
    }),
    case("an answer of HTTP", Dropped, Wire::hear_first, |wire| {
        wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    }),
    case("the download's own peer id", Dropped, Wire::hear_first, |wire| {
        wire.send(&handshake(MODERN, wire.swarm.info_hash, &wire.their_id.clone()))
    }),
    case("a handshake twice", Dropped, Wire::shake, |wire| {
        wire.send(&handshake(MODERN, wire.swarm.info_hash, &wire.id.clone()))
    }),
    case("no handshake", Dropped, Wire::hear_first, |_| Ok(())),
    // ---- pieces that the peer claims ----
    case("a length of 4 GiB", Dropped, Wire::shake, |wire| wire.send(&[0xff; 64])),
    case("have-all, then have-none", Dropped, Wire::shake, |wire| {
        wire.send(&[frame(HAVE_ALL, &[]), frame(HAVE_NONE, &[])].concat())
    }),
    case("a have of a piece that there is not", Dropped, Wire::shake, |wire| {
        wire.send(&numbers(HAVE, &[wire.swarm.pieces()]))
    }),
    case("nothing that it has, and no word", Ignored, Wire::shake, |wire| {
        wire.send(&frame(HAVE_NONE, &[]))
    }),
    case("10,000 requests for what the download lacks", Rejected, Wire::shake, |wire| {
        wire.send(&[frame(HAVE_NONE, &[]), frame(INTERESTED, &[])].concat())?;
        wire.flood(&numbers(REQUEST, &[0, 0, BLOCK]), 10_000)?;
        (0..10_000).try_for_each(|_| wire.hear_id(REJECT).map(drop))
    }),
    case("50 peers that are not there", Ignored, Wire::shake, |wire| {
        wire.greet(0)?;
        let peers: Vec<u8> = (1..51).flat_map(|port| [127, 0, 0, 1, 0, port]).collect();
        wire.pex(&[b"d5:added300:".to_vec(), peers, b"e".to_vec()].concat())
    }),
    // ---- wrong payload ----
    case("wrong bytes in every block", Banned, claims_all, |wire| {
        serve(wire, |wire, block| wire.piece(block, |data| data.fill(0)))
    }),
    case("one wrong bit in every block", Banned, claims_all, |wire| {
        serve(wire, |wire, block| wire.piece(block, |data| data[9] ^= 1))
    }),
    case("one wrong bit in the last block of a piece", Banned, claims_all, |wire| {
        serve(wire, |wire, block| {
            let is_last = block[1] + block[2] == wire.swarm.piece;
            wire.piece(block, |data| data[0] ^= u8::from(is_last))
        })
    }),
    case("the bytes of the piece before", Banned, claims_all, |wire| {
        serve(wire, |wire, [piece, begin, len]| {
            let other = wire.swarm.block([piece.saturating_sub(1), begin, len]).to_vec();
            wire.piece([piece, begin, len], |data| {
                data.iter_mut().zip(other).for_each(|(to, from)| *to = from)
            })
        })
    }),
    case("blocks that are a byte short", Dropped, claims_all, |wire| {
        let [piece, begin, len] = wire.hear_request()?;
        (0..100).try_for_each(|_| wire.piece([piece, begin, len - 1], |_| {}))
    }),
    case("blocks that are a byte long", Dropped, claims_all, |wire| {
        let [piece, begin, len] = wire.hear_request()?;
        wire.send(&frame(
            PIECE,
            &[&numbers(0, &[piece, begin])[5..], &vec![0; len as usize + 1]].concat(),
        ))
    }),
    case("blocks without payload", Dropped, claims_all, |wire| {
        let [piece, begin, _] = wire.hear_request()?;
        wire.send(&numbers(PIECE, &[piece, begin]))
    }),
    case("a block of a piece that there is not", Dropped, claims_all, |wire| {
        let [_, begin, len] = wire.hear_request()?;
        wire.send(&frame(
            PIECE,
            &[&numbers(0, &[wire.swarm.pieces(), begin])[5..], &vec![0; len as usize]].concat(),
        ))
    }),
    case("a block whose place overflows", Dropped, claims_all, |wire| {
        let [piece, _, len] = wire.hear_request()?;
        wire.send(&frame(
            PIECE,
            &[&numbers(0, &[piece, u32::MAX])[5..], &vec![0; len as usize]].concat(),
        ))
    }),
    case("100 blocks that were not asked for", Dropped, claims_all, |wire| {
        wire.hear_request()?;
        let last = wire.swarm.pieces() - 1;
        (0..100).try_for_each(|_| wire.piece([last, 0, 1], |data| data.fill(7)))
    }),
    case("a block 100 times", Dropped, claims_all, |wire| {
        let block = wire.hear_request()?;
        (0..100).try_for_each(|_| wire.piece(block, |_| {}))
    }),
    // ---- no payload ----
    case("everything, and silence", OthersAsked, claims_all, |wire| wire.hear_request().map(drop)),
    case("everything, and a reject for each request", OthersAsked, claims_all, |wire| {
        let block = wire.hear_request()?;
        wire.send(&numbers(REJECT, &block))
    }),
    case("a choke for each request", OthersAsked, claims_all, |wire| {
        wire.hear_request()?;
        wire.send(&[frame(CHOKE, &[]), frame(UNCHOKE, &[])].concat())
    }),
    case("everything, and it never unchokes", OthersAsked, Wire::shake, |wire| {
        wire.send(&frame(HAVE_ALL, &[]))?;
        wire.hear_id(INTERESTED).map(drop)
    }),
    case("pieces allowed while choked, each request rejected", OthersAsked, allows_some, |wire| {
        let block = wire.hear_request()?;
        wire.send(&numbers(REJECT, &block))
    }),
    case("pieces allowed while choked, and silence", OthersAsked, allows_some, |wire| {
        wire.hear_request().map(drop)
    }),
    case("a block byte by byte", OthersAsked, claims_and_begins, |wire| {
        thread::sleep(DRIP);
        wire.send(&[0])
    }),
    case("half a block, and it closes its half", Dropped, claims_and_begins, |wire| {
        wire.send(&[0; BLOCK as usize / 2])?;
        wire.close_half()
    }),
    case("a request, and it leaves with a reset", Forgotten, claims_all, |wire| {
        wire.hear_request()?;
        wire.reset()
    }),
];

/// The cases against a download of a magnet link.
const METADATA: &[Case] = &[
    case("metadata of 1 GiB", Dropped, Wire::shake, |wire| wire.greet(1 << 30)),
    case("metadata of 0 bytes", Ignored, Wire::shake, |wire| wire.greet(0)),
    case("metadata of fewer than 0 bytes", Ignored, Wire::shake, |wire| wire.greet(i64::MIN)),
    case("metadata with wrong bytes", Banned, offers, |wire| {
        give(wire, |wire, part, total| wire.part(part, total, &vec![b'x'; wire.swarm.info.len()]))
    }),
    case("metadata of a byte less", Banned, offers_less, |wire| {
        give(wire, |wire, part, total| {
            wire.part(part, total - 1, &vec![b'x'; wire.swarm.info.len() - 1])
        })
    }),
    case("metadata of another length than was said", Dropped, offers, |wire| {
        wire.hear_metadata()?;
        wire.part(0, 10, b"0123456789")
    }),
    case("a part of metadata that is too short", Dropped, offers, |wire| {
        wire.hear_metadata()?;
        let total = wire.swarm.info.len() as u32;
        wire.part(0, total, b"0123456789")
    }),
    case("a part of metadata that there is not", Dropped, offers, |wire| {
        wire.hear_metadata()?;
        wire.part(u32::MAX, u32::MAX, b"0123456789")
    }),
    case("a part of metadata nested 60,000 times", Dropped, offers, |wire| {
        wire.hear_metadata()?;
        wire.metadata("d1:a".repeat(15_000).as_bytes())
    }),
    case("metadata offered, and each request rejected", OthersAsked, offers, |wire| {
        let asked = wire.hear_metadata()?;
        let part = number_after(&asked, "5:piecei").context("a request names a part")?;
        wire.metadata(format!("d8:msg_typei2e5:piecei{part}ee").as_bytes())
    }),
    case("metadata offered, and silence", OthersAsked, offers, |wire| {
        wire.hear_metadata().map(drop)
    }),
    case("a million haves before the metadata is there", Dropped, Wire::shake, |wire| {
        wire.flood(&numbers(HAVE, &[0]), 1_000_000)
    }),
    case("a bitfield of 1 MiB before the metadata is there", Dropped, Wire::shake, |wire| {
        wire.send(&frame(BITFIELD, &vec![0xff; 1 << 20]))
    }),
];

pub(super) fn count() -> usize {
    PAYLOAD.len() + METADATA.len()
}

/// Claims everything and serves.
fn claims_all(wire: &mut Wire) -> Result<()> {
    wire.shake()?;
    let bits = wire.swarm.bitfield();
    wire.send(&[frame(BITFIELD, &bits), frame(UNCHOKE, &[])].concat())
}

/// Claims everything, serves nothing, and allows ten pieces while it chokes (BEP 6).
fn allows_some(wire: &mut Wire) -> Result<()> {
    wire.shake()?;
    wire.send(&frame(HAVE_ALL, &[]))?;
    (0..10).try_for_each(|piece| wire.send(&numbers(ALLOWED_FAST, &[piece])))
}

/// Claims everything, and begins to send the first block.
fn claims_and_begins(wire: &mut Wire) -> Result<()> {
    claims_all(wire)?;
    let [piece, begin, len] = wire.hear_request()?;
    wire.send(&[&(9 + len).to_be_bytes()[..], &[PIECE], &numbers(0, &[piece, begin])[5..]].concat())
}

/// Offers the metadata.
fn offers(wire: &mut Wire) -> Result<()> {
    wire.shake()?;
    wire.greet(wire.swarm.info.len() as i64)
}

/// Offers metadata of a byte less than there is.
fn offers_less(wire: &mut Wire) -> Result<()> {
    wire.shake()?;
    wire.greet(wire.swarm.info.len() as i64 - 1)
}

/// Answers requests until the other side has had enough.
fn serve(wire: &mut Wire, mut answer: impl FnMut(&mut Wire, [u32; 3]) -> Result<()>) -> Result<()> {
    answer_one(wire, &mut answer)?;
    while answer_one(wire, &mut answer).is_ok() {}
    Ok(())
}

fn answer_one(
    wire: &mut Wire,
    answer: &mut impl FnMut(&mut Wire, [u32; 3]) -> Result<()>,
) -> Result<()> {
    let block = wire.hear_request()?;
    answer(wire, block)
}

/// Answers requests for metadata until the other side has had enough; `total` is its true length.
fn give(wire: &mut Wire, answer: impl Fn(&mut Wire, u32, u32) -> Result<()>) -> Result<()> {
    let total = wire.swarm.info.len() as u32;
    let mut one = || {
        let asked = wire.hear_metadata()?;
        let part = number_after(&asked, "5:piecei").context("a request names a part")?;
        answer(wire, part, total)
    };
    one()?;
    while one().is_ok() {}
    Ok(())
}

impl Wire {
    /// Sends a block after something was done to its bytes.
    fn piece(&mut self, block: [u32; 3], spoil: impl FnOnce(&mut [u8])) -> Result<()> {
        let mut data = self.swarm.block(block).to_vec();
        spoil(&mut data);
        self.send(&frame(PIECE, &[&numbers(0, &block[..2])[5..], &data].concat()))
    }

    /// Sends a part of metadata, cut out of these bytes.
    fn part(&mut self, part: u32, total: u32, bytes: &[u8]) -> Result<()> {
        let head = format!("d8:msg_typei1e5:piecei{part}e10:total_sizei{total}ee");
        let data = bytes.chunks(BLOCK as usize).nth(part as usize).unwrap_or(bytes);
        self.metadata(&[head.as_bytes(), data].concat())
    }
}

/// Plays all cases.
pub(super) fn run(scale: &Scale) -> Result<Vec<Row>> {
    let scene = Scene::new(scale)?;
    let torrent = scene.torrent.to_string_lossy().into_owned();
    let magnet = format!("magnet:?xt=urn:btih:{}", InfoHash(scene.swarm.info_hash));
    let mut report = Report::new("seed");
    for (source, cases) in [(&torrent, PAYLOAD), (&magnet, METADATA)] {
        let mut before = 0;
        let alone = clean(|| {
            let victim = Victim::start(&scene, source, None)?;
            let took = victim.complete(&scene, scale)?;
            before = victim.process.memory()?.max(before);
            victim.end(&scene).map(|_| took)
        })?;
        for case in cases {
            let played = play(case, &scene, scale, source, before);
            report.add(
                case.name,
                case.outcome,
                played.map(|(took, held)| Figures { held, took, clean: alone }),
            );
        }
    }
    scene.ensure_untouched()?;
    report.end()
}

/// Plays a case. Returns how long the honest transfer took, and the MiB that the download holds
/// beyond a download without a hostile peer.
fn play(
    case: &Case,
    scene: &Scene,
    scale: &Scale,
    source: &str,
    before: u64,
) -> Result<(Duration, Held)> {
    let hostile = Hostile::listen(*case, &scene.swarm)?;
    let victim = Victim::start(scene, source, Some(hostile.at))?;
    hostile
        .acted
        .recv_timeout(PATIENCE)
        .context("it was not met")?
        .context("what was done first")?;
    let is_magnet = source.starts_with("magnet:");
    // A download asks for no metadata that it already has.
    let goes_on =
        scale.sustained && !is_magnet && matches!(case.outcome, Dropped | Ignored | Rejected);
    let is_over = AtomicBool::new(false);
    let took = thread::scope(|scope| {
        scope.spawn(|| {
            // The hostile peer connects again and again, each time as another peer.
            while goes_on && !is_over.load(Relaxed) {
                let _ =
                    Wire::dial(victim.at, &scene.swarm).and_then(|mut wire| case.play(&mut wire));
            }
        });
        let took = victim.complete(scene, scale);
        is_over.store(true, Relaxed);
        took
    })?;
    hostile.is_complete.store(true, Relaxed);
    hostile
        .judged
        .recv_timeout(PATIENCE)
        .context("it was not judged")?
        .context("what came of it")?;
    let held = settled(&victim.process, before)?;
    let banned = victim.end(scene)?;
    let is_banned = case.outcome == Banned;
    ensure!(!is_banned || hostile.met.load(Relaxed) == 1, "it was met again");
    // The count of a magnet link's peers is separate from that of its torrent.
    ensure!(banned == u64::from(is_banned) || is_magnet, "{banned} were banned");
    Ok((took, held))
}

/// A download with a hostile peer.
struct Victim {
    process: Process,
    at: SocketAddr,
    copy: PathBuf,
}

impl Victim {
    fn start(scene: &Scene, source: &str, hostile: Option<SocketAddr>) -> Result<Victim> {
        let (copy, at) = (scene.copy(), free_address()?);
        let mut command = scene.get(Path::new(source), &copy, at);
        command.arg("--seed").args(hostile.iter().flat_map(|at| ["--peer".into(), at.to_string()]));
        let process = Process::start("get", &mut command)?;
        // A download of a magnet link reports `ready` only when it has the metadata.
        if !source.starts_with("magnet:") {
            process.wait_event("ready", PATIENCE)?;
        }
        Ok(Victim { process, at, copy })
    }

    /// Starts an honest seed, waits until the download is complete, and returns how long that took.
    fn complete(&self, scene: &Scene, scale: &Scale) -> Result<Duration> {
        let began = Instant::now();
        let _seed = scene.seed(scale.up, &[self.at])?;
        self.process.wait_event("complete", PATIENCE)?;
        Ok(began.elapsed())
    }

    /// Ends the download, compares its copy, and returns how many peers it banned.
    fn end(self, scene: &Scene) -> Result<u64> {
        let summary = sound(self.process.stop(PATIENCE)?.expect_code(0)?)?.event("summary")?;
        scene.ensure_copy(&self.copy)?;
        summary["peers_banned"]
            .as_u64()
            .with_context(|| format!("the summary counts the banned: {summary}"))
    }
}

/// A hostile peer that listens at an address of its own.
struct Hostile {
    at: SocketAddr,
    /// The number of connections to the hostile peer.
    met: Arc<AtomicU32>,
    /// Receives the result when the peer has misbehaved for the first time.
    acted: mpsc::Receiver<Result<()>>,
    /// Receives the result when the outcome is known.
    judged: mpsc::Receiver<Result<()>>,
    is_complete: Arc<AtomicBool>,
}

impl Hostile {
    fn listen(case: Case, swarm: &Arc<Swarm>) -> Result<Hostile> {
        let listener = TcpListener::bind(LOOPBACK)?;
        let ((acting, acted), (judging, judged)) = (mpsc::channel(), mpsc::channel());
        let (met, is_complete) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
        let hostile = Hostile {
            at: listener.local_addr()?,
            met: Arc::clone(&met),
            acted,
            judged,
            is_complete: Arc::clone(&is_complete),
        };
        let swarm = Arc::clone(swarm);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                met.fetch_add(1, Relaxed);
                let (acting, judging, swarm, is_complete) =
                    (acting.clone(), judging.clone(), Arc::clone(&swarm), Arc::clone(&is_complete));
                thread::spawn(move || {
                    let Ok(mut wire) = Wire::accepted(stream, &swarm) else { return };
                    let played = case.play(&mut wire);
                    let is_played = played.is_ok();
                    // The receiver reads the first result only.
                    let _ = acting.send(played);
                    if is_played {
                        let _ = judging.send(case.judge(&mut wire));
                    }
                    // A forgotten peer leaves in the middle: its connection is dropped here.
                    if is_played && case.outcome != Forgotten {
                        case.go_on(&mut wire, &is_complete);
                    }
                });
            }
        });
        Ok(hostile)
    }
}

impl Case {
    /// Plays the case up to its outcome.
    fn play(&self, wire: &mut Wire) -> Result<()> {
        (self.begin)(wire)?;
        (self.act)(wire)
    }

    /// Fails unless the case has its outcome.
    fn judge(&self, wire: &mut Wire) -> Result<()> {
        match self.outcome {
            Dropped | Banned => wire.ensure_end(),
            Ignored | Rejected => wire.ensure_answered(),
            _ => Ok(()),
        }
    }

    /// Keeps the connection until the download is complete, and repeats the act where other peers
    /// must be asked.
    fn go_on(&self, wire: &mut Wire, is_complete: &AtomicBool) {
        while !is_complete.load(Relaxed) {
            if self.outcome == OthersAsked && (self.act)(wire).is_err() {
                return;
            }
            thread::sleep(DRIP);
        }
    }
}
