//! The oracles that watch one engine: a simple model of what it was told, against which each of its
//! orders is held.
//!
//! Decides: whether an order keeps the rules. Must not know: how the engine decides.
//! Invariant: the model learns only from inputs and orders; the first broken rule is kept.

use crate::violation::Broken;
use bt_engine::{Input, Output, PeerKey};
use bt_peer_wire::Message;
use bt_types::{Bitfield, Block, Geometry, Piece, PieceCheck, RawBlock, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A peer that was asked and delivered nothing for this long may be given up, and its blocks asked
/// of others.
const PATIENCE: Duration = Duration::from_secs(20);
/// Payload bytes that may be ordered for one peer ahead of their sending: half a mebibyte, and one
/// block.
const SEND_CREDIT_MAX: u64 = (512 << 10) + (16 << 10);

/// Bytes of metadata that may be held: two copies of the longest that is taken.
const METADATA_HELD_MAX: u64 = 32 << 20;

/// The model of one engine with one torrent.
#[derive(Debug)]
pub(crate) struct Watch {
    geometry: Geometry,
    /// Verified and written.
    have: Bitfield,
    /// Pieces that were asked for, and neither found good nor bad nor given up.
    open: BTreeSet<Piece>,
    peers: BTreeMap<PeerKey, Row>,
    /// Blocks that two peers are asked for, since the engine began to give orders.
    twice: Vec<(PeerKey, PeerKey, RawBlock)>,
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
    /// Pieces that it serves although it chokes us, and that we serve it although we choke it (BEP
    /// 6).
    allows: BTreeSet<u32>,
    allowed: BTreeSet<u32>,
    /// What it asked us for, and how often: who gave a slow answer up may ask again before it
    /// comes.
    wants: BTreeMap<RawBlock, u32>,
    /// Payload bytes ordered and not sent.
    ordered: u64,
}

impl Watch {
    /// A watch over an engine that begins with these pieces.
    pub(crate) fn new(geometry: Geometry, have: Bitfield) -> Watch {
        Watch {
            geometry,
            have,
            open: BTreeSet::new(),
            peers: BTreeMap::new(),
            twice: Vec::new(),
            broken: None,
        }
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
                if *verdict == PieceCheck::Good {
                    self.have.insert(*piece);
                }
            }
            Input::Lost(_, pieces) => {
                for piece in pieces {
                    self.open.remove(piece);
                    self.have.remove(*piece);
                }
            }
            _ => {}
        }
    }

    // ---- what the engine orders ----

    pub(crate) fn output(&mut self, now: Time, output: &Output) {
        let kept = match output {
            Output::HangUp(peer, _) => {
                self.peers.remove(peer).map(drop).ok_or(Broken::UnknownPeer(*peer))
            }
            Output::Send(peer, messages) => {
                messages.iter().try_for_each(|message| self.said(now, *peer, message))
            }
            Output::Serve { peer, blocks, .. } => self.served(*peer, blocks),
            Output::Forget(_, piece) => {
                self.open.remove(piece);
                Ok(())
            }
            _ => Ok(()),
        };
        self.keep(kept);
    }

    /// The engine has given all its orders: what was asked of two must be end-game, whatever the
    /// order of its orders was.
    pub(crate) fn orders_over(&mut self) {
        let twice = std::mem::take(&mut self.twice);
        let end_game = || {
            self.geometry.pieces().all(|piece| self.have.has(piece) || self.open.contains(&piece))
        };
        if let Some(&(other, peer, block)) = twice.first().filter(|_| !end_game()) {
            self.keep(Err(Broken::AskedTwice(other, peer, block)));
        }
    }

    /// The engine reserves this many bytes of the store.
    pub(crate) fn reserved(&mut self, bytes: u64, budget: u64) {
        if bytes > budget.max(u64::from(self.geometry.piece_length())) {
            self.keep(Err(Broken::StoreCredit(bytes, budget)));
        }
    }

    /// The engine holds this many bytes of metadata.
    pub(crate) fn metadata_held(&mut self, bytes: u64) {
        if bytes > METADATA_HELD_MAX {
            self.keep(Err(Broken::MetadataHeld(bytes)));
        }
    }

    /// The engine took something for the metadata that is not, or took it twice.
    pub(crate) fn wrong_metadata(&mut self) {
        self.keep(Err(Broken::WrongMetadata));
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
                let allowed = &row.allowed;
                row.wants.retain(|block, _| allowed.contains(&block.piece));
            }
            Message::AllowedFast(piece) => {
                row.allowed.insert(*piece);
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
                let early = said
                    .iter()
                    .flat_map(|said| said.iter(&self.geometry))
                    .find(|&piece| !self.have.has(piece));
                return early.map_or(Ok(()), |piece| Err(Broken::EarlyHave(piece.number())));
            }
            _ => {}
        }
        Ok(())
    }

    fn asked(&mut self, now: Time, peer: PeerKey, block: RawBlock) -> Result<(), Broken> {
        let row = self.peers.get(&peer).ok_or(Broken::UnknownPeer(peer))?;
        if !row.serves_us && !row.allows.contains(&block.piece) {
            return Err(Broken::RequestWhileChoked(peer, block));
        }
        let piece =
            self.geometry.piece(block.piece).ok_or(Broken::RequestOfNothing(peer, block))?;
        if !row.has.has(piece) {
            return Err(Broken::RequestOfNothing(peer, block));
        }
        self.open.insert(piece);
        let asked = |row: &Row| row.asked.contains(&block) && now - row.heard_at < PATIENCE;
        if self.peers.get(&peer).is_some_and(asked) {
            return Err(Broken::AskedTwice(peer, peer, block));
        }
        let other = self.peers.iter().find(|(_, row)| asked(row)).map(|(&other, _)| other);
        self.twice.extend(other.map(|other| (other, peer, block)));
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
            let may_have = row.unchoked || row.allowed.contains(&block.raw().piece);
            if !row.drop_want(&block.raw()) || !may_have {
                return Err(Broken::ServedUnasked(peer, block.raw()));
            }
            row.ordered += u64::from(block.len());
        }
        if row.ordered > SEND_CREDIT_MAX {
            Err(Broken::SendCredit(peer, row.ordered))
        } else {
            Ok(())
        }
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
            allows: BTreeSet::new(),
            allowed: BTreeSet::new(),
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

    /// The peer says something. All hosts speak the fast extension, so a choke alone does not void
    /// requests, and a cancel is answered by a reject unless the block is on its way (BEP 6).
    fn hear(&mut self, now: Time, message: &Message, geometry: &Geometry) {
        match message {
            Message::Bitfield(bits) => {
                self.has =
                    Bitfield::from_wire(bits, geometry.piece_count()).unwrap_or(self.has.clone())
            }
            Message::HaveAll => self.has = Bitfield::full(geometry.piece_count()),
            Message::Have(number) => {
                geometry.piece(*number).map(|piece| self.has.insert(piece));
            }
            Message::Choke => self.serves_us = false,
            Message::Unchoke => self.serves_us = true,
            Message::AllowedFast(piece) => {
                self.allows.insert(*piece);
            }
            Message::Piece { piece, begin, data } => {
                if now - self.heard_at >= PATIENCE {
                    self.asked.clear();
                }
                self.asked.remove(&RawBlock {
                    piece: *piece,
                    begin: *begin,
                    len: data.len() as u32,
                });
                self.heard_at = now;
            }
            Message::Reject(block) => {
                self.asked.remove(block);
            }
            Message::Request(block) => {
                *self.wants.entry(*block).or_default() += 1;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_engine::{CloseReason, TorrentKey};
    use bt_peer_wire::{Handshake, Reserved};
    use bt_types::{InfoHash, PeerId};

    const TORRENT: TorrentKey = TorrentKey(0);
    const A: PeerKey = PeerKey(1);
    const B: PeerKey = PeerKey(2);

    /// A watch over an engine that has nothing of three pieces of one block, with two peers that
    /// have everything.
    fn watch() -> Watch {
        let geometry = Geometry::new(3 << 14, 1 << 14).unwrap();
        let mut watch = Watch::new(geometry, Bitfield::empty(3));
        for peer in [A, B] {
            let handshake = Handshake {
                reserved: Reserved::OURS,
                info_hash: InfoHash([0; 20]),
                peer_id: PeerId([0; 20]),
            };
            let addr = ([1, 0, 0, 1], 1).into();
            watch.input(
                Time::ZERO,
                &Input::Connected { peer, torrent: TORRENT, addr, outbound: true, handshake },
            );
            watch.input(Time::ZERO, &Input::Frames(peer, vec![Message::HaveAll]));
        }
        watch
    }

    fn block(piece: u32) -> RawBlock {
        RawBlock { piece, begin: 0, len: 1 << 14 }
    }

    fn hears(peer: PeerKey, message: Message) -> Step {
        Step::In(Input::Frames(peer, vec![message]))
    }

    fn serves(peer: PeerKey, block: Block) -> Output {
        Output::Serve { peer, torrent: TORRENT, blocks: vec![block], at_once: false }
    }

    fn says(peer: PeerKey, message: Message) -> Step {
        Step::Out(Output::Send(peer, vec![message]))
    }

    enum Step {
        In(Input),
        Out(Output),
    }

    #[test]
    fn each_rule_can_be_broken() {
        let geometry = Geometry::new(3 << 14, 1 << 14).unwrap();
        let serve = |peer| Step::Out(serves(peer, geometry.block(block(0)).unwrap()));
        let good = Step::In(Input::Checked(TORRENT, geometry.piece(0).unwrap(), PieceCheck::Good));
        let ask = |peer, piece| says(peer, Message::Request(block(piece)));
        let (unchoke, want) =
            (|peer| hears(peer, Message::Unchoke), |peer| hears(peer, Message::Request(block(0))));
        let table: Vec<(Vec<Step>, Option<Broken>)> = vec![
            (vec![ask(A, 0)], Some(Broken::RequestWhileChoked(A, block(0)))),
            (vec![unchoke(A), ask(A, 0)], None),
            (
                vec![unchoke(A), hears(A, Message::Choke), ask(A, 0)],
                Some(Broken::RequestWhileChoked(A, block(0))),
            ),
            (
                vec![unchoke(A), unchoke(B), ask(A, 0), ask(B, 0)],
                Some(Broken::AskedTwice(A, B, block(0))),
            ),
            (vec![unchoke(A), unchoke(B), ask(A, 0), ask(A, 1), ask(A, 2), ask(B, 0)], None),
            (vec![unchoke(A), ask(A, 0), says(A, Message::Cancel(block(0))), ask(A, 0)], None),
            (vec![unchoke(A), ask(A, 0), ask(A, 0)], Some(Broken::AskedTwice(A, A, block(0)))),
            (vec![unchoke(A), ask(A, 9)], Some(Broken::RequestOfNothing(A, block(9)))),
            (vec![says(A, Message::Have(0))], Some(Broken::EarlyHave(0))),
            (vec![good, says(A, Message::Have(0))], None),
            (vec![says(A, Message::HaveAll)], Some(Broken::EarlyHave(0))),
            (vec![want(A), serve(A)], Some(Broken::ServedUnasked(A, block(0)))),
            (vec![says(A, Message::Unchoke), serve(A)], Some(Broken::ServedUnasked(A, block(0)))),
            (vec![says(A, Message::Unchoke), want(A), serve(A)], None),
            (
                vec![says(A, Message::Unchoke), want(A), says(A, Message::Choke), serve(A)],
                Some(Broken::ServedUnasked(A, block(0))),
            ),
            (vec![hears(A, Message::AllowedFast(0)), ask(A, 0)], None),
            (vec![says(A, Message::AllowedFast(0)), want(A), serve(A)], None),
            (
                vec![Step::Out(Output::HangUp(A, CloseReason::Full)), says(A, Message::Choke)],
                Some(Broken::UnknownPeer(A)),
            ),
            (
                vec![Step::In(Input::Closed(A)), says(A, Message::Choke)],
                Some(Broken::UnknownPeer(A)),
            ),
        ];
        for (number, (steps, broken)) in table.into_iter().enumerate() {
            let mut watch = watch();
            for step in steps {
                match step {
                    Step::In(input) => watch.input(Time::ZERO, &input),
                    Step::Out(output) => watch.output(Time::ZERO, &output),
                }
                watch.orders_over();
            }
            assert_eq!(watch.broken(), broken, "row {number}");
        }
    }

    #[test]
    fn credits_have_a_limit() {
        let mut watch = watch();
        watch.reserved(1 << 14, 0);
        assert_eq!(watch.broken(), None, "one piece is always allowed");
        watch.reserved(1 << 15, 1 << 14);
        assert_eq!(watch.broken(), Some(Broken::StoreCredit(1 << 15, 1 << 14)));

        let geometry = watch.geometry;
        let serve = serves(A, geometry.block(block(0)).unwrap());
        watch.output(Time::ZERO, &Output::Send(A, vec![Message::Unchoke]));
        for _ in 0..SEND_CREDIT_MAX / (1 << 14) {
            watch.input(Time::ZERO, &Input::Frames(A, vec![Message::Request(block(0))]));
            watch.output(Time::ZERO, &serve);
        }
        assert_eq!(watch.broken(), None);
        watch.input(Time::ZERO, &Input::Frames(A, vec![Message::Request(block(0))]));
        watch.output(Time::ZERO, &serve);
        assert_eq!(watch.broken(), Some(Broken::SendCredit(A, SEND_CREDIT_MAX + (1 << 14))));
    }

    #[test]
    fn requests_to_a_silent_peer_may_be_given_up() {
        let mut watch = watch();
        for peer in [A, B] {
            watch.input(Time::ZERO, &Input::Frames(peer, vec![Message::Unchoke]));
        }
        let ask = |peer| Output::Send(peer, vec![Message::Request(block(0))]);
        watch.output(Time::ZERO, &ask(A));
        watch.output(Time::from_secs(20), &ask(B));
        watch.orders_over();
        assert_eq!(watch.broken(), None);
    }
}
