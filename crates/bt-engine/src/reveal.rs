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
/// The same once so many promises were made in vain, and twice as many as were kept: those around us take promises, and not pieces.
const LAPSED_MAX: u32 = 64;
/// A teaser is looked for among so many pieces.
const TEASERS_SEEN: usize = 1000;
/// Who was promised a piece and takes nothing for so long loses it to others.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for what is promised or on its way at the end, when our uplink is idle.
const PATIENCE_IDLE: Duration = Duration::from_secs(1);
/// After the last block was ordered, so long nothing is sent twice: what the system's buffers hold keeps the uplink busy, and arrives first.
const SETTLE: Duration = Duration::from_secs(1);
/// A peer is shown no more while so many pieces that it was given are seen nowhere else: it keeps them for itself, or cannot pass them on.
/// When that leaves our uplink idle, twice as many are allowed.
const UNSPREAD_MAX: usize = 16;
/// Among fewer peers than this a piece may be seen nowhere else because the others are slow.
const UNSPREAD_PEERS: usize = 16;
/// A peer that takes what it was shown in one go, and asks for more only after so long, looks for it only now and then, as rqbit does, every
/// five seconds: it is shown so many times as much as it took the last time.
const GLANCE: Duration = Duration::from_secs(2);
const GLANCE_TIMES: u64 = 4;
/// Who wants nothing of what it was shown for so long wants only a part of the torrent.
const CHOOSY: Duration = Duration::from_secs(2);

/// The state of an initial seed.
#[derive(Debug)]
pub(crate) struct Reveal {
    geometry: Geometry,
    /// What the order of the line is drawn with when the first peer comes: until then there are no tables.
    draw: Option<Rng>,
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
    /// Since when everything is on its way.
    sent_since: Option<Time>,
    /// Those that are served take far less than we could send.
    idle: bool,
    /// What somebody has is shown to everybody.
    open: bool,
    /// Promises that were taken back from peers that took nothing, and pieces that were given.
    lapsed: u32,
    given: u32,
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
    /// Pieces on their way to it that are promised to it: a second's worth, which are thousands where peers are fast.
    owed: BTreeMap<Piece, Owed>,
    /// Bytes of these that were not ordered for it yet.
    left: u64,
    /// How many pieces were given to it that nobody else has.
    unspread: usize,
    /// When it last took something, or was promised something while it was owed nothing.
    moved_at: Time,
    /// Bytes that it took since it last paused, and when it began.
    taken: u64,
    taking_since: Time,
    /// How much it is shown because it looks only now and then.
    glance: u64,
    /// It let a promise lapse: it is promised nothing for a while, unless it asks for what it was shown, or gets something anywhere.
    lazy_until: Time,
}

/// How far a piece is on its way to the one peer that it is promised to.
#[derive(Clone, Copy, Debug)]
struct Owed {
    /// Bytes that were not ordered for it yet.
    left: u32,
    /// When it was promised.
    since: Time,
}

impl Reveal {
    pub(crate) fn new(geometry: Geometry, rng: &mut Rng) -> Reveal {
        // Drawn now, so that what follows does not depend on when a peer comes, and drawn again the same then.
        let mut draw = rng.clone();
        draw.rest();
        let _ = Self::line(&geometry, rng);
        Reveal {
            geometry,
            draw: Some(draw),
            fates: Vec::new(),
            teased: Vec::new(),
            line: VecDeque::new(),
            peers: BTreeMap::new(),
            left: geometry.piece_count(),
            sent: BTreeMap::new(),
            unspread: BTreeMap::new(),
            unspread_max: UNSPREAD_MAX,
            sent_since: None,
            idle: false,
            open: false,
            lapsed: 0,
            given: 0,
            served_at: Time::ZERO,
        }
    }

    /// All pieces in the order in which they are shown.
    fn line(geometry: &Geometry, rng: &mut Rng) -> Vec<Piece> {
        let mut line: Vec<Piece> = geometry.pieces().collect();
        rng.shuffle(&mut line);
        line
    }

