//! Receive buffers of a shard, used again and again: memory that the system need not hand out and clear anew.
//!
//! Decides: when a buffer can be used again. Must not know: what is received.
//! Invariant: of the part of a buffer that is given out nobody holds a slice; idle sockets hold none.

use bytes::BytesMut;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Length of every buffer: large reads cost far fewer cycles per byte.
pub(crate) const BUFFER_LEN: usize = 512 << 10;
/// What is left of a buffer is used as long as it is this much: smaller reads cost more than they save.
const ROOM_MIN: usize = BUFFER_LEN / 8;
/// Buffers kept of each kind: 32 MiB. Slices in them are blocks that the engine's store credit covers.
const KEPT_MAX: usize = 64;
/// Buffers looked at for one that is free, oldest first: they become free in about the order they were spent.
const TRIES: usize = 16;

/// The pool. One thread uses it; slices may end their lives on any other.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Those with room, which the next connection goes on with: else a few blocks in each of many would keep them all.
    begun: RefCell<Vec<BytesMut>>,
    /// Those that are full, oldest first.
    spent: RefCell<VecDeque<BytesMut>>,
}

impl Buffers {
    /// A buffer with nothing to read in it, and with so much room at least.
    fn take(&self, room: usize) -> BytesMut {
        if let Some(begun) = self.begun.borrow_mut().pop_if(|begun| begun.capacity() >= room) {
            return begun;
        }
        let len = room.max(BUFFER_LEN);
        let mut spent = self.spent.borrow_mut();
        for _ in 0..TRIES.min(spent.len()) {
            let Some(mut buffer) = spent.pop_front() else { break };
            if buffer.try_reclaim(len) {
                return buffer;
            }
            spent.push_back(buffer);
        }
        BytesMut::with_capacity(len)
    }

    /// A buffer that is not read into any more. Slices of it may still be held.
    fn put(&self, mut buffer: BytesMut) {
        let mut spent = self.spent.borrow_mut();
        if spent.len() < KEPT_MAX {
            buffer.clear();
            spent.push_back(buffer);
        }
    }

    /// Makes room in a connection's input: if little is left, its incomplete message moves to another buffer.
    pub(crate) fn make_room(&self, input: &mut BytesMut) {
        if input.capacity() - input.len() >= ROOM_MIN {
            return;
        }
        let mut fresh = self.take(input.len() + ROOM_MIN);
        fresh.extend_from_slice(input);
        self.put(std::mem::replace(input, fresh));
    }

    /// Takes the buffer of a connection that waits for nothing.
    pub(crate) fn rest(&self, input: &mut BytesMut) {
        if !input.is_empty() || input.capacity() == 0 {
            return;
        }
        let buffer = std::mem::take(input);
        if buffer.capacity() >= ROOM_MIN && self.begun.borrow().len() < KEPT_MAX {
            self.begun.borrow_mut().push(buffer);
        } else {
            self.put(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection's empty input, as it reads for the first time.
    fn begin(buffers: &Buffers) -> BytesMut {
        let mut input = BytesMut::new();
        buffers.make_room(&mut input);
        input
    }

    #[test]
    fn a_buffer_comes_back_when_its_last_slice_is_gone() {
        let buffers = Buffers::default();
        let mut input = begin(&buffers);
        let start = input.as_ptr();
        input.resize(BUFFER_LEN, 7);
        let slice = input.split_to(BUFFER_LEN - 400).freeze();
        buffers.rest(&mut input);
        assert_eq!(input.len(), 400, "an incomplete message keeps its buffer");
        input.clear();
        buffers.rest(&mut input);
        assert_eq!(input.capacity(), 0);

        let other = begin(&buffers);
        assert_ne!(other.as_ptr(), start, "a slice is still held");
        drop(slice);
        let again = begin(&buffers);
        assert_eq!((again.as_ptr(), again.capacity() >= BUFFER_LEN), (start, true));
    }

    #[test]
    fn a_buffer_with_room_is_gone_on_with_by_the_next_connection() {
        let buffers = Buffers::default();
        let mut input = begin(&buffers);
        let start = input.as_ptr().addr();
        input.resize(BUFFER_LEN - ROOM_MIN, 7);
        let slice = input.split().freeze();
        buffers.rest(&mut input);

        let mut long = begin(&buffers);
        assert_eq!((long.as_ptr().addr(), long.len()), (start + slice.len(), 0), "behind what is still held");
        buffers.rest(&mut long);
        long.resize(BUFFER_LEN, 1);
        buffers.make_room(&mut long);
        assert!(long.capacity() - long.len() >= ROOM_MIN, "but not where an incomplete message would fill it");
        assert!(long.iter().all(|byte| *byte == 1) && slice.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_full_buffer_hands_its_rest_to_the_next() {
        let buffers = Buffers::default();
        let mut input = begin(&buffers);
        input.resize(BUFFER_LEN - 10, 1);
        let _read = input.split_to(BUFFER_LEN - 30);
        buffers.make_room(&mut input);
        assert_eq!(&input[..], [1; 20]);
        assert!(input.capacity() - input.len() >= ROOM_MIN);
    }
}
