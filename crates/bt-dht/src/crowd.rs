//! Who gives way where we store for others and nothing more fits.
//!
//! Decides: which entry goes. Must not know: what is stored.
//! Invariant: no network takes an entry of one that has no more than itself, so that one network cannot fill a store.

use alloc::collections::BTreeMap;
use bt_types::{Closeness, Time, closeness, network};
use core::cmp::Reverse;
use core::net::IpAddr;

/// The oldest entry of the network that has most of them: of the newcomer's own, when none has more; of any, when each has one.
/// Public networks are an IPv4 /24 and an IPv6 /48; near us each address counts for itself.
pub(crate) fn who_yields<K: Copy>(newcomer: IpAddr, entries: impl Iterator<Item = (IpAddr, Time, K)>) -> Option<K> {
    let mut crowds = BTreeMap::<IpAddr, (usize, Time, K)>::new();
    for (ip, since, key) in entries {
        let crowd = crowds.entry(crowd_of(ip)).or_insert((0, since, key));
        crowd.0 += 1;
        if since < crowd.1 {
            (crowd.1, crowd.2) = (since, key);
        }
    }
    let (most, _, key) = crowds.values().max_by_key(|(count, since, _)| (*count, Reverse(*since)))?;
    let own = crowds.get(&crowd_of(newcomer)).filter(|(count, ..)| count >= most);
    Some(own.map_or(*key, |own| own.2))
}

/// What counts as one: a public network, or an address near us.
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
            let entries = held.iter().enumerate().map(|(n, ip)| (ip.parse().unwrap(), Time::from_secs(n as u64), n));
            assert_eq!(who_yields(newcomer.parse().unwrap(), entries), gone, "{newcomer} to {held:?}");
        }
    }
}
