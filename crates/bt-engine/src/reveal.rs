//! Initial seeding: which piece a seed shows to whom until one copy of everything is out (after BEP 16, without its waiting).
//!
//! Decides: what each peer is shown, and that no piece is given twice while another was never given. Must not know: messages, slots, rates'
//! origin.
//! Invariant: a piece waits, is promised to one peer, is on its way to it, or was seen elsewhere; who is promised a piece was shown it.
//!
//! A seed that says "I have everything" is asked by everybody for what they find rarest, and sends many pieces twice before others leave it
//! once. Here it says "I have nothing" and then shows each peer pieces of its own, as many as it can take; what it was shown it passes
//! on to the others. When every piece was sent once, the seed shows everything to everybody, but what is still on its way last: all would
//! ask for that first, as nobody has it, and it would be sent again and again while it waits to arrive.

use crate::io::PeerKey;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use bt_types::{Bitfield, Block, Geometry, Piece, Rng, Time};
use core::time::Duration;

/// A peer is shown its next piece when less than this is left of those before, however slow it is: requests must not run dry.
const AHEAD_MIN: u64 = 64 << 10;
/// A peer that is the only one is shown more, as nobody else could be given it: so much, or a part of the torrent if that is less.
const ALONE: u64 = 8 << 20;
const ALONE_PART: u64 = 16;
/// After so long without a block that anybody took, everything is shown, whatever the reason was.
const VAIN: Duration = Duration::from_secs(30);
/// A teaser is looked for among so many pieces.
const TEASERS_SEEN: usize = 1000;
/// Who was promised a piece and takes nothing for so long loses it to others.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for what is promised or on its way at the end, when our uplink is idle.
const PATIENCE_IDLE: Duration = Duration::from_secs(1);
/// A peer is shown no more while so many pieces that it was given are seen nowhere else: it keeps them for itself, or cannot pass them on.
/// When that leaves our uplink idle, twice as many are allowed.
const UNSPREAD_MAX: usize = 16;
/// Who wants nothing of what it was shown for so long wants only a part of the torrent.
const CHOOSY: Duration = Duration::from_secs(2);

/// The state of an initial seed.
#[derive(Debug)]
pub(crate) struct Reveal {
    geometry: Geometry,
    fates: Vec<Fate>,
    /// For each piece how many peers were teased with it.
    teased: Vec<u32>,
    /// Every piece that waits, the next one to be shown first; and others, which are skipped.
    line: VecDeque<Piece>,
    peers: BTreeMap<PeerKey, Shown>,
    /// How many pieces wait or are promised.
    left: u32,
    /// Pieces on their way: to whom, and since when.
    sent: BTreeMap<Piece, (PeerKey, Time)>,
    /// Pieces that were given to one peer, and that nobody else has.
    unspread: BTreeMap<Piece, PeerKey>,
    /// How many of these a peer may have.
    unspread_max: usize,
    /// Since when no piece waits.
    dry_since: Option<Time>,
    /// Those that are served take far less than we could send.
    idle: bool,
    /// What somebody has is shown to everybody.
    open: bool,
    /// When a block was served last, or somebody came while nobody was there.
    served_at: Time,
}

/// What became of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// Nobody has it as far as we know, and nobody was promised it.
    Waits,
    /// It is given to one peer.
    Promised,
    /// All of it was ordered for the one peer.
    Sent,
    /// Somebody else has it, as far as we know.
    Out,
}

#[derive(Debug)]
struct Shown {
    pieces: Bitfield,
    owed: Vec<Owed>,
    /// How many pieces were given to it that nobody else has.
    unspread: usize,
    /// When it last took something, or was promised something while it was owed nothing.
    moved_at: Time,
    /// It let a promise lapse: it is promised nothing for a while, unless it asks for what it was shown, or gets something anywhere.
    lazy_until: Time,
}

/// A piece on its way to the one peer that it is promised to.
#[derive(Clone, Copy, Debug)]
struct Owed {
    piece: Piece,
    /// Bytes that were not ordered for it yet.
    left: u32,
    /// When it was promised.
    since: Time,
}

