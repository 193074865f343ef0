//! Makes the listening sockets.
//!
//! Decides: socket options.
//! Must not know: what is served.
//! Invariant: an IPv6 socket never receives IPv4, so each family has its own sockets.

use bt_tracker_wire::UdpHead;
use nix::libc::{sock_filter, sock_fprog};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::AttachReusePortCbpf;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use tokio::net::TcpListener;
use tracing::warn;

/// Connections that wait for `accept` in the kernel.
const BACKLOG: i32 = 1_024;
/// Bytes of datagrams that the kernel is asked to buffer, so that a burst is not lost.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Opens a TCP listener; a restarted server may take its port at once.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = bindable(addr, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Opens UDP sockets at one address, one for each worker. The kernel gives a datagram to the worker
/// whose shard owns its info-hash.
pub(crate) fn udp(addr: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    let first = bindable(addr, Type::DGRAM, Protocol::UDP)?;
    // Without `SO_REUSEPORT`: another program at this address is an error.
    first.bind(&addr.into())?;
    let addr = first.local_addr()?.as_socket().unwrap_or(addr);
    first.set_reuse_port(workers > 1)?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        let socket = bindable(addr, Type::DGRAM, Protocol::UDP)?;
        socket.set_reuse_port(true)?;
        socket.bind(&addr.into())?;
        sockets.push(socket);
    }
    if let Some(first) = sockets.first().filter(|_| workers > 1)
        && let Err(error) = steer(first, workers)
    {
        // Any worker can answer any datagram, with a lock that others wait for at times.
        warn!(%error, "the kernel does not steer datagrams to workers");
    }
    for socket in &sockets {
        // The system may give less; a smaller buffer is no reason not to serve.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        // Workers wait for datagrams with `poll`, and for the system to take replies.
        socket.set_nonblocking(false)?;
    }
    Ok(sockets.into_iter().map(UdpSocket::from).collect())
}

/// Lets the kernel choose the socket of a group by the first byte of the info-hash, as
/// [`bt_tracker::shard_of_datagram`] does. A datagram without info-hash goes by its source.
fn steer(socket: &Socket, workers: usize) -> io::Result<()> {
    // Classic BPF: the opcodes of `linux/filter.h`. Offsets count from the payload.
    const LOAD_LENGTH: u16 = 0x80;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const LOAD_BYTE: u16 = 0x30;
    const MODULO: u16 = 0x94;
    const RETURN: u16 = 0x06;
    const RETURN_ACCUMULATOR: u16 = 0x16;
    /// No socket has this number: the kernel goes by the source.
    const NONE: u32 = u32::MAX;
    let at = UdpHead::LEN as u32;
    let workers = u32::try_from(workers).map_err(io::Error::other)?;
    let line = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let mut program = [
        line(LOAD_LENGTH, 0, 0, 0),
        line(JUMP_IF_AT_LEAST, 1, 0, at + 1),
        line(RETURN, 0, 0, NONE),
        line(LOAD_BYTE, 0, 0, at),
        line(MODULO, 0, 0, workers),
        line(RETURN_ACCUMULATOR, 0, 0, 0),
    ];
    let program = sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    Ok(setsockopt(socket, AttachReusePortCbpf, &program)?)
}

fn bindable(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}
