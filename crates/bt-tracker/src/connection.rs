//! Makes and checks UDP connection ids: proof that an address receives what we send to it (BEP 15).
//!
//! Decides: which ids are valid. Must not know: datagrams, swarms.
//! Invariant: an id is a keyed hash of address and epoch: nothing is stored, and only the key can
//! make an id.

use bt_types::{Rng, Time};
use core::fmt;
use core::net::IpAddr;
use siphasher::sip::SipHasher24;

/// Microseconds of an epoch. An id is valid in its own epoch and the next, so for 30 to 60 minutes.
/// BEP 15 asks for two minutes and lets clients use an id for one minute. But many clients keep
/// theirs for much longer: silence would only make them ask again.
const EPOCH_MICROS: u64 = 1_800_000_000;

/// Makes and checks connection ids.
#[derive(Clone)]
pub(crate) struct ConnectionIds(SipHasher24);

impl ConnectionIds {
    /// Makes ids with a secret key drawn from `rng`.
    pub(crate) fn new(rng: &mut Rng) -> ConnectionIds {
        let mut key = [0; 16];
        rng.fill(&mut key);
        ConnectionIds(SipHasher24::new_with_key(&key))
    }

    /// Returns the id of an address now. The port is not part of it: address translators change it.
    pub(crate) fn issue(&self, now: Time, ip: IpAddr) -> u64 {
        self.id(epoch(now), ip)
    }

    /// Checks an id: `Some` if it was given to this address in this epoch or the one before.
    pub(crate) fn check(&self, now: Time, ip: IpAddr, id: u64) -> Option<()> {
        let epoch = epoch(now);
        let this = self.id(epoch, ip) ^ id;
        let last = epoch.checked_sub(1).map_or(u64::MAX, |last| self.id(last, ip) ^ id);
        // Whole words are compared, both always: the time taken does not tell how many bits were
        // right.
        ((this == 0) | (last == 0)).then_some(())
    }

    fn id(&self, epoch: u64, ip: IpAddr) -> u64 {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut message = [0; 24];
        let bytes = epoch.to_be_bytes().into_iter().chain(ip.octets());
        message.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        self.0.hash(&message)
    }
}

fn epoch(now: Time) -> u64 {
    now.as_micros() / EPOCH_MICROS
}

impl fmt::Debug for ConnectionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionIds") // the key stays out of logs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_id_is_good_for_its_address_in_its_epoch_and_the_next() {
        let ids = ConnectionIds::new(&mut Rng::from_seed(1));
        let id = ids.issue(Time::from_secs(3600), ip("1.2.3.4"));
        for (at, good) in [
            (3599, false),
            (3600, true),
            (3721, true),
            (5399, true),
            (5400, true),
            (7199, true),
            (7200, false),
        ] {
            assert_eq!(
                ids.check(Time::from_secs(at), ip("1.2.3.4"), id).is_some(),
                good,
                "at {at} s"
            );
        }
        assert_eq!(ids.check(Time::from_secs(3600), ip("1.2.3.5"), id), None, "another address");
        assert_eq!(ids.check(Time::from_secs(3600), ip("1.2.3.4"), id ^ 1), None, "forged");
        assert_eq!(
            ids.check(Time::ZERO, ip("1.2.3.4"), u64::MAX),
            None,
            "no epoch before the first"
        );
    }

    #[test]
    fn another_key_gives_another_id() {
        let id = |seed| ConnectionIds::new(&mut Rng::from_seed(seed)).issue(Time::ZERO, ip("::1"));
        assert_ne!(id(1), id(2));
    }
}
