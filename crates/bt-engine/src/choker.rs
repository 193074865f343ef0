//! Picks the peers to unchoke: tit for tat while we download, by turns when we seed, and at random
//! for newcomers (BEP 3).
//!
//! Decides: a set of peers, from a slice of candidates. Must not know: blocks, sockets.
//! Invariant: a pure function: equal candidates and an equal seed give an equal choice.

use crate::io::PeerKey;
use alloc::vec::Vec;
use bt_types::{Rng, Time};
use core::cmp::Reverse;
use core::time::Duration;

/// Seconds that a peer keeps its slot at a seed before other peers get their turn.
const SEED_TURN: Duration = Duration::from_secs(30);

/// A connected peer, as the choker sees it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) peer: PeerKey,
    /// It is interested in something that we have.
    pub(crate) interested: bool,
    /// It is unchoked.
    pub(crate) unchoked: bool,
    /// It is unchoked optimistically.
    pub(crate) optimistic: bool,
    /// It was sent requests and delivers nothing.
    pub(crate) snubbed: bool,
    /// Bytes per second that it sends us.
    pub(crate) gives: u64,
    /// Bytes that we sent it, less the bytes that it sent us.
    pub(crate) debt: i64,
    /// The time when it was last choked or unchoked, or when it connected.
    pub(crate) since: Time,
    /// It was unchoked and requested nothing, or is doing so now.
    pub(crate) wasteful: bool,
    /// It is in the middle of a piece that we, while super-seeding, give to no other peer.
    pub(crate) owed: bool,
}

/// The peers to unchoke until the next round.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Chosen {
    /// By tit for tat, or by turn.
    pub(crate) regular: Vec<PeerKey>,
    /// Optimistically.
    pub(crate) optimistic: Vec<PeerKey>,
}

/// The number of peers to choose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) regular: usize,
    pub(crate) optimistic: usize,
}

/// Bytes per second that make a slot useful: a block every other second.
const SLOT_RATE: u64 = 8 << 10;
/// The least number of slots under an upload limit, and while peers get too little each.
const SLOTS_MIN: usize = 2;
const SLOTS_THIN_MIN: usize = 4;
/// The greatest number of slots.
const SLOTS_MAX: usize = 40;

impl Slots {
    /// Splits this number of slots. Two of five are optimistic, and at least one: newcomers get a
    /// first piece, and better partners are found (BEP 3).
    pub(crate) fn of(count: usize) -> Slots {
        let optimistic = (count * 2 / 5).max(1);
        Slots { regular: count.saturating_sub(optimistic), optimistic }
    }
}

/// Returns how many slots make sense under an upload limit.
pub(crate) fn slots_under(limit: Option<u64>) -> usize {
    limit.map_or(SLOTS_MAX, |limit| {
        usize::try_from(limit / SLOT_RATE).unwrap_or(SLOTS_MAX).clamp(SLOTS_MIN, SLOTS_MAX)
    })
}

/// Returns the next number of slots. One more while the unchoked peers request nothing and others
/// wait; one fewer while each gets too little.
pub(crate) fn slots_next(now: usize, rate: u64, is_idle: bool, is_thin: bool) -> usize {
    let is_thin = is_thin && rate < now as u64 * SLOT_RATE;
    match (is_idle, is_thin) {
        (true, _) => (now + 1).min(SLOTS_MAX),
        (false, true) => (now - 1).max(SLOTS_THIN_MIN),
        (false, false) => now,
    }
}

