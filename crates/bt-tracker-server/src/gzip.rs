//! Compresses replies.
//!
//! Decides: which clients are sent gzip, and when it pays.
//! Must not know: what a reply means.
//! Invariant: only a client that accepts gzip gets it, and no reply becomes longer.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// Bytes of a body below which gzip is not worth the work: it fits one packet anyway.
const LEN_MIN: usize = 1_024;

/// Returns whether an `Accept-Encoding` header accepts gzip (RFC 9110): it names gzip or `*`, and
/// not with a weight of zero.
pub(crate) fn is_accepted(header: &str) -> bool {
    let weight_of = |wanted: &[&str]| {
        header.split(',').find_map(|part| {
            let mut fields = part.split(';').map(str::trim);
            let coding = fields.next()?.to_ascii_lowercase();
            let weight = fields
                .find_map(|field| field.strip_prefix("q=").or_else(|| field.strip_prefix("Q=")));
            wanted
                .contains(&coding.as_str())
                .then(|| weight.map_or(Some(1.0), |weight| weight.trim().parse::<f32>().ok()))
        })
    };
    weight_of(&["gzip", "x-gzip"])
        .or_else(|| weight_of(&["*"]))
        .flatten()
        .is_some_and(|weight| weight > 0.0)
}

/// Compresses the body; `None` when that does not pay.
pub(crate) fn compress(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < LEN_MIN {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().filter(|gzip| gzip.len() < body.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read as _;

    #[test]
    fn only_who_accepts_gzip_gets_it() {
        for (header, accepted) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("x-gzip", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.0", false),
            ("*;q=0", false),
            ("identity", false),
            ("gzipped", false),
            ("gzip;q=much", false),
            ("", false),
            (",;,", false),
        ] {
            assert_eq!(is_accepted(header), accepted, "{header}");
        }
    }

    #[test]
    fn a_long_regular_body_shrinks_and_others_are_left_alone() {
        let body = b"8:completei1e10:downloadedi0e10:incompletei0e".repeat(50);
        let gzip = compress(&body).unwrap();
        let mut back = Vec::new();
        GzDecoder::new(gzip.as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == body && gzip.len() < body.len() / 5);
        assert_eq!(compress(&body[..LEN_MIN - 1]), None, "short");
        let mut noise = vec![0; 4096];
        bt_types::Rng::from_seed(1).fill(&mut noise);
        assert_eq!(compress(&noise), None, "noise");
    }
}
