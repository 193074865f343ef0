//! Places torrents on shards, and splits the process's rate limits and budget over the shards.
//!
//! Decides: which shard gets a torrent, the lease of each shard.
//! Must not know: sockets, the contents of torrents.
//! Invariant: the leases of all shards together never exceed the limits of the process.

use crate::config::Budget;
use alloc::vec;
use alloc::vec::Vec;
use bt_model::Rates;

/// The limits of the process, and how many torrents each shard has.
#[derive(Debug)]
pub struct Placement {
    limits: Budget,
    /// The number of torrents on each shard.
    load: Vec<usize>,
}

impl Placement {
    /// Makes the placement for this number of shards and these limits of the whole process.
    pub fn new(limits: Budget, shards: usize) -> Placement {
        Placement { limits, load: vec![0; shards.max(1)] }
    }

    /// Returns the limits of the whole process.
    pub fn limits(&self) -> Budget {
        self.limits
    }

    /// Changes the limits of the whole process; the leases change with them.
    pub fn set_limits(&mut self, limits: Budget) {
        self.limits = limits;
    }

    /// Picks the shard with the fewest torrents for a new torrent.
    #[must_use]
    pub fn place(&mut self) -> usize {
        let shard = self
            .load
            .iter()
            .enumerate()
            .min_by_key(|(_, load)| **load)
            .map_or(0, |(shard, _)| shard);
        if let Some(load) = self.load.get_mut(shard) {
            *load += 1;
        }
        shard
    }

    /// Notes that a torrent left its shard.
    pub fn unplace(&mut self, shard: usize) {
        if let Some(load) = self.load.get_mut(shard) {
            *load = load.saturating_sub(1);
        }
    }

    /// Splits the limits of the process evenly over the shards that have torrents.
    pub fn leases(&self) -> Vec<Budget> {
        let busy = self.load.iter().filter(|load| **load > 0).count().max(1);
        let share = |rate: Option<u64>| rate.map(|rate| rate / busy as u64);
        let share = Budget {
            store_bytes: self.limits.store_bytes / busy as u64,
            rates: Rates { up: share(self.limits.rates.up), down: share(self.limits.rates.down) },
            peers: self.limits.peers / busy,
            dials: self.limits.dials / busy,
            ..self.limits
        };
        let idle = Budget {
            store_bytes: 0,
            rates: Rates { up: Some(0), down: Some(0) },
            peers: 0,
            dials: 0,
            ..self.limits
        };
        self.load.iter().map(|load| if *load > 0 { share } else { idle }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torrents_spread_and_leases_add_up() {
        let limits =
            Budget { rates: Rates { up: Some(1000), down: None }, peers: 10, ..Budget::default() };
        let mut placement = Placement::new(limits, 2);
        assert_eq!(
            (placement.place(), placement.leases()[0].rates.up, placement.leases()[1].peers),
            (0, Some(1000), 0)
        );
        assert_eq!((placement.place(), placement.place(), placement.place()), (1, 0, 1));
        let leases = placement.leases();
        assert_eq!(leases.iter().filter_map(|lease| lease.rates.up).sum::<u64>(), 1000);
        assert_eq!(leases.iter().map(|lease| lease.peers).sum::<usize>(), 10);
        placement.unplace(0);
        placement.unplace(0);
        assert_eq!(placement.leases()[1].rates.up, Some(1000));
    }
}
