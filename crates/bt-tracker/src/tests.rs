//! Checks the tracker as its clients see it.
//!
//! Decides: which answers are correct. Must not know: the table inside.
//! Invariant: every exchange goes through the bytes of `bt-tracker-wire`.

mod limits;
mod table;

use crate::{Config, Tracker};
use alloc::string::String;
use alloc::vec::Vec;
use bt_tracker_wire::{
    AddressFamily, Announce, AnnounceReply, Event, Failure, LEFT_UNKNOWN, ReplyError, RetryIn,
    SwarmCounts, UdpReply, UdpRequest, announce_url, read_announce_body, read_scrape_body,
    scrape_url,
};
use bt_types::{InfoHash, PeerId, Time};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::{format, vec};

const HASH: InfoHash = InfoHash([9; 20]);

fn tracker() -> Tracker {
    Tracker::new(Config { interval: Duration::from_secs(60), ..Config::default() }, [1; 32])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Makes a leecher whose peer id is its address.
fn leecher(addr: &str) -> Announce {
    let mut id = [0; 20];
    id.iter_mut().zip(addr.bytes()).for_each(|(to, from)| *to = from);
    let port = addr.parse::<SocketAddr>().unwrap().port();
    Announce { left: 1, ..Announce::new(HASH, PeerId(id), port) }
}

/// Makes a seed that has uploaded, so that it certainly has metadata.
fn seed(addr: &str) -> Announce {
    Announce { left: 0, uploaded: 1, ..leecher(addr) }
}

fn http(
    tracker: &mut Tracker,
    now: Time,
    from: &str,
    announce: &Announce,
) -> Result<AnnounceReply, ReplyError> {
    let answer = tracker.http(
        now,
        from.parse::<SocketAddr>().unwrap().ip(),
        &announce_url("/announce", announce),
    );
    assert_eq!(answer.status, 200);
    read_announce_body(&answer.body)
}

fn peers(tracker: &mut Tracker, from: &str, announce: &Announce) -> Vec<SocketAddr> {
    let mut peers = http(tracker, Time::ZERO, from, announce).unwrap().peers;
    peers.sort_unstable();
    peers
}

fn scraped(tracker: &mut Tracker, now: Time) -> SwarmCounts {
    let answer = tracker.http(now, ip("9.9.9.9"), &scrape_url("/announce", &[HASH]).unwrap());
    read_scrape_body(&answer.body).unwrap().swarms[0].1
}

fn counts(tracker: &mut Tracker, now: Time) -> (u32, u32, u32) {
    let SwarmCounts { complete, downloaded, incomplete, .. } = scraped(tracker, now);
    (complete, downloaded, incomplete)
}

/// Connects over UDP and sends what `request` makes of the connection id.
fn udp(
    tracker: &mut Tracker,
    now: Time,
    from: &str,
    request: impl FnOnce(u64) -> UdpRequest,
) -> Option<UdpReply> {
    let from: SocketAddr = from.parse().unwrap();
    let family = if from.is_ipv4() { AddressFamily::V4 } else { AddressFamily::V6 };
    let connect = tracker.udp(now, from, &UdpRequest::Connect { transaction: 5 }.write()).unwrap();
    let Some(UdpReply::Connect { transaction: 5, connection }) = UdpReply::parse(&connect, family)
    else {
        panic!("no connect reply")
    };
    let reply = tracker.udp(now, from, &request(connection).write())?;
    assert!(reply.len() <= 1_232);
    UdpReply::parse(&reply, family)
}

fn udp_announce(tracker: &mut Tracker, from: &str, announce: &Announce) -> Option<AnnounceReply> {
    let request = |connection| UdpRequest::Announce {
        connection,
        transaction: 6,
        announce: announce.clone(),
    };
    match udp(tracker, Time::ZERO, from, request)? {
        UdpReply::Announce { transaction: 6, reply } => Some(reply),
        other => panic!("{other:?}"),
    }
}

#[test]
fn peers_meet_across_protocols_and_families() {
    let mut t = tracker();
    assert_eq!(peers(&mut t, "1.1.1.1:1", &seed("1.1.1.1:1")), []);
    assert_eq!(
        udp_announce(&mut t, "2.2.2.2:9", &leecher("2.2.2.2:2")).unwrap().peers,
        addrs(&["1.1.1.1:1"])
    );
    assert_eq!(
        udp_announce(&mut t, "[2001:db8::3]:9", &leecher("[2001:db8::3]:3")).unwrap().peers,
        []
    );
    let both = addrs(&["1.1.1.1:1", "2.2.2.2:2", "[2001:db8::3]:3"]);
    assert_eq!(peers(&mut t, "4.4.4.4:4", &leecher("4.4.4.4:4")), both);
    let reply = udp_announce(&mut t, "[2001:db8::5]:9", &leecher("[2001:db8::5]:5")).unwrap();
    assert_eq!((reply.seeders, reply.leechers), (Some(1), Some(4)), "counted together");
    assert_eq!(reply.peers, addrs(&["[2001:db8::3]:3"]), "over UDP only the own family travels");
    assert_eq!(counts(&mut t, Time::ZERO), (1, 0, 4));
}

#[test]
fn nobody_is_told_of_itself_and_seeds_not_of_seeds() {
    let mut t = tracker();
    let me = leecher("1.1.1.1:1");
    http(&mut t, Time::ZERO, "[2001:db8::1]:1", &me).unwrap();
    assert_eq!(peers(&mut t, "1.1.1.1:1", &me), [], "nor of its other address");
    peers(&mut t, "2.2.2.2:2", &seed("2.2.2.2:2"));
    let seen = peers(&mut t, "3.3.3.3:3", &seed("3.3.3.3:3"));
    assert_eq!(seen, addrs(&["1.1.1.1:1", "[2001:db8::1]:1"]));
}

#[test]
fn who_says_nothing_is_left_and_may_have_only_a_link_is_told_of_seeds() {
    let link = |addr| Announce { uploaded: 0, event: Event::Started, ..seed(addr) };
    let (old, me) = ("1.1.1.1:1", "2.2.2.2:2");
    for (steps, told) in [
        (vec![link(me)], vec![old]),
        (vec![link(me), Announce { event: Event::None, ..link(me) }], vec![old]),
        (vec![seed(me)], vec![]),
        (vec![leecher(me), link(me)], vec![]),
        (vec![Announce { left: 1 << 30, ..leecher(me) }, link(me)], vec![]),
        (vec![Announce { left: u64::MAX >> 1, ..leecher(me) }, link(me)], vec![old]),
        (vec![link(me), leecher(me)], vec![old]),
        (vec![Announce { event: Event::Completed, ..link(me) }, link(me)], vec![]),
        (vec![Announce { left: LEFT_UNKNOWN, ..leecher(me) }, link(me)], vec![old]),
        (vec![leecher(me), Announce { peer_id: PeerId([3; 20]), ..link(me) }], vec![old]),
    ] {
        let mut t = tracker();
        peers(&mut t, old, &link(old));
        let answers: Vec<_> = steps.iter().map(|step| peers(&mut t, me, step)).collect();
        assert_eq!(answers.last(), Some(&addrs(&told)), "{steps:?}");
        let over_udp = udp_announce(&mut t, "3.3.3.3:3", &link("3.3.3.3:3")).unwrap().peers.len();
        assert_eq!(over_udp, 2, "{steps:?}");
    }
    // Peers that download come first; beside many of them at most half are seeds.
    let mut t = tracker();
    (0..60)
        .for_each(|n| drop(peers(&mut t, &format!("1.1.1.{n}:5"), &seed(&format!("1.1.1.{n}:5")))));
    (0..10).for_each(|n| {
        drop(peers(&mut t, &format!("1.1.2.{n}:6"), &leecher(&format!("1.1.2.{n}:6"))))
    });
    for (wanted, downloads) in [(50, 10), (20, 10), (10, 5)] {
        let told = peers(&mut t, me, &Announce { num_want: Some(wanted), ..link(me) });
        let ports = told.iter().filter(|addr| addr.port() == 6).count();
        assert_eq!((told.len(), ports), (wanted as usize, downloads), "{wanted} wanted");
    }
    assert_eq!(counts(&mut t, Time::ZERO), (61, 0, 10), "counted as it says");
}

#[test]
fn partial_seeds_are_told_apart_and_introduced_to_downloaders() {
    let paused = |addr| Announce { event: Event::Paused, ..leecher(addr) };
    let (seeder, partial, other, downloader) = ("1.1.1.1:1", "2.2.2.2:2", "3.3.3.3:3", "4.4.4.4:4");
    let mut t = tracker();
    peers(&mut t, seeder, &seed(seeder));
    peers(&mut t, other, &paused(other));
    peers(&mut t, downloader, &leecher(downloader));
    assert_eq!(peers(&mut t, partial, &paused(partial)), addrs(&[downloader]), "over HTTP");
    assert_eq!(
        udp_announce(&mut t, partial, &paused(partial)).unwrap().peers,
        addrs(&[downloader]),
        "over UDP"
    );
    assert_eq!(
        peers(&mut t, seeder, &seed(seeder)),
        addrs(&[downloader]),
        "a seed has nothing for it"
    );
    assert_eq!(peers(&mut t, downloader, &leecher(downloader)), addrs(&[seeder, partial, other]));
    let counts = SwarmCounts { complete: 1, downloaded: 0, incomplete: 3, downloaders: Some(1) };
    assert_eq!(scraped(&mut t, Time::ZERO), counts);
    peers(&mut t, partial, &leecher(partial));
    assert_eq!(scraped(&mut t, Time::ZERO).downloaders, Some(2), "it downloads again");
    peers(&mut t, other, &Announce { left: 0, ..paused(other) });
    assert_eq!(
        scraped(&mut t, Time::ZERO).complete,
        2,
        "with nothing left it is a seed, whatever it says"
    );
}

#[test]
fn over_http_the_own_family_is_half_of_the_reply_when_it_can_be() {
    for (v4, v6, wanted, told) in [
        (100, 100, 10, (5, 5)),
        (100, 2, 10, (8, 2)),
        (2, 100, 10, (2, 8)),
        (9, 9, 7, (4, 3)),
        (1, 1, 9, (1, 1)),
    ] {
        let mut t = tracker();
        (0..v4).for_each(|n| {
            drop(peers(&mut t, &format!("1.1.1.{n}:5"), &leecher(&format!("1.1.1.{n}:5"))))
        });
        (0..v6).for_each(|n| {
            drop(peers(
                &mut t,
                &format!("[2001:db8:0:{n}::]:5"),
                &leecher(&format!("[2001:db8:0:{n}::]:5")),
            ))
        });
        let told_to = peers(
            &mut t,
            "8.8.8.8:8",
            &Announce { num_want: Some(wanted), ..leecher("8.8.8.8:8") },
        );
        let own = told_to.iter().filter(|addr| addr.is_ipv4()).count();
        assert_eq!((own, told_to.len() - own), told, "{v4} and {v6} peers, {wanted} wanted");
    }
}

#[test]
fn peers_that_came_together_do_not_come_back_together() {
    let mut t = Tracker::new(Config::default(), [1; 32]);
    let mut intervals = BTreeSet::new();
    for n in 0..100 {
        let addr = format!("1.1.1.{n}:5");
        intervals.insert(http(&mut t, Time::ZERO, &addr, &leecher(&addr)).unwrap().interval);
    }
    assert!(
        intervals.len() > 50 && intervals.iter().all(|interval| (1_800..=1_980).contains(interval)),
        "{intervals:?}"
    );
}

#[test]
fn a_new_peer_at_an_old_address_replaces_it() {
    let mut t = tracker();
    peers(&mut t, "1.1.1.1:1", &leecher("1.1.1.1:1"));
    peers(&mut t, "1.1.1.1:1", &Announce { peer_id: PeerId([7; 20]), ..leecher("1.1.1.1:1") });
    peers(&mut t, "1.1.1.1:1", &leecher("1.1.1.1:2"));
    assert_eq!(counts(&mut t, Time::ZERO), (0, 0, 2), "another port is another peer");
}

#[test]
fn completed_is_counted_once_for_each_peer() {
    let completed = |addr| Announce { event: Event::Completed, downloaded: 9, ..seed(addr) };
    let mut t = tracker();
    peers(&mut t, "1.1.1.1:1", &Announce { event: Event::Started, ..seed("1.1.1.1:1") });
    assert_eq!(counts(&mut t, Time::ZERO), (1, 0, 0), "a seed that starts completed nothing");
    peers(&mut t, "2.2.2.2:2", &leecher("2.2.2.2:2"));
    for _ in 0..2 {
        peers(&mut t, "2.2.2.2:2", &completed("2.2.2.2:2"));
        assert_eq!(counts(&mut t, Time::ZERO), (2, 1, 0));
    }
    peers(&mut t, "3.3.3.3:3", &Announce { left: 5, ..completed("3.3.3.3:3") });
    assert_eq!(counts(&mut t, Time::ZERO), (2, 1, 1), "completed with bytes left is a leecher");
    peers(&mut t, "4.4.4.4:4", &Announce { downloaded: 0, ..completed("4.4.4.4:4") });
    assert_eq!(counts(&mut t, Time::ZERO), (3, 1, 1), "a stranger that downloaded nothing");
    peers(&mut t, "2.2.2.2:2", &leecher("2.2.2.2:2"));
    assert_eq!(counts(&mut t, Time::ZERO), (2, 1, 2), "a seed that rechecked is a leecher again");
}

#[test]
fn stopped_removes_tells_nothing_and_creates_nothing() {
    let mut t = tracker();
    let stopped = |addr| Announce { event: Event::Stopped, ..leecher(addr) };
    assert_eq!(peers(&mut t, "1.1.1.1:1", &stopped("1.1.1.1:1")), []);
    assert_eq!(t.stats().torrents, 0);
    peers(&mut t, "1.1.1.1:1", &leecher("1.1.1.1:1"));
    peers(&mut t, "2.2.2.2:2", &seed("2.2.2.2:2"));
    let reply = http(&mut t, Time::ZERO, "1.1.1.1:1", &stopped("1.1.1.1:1")).unwrap();
    assert_eq!((reply.peers, reply.seeders, reply.leechers), (vec![], Some(1), Some(0)));
    peers(&mut t, "2.2.2.2:2", &Announce { port: 0, ..stopped("2.2.2.2:2") });
    assert_eq!(counts(&mut t, Time::ZERO), (1, 0, 0), "port 0 is accepted and stops no peer");
    peers(&mut t, "2.2.2.2:2", &stopped("2.2.2.2:2"));
    assert_eq!((t.stats().torrents, t.stats().peers), (0, 0));
}

#[test]
fn silent_peers_expire_after_two_intervals() {
    let mut t = tracker();
    for (at, from) in [(0, "1.1.1.1:1"), (0, "2.2.2.2:2"), (60, "1.1.1.1:1")] {
        http(&mut t, Time::from_secs(at), from, &leecher(from)).unwrap();
    }
    assert_eq!(counts(&mut t, Time::from_secs(119)), (0, 0, 2));
    assert_eq!(counts(&mut t, Time::from_secs(120)), (0, 0, 1));
    let late = Announce { event: Event::Stopped, ..leecher("2.2.2.2:2") };
    http(&mut t, Time::from_secs(121), "2.2.2.2:2", &late).unwrap();
    assert_eq!(counts(&mut t, Time::from_secs(180)), (0, 0, 0));
    assert_eq!(t.stats().torrents, 0);
}

#[test]
fn the_wish_for_peers_is_honoured_within_bounds() {
    let mut t = tracker();
    for n in 0..300 {
        let addr = format!("1.1.{}.{}:5", n / 100, n % 100);
        peers(&mut t, &addr, &leecher(&addr));
        let addr = format!("[2001:db8:0:{n}::]:5");
        peers(&mut t, &addr, &leecher(&addr));
    }
    for (num_want, over_http, over_v4, over_v6) in
        [(None, 50, 50, 50), (Some(0), 0, 0, 0), (Some(7), 7, 7, 7), (Some(u32::MAX), 200, 200, 67)]
    {
        let wish = |addr| Announce { num_want, ..leecher(addr) };
        assert_eq!(peers(&mut t, "8.8.8.8:8", &wish("8.8.8.8:8")).len(), over_http, "{num_want:?}");
        assert_eq!(
            udp_announce(&mut t, "8.8.8.8:8", &wish("8.8.8.8:8")).unwrap().peers.len(),
            over_v4,
            "{num_want:?}"
        );
        assert_eq!(
            udp_announce(&mut t, "[2001:db8:8::]:8", &wish("[2001:db8:8::]:8"))
                .unwrap()
                .peers
                .len(),
            over_v6,
            "{num_want:?}"
        );
    }
}

#[test]
fn the_choice_is_random_so_late_joiners_are_found() {
    let mut t = tracker();
    let all: BTreeSet<_> = (0..40).map(|n| format!("1.1.1.{n}:5")).collect();
    all.iter().for_each(|addr| drop(peers(&mut t, addr, &leecher(addr))));
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        seen.extend(peers(
            &mut t,
            "2.2.2.2:2",
            &Announce { num_want: Some(10), ..seed("2.2.2.2:2") },
        ));
    }
    assert_eq!(seen.len(), all.len());
}

