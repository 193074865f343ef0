//! Parses and writes the messages by which two peers that cannot be reached connect through a third
//! peer (BEP 55, `ut_holepunch`).
//!
//! Decides: their bytes. Must not know: which peers are connected.
//! Invariant: a message is exactly as long as its address family says.

use crate::WireFault;
use alloc::vec::Vec;
use bt_types::{normalise, push_compact};
use core::net::{IpAddr, SocketAddr};

/// One `ut_holepunch` message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HolepunchMessage {
    /// "Introduce me to this peer."
    Rendezvous(SocketAddr),
    /// "Connect to this peer now: it connects to you."
    Connect(SocketAddr),
    /// "I cannot introduce you to this peer."
    Error(SocketAddr, HolepunchFault),
}

/// Why a peer cannot introduce another peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HolepunchFault {
    /// The address cannot be that of a peer.
    NoSuchPeer,
    /// It is not connected to that peer.
    NotConnected,
    /// That peer does not support the extension.
    NoSupport,
    /// The address is its own.
    NoSelf,
    /// A code that the BEP does not define.
    Unknown(u32),
}

impl HolepunchFault {
    fn from_code(code: u32) -> HolepunchFault {
        match code {
            1 => HolepunchFault::NoSuchPeer,
            2 => HolepunchFault::NotConnected,
            3 => HolepunchFault::NoSupport,
            4 => HolepunchFault::NoSelf,
            other => HolepunchFault::Unknown(other),
        }
    }

    fn code(self) -> u32 {
        match self {
            HolepunchFault::NoSuchPeer => 1,
            HolepunchFault::NotConnected => 2,
            HolepunchFault::NoSupport => 3,
            HolepunchFault::NoSelf => 4,
            HolepunchFault::Unknown(code) => code,
        }
    }
}

impl HolepunchMessage {
    /// Parses the payload behind the id of an extended message.
    pub fn parse(payload: &[u8]) -> Result<HolepunchMessage, WireFault> {
        read(payload).ok_or(WireFault::Extension("ut_holepunch"))
    }

    /// Returns the payload behind the id of an extended message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, addr, code) = match *self {
            HolepunchMessage::Rendezvous(addr) => (0, addr, 0),
            HolepunchMessage::Connect(addr) => (1, addr, 0),
            HolepunchMessage::Error(addr, fault) => (2, addr, fault.code()),
        };
        let mut bytes = [kind, u8::from(normalise(addr.ip()).is_ipv6())].to_vec();
        push_compact(&mut bytes, addr);
        bytes.extend_from_slice(&code.to_be_bytes());
        bytes
    }
}

fn read(payload: &[u8]) -> Option<HolepunchMessage> {
    let (&[kind, family], rest) = payload.split_first_chunk::<2>()?;
    let (ip, rest) = match family {
        0 => rest.split_first_chunk::<4>().map(|(ip, rest)| (IpAddr::from(*ip), rest)),
        1 => rest.split_first_chunk::<16>().map(|(ip, rest)| (normalise(IpAddr::from(*ip)), rest)),
        _ => None,
    }?;
    let (port, code) = rest.split_first_chunk::<2>()?;
    let addr = SocketAddr::new(ip, u16::from_be_bytes(*port));
    let code = u32::from_be_bytes(code.try_into().ok()?);
    match kind {
        0 => Some(HolepunchMessage::Rendezvous(addr)),
        1 => Some(HolepunchMessage::Connect(addr)),
        2 => Some(HolepunchMessage::Error(addr, HolepunchFault::from_code(code))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_as_bep_55_says() {
        let v4: SocketAddr = "1.2.3.4:258".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:3".parse().unwrap();
        let table = [
            (HolepunchMessage::Rendezvous(v4), &b"\0\0\x01\x02\x03\x04\x01\x02\0\0\0\0"[..]),
            (
                HolepunchMessage::Connect(v6),
                b"\x01\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x03\0\0\0\0",
            ),
            (
                HolepunchMessage::Error(v4, HolepunchFault::NoSelf),
                b"\x02\0\x01\x02\x03\x04\x01\x02\0\0\0\x04",
            ),
            (
                HolepunchMessage::Error(v4, HolepunchFault::Unknown(9)),
                b"\x02\0\x01\x02\x03\x04\x01\x02\0\0\0\x09",
            ),
        ];
        for (message, bytes) in table {
            assert_eq!(message.to_bytes(), bytes);
            assert_eq!(HolepunchMessage::parse(bytes), Ok(message));
            for end in 0..bytes.len() {
                assert!(HolepunchMessage::parse(&bytes[..end]).is_err(), "{message:?} up to {end}");
            }
            assert!(
                HolepunchMessage::parse(&[bytes, b"\0"].concat()).is_err(),
                "{message:?} and more"
            );
        }
        for odd in [
            &b"\x03\0\x01\x02\x03\x04\x01\x02\0\0\0\0"[..],
            b"\0\x02\x01\x02\x03\x04\x01\x02\0\0\0\0",
        ] {
            assert_eq!(HolepunchMessage::parse(odd), Err(WireFault::Extension("ut_holepunch")));
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(bytes in prop::collection::vec(any::<u8>(), 0..30), kind in 0u8..4, family in 0u8..3) {
            let bytes = [&[kind, family], bytes.as_slice()].concat();
            if let Ok(message) = HolepunchMessage::parse(&bytes) {
                prop_assert_eq!(HolepunchMessage::parse(&message.to_bytes()), Ok(message));
            }
        }
    }
}
