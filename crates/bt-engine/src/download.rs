//! The downloading half of a torrent: requests blocks from peers, and takes the blocks that come.
//!
//! Decides: which block is requested from which peer, and what each message about pieces changes.
//! Must not know: the uplink, trackers.
//! Invariant: a request goes only to a peer that has unchoked us, or for a piece of its allowed
//! fast set (BEP 6). Each requested block is marked as asked in `Work`.

use crate::close_reason::CloseReason;
use crate::config::Budget;
use crate::io::{Output, PeerKey};
use crate::ledger::Delivery;
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
        if budget.rates.down.is_none() && !self.request_turns.limit.is_limited() {
            self.ask(now, peer, budget, u64::MAX);
        } else if let Some(row) = self.peers.get_mut(&peer)
            && row.can_be_asked()
            && row.requests.pipeline.room() > 0
            && !core::mem::replace(&mut row.requests.asks, true)
        {
            self.request_turns.askers.push(peer);
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
        if !self.request_turns.limit.passes(now, peer) {
            return 0;
        }
        row.requests.asks = false;
        let asked = self.ask(now, peer, budget, bytes);
        self.request_turns.limit.charge(asked);
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
        while asked < bytes && row.requests.pipeline.room() > 0 {
            let has_something = self.work.block_picker().has_something(budget.store_bytes);
            let Some(block) = has_something
                .then(|| self.work.block_picker().next_block(now, row, budget.store_bytes))
                .flatten()
            else {
                if !core::mem::replace(&mut row.requests.wants_requests, true) {
                    self.request_turns.wants_requests.push_back(peer);
                }
                break;
            };
            asked += u64::from(block.len());
            row.requests.pipeline.ask(now, block);
            row.send(Message::Request(block.raw()), &mut self.outboxes.dirty);
        }
        asked
    }

    /// Releases blocks that were requested and will not come: other peers may be asked, and the
    /// rate limit has room for as many bytes.
    pub(crate) fn unask(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for block in blocks {
            self.request_turns.unasked += u64::from(block.len());
            self.work.block_picker().release([block]);
        }
    }

    /// Returns the bytes that were requested and will not come, since the last call.
    pub(crate) fn take_unasked(&mut self) -> u64 {
        let bytes = core::mem::take(&mut self.request_turns.unasked);
        self.request_turns.limit.give_back(bytes);
        bytes
    }

    /// Takes the peers that join the downlink's queue.
    pub(crate) fn take_askers(&mut self) -> Vec<PeerKey> {
        core::mem::take(&mut self.request_turns.askers)
    }

    /// Requests blocks from peers that could take more requests than there were, if blocks or room
    /// in the store became free. Each of them is tried once, the longest wait first, until there is
    /// nothing to request.
    pub(crate) fn feed_hungry(&mut self, now: Time, budget: &Budget) {
        if !self.work.take_freed() {
            return;
        }
        for _ in 0..self.request_turns.wants_requests.len() {
            if !self.work.block_picker().has_something(budget.store_bytes) {
                break;
            }
            let Some(peer) = self.request_turns.wants_requests.pop_front() else { break };
            if let Some(row) = self.peers.get_mut(&peer) {
                row.requests.wants_requests = false;
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
        if !row.pieces.may_send_bitfield {
            return Err(CloseReason::Bitfield);
        }
        row.pieces.may_send_bitfield = false;
        row.pieces.has = has.ok_or(CloseReason::Bitfield)?;
        row.pieces.counted = !row.pieces.has.is_full();
        row.pieces.wanted = row.pieces.has.count_common(&self.pieces.missing);
        if row.pieces.counted {
            self.work.block_picker().more(row.pieces.has.iter(&self.pieces.geometry));
        }
        Self::update_interest(row, &mut self.outboxes.dirty);
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
        let geometry = self.pieces.geometry;
        // The same bitfield again costs next to nothing, even if it is long.
        let Some(row) = self.peers.get(&peer).filter(|row| row.pieces.has.lacks_some_of(&has))
        else {
            return Ok(());
        };
        let news: Vec<Piece> =
            has.iter(&geometry).filter(|&piece| !row.pieces.has.has(piece)).collect();
        news.into_iter().try_for_each(|piece| self.peer_has(now, peer, piece.number()))
    }

    pub(crate) fn peer_has(
        &mut self,
        now: Time,
        peer: PeerKey,
        number: u32,
    ) -> Result<(), CloseReason> {
        let piece = self.pieces.geometry.piece(number).ok_or(CloseReason::OutOfRange)?;
        let Some(row) = self.peers.get_mut(&peer) else { return Ok(()) };
        if row.pieces.has.insert(piece) {
            if row.pieces.counted {
                self.work.block_picker().more([piece].into_iter());
            }
            row.pieces.wanted += u32::from(self.pieces.missing.has(piece));
            Self::update_interest(row, &mut self.outboxes.dirty);
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
        let Some(piece) = self.pieces.geometry.piece(number) else { return };
        if let Some(row) = self.peers.get_mut(&peer)
            && row.requests.allowed_fast.len() < HINTS_MAX
            && !self.pieces.have.has(piece)
            && !row.requests.allowed_fast.contains(&piece)
        {
            row.requests.allowed_fast.push(piece);
        }
    }

    /// Notes a piece that the peer suggests to take first (BEP 6). A piece number out of range is
    /// ignored.
    pub(crate) fn suggested(&mut self, peer: PeerKey, number: u32) {
        let Some(piece) = self.pieces.geometry.piece(number) else { return };
        if let Some(row) = self.peers.get_mut(&peer)
            && !self.pieces.have.has(piece)
        {
            row.requests.suggested.truncate(HINTS_MAX - 1);
            row.requests.suggested.push_front(piece);
        }
    }

    // ---- what the peer says of our requests ----

    pub(crate) fn choked_us(&mut self, peer: PeerKey, out: &mut VecDeque<Output>) {
        let Some(row) = self.peers.get_mut(&peer) else { return };
        row.choking.peer_choking = true;
        // With the fast extension each request is answered by a reject or a block (BEP 6). Without
        // it a choke voids all requests (BEP 3).
        if !row.fast {
            let blocks = row.requests.pipeline.clear();
            row.forgive(blocks.len());
            self.unask(blocks);
        }
        self.end_ownership(peer, out);
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
        let Some(block) = self.pieces.geometry.block(raw) else { return Ok(()) };
        if !row.requests.pipeline.remove(block) {
            return Ok(());
        }
        // The peer still has the piece: some peers reject whatever is queued just before they choke
        // us, or while they are busy. It is asked again after the next check for silent peers, so
        // that requests and rejects do not chase each other.
        if !row.choking.peer_choking {
            row.requests.pipeline.pause();
        }
        // A piece that the peer rejected is not in its allowed fast set any more.
        row.requests.allowed_fast.retain(|&piece| piece != block.piece());
        self.unask([block]);
        self.end_ownership(peer, out);
        Ok(())
    }

    /// Ends the peer's ownership of its piece, because the peer cannot go on: another peer may take
    /// the piece over.
    pub(crate) fn end_ownership(&mut self, peer: PeerKey, out: &mut VecDeque<Output>) {
        let given_up = self.work.block_picker().leave(peer);
        if let Some(row) = self.peers.get_mut(&peer) {
            row.requests.owned = None;
            row.requests.unproven = 0;
            // Blocks requested from this peer must not come any more if their piece starts anew.
            self.request_turns.unasked += row.take_back(&given_up, &mut self.outboxes.dirty);
        }
        out.extend(given_up.into_iter().map(|piece| Output::Forget(self.swarm.key, piece)));
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
        let block = self.pieces.geometry.block(raw).ok_or(CloseReason::OutOfRange)?;
        let Some(row) = self.peers.get_mut(&peer) else { return Ok(()) };
        let len = u64::from(block.len());
        self.stats.down.add(now, len);
        self.sources.received(row.source, len, row.wants_nothing());
        if !row.requests.pipeline.answer(now, block) {
            self.stats.wasted += len;
            return if row.unrequested() { Ok(()) } else { Err(CloseReason::Unrequested) };
        }
        let source = row.source;
        match self.work.block_picker().deliver(block, peer, source) {
            Delivery::Late => self.stats.wasted += len,
            Delivery::Needed { others_asked, complete } => {
                out.push_back(Output::Store(self.swarm.key, block, data));
                if others_asked {
                    self.cancel_elsewhere(block);
                }
                if complete {
                    let urgent = self.work.is_end_game();
                    out.push_back(Output::Check {
                        torrent: self.swarm.key,
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
            if peer.requests.pipeline.remove(block) {
                self.request_turns.unasked += u64::from(block.len());
                peer.forgive(1);
                peer.send(Message::Cancel(block.raw()), &mut self.outboxes.dirty);
            }
        }
    }
}
