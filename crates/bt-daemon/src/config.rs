//! How a daemon is started.
//!
//! Decides: the defaults.
//! Must not know: where a setting was written.
//! Invariant: values only. What can change while it runs is in the daemon's settings.

use bt_session::{Roots, SessionConfig};
use ipnet::IpNet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct DaemonConfig {
    /// Where the APIs are served.
    pub api: SocketAddr,
    /// Where its state is kept.
    pub state_dir: PathBuf,
    /// Where data goes by default, at the first start.
    pub dir: PathBuf,
    /// The session. Its state directory is set from `state_dir`.
    pub session: SessionConfig,
    /// Certificates to trust for torrent files over HTTPS, besides those that browsers trust.
    pub extra_roots: Roots,
    /// What the HTTP server does.
    pub http: HttpConfig,
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
            api: (Ipv4Addr::LOCALHOST, 9091).into(),
            state_dir: state_dir.into(),
            dir: dir.into(),
            session: SessionConfig::default(),
            extra_roots: Roots::default(),
            http: HttpConfig::default(),
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
        addr: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Others than this machine could ask, and there is no password.
    #[error(
        "{0} can be reached by others, and there is no password; set one, or serve on 127.0.0.1"
    )]
    NoPassword(SocketAddr),
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
