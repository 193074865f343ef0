//! Listening sockets for peers.
//!
//! Decides: which ports and address families are tried.
//! Must not know: which connections are let in.
//! Invariant: all sockets of a session listen on one port.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

/// Connections that the system queues until they are accepted.
const BACKLOG: i32 = 1024;
/// Ports tried when the user asked for none: the usual ones of BitTorrent (BEP 3), then any free
/// port.
const PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;

/// Opens the listening sockets: the one asked for, or both address families on one port.
pub(crate) fn listen(asked: Option<SocketAddr>) -> io::Result<Vec<TcpListener>> {
    match asked {
        Some(addr) if !addr.ip().is_unspecified() => Ok(vec![bind(addr)?]),
        Some(addr) if addr.port() != 0 => both(addr.port()),
        Some(_) => both(0),
        None => PORTS.chain([0]).map(both).find(Result::is_ok).unwrap_or_else(|| both(0)),
    }
}

/// Opens both families on one port. A machine without IPv6 listens on IPv4 alone, and the other way
/// round.
fn both(port: u16) -> io::Result<Vec<TcpListener>> {
    let v4 = bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    let port = match &v4 {
        Ok(listener) => listener.local_addr()?.port(),
        Err(_) => port,
    };
    match (v4, bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))) {
        (Ok(v4), Ok(v6)) => Ok(vec![v4, v6]),
        (_, Err(error)) | (Err(error), _) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(vec![one]),
        (Err(error), Err(_)) => Err(error),
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
