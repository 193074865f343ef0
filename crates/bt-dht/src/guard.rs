//! Limits on other hosts: how often they may query us, and how much they may make us send.
//!
//! Decides: which queries are answered, and how long an answer may be.
//! Must not know: messages.
//! Invariant: an address that has not answered a query of ours never gets more than three times the
//! bytes that it sent.

use alloc::collections::BTreeMap;
use bt_types::{Closeness, Time, closeness, subscriber};
use core::mem;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Queries of one subscriber that the node answers: a burst, and then a rate per second.
const QUERIES_BURST: u64 = 50;
const QUERIES_PER_SEC: u64 = 5;
/// Bytes that an unverified address may get for each byte that it sent.
const FACTOR: usize = 3;
/// Time for which an answer to our query proves that a host uses the address.
const VERIFIED_FOR: Duration = Duration::from_secs(15 * 60);
/// Most remembered hosts, and addresses, and how long each is remembered. Beyond either the older
/// half is forgotten.
const REMEMBERED_MAX: usize = 4096;
const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);

#[derive(Debug)]
pub(crate) struct Guard {
    hosts: Recent<IpAddr, Bucket>,
    addrs: Recent<SocketAddr, Standing>,
    /// Bytes of all answers.
    replies: Bucket,
    reply_bytes_per_sec: u64,
}

/// The credit and verification of an address.
#[derive(Clone, Copy, Default, Debug)]
struct Standing {
    /// Bytes that may still be sent to it while it is not verified.
    credit: usize,
    verified_until: Time,
}

/// A token bucket; a new bucket is full. It counts in millionths, so that no time is lost to
/// rounding.
#[derive(Clone, Copy, Default, Debug)]
struct Bucket {
    used: u64,
    since: Time,
}

impl Bucket {
    /// Takes `amount` if it may pass now, of a bucket that holds `burst` and fills with `per_sec`;
    /// returns whether it did.
    fn take(&mut self, now: Time, amount: u64, burst: u64, per_sec: u64) -> bool {
        let refilled = now.since(self.since).as_micros().saturating_mul(per_sec.into());
        self.used = self.used.saturating_sub(u64::try_from(refilled).unwrap_or(u64::MAX));
        self.since = now;
        let after = self.used.saturating_add(amount.saturating_mul(1_000_000));
        let passes = after <= burst.saturating_mul(1_000_000);
        if passes {
            self.used = after;
        }
        passes
    }
}

impl Guard {
    pub(crate) fn new(now: Time, reply_bytes_per_sec: u64) -> Guard {
        Guard {
            hosts: Recent::new(now),
            addrs: Recent::new(now),
            replies: Bucket::default(),
            reply_bytes_per_sec,
        }
    }

    /// Returns whether to answer a query of `len` bytes that arrived. Its bytes count as credit.
    pub(crate) fn admit(&mut self, now: Time, from: SocketAddr, len: usize) -> bool {
        // The ports of this machine would share one bucket.
        let is_own = closeness(from.ip()) == Some(Closeness::Loopback);
        if !is_own
            && !self.hosts.entry(now, subscriber(from.ip())).take(
                now,
                1,
                QUERIES_BURST,
                QUERIES_PER_SEC,
            )
        {
            return false;
        }
        // Only now: a subscriber that asks too often, from many addresses, must not make others
        // forgotten.
        let standing = self.addrs.entry(now, from);
        standing.credit = standing.credit.saturating_add(len.saturating_mul(FACTOR));
        true
    }

    /// Verifies an address that answered our query.
    pub(crate) fn answered(&mut self, now: Time, from: SocketAddr) {
        self.addrs.entry(now, from).verified_until = now + VERIFIED_FOR;
    }

    /// Returns the bytes that may be sent to the address in answer; `max` once it is verified.
    pub(crate) fn allowance(&mut self, now: Time, to: SocketAddr, max: usize) -> usize {
        let standing = self.addrs.entry(now, to);
        if now < standing.verified_until { max } else { standing.credit.min(max) }
    }

    /// Takes bytes that are about to be sent off the allowance; false when all answers together
    /// were too many.
    pub(crate) fn spend(&mut self, now: Time, to: SocketAddr, len: usize) -> bool {
        let rate = self.reply_bytes_per_sec;
        if !self.replies.take(
            now,
            u64::try_from(len).unwrap_or(u64::MAX),
            rate.saturating_mul(2),
            rate,
        ) {
            return false;
        }
        let standing = self.addrs.entry(now, to);
        standing.credit = standing.credit.saturating_sub(len);
        true
    }
}

/// A map that forgets: two generations, of which the older is dropped when the younger is full or
/// old.
#[derive(Debug)]
struct Recent<K, V> {
    young: BTreeMap<K, V>,
    old: BTreeMap<K, V>,
    turn_at: Time,
}

