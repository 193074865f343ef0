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
pub(crate) struct Asked(BTreeMap<Place, (Instant, Answer)>);

#[derive(Clone, Debug)]
enum Answer {
    /// There is none yet.
    None,
    /// The number of addresses that it gave.
    Peers(usize),
    /// Why it gave none.
    Trouble(String),
}

impl Asked {
    /// Notes that a source is asked. Its earlier answer stays until the next one.
    pub(crate) fn ask(&mut self, now: Instant, place: Place) {
        self.0.entry(place).or_insert((now, Answer::None));
    }

    /// Notes that a source failed.
    pub(crate) fn failed(&mut self, now: Instant, place: Place, why: String) {
        self.0.insert(place, (now, Answer::Trouble(why)));
    }

    /// Notes that a source gave this many addresses.
    pub(crate) fn found(&mut self, now: Instant, place: Place, addresses: usize) {
        self.0.insert(place, (now, Answer::Peers(addresses)));
    }

    /// Makes a line for each source, those with trouble first.
    pub(crate) fn notes(&self, now: Instant) -> Vec<String> {
        let note = |(place, (at, answer)): (&Place, &(Instant, Answer))| {
            let ago = ago(now.saturating_duration_since(*at));
            let name = match place {
                Place::Tracker(host) => format!("tracker {host}"),
                Place::Dht => "DHT".into(),
                Place::LocalNetwork => "local network".into(),
            };
            match answer {
                Answer::None => format!("{name}: asked {ago}"),
                Answer::Peers(count) => format!("{name}: {}, {ago}", units::count(*count, "peer")),
                Answer::Trouble(why) => format!("{name}: {}, {ago}", without_host(why, place)),
            }
        };
        let is_trouble =
            |(_, (_, answer)): &(&Place, &(Instant, Answer))| matches!(answer, Answer::Trouble(_));
        let (trouble, fine): (Vec<_>, Vec<_>) = self.0.iter().partition(is_trouble);
        trouble.into_iter().chain(fine).map(note).collect()
    }
}

/// Removes a tracker's host from its error, as the line names it already.
fn without_host(why: &str, place: &Place) -> String {
    let Place::Tracker(host) = place else { return why.to_owned() };
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    [format!(" to {host}: "), format!(" {host}: "), format!(" {name}: ")]
        .iter()
        .fold(why.to_owned(), |why, known| why.replacen(known, ": ", 1))
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
        asked.failed(at(4), tracker(), "cannot connect to t.example:80: refused".into());
        asked.found(at(5), Place::Dht, 1);
        asked.ask(at(200), tracker());
        let notes = [
            "tracker t.example:80: cannot connect: refused, 3 min ago",
            "DHT: 1 peer, 3 min ago",
            "local network: asked 3 min ago",
        ];
        assert_eq!(asked.notes(at(205)), notes);
        asked.found(at(206), Place::Tracker("a.example".into()), 0);
        asked.failed(at(206), Place::LocalNetwork, "cannot resolve t.example: no".into());
        let notes = [
            "tracker t.example:80: cannot connect: refused, 3 min ago",
            "local network: cannot resolve t.example: no, now",
            "tracker a.example: 0 peers, now",
            "DHT: 1 peer, 3 min ago",
        ];
        assert_eq!(asked.notes(at(206)), notes, "trouble comes first");
    }
}
