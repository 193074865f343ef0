//! The engine's few knobs, each with its unit and reason.
//!
//! Decides: defaults. Must not know: who sets them.
//! Invariant: hard caps are constants beside the code that they protect; settings stay below them.

use core::time::Duration;

/// Settings of an engine, fixed for its life.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our peer id: a peer with the same one is ourselves.
    pub peer_id: bt_types::PeerId,
    /// The TCP port that we tell peers we listen on, if we do.
    pub listen_port: Option<u16>,
    /// Peers unchoked at a time at first, per torrent; the number adapts to the uplink.
    pub upload_slots: usize,
    /// Time between choking rounds (BEP 3: ten seconds).
    pub choke_round: Duration,
    /// The UDP port of our DHT node (BEP 5), if there is one to ask.
    pub dht_port: Option<u16>,
    /// Whether peers are sought on the local network (BEP 14).
    pub lsd: bool,
    /// Whether peers tell each other of peers (BEP 11).
    pub pex: bool,
}

impl Config {
    /// The defaults for a client with this id.
    pub fn new(peer_id: bt_types::PeerId) -> Config {
        Config {
            peer_id,
            listen_port: None,
            upload_slots: 10,
            choke_round: Duration::from_secs(10),
            dht_port: None,
            lsd: false,
            pex: true,
        }
    }
}

/// Limits of payload in bytes per second; `None` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// To peers.
    pub up: Option<u64>,
    /// From peers.
    pub down: Option<u64>,
}

/// What the engine may use of things that the whole process shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Bytes of blocks that all torrents together may have requested, or have in the store's memory. Where there are none, one piece is always
    /// allowed.
    pub store_bytes: u64,
    /// Payload to and from all peers together.
    pub rates: Rates,
    /// Connections of one torrent.
    pub peers_per_torrent: usize,
    /// Connections of all torrents.
    pub peers: usize,
    /// Dials of all torrents that are under way at a time.
    pub dials: usize,
}

impl Default for Budget {
    /// 64 MiB of blocks, no rate limit, 100 connections per torrent and 500 in all, 200 dials at a time.
    fn default() -> Budget {
        Budget { store_bytes: 64 << 20, rates: Rates::default(), peers_per_torrent: 100, peers: 500, dials: 200 }
    }
}
