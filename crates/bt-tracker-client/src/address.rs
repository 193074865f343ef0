//! Parses a tracker's URL, and decides whether it may lead into a private network.
//!
//! Decides: the schemes, and the path rule.
//! Must not know: sockets, requests.
//! Invariant: an HTTP request that a torrent named reaches a private address only with a path that
//! trackers have (`check_path`).

use crate::error::TrackerError;
use bt_tracker_wire::{Announce, TrackerRequest};
use bt_types::{Closeness, closeness};
use std::net::SocketAddr;
use url::Url;

/// The protocol of a tracker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    /// `http` and `https`.
    Http,
    /// `udp`; path and query travel in announces (BEP 41).
    Udp,
}

/// A tracker's URL, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TrackerAddress {
    pub(crate) scheme: Scheme,
    /// A name, or an address as text; IPv6 in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The whole URL as it was given.
    pub(crate) url: String,
    path: String,
    /// With its `?`, or empty.
    query: String,
}

impl TrackerAddress {
    pub(crate) fn parse(text: &str) -> Result<TrackerAddress, TrackerError> {
        let mut url = Url::parse(text).map_err(|_| TrackerError::Url("it is not a URL"))?;
        // The library parses host names, above all international ones, only in schemes that it
        // knows.
        if url.scheme() == "udp"
            && let Some(host) = url.host_str()
            && let Ok(host) =
                url::Host::parse(&percent_encoding::percent_decode_str(host).decode_utf8_lossy())
        {
            url.set_host(Some(&host.to_string()))
                .map_err(|_| TrackerError::Url("it names no host"))?;
        }
        let scheme = match url.scheme() {
            "http" | "https" => Scheme::Http,
            "udp" => Scheme::Udp,
            other => return Err(TrackerError::Scheme(other.to_owned())),
        };
        let host = url.host().ok_or(TrackerError::Url("it names no host"))?.to_string();
        let port = url
            .port_or_known_default()
            .filter(|&port| port != 0)
            .ok_or(TrackerError::Url("it names no port"))?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let host = host.to_ascii_lowercase();
        Ok(TrackerAddress {
            scheme,
            host,
            port,
            url: text.to_owned(),
            path: url.path().to_owned(),
            query,
        })
    }

    /// Adds path and query of the URL to an announce, so that a UDP tracker sees which of its URLs
    /// is used.
    pub(crate) fn with_url_data(&self, ask: &TrackerRequest) -> TrackerRequest {
        match ask {
            TrackerRequest::Announce(announce) => {
                let url_data = Some(format!("{}{}", self.path, self.query).into_bytes())
                    .filter(|data| !data.is_empty());
                TrackerRequest::Announce(Announce { url_data, ..announce.clone() })
            }
            TrackerRequest::Scrape(_) => ask.clone(),
        }
    }

    /// Refuses an address that is not public when the path is not a tracker's. A torrent must not
    /// make us contact our own or the router's web pages.
    ///
    /// UDP is exempt: the URL's path travels only to a host that has answered a connect request as
    /// a tracker does.
    pub(crate) fn check_path(&self, addr: SocketAddr) -> Result<(), TrackerError> {
        // One part may come before it: many trackers have the subscriber's key there.
        let is_announce = |part: &&str| part.starts_with("announce") || part.starts_with("scrape");
        let parts: Vec<&str> = self.path.split('/').filter(|part| !part.is_empty()).collect();
        let is_trackers = match parts.as_slice() {
            [_, last] if is_announce(last) => true,
            [first, ..] => is_announce(first),
            [] => false,
        };
        if self.scheme == Scheme::Udp
            || is_trackers
            || closeness(addr.ip()) == Some(Closeness::Public)
        {
            Ok(())
        } else {
            Err(TrackerError::PrivatePath(addr.ip()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_or_refused_with_a_reason() {
        let good = [
            ("http://h/announce", Scheme::Http, "h", 80),
            ("HTTPS://H/announce?key=1", Scheme::Http, "h", 443),
            ("http://127.0.0.1:6969/announce", Scheme::Http, "127.0.0.1", 6969),
            ("udp://[::1]:6969/announce", Scheme::Udp, "[::1]", 6969),
            ("udp://H:80", Scheme::Udp, "h", 80),
            ("udp://b\u{fc}cher.example:80", Scheme::Udp, "xn--bcher-kva.example", 80),
            ("http://b\u{fc}cher.example/announce", Scheme::Http, "xn--bcher-kva.example", 80),
            ("udp://user:pw@h:80", Scheme::Udp, "h", 80),
        ];
        for (url, scheme, host, port) in good {
            let address = TrackerAddress::parse(url).unwrap();
            assert_eq!(
                (address.scheme, address.host.as_str(), address.port),
                (scheme, host, port),
                "{url}"
            );
        }
        for (url, reason) in [
            ("", "it is not a URL"),
            ("announce", "it is not a URL"),
            ("http://", "it is not a URL"),
            ("udp:announce", "it names no host"),
            ("udp://h/announce", "it names no port"),
            ("http://h:0/announce", "it names no port"),
            ("wss://h/announce", "wss://"),
        ] {
            let error = TrackerAddress::parse(url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn path_and_query_go_along_with_a_udp_announce() {
        let announce = Announce::new(bt_types::InfoHash([1; 20]), bt_types::PeerId([2; 20]), 1);
        for (url, data) in [
            ("udp://h:80/dir?a=b&c=d", Some("/dir?a=b&c=d")),
            ("udp://h:80/announce", Some("/announce")),
            ("udp://h:80/a%20b#part", Some("/a%20b")),
            ("udp://h:80?key", Some("?key")),
            ("udp://h:80", None),
        ] {
            let asked = TrackerAddress::parse(url)
                .unwrap()
                .with_url_data(&TrackerRequest::Announce(announce.clone()));
            assert_eq!(
                asked,
                TrackerRequest::Announce(Announce {
                    url_data: data.map(Vec::from),
                    ..announce.clone()
                }),
                "{url}"
            );
        }
    }

    #[test]
    fn a_private_address_is_asked_only_where_trackers_are() {
        for (url, private) in [
            ("http://h/announce", true),
            ("http://h/announce.php?passkey=1", true),
            ("http://h/announce/key", true),
            ("http://h/announce/", true),
            ("http://h//announce", true),
            ("http://h/key/announce", true),
            ("http://h/x/announce.php?passkey=1", true),
            ("http://h/api/delete/announce", false),
            ("http://h/scrape", true),
            ("http://h/", false),
            ("http://h/admin?announce", false),
            ("http://h/admin#/announce", false),
            ("http://h/announce/../reboot", false),
            ("http://h/%2e%2e/announce/%2e%2e/reboot", false),
            ("udp://h:1", true),
        ] {
            let address = TrackerAddress::parse(url).unwrap();
            for addr in
                ["127.0.0.1:1", "10.0.0.1:1", "[::1]:1", "[fe80::1]:1", "[::ffff:192.168.0.1]:1"]
            {
                assert_eq!(
                    address.check_path(addr.parse().unwrap()).is_ok(),
                    private,
                    "{url} at {addr}"
                );
            }
            assert!(address.check_path("8.8.8.8:1".parse().unwrap()).is_ok(), "{url}");
        }
    }
}
