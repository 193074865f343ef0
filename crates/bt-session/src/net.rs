//! Sockets of a session: connections of peers, the UDP port, the local network.
//!
//! Decides: nothing; its files do.
//! Must not know: `run`, `client`.
//! Invariant: each socket has one task that reads and writes it.

pub(crate) mod buffers;
pub(crate) mod dial;
pub(crate) mod interfaces;
pub(crate) mod listen;
pub(crate) mod lsd;
pub(crate) mod network_watch;
pub(crate) mod splice;
pub(crate) mod stream;
pub(crate) mod udp;
#[cfg_attr(
    not(feature = "dht"),
    allow(dead_code, reason = "the DHT node is the only guest of the port")
)]
pub(crate) mod udp_port;
pub(crate) mod wire;
