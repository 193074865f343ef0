//! Local service discovery (BEP 14): the sockets around `swarms`.
//!
//! Decides: on which interfaces we announce and listen.
//! Must not know: torrents' contents; which torrents are private, as the engine orders no search
//! for these.
//! Invariant: the only output is announces to the two groups, with a time to live of one hop.
//! Announces from hosts outside our networks are ignored. A machine without multicast gets a line
//! in its log and no error.

mod sockets;
mod swarms;

use crate::mail::clock::{Clock, sleep_until};
use crate::mail::registry::Registry;
use crate::mail::to_shard::ToShard;
use crate::net::interfaces::{self, Interface};
use crate::net::udp::SOCKET_REST;
use bt_engine::{Discovery, Input, TorrentKey};
use bt_tracker_wire::{LSD_MAX, LSD_V4, LSD_V6, LocalAnnounce};
use bt_types::{InfoHash, Rng};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use sockets::GroupSockets;
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use swarms::{Call, Swarms};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Orders that wait for the task.
pub(crate) const INBOX_MAX: usize = 256;
/// Time to live of an announce: it stays on this network.
const HOPS: u32 = 1;
/// Datagrams read from one socket in a row, before other work has its turn.
const BATCH: usize = 64;

/// A message to the task.
#[derive(Debug)]
pub(crate) enum ToLsd {
    /// Announce a torrent, and listen for peers of it.
    FindPeers(TorrentKey, InfoHash),
    /// Stop both.
    Leave(TorrentKey),
}

/// The LSD task of one session.
pub(crate) struct Lsd {
    clock: Clock,
    registry: Rc<RefCell<Registry>>,
    swarms: Swarms,
    /// The addresses where peers can connect to us.
    listen: Vec<SocketAddr>,
    sockets: GroupSockets,
    interfaces: Vec<Interface>,
}

impl Lsd {
    pub(crate) fn new(
        clock: Clock,
        mut rng: Rng,
        listen: Vec<SocketAddr>,
        registry: Rc<RefCell<Registry>>,
    ) -> Lsd {
        let cookie = format!("bt-{:08x}", rng.next_u32());
        let swarms = Swarms::new(listen.first().map_or(0, SocketAddr::port), cookie, rng);
        Lsd {
            clock,
            registry,
            swarms,
            listen,
            sockets: GroupSockets::default(),
            interfaces: Vec::new(),
        }
    }

    /// Runs until the session is gone, or wants no search here any more.
    pub(crate) async fn run(mut self, mut from: mpsc::Receiver<ToLsd>) {
        let wanted =
            |group: &SocketAddr| self.listen.iter().any(|at| at.is_ipv4() == group.is_ipv4());
        let mut sockets = Vec::new();
        for group in [LSD_V4.into(), LSD_V6.into()].into_iter().filter(wanted) {
            match bind(group) {
                Ok(socket) => sockets.push(socket),
                Err(error) => {
                    tracing::info!(%group, %error, "no search for peers on the local network")
                }
            }
        }
        self.sockets = GroupSockets::open(sockets).await;
        self.join();
        let mut buffer = vec![0; LSD_MAX];
        loop {
            let deadline = self.swarms.deadline().map(|at| self.clock.instant(at));
            tokio::select! {
                message = from.recv() => match message {
                    Some(ToLsd::FindPeers(key, hash)) => self.swarms.order(self.clock.now(), key, hash),
                    Some(ToLsd::Leave(key)) => self.swarms.leave(key),
                    None => break,
                },
                readable = self.sockets.readable() => match readable {
                    Ok(index) => {
                        self.receive(index, &mut buffer).await;
                        // Other tasks have their turn after each batch.
                        tokio::task::yield_now().await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot receive from the local network");
                        sleep(SOCKET_REST).await;
                    }
                },
                () = sleep_until(deadline) => self.announce().await,
            }
        }
        // Orders that were not carried out are answered, in case that the session goes on.
        for key in self.swarms.ordered() {
            self.tell(key, Input::FindPeersDone(key, Discovery::Lsd, 0)).await;
        }
    }

    /// Joins the groups on every present interface. Interfaces come and go.
    fn join(&mut self) {
        match interfaces::find(&self.listen) {
            Ok(found) => self.interfaces = found,
            Err(error) => tracing::info!(%error, "cannot list the network interfaces"),
        }
        for interface in &self.interfaces {
            let v4 = interface.v4.zip(self.sockets.socket(true));
            let v4 = v4.map_or(Ok(()), |(ip, socket)| {
                SockRef::from(socket).join_multicast_v4(LSD_V4.ip(), &ip)
            });
            let v6 = self.sockets.socket(false).filter(|_| interface.v6);
            let v6 = v6.map_or(Ok(()), |socket| {
                SockRef::from(socket).join_multicast_v6(LSD_V6.ip(), interface.index)
            });
            for error in [v4, v6].into_iter().filter_map(Result::err) {
                // Joining a group twice gives this error.
                if error.kind() != io::ErrorKind::AddrInUse {
                    tracing::info!(?interface, %error, "no peers are heard on a network interface");
                }
            }
        }
    }

    /// Sends the announces that are due, on every interface.
    async fn announce(&mut self) {
        let (announces, keys) = self.swarms.due(self.clock.now());
        if announces.is_empty() {
            return;
        }
        self.join();
        for announce in &announces {
            for interface in &self.interfaces {
                if let Err(error) = self.say(announce, interface) {
                    tracing::info!(?interface, %error, "cannot announce on a network interface");
                }
            }
        }
        for key in keys {
            self.tell(key, Input::FindPeersDone(key, Discovery::Lsd, 0)).await;
        }
    }

    fn say(&self, announce: &LocalAnnounce, interface: &Interface) -> io::Result<()> {
        if let Some((ip, socket)) = interface.v4.zip(self.sockets.socket(true)) {
            SockRef::from(socket).set_multicast_if_v4(&ip)?;
            socket.try_send_to(&announce.write(LSD_V4.into()), LSD_V4.into())?;
        }
        if let Some(socket) = self.sockets.socket(false).filter(|_| interface.v6) {
            SockRef::from(socket).set_multicast_if_v6(interface.index)?;
            socket.try_send_to(&announce.write(LSD_V6.into()), LSD_V6.into())?;
        }
        Ok(())
    }

    async fn receive(&mut self, index: usize, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Some((len, from)) = self.sockets.receive(index, buffer) else { return };
            if !interfaces::is_neighbour(&self.interfaces, from.ip()) {
                continue;
            }
            let Some(announce) = LocalAnnounce::read(buffer.get(..len).unwrap_or_default()) else {
                continue;
            };
            for Call { torrent, addr, is_new } in
                self.swarms.hear(self.clock.now(), from, &announce)
            {
                tracing::debug!(%addr, is_new, "a peer on the local network");
                self.tell(torrent, Input::Called { torrent, addr, is_new }).await;
            }
        }
    }

    async fn tell(&self, key: TorrentKey, input: Input) {
        let shard = self.registry.borrow().shard(key);
        if let Some(shard) = shard {
            let _ = shard.send(ToShard::Input(input)).await;
        }
    }
}

/// Opens a socket that shares the group's port with other clients of this machine.
fn bind(group: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if group.is_ipv4() {
        socket.set_multicast_ttl_v4(HOPS)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, group.port())).into())?;
    } else {
        socket.set_only_v6(true)?;
        socket.set_multicast_hops_v6(HOPS)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, group.port())).into())?;
    }
    Ok(socket.into())
}
