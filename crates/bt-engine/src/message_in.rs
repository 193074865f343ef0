//! Gives each message of a peer to the part of its torrent that handles it.
//!
//! Decides: which messages may come when. Must not know: what a message changes.
//! Invariant: an error ends the connection.

use crate::bandwidth_queue::BandwidthQueue;
use crate::close_reason::CloseReason;
use crate::config::{Budget, Config};
use crate::fast;
use crate::io::{Output, PeerKey};
use crate::torrent::Torrent;
use alloc::collections::VecDeque;
use bt_peer_wire::Message;
use bt_types::{Bitfield, RawBlock, Time};

/// The parts of the engine that a torrent may use while it acts.
pub(crate) struct Shared<'a> {
    pub(crate) config: &'a Config,
    pub(crate) budget: &'a Budget,
    pub(crate) uplink: &'a mut BandwidthQueue,
    pub(crate) out: &'a mut VecDeque<Output>,
}

impl Shared<'_> {
    pub(crate) fn join_uplink(&mut self, torrent: &mut Torrent, peer: PeerKey) {
        if torrent.joins_uplink(peer) {
            self.uplink.join(torrent.swarm.key, peer);
        }
    }
}

/// Takes one message of a peer. An error ends the connection.
pub(crate) fn message_in(
    now: Time,
    torrent: &mut Torrent,
    key: PeerKey,
    message: Message,
    engine: &mut Shared<'_>,
) -> Result<(), CloseReason> {
    let pieces = torrent.pieces.geometry.piece_count();
    let Some(peer) = torrent.peers.get_mut(&key) else { return Ok(()) };
    if !peer.fast && fast::is_fast_only(&message) {
        return Err(CloseReason::NotFast);
    }
    match message {
        Message::Bitfield(bits) if !peer.pieces.may_send_bitfield => {
            return torrent.peer_has_these_too(now, key, Bitfield::from_wire(&bits, pieces));
        }
        Message::Bitfield(bits) => {
            return torrent.peer_has_these(key, Bitfield::from_wire(&bits, pieces));
        }
        Message::HaveAll => return torrent.peer_has_these(key, Some(Bitfield::full(pieces))),
        Message::HaveNone => return torrent.peer_has_these(key, Some(Bitfield::empty(pieces))),
        // The extension handshake may come before the bitfield, as may keep-alives.
        Message::Extended { id, payload } => {
            return torrent.extended(now, key, id, &payload, engine.config);
        }
        Message::Port(port) => {
            torrent.swarm.dht_node(key, port, engine.config, engine.out);
            return Ok(());
        }
        Message::KeepAlive | Message::Unknown(_) => return Ok(()),
        _ => peer.pieces.may_send_bitfield = false,
    }
    match message {
        Message::Choke => torrent.choked_us(key, engine.out),
        Message::Unchoke => peer.choking.peer_choking = false,
        Message::Interested => {
            peer.choking.peer_interested = true;
            torrent.sources.is_interested(peer.source);
            torrent.unchoke_if_free(now, key, engine.budget);
        }
        Message::NotInterested => {
            peer.choking.peer_interested = false;
            torrent.not_interested(now, key);
        }
        Message::Have(piece) => torrent.peer_has(now, key, piece)?,
        Message::Request(raw) => {
            torrent.requested(now, key, raw);
            engine.join_uplink(torrent, key);
        }
        Message::Piece { piece, begin, data } => {
            // A payload is at most 16 KiB: the connection refused anything longer.
            let raw = RawBlock { piece, begin, len: data.len() as u32 };
            torrent.received(now, key, raw, data, engine.out)?;
        }
        Message::Cancel(raw) => torrent.cancelled(key, raw),
        Message::Reject(raw) => torrent.rejected(key, raw, engine.out)?,
        Message::Suggest(piece) => torrent.suggested(key, piece),
        Message::AllowedFast(piece) => torrent.allowed_fast(key, piece),
        _ => {}
    }
    Ok(())
}
