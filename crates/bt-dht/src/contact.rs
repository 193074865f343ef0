//! Nodes by id and address, and their compact form (BEP 5, BEP 32).
//!
//! Decides: which of the two DHTs an address belongs to.
//! Must not know: whether a node is alive.
//! Invariant: a contact's address is never an IPv4 address mapped into IPv6.

use crate::id::Id;
use alloc::vec::Vec;
use bt_types::{Closeness, closeness, compact_v4, compact_v6, normalise, push_compact, subscriber};
use core::net::{IpAddr, SocketAddr};

/// The DHT of IPv4 or the DHT of IPv6 (BEP 32).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// A node: its id and address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Contact {
    /// Its id.
    pub id: Id,
    /// Its UDP address.
    pub addr: SocketAddr,
}

impl Family {
    /// Returns the family of an address.
    pub fn of(addr: SocketAddr) -> Family {
        if normalise(addr.ip()).is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Returns the address with an IPv4 address mapped into IPv6 as IPv4.
pub(crate) fn plain(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(normalise(addr.ip()), addr.port())
}

/// Returns the network of an address that one operator can own whole: /24 of IPv4, /56 of IPv6.
/// Addresses that are not public count alone: one operator owns the whole local network, and the
/// ports of this machine.
pub(crate) fn network_of(addr: SocketAddr) -> SocketAddr {
    if closeness(addr.ip()) != Some(Closeness::Public) {
        return addr;
    }
    let ip = match normalise(addr.ip()) {
        IpAddr::V4(ip) => IpAddr::from((ip.to_bits() & 0xffff_ff00).to_be_bytes()),
        IpAddr::V6(ip) => IpAddr::from((ip.to_bits() & !((1 << 72) - 1)).to_be_bytes()),
    };
    SocketAddr::new(ip, 0)
}

/// Returns whether two addresses belong to the same subscriber, so that only one of them counts. On
/// hosts that are not public, and on this machine, each port counts alone.
pub(crate) fn same_host(one: SocketAddr, other: SocketAddr) -> bool {
    if closeness(one.ip()) == Some(Closeness::Public) {
        subscriber(one.ip()) == subscriber(other.ip())
    } else {
        one == other
    }
}

/// Writes the compact form of contacts of one family; others are left out.
pub(crate) fn compact(contacts: &[Contact], family: Family) -> Vec<u8> {
    let mut out = Vec::new();
    for contact in contacts.iter().filter(|contact| Family::of(contact.addr) == family) {
        out.extend_from_slice(&contact.id.0);
        push_compact(&mut out, contact.addr);
    }
    out
}

/// Reads `nodes` or `nodes6`; `None` when the length is not a multiple of 26 or 38.
pub(crate) fn read_compact(bytes: &[u8], family: Family) -> Option<Vec<Contact>> {
    let contact = |chunk: &[u8]| {
        let (id, addr) = chunk.split_first_chunk::<20>()?;
        let addr = match family {
            Family::V4 => compact_v4(addr).next()?,
            Family::V6 => compact_v6(addr).next()?,
        };
        Some(Contact { id: Id(*id), addr })
    };
    let len = match family {
        Family::V4 => 26,
        Family::V6 => 38,
    };
    let chunks = bytes.chunks_exact(len);
    if chunks.remainder().is_empty() { chunks.map(contact).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn compact_forms_round_trip_and_odd_lengths_are_refused() {
        for (text, family, len) in
            [("1.2.3.4:5", Family::V4, 26), ("[2001:db8::1]:9", Family::V6, 38)]
        {
            let contact = Contact { id: Id([7; 20]), addr: addr(text) };
            let bytes = compact(&[contact, contact], family);
            assert_eq!(bytes.len(), 2 * len);
            assert_eq!(read_compact(&bytes, family), Some([contact, contact].into()));
            assert_eq!(read_compact(&bytes[1..], family), None);
        }
    }

    #[test]
    fn an_owner_has_a_network_and_a_machine() {
        for (one, other, same_network, same_machine) in [
            ("5.6.7.8:1", "5.6.7.9:1", true, false),
            ("5.6.7.8:1", "5.6.7.8:2", true, true),
            ("5.6.7.8:1", "5.6.8.8:1", false, false),
            ("[2a00:1:2:300::1]:1", "[2a00:1:2:3ff::2]:1", true, false),
            ("[2a00:1:2:300::1]:1", "[2a00:1:2:400::1]:1", false, false),
            ("10.0.0.1:1", "10.0.0.2:1", false, false),
            ("127.0.0.1:1", "127.0.0.1:2", false, false),
        ] {
            let (one, other) = (addr(one), addr(other));
            assert_eq!(
                (network_of(one) == network_of(other), same_host(one, other)),
                (same_network, same_machine),
                "{one} {other}"
            );
        }
    }
}
