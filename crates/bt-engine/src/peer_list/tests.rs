//! Which addresses are dialled, in which order, and who may name them: the cases.
//!
//! Decides: what is expected. Must not know: connections.
//! Invariant: a test moves the clock itself.

use super::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn host(n: u8) -> PeerSource {
    PeerSource::Host([9, 9, 9, n].into())
}

#[test]
fn a_stranger_cannot_point_us_at_our_own_network() {
    let mut peer_list = PeerList::default();
    assert!(!peer_list.add(Time::ZERO, addr("192.168.1.1:80"), host(9), &mut Rng::from_seed(1)));
    assert!(peer_list.add(Time::ZERO, addr("8.8.8.8:6881"), host(9), &mut Rng::from_seed(1)));
    assert!(peer_list.add(
        Time::ZERO,
        addr("192.168.1.1:80"),
        PeerSource::User,
        &mut Rng::from_seed(1)
    ));
}

#[test]
fn failures_back_off_and_end() {
    let mut peer_list = PeerList::default();
    let peer = addr("8.8.8.8:6881");
    peer_list.add(Time::ZERO, peer, host(9), &mut Rng::from_seed(1));
    let mut now = Time::ZERO;
    let mut tries = 0;
    while peer_list.take(now).is_some() {
        tries += 1;
        peer_list.failed(now, peer);
        match peer_list.deadline() {
            Some(next) => {
                assert!(next >= now + RETRY * 2);
                now = next;
            }
            None => break,
        }
    }
    assert_eq!(tries, FAILS_MAX);
    assert!(now < Time::from_secs(700));
}

#[test]
fn a_ban_is_by_address_and_on_loopback_by_port() {
    let mut peer_list = PeerList::default();
    peer_list.ban(addr("8.8.8.8:1"));
    peer_list.ban(addr("127.0.0.1:1"));
    peer_list.ban(addr("[2001:db8:a:b::1]:1"));
    let table = [
        ("8.8.8.8:2", true),
        ("127.0.0.1:1", true),
        ("127.0.0.1:2", false),
        ("8.8.4.4:1", false),
        ("[2001:db8:a:b:ffff::2]:7", true),
        ("[2001:db8:a:c::1]:1", false),
    ];
    for (peer, banned) in table {
        assert_eq!(peer_list.is_banned(addr(peer)), banned, "{peer}");
    }
    assert!(!peer_list.add(
        Time::ZERO,
        addr("8.8.8.8:5"),
        PeerSource::User,
        &mut Rng::from_seed(1)
    ));
}

#[test]
fn no_address_of_a_banned_host_is_dialled() {
    let (mut peer_list, mut rng) = (PeerList::default(), Rng::from_seed(1));
    let peers = ["8.8.8.8:1", "8.8.8.8:2", "[2a01::1]:1", "[2a01::2]:1", "8.8.4.4:1"].map(addr);
    peers.iter().for_each(|&peer| assert!(peer_list.add(Time::ZERO, peer, host(1), &mut rng)));
    peer_list.ban(peers[0]);
    peer_list.ban(peers[2]);
    let dialled: Vec<SocketAddr> =
        core::iter::from_fn(|| peer_list.take(Time::ZERO)).map(|dial| dial.addr).collect();
    assert_eq!((&dialled[..], peer_list.entries.len()), (&peers[4..], 1));
}

#[test]
fn a_full_list_of_bans_lets_the_oldest_go() {
    let mut peer_list = PeerList::default();
    let peer = |n: u32| SocketAddr::new((0x0800_0000 + n).to_be_bytes().into(), 1);
    let bans = BANS_MAX as u32 + 10;
    (0..bans).for_each(|n| peer_list.ban(peer(n)));
    peer_list.ban(peer(bans - 1));
    assert_eq!(
        [0, 9, 10, bans - 1].map(|n| peer_list.is_banned(peer(n))),
        [false, false, true, true]
    );
    assert_eq!((peer_list.banned.len(), peer_list.ban_order.len()), (BANS_MAX, BANS_MAX));
}

