//! A record of a journal, put together by hand.
//!
//! Decides: length and checksum. Must not know: what a record means.
//! Invariant: nothing of `bt` is used, so that a mistake there shows.

/// Builds a record: length, checksum, body.
pub fn journal_record(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], &crc32c(body).to_le_bytes(), body].concat()
}

/// Computes CRC-32C (Castagnoli), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 }
        })
    })
}
