//! Reads the fields of a dictionary, with an error that names the key.
//!
//! Decides: present, absent or of the wrong type.
//! Must not know: which keys there are.
//! Invariant: text that it returns is printable.

use crate::MetainfoError;
use alloc::string::String;
use bt_bencoding::{Cursor, Kind};
pub(crate) use bt_types::{is_steering, printable};

/// Reads the value of a key, when present; its type must be `kind`.
pub(crate) fn optional<'a>(
    dict: Cursor<'a>,
    key: &'static str,
    kind: Kind,
) -> Result<Option<Cursor<'a>>, MetainfoError> {
    match dict.get(key.as_bytes()) {
        Some(value) if value.kind() != kind => Err(MetainfoError::WrongType(key)),
        value => Ok(value),
    }
}

/// Reads the value of a key that must be there.
pub(crate) fn required<'a>(
    dict: Cursor<'a>,
    key: &'static str,
    kind: Kind,
) -> Result<Cursor<'a>, MetainfoError> {
    optional(dict, key, kind)?.ok_or(MetainfoError::MissingKey(key))
}

/// Reads a byte string that must be there.
pub(crate) fn bytes<'a>(dict: Cursor<'a>, key: &'static str) -> Result<&'a [u8], MetainfoError> {
    required(dict, key, Kind::Bytes)?.as_bytes().ok_or(MetainfoError::WrongType(key))
}

/// Reads an integer that must be there.
pub(crate) fn int(dict: Cursor<'_>, key: &'static str) -> Result<i64, MetainfoError> {
    required(dict, key, Kind::Int)?.as_int().ok_or(MetainfoError::WrongType(key))
}

/// Reads free text for people. A value that is not a string counts as absent: nothing depends on
/// it.
pub(crate) fn text(dict: Cursor<'_>, key: &str) -> Option<String> {
    dict.get(key.as_bytes())?.as_bytes().map(printable)
}
