//! Tracks which peer was asked for each block, which peer delivered it, and which peers are to
//! blame for a bad piece.
//!
//! Decides: the state of every block of the open pieces. Must not know: rarity, request windows,
//! choking.
//! Invariant: a block counts as free only when no peer is asked for it and no peer has delivered
//! it. The reserved bytes are the lengths of the open pieces. Of long pieces they are the blocks
//! that are asked for or not yet on the disk.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use bt_types::{Bitfield, Block, Geometry, Piece, Time};

use crate::io::PeerKey;
use crate::sources::SourceId;

/// Most peers that are asked for the same block at a time, in end-game.
const ASKED_MAX: u8 = 3;

/// The open pieces of a torrent.
#[derive(Debug)]
pub(crate) struct Ledger {
    geometry: Geometry,
    open: BTreeMap<Piece, Open>,
    /// Open pieces that have a free block.
    with_free: BTreeSet<Piece>,
    /// Open pieces without an owner.
    unowned: BTreeSet<Piece>,
    /// Pieces that failed with several senders, and the sender of each block. Each is fetched again
    /// from a single peer, so that blame is exact. When it is right at last, the store tells which
    /// of those blocks were wrong.
    suspect: BTreeMap<Piece, Vec<Option<SourceId>>>,
    reserved: u64,
}

#[derive(Debug)]
struct Open {
    slots: Vec<Slot>,
    /// Bytes that it takes of the store's memory.
    reserved: u64,
    /// It was opened, or got a block, since the last check for stalled pieces.
    moved: bool,
    free: u32,
    missing: u32,
    /// No block before this index is free.
    first_free: u32,
    /// The peer that opened the piece and takes its blocks in order; `None` after that peer left.
    owner: Option<PeerKey>,
    /// Only the owner may deliver blocks.
    exclusive: bool,
}

impl Open {
    fn senders(&self) -> impl Iterator<Item = SourceId> {
        self.slots.iter().filter_map(|slot| slot.from)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    asked: u8,
    /// When the peer that was asked last should have delivered it.
    due: Time,
    from: Option<SourceId>,
}

/// The effect of a delivered block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// It is not needed.
    Late,
    /// It was needed. `others_asked`: cancel it at other peers. `complete`: its piece can be
    /// checked.
    Needed { others_asked: bool, complete: bool },
}

impl Ledger {
    pub(crate) fn new(geometry: Geometry) -> Ledger {
        let (open, with_free, unowned, suspect) = Default::default();
        Ledger { geometry, open, with_free, unowned, suspect, reserved: 0 }
    }

    /// Returns the bytes that the store may have to hold in memory.
    pub(crate) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Opens a piece for a peer. `exclusive`: only this peer may deliver its blocks, as with pieces
    /// that failed.
    pub(crate) fn open(&mut self, piece: Piece, owner: PeerKey, exclusive: bool) {
        let blocks = self.geometry.block_count(piece);
        let exclusive = exclusive || self.suspect.contains_key(&piece);
        let slots = vec![Slot::default(); blocks as usize];
        let reserved = if self.geometry.has_long_pieces() {
            0
        } else {
            u64::from(self.geometry.piece_len(piece))
        };
        let open = Open {
            slots,
            reserved,
            moved: true,
            free: blocks,
            missing: blocks,
            first_free: 0,
            owner: Some(owner),
            exclusive,
        };
        self.open.insert(piece, open);
        self.with_free.insert(piece);
        self.reserved += reserved;
    }

    /// Counts the open pieces.
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Notes that the store has put `bytes` of a long piece on the disk. Returns whether that freed
    /// room.
    pub(crate) fn on_disk(&mut self, piece: Piece, bytes: u64) -> bool {
        let Some(open) = self.open.get_mut(&piece).filter(|_| self.geometry.has_long_pieces())
        else {
            return false;
        };
        let bytes = bytes.min(open.reserved);
        open.reserved -= bytes;
        self.reserved -= bytes;
        bytes > 0
    }

    /// Closes the pieces that got no block since the last call, unless they wait for their check.
    /// Returns them and their owners.
    pub(crate) fn give_up_stalled(&mut self) -> Vec<(Piece, Option<PeerKey>)> {
        let stalled = |open: &mut Open| open.missing > 0 && !core::mem::take(&mut open.moved);
        let stalled: BTreeSet<Piece> = self
            .open
            .iter_mut()
            .filter_map(|(piece, open)| stalled(open).then_some(*piece))
            .collect();
        self.give_up(|piece| stalled.contains(&piece))
    }

