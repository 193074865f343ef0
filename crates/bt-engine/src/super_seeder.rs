//! Super-seeding: picks the pieces that an initial seed shows to each peer until one copy of
//! everything is out. After BEP 16, without its waiting.
//!
//! Decides: the pieces that each peer is shown, and that no piece is given twice while another was
//! never given, except to peers that hear no refusal. Must not know: messages, slots, how rates are
//! measured.
//! Invariant: a piece waits, is promised to one peer, is on its way to that peer, or was seen at
//! another peer. A peer is shown every piece that it is promised.
//!
//! All peers ask a seed that announces every piece for the pieces that they find rarest. It sends
//! many pieces twice before others leave it once. A super-seed announces no piece, and then shows
//! each peer pieces of its own, as many as the peer can take. The peer passes them on to the other
//! peers.
//!
//! When every piece was sent once, the seed shows all pieces to all peers, but those still on their
//! way last. All peers would ask for these first, as no other peer has them, and they would be sent
//! again and again before they arrive.

use crate::io::PeerKey;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bt_types::{Bitfield, Block, Geometry, Piece, Rng, Time};
use core::time::Duration;

/// Bytes: a peer is shown its next piece when less than this is left of its promised pieces, even
/// if it is slow. Its requests must not run dry.
const AHEAD_MIN: u64 = 64 << 10;
/// Bytes promised ahead to a peer that is the only connected peer. At most this fraction of the
/// torrent.
const ALONE: u64 = 8 << 20;
const ALONE_PART: u64 = 16;
/// Seconds without a served block after which super-seeding stops, whatever the reason.
const FUTILE_AFTER: Duration = Duration::from_secs(30);
/// Super-seeding stops when more than this number of promises lapsed, and lapses exceed twice the
/// kept promises: the peers take promises, not pieces.
const LAPSED_MAX: u32 = 64;
/// Pieces among which one to offer is looked for.
const TEASERS_SEEN: usize = 1000;
/// Seconds after which a peer that takes nothing loses its promised pieces to other peers.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for pieces that are promised or on their way at the end, while our uplink is idle.
const PATIENCE_IDLE: Duration = Duration::from_secs(1);
/// Seconds after the last block was ordered in which no piece is sent twice. The system's buffers
/// still keep the uplink busy, and their content arrives first.
const SETTLE: Duration = Duration::from_secs(1);
/// Most pieces that were given to a peer and are seen at no other peer. Such a peer keeps them for
/// itself, or cannot pass them on, and is shown no more. The number doubles each time that this
/// leaves our uplink idle.
const UNSPREAD_MAX: usize = 16;
/// Peers: among fewer, a piece may be seen at no other peer because the other peers are slow.
const UNSPREAD_PEERS: usize = 16;
/// Seconds of pause that mark a peer which looks for new pieces only now and then, like rqbit,
/// every five seconds. It takes all shown pieces in one go. Such a peer is shown this multiple of
/// the bytes that it took the last time.
const GLANCE: Duration = Duration::from_secs(2);
const GLANCE_TIMES: u64 = 4;
/// Seconds after which a peer that wants none of its shown pieces counts as wanting only a part of
/// the torrent, and after which the only peer may choose itself.
const CHOOSY: Duration = Duration::from_secs(2);

/// The state of a super-seed.
#[derive(Debug)]
pub(crate) struct SuperSeeder {
    geometry: Geometry,
    /// Draws the order of the line when the first peer comes; there are no tables until then.
    draw: Option<Rng>,
    fates: Vec<Fate>,
    /// The number of peers that were offered each piece.
    offered: Vec<u32>,
    /// Every piece that waits, the next to be shown first. Other pieces in it are skipped.
    line: VecDeque<Piece>,
    peers: BTreeMap<PeerKey, Shown>,
    /// The number of pieces that wait or are promised.
    left: u32,
    /// Pieces on their way: the peer that they are sent to, and since when.
    sent: BTreeMap<Piece, (PeerKey, Time)>,
    /// Pieces that were given to one peer, and that no other peer has.
    unspread: BTreeMap<Piece, PeerKey>,
    /// Most such pieces that a peer may have.
    unspread_max: usize,
    /// Since when everything is on its way.
    sent_since: Option<Time>,
    /// The unchoked peers take far less than we could send.
    idle: bool,
    /// All pieces that a peer has are shown to all peers.
    open: bool,
    promises: Promises,
    /// When a block was served last, or the first peer connected.
    served_at: Time,
}

