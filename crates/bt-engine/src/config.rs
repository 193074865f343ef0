//! Holds the engine's few settings, each with its unit and reason.
//!
//! Decides: defaults. Must not know: the source of the settings.
//! Invariant: hard caps are constants beside the code that they protect; settings stay below them.

use bt_model::Rates;
use core::time::Duration;

/// Settings of an engine. [`crate::Input::Discover`] changes the ways to find peers; all else is
/// fixed for its life.
#[derive(Clone, Debug)]
pub struct Config {
    /// The peer id of this client: a peer with the same id is ourselves.
    pub peer_id: bt_types::PeerId,
    /// The TCP port that we tell peers we listen on; `None` if we do not listen.
    pub listen_port: Option<u16>,
    /// Peers of a torrent unchoked at a time at first; the number adapts to the uplink.
    pub upload_slots: usize,
    /// Time between choking rounds (BEP 3: ten seconds).
    pub choke_round: Duration,
    /// The UDP port of our DHT node (BEP 5); `None` if there is no node.
    pub dht_port: Option<u16>,
    /// Whether the engine looks for peers on the local network (BEP 14).
    pub lsd: bool,
    /// Whether peers are told of each other (BEP 11).
    pub pex: bool,
}

impl Config {
    /// Makes the default settings for a client with this id.
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

/// The engine's part of the resources that the whole process shares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Bytes of blocks that all torrents together may have requested or have in the store's memory.
    /// While there are none, one piece is always allowed.
    pub store_bytes: u64,
    /// Limits of the payload to and from all peers together.
    pub rates: Rates,
    /// Most connections of one torrent.
    pub peers_per_torrent: usize,
    /// Most connections of all torrents.
    pub peers: usize,
    /// Most dials of all torrents that are under way at a time.
    pub dials: usize,
}

impl Default for Budget {
    /// Returns 64 MiB of blocks, no rate limit, 100 connections per torrent and 500 in all, 200
    /// dials at a time.
    fn default() -> Budget {
        Budget {
            store_bytes: 64 << 20,
            rates: Rates::default(),
            peers_per_torrent: 100,
            peers: 500,
            dials: 200,
        }
    }
}
