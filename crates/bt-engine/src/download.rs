//! The downloading half of a torrent: requests blocks from peers, and takes the blocks that come.
//!
//! Decides: which block is requested from which peer, and what each message about pieces changes.
//! Must not know: the uplink, trackers.
//! Invariant: a request goes only to a peer that has unchoked us, or for a piece of its allowed
//! fast set (BEP 6). Each requested block is marked as asked in `Work`.

use crate::config::Budget;
use crate::io::{Output, PeerKey};
use crate::ledger::Delivery;
use crate::status::CloseReason;
use crate::torrent::Torrent;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bt_peer_wire::Message;
use bt_types::{Bitfield, Block, Piece, RawBlock, Time};
use bytes::Bytes;

/// Most hints of one kind (BEP 6) remembered for a peer.
const HINTS_MAX: usize = 16;

impl Torrent {
    /// Requests as many blocks from the peer as its window has room for. Under a rate limit the
    /// peer waits for its turn instead.
    pub(crate) fn feed(&mut self, now: Time, peer: PeerKey, budget: &Budget) {
        if budget.rates.down.is_none() && !self.down_limit.is_limited() {
            self.ask(now, peer, budget, u64::MAX);
        } else if let Some(row) = self.peers.get_mut(&peer)
            && row.can_be_asked()
            && row.pipeline.room() > 0
            && !core::mem::replace(&mut row.asks, true)
        {
            self.askers.push(peer);
        }
    }

    /// Requests blocks when the peer's turn under a rate limit has come. Returns the number of
    /// bytes requested.
    pub(crate) fn ask_in_turn(
        &mut self,
        now: Time,
        peer: PeerKey,
        budget: &Budget,
        bytes: u64,
    ) -> u64 {
        let Some(row) = self.peers.get_mut(&peer) else { return 0 };
        if !self.down_limit.passes(now, peer) {
            return 0;
        }
        row.asks = false;
        let asked = self.ask(now, peer, budget, bytes);
        self.down_limit.charge(asked);
        if asked > 0 {
            self.feed(now, peer, budget);
        }
        asked
    }

    /// Requests blocks from the peer until `bytes` bytes are reached or its window is full. Returns
    /// the number of bytes requested.
    fn ask(&mut self, now: Time, peer: PeerKey, budget: &Budget, bytes: u64) -> u64 {
        let Some(row) = self.peers.get_mut(&peer) else { return 0 };
        if !row.can_be_asked() || self.store_fault.is_some() {
            return 0;
        }
        let mut asked = 0;
        while asked < bytes && row.pipeline.room() > 0 {
            let has_something = self.work.block_picker().has_something(budget.store_bytes);
            let Some(block) = has_something
                .then(|| self.work.block_picker().next_block(now, row, budget.store_bytes))
                .flatten()
            else {
                if !core::mem::replace(&mut row.hungry, true) {
                    self.hungry.push_back(peer);
                }
                break;
            };
            asked += u64::from(block.len());
            row.pipeline.ask(now, block);
            row.say(Message::Request(block.raw()), &mut self.dirty_outboxes);
        }
        asked
    }

    /// Releases blocks that were requested and will not come: other peers may be asked, and the
    /// rate limit has room for as many bytes.
    pub(crate) fn unask(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for block in blocks {
            self.unasked += u64::from(block.len());
            self.work.block_picker().release([block]);
        }
    }

    /// Returns the bytes that were requested and will not come, since the last call.
    pub(crate) fn take_unasked(&mut self) -> u64 {
        let bytes = core::mem::take(&mut self.unasked);
        self.down_limit.give_back(bytes);
        bytes
    }

    /// Takes the peers that join the downlink's queue.
    pub(crate) fn take_askers(&mut self) -> Vec<PeerKey> {
        core::mem::take(&mut self.askers)
    }

