//! Parses and writes the extension handshake (BEP 10): a dictionary in which a client describes
//! itself.
//!
//! Decides: which keys are read and written. Must not know: the messages of the extensions.
//! Invariant: a key of the wrong type counts as absent; only a broken dictionary is an error.

use crate::{LENIENT, REQUESTS_QUEUED_MAX, WireFault};
use alloc::{string::String, vec::Vec};
use bt_bencoding::{Cursor, Kind, write};
use bt_types::is_steering;
use core::net::IpAddr;

/// The longest client name that is kept, in bytes.
const CLIENT_MAX: usize = 64;

/// The ids by which one side wants to be sent the messages of extensions: `m` (BEP 10). `None` is
/// not mentioned, 0 is switched off. A message to a peer carries the peer's id; a message from it
/// carries ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExtensionIds {
    /// `ut_pex` (BEP 11).
    pub pex: Option<u8>,
    /// `ut_metadata` (BEP 9).
    pub metadata: Option<u8>,
    /// `ut_holepunch` (BEP 55).
    pub holepunch: Option<u8>,
}

impl ExtensionIds {
    /// Our id of `ut_pex`.
    pub const PEX: u8 = 1;
    /// Our id of `ut_metadata`.
    pub const METADATA: u8 = 2;

    /// Applies a later handshake: the ids that it mentions replace the earlier ones.
    pub fn learn(&mut self, later: ExtensionIds) {
        self.pex = later.pex.or(self.pex);
        self.metadata = later.metadata.or(self.metadata);
        self.holepunch = later.holepunch.or(self.holepunch);
    }

    fn parse(m: Cursor<'_>) -> ExtensionIds {
        let id =
            |key: &[u8]| m.get(key).and_then(|id| id.as_int()).and_then(|id| u8::try_from(id).ok());
        ExtensionIds {
            pex: id(b"ut_pex"),
            metadata: id(b"ut_metadata"),
            holepunch: id(b"ut_holepunch"),
        }
    }

    /// Returns the names with ids, in the order of the names.
    fn entries(self) -> impl Iterator<Item = (&'static [u8], u8)> {
        let entries: [(&[u8], Option<u8>); 3] = [
            (b"ut_holepunch", self.holepunch),
            (b"ut_metadata", self.metadata),
            (b"ut_pex", self.pex),
        ];
        entries.into_iter().filter_map(|(name, id)| Some((name, id?)))
    }
}

/// The content of a peer's extension handshake.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExtendedHandshake {
    /// `m`: the extensions whose messages it accepts.
    pub ids: ExtensionIds,
    /// `metadata_size`: the length in bytes of the `info` dictionary, from a peer that has it
    /// (BEP 9). An unchecked claim: 0, and numbers beyond a u32, count as absent.
    pub metadata_size: Option<u32>,
    /// `v`: name and version of the client, at most 64 bytes, without characters that steer a
    /// terminal.
    pub client: Option<String>,
    /// `reqq`: how many requests the peer queues before it drops some.
    pub requests_max: Option<u32>,
    /// `yourip`: the address that the peer sees us at.
    pub your_ip: Option<IpAddr>,
    /// `p`: the TCP port that the peer listens on.
    pub port: Option<u16>,
    /// `upload_only`: whether the peer downloads nothing (BEP 21); absent in a handshake that
    /// changes something else.
    pub upload_only: Option<bool>,
}

impl ExtendedHandshake {
    /// Makes our handshake for a peer that we see at `peer_ip`.
    pub fn ours(peer_ip: IpAddr, port: Option<u16>) -> ExtendedHandshake {
        ExtendedHandshake {
            ids: ExtensionIds::default(),
            metadata_size: None,
            client: Some(concat!("bt ", env!("CARGO_PKG_VERSION")).into()),
            requests_max: Some(REQUESTS_QUEUED_MAX),
            your_ip: Some(peer_ip),
            port,
            upload_only: None,
        }
    }

    /// Applies a later handshake of the same peer: what it says replaces what was said before.
    pub fn learn(&mut self, later: ExtendedHandshake) {
        self.ids.learn(later.ids);
        self.metadata_size = later.metadata_size.or(self.metadata_size);
        self.client = later.client.or_else(|| self.client.take());
        self.requests_max = later.requests_max.or(self.requests_max);
        self.your_ip = later.your_ip.or(self.your_ip);
        self.port = later.port.or(self.port);
        self.upload_only = later.upload_only.or(self.upload_only);
    }

    /// Parses the payload of an extended message with id 0. Numbers with leading zeros are
    /// accepted, and bytes behind the dictionary are ignored. On an error treat the peer as if it
    /// had said nothing: clients with an untidy handshake transfer well.
    pub fn parse(payload: &[u8]) -> Result<ExtendedHandshake, WireFault> {
        let (root, _) = Cursor::parse_prefix(payload, LENIENT).map_err(|_| WireFault::Extended)?;
        if root.kind() != Kind::Dict {
            return Err(WireFault::Extended);
        }
        let number = |key: &[u8]| root.get(key).and_then(|value| value.as_int());
        Ok(ExtendedHandshake {
            ids: root.get(b"m").map(ExtensionIds::parse).unwrap_or_default(),
            metadata_size: number(b"metadata_size")
                .and_then(|n| u32::try_from(n).ok())
                .filter(|&size| size != 0),
            client: root.get(b"v").and_then(|value| value.as_bytes()).map(client_name),
            requests_max: number(b"reqq").and_then(|n| u32::try_from(n).ok()),
            your_ip: root.get(b"yourip").and_then(|value| value.as_bytes()).and_then(ip),
            port: number(b"p").and_then(|n| u16::try_from(n).ok()).filter(|&port| port != 0),
            upload_only: number(b"upload_only").map(|n| n != 0),
        })
    }

