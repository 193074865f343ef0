//! Keeps what a peer said before its torrent's metadata was there, so that the torrent can hear it
//! later.
//!
//! Decides: what is worth keeping. Must not know: the torrent.
//! Invariant: holds at most one bitfield, [`HAVES_MAX`] piece numbers and [`HINTS_MAX`] hints,
//! whatever the peer says.

use crate::close_reason::CloseReason;
use crate::fast;
use alloc::vec::Vec;
use bt_peer_wire::{ExtendedHandshake, Message};
use bytes::Bytes;

/// Most `have` messages kept for a peer: 64 KiB of piece numbers. The engine closes the connection
/// of a peer that sends more, and sends no more itself.
pub(crate) const HAVES_MAX: usize = 16 * 1024;
/// Most hints (BEP 6) kept for a peer; later ones are dropped.
const HINTS_MAX: usize = 32;

/// The messages of one peer that still hold.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    hello: Option<ExtendedHandshake>,
    /// A bitfield, or have-all or have-none.
    has: Option<Message>,
    /// The peer sent a message, so that have-all and have-none come too late.
    has_begun: bool,
    haves: Vec<u32>,
    hints: Vec<Message>,
    unchokes: bool,
    interested: bool,
}

impl Backlog {
    /// Takes a message of the peer. Returns the message to answer at once, if there is one.
    pub(crate) fn on_message(
        &mut self,
        message: Message,
        fast: bool,
    ) -> Result<Option<Message>, CloseReason> {
        if !fast && fast::is_fast_only(&message) {
            return Err(CloseReason::NotFast);
        }
        if may_precede_bitfield(&message) {
            return Ok(None);
        }
        let has_begun = core::mem::replace(&mut self.has_begun, true);
        match message {
            // A copy, because the buffer that it came in holds much else. A second bitfield has all
            // that the first had.
            Message::Bitfield(bits) => {
                self.has = Some(Message::Bitfield(Bytes::copy_from_slice(&bits)))
            }
            Message::HaveAll | Message::HaveNone if has_begun => {
                return Err(CloseReason::Bitfield);
            }
            Message::HaveAll | Message::HaveNone => self.has = Some(message),
            Message::Have(_) if self.haves.len() == HAVES_MAX => return Err(CloseReason::Backlog),
            Message::Have(piece) => self.haves.push(piece),
            Message::Suggest(_) | Message::AllowedFast(_) if self.hints.len() < HINTS_MAX => {
                self.hints.push(message)
            }
            Message::Choke => self.unchokes = false,
            Message::Unchoke => self.unchokes = true,
            Message::Interested => self.interested = true,
            Message::NotInterested => self.interested = false,
            Message::Request(block) if fast => return Ok(Some(Message::Reject(block))),
            Message::Piece { .. } => return Err(CloseReason::Unrequested),
            // Without the fast extension a choked peer's request is not answered.
            Message::Request(_) => {}
            // Hints beyond the bound. A reject or cancel of what was never asked.
            Message::Suggest(_)
            | Message::AllowedFast(_)
            | Message::Reject(_)
            | Message::Cancel(_) => {}
            // They change nothing here.
            Message::Extended { .. }
            | Message::KeepAlive
            | Message::Unknown(_)
            | Message::Port(_) => {}
        }
        Ok(None)
    }

    /// Takes the peer's extension handshake, or a later one, which says only what has changed.
    pub(crate) fn on_extended_handshake(&mut self, hello: ExtendedHandshake) {
        match &mut self.hello {
            Some(said) => said.learn(hello),
            None => self.hello = Some(hello),
        }
    }

    /// Returns the same in fewer messages, in an order that the protocol allows.
    pub(crate) fn into_messages(self) -> Vec<Message> {
        let hello =
            self.hello.map(|hello| Message::Extended { id: 0, payload: hello.to_bytes().into() });
        let mut messages: Vec<Message> = hello.into_iter().chain(self.has).collect();
        messages.extend(self.haves.into_iter().map(Message::Have));
        messages.extend(self.hints);
        messages.extend(self.unchokes.then_some(Message::Unchoke));
        messages.extend(self.interested.then_some(Message::Interested));
        messages
    }
}

/// Returns whether a message may come before the bitfield: the extension handshake may, and so may
/// keep-alives.
pub(crate) fn may_precede_bitfield(message: &Message) -> bool {
    match message {
        Message::Extended { .. } | Message::Port(_) | Message::KeepAlive | Message::Unknown(_) => {
            true
        }
        Message::Choke
        | Message::Unchoke
        | Message::Interested
        | Message::NotInterested
        | Message::Have(_)
        | Message::Bitfield(_)
        | Message::Request(_)
        | Message::Piece { .. }
        | Message::Cancel(_)
        | Message::Suggest(_)
        | Message::HaveAll
        | Message::HaveNone
        | Message::Reject(_)
        | Message::AllowedFast(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_types::RawBlock;
    use std::vec;

    #[test]
    fn only_what_still_holds_is_kept() {
        let mut backlog = Backlog::default();
        let bits = |byte| Message::Bitfield(Bytes::copy_from_slice(&[byte]));
        let said = [
            Message::KeepAlive,
            bits(0x80),
            Message::Have(3),
            Message::Unchoke,
            Message::Choke,
            Message::Interested,
            Message::AllowedFast(2),
            Message::Unchoke,
            bits(0x90),
            Message::Port(1),
        ];
        for message in said {
            assert_eq!(backlog.on_message(message, true), Ok(None));
        }
        backlog.on_extended_handshake(ExtendedHandshake {
            port: Some(7),
            upload_only: Some(true),
            ..ExtendedHandshake::default()
        });
        backlog.on_extended_handshake(ExtendedHandshake {
            upload_only: Some(false),
            ..ExtendedHandshake::default()
        });
        let hello = ExtendedHandshake {
            port: Some(7),
            upload_only: Some(false),
            ..ExtendedHandshake::default()
        };
        let kept = vec![
            Message::Extended { id: 0, payload: hello.to_bytes().into() },
            bits(0x90),
            Message::Have(3),
            Message::AllowedFast(2),
            Message::Unchoke,
            Message::Interested,
        ];
        assert_eq!(backlog.into_messages(), kept);
    }

    #[test]
    fn what_cannot_be_kept_or_may_not_be_said_is_a_reason_to_leave() {
        let block = RawBlock { piece: 0, begin: 0, len: 1 };
        let mut backlog = Backlog::default();
        assert_eq!(
            backlog.on_message(Message::Request(block), true),
            Ok(Some(Message::Reject(block)))
        );
        assert_eq!(backlog.on_message(Message::Request(block), false), Ok(None));
        assert_eq!(backlog.on_message(Message::HaveAll, true), Err(CloseReason::Bitfield));
        assert_eq!(backlog.on_message(Message::Suggest(1), false), Err(CloseReason::NotFast));
        let piece = Message::Piece { piece: 0, begin: 0, data: Bytes::from_static(b"x") };
        assert_eq!(backlog.on_message(piece, true), Err(CloseReason::Unrequested));
        let mut outcomes =
            (0..=HAVES_MAX as u32).map(|n| backlog.on_message(Message::Have(n), true));
        assert!(outcomes.by_ref().take(HAVES_MAX).all(|outcome| outcome == Ok(None)));
        assert_eq!(outcomes.next(), Some(Err(CloseReason::Backlog)));
        (0..1000).for_each(|n| drop(backlog.on_message(Message::AllowedFast(n), true)));
        assert_eq!(backlog.into_messages().len(), HAVES_MAX + HINTS_MAX);
    }
}
