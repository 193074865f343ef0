//! Receive buffers of a shard. Idle connections hold none: else a few blocks in each buffer would
//! keep its whole memory.
//!
//! Decides: when a buffer is handed, partly filled, to another connection.
//! Must not know: what is received.
//! Invariant: no live slice overlaps the free part of a buffer; idle sockets hold no buffer.
//!
//! A full buffer returns to the allocator with its last slice. The allocator was measured to be as
//! cheap as a pool of them.

use bytes::BytesMut;
use std::cell::RefCell;

/// Bytes of every buffer: large reads cost far fewer cycles per byte. The longest incomplete
/// message, a bitfield, takes half a buffer.
const BUFFER_LEN: usize = 512 << 10;
/// Free bytes below which a buffer is not read into: smaller reads cost more than the memory is
/// worth.
const ROOM_MIN: usize = BUFFER_LEN / 8;
/// Idle buffers kept for the next connection: 32 MiB in all.
const KEPT_MAX: usize = 64;

/// Buffers with free room. One thread uses them; their slices may be dropped on any thread.
#[derive(Debug, Default)]
pub(crate) struct Buffers(RefCell<Vec<BytesMut>>);

impl Buffers {
    /// Makes room in a connection's input. With little room left, the incomplete message moves to
    /// another buffer.
    pub(crate) fn make_room(&self, input: &mut BytesMut) {
        if input.capacity() - input.len() < ROOM_MIN {
            let mut fresh = self.take(input.len() + ROOM_MIN);
            fresh.extend_from_slice(input);
            *input = fresh;
        }
    }

    /// Takes back the buffer of a connection that has no incomplete message.
    pub(crate) fn rest(&self, input: &mut BytesMut) {
        if input.is_empty() {
            let buffer = std::mem::take(input);
            let mut kept = self.0.borrow_mut();
            if buffer.capacity() >= ROOM_MIN && kept.len() < KEPT_MAX {
                kept.push(buffer);
            }
        }
    }

    /// Takes an empty buffer with at least `room` free bytes.
    fn take(&self, room: usize) -> BytesMut {
        let mut kept = self.0.borrow_mut();
        match kept.iter().rposition(|buffer| buffer.capacity() >= room) {
            Some(at) => {
                let mut buffer = kept.swap_remove(at);
                // Regains the whole buffer, unless a slice of it is still alive.
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

    /// Makes the empty input of a connection that reads for the first time.
    fn begin(buffers: &Buffers) -> BytesMut {
        let mut input = BytesMut::new();
        buffers.make_room(&mut input);
        input
    }

    /// Fills the input and takes a message of `len` bytes from it.
    fn receive(input: &mut BytesMut, len: usize) -> Bytes {
        input.resize(BUFFER_LEN, 7);
        input.split_to(len).freeze()
    }

    #[test]
    fn a_buffer_with_room_is_used_by_the_next_connection() {
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
        assert_eq!(
            (next.as_ptr().addr(), next.len()),
            (start + message.len(), 0),
            "behind what is still held"
        );
        assert!(message.iter().all(|byte| *byte == 7));
        buffers.rest(&mut next);
        drop(message);
        let next = begin(&buffers);
        assert_eq!(
            (next.as_ptr().addr(), next.capacity()),
            (start, BUFFER_LEN),
            "all of it, when nothing is"
        );
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