impl Reveal {
    pub(crate) fn new(geometry: Geometry, rng: &mut Rng) -> Reveal {
        let mut line: Vec<Piece> = geometry.pieces().collect();
        rng.shuffle(&mut line);
        let left = geometry.piece_count();
        Reveal {
            geometry,
            fates: vec![Fate::Waits; line.len()],
            teased: vec![0; line.len()],
            line: line.into(),
            peers: BTreeMap::new(),
            left,
            sent: BTreeMap::new(),
            unspread: BTreeMap::new(),
            unspread_max: UNSPREAD_MAX,
            dry_since: None,
            idle: false,
            open: false,
            served_at: Time::ZERO,
        }
    }

    /// A peer connected, and is told that we have nothing.
    pub(crate) fn join(&mut self, now: Time, peer: PeerKey) {
        if self.peers.is_empty() {
            self.served_at = now;
        }
        let pieces = Bitfield::empty(self.geometry.piece_count());
        self.peers.insert(peer, Shown { pieces, owed: Vec::new(), unspread: 0, moved_at: now, lazy_until: now });
    }

    /// A peer left. What was promised to it, and what was on its way, waits again.
    pub(crate) fn leave(&mut self, peer: PeerKey) {
        if let Some(shown) = self.peers.remove(&peer) {
            let owed = shown.owed.into_iter().map(|owed| owed.piece);
            let lost = owed.chain(self.sent_to(peer)).collect();
            self.take_back(lost);
        }
    }

    fn sent_to(&self, peer: PeerKey) -> Vec<Piece> {
        self.sent.iter().filter(|(_, (to, _))| *to == peer).map(|(piece, _)| *piece).collect()
    }

    /// Nobody has this piece any more.
    pub(crate) fn lost(&mut self, piece: Piece) {
        if self.fate(piece) == Fate::Out {
            self.set(piece, Fate::Waits);
            self.line.push_front(piece);
        }
    }

    /// A peer asks for a block of this piece: whether it may have it. A piece that waits is promised to it.
    pub(crate) fn grant(&mut self, now: Time, peer: PeerKey, piece: Piece) -> bool {
        let fate = self.fate(piece);
        let Some(shown) = self.peers.get_mut(&peer).filter(|shown| shown.pieces.has(piece)) else { return false };
        shown.lazy_until = now;
        match fate {
            Fate::Sent | Fate::Out => true,
            Fate::Promised => shown.owed.iter().any(|owed| owed.piece == piece),
            Fate::Waits => {
                shown.promise(now, piece, &self.geometry);
                self.set(piece, Fate::Promised);
                true
            }
        }
    }

    /// Whether the peer is in the middle of a piece that is promised to it.
    pub(crate) fn is_owed(&self, peer: PeerKey) -> bool {
        let is_begun = |owed: &Owed| owed.left < self.geometry.piece_len(owed.piece);
        self.peers.get(&peer).is_some_and(|shown| shown.owed.iter().any(is_begun))
    }

    /// A peer wants nothing of what it was shown: it has that, from whomever. Not every client says so with a `have`.
    pub(crate) fn sated(&mut self, now: Time, peer: PeerKey) {
        let Some(shown) = self.peers.get_mut(&peer) else { return };
        (shown.lazy_until, shown.moved_at) = (now, now);
        let owed = core::mem::take(&mut shown.owed).into_iter().map(|owed| owed.piece);
        let had: Vec<Piece> = owed.chain(self.sent_to(peer)).collect();
        had.into_iter().for_each(|piece| self.set(piece, Fate::Out));
    }

    /// A peer has a piece now, from whomever: it is owed that one no more, and is awake.
    pub(crate) fn got(&mut self, now: Time, peer: PeerKey, piece: Piece) {
        let Some(shown) = self.peers.get_mut(&peer) else { return };
        shown.lazy_until = now;
        if let Some(index) = shown.owed.iter().position(|owed| owed.piece == piece) {
            shown.owed.swap_remove(index);
            self.set(piece, Fate::Out);
        } else if self.fate(piece) == Fate::Sent {
            self.set(piece, Fate::Out);
        }
    }

    /// A block was ordered for a peer.
    pub(crate) fn served(&mut self, now: Time, peer: PeerKey, block: Block) {
        let Some(shown) = self.peers.get_mut(&peer) else { return };
        shown.moved_at = now;
        self.served_at = now;
        if let Some(index) = shown.owed.iter().position(|owed| owed.piece == block.piece())
            && let Some(owed) = shown.owed.get_mut(index)
        {
            owed.left = owed.left.saturating_sub(block.len());
            if owed.left == 0 {
                let piece = shown.owed.swap_remove(index).piece;
                shown.unspread += 1;
                if let Some(before) = self.unspread.insert(piece, peer).and_then(|before| self.peers.get_mut(&before)) {
                    before.unspread -= 1;
                }
                self.set(piece, Fate::Sent);
                self.sent.insert(piece, (peer, now));
            }
        }
    }

