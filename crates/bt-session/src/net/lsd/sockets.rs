//! The sockets of local service discovery, which its task owns.
//!
//! Decides: which of them is used for a family.
//! Must not know: what is announced.
//! Invariant: an unusable socket is logged and left out.

use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use tokio::net::UdpSocket;

/// The sockets of the groups, at most one of each family.
#[derive(Debug, Default)]
pub(super) struct GroupSockets {
    sockets: Vec<UdpSocket>,
}

impl GroupSockets {
    /// Takes sockets into the runtime of this thread.
    pub(super) async fn open(sockets: Vec<std::net::UdpSocket>) -> GroupSockets {
        let mut group = GroupSockets::default();
        for socket in sockets {
            match UdpSocket::from_std(socket) {
                // The runtime must have seen a socket writable before a write without waiting
                // succeeds.
                Ok(socket) => match socket.writable().await {
                    Ok(()) => group.sockets.push(socket),
                    Err(error) => tracing::error!(%error, "cannot use a UDP socket"),
                },
                Err(error) => tracing::error!(%error, "cannot use a UDP socket"),
            }
        }
        group
    }

    /// Returns the socket of IPv4, or of IPv6.
    pub(super) fn socket(&self, is_v4: bool) -> Option<&UdpSocket> {
        self.sockets
            .iter()
            .find(|socket| socket.local_addr().is_ok_and(|own| own.is_ipv4() == is_v4))
    }

    /// Waits for a datagram; returns the index of the first socket that has one.
    pub(super) async fn readable(&self) -> io::Result<usize> {
        let mut readable: Vec<_> =
            self.sockets.iter().map(|socket| Box::pin(socket.readable())).collect();
        std::future::poll_fn(|context| {
            for (index, socket) in readable.iter_mut().enumerate() {
                if let Poll::Ready(result) = socket.as_mut().poll(context) {
                    return Poll::Ready(result.map(|()| index));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Receives one datagram of a socket: its length in the buffer, and its sender. `None` when
    /// there is none.
    pub(super) fn receive(&self, index: usize, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        // An error of an earlier send may be reported here; the next call goes on.
        self.sockets.get(index)?.try_recv_from(buffer).ok()
    }
}