#[test]
fn nobody_is_told_of_an_address_closer_than_its_own() {
    let mut t = tracker();
    let members =
        ["1.1.1.1:1", "10.0.0.2:2", "127.0.0.1:3", "[::ffff:127.0.0.2]:4", "169.254.1.1:5"];
    members.iter().for_each(|addr| drop(peers(&mut t, addr, &leecher(addr))));
    let table = [
        ("8.8.8.8:9", vec!["1.1.1.1:1"]),
        ("192.168.0.9:9", vec!["1.1.1.1:1", "8.8.8.8:9", "10.0.0.2:2"]),
        (
            "127.0.0.9:9",
            vec![
                "1.1.1.1:1",
                "8.8.8.8:9",
                "10.0.0.2:2",
                "127.0.0.1:3",
                "127.0.0.2:4",
                "169.254.1.1:5",
                "192.168.0.9:9",
            ],
        ),
    ];
    for (asker, seen) in table {
        assert_eq!(peers(&mut t, asker, &leecher(asker)), addrs(&seen), "{asker}");
    }
}

#[test]
fn a_malformed_request_gets_a_short_refusal() {
    let mut t = tracker();
    let never = Some(RetryIn::Never);
    for (target, reason, retry_in) in [
        ("/announce", "missing info_hash", never),
        ("/announce?info_hash=%", "invalid info_hash", never),
        (
            "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=aaaaaaaaaaaaaaaaaaaa&port=0",
            "invalid port",
            None,
        ),
        (
            "/announce?info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=aaaaaaaaaaaaaaaaaaaa&port=65536",
            "invalid port",
            None,
        ),
        ("/scrape", "missing info_hash", never),
    ] {
        let answer = t.http(Time::ZERO, ip("1.1.1.1"), target);
        let refused = Err(ReplyError::Refused(Failure { retry_in, ..Failure::new(reason) }));
        assert_eq!((answer.status, read_announce_body(&answer.body)), (200, refused), "{target}");
    }
    for (target, status) in [
        ("/", 200),
        ("/?x", 200),
        ("/announced", 404),
        ("", 404),
        ("//announce", 200),
        ("/announce/", 200),
        ("/scrape/", 200),
        ("announce", 404),
        ("/announce/key", 404),
        ("/\u{e9}", 404),
    ] {
        assert_eq!(t.http(Time::ZERO, ip("1.1.1.1"), target).status, status, "{target}");
    }
    assert_eq!(t.stats().torrents, 0);
}

