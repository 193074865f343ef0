//! Limits how many messages without payload a peer may send.
//!
//! Decides: when a peer that sends no payload is read again. Must not know: sockets, the meaning of
//! a message.
//! Invariant: reading never pauses for a peer that is served or serves. Any other peer may send
//! [`BURST`] messages, and then [`PER_SECOND`].

use crate::Message;
use bt_types::Time;
use core::time::Duration;

/// Messages that may come at once: as many as a seed of the largest usual torrents needs to name
/// its pieces one by one.
const BURST: i64 = 256 * 1024;
/// Messages per second after that: a peer that completes 16,384 pieces a second downloads at least
/// 256 MiB/s.
const PER_SECOND: i64 = 16 * 1024;
/// Messages for each block that moved, either way: its request, a `have`, a cancel.
const PER_BLOCK: i64 = 4;
/// Bytes of one message that count as another message.
const BYTES_PER_MESSAGE: usize = 256;
/// The shortest pause in milliseconds: each time that a peer is read again costs as much as
/// hundreds of messages.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The message account of one peer.
#[derive(Clone, Copy, Debug)]
pub struct MessageAllowance {
    /// Messages that may come. Negative after a batch that held more messages than that.
    left: i64,
    /// The time up to which it was filled.
    filled_at: Time,
}

impl MessageAllowance {
    /// Makes the account of a peer that has just connected.
    pub fn new(now: Time) -> MessageAllowance {
        MessageAllowance { left: BURST, filled_at: now }
    }

    /// Charges a message.
    pub fn take(&mut self, message: &Message) {
        let cost = match message {
            Message::Piece { .. } => return self.credit(1),
            Message::Bitfield(bytes) | Message::Extended { payload: bytes, .. } => {
                1 + bytes.len() / BYTES_PER_MESSAGE
            }
            _ => 1,
        };
        self.left = self.left.saturating_sub(i64::try_from(cost).unwrap_or(BURST));
    }

    /// Credits `blocks` that were sent to the peer, or that it sent.
    pub fn credit(&mut self, blocks: u64) {
        let messages = i64::try_from(blocks).unwrap_or(BURST).saturating_mul(PER_BLOCK);
        self.left = self.left.saturating_add(messages).min(BURST);
    }

    /// Fills the account, and returns when the next message may be read: `None` if that is now.
    pub fn opens_at(&mut self, now: Time) -> Option<Time> {
        let passed = now.since(self.filled_at).as_micros();
        let fresh = i64::try_from(passed * u128::from(PER_SECOND.unsigned_abs()) / 1_000_000)
            .unwrap_or(BURST);
        if fresh > 0 {
            self.left = self.left.saturating_add(fresh).min(BURST);
            self.filled_at = now;
        }
        let debt = Duration::from_micros(
            self.left.min(0).unsigned_abs() * 1_000_000 / PER_SECOND.unsigned_abs(),
        );
        (self.left <= 0).then(|| now + debt.max(PAUSE_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::vec;

    #[test]
    fn who_only_talks_is_slowed_down() {
        let mut allowance = MessageAllowance::new(Time::ZERO);
        for _ in 0..BURST {
            assert_eq!(allowance.opens_at(Time::ZERO), None);
            allowance.take(&Message::KeepAlive);
        }
        let again = allowance.opens_at(Time::ZERO).unwrap();
        let mut taken = 0;
        while allowance.opens_at(again).is_none() {
            allowance.take(&Message::Have(1));
            taken += 1;
        }
        assert_eq!(taken, PER_SECOND / 20, "those of 50 ms");
    }

    #[test]
    fn what_a_batch_held_too_much_is_waited_for() {
        const BATCH: i64 = 2048;
        const SECONDS: i64 = 10;
        let (mut allowance, mut taken) = (MessageAllowance::new(Time::ZERO), 0);
        // It is asked every millisecond, as when other things of this connection happen. Each time
        // a whole batch is ready.
        for ms in 0..SECONDS as u64 * 1000 {
            if allowance.opens_at(Time::ZERO + Duration::from_millis(ms)).is_none() {
                (0..BATCH).for_each(|_| allowance.take(&Message::Have(1)));
                taken += BATCH;
            }
        }
        assert!(taken <= BURST + SECONDS * PER_SECOND + BATCH, "{taken}");
    }

    #[test]
    fn who_is_served_or_serves_is_never_waited_for() {
        let mut allowance = MessageAllowance::new(Time::ZERO);
        let request = Message::Request(bt_types::RawBlock { piece: 0, begin: 0, len: 16_384 });
        for _ in 0..BURST * 2 {
            allowance.take(&request);
            allowance.take(&Message::Have(0));
            allowance.credit(1);
            allowance.take(&Message::Piece { piece: 0, begin: 0, data: Bytes::new() });
            assert_eq!(allowance.opens_at(Time::ZERO), None);
        }
    }

    #[test]
    fn long_messages_count_more() {
        let mut allowance = MessageAllowance::new(Time::ZERO);
        let long = Message::Extended { id: 1, payload: Bytes::from(vec![0; 64 * 1024]) };
        let mut taken = 0;
        while allowance.opens_at(Time::ZERO).is_none() {
            allowance.take(&long);
            taken += 1;
        }
        assert!((1000..1100).contains(&taken), "{taken}");
    }
}