/// Counts of promises.
#[derive(Debug, Default)]
struct Promises {
    /// Taken back from peers that took nothing.
    lapsed: u32,
    /// Kept: pieces that were given.
    given: u32,
}

/// The state of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// No peer is known to have it, and no peer was promised it.
    Waits,
    /// One peer is promised it.
    Promised,
    /// All blocks of it were ordered for that peer.
    Sent,
    /// Another peer is known or assumed to have it.
    Out,
}

#[derive(Debug)]
struct Shown {
    pieces: Bitfield,
    /// Pieces promised to it and not yet fully ordered: a second's worth, which are thousands if
    /// the peer is fast.
    owed: BTreeMap<Piece, Owed>,
    /// Bytes of these pieces that were not ordered for it yet.
    left: u64,
    /// The number of pieces that it was given and that no other peer has.
    unspread: usize,
    /// When it last took something, or was promised something while it was owed nothing.
    moved_at: Time,
    /// Bytes that it took since its last pause, and when it began to take them.
    taken: u64,
    taking_since: Time,
    /// Bytes that it is shown ahead, because it looks only now and then.
    glance: u64,
    /// It let a promise lapse: it is promised nothing before this time, unless it asks for a shown
    /// piece or gets any piece.
    lazy_until: Time,
}

/// The progress of a piece that is promised to a peer.
#[derive(Clone, Copy, Debug)]
struct Owed {
    /// Bytes that were not ordered for the peer yet.
    left: u32,
    /// When the piece was promised.
    since: Time,
}

impl SuperSeeder {
    pub(crate) fn new(geometry: Geometry, rng: &mut Rng) -> SuperSeeder {
        // Draw now, so that later draws do not depend on when a peer comes. The first peer draws
        // the same again.
        let mut draw = rng.clone();
        draw.rest();
        let _ = Self::line(&geometry, rng);
        SuperSeeder {
            geometry,
            draw: Some(draw),
            fates: Vec::new(),
            offered: Vec::new(),
            line: VecDeque::new(),
            peers: BTreeMap::new(),
            left: geometry.piece_count(),
            sent: BTreeMap::new(),
            unspread: BTreeMap::new(),
            unspread_max: UNSPREAD_MAX,
            sent_since: None,
            idle: false,
            open: false,
            promises: Promises::default(),
            served_at: Time::ZERO,
        }
    }

    /// Draws the order in which the pieces are shown.
    fn line(geometry: &Geometry, rng: &mut Rng) -> Vec<Piece> {
        let mut line: Vec<Piece> = geometry.pieces().collect();
        rng.shuffle(&mut line);
        line
    }

    /// Adds a peer that connected, and is told that we have nothing.
    pub(crate) fn join(&mut self, now: Time, peer: PeerKey) {
        if self.peers.is_empty() {
            self.served_at = now;
        }
        if let Some(mut draw) = self.draw.take() {
            let line = Self::line(&self.geometry, &mut draw);
            (self.fates, self.offered) = (vec![Fate::Waits; line.len()], vec![0; line.len()]);
            self.line = line.into();
        }
        let shown = Shown {
            pieces: Bitfield::empty(self.geometry.piece_count()),
            owed: BTreeMap::new(),
            left: 0,
            unspread: 0,
            moved_at: now,
            taken: 0,
            taking_since: now,
            glance: 0,
            lazy_until: now,
        };
        self.peers.insert(peer, shown);
    }

