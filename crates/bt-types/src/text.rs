//! Makes text of peers, trackers and torrents safe to display.
//!
//! Decides: which characters never reach a terminal. Must not know: the meaning of the text.
//! Invariant: nothing that comes out can steer a terminal or turn the reading direction.

use alloc::string::String;

/// Returns whether the character is a control, a line separator or a bidirectional override.
pub fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Decodes the bytes as text; bytes that are not UTF-8 and characters that steer become U+FFFD.
pub fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if is_steering(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_replaced() {
        let table: [(&[u8], &str); 4] = [
            ("a b ü ☃".as_bytes(), "a b ü ☃"),
            (b"\x1b[2Jno\r\n", "\u{fffd}[2Jno\u{fffd}\u{fffd}"),
            ("a\u{202e}b\u{9b}".as_bytes(), "a\u{fffd}b\u{fffd}"),
            (b"\xff", "\u{fffd}"),
        ];
        for (bytes, text) in table {
            assert_eq!(printable(bytes), text);
        }
    }
}
