//! The uploading half of a torrent: requests of peers, queued until their turn on the uplink.
//!
//! Decides: which requests are accepted. Must not know: payload, the limit that all torrents share.
//! Invariant: only blocks of verified pieces are queued, only for a peer that may have them, and
//! never more than the limit.

use crate::bandwidth_queue::{SEND_CREDIT_MAX, SEND_CREDIT_MIN};
use crate::ctx::Ctx;
use crate::fast::{self, NEWCOMER};
use crate::io::{Output, PeerKey};
use crate::torrent::Torrent;
use alloc::vec::Vec;
use bt_peer_wire::{Message, REQUESTS_QUEUED_MAX};
use bt_types::{BLOCK_LEN, Block, Piece, RawBlock, Time};

/// Bytes per second of a peer that drains its payload at once.
const AT_ONCE: u64 = 32 << 20;
/// Pieces that a seed samples for the rarest, and how many of them it suggests.
const SUGGEST_SAMPLE: usize = 64;
const SUGGESTED: usize = 4;

impl Torrent {
    /// Takes a peer's request for a block of up to [`bt_types::BLOCK_LEN_MAX`] bytes, as old
    /// clients send. Blocks that we lack are not served.
    pub(crate) fn requested(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, raw: RawBlock) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        (peer.choking.asked_at, peer.choking.wasteful) = (ctx.now, false);
        // Longer requests than usual are accepted only within the bytes of a full queue of the
        // usual length.
        let queued =
            || peer.uploads.waiting.iter().map(|block| u64::from(block.len())).sum::<u64>();
        let is_usual = raw.len <= BLOCK_LEN
            || queued() < u64::from(REQUESTS_QUEUED_MAX) * u64::from(BLOCK_LEN);
        let room = peer.uploads.waiting.len() < REQUESTS_QUEUED_MAX as usize && is_usual;
        let block = self.pieces.geometry.block(raw).filter(|block| {
            let piece = block.piece();
            let is_there = peer.may_have(piece) && room && self.pieces.have.has(piece);
            let super_seeder = self.super_seeder.as_deref_mut();
            is_there
                && super_seeder.is_none_or(|seeder| seeder.grant(ctx.now, key, piece, peer.fast))
        });
        match block {
            Some(block) => peer.uploads.waiting.push_back(block),
            None if peer.fast => ctx.send(peer.outbox, Message::Reject(raw)),
            // Without the fast extension a request that came too late is not answered (BEP 3).
            None => {}
        }
        self.upload_turns.join(peer);
    }

    /// Takes a peer's `cancel`.
    pub(crate) fn cancelled(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, raw: RawBlock) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if let Some(index) = peer.uploads.waiting.iter().position(|waiting| waiting.raw() == raw) {
            peer.uploads.waiting.remove(index);
            if peer.fast {
                ctx.send(peer.outbox, Message::Reject(raw));
            }
        }
    }

    /// Orders up to `bytes` of the peer's requests within its credit, because it is the peer's
    /// turn. Returns the bytes ordered.
    pub(crate) fn serve(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, bytes: u64) -> u64 {
        let Some(peer) = self.peers.get_mut(&key) else { return 0 };
        if !self.upload_turns.limit.passes(ctx.now, key) {
            return 0;
        }
        peer.uploads.is_queued = false;
        let bytes = bytes.min(peer.uploads.send_credit.saturating_sub(peer.uploads.sending));
        let mut ordered = 0;
        let mut blocks: Vec<Block> = Vec::new();
        while ordered < bytes
            && let Some(block) = peer.uploads.waiting.pop_front()
        {
            ordered += u64::from(block.len());
            if let Some(super_seeder) = &mut self.super_seeder {
                super_seeder.served(ctx.now, key, block);
            }
            blocks.push(block);
        }
        if !blocks.is_empty() {
            peer.uploads.sending += ordered;
            // Earlier messages are sent first: an unchoke ahead of the payload that it allows.
            ctx.outboxes.flush(peer.outbox, ctx.out);
            let at_once = peer.uploads.meter.rate(ctx.now) >= AT_ONCE;
            ctx.out.push_back(Output::Serve {
                peer: key,
                torrent: self.swarm.key,
                blocks,
                at_once,
            });
        }
        self.upload_turns.limit.charge(ordered);
        self.upload_turns.join(peer);
        if self.super_seeder.is_some() {
            self.show_pieces(ctx, key);
        }
        ordered
    }

    // ---- hints (BEP 6) ----

    /// Tells a newcomer with the fast extension the pieces that it may request while choked. Called
    /// when the peer's pieces are known.
    pub(crate) fn allow_newcomer(&mut self, ctx: &mut Ctx<'_>, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        if !peer.fast
            || peer.pieces.has.count() >= NEWCOMER
            || self.pieces.have.is_empty()
            || self.super_seeder.is_some()
        {
            return;
        }
        let set = fast::allowed_set(
            &self.swarm.info_hash,
            &self.pieces.geometry,
            peer.addr.ip(),
            NEWCOMER as usize,
        );
        peer.uploads.allowed_fast = set
            .into_iter()
            .filter(|&piece| self.pieces.have.has(piece) && !peer.pieces.has.has(piece))
            .collect();
        for piece in peer.uploads.allowed_fast.clone() {
            ctx.send(peer.outbox, Message::AllowedFast(piece.number()));
        }
    }

    /// Samples pieces, and suggests the rarest of them to a newly unchoked peer: a seed sees more
    /// of the swarm than a leecher does.
    pub(crate) fn suggest(&mut self, ctx: &mut Ctx<'_>, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(&key).filter(|peer| peer.fast && peer.pieces.counted)
        else {
            return;
        };
        if !self.pieces.have.is_full() || self.super_seeder.is_some() {
            return;
        }
        let count = u64::from(self.pieces.geometry.piece_count());
        let sample = (0..SUGGEST_SAMPLE).filter_map(|_| {
            self.pieces.geometry.piece(u32::try_from(self.swarm.rng.below(count)).ok()?)
        });
        let mut lacking: Vec<(u32, Piece)> = sample
            .filter(|&piece| !peer.pieces.has.has(piece))
            .map(|piece| (self.blocks.availability(piece), piece))
            .collect();
        lacking.sort_unstable();
        lacking.dedup();
        for (_, piece) in lacking.into_iter().take(SUGGESTED) {
            ctx.send(peer.outbox, Message::Suggest(piece.number()));
        }
    }

    // ---- initial seeding ----

    /// Shows an unchoked peer further pieces, while super-seeding.
    pub(crate) fn show_pieces(&mut self, ctx: &mut Ctx<'_>, key: PeerKey) {
        let Some(super_seeder) = &mut self.super_seeder else { return };
        if let Some(peer) = self.peers.get_mut(&key).filter(|peer| !peer.choking.am_choking) {
            let blocks = &self.blocks;
            let news = super_seeder.show(ctx.now, key, peer.uploads.meter.rate(ctx.now), |piece| {
                blocks.availability(piece) > 0
            });
            for piece in news {
                ctx.send(peer.outbox, Message::Have(piece.number()));
            }
        }
        if super_seeder.is_over() {
            self.end_super_seeding(ctx);
        } else if super_seeder.opens(ctx.now) {
            for peer in self.peers.values_mut() {
                let news = super_seeder
                    .show_out(peer.key)
                    .into_iter()
                    .filter(|&piece| !peer.pieces.has.has(piece));
                let haves: Vec<Message> = news.map(|piece| Message::Have(piece.number())).collect();
                haves.into_iter().for_each(|have| ctx.send(peer.outbox, have));
            }
        }
    }

    /// Shows a peer that is not interested one piece more. It looks at many pieces: do not call it
    /// for every message.
    pub(crate) fn offer(&mut self, ctx: &mut Ctx<'_>, key: PeerKey) {
        let Some(super_seeder) = &mut self.super_seeder else { return };
        if let Some(peer) = self
            .peers
            .get_mut(&key)
            .filter(|peer| peer.choking.am_choking && !peer.choking.peer_interested)
        {
            let (blocks, has) = (&self.blocks, &peer.pieces.has);
            let offered =
                super_seeder.offer(key, |piece| !has.has(piece) && blocks.availability(piece) == 0);
            if let Some(piece) = offered {
                ctx.send(peer.outbox, Message::Have(piece.number()));
            }
        }
    }

    /// Takes a peer's loss of interest in all that we show it.
    pub(crate) fn not_interested(&mut self, ctx: &mut Ctx<'_>, peer: PeerKey) {
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.not_interested(ctx.now, peer);
            self.show_pieces(ctx, peer);
        }
    }

    /// Ends super-seeding: all peers are told that we have everything.
    pub(crate) fn end_super_seeding(&mut self, ctx: &mut Ctx<'_>) {
        let Some(super_seeder) = self.super_seeder.take() else { return };
        for peer in self.peers.values_mut() {
            let Some(shown) = super_seeder.shown(peer.key) else { continue };
            for piece in self.pieces.geometry.pieces() {
                if !shown.has(piece) && !peer.pieces.has.has(piece) {
                    ctx.send(peer.outbox, Message::Have(piece.number()));
                }
            }
        }
    }

    /// Notes that ordered payload left for the peer.
    pub(crate) fn sent(&mut self, now: Time, key: PeerKey, bytes: u64) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.uploads.sending = peer.uploads.sending.saturating_sub(bytes);
            peer.uploads.meter.add(now, bytes);
            peer.uploads.send_credit =
                peer.uploads.meter.rate(now).clamp(SEND_CREDIT_MIN, SEND_CREDIT_MAX);
            self.sources.sent(peer.source, bytes);
            self.stats.up.add(now, bytes);
            self.upload_turns.join(peer);
        }
    }

    /// Notes that an ordered block could not be read.
    pub(crate) fn read_failed(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, block: Block) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.uploads.sending = peer.uploads.sending.saturating_sub(u64::from(block.len()));
            if peer.fast {
                ctx.send(peer.outbox, Message::Reject(block.raw()));
            }
            self.upload_turns.join(peer);
        }
    }
}
