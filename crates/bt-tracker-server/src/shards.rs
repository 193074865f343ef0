//! The shards of the tracker, shared by all sockets.
//!
//! Decides: what time it is, and which shards a request needs.
//! Must not know: sockets.
//! Invariant: a lock is held for one request or one batch of datagrams, never across an await, and
//! never two at once.

use bt_tracker::{Config, HttpAnswer, HttpRequest, Stats, Tracker, shard_of, shard_of_datagram};
use bt_tracker_wire::ScrapeReply;
use bt_types::{InfoHash, Time};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// First bytes of the reply to a scrape.
const SCRAPED: [u8; 4] = [0, 0, 0, 2];
/// Bytes of the reply to a scrape of one swarm.
const SCRAPED_ONE: usize = 20;

/// A handle of the shards; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    trackers: Arc<[Mutex<Tracker>]>,
    start: Instant,
}

/// A datagram, its sender, and room for the reply: empty if there is none.
pub(crate) struct Exchange<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) datagram: &'a [u8],
    pub(crate) reply: &'a mut Vec<u8>,
}

impl Shards {
    pub(crate) fn new(config: &Config, secret: [u8; 32], shards: usize) -> Shards {
        let trackers = Tracker::shards(config, secret, shards).into_iter().map(Mutex::new);
        Shards { trackers: trackers.collect(), start: Instant::now() }
    }

    /// Answers datagrams that came to the socket of shard `number`. The kernel steers most of them
    /// to the shard that owns them: one lock serves the batch.
    pub(crate) fn answer<'a>(&self, number: usize, exchanges: impl Iterator<Item = Exchange<'a>>) {
        let Some(own) = self.trackers.get(number) else { return };
        let mut locked = None;
        for Exchange { from, datagram, reply } in exchanges {
            let owner = shard_of_datagram(datagram, self.trackers.len()).unwrap_or(number);
            if owner == number {
                let (tracker, now) = locked.get_or_insert_with(|| (lock(own), self.now()));
                tracker.answer(*now, from, datagram, reply);
            } else if let Some(owner) = self.trackers.get(owner) {
                // The kernel did not steer it: it cannot, or the group was not yet whole.
                locked = None;
                lock(owner).answer(self.now(), from, datagram, reply);
            }
            let is_long_scrape = reply.len() > SCRAPED_ONE && reply.starts_with(&SCRAPED);
            if is_long_scrape && self.trackers.len() > 1 {
                locked = None;
                // Each shard writes the counts that it owns; the owner's own are right already.
                let all = self.trackers.iter();
                all.for_each(|tracker| lock(tracker).amend(self.now(), datagram, reply));
            }
        }
    }

    pub(crate) fn http(&self, from: IpAddr, target: &str) -> HttpAnswer {
        let shard =
            |hash: &InfoHash| self.trackers.get(shard_of(hash, self.trackers.len())).map(lock);
        match HttpRequest::parse(target) {
            HttpRequest::Announce(announce) => {
                let Some(mut tracker) = shard(&announce.info_hash) else {
                    return HttpAnswer::page(&self.stats());
                };
                let reply = tracker.http_announce(self.now(), from, &announce);
                // The body is written while others are served.
                drop(tracker);
                HttpAnswer::announce(&reply)
            }
            HttpRequest::Scrape(hashes) => {
                self.trackers.first().into_iter().for_each(|first| lock(first).count_scrape());
                let counts = hashes.into_iter().filter_map(|hash| {
                    let mut tracker = shard(&hash)?;
                    Some((hash, tracker.counts(self.now(), hash)))
                });
                HttpAnswer::scrape(&ScrapeReply { swarms: counts.collect() })
            }
            HttpRequest::Page => HttpAnswer::page(&self.stats()),
            HttpRequest::Answered(answer) => answer,
        }
    }

    /// Forgets silent peers.
    pub(crate) fn tend(&self) {
        self.trackers.iter().for_each(|tracker| lock(tracker).tend(self.now()));
    }

    pub(crate) fn stats(&self) -> Stats {
        self.trackers.iter().map(|tracker| lock(tracker).stats()).fold(
            Stats::default(),
            |sum, of| Stats {
                torrents: sum.torrents + of.torrents,
                peers: sum.peers + of.peers,
                announces: sum.announces + of.announces,
                scrapes: sum.scrapes + of.scrapes,
                bytes: sum.bytes + of.bytes,
            },
        )
    }

    /// Reads the clock. The lock of the tracker that gets the time is held, so that it never sees
    /// time go backwards.
    fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

fn lock(tracker: &Mutex<Tracker>) -> MutexGuard<'_, Tracker> {
    // A panic inside would be our bug in one request; the others must still be served.
    tracker.lock().unwrap_or_else(PoisonError::into_inner)
}
