//! The uploading half of a torrent: requests of peers, queued until their turn on the uplink.
//!
//! Decides: which requests are accepted. Must not know: payload, the limit that all torrents share.
//! Invariant: only blocks of verified pieces are queued, only for a peer that may have them, and
//! never more than the limit.

use crate::bandwidth_queue::{SEND_CREDIT_MAX, SEND_CREDIT_MIN};
use crate::fast::{self, NEWCOMER};
use crate::io::{Output, PeerKey};
use crate::torrent::Torrent;
use alloc::collections::VecDeque;
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
    pub(crate) fn requested(&mut self, now: Time, peer: PeerKey, raw: RawBlock) {
        let Some(row) = self.peers.get_mut(&peer) else { return };
        (row.choking.asked_at, row.choking.wasteful) = (now, false);
        // Longer requests than usual are accepted only within the bytes of a full queue of the
        // usual length.
        let queued = || row.uploads.waiting.iter().map(|block| u64::from(block.len())).sum::<u64>();
        let is_usual = raw.len <= BLOCK_LEN
            || queued() < u64::from(REQUESTS_QUEUED_MAX) * u64::from(BLOCK_LEN);
        let room = row.uploads.waiting.len() < REQUESTS_QUEUED_MAX as usize && is_usual;
        let block = self.pieces.geometry.block(raw).filter(|block| {
            let piece = block.piece();
            let is_there = row.may_have(piece) && room && self.pieces.have.has(piece);
            let super_seeder = self.super_seeder.as_deref_mut();
            is_there && super_seeder.is_none_or(|seeder| seeder.grant(now, peer, piece, row.fast))
        });
        match block {
            Some(block) => row.uploads.waiting.push_back(block),
            None if row.fast => row.send(Message::Reject(raw), &mut self.outboxes.dirty),
            // Without the fast extension a request that came too late is not answered (BEP 3).
            None => {}
        }
    }

    /// Takes a peer's `cancel`.
    pub(crate) fn cancelled(&mut self, peer: PeerKey, raw: RawBlock) {
        let Some(row) = self.peers.get_mut(&peer) else { return };
        if let Some(index) = row.uploads.waiting.iter().position(|waiting| waiting.raw() == raw) {
            row.uploads.waiting.remove(index);
            if row.fast {
                row.send(Message::Reject(raw), &mut self.outboxes.dirty);
            }
        }
    }

    /// Returns whether the peer joins the uplink's queue: it has blocks to be served, has credit,
    /// and is not in the queue yet.
    pub(crate) fn joins_uplink(&mut self, peer: PeerKey) -> bool {
        let Some(row) = self.peers.get_mut(&peer) else { return false };
        let joins = !row.uploads.in_line
            && !row.uploads.waiting.is_empty()
            && row.uploads.sending < row.uploads.send_credit;
        row.uploads.in_line |= joins;
        joins
    }

    /// Orders up to `bytes` of the peer's requests within its credit, because it is the peer's
    /// turn. Returns the bytes ordered.
    pub(crate) fn serve(
        &mut self,
        now: Time,
        peer: PeerKey,
        bytes: u64,
        out: &mut VecDeque<Output>,
    ) -> u64 {
        let Some(row) = self.peers.get_mut(&peer) else { return 0 };
        if !self.upload_turns.limit.passes(now, peer) {
            return 0;
        }
        row.uploads.in_line = false;
        let bytes = bytes.min(row.uploads.send_credit.saturating_sub(row.uploads.sending));
        let mut ordered = 0;
        let mut blocks: Vec<Block> = Vec::new();
        while ordered < bytes
            && let Some(block) = row.uploads.waiting.pop_front()
        {
            ordered += u64::from(block.len());
            if let Some(super_seeder) = &mut self.super_seeder {
                super_seeder.served(now, peer, block);
            }
            blocks.push(block);
        }
        if !blocks.is_empty() {
            row.uploads.sending += ordered;
            // Earlier messages are sent first: an unchoke ahead of the payload that it allows.
            if !row.outbox.is_empty() {
                out.push_back(Output::Send(peer, core::mem::take(&mut row.outbox)));
            }
            let at_once = row.uploads.meter.rate(now) >= AT_ONCE;
            out.push_back(Output::Serve { peer, torrent: self.swarm.key, blocks, at_once });
        }
        self.upload_turns.limit.charge(ordered);
        if self.super_seeder.is_some() {
            self.reveal_to(now, peer);
        }
        ordered
    }

    // ---- hints (BEP 6) ----

    /// Tells a newcomer with the fast extension the pieces that it may request while choked. Called
    /// when the peer's pieces are known.
    pub(crate) fn allow_newcomer(&mut self, peer: PeerKey) {
        let Some(row) = self.peers.get_mut(&peer) else { return };
        if !row.fast
            || row.pieces.has.count() >= NEWCOMER
            || self.pieces.have.is_empty()
            || self.super_seeder.is_some()
        {
            return;
        }
        let set = fast::allowed_set(
            &self.swarm.info_hash,
            &self.pieces.geometry,
            row.addr.ip(),
            NEWCOMER as usize,
        );
        row.uploads.allowed_fast = set
            .into_iter()
            .filter(|&piece| self.pieces.have.has(piece) && !row.pieces.has.has(piece))
            .collect();
        for piece in row.uploads.allowed_fast.clone() {
            row.send(Message::AllowedFast(piece.number()), &mut self.outboxes.dirty);
        }
    }

    /// Samples pieces, and suggests the rarest of them to a newly unchoked peer: a seed sees more
    /// of the swarm than a leecher does.
    pub(crate) fn suggest(&mut self, peer: PeerKey) {
        let Some(row) = self.peers.get_mut(&peer).filter(|row| row.fast && row.pieces.counted)
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
            .filter(|&piece| !row.pieces.has.has(piece))
            .map(|piece| (self.work.availability(piece), piece))
            .collect();
        lacking.sort_unstable();
        lacking.dedup();
        for (_, piece) in lacking.into_iter().take(SUGGESTED) {
            row.send(Message::Suggest(piece.number()), &mut self.outboxes.dirty);
        }
    }

    // ---- initial seeding ----

    /// Shows an unchoked peer further pieces, while super-seeding.
    pub(crate) fn reveal_to(&mut self, now: Time, peer: PeerKey) {
        let Some(super_seeder) = &mut self.super_seeder else { return };
        if let Some(row) = self.peers.get_mut(&peer).filter(|row| !row.choking.am_choking) {
            let work = &self.work;
            let news = super_seeder
                .show(now, peer, row.uploads.meter.rate(now), |piece| work.availability(piece) > 0);
            for piece in news {
                row.send(Message::Have(piece.number()), &mut self.outboxes.dirty);
            }
        }
        if super_seeder.is_over() {
            self.reveal_all();
        } else if super_seeder.opens(now) {
            for row in self.peers.values_mut() {
                let news = super_seeder
                    .show_out(row.key)
                    .into_iter()
                    .filter(|&piece| !row.pieces.has.has(piece));
                let haves: Vec<Message> = news.map(|piece| Message::Have(piece.number())).collect();
                haves.into_iter().for_each(|have| row.send(have, &mut self.outboxes.dirty));
            }
        }
    }

    /// Shows a peer that is not interested one piece more. It looks at many pieces: do not call it
    /// for every message.
    pub(crate) fn offer(&mut self, peer: PeerKey) {
        let Some(super_seeder) = &mut self.super_seeder else { return };
        if let Some(row) = self
            .peers
            .get_mut(&peer)
            .filter(|row| row.choking.am_choking && !row.choking.peer_interested)
        {
            let (work, has) = (&self.work, &row.pieces.has);
            let teaser =
                super_seeder.offer(peer, |piece| !has.has(piece) && work.availability(piece) == 0);
            if let Some(piece) = teaser {
                row.send(Message::Have(piece.number()), &mut self.outboxes.dirty);
            }
        }
    }

    /// Takes a peer's loss of interest in all that we show it.
    pub(crate) fn not_interested(&mut self, now: Time, peer: PeerKey) {
        if let Some(super_seeder) = &mut self.super_seeder {
            super_seeder.not_interested(now, peer);
            self.reveal_to(now, peer);
        }
    }

    /// Ends super-seeding: all peers are told that we have everything.
    pub(crate) fn reveal_all(&mut self) {
        let Some(super_seeder) = self.super_seeder.take() else { return };
        for peer in self.peers.values_mut() {
            let Some(shown) = super_seeder.shown(peer.key) else { continue };
            for piece in self.pieces.geometry.pieces() {
                if !shown.has(piece) && !peer.pieces.has.has(piece) {
                    peer.send(Message::Have(piece.number()), &mut self.outboxes.dirty);
                }
            }
        }
    }

    /// Notes that ordered payload left for the peer.
    pub(crate) fn sent(&mut self, now: Time, peer: PeerKey, bytes: u64) {
        if let Some(row) = self.peers.get_mut(&peer) {
            row.uploads.sending = row.uploads.sending.saturating_sub(bytes);
            row.uploads.meter.add(now, bytes);
            row.uploads.send_credit =
                row.uploads.meter.rate(now).clamp(SEND_CREDIT_MIN, SEND_CREDIT_MAX);
            self.sources.sent(row.source, bytes);
            self.stats.up.add(now, bytes);
        }
    }

    /// Notes that an ordered block could not be read.
    pub(crate) fn read_failed(&mut self, peer: PeerKey, block: Block) {
        if let Some(row) = self.peers.get_mut(&peer) {
            row.uploads.sending = row.uploads.sending.saturating_sub(u64::from(block.len()));
            if row.fast {
                row.send(Message::Reject(block.raw()), &mut self.outboxes.dirty);
            }
        }
    }
}
