//! Encodes addresses compactly (BEP 23, BEP 7), and rules which source may name which address.
//!
//! Decides: `may_name`. Must not know: the caller, or what is sent.
//! Invariant: a source never names an address that is closer to us than the source itself.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// How close an address is to us, from the farthest to this machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Closeness {
    /// Reachable from the whole Internet.
    Public,
    /// Private and shared ranges: 10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7.
    Private,
    /// The same link: 169.254/16, fe80::/10.
    Link,
    /// This machine: 127/8, ::1.
    Loopback,
}

/// The source of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The user: may name anything that can be connected to.
    User,
    /// A program that asks over an API, for a user: may name all but the same link, where clouds
    /// keep their secrets (169.254.169.254).
    Api,
    /// The author of a magnet link or a torrent file: unknown, whichever user opened it.
    Link,
    /// Another host, known by the address that we talk to it on: a tracker, a peer, a DHT node, a
    /// redirecting server.
    Host(IpAddr),
}

/// Unwraps an IPv4 address that was mapped into IPv6, so that one address has one form.
pub fn normalise(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// Applies [`normalise`] to an address with its port. A link-local IPv6 address keeps its scope:
/// without it nothing can be sent there.
pub fn normalise_addr(addr: SocketAddr) -> SocketAddr {
    match (normalise(addr.ip()), addr) {
        (IpAddr::V6(ip), SocketAddr::V6(v6)) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into()
        }
        (ip, addr) => SocketAddr::new(ip, addr.port()),
    }
}

/// Returns the range that one subscriber has at least, and that counts as one: an IPv4 address, or
/// a public IPv6 /64. Near us each address is a host of its own.
pub fn subscriber(ip: IpAddr) -> IpAddr {
    match normalise(ip) {
        IpAddr::V6(v6) if closeness(ip) == Some(Closeness::Public) => {
            Ipv6Addr::from(v6.to_bits() & !u128::from(u64::MAX)).into()
        }
        other => other,
    }
}

/// Returns the network of an address: an IPv4 /24 or IPv6 /48. One operator can own it whole, so
/// each counts as one.
pub fn network(ip: IpAddr) -> IpAddr {
    match normalise(ip) {
        IpAddr::V4(v4) => Ipv4Addr::from(v4.to_bits() & !0xff).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(v6.to_bits() & !(u128::MAX >> 48)).into(),
    }
}

/// Returns how close the address is to us; `None` if no host can be reached there (unspecified,
/// multicast, broadcast, 0/8, reserved).
///
/// IPv4 addresses inside IPv6 (mapped, translated, NAT64, 6to4, Teredo) count as the IPv4 address
/// that they lead to. Addresses under the prefix for local NAT64 (RFC 8215) and site-local
/// addresses are private: only the network knows where they lead.
pub fn closeness(ip: IpAddr) -> Option<Closeness> {
    match normalise(ip) {
        IpAddr::V4(v4) => closeness_v4(v4),
        IpAddr::V6(v6) => closeness_v6(v6),
    }
}

fn closeness_v4(ip: Ipv4Addr) -> Option<Closeness> {
    let [a, b, ..] = ip.octets();
    if a == 0 || a >= 224 {
        return None;
    }
    Some(if ip.is_loopback() {
        Closeness::Loopback
    } else if ip.is_link_local() {
        Closeness::Link
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        Closeness::Private
    } else {
        Closeness::Public
    })
}

fn closeness_v6(ip: Ipv6Addr) -> Option<Closeness> {
    if ip.is_unspecified() || ip.is_multicast() {
        return None;
    }
    if ip.is_loopback() {
        return Some(Closeness::Loopback);
    }
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        closeness_v4(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low] => embedded(high, low),
        // RFC 4380: the server, and at the end the client with every bit inverted.
        [0x2001, 0, high, low, _, _, not_high, not_low] => {
            embedded(high, low).max(embedded(!not_high, !not_low))
        }
        [0x64, 0xff9b, 1, ..] => Some(Closeness::Private),
        [first, ..] if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 => {
            Some(Closeness::Private)
        }
        [first, ..] if first & 0xffc0 == 0xfe80 => Some(Closeness::Link),
        _ => Some(Closeness::Public),
    }
}

/// Returns whether we may send to `addr` because `source` named it. The address must be reachable
/// and have a port, and must not be closer to us than the source. The user may name anything
/// reachable.
pub fn may_name(source: Source, addr: SocketAddr) -> bool {
    let Some(target) = closeness(addr.ip()) else { return false };
    addr.port() != 0
        && match source {
            Source::User => true,
            Source::Api => target != Closeness::Link,
            Source::Link => target == Closeness::Public,
            Source::Host(host) => closeness(host).is_some_and(|host| target <= host),
        }
}

/// Appends the compact form: 4 or 16 bytes of address, 2 of port, big endian (BEP 23, BEP 7).
pub fn push_compact(out: &mut Vec<u8>, addr: SocketAddr) {
    match normalise(addr.ip()) {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

/// Parses a compact IPv4 list, 6 bytes each; a shorter rest is dropped.
pub fn compact_v4(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    bytes.as_chunks::<6>().0.iter().map(|&[a, b, c, d, high, low]| {
        SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))
    })
}

