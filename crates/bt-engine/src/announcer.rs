//! When to announce to which tracker, and which event to tell it (BEP 3, BEP 12).
//!
//! Decides: tiers, intervals, back-off. Must not know: URLs' meaning, sockets.
//! Invariant: an event is repeated until its tracker acknowledged it, and then never told to that tracker again.

use alloc::string::String;
use alloc::vec::Vec;
use bt_tracker_wire::{AnnounceReply, Event};
use bt_types::{Rng, Time};
use core::time::Duration;

use crate::io::TrackerKey;

/// The interval when a tracker names none, and the longest that we follow.
const INTERVAL: Duration = Duration::from_secs(1800);
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
/// A tracker is asked no more often than this, whatever it says; trackers on loopback may be asked every second.
const INTERVAL_MIN: Duration = Duration::from_secs(60);
const INTERVAL_MIN_LOOPBACK: Duration = Duration::from_secs(1);
/// Wait after the first round of failures; it grows with their square.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// The trackers of one torrent.
#[derive(Debug)]
pub(crate) struct Announcer {
    /// Tiers of trackers in the order of trial (BEP 12): shuffled once, then whoever answers moves to the front.
    tiers: Vec<Vec<Tracker>>,
    /// When the next announce is due; `None` while one is on its way, or when there is no tracker.
    next: Option<Time>,
    /// Place in the tiers of the tracker that is asked, or would be.
    turn: (usize, usize),
    /// Rounds in which no tracker answered, in a row.
    failed_rounds: u32,
    completed: bool,
    /// The announce that is on its way.
    asked: Option<Asked>,
    /// Before this moment no extra announce is welcome.
    welcome_at: Time,
}

#[derive(Debug)]
struct Tracker {
    key: TrackerKey,
    url: String,
    started: bool,
    completed: bool,
    tracker_id: Option<Vec<u8>>,
}

/// An announce that was made and not answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    tracker: TrackerKey,
    event: Event,
    /// It was made after the download became complete.
    as_seed: bool,
}

/// One announce to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) tracker: TrackerKey,
    pub(crate) url: String,
    pub(crate) event: Event,
    pub(crate) tracker_id: Option<Vec<u8>>,
}

