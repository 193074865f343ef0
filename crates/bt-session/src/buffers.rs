//! Receive buffers of a shard, used again and again: memory that the system need not hand out and clear anew.
//!
//! Decides: when a buffer can be used again. Must not know: what is received.
//! Invariant: a buffer is given out only when nobody holds a slice of it any more; idle sockets hold none.

use bytes::BytesMut;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Length of every buffer: large reads cost far fewer cycles per byte.
pub(crate) const BUFFER_LEN: usize = 512 << 10;
/// Buffers kept, in use or not: 32 MiB. Slices in them are blocks that the engine's store credit covers.
const KEPT_MAX: usize = 64;
/// Buffers looked at for one that is free, oldest first: they become free in about the order they were spent.
const TRIES: usize = 16;

/// The pool. One thread uses it; slices may end their lives on any other.
#[derive(Debug, Default)]
pub(crate) struct Buffers(RefCell<VecDeque<BytesMut>>);

impl Buffers {
    /// An empty buffer.
    pub(crate) fn take(&self) -> BytesMut {
        let mut spent = self.0.borrow_mut();
        for _ in 0..TRIES.min(spent.len()) {
            let Some(mut buffer) = spent.pop_front() else { break };
            if buffer.try_reclaim(BUFFER_LEN) {
                return buffer;
            }
            spent.push_back(buffer);
        }
        BytesMut::with_capacity(BUFFER_LEN)
    }

    /// A buffer that is not read into any more. Slices of it may still be held.
    pub(crate) fn put(&self, mut buffer: BytesMut) {
        let mut spent = self.0.borrow_mut();
        if spent.len() < KEPT_MAX {
            buffer.clear();
            spent.push_back(buffer);
        }
    }

    /// Makes room in a connection's input: if little is left, its incomplete message moves to another buffer.
    pub(crate) fn make_room(&self, input: &mut BytesMut) {
        if input.capacity() - input.len() >= BUFFER_LEN / 8 {
            return;
        }
        let mut fresh = self.take();
        fresh.extend_from_slice(input);
        self.put(std::mem::replace(input, fresh));
    }

    /// Takes the buffer of a connection that waits for nothing.
    pub(crate) fn rest(&self, input: &mut BytesMut) {
        if input.is_empty() && input.capacity() > 0 {
            self.put(std::mem::take(input));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_slice_is_gone() {
        let buffers = Buffers::default();
        let mut input = buffers.take();
        let start = input.as_ptr();
        input.extend_from_slice(&[7; 1000]);
        let slice = input.split_to(600).freeze();
        buffers.rest(&mut input);
        assert_eq!(input.len(), 400, "an incomplete message keeps its buffer");
        input.clear();
        buffers.rest(&mut input);
        assert_eq!(input.capacity(), 0);

        let other = buffers.take();
        assert_ne!(other.as_ptr(), start, "a slice is still held");
        drop(slice);
        let again = buffers.take();
        assert_eq!((again.as_ptr(), again.capacity() >= BUFFER_LEN), (start, true));
    }

    #[test]
    fn a_full_buffer_hands_its_rest_to_the_next() {
        let buffers = Buffers::default();
        let mut input = buffers.take();
        input.resize(BUFFER_LEN - 10, 1);
        let _read = input.split_to(BUFFER_LEN - 30);
        buffers.make_room(&mut input);
        assert_eq!(&input[..], [1; 20]);
        assert!(input.capacity() - input.len() >= BUFFER_LEN / 8);
    }
}
