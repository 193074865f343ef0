//! What the table promises at scale: fairness of the choice, bytes a peer, forgetting.
//!
//! Decides: what is expected. Must not know: the table inside.
//! Invariant: every exchange goes through the bytes of `bt-tracker-wire`.

use super::*;
use core::net::{Ipv4Addr, Ipv6Addr};

/// A client of the UDP door, with a buffer that is used again.
struct Client {
    tracker: Tracker,
    reply: Vec<u8>,
}

impl Client {
    fn new(config: Config) -> Client {
        Client { tracker: Tracker::new(config, [1; 32]), reply: Vec::new() }
    }

    /// Announces over UDP from an address with the id that it was given.
    fn announce(&mut self, now: Time, addr: SocketAddr, announce: &Announce) -> &[u8] {
        let connect = UdpRequest::Connect { transaction: 1 }.write();
        assert!(self.tracker.answer(now, addr, &connect, &mut self.reply));
        let connection = u64::from_be_bytes(self.reply[8..16].try_into().unwrap());
        let announce = announce.clone();
        let request = UdpRequest::Announce { connection, transaction: 2, announce }.write();
        assert!(self.tracker.answer(now, addr, &request, &mut self.reply));
        assert_eq!(self.reply[..8], [0, 0, 0, 1, 0, 0, 0, 2]);
        &self.reply[20..]
    }
}

fn hash(number: u32) -> InfoHash {
    let mut hash = [3; 20];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    InfoHash(hash)
}

/// The address of peer `number`: each is a subscriber of its own.
fn v4(number: u32) -> SocketAddr {
    (Ipv4Addr::from(0x1000_0000 + number), 6881).into()
}

fn of(hash: InfoHash, number: u32, left: u64) -> Announce {
    let mut id = [5; 20];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Announce { left, uploaded: 1, ..Announce::new(hash, PeerId(id), 6881) }
}

#[test]
fn a_hundred_thousand_answers_name_each_peer_as_often_as_the_others() {
    const PEERS: u32 = 10_000;
    const ANSWERS: u32 = 100_000;
    for (wanted, renews) in [(None, true), (Some(30), true), (Some(200), true), (None, false)] {
        let mut client = Client::new(Config::default());
        for n in 0..PEERS {
            client.announce(Time::ZERO, v4(n), &of(HASH, n, 1));
        }
        let mut named = vec![0u32; PEERS as usize];
        let mut asked = vec![0u32; PEERS as usize];
        let mut told = 0;
        for answer in 0..ANSWERS {
            // Either the peers renew themselves in turn, or one of them asks all the time.
            let asker = if renews { answer % PEERS } else { 0 };
            let announce = Announce { num_want: wanted, ..of(HASH, asker, 1) };
            let peers = client.announce(Time::ZERO, v4(asker), &announce);
            asked[asker as usize] += 1;
            for peer in peers.as_chunks::<6>().0 {
                let ip = u32::from_be_bytes([peer[0], peer[1], peer[2], peer[3]]);
                let number = ip - 0x1000_0000;
                assert_ne!(number, asker, "an announcer is never named to itself");
                named[number as usize] += 1;
                told += 1;
            }
        }
        assert_eq!(told, ANSWERS * wanted.unwrap_or(50), "every answer is full");
        let (mut chi, mut worst, mut terms) = (0.0, 0.0_f64, 0.0);
        let share = f64::from(wanted.unwrap_or(50)) / f64::from(PEERS - 1);
        for (&count, &asked) in named.iter().zip(&asked).filter(|&(_, &own)| own < ANSWERS) {
            let expected = f64::from(ANSWERS - asked) * share;
            let variance = expected * (1.0 - share);
            let off = f64::from(count) - expected;
            worst = worst.max(off.abs() / variance.sqrt());
            chi += off * off / variance;
            terms += 1.0;
        }
        let deviation = (chi - terms) / (2.0_f64 * terms).sqrt();
        assert!(worst < 5.0, "{wanted:?}, {renews}: one peer is {worst:.2} deviations off");
        assert!(deviation.abs() < 4.0, "{wanted:?}, {renews}: chi-square is {deviation:.2} off");
    }
}

