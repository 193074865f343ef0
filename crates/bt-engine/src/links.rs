//! Holds the connections of a swarm, by key and by the peer id at their other end.
//!
//! Decides: when two connections lead to one peer. Must not know: which of them stays.
//! Invariant: `ids` has an entry for each connection.

use crate::io::PeerKey;
use crate::peer_link::PeerLink;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bt_types::{Closeness, PeerId, Time, closeness, normalise};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The connections of a swarm.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub(crate) by_key: BTreeMap<PeerKey, PeerLink>,
    /// The connections of each peer id.
    pub(crate) ids: BTreeSet<(PeerId, IpAddr, PeerKey)>,
    /// The addresses of a peer whose connection is being replaced by another connection.
    pub(crate) inherited_addrs: Vec<SocketAddr>,
    /// Connections that we dialled.
    pub(crate) outbound: usize,
    /// Most connections that the user wants; `None` means the limit of all torrents.
    pub(crate) most: Option<u32>,
}

impl Links {
    /// Returns the connection to the peer that has this id and may be at this address. Among
    /// several it prefers a connection that is alive, then a connection that we dialled.
    pub(crate) fn twin(&self, now: Time, id: PeerId, ip: IpAddr) -> Option<PeerKey> {
        let (first, last) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::from_bits(u128::MAX).into());
        let of_id = self.ids.range((id, first, PeerKey(0))..=(id, last, PeerKey(u64::MAX)));
        let twins =
            of_id.filter(|(_, other, _)| may_be_one(*other, normalise(ip))).map(|(.., key)| *key);
        twins.max_by_key(|key| {
            self.by_key.get(key).map(|twin| (twin.is_alive(now), twin.outbound, twin.heard))
        })
    }

    /// Returns the address to dial a peer at, or that it connected from, and its other addresses.
    pub(crate) fn addresses(&self, peer: PeerKey) -> impl Iterator<Item = SocketAddr> {
        let link = self.by_key.get(&peer).into_iter();
        link.flat_map(|link| core::iter::once(link.address()).chain(link.aliases.iter().copied()))
    }
}

/// Returns whether one peer id at two addresses counts as one peer. An id alone proves nothing,
/// since it can be copied. But a host may have an address of each family, and several on networks
/// near us. Two public ones of one family are rarer than a copy.
fn may_be_one(one: IpAddr, other: IpAddr) -> bool {
    let is_near = |ip| closeness(ip) != Some(Closeness::Public);
    one == other || one.is_ipv4() != other.is_ipv4() || (is_near(one) && is_near(other))
}
