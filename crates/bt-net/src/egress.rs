//! Names to addresses, addresses to sockets.
//!
//! Decides: the gate, and the local address.
//! Must not know: what is sent over a socket.
//! Invariant: `gate` is called before every connect.

use crate::error::NetError;
use crate::ip_filter::SharedIpFilter;
use crate::resolve::Resolver;
use crate::tls::{Roots, Tls};
use bt_types::{Source, may_name, normalise, normalise_addr};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

/// Settings of outgoing connections.
#[derive(Clone, Debug, Default)]
pub struct EgressConfig {
    /// The local address of every socket; addresses of the other family are then unreachable.
    pub bind: Option<IpAddr>,
    /// Root certificates to trust besides those that browsers trust.
    pub extra_roots: Roots,
    /// Peers that nothing is to do with.
    pub ip_filter: SharedIpFilter,
}

/// The way out to the network. Clones share one configuration.
#[derive(Clone, Debug)]
pub struct Egress {
    bind: Option<IpAddr>,
    tls: Tls,
    resolver: Resolver,
    ip_filter: SharedIpFilter,
}

impl Egress {
    /// Makes the way out. Fails only when the TLS library refuses its own defaults.
    pub fn new(config: EgressConfig) -> Result<Egress, NetError> {
        Ok(Egress {
            bind: config.bind,
            tls: Tls::new(&config.extra_roots)?,
            resolver: Resolver::default(),
            ip_filter: config.ip_filter,
        })
    }

    /// Returns the filter of peers. Who dials or accepts one asks it; names, trackers and web
    /// servers are not filtered.
    pub fn ip_filter(&self) -> &SharedIpFilter {
        &self.ip_filter
    }

    /// Resolves a host name, or an address written as text (IPv6 with or without brackets).
    ///
    /// Returns at least one address, without duplicates, in the order of the system; only those
    /// that the bind address can reach.
    pub async fn resolve(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, NetError> {
        let literal =
            host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
        let found: Vec<SocketAddr> = match literal.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => match timeout_at(deadline, self.resolver.lookup(host, port)).await {
                Ok(Ok(found)) => found,
                Ok(Err(source)) => return Err(NetError::Resolve { host: host.to_owned(), source }),
                Err(_) => return Err(NetError::Timeout),
            },
        };
        let mut addrs = Vec::new();
        for addr in found {
            let addr = normalise_addr(addr);
            if self.reaches(addr) && !addrs.contains(&addr) {
                addrs.push(addr);
            }
        }
        if addrs.is_empty() {
            Err(NetError::NoAddress { host: host.to_owned() })
        } else {
            Ok(addrs)
        }
    }

    /// Opens a TCP connection to an address that `source` named. Small writes are sent at once
    /// (`TCP_NODELAY`).
    pub async fn dial(
        &self,
        source: Source,
        addr: SocketAddr,
        deadline: Instant,
    ) -> Result<TcpStream, NetError> {
        gate(source, addr)?;
        let fail = |source| NetError::Connect { addr, source };
        let socket =
            if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(fail)?;
        if self.bind.is_some() {
            socket.bind(self.local_for(addr).map_err(fail)?).map_err(fail)?;
        }
        let stream = timeout_at(deadline, socket.connect(addr))
            .await
            .map_err(|_| NetError::Timeout)?
            .map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        Ok(stream)
    }

    /// Opens a UDP socket for the one address that `source` named.
    pub async fn udp(&self, source: Source, addr: SocketAddr) -> Result<UdpSocket, NetError> {
        gate(source, addr)?;
        let fail = |source| NetError::Connect { addr, source };
        let socket = UdpSocket::bind(self.local_for(addr).map_err(fail)?).await.map_err(fail)?;
        socket.connect(addr).await.map_err(fail)?;
        Ok(socket)
    }

    /// Returns the settings for TLS connections.
    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    fn reaches(&self, addr: SocketAddr) -> bool {
        self.bind.is_none_or(|bind| normalise(bind).is_ipv4() == addr.is_ipv4())
    }

    /// Returns the local end for a socket to `addr`: the bind address or the unspecified one, and a
    /// free port.
    fn local_for(&self, addr: SocketAddr) -> io::Result<SocketAddr> {
        if !self.reaches(addr) {
            let why = "the bind address is of the other address family";
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, why));
        }
        let unspecified: IpAddr = if addr.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        Ok(SocketAddr::new(self.bind.map_or(unspecified, normalise), 0))
    }
}

/// Refuses an address that its source may not name.
fn gate(source: Source, addr: SocketAddr) -> Result<(), NetError> {
    if may_name(source, addr) { Ok(()) } else { Err(NetError::Refused { addr }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::net::TcpListener;

    fn egress(bind: Option<&str>) -> Egress {
        Egress::new(EgressConfig {
            bind: bind.map(|ip| ip.parse().unwrap()),
            ..EgressConfig::default()
        })
        .unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[tokio::test]
    async fn nothing_is_sent_to_an_address_that_its_source_may_not_name() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let egress = egress(None);
        for source in ["8.8.8.8", "192.168.0.1", "2001:db8::1"] {
            let source = Source::Host(source.parse().unwrap());
            assert!(matches!(
                egress.dial(source, addr, soon()).await,
                Err(NetError::Refused { .. })
            ));
            assert!(matches!(egress.udp(source, addr).await, Err(NetError::Refused { .. })));
        }
        // The first connection that arrives is the one that was allowed.
        let dialled = egress.dial(Source::User, addr, soon()).await.unwrap();
        assert!(dialled.nodelay().unwrap());
        assert_eq!(listener.accept().await.unwrap().1, dialled.local_addr().unwrap());
    }

    #[tokio::test]
    async fn sockets_leave_from_the_bind_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let egress = egress(Some("127.0.0.5"));
        let dialled = egress.dial(Source::User, addr, soon()).await.unwrap();
        assert_eq!(dialled.local_addr().unwrap().ip().to_string(), "127.0.0.5");
        let udp = egress.udp(Source::User, addr).await.unwrap();
        assert_eq!(udp.local_addr().unwrap().ip().to_string(), "127.0.0.5");
        let other_family = egress.dial(Source::User, "[::1]:9".parse().unwrap(), soon()).await;
        assert!(matches!(other_family, Err(NetError::Connect { .. })));
    }

    #[tokio::test]
    async fn literals_are_resolved_without_asking_anybody() {
        for (bind, host, expected) in [
            (None, "1.2.3.4", Some("1.2.3.4:80")),
            (None, "[2001:db8::1]", Some("[2001:db8::1]:80")),
            (None, "2001:db8::1", Some("[2001:db8::1]:80")),
            (None, "::ffff:1.2.3.4", Some("1.2.3.4:80")),
            (Some("::1"), "1.2.3.4", None),
        ] {
            let found = egress(bind).resolve(host, 80, soon()).await.ok();
            assert_eq!(found, expected.map(|addr| vec![addr.parse().unwrap()]), "{host}");
        }
    }
}
