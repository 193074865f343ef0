//! Implements a BitTorrent tracker without sockets: requests in, replies out, one swarm table
//! behind UDP and HTTP.
//!
//! Decides: the answer to each request. Must not know: sockets, clocks, threads.
//! Invariant: over UDP nothing is done for an address that has not shown that it receives our
//! replies.
//!
//! ```
//! use bt_tracker::{Config, Tracker};
//! use bt_types::Time;
//!
//! let mut tracker = Tracker::new(Config::default(), [7; 32]);
//! let (hash, id) = ("aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb");
//! let target = format!("/announce?info_hash={hash}&peer_id={id}&port=6881&left=0");
//! let answer = tracker.http(Time::ZERO, "192.0.2.1".parse().unwrap(), &target);
//! assert_eq!(answer.status, 200);
//! assert!(answer.body.starts_with(b"d8:completei1e"));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod arena;
mod budget;
mod clock;
mod completions;
mod connection;
mod eviction;
mod http;
mod index;
mod keyed_hash;
mod naming;
mod peer;
mod pool;
mod sample;
mod shard;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod torrents;

pub use http::{HttpAnswer, HttpRequest};
pub use shard::{shard_of, shard_of_datagram};

use alloc::string::ToString as _;
use alloc::vec::Vec;
use bt_tracker_wire::{
    Announce, AnnounceReply, Event, Failure, QueryError, ScrapeReply, SwarmCounts, UdpBody,
    UdpHead, push_udp_announce, push_udp_connect, push_udp_counts, push_udp_error, push_udp_scrape,
    udp_peers_max,
};
use bt_types::{InfoHash, Rng, Time, normalise};
use connection::ConnectionIds;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use naming::shared;
use peer::{V4, V6};
use shard::Shard;
use table::{Family, Limits, Member, Table};

/// The policy and the limits of a tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// How often a peer must announce, in whole seconds; a peer that does not announce for twice as
    /// long is forgotten. Each reply names up to a tenth more, at random, so that peers that came
    /// together do not come back together.
    pub interval: Duration,
    /// How soon a peer may announce again, in whole seconds; a shorter `interval` counts instead.
    pub min_interval: Duration,
    /// Peers in a reply when the announce does not say how many.
    pub peers_default: u32,
    /// Most peers in a reply. Over UDP at most what an unfragmented datagram carries: 202 IPv4, 67
    /// IPv6.
    pub peers_max: u32,
    /// Most bytes of memory of the table. A peer takes 10 to 40 bytes, one that is alone in its
    /// swarm about 85.
    pub memory: usize,
    /// Most swarms, including swarms that are remembered only for their completed count.
    pub torrents_limit: usize,
    /// Most peers, over all swarms.
    pub peers_limit: usize,
}

impl Default for Config {
    /// 512 MiB, and no other limit.
    fn default() -> Config {
        Config {
            interval: Duration::from_secs(1_800),
            min_interval: Duration::from_secs(300),
            peers_default: 50,
            peers_max: 200,
            memory: 512 << 20,
            torrents_limit: usize::MAX,
            peers_limit: usize::MAX,
        }
    }
}

/// The activity of a tracker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Swarms that have peers or were completed.
    pub torrents: usize,
    /// Peers over all swarms, both families.
    pub peers: usize,
    /// Announces answered since the start, without refusals.
    pub announces: u64,
    /// Scrapes answered since the start.
    pub scrapes: u64,
    /// Bytes that the table holds.
    pub bytes: usize,
}

/// The tracker: every method takes the time, which must not go backwards, and the address that the
/// request came from.
#[derive(Debug)]
pub struct Tracker {
    config: Config,
    table: Table,
    connections: ConnectionIds,
    shard: Shard,
    announces: u64,
    scrapes: u64,
}

