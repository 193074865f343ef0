//! Memory that files are read into.
//!
//! Decides: where it begins.
//! Must not know: what is read.
//! Invariant: it begins at the start of a page of memory.
//!
//! Some processors (AMD's Zen 3) can copy at a quarter of their speed. It happens when the target
//! begins one to forty bytes further into its page than the source. Allocators put large memory
//! sixteen bytes into a page. Most reads of a file begin at the start of a page, which is exactly
//! that case. docs/decisions/0013 has the measurements.

use std::ops::{Deref, DerefMut};

/// The alignment of a page, in bytes. With larger pages this is as good: only the lowest twelve
/// bits of addresses count.
const PAGE: usize = 4096;

/// Zeroed bytes that begin at the start of a page.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    bytes: Vec<u8>,
    start: usize,
}

impl Memory {
    pub(crate) fn new(len: usize) -> Memory {
        let mut bytes = vec![0; len + PAGE];
        // `align_offset` may be unable to tell, and returns the largest number then.
        let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
        bytes.truncate(start + len);
        Memory { bytes, start }
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_where_a_page_does_wherever_it_moves() {
        for len in [0, 1, 16_384, 1 << 20] {
            let mut memory = Memory::new(len);
            memory.fill(7);
            let moved = Box::new(memory);
            assert_eq!((moved.len(), moved.as_ptr().addr() % PAGE), (len, 0));
            assert!(moved.iter().all(|&byte| byte == 7));
        }
        assert!(Memory::default().is_empty());
    }
}