#[test]
fn peers_seen_lately_are_dialled_first() {
    let (mut peer_list, mut rng) = (PeerList::default(), Rng::from_seed(1));
    let [gone, seen, good] = ["8.8.8.8:1", "8.8.8.8:2", "8.8.8.8:3"].map(addr);
    assert!([gone, seen, good].iter().all(|&peer| peer_list.add(
        Time::ZERO,
        peer,
        host(1),
        &mut rng
    )));
    while peer_list.take(Time::ZERO).is_some() {}
    [gone, seen, good].iter().for_each(|&peer| peer_list.failed(Time::ZERO, peer));
    // The second was named again since, and the third connected to us.
    peer_list.add(Time::from_secs(1), seen, host(2), &mut rng);
    peer_list.connected(good);
    peer_list.closed(Time::from_secs(1), good);
    let order: Vec<SocketAddr> = core::iter::from_fn(|| peer_list.take(Time::from_secs(100)))
        .map(|dial| dial.addr)
        .collect();
    assert_eq!(order, [good, seen, gone]);
}

#[test]
fn another_network_gives_every_address_another_chance() {
    let (mut peer_list, mut rng) = (PeerList::default(), Rng::from_seed(1));
    let peer = addr("8.8.8.8:6881");
    peer_list.add(Time::ZERO, peer, host(9), &mut rng);
    peer_list.take(Time::ZERO);
    peer_list.failed(Time::ZERO, peer);
    assert_eq!(peer_list.take(Time::from_secs(1)), None);
    peer_list.forgive(Time::from_secs(1));
    assert_eq!(peer_list.take(Time::from_secs(1)).map(|dial| dial.is_first), Some(true));
}

#[test]
fn an_lsd_announce_ends_back_off_and_leads_to_one_dial_a_second() {
    let (mut peer_list, mut rng) = (PeerList::default(), Rng::from_seed(1));
    let (start, peer) = (Time::from_secs(1), addr("10.0.0.9:6881"));
    let neighbour = PeerSource::Host(peer.ip());
    assert!(peer_list.add(start, peer, neighbour, &mut rng));
    assert!(peer_list.take(start).is_some());
    peer_list.called(start, peer);
    assert_eq!(peer_list.take(start), None, "it is dialled at this moment");
    // However often the dial fails, and however often the host calls.
    let mut dialled = 1;
    for tenth in 0..100 {
        let now = start + Duration::from_millis(100 * tenth);
        peer_list.failed(now, peer);
        assert!(peer_list.knows(peer));
        peer_list.called(now, peer);
        dialled += usize::from(peer_list.take(now).is_some_and(|dial| dial.is_first));
    }
    assert_eq!(dialled, 10, "one in each second");
    let end = Time::from_secs(100);
    peer_list.connected(peer);
    peer_list.called(end, peer);
    assert_eq!(peer_list.take(end), None, "it is connected");
    peer_list.closed(end, peer);
    assert_eq!(peer_list.take(end), None);
    peer_list.called(end, peer);
    assert_eq!(peer_list.take(end).map(|dial| dial.addr), Some(peer), "the connection ended");
}

#[test]
fn one_source_cannot_fill_the_peer_list() {
    let (mut peer_list, mut rng) = (PeerList::default(), Rng::from_seed(1));
    let mut fill = |found_by, first: u32| {
        let peers = (first..first + 3000)
            .map(|n| SocketAddr::new((0x0800_0000 + n).to_be_bytes().into(), 1));
        peers.filter(|&peer| peer_list.add(Time::ZERO, peer, found_by, &mut rng)).count()
    };
    assert_eq!(fill(host(1), 0), FROM_HOST_MAX);
    assert_eq!(fill(PeerSource::Tracker([9, 9, 9, 2].into()), 10_000), FROM_TRACKER_MAX);
    assert_eq!(
        (3..9).map(|n| fill(host(n), u32::from(n) * 10_000)).collect::<Vec<_>>(),
        [250, 250, 250, 250, 250, 0]
    );
    assert_eq!(fill(PeerSource::User, 100_000), 3000);
    assert_eq!(fill(host(1), 200_000), 0, "what it named is still there");
    let mut peer_list = PeerList::default();
    let liars = (0..300u16).map(|n| {
        PeerSource::Host(core::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n).into())
    });
    let named = (0x0800_0000u32..).map(|n| SocketAddr::new(n.to_be_bytes().into(), 1));
    let taken = liars
        .zip(named)
        .filter(|(liar, peer)| peer_list.add(Time::ZERO, *peer, *liar, &mut rng))
        .count();
    assert_eq!(taken, FROM_HOST_MAX, "the hosts of an IPv6 network are one");
}

