//! Pauses, as the user orders them: what peers and trackers hear, and how the torrent goes on.
//!
//! Decides: the moments of the pauses. Must not know: the engine's insides.
//! Invariant: nothing is ordered of a paused torrent before it goes on.

mod transcript;

use insta::assert_snapshot;
use transcript::{PLAIN, Scene, Setting, play};

/// A leecher with nothing, of three pieces of two blocks.
const LEECHER: Scene = Scene { pieces: 3, blocks: 2, have: "000", trackers: &[], setting: PLAIN };

#[test]
fn a_torrent_that_pauses_announces_stopped_and_starts_again() {
    let told = "
        found A
        A: answers
        A: have-all
        A: unchoke
        tracker answers 1800
        A: sends 1:0
        pause
        B: connects
        found C
        at 4000
        resume
        at 4001
        C: answers
        tracker answers 1800
        pause
        leave";
    let scene = Scene { trackers: &["t"], ..LEECHER };
    assert_snapshot!(play(&scene, told), @"
    < announce Started to t, 98304 bytes left
    > found A
    < dial A
    > A: answers
    < A: have-none, hello
    > A: have-all
    < A: interested
    > A: unchoke
    < A: request 1:0, request 1:1
    > tracker answers 1800
    < event: t answered
    > A: sends 1:0
    < store 1:0
    > pause
    < announce Stopped to t, 98304 bytes left
    < A: hang up, the torrent is paused
    > B: connects
    < B: hang up, the torrent is paused
    > found C
    > at 4000
    > resume
    < 4000.000s dial A
    < 4000.000s dial C
    > at 4001
    < 4000.000s announce Started to t, 98304 bytes left
    > C: answers
    < 4001.000s C: have-none, hello
    > tracker answers 1800
    < 4001.000s event: t answered
    > pause
    < 4001.000s announce Stopped to t, 98304 bytes left
    < 4001.000s C: hang up, the torrent is paused
    > leave
    ");
}

#[test]
fn a_magnet_that_pauses_has_no_connections_until_it_goes_on() {
    let told = "
        found A
        A: answers
        pause
        B: connects
        at 4000
        resume
        at 4001
        A: answers";
    let scene = Scene { setting: Setting { metadata: 20, magnet: true, ..PLAIN }, ..LEECHER };
    assert_snapshot!(play(&scene, told), @"
    > found A
    < dial A
    > A: answers
    < A: have-none, hello
    > pause
    < A: hang up, the torrent is paused
    > B: connects
    < B: hang up, the torrent is paused
    > at 4000
    > resume
    < 4000.000s dial A
    > at 4001
    > A: answers
    < 4001.000s A: have-none, hello
    ");
}