impl<K: Ord + Copy, V: Default> Recent<K, V> {
    fn new(now: Time) -> Recent<K, V> {
        Recent { young: BTreeMap::new(), old: BTreeMap::new(), turn_at: now + REMEMBERED_FOR }
    }

    fn entry(&mut self, now: Time, key: K) -> &mut V {
        if now >= self.turn_at || self.young.len() >= REMEMBERED_MAX {
            self.old = mem::take(&mut self.young);
            self.turn_at = now + REMEMBERED_FOR;
        }
        let known = self.old.remove(&key);
        let value = self.young.entry(key).or_default();
        if let Some(known) = known {
            *value = known;
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_unverified_address_gets_three_times_what_it_sent() {
        let mut guard = Guard::new(Time::ZERO, 20_000);
        let stranger = addr("5.6.7.8:9");
        assert_eq!(guard.allowance(Time::ZERO, stranger, 1000), 0);
        assert!(guard.admit(Time::ZERO, stranger, 100));
        assert_eq!(guard.allowance(Time::ZERO, stranger, 1000), 300);
        assert!(guard.spend(Time::ZERO, stranger, 250));
        assert_eq!(guard.allowance(Time::ZERO, stranger, 1000), 50);
        assert_eq!(
            guard.allowance(Time::ZERO, addr("5.6.7.8:10"), 1000),
            0,
            "another port is another address"
        );
        guard.answered(Time::ZERO, stranger);
        assert_eq!(guard.allowance(Time::ZERO, stranger, 1000), 1000);
        assert_eq!(guard.allowance(Time::ZERO + VERIFIED_FOR, stranger, 1000), 50);
    }

    #[test]
    fn a_host_may_ask_fifty_times_and_then_five_times_a_second() {
        let mut guard = Guard::new(Time::ZERO, 20_000);
        let ask = |guard: &mut Guard, now, text| {
            (0..100).filter(|_| guard.admit(now, addr(text), 60)).count()
        };
        assert_eq!(ask(&mut guard, Time::ZERO, "5.6.7.8:9"), 50);
        assert_eq!(ask(&mut guard, Time::ZERO, "5.6.7.8:10"), 0, "another port is the same host");
        assert_eq!(ask(&mut guard, Time::ZERO, "5.6.7.9:9"), 50);
        assert_eq!(ask(&mut guard, Time::ZERO, "[2a00:0:0:1::1]:9"), 50);
        assert_eq!(
            ask(&mut guard, Time::ZERO, "[2a00:0:0:1:ffff::2]:9"),
            0,
            "an IPv6 /64 is one host"
        );
        assert_eq!(ask(&mut guard, Time::ZERO, "[2a00:0:0:2::1]:9"), 50);
        assert_eq!(ask(&mut guard, Time::from_secs(2), "5.6.7.8:9"), 10);
        assert_eq!(ask(&mut guard, Time::ZERO, "127.0.0.1:9"), 100, "not on loopback");
    }

    #[test]
    fn who_asks_too_often_has_nobody_else_forgotten() {
        let mut guard = Guard::new(Time::ZERO, 20_000);
        guard.answered(Time::ZERO, addr("5.6.7.8:9"));
        for host in 0..3 * u128::try_from(REMEMBERED_MAX).unwrap() {
            let ip = core::net::Ipv6Addr::from((0x2a00 << 112) | host);
            guard.admit(Time::ZERO, SocketAddr::new(ip.into(), 9), 60);
        }
        assert_eq!(guard.allowance(Time::ZERO, addr("5.6.7.8:9"), 1000), 1000);
    }

    #[test]
    fn all_answers_together_have_a_rate() {
        let mut guard = Guard::new(Time::ZERO, 1000);
        let sent = |guard: &mut Guard, now| {
            (0..100).filter(|_| guard.spend(now, addr("5.6.7.8:9"), 100)).count()
        };
        assert_eq!(sent(&mut guard, Time::ZERO), 20);
        assert_eq!(sent(&mut guard, Time::from_secs(1)), 10);
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten() {
        let mut recent = Recent::<usize, usize>::new(Time::ZERO);
        (0..REMEMBERED_MAX * 3).for_each(|key| *recent.entry(Time::ZERO, key) = key);
        assert!(recent.young.len() + recent.old.len() <= 2 * REMEMBERED_MAX);
        assert_eq!(*recent.entry(Time::ZERO, REMEMBERED_MAX * 3 - 1), REMEMBERED_MAX * 3 - 1);
        assert_eq!(*recent.entry(Time::ZERO, 0), 0);
    }
}
