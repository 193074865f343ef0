//! Holds one tracker of a torrent: what it knows of us, and when it may be asked again (BEP 3, 21,
//! 31).
//!
//! Decides: the events, interval and back-off of this tracker. Must not know: other trackers,
//! tiers, what its URL means.
//! Invariant: an event is repeated until this tracker acknowledges it, and is never sent to it
//! again after that.

use crate::io::TrackerKey;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bt_model::{TrackerStanding, TrackerView};
use bt_tracker_wire::{AnnounceReply, Event, RetryIn};
use bt_types::{Rng, Time};
use core::time::Duration;

/// The interval in seconds when a tracker names none, and the longest interval that we follow.
const INTERVAL: Duration = Duration::from_secs(1800);
const INTERVAL_MAX: Duration = Duration::from_secs(86_400);
/// The shortest interval in seconds, even if a tracker names a shorter one. Trackers on loopback
/// may be asked every second.
const INTERVAL_MIN: Duration = Duration::from_secs(60);
const INTERVAL_MIN_LOOPBACK: Duration = Duration::from_secs(1);
/// The back-off in seconds after the first failure in a row, and the longest. It grows with the
/// square of the failures.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// Characters of a tracker's warning or failure that are kept for reports.
const MESSAGE_MAX: usize = 300;

/// A tracker, and our relation to it.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub(crate) key: TrackerKey,
    pub(crate) url: String,
    /// It acknowledged `started`.
    knows_us: bool,
    /// It acknowledged `completed`, or a `started` that was sent as a seed.
    knows_completed: bool,
    id: Option<Vec<u8>>,
    standing: Standing,
    asked: Option<Asked>,
    /// The time at which it wants the next announce, or may be tried again.
    due: Time,
    /// The time before which no extra announce is welcome.
    welcome_at: Time,
    /// Its last words, once it was heard of.
    said: Option<Box<Said>>,
}

/// The last words of a tracker, for reports.
#[derive(Debug, Default)]
struct Said {
    seeders: Option<u32>,
    leechers: Option<u32>,
    peers: u32,
    /// Its warning, or why it failed.
    message: String,
}

/// What the last answer of a tracker, or the lack of an answer, says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// It was never asked.
    Untried,
    /// It answers, without a failure since this time.
    Works(Time),
    /// It failed this number of times in a row.
    Fails(u32),
    /// It said that it must never be asked again (BEP 31).
    Gone,
}

/// What all trackers must know of us.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Us {
    /// The download is complete.
    pub(crate) completed: bool,
    /// Something is missing, and nothing more is downloaded (BEP 21).
    pub(crate) partial: bool,
}

/// An announce without an answer so far.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Time,
    event: Event,
    /// It was made after the download became complete.
    as_seed: bool,
}

/// An announce to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) tracker: TrackerKey,
    pub(crate) url: String,
    pub(crate) event: Event,
    pub(crate) tracker_id: Option<Vec<u8>>,
}

impl Tracker {
    pub(crate) fn new(now: Time, key: TrackerKey, url: String) -> Tracker {
        Tracker {
            key,
            url,
            knows_us: false,
            knows_completed: false,
            id: None,
            standing: Standing::Untried,
            asked: None,
            due: now,
            welcome_at: now,
            said: None,
        }
    }

    /// Returns what is known of it.
    pub(crate) fn view(&self, now: Time, tier: usize) -> TrackerView {
        let nothing = Said::default();
        let said = self.said.as_deref().unwrap_or(&nothing);
        TrackerView {
            url: self.url.clone(),
            tier,
            standing: match self.standing {
                Standing::Untried => TrackerStanding::Untried,
                Standing::Works(_) => TrackerStanding::Works,
                Standing::Fails(times) => TrackerStanding::Fails(times),
                Standing::Gone => TrackerStanding::Gone,
            },
            is_asked: self.asked.is_some(),
            next_in: self.due.since(now),
            seeders: said.seeders,
            leechers: said.leechers,
            peers: said.peers,
            message: said.message.clone(),
        }
    }

