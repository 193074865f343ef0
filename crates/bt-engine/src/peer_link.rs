//! A connected peer as its swarm knows it: its addresses, and what it said beside pieces.
//!
//! Decides: when a connection counts as alive. Must not know: pieces, other peers.
//! Invariant: no more than [`ALIASES_MAX`] other addresses are kept for a peer.

use crate::io::PeerKey;
use crate::peer::NewConnection;
use crate::pex::Exchange;
use alloc::vec::Vec;
use bt_peer_wire::ExtensionIds;
use bt_types::{PeerId, Time};
use core::net::SocketAddr;
use core::time::Duration;

/// Most other addresses remembered for one peer.
const ALIASES_MAX: usize = 8;

/// Seconds without a message after which a connection may be dead: its peer may have another
/// address now.
const SILENCE: Duration = Duration::from_secs(3);

/// A connected peer, without the state that depends on the torrent's pieces.
#[derive(Debug)]
pub(crate) struct PeerLink {
    pub(crate) id: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) outbound: bool,
    pub(crate) since: Time,
    /// The time of its last message.
    pub(crate) heard: Time,
    /// A later connection to the same peer, made while this one was silent. It is closed if this
    /// one is alive.
    pub(crate) spare: Option<PeerKey>,
    /// It supports the extension protocol (BEP 10).
    pub(crate) extended: bool,
    /// It has a DHT node (BEP 5), and whether it has named that node's port.
    pub(crate) dht: bool,
    pub(crate) dht_named: bool,
    /// It has told us the address that it sees us at.
    pub(crate) sees_us: bool,
    /// The address at which it accepts connections, if that is known.
    pub(crate) listens: Option<SocketAddr>,
    /// Other addresses of the peer. None of them is dialled while it is connected.
    pub(crate) aliases: Vec<SocketAddr>,
    /// The extension message ids that it chose (BEP 10).
    pub(crate) ids: ExtensionIds,
    pub(crate) exchange: Exchange,
}

impl PeerLink {
    pub(crate) fn new(now: Time, connection: &NewConnection) -> PeerLink {
        let NewConnection { addr, outbound, handshake, .. } = connection;
        PeerLink {
            id: handshake.peer_id,
            addr: *addr,
            outbound: *outbound,
            since: now,
            heard: now,
            spare: None,
            extended: handshake.reserved.extended(),
            dht: handshake.reserved.dht(),
            dht_named: false,
            sees_us: false,
            listens: outbound.then_some(*addr),
            aliases: Vec::new(),
            ids: ExtensionIds::default(),
            exchange: Exchange::default(),
        }
    }

    /// Returns the address to dial it at, or the address that it connected from.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listens.unwrap_or(self.addr)
    }

    /// Returns whether it sent a message lately.
    pub(crate) fn is_alive(&self, now: Time) -> bool {
        now.since(self.heard) < SILENCE
    }

    /// Notes another address of the peer. False if there is no room for more.
    pub(crate) fn is_also_at(&mut self, addr: SocketAddr) -> bool {
        let is_known = self.listens == Some(addr) || self.aliases.contains(&addr);
        let has_room = self.aliases.len() < ALIASES_MAX;
        if !is_known && has_room {
            self.aliases.push(addr);
        }
        is_known || has_room
    }
}
