//! Limits of the bytes that wait between the connections of a shard and the shard itself.
//!
//! Decides: how much may wait, and which connection ends when too much does.
//! Must not know: what waits.
//! Invariant: messages on their way to a shard take at most [`INBOX_BYTES`]. A connection whose
//! peer takes nothing ends before others do.

use bt_peer_wire::Message;
use std::cell::Cell;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of messages and payload that wait for a shard. A connection waits for room before it is
/// read again.
const INBOX_BYTES: u32 = 16 << 20;
/// Bytes that wait for one peer: four times the engine's limit of payload (512 KiB) and the longest
/// burst of messages (a `have` for each of 100,000 pieces). A peer with more in its queue does not
/// read. Eight such peers, and what waits in the inbox, take less than 64 MiB.
const OUTBOX_BYTES: usize = 4 << 20;
/// Bytes that wait for all peers of a shard together. Beyond it a connection with more than its
/// share ends.
const OUTBOXES_BYTES: usize = 64 << 20;

/// The room in a shard's inbox.
#[derive(Clone, Debug)]
pub(crate) struct Inbox(Arc<Semaphore>);

impl Default for Inbox {
    fn default() -> Inbox {
        Inbox(Arc::new(Semaphore::new(INBOX_BYTES as usize)))
    }
}

impl Inbox {
    /// Waits for room for these messages. The permit is dropped when the shard has handled them.
    pub(crate) async fn room_for(&self, messages: &[Message]) -> Option<OwnedSemaphorePermit> {
        let bytes: usize =
            messages.iter().map(|message| size_of::<Message>() + data_len(message)).sum();
        let bytes = u32::try_from(bytes).unwrap_or(INBOX_BYTES).min(INBOX_BYTES);
        Arc::clone(&self.0).acquire_many_owned(bytes).await.ok()
    }
}

/// Returns the bytes that a message holds besides itself.
fn data_len(message: &Message) -> usize {
    match message {
        Message::Piece { data, .. }
        | Message::Bitfield(data)
        | Message::Extended { payload: data, .. } => data.len(),
        Message::KeepAlive
        | Message::Choke
        | Message::Unchoke
        | Message::Interested
        | Message::NotInterested
        | Message::Have(_)
        | Message::Request(_)
        | Message::Cancel(_)
        | Message::Port(_)
        | Message::Suggest(_)
        | Message::HaveAll
        | Message::HaveNone
        | Message::Reject(_)
        | Message::AllowedFast(_)
        | Message::Unknown(_) => 0,
    }
}

/// The bytes that wait for the peers of a shard.
#[derive(Debug, Default)]
pub(crate) struct Outboxes {
    bytes: Cell<usize>,
    connections: Cell<usize>,
}

impl Outboxes {
    /// Records the length of a connection's queue, before and now; returns whether the connection
    /// may stay.
    pub(crate) fn note(&self, before: usize, now: usize) -> bool {
        let bytes = self.bytes.get() + now - before;
        self.bytes.set(bytes);
        let is_too_much =
            now > before && bytes > OUTBOXES_BYTES && now >= bytes / self.connections.get().max(1);
        now <= OUTBOX_BYTES && !is_too_much
    }

    /// Counts a new connection.
    pub(crate) fn enter(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    /// Removes a connection that ends with `bytes` in its queue.
    pub(crate) fn leave(&self, bytes: usize) {
        self.note(bytes, 0);
        self.connections.set(self.connections.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn messages_that_wait_take_so_much_memory() {
        let inbox = Inbox::default();
        let small = vec![Message::KeepAlive; 100_000];
        let first = inbox.room_for(&small).await.unwrap();
        assert_eq!(
            inbox.0.available_permits(),
            INBOX_BYTES as usize - 100_000 * size_of::<Message>()
        );
        let large = [Message::Piece { piece: 0, begin: 0, data: Bytes::from(vec![0; 16 * MIB]) }];
        let waits =
            tokio::time::timeout(std::time::Duration::from_millis(10), inbox.room_for(&large))
                .await;
        assert!(waits.is_err(), "there is no room beside the first");
        drop(first);
        assert!(
            inbox.room_for(&large).await.is_some(),
            "what is longer than all the room has it alone"
        );
    }

    #[test]
    fn the_connection_with_the_longest_queue_gives_way() {
        let outboxes = Outboxes::default();
        (0..40).for_each(|_| outboxes.enter());
        for _ in 0..21 {
            assert!(outboxes.note(0, 3 * MIB));
        }
        assert!(outboxes.note(0, MIB / 2), "a small queue stays");
        assert!(outboxes.note(MIB / 2, MIB));
        assert!(!outboxes.note(3 * MIB, 3 * MIB + 1), "one with more than its share does not");
        assert!(outboxes.note(3 * MIB, 2 * MIB), "one that becomes shorter does");
        assert!(!outboxes.note(0, OUTBOX_BYTES + 1));
        let before = outboxes.bytes.get();
        outboxes.leave(3 * MIB);
        assert_eq!((outboxes.bytes.get(), outboxes.connections.get()), (before - 3 * MIB, 39));
    }
}
