//! The nodes that one run saves for the next, as bytes.
//!
//! Decides: their form: a bencoded dictionary of `nodes` and `nodes6`, as in answers (BEP 5, 32),
//! and `version`.
//! Must not know: where they are stored.
//! Invariant: written nodes are read back; any other bytes are refused whole. Bytes of a newer
//! version are told from damaged ones.

use crate::contact::{Contact, Family, compact, read_compact};
use alloc::vec::Vec;
use bt_bencoding::{Limits, decode, encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Most nodes that are written or read.
pub(crate) const SAVED_MAX: usize = 256;
/// The version that is written. Bytes without a version have the first one.
const VERSION: i64 = 1;
/// Enough for any dictionary with a version, so that one of a newer version is known as such. 256
/// nodes take less than 10 KiB.
const LIMITS: Limits = Limits { depth: 8, tokens: 4096, bytes: 64 << 10, odd_numbers: false };

/// Why bytes are no saved nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ContactsError {
    /// A newer version wrote them.
    #[error("a newer version of bt wrote it (format {0}, and this version knows {VERSION})")]
    Newer(i64),
    /// They are anything else.
    #[error("this is no list of DHT nodes")]
    Malformed,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct SavedContacts {
    #[serde(with = "serde_bytes")]
    nodes: Vec<u8>,
    #[serde(with = "serde_bytes")]
    nodes6: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
}

/// The key that a file of any version has in common.
#[derive(Deserialize)]
struct AnyVersion {
    version: Option<i64>,
}

/// Writes these nodes as bytes, only the first 256.
pub fn write_contacts(contacts: &[Contact]) -> Vec<u8> {
    let contacts = contacts.get(..SAVED_MAX).unwrap_or(contacts);
    let saved = SavedContacts {
        nodes: compact(contacts, Family::V4),
        nodes6: compact(contacts, Family::V6),
        version: Some(VERSION),
    };
    // Byte strings and numbers are always bencode.
    encode(&saved).unwrap_or_default()
}

/// Reads the bytes of [`write_contacts`], 64 KiB at most.
pub fn read_contacts(bytes: &[u8]) -> Result<Vec<Contact>, ContactsError> {
    let any: AnyVersion = typed(bytes).ok_or(ContactsError::Malformed)?;
    if let Some(newer) = any.version.filter(|version| *version > VERSION) {
        return Err(ContactsError::Newer(newer));
    }
    read_own(bytes).ok_or(ContactsError::Malformed)
}

/// Reads nodes of this version. The decoder is lenient, so what it read must give the same bytes
/// again.
fn read_own(bytes: &[u8]) -> Option<Vec<Contact>> {
    let saved: SavedContacts = typed(bytes)?;
    let is_own = saved.version.is_none_or(|version| version == VERSION)
        && encode(&saved).is_ok_and(|again| again == bytes);
    let v4 = read_compact(&saved.nodes, Family::V4)?;
    let contacts = [v4, read_compact(&saved.nodes6, Family::V6)?].concat();
    (is_own && contacts.len() <= SAVED_MAX).then_some(contacts)
}

fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    decode(bytes, LIMITS).ok().map(|decoded| decoded.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use alloc::format;

    fn contact(number: usize, addr: &str) -> Contact {
        Contact { id: Id([u8::try_from(number % 256).unwrap(); 20]), addr: addr.parse().unwrap() }
    }

    #[test]
    fn what_is_written_is_read() {
        let some = [contact(1, "1.2.3.4:5"), contact(2, "[2001:db8::1]:6")];
        assert_eq!(read_contacts(&write_contacts(&some)), Ok(some.to_vec()));
        assert_eq!(read_contacts(&write_contacts(&[])), Ok(Vec::new()));
        let many: Vec<Contact> =
            (0..300).map(|n| contact(n, &format!("[2001:db8::{n:x}]:6"))).collect();
        assert_eq!(read_contacts(&write_contacts(&many)).unwrap(), many[..256]);
    }

    #[test]
    fn anything_else_is_refused() {
        let good = write_contacts(&[contact(1, "1.2.3.4:5")]);
        for cut in 0..good.len() {
            assert_eq!(read_contacts(&good[..cut]), Err(ContactsError::Malformed), "{cut}");
        }
        let long = format!("d5:nodes{}:{}6:nodes60:e", 26 * 400, "x".repeat(26 * 400));
        for bytes in [
            &b"de"[..],
            b"le",
            b"d5:nodes0:e",
            b"d5:nodesi1e6:nodes60:e",
            b"d5:nodes3:abc6:nodes60:e",
            b"d5:nodes0:6:nodes60:7:version1:1e",
            b"d5:nodes0:6:nodes60:7:versioni0ee",
            b"d6:nodes60:5:nodes0:e",
            b"d5:nodesle6:nodes60:e",
            b"d1:x0:5:nodes0:6:nodes60:e",
            long.as_bytes(),
        ] {
            let read = read_contacts(bytes);
            assert_eq!(read, Err(ContactsError::Malformed), "{}", bytes.escape_ascii());
        }
        assert_eq!(read_contacts(&[&good[..], b"x"].concat()), Err(ContactsError::Malformed));
    }

    #[test]
    fn the_first_files_had_no_version_and_a_newer_one_is_named() {
        let some = [contact(1, "1.2.3.4:5")];
        let text = write_contacts(&some).strip_suffix(b"7:versioni1ee").unwrap().to_vec();
        assert_eq!(read_contacts(&[&text[..], b"e"].concat()), Ok(some.to_vec()));
        let newer = [&text[..], b"7:versioni2ee"].concat();
        assert_eq!(read_contacts(&newer), Err(ContactsError::Newer(2)));
        let other = b"d5:tablelld4:kindi3eeee7:versioni9ee";
        assert_eq!(read_contacts(other), Err(ContactsError::Newer(9)));
    }
}