impl Tracker {
    /// Makes an empty tracker. `secret` must come from the operating system's generator: with the
    /// secret, connection ids can be forged.
    pub fn new(config: Config, secret: [u8; 32]) -> Tracker {
        let mut rng = Rng::from_secret(secret);
        let connections = ConnectionIds::new(&mut rng);
        Tracker::with(config, connections, rng, Shard::WHOLE)
    }

    fn with(config: Config, connections: ConnectionIds, rng: Rng, shard: Shard) -> Tracker {
        let limits = Limits {
            memory: config.memory,
            torrents: config.torrents_limit,
            peers: config.peers_limit,
        };
        let table = Table::new(limits, config.interval.saturating_mul(2), rng);
        Tracker { config, table, connections, shard, announces: 0, scrapes: 0 }
    }

    /// Answers a datagram; `None` means silence, for malformed datagrams and for ids that we did
    /// not give to this address.
    pub fn udp(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut reply = Vec::new();
        self.answer(now, from, datagram, &mut reply).then_some(reply)
    }

    /// Answers a datagram like [`udp`](Self::udp), in a buffer that is used again: it is emptied
    /// first. Returns whether there is a reply. An announce of a known peer allocates nothing.
    pub fn answer(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        reply: &mut Vec<u8>,
    ) -> bool {
        reply.clear();
        from.port() != 0 && self.try_answer(now, from, datagram, reply).is_some()
    }

    fn try_answer(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        reply: &mut Vec<u8>,
    ) -> Option<()> {
        let ip = normalise(from.ip());
        let (head, rest) = UdpHead::parse(datagram)?;
        // Nothing more is read for an address that has not shown that it receives our replies.
        if !head.is_connect() {
            self.connections.check(now, ip, head.connection)?;
        }
        match head.body(rest)? {
            UdpBody::Connect => {
                push_udp_connect(reply, head.transaction, self.connections.issue(now, ip))
            }
            UdpBody::Announce(announce, _) => {
                let transaction = head.transaction;
                let answered = match ip {
                    IpAddr::V4(_) => {
                        self.udp_announce::<V4>(now, ip, transaction, &announce, reply)
                    }
                    IpAddr::V6(_) => {
                        self.udp_announce::<V6>(now, ip, transaction, &announce, reply)
                    }
                };
                if let Err(failure) = answered {
                    push_udp_error(reply, transaction, &failure.reason);
                }
            }
            UdpBody::Scrape(hashes) => {
                self.table.sweep(now);
                self.scrapes = self.scrapes.saturating_add(1);
                push_udp_scrape(reply, head.transaction);
                for hash in hashes {
                    push_udp_counts(reply, &self.table.counts(InfoHash(*hash)));
                }
            }
        }
        Some(())
    }

    fn udp_announce<P: Family>(
        &mut self,
        now: Time,
        ip: IpAddr,
        transaction: u32,
        announce: &Announce,
        reply: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let (member, counts) = self.enter::<P>(now, ip, announce)?;
        push_udp_announce(reply, transaction, self.interval(), counts.incomplete, counts.complete);
        if let Some(member) = member {
            let wanted = self.wanted(announce).min(udp_peers_max(P::FAMILY));
            self.table.name(&member, true, wanted, |peer: P| peer.push(reply));
        }
        Ok(())
    }

    /// Answers a GET of `target`, the path with its query. Announces get peers of both families.
    /// Extra slashes are ignored.
    pub fn http(&mut self, now: Time, from: IpAddr, target: &str) -> HttpAnswer {
        match HttpRequest::parse(target) {
            HttpRequest::Announce(announce) => {
                HttpAnswer::announce(&self.http_announce(now, from, &announce))
            }
            HttpRequest::Scrape(hashes) => {
                self.count_scrape();
                let counts = hashes.into_iter().map(|hash| (hash, self.counts(now, hash)));
                HttpAnswer::scrape(&ScrapeReply { swarms: counts.collect() })
            }
            HttpRequest::Page => HttpAnswer::page(&self.stats()),
            HttpRequest::Answered(answer) => answer,
        }
    }

