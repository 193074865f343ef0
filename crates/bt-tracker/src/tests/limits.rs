//! What one subscriber can take of a tracker: the limits of addresses, peers and swarms.
//!
//! Decides: what is expected. Must not know: the table inside.
//! Invariant: every exchange goes through the bytes of `bt-tracker-wire`.

use super::*;

#[test]
fn one_address_cannot_fill_a_swarm() {
    for (ours, sibling, other) in [
        ("1.1.1.1", None, "1.1.1.2:1"),
        ("[2001:db8:0:1::1]", Some("[2001:db8:0:1:ffff::2]:1"), "[2001:db8:0:2::1]:1"),
    ] {
        let mut t = tracker();
        let at = |port: u16| format!("{ours}:{port}");
        for port in 1..=64 {
            http(
                &mut t,
                Time::ZERO,
                &at(port),
                &if port % 2 == 0 { seed(&at(port)) } else { leecher(&at(port)) },
            )
            .unwrap();
        }
        for crowded in [Some(at(65).as_str()), sibling].into_iter().flatten() {
            let refused =
                Failure::new("too many peers at this address").retry(RetryIn::Minutes(10));
            assert_eq!(
                http(&mut t, Time::ZERO, crowded, &leecher(crowded)),
                Err(ReplyError::Refused(refused))
            );
        }
        http(&mut t, Time::ZERO, &at(7), &seed(&at(7))).unwrap();
        http(&mut t, Time::ZERO, other, &leecher(other)).unwrap();
        http(
            &mut t,
            Time::ZERO,
            &at(65),
            &Announce { info_hash: InfoHash([8; 20]), ..leecher(&at(65)) },
        )
        .unwrap();
        assert_eq!(t.stats().peers, 66, "members stay, and others and other swarms are open");
        http(&mut t, Time::ZERO, &at(1), &Announce { event: Event::Stopped, ..leecher(&at(1)) })
            .unwrap();
        http(&mut t, Time::ZERO, &at(65), &leecher(&at(65))).unwrap();
    }
    let mut t = tracker();
    (1..=40)
        .map(|port| format!("127.0.0.1:{port}"))
        .for_each(|addr| drop(http(&mut t, Time::ZERO, &addr, &leecher(&addr)).unwrap()));
}

/// Announces in swarm `n`.
fn enter(t: &mut Tracker, n: u32, addr: &str) {
    let mut hash = [0; 20];
    hash[16..].copy_from_slice(&n.to_be_bytes());
    http(t, Time::ZERO, addr, &Announce { info_hash: InfoHash(hash), ..leecher(addr) }).unwrap();
}

/// Returns whether swarm `n` has a peer.
fn lives(t: &mut Tracker, n: u32) -> bool {
    let mut hash = [0; 20];
    hash[16..].copy_from_slice(&n.to_be_bytes());
    let answer =
        t.http(Time::ZERO, ip("9.9.9.9"), &scrape_url("/announce", &[InfoHash(hash)]).unwrap());
    read_scrape_body(&answer.body).unwrap().swarms[0].1.incomplete > 0
}

#[test]
fn no_subscriber_can_use_up_the_torrents_or_the_peers() {
    // One IPv4 address, one /64, one address near us, and two addresses that open the same
    // torrents.
    let one: fn(u32) -> Vec<String> = |n| vec![format!("6.6.6.6:{}", 1 + n % 60)];
    let slash_64: fn(u32) -> Vec<String> = |n| vec![format!("[2001:db8:6::{n:x}]:1")];
    let near: fn(u32) -> Vec<String> = |_| vec!["127.0.0.1:7".into()];
    let pair: fn(u32) -> Vec<String> = |_| vec!["6.6.6.6:1".into(), "7.7.7.7:1".into()];
    for (torrents_limit, peers_limit) in [(100, 100_000), (100_000, 100)] {
        for flood in [one, slash_64, near, pair] {
            let mut t =
                Tracker::new(Config { torrents_limit, peers_limit, ..Config::default() }, [1; 32]);
            enter(&mut t, 1, "1.1.1.1:1");
            enter(&mut t, 2_000_000, "[2001:db8:1::1]:1");
            let flooders = |t: &mut Tracker, range: core::ops::Range<u32>| {
                range.for_each(|n| flood(n).iter().for_each(|addr| enter(t, 1_000 + n, addr)));
            };
            flooders(&mut t, 0..1_000);
            (2..52).for_each(|n| enter(&mut t, n, &format!("1.1.1.{n}:1")));
            flooders(&mut t, 2_000..3_000);
            let stats = t.stats();
            assert!(stats.torrents <= torrents_limit && stats.peers <= peers_limit, "{stats:?}");
            let alive = (1..52).chain([2_000_000]).filter(|&n| lives(&mut t, n)).count();
            assert_eq!(
                alive,
                52,
                "{} of {torrents_limit} torrents, {peers_limit} peers",
                flood(1)[0]
            );
            // A subscriber that has a few more than others keeps them as well.
            (60..64).for_each(|n| enter(&mut t, n, "3.3.3.3:1"));
            flooders(&mut t, 4_000..5_000);
            let alive = (60..64).filter(|&n| lives(&mut t, n)).count();
            assert_eq!(
                alive,
                4,
                "{} of {torrents_limit} torrents, {peers_limit} peers",
                flood(1)[0]
            );
        }
    }
}

