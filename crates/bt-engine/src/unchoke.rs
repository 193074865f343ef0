//! Unchokes and chokes the peers of a torrent: asks the choker for its choice, and tells the peers.
//!
//! Decides: when a choice is made, and from which facts. Must not know: how the choker chooses,
//! which blocks are served.
//! Invariant: `unchoked` is the set of peers to which our last word was `unchoke`.

use crate::choker::{self, Candidate, Chosen, Slots};
use crate::config::Budget;
use crate::ctx::Ctx;
use crate::eviction;
use crate::io::PeerKey;
use crate::peer::Peer;
use crate::super_seeder::SuperSeeder;
use crate::torrent::Torrent;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bt_peer_wire::Message;
use bt_types::Time;

impl Torrent {
    /// Chooses anew which peers to unchoke.
    pub(crate) fn choke_round(&mut self, ctx: &mut Ctx<'_>) {
        self.unchoking.next_round = ctx.now + ctx.config.choke_round;
        let candidates: Vec<Candidate> = self
            .peers
            .values()
            .map(|peer| Candidate {
                peer: peer.key,
                interested: peer.choking.peer_interested,
                unchoked: !peer.choking.am_choking,
                optimistic: peer.choking.optimistic,
                snubbed: peer.requests.pipeline.is_snubbed(),
                gives: peer.requests.pipeline.rate(ctx.now),
                debt: peer
                    .uploads
                    .meter
                    .total()
                    .cast_signed()
                    .saturating_sub_unsigned(peer.requests.pipeline.received()),
                since: peer.choking.changed,
                wasteful: peer.choking.wasteful || self.wastes_slot(peer, ctx.now),
                owed: self
                    .super_seeder
                    .as_ref()
                    .is_some_and(|super_seeder| super_seeder.is_owed(peer.key)),
            })
            .collect();
        let served = || self.unchoking.unchoked.iter().filter_map(|key| self.peers.get(key));
        let is_idle =
            served().all(|peer| peer.uploads.waiting.is_empty() && peer.uploads.sending == 0);
        let waits =
            self.peers.values().any(|peer| peer.choking.peer_interested && peer.choking.am_choking);
        let is_thin = served().any(|peer| !peer.uploads.waiting.is_empty());
        self.unchoking.slots = choker::slots_next(
            self.unchoking.slots,
            self.stats.up.rate(ctx.now),
            is_idle && waits,
            is_thin,
        );
        let slots = Slots::of(self.slots_now(ctx.budget));
        if self.store_fault.is_some() {
            return self.apply(ctx, &Chosen::default());
        }
        let chosen =
            choker::round(ctx.now, &candidates, slots, self.is_done(), &mut self.swarm.rng);
        self.apply(ctx, &chosen);
        if self.super_seeder.is_some() {
            chosen.regular.iter().for_each(|&peer| self.show_pieces(ctx, peer));
        }
    }

    fn apply(&mut self, ctx: &mut Ctx<'_>, chosen: &Chosen) {
        let served: BTreeSet<PeerKey> =
            chosen.regular.iter().chain(&chosen.optimistic).copied().collect();
        let before: Vec<PeerKey> = self.unchoking.unchoked.difference(&served).copied().collect();
        before.into_iter().for_each(|peer| self.choke(ctx, peer));
        for peer in served {
            let optimistic = chosen.optimistic.contains(&peer);
            self.unchoke(ctx, peer, optimistic);
        }
    }

    /// Unchokes a peer that became interested, if a slot is free or a peer makes no use of its
    /// slot.
    pub(crate) fn unchoke_if_free(&mut self, ctx: &mut Ctx<'_>, peer: PeerKey) {
        if self.store_fault.is_some() || self.unchoking.unchoked.contains(&peer) {
            return;
        }
        let served = || {
            self.unchoking
                .unchoked
                .iter()
                .filter_map(|key| self.peers.get(key))
                .filter(|peer| peer.choking.peer_interested)
        };
        let (count, slots) = (served().count(), self.slots_now(ctx.budget));
        let idle = || {
            served()
                .filter(|peer| self.wastes_slot(peer, ctx.now))
                .min_by_key(|peer| peer.choking.changed)
        };
        let idle = if count < slots { None } else { idle().map(|peer| peer.key) };
        idle.into_iter().for_each(|idle| self.choke(ctx, idle));
        if count < slots || idle.is_some() {
            self.unchoke(ctx, peer, count >= Slots::of(slots).regular);
            self.show_pieces(ctx, peer);
        }
    }

