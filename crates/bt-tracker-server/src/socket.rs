//! Makes the listening sockets.
//!
//! Decides: socket options.
//! Must not know: what is served.
//! Invariant: an IPv6 socket never receives IPv4, so each family has its own sockets.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, UdpSocket};

/// Connections that wait for `accept` in the kernel.
const BACKLOG: i32 = 1_024;
/// Bytes of datagrams that the kernel is asked to buffer, so that a burst is not lost.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Opens a TCP listener; a restarted server may take its port at once.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = bindable(addr, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Opens a UDP socket.
pub(crate) fn udp(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = bindable(addr, Type::DGRAM, Protocol::UDP)?;
    // The system may give less; a smaller buffer is no reason not to serve.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

fn bindable(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