#[test]
fn a_flooder_gains_nothing_by_joining_others_or_by_crowds_that_leave() {
    let mut t = Tracker::new(Config { torrents_limit: 50, ..Config::default() }, [1; 32]);
    let leave = |t: &mut Tracker, n: u32, addr: &str| {
        let mut hash = [0; 20];
        hash[16..].copy_from_slice(&n.to_be_bytes());
        http(
            t,
            Time::ZERO,
            addr,
            &Announce { info_hash: InfoHash(hash), event: Event::Stopped, ..leecher(addr) },
        )
        .unwrap();
    };
    let flood = |t: &mut Tracker, n: u32| {
        let crowd: Vec<String> =
            (1..=10).map(|port| format!("6.6.6.6:{port}")).chain(["7.7.7.7:1".into()]).collect();
        crowd.iter().for_each(|addr| enter(t, n, addr));
        crowd.iter().skip(1).for_each(|addr| leave(t, n, addr));
    };
    (100..150).for_each(|n| flood(&mut t, n));
    // Three swarms of another subscriber; the flooder joins them before one of their peers leaves.
    for n in 0..3 {
        ["4.4.4.4:1", "3.3.3.3:1", "6.6.6.6:1"].iter().for_each(|addr| enter(&mut t, n, addr));
        leave(&mut t, n, "4.4.4.4:1");
    }
    (150..200).for_each(|n| flood(&mut t, n));
    assert_eq!((t.stats().torrents, (0..3).filter(|&n| lives(&mut t, n)).count()), (50, 3));
}

#[test]
fn where_each_has_one_the_oldest_gives_way() {
    for (torrents_limit, peers_limit) in [(3, 100), (100, 3)] {
        let mut t =
            Tracker::new(Config { torrents_limit, peers_limit, ..Config::default() }, [1; 32]);
        for n in 1..=5u8 {
            let addr = format!("1.1.1.{n}:1");
            let announce = Announce { info_hash: InfoHash([n; 20]), ..leecher(&addr) };
            http(&mut t, Time::from_secs(n.into()), &addr, &announce).unwrap();
        }
        let found: Vec<u8> =
            (1..=5).filter(|&n| t.table.swarm(InfoHash([n; 20])).is_some()).collect();
        assert_eq!(found, [3, 4, 5]);
    }
}

#[test]
fn a_swarm_without_peers_gives_way_before_one_with_peers() {
    let mut t = Tracker::new(Config { torrents_limit: 2, ..Config::default() }, [1; 32]);
    let done = Announce { left: 0, downloaded: 1, event: Event::Completed, ..leecher("1.1.1.1:1") };
    http(&mut t, Time::ZERO, "1.1.1.1:1", &done).unwrap();
    http(&mut t, Time::ZERO, "1.1.1.1:1", &Announce { event: Event::Stopped, ..done }).unwrap();
    enter(&mut t, 1, "2.2.2.2:2");
    assert_eq!(
        (t.stats().torrents, counts(&mut t, Time::ZERO)),
        (2, (0, 1, 0)),
        "the count outlives the peers"
    );
    enter(&mut t, 2, "2.2.2.2:2");
    assert_eq!((t.stats().torrents, counts(&mut t, Time::ZERO)), (2, (0, 0, 0)));
    assert!(lives(&mut t, 1) && lives(&mut t, 2));
}

#[test]
fn who_leaves_and_comes_back_completes_nothing_new() {
    let mut t = tracker();
    let mut round = |addr: &str| {
        for (event, left) in [(Event::Started, 5), (Event::Completed, 0), (Event::Stopped, 0)] {
            http(&mut t, Time::ZERO, addr, &Announce { event, left, ..leecher(addr) }).unwrap();
        }
        counts(&mut t, Time::ZERO).1
    };
    assert_eq!((0..100).map(|_| round("1.1.1.1:1")).last(), Some(1));
    assert_eq!(
        (0..100).map(|port| round(&format!("1.1.1.1:{}", port + 1))).last(),
        Some(8),
        "one subscriber adds few"
    );
    assert_eq!((0..100).map(|host| round(&format!("[2001:db8::{host}]:1"))).last(), Some(16));
    assert_eq!(round("1.1.1.2:1"), 17, "and others count");
}
