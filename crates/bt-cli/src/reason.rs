//! Words for why a download is slow and for trackers' errors, and not too often.
//!
//! Decides: the words, and when they are said again.
//! Must not know: how a reason is found.
//! Invariant: a reason is said only after the download was slow for a while, and no two within that
//! time.

use bt_session::SlowReason;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Most trackers whose last error is remembered.
const TRACKERS_MAX: usize = 1000;

/// Time after which a download counts as slow, or as fast again.
const LASTING: Duration = Duration::from_secs(3);

/// Returns the name of a reason for programs.
pub(crate) fn name(reason: SlowReason) -> &'static str {
    match reason {
        SlowReason::Paused => "paused",
        SlowReason::Store(fault) => fault.name(),
        SlowReason::Limit => "limit",
        SlowReason::NoPeers => "no_peers",
        SlowReason::NoData => "no_data",
        SlowReason::Choked => "choked",
        SlowReason::RarestOnePeer => "rarest_one_peer",
        SlowReason::SlowPeers => "slow_peers",
    }
}

/// Returns the words of a reason for people.
pub(crate) fn words(reason: SlowReason) -> String {
    match reason {
        SlowReason::Store(fault) => return fault.to_string(),
        SlowReason::Paused => "it is paused",
        SlowReason::Limit => "the limit that you set (--down)",
        SlowReason::NoPeers => "no peers are connected; check the tracker, or name one with --peer",
        SlowReason::NoData => "the connected peers do not have what is missing",
        SlowReason::Choked => "connected peers have what is missing and do not upload to us yet",
        SlowReason::RarestOnePeer => "one peer alone has what is missing",
        SlowReason::SlowPeers => "connected peers are slow",
    }
    .into()
}

/// Remembers which reason was said.
#[derive(Debug)]
pub(crate) struct Teller {
    is_slow: bool,
    /// Since when the download is slow, or fast.
    since: Instant,
    said: Option<(SlowReason, Instant)>,
}

impl Teller {
    pub(crate) fn new(now: Instant) -> Teller {
        Teller { is_slow: false, since: now, said: None }
    }

    /// Returns the reason to say now, if it is news.
    pub(crate) fn hear(&mut self, now: Instant, reason: Option<SlowReason>) -> Option<SlowReason> {
        if self.is_slow != reason.is_some() {
            (self.is_slow, self.since) = (reason.is_some(), now);
        }
        if now - self.since < LASTING {
            return None;
        }
        let Some(reason) = reason else {
            self.said = None;
            return None;
        };
        if self.said.is_some_and(|(said, at)| said == reason || now - at < LASTING) {
            return None;
        }
        self.said = Some((reason, now));
        Some(reason)
    }

    /// Notes that the reason was said elsewhere.
    pub(crate) fn told(&mut self, now: Instant, reason: SlowReason) {
        self.said = Some((reason, now));
    }
}

/// Remembers the last error of each tracker.
#[derive(Debug, Default)]
pub(crate) struct TrackerNews(BTreeMap<String, String>);

impl TrackerNews {
    /// Returns whether this error of a tracker differs from its last; `None` means that nothing is
    /// wrong.
    pub(crate) fn is_news(&mut self, host: &str, why: Option<&str>) -> bool {
        let Some(why) = why else { return self.0.remove(host).is_some() };
        if self.0.get(host).is_some_and(|last| last == why) {
            return false;
        }
        if self.0.len() >= TRACKERS_MAX {
            // Errors are said again, which is better than ever more memory.
            self.0.clear();
        }
        self.0.insert(host.to_owned(), why.to_owned());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_is_heard_once_until_its_word_changes() {
        let mut news = TrackerNews::default();
        let table = [
            ("a", None, false),
            ("a", Some("down"), true),
            ("a", Some("down"), false),
            ("b", Some("down"), true),
            ("a", Some("unregistered"), true),
            ("a", None, true),
            ("a", None, false),
        ];
        for (host, why, expected) in table {
            assert_eq!(news.is_news(host, why), expected, "{host} {why:?}");
        }
        (0..3000).for_each(|n| assert!(news.is_news(&n.to_string(), Some("down"))));
        assert!(news.0.len() <= TRACKERS_MAX);
    }

    #[test]
    fn lasting_reasons_are_said_once_and_changes_at_most_every_three_seconds() {
        let begin = Instant::now();
        let mut teller = Teller::new(begin);
        let (choked, none, slow) = (Some(SlowReason::Choked), None, Some(SlowReason::SlowPeers));
        // (second, reason at that time, reason that is said)
        let table = [
            (0, choked, none),
            (2, choked, none),
            (3, choked, choked),
            (4, slow, none),
            (5, choked, none),
            (6, slow, slow),
            (60, slow, none),
            (61, none, none),
            (62, slow, none),
            (66, slow, none),
            (67, none, none),
            (71, none, none),
            (72, slow, none),
            (75, slow, slow),
        ];
        for (second, reason, said) in table {
            assert_eq!(
                teller.hear(begin + Duration::from_secs(second), reason),
                said,
                "at {second} s"
            );
        }
    }
}
