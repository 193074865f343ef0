//! The network interfaces on which neighbours can be heard.
//!
//! Decides: which interfaces count, and which addresses are on their networks.
//! Must not know: what is announced there.
//! Invariant: an address is a neighbour's only if it is on the network of an interface that we
//! listen on.

use bt_types::normalise;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An interface that is up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Interface {
    /// The system's number of the interface.
    pub(crate) index: u32,
    /// One of its addresses, if it has IPv4 and we listen on it there.
    pub(crate) v4: Option<Ipv4Addr>,
    /// Whether it has IPv6 and we listen on it there.
    pub(crate) v6: bool,
    is_loopback: bool,
    networks: Vec<Network>,
}

/// An address of an interface, and the length of its network's prefix in bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    ip: IpAddr,
    prefix: u32,
}

impl Network {
    fn contains(&self, other: IpAddr) -> bool {
        match (self.ip, other) {
            (IpAddr::V4(ip), IpAddr::V4(other)) => {
                (ip.to_bits() ^ other.to_bits()).leading_zeros() >= self.prefix
            }
            (IpAddr::V6(ip), IpAddr::V6(other)) => {
                (ip.to_bits() ^ other.to_bits()).leading_zeros() >= self.prefix
            }
            _ => false,
        }
    }
}

/// Finds the interfaces that are up, can multicast, and have an address of one of these listeners.
///
/// Loopback counts only if no other interface is found.
pub(crate) fn find(listen: &[SocketAddr]) -> io::Result<Vec<Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in getifaddrs()? {
        let is_loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let can_multicast = is_loopback || entry.flags.contains(InterfaceFlags::IFF_MULTICAST);
        let (Some(ip), Some(mask)) =
            (entry.address.as_ref().and_then(ip_of), entry.netmask.as_ref().and_then(ip_of))
        else {
            continue;
        };
        if !entry.flags.contains(InterfaceFlags::IFF_UP) || !can_multicast || !takes(listen, ip) {
            continue;
        }
        let index = if_nametoindex(entry.interface_name.as_str())?;
        let interface = found.entry(entry.interface_name).or_insert_with(|| Interface {
            index,
            is_loopback,
            ..Interface::default()
        });
        match ip {
            IpAddr::V4(ip) => interface.v4 = interface.v4.or(Some(ip)),
            IpAddr::V6(_) => interface.v6 = true,
        }
        interface.networks.push(Network { ip, prefix: prefix_of(mask) });
    }
    let mut found: Vec<Interface> = found.into_values().collect();
    if found.iter().any(|interface| !interface.is_loopback) {
        found.retain(|interface| !interface.is_loopback);
    }
    Ok(found)
}

/// Returns whether the host at this address is on the network of one of the interfaces.
pub(crate) fn is_neighbour(interfaces: &[Interface], ip: IpAddr) -> bool {
    interfaces
        .iter()
        .flat_map(|interface| &interface.networks)
        .any(|network| network.contains(normalise(ip)))
}

/// Returns whether we accept connections to this address of ours.
fn takes(listen: &[SocketAddr], ip: IpAddr) -> bool {
    listen
        .iter()
        .any(|at| at.is_ipv4() == ip.is_ipv4() && (at.ip().is_unspecified() || at.ip() == ip))
}

/// Looks up the number of a network interface: the scope of link-local addresses on it.
pub fn interface_index(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

/// Returns the IP address in a socket address of the system.
pub(crate) fn ip_of(addr: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = addr.as_sockaddr_in().map(|addr| IpAddr::from(addr.ip()));
    v4.or_else(|| addr.as_sockaddr_in6().map(|addr| IpAddr::from(addr.ip())))
}

fn prefix_of(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_network_with_us() {
        let network = |ip: &str, prefix| Network { ip: ip.parse().unwrap(), prefix };
        let networks = vec![network("10.77.0.1", 24), network("fd77::1", 64)];
        let interfaces = [Interface { networks, ..Interface::default() }];
        for (ip, expected) in [
            ("10.77.0.200", true),
            ("::ffff:10.77.0.200", true),
            ("10.77.1.1", false),
            ("8.8.8.8", false),
            ("127.0.0.1", false),
            ("fd77::abcd", true),
            ("fd77:0:0:1::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_neighbour(&interfaces, ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn a_session_on_loopback_uses_lsd_on_loopback_alone() {
        let found = find(&["127.0.0.1:6881".parse().unwrap()]).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].is_loopback && found[0].v4 == Some(Ipv4Addr::LOCALHOST) && !found[0].v6,
            "{found:?}"
        );
        assert!(is_neighbour(&found, "127.0.0.5".parse().unwrap()));
    }
}
