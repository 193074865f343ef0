//! The pool beside maps of roles.
//!
//! Decides: which steps are played. Must not know: blocks and pages.
//! Invariant: both hold the same peers after each step.

use super::*;
use crate::peer::{Meta, V4, V6};
use bt_types::Rng;
use core::net::SocketAddr;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn addr(v6: bool, number: u32) -> SocketAddr {
    // Every third peer is of one subscriber.
    let (host, port) = if number.is_multiple_of(3) { (0, number) } else { (number, 1) };
    match v6 {
        false => (std::net::Ipv4Addr::from(0x0808_0000 + host), port as u16 + 1).into(),
        true => {
            let ip = 0x2001_0db8_u128 << 96 | u128::from(host) << 64;
            (std::net::Ipv6Addr::from(ip), port as u16 + 1).into()
        }
    }
}

fn peer<P: Peer>(v6: bool, number: u32) -> P {
    let addr = addr(v6, number);
    P::new(addr, Meta::default()).unwrap()
}

const ROLES: [Role; 3] = [Role::Leecher, Role::Partial, Role::Seed];

/// Plays steps on two swarms of a pool, and on maps beside them.
fn agrees<P: Peer + PartialEq + core::fmt::Debug>(v6: bool, steps: Vec<(u8, u8, bool)>) {
    let hash = KeyedHash::new(&mut Rng::from_seed(1));
    let (mut pool, mut budget) = (Pool::<P>::new(hash), Budget::new(1 << 30));
    let mut swarms = [Peers::EMPTY; 2];
    let mut models: [BTreeMap<u32, Role>; 2] = Default::default();
    for (kind, number, which) in steps {
        let (peers, model) = (&mut swarms[usize::from(which)], &mut models[usize::from(which)]);
        let role = ROLES[usize::from(kind % 3)];
        // Runs of peers come and go, so swarms cross every size.
        for number in u32::from(number)..u32::from(number) + 40 {
            let found = pool.find(*peers, peer(v6, number));
            assert_eq!(found.map(|at| peers.role(at)), model.get(&number).copied());
            match (found, kind % 8) {
                (Some(at), 0..4) => {
                    pool.remove(peers, at, &mut budget);
                    model.remove(&number);
                }
                (Some(at), _) => {
                    let at = pool.set_role(peers, at, role);
                    assert_eq!(pool.get(*peers, at), peer(v6, number));
                    model.insert(number, role);
                }
                (None, 0..4) if kind % 8 == 3 && peers.len() > 0 => {
                    let at = u32::from(kind) % peers.len();
                    let before = (0..400).find(|&n| pool.find(*peers, peer(v6, n)) == Some(at));
                    let at = pool.replace(peers, at, peer(v6, number), role, &mut budget);
                    assert_eq!(pool.get(*peers, at), peer(v6, number));
                    assert!(model.remove(&before.unwrap()).is_some());
                    model.insert(number, role);
                }
                (None, 0..4) => {}
                (None, _) => {
                    let at = pool.insert(peers, peer(v6, number), role, &mut budget).unwrap();
                    assert_eq!(pool.get(*peers, at), peer(v6, number));
                    model.insert(number, role);
                }
            }
        }
    }
    for (peers, model) in swarms.into_iter().zip(&models) {
        for role in ROLES {
            let range = peers.range(role);
            assert_eq!(range.len(), model.values().filter(|is| **is == role).count());
        }
        let found = (0..400).filter(|&number| pool.find(peers, peer(v6, number)).is_some()).count();
        assert_eq!(found, model.len());
    }
    for (peers, model) in swarms.iter_mut().zip(&mut models) {
        while peers.len() > 0 {
            pool.remove(peers, peers.len() / 2, &mut budget);
        }
        model.clear();
    }
    assert!(pool.large.iter().all(|large| large.index.bytes() == 0 && large.pages.is_empty()));
}

proptest! {
    #[test]
    fn a_pool_agrees_with_maps_v4(steps: Vec<(u8, u8, bool)>) {
        agrees::<V4>(false, steps);
    }

    #[test]
    fn a_pool_agrees_with_maps_v6(steps: Vec<(u8, u8, bool)>) {
        agrees::<V6>(true, steps);
    }
}

#[test]
fn peers_of_one_chain_that_change_places_are_found() {
    let steps = [
        (63, 203, true),
        (39, 12, true),
        (109, 20, true),
        (70, 64, true),
        (124, 21, true),
        (20, 104, true),
        (228, 238, true),
        (0, 133, false),
    ];
    agrees::<V4>(false, steps.into());
}

#[test]
fn a_subscriber_is_crowded_at_64_peers_whatever_the_size_of_the_swarm() {
    let hash = KeyedHash::new(&mut Rng::from_seed(1));
    for others in [0, 1, 1_000] {
        let (mut pool, mut budget) = (Pool::<V4>::new(hash.clone()), Budget::new(1 << 30));
        let mut peers = Peers::EMPTY;
        let mut add = |pool: &mut Pool<V4>, addr: SocketAddr| {
            let peer = V4::new(addr, Meta::default()).unwrap();
            let crowded = pool.is_crowded(peers, peer);
            if !crowded {
                pool.insert(&mut peers, peer, Role::Seed, &mut budget).unwrap();
            }
            !crowded
        };
        for n in 0..others {
            assert!(add(&mut pool, (std::net::Ipv4Addr::from(0x0909_0000 + n), 1).into()));
        }
        for (ip, most) in [([8, 8, 8, 8], 64), ([127, 0, 0, 1], 100)] {
            let taken = (1..=100u16).filter(|&port| add(&mut pool, (ip, port).into())).count();
            assert_eq!(taken, most, "{ip:?} beside {others}");
        }
    }
}

#[test]
fn without_room_nothing_changes() {
    let hash = KeyedHash::new(&mut Rng::from_seed(1));
    for limit in [32_768, 32_768 + 256, 32_768 + 1_000, 70_000] {
        let (mut pool, mut budget) = (Pool::<V4>::new(hash.clone()), Budget::new(limit));
        let mut peers = Peers::EMPTY;
        let taken = (0..100_000)
            .map_while(|n| pool.insert(&mut peers, peer(false, n * 3 + 1), Role::Seed, &mut budget))
            .count() as u32;
        assert_eq!(peers.len(), taken);
        assert!(budget.held() <= limit);
        assert!((0..taken).all(|n| pool.find(peers, peer(false, n * 3 + 1)).is_some()));
        pool.remove(&mut peers, 0, &mut budget);
        assert!(pool.insert(&mut peers, peer(false, 1), Role::Seed, &mut budget).is_some());
    }
}
