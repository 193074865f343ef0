//! Which torrents we announce by LSD (BEP 14), and which announces of neighbours count, without
//! sockets.
//!
//! Decides: when a torrent is announced, and which announces of neighbours count.
//! Must not know: sockets, interfaces.
//! Invariant: a torrent that the engine did not order here is never named, and announces of it are
//! ignored. Each torrent is announced unasked at most once a minute. A neighbour's announce leads
//! to its own address only, and an answer never calls for another answer.

use bt_engine::TorrentKey;
use bt_tracker_wire::{LSD_HASHES_MAX, LocalAnnounce};
use bt_types::{InfoHash, Rng, Time};
use std::collections::{BTreeMap, btree_map};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Torrents ordered within this time share an announce.
const GATHER: Duration = Duration::from_millis(20);
/// Time between two announces of a torrent (BEP 14: at most one a minute).
const AGAIN: Duration = Duration::from_secs(60);
/// Limits per window: hosts that are heard, and announces of each host.
const SOURCES_MAX: usize = 256;
const PER_SOURCE_MAX: u32 = 32;
const WINDOW: Duration = Duration::from_secs(60);
/// Longest random wait of an answer, so that the hearers of one call do not answer all at once.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
/// Rest after an announce: a process that calls so soon has heard it, or is heard by the peers that
/// dial it.
const ANSWER_REST: Duration = Duration::from_secs(1);
/// Torrents named in answers per window: as many as one host can call for.
const ANSWERS_MAX: u32 = PER_SOURCE_MAX * LSD_HASHES_MAX as u32;
/// Most known processes that share a torrent with us, and how long each is known without a call:
/// two calls may be lost.
const CALLERS_MAX: usize = 4096;
const CALLER_FOR: Duration = Duration::from_secs(15 * 60);
/// Longest cookie that is kept, in bytes.
const COOKIE_MAX: usize = 64;

#[derive(Debug)]
struct Swarm {
    key: TorrentKey,
    announced: Option<Time>,
    /// When it will be announced next, if that was ordered.
    due: Option<Time>,
    /// When a neighbour's call will be answered.
    answer: Option<Time>,
}

/// A neighbour that shares a torrent of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Call {
    pub(super) torrent: TorrentKey,
    /// Where it accepts connections.
    pub(super) addr: SocketAddr,
    /// Another process called from this address before, or none.
    pub(super) is_new: bool,
}

/// The torrents that may be named on the local network.
#[derive(Debug)]
pub(super) struct Swarms {
    port: u16,
    cookie: String,
    swarms: BTreeMap<InfoHash, Swarm>,
    /// For each host: when its current window began, and its announces since then.
    heard: BTreeMap<IpAddr, (Time, u32)>,
    /// For each caller of a torrent: its cookie, and the time of its last call.
    callers: BTreeMap<(InfoHash, SocketAddr), (String, Time)>,
    /// When the current window of answers began, and the answers since then.
    answers: (Time, u32),
    rng: Rng,
}

impl Swarms {
    pub(super) fn new(port: u16, cookie: String, rng: Rng) -> Swarms {
        let (swarms, heard, callers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Swarms { port, cookie, swarms, heard, callers, answers: (Time::ZERO, 0), rng }
    }

    /// Orders announces of a torrent.
    pub(super) fn order(&mut self, now: Time, key: TorrentKey, hash: InfoHash) {
        let swarm = self.swarms.entry(hash).or_insert(Swarm {
            key,
            announced: None,
            due: None,
            answer: None,
        });
        let again = swarm.announced.map_or(now, |announced| announced + AGAIN);
        (swarm.key, swarm.due) = (key, Some(swarm.due.unwrap_or_else(|| again.max(now + GATHER))));
    }

    /// Forgets a torrent that has left.
    pub(super) fn leave(&mut self, key: TorrentKey) {
        self.swarms.retain(|_, swarm| swarm.key != key);
        self.callers.retain(|(hash, _), _| self.swarms.contains_key(hash));
    }

    /// Returns the torrents that wait for an announce that was ordered.
    pub(super) fn ordered(&self) -> Vec<TorrentKey> {
        self.swarms.values().filter(|swarm| swarm.due.is_some()).map(|swarm| swarm.key).collect()
    }

    /// Returns when the next announce is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.swarms.values().flat_map(|swarm| [swarm.due, swarm.answer]).flatten().min()
    }

