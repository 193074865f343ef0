//! Announces to and scrapes trackers over HTTP, HTTPS and UDP, over both address families at once
//! (BEP 3, 7, 15, 23, 41, 48).
//!
//! Decides: which addresses of a tracker are asked, and how their answers become one.
//! Must not know: when to announce, tiers, torrents.
//! Invariant: every call ends by its deadline; no peer is returned that its tracker may not name.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use bt_net::{Egress, EgressConfig};
//! use bt_tracker_client::{TrackerClient, TrackerError};
//! use bt_tracker_wire::Announce;
//! use bt_types::{InfoHash, PeerId, Rng};
//! use std::time::Duration;
//!
//! let mut rng = Rng::from_seed(1); // from the operating system, in a program
//! let announce = Announce::new(InfoHash([7; 20]), PeerId::ours(&mut rng), 6881);
//! let client = TrackerClient::new(Egress::new(EgressConfig::default()).unwrap(), rng);
//! let patience = Duration::from_secs(30);
//! let result = client.announce("ftp://tracker.example/announce", &announce, patience).await;
//! assert!(matches!(result, Err(TrackerError::Scheme(_))));
//! # });
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod address;
mod concurrency_limit;
mod error;
mod http;
mod merge;
mod udp;

pub use error::TrackerError;

use address::{Scheme, TrackerAddress};
use bt_net::Egress;
use bt_tracker_wire::{Announce, AnnounceReply, Answer, ScrapeReply, TrackerRequest};
use bt_types::{InfoHash, Rng, Source, may_name};
use concurrency_limit::ConcurrencyLimit;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use udp::UdpTrackers;

/// Most addresses of one family of a tracker that are tried.
const ADDRESSES_MAX: usize = 8;

/// Returns the host in a tracker's URL: a name in lower case, or an address as text. The caps and a
/// caller's pace count by it.
///
/// `None` when the URL is not one of a tracker that can be asked.
pub fn tracker_host(url: &str) -> Option<String> {
    TrackerAddress::parse(url).ok().map(|tracker| tracker.host)
}

/// Asks trackers. Clones share the caps (50 requests at once, 4 a host) and the UDP connection ids.
#[derive(Clone, Debug)]
pub struct TrackerClient {
    egress: Egress,
    limit: ConcurrencyLimit,
    udp: Arc<UdpTrackers>,
}

/// A successful announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announced {
    /// The tracker's reply; the peers of both families, without those that it may not name.
    pub reply: AnnounceReply,
    /// The address of the tracker that answered first.
    pub from: IpAddr,
}

/// One answer of one address.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Answered {
    answer: Answer,
    from: IpAddr,
}

impl TrackerClient {
    /// Makes a client that goes out through `egress`. `rng` must have a secret seed: its numbers
    /// prove that a UDP reply is the tracker's.
    pub fn new(egress: Egress, rng: Rng) -> TrackerClient {
        TrackerClient {
            egress,
            limit: ConcurrencyLimit::default(),
            udp: Arc::new(UdpTrackers::new(rng)),
        }
    }

    /// Announces to an `http`, `https` or `udp` URL that the user, or a torrent that the user
    /// opened, named.
    ///
    /// When the tracker has addresses of both families, one of each is asked at once with the same
    /// key (BEP 7). One answer is enough.
    pub async fn announce(
        &self,
        url: &str,
        announce: &Announce,
        deadline: Duration,
    ) -> Result<Announced, TrackerError> {
        let Answered { answer, from } =
            self.ask(url, TrackerRequest::Announce(announce.clone()), deadline).await?;
        match answer {
            Answer::Announce(reply) => Ok(Announced { reply, from }),
            Answer::Scrape(_) => Err(TrackerError::WrongAnswer),
        }
    }

    /// Scrapes swarms; over UDP the first 60 only. A tracker may leave out swarms that it does not
    /// know.
    pub async fn scrape(
        &self,
        url: &str,
        hashes: &[InfoHash],
        deadline: Duration,
    ) -> Result<ScrapeReply, TrackerError> {
        match self.ask(url, TrackerRequest::Scrape(hashes.to_vec()), deadline).await?.answer {
            Answer::Scrape(reply) => Ok(reply),
            Answer::Announce(_) => Err(TrackerError::WrongAnswer),
        }
    }

