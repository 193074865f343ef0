//! Whom we tell and whom we hear on the local network (BEP 14), without sockets.
//!
//! Decides: when a torrent is announced, and which announces of others count. Must not know: sockets, interfaces.
//! Invariant: a torrent that nobody sought here is never named and never heard of; each is announced at most once a minute; what a
//! neighbour says leads to its own address only.

use bt_engine::TorrentKey;
use bt_tracker_wire::{LSD_HASHES_MAX, LocalAnnounce};
use bt_types::{InfoHash, Time};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Torrents that are sought within this time are announced together.
const GATHER: Duration = Duration::from_millis(20);
/// Between two announces of a torrent (BEP 14: no more than one a minute).
const AGAIN: Duration = Duration::from_secs(60);
/// Hosts that are heard, and how many announces of each are, in a window of time.
const SOURCES_MAX: usize = 256;
const PER_SOURCE_MAX: u32 = 32;
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Swarm {
    key: TorrentKey,
    announced: Option<Time>,
    /// When it will be announced next, if that was ordered.
    due: Option<Time>,
}

/// The torrents that may be named here.
#[derive(Debug)]
pub(super) struct Swarms {
    port: u16,
    cookie: String,
    swarms: BTreeMap<InfoHash, Swarm>,
    /// Since when a host's announces are counted, and how many there were.
    heard: BTreeMap<IpAddr, (Time, u32)>,
}

impl Swarms {
    pub(super) fn new(port: u16, cookie: String) -> Swarms {
        Swarms { port, cookie, swarms: BTreeMap::new(), heard: BTreeMap::new() }
    }

    /// A torrent's peers are sought here.
    pub(super) fn seek(&mut self, now: Time, key: TorrentKey, hash: InfoHash) {
        let swarm = self.swarms.entry(hash).or_insert(Swarm { key, announced: None, due: None });
        let again = swarm.announced.map_or(now, |announced| announced + AGAIN);
        (swarm.key, swarm.due) = (key, Some(swarm.due.unwrap_or_else(|| again.max(now + GATHER))));
    }

    /// A torrent is gone.
    pub(super) fn leave(&mut self, key: TorrentKey) {
        self.swarms.retain(|_, swarm| swarm.key != key);
    }

