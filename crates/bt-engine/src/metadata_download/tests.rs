//! Plays metadata exchanges (BEP 9) with peers that answer, stall, refuse or lie.
//!
//! Decides: what peers do. Must not know: how parts are asked for.
//! Invariant: the same seed plays the same exchange.

use super::*;
use bt_types::Rng;
use std::vec;

/// What a peer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Does {
    /// Gives the parts that it is asked for.
    Gives,
    /// Gives wrong bytes of the right length.
    Lies,
    /// Offers this number of bytes, and gives wrong ones.
    Offers(u32),
    /// Says nothing.
    IsSilent,
    /// Rejects everything.
    Rejects,
    /// Gives a part, wrong, every twenty seconds.
    Drips,
}
use Does::{Drips, Gives, IsSilent, Lies, Offers, Rejects};

fn addr(peer: PeerKey) -> SocketAddr {
    SocketAddr::from(([9, 0, 0, peer.0 as u8], 1))
}

/// Returns the bytes of a part of metadata of this length, with `wrong` added to each byte.
fn part(metadata: &[u8], part: u32, total: u32, wrong: u8) -> Vec<u8> {
    let start = part * METADATA_PART;
    let byte = |at: u32| metadata.get(at as usize).copied().unwrap_or(0).wrapping_add(wrong);
    (start..total.min(start + METADATA_PART)).map(byte).collect()
}

/// The result of a played download.
struct Outcome {
    /// The second at which the metadata was right.
    second: u64,
    left: BTreeMap<PeerKey, CloseReason>,
    most_held: u64,
    parts: usize,
}

/// Lets peers give metadata of `len` bytes, each a part in a tenth of a second, in random
/// order.
fn play(seed: u64, len: usize, peers: &[Does]) -> Outcome {
    let mut rng = Rng::from_seed(seed);
    let mut metadata = vec![0; len];
    rng.fill(&mut metadata);
    let mut metadata_download = MetadataDownload::new(InfoHash(bt_hash::sha1(&metadata)));
    let mut outcome = Outcome { second: 0, left: BTreeMap::new(), most_held: 0, parts: 0 };
    let mut asked: BTreeMap<PeerKey, Vec<u32>> = BTreeMap::new();
    let keys: Vec<PeerKey> = (0..peers.len() as u64).map(PeerKey).collect();
    let size_of = |peer: PeerKey| {
        if let Offers(size) = peers[peer.0 as usize] { size } else { len as u32 }
    };
    for &peer in &keys {
        if let Err(why) = metadata_download.offered(Time::ZERO, peer, addr(peer), size_of(peer)) {
            outcome.left.insert(peer, why);
        }
    }
    for tenth in 0..10 * 3600u64 {
        let now = Time::from_millis(tenth * 100);
        let mut leaves = Vec::new();
        if tenth % 10 == 0 {
            leaves.extend(
                metadata_download
                    .watch(now, false)
                    .into_iter()
                    .map(|peer| (peer, CloseReason::NoMetadata)),
            );
        }
        let mut order = keys.clone();
        rng.shuffle(&mut order);
        for peer in order {
            if outcome.left.contains_key(&peer) || leaves.iter().any(|(left, _)| *left == peer) {
                continue;
            }
            let wants = asked.entry(peer).or_default();
            wants.extend(metadata_download.ask(now, peer));
            assert!(wants.len() <= ASKED_MAX, "{peer:?} is asked for {wants:?}");
            let does = peers[peer.0 as usize];
            if wants.is_empty() || does == IsSilent || (does == Drips && tenth % 200 != 0) {
                continue;
            }
            let number = wants.remove(0);
            if does == Rejects {
                metadata_download.rejected(now, peer, number);
                continue;
            }
            let data = part(&metadata, number, size_of(peer), u8::from(does != Gives));
            outcome.parts += 1;
            match metadata_download.received(now, peer, number, size_of(peer), &data).unwrap() {
                Some(Whole::Right(bytes)) => {
                    assert_eq!(bytes, metadata);
                    assert_eq!(metadata_download.progress().0, 0, "nothing is held any more");
                    outcome.second = tenth / 10;
                    return outcome;
                }
                Some(Whole::Wrong(liar)) => {
                    leaves.extend(liar.map(|_| (peer, CloseReason::BadMetadata)))
                }
                None => {}
            }
        }
        outcome.most_held = outcome.most_held.max(metadata_download.progress().0);
        for (peer, why) in leaves {
            metadata_download.left(peer);
            outcome.left.insert(peer, why);
        }
    }
    panic!("the metadata never came");
}

#[test]
fn one_honest_peer_of_ten_is_enough() {
    // (length, what the nine other peers do, seconds at most)
    let table: [(usize, &[Does], u64); 9] = [
        (100, &[Lies], 25),
        (40_000, &[Lies], 10),
        (40_000, &[IsSilent], 40),
        (40_000, &[Rejects], 10),
        (40_000, &[Offers(1 << 30)], 1),
        (40_000, &[Offers(METADATA_MAX)], 10),
        (40_000, &[Offers(39_999), Offers(40_001)], 10),
        (400_000, &[Drips], 60),
        (400_000, &[Lies, IsSilent, Rejects, Offers(300_000), Drips, Offers(u32::MAX)], 60),
    ];
    for (len, others, seconds) in table {
        for seed in 0..5 {
            let mut peers: Vec<Does> = others.iter().copied().cycle().take(9).collect();
            peers.insert(seed as usize * 2, Gives);
            let outcome = play(seed, len, &peers);
            assert!(
                outcome.second <= seconds,
                "{len} bytes among {others:?}: {} s",
                outcome.second
            );
            let honest = PeerKey(seed * 2);
            assert!(
                !outcome.left.contains_key(&honest),
                "{len} bytes among {others:?}: {:?}",
                outcome.left
            );
        }
    }
}