    /// The pieces that a peer which is served, at `rate` bytes per second, is shown and promised now: enough for a second. `is_out` tells what
    /// others have.
    pub(crate) fn show(&mut self, now: Time, peer: PeerKey, rate: u64, is_out: impl Fn(Piece) -> bool) -> Vec<Piece> {
        let mut news = Vec::new();
        let Some(mut shown) = self.peers.remove(&peer) else { return news };
        // It is taken out, so that it is the only one when no other is left.
        let alone = if self.peers.is_empty() { ALONE.min(self.geometry.total() / ALONE_PART) } else { 0 };
        let ahead = rate.max(AHEAD_MIN).max(alone);
        let spreads = alone > 0 || shown.unspread < self.unspread_max;
        while spreads
            && now >= shown.lazy_until
            && shown.left() < ahead
            && let Some(piece) = self.next(&is_out)
        {
            shown.promise(now, piece, &self.geometry);
            self.set(piece, Fate::Promised);
            news.extend(shown.pieces.insert(piece).then_some(piece));
        }
        self.peers.insert(peer, shown);
        news
    }

    /// A piece that a peer which wants nothing is shown, so that it wants to be served: one that it `lacks`, and that is promised to nobody
    /// yet. Another one for each peer, as far as they go round: whoever was shown a piece may ask for it, also after somebody else.
    pub(crate) fn tease(&mut self, peer: PeerKey, lacks: impl Fn(Piece) -> bool) -> Option<Piece> {
        let (line, fates, teased) = (&self.line, &self.fates, &mut self.teased);
        let shown = self.peers.get_mut(&peer)?;
        let waits = |piece: &Piece| fates.get(piece.index()) == Some(&Fate::Waits);
        // From the end of the line: it is promised to somebody else last.
        let usable = || {
            let last = line.iter().rev().take(TEASERS_SEEN).copied();
            last.filter(|piece| waits(piece) && lacks(*piece) && !shown.pieces.has(*piece))
        };
        let times = |piece: &Piece| teased.get(piece.index()).copied().unwrap_or(u32::MAX);
        let piece = usable().find(|piece| times(piece) == 0).or_else(|| usable().min_by_key(times))?;
        if let Some(times) = teased.get_mut(piece.index()) {
            *times += 1;
        }
        shown.pieces.insert(piece);
        Some(piece)
    }

    /// The next piece that waits.
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

    /// Strikes out what others have by now, or should have, as it was sent a while ago; when nothing else is left, what somebody takes
    /// longer for than that counts as sent, so that one slow peer does not keep the others waiting. And takes back what was promised to peers that take nothing: from those that are served after
    /// [`PATIENCE`], from the others too when nothing else is left to show.
    /// `copies` tells how many others have a piece.
    pub(crate) fn reclaim(&mut self, now: Time, is_served: impl Fn(PeerKey) -> bool, copies: impl Fn(Piece) -> u32) {
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
        let came = |(piece, (_, at)): &(&Piece, &(PeerKey, Time))| is_out(**piece) || now - *at >= patience;
        let came: Vec<Piece> = self.sent.iter().filter(came).map(|(piece, _)| *piece).collect();
        came.into_iter().for_each(|piece| self.set(piece, Fate::Out));
        let is_dry = self.line.is_empty();
        self.dry_since = is_dry.then(|| self.dry_since.unwrap_or(now));
        let (mut back, mut slow) = (Vec::new(), Vec::new());
        for (&peer, shown) in &mut self.peers {
            let is_late = !shown.owed.is_empty() && now - shown.moved_at >= PATIENCE;
            if is_late && is_served(peer) {
                shown.lazy_until = now + 2 * PATIENCE;
            }
            if is_late || (is_dry && !is_served(peer)) {
                back.extend(core::mem::take(&mut shown.owed).into_iter().map(|owed| owed.piece));
            } else if is_dry {
                let is_slow = |owed: &mut Owed| now - owed.since >= patience;
                slow.extend(shown.owed.extract_if(.., is_slow).map(|owed| (owed.piece, peer)));
            }
        }
        for (piece, peer) in slow {
            self.set(piece, Fate::Sent);
            self.sent.insert(piece, (peer, now));
        }
        self.take_back(back);
    }

