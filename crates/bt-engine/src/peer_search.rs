//! Times the searches for peers without a tracker: in the DHT (BEP 5) or on the local network
//! (BEP 14).
//!
//! Decides: the time of each search. Must not know: how a search is made, which addresses it finds.
//! Invariant: no search is ordered while a search is under way.

use crate::io::Discovery;
use bt_types::Time;
use core::time::Duration;

/// Time between two searches of the DHT: what a DHT node stores of us lasts for half an hour
/// (BEP 5).
const DHT_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// Time between two announces on the local network (BEP 14), and between the first two while peers
/// are lacking: a datagram may be lost. BEP 14 allows no more than one a minute.
const LSD_INTERVAL: Duration = Duration::from_secs(5 * 60);
const LSD_RETRY: Duration = Duration::from_secs(60);
/// Seconds after which the DHT is searched again while peers are lacking. Each wait doubles, up to
/// the second value, which also limits local announces.
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(5 * 60);

/// The state of one way to search.
#[derive(Debug)]
pub(crate) struct PeerSearch {
    pub(crate) via: Discovery,
    state: State,
    /// The wait after the last search, if peers are lacking.
    retry: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Untried,
    UnderWay,
    Searched(Time),
}

impl PeerSearch {
    pub(crate) fn new(via: Discovery) -> PeerSearch {
        PeerSearch { via, state: State::Untried, retry: retry_min(via) }
    }

    /// Returns when the next search is due. `wants_peers`: more peers are needed.
    pub(crate) fn deadline(&self, wants_peers: bool) -> Option<Time> {
        match (self.state, self.via) {
            (State::Untried, _) => Some(Time::ZERO),
            (State::UnderWay, _) => None,
            (State::Searched(at), _) if wants_peers => Some(at + self.retry),
            (State::Searched(at), Discovery::Dht) => Some(at + DHT_INTERVAL),
            (State::Searched(at), Discovery::Lsd) => Some(at + LSD_INTERVAL),
        }
    }

    /// Returns whether a search is due; if so, it is under way from now on.
    pub(crate) fn take(&mut self, now: Time, wants_peers: bool) -> bool {
        let is_due = self.deadline(wants_peers).is_some_and(|at| at <= now);
        if is_due {
            // Each search after which peers are still lacking makes the next wait longer.
            let again = matches!(self.state, State::Searched(_)) && wants_peers;
            self.retry = if again { (2 * self.retry).min(RETRY_MAX) } else { retry_min(self.via) };
            self.state = State::UnderWay;
        }
        is_due
    }

    /// Makes the next search due at once, unless a search is under way.
    pub(crate) fn hurry(&mut self) {
        if matches!(self.state, State::Searched(_)) {
            (self.state, self.retry) = (State::Untried, retry_min(self.via));
        }
    }

    /// Notes that the search is over.
    pub(crate) fn ended(&mut self, now: Time) {
        self.state = State::Searched(now);
    }
}

fn retry_min(via: Discovery) -> Duration {
    match via {
        Discovery::Dht => RETRY_MIN,
        Discovery::Lsd => LSD_RETRY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Returns the seconds at which searches begin, each of which takes a second. Peers are
    /// lacking before the second `wants_peers`.
    fn play(via: Discovery, wants_peers: u64, seconds: u64) -> Vec<u64> {
        let (mut search, mut began) = (PeerSearch::new(via), Vec::new());
        for second in 0..seconds {
            let now = Time::from_secs(second);
            if began.last().is_some_and(|at| at + 1 == second) {
                search.ended(now);
            }
            if search.take(now, second < wants_peers) {
                began.push(second);
            }
        }
        began
    }

    #[test]
    fn the_dht_is_asked_again_soon_while_peers_are_lacking() {
        assert_eq!(play(Discovery::Dht, 0, 2000), [0, 901, 1802]);
        assert_eq!(play(Discovery::Dht, 3000, 1000), [0, 6, 17, 38, 79, 160, 321, 622, 923]);
        assert_eq!(play(Discovery::Dht, 10, 1000), [0, 6, 907]);
    }

    #[test]
    fn the_local_network_is_called_every_five_minutes_and_sooner_while_peers_are_lacking() {
        assert_eq!(play(Discovery::Lsd, 0, 1000), [0, 301, 602, 903]);
        assert_eq!(play(Discovery::Lsd, 3000, 1000), [0, 61, 182, 423, 724]);
    }

    #[test]
    fn a_search_that_never_ends_is_not_repeated() {
        let mut search = PeerSearch::new(Discovery::Dht);
        assert!(search.take(Time::ZERO, true));
        assert_eq!(search.deadline(true), None);
        assert!(!search.take(Time::from_secs(9000), true));
    }
}
