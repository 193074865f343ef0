//! The oracles that watch one engine: a simple model of what it was told, against which each of its orders is held.
//!
//! Decides: whether an order keeps the rules. Must not know: how the engine decides.
//! Invariant: the model learns only from inputs and orders; the first broken rule is kept.

use crate::violation::Broken;
use bt_engine::{Input, Output, PeerKey};
use bt_peer_wire::Message;
use bt_types::{Bitfield, Block, Geometry, Piece, RawBlock, Time, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A peer that was asked and delivered nothing for this long may be given up, and its blocks asked of others.
const PATIENCE: Duration = Duration::from_secs(20);
/// Payload bytes that may be ordered for one peer ahead of their sending: a mebibyte, one turn, and one block.
const SEND_CREDIT_MAX: u64 = (1 << 20) + (256 << 10) + (16 << 10);

/// The model of one engine with one torrent.
#[derive(Debug)]
pub(crate) struct Watch {
    geometry: Geometry,
    /// Verified and written.
    have: Bitfield,
    /// Pieces that were asked for, and neither found good nor bad nor given up.
    open: BTreeSet<Piece>,
    peers: BTreeMap<PeerKey, Row>,
    broken: Option<Broken>,
}

#[derive(Debug)]
struct Row {
    has: Bitfield,
    serves_us: bool,
    /// What it was asked for.
    asked: BTreeSet<RawBlock>,
    /// When it last delivered, or was asked while nothing was outstanding.
    heard_at: Time,
    unchoked: bool,
    /// What it asked us for, and how often: who gave a slow answer up may ask again before it comes.
    wants: BTreeMap<RawBlock, u32>,
    /// Payload bytes ordered and not sent.
    ordered: u64,
}

impl Watch {
    /// A watch over an engine that begins with these pieces.
    pub(crate) fn new(geometry: Geometry, have: Bitfield) -> Watch {
        Watch { geometry, have, open: BTreeSet::new(), peers: BTreeMap::new(), broken: None }
    }

    /// The first rule that was broken.
    pub(crate) fn broken(&mut self) -> Option<Broken> {
        self.broken.take()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.have.is_full()
    }

    // ---- what the engine learns ----

    pub(crate) fn input(&mut self, now: Time, input: &Input) {
        match input {
            Input::Connected { peer, .. } => {
                self.peers.insert(*peer, Row::new(now, self.geometry.piece_count()));
            }
            Input::Closed(peer) => {
                self.peers.remove(peer);
            }
            Input::Frames(peer, messages) => {
                let geometry = self.geometry;
                if let Some(row) = self.peers.get_mut(peer) {
                    messages.iter().for_each(|message| row.hear(now, message, &geometry));
                }
            }
            Input::Sent(peer, bytes) => {
                if let Some(row) = self.peers.get_mut(peer) {
                    row.ordered = row.ordered.saturating_sub(*bytes);
                }
            }
            Input::ReadFailed(peer, block) => {
                if let Some(row) = self.peers.get_mut(peer) {
                    row.ordered = row.ordered.saturating_sub(u64::from(block.len()));
                }
            }
            Input::Checked(_, piece, verdict) => {
                self.open.remove(piece);
                if *verdict == Verdict::Good {
                    self.have.insert(*piece);
                }
            }
            _ => {}
        }
    }

    // ---- what the engine orders ----

    pub(crate) fn output(&mut self, now: Time, output: &Output) {
        let kept = match output {
            Output::HangUp(peer, _) => self.peers.remove(peer).map(drop).ok_or(Broken::UnknownPeer(*peer)),
            Output::Send(peer, messages) => messages.iter().try_for_each(|message| self.said(now, *peer, message)),
            Output::Serve(peer, _, blocks) => self.served(*peer, blocks),
            Output::Forget(_, piece) => {
                self.open.remove(piece);
                Ok(())
            }
            _ => Ok(()),
        };
        self.keep(kept);
    }

    /// The engine reserves so many bytes of the store.
    pub(crate) fn reserved(&mut self, bytes: u64, budget: u64) {
        if bytes > budget.max(u64::from(self.geometry.piece_length())) {
            self.keep(Err(Broken::StoreCredit(bytes, budget)));
        }
    }

    fn keep(&mut self, kept: Result<(), Broken>) {
        if let Err(broken) = kept {
            self.broken.get_or_insert(broken);
        }
    }

    fn said(&mut self, now: Time, peer: PeerKey, message: &Message) -> Result<(), Broken> {
        let row = self.peers.get_mut(&peer).ok_or(Broken::UnknownPeer(peer))?;
        match message {
            Message::Request(block) => return self.asked(now, peer, *block),
            Message::Cancel(block) => {
                row.asked.remove(block);
            }
            Message::Unchoke => row.unchoked = true,
            Message::Choke => {
                row.unchoked = false;
                row.wants.clear();
            }
            Message::Reject(block) => {
                row.drop_want(block);
            }
            Message::Have(number) => {
                let holds = self.geometry.piece(*number).is_some_and(|piece| self.have.has(piece));
                return if holds { Ok(()) } else { Err(Broken::EarlyHave(*number)) };
            }
            Message::HaveAll if !self.have.is_full() => return Err(Broken::EarlyHave(0)),
            Message::Bitfield(bits) => {
                let said = Bitfield::from_wire(bits, self.geometry.piece_count());
                let early = said.iter().flat_map(|said| said.iter(&self.geometry)).find(|&piece| !self.have.has(piece));
                return early.map_or(Ok(()), |piece| Err(Broken::EarlyHave(piece.number())));
            }
            _ => {}
        }
        Ok(())
    }

    fn asked(&mut self, now: Time, peer: PeerKey, block: RawBlock) -> Result<(), Broken> {
        let row = self.peers.get(&peer).ok_or(Broken::UnknownPeer(peer))?;
        if !row.serves_us {
            return Err(Broken::RequestWhileChoked(peer, block));
        }
        let piece = self.geometry.piece(block.piece).ok_or(Broken::RequestOfNothing(peer, block))?;
        if !row.has.has(piece) {
            return Err(Broken::RequestOfNothing(peer, block));
        }
        self.open.insert(piece);
        let end_game = self.geometry.pieces().all(|piece| self.have.has(piece) || self.open.contains(&piece));
        let others = self.peers.iter().filter(|(_, row)| row.asked.contains(&block) && now - row.heard_at < PATIENCE);
        if let Some((&other, _)) = others.into_iter().find(|(key, _)| **key == peer || !end_game) {
            return Err(Broken::AskedTwice(other, peer, block));
        }
        if let Some(row) = self.peers.get_mut(&peer) {
            if row.asked.is_empty() || now - row.heard_at >= PATIENCE {
                row.asked.clear();
                row.heard_at = now;
            }
            row.asked.insert(block);
        }
        Ok(())
    }

    fn served(&mut self, peer: PeerKey, blocks: &[Block]) -> Result<(), Broken> {
        let row = self.peers.get_mut(&peer).ok_or(Broken::UnknownPeer(peer))?;
        for block in blocks {
            if !row.drop_want(&block.raw()) || !row.unchoked {
                return Err(Broken::ServedUnasked(peer, block.raw()));
            }
            row.ordered += u64::from(block.len());
        }
        if row.ordered > SEND_CREDIT_MAX { Err(Broken::SendCredit(peer, row.ordered)) } else { Ok(()) }
    }
}

impl Row {
    fn new(now: Time, pieces: u32) -> Row {
        Row {
            has: Bitfield::empty(pieces),
            serves_us: false,
            asked: BTreeSet::new(),
            heard_at: now,
            unchoked: false,
            wants: BTreeMap::new(),
            ordered: 0,
        }
    }

    /// One of its requests is answered or void; whether there was one.
    fn drop_want(&mut self, block: &RawBlock) -> bool {
        let Some(count) = self.wants.get_mut(block) else { return false };
        *count -= 1;
        if *count == 0 {
            self.wants.remove(block);
        }
        true
    }

    /// The peer says something. All hosts speak the fast extension, so a choke alone does not void requests (BEP 6).
    fn hear(&mut self, now: Time, message: &Message, geometry: &Geometry) {
        match message {
            Message::Bitfield(bits) => self.has = Bitfield::from_wire(bits, geometry.piece_count()).unwrap_or(self.has.clone()),
            Message::HaveAll => self.has = Bitfield::full(geometry.piece_count()),
            Message::Have(number) => {
                geometry.piece(*number).map(|piece| self.has.insert(piece));
            }
            Message::Choke => self.serves_us = false,
            Message::Unchoke => self.serves_us = true,
            Message::Piece { piece, begin, data } => {
                if now - self.heard_at >= PATIENCE {
                    self.asked.clear();
                }
                self.asked.remove(&RawBlock { piece: *piece, begin: *begin, len: data.len() as u32 });
                self.heard_at = now;
            }
            Message::Reject(block) => {
                self.asked.remove(block);
            }
            Message::Request(block) => {
                *self.wants.entry(*block).or_default() += 1;
            }
            Message::Cancel(block) => {
                self.drop_want(block);
            }
            _ => {}
        }
    }
}
