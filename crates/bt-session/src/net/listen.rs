//! Listening sockets for peers.
//!
//! Decides: which ports and address families are tried.
//! Must not know: which connections are let in.
//! Invariant: all sockets of a session listen on one port.

use crate::net::stream::Stream;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Connections that the system queues until they are accepted.
const BACKLOG: i32 = 1024;
/// Ports tried when the user asked for none: the usual ones of BitTorrent (BEP 3), then any free
/// port.
const PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;

/// A listening socket, in no runtime yet.
#[derive(Debug)]
pub(crate) struct Listener(TcpListener);

impl Listener {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Takes the socket into the runtime of this thread.
    pub(crate) fn bind(self) -> io::Result<BoundListener> {
        Ok(BoundListener(tokio::net::TcpListener::from_std(self.0)?))
    }
}

/// A listening socket in the runtime of this thread.
#[derive(Debug)]
pub(crate) struct BoundListener(tokio::net::TcpListener);

impl BoundListener {
    /// Waits for a peer.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, addr) = self.0.accept().await?;
        Ok((Stream::Tcp(stream), addr))
    }
}

/// Opens the listening sockets: the one asked for, or both address families on one port.
pub(crate) fn listen(asked: Option<SocketAddr>) -> io::Result<Vec<Listener>> {
    match asked {
        Some(addr) if !addr.ip().is_unspecified() => Ok(vec![open(addr)?]),
        Some(addr) if addr.port() != 0 => both(addr.port()),
        Some(_) => both(0),
        None => PORTS.chain([0]).map(both).find(Result::is_ok).unwrap_or_else(|| both(0)),
    }
}

/// Opens both families on one port. A machine without IPv6 listens on IPv4 alone, and the other way
/// round.
fn both(port: u16) -> io::Result<Vec<Listener>> {
    let v4 = open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    let port = match &v4 {
        Ok(listener) => listener.local_addr()?.port(),
        Err(_) => port,
    };
    match (v4, open(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))) {
        (Ok(v4), Ok(v6)) => Ok(vec![v4, v6]),
        (_, Err(error)) | (Err(error), _) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(vec![one]),
        (Err(error), Err(_)) => Err(error),
    }
}

fn open(addr: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(BACKLOG)?;
    Ok(Listener(socket.into()))
}
