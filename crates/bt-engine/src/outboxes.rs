//! Holds the messages to each connection until the engine's outputs are taken: one outbox for a
//! connection.
//!
//! Decides: the order in which connections are sent to. Must not know: what a message means.
//! Invariant: messages of one connection keep their order, and leave together. Sending costs the
//! same however many connections there are.

use crate::io::{Output, PeerKey};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bt_peer_wire::Message;

/// The place of a connection's outbox, from its opening to its closing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OutboxKey(usize);

/// The outboxes of all connections of an engine.
#[derive(Debug, Default)]
pub(crate) struct Outboxes {
    outboxes: Vec<Outbox>,
    /// The places of closed ones.
    free: Vec<OutboxKey>,
    /// Outboxes with messages, in the order of their first ones; and some without.
    waiting: VecDeque<OutboxKey>,
}

#[derive(Debug)]
struct Outbox {
    peer: PeerKey,
    messages: Vec<Message>,
}

impl Outboxes {
    /// Opens the outbox of a connection.
    pub(crate) fn open(&mut self, peer: PeerKey) -> OutboxKey {
        let key = self.free.pop().unwrap_or(OutboxKey(self.outboxes.len()));
        match self.outboxes.get_mut(key.0) {
            Some(outbox) => outbox.peer = peer,
            None => self.outboxes.push(Outbox { peer, messages: Vec::new() }),
        }
        key
    }

    /// Drops the messages to a connection that ended. The key must not be used again.
    pub(crate) fn close(&mut self, key: OutboxKey) {
        if let Some(outbox) = self.outboxes.get_mut(key.0) {
            outbox.messages = Vec::new();
            self.free.push(key);
        }
    }

    /// Queues messages.
    pub(crate) fn send(&mut self, key: OutboxKey, messages: impl IntoIterator<Item = Message>) {
        let Some(outbox) = self.outboxes.get_mut(key.0) else { return };
        if outbox.messages.is_empty() {
            self.waiting.push_back(key);
        }
        outbox.messages.extend(messages);
    }

    /// Orders the messages of a connection now, ahead of the orders that follow.
    pub(crate) fn flush(&mut self, key: OutboxKey, out: &mut VecDeque<Output>) {
        if let Some(outbox) = self.outboxes.get_mut(key.0)
            && !outbox.messages.is_empty()
        {
            out.push_back(Output::Send(outbox.peer, core::mem::take(&mut outbox.messages)));
        }
    }

    /// Orders all messages.
    pub(crate) fn flush_all(&mut self, out: &mut VecDeque<Output>) {
        while let Some(key) = self.waiting.pop_front() {
            self.flush(key, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_in_order_and_never_to_a_closed_connection() {
        let (mut outboxes, mut out) = (Outboxes::default(), VecDeque::new());
        let [a, b] = [1, 2].map(|peer| outboxes.open(PeerKey(peer)));
        outboxes.send(b, [Message::Choke]);
        outboxes.send(a, [Message::Unchoke]);
        outboxes.send(b, [Message::Interested, Message::HaveAll]);
        outboxes.close(a);
        let c = outboxes.open(PeerKey(3));
        assert_eq!(c, a, "the place is used again");
        outboxes.send(c, [Message::HaveNone]);
        outboxes.send(b, []);
        outboxes.flush(c, &mut out);
        outboxes.flush_all(&mut out);
        let sent = |output| match output {
            Output::Send(peer, messages) => (peer.0, messages),
            _ => panic!("no other output"),
        };
        let sent: Vec<_> = out.into_iter().map(sent).collect();
        let to_b = [Message::Choke, Message::Interested, Message::HaveAll].to_vec();
        assert_eq!(sent, [(3, [Message::HaveNone].to_vec()), (2, to_b)]);
    }
}