/// Picks the peers to unchoke. `seeding`: we have everything, so that no peer can give.
///
/// An optimistic slot goes to another peer in each round of ten seconds, not after 30 s as in BEP 3
/// (decision 0007).
pub(crate) fn round(
    now: Time,
    candidates: &[Candidate],
    slots: Slots,
    seeding: bool,
    rng: &mut Rng,
) -> Chosen {
    let mut interested: Vec<&Candidate> = candidates.iter().filter(|c| c.interested).collect();
    rng.shuffle(&mut interested);
    if seeding {
        // First the peers within their turn, then the longest wait. Peers that made no use of a
        // turn come last.
        interested.sort_by_key(|c| {
            let in_turn = c.unchoked && (c.owed || !c.wasteful && now - c.since < SEED_TURN);
            (c.wasteful && !c.owed, !in_turn, c.unchoked, c.since)
        });
        let chosen = interested.iter().take(slots.regular + slots.optimistic).map(|c| c.peer);
        return Chosen { regular: chosen.collect(), optimistic: Vec::new() };
    }
    interested.sort_by_key(|c| (c.snubbed, Reverse(c.gives)));
    let others = interested.split_off(interested.len().min(slots.regular));
    let mut waiting: Vec<&Candidate> = others.into_iter().filter(|c| !c.optimistic).collect();
    waiting.sort_by_key(|c| (c.wasteful, c.snubbed, c.debt));
    Chosen {
        regular: interested.iter().map(|c| c.peer).collect(),
        optimistic: waiting.iter().take(slots.optimistic).map(|c| c.peer).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn peer(key: u64, gives: u64) -> Candidate {
        let since = Time::ZERO;
        Candidate {
            peer: PeerKey(key),
            interested: true,
            unchoked: false,
            optimistic: false,
            snubbed: false,
            gives,
            since,
            wasteful: false,
            owed: false,
            debt: 0,
        }
    }

    fn choose(candidates: &[Candidate], seeding: bool) -> (Vec<u64>, Vec<u64>) {
        let slots = Slots { regular: 2, optimistic: 1 };
        let now = Time::from_secs(100);
        let chosen = round(now, candidates, slots, seeding, &mut Rng::from_seed(1));
        let keys = |peers: Vec<PeerKey>| peers.into_iter().map(|key| key.0).collect();
        (keys(chosen.regular), keys(chosen.optimistic))
    }

    #[test]
    fn while_leeching_the_fastest_uploaders_are_unchoked() {
        let p = |key, gives| peer(key, gives);
        let owes = |key, debt| Candidate { debt, ..peer(key, 0) };
        let table: Vec<(&str, Vec<Candidate>, Vec<u64>, Vec<u64>)> = vec![
            (
                "the two fastest by merit, the rest by chance",
                vec![p(1, 10), p(2, 30), p(3, 20)],
                vec![2, 3],
                vec![1],
            ),
            (
                "who is not interested is not served",
                vec![Candidate { interested: false, ..p(1, 99) }, p(2, 1)],
                vec![2],
                vec![],
            ),
            (
                "who was served by chance and asked for nothing waits for others",
                vec![p(1, 9), p(2, 8), Candidate { wasteful: true, ..p(3, 0) }, owes(4, 100)],
                vec![1, 2],
                vec![4],
            ),
            (
                "a snubber comes last",
                vec![Candidate { snubbed: true, ..p(1, 99) }, p(2, 1), p(3, 2)],
                vec![3, 2],
                vec![1],
            ),
            (
                "who has cost us least gets the chance",
                vec![p(1, 9), p(2, 8), owes(3, 50), owes(4, 10)],
                vec![1, 2],
                vec![4],
            ),
            ("no peers, no slots", vec![], vec![], vec![]),
        ];
        for (what, candidates, regular, optimistic) in table {
            assert_eq!(choose(&candidates, false), (regular, optimistic), "{what}");
        }
    }

    #[test]
    fn slots_follow_the_uplink() {
        let limits = [(None, 40), (Some(5 << 10), 2), (Some(64 << 10), 8), (Some(1 << 30), 40)];
        limits
            .into_iter()
            .for_each(|(limit, slots)| assert_eq!(slots_under(limit), slots, "{limit:?}"));
        // (slots, bytes per second, unchoked peers request nothing, unchoked peers wait for data,
        // next slots)
        let table = [
            (10, 1 << 20, false, true, 10),
            (10, 20 << 10, false, true, 9),
            (10, 20 << 10, false, false, 10),
            (4, 1 << 10, false, true, 4),
            (10, 0, true, false, 11),
            (40, 0, true, false, 40),
        ];
        for (now, rate, idle, thin, then) in table {
            assert_eq!(slots_next(now, rate, idle, thin), then, "{now} slots at {rate}");
        }
        let split = |count| (Slots::of(count).regular, Slots::of(count).optimistic);
        assert_eq!([2, 4, 10, 40].map(split), [(1, 1), (3, 1), (6, 4), (24, 16)]);
    }

    #[test]
    fn the_optimistic_slot_goes_to_another_peer_in_each_round() {
        let lucky = Candidate { optimistic: true, unchoked: true, ..peer(3, 0) };
        let candidates = [peer(1, 9), peer(2, 8), lucky, peer(4, 0)];
        assert_eq!(choose(&candidates, false), (vec![1, 2], vec![4]));
    }

    #[test]
    fn a_fast_optimistic_peer_gets_a_regular_slot_in_the_next_round() {
        let lucky = Candidate { optimistic: true, unchoked: true, ..peer(3, 50) };
        assert_eq!(choose(&[peer(1, 9), peer(2, 8), lucky], false), (vec![3, 1], vec![2]));
    }

    #[test]
    fn a_seed_serves_by_turns() {
        let served = |key, since| Candidate {
            unchoked: true,
            since: Time::from_secs(since),
            ..peer(key, 0)
        };
        let waits = |key, since| Candidate { since: Time::from_secs(since), ..peer(key, 0) };
        // 1 and 2 are within their turn, 3 has had its turn, 4 and 5 wait.
        let candidates = [served(1, 95), served(2, 90), served(3, 20), waits(4, 60), waits(5, 30)];
        assert_eq!(choose(&candidates, true).0, [2, 1, 5]);
        let later = [served(1, 10), served(2, 9), served(3, 8), waits(4, 60), waits(5, 30)];
        assert_eq!(choose(&later, true).0, [5, 4, 3]);
        let wastes = Candidate { wasteful: true, ..served(1, 95) };
        assert_eq!(
            choose(&[wastes, served(2, 90), waits(4, 60), waits(5, 30)], true).0,
            [2, 5, 4],
            "others use it"
        );
        let owed = Candidate { owed: true, ..served(1, 10) };
        assert_eq!(
            choose(&[owed, served(2, 9), waits(4, 60), waits(5, 30)], true).0,
            [1, 5, 4],
            "no piece is left half given"
        );
    }
}
