//! Shares among the torrents of an engine what they take in units: the store's memory, and dials
//! under way.
//!
//! Decides: how much a torrent may take, which torrent is asked next when room becomes free, and
//! when idle holders are checked. Must not know: pieces, peers.
//! Invariant: all torrents together take no more than there is. One unit is always allowed where
//! nothing is taken.

use crate::io::TorrentKey;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bt_types::Time;
use core::time::Duration;

/// Torrents that are asked again each time that room becomes free. The rest is asked the next time,
/// so that one input stays cheap.
const RETRIES_MAX: usize = 8;
/// Seconds between two checks for stalled pieces while a torrent lacks room; as long as the snub in
/// `pipeline.rs`. Open pieces that got nothing since the last check give way: an attacker must not
/// hold the budget with incomplete pieces.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What a torrent takes of a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RoomUse {
    /// Units that it has taken.
    pub(crate) taken: u64,
    /// It wanted more than there was.
    pub(crate) is_short: bool,
}

/// The units that each torrent has taken, and the torrents that want more.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// The units that each torrent has taken; only torrents that took some, or lack room.
    claims: BTreeMap<TorrentKey, u64>,
    total: u64,
    /// Torrents that wanted more than there was.
    short: BTreeSet<TorrentKey>,
    /// The torrent that was asked last after room became free: the next torrent comes after it.
    asked_last: Option<TorrentKey>,
    /// The torrent that gave room back since the other torrents were asked.
    freed_by: Option<TorrentKey>,
    look_at: Option<Time>,
}

impl Room {
    /// Returns the units that the torrent may have at this moment. `unit` is the number that it
    /// takes at a time.
    pub(crate) fn limit(&self, key: TorrentKey, unit: u64, budget: u64) -> u64 {
        if self.total == 0 {
            return budget.max(unit);
        }
        let own = self.claims.get(&key).copied().unwrap_or(0);
        let share = budget / u64::try_from(self.claims.len().max(1)).unwrap_or(u64::MAX);
        let free = budget.saturating_sub(self.total);
        (own + free).min(share.max(unit))
    }

    /// Notes what a torrent takes after it acted. To note the same again changes nothing.
    pub(crate) fn note(&mut self, key: TorrentKey, RoomUse { taken, is_short }: RoomUse) {
        let claims = taken > 0 || is_short;
        let before = if claims { self.claims.insert(key, taken) } else { self.claims.remove(&key) }
            .unwrap_or(0);
        self.total = self.total - before + taken;
        if taken < before {
            self.freed_by = Some(key);
        }
        if is_short {
            self.short.insert(key);
        } else if !self.short.is_empty() {
            self.short.remove(&key);
        }
    }

    /// Removes a torrent.
    pub(crate) fn forget(&mut self, key: TorrentKey) {
        self.note(key, RoomUse::default());
    }

    /// Takes the torrents to ask again, if room became free. The torrent that gave it back has
    /// looked itself.
    pub(crate) fn take_retries(&mut self) -> Vec<TorrentKey> {
        let Some(by) = self.freed_by.take() else { return Vec::new() };
        let from = self.asked_last.map_or(TorrentKey(0), |last| TorrentKey(last.0.wrapping_add(1)));
        let others = self.short.range(from..).chain(self.short.range(..from)).copied();
        let retries: Vec<_> = others.filter(|key| *key != by).take(RETRIES_MAX).collect();
        self.asked_last = retries.last().copied().or(self.asked_last);
        retries
    }

    /// Returns when [`Room::take_holders`] must be called.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.look_at
    }

    /// Plans the next check while a torrent lacks room.
    pub(crate) fn plan(&mut self, now: Time) {
        if self.short.is_empty() {
            self.look_at = None;
        } else {
            self.look_at.get_or_insert(now + LOOK_EVERY);
        }
    }

    /// Takes the torrents whose stalled pieces must give way now.
    pub(crate) fn take_holders(&mut self, now: Time) -> Vec<TorrentKey> {
        if self.look_at.take_if(|at| *at <= now).is_none() {
            return Vec::new();
        }
        self.claims.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(room: &mut Room, key: TorrentKey, taken: u64, is_short: bool) {
        room.note(key, RoomUse { taken, is_short });
    }

    const A: TorrentKey = TorrentKey(1);
    const B: TorrentKey = TorrentKey(2);
    const C: TorrentKey = TorrentKey(3);

    #[test]
    fn a_torrent_may_have_its_share_of_what_is_left() {
        // (reserved by A, by B, A and B are short, unit, limit of A, of B), of a budget of 64
        let table = [
            (0, 0, (false, false), 1, 64, 64),
            (0, 0, (false, false), 96, 96, 96),
            (64, 0, (false, false), 1, 64, 0),
            (64, 0, (true, true), 1, 32, 0),
            (40, 0, (true, true), 1, 32, 24),
            (40, 24, (true, false), 1, 32, 24),
            (30, 10, (false, false), 1, 32, 32),
            (30, 10, (false, false), 40, 40, 34),
            (96, 0, (false, false), 96, 96, 0),
        ];
        for (a, b, (a_short, b_short), unit, limit_a, limit_b) in table {
            let mut room = Room::default();
            note(&mut room, A, a, a_short);
            note(&mut room, B, b, b_short);
            assert_eq!(
                (room.limit(A, unit, 64), room.limit(B, unit, 64)),
                (limit_a, limit_b),
                "{a} and {b}, {unit}"
            );
        }
    }

    #[test]
    fn those_that_lack_room_are_asked_in_turn_when_some_becomes_free() {
        let mut room = Room::default();
        note(&mut room, A, 64, true);
        note(&mut room, B, 0, true);
        note(&mut room, C, 0, true);
        assert_eq!(room.take_retries().len(), 0, "nothing became free");
        note(&mut room, A, 63, true);
        assert_eq!(room.take_retries(), [B, C], "A has looked itself");
        assert_eq!(room.take_retries().len(), 0);
        note(&mut room, C, 1, false);
        note(&mut room, A, 62, true);
        assert_eq!(room.take_retries(), [B]);
        room.forget(B);
        room.forget(A);
        assert_eq!((room.take_retries().len(), room.total), (0, 1));
        (10..40).for_each(|n| note(&mut room, TorrentKey(n), 0, true));
        note(&mut room, C, 0, false);
        let first = room.take_retries();
        assert_eq!(first.len(), RETRIES_MAX);
        note(&mut room, C, 1, false);
        note(&mut room, C, 0, false);
        assert!(room.take_retries().iter().all(|key| !first.contains(key)), "the next ones");
    }

    #[test]
    fn stalled_pieces_give_way_only_while_a_torrent_lacks_room() {
        let mut room = Room::default();
        note(&mut room, A, 64, false);
        room.plan(Time::ZERO);
        assert_eq!(room.deadline(), None);
        note(&mut room, B, 0, true);
        room.plan(Time::ZERO);
        room.plan(Time::from_secs(5));
        assert_eq!(room.deadline(), Some(Time::from_secs(20)));
        assert_eq!(room.take_holders(Time::from_secs(19)), []);
        assert_eq!(room.take_holders(Time::from_secs(20)), [A, B]);
        room.plan(Time::from_secs(20));
        assert_eq!(room.deadline(), Some(Time::from_secs(40)));
        note(&mut room, B, 1, false);
        room.plan(Time::from_secs(21));
        assert_eq!(room.deadline(), None);
    }
}
