//! Handles what a torrent wants: pieces, their order, and what peers and trackers are told when
//! nothing more is wanted (BEP 21).
//!
//! Decides: when a download is done. Must not know: files, how pieces are sorted.
//! Invariant: `missing` is the set of pieces that are wanted and missing; `wanted` of each peer
//! counts the pieces of that set at the peer.

use crate::config::Budget;
use crate::io::{Event, Output, PeerKey, Selection};
use crate::peer::Peer;
use crate::status::CloseReason;
use crate::torrent::Torrent;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bt_peer_wire::{ExtendedHandshake, Message};
use bt_types::{Bitfield, Piece, Time};
use bytes::Bytes;

impl Torrent {
    /// Returns whether every piece is verified and written.
    pub(crate) fn is_complete(&self) -> bool {
        self.have.is_full()
    }

    /// Returns whether every wanted piece is verified and written.
    pub(crate) fn is_done(&self) -> bool {
        self.missing.is_empty()
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

    /// Changes the wanted pieces or their order.
    pub(crate) fn want(
        &mut self,
        now: Time,
        wants: &[Selection],
        budget: &Budget,
        out: &mut VecDeque<Output>,
    ) {
        let was_done = self.is_done();
        let given_up = self.work.block_picker().want(wants);
        self.give_up(given_up, out);
        self.count_wanted();
        for peer in self.peers.values_mut() {
            peer.wanted = peer.has.count_common(&self.missing);
            Self::update_interest(peer, &mut self.dirty_outboxes);
        }
        match (was_done, self.is_done()) {
            (false, true) => self.done(now, out),
            (true, false) => self.resume(now),
            _ => {}
        }
        self.feed_everybody(now, budget);
    }

    /// Counts anew what is wanted.
    pub(crate) fn count_wanted(&mut self) {
        self.missing = Bitfield::empty(self.geometry.piece_count());
        (self.bytes_wanted, self.bytes_missing) = (0, 0);
        for piece in self.geometry.pieces().filter(|&piece| self.work.is_wanted(piece)) {
            let len = u64::from(self.geometry.piece_len(piece));
            self.bytes_wanted += len;
            if !self.have.has(piece) {
                self.missing.insert(piece);
                self.bytes_missing += len;
            }
        }
    }

    /// Ends the download, because nothing wanted is missing: peers that want nothing either are
    /// disconnected.
    pub(crate) fn done(&mut self, now: Time, out: &mut VecDeque<Output>) {
        self.tell_haves();
        if self.is_complete() {
            self.swarm.announcer.complete(now);
        } else {
            self.swarm.announcer.set_partial(now, true);
            self.tell_upload_only(true);
        }
        out.push_back(Output::Event(self.key, Event::Complete));
        let idle: Vec<PeerKey> =
            self.peers.values().filter(|peer| peer.wants_nothing()).map(|peer| peer.key).collect();
        for peer in idle {
            self.hang_up(now, peer, CloseReason::BothSeeds, out);
        }
    }

    /// Resumes the download, because something is wanted again: disconnected seeds may be dialled
    /// again.
    pub(crate) fn resume(&mut self, now: Time) {
        self.swarm.announcer.set_partial(now, false);
        self.tell_upload_only(false);
        for addr in core::mem::take(&mut self.left_idle) {
            self.swarm.peer_list.closed(now, addr);
        }
    }

    /// Sends a further extension handshake with what has changed (BEP 10).
    fn tell_upload_only(&mut self, upload_only: bool) {
        let hello =
            ExtendedHandshake { upload_only: Some(upload_only), ..ExtendedHandshake::default() };
        let payload = Bytes::from(hello.to_bytes());
        for peer in self.peers.values_mut().filter(|peer| peer.extended) {
            peer.say(
                Message::Extended { id: 0, payload: payload.clone() },
                &mut self.dirty_outboxes,
            );
        }
    }

    /// Gives up pieces that get no blocks, because another torrent lacks room in the store.
    pub(crate) fn give_up_stalled(&mut self, out: &mut VecDeque<Output>) {
        let stalled = self.work.block_picker().give_up_stalled();
        self.give_up(stalled, out);
    }

    /// Gives up open pieces: their requests are cancelled, and their blocks forgotten.
    fn give_up(&mut self, pieces: Vec<(Piece, Option<PeerKey>)>, out: &mut VecDeque<Output>) {
        for lead in pieces.iter().filter_map(|(_, lead)| *lead) {
            if let Some(row) = self.peers.get_mut(&lead) {
                row.unproven = row.unproven.saturating_sub(1);
            }
        }
        let pieces: Vec<Piece> = pieces.into_iter().map(|(piece, _)| piece).collect();
        for row in self.peers.values_mut() {
            row.lead = row.lead.filter(|lead| !pieces.contains(lead));
            self.unasked += row.take_back(&pieces, &mut self.dirty_outboxes);
        }
        out.extend(pieces.into_iter().map(|piece| Output::Forget(self.key, piece)));
    }

    pub(crate) fn update_interest(peer: &mut Peer, dirty_outboxes: &mut Vec<PeerKey>) {
        let wants = peer.wanted > 0;
        if wants != peer.am_interested {
            peer.am_interested = wants;
            peer.say(
                if wants { Message::Interested } else { Message::NotInterested },
                dirty_outboxes,
            );
        }
    }

    /// Refuses a peer that wants nothing while we want nothing.
    pub(crate) fn refuse_idle(&self, peer: PeerKey) -> Result<(), CloseReason> {
        let both = self.is_done() && self.peers.get(&peer).is_some_and(Peer::wants_nothing);
        if both { Err(CloseReason::BothSeeds) } else { Ok(()) }
    }
}
