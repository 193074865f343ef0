//! Uncompresses replies.
//!
//! Decides: which codings are undone, and how long the result may be.
//! Must not know: HTTP connections, what a body means.
//! Invariant: no more than the limit is ever held, even of a few bytes that claim to become more.

use crate::error::NetError;
use flate2::bufread::GzDecoder;
use std::io::Read as _;

/// Undoes the `Content-Encoding` of a body; the result is at most `limit` bytes long.
pub(crate) fn decode(
    coding: Option<&str>,
    body: Vec<u8>,
    limit: usize,
) -> Result<Vec<u8>, NetError> {
    let coding = coding.map(|coding| coding.trim().to_ascii_lowercase()).unwrap_or_default();
    match coding.as_str() {
        // Some trackers write names of character sets, or of no coding, in this field.
        "" | "identity" | "none" | "utf-8" | "utf8" | "binary" | "8bit" => Ok(body),
        "gzip" | "x-gzip" => inflate(&body, limit),
        _ => Err(NetError::Encoding("it is none that we accept")),
    }
}

/// Undoes gzip; the result is at most `limit` bytes long.
pub(crate) fn inflate(gzip: &[u8], limit: usize) -> Result<Vec<u8>, NetError> {
    let mut body = Vec::new();
    // One byte more than allowed tells that there is more.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    GzDecoder::new(gzip)
        .take(most)
        .read_to_end(&mut body)
        .map_err(|_| NetError::Encoding("it is broken gzip"))?;
    if body.len() > limit { Err(NetError::TooLarge { limit }) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_body_comes_back_as_it_was_and_no_longer_than_the_limit() {
        for coding in ["gzip", "x-gzip", " GZIP "] {
            assert_eq!(decode(Some(coding), gzip(b"hello"), 5).unwrap(), b"hello");
            assert!(matches!(
                decode(Some(coding), gzip(b"hello"), 4),
                Err(NetError::TooLarge { limit: 4 })
            ));
        }
        for coding in
            [None, Some(""), Some("identity"), Some("none"), Some("UTF-8"), Some("binary")]
        {
            assert_eq!(decode(coding, b"hello".to_vec(), 5).unwrap(), b"hello");
        }
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let bomb = gzip(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100_000);
        assert!(matches!(decode(Some("gzip"), bomb, 1 << 20), Err(NetError::TooLarge { .. })));
    }

    #[test]
    fn what_cannot_be_undone_is_an_error() {
        let whole = gzip(b"hello");
        let mut wrong = whole.clone();
        let crc = wrong.len() - 8;
        wrong[crc] ^= 1;
        for body in [b"hello".to_vec(), Vec::new(), whole[..whole.len() - 1].to_vec(), wrong] {
            assert!(matches!(decode(Some("gzip"), body, 99), Err(NetError::Encoding(_))));
        }
        for coding in ["br", "deflate", "gzip, gzip"] {
            assert!(
                matches!(decode(Some(coding), whole.clone(), 99), Err(NetError::Encoding(_))),
                "{coding}"
            );
        }
    }
}
