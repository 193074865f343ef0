//! The downloading half of a torrent: requests blocks from peers, and takes the blocks that come.
//!
//! Decides: which block is requested from which peer, and what each message about pieces changes.
//! Must not know: the uplink, trackers.
//! Invariant: a request goes only to a peer that has unchoked us, or for a piece of its allowed
//! fast set (BEP 6). Each requested block is marked as asked in `LazyBlockPicker`.

use crate::close_reason::CloseReason;
use crate::ctx::Ctx;
use crate::io::{Output, PeerKey};
use crate::ledger::Delivery;
use crate::torrent::Torrent;
use alloc::vec::Vec;
use bt_peer_wire::Message;
use bt_types::{Bitfield, Block, Piece, RawBlock};
use bytes::Bytes;

/// Most hints of one kind (BEP 6) remembered for a peer.
const HINTS_MAX: usize = 16;

impl Torrent {
    /// Requests as many blocks from the peer as its window has room for. Under a rate limit the
    /// peer waits for its turn instead.
    pub(crate) fn fill_pipeline(&mut self, ctx: &mut Ctx<'_>, key: PeerKey) {
        if ctx.budget.rates.down.is_none() && !self.request_turns.limit.is_limited() {
            self.ask(ctx, key, u64::MAX);
        } else if let Some(peer) = self.peers.get_mut(&key)
            && peer.can_be_asked()
            && peer.requests.pipeline.room() > 0
            && !core::mem::replace(&mut peer.requests.asks, true)
        {
            self.request_turns.joining.push(key);
        }
    }

    /// Requests blocks when the peer's turn under a rate limit has come. Returns the number of
    /// bytes requested.
    pub(crate) fn ask_in_turn(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, bytes: u64) -> u64 {
        let Some(peer) = self.peers.get_mut(&key) else { return 0 };
        if !self.request_turns.limit.passes(ctx.now, key) {
            return 0;
        }
        peer.requests.asks = false;
        let asked = self.ask(ctx, key, bytes);
        self.request_turns.limit.charge(asked);
        if asked > 0 {
            self.fill_pipeline(ctx, key);
        }
        asked
    }

    /// Requests blocks from the peer until `bytes` bytes are reached or its window is full. Returns
    /// the number of bytes requested.
    fn ask(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, bytes: u64) -> u64 {
        let Some(peer) = self.peers.get_mut(&key) else { return 0 };
        if !peer.can_be_asked() || self.store_fault.is_some() {
            return 0;
        }
        let (blocks, store_bytes) = (self.blocks.block_picker(), ctx.budget.store_bytes);
        let mut asked = 0;
        while asked < bytes && peer.requests.pipeline.room() > 0 {
            let block = blocks
                .has_something(store_bytes)
                .then(|| blocks.next_block(ctx.now, peer, store_bytes))
                .flatten();
            let Some(block) = block else {
                if !core::mem::replace(&mut peer.requests.wants_requests, true) {
                    self.request_turns.wants_requests.push_back(key);
                }
                break;
            };
            asked += u64::from(block.len());
            peer.requests.pipeline.ask(ctx.now, block);
            ctx.send(peer.outbox, Message::Request(block.raw()));
        }
        asked
    }

    /// Releases blocks that were requested and will not come: other peers may be asked, and the
    /// rate limit has room for as many bytes.
    pub(crate) fn unask(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for block in blocks {
            self.request_turns.unasked += u64::from(block.len());
            self.blocks.block_picker().release([block]);
        }
    }

    /// Returns the bytes that were requested and will not come, since the last call.
    pub(crate) fn take_unasked(&mut self) -> u64 {
        let bytes = core::mem::take(&mut self.request_turns.unasked);
        self.request_turns.limit.give_back(bytes);
        bytes
    }

    /// Takes the peers that join the downlink's queue.
    pub(crate) fn take_downlink_joiners(&mut self) -> Vec<PeerKey> {
        core::mem::take(&mut self.request_turns.joining)
    }

