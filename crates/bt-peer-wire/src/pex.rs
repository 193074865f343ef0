//! Parses and writes the messages in which peers tell each other of peers (BEP 11, `ut_pex`).
//!
//! Decides: their bytes, and how many entries are read. Must not know: which peers are told, or how
//! often.
//! Invariant: at most [`PEX_ENTRIES_MAX`] entries of a kind come out of a message, even of a long
//! message.

use crate::{LENIENT, WireFault};
use alloc::vec::Vec;
use bt_bencoding::{Cursor, DictWriter, Kind, write};
use bt_types::{compact_v4, compact_v6, normalise, push_compact};
use core::net::SocketAddr;

/// Most entries of one kind that are read from a message; later entries are ignored.
pub const PEX_ENTRIES_MAX: usize = 200;

/// The flags of a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct PexFlags(pub u8);

impl PexFlags {
    /// The peer has everything, or downloads nothing.
    pub const SEED: u8 = 0x02;
    /// Connections to the peer succeed.
    pub const REACHABLE: u8 = 0x10;

    /// Returns whether the peer has everything, or downloads nothing.
    pub fn is_seed(self) -> bool {
        self.0 & PexFlags::SEED != 0
    }
}

/// One `ut_pex` message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PexMessage {
    /// Peers that the sender has connected to since its last message.
    pub added: Vec<(SocketAddr, PexFlags)>,
    /// Peers that it is not connected to any more.
    pub dropped: Vec<SocketAddr>,
}

impl PexMessage {
    /// Parses the payload behind the id of an extended message. Bytes behind the last whole entry
    /// of a list are ignored. Lists of another type count as absent, and so do flags whose number
    /// is not that of the addresses.
    pub fn parse(payload: &[u8]) -> Result<PexMessage, WireFault> {
        const FAULT: WireFault = WireFault::Extension("ut_pex");
        let (root, _) = Cursor::parse_prefix(payload, LENIENT).map_err(|_| FAULT)?;
        if root.kind() != Kind::Dict {
            return Err(FAULT);
        }
        let list =
            |key: &[u8]| root.get(key).and_then(|value| value.as_bytes()).unwrap_or_default();
        let (added, added6) = (list(b"added"), list(b"added6"));
        let added = with_flags(compact_v4(added), added.len() / 6, list(b"added.f"))
            .chain(with_flags(compact_v6(added6), added6.len() / 18, list(b"added6.f")));
        let dropped = compact_v4(list(b"dropped")).chain(compact_v6(list(b"dropped6")));
        Ok(PexMessage {
            added: added.take(PEX_ENTRIES_MAX).collect(),
            dropped: dropped.take(PEX_ENTRIES_MAX).collect(),
        })
    }

    /// Returns the payload behind the id of an extended message. Each address is in the list of its
    /// family.
    pub fn to_bytes(&self) -> Vec<u8> {
        let is_v4 = |addr: &SocketAddr| normalise(addr.ip()).is_ipv4();
        let added = |v4| self.added.iter().filter(move |(addr, _)| is_v4(addr) == v4);
        let dropped = |v4| self.dropped.iter().filter(move |addr| is_v4(addr) == v4);
        let flags = |v4| added(v4).map(|(_, flags)| flags.0).collect::<Vec<u8>>();
        let compact = |addrs: &mut dyn Iterator<Item = &SocketAddr>| {
            let mut bytes = Vec::new();
            addrs.for_each(|addr| push_compact(&mut bytes, *addr));
            bytes
        };
        let entry = |dict: &mut DictWriter<'_>, key: &[u8], bytes: &[u8]| {
            if !bytes.is_empty() {
                dict.key(key).bytes(bytes);
            }
        };
        write(|out| {
            out.dict(|dict| {
                entry(dict, b"added", &compact(&mut added(true).map(|(addr, _)| addr)));
                entry(dict, b"added.f", &flags(true));
                entry(dict, b"added6", &compact(&mut added(false).map(|(addr, _)| addr)));
                entry(dict, b"added6.f", &flags(false));
                entry(dict, b"dropped", &compact(&mut dropped(true)));
                entry(dict, b"dropped6", &compact(&mut dropped(false)));
            });
        })
    }
}