#[test]
fn an_unverified_address_gets_silence_or_no_more_than_it_sent() {
    let mut t = tracker();
    let from: SocketAddr = "1.1.1.1:1".parse().unwrap();
    let announce = |connection| UdpRequest::Announce {
        connection,
        transaction: 1,
        announce: leecher("1.1.1.1:1"),
    };
    let scrape = |connection| UdpRequest::Scrape { connection, transaction: 1, hashes: vec![HASH] };
    let connect = UdpRequest::Connect { transaction: 1 }.write();
    let reply = t.udp(Time::ZERO, from, &connect).unwrap();
    assert_eq!((connect.len(), reply.len()), (16, 16));
    for forged in [0, 0x0417_2710_1980, u64::MAX] {
        assert_eq!(t.udp(Time::ZERO, from, &announce(forged).write()), None);
        assert_eq!(t.udp(Time::ZERO, from, &scrape(forged).write()), None);
    }
    let Some(UdpReply::Connect { connection, .. }) = UdpReply::parse(&reply, AddressFamily::V4)
    else {
        panic!("no connect reply")
    };
    let elsewhere = |addr: &str| addr.parse::<SocketAddr>().unwrap();
    assert_eq!(
        t.udp(Time::ZERO, elsewhere("1.1.1.2:1"), &announce(connection).write()),
        None,
        "another address"
    );
    assert_eq!(t.udp(Time::from_secs(3600), from, &announce(connection).write()), None, "too old");
    assert_eq!(t.stats().peers, 0);
    assert!(
        t.udp(Time::from_secs(3599), elsewhere("1.1.1.1:999"), &announce(connection).write())
            .is_some(),
        "another port"
    );
    for datagram in [&connect[..15], b"", &[0xff; 98]] {
        assert_eq!(t.udp(Time::ZERO, from, datagram), None);
    }
}