    /// Requests blocks from peers that could take more requests than there were, if blocks or room
    /// in the store became free. Each of them is tried once, the longest wait first, until there is
    /// nothing to request.
    pub(crate) fn fill_waiting_pipelines(&mut self, ctx: &mut Ctx<'_>) {
        if !self.blocks.take_freed() {
            return;
        }
        for _ in 0..self.request_turns.wants_requests.len() {
            if !self.blocks.block_picker().has_something(ctx.budget.store_bytes) {
                break;
            }
            let Some(key) = self.request_turns.wants_requests.pop_front() else { break };
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.requests.wants_requests = false;
                self.fill_pipeline(ctx, key);
            }
        }
    }

    /// Requests blocks from every peer, after the store or the budget allows requests again.
    pub(crate) fn fill_all_pipelines(&mut self, ctx: &mut Ctx<'_>) {
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for peer in keys {
            self.fill_pipeline(ctx, peer);
        }
    }

    // ---- what the peer says it has ----

    pub(crate) fn peer_has_these(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: PeerKey,
        has: Option<Bitfield>,
    ) -> Result<(), CloseReason> {
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if !peer.pieces.may_send_bitfield {
            return Err(CloseReason::Bitfield);
        }
        peer.pieces.may_send_bitfield = false;
        peer.pieces.has = has.ok_or(CloseReason::Bitfield)?;
        peer.pieces.counted = !peer.pieces.has.is_full();
        peer.pieces.wanted = peer.pieces.has.count_common(&self.pieces.missing);
        if peer.pieces.counted {
            self.blocks.block_picker().more(peer.pieces.has.iter(&self.pieces.geometry));
        }
        Self::update_interest(ctx, peer);
        self.allow_newcomer(ctx, key);
        self.refuse_idle(key)
    }

    /// Takes a bitfield in the middle of a conversation: aria2 sends one in place of many `have`s.
    pub(crate) fn peer_has_these_too(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: PeerKey,
        has: Option<Bitfield>,
    ) -> Result<(), CloseReason> {
        let has = has.ok_or(CloseReason::Bitfield)?;
        let geometry = self.pieces.geometry;
        // The same bitfield again costs next to nothing, even if it is long.
        let Some(peer) = self.peers.get(&key).filter(|peer| peer.pieces.has.lacks_some_of(&has))
        else {
            return Ok(());
        };
        let news: Vec<Piece> =
            has.iter(&geometry).filter(|&piece| !peer.pieces.has.has(piece)).collect();
        news.into_iter().try_for_each(|piece| self.peer_has(ctx, key, piece.number()))
    }

    pub(crate) fn peer_has(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: PeerKey,
        number: u32,
    ) -> Result<(), CloseReason> {
        let piece = self.pieces.geometry.piece(number).ok_or(CloseReason::OutOfRange)?;
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if peer.pieces.has.insert(piece) {
            if peer.pieces.counted {
                self.blocks.block_picker().more([piece].into_iter());
            }
            peer.pieces.wanted += u32::from(self.pieces.missing.has(piece));
            Self::update_interest(ctx, peer);
            if let Some(super_seeder) = &mut self.super_seeder {
                super_seeder.got(ctx.now, key, piece);
                self.show_pieces(ctx, key);
            }
        }
        self.refuse_idle(key)
    }

    // ---- hints (BEP 6) ----

    /// Notes a piece that the peer serves even while it chokes us (BEP 6). A piece number out of
    /// range is ignored.
    pub(crate) fn allowed_fast(&mut self, key: PeerKey, number: u32) {
        let Some(piece) = self.pieces.geometry.piece(number) else { return };
        if let Some(peer) = self.peers.get_mut(&key)
            && peer.requests.allowed_fast.len() < HINTS_MAX
            && !self.pieces.have.has(piece)
            && !peer.requests.allowed_fast.contains(&piece)
        {
            peer.requests.allowed_fast.push(piece);
        }
    }

    /// Notes a piece that the peer suggests to take first (BEP 6). A piece number out of range is
    /// ignored.
    pub(crate) fn suggested(&mut self, key: PeerKey, number: u32) {
        let Some(piece) = self.pieces.geometry.piece(number) else { return };
        if let Some(peer) = self.peers.get_mut(&key)
            && !self.pieces.have.has(piece)
        {
            peer.requests.suggested.truncate(HINTS_MAX - 1);
            peer.requests.suggested.push_front(piece);
        }
    }

    // ---- what the peer says of our requests ----

    pub(crate) fn choked_us(&mut self, ctx: &mut Ctx<'_>, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.choking.peer_choking = true;
        // With the fast extension each request is answered by a reject or a block (BEP 6). Without
        // it a choke voids all requests (BEP 3).
        if !peer.fast {
            let blocks = peer.requests.pipeline.clear();
            peer.forgive(blocks.len());
            self.unask(blocks);
        }
        self.end_ownership(ctx, key);
    }

    pub(crate) fn rejected(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: PeerKey,
        raw: RawBlock,
    ) -> Result<(), CloseReason> {
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        if !peer.fast {
            return Err(CloseReason::NotFast);
        }
        let Some(block) = self.pieces.geometry.block(raw) else { return Ok(()) };
        if !peer.requests.pipeline.remove(block) {
            return Ok(());
        }
        // The peer still has the piece: some peers reject whatever is queued just before they choke
        // us, or while they are busy. It is asked again after the next check for silent peers, so
        // that requests and rejects do not chase each other.
        if !peer.choking.peer_choking {
            peer.requests.pipeline.pause();
        }
        // A piece that the peer rejected is not in its allowed fast set any more.
        peer.requests.allowed_fast.retain(|&piece| piece != block.piece());
        self.unask([block]);
        self.end_ownership(ctx, key);
        Ok(())
    }

    /// Ends the peer's ownership of its piece, because the peer cannot go on: another peer may take
    /// the piece over.
    pub(crate) fn end_ownership(&mut self, ctx: &mut Ctx<'_>, key: PeerKey) {
        let given_up = self.blocks.block_picker().leave(key);
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.requests.owned = None;
            peer.requests.unproven = 0;
            // Blocks requested from this peer must not come any more if their piece starts anew.
            self.request_turns.unasked += peer.take_back(ctx, &given_up);
        }
        ctx.out.extend(given_up.into_iter().map(|piece| Output::Forget(self.swarm.key, piece)));
    }

    // ---- payload ----

    pub(crate) fn received(
        &mut self,
        ctx: &mut Ctx<'_>,
        key: PeerKey,
        raw: RawBlock,
        data: Bytes,
    ) -> Result<(), CloseReason> {
        let block = self.pieces.geometry.block(raw).ok_or(CloseReason::OutOfRange)?;
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        let len = u64::from(block.len());
        self.stats.down.add(ctx.now, len);
        self.sources.received(peer.source, len, peer.wants_nothing());
        if !peer.requests.pipeline.answer(ctx.now, block) {
            self.stats.wasted += len;
            return if peer.unrequested() { Ok(()) } else { Err(CloseReason::Unrequested) };
        }
        let source = peer.source;
        match self.blocks.block_picker().deliver(block, key, source) {
            Delivery::Late => self.stats.wasted += len,
            Delivery::Needed { others_asked, complete } => {
                ctx.out.push_back(Output::Store(self.swarm.key, block, data));
                if others_asked {
                    self.cancel_elsewhere(ctx, block);
                }
                if complete {
                    let urgent = self.blocks.is_end_game();
                    ctx.out.push_back(Output::Check {
                        torrent: self.swarm.key,
                        piece: block.piece(),
                        urgent,
                    });
                }
            }
        }
        Ok(())
    }

    fn cancel_elsewhere(&mut self, ctx: &mut Ctx<'_>, block: Block) {
        for peer in self.peers.values_mut() {
            if peer.requests.pipeline.remove(block) {
                self.request_turns.unasked += u64::from(block.len());
                peer.forgive(1);
                ctx.send(peer.outbox, Message::Cancel(block.raw()));
            }
        }
    }
}
