//! One question to the network without a session: fetch a torrent, announce once, scrape.
//!
//! Decides: nothing.
//! Must not know: torrents' contents.
//! Invariant: the same egress rules and limits as in a session.

use crate::mail::events::StartError;
use crate::run::start::os_rng;
use bt_net::{Egress, EgressConfig, HttpOptions, NetError, Roots};
use bt_tracker_client::{TrackerClient, TrackerError};
use bt_tracker_wire::{Announce, AnnounceReply, Event, SwarmCounts};
use bt_types::{InfoHash, PeerId, Source};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// The port announced: discard (RFC 863), where no peer can connect. A tracker would refuse port 0.
const DISCARD: u16 = 9;
/// Time for the `stopped` announce, in which the user waits.
const STOPPED_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a torrent could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The network failed, or the egress rules forbid the address.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The server redirects to this magnet link.
    #[error("the server redirects to a magnet link")]
    Magnet(String),
    /// The connection ended before the whole answer came.
    #[error("the connection ended before all had come")]
    Cut,
    /// The server answers with a status other than 200.
    #[error("the server answers with status {0}")]
    Status(u16),
}

/// Asks the network one thing at a time.
#[derive(Clone, Debug)]
pub struct OneShot {
    egress: Egress,
    trackers: TrackerClient,
    peer_id: PeerId,
    key: u32,
}

/// What was fetched of something that may be known already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fetched {
    /// It is as it was.
    Same,
    /// Another version of it.
    New {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its entity tag and the date of its last change.
        version: (Option<String>, Option<String>),
        /// The server.
        from: IpAddr,
    },
}

/// Returns whether bytes begin and end as a torrent file does.
fn is_whole(bytes: &[u8]) -> bool {
    bytes.starts_with(b"d") && bytes.ends_with(b"e")
}

impl OneShot {
    /// Makes an asker with its own peer id, which trusts these certificates besides those that
    /// browsers trust.
    pub fn new(extra_roots: Roots) -> Result<OneShot, StartError> {
        let mut rng = os_rng()?;
        let egress = Egress::new(EgressConfig { extra_roots, ..EgressConfig::default() })?;
        let (peer_id, key) = (PeerId::ours(&mut rng), rng.next_u32());
        Ok(OneShot { trackers: TrackerClient::new(egress.clone(), rng), egress, peer_id, key })
    }

    /// Fetches a `.torrent` of at most `max` bytes from a URL that the user gave.
    pub async fn fetch(&self, url: &str, max: usize) -> Result<Vec<u8>, FetchError> {
        self.fetch_for(Source::User, url, max).await
    }

    /// Fetches the same from a URL that this source names.
    pub async fn fetch_for(
        &self,
        source: Source,
        url: &str,
        max: usize,
    ) -> Result<Vec<u8>, FetchError> {
        let options = HttpOptions { max_body: max, ..HttpOptions::new(source) };
        let reply = match self.egress.http_get(url, &options).await {
            Err(NetError::Magnet(link)) => return Err(FetchError::Magnet(link)),
            reply => reply?,
        };
        match reply.status {
            // A server may promise too much: what a torrent is made of tells whether it is whole.
            200 if reply.is_cut && !is_whole(&reply.body) => Err(FetchError::Cut),
            200 => Ok(reply.body),
            status => Err(FetchError::Status(status)),
        }
    }

    /// Fetches a URL that this source names, of at most `max` bytes, if it is another version than
    /// this: an entity tag and a date of the last change, as the server sent them.
    pub async fn fetch_newer(
        &self,
        source: Source,
        url: &str,
        max: usize,
        known: (Option<String>, Option<String>),
    ) -> Result<Fetched, FetchError> {
        let options = HttpOptions { max_body: max, known, ..HttpOptions::new(source) };
        let reply = match self.egress.http_get(url, &options).await {
            Err(NetError::Magnet(link)) => return Err(FetchError::Magnet(link)),
            reply => reply?,
        };
        match reply.status {
            200 if reply.is_cut => Err(FetchError::Cut),
            200 => {
                let from = reply.from.ip();
                Ok(Fetched::New { bytes: reply.body, version: reply.version, from })
            }
            304 => Ok(Fetched::Same),
            status => Err(FetchError::Status(status)),
        }
    }

    /// Looks up the addresses of a host, at least one.
    pub async fn resolve(
        &self,
        host: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<Vec<SocketAddr>, NetError> {
        self.egress.resolve(host, port, Instant::now() + timeout).await
    }

    /// Announces once as a peer that lacks `left` bytes and accepts no connections, then announces
    /// `stopped`.
    pub async fn announce(
        &self,
        url: &str,
        hash: InfoHash,
        left: u64,
        timeout: Duration,
    ) -> Result<AnnounceReply, TrackerError> {
        let mut ask = Announce {
            left,
            key: self.key,
            event: Event::Started,
            ..Announce::new(hash, self.peer_id, DISCARD)
        };
        let answer = self.trackers.announce(url, &ask, timeout).await?;
        ask.event = Event::Stopped;
        // The user asked for the first reply; a failed `stopped` does not change it.
        let _ = self.trackers.announce(url, &ask, timeout.min(STOPPED_TIMEOUT)).await;
        Ok(answer.reply)
    }

    /// Scrapes the counts of one swarm; `None` when the tracker does not know the swarm.
    pub async fn scrape(
        &self,
        url: &str,
        hash: InfoHash,
        timeout: Duration,
    ) -> Result<Option<SwarmCounts>, TrackerError> {
        let reply = self.trackers.scrape(url, &[hash], timeout).await?;
        Ok(reply.swarms.into_iter().find(|(at, _)| *at == hash).map(|(_, counts)| counts))
    }
}
