//! Defines what is known of a session at one moment.
//!
//! Decides: the words of the report. Must not know: how it is displayed.
//! Invariant: values only; reading a view changes nothing. A session's view is the sum of the views
//! of its parts.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

/// What is known of a session at one moment, all its torrents together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct SessionView {
    /// Bytes per second received now.
    pub down_rate: u64,
    /// Bytes per second sent now.
    pub up_rate: u64,
    /// Payload bytes received since the session started, good or not, also of torrents that were
    /// removed.
    pub bytes_down: u64,
    /// Payload bytes sent since the session started, also of torrents that were removed.
    pub bytes_up: u64,
    /// Torrents that were added and not removed, also those that failed.
    pub torrents: usize,
    /// Connections to peers.
    pub connections: usize,
    /// Dials under way.
    pub dials: usize,
    /// Bytes of blocks that are requested, or received and not yet written.
    pub store_bytes: u64,
    /// The most of these: with it, no further block is requested.
    pub store_bytes_max: u64,
    /// Orders that wait for a disk thread or are carried out, without reads.
    pub disk_orders: usize,
    /// The addresses that peers can connect to.
    pub listen: Vec<SocketAddr>,
    /// Our own addresses as peers and trackers see them, unverified, and the number of votes for
    /// each: one vote for a host and torrent.
    pub external_ips: BTreeMap<IpAddr, usize>,
    /// The DHT node of the session, if it has one.
    pub dht: Option<DhtStatus>,
    /// How often a bug of ours ended something since the session started.
    pub panics: Panics,
}

impl SessionView {
    /// Returns the sum of the views of two parts of a session.
    #[must_use]
    pub fn with(mut self, other: SessionView) -> SessionView {
        self.down_rate = self.down_rate.saturating_add(other.down_rate);
        self.up_rate = self.up_rate.saturating_add(other.up_rate);
        self.bytes_down = self.bytes_down.saturating_add(other.bytes_down);
        self.bytes_up = self.bytes_up.saturating_add(other.bytes_up);
        self.torrents = self.torrents.saturating_add(other.torrents);
        self.connections = self.connections.saturating_add(other.connections);
        self.dials = self.dials.saturating_add(other.dials);
        self.store_bytes = self.store_bytes.saturating_add(other.store_bytes);
        self.store_bytes_max = self.store_bytes_max.saturating_add(other.store_bytes_max);
        self.disk_orders = self.disk_orders.saturating_add(other.disk_orders);
        self.listen.extend(other.listen);
        for (ip, votes) in other.external_ips {
            let sum = self.external_ips.entry(ip).or_default();
            *sum = sum.saturating_add(votes);
        }
        self.dht = self.dht.or(other.dht);
        self.panics = self.panics.with(other.panics);
        self
    }
}

/// How a DHT node is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct DhtStatus {
    /// Whether the node knows its neighbours.
    pub joined: bool,
    /// Nodes in the routing tables.
    pub nodes: usize,
    /// Torrents that other peers announced to this node.
    pub torrents: usize,
    /// Datagrams received.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
}

/// How often a bug of ours ended something since the session started. All zero without bugs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct Panics {
    /// In a connection or a dial: it ended, and nothing else did.
    pub connections: u64,
    /// In an engine: its torrents left their peers and resumed from the pieces that they had.
    pub engines: u64,
    /// Anywhere else: opening or writing one torrent, one announce. That torrent or announce
    /// failed.
    pub others: u64,
}

impl Panics {
    /// Returns the sum of all counts.
    pub fn total(&self) -> u64 {
        self.connections.saturating_add(self.engines).saturating_add(self.others)
    }

    /// Returns the sums of two counts.
    #[must_use]
    pub fn with(self, other: Panics) -> Panics {
        Panics {
            connections: self.connections.saturating_add(other.connections),
            engines: self.engines.saturating_add(other.engines),
            others: self.others.saturating_add(other.others),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_views_of_parts_add_up() {
        let ip = |last| IpAddr::from([5, 0, 0, last]);
        let one = SessionView {
            bytes_down: 5,
            connections: 1,
            external_ips: [(ip(1), 1), (ip(2), 2)].into(),
            ..SessionView::default()
        };
        let other = SessionView {
            bytes_down: u64::MAX,
            connections: 2,
            external_ips: [(ip(2), 3)].into(),
            dht: Some(DhtStatus { nodes: 8, ..DhtStatus::default() }),
            panics: Panics { engines: 1, ..Panics::default() },
            ..SessionView::default()
        };
        let both = one.with(other);
        assert_eq!((both.bytes_down, both.connections), (u64::MAX, 3));
        assert_eq!(both.external_ips, [(ip(1), 1), (ip(2), 5)].into());
        assert_eq!((both.dht.map(|dht| dht.nodes), both.panics.total()), (Some(8), 1));
    }
}
