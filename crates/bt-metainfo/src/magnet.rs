//! Magnet links (BEP 9, BEP 52 for `btmh`).
//!
//! Decides: what goes into a link and how it is escaped. Must not know: how a link is followed.
//! Invariant: a link is printable ASCII.

use crate::Metainfo;
use alloc::{format, string::String};
use bt_types::push_hex;

/// Multihash prefix of SHA-256: the function's code and the digest's length.
const SHA256_MULTIHASH: [u8; 2] = [0x12, 0x20];

impl Metainfo {
    /// The magnet link: info-hashes, name, trackers, web seeds.
    pub fn magnet(&self) -> String {
        let mut link = String::from("magnet:?");
        if let Some(v1) = self.info_hashes.v1 {
            link.push_str(&format!("xt=urn:btih:{v1}&"));
        }
        if let Some(v2) = self.info_hashes.v2 {
            link.push_str("xt=urn:btmh:");
            push_hex(&mut link, &SHA256_MULTIHASH);
            link.push_str(&format!("{v2}&"));
        }
        link.push_str("dn=");
        push_escaped(&mut link, &self.info.name);
        let trackers = self.trackers.iter().flatten().map(|url| ("&tr=", url));
        for (key, url) in trackers.chain(self.web_seeds.iter().map(|url| ("&ws=", url))) {
            link.push_str(key);
            push_escaped(&mut link, url);
        }
        link
    }
}

/// Appends the text with every byte escaped that is not unreserved (RFC 3986).
fn push_escaped(link: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => link.push(char::from(byte)),
            _ => {
                link.push('%');
                link.push_str(&format!("{byte:02X}"));
            }
        }
    }
}