    /// Whether those that are served take far less than we could send: others need not wait for them then.
    pub(crate) fn set_idle(&mut self, idle: bool) {
        self.idle = idle;
    }

    fn patience(&self) -> Duration {
        if self.idle { PATIENCE_IDLE } else { PATIENCE }
    }

    /// Whether there are peers and none has taken anything for so long that showing pieces one by one helps nobody.
    pub(crate) fn is_vain(&self, now: Time) -> bool {
        !self.peers.is_empty() && now - self.served_at >= VAIN
    }

    /// Whether one copy of everything is out.
    pub(crate) fn is_over(&self) -> bool {
        self.left == 0 && self.sent.is_empty()
    }

    /// Whether one copy of everything is at least on its way now, or has been promised for a while, for the first time: then what is out
    /// is shown to everybody.
    pub(crate) fn opens(&mut self, now: Time) -> bool {
        let is_dry = self.dry_since.is_some_and(|since| now - since >= self.patience());
        let opens = !self.open && (self.left == 0 || is_dry);
        self.open |= opens;
        opens
    }

    /// The pieces that somebody has and that a peer was not shown; it is shown them now.
    pub(crate) fn show_out(&mut self, peer: PeerKey) -> Vec<Piece> {
        let Some(shown) = self.peers.get_mut(&peer) else { return Vec::new() };
        let is_out = |piece: &Piece| self.fates.get(piece.index()) == Some(&Fate::Out);
        self.geometry.pieces().filter(is_out).filter(|&piece| shown.pieces.insert(piece)).collect()
    }

    /// A peer that `has` these pieces and wants nothing: if it was shown others a while ago, it chooses itself. What it is shown now.
    pub(crate) fn let_choose(&mut self, now: Time, peer: PeerKey, has: &Bitfield) -> Vec<Piece> {
        let Some(shown) = self.peers.get_mut(&peer) else { return Vec::new() };
        let lacks_some = has.lacks_some_of(&shown.pieces);
        if !lacks_some || shown.pieces.is_full() || now - shown.moved_at < CHOOSY {
            return Vec::new();
        }
        let given = core::mem::take(&mut shown.owed).into_iter().map(|owed| owed.piece).collect();
        let news = self.geometry.pieces().filter(|&piece| shown.pieces.insert(piece) && !has.has(piece)).collect();
        self.take_back(given);
        news
    }

    /// What a peer has been shown so far.
    pub(crate) fn shown(&self, peer: PeerKey) -> Option<&Bitfield> {
        self.peers.get(&peer).map(|shown| &shown.pieces)
    }

    fn take_back(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            self.set(piece, Fate::Waits);
            // Behind the others, so that what nobody was promised comes first.
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
        self.owed.push(Owed { piece, left: geometry.piece_len(piece), since: now });
    }

