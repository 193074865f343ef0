//! Splits a tracker into shards: each has the torrents whose info-hashes it owns.
//!
//! Decides: which shard owns an info-hash. Must not know: threads, sockets.
//! Invariant: all shards accept the connection ids of each.

use crate::connection::ConnectionIds;
use crate::{Config, Tracker};
use alloc::vec::Vec;
use bt_tracker_wire::{UdpBody, UdpHead, write_udp_counts};
use bt_types::{InfoHash, Rng, Time};

/// The part of the info-hashes that a tracker owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Shard {
    number: usize,
    of: usize,
}

impl Shard {
    pub(crate) const WHOLE: Shard = Shard { number: 0, of: 1 };
}

/// Returns the number of the shard that owns an info-hash: the hash's first byte modulo their
/// number. A socket filter of the kernel computes the same.
pub fn shard_of(hash: &InfoHash, shards: usize) -> usize {
    let [first, ..] = hash.0;
    usize::from(first).checked_rem(shards).unwrap_or(0)
}

/// Returns the number of the shard that owns the first info-hash of a datagram; `None` if it has
/// none: any shard can answer it.
pub fn shard_of_datagram(datagram: &[u8], shards: usize) -> Option<usize> {
    usize::from(*datagram.get(UdpHead::LEN)?).checked_rem(shards)
}

impl Tracker {
    /// Makes the shards of a tracker; each has its part of the limits. A datagram goes to the shard
    /// of [`shard_of_datagram`], any other request to that of [`shard_of`]. A scrape of several
    /// swarms over UDP goes to every shard: one answers, and all [`amend`](Self::amend) the reply.
    pub fn shards(config: &Config, secret: [u8; 32], shards: usize) -> Vec<Tracker> {
        let mut rng = Rng::from_secret(secret);
        let connections = ConnectionIds::new(&mut rng);
        let of = shards.max(1);
        // A limit that is no limit stays so.
        let part = |limit: usize| if limit == usize::MAX { limit } else { limit.div_ceil(of) };
        let config = Config {
            memory: config.memory / of,
            torrents_limit: part(config.torrents_limit),
            peers_limit: part(config.peers_limit),
            ..config.clone()
        };
        (0..of)
            .map(|number| {
                let shard = Shard { number, of };
                Tracker::with(config.clone(), connections.clone(), rng.fork(), shard)
            })
            .collect()
    }

    /// Writes the counts of the swarms that this shard owns into the reply that another shard gave
    /// to a scrape.
    pub fn amend(&mut self, now: Time, datagram: &[u8], reply: &mut [u8]) {
        let Some((head, rest)) = UdpHead::parse(datagram) else { return };
        let Some(UdpBody::Scrape(hashes)) = head.body(rest) else { return };
        for (place, hash) in hashes.iter().enumerate() {
            let hash = InfoHash(*hash);
            if shard_of(&hash, self.shard.of) == self.shard.number {
                write_udp_counts(reply, place, &self.counts(now, hash));
            }
        }
    }
}
