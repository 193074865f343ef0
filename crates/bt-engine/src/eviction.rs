//! Picks the connection that makes room for a newcomer: places are shared by networks, not by
//! connections.
//!
//! Decides: which of the given connections may go. Must not know: the kind of the places.
//! Invariant: a newcomer never displaces a connection of another network that has no more
//! connections than its own network.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bt_types::{Time, network};
use core::net::IpAddr;

/// Returns the connections of the networks that have the most, if that is more than the newcomer's
/// network has. Else returns those of the newcomer's network, which may displace its own. Keeps the
/// order in which they were given.
pub(crate) fn give_way<K: Copy>(
    newcomer: IpAddr,
    here: impl Iterator<Item = (K, IpAddr)> + Clone,
) -> Vec<K> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    here.clone().for_each(|(_, ip)| *counts.entry(network(ip)).or_default() += 1);
    let home = network(newcomer);
    let of = |net: IpAddr| counts.get(&net).copied().unwrap_or(0);
    let most = counts.values().copied().max().unwrap_or(0);
    let goes =
        |ip: IpAddr| if most > of(home) { of(network(ip)) == most } else { network(ip) == home };
    here.filter(|(_, ip)| goes(*ip)).map(|(key, _)| key).collect()
}

/// Orders the waiting connections for admission: networks with the fewest waiting come first, then
/// the longest wait.
pub(crate) fn fewest_first<K: Copy>(waiting: &[(K, IpAddr, Time)]) -> Vec<K> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    waiting.iter().for_each(|(_, ip, _)| *counts.entry(network(*ip)).or_default() += 1);
    let mut order: Vec<&(K, IpAddr, Time)> = waiting.iter().collect();
    order.sort_by_key(|(_, ip, since)| (counts.get(&network(*ip)).copied(), *since));
    order.into_iter().map(|(key, ..)| *key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn a_peer_of_a_rare_network_is_served_before_many_of_one_network() {
        let waits = |key: u8, ip: &str, since| (key, ip.parse().unwrap(), Time::from_secs(since));
        let waiting = [
            waits(1, "2.1.1.1", 1),
            waits(2, "2.1.1.2", 2),
            waits(3, "3.1.1.1", 9),
            waits(4, "4.1.1.1", 8),
        ];
        assert_eq!(fewest_first(&waiting), [4, 3, 1, 2]);
    }

    #[test]
    fn the_most_crowded_network_gives_way() {
        let table = [
            ("no peer is here", "1.1.1.1", vec![], vec![]),
            ("one of another network", "1.1.1.1", vec!["2.1.1.1"], vec![0]),
            (
                "the most crowded one",
                "1.1.1.1",
                vec!["2.1.1.1", "3.1.1.1", "2.1.1.9", "4.1.1.1"],
                vec![0, 2],
            ),
            (
                "a network with less than another",
                "2.1.1.1",
                vec!["2.1.1.2", "3.1.1.1", "3.1.1.2"],
                vec![1, 2],
            ),
            (
                "a network that has the most pushes out its own",
                "2.1.1.1",
                vec!["2.1.1.2", "3.1.1.1", "2.1.1.4"],
                vec![0, 2],
            ),
            ("as many as others: its own", "2.1.1.1", vec!["3.1.1.2", "2.1.1.3"], vec![1]),
            ("all of one network", "127.0.0.1", vec!["127.0.0.1", "127.0.0.2"], vec![0, 1]),
            (
                "IPv6 counts by 48 bits",
                "2a01:1:1::1",
                vec!["2a01:2:2:1::1", "2a01:3:3::1", "2a01:2:2:2::1"],
                vec![0, 2],
            ),
        ];
        for (case, newcomer, here, go) in table {
            let here = here.iter().map(|ip| ip.parse().unwrap()).enumerate();
            assert_eq!(give_way(newcomer.parse().unwrap(), here), go, "{case}");
        }
    }
}
