//! Parses and writes the options that may follow an announce datagram (BEP 41): only URL data is
//! used.
//!
//! Decides: which bytes are options, and which of them are URL data. Must not know: the meaning of
//! a path or a query.
//! Invariant: an announce is never refused for its options. Reading ends at an option that is cut
//! off.

use alloc::vec::Vec;

const END: u8 = 0;
const NOP: u8 = 1;
const URL_DATA: u8 = 2;
/// Most bytes that one option can hold: its length is one byte.
const CHUNK_MAX: usize = 255;

/// Appends the URL data in chunks, unless that makes `out` longer than `limit`: a part of the data
/// would mean another URL.
pub(crate) fn push_url_data(out: &mut Vec<u8>, mut data: &[u8], limit: usize) {
    let len = data.len() + 2 * data.len().div_ceil(CHUNK_MAX).max(1);
    if out.len().saturating_add(len) > limit {
        return;
    }
    loop {
        let (chunk, rest) = data.split_at(data.len().min(CHUNK_MAX));
        // The length of a chunk fits into one byte.
        out.extend_from_slice(&[URL_DATA, u8::try_from(chunk.len()).unwrap_or(u8::MAX)]);
        out.extend_from_slice(chunk);
        if rest.is_empty() {
            return;
        }
        data = rest;
    }
}

/// Returns the URL data in these options, its chunks joined; `None` if there is none. It is never
/// longer than the options are.
pub(crate) fn read_url_data(mut options: &[u8]) -> Option<Vec<u8>> {
    let mut data = None;
    loop {
        match *options {
            [NOP, ref rest @ ..] => options = rest,
            [] | [END, ..] | [_] => return data,
            [kind, len, ref rest @ ..] => {
                let Some((value, rest)) = rest.split_at_checked(usize::from(len)) else {
                    return data;
                };
                if kind == URL_DATA {
                    data.get_or_insert_with(Vec::new).extend_from_slice(value);
                }
                options = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    #[test]
    fn options_are_read_as_the_bep_says() {
        let long = [&[2, 255][..], &[b'x'; 255], &[2, 3], b"end"].concat();
        let joined = [&[b'x'; 255][..], b"end"].concat();
        let table: [(&[u8], Option<&[u8]>); 13] = [
            (b"\x02\x0c/dir?a=b&c=d", Some(b"/dir?a=b&c=d")),
            (b"\x02\x0c/dir?a=b&c=d\x01\x01\x00", Some(b"/dir?a=b&c=d")),
            (b"\x02\x00", Some(b"")),
            (b"", None),
            (b"\x01\x02\x01/\x01\x02\x01a", Some(b"/a")),
            (b"\x02\x01/\x00\x02\x01a", Some(b"/")),
            (b"\x07\x03abc\x02\x01/", Some(b"/")),
            (b"\xff\x00\x02\x02\xff\x00", Some(b"\xff\x00")),
            (b"\x02\x01/\x02\x05ab", Some(b"/")),
            (b"\x02\x01/\x02", Some(b"/")),
            (b"\x09", None),
            (b"\xee\xee", None),
            (&long, Some(&joined)),
        ];
        for (options, data) in table {
            assert_eq!(read_url_data(options).as_deref(), data, "{}", options.escape_ascii());
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        for (data, limit, written) in [
            (0, 100, 2),
            (0, 99, 0),
            (1, 101, 3),
            (1, 100, 0),
            (255, 355, 257),
            (256, 358, 260),
            (256, 357, 0),
        ] {
            let mut out = vec![0; 98];
            push_url_data(&mut out, &vec![b'x'; data], limit);
            assert_eq!(out.len(), 98 + written, "{data} bytes below {limit}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(data in prop::collection::vec(any::<u8>(), 0..1000), after: Vec<u8>) {
            let mut out = Vec::new();
            push_url_data(&mut out, &data, 2000);
            prop_assert_eq!(read_url_data(&out), Some(data.clone()));
            out.push(END);
            out.extend(after);
            prop_assert_eq!(read_url_data(&out), Some(data));
        }
    }
}