    /// When the next announce is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.swarms.values().filter_map(|swarm| swarm.due).min()
    }

    /// What is to be said now, and for which torrents.
    pub(super) fn due(&mut self, now: Time) -> (Vec<LocalAnnounce>, Vec<TorrentKey>) {
        let (mut hashes, mut keys) = (Vec::new(), Vec::new());
        for (hash, swarm) in &mut self.swarms {
            if swarm.due.is_some_and(|due| due <= now) {
                (swarm.due, swarm.announced) = (None, Some(now));
                hashes.push(*hash);
                keys.push(swarm.key);
            }
        }
        let announce =
            |hashes: &[InfoHash]| LocalAnnounce { port: self.port, hashes: hashes.to_vec(), cookie: Some(self.cookie.clone()) };
        (hashes.chunks(LSD_HASHES_MAX).map(announce).collect(), keys)
    }

    /// A neighbour announced: the torrents of ours that it shares, and where it listens.
    pub(super) fn hear(&mut self, now: Time, from: SocketAddr, announce: &LocalAnnounce) -> Vec<(TorrentKey, SocketAddr)> {
        if announce.cookie.as_deref() == Some(&self.cookie) || !self.counts(now, from.ip()) {
            return Vec::new();
        }
        let mut at = from;
        at.set_port(announce.port);
        announce.hashes.iter().filter_map(|hash| Some((self.swarms.get(hash)?.key, at))).collect()
    }

    /// Whether a host has not said too much yet.
    fn counts(&mut self, now: Time, ip: IpAddr) -> bool {
        if self.heard.len() >= SOURCES_MAX && !self.heard.contains_key(&ip) {
            self.heard.retain(|_, (since, _)| now.since(*since) < WINDOW);
            if self.heard.len() >= SOURCES_MAX {
                return false;
            }
        }
        let (since, count) = self.heard.entry(ip).or_insert((now, 0));
        if now.since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= PER_SOURCE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: InfoHash = InfoHash([7; 20]);
    const OTHER: InfoHash = InfoHash([8; 20]);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn swarms() -> Swarms {
        Swarms::new(6881, "us".into())
    }

    fn said(hashes: &[InfoHash]) -> LocalAnnounce {
        LocalAnnounce { port: 7000, hashes: hashes.to_vec(), cookie: None }
    }

    #[test]
    fn a_torrent_is_announced_at_once_and_then_at_most_once_a_minute() {
        let mut swarms = swarms();
        swarms.seek(at(0), TorrentKey(1), HASH);
        swarms.seek(at(0), TorrentKey(2), OTHER);
        assert_eq!(swarms.deadline(), Some(at(0) + GATHER));
        assert_eq!(swarms.due(at(0)).1, [], "others may come within a moment");
        let (announces, keys) = swarms.due(at(1));
        let expected = LocalAnnounce { port: 6881, hashes: vec![HASH, OTHER], cookie: Some("us".into()) };
        assert_eq!((announces, keys), (vec![expected], vec![TorrentKey(1), TorrentKey(2)]));
        assert_eq!(swarms.deadline(), None);

        for second in [2, 3, 50] {
            swarms.seek(at(second), TorrentKey(1), HASH);
            assert_eq!(swarms.deadline(), Some(at(61)));
            assert_eq!(swarms.due(at(second)).1, []);
        }
        assert_eq!(swarms.due(at(61)).1, [TorrentKey(1)]);
        swarms.seek(at(500), TorrentKey(1), HASH);
        assert_eq!(swarms.deadline(), Some(at(500) + GATHER));
    }

    #[test]
    fn many_torrents_share_datagrams() {
        let mut swarms = swarms();
        for number in 0..50 {
            swarms.seek(at(0), TorrentKey(number), InfoHash([u8::try_from(number).unwrap(); 20]));
        }
        let (announces, keys) = swarms.due(at(1));
        assert_eq!(announces.iter().map(|announce| announce.hashes.len()).collect::<Vec<_>>(), [20, 20, 10]);
        assert_eq!(keys.len(), 50);
    }

    #[test]
    fn a_neighbour_names_itself_and_only_torrents_that_were_sought() {
        let (mut swarms, from) = (swarms(), "10.0.0.9:6771".parse().unwrap());
        assert_eq!(swarms.hear(at(0), from, &said(&[HASH])), []);
        swarms.seek(at(0), TorrentKey(1), HASH);
        let found = [(TorrentKey(1), "10.0.0.9:7000".parse().unwrap())];
        assert_eq!(swarms.hear(at(0), from, &said(&[HASH, OTHER])), found);
        let own = LocalAnnounce { cookie: Some("us".into()), ..said(&[HASH]) };
        assert_eq!(swarms.hear(at(0), from, &own), []);
        swarms.leave(TorrentKey(1));
        assert_eq!(swarms.hear(at(0), from, &said(&[HASH])), []);
        assert_eq!(swarms.deadline(), None);
    }

    #[test]
    fn a_host_that_shouts_is_not_heard_and_neither_are_crowds() {
        let (mut swarms, from) = (swarms(), "10.0.0.9:6771".parse().unwrap());
        swarms.seek(at(0), TorrentKey(1), HASH);
        let heard = |swarms: &mut Swarms, at, from| swarms.hear(at, from, &said(&[HASH])).len();
        assert_eq!((0..1000).map(|_| heard(&mut swarms, at(0), from)).sum::<usize>(), 32);
        assert_eq!(heard(&mut swarms, at(60), from), 1);
        let crowd = |swarms: &mut Swarms, second| {
            (1..2000)
                .map(|n: u16| heard(swarms, at(second), SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 6771))))
                .sum::<usize>()
        };
        assert_eq!(crowd(&mut swarms, 61), SOURCES_MAX - 1);
        assert_eq!(crowd(&mut swarms, 200), SOURCES_MAX);
        assert_eq!(swarms.heard.len(), SOURCES_MAX);
    }
}
