//! Plays conversations with peers that have several addresses, and with hosts that call on the
//! local network.
//!
//! Decides: which connections stay. Must not know: the engine's insides.
//! Invariant: time and chance are fixed, so a change of a decision shows as a change of a text.

mod transcript;

use insta::assert_snapshot;
use transcript::{PLAIN, Scene, Setting, play};

/// A leecher with nothing, of three pieces of two blocks.
const LEECHER: Scene = Scene { pieces: 3, blocks: 2, have: "000", trackers: &[], setting: PLAIN };
/// A seed of the same torrent.
const SEED: Scene = Scene { have: "111", ..LEECHER };

#[test]
fn one_connection_to_a_peer_and_none_to_ourselves() {
    let told = "
        found A B
        A: is ourselves
        B: answers
        C: is B again
        B: closes";
    assert_snapshot!(play(&LEECHER, told), @"
    > found A B
    < dial B
    < dial A
    > A: is ourselves
    < A: hang up, it is ourselves
    > B: answers
    < B: have-none, hello
    > C: is B again
    < B: hang up, we are connected to this peer already
    < C: have-none, hello
    > B: closes
    ");
}

#[test]
fn a_copied_peer_id_neither_disconnects_nor_blocks_its_owner() {
    let told = "
        A: answers
        B: is like A
        C: is like D
        D: connects";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: answers
    < A: have-none, hello
    > B: is like A
    < B: have-none, hello
    > C: is like D
    < C: have-none, hello
    > D: connects
    < D: have-none, hello
    ");
}

#[test]
fn a_peer_that_is_alive_is_one_on_all_its_addresses() {
    let told = "
        A: answers
        at 2s
        A: unchoke
        at 4s
        B: answers like A at [2a01::1]:7
        C: answers like A at 8.8.8.8:7";
    // A host has an address of each family. A second address of the same family counts as another
    // host.
    assert_snapshot!(play(&LEECHER, told), @"
    > A: answers
    < A: have-none, hello
    > at 2s
    > A: unchoke
    > at 4s
    > B: answers like A at [2a01::1]:7
    < 4.000s B: hang up, we are connected to this peer already
    > C: answers like A at 8.8.8.8:7
    < 4.000s C: have-none, hello
    ");
}

#[test]
fn a_connection_with_a_known_peer_id_neither_replaces_nor_is_refused() {
    let told = "
        A: answers
        at 10s
        B: is A at [2a01::1]:7
        A: unchoke
        C: is A at [2a01::2]:7";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: answers
    < A: have-none, hello
    > at 10s
    > B: is A at [2a01::1]:7
    < 10.000s B: have-none, hello
    > A: unchoke
    > C: is A at [2a01::2]:7
    < 10.000s C: have-none, hello
    ");
}

#[test]
fn a_peer_that_moved_is_connected_again_and_one_that_was_only_silent_is_not() {
    let told = "
        A: answers
        at 10s
        B: answers like A at [2a01::1]:7
        at 11s
        A: unchoke
        at 20s
        C: answers like A at [2a01::1]:7
        A: closes
        C: unchoke";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: answers
    < A: have-none, hello
    > at 10s
    > B: answers like A at [2a01::1]:7
    < 10.000s B: have-none, hello
    > at 11s
    > A: unchoke
    < 11.000s B: hang up, we are connected to this peer already
    > at 20s
    > C: answers like A at [2a01::1]:7
    < 20.000s C: have-none, hello
    > A: closes
    > C: unchoke
    ");
}

#[test]
fn an_lsd_peer_is_dialled_at_once_and_a_seed_only_if_it_is_new() {
    let told = "
        neighbour A anew
        A: answers
        neighbour A
        A: bitfield 111
        at 5s
        neighbour A
        neighbour A anew
        B: answers like A at 1.0.0.1:6881
        B: closes
        neighbour A
        at 7s";
    assert_snapshot!(play(&SEED, told), @"
    > neighbour A anew
    < dial A
    > A: answers
    < A: have-none, hello, have 2
    > neighbour A
    > A: bitfield 111
    < A: hang up, neither wants anything
    > at 5s
    > neighbour A
    > neighbour A anew
    < 5.000s dial A
    > B: answers like A at 1.0.0.1:6881
    < 5.000s B: have-none, hello, have 1
    > B: closes
    > neighbour A
    > at 7s
    < 6.000s dial A
    ");
}

#[test]
fn neighbours_name_no_peers_of_a_private_torrent() {
    let setting = Setting { private: true, ..PLAIN };
    assert_snapshot!(play(&Scene { setting, ..LEECHER }, "neighbour A anew"), @"> neighbour A anew");
}
