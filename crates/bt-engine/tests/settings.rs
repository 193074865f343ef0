//! Changes what a user wants of a torrent while it runs: its trackers, its peers; and what is known
//! of both.
//!
//! Decides: the moments of the changes. Must not know: the engine's insides.
//! Invariant: settings given again change nothing.

mod transcript;

use insta::assert_snapshot;
use transcript::{PLAIN, Scene, Setting, play};

/// A leecher with nothing, of three pieces of two blocks.
const LEECHER: Scene =
    Scene { pieces: 3, blocks: 2, have: "000", trackers: &["t"], setting: PLAIN };

#[test]
fn a_removed_tracker_gets_stopped_and_a_kept_one_nothing() {
    let told = "
        tracker answers 1800
        trackers t u
        at 1
        trackers t u
        at 2
        trackers u v
        at 3
        tracker fails
        at 4
        tracker answers 900
        view trackers
        trackers of the torrent
        at 5
        tracker answers 1800
        view trackers";
    assert_snapshot!(play(&LEECHER, told), @r#"
    < announce Started to t, 98304 bytes left
    > tracker answers 1800
    < event: t answered
    > trackers t u
    > at 1
    > trackers t u
    > at 2
    > trackers u v
    < 2.000s announce Stopped to t, 98304 bytes left
    > at 3
    < 2.000s announce Started to u, 98304 bytes left
    > tracker fails
    < 3.000s event: u failed
    > at 4
    < 3.000s announce Started to v, 98304 bytes left
    > tracker answers 900
    < 4.000s event: v answered
    > view trackers
    < 0 u: Fails(1), 0 peers, "no"
    < 1 v: Works, 0 peers, ""
    > trackers of the torrent
    < 4.000s announce Stopped to v, 98304 bytes left
    > at 5
    < 4.000s announce Started to t, 98304 bytes left
    > tracker answers 1800
    < 5.000s event: t answered
    > view trackers
    < 0 t: Works, 0 peers, ""
    "#);
}

#[test]
fn with_fewer_peers_wanted_those_that_gave_least_go_and_no_other_comes() {
    let told = "
        found A B
        A: answers
        B: answers
        A: have-all
        B: have-all
        B: unchoke
        B: sends 1:0
        view peers
        peers at most 1
        C: connects
        found C
        view peers
        peers at most 6";
    assert_snapshot!(play(&Scene { trackers: &[], ..LEECHER }, told), @"
    > found A B
    < dial B
    < dial A
    > A: answers
    < A: have-none, hello
    > B: answers
    < B: have-none, hello
    > A: have-all
    < A: interested
    > B: have-all
    < B: interested
    > B: unchoke
    < B: request 1:0, request 1:1
    > B: sends 1:0
    < store 1:0
    > view peers
    < A: 3 pieces, 3 wanted, 0 requests, 0 bytes down, 0 bytes up
    < B: 3 pieces, 3 wanted, 1 requests, 16384 bytes down, 0 bytes up
    > peers at most 1
    < A: hang up, no room for another connection
    > C: connects
    < C: hang up, no room for another connection
    > found C
    > view peers
    < B: 3 pieces, 3 wanted, 1 requests, 16384 bytes down, 0 bytes up
    > peers at most 6
    < dial C
    ");
}

#[test]
fn a_magnet_keeps_to_the_peers_that_are_wanted_and_so_does_its_torrent() {
    let told = "
        peers at most 1
        A: connects
        B: connects
        the metadata is there
        C: connects
        view peers";
    let scene = Scene {
        trackers: &[],
        setting: Setting { metadata: 20, magnet: true, ..PLAIN },
        ..LEECHER
    };
    assert_snapshot!(play(&scene, told), @"
    > peers at most 1
    > A: connects
    < A: have-none, hello
    > B: connects
    < A: hang up, no room for another connection
    < B: have-none, hello
    > the metadata is there
    < B: hello with 20 bytes of metadata
    > C: connects
    < B: hang up, no room for another connection
    < C: have-none, hello with 20 bytes of metadata
    > view peers
    < C: 0 pieces, 0 wanted, 0 requests, 0 bytes down, 0 bytes up
    ");
}

#[test]
fn with_peers_max_reached_trackers_are_not_asked_early() {
    let told = "
        peers at most 1
        A: connects
        tracker answers 1800
        at 1000
        view trackers";
    let scene = Scene { trackers: &["t", "u"], ..LEECHER };
    assert_snapshot!(play(&scene, told), @r#"
    < announce Started to t, 98304 bytes left
    > peers at most 1
    > A: connects
    < A: have-none, hello
    > tracker answers 1800
    < event: t answered
    > at 1000
    > view trackers
    < 0 t: Works, 0 peers, ""
    < 1 u: Untried, 0 peers, ""
    "#);
}
