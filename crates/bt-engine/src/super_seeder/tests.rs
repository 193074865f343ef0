//! Plays, step by step, which pieces a super-seed shows to which peer.
//!
//! Decides: nothing. Must not know: torrents, messages.
//! Invariant: a test moves the clock itself.

use super::*;
use std::collections::BTreeSet;

const A: PeerKey = PeerKey(1);
const B: PeerKey = PeerKey(2);
const NOW: Time = Time::ZERO;

/// Makes a super-seed of `pieces` pieces of two blocks.
fn seed(pieces: u32) -> (Geometry, SuperSeeder) {
    seed_of(pieces, 1 << 15)
}

fn seed_of(pieces: u32, len: u32) -> (Geometry, SuperSeeder) {
    let geometry = Geometry::new(u64::from(pieces) * u64::from(len), len).unwrap();
    let mut super_seeder = SuperSeeder::new(geometry, &mut Rng::from_seed(1));
    [A, B].into_iter().for_each(|peer| super_seeder.join(NOW, peer));
    (geometry, super_seeder)
}

fn give(super_seeder: &mut SuperSeeder, geometry: &Geometry, peer: PeerKey, piece: Piece) {
    for block in geometry.blocks(piece) {
        assert!(super_seeder.grant(NOW, peer, piece, true));
        super_seeder.served(NOW, peer, block);
    }
    super_seeder.got(NOW, peer, piece);
}

#[test]
fn what_is_on_its_way_is_shown_to_others_when_it_has_arrived() {
    let (geometry, mut super_seeder) = seed(2);
    let shown = super_seeder.show(NOW, A, 0, |_| false);
    give(&mut super_seeder, &geometry, A, shown[0]);
    assert!(!super_seeder.opens(NOW), "a piece is left");
    geometry.blocks(shown[1]).for_each(|block| super_seeder.served(NOW, A, block));
    assert!(!super_seeder.opens(NOW), "what was ordered leaves first");
    assert!(super_seeder.opens(NOW + SETTLE) && !super_seeder.is_over());
    assert_eq!(super_seeder.show_out(B), [shown[0]]);
    assert!(!super_seeder.grant(NOW, B, shown[1], true), "B does not know of it");
    let mut left = seed(1).1;
    let last = left.show(NOW, A, 0, |_| false)[0];
    geometry.blocks(last).for_each(|block| left.served(NOW, A, block));
    left.leave(A);
    assert_eq!(left.show(NOW, B, 0, |_| false), [last], "it never arrived");
    super_seeder.reclaim(NOW + PATIENCE, |_| true, |_| 0);
    assert!(super_seeder.is_over(), "it should have arrived by now");
}

#[test]
fn each_peer_is_shown_pieces_of_its_own_until_one_copy_is_out() {
    let (geometry, mut super_seeder) = seed(20);
    let mut given = BTreeSet::new();
    while !super_seeder.is_over() {
        for peer in [A, B] {
            for piece in super_seeder.show(NOW, peer, 0, |_| false) {
                assert!(given.insert(piece), "{piece:?} is shown twice");
                let other = if peer == A { B } else { A };
                assert!(!super_seeder.grant(NOW, other, piece, true));
                give(&mut super_seeder, &geometry, peer, piece);
            }
        }
    }
    assert_eq!(given.len(), 20);
}

#[test]
fn an_unchoked_peer_is_shown_a_second_of_pieces_and_a_choked_one_a_single_piece() {
    let (_, mut super_seeder) = seed(100);
    assert_eq!(super_seeder.show(NOW, A, 10 << 15, |_| false).len(), 10);
    assert!(super_seeder.show(NOW, A, 10 << 15, |_| false).is_empty(), "it has enough");
    let offered = super_seeder.offer(B, |_| true).unwrap();
    assert_ne!(
        super_seeder.offer(B, |_| true).unwrap(),
        offered,
        "another one, when it wants nothing all the same"
    );
    assert!(super_seeder.grant(NOW, B, offered, true), "it may have it when it is served");
    super_seeder.show(NOW, A, 100 << 15, |_| false);
    assert!(!super_seeder.grant(NOW, A, offered, true), "and no other peer then");
}

#[test]
fn a_peer_that_requests_in_bursts_is_shown_more_unless_it_was_not_served() {
    // (whether it is unchoked all the time, pieces that it is shown in the end, when two are enough
    // for a second)
    for (is_served, most) in [(true, 8), (false, 2)] {
        let (geometry, mut super_seeder) = seed(1000);
        let (mut now, mut shown) = (NOW, Vec::new());
        for _ in 0..3 {
            shown = super_seeder.show(now, A, 0, |_| false);
            now = now + Duration::from_secs(5);
            for &piece in &shown {
                for block in geometry.blocks(piece) {
                    assert!(super_seeder.grant(now, A, piece, true));
                    super_seeder.served(now, A, block);
                }
                super_seeder.got(now, A, piece);
            }
            super_seeder.reclaim(now, |_| is_served, |_| 0);
        }
        assert_eq!(shown.len(), most, "served all the time: {is_served}");
    }
}

