//! Errors of outgoing connections.
//!
//! Decides: the list of causes and their words.
//! Must not know: which caller reads them.
//! Invariant: every error says what was tried and why it failed.

use std::io;
use std::net::SocketAddr;
use thiserror::Error;

/// Why no reply came.
#[derive(Debug, Error)]
pub enum NetError {
    /// The gate: no host can be reached at the address, or the address is closer to us than the
    /// source that named it.
    #[error("{addr} may not be contacted: the source that named it may not name such an address")]
    Refused {
        /// The address.
        addr: SocketAddr,
    },
    /// The name was not resolved.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// The name has no address, or none of the family that we are bound to.
    #[error("{host} has no usable address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// No connection was made, or no socket.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// The address.
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The TLS handshake failed: mostly a certificate that is not trusted.
    #[error("no secure connection to {host}: {source}")]
    Tls {
        /// The name that the certificate must prove.
        host: String,
        /// The TLS error.
        source: io::Error,
    },
    /// The deadline passed.
    #[error("no answer in time")]
    Timeout,
    /// The body is longer than the limit.
    #[error("the reply is longer than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The server does not speak HTTP, or stopped in the middle.
    #[error("not a valid HTTP reply: {0}")]
    Http(#[from] hyper::Error),
    /// The body cannot be uncompressed.
    #[error("the coding of the reply cannot be undone: {0}")]
    Encoding(&'static str),
    /// The URL cannot be used.
    #[error("bad URL {url}: {why}")]
    Url {
        /// The part of the URL that may be shown.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A redirect that is not followed: from https to http, or without a readable target.
    #[error("the server redirects to a place that is not followed: {0}")]
    Redirect(&'static str),
    /// The server redirects to a magnet link, which cannot be fetched.
    #[error("the server redirects to a magnet link")]
    Magnet(String),
    /// More redirects than allowed.
    #[error("too many redirects")]
    TooManyRedirects,
    /// An extra root certificate cannot be read.
    #[error("bad root certificate: {0}")]
    Roots(String),
}

impl NetError {
    /// Makes the error for a URL that cannot be used.
    pub(crate) fn bad_url(url: &str, why: &dyn std::fmt::Display) -> NetError {
        // Only up to the path, as the rest may hold a passkey; and without a password.
        let shown = url.split(['?', '#']).next().unwrap_or_default();
        let parts = shown.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@')));
        let shown = match parts {
            Some((scheme, Some((_, host)))) => format!("{scheme}://{host}"),
            _ => shown.to_owned(),
        };
        let shown = shown.chars().take(100).collect();
        NetError::Url { url: shown, why: why.to_string() }
    }
}