    /// Requests blocks from peers that could take more requests than there were, if blocks or room
    /// in the store became free. Each of them is tried once, the longest wait first, until there is
    /// nothing to request.
    pub(crate) fn feed_hungry(&mut self, now: Time, budget: &Budget) {
        if !self.work.take_freed() {
            return;
        }
        for _ in 0..self.hungry.len() {
            if !self.work.block_picker().has_something(budget.store_bytes) {
                break;
            }
            let Some(peer) = self.hungry.pop_front() else { break };
            if let Some(row) = self.peers.get_mut(&peer) {
                row.hungry = false;
                self.feed(now, peer, budget);
            }
        }
    }

    /// Requests blocks from every peer, after the store or the budget allows requests again.
    pub(crate) fn feed_everybody(&mut self, now: Time, budget: &Budget) {
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for peer in keys {
            self.feed(now, peer, budget);
        }
    }

    // ---- what the peer says it has ----

    pub(crate) fn peer_has_these(
        &mut self,
        peer: PeerKey,
        has: Option<Bitfield>,
    ) -> Result<(), CloseReason> {
        let Some(row) = self.peers.get_mut(&peer) else { return Ok(()) };
        if !row.may_send_bitfield {
            return Err(CloseReason::Bitfield);
        }
        row.may_send_bitfield = false;
        row.has = has.ok_or(CloseReason::Bitfield)?;
        row.counted = !row.has.is_full();
        row.wanted = row.has.count_common(&self.missing);
        if row.counted {
            self.work.block_picker().more(row.has.iter(&self.geometry));
        }
        Self::update_interest(row, &mut self.dirty_outboxes);
        self.allow_newcomer(peer);
        self.refuse_idle(peer)
    }

    /// Takes a bitfield in the middle of a conversation: aria2 sends one in place of many `have`s.
    pub(crate) fn peer_has_these_too(
        &mut self,
        now: Time,
        peer: PeerKey,
        has: Option<Bitfield>,
    ) -> Result<(), CloseReason> {
        let has = has.ok_or(CloseReason::Bitfield)?;
        let geometry = self.geometry;
        // The same bitfield again costs next to nothing, even if it is long.
        let Some(row) = self.peers.get(&peer).filter(|row| row.has.lacks_some_of(&has)) else {
            return Ok(());
        };
        let news: Vec<Piece> = has.iter(&geometry).filter(|&piece| !row.has.has(piece)).collect();
        news.into_iter().try_for_each(|piece| self.peer_has(now, peer, piece.number()))
    }

    pub(crate) fn peer_has(
        &mut self,
        now: Time,
        peer: PeerKey,
        number: u32,
    ) -> Result<(), CloseReason> {
        let piece = self.geometry.piece(number).ok_or(CloseReason::OutOfRange)?;
        let Some(row) = self.peers.get_mut(&peer) else { return Ok(()) };
        if row.has.insert(piece) {
            if row.counted {
                self.work.block_picker().more([piece].into_iter());
            }
            row.wanted += u32::from(self.missing.has(piece));
            Self::update_interest(row, &mut self.dirty_outboxes);
            if let Some(super_seeder) = &mut self.super_seeder {
                super_seeder.got(now, peer, piece);
                self.reveal_to(now, peer);
            }
        }
        self.refuse_idle(peer)
    }

    // ---- hints (BEP 6) ----

    /// Notes a piece that the peer serves even while it chokes us (BEP 6). A piece number out of
    /// range is ignored.
    pub(crate) fn allowed_fast(&mut self, peer: PeerKey, number: u32) {
        let Some(piece) = self.geometry.piece(number) else { return };
        if let Some(row) = self.peers.get_mut(&peer)
            && row.allowed_fast_received.len() < HINTS_MAX
            && !self.have.has(piece)
            && !row.allowed_fast_received.contains(&piece)
        {
            row.allowed_fast_received.push(piece);
        }
    }

    /// Notes a piece that the peer suggests to take first (BEP 6). A piece number out of range is
    /// ignored.
    pub(crate) fn suggested(&mut self, peer: PeerKey, number: u32) {
        let Some(piece) = self.geometry.piece(number) else { return };
        if let Some(row) = self.peers.get_mut(&peer)
            && !self.have.has(piece)
        {
            row.suggested.truncate(HINTS_MAX - 1);
            row.suggested.push_front(piece);
        }
    }

