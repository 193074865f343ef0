//! Plays conversations about the wanted pieces and their order.
//!
//! Decides: nothing; the words are those of `transcripts.rs`. Must not know: the engine's insides.
//! Invariant: time and chance are fixed.

mod transcript;

use insta::assert_snapshot;
use transcript::{PLAIN, Scene, Setting, play};

/// A leecher with nothing, of six pieces of one block.
const LEECHER: Scene =
    Scene { pieces: 6, blocks: 1, have: "000000", trackers: &[], setting: PLAIN };

#[test]
fn a_skipped_piece_is_not_asked_for_and_the_wanted_part_is_complete_without_it() {
    let told = "
        want 0-3 skip
        A: answers
        A: have-all
        A: unchoke
        A: sends 4:0
        piece 4 is good
        A: sends 5:0
        piece 5 is good";
    assert_snapshot!(play(&LEECHER, told), @"
    > want 0-3 skip
    > A: answers
    < A: have-none, hello
    > A: have-all
    < A: interested
    > A: unchoke
    < A: request 4:0
    > A: sends 4:0
    < store 4:0
    < check 4
    > piece 4 is good
    < event: Piece(4)
    < A: request 5:0
    > A: sends 5:0
    < store 5:0
    < check 5 urgently
    > piece 5 is good
    < event: Piece(5)
    < event: Complete
    < A: hang up, neither wants anything
    ");
}

#[test]
fn a_partial_seed_announces_upload_only_and_disconnects_upload_only_peers() {
    let scene = Scene { have: "110000", trackers: &["http://one"], ..LEECHER };
    let told = "
        tracker answers 1800
        A: connects
        A: bitfield 001100
        B: connects
        B: bitfield 001000, upload-only
        want 2-5 skip
        C: connects
        C: have-all
        D: connects
        D: upload-only
        at 2000s
        tracker answers 1800
        want 2 normal
        leave";
    assert_snapshot!(play(&scene, told), @"
    < announce Started to http://one, 65536 bytes left
    > tracker answers 1800
    < event: http://one answered
    > A: connects
    < A: bitfield 110000, hello
    > A: bitfield 001100
    < A: interested, allowedfast(1), allowedfast(0)
    > B: connects
    < B: bitfield 110000, hello
    > B: bitfield 001000, upload-only
    < B: interested, allowedfast(1), allowedfast(0)
    > want 2-5 skip
    < event: Complete
    < B: hang up, neither wants anything
    < A: not interested, hello upload-only
    > C: connects
    < C: bitfield 110000, hello upload-only
    > C: have-all
    < C: hang up, neither wants anything
    > D: connects
    < D: bitfield 110000, hello upload-only
    > D: upload-only
    < D: hang up, neither wants anything
    > at 2000s
    < 1800.000s announce Paused to http://one, 65536 bytes left
    > tracker answers 1800
    < 2000.000s event: http://one answered
    > want 2 normal
    < 2000.000s A: interested, hello not upload-only
    > leave
    < 2000.000s announce Stopped to http://one, 16384 bytes left
    < 2000.000s A: hang up, the torrent was removed
    ");
}

#[test]
fn what_is_skipped_under_way_is_taken_back() {
    let scene = Scene { blocks: 2, ..LEECHER };
    let told = "
        want 1-5 skip
        A: answers
        A: have-all
        A: unchoke
        A: sends 0:0
        want 0 skip, 1 normal
        A: sends 0:1
        A: sends 1:0, 1:1
        piece 1 is good";
    assert_snapshot!(play(&scene, told), @"
    > want 1-5 skip
    > A: answers
    < A: have-none, hello
    > A: have-all
    < A: interested
    > A: unchoke
    < A: request 0:0, request 0:1
    > A: sends 0:0
    < store 0:0
    > want 0 skip, 1 normal
    < forget 0
    < A: cancel 0:1, request 1:0, request 1:1
    > A: sends 0:1
    > A: sends 1:0, 1:1
    < store 1:0
    < store 1:1
    < check 1 urgently
    > piece 1 is good
    < event: Piece(1)
    < event: Complete
    < A: hang up, neither wants anything
    ");
}

#[test]
fn priorities_then_order_then_chance() {
    let told = "
        order sequential
        want 0-1 low, 4 high
        A: answers
        A: have-all
        A: unchoke
        A: sends 4:0
        piece 4 is good
        A: sends 2:0
        piece 2 is good
        A: sends 3:0
        piece 3 is good
        A: sends 5:0
        piece 5 is good
        A: sends 0:0
        piece 0 is good";
    assert_snapshot!(play(&LEECHER, told), @"
    > order sequential
    > want 0-1 low, 4 high
    > A: answers
    < A: have-none, hello
    > A: have-all
    < A: interested
    > A: unchoke
    < A: request 4:0
    > A: sends 4:0
    < store 4:0
    < check 4
    > piece 4 is good
    < event: Piece(4)
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
    < A: request 5:0
    > A: sends 5:0
    < store 5:0
    < check 5
    > piece 5 is good
    < event: Piece(5)
    < A: request 0:0, request 1:0
    > A: sends 0:0
    < store 0:0
    < check 0 urgently
    > piece 0 is good
    < event: Piece(0)
    ");
}

#[test]
fn a_piece_with_a_deadline_comes_first_and_several_peers_fetch_it() {
    let scene = Scene { blocks: 6, ..LEECHER };
    let told = "
        need 3 by 20s
        need 5 by 10s
        A: answers
        A: have-all
        A: unchoke
        B: answers
        B: have-all
        B: unchoke
        A: sends 5:0, 5:1, 5:2, 5:3
        C: answers
        C: bitfield 111100
        C: unchoke";
    assert_snapshot!(play(&scene, told), @"
    > need 3 by 20s
    > need 5 by 10s
    > A: answers
    < A: have-none, hello
    > A: have-all
    < A: interested
    > A: unchoke
    < A: request 5:0, request 5:1, request 5:2, request 5:3
    > B: answers
    < B: have-none, hello
    > B: have-all
    < B: interested
    > B: unchoke
    < B: request 5:4, request 5:5, request 3:0, request 3:1
    > A: sends 5:0, 5:1, 5:2, 5:3
    < store 5:0
    < store 5:1
    < store 5:2
    < store 5:3
    < A: request 3:2, request 3:3, request 3:4, request 3:5
    > C: answers
    < C: have-none, hello
    > C: bitfield 111100
    < C: interested
    > C: unchoke
    < C: request 1:0, request 1:1, request 1:2, request 1:3
    ");
}

#[test]
fn an_initial_seed_shows_everything_to_a_peer_that_wants_no_shown_piece() {
    let scene = Scene { have: "111111", ..LEECHER };
    let told = "
        A: connects
        A: bitfield 000000
        at 3s
        A: interested, request 0:0, request 1:0";
    assert_snapshot!(play(&scene, told), @"
    > A: connects
    < A: have-none, hello, have 4
    > A: bitfield 000000
    > at 3s
    < 1.000s A: have 5
    < 2.000s A: have 0, have 1, have 2, have 3
    > A: interested, request 0:0, request 1:0
    < 3.000s A: unchoke
    < 3.000s A: serve 0:0
    ");
}

#[test]
fn an_initial_seed_shows_everything_to_its_only_peer_once_that_pauses() {
    // rqbit does not wake when it gets a `have`: it looks every five seconds.
    let scene = Scene { pieces: 8, have: "11111111", ..LEECHER };
    let alone = "
        A: connects
        A: bitfield 00000000, interested
        at 5s";
    assert_snapshot!(play(&scene, alone), @"
    > A: connects
    < A: have-none, hello, have 5
    > A: bitfield 00000000, interested
    < A: unchoke, have 7, have 3, have 4, have 1
    > at 5s
    < 2.000s A: have 0, have 2, have 6
    ");
    let beside_another = "
        A: connects
        A: bitfield 00000000, interested
        B: connects
        B: bitfield 00000000, interested
        at 5s";
    assert_snapshot!(play(&scene, beside_another), @"
    > A: connects
    < A: have-none, hello, have 5
    > A: bitfield 00000000, interested
    < A: unchoke, have 7, have 3, have 4, have 1
    > B: connects
    < B: have-none, hello, have 6
    > B: bitfield 00000000, interested
    < B: unchoke, have 2, have 0, have 5
    > at 5s
    ");
}

#[test]
fn an_initial_seed_refuses_a_piece_only_to_a_peer_that_hears_the_refusal() {
    // A was alone and may choose among everything. Then piece 1 is promised to B.
    let scene = Scene { pieces: 8, have: "11111111", ..LEECHER };
    let told = |how: &str| {
        format!(
            "
        A: {how}
        A: bitfield 00000000, interested
        at 3s
        B: connects
        B: bitfield 00000000, interested
        A: request 1:0"
        )
    };
    assert_snapshot!(play(&scene, &told("connects")), @"
    > A: connects
    < A: have-none, hello, have 5
    > A: bitfield 00000000, interested
    < A: unchoke, have 7, have 3, have 4, have 1
    > at 3s
    < 2.000s A: have 0, have 2, have 6
    > B: connects
    < 3.000s B: have-none, hello, have 7
    > B: bitfield 00000000, interested
    < 3.000s B: unchoke, have 1, have 3, have 4
    > A: request 1:0
    < 3.000s A: reject 1:0
    ");
    assert_snapshot!(play(&scene, &told("connects without fast")), @"
    > A: connects without fast
    < A: have 5
    > A: bitfield 00000000, interested
    < A: unchoke, have 7, have 3, have 4, have 1
    > at 3s
    < 2.000s A: have 0, have 2, have 6
    > B: connects
    < 3.000s B: have-none, hello, have 7
    > B: bitfield 00000000, interested
    < 3.000s B: unchoke, have 1, have 3, have 4
    > A: request 1:0
    < 3.000s A: serve 1:0
    ");
}

#[test]
fn a_slow_store_stops_requests_until_it_has_written() {
    let told = "
        A: answers
        A: have-all
        A: unchoke
        B: answers
        B: have-all
        B: unchoke
        A: sends 5:0
        at 10s
        piece 5 is good";
    // Room for one piece of one block, sent or requested.
    let scene = Scene { setting: Setting { store: 1 << 14, ..PLAIN }, ..LEECHER };
    assert_snapshot!(play(&scene, told), @"
    > A: answers
    < A: have-none, hello
    > A: have-all
    < A: interested
    > A: unchoke
    < A: request 5:0
    > B: answers
    < B: have-none, hello
    > B: have-all
    < B: interested
    > B: unchoke
    > A: sends 5:0
    < store 5:0
    < check 5
    > at 10s
    > piece 5 is good
    < 10.000s event: Piece(5)
    < 10.000s A: request 2:0
    ");
}

#[test]
fn a_lost_piece_is_fetched_again_not_served_and_blames_no_peer() {
    let scene = Scene { pieces: 3, have: "110", ..LEECHER };
    let told = "
        A: answers
        A: have-all
        A: unchoke
        A: sends 2:0
        B: connects
        B: interested
        at 11s
        pieces 0 2 are lost
        B: request 0:0, request 1:0
        A: sends 0:0
        piece 0 is good
        A: sends 2:0
        piece 2 is good
        count bans";
    assert_snapshot!(play(&scene, told), @"
    > A: answers
    < A: bitfield 110, hello
    > A: have-all
    < A: interested
    > A: unchoke
    < A: request 2:0
    > A: sends 2:0
    < store 2:0
    < check 2 urgently
    > B: connects
    < B: bitfield 110, hello
    > B: interested
    < B: unchoke
    > at 11s
    > pieces 0 2 are lost
    < 11.000s A: request 0:0
    > B: request 0:0, request 1:0
    < 11.000s B: reject 0:0
    < 11.000s B: serve 1:0
    > A: sends 0:0
    < 11.000s store 0:0
    < 11.000s check 0
    > piece 0 is good
    < 11.000s event: Piece(0)
    < 11.000s B: have 0
    < 11.000s A: request 2:0
    > A: sends 2:0
    < 11.000s store 2:0
    < 11.000s check 2 urgently
    > piece 2 is good
    < 11.000s event: Piece(2)
    < 11.000s event: Complete
    < 11.000s A: hang up, neither wants anything
    < 11.000s B: have 2
    > count bans
    < 0 banned
    ");
}
