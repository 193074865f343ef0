//! Picks blocks, also those that several peers are asked for at the end (end-game): the picker's
//! waiting pieces and the ledger's open pieces.
//!
//! Decides: the next block for a peer. Must not know: connections, messages, the clock.
//! Invariant: a piece that we lack either waits in the picker or is open in the ledger.

use crate::io::PeerKey;
use crate::ledger::{Delivery, Ledger};
use crate::peer::Peer;
use crate::piece_picker::Picker;
use crate::sources::SourceId;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bt_model::{PieceOrder, Priority};
use bt_types::{BLOCK_LEN, Bitfield, Block, Geometry, Piece, Rng, Time};
use core::ops::Range;

/// Most pieces with a deadline that are looked at for a peer.
const DUE_MAX: usize = 64;
/// Most long pieces that are open at a time: each takes its length on the disk a second time, until
/// it is complete.
const LONG_OPEN_MAX: usize = 4;

/// The blocks of a torrent that are still needed.
#[derive(Debug)]
pub(crate) struct BlockPicker {
    geometry: Geometry,
    picker: Picker,
    ledger: Ledger,
    /// Pieces that we lack and that have a deadline.
    due: BTreeSet<(Time, Piece)>,
    rng: Rng,
    /// Blocks became free, or room that was lacking, since they were last given out.
    freed: bool,
    /// A piece was not opened for lack of room.
    is_short: bool,
    /// No piece was ever given a priority.
    is_plain: bool,
}

impl BlockPicker {
    pub(crate) fn new(geometry: Geometry, have: &Bitfield, mut rng: Rng) -> BlockPicker {
        let picker = Picker::new(&geometry, have, &mut rng);
        let (ledger, due) = (Ledger::new(geometry), BTreeSet::new());
        BlockPicker {
            geometry,
            picker,
            ledger,
            due,
            rng,
            freed: false,
            is_short: false,
            is_plain: true,
        }
    }

    /// Sets the order of pieces of equal priority.
    pub(crate) fn set_order(&mut self, order: PieceOrder) {
        self.freed |= self.picker.set_order(order);
    }

    /// Changes priorities. Gives up open pieces that are skipped now; returns them and their
    /// owners.
    #[must_use]
    pub(crate) fn prioritise(
        &mut self,
        priorities: &[(Range<u32>, Priority)],
    ) -> Vec<(Piece, Option<PeerKey>)> {
        self.freed = true;
        if priorities.is_empty() {
            return Vec::new();
        }
        self.is_plain = false;
        self.picker.prioritise(priorities.iter().cloned(), &mut self.rng);
        let picker = &self.picker;
        let given_up = self.ledger.give_up(|piece| picker.priority(piece) == Priority::Skip);
        given_up.iter().for_each(|&(piece, _)| self.put_back(piece));
        given_up
    }

    /// Sets the deadline of these pieces; `None` takes it back.
    pub(crate) fn set_deadline(&mut self, numbers: Range<u32>, by: Option<Time>) {
        self.due.retain(|(_, piece)| !numbers.contains(&piece.number()));
        if let Some(by) = by {
            let numbers = numbers.start..numbers.end.min(self.geometry.piece_count());
            let pieces = numbers.filter_map(|number| self.geometry.piece(number));
            self.due.extend(pieces.map(|piece| (by, piece)));
        }
        self.freed = true;
    }

    /// Returns the priority of a piece, also if we have it.
    pub(crate) fn priority(&self, piece: Piece) -> Priority {
        self.picker.priority(piece)
    }

    /// Picks the best block for a peer, and marks it as asked. The order: its own piece, a piece
    /// with a deadline, an abandoned piece, a new piece, a piece of another peer. At the very end a
    /// block that is late at another peer.
    pub(crate) fn next_block(
        &mut self,
        now: Time,
        peer: &mut Peer,
        store_bytes: u64,
    ) -> Option<Block> {
        let due = peer.requests.pipeline.due(now);
        // The piece may have failed since, and have another owner now.
        peer.requests.owned =
            peer.requests.owned.filter(|&piece| self.ledger.owner(piece) == Some(peer.key));
        if self.geometry.has_long_pieces() && !self.has_room(store_bytes) {
            return None;
        }
        if let Some(block) = peer.requests.owned.and_then(|piece| self.ledger.ask_free(piece, due))
        {
            return Some(block);
        }
        if peer.choking.peer_choking {
            return self.next_allowed(due, peer, store_bytes);
        }
        if let Some(block) = self.next_due(due, peer, store_bytes) {
            return Some(block);
        }
        let trusted = peer.requests.unproven < peer.trust();
        if peer.requests.on_parole {
            peer.requests.owned = trusted.then(|| self.open_piece(peer, store_bytes)).flatten();
            return peer.requests.owned.and_then(|piece| self.ledger.ask_free(piece, due));
        }
        if trusted {
            // A seed is first asked for pieces that no leecher has: leechers can provide the rest.
            let rare_first = !peer.pieces.counted && self.picker.has_unseen();
            let is_wanted = |piece| !rare_first || self.picker.availability(piece) == 0;
            let adopted = self.ledger.adopt(peer.key, &peer.pieces.has, is_wanted);
            peer.requests.unproven += u32::from(adopted.is_some());
            peer.requests.owned = adopted.or_else(|| self.open_piece(peer, store_bytes));
            if let Some(block) =
                peer.requests.owned.and_then(|piece| self.ledger.ask_free(piece, due))
            {
                return Some(block);
            }
        } else if !self.is_end_game() && self.may_open(store_bytes) {
            // Until the piece that it owns is right, it gets no other blocks. When no other piece
            // can be opened, it helps with the open ones.
            return None;
        }
        if let Some(piece) = self.ledger.joinable(peer.key, &peer.pieces.has) {
            return self.ledger.ask_free(piece, due);
        }
        self.is_end_game().then(|| {
            self.ledger.ask_end_game(now, due, &peer.pieces.has, |block| {
                peer.requests.pipeline.has_asked(block)
            })
        })?
    }

