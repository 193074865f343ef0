//! Handles a piece that the store checked, and the peers that sent it.
//!
//! Decides: which peers are believed, put on parole and banned. Must not know: how pieces are
//! chosen or checked.
//! Invariant: a peer is banned only when it is certain that its bytes were wrong.

use crate::config::Budget;
use crate::io::{Event, Output};
use crate::sources::SourceId;
use crate::status::CloseReason;
use crate::torrent::Torrent;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use bt_peer_wire::Message;
use bt_types::{Block, Piece, PieceCheck, Time};

/// Most sources remembered for their part in a piece that failed.
const PAROLE_MAX: usize = 4096;
/// Most connected peers that are told of each new piece at once. If there are more, they are told
/// of several pieces together, once a second.
const TOLD_AT_ONCE_MAX: usize = 128;

impl Torrent {
    /// Takes the result of a check.
    pub(crate) fn checked(
        &mut self,
        now: Time,
        piece: Piece,
        verdict: PieceCheck,
        out: &mut VecDeque<Output>,
    ) {
        match verdict {
            PieceCheck::Good => self.piece_good(now, piece, out),
            PieceCheck::Bad => self.piece_bad(now, piece, out),
        }
    }

    fn piece_good(&mut self, now: Time, piece: Piece, out: &mut VecDeque<Output>) {
        self.is_checked(piece, true);
        if let [sender] = self.work.block_picker().close(piece)[..]
            && self.on_parole.remove(&sender)
        {
            self.peers
                .values_mut()
                .filter(|peer| peer.source == sender)
                .for_each(|peer| peer.on_parole = false);
        }
        if !self.have.insert(piece) {
            return;
        }
        let len = u64::from(self.geometry.piece_len(piece));
        self.bytes_done += len;
        self.downloaded += len;
        out.push_back(Output::Event(self.key, Event::Piece(piece)));
        let was_missing = self.missing.remove(piece);
        self.bytes_missing -= if was_missing { len } else { 0 };
        for peer in self.peers.values_mut() {
            if peer.has.has(piece) {
                peer.wanted = peer.wanted.saturating_sub(u32::from(was_missing));
                Self::update_interest(peer, &mut self.dirty_outboxes);
            }
        }
        self.haves_pending.push(piece);
        if self.peers.len() <= TOLD_AT_ONCE_MAX {
            self.tell_haves();
        }
        // The torrent may become complete long after all wanted pieces: trackers are told then.
        if (was_missing && self.is_done()) || self.is_complete() {
            self.done(now, out);
        }
    }

    /// Announces the new pieces to all peers except seeds, also to peers that have them: a
    /// super-seed must know which pieces are out.
    pub(crate) fn tell_haves(&mut self) {
        let new = core::mem::take(&mut self.haves_pending);
        if new.is_empty() {
            return;
        }
        for peer in self.peers.values_mut().filter(|peer| !peer.has.is_full()) {
            peer.say_all(
                new.iter().map(|piece| Message::Have(piece.number())),
                &mut self.dirty_outboxes,
            );
        }
    }

    /// Lets the peer that led a piece work on more pieces at a time, if the piece was right. The
    /// peer may have waited for that.
    fn is_checked(&mut self, piece: Piece, right: bool) {
        if let Some(row) =
            self.work.block_picker().lead(piece).and_then(|lead| self.peers.get_mut(&lead))
        {
            row.unproven = row.unproven.saturating_sub(1);
            row.proven += u32::from(right);
            if row.hungry {
                self.work.block_picker().look_again();
            }
        }
    }

    fn piece_bad(&mut self, now: Time, piece: Piece, out: &mut VecDeque<Output>) {
        let len = u64::from(self.geometry.piece_len(piece));
        self.wasted += len;
        self.spoiled += len;
        self.is_checked(piece, false);
        self.bad_pieces = self.bad_pieces.saturating_add(1);
        let senders = self.work.block_picker().fail(piece);
        let addrs = senders.iter().filter_map(|&id| Some(self.sources.get(id)?.addr)).collect();
        out.push_back(Output::Event(self.key, Event::BadPiece(piece, addrs)));
        if let [liar] = senders[..] {
            return self.ban(now, liar, out);
        }
        for peer in self.peers.values_mut().filter(|peer| senders.contains(&peer.source)) {
            peer.on_parole = true;
        }
        let room = PAROLE_MAX.saturating_sub(self.on_parole.len());
        self.on_parole.extend(senders.into_iter().take(room));
    }

    /// Forgets pieces that were good and are lost: they are wanted again if they were wanted
    /// before, and served to no peer.
    pub(crate) fn lost(&mut self, now: Time, pieces: &[Piece], budget: &Budget) {
        let was_done = self.is_done();
        // A super-seed has all pieces.
        self.reveal_all();
        for &piece in pieces {
            self.is_checked(piece, true);
            self.work.block_picker().lose(piece);
            if !self.have.remove(piece) {
                continue;
            }
            let len = u64::from(self.geometry.piece_len(piece));
            self.bytes_done -= len;
            if self.work.is_wanted(piece) && self.missing.insert(piece) {
                self.bytes_missing += len;
                for peer in self.peers.values_mut().filter(|peer| peer.has.has(piece)) {
                    peer.wanted += 1;
                    Self::update_interest(peer, &mut self.dirty_outboxes);
                }
            }
        }
        // It may be all pieces, and many peers: each is looked at once.
        self.haves_pending.retain(|piece| self.have.has(*piece));
        for peer in self.peers.values_mut() {
            let (kept, gone): (_, VecDeque<Block>) =
                peer.uploads.drain(..).partition(|block| self.have.has(block.piece()));
            peer.uploads = kept;
            if peer.fast {
                peer.say_all(
                    gone.into_iter().map(|block| Message::Reject(block.raw())),
                    &mut self.dirty_outboxes,
                );
            }
        }
        if was_done && !self.is_done() {
            self.resume(now);
        }
        self.feed_everybody(now, budget);
    }

    /// Bans the peers that sent these wrong blocks. The blocks belong to a failed attempt at a
    /// piece that is right now.
    pub(crate) fn audited(&mut self, now: Time, wrong: &[Block], out: &mut VecDeque<Output>) {
        let liars: BTreeSet<SourceId> =
            wrong.iter().filter_map(|&block| self.work.block_picker().suspect(block)).collect();
        liars.into_iter().for_each(|liar| self.ban(now, liar, out));
    }

    fn ban(&mut self, now: Time, liar: SourceId, out: &mut VecDeque<Output>) {
        if let Some(stat) = self.sources.get(liar) {
            // Several pieces of the same source may turn out wrong.
            let is_news = !self.swarm.peer_list.is_banned(stat.addr);
            self.banned = self.banned.saturating_add(u32::from(is_news));
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
            self.hang_up(now, peer, why, out);
        }
    }
}
