//! Limits how much of our metadata one peer gets (BEP 9).
//!
//! Decides: which request is answered, and when. Must not know: the bytes, the connection.
//! Invariant: over its connection a peer gets at most [`COPIES`] times the metadata, and at most
//! [`BURST`] parts in a second.

use alloc::collections::VecDeque;
use bt_peer_wire::METADATA_PART;

/// Times that a peer may get the metadata: once, and again for parts that it lost.
const COPIES: u32 = 2;
/// Parts that are sent between two refills, a second apart: 1 MiB. Further requests wait.
const BURST: u32 = 64;

/// The metadata account of one peer.
#[derive(Debug)]
pub(crate) struct MetadataUpload {
    /// The number of parts of the metadata.
    parts: u32,
    /// Parts that it may still be sent, beyond the waiting parts.
    left: u32,
    /// Parts that may be sent before the next refill.
    burst: u32,
    waiting: VecDeque<u32>,
}

/// The answer to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Send the part now.
    Send,
    /// The part is sent after a refill.
    Later,
    /// Reject the request.
    Reject,
}

impl MetadataUpload {
    /// Makes the account for metadata of `metadata_len` bytes; 0 means that there is none.
    pub(crate) fn new(metadata_len: usize) -> MetadataUpload {
        let parts = u32::try_from(metadata_len).unwrap_or(0).div_ceil(METADATA_PART);
        MetadataUpload {
            parts,
            left: parts.saturating_mul(COPIES),
            burst: BURST,
            waiting: VecDeque::new(),
        }
    }

    /// Takes a peer's request for a part.
    pub(crate) fn ask(&mut self, part: u32) -> Answer {
        if part >= self.parts || self.left == 0 {
            return Answer::Reject;
        }
        self.left -= 1;
        if self.burst == 0 {
            self.waiting.push_back(part);
            return Answer::Later;
        }
        self.burst -= 1;
        Answer::Send
    }

    /// Returns the parts to send now, once a second.
    pub(crate) fn refill(&mut self) -> impl Iterator<Item = u32> + '_ {
        let count = self.waiting.len().min(BURST as usize);
        self.burst = BURST - u32::try_from(count).unwrap_or(BURST);
        self.waiting.drain(..count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn metadata_is_sent_to_a_peer_twice_and_within_its_rate() {
        let mut metadata_upload = MetadataUpload::new(METADATA_PART as usize * 99 + 1);
        let answers: Vec<Answer> = (0..201).map(|n| metadata_upload.ask(n % 100)).collect();
        let count = |answer| answers.iter().filter(|given| **given == answer).count();
        assert_eq!(
            (count(Answer::Send), count(Answer::Later), count(Answer::Reject)),
            (64, 136, 1)
        );
        let sent: Vec<Vec<u32>> = (0..4).map(|_| metadata_upload.refill().collect()).collect();
        assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 8, 0]);
        assert!(
            sent.concat().into_iter().eq((64..200).map(|n| n % 100)),
            "in the order in which they were asked for"
        );
    }

    #[test]
    fn what_is_not_there_is_rejected() {
        assert_eq!(MetadataUpload::new(0).ask(0), Answer::Reject);
        let mut one = MetadataUpload::new(METADATA_PART as usize);
        assert_eq!(
            [0, 1, u32::MAX].map(|part| one.ask(part)),
            [Answer::Send, Answer::Reject, Answer::Reject]
        );
    }
}