    /// Picks a block of the piece with the earliest deadline that the peer has. The peer may join
    /// peers that work on it already.
    fn next_due(&mut self, due: Time, peer: &mut Peer, store_bytes: u64) -> Option<Block> {
        let first = self
            .due
            .iter()
            .take(DUE_MAX)
            .map(|(_, piece)| *piece)
            .filter(|&piece| peer.pieces.has.has(piece));
        for piece in first.collect::<Vec<_>>() {
            if !peer.requests.on_parole
                && self.ledger.may_join(piece, peer.key)
                && let Some(block) = self.ledger.ask_free(piece, due)
            {
                return Some(block);
            }
            if peer.requests.unproven < peer.trust()
                && self.may_open(store_bytes)
                && self.picker.take_this(piece)
            {
                peer.requests.unproven += 1;
                self.ledger.open(piece, peer.key, peer.requests.on_parole);
                peer.requests.owned = Some(piece);
                return self.ledger.ask_free(piece, due);
            }
        }
        None
    }

    /// Picks a block of a piece that a peer serves although it chokes us.
    fn next_allowed(&mut self, due: Time, peer: &mut Peer, store_bytes: u64) -> Option<Block> {
        for piece in peer.requests.allowed_fast.clone() {
            if !peer.pieces.has.has(piece) {
                continue;
            }
            if peer.requests.unproven < peer.trust()
                && self.may_open(store_bytes)
                && self.picker.take_this(piece)
            {
                peer.requests.unproven += 1;
                self.ledger.open(piece, peer.key, peer.requests.on_parole);
            }
            if self.ledger.owner(piece) == Some(peer.key)
                && let Some(block) = self.ledger.ask_free(piece, due)
            {
                // When the peer unchokes us, it continues with this piece.
                peer.requests.owned = Some(piece);
                return Some(block);
            }
        }
        None
    }

    /// Opens a new piece, if the store has room for it. The peer's suggestion is taken if no piece
    /// is better, else the picker's choice.
    fn open_piece(&mut self, peer: &mut Peer, store_bytes: u64) -> Option<Piece> {
        if !self.may_open(store_bytes) {
            return None;
        }
        let suggested = peer
            .requests
            .suggested
            .iter()
            .copied()
            .find(|&piece| peer.pieces.has.has(piece) && self.picker.is_first(piece));
        let suggested = suggested.filter(|&piece| self.picker.take_this(piece));
        let piece = suggested
            .or_else(|| self.picker.take(&peer.pieces.has, peer.pieces.counted, &mut self.rng))?;
        peer.requests.unproven += 1;
        self.ledger.open(piece, peer.key, peer.requests.on_parole);
        Some(piece)
    }

    /// Returns what is reserved of the store's memory at a time, in bytes: a piece, or a block of
    /// long pieces.
    pub(crate) fn unit(&self) -> u64 {
        u64::from(if self.geometry.has_long_pieces() {
            BLOCK_LEN
        } else {
            self.geometry.piece_length()
        })
    }

    /// Returns whether the torrent may reserve another unit within `store_bytes`.
    fn has_room(&mut self, store_bytes: u64) -> bool {
        let has_room = self.ledger.reserved() + self.unit() <= store_bytes;
        self.is_short |= !has_room;
        has_room
    }

    /// Returns whether another piece may be opened.
    fn may_open(&mut self, store_bytes: u64) -> bool {
        let too_many = self.geometry.has_long_pieces() && self.ledger.open_count() >= LONG_OPEN_MAX;
        self.is_short |= too_many;
        !too_many && self.has_room(store_bytes)
    }

    /// Returns whether there may be a block for a peer: a free block, a piece to open, or a block
    /// to request twice.
    pub(crate) fn has_something(&mut self, store_bytes: u64) -> bool {
        if self.geometry.has_long_pieces() && !self.has_room(store_bytes) {
            return false;
        }
        self.ledger.has_free() || self.is_end_game() || self.may_open(store_bytes)
    }

