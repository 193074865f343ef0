//! A program's connections, between sockets and the engine.
//!
//! Decides: nothing; it moves bytes. Must not know: torrents, or what a message means.
//! Invariant: a connection is known here from its dial, or its arrival, until it is removed.

use crate::network::Network;
use crate::pipe::Pipe;
use crate::stream::{Detail, Parcel};
use bt_engine::PeerKey;
use bt_peer_wire::{Handshake, Incoming, Message};
use bt_types::{RawBlock, Time};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// All connections of a program.
#[derive(Debug)]
pub(crate) struct Wires {
    /// Number of pieces, once it is known.
    pieces: Option<u32>,
    detail: Detail,
    wires: BTreeMap<PeerKey, Wire>,
    /// Those that may have something to write and room for it.
    to_write: BTreeSet<PeerKey>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    pipe: Pipe,
    addr: SocketAddr,
    outbound: bool,
    /// The socket stands.
    is_open: bool,
    /// The peer's handshake came.
    is_shaken: bool,
}

/// What a connection led to.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) addr: SocketAddr,
    pub(crate) outbound: bool,
    pub(crate) handshake: Option<Handshake>,
    pub(crate) messages: Vec<Message>,
    /// The peer broke the protocol, or wants another torrent.
    pub(crate) is_over: bool,
}

impl Wire {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether the engine knows of it.
    pub(crate) fn is_shaken(&self) -> bool {
        self.is_shaken
    }

    /// The address that was dialled, if we did.
    pub(crate) fn dialled(&self) -> Option<SocketAddr> {
        self.outbound.then_some(self.addr)
    }
}

impl Wires {
    /// No connections yet.
    pub(crate) fn new(detail: Detail) -> Wires {
        Wires { pieces: None, detail, wires: BTreeMap::new(), to_write: BTreeSet::new() }
    }

    /// The torrent has this many pieces. Connections that stand go on without knowing it.
    pub(crate) fn set_pieces(&mut self, pieces: u32) {
        self.pieces = Some(pieces);
    }

    // ---- they come and go ----

    /// We asked for a connection.
    pub(crate) fn dialled(&mut self, now: Time, peer: PeerKey, addr: SocketAddr) {
        let wire = Wire {
            pipe: Pipe::new(now, self.detail),
            addr,
            outbound: true,
            is_open: false,
            is_shaken: false,
        };
        self.wires.insert(peer, wire);
    }

    /// Our dial succeeded: we speak first.
    pub(crate) fn connected(&mut self, now: Time, peer: PeerKey, ours: &Handshake) {
        if let Some(wire) = self.wires.get_mut(&peer) {
            wire.pipe = Pipe::new(now, self.detail);
            wire.is_open = true;
            wire.pipe.send_handshake(ours);
            self.to_write.insert(peer);
        }
    }

    /// A host connected to us: it speaks first.
    pub(crate) fn incoming(&mut self, now: Time, peer: PeerKey, addr: SocketAddr) {
        let wire = Wire {
            pipe: Pipe::new(now, self.detail),
            addr,
            outbound: false,
            is_open: true,
            is_shaken: false,
        };
        self.wires.insert(peer, wire);
    }

    pub(crate) fn remove(&mut self, peer: PeerKey) -> Option<Wire> {
        self.wires.remove(&peer)
    }

    // ---- reading ----

    /// A part of a stream came: what it says. `None` for a connection that is not known.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        peer: PeerKey,
        parcel: Parcel,
        ours: &Handshake,
    ) -> Option<Heard> {
        let wire = self.wires.get_mut(&peer)?;
        wire.pipe.receive(now, parcel);
        let (addr, outbound) = (wire.addr, wire.outbound);
        let mut heard =
            Heard { addr, outbound, handshake: None, messages: Vec::new(), is_over: false };
        loop {
            match wire.pipe.next() {
                Ok(Some(Incoming::Handshake(theirs))) if theirs.info_hash == ours.info_hash => {
                    wire.is_shaken = true;
                    if let Some(pieces) = self.pieces {
                        wire.pipe.set_pieces(pieces);
                    }
                    if !wire.outbound {
                        wire.pipe.send_handshake(ours);
                        self.to_write.insert(peer);
                    }
                    heard.handshake = Some(theirs);
                }
                Ok(Some(Incoming::Message(message))) => heard.messages.push(message),
                Ok(None) => return Some(heard),
                Ok(Some(Incoming::Handshake(_))) | Err(_) => {
                    heard.is_over = true;
                    return Some(heard);
                }
            }
        }
    }

    // ---- writing ----

    pub(crate) fn send(&mut self, now: Time, peer: PeerKey, messages: &[Message]) {
        let Some(wire) = self.wires.get_mut(&peer) else { return };
        messages.iter().for_each(|message| wire.pipe.send(now, message));
        self.to_write.insert(peer);
    }

    pub(crate) fn serve(&mut self, now: Time, peer: PeerKey, block: RawBlock, data: Bytes) {
        let Some(wire) = self.wires.get_mut(&peer) else { return };
        wire.pipe.send_piece(now, block, data);
        self.to_write.insert(peer);
    }

    /// The socket has room again.
    pub(crate) fn touch(&mut self, peer: PeerKey) {
        self.to_write.insert(peer);
    }

    /// Writes what the next socket takes: the peer and the payload bytes that left for it. `None`
    /// when all are served.
    pub(crate) fn write(&mut self, now: Time, net: &mut Network) -> Option<(PeerKey, u64)> {
        let peer = self.to_write.pop_first()?;
        let payload = self.wires.get_mut(&peer).map_or(0, |wire| wire.pipe.write(now, peer, net));
        Some((peer, payload))
    }

    // ---- time ----

    /// When [`Wires::wake`] must be called. A dial has the system's patience, which has no end
    /// here.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.wires
            .values()
            .filter(|wire| wire.is_open)
            .filter_map(|wire| wire.pipe.deadline())
            .min()
    }

    /// Sends keep-alives that are due; the connections that are dead.
    pub(crate) fn wake(&mut self, now: Time) -> Vec<PeerKey> {
        let mut dead = Vec::new();
        let is_due = |wire: &Wire| wire.is_open && wire.pipe.deadline().is_some_and(|at| at <= now);
        for (&peer, wire) in self.wires.iter_mut().filter(|(_, wire)| is_due(wire)) {
            match wire.pipe.wake(now) {
                Ok(()) => drop(self.to_write.insert(peer)),
                Err(_) => dead.push(peer),
            }
        }
        dead
    }
}