    async fn ask(
        &self,
        url: &str,
        ask: TrackerRequest,
        deadline: Duration,
    ) -> Result<Answered, TrackerError> {
        let deadline = Instant::now() + deadline;
        let tracker = TrackerAddress::parse(url)?;
        let _place = timeout_at(deadline, self.limit.enter(&tracker.host))
            .await
            .map_err(|_| TrackerError::Busy)?;
        let addrs = self.egress.resolve(&tracker.host, tracker.port, deadline).await?;
        self.ask_at(&tracker, &addrs, &ask, deadline).await
    }

    /// Announces to these addresses of the tracker instead of resolving its name, like
    /// [`TrackerClient::announce`]. The caps do not count it.
    pub async fn announce_at(
        &self,
        url: &str,
        announce: &Announce,
        addrs: &[SocketAddr],
        deadline: Duration,
    ) -> Result<Announced, TrackerError> {
        let (tracker, ask) =
            (TrackerAddress::parse(url)?, TrackerRequest::Announce(announce.clone()));
        let Answered { answer, from } =
            self.ask_at(&tracker, addrs, &ask, Instant::now() + deadline).await?;
        match answer {
            Answer::Announce(reply) => Ok(Announced { reply, from }),
            Answer::Scrape(_) => Err(TrackerError::WrongAnswer),
        }
    }

    /// Asks both families at once, the addresses of each one after another.
    async fn ask_at(
        &self,
        tracker: &TrackerAddress,
        addrs: &[SocketAddr],
        ask: &TrackerRequest,
        deadline: Instant,
    ) -> Result<Answered, TrackerError> {
        let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) =
            addrs.iter().partition(|addr| addr.is_ipv4());
        match (v4.is_empty(), v6.is_empty()) {
            (false, false) => {
                merge::first_of_both(
                    self.ask_any(tracker, &v4, ask, deadline),
                    self.ask_any(tracker, &v6, ask, deadline),
                )
                .await
            }
            (false, true) => self.ask_any(tracker, &v4, ask, deadline).await,
            (true, _) => self.ask_any(tracker, &v6, ask, deadline).await,
        }
    }

    /// Returns the answer of the first address that answers. The addresses that were not tried
    /// share the time left.
    ///
    /// A tracker's own refusal ends it: another address would say the same.
    async fn ask_any(
        &self,
        tracker: &TrackerAddress,
        addrs: &[SocketAddr],
        ask: &TrackerRequest,
        deadline: Instant,
    ) -> Result<Answered, TrackerError> {
        let mut last =
            TrackerError::Net(bt_net::NetError::NoAddress { host: tracker.host.clone() });
        let addrs = addrs.get(..ADDRESSES_MAX).unwrap_or(addrs);
        for (tried, &addr) in addrs.iter().enumerate() {
            let now = Instant::now();
            let left = u32::try_from(addrs.len() - tried).unwrap_or(u32::MAX);
            let until = now + deadline.saturating_duration_since(now) / left;
            match self.ask_one(tracker, addr, ask, until).await {
                Err(
                    error @ (TrackerError::Net(_)
                    | TrackerError::PrivatePath(_)
                    | TrackerError::Malformed(_)),
                ) => last = error,
                Err(error @ TrackerError::Status { status: 500.., retry_after: None }) => {
                    last = error
                }
                word => return word,
            }
        }
        Err(last)
    }

    async fn ask_one(
        &self,
        tracker: &TrackerAddress,
        addr: SocketAddr,
        ask: &TrackerRequest,
        deadline: Instant,
    ) -> Result<Answered, TrackerError> {
        tracker.check_path(addr)?;
        let mut answered = match tracker.scheme {
            Scheme::Http => http::ask(&self.egress, &tracker.url, addr, ask, deadline).await?,
            Scheme::Udp => {
                self.udp.ask(&self.egress, addr, &tracker.with_url_data(ask), deadline).await?
            }
        };
        if let Answer::Announce(reply) = &mut answered.answer {
            reply.peers.retain(|&peer| may_name(Source::Host(answered.from), peer));
        }
        Ok(answered)
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
