//! The UDP port at work: a task for each socket, and guests that get the datagrams of their
//! protocol and give datagrams to send.
//!
//! Decides: which guest gets a datagram, and which datagram is lost at a bound.
//! Must not know: what a datagram says beyond its protocol.
//! Invariant: one task reads and writes a socket. No datagram goes to an address that `may_name`
//! forbids to the source that named it. A slow guest loses its own datagrams only.

use crate::net::udp::{DatagramKind, SOCKET_REST, refuse_utp};
use bt_types::{Source, may_name};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::{spawn_local, yield_now};
use tokio::time::sleep;

/// Datagrams that wait for a guest, 1 MiB at most. Newer ones are lost meanwhile, as they are when
/// a socket's queue is full.
const INCOMING_MAX: usize = 512;
/// Datagrams that wait to be sent on a socket: some times what a DHT node sends in one turn, 256
/// queries and the answers to a batch. Newer ones are lost meanwhile, as they may be on their way.
const OUTGOING_MAX: usize = 1024;
/// Datagrams read from a socket, or written to it, in a row. Then other tasks have their turn: a
/// socket that is never empty does not block them.
pub(crate) const BATCH: usize = 64;
/// Bytes read of a datagram: one more than any guest takes, so that a guest sees what is too long.
const DATAGRAM_MAX: usize = 2049;
#[cfg(feature = "dht")]
const _: () = assert!(DATAGRAM_MAX > bt_dht::DATAGRAM_MAX);

/// A datagram that arrived, at most [`DATAGRAM_MAX`] bytes of it.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) bytes: Bytes,
}

/// A datagram to send. Its address may be named by its source.
#[derive(Debug)]
struct Outgoing {
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// The sockets of a UDP port before their tasks run.
#[derive(Debug, Default)]
pub(crate) struct UdpPort {
    sockets: Vec<(std::net::UdpSocket, mpsc::Receiver<Outgoing>)>,
    sender: UdpSender,
    dht: Option<mpsc::Sender<Datagram>>,
}

/// Sends datagrams on the port's sockets. Clones send on the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct UdpSender {
    /// The address of each socket, and its queue.
    sockets: Vec<(SocketAddr, mpsc::Sender<Outgoing>)>,
}

/// What a protocol has of the port.
#[derive(Debug)]
pub(crate) struct UdpGuest {
    pub(crate) inbox: mpsc::Receiver<Datagram>,
    pub(crate) sender: UdpSender,
}

impl UdpPort {
    pub(crate) fn new(sockets: Vec<std::net::UdpSocket>) -> io::Result<UdpPort> {
        let mut port = UdpPort::default();
        for socket in sockets {
            let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
            port.sender.sockets.push((socket.local_addr()?, sender));
            port.sockets.push((socket, outgoing));
        }
        Ok(port)
    }

    /// Lets the DHT node in. Without one its datagrams are ignored.
    pub(crate) fn dht_guest(&mut self) -> UdpGuest {
        let (dht, inbox) = mpsc::channel(INCOMING_MAX);
        self.dht = Some(dht);
        UdpGuest { inbox, sender: self.sender.clone() }
    }

    /// Starts a task for each socket, on this thread.
    pub(crate) fn start(self) {
        for (socket, outgoing) in self.sockets {
            spawn_local(own(socket, outgoing, self.dht.clone()));
        }
    }
}

impl UdpSender {
    /// Returns the addresses of the port's sockets, at most one of each family.
    pub(crate) fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().map(|(addr, _)| *addr)
    }

    /// Sends if `named_by` may name the address, and returns whether the datagram is on its way. A
    /// datagram that finds no room in the queue, or cannot leave then, is lost.
    pub(crate) fn send(&self, to: SocketAddr, named_by: Source, bytes: Vec<u8>) -> bool {
        let is_of = |(own, _): &&(SocketAddr, _)| own.is_ipv4() == to.is_ipv4();
        may_name(named_by, to)
            && self
                .sockets
                .iter()
                .find(is_of)
                .is_some_and(|(_, queue)| queue.try_send(Outgoing { to, bytes }).is_ok())
    }
}

/// Owns a socket: gives guests what it receives, and sends what they give.
async fn own(
    socket: std::net::UdpSocket,
    mut outgoing: mpsc::Receiver<Outgoing>,
    dht: Option<mpsc::Sender<Datagram>>,
) {
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%error, "cannot use a UDP socket"),
    };
    // The runtime must have seen a socket writable before a write without waiting succeeds.
    if let Err(error) = socket.writable().await {
        return tracing::error!(%error, "cannot use a UDP socket");
    }
    let mut buffer = vec![0; DATAGRAM_MAX];
    let mut leaving = Vec::with_capacity(BATCH);
    let mut has_senders = true;
    loop {
        tokio::select! {
            readable = socket.readable() => match readable {
                Ok(()) => receive(&socket, &mut buffer, dht.as_ref()),
                Err(error) => {
                    tracing::warn!(%error, "cannot receive");
                    sleep(SOCKET_REST).await;
                }
            },
            count = outgoing.recv_many(&mut leaving, BATCH), if has_senders => {
                has_senders = count > 0;
                leaving.drain(..).for_each(|Outgoing { to, bytes }| send(&socket, to, &bytes));
            }
        }
        yield_now().await;
    }
}

