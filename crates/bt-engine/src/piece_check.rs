//! Handles a piece that the store checked, and the peers that sent it: parole and smart ban.
//!
//! Decides: which peers are believed, put on parole and banned. Must not know: how pieces are
//! chosen or checked.
//! Invariant: a peer is banned only when it is certain that its bytes were wrong.

use crate::close_reason::CloseReason;
use crate::ctx::Ctx;
use crate::io::Event;
use crate::sources::SourceId;
use crate::torrent::Torrent;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use bt_peer_wire::Message;
use bt_types::{Block, Piece, PieceCheck};

/// Most sources remembered for their part in a piece that failed.
const PAROLE_MAX: usize = 4096;
/// Most connected peers that are told of each new piece at once. If there are more, they are told
/// of several pieces together, once a second.
const TOLD_AT_ONCE_MAX: usize = 128;

impl Torrent {
    /// Takes the result of a check.
    pub(crate) fn checked(&mut self, ctx: &mut Ctx<'_>, piece: Piece, verdict: PieceCheck) {
        match verdict {
            PieceCheck::Good => self.piece_good(ctx, piece),
            PieceCheck::Bad => self.piece_bad(ctx, piece),
        }
    }

    fn piece_good(&mut self, ctx: &mut Ctx<'_>, piece: Piece) {
        self.is_checked(piece, true);
        if let [sender] = self.blocks.block_picker().close(piece)[..]
            && self.sources.on_parole.remove(&sender)
        {
            self.peers
                .values_mut()
                .filter(|peer| peer.source == sender)
                .for_each(|peer| peer.requests.on_parole = false);
        }
        let Some(was_missing) = self.pieces.verified(piece) else { return };
        self.stats.downloaded += self.pieces.len(piece);
        ctx.event(self.swarm.key, Event::Piece(piece));
        for peer in self.peers.values_mut() {
            if peer.pieces.has.has(piece) {
                peer.pieces.wanted = peer.pieces.wanted.saturating_sub(u32::from(was_missing));
                Self::update_interest(ctx, peer);
            }
        }
        self.pieces.unannounced.push(piece);
        if self.peers.len() <= TOLD_AT_ONCE_MAX {
            self.send_haves(ctx);
        }
        // The torrent may become complete long after all wanted pieces: trackers are told then.
        if (was_missing && self.is_done()) || self.is_complete() {
            self.done(ctx);
        }
    }

    /// Announces the new pieces to all peers except seeds, also to peers that have them: a
    /// super-seed must know which pieces are out.
    pub(crate) fn send_haves(&mut self, ctx: &mut Ctx<'_>) {
        let new = core::mem::take(&mut self.pieces.unannounced);
        if new.is_empty() {
            return;
        }
        for peer in self.peers.values_mut().filter(|peer| !peer.pieces.has.is_full()) {
            ctx.send_all(peer.outbox, new.iter().map(|piece| Message::Have(piece.number())));
        }
    }

    /// Lets the owner of a piece work on more pieces at a time, if the piece was right. The
    /// peer may have waited for that.
    fn is_checked(&mut self, piece: Piece, right: bool) {
        if let Some(peer) =
            self.blocks.block_picker().owner(piece).and_then(|owner| self.peers.get_mut(&owner))
        {
            peer.requests.unproven = peer.requests.unproven.saturating_sub(1);
            peer.requests.proven += u32::from(right);
            if peer.requests.wants_requests {
                self.blocks.block_picker().look_again();
            }
        }
    }

    fn piece_bad(&mut self, ctx: &mut Ctx<'_>, piece: Piece) {
        let len = self.pieces.len(piece);
        self.stats.wasted += len;
        self.stats.bad += len;
        self.is_checked(piece, false);
        self.stats.bad_pieces = self.stats.bad_pieces.saturating_add(1);
        let senders = self.blocks.block_picker().fail(piece);
        let addrs = senders.iter().filter_map(|&id| Some(self.sources.get(id)?.addr)).collect();
        ctx.event(self.swarm.key, Event::BadPiece(piece, addrs));
        if let [liar] = senders[..] {
            return self.ban(ctx, liar);
        }
        for peer in self.peers.values_mut().filter(|peer| senders.contains(&peer.source)) {
            peer.requests.on_parole = true;
        }
        let room = PAROLE_MAX.saturating_sub(self.sources.on_parole.len());
        self.sources.on_parole.extend(senders.into_iter().take(room));
    }

    /// Forgets pieces that were good and are lost: they are wanted again if they were wanted
    /// before, and served to no peer.
    pub(crate) fn lost(&mut self, ctx: &mut Ctx<'_>, pieces: &[Piece]) {
        let was_done = self.is_done();
        // A super-seed has all pieces.
        self.end_super_seeding(ctx);
        for &piece in pieces {
            self.is_checked(piece, true);
            self.blocks.block_picker().lose(piece);
            if self.pieces.lost(piece, self.blocks.is_wanted(piece)) {
                for peer in self.peers.values_mut().filter(|peer| peer.pieces.has.has(piece)) {
                    peer.pieces.wanted += 1;
                    Self::update_interest(ctx, peer);
                }
            }
        }
        // It may be all pieces, and many peers: each is looked at once.
        self.pieces.unannounced.retain(|piece| self.pieces.have.has(*piece));
        for peer in self.peers.values_mut() {
            let (kept, gone): (_, VecDeque<Block>) = peer
                .uploads
                .waiting
                .drain(..)
                .partition(|block| self.pieces.have.has(block.piece()));
            peer.uploads.waiting = kept;
            if peer.fast {
                ctx.send_all(
                    peer.outbox,
                    gone.into_iter().map(|block| Message::Reject(block.raw())),
                );
            }
        }
        if was_done && !self.is_done() {
            self.resume(ctx);
        }
        self.fill_all_pipelines(ctx);
    }

    /// Bans the peers that sent these wrong blocks. The blocks belong to a failed attempt at a
    /// piece that is right now.
    pub(crate) fn audited(&mut self, ctx: &mut Ctx<'_>, wrong: &[Block]) {
        let liars: BTreeSet<SourceId> =
            wrong.iter().filter_map(|&block| self.blocks.block_picker().suspect(block)).collect();
        liars.into_iter().for_each(|liar| self.ban(ctx, liar));
    }

    fn ban(&mut self, ctx: &mut Ctx<'_>, liar: SourceId) {
        if let Some(stat) = self.sources.get(liar) {
            // Several pieces of the same source may turn out wrong.
            let is_news = !self.swarm.peer_list.is_banned(stat.addr);
            self.stats.banned = self.stats.banned.saturating_add(u32::from(is_news));
            self.swarm.peer_list.ban(stat.addr);
        }
        // Other connections of its host are closed too: they would poison the next piece.
        let peer_list = &self.swarm.peer_list;
        let connected = self
            .peers
            .values()
            .filter(|peer| peer.source == liar || peer_list.is_banned(peer.addr));
        let connected = connected.map(|peer| {
            (
                peer.key,
                if peer.source == liar { CloseReason::BadPiece } else { CloseReason::Banned },
            )
        });
        for (peer, why) in connected.collect::<Vec<_>>() {
            self.hang_up(ctx, peer, why);
        }
    }
}