    /// Removes a peer that left. Pieces that were promised to it or on their way to it wait again.
    pub(crate) fn leave(&mut self, peer: PeerKey) {
        if let Some(shown) = self.peers.remove(&peer) {
            self.promises.lapsed =
                self.promises.lapsed.saturating_add(u32::from(!shown.owed.is_empty()));
            let lost = shown.owed.into_keys().chain(self.sent_to(peer)).collect();
            self.take_back(lost);
        }
    }

    fn sent_to(&self, peer: PeerKey) -> Vec<Piece> {
        self.sent.iter().filter(|(_, (to, _))| *to == peer).map(|(piece, _)| *piece).collect()
    }

    /// Notes that no peer has this piece any more.
    pub(crate) fn lost(&mut self, piece: Piece) {
        if self.fate(piece) == Fate::Out {
            self.set(piece, Fate::Waits);
            self.line.push_front(piece);
        }
    }

    /// Decides whether a peer that requests a block of this piece may have it. A waiting piece is
    /// promised to the peer. A piece that is promised to another peer is refused, but only if the
    /// peer `hears_refusals` (BEP 6): any other peer would wait for the block.
    pub(crate) fn grant(
        &mut self,
        now: Time,
        peer: PeerKey,
        piece: Piece,
        hears_refusals: bool,
    ) -> bool {
        let fate = self.fate(piece);
        let Some(shown) = self.peers.get_mut(&peer).filter(|shown| shown.pieces.has(piece)) else {
            return false;
        };
        shown.lazy_until = now;
        shown.comes_back(now);
        match fate {
            Fate::Sent | Fate::Out => true,
            Fate::Promised => !hears_refusals || shown.owed.contains_key(&piece),
            Fate::Waits => {
                shown.promise(now, piece, &self.geometry);
                self.set(piece, Fate::Promised);
                true
            }
        }
    }

    /// Returns whether a part of a piece that is promised to the peer was ordered for it.
    pub(crate) fn is_owed(&self, peer: PeerKey) -> bool {
        let is_begun = |(piece, owed): (&Piece, &Owed)| owed.left < self.geometry.piece_len(*piece);
        self.peers.get(&peer).is_some_and(|shown| shown.owed.iter().any(is_begun))
    }

    /// Takes a peer's loss of interest in its shown pieces. Promised pieces that it began to take
    /// count as had, from whatever source: not every client sends a `have`. Untouched ones wait
    /// again: the message may have crossed our promise, and then no peer has the piece.
    pub(crate) fn not_interested(&mut self, now: Time, peer: PeerKey) {
        let Some(shown) = self.peers.get_mut(&peer) else { return };
        (shown.lazy_until, shown.moved_at) = (now, now);
        let (begun, untouched): (Vec<_>, Vec<_>) = shown
            .take_owed()
            .partition(|(piece, owed)| owed.left < self.geometry.piece_len(*piece));
        let had: Vec<Piece> =
            begun.into_iter().map(|(piece, _)| piece).chain(self.sent_to(peer)).collect();
        had.into_iter().for_each(|piece| self.set(piece, Fate::Out));
        self.take_back(untouched.into_iter().map(|(piece, _)| piece).collect());
    }

    /// Notes that a peer has a piece now, from whatever source: the promise of that piece ends, and
    /// the peer counts as active.
    pub(crate) fn got(&mut self, now: Time, peer: PeerKey, piece: Piece) {
        let Some(shown) = self.peers.get_mut(&peer) else { return };
        shown.lazy_until = now;
        if shown.is_no_more_owed(piece) || self.fate(piece) == Fate::Sent {
            self.set(piece, Fate::Out);
        }
    }

