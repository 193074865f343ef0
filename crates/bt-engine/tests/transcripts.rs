//! Plays the engine's main conversations: `>` is an input of the engine, `<` is an output.
//!
//! Decides: the messages of a client, word by word. Must not know: the engine's insides.
//! Invariant: time and chance are fixed, so a change of a decision shows as a change of a text.

mod transcript;

use insta::assert_snapshot;
use transcript::{PLAIN, Scene, play};

/// A leecher with nothing, of three pieces of two blocks.
const LEECHER: Scene = Scene { pieces: 3, blocks: 2, have: "000", trackers: &[], setting: PLAIN };
/// A seed of the same torrent.
const SEED: Scene = Scene { have: "111", ..LEECHER };

#[test]
fn a_download_from_a_seed_from_dial_to_goodbye() {
    let told = "
        found A
        A: answers
        A: have-all
        A: unchoke
        A: sends 1:0, 1:1
        piece 1 is good
        A: sends 2:0, 2:1, 0:0, 0:1
        piece 2 is good
        piece 0 is good";
    assert_snapshot!(play(&LEECHER, told), @"
    > found A
    < dial A
    > A: answers
    < A: have-none, hello
    > A: have-all
    < A: interested
    > A: unchoke
    < A: request 1:0, request 1:1
    > A: sends 1:0, 1:1
    < store 1:0
    < store 1:1
    < check 1
    > piece 1 is good
    < event: Piece(1)
    < A: request 0:0, request 0:1
    > A: sends 2:0, 2:1, 0:0, 0:1
    < store 0:0
    < store 0:1
    < check 0
    > piece 2 is good
    < event: Piece(2)
    > piece 0 is good
    < event: Piece(0)
    < event: Complete
    < A: hang up, neither wants anything
    ");
}

#[test]
fn interest_follows_what_others_have() {
    let told = "
        A: connects
        B: connects without fast
        A: bitfield 100
        A: unchoke
        A: sends 0:0, 0:1
        piece 0 is good
        A: have 2";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: connects
    < A: have-none, hello
    > B: connects without fast
    > A: bitfield 100
    < A: interested
    > A: unchoke
    < A: request 0:0, request 0:1
    > A: sends 0:0, 0:1
    < store 0:0
    < store 0:1
    < check 0
    > piece 0 is good
    < event: Piece(0)
    < A: not interested, have 0
    < B: have 0
    > A: have 2
    < A: interested, request 2:0, request 2:1
    ");
}

#[test]
fn a_choke_frees_requests_for_others() {
    let told = "
        A: connects without fast
        B: connects
        A: bitfield 111, unchoke
        B: bitfield 111
        A: choke
        B: unchoke
        B: choke, reject 0:0, reject 0:1, reject 1:0, reject 1:1, reject 2:0, reject 2:1
        A: unchoke";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: connects without fast
    > B: connects
    < B: have-none, hello
    > A: bitfield 111, unchoke
    < A: interested, request 1:0, request 1:1
    > B: bitfield 111
    < B: interested
    > A: choke
    > B: unchoke
    < B: request 1:0, request 1:1
    > B: choke, reject 0:0, reject 0:1, reject 1:0, reject 1:1, reject 2:0, reject 2:1
    > A: unchoke
    < A: request 1:0, request 1:1
    ");
}

#[test]
fn end_game_asks_again_for_what_is_late_and_cancels() {
    let told = "
        A: connects
        B: connects
        A: have-all, unchoke
        B: have-all, unchoke
        B: sends 0:0, 0:1
        piece 0 is good
        B: sends 2:0, 2:1
        piece 2 is good
        at 1
        at 2
        B: sends 1:0";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: connects
    < A: have-none, hello
    > B: connects
    < B: have-none, hello
    > A: have-all, unchoke
    < A: interested, request 1:0, request 1:1
    > B: have-all, unchoke
    < B: interested, request 0:0, request 0:1
    > B: sends 0:0, 0:1
    < store 0:0
    < store 0:1
    < check 0
    > piece 0 is good
    < event: Piece(0)
    < B: request 2:0, request 2:1
    > B: sends 2:0, 2:1
    < store 2:0
    < store 2:1
    < check 2 urgently
    > piece 2 is good
    < event: Piece(2)
    > at 1
    < 1.000s B: request 1:0, request 1:1
    > at 2
    > B: sends 1:0
    < 2.000s store 1:0
    < 2.000s A: cancel 1:0
    ");
}

#[test]
fn the_sole_sender_of_a_bad_piece_is_banned() {
    let told = "
        A: connects
        A: bitfield 100, unchoke
        A: sends 0:0, 0:1
        piece 0 is bad
        A: connects
        found A";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: connects
    < A: have-none, hello
    > A: bitfield 100, unchoke
    < A: interested, request 0:0, request 0:1
    > A: sends 0:0, 0:1
    < store 0:0
    < store 0:1
    < check 0
    > piece 0 is bad
    < event: piece 0 is bad, from A
    < A: hang up, it sent a piece with wrong bytes
    > A: connects
    < A: hang up, its address is banned
    > found A
    ");
}

#[test]
fn a_sender_of_two_bad_pieces_is_banned_once() {
    let told = "
        order sequential
        A: connects
        A: have-all, unchoke
        A: sends 0:0
        piece 0 is good
        A: sends 1:0
        piece 1 is good
        A: sends 2:0
        piece 2 is good
        A: sends 3:0
        piece 3 is good
        A: sends 4:0, 5:0
        piece 4 is bad
        piece 5 is bad
        count bans";
    let scene = Scene { pieces: 6, blocks: 1, have: "000000", ..LEECHER };
    assert_snapshot!(play(&scene, told), @"
    > order sequential
    > A: connects
    < A: have-none, hello
    > A: have-all, unchoke
    < A: interested, request 0:0
    > A: sends 0:0
    < store 0:0
    < check 0
    > piece 0 is good
    < event: Piece(0)
    < A: request 1:0
    > A: sends 1:0
    < store 1:0
    < check 1
    > piece 1 is good
    < event: Piece(1)
    < A: request 2:0
    > A: sends 2:0
    < store 2:0
    < check 2
    > piece 2 is good
    < event: Piece(2)
    < A: request 3:0
    > A: sends 3:0
    < store 3:0
    < check 3
    > piece 3 is good
    < event: Piece(3)
    < A: request 4:0, request 5:0
    > A: sends 4:0, 5:0
    < store 4:0
    < check 4 urgently
    < store 5:0
    < check 5 urgently
    > piece 4 is bad
    < event: piece 4 is bad, from A
    < A: hang up, it sent a piece with wrong bytes
    > piece 5 is bad
    < event: piece 5 is bad, from A
    > count bans
    < 1 banned
    ");
}

#[test]
fn a_bad_piece_of_two_senders_is_fetched_again_from_one_alone() {
    let told = "
        A: connects without fast
        B: connects
        A: bitfield 100, unchoke
        A: sends 0:0
        A: choke
        B: bitfield 100, unchoke
        B: sends 0:1
        piece 0 is bad
        A: unchoke
        B: sends 0:0, 0:1
        piece 0 is good";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: connects without fast
    > B: connects
    < B: have-none, hello
    > A: bitfield 100, unchoke
    < A: interested, request 0:0, request 0:1
    > A: sends 0:0
    < store 0:0
    > A: choke
    > B: bitfield 100, unchoke
    < B: interested, request 0:1
    > B: sends 0:1
    < store 0:1
    < check 0
    > piece 0 is bad
    < event: piece 0 is bad, from AB
    < B: request 0:0, request 0:1
    > A: unchoke
    > B: sends 0:0, 0:1
    < store 0:0
    < store 0:1
    < check 0
    > piece 0 is good
    < event: Piece(0)
    < A: not interested, have 0
    < B: not interested, have 0
    ");
}

#[test]
fn a_snubbed_peer_loses_its_blocks_to_others() {
    let told = "
        A: connects
        A: bitfield 100, unchoke
        at 19s
        B: connects
        B: bitfield 100, unchoke
        B: sends 0:0
        at 25s
        B: sends 0:1
        A: sends 0:0";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: connects
    < A: have-none, hello
    > A: bitfield 100, unchoke
    < A: interested, request 0:0, request 0:1
    > at 19s
    > B: connects
    < 19.000s B: have-none, hello
    > B: bitfield 100, unchoke
    < 19.000s B: interested
    > B: sends 0:0
    > at 25s
    < 20.000s A: request 0:0
    < 20.000s B: request 0:1
    > B: sends 0:1
    < 25.000s store 0:1
    > A: sends 0:0
    < 25.000s store 0:0
    < 25.000s check 0
    ");
}

#[test]
fn a_seed_unchokes_at_once_and_serves() {
    let told = "
        A: connects
        A: interested
        A: request 0:0, request 0:1, request 2:0
        A: cancel 0:1
        A: request 0:1
        A: sent 16384
        A: cannot be read 0:1
        A: not interested
        at 10s";
    assert_snapshot!(play(&SEED, told), @"
    > A: connects
    < A: have-none, hello, have 2
    > A: interested
    < A: unchoke, have 0, have 1
    > A: request 0:0, request 0:1, request 2:0
    < A: serve 0:0
    > A: cancel 0:1
    < A: reject 0:1
    > A: request 0:1
    > A: sent 16384
    < A: serve 2:0
    > A: cannot be read 0:1
    < A: reject 0:1
    < A: serve 0:1
    > A: not interested
    > at 10s
    < 10.000s A: choke
    ");
}

#[test]
fn a_choked_peer_is_rejected_and_gets_unchoke_before_its_payload() {
    let told = "
        A: connects
        A: request 0:0
        A: interested, request 0:1";
    assert_snapshot!(play(&SEED, told), @"
    > A: connects
    < A: have-none, hello, have 2
    > A: request 0:0
    < A: reject 0:0
    > A: interested, request 0:1
    < A: unchoke, have 0, have 1
    < A: serve 0:1
    ");
}

#[test]
fn a_slow_peer_has_little_payload_under_way_and_a_fast_one_more() {
    let scene = Scene { pieces: 1, blocks: 16, have: "1", trackers: &[], setting: PLAIN };
    let requests: Vec<String> = (0..16).map(|n| format!("request 0:{n}")).collect();
    let told = format!(
        "
        A: connects
        A: interested, {}
        A: sent 16384
        A: sent 16384
        A: sent 32768",
        requests.join(", ")
    );
    assert_snapshot!(play(&scene, &told), @"
    > A: connects
    < A: have-none, hello, have 0
    > A: interested, request 0:0, request 0:1, request 0:2, request 0:3, request 0:4, request 0:5, request 0:6, request 0:7, request 0:8, request 0:9, request 0:10, request 0:11, request 0:12, request 0:13, request 0:14, request 0:15
    < A: unchoke
    < A: serve 0:0
    > A: sent 16384
    < A: serve 0:1
    > A: sent 16384
    < A: serve 0:2 0:3
    > A: sent 32768
    < A: serve 0:4 0:5 0:6 0:7
    ");
}

#[test]
fn a_full_disk_stops_both_directions_until_it_recovers() {
    let told = "
        A: connects
        A: bitfield 110, unchoke, interested
        A: sends 0:0
        store failed
        A: sends 0:1
        store recovered
        A: sends 1:0";
    let scene = Scene { have: "001", ..LEECHER };
    assert_snapshot!(play(&scene, told), @"
    > A: connects
    < A: bitfield 001, hello
    > A: bitfield 110, unchoke, interested
    < A: interested, allowedfast(2), unchoke, request 0:0, request 0:1
    > A: sends 0:0
    < store 0:0
    > store failed
    < event: StoreFailed(NoSpace)
    < A: choke
    > A: sends 0:1
    < store 0:1
    < check 0
    > store recovered
    < event: StoreRecovered
    < A: unchoke
    > A: sends 1:0
    ");
}

#[test]
fn a_seed_of_very_many_pieces_shows_them_all_at_once() {
    let shown = |pieces: u32| {
        let have = String::leak("1".repeat(pieces as usize));
        play(&Scene { pieces, blocks: 1, have, trackers: &[], setting: PLAIN }, "A: connects")
    };
    assert_snapshot!(shown(16_384), @"
    > A: connects
    < A: have-none, hello, have 12002
    ");
    assert_snapshot!(shown(16_385), @"
    > A: connects
    < A: have-all, hello upload-only
    ");
}

#[test]
fn each_event_is_announced_to_trackers_once() {
    let told = "
        tracker fails
        at 1s
        tracker answers 1800
        A: connects
        A: bitfield 100, unchoke
        A: sends 0:0
        piece 0 is good
        at 2s
        tracker answers 1800
        at 6s
        tracker answers 1800
        at 3600s
        leave";
    let scene = Scene {
        pieces: 1,
        blocks: 1,
        have: "0",
        trackers: &["udp://one", "http://two"],
        setting: PLAIN,
    };
    assert_snapshot!(play(&scene, told), @"
    < announce Started to udp://one, 16384 bytes left
    > tracker fails
    < event: udp://one failed
    > at 1s
    < announce Started to http://two, 16384 bytes left
    > tracker answers 1800
    < 1.000s event: http://two answered
    > A: connects
    < 1.000s A: have-none, hello
    > A: bitfield 100, unchoke
    < 1.000s A: interested, request 0:0
    > A: sends 0:0
    < 1.000s store 0:0
    < 1.000s check 0 urgently
    > piece 0 is good
    < 1.000s event: Piece(0)
    < 1.000s event: Complete
    < 1.000s A: hang up, neither wants anything
    > at 2s
    < 1.000s announce Completed to http://two, 0 bytes left
    > tracker answers 1800
    < 2.000s event: http://two answered
    > at 6s
    < 5.915s announce Started to udp://one, 0 bytes left
    > tracker answers 1800
    < 6.000s event: udp://one answered
    > at 3600s
    < 1842.857s announce None to udp://one, 0 bytes left
    > leave
    < 3600.000s announce Stopped to udp://one, 0 bytes left
    < 3600.000s announce Stopped to http://two, 0 bytes left
    ");
}

#[test]
fn a_seed_is_asked_first_for_what_no_leecher_has() {
    // Piece 0 is begun with leecher A, which chokes. The seed gives the pieces that no leecher has,
    // and A's piece later.
    let told = "
        A: connects without fast
        A: bitfield 100, unchoke
        A: sends 0:0
        A: choke
        B: connects
        B: have-all, unchoke";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: connects without fast
    > A: bitfield 100, unchoke
    < A: interested, request 0:0, request 0:1
    > A: sends 0:0
    < store 0:0
    > A: choke
    > B: connects
    < B: have-none, hello
    > B: have-all, unchoke
    < B: interested, request 2:0, request 2:1
    ");
}
