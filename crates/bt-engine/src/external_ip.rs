//! Finds our own address as other hosts see it (BEP 10 `yourip`, BEP 24).
//!
//! Decides: which address is believed. Must not know: what the address is used for.
//! Invariant: one vote for each host (an IPv4 address or a public IPv6 /64). An address needs two
//! equal votes to be believed. The table is bounded.

use alloc::collections::BTreeMap;
use bt_types::{Closeness, closeness, normalise, subscriber};
use core::net::IpAddr;

/// Most votes that are remembered; later hosts have no vote.
const VOTERS_MAX: usize = 64;
/// Votes that must agree.
const AGREEING_MIN: usize = 2;

/// The votes for our address.
#[derive(Debug, Default)]
pub(crate) struct ExternalIp {
    voters: BTreeMap<IpAddr, IpAddr>,
}

impl ExternalIp {
    /// Takes a host's vote for our address. Returns the address if it is believed now.
    pub(crate) fn on_vote(&mut self, voter: IpAddr, ours: IpAddr) -> Option<IpAddr> {
        let (voter, ours) = (subscriber(voter), normalise(ours));
        let is_heard = self.voters.len() < VOTERS_MAX || self.voters.contains_key(&voter);
        if closeness(ours) != Some(Closeness::Public)
            || !is_heard
            || self.voters.insert(voter, ours) == Some(ours)
        {
            return None;
        }
        let count = |addr| self.voters.values().filter(|said| **said == addr).count();
        let same_kind = self.voters.values().filter(|said| said.is_ipv4() == ours.is_ipv4());
        let most = same_kind.map(|said| count(*said)).max().unwrap_or(0);
        (count(ours) >= most.max(AGREEING_MIN)).then_some(ours)
    }

    /// Returns the vote of each host.
    pub(crate) fn votes(&self) -> impl Iterator<Item = IpAddr> {
        self.voters.values().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_agree_are_believed_until_more_say_otherwise() {
        let table = [
            ("9.0.0.1", "5.0.0.1", None),
            ("9.0.0.1", "5.0.0.1", None),
            ("9.0.0.2", "192.168.0.1", None),
            ("9.0.0.3", "5.0.0.2", None),
            ("9.0.0.4", "2001:db8::1", None),
            ("9.0.0.5", "5.0.0.1", Some("5.0.0.1")),
            ("9.0.0.6", "2001:db8::1", Some("2001:db8::1")),
            ("9.0.0.1", "5.0.0.2", Some("5.0.0.2")),
            ("9.0.0.7", "::ffff:5.0.0.2", Some("5.0.0.2")),
            ("9.0.0.8", "5.0.0.1", None),
        ];
        let mut external_ip = ExternalIp::default();
        for (voter, ours, believed) in table {
            let heard = external_ip.on_vote(voter.parse().unwrap(), ours.parse().unwrap());
            assert_eq!(heard, believed.map(|ip: &str| ip.parse().unwrap()), "{voter} says {ours}");
        }
        let mut alone = ExternalIp::default();
        let of_one_network = ["2a01::1", "2a01::2", "2a01::3"].map(|voter| voter.parse().unwrap());
        assert!(
            of_one_network.iter().all(|voter| alone.on_vote(*voter, [5, 0, 0, 1].into()).is_none()),
            "one host has one vote"
        );
        let mut crowd = ExternalIp::default();
        let heard = (0..200u8)
            .filter(|n| crowd.on_vote([9, 0, 0, *n].into(), [5, 0, 0, *n].into()).is_some())
            .count();
        assert_eq!((heard, crowd.voters.len()), (0, VOTERS_MAX));
    }
}
