//! Scattered bytes, in the order of a file.
//!
//! Decides: where blocks are cut.
//! Must not know: what the bytes are, where they go.
//! Invariant: nothing is copied, and every byte is taken once.

use bytes::Bytes;
use std::io::IoSlice;

/// Cuts scattered blocks at file boundaries.
pub(crate) struct Slices<'a> {
    blocks: std::slice::Iter<'a, Bytes>,
    current: &'a [u8],
}

impl<'a> Slices<'a> {
    pub(crate) fn of(blocks: &'a [Bytes]) -> Slices<'a> {
        Slices { blocks: blocks.iter(), current: &[] }
    }

    /// Takes the next `len` bytes.
    pub(crate) fn take(&mut self, mut len: usize) -> Vec<IoSlice<'a>> {
        let mut taken = Vec::new();
        while len > 0 {
            if self.current.is_empty() {
                let Some(block) = self.blocks.next() else { break };
                self.current = block;
            }
            let (part, rest) = self.current.split_at(len.min(self.current.len()));
            taken.push(IoSlice::new(part));
            self.current = rest;
            len -= part.len();
        }
        taken
    }
}