#[test]
fn seeds_are_told_of_leechers_alone_in_a_large_swarm() {
    let mut client = Client::new(Config::default());
    for n in 0..2_000 {
        client.announce(Time::ZERO, v4(n), &of(HASH, n, u64::from(n % 2)));
    }
    for n in (0..2_000).step_by(100) {
        let peers = client.announce(Time::ZERO, v4(n), &of(HASH, n, 0)).to_vec();
        let (peers, rest) = peers.as_chunks::<6>();
        assert_eq!((peers.len(), rest.len()), (50, 0));
        // Odd numbers are leechers.
        assert!(peers.iter().all(|peer| peer[3] % 2 == 1), "{peers:?}");
    }
}

#[test]
fn a_peer_takes_few_bytes() {
    for (peers, torrents, most) in
        [(200_000_u32, 50_000, 40), (200_000, 1, 30), (200_000, 200_000, 90)]
    {
        let mut client = Client::new(Config::default());
        for n in 0..peers {
            let hash = hash(n.wrapping_mul(0x9e37_79b1) % torrents);
            client.announce(Time::ZERO, v4(n), &of(hash, n, u64::from(n % 4)));
        }
        let stats = client.tracker.stats();
        assert_eq!(stats.peers, peers as usize);
        let each = stats.bytes as f64 / f64::from(peers);
        assert!(each <= f64::from(most), "{each:.1} bytes a peer, {torrents} torrents");
    }
}

#[test]
fn the_memory_is_never_more_than_its_limit_and_newcomers_are_taken() {
    let memory = 1 << 20;
    for (torrents, v6) in [(u32::MAX, false), (1_000, false), (3, false), (1, false), (500, true)] {
        let mut client = Client::new(Config { memory, ..Config::default() });
        let mut most = 0;
        for n in 0..100_000_u32 {
            let hash = hash(n.wrapping_mul(0x9e37_79b1) % torrents);
            let addr = match v6 {
                false => v4(n),
                true => {
                    let ip = 0x2001_0db8_u128 << 96 | u128::from(n) << 64 | 1;
                    (Ipv6Addr::from(ip), 6881).into()
                }
            };
            client.announce(Time::from_secs(u64::from(n) / 1_000), addr, &of(hash, n, 1));
            let stats = client.tracker.stats();
            assert!(stats.bytes <= memory, "{} bytes", stats.bytes);
            most = stats.peers.max(most);
        }
        let stats = client.tracker.stats();
        // Most of the memory is in use for peers, whatever the torrents are like.
        let least = if torrents == u32::MAX || v6 { 5_000 } else { 25_000 };
        assert!(stats.peers > least, "{} peers of {most} in {torrents} torrents", stats.peers);
    }
}

#[test]
fn who_falls_silent_is_forgotten_although_nobody_asks_for_its_torrent() {
    let age = 3_600;
    for (peers, torrents) in [(20_000, 5_000), (20_000, 1), (20_000, 20_000)] {
        for step in [1, 60, 1_000, 3_599, 10_000] {
            let mut client = Client::new(Config::default());
            for n in 0..peers {
                client.announce(Time::ZERO, v4(n), &of(hash(n % torrents), n, 1));
            }
            let bytes = client.tracker.stats().bytes;
            let mut at = 0;
            while at < 2 * age {
                at += step;
                client.tracker.tend(Time::from_secs(at));
                if at < age {
                    assert_eq!(client.tracker.stats().peers, peers as usize, "too early at {at}");
                }
            }
            let stats = client.tracker.stats();
            assert_eq!((stats.peers, stats.torrents), (0, 0), "steps of {step} s");
            assert!(stats.bytes <= bytes);
        }
    }
}

#[test]
fn who_renews_stays_however_long_the_tracker_runs() {
    let mut client = Client::new(Config::default());
    for round in 0..40 {
        for n in 0..1_000 {
            let now = Time::from_secs(round * 1_800 + n);
            let number = n as u32;
            client.announce(now, v4(number), &of(hash(number % 3), number, 1));
        }
        assert_eq!(client.tracker.stats().peers, 1_000, "in round {round}");
    }
}

#[test]
fn who_announced_within_its_life_stays_although_the_tracker_was_not_called() {
    for first in [0, 450, 810, 899] {
        let mut client = Client::new(Config::default());
        client.announce(Time::from_secs(first), v4(1), &of(HASH, 1, 1));
        for (silent, peers) in [(3_569, 1), (4_530, 0)] {
            client.tracker.tend(Time::from_secs(first + silent));
            assert_eq!(client.tracker.stats().peers, peers, "{first} and {silent} s");
        }
    }
}

