//! The extension handshake (BEP 10): what a client says about itself once more, as a dictionary.
//!
//! Decides: which keys we read and write. Must not know: the extensions themselves.
//! Invariant: a key of the wrong type is as if it were absent; only a broken dictionary is a fault.

use crate::{REQUESTS_QUEUED_MAX, WireFault};
use alloc::{string::String, vec::Vec};
use bt_bencoding::{Cursor, Kind, Limits, write};
use core::net::IpAddr;

/// The longest client name that is kept, in bytes.
const CLIENT_MAX: usize = 64;

/// What a peer said in its extension handshake.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExtendedHandshake {
    /// `v`: name and version of the client, control characters removed, at most 64 bytes.
    pub client: Option<String>,
    /// `reqq`: how many requests the peer queues before it drops some.
    pub requests_max: Option<u32>,
    /// `yourip`: the address that the peer sees us at.
    pub your_ip: Option<IpAddr>,
    /// `p`: the TCP port that the peer listens on.
    pub port: Option<u16>,
    /// `upload_only`: whether the peer wants nothing (BEP 21); absent in a handshake that changes something else.
    pub upload_only: Option<bool>,
}

impl ExtendedHandshake {
    /// Our own, to a peer whom we see at `peer_ip`.
    pub fn ours(peer_ip: IpAddr, port: Option<u16>) -> ExtendedHandshake {
        ExtendedHandshake {
            client: Some(concat!("bt ", env!("CARGO_PKG_VERSION")).into()),
            requests_max: Some(REQUESTS_QUEUED_MAX),
            your_ip: Some(peer_ip),
            port,
            upload_only: None,
        }
    }

    /// Reads the payload of an extended message with id 0.
    pub fn parse(payload: &[u8]) -> Result<ExtendedHandshake, WireFault> {
        let root = Cursor::parse(payload, Limits::NETWORK).map_err(|_| WireFault::Extended)?;
        if root.kind() != Kind::Dict {
            return Err(WireFault::Extended);
        }
        let number = |key: &[u8]| root.get(key).and_then(|value| value.as_int());
        Ok(ExtendedHandshake {
            client: root.get(b"v").and_then(|value| value.as_bytes()).map(client_name),
            requests_max: number(b"reqq").and_then(|n| u32::try_from(n).ok()),
            your_ip: root.get(b"yourip").and_then(|value| value.as_bytes()).and_then(ip),
            port: number(b"p").and_then(|n| u16::try_from(n).ok()).filter(|&port| port != 0),
            upload_only: number(b"upload_only").map(|n| n != 0),
        })
    }

    /// The dictionary's bytes. We speak no extension message yet, so `m` is empty.
    pub fn to_bytes(&self) -> Vec<u8> {
        write(|out| {
            out.dict(|dict| {
                dict.key(b"m").dict(|_| {});
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
    for c in String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()) {
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
            let ours = ExtendedHandshake::ours(ip.parse().unwrap(), Some(6881));
            assert_eq!(ExtendedHandshake::parse(&ours.to_bytes()), Ok(ours));
        }
    }

    #[test]
    fn a_change_is_said_alone() {
        for upload_only in [true, false] {
            let change = ExtendedHandshake { upload_only: Some(upload_only), ..ExtendedHandshake::default() };
            assert_eq!(change.to_bytes(), alloc::format!("d1:mde11:upload_onlyi{}ee", u8::from(upload_only)).into_bytes());
            assert_eq!(ExtendedHandshake::parse(&change.to_bytes()), Ok(change));
        }
    }

    #[test]
    fn odd_values_count_as_absent_and_broken_ones_as_a_fault() {
        let odd = b"d1:pi0e4:reqqi-5e1:vi7e6:yourip3:abce";
        assert_eq!(ExtendedHandshake::parse(odd), Ok(ExtendedHandshake::default()));
        for broken in [&b"le"[..], b"d", b"", b"i1e", &[b'l'; 10_000]] {
            assert_eq!(ExtendedHandshake::parse(broken), Err(WireFault::Extended));
        }
    }

    #[test]
    fn a_client_name_cannot_carry_control_characters_or_length() {
        assert_eq!(client_name(b"\x1b[31mred\n"), "[31mred");
        assert_eq!(client_name(&[b'x'; 500]).len(), CLIENT_MAX);
    }
}