#[test]
fn a_full_peer_list_has_room_for_peers_of_a_tracker() {
    let (mut peer_list, mut rng) = (PeerList::default(), Rng::from_seed(1));
    let peer = |n: u32| SocketAddr::new((0x0800_0000 + n).to_be_bytes().into(), 1);
    let named =
        (0..16).flat_map(|by| (0..250).map(move |n| (host(by), peer(u32::from(by) * 1000 + n))));
    assert_eq!(
        named.filter(|(by, peer)| peer_list.add(Time::ZERO, *peer, *by, &mut rng)).count(),
        ADDRESSES_MAX
    );
    let connected = peer_list.take(Time::ZERO).unwrap().addr;
    let failed = peer_list.take(Time::ZERO).unwrap().addr;
    peer_list.failed(Time::ZERO, failed);
    let tracker = PeerSource::Tracker([9, 9, 9, 100].into());
    let honest: Vec<SocketAddr> = (0..200).map(|n| peer(100_000 + n)).collect();
    assert!(honest.iter().all(|&peer| peer_list.add(Time::ZERO, peer, tracker, &mut rng)));
    assert_eq!(
        (peer_list.entries.len(), peer_list.named.values().sum::<usize>()),
        (ADDRESSES_MAX, ADDRESSES_MAX)
    );
    assert_eq!(
        (peer_list.knows(connected), peer_list.knows(failed)),
        (true, false),
        "what failed goes first, who is connected stays"
    );
}

#[test]
fn a_private_torrent_keeps_addresses_that_a_tracker_named_too() {
    let (mut peer_list, mut rng) = (PeerList::default(), Rng::from_seed(1));
    let peers = ["8.8.8.8:1", "8.8.8.8:2", "8.8.8.8:3"].map(addr);
    peers.iter().for_each(|&peer| assert!(peer_list.add(Time::ZERO, peer, host(1), &mut rng)));
    assert!(!peer_list.add(
        Time::ZERO,
        peers[1],
        PeerSource::Tracker([9, 9, 9, 2].into()),
        &mut rng
    ));
    assert!(!peer_list.add(Time::ZERO, peers[2], PeerSource::User, &mut rng));
    peer_list.forget_ignored_when_private();
    assert_eq!(peers.map(|peer| peer_list.knows(peer)), [false, true, true]);
    assert_eq!(peer_list.named.values().sum::<usize>(), 1);
}

#[test]
fn dials_follow_canonical_priority_once_our_address_is_known() {
    let (mut peer_list, mut rng) = (PeerList::default(), Rng::from_seed(1));
    let mut peers: Vec<SocketAddr> =
        (0..50u8).map(|n| SocketAddr::from(([8, n, n, n], 1))).collect();
    peers[..25]
        .iter()
        .for_each(|&peer| assert!(peer_list.add(Time::ZERO, peer, host(1), &mut rng)));
    peer_list.take(Time::ZERO);
    let ours = IpAddr::from([123, 213, 32, 10]);
    peer_list.set_ours(ours);
    peers[25..]
        .iter()
        .for_each(|&peer| assert!(peer_list.add(Time::ZERO, peer, host(1), &mut rng)));
    peers.sort_by_key(|&peer| canonical_priority::canonical_priority(&[ours], peer));
    let taken: Vec<SocketAddr> =
        core::iter::from_fn(|| peer_list.take(Time::ZERO)).map(|dial| dial.addr).collect();
    peers.retain(|peer| taken.contains(peer));
    assert_eq!((taken.len(), taken), (49, peers));
}