    // ---- what the peer says of our requests ----

    pub(crate) fn choked_us(&mut self, peer: PeerKey, out: &mut VecDeque<Output>) {
        let Some(row) = self.peers.get_mut(&peer) else { return };
        row.serves_us = false;
        // With the fast extension each request is answered by a reject or a block (BEP 6). Without
        // it a choke voids all requests (BEP 3).
        if !row.fast {
            let blocks = row.pipeline.clear();
            row.forgive(blocks.len());
            self.unask(blocks);
        }
        self.leave_lead(peer, out);
    }

    pub(crate) fn rejected(
        &mut self,
        peer: PeerKey,
        raw: RawBlock,
        out: &mut VecDeque<Output>,
    ) -> Result<(), CloseReason> {
        let Some(row) = self.peers.get_mut(&peer) else { return Ok(()) };
        if !row.fast {
            return Err(CloseReason::NotFast);
        }
        let Some(block) = self.geometry.block(raw) else { return Ok(()) };
        if !row.pipeline.remove(block) {
            return Ok(());
        }
        // The peer still has the piece: some peers reject whatever is queued just before they choke
        // us, or while they are busy. It is asked again after the next check for silent peers, so
        // that requests and rejects do not chase each other.
        if row.serves_us {
            row.pipeline.pause();
        }
        // A piece that the peer rejected is not in its allowed fast set any more.
        row.allowed_fast_received.retain(|&piece| piece != block.piece());
        self.unask([block]);
        self.leave_lead(peer, out);
        Ok(())
    }

    /// Ends the peer's lead of its piece, because the peer cannot go on: another peer may take the
    /// piece over.
    pub(crate) fn leave_lead(&mut self, peer: PeerKey, out: &mut VecDeque<Output>) {
        let given_up = self.work.block_picker().leave(peer);
        if let Some(row) = self.peers.get_mut(&peer) {
            row.lead = None;
            row.unproven = 0;
            // Blocks requested from this peer must not come any more if their piece starts anew.
            self.unasked += row.take_back(&given_up, &mut self.dirty_outboxes);
        }
        out.extend(given_up.into_iter().map(|piece| Output::Forget(self.key, piece)));
    }

    // ---- payload ----

    pub(crate) fn received(
        &mut self,
        now: Time,
        peer: PeerKey,
        raw: RawBlock,
        data: Bytes,
        out: &mut VecDeque<Output>,
    ) -> Result<(), CloseReason> {
        let block = self.geometry.block(raw).ok_or(CloseReason::OutOfRange)?;
        let Some(row) = self.peers.get_mut(&peer) else { return Ok(()) };
        let len = u64::from(block.len());
        self.down.add(now, len);
        self.sources.received(row.source, len, row.wants_nothing());
        if !row.pipeline.answer(now, block) {
            self.wasted += len;
            return if row.unrequested() { Ok(()) } else { Err(CloseReason::Unrequested) };
        }
        let source = row.source;
        match self.work.block_picker().deliver(block, peer, source) {
            Delivery::Late => self.wasted += len,
            Delivery::Needed { others_asked, complete } => {
                out.push_back(Output::Store(self.key, block, data));
                if others_asked {
                    self.cancel_elsewhere(block);
                }
                if complete {
                    let urgent = self.work.is_end_game();
                    out.push_back(Output::Check {
                        torrent: self.key,
                        piece: block.piece(),
                        urgent,
                    });
                }
            }
        }
        Ok(())
    }

    fn cancel_elsewhere(&mut self, block: Block) {
        for peer in self.peers.values_mut() {
            if peer.pipeline.remove(block) {
                self.unasked += u64::from(block.len());
                peer.forgive(1);
                peer.say(Message::Cancel(block.raw()), &mut self.dirty_outboxes);
            }
        }
    }
}