    /// A peer connected, and is told that we have nothing.
    pub(crate) fn join(&mut self, now: Time, peer: PeerKey) {
        if self.peers.is_empty() {
            self.served_at = now;
        }
        if let Some(mut draw) = self.draw.take() {
            let line = Self::line(&self.geometry, &mut draw);
            (self.fates, self.teased) = (vec![Fate::Waits; line.len()], vec![0; line.len()]);
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

    /// A peer left. What was promised to it, and what was on its way, waits again.
    pub(crate) fn leave(&mut self, peer: PeerKey) {
        if let Some(shown) = self.peers.remove(&peer) {
            self.lapsed = self.lapsed.saturating_add(u32::from(!shown.owed.is_empty()));
            let lost = shown.owed.into_keys().chain(self.sent_to(peer)).collect();
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
        shown.comes_back(now);
        match fate {
            Fate::Sent | Fate::Out => true,
            Fate::Promised => shown.owed.contains_key(&piece),
            Fate::Waits => {
                shown.promise(now, piece, &self.geometry);
                self.set(piece, Fate::Promised);
                true
            }
        }
    }

    /// Whether the peer is in the middle of a piece that is promised to it.
    pub(crate) fn is_owed(&self, peer: PeerKey) -> bool {
        let is_begun = |(piece, owed): (&Piece, &Owed)| owed.left < self.geometry.piece_len(*piece);
        self.peers.get(&peer).is_some_and(|shown| shown.owed.iter().any(is_begun))
    }

    /// A peer wants nothing of what it was shown. What it began to take it has, from whomever: not every client says so with a `have`. What
    /// it never asked for waits again: its message may have crossed our promise, and then nobody has the piece.
    pub(crate) fn sated(&mut self, now: Time, peer: PeerKey) {
        let Some(shown) = self.peers.get_mut(&peer) else { return };
        (shown.lazy_until, shown.moved_at) = (now, now);
        let (begun, untouched): (Vec<_>, Vec<_>) =
            shown.take_owed().partition(|(piece, owed)| owed.left < self.geometry.piece_len(*piece));
        let had: Vec<Piece> = begun.into_iter().map(|(piece, _)| piece).chain(self.sent_to(peer)).collect();
        had.into_iter().for_each(|piece| self.set(piece, Fate::Out));
        self.take_back(untouched.into_iter().map(|(piece, _)| piece).collect());
    }

    /// A peer has a piece now, from whomever: it is owed that one no more, and is awake.
    pub(crate) fn got(&mut self, now: Time, peer: PeerKey, piece: Piece) {
        let Some(shown) = self.peers.get_mut(&peer) else { return };
        shown.lazy_until = now;
        if shown.is_no_more_owed(piece) || self.fate(piece) == Fate::Sent {
            self.set(piece, Fate::Out);
        }
    }

    /// A block was ordered for a peer.
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
                self.given = self.given.saturating_add(1);
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

    /// Once a second: strikes out what others have by now, or should have, as it was sent a while ago. Takes back what was promised to peers
    /// that take nothing: from those that are served after [`PATIENCE`], from the others too when nothing else is left to show; and, when
    /// nothing else is left and our uplink is idle, what is taken too slowly. `copies` tells how many others have a piece.
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
        let (mut back, mut lapsed) = (Vec::new(), 0);
        for (&peer, shown) in &mut self.peers {
            // Who is not served has another reason to pause.
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
                let slow: Vec<Piece> = shown.owed.iter().filter(is_slow).map(|(piece, _)| *piece).collect();
                if !slow.is_empty() {
                    shown.lazy_until = now + 2 * PATIENCE;
                    lapsed += 1;
                }
                back.extend(slow.into_iter().filter(|piece| shown.is_no_more_owed(*piece)));
            }
        }
        self.lapsed = self.lapsed.saturating_add(lapsed);
        self.take_back(back);
    }

    /// Whether those that are served take far less than we could send: others need not wait for them then.
    pub(crate) fn set_idle(&mut self, idle: bool) {
        self.idle = idle;
    }

    fn patience(&self) -> Duration {
        if self.idle { PATIENCE_IDLE } else { PATIENCE }
    }

    /// Whether showing pieces one by one helps nobody: there are peers and none has taken anything for long, or most promises lapse.
    pub(crate) fn is_vain(&self, now: Time) -> bool {
        let lapses = self.lapsed > LAPSED_MAX.max(self.given.saturating_mul(2));
        lapses || !self.peers.is_empty() && now - self.served_at >= VAIN
    }

    /// Whether one copy of everything is out.
    pub(crate) fn is_over(&self) -> bool {
        self.left == 0 && self.sent.is_empty()
    }

    /// Whether one copy of everything has been on its way for a moment, for the first time: then what is out is shown to everybody.
    pub(crate) fn opens(&mut self, now: Time) -> bool {
        self.sent_since = (self.left == 0).then(|| self.sent_since.unwrap_or(now));
        let is_settled = self.sent_since.is_some_and(|since| now - since >= SETTLE);
        let opens = !self.open && is_settled;
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
        let given = shown.take_owed().map(|(piece, _)| piece).collect();
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
        let left = geometry.piece_len(piece);
        self.owed.insert(piece, Owed { left, since: now });
        self.left += u64::from(left);
    }

    /// Whether it was owed this piece; it is not any more.
    fn is_no_more_owed(&mut self, piece: Piece) -> bool {
        let owed = self.owed.remove(&piece);
        self.left -= owed.map_or(0, |owed| u64::from(owed.left));
        owed.is_some()
    }

    /// What it was owed; it is owed nothing any more.
    fn take_owed(&mut self) -> impl Iterator<Item = (Piece, Owed)> + use<> {
        self.left = 0;
        core::mem::take(&mut self.owed).into_iter()
    }

    /// A block was ordered for it.
    fn take(&mut self, now: Time, bytes: u32) {
        if self.taken == 0 {
            self.taking_since = now;
        }
        self.taken += u64::from(bytes);
        self.moved_at = now;
    }

    /// It asks for a block, perhaps after a pause.
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
