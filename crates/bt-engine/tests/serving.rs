//! Checks when payload leaves, and how the shell is told to send it.
//!
//! Decides: what is expected of the engine. Must not know: its insides.
//! Invariant: as in the transcripts, time and chance are fixed.

mod transcript;

use insta::assert_snapshot;
use transcript::{PLAIN, Scene, play};

/// A seed of three pieces of two blocks.
const SEED: Scene = Scene { pieces: 3, blocks: 2, have: "111", trackers: &[], setting: PLAIN };

#[test]
fn a_peer_takes_at_once_what_it_is_sent_while_it_took_32_mib_a_second() {
    let told = "
        A: connects
        A: interested
        A: request 0:0
        A: sent 33554431
        A: request 0:1
        A: sent 1
        A: request 1:0
        at 4s
        A: request 1:1";
    assert_snapshot!(play(&SEED, told), @"
    > A: connects
    < A: have-none, hello, have 2
    > A: interested
    < A: unchoke, have 0, have 1
    > A: request 0:0
    < A: serve 0:0
    > A: sent 33554431
    > A: request 0:1
    < A: serve 0:1
    > A: sent 1
    > A: request 1:0
    < A: serve 1:0, taken at once
    > at 4s
    > A: request 1:1
    < 4.000s A: serve 1:1
    ");
}

#[test]
fn a_rate_limit_spreads_payload_over_time() {
    let told = "
        rate 16384
        A: connects
        A: interested, request 0:0, request 0:1, request 1:0
        at 1s
        A: sent 16384
        at 2s
        A: sent 16384
        at 4s";
    assert_snapshot!(play(&SEED, told), @"
    > rate 16384
    > A: connects
    < A: have-none, hello, have 2
    > A: interested, request 0:0, request 0:1, request 1:0
    < A: unchoke, have 0, have 1
    > at 1s
    < 0.010s A: serve 0:0
    > A: sent 16384
    > at 2s
    < 1.010s A: serve 0:1
    > A: sent 16384
    > at 4s
    < 2.010s A: serve 1:0
    ");
}