    /// Takes the announces that are due, and the torrents for which the engine ordered one.
    pub(super) fn due(&mut self, now: Time) -> (Vec<LocalAnnounce>, Vec<TorrentKey>) {
        let (mut hashes, mut keys) = (Vec::new(), Vec::new());
        for (hash, swarm) in &mut self.swarms {
            if [swarm.due, swarm.answer].into_iter().flatten().any(|due| due <= now) {
                hashes.push(*hash);
                keys.extend(swarm.due.take().map(|_| swarm.key));
                (swarm.answer, swarm.announced) = (None, Some(now));
            }
        }
        let announce = |hashes: &[InfoHash]| LocalAnnounce {
            port: self.port,
            hashes: hashes.to_vec(),
            cookie: Some(self.cookie.clone()),
        };
        (hashes.chunks(LSD_HASHES_MAX).map(announce).collect(), keys)
    }

    /// Takes a neighbour's announce; returns the torrents of ours that it shares, and where it
    /// listens.
    ///
    /// We may be unable to dial a new process. So it is answered, and it can dial us.
    pub(super) fn hear(
        &mut self,
        now: Time,
        from: SocketAddr,
        announce: &LocalAnnounce,
    ) -> Vec<Call> {
        if announce.cookie.as_deref() == Some(&self.cookie) || !self.counts(now, from.ip()) {
            return Vec::new();
        }
        let mut calls = Vec::new();
        for hash in &announce.hashes {
            let Some(torrent) = self.swarms.get(hash).map(|swarm| swarm.key) else { continue };
            // The scope of a link-local address is kept.
            let mut addr = from;
            addr.set_port(announce.port);
            let is_new = self.is_new(now, *hash, addr, announce.cookie.as_deref());
            if is_new {
                self.answer(now, hash);
            }
            calls.push(Call { torrent, addr, is_new });
        }
        calls
    }

    /// Returns whether this is another process than the last caller from there. A caller without a
    /// cookie may be.
    fn is_new(
        &mut self,
        now: Time,
        hash: InfoHash,
        addr: SocketAddr,
        cookie: Option<&str>,
    ) -> bool {
        let Some(cookie) = cookie.filter(|cookie| cookie.len() <= COOKIE_MAX) else { return true };
        if self.callers.len() >= CALLERS_MAX {
            self.callers.retain(|_, (_, heard)| now.since(*heard) < CALLER_FOR);
        }
        let has_room = self.callers.len() < CALLERS_MAX;
        match self.callers.entry((hash, addr)) {
            btree_map::Entry::Occupied(mut known) => {
                let (last, heard) = known.insert((cookie.into(), now));
                last != cookie || now.since(heard) >= CALLER_FOR
            }
            btree_map::Entry::Vacant(place) => {
                if has_room {
                    place.insert((cookie.into(), now));
                }
                true
            }
        }
    }

    /// Announces a torrent soon, unless we just did, or answered for too many torrents.
    fn answer(&mut self, now: Time, hash: &InfoHash) {
        let Some(swarm) = self.swarms.get_mut(hash) else { return };
        if swarm.answer.is_some() || swarm.announced.is_some_and(|at| now.since(at) < ANSWER_REST) {
            return;
        }
        let (since, count) = &mut self.answers;
        if now.since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        if *count < ANSWERS_MAX {
            *count += 1;
            let wait = self.rng.below(ANSWER_WITHIN.as_millis() as u64);
            swarm.answer = Some(now + GATHER + Duration::from_millis(wait));
        }
    }

