//! A hostile leech: a peer that connects to an honest `bt seed` and sends anything.
//!
//! Decides: what the leech sends, and the outcome. Must not know: what the seed does inside.
//! Invariant: one seed lives through all cases; beside each case an honest peer downloads
//! everything from it.

use super::scene::{Scene, clean, settled, sound};
use super::wire::{Swarm, Wire};
use super::{Figures, Outcome, Report, Row, Scale};
use crate::frames::*;
use crate::{PATIENCE, random_bytes};
use Outcome::{Dropped, Forgotten, Ignored, Rejected};
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// The memory in bytes that all cases together may leave in a long run: it must not grow from case
/// to case.
const ALL_OVER_MAX: u64 = 16 << 20;

/// The number of messages of a flood.
const MANY: usize = 10_000;
/// The time between two bytes of a slow peer: its handshake exceeds the seed's deadline.
const DRIP: Duration = Duration::from_millis(200);

pub(super) struct Case {
    name: &'static str,
    outcome: Outcome,
    /// The case waits for a deadline of the seed: such cases run at the same time.
    is_slow: bool,
    /// The case runs once even in a sustained run. The seed serves this peer as any other, so a
    /// repetition would only take a share of the uplink.
    is_once: bool,
    play: fn(&mut Wire) -> Result<()>,
}

const fn case(name: &'static str, outcome: Outcome, play: fn(&mut Wire) -> Result<()>) -> Case {
    Case { name, outcome, is_slow: false, is_once: false, play }
}

const fn slow(name: &'static str, outcome: Outcome, play: fn(&mut Wire) -> Result<()>) -> Case {
    Case { is_slow: true, ..case(name, outcome, play) }
}

const fn once(name: &'static str, outcome: Outcome, play: fn(&mut Wire) -> Result<()>) -> Case {
    Case { is_once: true, ..case(name, outcome, play) }
}