    /// Returns the owner of the piece.
    pub(crate) fn owner(&self, piece: Piece) -> Option<PeerKey> {
        self.open.get(&piece)?.owner
    }

    /// Picks a free block of the piece, and marks it as asked of a peer that should deliver it by
    /// `due`.
    pub(crate) fn ask_free(&mut self, piece: Piece, due: Time) -> Option<Block> {
        let open = self.open.get_mut(&piece)?;
        let is_free = |slot: &Slot| slot.asked == 0 && slot.from.is_none();
        let n = open.slots.iter().skip(open.first_free as usize).position(is_free)? as u32
            + open.first_free;
        let slot = open.slots.get_mut(n as usize)?;
        (slot.asked, slot.due) = (1, due);
        open.first_free = n + 1;
        open.free -= 1;
        if open.free == 0 {
            self.with_free.remove(&piece);
        }
        let block = self.geometry.nth_block(piece, n)?;
        if self.geometry.has_long_pieces() {
            open.reserved += u64::from(block.len());
            self.reserved += u64::from(block.len());
        }
        Some(block)
    }

    /// Returns the open pieces.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.open.keys().copied()
    }

    /// Returns whether any open piece has a free block.
    pub(crate) fn has_free(&self) -> bool {
        !self.with_free.is_empty()
    }

    /// Returns whether the peer may work on this open piece, which has a free block.
    pub(crate) fn may_join(&self, piece: Piece, peer: PeerKey) -> bool {
        self.open
            .get(&piece)
            .is_some_and(|open| open.free > 0 && (!open.exclusive || open.owner == Some(peer)))
    }

    /// Picks an open piece with a free block that this peer has and may work on. Pieces without
    /// an owner come first.
    pub(crate) fn joinable(&self, peer: PeerKey, has: &Bitfield) -> Option<Piece> {
        let usable = |piece: &&Piece| has.has(**piece) && self.may_join(**piece, peer);
        self.unowned.iter().find(usable).or_else(|| self.with_free.iter().find(usable)).copied()
    }

    /// Takes over a wanted piece without an owner for this peer.
    pub(crate) fn adopt(
        &mut self,
        peer: PeerKey,
        has: &Bitfield,
        is_wanted: impl Fn(Piece) -> bool,
    ) -> Option<Piece> {
        let usable =
            |piece: &&Piece| has.has(**piece) && self.may_join(**piece, peer) && is_wanted(**piece);
        let piece = self.unowned.iter().find(usable).copied()?;
        self.unowned.remove(&piece);
        if let Some(open) = self.open.get_mut(&piece) {
            open.owner = Some(peer);
        }
        Some(piece)
    }

    /// Picks a block in end-game for a peer that was not asked for it: overdue at another peer, the
    /// least asked first.
    pub(crate) fn ask_end_game(
        &mut self,
        now: Time,
        due: Time,
        has: &Bitfield,
        asked_already: impl Fn(Block) -> bool,
    ) -> Option<Block> {
        let geometry = self.geometry;
        let (_, block) = self
            .open
            .iter()
            .filter(|(piece, open)| open.missing > 0 && !open.exclusive && has.has(**piece))
            .flat_map(|(&piece, open)| {
                let slots = (0u32..).zip(&open.slots);
                let late = slots.filter(move |(_, slot)| {
                    slot.from.is_none() && slot.asked < ASKED_MAX && slot.due <= now
                });
                late.filter_map(move |(n, slot)| Some((slot.asked, geometry.nth_block(piece, n)?)))
            })
            .filter(|(_, block)| !asked_already(*block))
            .min_by_key(|(asked, _)| *asked)?;
        let (n, open) = self.open_mut(block)?;
        let slot = open.slots.get_mut(n as usize)?;
        (slot.asked, slot.due) = (slot.asked + 1, due);
        Some(block)
    }

    /// Notes that a peer will not deliver this block. True if the block is free now.
    pub(crate) fn release(&mut self, block: Block) -> bool {
        let Some((n, open)) = self.open_mut(block) else { return false };
        let Some(slot) = open.slots.get_mut(n as usize) else { return false };
        // The piece may have been closed and opened again since the peer was asked.
        if slot.asked == 0 {
            return false;
        }
        slot.asked -= 1;
        if slot.asked > 0 {
            return false;
        }
        open.free += 1;
        open.first_free = open.first_free.min(n);
        self.with_free.insert(block.piece());
        self.on_disk(block.piece(), u64::from(block.len()));
        true
    }

    /// Takes a block from a peer that was asked for it.
    pub(crate) fn deliver(&mut self, block: Block, peer: PeerKey, from: SourceId) -> Delivery {
        let Some((n, open)) = self.open_mut(block) else { return Delivery::Late };
        if open.exclusive && open.owner != Some(peer) {
            // The peer was asked before the piece was opened again: the owner that fetches it alone
            // now is asked for this block too.
            self.release(block);
            return Delivery::Late;
        }
        let Some(slot) = open.slots.get_mut(n as usize).filter(|slot| slot.from.is_none()) else {
            return Delivery::Late;
        };
        let was_free = slot.asked == 0;
        let others_asked = slot.asked > 1;
        *slot = Slot { from: Some(from), ..Slot::default() };
        open.missing -= 1;
        open.moved = true;
        let (complete, mut late_bytes) = (open.missing == 0, 0);
        if was_free {
            late_bytes = u64::from(block.len());
            open.free -= 1;
            if open.free == 0 {
                self.with_free.remove(&block.piece());
            }
        }
        if late_bytes > 0 && self.geometry.has_long_pieces() {
            // The block was given up, and its room with it.
            self.reserved += late_bytes;
            if let Some(open) = self.open.get_mut(&block.piece()) {
                open.reserved += late_bytes;
            }
        }
        Delivery::Needed { others_asked, complete }
    }

    /// Closes a piece that was right and is written. Returns its senders, each once.
    pub(crate) fn close(&mut self, piece: Piece) -> Vec<SourceId> {
        self.suspect.remove(&piece);
        self.drop_piece(piece)
            .map(|open| open.senders().collect::<BTreeSet<_>>().into_iter().collect())
            .unwrap_or_default()
    }

    /// Closes a piece that was wrong, to be fetched again. Returns its senders, each once.
    pub(crate) fn fail(&mut self, piece: Piece) -> Vec<SourceId> {
        let Some(open) = self.drop_piece(piece) else { return Vec::new() };
        let senders: BTreeSet<SourceId> = open.senders().collect();
        // The store remembers the blocks of the last failure only: the senders of an earlier
        // failure must not be blamed for them.
        self.suspect.remove(&piece);
        if senders.len() > 1 {
            self.suspect.insert(piece, open.slots.iter().map(|slot| slot.from).collect());
        }
        senders.into_iter().collect()
    }

    /// Returns the sender of a block of a piece at the piece's last failure.
    pub(crate) fn suspect(&self, block: Block) -> Option<SourceId> {
        let senders = self.suspect.get(&block.piece())?;
        *senders.get(block.nth(&self.geometry)? as usize)?
    }

    /// Takes the ownership of its pieces from a peer that left: other peers may own them. Returns
    /// whether one of them had free blocks or was exclusive. Also returns the exclusive ones,
    /// closed unless they wait for their check.
    pub(crate) fn leave(&mut self, peer: PeerKey) -> (bool, Vec<Piece>) {
        let (mut frees_blocks, mut given_up) = (false, Vec::new());
        for (&piece, open) in &mut self.open {
            if open.owner == Some(peer) {
                open.owner = None;
                self.unowned.insert(piece);
                frees_blocks |= open.free > 0 || open.exclusive;
                if open.exclusive && open.missing > 0 {
                    given_up.push(piece);
                }
            }
        }
        for &piece in &given_up {
            self.drop_piece(piece);
        }
        (frees_blocks, given_up)
    }

    /// Closes the pieces that are not wanted any more, unless they wait for their check. Returns
    /// them and their owners.
    pub(crate) fn give_up(
        &mut self,
        is_unwanted: impl Fn(Piece) -> bool,
    ) -> Vec<(Piece, Option<PeerKey>)> {
        let unfinished = self.open.iter().filter(|(_, open)| open.missing > 0);
        let given_up: Vec<_> = unfinished
            .filter(|(piece, _)| is_unwanted(**piece))
            .map(|(&piece, open)| (piece, open.owner))
            .collect();
        for &(piece, _) in &given_up {
            self.drop_piece(piece);
        }
        given_up
    }

    fn drop_piece(&mut self, piece: Piece) -> Option<Open> {
        self.with_free.remove(&piece);
        self.unowned.remove(&piece);
        let open = self.open.remove(&piece)?;
        self.reserved -= open.reserved;
        Some(open)
    }

    fn open_mut(&mut self, block: Block) -> Option<(u32, &mut Open)> {
        let n = block.nth(&self.geometry)?;
        Some((n, self.open.get_mut(&block.piece())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerKey = PeerKey(1);
    const B: PeerKey = PeerKey(2);
    const DUE: Time = Time::from_secs(1);

    /// Makes a ledger of two pieces of three blocks.
    fn ledger() -> (Geometry, Ledger, Bitfield) {
        let geometry = Geometry::new(6 * 16_384, 3 * 16_384).unwrap();
        (geometry, Ledger::new(geometry), Bitfield::full(2))
    }

    #[test]
    fn a_piece_is_complete_when_every_block_came_once() {
        let (g, mut ledger, _) = ledger();
        let piece = g.piece(0).unwrap();
        ledger.open(piece, A, false);
        assert_eq!(ledger.reserved(), 3 * 16_384);
        let blocks: Vec<Block> = core::iter::from_fn(|| ledger.ask_free(piece, DUE)).collect();
        assert_eq!(blocks, g.blocks(piece).collect::<Vec<_>>());
        let last = |complete| Delivery::Needed { others_asked: false, complete };
        assert_eq!(ledger.deliver(blocks[0], A, SourceId(0)), last(false));
        assert_eq!(ledger.deliver(blocks[0], A, SourceId(0)), Delivery::Late);
        assert_eq!(ledger.deliver(blocks[2], A, SourceId(0)), last(false));
        assert_eq!(ledger.deliver(blocks[1], A, SourceId(1)), last(true));
        ledger.close(piece);
        assert_eq!(ledger.reserved(), 0);
        assert_eq!(ledger.deliver(blocks[1], A, SourceId(1)), Delivery::Late);
    }

    #[test]
    fn a_released_block_is_asked_again_first() {
        let (g, mut ledger, all) = ledger();
        let piece = g.piece(1).unwrap();
        ledger.open(piece, A, false);
        let first = ledger.ask_free(piece, DUE).unwrap();
        ledger.ask_free(piece, DUE).unwrap();
        assert!(ledger.release(first));
        assert_eq!(ledger.joinable(B, &all), Some(piece));
        assert_eq!(ledger.ask_free(piece, DUE), Some(first));
        assert_eq!(ledger.joinable(B, &Bitfield::empty(2)), None, "B has not got it");
    }

    #[test]
    fn end_game_asks_the_least_asked_block_when_it_is_late_and_never_the_same_peer() {
        let (g, mut ledger, all) = ledger();
        let piece = g.piece(0).unwrap();
        ledger.open(piece, A, false);
        let blocks: Vec<Block> = core::iter::from_fn(|| ledger.ask_free(piece, DUE)).collect();
        assert_eq!(
            ledger.ask_end_game(Time::ZERO, DUE, &all, |_| false),
            None,
            "nothing is late yet"
        );
        let late = ledger.ask_end_game(DUE, Time::from_secs(2), &all, |_| false).unwrap();
        assert_eq!(late, blocks[0]);
        assert_eq!(
            ledger.ask_end_game(DUE, DUE, &all, |block| block == blocks[0]),
            Some(blocks[1])
        );
        assert_eq!(
            ledger.deliver(late, A, SourceId(0)),
            Delivery::Needed { others_asked: true, complete: false }
        );
        assert!(!ledger.release(late), "a delivered block is not free");
    }

    #[test]
    fn answers_to_an_earlier_opening_of_the_piece_confuse_nothing() {
        let (g, mut ledger, all) = ledger();
        let piece = g.piece(0).unwrap();
        ledger.open(piece, A, false);
        let block = ledger.ask_free(piece, DUE).unwrap();
        assert!(ledger.release(block));
        assert!(!ledger.release(block), "it is free already");
        let needed = |complete| Delivery::Needed { others_asked: false, complete };
        assert_eq!(
            ledger.deliver(block, A, SourceId(0)),
            needed(false),
            "it came although it was given up"
        );
        let rest: Vec<Block> = core::iter::from_fn(|| ledger.ask_free(piece, DUE)).collect();
        assert_eq!(rest.len(), 2, "it is not asked again");
        assert_eq!(ledger.joinable(B, &all), None);
        assert_eq!(ledger.deliver(rest[0], A, SourceId(0)), needed(false));
        assert_eq!(ledger.deliver(rest[1], A, SourceId(0)), needed(true));
    }

    #[test]
    fn after_a_mixed_failure_one_peer_alone_delivers() {
        let (g, mut ledger, all) = ledger();
        let piece = g.piece(0).unwrap();
        ledger.open(piece, A, false);
        let blocks: Vec<Block> = core::iter::from_fn(|| ledger.ask_free(piece, DUE)).collect();
        for (n, &block) in blocks.iter().enumerate() {
            ledger.deliver(block, A, SourceId(n as u32 % 2));
        }
        assert_eq!(ledger.fail(piece), [SourceId(0), SourceId(1)]);
        assert_eq!(
            ledger.suspect(blocks[1]),
            Some(SourceId(1)),
            "it is remembered who sent which block"
        );
        ledger.open(piece, B, false);
        assert_eq!(ledger.joinable(A, &all), None);
        assert_eq!(ledger.joinable(B, &all), Some(piece));
        assert_eq!(ledger.ask_end_game(DUE, DUE, &all, |_| false), None);
        let block = ledger.ask_free(piece, DUE).unwrap();
        assert_eq!(ledger.deliver(block, A, SourceId(0)), Delivery::Late, "A may not mix in");
        assert_eq!(ledger.ask_free(piece, DUE), Some(block), "and B is asked again");
        assert_eq!(ledger.leave(B), (true, alloc::vec![piece]), "no other peer may finish it");
        assert_eq!(ledger.reserved(), 0);
    }

    #[test]
    fn of_a_long_piece_only_blocks_that_are_under_way_are_reserved() {
        let length = bt_types::PIECE_IN_MEMORY_MAX + 16_384;
        let geometry = Geometry::new(u64::from(length) * 2, length).unwrap();
        let mut ledger = Ledger::new(geometry);
        let piece = geometry.piece(0).unwrap();
        ledger.open(piece, A, false);
        assert_eq!((ledger.reserved(), ledger.open_count()), (0, 1));
        let asked: Vec<Block> = (0..3).map(|_| ledger.ask_free(piece, DUE).unwrap()).collect();
        assert_eq!(ledger.reserved(), 3 * 16_384);
        ledger.release(asked[2]);
        assert_eq!(ledger.reserved(), 2 * 16_384);
        ledger.deliver(asked[2], A, SourceId(0));
        ledger.deliver(asked[0], A, SourceId(0));
        assert_eq!(ledger.reserved(), 3 * 16_384, "what came is held until it is on the disk");
        assert!(ledger.on_disk(piece, 2 * 16_384) && ledger.reserved() == 16_384);
        ledger.give_up(|_| true);
        assert!(!ledger.on_disk(piece, 16_384) && ledger.reserved() == 0);
    }

    #[test]
    fn a_piece_for_which_nothing_comes_is_stalled_at_the_second_look() {
        let (g, mut ledger, _) = ledger();
        let (first, second) = (g.piece(0).unwrap(), g.piece(1).unwrap());
        ledger.open(first, A, false);
        ledger.open(second, B, false);
        assert_eq!(ledger.give_up_stalled(), []);
        let block = ledger.ask_free(second, DUE).unwrap();
        ledger.deliver(block, B, SourceId(0));
        assert_eq!(ledger.give_up_stalled(), [(first, Some(A))]);
        for block in core::iter::from_fn(|| ledger.ask_free(second, DUE)).collect::<Vec<_>>() {
            ledger.deliver(block, B, SourceId(0));
        }
        ledger.give_up_stalled();
        assert_eq!(ledger.give_up_stalled(), [], "what waits for its check is not given up");
    }

    #[test]
    fn the_sole_sender_of_a_bad_piece_is_named() {
        let (g, mut ledger, _) = ledger();
        let piece = g.piece(0).unwrap();
        ledger.open(piece, A, false);
        for block in core::iter::from_fn(|| ledger.ask_free(piece, DUE)).collect::<Vec<_>>() {
            ledger.deliver(block, A, SourceId(7));
        }
        assert_eq!(ledger.fail(piece), [SourceId(7)]);
    }
}