    /// Keeps a warning, or the reason of a failure, up to [`MESSAGE_MAX`] characters.
    pub(crate) fn set_message(&mut self, message: &str) {
        let message = message.chars().take(MESSAGE_MAX).collect();
        self.said.get_or_insert_default().message = message;
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    pub(crate) fn works(&self) -> bool {
        matches!(self.standing, Standing::Works(_))
    }

    /// Returns the time of the announce that has no answer yet.
    pub(crate) fn asked_at(&self) -> Option<Time> {
        self.asked.map(|asked| asked.at)
    }

    /// Returns when to ask it, if the trackers before it leave the way open from `gate` on. An owed
    /// `completed` does not wait for other trackers.
    pub(crate) fn turn(&self, gate: Option<Time>, us: Us) -> Option<Time> {
        if self.asked.is_some() || self.standing == Standing::Gone {
            return None;
        }
        let gate = if self.is_owed(us) { Some(Time::ZERO) } else { gate };
        gate.map(|gate| gate.max(self.due))
    }

    /// Returns whether it knows us, and has not acknowledged that the download is complete.
    fn is_owed(&self, us: Us) -> bool {
        us.completed && self.knows_us && !self.knows_completed
    }

    /// Makes the announce to it; its answer is expected from now on.
    pub(crate) fn ask(&mut self, now: Time, us: Us) -> Call {
        let event = match (self.knows_us, self.is_owed(us), us.partial) {
            (false, ..) => Event::Started,
            (true, true, _) => Event::Completed,
            (true, false, true) => Event::Paused,
            (true, false, false) => Event::None,
        };
        self.asked = Some(Asked { at: now, event, as_seed: us.completed });
        self.call(event)
    }

    /// Takes its answer. `near`: it is on loopback, where an interval may be as short as a second.
    /// False if no answer was expected.
    pub(crate) fn answered(
        &mut self,
        now: Time,
        reply: &AnnounceReply,
        near: bool,
        us: Us,
        rng: &mut Rng,
    ) -> bool {
        let Some(asked) = self.asked.take() else { return false };
        let said = self.said.get_or_insert_default();
        said.peers = u32::try_from(reply.peers.len()).unwrap_or(u32::MAX);
        (said.seeders, said.leechers) = (reply.seeders, reply.leechers);
        self.set_message(reply.warning.as_deref().unwrap_or_default());
        self.knows_us = true;
        self.knows_completed |=
            asked.event == Event::Completed || (asked.event == Event::Started && asked.as_seed);
        self.id = reply.tracker_id.clone().or(self.id.take());
        if !self.works() {
            self.standing = Standing::Works(now);
        }
        let floor = if near { INTERVAL_MIN_LOOPBACK } else { INTERVAL_MIN };
        let seconds = |secs: u32| Duration::from_secs(u64::from(secs)).clamp(floor, INTERVAL_MAX);
        let interval = if reply.interval == 0 { INTERVAL } else { seconds(reply.interval) };
        let least = reply.min_interval.map_or(interval, seconds);
        // Some trackers name a longer least interval than the usual interval: both are obeyed.
        let interval = interval.max(least);
        self.welcome_at = now + least;
        // A random delay, so that a swarm does not announce in step.
        self.due = now + interval + up_to(interval / 20, rng);
        if self.is_owed(us) {
            self.due = now;
        }
        true
    }

    /// Notes that it did not answer, or refused. False if no answer was expected.
    pub(crate) fn failed(&mut self, now: Time, retry_in: Option<RetryIn>, rng: &mut Rng) -> bool {
        if self.asked.take().is_none() {
            return false;
        }
        let rounds = match self.standing {
            Standing::Fails(rounds) => rounds.saturating_add(1),
            Standing::Untried | Standing::Works(_) | Standing::Gone => 1,
        };
        self.standing =
            if retry_in == Some(RetryIn::Never) { Standing::Gone } else { Standing::Fails(rounds) };
        let wait = match retry_in {
            Some(RetryIn::Minutes(minutes)) => welcome_after(u64::from(minutes) * 60),
            Some(RetryIn::Seconds(seconds)) => welcome_after(seconds.into()),
            Some(RetryIn::Never) | None => {
                RETRY.saturating_mul(rounds.saturating_mul(rounds)).min(RETRY_MAX)
            }
        };
        self.due = now + wait + up_to(wait / 4, rng);
        // A wait that it asks for is obeyed on every network; our own back-off ends with the
        // network that it failed on.
        self.welcome_at = if retry_in.is_some() { self.due } else { now };
        true
    }

    /// Notes a change of network: we have another address now, and a failed tracker may be
    /// reachable.
    pub(crate) fn network_changed(&mut self, now: Time) {
        let at = if self.works() { now } else { self.welcome_at.max(now) };
        self.due = self.due.min(at);
    }

    /// Announces soon, because there is news for it. A failed tracker waits for the end of its
    /// back-off.
    pub(crate) fn news(&mut self, now: Time) {
        if self.works() {
            self.due = self.due.min(now);
        }
    }

    /// Announces as soon as it welcomes an extra announce.
    pub(crate) fn hurry(&mut self, now: Time) {
        if self.works() {
            self.due = self.due.min(self.welcome_at.max(now));
        }
    }

    /// Makes the last announces to it, one after the other, if it may know us: `completed` if it
    /// was not told so, then `stopped`. It knows us no longer, and its answers to earlier announces
    /// are not expected any more.
    pub(crate) fn stopped_calls(&mut self, us: Us) -> Vec<Call> {
        // A tracker that has not answered yet may have put us on its list all the same.
        let may_know_us =
            (self.knows_us || self.asked.is_some()) && self.standing != Standing::Gone;
        let is_told = self.knows_completed || self.asked.is_some_and(|asked| asked.as_seed);
        let completed = us.completed && !is_told;
        (self.knows_us, self.asked) = (false, None);
        if !may_know_us {
            return Vec::new();
        }
        self.knows_completed |= us.completed;
        let events = [completed.then_some(Event::Completed), Some(Event::Stopped)];
        events.into_iter().flatten().map(|event| self.call(event)).collect()
    }

    fn call(&self, event: Event) -> Call {
        Call { tracker: self.key, url: self.url.clone(), event, tracker_id: self.id.clone() }
    }
}

/// Limits the wait that a tracker asks for: a minute to a day.
fn welcome_after(seconds: u64) -> Duration {
    Duration::from_secs(seconds).clamp(INTERVAL_MIN, INTERVAL_MAX)
}

fn up_to(span: Duration, rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.below(u64::try_from(span.as_millis()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_types::Rng;
    use proptest::prelude::*;

    fn tracker() -> (Tracker, Rng) {
        (Tracker::new(Time::ZERO, TrackerKey(0), "t".into()), Rng::from_seed(5))
    }

    #[test]
    fn a_long_message_of_a_tracker_is_cut() {
        let (mut tracker, _) = tracker();
        tracker.set_message(&"ü".repeat(5 * MESSAGE_MAX));
        assert_eq!(tracker.view(Time::ZERO, 0).message, "ü".repeat(MESSAGE_MAX));
    }

    fn reply(interval: u32) -> AnnounceReply {
        AnnounceReply { interval, ..AnnounceReply::default() }
    }

    #[test]
    fn dead_trackers_are_asked_less_and_less() {
        let (mut t, mut rng) = tracker();
        let (mut waits, mut now) = (Vec::new(), Time::ZERO);
        for _ in 0..40 {
            t.ask(now, Us::default());
            t.failed(now, None, &mut rng);
            waits.push(t.due - now);
            now = t.due;
        }
        assert!(waits[0] < Duration::from_secs(7) && waits[5] > Duration::from_secs(100));
        assert!(waits.iter().all(|wait| *wait <= RETRY_MAX + RETRY_MAX / 4));
    }

    #[test]
    fn retry_in_is_obeyed() {
        let (minutes, seconds) = (RetryIn::Minutes, RetryIn::Seconds);
        let table = [
            (minutes(0), 60, 75),
            (minutes(5), 300, 375),
            (minutes(u32::MAX), 86_400, 108_000),
            (seconds(1), 60, 75),
            (seconds(1800), 1800, 2250),
        ];
        for (retry_in, low, high) in table {
            let (mut t, mut rng) = tracker();
            t.ask(Time::ZERO, Us::default());
            t.failed(Time::ZERO, Some(retry_in), &mut rng);
            assert!(
                (Time::from_secs(low)..=Time::from_secs(high)).contains(&t.due),
                "{retry_in:?}: {}",
                t.due
            );
        }
        let (mut t, mut rng) = tracker();
        t.ask(Time::ZERO, Us::default());
        t.answered(Time::ZERO, &reply(9), false, Us::default(), &mut rng);
        t.ask(Time::ZERO, Us::default());
        t.failed(Time::ZERO, Some(RetryIn::Never), &mut rng);
        assert_eq!(
            (t.standing(), t.stopped_calls(Us::default()).len()),
            (Standing::Gone, 0),
            "it hears nothing more, not even `stopped`"
        );
    }

    #[test]
    fn intervals_have_a_floor_but_on_loopback() {
        for (near, interval, low, high) in [
            (false, 1, 60, 63),
            (true, 1, 1, 2),
            (false, 0, 1800, 1890),
            (false, u32::MAX, 86_400, 90_720),
        ] {
            let (mut t, mut rng) = tracker();
            t.ask(Time::ZERO, Us::default());
            t.answered(Time::ZERO, &reply(interval), near, Us::default(), &mut rng);
            assert!(
                (Time::from_secs(low)..=Time::from_secs(high)).contains(&t.due),
                "{interval}: {}",
                t.due
            );
        }
    }

    #[test]
    fn of_two_intervals_both_are_obeyed() {
        // (interval, least interval, earliest extra announce, next announce)
        for (interval, least, welcome, due) in
            [(1800, Some(900), 900, 1800), (60, Some(1800), 1800, 1800), (600, None, 600, 600)]
        {
            let (mut t, mut rng) = tracker();
            t.ask(Time::ZERO, Us::default());
            let reply = AnnounceReply { min_interval: least, ..reply(interval) };
            t.answered(Time::ZERO, &reply, false, Us::default(), &mut rng);
            assert!(
                (Time::from_secs(due)..=Time::from_secs(due * 21 / 20)).contains(&t.due),
                "{interval}: {}",
                t.due
            );
            t.hurry(Time::from_secs(1));
            assert_eq!(t.due, Time::from_secs(welcome), "{interval}");
        }
    }

    #[test]
    fn it_works_since_its_first_answer_after_a_failure() {
        let (mut t, mut rng) = tracker();
        let mut standings = Vec::new();
        for (second, answers) in
            [(1, true), (2, true), (3, false), (4, false), (5, true), (6, true)]
        {
            let now = Time::from_secs(second);
            t.ask(now, Us::default());
            if answers {
                t.answered(now, &reply(1), true, Us::default(), &mut rng);
            } else {
                t.failed(now, None, &mut rng);
            }
            standings.push(t.standing());
        }
        let works = |second| Standing::Works(Time::from_secs(second));
        assert_eq!(
            standings,
            [works(1), works(1), Standing::Fails(1), Standing::Fails(2), works(5), works(5)]
        );
    }

    #[test]
    fn another_network_ends_our_back_off_and_not_what_a_tracker_asks_for() {
        // (what the tracker said, the second when it is asked again after a network change in
        // second 10)
        let (answers, refuses) = (Ok(reply(1800)), |retry_in| Err(retry_in));
        let table =
            [(answers, 10), (refuses(None), 10), (refuses(Some(RetryIn::Seconds(600))), 600)];
        for (word, at) in table {
            let (mut t, mut rng) = tracker();
            for _ in 0..5 {
                t.ask(Time::ZERO, Us::default());
                match &word {
                    Ok(reply) => t.answered(Time::ZERO, reply, false, Us::default(), &mut rng),
                    Err(retry_in) => t.failed(Time::ZERO, *retry_in, &mut rng),
                };
            }
            t.network_changed(Time::from_secs(10));
            assert!(
                (Time::from_secs(at)..=Time::from_secs(at * 5 / 4)).contains(&t.due),
                "{word:?}: {}",
                t.due
            );
        }
    }

    #[test]
    fn an_extra_announce_waits_until_it_is_welcome() {
        let (mut t, mut rng) = tracker();
        t.ask(Time::ZERO, Us::default());
        let reply = AnnounceReply { min_interval: Some(100), ..reply(1800) };
        t.answered(Time::ZERO, &reply, false, Us::default(), &mut rng);
        t.hurry(Time::from_secs(10));
        assert_eq!(t.due, Time::from_secs(100));
        t.hurry(Time::from_secs(200));
        assert_eq!(t.due, Time::from_secs(100), "it never becomes later");
    }

    #[test]
    fn a_tracker_id_is_given_back_until_another_comes() {
        let (mut t, mut rng) = tracker();
        let mut echoed = Vec::new();
        for id in [Some("a"), None, Some("b"), None] {
            echoed.push(t.ask(Time::ZERO, Us::default()).tracker_id);
            let reply =
                AnnounceReply { tracker_id: id.map(|id| id.as_bytes().to_vec()), ..reply(60) };
            t.answered(Time::ZERO, &reply, false, Us::default(), &mut rng);
        }
        let some = |id: &str| Some(id.as_bytes().to_vec());
        assert_eq!(echoed, [None, some("a"), some("a"), some("b")]);
        assert_eq!(t.stopped_calls(Us::default())[0].tracker_id, some("b"));
    }

    proptest! {
        /// Checks events in any order. `started` and `completed` are sent until they are
        /// acknowledged, and never again; `paused` is in every other announce of a partial seed.
        #[test]
        fn an_event_is_announced_until_it_is_acknowledged(steps in prop::collection::vec((any::<bool>(), 0u8..4), 0..40)) {
            let (mut t, mut rng) = tracker();
            let (mut us, mut has_heard) = (Us::default(), Us::default());
            let mut knows_us = false;
            for (acknowledges, change) in steps {
                us.partial = change == 1 && !us.completed;
                us.completed |= change == 2;
                let told = us;
                let event = t.ask(Time::ZERO, told).event;
                let expected = match (knows_us, told.completed && !has_heard.completed, told.partial) {
                    (false, ..) => Event::Started,
                    (_, true, _) => Event::Completed,
                    (_, _, true) => Event::Paused,
                    _ => Event::None,
                };
                prop_assert_eq!(event, expected);
                // The download may become complete while an announce is on its way.
                us.completed |= change == 3;
                if acknowledges {
                    t.answered(Time::ZERO, &reply(60), false, us, &mut rng);
                    (knows_us, has_heard) = (true, told);
                    prop_assert_eq!(t.due == Time::ZERO, us.completed && !told.completed, "what it is owed is told at once");
                } else {
                    t.failed(Time::ZERO, None, &mut rng);
                }
            }
        }
    }
}
