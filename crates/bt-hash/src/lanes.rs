//! Many SHA-1 messages, each a list of slices, laid side by side into lanes.
//!
//! Decides: which messages share a run, and how blocks are cut from slices. Must not know: instructions.
//! Invariant: a block that lies in one slice is read where it lies; only one that straddles slices is copied.

use crate::Sha1Digest;
use crate::sha1_ni::{BLOCK, ShaNi, State};
use crate::sha1_wide::{WIDTH, Wide};

/// The state before the first block (FIPS 180-4).
const INITIAL: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// One message on its way through a lane.
struct Message<'a> {
    slices: core::slice::Iter<'a, &'a [u8]>,
    current: &'a [u8],
    /// Message bytes not yet hashed.
    left: u64,
    len: u64,
    /// Blocks not yet hashed, padding counted.
    blocks: u64,
    /// The next block, when it straddles slices or holds padding.
    gathered: [u8; BLOCK],
    /// Padding begins with one bit; it was written already.
    marked: bool,
    state: State,
}

/// What the processor can do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    narrow: ShaNi,
    wide: Option<Wide>,
}

impl Cpu {
    pub(crate) fn detect() -> Option<Cpu> {
        Some(Cpu { narrow: ShaNi::detect()?, wide: Wide::detect() })
    }
}

/// Hashes all messages, eight, four, two or one at a time, and appends their digests in order.
pub(crate) fn digest_many(cpu: Cpu, messages: &[&[&[u8]]], digests: &mut Vec<Sha1Digest>) {
    let mut all: Vec<Message<'_>> = messages.iter().map(|slices| Message::new(slices)).collect();
    loop {
        let mut active: Vec<&mut Message<'_>> = all.iter_mut().filter(|message| message.blocks > 0).take(WIDTH).collect();
        // With five messages eight lanes are faster already, though three of them are for nothing.
        match (&mut active[..], cpu.wide) {
            ([a, b, c, d, e, f, g, h], Some(wide)) => {
                run([a, b, c, d, e, f, g, h], |states, blocks| wide.compress(states, blocks))
            }
            ([a, b, c, d, e, f, g], Some(wide)) => run([a, b, c, d, e, f, g], |states, blocks| wide.compress(states, blocks)),
            ([a, b, c, d, e, f], Some(wide)) => run([a, b, c, d, e, f], |states, blocks| wide.compress(states, blocks)),
            ([a, b, c, d, e], Some(wide)) => run([a, b, c, d, e], |states, blocks| wide.compress(states, blocks)),
            ([a, b, c, d, ..], _) => run([a, b, c, d], |states, blocks| cpu.narrow.compress(states, blocks)),
            ([a, b, ..], _) => run([a, b], |states, blocks| cpu.narrow.compress(states, blocks)),
            ([a], _) => run([a], |states, blocks| cpu.narrow.compress(states, blocks)),
            ([], _) => break,
        }
    }
    digests.extend(all.iter().map(Message::digest));
}

/// Feeds these messages side by side until the shortest is done.
fn run<const N: usize>(mut messages: [&mut Message<'_>; N], compress: impl Fn(&mut [State; N], [&[[u8; BLOCK]]; N])) {
    let mut states = messages.each_ref().map(|message| message.state);
    while messages.iter().all(|message| message.blocks > 0) {
        let whole = messages.iter_mut().map(|message| message.whole_blocks()).min().unwrap_or(0);
        if whole > 0 {
            let blocks = messages.each_mut().map(|message| message.take_whole(whole));
            compress(&mut states, blocks);
        } else {
            for message in &mut messages {
                message.gather();
            }
            let blocks = messages.each_ref().map(|message| core::slice::from_ref(&message.gathered));
            compress(&mut states, blocks);
        }
    }
    for (message, state) in messages.into_iter().zip(states) {
        message.state = state;
    }
}

impl<'a> Message<'a> {
    fn new(slices: &'a [&'a [u8]]) -> Message<'a> {
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
            state: INITIAL,
        }
    }

    /// Blocks that lie whole in the current slice.
    fn whole_blocks(&mut self) -> usize {
        self.skip_empty();
        self.current.len() / BLOCK
    }

    fn take_whole(&mut self, count: usize) -> &'a [[u8; BLOCK]] {
        let (taken, rest) = self.current.split_at(count * BLOCK);
        self.current = rest;
        self.left -= taken.len() as u64;
        self.blocks -= count as u64;
        taken.as_chunks().0
    }

    /// Puts the next block together: what is left of slices, then padding.
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

    fn digest(&self) -> Sha1Digest {
        let mut digest = [0; 20];
        for (to, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *to = word.to_be_bytes();
        }
        digest
    }
}