#[test]
fn the_longest_interval_forgets_nobody() {
    let mut client = Client::new(Config { interval: Duration::MAX, ..Config::default() });
    client.announce(Time::ZERO, v4(1), &of(HASH, 1, 1));
    client.tracker.tend(Time::from_secs(1 << 40));
    assert_eq!(client.tracker.stats().peers, 1);
}

#[test]
fn torrents_without_peers_do_not_lift_the_limit_of_peers() {
    let mut client = Client::new(Config { peers_limit: 2, ..Config::default() });
    for n in 0..5_000 {
        let completed = Announce { event: Event::Completed, downloaded: 1, ..of(hash(n), n, 0) };
        client.announce(Time::ZERO, v4(n), &completed);
        let stopped = Announce { event: Event::Stopped, ..of(hash(n), n, 0) };
        client.announce(Time::ZERO, v4(n), &stopped);
    }
    assert_eq!(client.tracker.stats().torrents, 5_000);
    for n in 0..100 {
        // A newcomer is taken or refused.
        let announce = of(hash(n % 2), 10_000 + n, 1);
        let _ = client.tracker.http_announce(Time::ZERO, v4(10_000 + n).ip(), &announce);
        assert!(client.tracker.stats().peers <= 2, "{} peers", client.tracker.stats().peers);
    }
}

#[test]
fn a_newcomer_takes_a_place_of_its_swarm_when_no_other_suits() {
    // Room for 4,096 places, and swarms of two take them all.
    let mut client = Client::new(Config { memory: 200 << 10, ..Config::default() });
    for n in 0..4_096 {
        client.announce(Time::ZERO, v4(n), &of(hash(n / 2), n, 1));
    }
    assert!(client.tracker.stats().peers > 4_000);
    for n in 0..20 {
        let announce = of(hash(100 * n), 10_000 + n, 1);
        let ip = v4(10_000 + n).ip();
        assert!(client.tracker.http_announce(Time::ZERO, ip, &announce).is_ok(), "{n}");
    }
}

#[test]
fn shards_answer_as_one_tracker() {
    let config = Config { interval: Duration::from_secs(60), ..Config::default() };
    let mut shards = Tracker::shards(&config, [1; 32], 3);
    let addr = v4(1);
    let mut reply = Vec::new();
    let connect = UdpRequest::Connect { transaction: 1 }.write();
    assert_eq!(crate::shard_of_datagram(&connect, 3), None);
    assert!(shards[1].answer(Time::ZERO, addr, &connect, &mut reply));
    let connection = u64::from_be_bytes(reply[8..16].try_into().unwrap());
    let hashes: Vec<InfoHash> = (0..5).map(|n| InfoHash([n; 20])).collect();
    for (n, &info_hash) in hashes.iter().enumerate().take(4) {
        let announce = Announce { info_hash, ..of(HASH, 1, 0) };
        let request = UdpRequest::Announce { connection, transaction: 2, announce }.write();
        let owner = crate::shard_of_datagram(&request, 3).unwrap();
        assert_eq!((owner, crate::shard_of(&info_hash, 3)), (n % 3, n % 3));
        assert!(shards[owner].answer(Time::ZERO, addr, &request, &mut reply));
    }
    let scrape = UdpRequest::Scrape { connection, transaction: 3, hashes }.write();
    assert!(shards[2].answer(Time::ZERO, addr, &scrape, &mut reply));
    for shard in [0, 1] {
        shards[shard].amend(Time::ZERO, &scrape, &mut reply);
    }
    let counts = match UdpReply::parse(&reply, AddressFamily::V4) {
        Some(UdpReply::Scrape { counts, .. }) => counts,
        other => panic!("{other:?}"),
    };
    assert_eq!(counts.iter().map(|counts| counts.complete).collect::<Vec<_>>(), [1, 1, 1, 1, 0]);
}

#[test]
fn an_announce_from_an_address_that_cannot_be_reached_changes_nothing() {
    let mut t = tracker();
    assert_eq!(peers(&mut t, "240.0.0.1:1", &leecher("240.0.0.1:1")), []);
    assert_eq!(t.stats().peers, 0);
}
