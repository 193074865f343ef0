//! Picks the tracker of a torrent to ask next (BEP 12), and how many peers to ask for.
//!
//! Decides: the order of the trackers, and which are asked side by side. Must not know: sockets,
//! what a URL means.
//! Invariant: a tracker is asked only after all trackers before it, in its own and in earlier
//! tiers. Each of those failed, was silent for [`STAGGER`] or brought too few peers.

use crate::io::TrackerKey;
use crate::tracker::{Call, Standing, Tracker, Us};
use alloc::string::String;
use alloc::vec::Vec;
use bt_model::TrackerView;
use bt_tracker_wire::{AnnounceReply, RetryIn};
use bt_types::{Rng, Time};
use core::time::Duration;

/// Seconds that a silent tracker holds up the next tracker while peers are urgently needed.
const STAGGER: Duration = Duration::from_secs(5);
/// Seconds that a working tracker holds up the next tier while it has brought too few peers.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most peers to ask a tracker for, and how many to ask for when few or none are needed.
const NUM_WANT_MAX: usize = 200;
const NUM_WANT_FEW: usize = 10;

/// The trackers of one torrent.
#[derive(Debug)]
pub(crate) struct Announcer {
    /// Tiers of trackers in the order of trial (BEP 12): shuffled once, then a tracker that answers
    /// moves to the front.
    tiers: Vec<Vec<Tracker>>,
    us: Us,
    stopped: bool,
    /// The key of the next new tracker.
    next_key: u32,
    /// The next turn while there are enough peers, and the next turn while peers are lacking. Both
    /// follow from the other fields, but are read much more often than those change.
    next: (Option<Turn>, Option<Turn>),
}

/// A tracker, and the time from which it may be asked.
#[derive(Clone, Copy, Debug)]
struct Turn {
    at: Time,
    tier: usize,
    place: usize,
}

impl Announcer {
    /// Makes the announcer of these tiers; the first announce is due `now`.
    pub(crate) fn new(now: Time, tiers: Vec<Vec<String>>, rng: &mut Rng) -> Announcer {
        let mut announcer = Announcer {
            tiers: Vec::new(),
            us: Us::default(),
            stopped: false,
            next_key: 0,
            next: (None, None),
        };
        announcer.replace(now, tiers, rng);
        announcer
    }

    /// Replaces the trackers. One whose URL stays keeps its key and what is known of it. Returns a
    /// `stopped` for each tracker that is gone and may know us.
    pub(crate) fn replace(
        &mut self,
        now: Time,
        tiers: Vec<Vec<String>>,
        rng: &mut Rng,
    ) -> Vec<Call> {
        let mut gone: Vec<Tracker> =
            core::mem::take(&mut self.tiers).into_iter().flatten().collect();
        for urls in tiers {
            let mut tier = Vec::with_capacity(urls.len());
            for url in urls {
                let stays = gone.iter().position(|tracker| tracker.url == url);
                tier.push(match stays {
                    Some(place) => gone.swap_remove(place),
                    None => {
                        self.next_key = self.next_key.saturating_add(1);
                        Tracker::new(now, TrackerKey(self.next_key - 1), url)
                    }
                });
            }
            rng.shuffle(&mut tier);
            self.tiers.push(tier);
        }
        let us = self.us;
        self.plan();
        gone.iter_mut().flat_map(|tracker| tracker.stopped_calls(us)).collect()
    }

    /// Returns whether these are the trackers, whatever their order within a tier.
    pub(crate) fn has(&self, tiers: &[Vec<String>]) -> bool {
        let is_same = |(tier, urls): (&Vec<Tracker>, &Vec<String>)| {
            let mut ours: Vec<&str> = tier.iter().map(|tracker| tracker.url.as_str()).collect();
            let mut theirs: Vec<&str> = urls.iter().map(String::as_str).collect();
            ours.sort_unstable();
            theirs.sort_unstable();
            ours == theirs
        };
        self.tiers.len() == tiers.len() && self.tiers.iter().zip(tiers).all(is_same)
    }

    /// Returns when the next announce is due. `wants_peers`: more peers are needed.
    pub(crate) fn deadline(&self, wants_peers: bool) -> Option<Time> {
        self.next(wants_peers).map(|turn| turn.at)
    }