    /// Counts an announce; returns whether the host is within its limit.
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
        Swarms::new(6881, "us".into(), Rng::from_seed(1))
    }

    fn said(hashes: &[InfoHash]) -> LocalAnnounce {
        LocalAnnounce { port: 7000, hashes: hashes.to_vec(), cookie: None }
    }

    #[test]
    fn a_torrent_is_announced_at_once_and_then_at_most_once_a_minute() {
        let mut swarms = swarms();
        swarms.order(at(0), TorrentKey(1), HASH);
        swarms.order(at(0), TorrentKey(2), OTHER);
        assert_eq!(swarms.deadline(), Some(at(0) + GATHER));
        assert_eq!(swarms.due(at(0)).1, [], "others may come within a moment");
        let (announces, keys) = swarms.due(at(1));
        let expected =
            LocalAnnounce { port: 6881, hashes: vec![HASH, OTHER], cookie: Some("us".into()) };
        assert_eq!((announces, keys), (vec![expected], vec![TorrentKey(1), TorrentKey(2)]));
        assert_eq!(swarms.deadline(), None);

        for second in [2, 3, 50] {
            swarms.order(at(second), TorrentKey(1), HASH);
            assert_eq!(swarms.deadline(), Some(at(61)));
            assert_eq!(swarms.due(at(second)).1, []);
        }
        assert_eq!(swarms.due(at(61)).1, [TorrentKey(1)]);
        swarms.order(at(500), TorrentKey(1), HASH);
        assert_eq!(swarms.deadline(), Some(at(500) + GATHER));
    }

    #[test]
    fn many_torrents_share_datagrams() {
        let mut swarms = swarms();
        for number in 0..50 {
            swarms.order(at(0), TorrentKey(number), InfoHash([u8::try_from(number).unwrap(); 20]));
        }
        let (announces, keys) = swarms.due(at(1));
        assert_eq!(
            announces.iter().map(|announce| announce.hashes.len()).collect::<Vec<_>>(),
            [20, 20, 10]
        );
        assert_eq!(keys.len(), 50);
    }

    #[test]
    fn a_neighbour_names_itself_and_only_torrents_that_were_sought() {
        let (mut swarms, from) = (swarms(), "10.0.0.9:6771".parse().unwrap());
        assert_eq!(swarms.hear(at(0), from, &said(&[HASH])), []);
        swarms.order(at(0), TorrentKey(1), HASH);
        let found =
            [Call { torrent: TorrentKey(1), addr: "10.0.0.9:7000".parse().unwrap(), is_new: true }];
        assert_eq!(swarms.hear(at(0), from, &said(&[HASH, OTHER])), found);
        let of_a_link: SocketAddr = "[fe80::1%3]:6771".parse().unwrap();
        let called = swarms.hear(at(0), of_a_link, &said(&[HASH]));
        assert_eq!(
            called.first().map(|call| call.addr),
            Some("[fe80::1%3]:7000".parse().unwrap()),
            "its scope is kept"
        );
        let own = LocalAnnounce { cookie: Some("us".into()), ..said(&[HASH]) };
        assert_eq!(swarms.hear(at(0), from, &own), []);
        swarms.leave(TorrentKey(1));
        assert_eq!(swarms.hear(at(0), from, &said(&[HASH])), []);
        assert_eq!(swarms.deadline(), None);
    }

    fn process(cookie: &str) -> LocalAnnounce {
        LocalAnnounce { cookie: Some(cookie.into()), ..said(&[HASH]) }
    }

    /// Returns whether we announce within a second.
    fn speaks(swarms: &mut Swarms, now: Time) -> bool {
        let soon = swarms.deadline().filter(|at| at.since(now) < Duration::from_secs(1));
        soon.is_some_and(|at| !swarms.due(at).0.is_empty())
    }

    #[test]
    fn a_process_that_is_new_is_answered_once_within_a_second() {
        let (mut swarms, from) = (swarms(), "10.0.0.9:6771".parse().unwrap());
        swarms.order(at(0), TorrentKey(1), HASH);
        swarms.due(at(1));
        let mut calls = |second, said: &LocalAnnounce| {
            let call = swarms.hear(at(second), from, said);
            (call[0].is_new, speaks(&mut swarms, at(second)))
        };
        assert_eq!(calls(1, &process("a")), (true, false), "we announced a moment ago");
        assert_eq!(calls(5, &process("a")), (false, false));
        assert_eq!(calls(6, &process("b")), (true, true), "another one from the same address");
        assert_eq!(calls(300, &process("b")), (false, false), "it calls every five minutes");
        assert_eq!(calls(310, &said(&[HASH])), (true, true), "who gives no cookie may be new");
        assert_eq!(calls(320, &process("b")), (false, false));
        assert_eq!(calls(320 + 15 * 60, &process("b")), (true, true), "it was away");
    }

    #[test]
    fn what_was_ordered_is_done_with_an_answer() {
        let (mut swarms, from) = (swarms(), "10.0.0.9:6771".parse().unwrap());
        swarms.order(at(0), TorrentKey(1), HASH);
        swarms.due(at(1));
        swarms.order(at(10), TorrentKey(1), HASH);
        swarms.hear(at(10), from, &process("a"));
        let (announces, keys) = swarms.due(at(11));
        assert_eq!((announces.len(), keys, swarms.deadline()), (1, vec![TorrentKey(1)], None));
    }

    #[test]
    fn a_hundred_lsd_listeners_answer_an_announce_once_each() {
        let mut crowd: Vec<Swarms> =
            (0..100).map(|n| Swarms::new(6881, format!("{n}"), Rng::from_seed(n))).collect();
        let host = |n: usize| SocketAddr::from(([10, 0, 0, n as u8], 6771));
        crowd.iter_mut().for_each(|swarms| swarms.order(at(0), TorrentKey(1), HASH));
        // No process knows another yet: the most answers that are possible.
        crowd.iter_mut().for_each(|swarms| drop(swarms.due(at(1))));
        let caller = host(200);
        crowd.iter_mut().for_each(|swarms| drop(swarms.hear(at(10), caller, &process("caller"))));
        let mut said = vec![0; crowd.len()];
        while let Some((now, n)) =
            crowd.iter().enumerate().filter_map(|(n, swarms)| Some((swarms.deadline()?, n))).min()
        {
            assert!(now < at(11), "{now:?}");
            for announce in crowd[n].due(now).0 {
                said[n] += 1;
                crowd.iter_mut().for_each(|swarms| drop(swarms.hear(now, host(n), &announce)));
            }
        }
        assert_eq!(said, vec![1; 100]);
    }

    #[test]
    fn lsd_announces_with_many_cookies_are_answered_within_bounds() {
        let (mut swarms, from) = (swarms(), "10.0.0.9:6771".parse().unwrap());
        swarms.order(at(0), TorrentKey(1), HASH);
        swarms.due(at(1));
        let mut answers = 0;
        for tenth in 20..620 {
            let now = Time::ZERO + Duration::from_millis(100 * tenth);
            swarms.hear(now, from, &process(&format!("{tenth}")));
            answers += swarms.due(now).0.len();
        }
        assert!((2..=32).contains(&answers), "{answers}");
        assert!(swarms.callers.len() <= CALLERS_MAX);
        swarms.leave(TorrentKey(1));
        assert!(swarms.callers.is_empty());
    }

    #[test]
    fn lsd_floods_of_one_host_and_of_many_are_ignored() {
        let (mut swarms, from) = (swarms(), "10.0.0.9:6771".parse().unwrap());
        swarms.order(at(0), TorrentKey(1), HASH);
        let heard = |swarms: &mut Swarms, at, from| swarms.hear(at, from, &said(&[HASH])).len();
        assert_eq!((0..1000).map(|_| heard(&mut swarms, at(0), from)).sum::<usize>(), 32);
        assert_eq!(heard(&mut swarms, at(60), from), 1);
        let crowd = |swarms: &mut Swarms, second| {
            (1..2000)
                .map(|n: u16| {
                    heard(
                        swarms,
                        at(second),
                        SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 6771)),
                    )
                })
                .sum::<usize>()
        };
        assert_eq!(crowd(&mut swarms, 61), SOURCES_MAX - 1);
        assert_eq!(crowd(&mut swarms, 200), SOURCES_MAX);
        assert_eq!(swarms.heard.len(), SOURCES_MAX);
    }
}
