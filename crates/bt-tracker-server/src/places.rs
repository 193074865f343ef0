//! The places for HTTP connections.
//!
//! Decides: which connection gives way when no place is left.
//! Must not know: sockets, requests.
//! Invariant: never more places than the limits; a connection's turn is the time of its last reply,
//! and no two are equal.

use bt_types::{Closeness, Shares, Yields, closeness};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Connections at once, over all listeners.
const PLACES_MAX: usize = 2_048;
/// Of these, connections of one subscriber: an IPv4 address or a public IPv6 /64. Loopback is not
/// limited.
const PLACES_PER_SUBSCRIBER: usize = 64;

/// The places, shared by all listeners.
#[derive(Clone)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

struct Taken {
    by_turn: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
    by_subscriber: Shares<u64>,
    next_turn: u64,
}

/// One connection's place; dropping it gives the place back.
pub(crate) struct Place {
    places: Places,
    ip: IpAddr,
    turn: u64,
    leave: Arc<Notify>,
}

impl Places {
    /// Makes places that are all free.
    pub(crate) fn new() -> Places {
        Places(Arc::new(Mutex::new(Taken {
            by_turn: BTreeMap::new(),
            by_subscriber: Shares::new(0),
            next_turn: 0,
        })))
    }

    /// Gives a place to a connection from this address.
    ///
    /// If all are taken, the most crowded subscriber's longest idle connection gives way. If the
    /// newcomer's subscriber is at its limit, one of its own does.
    pub(crate) fn enter(&self, ip: IpAddr) -> Place {
        self.with(|taken| {
            let crowded = taken.by_subscriber.count(ip) >= PLACES_PER_SUBSCRIBER
                && closeness(ip) != Some(Closeness::Loopback);
            if crowded && let Some(own) = taken.by_subscriber.first(ip) {
                taken.dismiss(own);
            } else if taken.by_turn.len() >= PLACES_MAX {
                taken.make_room(ip);
            }
            let leave = Arc::new(Notify::new());
            let turn = taken.take(ip, Arc::clone(&leave));
            Place { places: self.clone(), ip, turn, leave }
        })
    }

    /// Ends one connection, because the system gives us no more descriptors.
    pub(crate) fn shrink(&self) {
        self.with(|taken| {
            // An address that holds nothing.
            taken.make_room(IpAddr::from([0; 4]));
        });
    }

    fn with<R>(&self, work: impl FnOnce(&mut Taken) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Taken {
    fn take(&mut self, ip: IpAddr, leave: Arc<Notify>) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.by_turn.insert(turn, (ip, leave));
        self.by_subscriber.insert(ip, turn);
        turn
    }

    fn free(&mut self, turn: u64) -> Option<Arc<Notify>> {
        let (ip, leave) = self.by_turn.remove(&turn)?;
        self.by_subscriber.remove(ip, turn);
        Some(leave)
    }

    fn make_room(&mut self, newcomer: IpAddr) {
        let oldest = self.by_turn.first_key_value().map(|(turn, _)| *turn);
        let turn = match self.by_subscriber.yields_to(newcomer) {
            Yields::Entry(turn) => Some(turn),
            Yields::Oldest => oldest,
        };
        turn.into_iter().for_each(|turn| self.dismiss(turn));
    }

    fn dismiss(&mut self, turn: u64) {
        self.free(turn).into_iter().for_each(|leave| leave.notify_one());
    }
}

impl Place {
    /// Renews the turn of a connection that got a reply: it is now the last to give way.
    pub(crate) fn renew(&mut self) {
        let (turn, ip) = (self.turn, self.ip);
        let renewed = self.places.with(|taken| taken.free(turn).map(|leave| taken.take(ip, leave)));
        self.turn = renewed.unwrap_or(turn);
    }

    /// Returns the notification of when the connection has to end.
    pub(crate) fn leave(&self) -> Arc<Notify> {
        Arc::clone(&self.leave)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let turn = self.turn;
        self.places.with(|taken| drop(taken.free(turn)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Returns whether the connection still has its place.
    fn stays(place: &Place) -> bool {
        place.places.with(|taken| taken.by_turn.contains_key(&place.turn))
    }

    fn taken(places: &Places) -> usize {
        places.with(|taken| taken.by_turn.len())
    }

    #[test]
    fn a_subscriber_that_has_all_it_may_makes_room_itself() {
        for (one, sibling, other) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:2::1"),
        ] {
            let places = Places::new();
            let neighbour = places.enter(ip(other));
            let mut own: Vec<Place> =
                (0..PLACES_PER_SUBSCRIBER).map(|_| places.enter(ip(one))).collect();
            own[0].renew();
            own.push(places.enter(ip(sibling)));
            let gone: Vec<usize> = (0..own.len()).filter(|&n| !stays(&own[n])).collect();
            assert_eq!(
                (gone, taken(&places)),
                (vec![1], PLACES_PER_SUBSCRIBER + 1),
                "who was answered last stays"
            );
            assert!(stays(&neighbour));
            own.clear();
            drop(neighbour);
            assert!(
                places.with(
                    |taken| taken.by_turn.is_empty() && taken.by_subscriber.count(ip(one)) == 0
                ),
                "nothing is remembered"
            );
        }
        let places = Places::new();
        let own: Vec<Place> =
            (0..=PLACES_PER_SUBSCRIBER).map(|_| places.enter(ip("127.0.0.1"))).collect();
        assert!(own.iter().all(stays), "loopback is not limited");
    }

    #[test]
    fn the_most_crowded_or_the_oldest_gives_way_when_every_place_is_taken() {
        let places = Places::new();
        let honest: Vec<Place> =
            (0..10).map(|n| places.enter(IpAddr::from([1, 1, 1, n]))).collect();
        let crowd: Vec<Place> =
            (0..10_000u16).map(|n| places.enter(IpAddr::from([2, 2, 2, (n % 32) as u8]))).collect();
        assert!(taken(&places) <= PLACES_MAX);
        let many: Vec<Place> = (0..10_000u16)
            .map(|n| places.enter(IpAddr::from([3, 3, (n >> 8) as u8, n as u8])))
            .collect();
        assert_eq!(taken(&places), PLACES_MAX);
        let last = places.enter(ip("4.4.4.4"));
        assert_eq!(taken(&places), PLACES_MAX);
        assert!(
            stays(&last)
                && !stays(&honest[0])
                && !stays(&crowd[0])
                && !stays(&many[0])
                && many.last().is_some_and(stays)
        );
        places.shrink();
        assert_eq!(taken(&places), PLACES_MAX - 1);
    }

    #[tokio::test]
    async fn who_gives_way_is_told() {
        let places = Places::new();
        let place = places.enter(ip("1.1.1.1"));
        let leave = place.leave();
        places.shrink();
        leave.notified().await;
        assert_eq!(taken(&places), 0);
        drop(place);
    }
}
