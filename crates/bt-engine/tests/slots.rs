//! Checks which peer gets a slot that becomes free between two choking rounds.
//!
//! Decides: what is expected of the engine. Must not know: its insides.
//! Invariant: as in the transcripts, time and chance are fixed.

mod transcript;

use transcript::{PLAIN, Scene, play};

const LEECHER: Scene = Scene { pieces: 3, blocks: 2, have: "100", trackers: &[], setting: PLAIN };

#[test]
fn the_slot_of_an_uninterested_peer_is_given_away_once() {
    let told = "
        rate 16384
        A: connects
        B: connects
        C: connects
        D: connects
        A: interested
        B: interested
        B: request 0:0
        A: not interested
        C: interested
        C: request 0:1
        D: interested
        A: closes
        D: request 0:1
        C: closes";
    let answers = play(&LEECHER, told);
    let (before, after) = answers.split_once("> C: closes").unwrap();
    let served = |text: &str, peer: char| text.contains(&format!("{peer}: unchoke"));
    assert!(served(before, 'B') && served(before, 'C') && !served(before, 'D'), "{answers}");
    assert!(served(after, 'D'), "{answers}");
}

#[test]
fn a_peer_that_lacked_nothing_for_a_while_is_served_again() {
    let told = "
        rate 16384
        A: connects
        B: connects
        C: connects
        D: connects
        A: interested
        B: interested
        B: request 0:0
        A: request 0:0
        at 2s
        A: sent 16384
        A: have 0, not interested
        C: interested
        C: request 0:1
        D: interested
        at 11s
        D: request 1:0
        A: interested
        D: closes";
    let answers = play(&Scene { have: "110", ..LEECHER }, told);
    let (_, after) = answers.split_once("> D: closes").unwrap();
    assert!(after.contains("A: unchoke"), "{answers}");
}