#[test]
fn metadata_of_eight_mebibytes_among_liars_and_the_memory_that_it_takes() {
    for (others, seconds) in
        [(Lies, 700), (IsSilent, 100), (Offers(METADATA_MAX), 100), (Drips, 700)]
    {
        let mut peers = vec![others; 9];
        peers.insert(4, Gives);
        let outcome = play(1, 8 << 20, &peers);
        assert!(outcome.second <= seconds, "among {others:?}: {} s", outcome.second);
        assert!(outcome.most_held <= COPIES_BYTES_MAX, "among {others:?}: {}", outcome.most_held);
        assert!(!outcome.left.contains_key(&PeerKey(4)), "among {others:?}: {:?}", outcome.left);
    }
}

#[test]
fn honest_peers_give_each_part_about_once() {
    let outcome = play(1, 8 << 20, &[Gives; 10]);
    assert_eq!((outcome.parts, outcome.left.len()), (512, 0));
    assert!(outcome.second <= 10, "ten give ten times as fast: {} s", outcome.second);
}

#[test]
fn parts_requested_from_a_peer_that_left_are_requested_from_others_at_once() {
    let mut metadata_download = MetadataDownload::new(InfoHash([0; 20]));
    let (one, other) = (PeerKey(0), PeerKey(1));
    for peer in [one, other] {
        metadata_download.offered(Time::ZERO, peer, addr(peer), 60_000).unwrap();
    }
    assert_eq!(
        (metadata_download.ask(Time::ZERO, one), metadata_download.ask(Time::ZERO, other)),
        (vec![0, 1], vec![2, 3])
    );
    metadata_download.received(Time::ZERO, other, 2, 60_000, &[0; 16_384]).unwrap();
    assert!(metadata_download.ask(Time::ZERO, other).is_empty(), "it is asked of a peer");
    // It gives a part that is as long as another size would make it.
    assert_eq!(
        metadata_download.received(Time::ZERO, one, 0, 10, &[1; 10]),
        Err(CloseReason::MetadataSize)
    );
    metadata_download.left(one);
    assert_eq!(metadata_download.ask(Time::ZERO, other), [0, 1]);
}

#[test]
fn a_slow_metadata_peer_gives_way_when_others_wait() {
    for (crowded, left) in [(false, vec![]), (true, vec![PeerKey(0), PeerKey(1)])] {
        let mut metadata_download = MetadataDownload::new(InfoHash([0; 20]));
        metadata_download.apart = true;
        for (peer, second) in
            [(0, 0), (1, 0), (2, 30)].map(|(peer, second)| (PeerKey(peer), Time::from_secs(second)))
        {
            metadata_download.offered(second, peer, addr(peer), 40_000).unwrap();
            assert_eq!(metadata_download.ask(second, peer), [0, 1]);
            metadata_download.received(Time::from_secs(50), peer, 0, 40_000, &[0; 16_384]).unwrap();
        }
        assert_eq!(metadata_download.watch(Time::from_secs(59), crowded), []);
        assert_eq!(metadata_download.watch(Time::from_secs(60), crowded), left);
    }
}

#[test]
fn a_claim_allocates_nothing() {
    let mut metadata_download = MetadataDownload::new(InfoHash([0; 20]));
    let peer = PeerKey(1);
    for size in [METADATA_MAX + 1, 1 << 30, u32::MAX] {
        assert_eq!(
            metadata_download.offered(Time::ZERO, peer, addr(peer), size),
            Err(CloseReason::MetadataSize)
        );
    }
    assert!(
        metadata_download.ask(Time::ZERO, peer).is_empty() && metadata_download.copies.is_empty()
    );
    assert_eq!(metadata_download.offered(Time::ZERO, peer, addr(peer), METADATA_MAX), Ok(()));
    assert_eq!(metadata_download.offered(Time::ZERO, peer, addr(peer), METADATA_MAX), Ok(()));
    assert_eq!(
        metadata_download.offered(Time::ZERO, peer, addr(peer), 5),
        Err(CloseReason::MetadataSize),
        "it changes"
    );
    assert_eq!(metadata_download.ask(Time::ZERO, peer), [0, 1]);
    assert_eq!(
        metadata_download.received(Time::ZERO, peer, 7, METADATA_MAX, &[1]),
        Ok(None),
        "it was not asked for"
    );
    assert_eq!(
        metadata_download.received(Time::ZERO, peer, 1, 5, &[1]),
        Err(CloseReason::MetadataSize)
    );
    assert_eq!(metadata_download.progress(), (0, Some((0, METADATA_MAX))));
}
