//! Ways to find peers, switched on and off by the user: what peers and the shell hear.
//!
//! Decides: the moments of the changes. Must not know: the engine's insides.
//! Invariant: a torrent and a magnet do the same.

mod transcript;

use insta::assert_snapshot;
use transcript::{PLAIN, Scene, Setting, play};

/// A leecher with nothing, of three pieces of two blocks.
const LEECHER: Scene = Scene { pieces: 3, blocks: 2, have: "000", trackers: &[], setting: PLAIN };

#[test]
fn ways_to_find_peers_are_switched_while_the_engine_runs() {
    let told = "
        A: connects
        A: hello
        B: connects
        B: hello
        discover by lsd
        A: tells of E
        searched dht
        at 70s
        searched lsd
        discover by dht pex
        discover by dht pex
        A: listens 7
        at 160s";
    let setting = Setting { searches: true, ..PLAIN };
    let played = play(&Scene { setting, ..LEECHER }, told);
    assert_snapshot!(played, @"
    < find peers by Dht
    < find peers by Lsd
    > A: connects
    < A: have-none, hello
    > A: hello
    > B: connects
    < B: have-none, hello
    > B: hello
    > discover by lsd
    < A: hello switches pex off
    < B: hello switches pex off
    > A: tells of E
    > searched dht
    > at 70s
    > searched lsd
    > discover by dht pex
    < 70.000s A: hello switches pex on
    < 70.000s B: hello switches pex on
    > discover by dht pex
    > A: listens 7
    > at 160s
    < 70.000s find peers by Dht
    < 71.000s B: tells of A/7:0
    ");
    let magnet = Setting { magnet: true, ..setting };
    assert_eq!(play(&Scene { setting: magnet, ..LEECHER }, told), played);
}
