//! Stands for `dht.rs` in a build without the feature `dht`.
//!
//! Decides: nothing. Must not know: the DHT.
//! Invariant: no node can be had: its settings cannot be made.

use crate::mail::clock::Clock;
use crate::mail::dht::{Contact, DhtHandle};
use crate::net::udp_port::UdpGuest;
use bt_net::Egress;
use bt_types::Rng;
use std::convert::Infallible;

/// Settings of a node. This build has none, so that nothing makes a value of this type.
#[derive(Clone, Debug)]
pub struct DhtConfig {
    pub(crate) saved: Vec<Contact>,
    pub(crate) never: Infallible,
}

/// A node that is ready to run: there is none.
#[derive(Debug)]
pub(crate) struct Driver(Infallible);

impl Driver {
    pub(crate) fn new(
        _clock: Clock,
        _rng: Rng,
        _egress: Egress,
        _guest: UdpGuest,
        config: DhtConfig,
    ) -> (Driver, DhtHandle) {
        match config.never {}
    }

    pub(crate) async fn run(self) {
        match self.0 {}
    }
}
