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

mod completions;
mod connection;
mod owned;
mod pool;
mod swarm;
mod table;
#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use bt_tracker_wire::{
    AddressFamily, Announce, AnnounceReply, Event, Failure, QueryError, RetryIn, ScrapeReply,
    UdpReply, UdpRequest, parse_announce, parse_scrape, udp_peers_max, write_announce_body,
    write_failure_body, write_scrape_body,
};
use bt_types::{Rng, Source, Time, may_name, normalise};
use connection::ConnectionIds;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use pool::Peer;
use swarm::{Needs, shared};
use table::Table;

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
    /// Most swarms, including swarms that are remembered only for their completed count.
    pub torrents_limit: usize,
    /// Most peers, over all swarms. A peer that is alone in its swarm takes about 1.5 KiB of
    /// memory, with the swarm.
    pub peers_limit: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            interval: Duration::from_secs(1_800),
            min_interval: Duration::from_secs(300),
            peers_default: 50,
            peers_max: 200,
            torrents_limit: 250_000,
            peers_limit: 1_000_000,
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
}

/// The answer to an HTTP client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpAnswer {
    /// 200, also for refusals (their reason is in the body), or 404.
    pub status: u16,
    /// Bencode for announces and scrapes, text for the rest.
    pub body: Vec<u8>,
    /// Whether compression may help: the counts of a scrape shrink, the addresses of an announce do
    /// not.
    pub shrinks: bool,
}

/// The transport of an announce: it decides how many peers fit in the reply, and of which family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transport {
    Http,
    Udp,
}

/// The tracker: every method takes the time, which must not go backwards, and the address that the
/// request came from.
#[derive(Debug)]
pub struct Tracker {
    config: Config,
    table: Table,
    connections: ConnectionIds,
    rng: Rng,
    announces: u64,
    scrapes: u64,
}

impl Tracker {
    /// Makes an empty tracker. `secret` must come from the operating system's generator: with the
    /// secret, connection ids can be forged.
    pub fn new(config: Config, secret: [u8; 32]) -> Tracker {
        let mut rng = Rng::from_secret(secret);
        let connections = ConnectionIds::new(&mut rng);
        let table = Table::new(
            config.torrents_limit,
            config.peers_limit,
            config.interval.saturating_mul(2),
        );
        Tracker { config, table, connections, rng, announces: 0, scrapes: 0 }
    }

    /// Answers a datagram; `None` means silence, for malformed datagrams and for ids that we did
    /// not give to this address.
    pub fn udp(&mut self, now: Time, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        if from.port() == 0 {
            return None;
        }
        let ip = normalise(from.ip());
        let (family, _) = families(ip);
        let reply = match UdpRequest::parse(datagram)? {
            UdpRequest::Connect { transaction } => {
                UdpReply::Connect { transaction, connection: self.connections.issue(now, ip) }
            }
            UdpRequest::Announce { connection, transaction, announce } => {
                self.connections.check(now, ip, connection)?;
                match self.announce(now, ip, Transport::Udp, &announce) {
                    Ok(reply) => UdpReply::Announce { transaction, reply },
                    Err(failure) => UdpReply::Error { transaction, message: failure.reason },
                }
            }
            UdpRequest::Scrape { connection, transaction, hashes } => {
                self.connections.check(now, ip, connection)?;
                let counts =
                    self.scrape(now, hashes).swarms.into_iter().map(|(_, counts)| counts).collect();
                UdpReply::Scrape { transaction, counts }
            }
        };
        Some(reply.write(family))
    }

