//! Eviction from full stores of other nodes' data.
//!
//! Decides: which entry goes.
//! Must not know: what is stored.
//! Invariant: no network displaces an entry of a network that has no more than itself, so that one
//! network cannot fill a store.

use alloc::collections::BTreeMap;
use bt_types::{Closeness, Time, closeness, network};
use core::cmp::Reverse;
use core::net::IpAddr;

/// Picks the entry that gives way: the oldest of the network with most entries.
///
/// It is the newcomer's own oldest, when no network has more, and the oldest of all, when each has
/// one entry. Public networks are an IPv4 /24 and an IPv6 /48; other addresses count alone.
pub(crate) fn who_yields<K: Copy>(
    newcomer: IpAddr,
    entries: impl Iterator<Item = (IpAddr, Time, K)>,
) -> Option<K> {
    let mut crowds = BTreeMap::<IpAddr, (usize, Time, K)>::new();
    for (ip, since, key) in entries {
        let crowd = crowds.entry(crowd_of(ip)).or_insert((0, since, key));
        crowd.0 += 1;
        if since < crowd.1 {
            (crowd.1, crowd.2) = (since, key);
        }
    }
    let (most, _, key) =
        crowds.values().max_by_key(|(count, since, _)| (*count, Reverse(*since)))?;
    let own = crowds.get(&crowd_of(newcomer)).filter(|(count, ..)| count >= most);
    Some(own.map_or(*key, |own| own.2))
}

/// Returns the network that an address counts for: a public network, or the address itself if it is
/// not public.
pub(crate) fn crowd_of(ip: IpAddr) -> IpAddr {
    if closeness(ip) == Some(Closeness::Public) { network(ip) } else { ip }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_most_crowded_goes() {
        let table: [(&[&str], &str, Option<usize>); 8] = [
            (&[], "1.1.1.1", None),
            (&["1.1.1.1", "2.2.2.2"], "3.3.3.3", Some(0)),
            (&["1.1.1.1", "2.2.2.2"], "2.2.2.9", Some(1)),
            (&["1.1.1.1", "2.2.2.2", "2.2.2.3"], "3.3.3.3", Some(1)),
            (&["1.1.1.1", "2.2.2.2", "2.2.2.3"], "1.1.1.9", Some(1)),
            (&["1.1.1.1", "1.1.1.2", "2.2.2.2", "2.2.2.3"], "2.2.2.4", Some(2)),
            (&["1.1.1.1", "2a00:1:2:3::1", "2a00:1:2:4::1"], "3.3.3.3", Some(1)),
            (&["1.1.1.1", "127.0.0.2", "127.0.0.3"], "127.0.0.4", Some(0)),
        ];
        for (held, newcomer, gone) in table {
            let entries = held
                .iter()
                .enumerate()
                .map(|(n, ip)| (ip.parse().unwrap(), Time::from_secs(n as u64), n));
            assert_eq!(
                who_yields(newcomer.parse().unwrap(), entries),
                gone,
                "{newcomer} to {held:?}"
            );
        }
    }
}