    /// Answers an announce that came over HTTP, with peers of both families.
    pub fn http_announce(
        &mut self,
        now: Time,
        from: IpAddr,
        announce: &Announce,
    ) -> Result<AnnounceReply, Failure> {
        let ip = normalise(from);
        let reply = match ip {
            IpAddr::V4(_) => self.both::<V4, V6>(now, ip, announce),
            IpAddr::V6(_) => self.both::<V6, V4>(now, ip, announce),
        };
        Ok(AnnounceReply { external_ip: Some(from), ..reply? })
    }

    /// Answers an announce with peers of the asker's own family and of the other.
    fn both<Own: Family, Other: Family>(
        &mut self,
        now: Time,
        ip: IpAddr,
        announce: &Announce,
    ) -> Result<AnnounceReply, Failure> {
        let (member, counts) = self.enter::<Own>(now, ip, announce)?;
        let wanted = self.wanted(announce);
        // The peer may lack the other family: at least half of the peers are of its own family, if
        // there are enough.
        let peers = member.map(|member| {
            let own = self.table.named::<Own>(&member, true, wanted);
            shared(own, self.table.named::<Other>(&member, false, wanted), wanted)
        });
        Ok(AnnounceReply {
            interval: self.interval(),
            min_interval: Some(whole_seconds(self.config.min_interval.min(self.config.interval))),
            seeders: Some(counts.complete),
            leechers: Some(counts.incomplete),
            peers: peers.unwrap_or_default(),
            ..AnnounceReply::default()
        })
    }

    /// Returns the counts of a swarm, for a scrape that the caller counts.
    pub fn counts(&mut self, now: Time, hash: InfoHash) -> SwarmCounts {
        self.table.sweep(now);
        self.table.counts(hash)
    }

    /// Counts a scrape.
    pub fn count_scrape(&mut self) {
        self.scrapes = self.scrapes.saturating_add(1);
    }

    /// Forgets silent peers while no request comes. Requests do it as well; without them, call
    /// this once a second, so that no request finds much to do.
    pub fn tend(&mut self, now: Time) {
        self.table.sweep(now);
    }

    /// Returns the activity of the tracker.
    pub fn stats(&self) -> Stats {
        Stats {
            torrents: self.table.torrents(),
            peers: self.table.peers(),
            announces: self.announces,
            scrapes: self.scrapes,
            bytes: self.table.bytes(),
        }
    }

    /// Takes an announce into the table. Returns the peer as a member, if it is one now, and the
    /// counts of the swarm.
    fn enter<P: Family>(
        &mut self,
        now: Time,
        ip: IpAddr,
        announce: &Announce,
    ) -> Result<(Option<Member>, SwarmCounts), Failure> {
        self.table.sweep(now);
        let asker = SocketAddr::new(ip, announce.port);
        let member = if announce.event == Event::Stopped {
            self.table.remove::<P>(announce.info_hash, asker);
            None
        } else if announce.port == 0 {
            return Err(Failure::new(QueryError::Invalid("port").to_string()));
        } else {
            self.table.upsert::<P>(asker, announce)?
        };
        self.announces = self.announces.saturating_add(1);
        let counts = match &member {
            Some(member) => self.table.counts_of(member.torrent),
            None => self.table.counts(announce.info_hash),
        };
        Ok((member, counts))
    }

    fn wanted(&self, announce: &Announce) -> usize {
        let wanted = announce.num_want.unwrap_or(self.config.peers_default);
        usize::try_from(wanted.min(self.config.peers_max)).unwrap_or(usize::MAX)
    }

    /// Draws the seconds until the next announce, a little later at random.
    fn interval(&mut self) -> u32 {
        let interval = self.config.interval.as_secs();
        let later = interval.saturating_add(self.table.rng.below(interval / 10 + 1));
        u32::try_from(later).unwrap_or(u32::MAX)
    }
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