/// Joins each of `count` addresses with its flags, if there are as many flags.
fn with_flags(
    addrs: impl Iterator<Item = SocketAddr>,
    count: usize,
    flags: &[u8],
) -> impl Iterator<Item = (SocketAddr, PexFlags)> {
    let flags = if flags.len() == count { flags } else { &[] };
    addrs
        .zip(flags.iter().copied().chain(core::iter::repeat(0)))
        .map(|(addr, flags)| (addr, PexFlags(flags)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;
    use proptest::prelude::*;
    use std::vec;

    #[test]
    fn bytes_are_as_bep_11_says() {
        let message = PexMessage {
            added: vec![
                ("1.2.3.4:258".parse().unwrap(), PexFlags(PexFlags::SEED)),
                ("[2001:db8::1]:1".parse().unwrap(), PexFlags::default()),
            ],
            dropped: vec!["5.6.7.8:9".parse().unwrap()],
        };
        let bytes = b"d5:added6:\x01\x02\x03\x04\x01\x027:added.f1:\x026:added618:\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x018:added6.f1:\x007:dropped6:\x05\x06\x07\x08\0\x09e";
        assert_eq!(message.to_bytes(), bytes);
        assert_eq!(PexMessage::parse(bytes), Ok(message));
        assert_eq!(PexMessage::parse(b"de"), Ok(PexMessage::default()));
        assert_eq!(PexMessage::default().to_bytes(), b"de");
    }

    #[test]
    fn whole_entries_are_read_and_broken_flags_are_none() {
        for bytes in [&b""[..], b"le", b"d"] {
            assert_eq!(
                PexMessage::parse(bytes),
                Err(WireFault::Extension("ut_pex")),
                "{}",
                bytes.escape_ascii()
            );
        }
        let nothing: [&[u8]; 5] = [
            b"d5:added5:aaaaae",
            b"d5:addedi1ee",
            b"d6:added66:aaaaaae",
            b"d8:dropped61:aeX",
            b"d1:xi-01ee",
        ];
        for bytes in nothing {
            assert_eq!(
                PexMessage::parse(bytes),
                Ok(PexMessage::default()),
                "{}",
                bytes.escape_ascii()
            );
        }
        let one = PexMessage::parse(b"d5:added8:\x01\x02\x03\x04\x01\x02abe").unwrap();
        assert_eq!(one.added, [("1.2.3.4:258".parse().unwrap(), PexFlags(0))]);
        for flags in [&b""[..], b"7:added.f0:", b"7:added.f2:\x02\x02", b"7:added.fi2e"] {
            let bytes = [b"d5:added6:\x01\x02\x03\x04\x01\x02", flags, b"e"].concat();
            assert_eq!(
                PexMessage::parse(&bytes).unwrap().added,
                [("1.2.3.4:258".parse().unwrap(), PexFlags(0))]
            );
        }
    }

    #[test]
    fn a_flood_is_cut() {
        let addrs = (0..5000u32).map(|n| SocketAddr::new(IpAddr::from(n.to_be_bytes()), 1));
        let message = PexMessage {
            added: addrs.clone().map(|addr| (addr, PexFlags(0))).collect(),
            dropped: addrs.collect(),
        };
        let read = PexMessage::parse(&message.to_bytes()).unwrap();
        assert_eq!((read.added.len(), read.dropped.len()), (PEX_ENTRIES_MAX, PEX_ENTRIES_MAX));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(added in prop::collection::vec((any::<u32>(), any::<u16>(), any::<u8>()), 0..50), six: u128) {
            let four = |(ip, port, flags): (u32, u16, u8)| (SocketAddr::new(IpAddr::from(ip.to_be_bytes()), port), PexFlags(flags));
            let mut added: Vec<_> = added.into_iter().map(four).collect();
            let dropped = added.iter().map(|(addr, _)| *addr).collect();
            let six = normalise(IpAddr::from(six.to_be_bytes()));
            added.extend(six.is_ipv6().then_some((SocketAddr::new(six, 7), PexFlags(1))));
            let message = PexMessage { added, dropped };
            prop_assert_eq!(PexMessage::parse(&message.to_bytes()), Ok(message));
        }

        #[test]
        fn rubbish_never_panics(bytes: Vec<u8>) {
            let _ = PexMessage::parse(&bytes);
        }
    }
}