pub(super) const CASES: &[Case] = &[
    // ---- before and in the handshake ----
    case("another protocol's name", Dropped, |wire| wire.send(b"\x13BitTorrent protocoL")),
    case("a request of HTTP", Dropped, |wire| {
        wire.send(b"GET /announce HTTP/1.1\r\nHost: localhost\r\n\r\n")
    }),
    case("64 KiB of noise", Dropped, |wire| wire.send(&random_bytes(1, 64 << 10))),
    case("a handshake for another torrent", Dropped, |wire| {
        wire.send(&handshake(MODERN, [7; 20], &wire.id.clone()))
    }),
    case("a handshake for no torrent", Dropped, |wire| {
        wire.send(&handshake(MODERN, [0; 20], &wire.id.clone()))
    }),
    case("the seed's own peer id", Dropped, |wire| {
        let mut other = wire.another()?;
        other.shake()?;
        wire.send(&handshake(MODERN, wire.swarm.info_hash, &other.their_id))
    }),
    case("two connections with one peer id", Ignored, |wire| {
        wire.shake()?;
        let mut twin = wire.another()?;
        twin.send(&handshake(MODERN, wire.swarm.info_hash, &wire.id))?;
        twin.ensure_end()
    }),
    case("a handshake twice", Dropped, |wire| {
        wire.shake()?;
        wire.send(&handshake(MODERN, wire.swarm.info_hash, &wire.id.clone()))
    }),
    case("every reserved bit set", Ignored, |wire| wire.shake_as([0xff; 8])),
    case("an end after half a handshake", Dropped, |wire| {
        wire.send(b"\x13BitTorrent")?;
        wire.close_half()
    }),
    case("200 connections that are reset at once", Ignored, |wire| {
        for _ in 0..200 {
            wire.another()?.reset()?;
        }
        wire.shake()
    }),
    slow("silence", Dropped, |_| Ok(())),
    slow("half a handshake, then silence", Dropped, |wire| wire.send(b"\x13BitTorrent")),
    slow("a handshake byte by byte, too slowly", Dropped, |wire| {
        for byte in handshake(MODERN, wire.swarm.info_hash, &wire.id.clone()) {
            wire.send(&[byte])?;
            thread::sleep(DRIP);
        }
        Ok(())
    }),
    slow("50 connections in silence", Dropped, |wire| {
        let mut silent = (0..50).map(|_| wire.another()).collect::<Result<Vec<_>>>()?;
        silent.iter_mut().try_for_each(Wire::ensure_end)
    }),
    // ---- lengths ----
    case("a length of 4 GiB", Dropped, |wire| wire.shaken(&[0xff; 64])),
    case("a piece of 1 MiB", Dropped, |wire| {
        wire.shaken(&[&[0, 0x10, 0, 0, PIECE][..], &[0; 64]].concat())
    }),
    case("a choke of 2 bytes", Dropped, |wire| wire.shaken(&frame(CHOKE, &[0]))),
    case("an interested of 5 bytes", Dropped, |wire| wire.shaken(&frame(INTERESTED, &[0; 4]))),
    case("a have of 4 bytes", Dropped, |wire| wire.shaken(&frame(HAVE, &[0; 3]))),
    case("a have of 6 bytes", Dropped, |wire| wire.shaken(&frame(HAVE, &[0; 5]))),
    case("a request of 12 bytes", Dropped, |wire| wire.shaken(&frame(REQUEST, &[0; 11]))),
    case("a request of 17 bytes", Dropped, |wire| wire.shaken(&frame(REQUEST, &[0; 16]))),
    case("a cancel of 1 byte", Dropped, |wire| wire.shaken(&frame(CANCEL, &[]))),
    case("a reject of 1 byte", Dropped, |wire| wire.shaken(&frame(REJECT, &[]))),
    case("a have-all of 2 bytes", Dropped, |wire| wire.shaken(&frame(HAVE_ALL, &[0]))),
    case("an allowed-fast of 3 bytes", Dropped, |wire| wire.shaken(&frame(ALLOWED_FAST, &[0; 2]))),
    case("a port of 2 bytes", Dropped, |wire| wire.shaken(&frame(PORT, &[0]))),
    case("a piece without payload", Dropped, |wire| wire.shaken(&frame(PIECE, &[0; 8]))),
    case("a piece of 16 KiB and a byte", Dropped, |wire| {
        wire.shaken(&frame(PIECE, &[0; 8 + BLOCK as usize + 1]))
    }),
    case("an extended message without its number", Dropped, |wire| {
        wire.shaken(&frame(EXTENDED, &[]))
    }),
    case("an unknown message of 64 KiB", Dropped, |wire| wire.shaken(&frame(99, &[0; 64 << 10]))),
    // ---- what it says it has ----
    case("a bitfield that is too long", Dropped, |wire| {
        wire.shaken(&frame(BITFIELD, &vec![0; wire.swarm.bitfield().len() + 1]))
    }),
    case("a bitfield that is too short", Dropped, |wire| {
        wire.shaken(&frame(BITFIELD, &vec![0; wire.swarm.bitfield().len() - 1]))
    }),
    case("a bitfield with spare bits", Ignored, |wire| {
        wire.shaken(&frame(BITFIELD, &vec![1; wire.swarm.bitfield().len()]))
    }),
    case("a bitfield 1,000 times", Ignored, |wire| {
        wire.shake()?;
        let (empty, len) =
            (frame(BITFIELD, &vec![0; wire.swarm.bitfield().len()]), wire.swarm.bitfield().len());
        wire.send(&empty)?;
        wire.flood(&frame(BITFIELD, &[&[0x80], &vec![0; len - 1][..]].concat()), 1000)
    }),
    case("have-none twice", Dropped, |wire| wire.shaken(&frame(HAVE_NONE, &[]).repeat(2))),
    case("have-all without the fast extension", Dropped, |wire| {
        wire.shake_as(PLAIN)?;
        wire.send(&frame(HAVE_ALL, &[]))
    }),
    case("a have of a piece that there is not", Dropped, |wire| {
        wire.shaken(&numbers(HAVE, &[wire.swarm.pieces()]))
    }),
    case("a have of the greatest number", Dropped, |wire| wire.shaken(&numbers(HAVE, &[u32::MAX]))),
    case("100,000 haves", Ignored, |wire| {
        wire.shake()?;
        let all: Vec<u8> =
            (0..wire.swarm.pieces() - 1).flat_map(|piece| numbers(HAVE, &[piece])).collect();
        let times = 100_000usize.div_ceil(all.len() / 9);
        wire.flood(&all, times)
    }),
    // ---- requests ----
    case("a request for a piece that there is not", Rejected, |wire| {
        wire.shake()?;
        wire.ensure_rejected([wire.swarm.pieces(), 0, BLOCK])
    }),
    case("a request beyond the end of its piece", Rejected, |wire| {
        wire.unchoked()?;
        wire.ensure_rejected([0, wire.swarm.piece, BLOCK])
    }),
    case("a request across the end of its piece", Rejected, |wire| {
        wire.unchoked()?;
        wire.ensure_rejected([0, wire.swarm.piece - BLOCK / 2, BLOCK])
    }),
    case("a request whose end overflows", Rejected, |wire| {
        wire.unchoked()?;
        wire.ensure_rejected([0, u32::MAX, u32::MAX])
    }),
    case("a request beyond the short last piece", Rejected, |wire| {
        wire.unchoked()?;
        wire.ensure_rejected([wire.swarm.pieces() - 1, wire.swarm.piece - 1, 1])
    }),
    case("a request for nothing", Rejected, |wire| {
        wire.unchoked()?;
        wire.ensure_rejected([0, 0, 0])
    }),
    case("a request for 32 KiB", Ignored, |wire| {
        wire.unchoked()?;
        wire.send(&numbers(REQUEST, &[0, 0, 2 * BLOCK]))?;
        let piece = wire.hear_id(PIECE)?;
        ensure!(piece.len() == 8 + 2 * BLOCK as usize, "{} bytes came", piece.len());
        Ok(())
    }),
    case("a request while choked", Rejected, |wire| {
        wire.shake()?;
        wire.ensure_rejected([0, 0, BLOCK])
    }),
    case("a request while choked, without the fast extension", Ignored, |wire| {
        wire.shake_as(PLAIN)?;
        wire.send(&numbers(REQUEST, &[0, 0, BLOCK]))
    }),
    case("10,000 requests while choked", Rejected, |wire| {
        wire.shake()?;
        wire.flood(&numbers(REQUEST, &[0, 0, BLOCK]), MANY)?;
        (0..MANY).try_for_each(|_| wire.hear_id(REJECT).map(drop))
    }),
    once("10,000 requests while unchoked", Rejected, |wire| {
        wire.unchoked()?;
        wire.flood(&numbers(REQUEST, &[0, 0, BLOCK]), MANY)?;
        let mut rejected = 0;
        for _ in 0..MANY {
            let id = wire.hear("an answer to each", |message| {
                message.first().copied().filter(|id| [PIECE, REJECT].contains(id))
            })?;
            rejected += usize::from(id == REJECT);
        }
        ensure!(rejected > 0, "all of them were queued");
        Ok(())
    }),
    case("10,000 requests, and no answer is read", Forgotten, |wire| {
        wire.unchoked()?;
        wire.flood(&numbers(REQUEST, &[1, 0, BLOCK]), MANY)
    }),
    case("10,000 cancels of nothing", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&numbers(CANCEL, &[0, 0, BLOCK]), MANY)
    }),
    case("5,000 requests, each cancelled", Ignored, |wire| {
        wire.unchoked()?;
        wire.flood(
            &[numbers(REQUEST, &[0, 0, BLOCK]), numbers(CANCEL, &[0, 0, BLOCK])].concat(),
            MANY / 2,
        )
    }),
    case("a cancel of a piece that there is not", Ignored, |wire| {
        wire.shaken(&numbers(CANCEL, &[wire.swarm.pieces(), 0, BLOCK]))
    }),
    // ---- payload and hints that the seed did not ask for ----
    case("a block that was not asked for", Ignored, |wire| {
        wire.shaken(&frame(PIECE, &[0; 8 + BLOCK as usize]))
    }),
    case("1,000 blocks that were not asked for", Dropped, |wire| {
        wire.shaken(&frame(PIECE, &[0; 8 + BLOCK as usize]).repeat(1000))
    }),
    case("a block of a piece that there is not", Dropped, |wire| {
        wire.shaken(&frame(PIECE, &[0xff; 8 + BLOCK as usize]))
    }),
    case("10,000 rejects of nothing", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&numbers(REJECT, &[0, 0, BLOCK]), MANY)
    }),
    case("a reject without the fast extension", Dropped, |wire| {
        wire.shake_as(PLAIN)?;
        wire.send(&numbers(REJECT, &[0, 0, BLOCK]))
    }),
    case("10,000 suggestions", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&numbers(SUGGEST, &[3]), MANY)
    }),
    case("a suggestion of a piece that there is not", Ignored, |wire| {
        wire.shaken(&numbers(SUGGEST, &[u32::MAX]))
    }),
    case("10,000 allowed-fasts", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&numbers(ALLOWED_FAST, &[3]), MANY)
    }),
    case("an allowed-fast of a piece that there is not", Ignored, |wire| {
        wire.shaken(&numbers(ALLOWED_FAST, &[u32::MAX]))
    }),
    // ---- floods of what is allowed ----
    case("100,000 keep-alives", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&[0; 4], 100_000)
    }),
    case("10,000 times choke and unchoke", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&[frame(CHOKE, &[]), frame(UNCHOKE, &[])].concat(), MANY)
    }),
    case("10,000 times interested and not", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&[frame(INTERESTED, &[]), frame(NOT_INTERESTED, &[])].concat(), MANY)
    }),
    case("10,000 ports of a DHT node, all 0", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&frame(PORT, &[0; 2]), MANY)
    }),
    case("every unknown message, 1,000 bytes each", Ignored, |wire| {
        let known = [PORT, SUGGEST, HAVE_ALL, HAVE_NONE, REJECT, ALLOWED_FAST, EXTENDED];
        wire.shake()?;
        (PORT..=u8::MAX)
            .filter(|id| !known.contains(id))
            .try_for_each(|id| wire.send(&frame(id, &[0; 1000])))
    }),
    case("a request byte by byte", Rejected, |wire| {
        wire.shake()?;
        numbers(REQUEST, &[2, 0, BLOCK]).iter().try_for_each(|&byte| wire.send(&[byte]))?;
        wire.hear_id(REJECT).map(drop)
    }),
    // ---- extensions ----
    case("an extension handshake that is no bencode", Ignored, |wire| {
        wire.shaken(&extended(0, b"\xff\x00hello"))
    }),
    case("an extension handshake that is a list", Ignored, |wire| wire.shaken(&extended(0, b"le"))),
    case("an extension handshake nested 60,000 times", Ignored, |wire| {
        wire.shaken(&extended(0, "l".repeat(60_000).as_bytes()))
    }),
    case("an extension handshake of 1 MiB", Dropped, |wire| {
        wire.shaken(&extended(0, &vec![b'0'; 1 << 20]))
    }),
    case("an extension handshake with a huge number", Ignored, |wire| {
        wire.shaken(&extended(0, format!("d4:reqqi{}ee", "9".repeat(1000)).as_bytes()))
    }),
    case("an extension handshake with numbers at their limits", Ignored, |wire| {
        let hello = format!(
            "d1:md11:ut_metadatai{0}e6:ut_pexi-1ee13:metadata_sizei{0}e1:pi-9e4:reqqi{1}ee",
            i64::MAX,
            i64::MIN
        );
        wire.shaken(&extended(0, hello.as_bytes()))
    }),
    case("an extension handshake with keys of wrong kinds", Ignored, |wire| {
        wire.shaken(&extended(0, b"d1:mle13:metadata_size3:abc1:ple4:reqqde1:vi7e6:yourip1:xe"))
    }),
    case("an extension handshake whose client has an escape for a name", Ignored, |wire| {
        wire.shaken(&extended(0, b"d1:v16:\x1b]0;owned\x07\x1b[2J\xff\x00e"))
    }),
    case("1,000 extension handshakes", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&extended(0, b"d1:md6:ut_pexi4eee"), 1000)
    }),
    case("10,000 messages of an extension that no client has", Ignored, |wire| {
        wire.shake()?;
        wire.flood(&extended(77, b"de"), MANY)
    }),
    case("metadata asked for that there is not", Rejected, |wire| {
        wire.greeted()?;
        wire.metadata(format!("d8:msg_typei0e5:piecei{}ee", u32::MAX).as_bytes())?;
        let answer = wire.hear_metadata()?;
        ensure!(number_after(&answer, "8:msg_typei") == Some(2), "it is no reject");
        Ok(())
    }),
    case("metadata asked for 5,000 times", Rejected, |wire| {
        wire.greeted()?;
        (0..5000).try_for_each(|_| wire.metadata(b"d8:msg_typei0e5:piecei0ee"))?;
        let kinds = (0..5000)
            .map(|_| Ok(number_after(&wire.hear_metadata()?, "8:msg_typei")))
            .collect::<Result<Vec<_>>>()?;
        let given = kinds.iter().filter(|kind| **kind == Some(1)).count();
        let parts = wire.swarm.info.len().div_ceil(BLOCK as usize);
        ensure!(given <= 2 * parts, "{parts} parts were given out {given} times");
        Ok(())
    }),
    case("metadata asked for with a negative number", Ignored, |wire| {
        wire.greeted()?;
        wire.metadata(b"d8:msg_typei0e5:piecei-1ee")
    }),
    case("metadata that was not asked for", Ignored, |wire| {
        wire.greeted()?;
        wire.metadata(b"d8:msg_typei1e5:piecei0e10:total_sizei4eexxxx")
    }),
    case("a message about metadata that is no bencode", Ignored, |wire| {
        wire.greeted()?;
        wire.metadata(b"\xff\xff")
    }),
    case("a message about peers that is no bencode", Ignored, |wire| {
        wire.greeted()?;
        wire.pex(b"\x00\x00")
    }),
    case("7 bytes of peers", Ignored, |wire| {
        wire.greeted()?;
        wire.pex(b"d5:added7:1234567e")
    }),
    case("10,000 peers in one message", Ignored, |wire| {
        wire.greeted()?;
        wire.pex(&[b"d5:added60000:".to_vec(), random_bytes(1, 60_000), b"e".to_vec()].concat())
    }),
    case("peers that no host can be: port 0, multicast, 0.0.0.0", Ignored, |wire| {
        wire.greeted()?;
        wire.pex(
            b"d5:added18:\x7f\x00\x00\x01\x00\x00\xe0\x00\x00\x01\x1a\xe1\x00\x00\x00\x00\x1a\xe1e",
        )
    }),
    case("peers told of 100 times in a second", Dropped, |wire| {
        wire.greeted()?;
        (0..100).try_for_each(|_| wire.pex(b"d5:added6:\x01\x02\x03\x04\x1a\xe1e"))
    }),
    // ---- ends ----
    case("its half of the connection closed", Dropped, |wire| {
        wire.shake()?;
        wire.close_half()
    }),
    case("a reset in the middle of a message", Forgotten, |wire| {
        wire.shaken(&numbers(REQUEST, &[0, 0, BLOCK])[..9])
    }),
    case("a reset in the middle of a transfer", Forgotten, |wire| {
        wire.unchoked()?;
        wire.flood(&numbers(REQUEST, &[0, 0, BLOCK]), 200)?;
        wire.hear_id(PIECE).map(drop)
    }),
];