#[test]
fn a_udp_scrape_keeps_order_and_duplicates() {
    let mut t = tracker();
    peers(&mut t, "1.1.1.1:1", &seed("1.1.1.1:1"));
    let hashes = vec![HASH, InfoHash([0; 20]), HASH];
    let reply = udp(&mut t, Time::ZERO, "2.2.2.2:2", |connection| UdpRequest::Scrape {
        connection,
        transaction: 6,
        hashes,
    });
    let (ours, none) =
        (SwarmCounts { complete: 1, ..SwarmCounts::default() }, SwarmCounts::default());
    assert_eq!(reply, Some(UdpReply::Scrape { transaction: 6, counts: vec![ours, none, ours] }));
    assert_eq!(t.stats().torrents, 1, "a scrape creates nothing");
}

/// Draws an event for the table, with times and peers few enough to meet often.
fn step() -> impl Strategy<Value = (u64, u8, Event, bool, bool)> {
    let event =
        prop::sample::select(vec![Event::None, Event::Started, Event::Completed, Event::Stopped]);
    (0u64..50, 0u8..8, event, any::<bool>(), any::<bool>())
}

proptest! {
    #[test]
    fn the_table_agrees_with_a_simple_model(steps in prop::collection::vec(step(), 0..80)) {
        let (mut t, mut now, mut model) = (tracker(), 0, BTreeMap::new());
        for (pause, peer, event, is_seed, v6) in steps {
            now += pause;
            let addr = if v6 { format!("[2001:db8::{peer}]:1") } else { format!("1.1.1.{peer}:1") };
            let announce = Announce { event, left: u64::from(!is_seed), uploaded: 1, ..leecher(&addr) };
            let told = http(&mut t, Time::from_secs(now), &addr, &announce).unwrap().peers;

            model.retain(|_, &mut (_, heard)| heard + 120 > now);
            let addr: SocketAddr = addr.parse().unwrap();
            if event == Event::Stopped {
                model.remove(&addr);
                prop_assert_eq!(told, []);
            } else {
                model.insert(addr, (is_seed, now));
                let expected = model.iter().filter(|&(other, &(seed, _))| *other != addr && !(is_seed && seed)).map(|(other, _)| *other);
                prop_assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), expected.collect());
            }
            let seeds = model.values().filter(|(seed, _)| *seed).count();
            let (complete, _, incomplete) = counts(&mut t, Time::from_secs(now));
            prop_assert_eq!((complete as usize, incomplete as usize), (seeds, model.len() - seeds));
            prop_assert_eq!(t.stats().peers, model.len());
        }
    }

    #[test]
    fn nothing_that_is_sent_panics_or_creates(target: String, datagram: Vec<u8>) {
        let mut t = tracker();
        t.http(Time::ZERO, ip("1.1.1.1"), &target);
        t.udp(Time::ZERO, "1.1.1.1:1".parse().unwrap(), &datagram);
        prop_assert_eq!(t.stats().peers, 0);
    }
}
