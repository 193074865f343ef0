//! The nodes that one run saves for the next, as bytes.
//!
//! Decides: their form: a bencoded dictionary of `nodes` and `nodes6`, as in answers (BEP 5, 32).
//! Must not know: where they are stored.
//! Invariant: written nodes are read back; any other bytes are refused whole.

use crate::contact::{Contact, Family, compact, read_compact};
use alloc::vec::Vec;
use bt_bencoding::{Cursor, Kind, Limits, write};

/// Most nodes that are written or read.
pub(crate) const SAVED_MAX: usize = 256;
/// Most bytes that these nodes take: 38 each, keys and lengths.
const BYTES_MAX: usize = SAVED_MAX * 38 + 64;
const LIMITS: Limits = Limits { depth: 2, tokens: 8, bytes: BYTES_MAX, odd_numbers: false };

/// Writes these nodes as bytes, only the first 256.
pub fn write_contacts(contacts: &[Contact]) -> Vec<u8> {
    let contacts = contacts.get(..SAVED_MAX).unwrap_or(contacts);
    write(|w| {
        w.dict(|d| {
            d.key(b"nodes").bytes(&compact(contacts, Family::V4));
            d.key(b"nodes6").bytes(&compact(contacts, Family::V6));
        })
    })
}

/// Reads the bytes of [`write_contacts`]; `None` for any other bytes.
pub fn read_contacts(bytes: &[u8]) -> Option<Vec<Contact>> {
    let root = Cursor::parse(bytes, LIMITS).ok().filter(|root| root.kind() == Kind::Dict)?;
    let mut contacts = read_compact(root.get(b"nodes")?.as_bytes()?, Family::V4)?;
    contacts.extend(read_compact(root.get(b"nodes6")?.as_bytes()?, Family::V6)?);
    (contacts.len() <= SAVED_MAX).then_some(contacts)
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
        assert_eq!(read_contacts(&write_contacts(&some)), Some(some.to_vec()));
        assert_eq!(read_contacts(&write_contacts(&[])), Some(Vec::new()));
        let many: Vec<Contact> =
            (0..300).map(|n| contact(n, &format!("[2001:db8::{n:x}]:6"))).collect();
        assert_eq!(read_contacts(&write_contacts(&many)).unwrap(), many[..256]);
    }

    #[test]
    fn anything_else_is_refused() {
        let good = write_contacts(&[contact(1, "1.2.3.4:5")]);
        for cut in 0..good.len() {
            assert_eq!(read_contacts(&good[..cut]), None, "{cut}");
        }
        let long = format!("d5:nodes{}:{}6:nodes60:e", 26 * 400, "x".repeat(26 * 400));
        for bytes in [
            &b"de"[..],
            b"le",
            b"d5:nodes0:e",
            b"d5:nodesi1e6:nodes60:e",
            b"d5:nodes3:abc6:nodes60:e",
            long.as_bytes(),
        ] {
            assert_eq!(read_contacts(bytes), None, "{}", bytes.escape_ascii());
        }
        assert_eq!(read_contacts(&[&good[..], b"x"].concat()), None);
    }
}