    /// Takes the announce that is due, if there is one. The tracker counts as asked from now on.
    pub(crate) fn take(&mut self, now: Time, wants_peers: bool) -> Option<Call> {
        let turn = self.next(wants_peers).filter(|turn| turn.at <= now)?;
        let us = self.us;
        let call =
            self.tiers.get_mut(turn.tier)?.get_mut(turn.place).map(|tracker| tracker.ask(now, us));
        self.plan();
        call
    }

    /// Notes that the download is complete: every tracker that knows us hears of it soon.
    pub(crate) fn complete(&mut self, now: Time) {
        self.us = Us { completed: true, partial: false };
        self.trackers_mut().for_each(|tracker| tracker.news(now));
        self.plan();
    }

    /// Notes whether this is a partial seed (BEP 21): something is missing, and nothing more is
    /// downloaded. Trackers hear of it as soon as they welcome an announce.
    pub(crate) fn set_partial(&mut self, now: Time, partial: bool) {
        if self.us.partial != partial && !self.us.completed {
            self.us.partial = partial;
            self.hurry(now);
        }
    }

    /// Announces as soon as the trackers welcome it, because more peers are needed.
    pub(crate) fn hurry(&mut self, now: Time) {
        self.trackers_mut().for_each(|tracker| tracker.hurry(now));
        self.plan();
    }

    /// Notes that addresses or routes of this machine changed.
    pub(crate) fn network_changed(&mut self, now: Time) {
        self.trackers_mut().for_each(|tracker| tracker.network_changed(now));
        self.plan();
    }

    /// Takes a tracker's answer. `near`: the tracker is on loopback, where an interval may be as
    /// short as a second.
    pub(crate) fn answered(
        &mut self,
        now: Time,
        key: TrackerKey,
        reply: &AnnounceReply,
        near: bool,
        rng: &mut Rng,
    ) {
        let us = self.us;
        let Some((tier, place)) = self.find(key) else { return };
        let Some(trackers) = self.tiers.get_mut(tier) else { return };
        if !trackers
            .get_mut(place)
            .is_some_and(|tracker| tracker.answered(now, reply, near, us, rng))
        {
            return;
        }
        // Move it to the front of its tier, but not past a working tracker: a slow tracker must not
        // push out a quick tracker.
        let front =
            trackers.iter().take(place).rposition(Tracker::works).map_or(0, |before| before + 1);
        if let Some(passed) = trackers.get_mut(front..=place) {
            passed.rotate_right(1);
        }
        self.plan();
    }

    /// Notes that a tracker failed, or refused until `retry_in`.
    pub(crate) fn failed(
        &mut self,
        now: Time,
        key: TrackerKey,
        retry_in: Option<RetryIn>,
        reason: &str,
        rng: &mut Rng,
    ) {
        if let Some(tracker) = self.trackers_mut().find(|tracker| tracker.key == key)
            && tracker.failed(now, retry_in, rng)
        {
            tracker.set_message(reason);
        }
        self.plan();
    }

    /// Ends the announcing: returns a `stopped` for every tracker that may know us. Nothing
    /// follows before [`Announcer::resume`].
    pub(crate) fn stop(&mut self) -> Vec<Call> {
        self.stopped = true;
        let us = self.us;
        let calls = self.trackers_mut().flat_map(|tracker| tracker.stopped_calls(us)).collect();
        self.plan();
        calls
    }

    /// Announces again, from `started` on.
    pub(crate) fn resume(&mut self, now: Time) {
        self.stopped = false;
        self.trackers_mut().for_each(|tracker| tracker.news(now));
        self.plan();
    }

    /// Returns the URLs of all trackers, in tiers.
    pub(crate) fn urls(&self) -> Vec<Vec<String>> {
        self.tiers
            .iter()
            .map(|tier| tier.iter().map(|tracker| tracker.url.clone()).collect())
            .collect()
    }

    /// Returns what is known of the trackers.
    pub(crate) fn views(&self, now: Time) -> Vec<TrackerView> {
        let tiers = self.tiers.iter().enumerate();
        tiers.flat_map(|(tier, of)| of.iter().map(move |tracker| tracker.view(now, tier))).collect()
    }

    /// Returns the URL of a tracker, for reports.
    pub(crate) fn url(&self, key: TrackerKey) -> Option<&str> {
        self.tiers
            .iter()
            .flatten()
            .find(|tracker| tracker.key == key)
            .map(|tracker| tracker.url.as_str())
    }

    fn next(&self, wants_peers: bool) -> Option<Turn> {
        if wants_peers { self.next.1 } else { self.next.0 }
    }