    /// Notes that a block was ordered for a peer.
    pub(crate) fn served(&mut self, now: Time, peer: PeerKey, block: Block) {
        let Some(shown) = self.peers.get_mut(&peer) else { return };
        shown.take(now, block.len());
        self.served_at = now;
        let piece = block.piece();
        if let Some(owed) = shown.owed.get_mut(&piece) {
            let ordered = block.len().min(owed.left);
            owed.left -= ordered;
            shown.left -= u64::from(ordered);
            if owed.left == 0 {
                shown.owed.remove(&piece);
                self.promises.given = self.promises.given.saturating_add(1);
                shown.unspread += 1;
                if let Some(before) =
                    self.unspread.insert(piece, peer).and_then(|before| self.peers.get_mut(&before))
                {
                    before.unspread -= 1;
                }
                self.set(piece, Fate::Sent);
                self.sent.insert(piece, (peer, now));
            }
        }
    }

    /// Picks the pieces that an unchoked peer with `rate` bytes per second is shown and promised
    /// now: enough for a second. `is_out` tells whether other peers have a piece. Returns the newly
    /// shown pieces.
    pub(crate) fn show(
        &mut self,
        now: Time,
        peer: PeerKey,
        rate: u64,
        is_out: impl Fn(Piece) -> bool,
    ) -> Vec<Piece> {
        let mut news = Vec::new();
        let Some(mut shown) = self.peers.remove(&peer) else { return news };
        // This peer is taken out of the map: an empty map means that it is the only peer.
        let alone =
            if self.peers.is_empty() { ALONE.min(self.geometry.total() / ALONE_PART) } else { 0 };
        let ahead = rate.max(AHEAD_MIN).max(alone).max(shown.glance);
        let spreads = self.peers.len() < UNSPREAD_PEERS || shown.unspread < self.unspread_max;
        while spreads
            && now >= shown.lazy_until
            && shown.left < ahead
            && let Some(piece) = self.next(&is_out)
        {
            shown.promise(now, piece, &self.geometry);
            self.set(piece, Fate::Promised);
            news.extend(shown.pieces.insert(piece).then_some(piece));
        }
        self.peers.insert(peer, shown);
        news
    }

    /// Picks an offer: a piece that a peer which is not interested is shown, so that it becomes
    /// interested. The peer `lacks` it, and it is promised to no peer. Each peer gets another piece
    /// while there are enough: any peer that was shown a piece may ask for it, also after another
    /// peer.
    pub(crate) fn offer(&mut self, peer: PeerKey, lacks: impl Fn(Piece) -> bool) -> Option<Piece> {
        let (line, fates, offered) = (&self.line, &self.fates, &mut self.offered);
        let shown = self.peers.get_mut(&peer)?;
        let waits = |piece: &Piece| fates.get(piece.index()) == Some(&Fate::Waits);
        // From the end of the line: these pieces are promised to other peers last.
        let usable = || {
            let last = line.iter().rev().take(TEASERS_SEEN).copied();
            last.filter(|piece| waits(piece) && lacks(*piece) && !shown.pieces.has(*piece))
        };
        let times = |piece: &Piece| offered.get(piece.index()).copied().unwrap_or(u32::MAX);
        let piece =
            usable().find(|piece| times(piece) == 0).or_else(|| usable().min_by_key(times))?;
        if let Some(times) = offered.get_mut(piece.index()) {
            *times += 1;
        }
        shown.pieces.insert(piece);
        Some(piece)
    }

    /// Takes the next piece that waits.
    fn next(&mut self, is_out: impl Fn(Piece) -> bool) -> Option<Piece> {
        while let Some(piece) = self.line.pop_front() {
            if self.fate(piece) != Fate::Waits {
                continue;
            }
            if !is_out(piece) {
                return Some(piece);
            }
            self.set(piece, Fate::Out);
        }
        None
    }

