//! A DHT node with sockets (BEP 5): the shell around `bt-dht`, for embedding.
//!
//! Decides: that the node has a thread of its own.
//! Must not know: which torrents are private; the caller must keep those out.
//! Invariant: one thread owns the node. No datagram goes to an address that `may_name` forbids to
//! the source that named it.
//!
//! ```no_run
//! use bt_session::dht::{Dht, DhtConfig};
//! use bt_types::InfoHash;
//!
//! # async fn example(hash: InfoHash) -> Result<(), Box<dyn std::error::Error>> {
//! let bootstrap = vec!["router.example:6881".into()];
//! let dht = Dht::start(&[], DhtConfig { bootstrap, ..DhtConfig::default() })?;
//! let mut peers = dht.handle().get_peers(hash, Some(6881)).await;
//! while let Some((_, found)) = peers.next().await {
//!     println!("{found:?}");
//! }
//! let nodes = dht.stop().await; // for `DhtConfig::saved` of the next run
//! # Ok(())
//! # }
//! ```

use crate::mail::clock::Clock;
use crate::mail::events::StartError;
use crate::net::udp;
use crate::net::udp_port::UdpPort;
use crate::run::dht::Driver;
use crate::run::start::{os_rng, spawn};
use bt_net::{Egress, EgressConfig};
use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

pub use crate::mail::dht::{Answers, DhtHandle, DhtPeers};
pub use crate::run::dht::DhtConfig;
pub use bt_dht::{
    AnnounceOptions, Ask, AskKey, Bloom, Contact, Event, Family, Id, Item, ItemFault, KrpcError,
    LookupReport, Mutable, SALT_MAX, Samples, Scrape, VALUE_MAX, Value, mutable_target, public_key,
};
pub use bt_model::DhtStatus;

/// Bootstrap nodes that the authors of clients run, for a client that knows no other node.
pub const PUBLIC_ROUTERS: [&str; 4] = [
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "dht.libtorrent.org:25401",
    "router.utorrent.com:6881",
];

/// A running node. Dropping it ends the node.
#[derive(Debug)]
#[must_use = "a node that is dropped ends"]
pub struct Dht {
    handle: DhtHandle,
    listen: Vec<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

impl Dht {
    /// Opens sockets at these addresses and starts the thread. At most one address of each family;
    /// with none, any port of both families. The caller needs no async runtime.
    pub fn start(listen: &[SocketAddr], config: DhtConfig) -> Result<Dht, StartError> {
        let sockets = udp::bind_all(listen)?;
        let listen =
            sockets.iter().map(std::net::UdpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
        let egress = Egress::new(EgressConfig::default())?;
        let mut port = UdpPort::new(sockets)?;
        let (clock, guest) = (Clock::start(), port.dht_guest());
        let (driver, handle) = Driver::new(clock, os_rng()?, egress, guest, config);
        let thread = spawn("bt-dht", move || {
            port.start();
            driver.run()
        })?;
        Ok(Dht { handle, listen, thread: Some(thread) })
    }

    /// Returns a handle of the node.
    pub fn handle(&self) -> DhtHandle {
        self.handle.clone()
    }

    /// Returns the addresses that the node listens on.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// Ends the node, and returns its known nodes for [`DhtConfig::saved`].
    pub async fn stop(mut self) -> Vec<Contact> {
        let nodes = self.handle.stop().await;
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        nodes
    }
}

/// Makes 32 secret bytes from the system's random numbers, for [`Mutable::sign`].
pub fn new_secret() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    os_rng()?.fill(&mut secret);
    Ok(secret)
}
