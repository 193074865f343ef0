//! Sizes, rates and durations as people write and read them.
//!
//! Decides: the accepted spellings.
//! Must not know: what they are for.
//! Invariant: a rate of zero is refused, because it would look like a hang.

use bytesize::ByteSize;
use std::time::Duration;

/// Parses a size: `64MiB`, `500kB`, `12345`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let size: ByteSize =
        text.parse().map_err(|_| format!("{text:?} is not a size like 64MiB, 500kB or 12345"))?;
    Ok(size.as_u64())
}

/// Parses the length of a piece: a power of two, so that `1M` is 1 MiB.
pub(crate) fn parse_piece_length(text: &str) -> Result<u64, String> {
    match text.strip_suffix(['K', 'k', 'M', 'm', 'G', 'g']) {
        Some(_) => parse_size(&format!("{text}iB")),
        None => parse_size(text),
    }
}

/// Parses a size per second; `/s` may be left out.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    match parse_size(text.strip_suffix("/s").unwrap_or(text)) {
        Ok(0) => {
            Err("a rate of zero would never move anything; leave the option out for no limit"
                .into())
        }
        Ok(rate) => Ok(rate),
        Err(_) => Err(format!("{text:?} is not a rate like 500KiB/s or 2MB/s")),
    }
}

/// Parses a duration: `5s`, `10m`, `1h30m`; a number alone is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a time like 5s, 10m or 1h");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(Duration::from_secs).map_err(|_| wrong());
    }
    let duration: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

/// Prints a size: `12.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// Prints a rate: `12.3 MiB/s`.
pub(crate) fn rate(bytes: u64) -> String {
    format!("{}/s", size(bytes))
}

/// Prints a count: `1 peer`, `2 peers`.
pub(crate) fn count(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Prints a time: `0:07`, `12:05`, `1:02:03`, `3d 4h`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{:02}", seconds % 60),
        (0, hours) => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
        _ => format!("{days}d {hours}h"),
    }
}

/// Returns whole per cent, 100 only when all is done.
pub(crate) fn percent(done: u64, total: u64) -> u64 {
    if total == 0 {
        100
    } else {
        u64::try_from(u128::from(done) * 100 / u128::from(total)).unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let sizes = [
            ("64MiB", Some(64 << 20)),
            ("500kB", Some(500_000)),
            ("12345", Some(12_345)),
            ("x", None),
            ("-1", None),
        ];
        for (text, bytes) in sizes {
            assert_eq!(parse_size(text).ok(), bytes, "{text}");
        }
        let lengths = [
            ("1M", Some(1 << 20)),
            ("16k", Some(16 << 10)),
            ("4MiB", Some(4 << 20)),
            ("65536", Some(65_536)),
            ("M", None),
        ];
        for (text, bytes) in lengths {
            assert_eq!(parse_piece_length(text).ok(), bytes, "{text}");
        }
        let rates =
            [("16MiB/s", Some(16 << 20)), ("2MB", Some(2_000_000)), ("0", None), ("/s", None)];
        for (text, bytes) in rates {
            assert_eq!(parse_rate(text).ok(), bytes, "{text}");
        }
        let times = [
            ("5s", Some(5)),
            ("10m", Some(600)),
            ("1h30m", Some(5400)),
            ("5", Some(5)),
            ("", None),
            ("-5", None),
            ("99999999999999999999", None),
            ("-5s", None),
            ("soon", None),
        ];
        for (text, secs) in times {
            assert_eq!(parse_duration(text).ok(), secs.map(Duration::from_secs), "{text}");
        }
        let clocks = [(7, "0:07"), (725, "12:05"), (3723, "1:02:03"), (273_600, "3d 4h")];
        for (secs, text) in clocks {
            assert_eq!(clock(Duration::from_secs(secs)), text);
        }
        assert_eq!((count(0, "peer"), count(1, "peer")), ("0 peers".into(), "1 peer".into()));
        assert_eq!((percent(999, 1000), percent(1000, 1000), percent(0, 0)), (99, 100, 100));
    }
}