    /// Bytes of pieces that are promised to it and were not ordered for it yet.
    fn left(&self) -> u64 {
        self.owed.iter().map(|owed| u64::from(owed.left)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const A: PeerKey = PeerKey(1);
    const B: PeerKey = PeerKey(2);
    const NOW: Time = Time::ZERO;

    /// A seed of so many pieces of two blocks.
    fn seed(pieces: u32) -> (Geometry, Reveal) {
        seed_of(pieces, 1 << 15)
    }

    fn seed_of(pieces: u32, len: u32) -> (Geometry, Reveal) {
        let geometry = Geometry::new(u64::from(pieces) * u64::from(len), len).unwrap();
        let mut reveal = Reveal::new(geometry, &mut Rng::from_seed(1));
        [A, B].into_iter().for_each(|peer| reveal.join(NOW, peer));
        (geometry, reveal)
    }

    fn give(reveal: &mut Reveal, geometry: &Geometry, peer: PeerKey, piece: Piece) {
        for block in geometry.blocks(piece) {
            assert!(reveal.grant(NOW, peer, piece));
            reveal.served(NOW, peer, block);
        }
        reveal.got(NOW, peer, piece);
    }

    #[test]
    fn what_is_on_its_way_is_shown_to_others_when_it_has_arrived() {
        let (geometry, mut reveal) = seed(2);
        let shown = reveal.show(NOW, A, 0, |_| false);
        give(&mut reveal, &geometry, A, shown[0]);
        assert!(!reveal.opens(NOW), "a piece is left");
        geometry.blocks(shown[1]).for_each(|block| reveal.served(NOW, A, block));
        assert!(reveal.opens(NOW) && !reveal.is_over());
        assert_eq!(reveal.show_out(B), [shown[0]]);
        assert!(!reveal.grant(NOW, B, shown[1]), "B does not know of it");
        let mut left = seed(1).1;
        let last = left.show(NOW, A, 0, |_| false)[0];
        geometry.blocks(last).for_each(|block| left.served(NOW, A, block));
        left.leave(A);
        assert_eq!(left.show(NOW, B, 0, |_| false), [last], "it never arrived");
        reveal.reclaim(NOW + PATIENCE, |_| true, |_| 0);
        assert!(reveal.is_over(), "it should have arrived by now");
    }

    #[test]
    fn each_peer_is_shown_pieces_of_its_own_until_one_copy_is_out() {
        let (geometry, mut reveal) = seed(20);
        let mut given = BTreeSet::new();
        while !reveal.is_over() {
            for peer in [A, B] {
                for piece in reveal.show(NOW, peer, 0, |_| false) {
                    assert!(given.insert(piece), "{piece:?} is shown twice");
                    let other = if peer == A { B } else { A };
                    assert!(!reveal.grant(NOW, other, piece));
                    give(&mut reveal, &geometry, peer, piece);
                }
            }
        }
        assert_eq!(given.len(), 20);
    }

    #[test]
    fn who_is_served_is_shown_enough_for_a_second_and_who_waits_a_single_piece() {
        let (_, mut reveal) = seed(100);
        assert_eq!(reveal.show(NOW, A, 10 << 15, |_| false).len(), 10);
        assert!(reveal.show(NOW, A, 10 << 15, |_| false).is_empty(), "it has enough");
        let teaser = reveal.tease(B, |_| true).unwrap();
        assert_ne!(reveal.tease(B, |_| true).unwrap(), teaser, "another one, when it wants nothing all the same");
        assert!(reveal.grant(NOW, B, teaser), "it may have it when it is served");
        reveal.show(NOW, A, 100 << 15, |_| false);
        assert!(!reveal.grant(NOW, A, teaser), "and nobody else then");
    }

    #[test]
    fn what_others_have_is_not_given() {
        let (_, mut reveal) = seed(10);
        let shown = reveal.show(NOW, A, 1 << 20, |piece| piece.number() != 7);
        assert_eq!(shown.iter().map(|piece| piece.number()).collect::<Vec<_>>(), [7]);
        assert!(!reveal.is_over(), "that one is on its way");
        reveal.leave(A);
        let again = reveal.show(NOW, B, 1 << 20, |_| false);
        assert_eq!(again, shown, "and is given to another");
    }

    #[test]
    fn who_takes_nothing_loses_its_promise_and_who_left_its_pieces() {
        let (geometry, mut reveal) = seed(2);
        let shown = reveal.show(NOW, A, 0, |_| false);
        assert_eq!(shown.len(), 2);
        let late = NOW + PATIENCE;
        reveal.reclaim(late, |_| true, |_| 0);
        assert!(reveal.show(late, A, 0, |_| false).is_empty(), "A must ask first");
        let again = reveal.show(late, B, 0, |_| false);
        assert_eq!(again.len(), 2);
        again.iter().for_each(|&piece| give(&mut reveal, &geometry, B, piece));
        assert!(reveal.is_over());
        reveal.leave(B);
        reveal.lost(again[0]);
        assert!(!reveal.is_over());
        assert!(reveal.grant(late, A, again[0]), "it was shown it once, and may have it now");
    }

    #[test]
    fn who_passes_nothing_on_is_given_little() {
        let (geometry, mut reveal) = seed(100);
        let mut given = Vec::new();
        for _ in 0..100 {
            let news = reveal.show(NOW, A, 0, |_| false);
            news.iter().for_each(|&piece| give(&mut reveal, &geometry, A, piece));
            given.extend(news);
        }
        let owned = given.len();
        assert!((UNSPREAD_MAX..=UNSPREAD_MAX + 1).contains(&owned), "{given:?}");
        let copies = |piece| u32::from(given.contains(&piece));
        reveal.reclaim(NOW, |_| true, |piece| if given[..2].contains(&piece) { 2 } else { copies(piece) });
        assert!(!reveal.show(NOW, A, 0, |_| false).is_empty(), "B has two of them now");
        let (_, mut reveal) = seed(100);
        reveal.unspread_max = 0;
        assert!(reveal.show(NOW, A, 0, |_| false).is_empty());
        reveal.unspread_max = UNSPREAD_MAX / 2;
        reveal.set_idle(true);
        reveal.reclaim(NOW, |_| true, |_| 0);
        assert_eq!(reveal.unspread_max, UNSPREAD_MAX, "more is allowed when nobody takes as much as we could send");
    }

    #[test]
    fn at_the_end_one_slow_peer_keeps_nobody_waiting() {
        let (geometry, mut reveal) = seed_of(2, 1 << 20);
        let shown = reveal.show(NOW, A, 2 << 20, |_| false);
        give(&mut reveal, &geometry, A, shown[0]);
        for second in 0..=5 {
            let now = Time::from_secs(second);
            reveal.served(now, A, geometry.nth_block(shown[1], second as u32).unwrap());
            reveal.reclaim(now, |_| true, |_| 0);
            assert_eq!(reveal.opens(now), second == 5, "what A has is shown to B then");
        }
        assert!(!reveal.is_over(), "A may still have it first");
        assert!(reveal.grant(NOW + PATIENCE, A, shown[1]));
        reveal.set_idle(true);
        reveal.reclaim(NOW + PATIENCE + PATIENCE_IDLE, |_| true, |_| 0);
        assert!(reveal.is_over(), "A takes less than we could send");
    }

    #[test]
    fn who_gets_pieces_elsewhere_is_shown_others() {
        let (_, mut reveal) = seed(9);
        let shown = reveal.show(NOW, A, 1 << 15, |_| false);
        let late = NOW + PATIENCE;
        reveal.reclaim(late, |_| true, |_| 0);
        assert!(reveal.show(late, A, 1 << 15, |_| false).is_empty());
        reveal.got(late, A, shown[0]);
        let more = reveal.show(late, A, 1 << 15, |piece| piece == shown[0]);
        assert!(!more.is_empty() && !more.contains(&shown[0]), "{more:?}");
        more.iter().for_each(|&piece| reveal.got(late, A, piece));
        assert!(
            !reveal.show(late, A, 1 << 15, |piece| piece == shown[0] || more.contains(&piece)).is_empty(),
            "it is owed nothing any more"
        );
    }

    #[test]
    fn who_wants_nothing_has_what_it_was_shown_and_laziness_ends() {
        let (_, mut reveal) = seed(3);
        assert_eq!(reveal.show(NOW, A, 1 << 20, |_| false).len(), 3);
        let late = NOW + PATIENCE;
        reveal.reclaim(late, |_| true, |_| 0);
        assert!(reveal.show(late, A, 1 << 20, |_| false).is_empty());
        assert!(!reveal.is_over());
        let later = late + 2 * PATIENCE;
        assert!(reveal.show(later, A, 1 << 20, |_| false).is_empty(), "they are promised again, but are no news");
        reveal.sated(later, A);
        assert!(reveal.is_over());
    }

    #[test]
    fn it_is_in_vain_when_nobody_takes_anything() {
        let (geometry, mut reveal) = seed(3);
        assert!(!reveal.is_vain(NOW));
        assert!(reveal.is_vain(NOW + VAIN));
        let piece = reveal.show(NOW, A, 0, |_| false)[0];
        reveal.served(NOW + VAIN, A, geometry.nth_block(piece, 0).unwrap());
        assert!(!reveal.is_vain(NOW + VAIN));
        [A, B].into_iter().for_each(|peer| reveal.leave(peer));
        assert!(!reveal.is_vain(NOW + 5 * VAIN), "nobody is there");
    }

    #[test]
    fn it_is_over_when_others_have_everything_although_nobody_asks() {
        let (_, mut reveal) = seed(5);
        reveal.reclaim(NOW, |_| false, |_| 1);
        assert!(reveal.is_over());
    }

    #[test]
    fn at_the_end_promises_to_those_who_are_not_served_are_taken_back() {
        let (_, mut reveal) = seed(2);
        let waiting = reveal.show(NOW, A, 0, |_| false);
        assert!(reveal.show(NOW, B, 1 << 20, |_| false).is_empty(), "nothing else is left");
        reveal.reclaim(NOW, |peer| peer == B, |_| 0);
        assert_eq!(reveal.show(NOW, B, 1 << 20, |_| false), waiting);
    }
}
