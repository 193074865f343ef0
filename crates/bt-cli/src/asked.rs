//! The trackers and searches that were asked for peers, and their last answers.
//!
//! Decides: the words.
//! Must not know: how peers are found.
//! Invariant: a tracker is named by its host, as the rest of its URL may hold a passkey.

use crate::units;
use bt_session::Discovery;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A source of peers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// The host of a tracker.
    Tracker(String),
    Dht,
    LocalNetwork,
}

impl From<Discovery> for Place {
    fn from(via: Discovery) -> Place {
        match via {
            Discovery::Dht => Place::Dht,
            Discovery::Lsd => Place::LocalNetwork,
        }
    }
}

/// The last answer of each source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(BTreeMap<Place, (Instant, Option<String>)>);

impl Asked {
    /// Notes that a source is asked. Its earlier answer stays until the next one.
    pub(crate) fn ask(&mut self, now: Instant, place: Place) {
        self.0.entry(place).or_insert((now, None));
    }

    pub(crate) fn said(&mut self, now: Instant, place: Place, text: String) {
        self.0.insert(place, (now, Some(text)));
    }

    /// Notes that a source gave this many addresses.
    pub(crate) fn found(&mut self, now: Instant, place: Place, addresses: usize) {
        self.said(now, place, units::count(addresses, "peer"));
    }

    /// Makes a line for each source.
    pub(crate) fn notes(&self, now: Instant) -> Vec<String> {
        let note = |(place, (at, word)): (&Place, &(Instant, Option<String>))| {
            let ago = ago(now.saturating_duration_since(*at));
            let name = match place {
                Place::Tracker(host) => format!("tracker {host}"),
                Place::Dht => "DHT".into(),
                Place::LocalNetwork => "local network".into(),
            };
            match word {
                Some(word) => format!("{name}: {word}, {ago}"),
                None => format!("{name}: asked {ago}"),
            }
        };
        self.0.iter().map(note).collect()
    }
}

/// Returns the host of a tracker's URL: the rest may hold a password or a passkey.
pub(crate) fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn ago(time: Duration) -> String {
    match time.as_secs() {
        0 => "now".into(),
        seconds @ 1..=99 => format!("{seconds} s ago"),
        seconds => format!("{} min ago", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passkey_is_not_shown() {
        assert_eq!(host("https://tracker.example/secret/announce"), "tracker.example");
        assert_eq!(host("udp://[::1]:6969"), "[::1]:6969");
        assert_eq!(host("http://u:p@ss@t:1?key=a@b"), "t:1");
    }

    #[test]
    fn the_last_word_of_each_place_is_kept_with_its_age() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let tracker = || Place::Tracker("t.example:80".into());
        let mut asked = Asked::default();
        asked.ask(at(0), tracker());
        asked.ask(at(0), Discovery::Dht.into());
        asked.ask(at(1), Discovery::Lsd.into());
        assert_eq!(
            asked.notes(at(3)),
            [
                "tracker t.example:80: asked 3 s ago",
                "DHT: asked 3 s ago",
                "local network: asked 2 s ago"
            ]
        );
        asked.said(at(4), tracker(), "connection refused".into());
        asked.found(at(5), Place::Dht, 1);
        asked.ask(at(200), tracker());
        let notes = [
            "tracker t.example:80: connection refused, 3 min ago",
            "DHT: 1 peer, 3 min ago",
            "local network: asked 3 min ago",
        ];
        assert_eq!(asked.notes(at(205)), notes);
    }
}
