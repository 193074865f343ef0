//! Handles what a torrent wants: pieces, their order, and what peers and trackers are told when
//! nothing more is wanted (BEP 21).
//!
//! Decides: when a download is done. Must not know: files, how pieces are sorted.
//! Invariant: `missing` is the set of pieces that are wanted and missing; `wanted` of each peer
//! counts the pieces of that set at the peer.

use crate::close_reason::CloseReason;
use crate::ctx::Ctx;
use crate::io::{Event, Output, PeerKey};
use crate::peer::Peer;
use crate::torrent::Torrent;
use alloc::vec;
use alloc::vec::Vec;
use bt_model::Priority;
use bt_peer_wire::{ExtendedHandshake, Message};
use bt_types::{Piece, Time};
use bytes::Bytes;
use core::ops::Range;

impl Torrent {
    /// Returns whether every piece is verified and written.
    pub(crate) fn is_complete(&self) -> bool {
        self.pieces.have.is_full()
    }

    /// Returns whether every wanted piece is verified and written.
    pub(crate) fn is_done(&self) -> bool {
        self.pieces.missing.is_empty()
    }

    /// Returns whether we lack something and want nothing more (BEP 21).
    pub(crate) fn is_partial(&self) -> bool {
        self.is_done() && !self.is_complete()
    }

    /// Returns whether we announce `upload_only`. Not while super-seeding: some peers disconnect a
    /// peer that seems to have nothing and to want nothing.
    pub(crate) fn is_upload_only(&self) -> bool {
        self.is_done() && self.super_seeder.is_none()
    }

    /// Gives the files their priorities. Nothing happens if they have them already.
    pub(crate) fn set_files(&mut self, ctx: &mut Ctx<'_>) {
        let changes = self.changed_priorities();
        if changes.is_empty() {
            return;
        }
        let was_done = self.is_done();
        let given_up = self.blocks.block_picker().prioritise(&changes);
        self.give_up(ctx, given_up);
        self.count_wanted();
        for peer in self.peers.values_mut() {
            peer.pieces.wanted = peer.pieces.has.count_common(&self.pieces.missing);
            Self::update_interest(ctx, peer);
        }
        match (was_done, self.is_done()) {
            (false, true) => self.done(ctx),
            (true, false) => self.resume(ctx),
            (true, true) | (false, false) => {}
        }
    }

    /// Returns the pieces whose priority differs from that of their files, in runs. A piece of
    /// several files has the highest of their priorities, and one of none is wanted.
    pub(crate) fn changed_priorities(&self) -> Vec<(Range<u32>, Priority)> {
        let count = self.pieces.geometry.piece_count() as usize;
        let mut wanted = vec![None; count];
        let whole = 0..self.pieces.geometry.piece_count();
        let files = match &self.pieces.files[..] {
            [] => core::slice::from_ref(&whole),
            files => files,
        };
        for (number, pieces) in files.iter().enumerate() {
            let priority = self.settings.file(number);
            let (start, end) = (pieces.start as usize, (pieces.end as usize).min(count));
            for piece in wanted.get_mut(start..end).unwrap_or_default() {
                *piece = (*piece).max(Some(priority));
            }
        }
        let mut changes: Vec<(Range<u32>, Priority)> = Vec::new();
        for (piece, priority) in self.pieces.geometry.pieces().zip(wanted) {
            let (number, priority) = (piece.number(), priority.unwrap_or_default());
            match changes.last_mut() {
                _ if self.blocks.priority(piece) == priority => {}
                Some((run, same)) if run.end == number && *same == priority => run.end += 1,
                Some(_) | None => changes.push((number..number + 1, priority)),
            }
        }
        changes
    }

    /// Sets the deadline of these pieces; `None` takes it back.
    pub(crate) fn set_deadline(&mut self, ctx: &mut Ctx<'_>, pieces: Range<u32>, by: Option<Time>) {
        self.blocks.block_picker().set_deadline(pieces, by);
        self.fill_all_pipelines(ctx);
    }

