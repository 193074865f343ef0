//! Holds the messages to each connection until the engine's outputs are taken: one outbox for a
//! connection, and the only way to send to it.
//!
//! Decides: the order in which connections are sent to. Must not know: what a message means.
//! Invariant: messages of one connection keep their order, and leave together.

use crate::io::{Output, PeerKey};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use bt_peer_wire::Message;

/// The outboxes of all connections of an engine.
#[derive(Debug, Default)]
pub(crate) struct Outboxes {
    /// The messages of each connection that has some.
    waiting: BTreeMap<PeerKey, Vec<Message>>,
    /// These connections, in the order of their first messages; and some that have been flushed
    /// or closed since.
    order: VecDeque<PeerKey>,
}

impl Outboxes {
    /// Queues messages for a connection.
    pub(crate) fn send(&mut self, peer: PeerKey, messages: impl IntoIterator<Item = Message>) {
        let mut messages = messages.into_iter().peekable();
        if messages.peek().is_some() {
            let outbox = self.waiting.entry(peer).or_insert_with(|| {
                self.order.push_back(peer);
                Vec::new()
            });
            outbox.extend(messages);
        }
    }

    /// Orders the messages of a connection now, ahead of the orders that follow.
    pub(crate) fn flush(&mut self, peer: PeerKey, out: &mut VecDeque<Output>) {
        out.extend(self.waiting.remove(&peer).map(|messages| Output::Send(peer, messages)));
    }

    /// Orders all messages.
    pub(crate) fn flush_all(&mut self, out: &mut VecDeque<Output>) {
        while let Some(peer) = self.order.pop_front() {
            self.flush(peer, out);
        }
    }

    /// Drops the messages to a connection that ended.
    pub(crate) fn forget(&mut self, peer: PeerKey) {
        self.waiting.remove(&peer);
    }
}
