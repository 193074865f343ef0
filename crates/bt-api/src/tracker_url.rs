//! Parts of a tracker's URL, as callers show them.
//!
//! Decides: nothing. Must not know: dialects.
//! Invariant: no user and no password is in what is returned.

/// Returns host and port as they stand in a URL.
pub(crate) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Returns the host of a URL, without brackets.
pub(crate) fn host(url: &str) -> &str {
    let authority = authority(url);
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_neither_password_nor_port() {
        for (url, name) in [
            ("http://user:pass@tracker.example:80/KEY/announce", "tracker.example"),
            ("udp://[2001:db8::1]:6969", "2001:db8::1"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(host(url), name);
        }
    }
}