    /// Returns whether the torrent could not reserve what it wanted.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Notes that there may be room again.
    pub(crate) fn look_for_room(&mut self) {
        self.freed |= core::mem::take(&mut self.is_short);
    }

    /// Notes that the store has put `bytes` of a long piece on the disk.
    pub(crate) fn on_disk(&mut self, piece: Piece, bytes: u64) {
        if self.ledger.on_disk(piece, bytes) {
            self.look_for_room();
        }
    }

    /// Gives up the pieces that got nothing since the last call; returns them and their owners.
    pub(crate) fn give_up_stalled(&mut self) -> Vec<(Piece, Option<PeerKey>)> {
        let given_up = self.ledger.give_up_stalled();
        given_up.iter().for_each(|&(piece, _)| self.put_back(piece));
        if !given_up.is_empty() {
            self.look_for_room();
        }
        given_up
    }

    /// Returns whether every piece that we want and lack is open.
    pub(crate) fn is_end_game(&self) -> bool {
        self.picker.waiting() == 0
    }

    /// Returns the open pieces.
    pub(crate) fn open(&self) -> impl Iterator<Item = Piece> {
        self.ledger.pieces()
    }

    /// Returns the bytes that the store may have to hold in memory.
    pub(crate) fn reserved(&self) -> u64 {
        self.ledger.reserved()
    }

    /// Counts one more leecher with these pieces.
    pub(crate) fn more<'a>(&mut self, pieces: impl Iterator<Item = Piece> + 'a) {
        pieces.for_each(|piece| self.picker.more(piece, &mut self.rng));
    }

    /// Returns how many leechers have this piece.
    pub(crate) fn availability(&self, piece: Piece) -> u32 {
        self.picker.availability(piece)
    }

    /// Counts one fewer leecher with these pieces.
    pub(crate) fn less<'a>(&mut self, pieces: impl Iterator<Item = Piece> + 'a) {
        pieces.for_each(|piece| self.picker.less(piece, &mut self.rng));
    }

    /// Releases blocks that a peer will not deliver.
    pub(crate) fn release(&mut self, blocks: impl IntoIterator<Item = Block>) {
        for block in blocks {
            self.freed |= self.ledger.release(block);
        }
    }

    pub(crate) fn deliver(&mut self, block: Block, peer: PeerKey, from: SourceId) -> Delivery {
        let delivery = self.ledger.deliver(block, peer, from);
        self.freed |= delivery == Delivery::Late;
        delivery
    }

    /// Ends the peer's ownership of its pieces. Exclusive pieces start anew and are returned: the
    /// store must forget what it holds of them.
    #[must_use]
    pub(crate) fn leave(&mut self, peer: PeerKey) -> Vec<Piece> {
        let (frees_blocks, given_up) = self.ledger.leave(peer);
        given_up.iter().for_each(|&piece| self.put_back(piece));
        self.freed |= frees_blocks;
        given_up
    }

    /// Puts an open piece back to the waiting ones.
    fn put_back(&mut self, piece: Piece) {
        self.picker.put_back(piece, &mut self.rng);
    }

    /// Returns the owner of the piece.
    pub(crate) fn owner(&self, piece: Piece) -> Option<PeerKey> {
        self.ledger.owner(piece)
    }

    /// Closes a piece that is verified and written. Returns its senders.
    pub(crate) fn close(&mut self, piece: Piece) -> Vec<SourceId> {
        self.look_for_room();
        self.due.retain(|(_, due)| *due != piece);
        self.ledger.close(piece)
    }

    /// Makes a lost piece wait again, whether it was complete or waits for its check.
    pub(crate) fn lose(&mut self, piece: Piece) {
        self.close(piece);
        self.put_back(piece);
        self.freed = true;
    }

    /// Returns the sender of a block of a piece at the piece's last failure.
    pub(crate) fn suspect(&self, block: Block) -> Option<SourceId> {
        self.ledger.suspect(block)
    }

    /// Makes a wrong piece wait again. Returns its senders.
    pub(crate) fn fail(&mut self, piece: Piece) -> Vec<SourceId> {
        let senders = self.ledger.fail(piece);
        self.put_back(piece);
        self.freed = true;
        senders
    }

    /// Returns the geometry and the generator from which an equal block picker without pieces and
    /// peers can be made. `None` if a priority was ever set.
    pub(crate) fn as_new(&self) -> Option<(Geometry, Rng)> {
        self.is_plain.then(|| (self.geometry, self.rng.clone()))
    }

    /// Notes that peers that had nothing to be asked for can be asked again.
    pub(crate) fn look_again(&mut self) {
        self.freed = true;
    }

    /// Returns whether blocks, or room for pieces, became free since the last call.
    pub(crate) fn take_freed(&mut self) -> bool {
        core::mem::take(&mut self.freed)
    }
}
