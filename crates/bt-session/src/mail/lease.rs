//! What a shard may use and do: its part of the limits of the session, and the ways to find peers.
//!
//! Decides: how settings of the session become limits and ways.
//! Must not know: other shards.
//! Invariant: a shard has the newest lease that it was given, however busy it is.

use bt_engine::{Budget, Config, Input};
use bt_model::SessionSettings;

/// What a shard was told last. The newest value replaces those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lease {
    pub(crate) budget: Budget,
    /// The UDP port of the DHT node, if torrents are searched there.
    pub(crate) dht_port: Option<u16>,
    pub(crate) lsd: bool,
    pub(crate) pex: bool,
}

impl Lease {
    /// Makes the lease of the whole session. `base` has the limits that no setting names.
    pub(crate) fn of(settings: &SessionSettings, base: Budget, dht_port: Option<u16>) -> Lease {
        let most = |wanted: Option<u32>, usual: usize| {
            wanted.map_or(usual, |most| usize::try_from(most).unwrap_or(usize::MAX))
        };
        let budget = Budget {
            rates: settings.limits,
            peers: most(settings.connections_max, base.peers),
            peers_per_torrent: most(settings.peers_max, base.peers_per_torrent),
            ..base
        };
        let dht_port = dht_port.filter(|_| settings.dht);
        Lease { budget, dht_port, lsd: settings.lsd, pex: settings.pex }
    }

    /// Changes the settings of an engine to these.
    pub(crate) fn apply_to(&self, config: &mut Config) {
        (config.dht_port, config.lsd, config.pex) = (self.dht_port, self.lsd, self.pex);
    }

    /// Returns what an engine must be told if it knows another lease.
    pub(crate) fn news(&self, before: &Lease) -> impl Iterator<Item = Input> + use<> {
        let Lease { budget, dht_port, lsd, pex } = *self;
        let ways = |lease: &Lease| (lease.dht_port, lease.lsd, lease.pex);
        let budget = (budget != before.budget).then_some(Input::Budget(budget));
        let discover = Input::Discover { dht_port, lsd, pex };
        let discover = (ways(self) != ways(before)).then_some(discover);
        budget.into_iter().chain(discover)
    }
}