    fn plan(&mut self) {
        self.next = (self.next_turn(false), self.next_turn(true));
    }

    /// Picks the tracker that may be asked first. Walks the trackers in their order with `gate`,
    /// the time from which the trackers before leave the way open. `None`: closed while their
    /// standings stay the same.
    fn next_turn(&self, wants_peers: bool) -> Option<Turn> {
        if self.stopped {
            return None;
        }
        // A torrent that no tracker knows is as urgent as a torrent that lacks peers: no peer finds
        // it if it is a seed.
        let urgent = wants_peers || !self.tiers.iter().flatten().any(Tracker::works);
        let mut first: Option<Turn> = None;
        let mut open = Some(Time::ZERO);
        for (tier, trackers) in self.tiers.iter().enumerate() {
            let mut gate = open;
            let mut works_since = None;
            for (place, tracker) in trackers.iter().enumerate() {
                if let Some(at) = tracker
                    .turn(gate, self.us)
                    .filter(|at| first.is_none_or(|first| *at < first.at))
                {
                    first = Some(Turn { at, tier, place });
                }
                if let Standing::Works(since) = tracker.standing() {
                    works_since = works_since.max(Some(since));
                }
                gate = match (tracker.asked_at(), tracker.standing()) {
                    (Some(at), _) => gate.filter(|_| urgent).map(|gate| gate.max(at + STAGGER)),
                    // The trackers of a tier know the same peers: a tracker that works stands for
                    // those behind it.
                    (None, Standing::Works(_)) => None,
                    (None, _) => gate,
                };
            }
            open = match works_since {
                Some(since) => open.filter(|_| wants_peers).map(|open| open.max(since + PATIENCE)),
                None => gate,
            };
        }
        first
    }

    fn trackers_mut(&mut self) -> impl Iterator<Item = &mut Tracker> {
        self.tiers.iter_mut().flatten()
    }

    fn find(&self, key: TrackerKey) -> Option<(usize, usize)> {
        self.tiers.iter().enumerate().find_map(|(tier, trackers)| {
            let place = trackers.iter().position(|tracker| tracker.key == key)?;
            Some((tier, place))
        })
    }
}