    /// Returns the bytes of the dictionary.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(|out| {
            out.dict(|dict| {
                dict.key(b"m").dict(|m| {
                    self.ids.entries().for_each(|(name, id)| m.key(name).int(i64::from(id)))
                });
                if let Some(size) = self.metadata_size {
                    dict.key(b"metadata_size").int(i64::from(size));
                }
                if let Some(port) = self.port {
                    dict.key(b"p").int(i64::from(port));
                }
                if let Some(max) = self.requests_max {
                    dict.key(b"reqq").int(i64::from(max));
                }
                if let Some(upload_only) = self.upload_only {
                    dict.key(b"upload_only").int(upload_only.into());
                }
                if let Some(client) = &self.client {
                    dict.key(b"v").bytes(client.as_bytes());
                }
                match self.your_ip {
                    Some(IpAddr::V4(ip)) => dict.key(b"yourip").bytes(&ip.octets()),
                    Some(IpAddr::V6(ip)) => dict.key(b"yourip").bytes(&ip.octets()),
                    None => {}
                }
            });
        })
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn client_name(bytes: &[u8]) -> String {
    let mut name = String::new();
    for c in String::from_utf8_lossy(bytes).chars().filter(|c| !is_steering(*c)) {
        if name.len() + c.len_utf8() > CLIENT_MAX {
            break;
        }
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_round_trips() {
        for ip in ["1.2.3.4", "2001:db8::1"] {
            let ids = ExtensionIds { pex: Some(1), metadata: Some(2), holepunch: Some(0) };
            let ours = ExtendedHandshake {
                ids,
                metadata_size: Some(7),
                ..ExtendedHandshake::ours(ip.parse().unwrap(), Some(6881))
            };
            assert_eq!(ExtendedHandshake::parse(&ours.to_bytes()), Ok(ours));
        }
    }

    #[test]
    fn a_change_is_said_alone() {
        for upload_only in [true, false] {
            let change = ExtendedHandshake {
                upload_only: Some(upload_only),
                ..ExtendedHandshake::default()
            };
            assert_eq!(
                change.to_bytes(),
                alloc::format!("d1:mde11:upload_onlyi{}ee", u8::from(upload_only)).into_bytes()
            );
            assert_eq!(ExtendedHandshake::parse(&change.to_bytes()), Ok(change));
        }
    }

    #[test]
    fn odd_values_count_as_absent_and_untidy_ones_are_read() {
        let odd = b"d1:pi0e4:reqqi-5e1:vi7e6:yourip3:abce";
        assert_eq!(ExtendedHandshake::parse(odd), Ok(ExtendedHandshake::default()));
        let odd = b"d1:md11:ut_metadata1:26:ut_pexi256ee13:metadata_sizei4294967296ee";
        assert_eq!(ExtendedHandshake::parse(odd), Ok(ExtendedHandshake::default()));
        for empty in
            [&b"d1:mlee"[..], b"d1:mi1ee", b"d13:metadata_sizei0ee", b"d13:metadata_sizei-1ee"]
        {
            assert_eq!(ExtendedHandshake::parse(empty), Ok(ExtendedHandshake::default()));
        }
        let untidy = b"d13:metadata_sizei0012e4:reqqi-0eeX";
        let read = ExtendedHandshake {
            metadata_size: Some(12),
            requests_max: Some(0),
            ..ExtendedHandshake::default()
        };
        assert_eq!(ExtendedHandshake::parse(untidy), Ok(read));
        for broken in [&b"le"[..], b"d", b"", b"i1e", b"d1:v1:a1:v1:be", &[b'l'; 10_000]] {
            assert_eq!(ExtendedHandshake::parse(broken), Err(WireFault::Extended));
        }
    }

    #[test]
    fn a_later_handshake_changes_what_it_mentions() {
        let mut ids = ExtensionIds { pex: Some(1), metadata: Some(3), holepunch: None };
        ids.learn(ExtendedHandshake::parse(b"d1:md12:ut_holepunchi4e6:ut_pexi0eee").unwrap().ids);
        assert_eq!(ids, ExtensionIds { pex: Some(0), metadata: Some(3), holepunch: Some(4) });
        let whole = ExtendedHandshake {
            ids,
            metadata_size: Some(7),
            ..ExtendedHandshake::ours([1, 2, 3, 4].into(), Some(5))
        };
        let mut said = whole.clone();
        said.learn(ExtendedHandshake {
            upload_only: Some(true),
            metadata_size: Some(8),
            ..ExtendedHandshake::default()
        });
        assert_eq!(
            said,
            ExtendedHandshake { upload_only: Some(true), metadata_size: Some(8), ..whole }
        );
    }

    #[test]
    fn a_client_name_cannot_carry_control_characters_or_length() {
        assert_eq!(client_name(b"\x1b[31mred\n"), "[31mred");
        assert_eq!(client_name(&[b'x'; 500]).len(), CLIENT_MAX);
    }
}
