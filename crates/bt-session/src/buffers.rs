//! Receive buffers of a shard. Connections that have nothing to read share them: else a few blocks in each buffer would keep all of it.
//!
//! Decides: when a buffer is gone on with by another connection. Must not know: what is received.
//! Invariant: of the part of a buffer that is given out nobody holds a slice; idle sockets hold none.
//!
//! Full ones go back to the allocator with their last slice. It hands them out again as cheaply as a pool of them did.

use bytes::BytesMut;
use std::cell::RefCell;

/// Length of every buffer: large reads cost far fewer cycles per byte. The longest incomplete message, a bitfield, takes half of one.
const BUFFER_LEN: usize = 512 << 10;
/// What is left of a buffer is used as long as it is this much: smaller reads cost more than they save.
const ROOM_MIN: usize = BUFFER_LEN / 8;
/// Buffers that are kept for the next connection: 32 MiB.
const KEPT_MAX: usize = 64;

/// Buffers with room. One thread uses them; slices may end their lives on any other.
#[derive(Debug, Default)]
pub(crate) struct Buffers(RefCell<Vec<BytesMut>>);

impl Buffers {
    /// Makes room in a connection's input: if little is left, its incomplete message moves to another buffer.
    pub(crate) fn make_room(&self, input: &mut BytesMut) {
        if input.capacity() - input.len() < ROOM_MIN {
            let mut fresh = self.take(input.len() + ROOM_MIN);
            fresh.extend_from_slice(input);
            *input = fresh;
        }
    }

    /// Takes the buffer of a connection that waits for nothing.
    pub(crate) fn rest(&self, input: &mut BytesMut) {
        if input.is_empty() {
            let buffer = std::mem::take(input);
            let mut kept = self.0.borrow_mut();
            if buffer.capacity() >= ROOM_MIN && kept.len() < KEPT_MAX {
                kept.push(buffer);
            }
        }
    }

    /// A buffer in which there is nothing to read, with so much room at least.
    fn take(&self, room: usize) -> BytesMut {
        let mut kept = self.0.borrow_mut();
        match kept.iter().rposition(|buffer| buffer.capacity() >= room) {
            Some(at) => {
                let mut buffer = kept.swap_remove(at);
                // The whole of it, if nobody holds a slice of it any more.
                let _ = buffer.try_reclaim(BUFFER_LEN);
                buffer
            }
            None => BytesMut::with_capacity(BUFFER_LEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// A connection's empty input, as it reads for the first time.
    fn begin(buffers: &Buffers) -> BytesMut {
        let mut input = BytesMut::new();
        buffers.make_room(&mut input);
        input
    }

    /// Fills the input and takes a message of so many bytes from it.
    fn receive(input: &mut BytesMut, len: usize) -> Bytes {
        input.resize(BUFFER_LEN, 7);
        input.split_to(len).freeze()
    }

    #[test]
    fn a_buffer_with_room_is_gone_on_with_by_the_next_connection() {
        let buffers = Buffers::default();
        let mut input = begin(&buffers);
        let start = input.as_ptr().addr();
        let message = receive(&mut input, BUFFER_LEN - ROOM_MIN);
        buffers.rest(&mut input);
        assert_eq!(input.len(), ROOM_MIN, "an incomplete message keeps its buffer");
        input.clear();
        buffers.rest(&mut input);
        assert_eq!(input.capacity(), 0);

        let mut next = begin(&buffers);
        assert_eq!((next.as_ptr().addr(), next.len()), (start + message.len(), 0), "behind what is still held");
        assert!(message.iter().all(|byte| *byte == 7));
        buffers.rest(&mut next);
        drop(message);
        let next = begin(&buffers);
        assert_eq!((next.as_ptr().addr(), next.capacity()), (start, BUFFER_LEN), "all of it, when nothing is");
    }

    #[test]
    fn an_incomplete_message_moves_where_there_is_room_behind_it() {
        let buffers = Buffers::default();
        let mut rested = begin(&buffers);
        let _message = receive(&mut rested, BUFFER_LEN - ROOM_MIN);
        rested.clear();
        buffers.rest(&mut rested);

        let mut input = begin(&Buffers::default());
        let _message = receive(&mut input, BUFFER_LEN - 20);
        buffers.make_room(&mut input);
        assert_eq!(input[..], [7; 20]);
        assert!(input.capacity() - input.len() >= ROOM_MIN, "little would be left in what rests");
        assert!(begin(&buffers).capacity() < BUFFER_LEN, "but another connection can have it");
    }

    #[test]
    fn so_many_are_kept_and_none_without_room() {
        let buffers = Buffers::default();
        let mut full = begin(&buffers);
        let _message = receive(&mut full, BUFFER_LEN - ROOM_MIN + 1);
        full.clear();
        buffers.rest(&mut full);
        assert_eq!(buffers.0.borrow().len(), 0);
        let mut inputs: Vec<BytesMut> = (0..2 * KEPT_MAX).map(|_| begin(&buffers)).collect();
        inputs.iter_mut().for_each(|input| buffers.rest(input));
        assert_eq!(buffers.0.borrow().len(), KEPT_MAX);
    }
}