    /// Gives slots of which peers make no use to peers that wait.
    pub(crate) fn hand_over(&mut self, ctx: &mut Ctx<'_>) {
        let served = || self.unchoking.unchoked.iter().filter_map(|key| self.peers.get(key));
        // The slot of a peer that is not interested may have been given away already.
        let mut free = self
            .slots_now(ctx.budget)
            .saturating_sub(served().filter(|peer| peer.choking.peer_interested).count());
        let mut has_slot = |peer: &&Peer| {
            let has = peer.choking.peer_interested || free > 0;
            free -= usize::from(has && !peer.choking.peer_interested);
            has
        };
        let idle =
            served().filter(|peer| self.wastes_slot(peer, ctx.now)).filter(|peer| has_slot(peer));
        let idle: Vec<(PeerKey, bool)> =
            idle.map(|peer| (peer.key, peer.choking.optimistic)).collect();
        if idle.is_empty() || self.store_fault.is_some() {
            return;
        }
        for ((idle, optimistic), next) in idle.into_iter().zip(self.waiting()) {
            self.choke(ctx, idle);
            self.unchoke(ctx, next, optimistic);
            self.show_pieces(ctx, next);
        }
    }

    /// Gives the slot of an unchoked peer that left to a peer that waits, not to the next newcomer.
    pub(crate) fn fill_slot(&mut self, ctx: &mut Ctx<'_>, optimistic: bool) {
        let next = if self.store_fault.is_some() { None } else { self.waiting().first().copied() };
        if let Some(next) = next {
            self.unchoke(ctx, next, optimistic);
            self.show_pieces(ctx, next);
        }
    }

    /// Returns the peers that wait for a slot, in the order in which they get slots between two
    /// rounds.
    fn waiting(&self) -> Vec<PeerKey> {
        let waits = |peer: &&Peer| {
            peer.choking.peer_interested && peer.choking.am_choking && !peer.choking.wasteful
        };
        let waiting = self
            .peers
            .values()
            .filter(waits)
            .map(|peer| (peer.key, peer.addr.ip(), peer.choking.changed));
        eviction::fewest_first(&waiting.collect::<Vec<_>>())
    }

    /// Returns whether a peer makes no use of its slot although we show it something that it lacks.
    fn wastes_slot(&self, peer: &Peer, now: Time) -> bool {
        let is_shown = |super_seeder: &SuperSeeder| {
            !super_seeder.is_owed(peer.key)
                && super_seeder
                    .shown(peer.key)
                    .is_none_or(|shown| peer.pieces.has.lacks_some_of(shown))
        };
        peer.is_idle(now) && self.super_seeder.as_deref().is_none_or(is_shown)
    }

    fn slots_now(&self, budget: &Budget) -> usize {
        self.unchoking
            .slots
            .min(choker::slots_under(budget.rates.up))
            .min(choker::slots_under(self.upload_turns.limit.rate()))
    }

    fn unchoke(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, optimistic: bool) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.choking.optimistic = optimistic;
        if self.unchoking.unchoked.insert(key) {
            peer.choking.am_choking = false;
            peer.choking.changed = ctx.now;
            ctx.send(peer.outbox, Message::Unchoke);
            self.suggest(ctx, key);
        }
    }

    fn choke(&mut self, ctx: &mut Ctx<'_>, key: PeerKey) {
        // A peer that had all that we had, or requests slowly, makes use of its next turn.
        let asked_nothing = |peer: &Peer| {
            peer.choking.peer_interested
                && peer.choking.asked_at <= peer.choking.changed
                && self.wastes_slot(peer, ctx.now)
        };
        let wastes = self.peers.get(&key).is_some_and(asked_nothing);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        self.unchoking.unchoked.remove(&key);
        peer.choking.wasteful |= wastes;
        peer.choking.am_choking = true;
        peer.choking.optimistic = false;
        peer.choking.changed = ctx.now;
        ctx.send(peer.outbox, Message::Choke);
        // With the fast extension every request is answered, here by a reject (BEP 6). A newcomer
        // keeps its requests for allowed pieces.
        for block in core::mem::take(&mut peer.uploads.waiting) {
            if peer.may_have(block.piece()) {
                peer.uploads.waiting.push_back(block);
            } else if peer.fast {
                ctx.send(peer.outbox, Message::Reject(block.raw()));
            }
        }
    }
}