    /// Counts anew what is wanted.
    pub(crate) fn count_wanted(&mut self) {
        self.pieces.count_wanted(|piece| self.blocks.is_wanted(piece));
    }

    /// Ends the download, because nothing wanted is missing: peers that want nothing either are
    /// disconnected.
    pub(crate) fn done(&mut self, ctx: &mut Ctx<'_>) {
        self.send_haves(ctx);
        if self.is_complete() {
            self.swarm.announcer.complete(ctx.now);
        } else {
            self.swarm.announcer.set_partial(ctx.now, true);
            self.send_upload_only(ctx, true);
        }
        ctx.event(self.swarm.key, Event::Complete);
        let idle: Vec<PeerKey> =
            self.peers.values().filter(|peer| peer.wants_nothing()).map(|peer| peer.key).collect();
        for peer in idle {
            self.hang_up(ctx, peer, CloseReason::BothSeeds);
        }
    }

    /// Resumes the download, because something is wanted again: disconnected seeds may be dialled
    /// again.
    pub(crate) fn resume(&mut self, ctx: &mut Ctx<'_>) {
        self.swarm.announcer.set_partial(ctx.now, false);
        self.send_upload_only(ctx, false);
        for addr in core::mem::take(&mut self.swarm.left_idle) {
            self.swarm.peer_list.closed(ctx.now, addr);
        }
    }

    /// Sends a further extension handshake with what has changed (BEP 10).
    fn send_upload_only(&mut self, ctx: &mut Ctx<'_>, upload_only: bool) {
        let hello =
            ExtendedHandshake { upload_only: Some(upload_only), ..ExtendedHandshake::default() };
        let payload = Bytes::from(hello.to_bytes());
        for peer in self.peers.values_mut().filter(|peer| peer.extended) {
            ctx.send(peer.outbox, Message::Extended { id: 0, payload: payload.clone() });
        }
    }

    /// Gives up pieces that get no blocks, because another torrent lacks room in the store.
    pub(crate) fn give_up_stalled(&mut self, ctx: &mut Ctx<'_>) {
        let stalled = self.blocks.block_picker().give_up_stalled();
        self.give_up(ctx, stalled);
    }

    /// Gives up open pieces: their requests are cancelled, and their blocks forgotten.
    fn give_up(&mut self, ctx: &mut Ctx<'_>, pieces: Vec<(Piece, Option<PeerKey>)>) {
        for owner in pieces.iter().filter_map(|(_, owner)| *owner) {
            if let Some(peer) = self.peers.get_mut(&owner) {
                peer.requests.unproven = peer.requests.unproven.saturating_sub(1);
            }
        }
        let pieces: Vec<Piece> = pieces.into_iter().map(|(piece, _)| piece).collect();
        for peer in self.peers.values_mut() {
            peer.requests.owned = peer.requests.owned.filter(|piece| !pieces.contains(piece));
            self.request_turns.unasked += peer.take_back(ctx, &pieces);
        }
        ctx.out.extend(pieces.into_iter().map(|piece| Output::Forget(self.swarm.key, piece)));
    }

    pub(crate) fn update_interest(ctx: &mut Ctx<'_>, peer: &mut Peer) {
        let wants = peer.pieces.wanted > 0;
        if wants != peer.choking.am_interested {
            peer.choking.am_interested = wants;
            ctx.send(peer.outbox, if wants { Message::Interested } else { Message::NotInterested });
        }
    }

    /// Refuses a peer that wants nothing while we want nothing.
    pub(crate) fn refuse_idle(&self, peer: PeerKey) -> Result<(), CloseReason> {
        let both = self.is_done() && self.peers.get(&peer).is_some_and(Peer::wants_nothing);
        if both { Err(CloseReason::BothSeeds) } else { Ok(()) }
    }
}
