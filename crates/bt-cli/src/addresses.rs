//! Addresses as people write them: `6881`, `:6881`, `127.0.0.1:0`, `localhost:6881`.
//!
//! Decides: the accepted spellings, and how long a name is looked up.
//! Must not know: what an address is for.
//! Invariant: a name is looked up when a command runs, never while its options are read.

use crate::exit::{Exit, Failure};
use bt_session::{OneShot, Roots};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// How long a name is looked up.
const LOOKUP_MAX: Duration = Duration::from_secs(10);

/// Where to listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ListenAddr {
    /// At this port of every address.
    Port(u16),
    /// At this address.
    At(SocketAddr),
}

impl ListenAddr {
    /// Returns one address for each address family that is meant.
    pub(crate) fn all(self) -> Vec<SocketAddr> {
        match self {
            ListenAddr::Port(port) => {
                vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()]
            }
            ListenAddr::At(addr) => vec![addr],
        }
    }

    /// Returns the address for a session, which opens both families where the address is
    /// unspecified.
    pub(crate) fn for_session(self) -> SocketAddr {
        match self {
            ListenAddr::Port(port) => (Ipv4Addr::UNSPECIFIED, port).into(),
            ListenAddr::At(addr) => addr,
        }
    }
}

/// Parses where to listen.
pub(crate) fn parse_listen(text: &str) -> Result<ListenAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Some(port) = parse_port(port) {
        return Ok(ListenAddr::Port(port));
    }
    text.parse().map(ListenAddr::At).map_err(|_| {
        "it has the form ADDR:PORT or PORT, as 6881, 0.0.0.0:6881, 127.0.0.1:0 or [::]:6881".into()
    })
}

/// A peer, or a node of the DHT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PeerAddr {
    /// By its address.
    At(SocketAddr),
    /// By its name and port.
    Named(String, u16),
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddr::At(addr) => addr.fmt(f),
            PeerAddr::Named(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl PeerAddr {
    /// Returns the addresses that it stands for, at least one.
    pub(crate) async fn look_up(&self) -> Result<Vec<SocketAddr>, Failure> {
        let (host, port) = match self {
            PeerAddr::At(addr) => return Ok(vec![*addr]),
            PeerAddr::Named(host, port) => (host, *port),
        };
        let asker = OneShot::new(Roots::default()).map_err(anyhow::Error::from)?;
        asker.resolve(host, port, LOOKUP_MAX).await.map_err(|error| {
            let message = format!("{self}: {error}; check the name, or give an IP address");
            Failure::new(Exit::Network, "no_such_name", message)
        })
    }
}

/// Returns the addresses of all these peers.
pub(crate) async fn look_up(peers: &[PeerAddr]) -> Result<Vec<SocketAddr>, Failure> {
    let mut found = Vec::new();
    for peer in peers {
        found.extend(peer.look_up().await?);
    }
    Ok(found)
}

/// Parses a peer: an address or a name, with a port. A link-local address names its interface, as
/// in `[fe80::1%eth0]:6881` (RFC 4007).
pub(crate) fn parse_peer(text: &str) -> Result<PeerAddr, String> {
    const FORM: &str = "it has the form HOST:PORT, [ADDR]:PORT or [ADDR%INTERFACE]:PORT, as 192.0.2.1:6881 or localhost:6881";
    if let Ok(addr) = text.parse() {
        return Ok(PeerAddr::At(addr));
    }
    let Some((ip, rest)) = text.strip_prefix('[').and_then(|text| text.split_once('%')) else {
        let (host, port) = split_host_port(text).ok_or(FORM)?;
        return Ok(PeerAddr::Named(host.into(), port));
    };
    let (scope, port) = rest.split_once("]:").ok_or(FORM)?;
    let (ip, port) = (ip.parse::<Ipv6Addr>().map_err(|_| FORM)?, port.parse().map_err(|_| FORM)?);
    let index = scope.parse().ok().or_else(|| bt_session::interface_index(scope));
    let index = index
        .ok_or_else(|| format!("there is no network interface {scope:?}; `ip link` lists them"))?;
    Ok(PeerAddr::At(SocketAddrV6::new(ip, port, 0, index).into()))
}

/// Parses a name or an address with a port, and keeps it as it is.
pub(crate) fn parse_host_port(text: &str) -> Result<String, String> {
    let is_address = text.parse().is_ok_and(|addr: SocketAddr| addr.port() != 0);
    match is_address || split_host_port(text).is_some() {
        true => Ok(text.into()),
        false => Err("it has the form HOST:PORT".into()),
    }
}

/// Splits a name and a port. A name has a letter, and none of the characters of IPv6 addresses and
/// URLs.
fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    let is_name = host.chars().any(char::is_alphabetic) && host.chars().all(is_part);
    let port = parse_port(port).filter(|port| *port != 0)?;
    is_name.then_some((host, port))
}

/// Parses digits alone: the standard library would accept `+1`.
fn parse_port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_listen() {
        let table = [
            ("6881", Some("0.0.0.0:6881 [::]:6881")),
            (":6881", Some("0.0.0.0:6881 [::]:6881")),
            ("0", Some("0.0.0.0:0 [::]:0")),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("[::1]:6881", Some("[::1]:6881")),
            ("", None),
            (":", None),
            ("::6881", None),
            ("+6881", None),
            ("65536", None),
            ("127.0.0.1", None),
            ("localhost:6881", None),
        ];
        for (text, expected) in table {
            let found = parse_listen(text).ok().map(|listen| {
                listen.all().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_peer_is_named_with_its_scope() {
        let at = |text: &str| Ok(PeerAddr::At(text.parse().unwrap()));
        let scoped = |scope| {
            Ok(PeerAddr::At(SocketAddrV6::new("fe80::1".parse().unwrap(), 6881, 0, scope).into()))
        };
        let table = [
            ("1.2.3.4:5", at("1.2.3.4:5")),
            ("[2001:db8::1]:5", at("[2001:db8::1]:5")),
            ("[fe80::1%3]:6881", scoped(3)),
            ("[fe80::1%lo]:6881", scoped(1)),
            ("localhost:6881", Ok(PeerAddr::Named("localhost".into(), 6881))),
            ("münchen.example:1", Ok(PeerAddr::Named("münchen.example".into(), 1))),
        ];
        for (text, addr) in table {
            assert_eq!(parse_peer(text), addr, "{text}");
        }
        for text in [
            "",
            "1.2.3.4",
            "1.2.3:6881",
            "fe80::1:6881",
            "localhost",
            "localhost:",
            "localhost:0",
            "http://localhost:6881",
            "[fe80::1%lo]",
            "[fe80::1%lo]:x",
            "[1.2.3.4%lo]:1",
            "[fe80::1%no such thing]:1",
        ] {
            assert!(parse_peer(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_has_a_port() {
        for (text, is_right) in [
            ("router.example:6881", true),
            ("192.0.2.1:6881", true),
            ("[2001:db8::1]:6881", true),
            ("router.example", false),
            ("router.example:0", false),
            (":6881", false),
        ] {
            assert_eq!(parse_host_port(text).is_ok(), is_right, "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let found = parse_peer("localhost:7").unwrap().look_up().await.unwrap();
        assert!(found.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 7), "{found:?}");
        let failure = parse_peer("no..such.host:7").unwrap().look_up().await.unwrap_err();
        assert_eq!((failure.exit, failure.code), (Exit::Network, "no_such_name"));
    }
}