/// Returns how many peers to ask for: enough to fill the free connections, less the addresses that
/// were not tried yet. A complete torrent needs few, since peers that lack pieces come by
/// themselves; a torrent that leaves needs none.
pub(crate) fn num_want(free: usize, fresh: usize, complete: bool, leaves: bool) -> u32 {
    let wanted = match (leaves, complete) {
        (true, _) => 0,
        (false, true) => free.min(NUM_WANT_FEW),
        (false, false) => free.saturating_sub(fresh).clamp(NUM_WANT_FEW, NUM_WANT_MAX),
    };
    u32::try_from(wanted).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_tracker_wire::Event;
    use std::string::ToString as _;
    use std::vec;

    /// What a tracker does with every announce from some second on.
    #[derive(Clone, Copy)]
    enum Does {
        /// Answers, with an interval of 1000 s.
        Answers,
        /// Refuses at once.
        Fails,
        /// Says nothing; the shell gives up after 30 s.
        IsSilent,
        /// Refuses for ever.
        SaysNever,
    }
    use Does::{Answers, Fails, IsSilent, SaysNever};

    /// Plays the torrent's first `seconds`; returns which tracker was asked when. Peers are
    /// lacking before the second `wants_peers`.
    fn play(
        tiers: &[&[&str]],
        does: &[(&'static str, u64, Does)],
        wants_peers: u64,
        seconds: u64,
    ) -> Vec<(u64, &'static str)> {
        let mut rng = Rng::from_seed(5);
        let tiers =
            tiers.iter().map(|tier| tier.iter().map(|url| url.to_string()).collect()).collect();
        let mut a = Announcer::new(Time::ZERO, tiers, &mut rng);
        let (mut asked, mut silent) = (Vec::new(), Vec::new());
        for second in 0..seconds {
            let now = Time::from_secs(second);
            let given_up = silent.extract_if(.., |(at, _)| *at + 30 == second).collect::<Vec<_>>();
            given_up.into_iter().for_each(|(_, key)| a.failed(now, key, None, "", &mut rng));
            while let Some(call) = a.take(now, second < wants_peers) {
                let (url, _, does) = *does
                    .iter()
                    .rfind(|(url, from, _)| *url == call.url && *from <= second)
                    .unwrap();
                asked.push((second, url));
                let reply = AnnounceReply { interval: 1000, ..AnnounceReply::default() };
                match does {
                    Answers => a.answered(now, call.tracker, &reply, false, &mut rng),
                    Fails => a.failed(now, call.tracker, None, "", &mut rng),
                    IsSilent => silent.push((second, call.tracker)),
                    SaysNever => a.failed(now, call.tracker, Some(RetryIn::Never), "", &mut rng),
                }
            }
        }
        asked
    }

    #[test]
    fn a_silent_tracker_delays_the_next_by_seconds_only() {
        let does = [("a", 0, IsSilent), ("b", 0, IsSilent), ("c", 0, Answers)];
        let expected = [(0, "a"), (5, "b"), (10, "c")];
        // Also when peers are not lacking: no tracker knows us yet.
        for wants_peers in [0, 30] {
            assert_eq!(play(&[&["a"], &["b"], &["c"]], &does, wants_peers, 30), expected);
        }
    }

    #[test]
    fn when_it_is_not_urgent_a_silent_tracker_is_waited_for() {
        let does = [("a", 0, Answers), ("a", 500, IsSilent), ("b", 0, Answers)];
        let asked = play(&[&["a"], &["b"]], &does, 0, 1200);
        let again = asked[1].0;
        assert_eq!(asked[..3], [(0, "a"), (again, "a"), (again + 30, "b")], "{asked:?}");
        // The same within a tier, whose order is shuffled.
        let does =
            [("a", 0, Answers), ("b", 0, Answers), ("a", 500, IsSilent), ("b", 500, IsSilent)];
        let asked = play(&[&["a", "b"]], &does, 0, 1200);
        let ((_, first), (again, _), (next_at, next)) = (asked[0], asked[1], asked[2]);
        assert!(next_at == again + 30 && next != first, "{asked:?}");
    }

    #[test]
    fn a_failed_tracker_is_followed_at_once_and_asked_again_in_its_order() {
        let does = [("a", 0, Fails), ("a", 20, Answers), ("b", 0, Answers)];
        let asked = play(&[&["a"], &["b"]], &does, 0, 2500);
        let times = |url: &str| {
            asked.iter().filter(|(_, of)| *of == url).map(|(at, _)| *at).collect::<Vec<_>>()
        };
        assert_eq!(asked[..2], [(0, "a"), (0, "b")]);
        // After its back-off tracker a answers, and is the only tracker asked from then on.
        assert_eq!((times("a").len(), times("b")), (5, vec![0]), "{asked:?}");
    }

    #[test]
    fn the_next_tier_is_asked_too_while_peers_are_lacking() {
        let does = [("a", 0, Answers), ("b", 0, Answers), ("c", 0, Answers), ("d", 0, Answers)];
        let tiers: &[&[&str]] = &[&["a"], &["b"], &["c"]];
        assert_eq!(play(tiers, &does, 0, 900), [(0, "a")]);
        assert_eq!(play(tiers, &does, 20, 900), [(0, "a"), (15, "b")]);
        assert_eq!(play(tiers, &does, 900, 900), [(0, "a"), (15, "b"), (30, "c")]);
        assert_eq!(
            play(&[&["a", "b", "c"]], &does, 900, 900).len(),
            1,
            "one of a tier knows what the others know"
        );
        let asked = play(tiers, &does, 900, 2500);
        assert_eq!(
            asked.iter().filter(|(_, url)| *url != "a").count(),
            2,
            "later they are let go: {asked:?}"
        );
    }

    #[test]
    fn a_tracker_that_said_never_is_not_asked_again() {
        let does = [("a", 0, SaysNever), ("b", 0, Answers)];
        let asked = play(&[&["a"], &["b"]], &does, 9000, 9000);
        assert_eq!(asked.iter().filter(|(_, url)| *url == "a").count(), 1, "{asked:?}");
        assert_eq!(play(&[&["a"]], &does, 9000, 9000).len(), 1);
    }

    #[test]
    fn a_tracker_that_answers_moves_to_the_front_of_its_tier() {
        // Only one tracker of the tier answers; from then on only that tracker is asked.
        for good in ["a", "b", "c"] {
            let does =
                ["a", "b", "c"].map(|url| (url, 0, if url == good { Answers } else { Fails }));
            let asked = play(&[&["a", "b", "c"]], &does, 0, 5000);
            let first = asked.iter().position(|(_, url)| *url == good).unwrap();
            assert!(
                asked[first..].iter().all(|(_, url)| *url == good) && asked.len() > first + 3,
                "{asked:?}"
            );
        }
    }

    #[test]
    fn a_late_answer_does_not_push_out_a_quick_tracker() {
        let (mut rng, reply) =
            (Rng::from_seed(5), AnnounceReply { interval: 60, ..AnnounceReply::default() });
        let mut a = Announcer::new(Time::ZERO, vec![vec!["a".into(), "b".into()]], &mut rng);
        let slow = a.take(Time::ZERO, true).unwrap();
        let quick = a.take(Time::from_secs(5), true).unwrap();
        assert_eq!(a.take(Time::from_secs(9), true), None);
        a.answered(Time::from_secs(6), quick.tracker, &reply, false, &mut rng);
        a.answered(Time::from_secs(7), slow.tracker, &reply, false, &mut rng);
        assert_eq!(a.take(Time::from_secs(70), true).unwrap().url, quick.url);
        assert_eq!(a.take(Time::from_secs(70), true), None);
        assert_eq!(a.stop().len(), 2, "both know us");
    }

    #[test]
    fn every_tracker_that_knows_us_gets_completed_and_stopped() {
        let (mut rng, reply) =
            (Rng::from_seed(5), AnnounceReply { interval: 1000, ..AnnounceReply::default() });
        let mut a = Announcer::new(
            Time::ZERO,
            vec![vec!["a".into()], vec!["b".into()], vec!["c".into()]],
            &mut rng,
        );
        for at in [0, 15] {
            let call = a.take(Time::from_secs(at), true).unwrap();
            a.answered(Time::from_secs(at), call.tracker, &reply, false, &mut rng);
        }
        a.complete(Time::from_secs(20));
        let told: Vec<_> = core::iter::from_fn(|| a.take(Time::from_secs(20), false)).collect();
        assert_eq!(
            told.iter().map(|call| (call.url.as_str(), call.event)).collect::<Vec<_>>(),
            [("a", Event::Completed), ("b", Event::Completed)]
        );
        assert_eq!(a.stop().iter().map(|call| call.url.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (a.take(Time::from_secs(9000), true), a.deadline(true)),
            (None, None),
            "nothing follows stopped"
        );
    }

    #[test]
    fn completed_is_announced_before_stopped_also_without_a_first_answer() {
        for is_complete in [false, true] {
            let mut a = Announcer::new(Time::ZERO, vec![vec!["a".into()]], &mut Rng::from_seed(5));
            assert_eq!(a.take(Time::ZERO, true).unwrap().event, Event::Started);
            if is_complete {
                a.complete(Time::ZERO);
            }
            let said =
                |a: &mut Announcer| a.stop().iter().map(|call| call.event).collect::<Vec<_>>();
            let expected = [Event::Completed, Event::Stopped];
            assert_eq!(said(&mut a), expected[usize::from(!is_complete)..]);
            assert_eq!(said(&mut a), [], "a tracker hears it once");
        }
    }

    #[test]
    fn a_partial_seed_says_so_in_every_announce() {
        let (mut rng, reply) =
            (Rng::from_seed(5), AnnounceReply { interval: 1000, ..AnnounceReply::default() });
        let mut a = Announcer::new(Time::ZERO, vec![vec!["a".into()]], &mut rng);
        let mut told = Vec::new();
        for partial in [false, true, true, false] {
            a.set_partial(a.deadline(false).unwrap(), partial);
            let now = a.deadline(false).unwrap();
            let call = a.take(now, false).unwrap();
            told.push(call.event);
            a.answered(now, call.tracker, &reply, false, &mut rng);
        }
        assert_eq!(told, [Event::Started, Event::Paused, Event::Paused, Event::None]);
    }

    #[test]
    fn as_many_peers_are_asked_for_as_are_needed() {
        let table = [
            (100, 0, false, false, 100),
            (100, 60, false, false, 40),
            (100, 2000, false, false, 10),
            (0, 0, false, false, 10),
            (5000, 0, false, false, 200),
            (100, 0, true, false, 10),
            (3, 0, true, false, 3),
            (0, 0, true, false, 0),
            (100, 0, false, true, 0),
        ];
        for (free, fresh, complete, leaves, wanted) in table {
            assert_eq!(
                num_want(free, fresh, complete, leaves),
                wanted,
                "{free} {fresh} {complete} {leaves}"
            );
        }
    }
}
