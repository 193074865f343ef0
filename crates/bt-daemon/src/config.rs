//! How a daemon is started.
//!
//! Decides: the defaults.
//! Must not know: where a setting was written.
//! Invariant: values only. What can change while it runs is in the daemon's settings.

use bt_session::{Roots, SessionConfig};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct DaemonConfig {
    /// Where the APIs are served.
    pub api: ApiAddr,
    /// The certificate and key of the APIs, to serve them over TLS.
    pub tls: Option<TlsFiles>,
    /// What comes before all paths of the APIs and the page, as `/bt`; empty for nothing.
    pub base_path: BasePath,
    /// Where its state is kept.
    pub state_dir: PathBuf,
    /// Where data goes by default, at the first start.
    pub dir: PathBuf,
    /// The session. Its state directory is set from `state_dir`.
    pub session: SessionConfig,
    /// Certificates to trust for torrent files over HTTPS, besides those that browsers trust.
    pub extra_roots: Roots,
    /// What can change while it runs.
    pub reloadable: Reloadable,
}

/// What of a daemon's configuration can change while it runs.
#[derive(Clone, Debug, Default)]
pub struct Reloadable {
    /// What the HTTP server does.
    pub http: HttpConfig,
    /// Settings that hold from here on, whatever an API set before: a merge patch (RFC 7396) of
    /// the daemon's settings. `Null` for none.
    pub settings: Value,
    /// Directories whose torrent files are added.
    pub watch: Vec<WatchFolder>,
    /// Programs that are run when something happens.
    pub hooks: Hooks,
    /// Files with addresses that no torrent has to do with, in the formats of blocklists.
    pub ip_filter: Vec<PathBuf>,
}

/// Where the APIs are served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ApiAddr {
    /// At an address and port.
    Tcp(SocketAddr),
    /// At a Unix socket of this path, for its owner alone.
    Unix(PathBuf),
}

impl ApiAddr {
    /// Returns whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            ApiAddr::Tcp(addr) => addr.ip().is_loopback(),
            ApiAddr::Unix(_) => true,
        }
    }
}

impl fmt::Display for ApiAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApiAddr::Tcp(addr) => addr.fmt(f),
            ApiAddr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for ApiAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<ApiAddr, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(ApiAddr::Unix(path.into())),
            Some(_) => Err("the path of a Unix socket begins with /".into()),
            None => text.parse().map(ApiAddr::Tcp).map_err(|_| {
                "it has the form ADDR:PORT or unix:/PATH, as 127.0.0.1:9091, [::]:9091 or \
                 unix:/run/bt/api"
                    .into()
            }),
        }
    }
}

/// The files of a certificate chain and its key, in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate, and those that lead to a root.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// What comes before all paths: empty, or parts that each begin with `/`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BasePath(String);

impl BasePath {
    /// Returns it without a slash at its end; empty for none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<BasePath, String> {
        let path = text.trim_end_matches('/');
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        let is_part = |part: &str| !["", ".", ".."].contains(&part);
        let is_path = match path.strip_prefix('/') {
            Some(rest) => rest.chars().all(is_plain) && rest.split('/').all(is_part),
            None => path.is_empty(),
        };
        match is_path {
            true => Ok(BasePath(path.into())),
            false => Err("it is a path like /bt, of letters, digits and -._~".into()),
        }
    }
}

/// A directory whose torrent files and links are added.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchFolder {
    /// The directory. `.torrent` files in it are added, and `.magnet` files that hold a link.
    pub dir: PathBuf,
    /// Where their data goes; `None`: as their category says, or by default.
    #[serde(default)]
    pub to: Option<PathBuf>,
    /// Their category; empty for none.
    #[serde(default)]
    pub category: String,
    /// Their tags.
    #[serde(default)]
    pub labels: BTreeSet<String>,
    /// They are added, and not started.
    #[serde(default)]
    pub stopped: bool,
    /// What was added is deleted; else its name gets `.added` at its end.
    #[serde(default)]
    pub delete: bool,
}

