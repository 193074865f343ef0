//! Lays many messages of SHA-1 or SHA-256, each a list of slices, side by side into lanes.
//!
//! Decides: which messages share a run, and how blocks are cut from slices.
//! Must not know: instructions.
//! Invariant: a block within one slice is read in place; only a block that straddles slices is
//! copied.

use crate::sha1_ni::ShaNi;
use crate::wide::{WIDEST, Wide};
use crate::{Algorithm, BLOCK, Block, Sha1Digest, Sha256Digest};

/// The states before the first block (FIPS 180-4).
const SHA1: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
const SHA256: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Messages from which wide lanes are faster than the SHA instructions, though some lanes then work
/// for nothing.
const WIDE_FROM: usize = 5;

/// The instructions of this processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    narrow: ShaNi,
    wide: Option<Wide>,
}

impl Cpu {
    pub(crate) fn detect() -> Option<Cpu> {
        Some(Cpu { narrow: ShaNi::detect()?, wide: Wide::detect() })
    }

    /// Returns the most messages that are hashed side by side.
    pub(crate) fn lanes(self, algorithm: Algorithm) -> usize {
        match (self.wide, algorithm) {
            (Some(_), _) => WIDEST,
            (None, Algorithm::Sha1) => 4,
            (None, Algorithm::Sha256) => 1,
        }
    }
}

/// Hashes all messages, up to sixteen side by side, and appends their digests in order.
pub(crate) fn sha1_many(cpu: Cpu, messages: &[&[&[u8]]], digests: &mut Vec<Sha1Digest>) {
    let states = hash(SHA1, messages, |states, blocks| match cpu.wide {
        Some(wide) if states.len() >= WIDE_FROM => wide.sha1(states, blocks),
        _ => cpu.narrow.sha1(states, blocks),
    });
    digests.extend(states.map(|state| bytes(&state)));
}

/// Hashes like [`sha1_many`], with SHA-256. Few messages are hashed one after another, with the
/// `sha2` crate.
pub(crate) fn sha256_many(cpu: Cpu, messages: &[&[&[u8]]], digests: &mut Vec<Sha256Digest>) {
    let states = hash(SHA256, messages, |states, blocks| match cpu.wide {
        Some(wide) if states.len() >= WIDE_FROM => wide.sha256(states, blocks),
        _ => states
            .iter_mut()
            .zip(blocks)
            .for_each(|(state, blocks)| sha2::block_api::compress256(state, blocks)),
    });
    digests.extend(states.map(|state| bytes(&state)));
}

/// Returns the states after all messages, each begun in `initial`.
fn hash<const WORDS: usize>(
    initial: [u32; WORDS],
    messages: &[&[&[u8]]],
    compress: impl Fn(&mut [[u32; WORDS]], &[&[Block]]),
) -> impl Iterator<Item = [u32; WORDS]> {
    let mut all: Vec<Message<'_, WORDS>> =
        messages.iter().map(|slices| Message::new(slices, initial)).collect();
    loop {
        let mut active: Vec<_> =
            all.iter_mut().filter(|message| message.blocks > 0).take(WIDEST).collect();
        if active.is_empty() {
            break;
        }
        run(&mut active, &compress);
    }
    all.into_iter().map(|message| message.state)
}

/// Feeds these messages side by side until the shortest is done.
fn run<const WORDS: usize>(
    messages: &mut [&mut Message<'_, WORDS>],
    compress: impl Fn(&mut [[u32; WORDS]], &[&[Block]]),
) {
    let mut states: Vec<[u32; WORDS]> = messages.iter().map(|message| message.state).collect();
    while messages.iter().all(|message| message.blocks > 0) {
        let whole = messages.iter_mut().map(|message| message.whole_blocks()).min().unwrap_or(0);
        let mut blocks: [&[Block]; WIDEST] = [&[]; WIDEST];
        if whole > 0 {
            blocks
                .iter_mut()
                .zip(&mut *messages)
                .for_each(|(blocks, message)| *blocks = message.take_whole(whole));
        } else {
            messages.iter_mut().for_each(|message| message.gather());
            blocks
                .iter_mut()
                .zip(&*messages)
                .for_each(|(blocks, message)| *blocks = core::slice::from_ref(&message.gathered));
        }
        compress(&mut states, &blocks[..messages.len()]);
    }
    messages.iter_mut().zip(states).for_each(|(message, state)| message.state = state);
}

/// Returns the words of a state as bytes, each word from its highest byte on.
fn bytes<const WORDS: usize, const BYTES: usize>(state: &[u32; WORDS]) -> [u8; BYTES] {
    const { assert!(4 * WORDS == BYTES) };
    let mut digest = [0; BYTES];
    for (to, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    digest
}

/// One message on its way through a lane.
struct Message<'a, const WORDS: usize> {
    slices: core::slice::Iter<'a, &'a [u8]>,
    current: &'a [u8],
    /// Message bytes not yet hashed.
    left: u64,
    len: u64,
    /// Blocks not yet hashed, with padding.
    blocks: u64,
    /// The next block, when it straddles slices or holds padding.
    gathered: Block,
    /// Padding begins with one bit, which was written already.
    marked: bool,
    state: [u32; WORDS],
}

impl<'a, const WORDS: usize> Message<'a, WORDS> {
    fn new(slices: &'a [&'a [u8]], state: [u32; WORDS]) -> Message<'a, WORDS> {
        let len: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        // One byte of padding mark and eight of length follow the message.
        let blocks = (len + 9).div_ceil(BLOCK as u64);
        Message {
            slices: slices.iter(),
            current: &[],
            left: len,
            len,
            blocks,
            gathered: [0; BLOCK],
            marked: false,
            state,
        }
    }

    /// Returns the number of blocks that lie whole in the current slice.
    fn whole_blocks(&mut self) -> usize {
        self.skip_empty();
        self.current.len() / BLOCK
    }

    fn take_whole(&mut self, count: usize) -> &'a [Block] {
        let (taken, rest) = self.current.split_at(count * BLOCK);
        self.current = rest;
        self.left -= taken.len() as u64;
        self.blocks -= count as u64;
        taken.as_chunks().0
    }

    /// Assembles the next block: the rest of slices, then padding.
    fn gather(&mut self) {
        let mut filled = 0;
        while filled < BLOCK {
            self.skip_empty();
            if self.current.is_empty() {
                break;
            }
            let (part, rest) = self.current.split_at(self.current.len().min(BLOCK - filled));
            self.gathered[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
            self.current = rest;
            self.left -= part.len() as u64;
        }
        if filled < BLOCK {
            self.gathered[filled..].fill(0);
            if !self.marked {
                self.gathered[filled] = 0x80;
                self.marked = true;
            }
            if self.blocks == 1 {
                self.gathered[BLOCK - 8..].copy_from_slice(&(self.len * 8).to_be_bytes());
            }
        }
        self.blocks -= 1;
    }

    fn skip_empty(&mut self) {
        while self.current.is_empty()
            && let Some(slice) = self.slices.next()
        {
            self.current = slice;
        }
    }
}