    /// Answers a GET of `target`, the path with its query. Announces get peers of both families.
    /// Extra slashes are ignored.
    pub fn http(&mut self, now: Time, from: IpAddr, target: &str) -> HttpAnswer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let page = path.strip_prefix('/').map(|path| path.trim_matches('/'));
        let body = match page {
            Some("announce") => match parse_announce(query) {
                Ok(announce) => {
                    match self.announce(now, normalise(from), Transport::Http, &announce) {
                        Ok(reply) => {
                            write_announce_body(&AnnounceReply { external_ip: Some(from), ..reply })
                        }
                        Err(failure) => write_failure_body(&failure),
                    }
                }
                Err(error) => refuse(error),
            },
            Some("scrape") => match parse_scrape(query) {
                Ok(hashes) => write_scrape_body(&self.scrape(now, hashes)),
                Err(error) => refuse(error),
            },
            Some("") => self.page().into_bytes(),
            _ => {
                let body = b"no such page; announce at /announce\n".to_vec();
                return HttpAnswer { status: 404, body, shrinks: false };
            }
        };
        HttpAnswer { status: 200, body, shrinks: page == Some("scrape") }
    }

    /// Returns the activity of the tracker.
    pub fn stats(&self) -> Stats {
        Stats {
            torrents: self.table.torrents(),
            peers: self.table.peers(),
            announces: self.announces,
            scrapes: self.scrapes,
        }
    }

    fn page(&self) -> String {
        let Stats { torrents, peers, announces, scrapes } = self.stats();
        format!(
            "bt tracker\n\ntorrents  {torrents}\npeers     {peers}\nannounces {announces}\nscrapes   {scrapes}\n"
        )
    }

    fn announce(
        &mut self,
        now: Time,
        ip: IpAddr,
        transport: Transport,
        announce: &Announce,
    ) -> Result<AnnounceReply, Failure> {
        self.table.forget_expired(now);
        let asker = SocketAddr::new(ip, announce.port);
        let mut peers = Vec::new();
        if announce.event == Event::Stopped {
            self.table.remove(announce.info_hash, asker);
        } else if announce.port == 0 {
            return Err(Failure::new(QueryError::Invalid("port").to_string()));
        } else {
            let needs = self.table.upsert(now, asker, announce)?;
            peers = self.choose(ip, transport, announce, needs);
        }
        self.announces = self.announces.saturating_add(1);
        let counts = self.table.counts(announce.info_hash);
        Ok(AnnounceReply {
            interval: self.interval(),
            min_interval: Some(whole_seconds(self.config.min_interval.min(self.config.interval))),
            seeders: Some(counts.complete),
            leechers: Some(counts.incomplete),
            peers,
            ..AnnounceReply::default()
        })
    }

    /// Picks random peers for an announcing peer: never itself, only peers that it needs, and no
    /// address closer to us than its own.
    fn choose(
        &mut self,
        ip: IpAddr,
        transport: Transport,
        announce: &Announce,
        needs: Needs,
    ) -> Vec<SocketAddr> {
        let wanted =
            announce.num_want.unwrap_or(self.config.peers_default).min(self.config.peers_max);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let Some(swarm) = self.table.swarm(announce.info_hash) else { return Vec::new() };
        let suits =
            |peer: &Peer| peer.id != announce.peer_id && may_name(Source::Host(ip), peer.addr);
        let mut draw = |family, wanted| swarm.sample(wanted, family, needs, &mut self.rng, suits);
        let (own, other) = families(ip);
        if transport == Transport::Udp {
            return draw(own, wanted.min(udp_peers_max(own)));
        }
        // The peer may lack the other family: at least half of the peers are of its own family, if
        // there are enough.
        shared(draw(own, wanted), draw(other, wanted), wanted)
    }

    /// Draws the seconds until the next announce, a little later at random.
    fn interval(&mut self) -> u32 {
        let interval = self.config.interval.as_secs();
        let later = interval.saturating_add(self.rng.below(interval / 10 + 1));
        u32::try_from(later).unwrap_or(u32::MAX)
    }

    fn scrape(&mut self, now: Time, hashes: Vec<bt_types::InfoHash>) -> ScrapeReply {
        self.table.forget_expired(now);
        self.scrapes = self.scrapes.saturating_add(1);
        ScrapeReply {
            swarms: hashes.into_iter().map(|hash| (hash, self.table.counts(hash))).collect(),
        }
    }
}

/// Returns the family of an address, and the other family.
fn families(ip: IpAddr) -> (AddressFamily, AddressFamily) {
    if ip.is_ipv4() {
        (AddressFamily::V4, AddressFamily::V6)
    } else {
        (AddressFamily::V6, AddressFamily::V4)
    }
}

/// Writes the refusal of a query. "Never" (BEP 31) silences a client for good. It is said only of a
/// bad info-hash or peer id, which no other configuration of the client changes.
fn refuse(error: QueryError) -> Vec<u8> {
    let failure = Failure::new(error.to_string());
    write_failure_body(&if error.key() == "port" { failure } else { failure.retry(RetryIn::Never) })
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