#[test]
fn what_others_have_is_not_given() {
    let (_, mut super_seeder) = seed(10);
    let shown = super_seeder.show(NOW, A, 1 << 20, |piece| piece.number() != 7);
    assert_eq!(shown.iter().map(|piece| piece.number()).collect::<Vec<_>>(), [7]);
    assert!(!super_seeder.is_over(), "that one is on its way");
    super_seeder.leave(A);
    let again = super_seeder.show(NOW, B, 1 << 20, |_| false);
    assert_eq!(again, shown, "and is given to another");
}

#[test]
fn a_peer_that_takes_nothing_or_leaves_loses_its_promised_pieces() {
    let (geometry, mut super_seeder) = seed(2);
    let shown = super_seeder.show(NOW, A, 0, |_| false);
    assert_eq!(shown.len(), 2);
    let late = NOW + PATIENCE;
    super_seeder.reclaim(late, |_| true, |_| 0);
    assert!(super_seeder.show(late, A, 0, |_| false).is_empty(), "A must ask first");
    let again = super_seeder.show(late, B, 0, |_| false);
    assert_eq!(again.len(), 2);
    again.iter().for_each(|&piece| give(&mut super_seeder, &geometry, B, piece));
    assert!(super_seeder.is_over());
    super_seeder.leave(B);
    super_seeder.lost(again[0]);
    assert!(!super_seeder.is_over());
    assert!(
        super_seeder.grant(late, A, again[0], true),
        "it was shown it once, and may have it now"
    );
}

#[test]
fn a_peer_that_passes_no_piece_on_is_given_few() {
    let (geometry, mut super_seeder) = seed(100);
    (2..20).for_each(|peer| super_seeder.join(NOW, PeerKey(peer)));
    let mut given = Vec::new();
    for _ in 0..100 {
        let news = super_seeder.show(NOW, A, 0, |_| false);
        news.iter().for_each(|&piece| give(&mut super_seeder, &geometry, A, piece));
        given.extend(news);
    }
    let owned = given.len();
    assert!((UNSPREAD_MAX..=UNSPREAD_MAX + 1).contains(&owned), "{given:?}");
    let copies = |piece| u32::from(given.contains(&piece));
    super_seeder.reclaim(
        NOW,
        |_| true,
        |piece| if given[..2].contains(&piece) { 2 } else { copies(piece) },
    );
    assert!(!super_seeder.show(NOW, A, 0, |_| false).is_empty(), "B has two of them now");
    let (_, mut super_seeder) = seed(100);
    (2..20).for_each(|peer| super_seeder.join(NOW, PeerKey(peer)));
    super_seeder.unspread_max = 0;
    assert!(super_seeder.show(NOW, A, 0, |_| false).is_empty());
    super_seeder.unspread_max = UNSPREAD_MAX / 2;
    super_seeder.set_idle(true);
    super_seeder.reclaim(NOW, |_| true, |_| 0);
    assert_eq!(
        super_seeder.unspread_max, UNSPREAD_MAX,
        "more is allowed when no peer takes as much as we could send"
    );
}

#[test]
fn at_the_end_a_slow_peer_does_not_hold_up_the_others() {
    let (geometry, mut super_seeder) = seed_of(2, 1 << 20);
    let shown = super_seeder.show(NOW, A, 2 << 20, |_| false);
    give(&mut super_seeder, &geometry, A, shown[0]);
    for second in 0..5 {
        let now = Time::from_secs(second);
        super_seeder.served(now, A, geometry.nth_block(shown[1], second as u32).unwrap());
        super_seeder.reclaim(now, |_| true, |_| 0);
        assert!(
            super_seeder.show(now, B, 0, |_| false).is_empty(),
            "A has its time while our uplink is busy"
        );
    }
    super_seeder.set_idle(true);
    let now = Time::from_secs(5);
    super_seeder.reclaim(now, |_| true, |_| 0);
    assert!(super_seeder.show(now, A, 0, |_| false).is_empty());
    assert_eq!(super_seeder.show(now, B, 0, |_| false), [shown[1]], "B is faster");
    assert!(!super_seeder.grant(now, A, shown[1], true));
}