    /// Cleans up once a second. Strikes out the pieces that other peers have by now, or should
    /// have, since they were sent a while ago.
    ///
    /// Takes back promises to peers that take nothing for [`PATIENCE`]. When no other piece is left
    /// to show, choked peers lose their promises at once. If our uplink is idle then, slow promises
    /// are taken back as well. `copies` tells how many other peers have a piece.
    pub(crate) fn reclaim(
        &mut self,
        now: Time,
        is_served: impl Fn(PeerKey) -> bool,
        copies: impl Fn(Piece) -> u32,
    ) {
        let is_out = |piece| copies(piece) > 0;
        let peers = &mut self.peers;
        self.unspread.retain(|piece, owner| {
            let Some(shown) = peers.get_mut(owner) else { return false };
            let is_spread = copies(*piece) > 1;
            shown.unspread -= usize::from(is_spread);
            !is_spread
        });
        if self.idle {
            self.unspread_max = self.unspread_max.saturating_mul(2);
        }
        for piece in core::mem::take(&mut self.line) {
            match self.fate(piece) {
                Fate::Waits if is_out(piece) => self.set(piece, Fate::Out),
                Fate::Waits => self.line.push_back(piece),
                Fate::Promised | Fate::Sent | Fate::Out => {}
            }
        }
        let patience = self.patience();
        let came = |(piece, (_, at)): &(&Piece, &(PeerKey, Time))| {
            is_out(**piece) || now - *at >= patience
        };
        let came: Vec<Piece> = self.sent.iter().filter(came).map(|(piece, _)| *piece).collect();
        came.into_iter().for_each(|piece| self.set(piece, Fate::Out));
        let is_dry = self.line.is_empty();
        let (mut back, mut lapsed) = (Vec::new(), 0);
        for (&peer, shown) in &mut self.peers {
            // A choked peer has another reason to pause.
            if !is_served(peer) {
                (shown.taken, shown.glance) = (0, 0);
            }
            let is_late = !shown.owed.is_empty() && now - shown.moved_at >= PATIENCE;
            if is_late && is_served(peer) {
                shown.lazy_until = now + 2 * PATIENCE;
                lapsed += 1;
            }
            if is_late || (is_dry && !is_served(peer)) {
                back.extend(shown.take_owed().map(|(piece, _)| piece));
            } else if is_dry && self.idle {
                let is_slow = |(_, owed): &(&Piece, &Owed)| now - owed.since >= patience;
                let slow: Vec<Piece> =
                    shown.owed.iter().filter(is_slow).map(|(piece, _)| *piece).collect();
                if !slow.is_empty() {
                    shown.lazy_until = now + 2 * PATIENCE;
                    lapsed += 1;
                }
                back.extend(slow.into_iter().filter(|piece| shown.is_no_more_owed(*piece)));
            }
        }
        self.promises.lapsed = self.promises.lapsed.saturating_add(lapsed);
        self.take_back(back);
    }

    /// Sets whether the unchoked peers take far less than we could send: other peers need not wait
    /// for them then.
    pub(crate) fn set_idle(&mut self, idle: bool) {
        self.idle = idle;
    }

    fn patience(&self) -> Duration {
        if self.idle { PATIENCE_IDLE } else { PATIENCE }
    }

    /// Returns whether super-seeding helps no peer: peers are connected but took nothing for a
    /// while, or most promises lapse.
    pub(crate) fn is_futile(&self, now: Time) -> bool {
        let lapses = self.promises.lapsed > LAPSED_MAX.max(self.promises.given.saturating_mul(2));
        lapses || !self.peers.is_empty() && now - self.served_at >= FUTILE_AFTER
    }

    /// Returns whether one copy of everything is out.
    pub(crate) fn is_over(&self) -> bool {
        self.left == 0 && self.sent.is_empty()
    }

    /// Returns whether one copy of everything has been on its way for a moment, the first time that
    /// it is so. Then the pieces that are out are shown to all peers.
    pub(crate) fn opens(&mut self, now: Time) -> bool {
        self.sent_since = (self.left == 0).then(|| self.sent_since.unwrap_or(now));
        let is_settled = self.sent_since.is_some_and(|since| now - since >= SETTLE);
        let opens = !self.open && is_settled;
        self.open |= opens;
        opens
    }

