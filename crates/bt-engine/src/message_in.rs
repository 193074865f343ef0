//! Gives each message of a peer to the part of its torrent that handles it.
//!
//! Decides: which messages may come when. Must not know: what a message changes.
//! Invariant: an error ends the connection.

use crate::backlog::may_precede_bitfield;
use crate::close_reason::CloseReason;
use crate::ctx::Ctx;
use crate::fast;
use crate::io::PeerKey;
use crate::torrent::Torrent;
use bt_peer_wire::Message;
use bt_types::{Bitfield, RawBlock};

/// Takes one message of a peer. An error ends the connection.
pub(crate) fn message_in(
    ctx: &mut Ctx<'_>,
    torrent: &mut Torrent,
    key: PeerKey,
    message: Message,
) -> Result<(), CloseReason> {
    let pieces = torrent.pieces.geometry.piece_count();
    let Some(peer) = torrent.peers.get_mut(&key) else { return Ok(()) };
    if !peer.fast && fast::is_fast_only(&message) {
        return Err(CloseReason::NotFast);
    }
    let is_bitfield =
        matches!(message, Message::Bitfield(_) | Message::HaveAll | Message::HaveNone);
    if !is_bitfield && !may_precede_bitfield(&message) {
        peer.pieces.may_send_bitfield = false;
    }
    match message {
        Message::Bitfield(bits) => {
            let has = Bitfield::from_wire(&bits, pieces);
            if peer.pieces.may_send_bitfield {
                torrent.peer_has_these(ctx, key, has)?;
            } else {
                torrent.peer_has_these_too(ctx, key, has)?;
            }
        }
        Message::HaveAll => torrent.peer_has_these(ctx, key, Some(Bitfield::full(pieces)))?,
        Message::HaveNone => torrent.peer_has_these(ctx, key, Some(Bitfield::empty(pieces)))?,
        Message::Extended { id, payload } => torrent.extended(ctx, key, id, &payload)?,
        Message::Port(port) => torrent.swarm.dht_node(ctx, key, port),
        Message::KeepAlive | Message::Unknown(_) => {}
        Message::Choke => torrent.choked_us(ctx, key),
        Message::Unchoke => peer.choking.peer_choking = false,
        Message::Interested => {
            peer.choking.peer_interested = true;
            torrent.sources.is_interested(peer.source);
            torrent.unchoke_if_free(ctx, key);
        }
        Message::NotInterested => {
            peer.choking.peer_interested = false;
            torrent.not_interested(ctx, key);
        }
        Message::Have(piece) => torrent.peer_has(ctx, key, piece)?,
        Message::Request(raw) => torrent.requested(ctx, key, raw),
        Message::Piece { piece, begin, data } => {
            // A payload is at most 16 KiB: the connection refused anything longer.
            let raw = RawBlock { piece, begin, len: data.len() as u32 };
            torrent.received(ctx, key, raw, data)?;
        }
        Message::Cancel(raw) => torrent.cancelled(ctx, key, raw),
        Message::Reject(raw) => torrent.rejected(ctx, key, raw)?,
        Message::Suggest(piece) => torrent.suggested(key, piece),
        Message::AllowedFast(piece) => torrent.allowed_fast(key, piece),
    }
    Ok(())
}