/// Reads a batch of datagrams, and gives each to the guest of its protocol.
fn receive(socket: &UdpSocket, buffer: &mut [u8], dht: Option<&mpsc::Sender<Datagram>>) {
    for _ in 0..BATCH {
        // An error of an earlier send may be reported here; the next call goes on.
        let Ok((len, from)) = socket.try_recv_from(buffer) else { return };
        let bytes = buffer.get(..len).unwrap_or_default();
        match DatagramKind::of(bytes) {
            DatagramKind::Dht => {
                if let Some(dht) = dht {
                    // Copied only if there is room: a flood costs no more than its reading.
                    if let Ok(room) = dht.try_reserve() {
                        room.send(Datagram { from, bytes: Bytes::copy_from_slice(bytes) });
                    }
                }
            }
            DatagramKind::Utp => {
                let refusal = refuse_utp(bytes).filter(|_| may_name(Source::Host(from.ip()), from));
                if let Some(refusal) = refusal {
                    send(socket, from, &refusal);
                }
            }
            DatagramKind::Unknown => {}
        }
    }
}

/// Sends a datagram. One that cannot leave now is lost.
fn send(socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) {
    if let Err(error) = socket.try_send_to(bytes, to) {
        tracing::debug!(%to, %error, "cannot send");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;
    use tokio::time::{Duration, timeout};

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Makes a port of one socket, a stranger's socket, and the address of the port.
    fn port() -> (UdpPort, std::net::UdpSocket, SocketAddr) {
        let sockets = ["127.0.0.1:0"; 2].map(|addr| std::net::UdpSocket::bind(addr).unwrap());
        sockets.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        let [own, stranger] = sockets;
        let at = own.local_addr().unwrap();
        (UdpPort::new(vec![own]).unwrap(), stranger, at)
    }

    #[tokio::test]
    async fn a_slow_guest_loses_its_own_datagrams_only() {
        let (mut port, stranger, at) = port();
        let mut guest = port.dht_guest();
        let syn = [[0x41, 0].as_slice(), &[7; 18]].concat();
        let test = async {
            port.start();
            let stranger = UdpSocket::from_std(stranger).unwrap();
            // A socket's queue holds a few hundred: each is read before the next is sent.
            for n in 0..INCOMING_MAX + 5 {
                stranger.send_to(format!("d{n}").as_bytes(), at).await.unwrap();
                stranger.send_to(&syn, at).await.unwrap();
                let mut reset = [0; 64];
                let (len, from) = stranger.recv_from(&mut reset).await.unwrap();
                assert_eq!((len, from), (20, at), "others are served");
            }
            assert_eq!(guest.inbox.len(), INCOMING_MAX);
            let first = guest.inbox.recv().await.unwrap();
            assert_eq!(
                (first.from, &first.bytes[..]),
                (stranger.local_addr().unwrap(), &b"d0"[..])
            );
            stranger.send_to(b"dlast", at).await.unwrap();
            let mut last = first;
            for _ in 0..INCOMING_MAX {
                last = guest.inbox.recv().await.unwrap();
            }
            assert_eq!(last.bytes[..], b"dlast"[..], "there is room again");
        };
        timeout(PATIENCE, LocalSet::new().run_until(test)).await.unwrap();
    }

    #[tokio::test]
    async fn datagrams_to_send_wait_up_to_a_bound_and_go_where_their_source_may_lead() {
        let (mut port, stranger, _) = port();
        let to = stranger.local_addr().unwrap();
        let UdpGuest { sender, .. } = port.dht_guest();
        assert!(!sender.send("[::1]:9".parse().unwrap(), Source::User, vec![1]), "no such socket");
        let far = Source::Host("8.8.8.8".parse().unwrap());
        assert!(!sender.send(to, far, vec![1]), "a stranger does not name our own machine");
        for n in 0..OUTGOING_MAX {
            assert!(sender.send(to, Source::User, n.to_be_bytes().to_vec()), "{n}");
        }
        assert!(!sender.send(to, Source::User, vec![1]), "the queue is full");
        let test = async {
            port.start();
            let stranger = UdpSocket::from_std(stranger).unwrap();
            let mut first = [0; 64];
            let (len, _) = stranger.recv_from(&mut first).await.unwrap();
            assert_eq!(first[..len], 0_usize.to_be_bytes());
            while !sender.send(to, Source::User, vec![1]) {
                yield_now().await;
            }
        };
        timeout(PATIENCE, LocalSet::new().run_until(test)).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_without_guests_refuses_utp() {
        let (port, stranger, at) = port();
        let test = async {
            port.start();
            let stranger = UdpSocket::from_std(stranger).unwrap();
            let syn = [[0x41, 0].as_slice(), &[7; 18]].concat();
            for datagram in [b"d1:q".as_slice(), b"x", &syn] {
                stranger.send_to(datagram, at).await.unwrap();
            }
            let mut reset = [0; 64];
            let (len, from) = stranger.recv_from(&mut reset).await.unwrap();
            assert_eq!((len, from, reset[0]), (20, at, 0x31));
        };
        timeout(PATIENCE, LocalSet::new().run_until(test)).await.unwrap();
    }
}