    /// Shows a peer the pieces that other peers have and that it was not shown; returns them.
    pub(crate) fn show_out(&mut self, peer: PeerKey) -> Vec<Piece> {
        let Some(shown) = self.peers.get_mut(&peer) else { return Vec::new() };
        let is_out = |piece: &Piece| self.fates.get(piece.index()) == Some(&Fate::Out);
        self.geometry.pieces().filter(is_out).filter(|&piece| shown.pieces.insert(piece)).collect()
    }

    /// Lets a peer choose itself, if it `has` these pieces and took none of its shown pieces for a
    /// while. Returns the newly shown pieces.
    pub(crate) fn let_choose(&mut self, now: Time, peer: PeerKey, has: &Bitfield) -> Vec<Piece> {
        let Some(shown) = self.peers.get_mut(&peer) else { return Vec::new() };
        let lacks_some = has.lacks_some_of(&shown.pieces);
        if !lacks_some || shown.pieces.is_full() || now - shown.moved_at < CHOOSY {
            return Vec::new();
        }
        let given = shown.take_owed().map(|(piece, _)| piece).collect();
        let news = self
            .geometry
            .pieces()
            .filter(|&piece| shown.pieces.insert(piece) && !has.has(piece))
            .collect();
        self.take_back(given);
        news
    }

    /// Returns the pieces that a peer has been shown so far.
    pub(crate) fn shown(&self, peer: PeerKey) -> Option<&Bitfield> {
        self.peers.get(&peer).map(|shown| &shown.pieces)
    }

    fn take_back(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            self.set(piece, Fate::Waits);
            // Behind the others, so that pieces that were never promised come first.
            self.line.push_back(piece);
        }
    }

    fn fate(&self, piece: Piece) -> Fate {
        self.fates.get(piece.index()).copied().unwrap_or(Fate::Out)
    }

    fn set(&mut self, piece: Piece, fate: Fate) {
        let Some(old) = self.fates.get_mut(piece.index()) else { return };
        let is_left = |fate| matches!(fate, Fate::Waits | Fate::Promised);
        self.left = self.left + u32::from(is_left(fate)) - u32::from(is_left(*old));
        *old = fate;
        self.sent.remove(&piece);
    }
}

impl Shown {
    fn promise(&mut self, now: Time, piece: Piece, geometry: &Geometry) {
        if self.owed.is_empty() {
            self.moved_at = now;
        }
        let left = geometry.piece_len(piece);
        self.owed.insert(piece, Owed { left, since: now });
        self.left += u64::from(left);
    }

    /// Ends the promise of this piece; returns whether there was one.
    fn is_no_more_owed(&mut self, piece: Piece) -> bool {
        let owed = self.owed.remove(&piece);
        self.left -= owed.map_or(0, |owed| u64::from(owed.left));
        owed.is_some()
    }

    /// Ends all its promises; returns them.
    fn take_owed(&mut self) -> impl Iterator<Item = (Piece, Owed)> + use<> {
        self.left = 0;
        core::mem::take(&mut self.owed).into_iter()
    }

    /// Notes that a block was ordered for it.
    fn take(&mut self, now: Time, bytes: u32) {
        if self.taken == 0 {
            self.taking_since = now;
        }
        self.taken += u64::from(bytes);
        self.moved_at = now;
    }

    /// Notes that it requests a block, perhaps after a pause.
    fn comes_back(&mut self, now: Time) {
        let pause = now - self.moved_at;
        if pause < GLANCE {
            return;
        }
        let was_quick = self.moved_at - self.taking_since < pause;
        self.glance = if was_quick { self.taken * GLANCE_TIMES } else { self.taken };
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests;
