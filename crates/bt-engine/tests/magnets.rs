//! Plays conversations about metadata, and about peers: `>` is an input of the engine, `<` is an
//! output.
//!
//! Decides: the messages of a client, word by word. Must not know: the engine's insides.
//! Invariant: time and chance are fixed, so a change of a decision shows as a change of a text.

mod transcript;

use insta::assert_snapshot;
use transcript::{PLAIN, Scene, Setting, play};

/// A magnet whose metadata has three parts, the last part short.
const MAGNET: Scene = Scene {
    pieces: 3,
    blocks: 2,
    have: "000",
    trackers: &[],
    setting: Setting { metadata: 40_000, magnet: true, ..PLAIN },
};
/// A leecher of the same torrent that has the metadata.
const LEECHER: Scene = Scene { setting: Setting { magnet: false, ..MAGNET.setting }, ..MAGNET };

#[test]
fn a_magnet_from_one_peer_goes_on_as_a_torrent() {
    let told = "
        found A
        A: answers
        A: have-all, unchoke
        A: offers 40000
        A: gives 0
        A: gives 1, 2
        the metadata is there";
    assert_snapshot!(play(&MAGNET, told), @"
    > found A
    < dial A
    > A: answers
    < A: have-none, hello
    > A: have-all, unchoke
    > A: offers 40000
    < A: wants part 0
    < A: wants part 1
    > A: gives 0
    < A: wants part 2
    > A: gives 1, 2
    < metadata of 40000 bytes
    > the metadata is there
    < A: hello with 40000 bytes of metadata, interested, request 0:0, request 0:1
    ");
}

#[test]
fn three_peers_give_a_part_each() {
    let told = "
        A: connects
        B: connects
        C: connects
        A: offers 40000
        B: offers 40000
        C: offers 40000
        A: gives 1
        B: gives 2
        at 1s
        A: gives 0";
    assert_snapshot!(play(&MAGNET, told), @"
    > A: connects
    < A: have-none, hello
    > B: connects
    < B: have-none, hello
    > C: connects
    < C: have-none, hello
    > A: offers 40000
    < A: wants part 0
    < A: wants part 1
    > B: offers 40000
    < B: wants part 2
    > C: offers 40000
    > A: gives 1
    > B: gives 2
    > at 1s
    > A: gives 0
    < 1.000s metadata of 40000 bytes
    ");
}

#[test]
fn a_peer_with_wrong_metadata_is_found_by_copies_of_single_peers() {
    let told = "
        A: connects
        B: connects
        A: offers 40000
        B: offers 40000
        A: gives wrong 0, 1
        B: gives 2
        A: gives wrong 0, 1
        A: gives wrong 2
        B: gives 0, 1
        B: gives 2
        A: connects";
    assert_snapshot!(play(&MAGNET, told), @"
    > A: connects
    < A: have-none, hello
    > B: connects
    < B: have-none, hello
    > A: offers 40000
    < A: wants part 0
    < A: wants part 1
    > B: offers 40000
    < B: wants part 2
    > A: gives wrong 0, 1
    > B: gives 2
    < A: wants part 0
    < A: wants part 1
    < A: wants part 2
    < B: wants part 0
    < B: wants part 1
    < B: wants part 2
    > A: gives wrong 0, 1
    > A: gives wrong 2
    < A: hang up, it sent wrong metadata
    > B: gives 0, 1
    > B: gives 2
    < metadata of 40000 bytes
    > A: connects
    < A: hang up, its address is banned
    ");
}

#[test]
fn a_peer_that_rejects_metadata_rests_and_a_silent_one_is_disconnected() {
    let told = "
        A: connects
        B: connects
        A: offers 40000
        A: rejects 0, rejects 1
        at 4s
        B: offers 40000
        at 40s";
    assert_snapshot!(play(&MAGNET, told), @"
    > A: connects
    < A: have-none, hello
    > B: connects
    < B: have-none, hello
    > A: offers 40000
    < A: wants part 0
    < A: wants part 1
    > A: rejects 0, rejects 1
    > at 4s
    > B: offers 40000
    < 4.000s B: wants part 0
    < 4.000s B: wants part 1
    > at 40s
    < 10.000s A: wants part 0
    < 10.000s A: wants part 1
    < 34.000s B: hang up, it gave no metadata
    < 40.000s A: hang up, it gave no metadata
    ");
}

#[test]
fn a_peer_that_offers_metadata_and_rejects_gives_way() {
    let told = "
        A: answers
        B: connects
        A: offers 40000
        B: offers 40000
        A: gives 0
        B: rejects 2
        C: connects
        D: connects";
    let scene = Scene { setting: Setting { room: 2, ..MAGNET.setting }, ..MAGNET };
    assert_snapshot!(play(&scene, told), @"
    > A: answers
    < A: have-none, hello
    > B: connects
    < B: have-none, hello
    > A: offers 40000
    < A: wants part 0
    < A: wants part 1
    > B: offers 40000
    < B: wants part 2
    > A: gives 0
    > B: rejects 2
    > C: connects
    < B: hang up, no room for another connection
    < A: wants part 2
    < C: have-none, hello
    > D: connects
    < C: hang up, no room for another connection
    < D: have-none, hello
    ");
}

#[test]
fn peers_without_metadata_give_way_to_other_addresses() {
    let told = "
        A: connects
        at 1s
        B: connects
        found C D
        at 62s
        D: answers
        at 63s";
    let scene = Scene { setting: Setting { room: 2, ..MAGNET.setting }, ..MAGNET };
    assert_snapshot!(play(&scene, told), @"
    > A: connects
    < A: have-none, hello
    > at 1s
    > B: connects
    < 1.000s B: have-none, hello
    > found C D
    > at 62s
    < 60.000s A: hang up, it gave no metadata
    < 60.000s dial D
    > D: answers
    < 62.000s D: have-none, hello
    > at 63s
    < 63.000s B: hang up, it gave no metadata
    < 63.000s dial C
    ");
}

#[test]
fn impossible_sizes_are_not_asked_for() {
    let told = "
        A: connects
        B: connects
        A: offers 1073741824
        B: offers 40000
        B: offers 40001";
    assert_snapshot!(play(&MAGNET, told), @"
    > A: connects
    < A: have-none, hello
    > B: connects
    < B: have-none, hello
    > A: offers 1073741824
    < A: hang up, it offers metadata of an impossible length
    > B: offers 40000
    < B: wants part 0
    < B: wants part 1
    > B: offers 40001
    < B: hang up, it offers metadata of an impossible length
    ");
}

#[test]
fn messages_before_the_metadata_count_afterwards() {
    // We have piece 1 from an earlier session: peers are told of it when the torrent takes them
    // over.
    let told = "
        A: connects
        B: connects without fast
        A: have 2, interested, request 1:0
        A: unchoke, choke, unchoke
        B: bitfield 011
        A: offers 40000
        A: have 0
        A: gives 0, 1
        A: gives 2
        A: have 1
        the metadata is there
        B: unchoke
        A: request 1:0";
    assert_snapshot!(play(&Scene { have: "010", ..MAGNET }, told), @"
    > A: connects
    < A: have-none, hello
    > B: connects without fast
    > A: have 2, interested, request 1:0
    < A: reject 1:0
    > A: unchoke, choke, unchoke
    > B: bitfield 011
    > A: offers 40000
    < A: wants part 0
    < A: wants part 1
    > A: have 0
    > A: gives 0, 1
    < A: wants part 2
    > A: gives 2
    < metadata of 40000 bytes
    > A: have 1
    > the metadata is there
    < A: have 1, hello with 40000 bytes of metadata, interested, unchoke, request 2:0, request 2:1
    < B: have 1, interested
    > B: unchoke
    > A: request 1:0
    < A: serve 1:0
    ");
}

#[test]
fn a_bitfield_of_the_wrong_length_is_a_fault_once_the_metadata_is_there() {
    let told = "
        A: connects
        A: bytes ff80
        A: offers 40000
        A: gives 0, 1
        A: gives 2
        the metadata is there";
    assert_snapshot!(play(&MAGNET, told), @"
    > A: connects
    < A: have-none, hello
    > A: bytes ff80
    > A: offers 40000
    < A: wants part 0
    < A: wants part 1
    > A: gives 0, 1
    < A: wants part 2
    > A: gives 2
    < metadata of 40000 bytes
    > the metadata is there
    < A: hang up, it sent a wrong bitfield
    ");
}

#[test]
fn trackers_and_searches_find_peers_for_a_magnet() {
    let told = "
        tracker answers 1800
        searched lsd
        searched dht
        at 6s
        searched dht
        found A by B
        A: answers
        A: port 77
        leave";
    let setting = Setting { searches: true, ..MAGNET.setting };
    assert_snapshot!(play(&Scene { trackers: &["udp://one"], setting, ..MAGNET }, told), @"
    < announce Started to udp://one, 16384 bytes left
    < find peers by Dht
    < find peers by Lsd
    > tracker answers 1800
    < event: udp://one answered
    > searched lsd
    > searched dht
    > at 6s
    < 5.000s find peers by Dht
    > searched dht
    > found A by B
    < 6.000s dial A
    > A: answers
    < 6.000s A: have-none, hello
    > A: port 77
    < 6.000s a DHT node at 1.0.0.1:77
    > leave
    < 6.000s announce Stopped to udp://one, 16384 bytes left
    < 6.000s A: hang up, the torrent was removed
    ");
}

#[test]
fn metadata_is_served_twice_and_not_again() {
    let told = "
        A: connects
        A: wants 0
        A: hello
        A: wants 0, wants 1, wants 2
        A: wants 3
        A: wants 0, wants 2
        A: wants 1";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: connects
    < A: have-none, hello with 40000 bytes of metadata
    > A: wants 0
    > A: hello
    > A: wants 0, wants 1, wants 2
    < A: part 0, part 1, part 2
    > A: wants 3
    < A: rejects part 3
    > A: wants 0, wants 2
    < A: part 0, part 2
    > A: wants 1
    < A: rejects part 1
    ");
}

#[test]
fn a_magnet_and_a_torrent_without_metadata_give_none() {
    let told = "
        A: connects
        A: hello
        A: wants 0";
    assert_snapshot!(play(&MAGNET, told), @"
    > A: connects
    < A: have-none, hello
    > A: hello
    > A: wants 0
    < A: rejects part 0
    ");
    assert_snapshot!(play(&Scene { setting: PLAIN, ..LEECHER }, told), @"
    > A: connects
    < A: have-none, hello
    > A: hello
    > A: wants 0
    < A: rejects part 0
    ");
}

#[test]
fn pex_is_sent_to_each_peer_once_a_minute() {
    // A peer that connected to us can be reached at the port that it names. A peer that names none
    // is not told to others.
    let told = "
        found A
        A: answers
        A: hello
        B: connects
        B: listens 7
        C: connects
        C: hello
        at 1s
        D: connects
        D: listens 8
        at 3s
        B: closes
        at 62s";
    assert_snapshot!(play(&LEECHER, told), @"
    > found A
    < dial A
    > A: answers
    < A: have-none, hello with 40000 bytes of metadata
    > A: hello
    > B: connects
    < B: have-none, hello with 40000 bytes of metadata
    > B: listens 7
    > C: connects
    < C: have-none, hello with 40000 bytes of metadata
    > C: hello
    > at 1s
    < 1.000s A: tells of B/7:0
    < 1.000s B: tells of A/6881:16
    < 1.000s C: tells of A/6881:16 B/7:0
    > D: connects
    < 1.000s D: have-none, hello with 40000 bytes of metadata
    > D: listens 8
    > at 3s
    < 2.000s D: tells of A/6881:16 B/7:0
    > B: closes
    > at 62s
    < 33.000s dial B
    < 61.000s A: tells of D/8:0 -B
    < 61.000s C: tells of D/8:0 -B
    < 62.000s D: tells of -B
    ");
}

#[test]
fn pex_peers_are_dialled_and_a_pex_flood_is_disconnected() {
    let told = "
        A: connects
        A: tells of B C
        A: tells of D
        at 46s
        A: tells of E
        A: tells of F, tells of F, tells of F, tells of F, tells of F, tells of F, tells of F, tells of F
        A: tells of F";
    assert_snapshot!(play(&LEECHER, told), @"
    > A: connects
    < A: have-none, hello with 40000 bytes of metadata
    > A: tells of B C
    > A: tells of D
    > at 46s
    < dial C
    < dial B
    > A: tells of E
    > A: tells of F, tells of F, tells of F, tells of F, tells of F, tells of F, tells of F, tells of F
    > A: tells of F
    < 46.000s A: hang up, it told of peers too often
    ");
}

#[test]
fn port_messages_are_sent_and_received() {
    let told = "
        A: connects with dht
        B: connects
        A: port 77
        at 20s
        searched dht
        searched lsd
        at 26s
        searched dht
        at 36s";
    assert_snapshot!(play(&Scene { setting: Setting { searches: true, ..LEECHER.setting }, ..LEECHER }, told), @"
    < find peers by Dht
    < find peers by Lsd
    > A: connects with dht
    < A: have-none, hello with 40000 bytes of metadata, port(9)
    > B: connects
    < B: have-none, hello with 40000 bytes of metadata
    > A: port 77
    < a DHT node at 1.0.0.1:77
    > at 20s
    > searched dht
    > searched lsd
    > at 26s
    < 25.000s find peers by Dht
    > searched dht
    > at 36s
    < 36.000s find peers by Dht
    ");
}

#[test]
fn a_private_torrent_is_announced_to_its_trackers_only() {
    let told = "
        found A
        found B by C
        A: answers
        A: hello
        D: connects with dht
        D: listens 7
        D: tells of E
        D: port 77
        at 90s";
    let setting = Setting { private: true, searches: true, ..LEECHER.setting };
    assert_snapshot!(play(&Scene { setting, ..LEECHER }, told), @"
    > found A
    < dial A
    > found B by C
    > A: answers
    < A: have-none, hello with 40000 bytes of metadata without pex
    > A: hello
    > D: connects with dht
    < D: have-none, hello with 40000 bytes of metadata without pex
    > D: listens 7
    > D: tells of E
    > D: port 77
    > at 90s
    ");
}

#[test]
fn a_magnet_that_turns_out_private_disconnects_peers_that_no_tracker_named() {
    let told = "
        found A
        A: answers
        B: connects
        B: listens 6881
        A: offers 40000, tells of C D
        C: answers
        A: gives 0, 1
        A: gives 2
        the metadata is there
        A: tells of E
        D: answers
        at 400s";
    let setting = Setting { private: true, searches: true, ..MAGNET.setting };
    assert_snapshot!(play(&Scene { setting, ..MAGNET }, told), @"
    < find peers by Dht
    < find peers by Lsd
    > found A
    < dial A
    > A: answers
    < A: have-none, hello
    > B: connects
    < B: have-none, hello
    > B: listens 6881
    > A: offers 40000, tells of C D
    < A: wants part 0
    < A: wants part 1
    < dial C
    < dial D
    > C: answers
    < C: have-none, hello
    > A: gives 0, 1
    < A: wants part 2
    > A: gives 2
    < metadata of 40000 bytes
    > the metadata is there
    < B: hang up, the torrent is private
    < C: hang up, the torrent is private
    < A: hello with 40000 bytes of metadata switches pex off
    > A: tells of E
    > D: answers
    < D: hang up, the torrent is private
    > at 400s
    ");
}