#[test]
fn a_peer_that_gets_its_pieces_elsewhere_is_shown_others() {
    let (_, mut super_seeder) = seed(9);
    let shown = super_seeder.show(NOW, A, 1 << 15, |_| false);
    let late = NOW + PATIENCE;
    super_seeder.reclaim(late, |_| true, |_| 0);
    assert!(super_seeder.show(late, A, 1 << 15, |_| false).is_empty());
    super_seeder.got(late, A, shown[0]);
    let more = super_seeder.show(late, A, 1 << 15, |piece| piece == shown[0]);
    assert!(!more.is_empty() && !more.contains(&shown[0]), "{more:?}");
    more.iter().for_each(|&piece| super_seeder.got(late, A, piece));
    assert!(
        !super_seeder
            .show(late, A, 1 << 15, |piece| piece == shown[0] || more.contains(&piece))
            .is_empty(),
        "it is owed nothing any more"
    );
}

#[test]
fn a_loss_of_interest_counts_begun_pieces_as_had() {
    let (geometry, mut super_seeder) = seed(3);
    assert_eq!(super_seeder.show(NOW, A, 1 << 20, |_| false).len(), 3);
    let late = NOW + PATIENCE;
    super_seeder.reclaim(late, |_| true, |_| 0);
    assert!(super_seeder.show(late, A, 1 << 20, |_| false).is_empty());
    assert!(!super_seeder.is_over());
    let later = late + 2 * PATIENCE;
    assert!(
        super_seeder.show(later, A, 1 << 20, |_| false).is_empty(),
        "they are promised again, but are no news"
    );
    for piece in geometry.pieces() {
        super_seeder.served(later, A, geometry.nth_block(piece, 0).unwrap());
    }
    super_seeder.not_interested(later, A);
    assert!(super_seeder.is_over());
}

#[test]
fn what_was_promised_and_never_asked_for_is_promised_to_another() {
    let (geometry, mut super_seeder) = seed(3);
    super_seeder.show(NOW, A, 1 << 20, |_| false);
    let begun = geometry.pieces().next().unwrap();
    super_seeder.served(NOW, A, geometry.nth_block(begun, 0).unwrap());
    // Its "not interested" crossed our promise, or it wants another part: perhaps no peer has the
    // other two.
    super_seeder.not_interested(NOW, A);
    assert!(!super_seeder.is_over());
    let others: Vec<Piece> = geometry.pieces().filter(|piece| *piece != begun).collect();
    let mut shown = super_seeder.show(NOW, B, 1 << 20, |_| false);
    shown.sort();
    assert_eq!(shown, others);
}

#[test]
fn super_seeding_is_futile_when_no_peer_takes_anything() {
    let (geometry, mut super_seeder) = seed(3);
    assert!(!super_seeder.is_futile(NOW));
    assert!(super_seeder.is_futile(NOW + FUTILE_AFTER));
    let piece = super_seeder.show(NOW, A, 0, |_| false)[0];
    super_seeder.served(NOW + FUTILE_AFTER, A, geometry.nth_block(piece, 0).unwrap());
    assert!(!super_seeder.is_futile(NOW + FUTILE_AFTER));
    [A, B].into_iter().for_each(|peer| super_seeder.leave(peer));
    assert!(!super_seeder.is_futile(NOW + 5 * FUTILE_AFTER), "no peer is there");
}

#[test]
fn super_seeding_is_over_when_other_peers_have_everything() {
    let (_, mut super_seeder) = seed(5);
    super_seeder.reclaim(NOW, |_| false, |_| 1);
    assert!(super_seeder.is_over());
}

#[test]
fn promises_that_lapse_again_and_again_end_it() {
    let (geometry, mut super_seeder) = seed(200);
    let honest: Vec<Piece> = super_seeder.show(NOW, A, 0, |_| false);
    honest.into_iter().for_each(|piece| give(&mut super_seeder, &geometry, A, piece));
    for n in 0..=LAPSED_MAX {
        assert!(!super_seeder.is_futile(NOW), "{n} promises lapsed");
        let newcomer = PeerKey(100 + u64::from(n));
        super_seeder.join(NOW, newcomer);
        assert!(!super_seeder.show(NOW, newcomer, 0, |_| false).is_empty());
        super_seeder.leave(newcomer);
    }
    assert!(super_seeder.is_futile(NOW));
}

#[test]
fn at_the_end_promises_to_choked_peers_are_taken_back() {
    let (_, mut super_seeder) = seed(2);
    let in_order = |mut pieces: Vec<Piece>| {
        pieces.sort_unstable();
        pieces
    };
    let waiting = in_order(super_seeder.show(NOW, A, 0, |_| false));
    assert!(super_seeder.show(NOW, B, 1 << 20, |_| false).is_empty(), "nothing else is left");
    super_seeder.reclaim(NOW, |peer| peer == B, |_| 0);
    assert_eq!(in_order(super_seeder.show(NOW, B, 1 << 20, |_| false)), waiting);
}
