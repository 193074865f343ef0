//! The sockets of the one UDP port of a client, one for each address family, and its protocols told
//! apart.
//!
//! Decides: which sockets exist, and to which protocol a datagram belongs.
//! Must not know: what a datagram says; which task uses a socket.
//! Invariant: the sockets beside TCP listeners are all on one port.

use crate::mail::events::StartError;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Wait after a socket failed, so that a loop does not spin.
pub(crate) const SOCKET_REST: Duration = Duration::from_millis(200);

/// The protocol of a datagram, told by its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DatagramKind {
    /// A bencoded dictionary (BEP 5).
    Dht,
    /// A packet of version 1 (BEP 29).
    Utp,
    /// Of no protocol that we speak.
    Unknown,
}

impl DatagramKind {
    pub(crate) fn of(datagram: &[u8]) -> DatagramKind {
        match datagram.first() {
            Some(b'd') => DatagramKind::Dht,
            Some(byte) if byte & 15 == 1 => DatagramKind::Utp,
            _ => DatagramKind::Unknown,
        }
    }
}

/// Makes the reply to a packet that begins a uTP connection, which we do not support: a reset of
/// the same length.
///
/// Without it the peer would wait for seconds before it tries TCP.
pub(crate) fn refuse_utp(packet: &[u8]) -> Option<[u8; 20]> {
    /// Kind and version, in the first byte.
    const SYN: u8 = 0x41;
    const RESET: u8 = 0x31;
    // Kind, extension, connection id (2), times (4, 4), window (4), sequence number (2),
    // acknowledged number (2).
    let &[SYN, _, id_high, id_low, .., seq_high, seq_low, _, _] = packet.first_chunk::<20>()?
    else {
        return None;
    };
    Some([RESET, 0, id_high, id_low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, seq_high, seq_low])
}

/// Opens sockets at these addresses, at most one of each family. With none asked, both on any port;
/// one of them may be missing.
pub(crate) fn bind_all(asked: &[SocketAddr]) -> Result<Vec<std::net::UdpSocket>, StartError> {
    let listen = |addr: &SocketAddr| {
        bind(*addr).map_err(|source| StartError::Listen {
            transport: "UDP",
            addr: Some(*addr),
            source,
        })
    };
    if !asked.is_empty() {
        return asked.iter().map(listen).collect();
    }
    let any = [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
    let (bound, mut failed): (Vec<_>, Vec<_>) = any.iter().map(listen).partition(Result::is_ok);
    match failed.pop() {
        Some(error) if bound.is_empty() => error.map(|socket| vec![socket]),
        _ => bound.into_iter().collect(),
    }
}

/// Opens sockets at the TCP listeners' addresses: on the same port if that is free for UDP too,
/// else all on another one.
pub(crate) fn bind_beside(tcp: &[SocketAddr]) -> Result<Vec<std::net::UdpSocket>, StartError> {
    bind_all(tcp).or_else(|error| {
        tracing::warn!(%error, "taking another UDP port");
        let mut port = 0;
        let mut sockets = Vec::new();
        for addr in tcp {
            sockets.extend(bind_all(&[SocketAddr::new(addr.ip(), port)])?);
            port = sockets
                .last()
                .map_or(Ok(0), |socket| socket.local_addr().map(|addr| addr.port()))?;
        }
        Ok(sockets)
    })
}

fn bind(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_classified_and_utp_gets_a_reset() {
        let mut syn = [7; 20];
        syn[0] = 0x41;
        syn[2..4].copy_from_slice(&[1, 2]);
        syn[16..18].copy_from_slice(&[3, 4]);
        let data = {
            let mut data = syn;
            data[0] = 0x01;
            data
        };
        for (bytes, speech) in [
            (&b"d1:q"[..], DatagramKind::Dht),
            (&syn, DatagramKind::Utp),
            (&data, DatagramKind::Utp),
            (b"", DatagramKind::Unknown),
            (b"x", DatagramKind::Unknown),
        ] {
            assert_eq!(DatagramKind::of(bytes), speech, "{bytes:?}");
        }
        let reset = refuse_utp(&[&syn[..], b"more"].concat()).unwrap();
        assert_eq!((reset[0], &reset[2..4], &reset[18..]), (0x31, &[1, 2][..], &[3, 4][..]));
        assert_eq!(
            refuse_utp(&data),
            None,
            "only what begins a connection is answered: no two hosts answer each other for ever"
        );
        assert_eq!(refuse_utp(&syn[..19]), None);
        assert_eq!(refuse_utp(&reset), None);
    }

    #[test]
    fn the_port_is_that_of_tcp_if_it_is_free() {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let taken = std::net::UdpSocket::bind(loopback(0)).unwrap().local_addr().unwrap();
        let same = bind_beside(&[taken]).unwrap();
        assert_eq!(same.len(), 1);
        assert_eq!(same[0].local_addr().unwrap(), taken);
        let other = bind_beside(&[taken]).unwrap();
        assert_ne!(other[0].local_addr().unwrap(), taken);
    }
}