impl Announcer {
    /// Trackers in tiers; the first announce is due `now`.
    pub(crate) fn new(now: Time, tiers: Vec<Vec<String>>, rng: &mut Rng) -> Announcer {
        let mut keys = (0..u32::MAX).map(TrackerKey);
        let mut tracker = |url| {
            let key = keys.next().unwrap_or(TrackerKey(u32::MAX));
            Tracker { key, url, started: false, completed: false, tracker_id: None }
        };
        let mut tiers: Vec<Vec<Tracker>> = tiers
            .into_iter()
            .map(|tier| tier.into_iter().map(&mut tracker).collect::<Vec<_>>())
            .filter(|tier| !tier.is_empty())
            .collect();
        tiers.iter_mut().for_each(|tier| rng.shuffle(tier));
        let next = (!tiers.is_empty()).then_some(now);
        Announcer { tiers, next, turn: (0, 0), failed_rounds: 0, completed: false, asked: None, welcome_at: now }
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// The announce that is due, if one is. It is on its way from now on.
    pub(crate) fn take(&mut self, now: Time) -> Option<Call> {
        if self.next.is_none_or(|next| next > now) {
            return None;
        }
        let completed = self.completed;
        let (tier, place) = self.turn;
        let tracker = self.tiers.get(tier)?.get(place)?;
        let event = match (tracker.started, completed && !tracker.completed) {
            (false, _) => Event::Started,
            (true, true) => Event::Completed,
            (true, false) => Event::None,
        };
        let call = tracker.call(event);
        self.next = None;
        self.asked = Some(Asked { tracker: call.tracker, event, as_seed: completed });
        Some(call)
    }

    /// The download became complete: trackers hear of it soon.
    pub(crate) fn complete(&mut self, now: Time) {
        self.completed = true;
        self.next = self.next.map(|_| now);
    }

    /// More peers are needed: announce as soon as the tracker welcomes it.
    pub(crate) fn hurry(&mut self, now: Time) {
        if self.failed_rounds == 0 {
            self.next = self.next.map(|next| next.min(self.welcome_at.max(now)));
        }
    }

    /// A tracker answered. `near`: it is on loopback, where no floor applies to intervals.
    pub(crate) fn answered(&mut self, now: Time, key: TrackerKey, reply: &AnnounceReply, near: bool, rng: &mut Rng) {
        let Some((asked, (tier, place))) = self.take_asked(key) else { return };
        let Some(trackers) = self.tiers.get_mut(tier) else { return };
        if let Some(tracker) = trackers.get_mut(place) {
            tracker.started = true;
            // A tracker that has heard of us as a seed from the start is not told `completed` later.
            tracker.completed |= asked.event == Event::Completed || (asked.event == Event::Started && asked.as_seed);
            tracker.tracker_id = reply.tracker_id.clone().or(tracker.tracker_id.take());
        }
        if let Some(front) = trackers.get_mut(..=place) {
            front.rotate_right(1);
        }
        self.failed_rounds = 0;
        let floor = if near { INTERVAL_MIN_LOOPBACK } else { INTERVAL_MIN };
        let seconds = |secs: u32| Duration::from_secs(u64::from(secs)).clamp(floor, INTERVAL_MAX);
        let interval = if reply.interval == 0 { INTERVAL } else { seconds(reply.interval) };
        self.welcome_at = now + reply.min_interval.map_or(interval, seconds).min(interval);
        let owed = self.completed && self.tracker(tier, 0).is_some_and(|tracker| !tracker.completed);
        // A little late at random, so that a swarm does not announce in step.
        let jitter = Duration::from_millis(rng.below(u64::try_from(interval.as_millis()).unwrap_or(0) / 20));
        self.next = Some(if owed { now } else { now + interval + jitter });
        // The tracker that answered is the first of its tier; it is asked again until it fails.
        self.turn = (tier, 0);
    }

    /// A tracker failed: the next one of its tier, then of the next tier, is asked at once; after the last, all rest.
    pub(crate) fn failed(&mut self, now: Time, key: TrackerKey, rng: &mut Rng) {
        let Some((_, (tier, place))) = self.take_asked(key) else { return };
        let after = if self.tracker(tier, place + 1).is_some() { (tier, place + 1) } else { (tier + 1, 0) };
        if self.tracker(after.0, after.1).is_some() {
            self.turn = after;
            self.next = Some(now);
            return;
        }
        self.turn = (0, 0);
        self.failed_rounds += 1;
        let wait = RETRY.saturating_mul(self.failed_rounds.saturating_mul(self.failed_rounds)).min(RETRY_MAX);
        let jitter = Duration::from_millis(rng.below(u64::try_from(wait.as_millis()).unwrap_or(0) / 4));
        self.next = Some(now + wait + jitter);
    }

    /// We leave: every tracker that knows of us is told once.
    pub(crate) fn stop(&mut self) -> Vec<Call> {
        self.next = None;
        self.asked = None;
        let known = self.tiers.iter().flatten().filter(|tracker| tracker.started);
        known.map(|tracker| tracker.call(Event::Stopped)).collect()
    }

    /// The announce that this answer belongs to, and the place of its tracker; `None` for an answer that nobody waits for.
    fn take_asked(&mut self, key: TrackerKey) -> Option<(Asked, (usize, usize))> {
        let asked = self.asked.take_if(|asked| asked.tracker == key)?;
        Some((asked, self.find(key)?))
    }

    fn tracker(&self, tier: usize, place: usize) -> Option<&Tracker> {
        self.tiers.get(tier)?.get(place)
    }

    fn find(&self, key: TrackerKey) -> Option<(usize, usize)> {
        let mut places =
            self.tiers.iter().enumerate().flat_map(|(tier, trackers)| {
                trackers.iter().enumerate().map(move |(place, tracker)| ((tier, place), tracker.key))
            });
        places.find(|(_, at)| *at == key).map(|(place, _)| place)
    }

    /// The URL of a tracker, for reports.
    pub(crate) fn url(&self, key: TrackerKey) -> Option<&str> {
        let (tier, place) = self.find(key)?;
        self.tracker(tier, place).map(|tracker| tracker.url.as_str())
    }
}

impl Tracker {
    fn call(&self, event: Event) -> Call {
        Call { tracker: self.key, url: self.url.clone(), event, tracker_id: self.tracker_id.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString as _;
    use std::vec;

    fn announcer(tiers: &[&[&str]]) -> (Announcer, Rng) {
        let mut rng = Rng::from_seed(5);
        let tiers = tiers.iter().map(|tier| tier.iter().map(|url| url.to_string()).collect()).collect();
        (Announcer::new(Time::ZERO, tiers, &mut rng), rng)
    }

    fn reply(interval: u32) -> AnnounceReply {
        AnnounceReply { interval, ..AnnounceReply::default() }
    }

    #[test]
    fn an_event_is_told_until_acknowledged_and_then_never_again() {
        let (mut a, mut rng) = announcer(&[&["t"]]);
        let mut told = Vec::new();
        let mut now = Time::ZERO;
        for step in 0..8 {
            now = now.max(a.deadline().unwrap());
            let call = a.take(now).unwrap();
            told.push(call.event);
            match step {
                0 | 3 => a.failed(now, call.tracker, &mut rng),
                _ => a.answered(now, call.tracker, &reply(1800), false, &mut rng),
            }
            if step == 2 {
                a.complete(now);
            }
        }
        let (s, n, c) = (Event::Started, Event::None, Event::Completed);
        assert_eq!(told, [s, s, n, c, c, n, n, n]);
        assert_eq!(a.stop().len(), 1);
        assert_eq!(a.take(now + INTERVAL_MAX), None, "nothing follows stopped");
    }

    #[test]
    fn tiers_are_tried_in_order_and_a_good_tracker_stays() {
        let (mut a, mut rng) = announcer(&[&["a1"], &["b1", "b2"], &["c1"]]);
        let mut now = Time::ZERO;
        let mut asked = Vec::new();
        for _ in 0..3 {
            let call = a.take(now).unwrap();
            asked.push(call.url.clone());
            if asked.len() < 3 {
                a.failed(now, call.tracker, &mut rng);
            } else {
                a.answered(now, call.tracker, &reply(100), false, &mut rng);
            }
        }
        assert_eq!(asked[0], "a1");
        assert!(asked[1].starts_with('b') && asked[2].starts_with('b') && asked[1] != asked[2]);
        now = a.deadline().unwrap();
        assert_eq!(a.take(now).unwrap().url, asked[2]);
        assert_eq!(a.stop().iter().map(|call| call.url.clone()).collect::<Vec<_>>(), vec![asked[2].clone()]);
    }

    #[test]
    fn dead_trackers_are_asked_less_and_less() {
        let (mut a, mut rng) = announcer(&[&["t"]]);
        let mut waits = Vec::new();
        let mut now = Time::ZERO;
        for _ in 0..40 {
            let call = a.take(now).unwrap();
            a.failed(now, call.tracker, &mut rng);
            let next = a.deadline().unwrap();
            waits.push(next - now);
            now = next;
        }
        assert!(waits[0] < Duration::from_secs(7) && waits[5] > Duration::from_secs(100));
        assert!(waits.iter().all(|wait| *wait <= RETRY_MAX + RETRY_MAX / 4));
    }

    #[test]
    fn intervals_have_a_floor_but_on_loopback() {
        for (near, low, high) in [(false, 60, 64), (true, 1, 2)] {
            let (mut a, mut rng) = announcer(&[&["t"]]);
            let call = a.take(Time::ZERO).unwrap();
            a.answered(Time::ZERO, call.tracker, &reply(1), near, &mut rng);
            let next = a.deadline().unwrap();
            assert!(next >= Time::from_secs(low) && next < Time::from_secs(high), "{next}");
        }
    }
}