impl Wire {
    /// Exchanges handshakes and sends bytes.
    fn shaken(&mut self, bytes: &[u8]) -> Result<()> {
        self.shake()?;
        self.send(bytes)
    }

    /// Exchanges handshakes and extension handshakes.
    fn greeted(&mut self) -> Result<()> {
        self.shake()?;
        self.greet(1000)?;
        self.hear("an extension handshake", |message| {
            message.starts_with(&[EXTENDED, 0]).then_some(())
        })
    }

    /// Exchanges handshakes and waits for an unchoke.
    fn unchoked(&mut self) -> Result<()> {
        self.shaken(&frame(INTERESTED, &[]))?;
        self.hear_id(UNCHOKE).map(drop)
    }

    fn ensure_rejected(&mut self, block: [u32; 3]) -> Result<()> {
        self.send(&numbers(REQUEST, &block))?;
        let rejected = self.hear_id(REJECT)?;
        ensure!(three(&rejected) == Some(block), "another request was rejected");
        Ok(())
    }
}

/// Plays all cases.
pub(super) fn run(scale: &Scale) -> Result<Vec<Row>> {
    let scene = Scene::new(scale)?;
    let (seed, at) = scene.ready_seed(scale.up)?;
    let alone = clean(|| scene.honest(at))?;
    let begun = seed.memory()?;
    let mut report = Report::new("leech");
    for batch in CASES.chunk_by(|one, other| one.is_slow && other.is_slow) {
        // Memory that the allocator keeps of one flood does not count for the next case.
        let before = seed.memory()?;
        seed.forget_peak()?;
        let is_over = AtomicBool::new(false);
        let (took, played) = thread::scope(|scope| {
            let goes_on = || scale.sustained && !is_over.load(Relaxed);
            let swarm = &scene.swarm;
            let players: Vec<_> = batch
                .iter()
                .map(|case| scope.spawn(move || play(case, at, swarm, goes_on)))
                .collect();
            let took = scene.honest(at);
            is_over.store(true, Relaxed);
            let played: Vec<Result<()>> = players
                .into_iter()
                .map(|player| player.join().unwrap_or_else(|_| panic!("a player panicked")))
                .collect();
            (took, played)
        });
        let figures =
            took.and_then(|took| Ok(Figures { held: settled(&seed, before)?, took, clean: alone }));
        let figures = figures.map_err(|error| format!("{error:#}"));
        for (case, played) in batch.iter().zip(played) {
            let figures = figures.clone().map_err(anyhow::Error::msg);
            report.add(case.name, case.outcome, played.and(figures));
        }
    }
    let all = seed.memory()?.saturating_sub(begun);
    ensure!(!scale.sustained || all <= ALL_OVER_MAX, "all cases together left {} MiB", all >> 20);
    sound(seed.stop(PATIENCE)?.expect_code(0)?)?;
    scene.ensure_untouched()?;
    report.end()
}

/// Plays a case once, or again and again while `goes_on` says so.
fn play(case: &Case, at: SocketAddr, swarm: &Arc<Swarm>, goes_on: impl Fn() -> bool) -> Result<()> {
    loop {
        let mut wire = Wire::dial(at, swarm)?;
        (case.play)(&mut wire)?;
        match case.outcome {
            Dropped => wire.ensure_end()?,
            Forgotten => {
                let id = wire.id;
                wire.reset()?;
                drop(wire);
                ensure_welcome(id, at, swarm)?;
            }
            _ => wire.ensure_served()?,
        }
        if case.is_once || !goes_on() {
            return Ok(());
        }
    }
}

/// Fails unless the seed serves a new peer with this id. Tries again until the seed has noticed
/// that the old peer is gone.
fn ensure_welcome(id: [u8; 20], at: SocketAddr, swarm: &Arc<Swarm>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut wire = Wire::dial(at, swarm)?;
        wire.id = id;
        match wire.shake().and_then(|()| wire.ensure_served()) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            served => return served,
        }
    }
}
