//! What each part of the engine may use while it acts: the moment, the settings, the limits, and
//! the ways out.
//!
//! Decides: nothing. Must not know: torrents.
//! Invariant: it lives for one act of one torrent or magnet.

use crate::config::{Budget, Config};
use crate::io::{Event, Output, PeerKey, TorrentKey};
use crate::outboxes::{OutboxKey, Outboxes};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bt_peer_wire::Message;
use bt_types::Time;

/// The surroundings of an act of a torrent or magnet.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Time,
    pub(crate) config: &'a Config,
    /// Its part, at this moment, of what all torrents share.
    pub(crate) budget: &'a Budget,
    /// The process has room for another connection.
    pub(crate) has_room: bool,
    pub(crate) outboxes: &'a mut Outboxes,
    pub(crate) out: &'a mut VecDeque<Output>,
}

impl Ctx<'_> {
    /// Sends a message to a peer, together with what else it is sent in this act.
    pub(crate) fn send(&mut self, outbox: OutboxKey, message: Message) {
        self.outboxes.send(outbox, [message]);
    }

    /// Sends messages to a peer.
    pub(crate) fn send_all(
        &mut self,
        outbox: OutboxKey,
        messages: impl IntoIterator<Item = Message>,
    ) {
        self.outboxes.send(outbox, messages);
    }

    /// Sends messages to a peer ahead of those that wait in its outbox: their order does not
    /// matter.
    pub(crate) fn send_at_once(&mut self, peer: PeerKey, messages: Vec<Message>) {
        self.out.push_back(Output::Send(peer, messages));
    }

    /// Tells a user or program what happened.
    pub(crate) fn event(&mut self, torrent: TorrentKey, event: Event) {
        self.out.push_back(Output::Event(torrent, event));
    }
}

/// Lets a part act on its own, at the start of time.
#[cfg(test)]
pub(crate) fn with_ctx<T>(config: &Config, act: impl FnOnce(&mut Ctx<'_>) -> T) -> T {
    let (mut outboxes, mut out) = (Outboxes::default(), VecDeque::new());
    act(&mut Ctx {
        now: Time::ZERO,
        config,
        budget: &Budget::default(),
        has_room: true,
        outboxes: &mut outboxes,
        out: &mut out,
    })
}
