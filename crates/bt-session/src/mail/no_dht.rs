//! Stands for `dht.rs` in a build without the feature `dht`.
//!
//! Decides: nothing. Must not know: the DHT.
//! Invariant: no node runs, so that every question ends at once without an answer.

use bt_types::InfoHash;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A node of the DHT: there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact(());

/// Why a file is no list of nodes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum ContactsError {
    /// This build reads none.
    #[error("this build has no DHT (feature dht), and reads no file of format {0}")]
    Newer(i64),
}

/// Refuses every file, so that none is overwritten.
pub(crate) fn read_contacts(_bytes: &[u8]) -> Result<Vec<Contact>, ContactsError> {
    Err(ContactsError::Newer(1))
}

/// Writes nothing: there are no nodes.
pub(crate) fn write_contacts(_contacts: &[Contact]) -> Vec<u8> {
    Vec::new()
}

/// The handle of a node: there is none.
#[derive(Clone, Debug)]
pub struct DhtHandle(());

impl DhtHandle {
    pub(crate) async fn get_peers(&self, _hash: InfoHash, _port: Option<u16>) -> DhtPeers {
        DhtPeers(None)
    }

    pub(crate) fn add_port(&self, _addr: SocketAddr) {}

    pub(crate) fn add_router(&self, _router: String) {}

    pub(crate) fn status_now(&self) -> Option<bt_model::DhtStatus> {
        None
    }

    pub(crate) async fn contacts(&self) -> Vec<Contact> {
        Vec::new()
    }

    pub(crate) async fn stop(&self) -> Vec<Contact> {
        Vec::new()
    }

    pub(crate) async fn knows_a_node(&self, _limit: Duration) -> bool {
        false
    }
}

/// A stream of no peers.
#[derive(Debug)]
pub(crate) struct DhtPeers(Option<(IpAddr, Vec<SocketAddr>)>);

impl DhtPeers {
    pub(crate) async fn next(&mut self) -> Option<(IpAddr, Vec<SocketAddr>)> {
        self.0.take()
    }
}