/// Parses a compact IPv6 list, 18 bytes each; a shorter rest is dropped. Mapped IPv4 addresses are
/// unwrapped.
pub fn compact_v6(bytes: &[u8]) -> impl Iterator<Item = SocketAddr> + '_ {
    bytes.as_chunks::<18>().0.iter().map(|&[ref ip @ .., high, low]: &[u8; 18]| {
        let ip = <[u8; 16]>::try_from(ip.as_slice()).unwrap_or_default();
        SocketAddr::new(normalise(Ipv6Addr::from(ip).into()), u16::from_be_bytes([high, low]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_names_an_address_closer_than_itself() {
        let table = [
            ("1.2.3.4", "5.6.7.8:1", true),
            ("1.2.3.4", "10.0.0.1:1", false),
            ("1.2.3.4", "169.254.169.254:80", false),
            ("1.2.3.4", "127.0.0.1:1", false),
            ("1.2.3.4", "[::ffff:127.0.0.1]:1", false),
            ("1.2.3.4", "[64:ff9b::7f00:1]:1", false),
            ("1.2.3.4", "[2002:7f00:1::]:1", false),
            ("1.2.3.4", "[64:ff9b:1::1.2.3.4]:1", false),
            ("1.2.3.4", "[::ffff:0:10.0.0.1]:1", false),
            ("1.2.3.4", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]:1", true),
            ("1.2.3.4", "[2001:0:4136:e378:8000:63bf:f5ff:fffe]:1", false),
            ("1.2.3.4", "[2001:0:a00:1:8000:63bf:3fff:fdd2]:1", false),
            ("1.2.3.4", "[fec0::1]:1", false),
            ("1.2.3.4", "[2002:808:808::]:1", true),
            ("1.2.3.4", "[::1]:1", false),
            ("1.2.3.4", "[fd00::1]:1", false),
            ("192.168.1.1", "10.0.0.1:1", true),
            ("192.168.1.1", "127.0.0.1:1", false),
            ("192.168.1.1", "8.8.8.8:1", true),
            ("127.0.0.1", "127.0.0.1:1", true),
            ("127.0.0.1", "10.0.0.1:1", true),
            ("::1", "127.0.0.1:1", true),
            ("127.0.0.1", "0.0.0.0:1", false),
            ("127.0.0.1", "224.0.0.1:1", false),
            ("127.0.0.1", "[ff02::1]:1", false),
            ("127.0.0.1", "127.0.0.1:0", false),
        ];
        for (source, target, allowed) in table {
            assert_eq!(
                may_name(Source::Host(ip(source)), target.parse().unwrap()),
                allowed,
                "{source} names {target}"
            );
        }
        for (target, allowed) in [
            ("8.8.8.8:1", true),
            ("10.0.0.1:1", false),
            ("127.0.0.1:1", false),
            ("[fe80::1]:1", false),
        ] {
            assert_eq!(
                may_name(Source::Link, target.parse().unwrap()),
                allowed,
                "a link names {target}"
            );
        }
        assert!(may_name(Source::User, "127.0.0.1:9".parse().unwrap()));
        assert!(!may_name(Source::User, "0.0.0.0:9".parse().unwrap()));
        for (target, may) in [
            ("127.0.0.1:9696", true),
            ("192.168.1.2:80", true),
            ("1.2.3.4:80", true),
            ("169.254.169.254:80", false),
            ("[fe80::1]:80", false),
            ("[::ffff:169.254.169.254]:80", false),
            ("[64:ff9b::a9fe:a9fe]:80", false),
        ] {
            assert_eq!(may_name(Source::Api, target.parse().unwrap()), may, "{target}");
        }
    }

    #[test]
    fn compact_forms_round_trip() {
        let (v4, v6): (SocketAddr, SocketAddr) =
            ("1.2.3.4:5".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap());
        let mut bytes = Vec::new();
        push_compact(&mut bytes, v4);
        assert!(compact_v4(&bytes).eq([v4]));
        bytes.clear();
        push_compact(&mut bytes, v6);
        bytes.push(0);
        assert!(compact_v6(&bytes).eq([v6]), "a rest is dropped");
    }

    #[test]
    fn a_link_local_address_keeps_its_scope() {
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 5, 7, 3);
        assert_eq!(
            normalise_addr(scoped.into()),
            SocketAddrV6::new("fe80::1".parse().unwrap(), 5, 0, 3).into()
        );
        let global = SocketAddrV6::new("2001:db8::1".parse().unwrap(), 5, 7, 3);
        assert_eq!(normalise_addr(global.into()), "[2001:db8::1]:5".parse().unwrap());
        assert_eq!(
            normalise_addr("[::ffff:1.2.3.4]:5".parse().unwrap()),
            "1.2.3.4:5".parse().unwrap()
        );
    }

    #[test]
    fn a_network_is_24_or_48_bits() {
        let table = [
            ("1.2.3.4", "1.2.3.0"),
            ("::ffff:1.2.3.4", "1.2.3.0"),
            ("127.0.0.1", "127.0.0.0"),
            ("2a01:1:2:3:4::5", "2a01:1:2::"),
            ("fd77::1", "fd77::"),
        ];
        for (ip, of) in table {
            assert_eq!(network(ip.parse().unwrap()), of.parse::<IpAddr>().unwrap(), "{ip}");
        }
    }

    #[test]
    fn a_subscriber_has_an_address_or_a_network() {
        let table = [
            ("9.9.9.9", "9.9.9.9"),
            ("::ffff:9.9.9.9", "9.9.9.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("fd77::1", "fd77::1"),
            ("::1", "::1"),
        ];
        for (ip, of) in table {
            assert_eq!(subscriber(ip.parse().unwrap()), of.parse::<IpAddr>().unwrap(), "{ip}");
        }
    }
}
