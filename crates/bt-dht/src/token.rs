//! Write tokens (BEP 5): only a host that receives our answers at its address may store something
//! here.
//!
//! Decides: which tokens count.
//! Must not know: what is stored.
//! Invariant: a token is bound to an address, a target and a secret that is at most ten minutes
//! old.

use crate::id::Id;
use alloc::vec::Vec;
use bt_types::{Rng, Time, normalise};
use core::net::IpAddr;
use core::time::Duration;
use siphasher::sip::SipHasher24;

/// Time that a secret makes tokens; they are accepted for as long again (BEP 5).
const SECRET_LIFE: Duration = Duration::from_secs(5 * 60);

/// Makes and checks tokens.
#[derive(Debug)]
pub(crate) struct Tokens {
    current: SipHasher24,
    previous: SipHasher24,
    turn_at: Time,
    rng: Rng,
}

impl Tokens {
    pub(crate) fn new(now: Time, mut rng: Rng) -> Tokens {
        let (current, previous) = (secret(&mut rng), secret(&mut rng));
        Tokens { current, previous, turn_at: now + SECRET_LIFE, rng }
    }

    /// Makes a token for this address and target.
    pub(crate) fn make(&mut self, now: Time, ip: IpAddr, target: Id) -> Vec<u8> {
        self.turn(now);
        self.current.hash(&bound_to(ip, target)).to_be_bytes().to_vec()
    }

    /// Returns whether a token was made for this address and target, not long ago.
    pub(crate) fn accepts(&mut self, now: Time, ip: IpAddr, target: Id, token: &[u8]) -> bool {
        self.turn(now);
        let Ok(token) = <[u8; 8]>::try_from(token).map(u64::from_be_bytes) else { return false };
        let bytes = bound_to(ip, target);
        // Two comparisons of whole words: no early end tells how much of a guess was right.
        (token == self.current.hash(&bytes)) | (token == self.previous.hash(&bytes))
    }

    fn turn(&mut self, now: Time) {
        if now < self.turn_at {
            return;
        }
        // After a long silence the current secret is too old to count, too.
        let is_recent = now < self.turn_at + SECRET_LIFE;
        self.previous = if is_recent { self.current } else { secret(&mut self.rng) };
        self.current = secret(&mut self.rng);
        self.turn_at = now + SECRET_LIFE;
    }
}

fn secret(rng: &mut Rng) -> SipHasher24 {
    let mut key = [0; 16];
    rng.fill(&mut key);
    SipHasher24::new_with_key(&key)
}

fn bound_to(ip: IpAddr, target: Id) -> Vec<u8> {
    let mut bytes = target.0.to_vec();
    match normalise(ip) {
        IpAddr::V4(ip) => bytes.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => bytes.extend_from_slice(&ip.octets()),
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_address_one_target_and_a_short_time() {
        let (ip, other): (IpAddr, IpAddr) =
            ("5.6.7.8".parse().unwrap(), "5.6.7.9".parse().unwrap());
        let target = Id([1; 20]);
        let mut tokens = Tokens::new(Time::ZERO, Rng::from_seed(1));
        let token = tokens.make(Time::from_secs(299), ip, target);
        for (secs, from, at, accepted) in [
            (299, ip, target, true),
            (299, other, target, false),
            (299, ip, Id([2; 20]), false),
            (599, ip, target, true),
            (1200, ip, target, false),
        ] {
            assert_eq!(
                tokens.accepts(Time::from_secs(secs), from, at, &token),
                accepted,
                "{secs} s, {from}, {at}"
            );
        }
        let mut fresh = Tokens::new(Time::ZERO, Rng::from_seed(1));
        assert!(
            !fresh.accepts(Time::from_secs(2000), ip, target, &token),
            "a secret does not outlive a silence"
        );
        assert!(!fresh.accepts(Time::ZERO, ip, target, &token[..7]));
    }
}
