//! The routing table's cases: which nodes are let in, which go.
//!
//! Decides: the cases.
//! Must not know: the inside of the buckets.
//! Invariant: every address is public unless a case says otherwise.

use super::*;
use crate::secure::secure_id;
use std::net::Ipv4Addr;

const NOW: Time = Time::from_secs(1);

fn addr(number: u32) -> SocketAddr {
    let [_, a, b, c] = (number * 256 + 1).to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(20 + a, b, c, 1).into(), 6881)
}

/// A node whose id shares `bits` bits with an own id of zeros, and does not follow from its
/// address.
fn node(bits: usize, number: u32) -> Contact {
    let id = Id([0; 20]).beside(bits, &mut Rng::from_seed(number.into()));
    Contact { id, addr: addr(number) }
}

fn table() -> Table {
    Table::new(Id([0; 20]))
}

/// Lets nodes answer, one after the other.
fn fill(table: &mut Table, now: Time, nodes: impl IntoIterator<Item = Contact>) {
    for node in nodes {
        table.answered(now, node);
    }
}

#[test]
fn a_bucket_holds_eight_and_the_ninth_waits_for_a_bad_one() {
    let mut table = table();
    let nodes: Vec<Contact> = (1..=9).map(|number| node(0, number)).collect();
    for node in &nodes {
        assert_eq!(table.answered(NOW, *node), None, "good nodes are not pinged");
    }
    assert_eq!(table.len(), K);
    assert!(!table.contacts().contains(&nodes[8]));
    table.failed(NOW, nodes[3]);
    assert!(table.contacts().contains(&nodes[3]), "one failure is forgiven");
    assert!(!table.closest(nodes[3].id, K).contains(&nodes[3]), "but it is not told to others");
    table.failed(NOW, nodes[3]);
    assert!(!table.contacts().contains(&nodes[3]) && table.contacts().contains(&nodes[8]));
}

#[test]
fn a_questionable_node_is_pinged_when_another_wants_its_place() {
    let mut table = table();
    let nodes: Vec<Contact> = (1..=9).map(|number| node(0, number)).collect();
    fill(&mut table, NOW, nodes.iter().take(K).copied());
    let late = NOW + FRESH_FOR;
    assert!(nodes.iter().skip(1).take(K - 1).all(|node| table.asked(late, *node)));
    assert_eq!(table.stalest(late), Some(nodes[0]));
    assert_eq!(table.answered(late, nodes[8]), Some(nodes[0]));
    table.answered(late, nodes[0]);
    assert_eq!(table.answered(late, node(0, 10)), None, "it answered, so it stays");
    assert_eq!(table.stalest(late), None);
}

#[test]
fn an_id_that_follows_from_its_address_takes_the_place_of_one_that_does_not() {
    let mut table = table();
    fill(&mut table, NOW, (1..=8).map(|number| node(0, number)));
    let mut rng = Rng::from_seed(1);
    let secure = (0..)
        .map(|_| secure_id(addr(100).ip(), &mut rng))
        .find(|id| id.shared_bits(table.own()) == 0);
    let secure = Contact { id: secure.unwrap(), addr: addr(100) };
    assert!(table.would_take(NOW, secure));
    table.answered(NOW, secure);
    assert!(table.contacts().contains(&secure) && table.len() == K);
}

#[test]
fn one_of_a_host_and_two_of_a_network() {
    let mut table = table();
    let at = |text: &str, bits| Contact { addr: text.parse().unwrap(), ..node(bits, 1) };
    for (text, bits, len) in [
        ("5.6.7.8:1", 0, 1),
        ("5.6.7.8:2", 1, 1),
        ("5.6.7.9:1", 2, 2),
        ("5.6.7.10:1", 3, 2),
        ("5.6.8.8:1", 4, 3),
        ("127.0.0.1:1", 5, 4),
        ("127.0.0.1:2", 6, 5),
        ("127.0.0.1:3", 7, 6),
    ] {
        table.answered(NOW, at(text, bits));
        assert_eq!(table.len(), len, "{text}");
    }
}

#[test]
fn nobody_takes_over_an_id() {
    let mut table = table();
    let first = node(0, 1);
    table.answered(NOW, first);
    let thief = Contact { addr: addr(2), ..first };
    table.answered(NOW, thief);
    assert!(!table.would_take(NOW, thief));
    assert!(!table.asked(NOW, thief));
    assert_eq!(table.contacts(), [first]);
    table.answered(NOW, Contact { id: table.own(), addr: addr(3) });
    assert_eq!(table.len(), 1, "our own id is not a node");
}

#[test]
fn the_closest_come_first_and_a_new_own_id_keeps_the_nodes() {
    let mut table = table();
    fill(
        &mut table,
        NOW,
        (0..50).map(|number| node(usize::try_from(number).unwrap() % 12, number)),
    );
    let target = node(3, 99).id;
    let closest = table.closest(target, K);
    assert!(closest.is_sorted_by_key(|contact| contact.id.distance(target)) && closest.len() == K);
    table.rename(NOW, target);
    assert!(table.len() >= 2 * K && table.own() == target);
    assert_eq!(table.closest(target, K), closest);
}

#[test]
fn a_bucket_that_does_not_change_is_refreshed_once() {
    let mut table = table();
    let mut rng = Rng::from_seed(1);
    fill(&mut table, NOW, (0..3).map(|bits| node(bits, 1 + u32::try_from(bits).unwrap())));
    assert_eq!(table.refresh(NOW, &mut rng), None);
    let late = NOW + FRESH_FOR;
    table.answered(late, node(1, 2));
    let refreshed: Vec<usize> = core::iter::from_fn(|| table.refresh(late, &mut rng))
        .map(|target| target.shared_bits(Id([0; 20])))
        .collect();
    assert_eq!(refreshed, [0, 2]);
}
