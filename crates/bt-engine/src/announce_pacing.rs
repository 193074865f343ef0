//! Paces the announces of all torrents to one tracker host.
//!
//! Decides: when an announce may leave.
//! Must not know: torrents, sockets, the answers of trackers.
//! Invariant: to one host at most a burst of announces leaves at once, then one at each distance.

use alloc::collections::BTreeMap;
use alloc::string::String;
use bt_types::Time;
use core::time::Duration;

/// Announces to one tracker host: this number at once, then one at a time at this distance in
/// milliseconds. Ten thousand torrents that announce every half hour need a distance below 180 ms.
const ANNOUNCE_BURST: u32 = 40;
const ANNOUNCE_DISTANCE: Duration = Duration::from_millis(100);

/// The booked announces of the whole process.
#[derive(Debug, Default)]
pub struct AnnouncePacing {
    /// The time up to which the announces of each tracker host are booked. A host with no booked
    /// announce is forgotten.
    hosts: BTreeMap<String, Time>,
}

impl AnnouncePacing {
    /// Books an announce to a tracker of this host: returns when it may leave, `now` or later.
    pub fn announce_at(&mut self, now: Time, host: &str) -> Time {
        self.hosts.retain(|_, taken| *taken > now);
        let taken = self.hosts.get(host).copied().unwrap_or(now);
        self.hosts.insert(host.into(), taken + ANNOUNCE_DISTANCE);
        now + taken.since(now).saturating_sub(ANNOUNCE_DISTANCE * (ANNOUNCE_BURST - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn ten_thousand_torrents_do_not_meet_at_one_tracker() {
        let mut pacing = AnnouncePacing::default();
        let start = Time::from_secs(7);
        let leave: Vec<Time> = (0..10_000).map(|_| pacing.announce_at(start, "tracker")).collect();
        assert!(leave.is_sorted());
        assert_eq!(leave.iter().filter(|at| **at == start).count(), 40, "the burst");
        let most = leave.iter().map(|from| {
            leave
                .iter()
                .filter(|at| *at >= from && at.since(*from) < Duration::from_secs(1))
                .count()
        });
        assert_eq!(most.max(), Some(40 + 9), "in any second");
        assert_eq!(leave.last().map(|at| at.since(start)), Some(ANNOUNCE_DISTANCE * (10_000 - 40)));
        assert_eq!(pacing.announce_at(start, "another"), start, "others do not wait");
        let later = Time::from_secs(7 + 1000);
        assert_eq!(pacing.announce_at(later, "tracker"), later);
        assert_eq!(pacing.hosts.len(), 1, "who has all its places is forgotten");
    }
}