/// Programs that are run when something happens, each with its arguments, without a shell.
/// Arguments may have the placeholders of qBittorrent; the variables of Transmission are in the
/// environment.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// A torrent was added.
    pub added: Vec<String>,
    /// A torrent is complete, and lies at its final place.
    pub done: Vec<String>,
    /// A torrent reached a seed limit.
    pub done_seeding: Vec<String>,
}

/// What the HTTP server does.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// Names that a request may be sent to, besides IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// The user's name.
    pub user: String,
    /// The password, or its hash in PHC format (`$argon2id$…`). `None`: every caller may do
    /// everything, so that only a loopback address can be served.
    pub password: Option<String>,
    /// Networks whose proxies are believed when they say who asks (`X-Forwarded-For`,
    /// `X-Forwarded-Proto`).
    pub proxies: Vec<IpNet>,
}

impl DaemonConfig {
    /// Makes a configuration by all defaults.
    pub fn new(state_dir: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> DaemonConfig {
        DaemonConfig {
            api: ApiAddr::Tcp((Ipv4Addr::LOCALHOST, 9091).into()),
            tls: None,
            base_path: BasePath::default(),
            state_dir: state_dir.into(),
            dir: dir.into(),
            session: SessionConfig::default(),
            extra_roots: Roots::default(),
            reloadable: Reloadable::default(),
        }
    }
}

/// Why a password cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the password cannot be used: {0}")]
pub struct PasswordError(pub(crate) String);

/// Why a daemon could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The session could not be started.
    #[error(transparent)]
    Session(#[from] bt_session::StartError),
    /// The address of the APIs cannot be listened on.
    #[error("cannot listen on {addr} for the API: {source}")]
    Listen {
        /// The address.
        addr: ApiAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Others than this machine could ask, and there is no password.
    #[error(
        "{0} can be reached by others, and there is no password; set one, or serve on 127.0.0.1"
    )]
    NoPassword(ApiAddr),
    /// The certificate or its key cannot be used.
    #[error("the certificate of the API cannot be used: {0}")]
    Tls(String),
    /// A list of addresses that are kept out cannot be read.
    #[error("a list of addresses that are kept out cannot be read: {0}")]
    IpFilter(String),
    /// What the configuration says of the settings is not valid.
    #[error("the settings of the configuration are not valid: {0}")]
    Settings(String),
    /// The password cannot be used.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The stored tokens cannot be read.
    #[error("the stored tokens cannot be read: {0}")]
    Tokens(String),
    /// The system has no random numbers.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
    /// The state cannot be read or written.
    #[error("the state in {} cannot be used: {why}", dir.display())]
    State {
        /// The state directory.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Another daemon uses the state directory.
    #[error("another bt daemon uses the state in {}; stop it, or give another --state", dir.display())]
    InUse {
        /// The state directory.
        dir: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_api() {
        for (text, expected) in [
            ("127.0.0.1:9091", Some("127.0.0.1:9091")),
            ("[::1]:0", Some("[::1]:0")),
            ("unix:/run/bt/api", Some("unix:/run/bt/api")),
            ("unix:run/api", None),
            ("9091", None),
            ("localhost:9091", None),
        ] {
            let found = text.parse::<ApiAddr>().ok().map(|addr| addr.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn base_paths() {
        for (text, expected) in [
            ("", Some("")),
            ("/", Some("")),
            ("/bt", Some("/bt")),
            ("/a/b-c/", Some("/a/b-c")),
            ("bt", None),
            ("/../bt", None),
            ("//bt", None),
            ("/b t", None),
            ("/bt;x", None),
        ] {
            let found = text.parse::<BasePath>().ok();
            assert_eq!(found.as_ref().map(BasePath::as_str), expected, "{text}");
        }
    }
}
