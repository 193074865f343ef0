//! How the torrents of a group share its limit.
//!
//! Decides: each one's share.
//! Must not know: torrents, sessions.
//! Invariant: shares are never more than the limit together, and no torrent has none.

/// Returns each torrent's share of a limit in bytes per second, by the rate that each has now: none
/// gets much more than it uses while others could use it, and what is left is spread, so that each
/// can grow.
pub fn shares(limit: u64, rates: &[u64]) -> Vec<u64> {
    let Ok(count) = u64::try_from(rates.len()) else { return Vec::new() };
    if count == 0 {
        return Vec::new();
    }
    let even = limit / count;
    // What a torrent may use soon: somewhat more than now, and enough to begin with.
    let wish = |rate: &u64| rate.saturating_add(rate / 4).max(even / 4).max(1);
    let mut order: Vec<(usize, u64)> = rates.iter().map(wish).enumerate().collect();
    order.sort_by_key(|(_, wish)| *wish);
    let mut shares = vec![0; rates.len()];
    let (mut left, mut waiting) = (limit, count);
    for (at, wish) in order {
        let share = wish.min(left / waiting);
        if let Some(place) = shares.get_mut(at) {
            *place = share;
        }
        left -= share;
        waiting -= 1;
    }
    shares.iter_mut().for_each(|share| *share = (*share + left / count).max(1));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_does_not_use_is_for_the_others() {
        for (limit, rates, expected) in [
            (1000, &[][..], &[][..]),
            (1000, &[0], &[1000]),
            (1000, &[0, 0], &[500, 500]),
            (1000, &[900, 900], &[500, 500]),
            (1000, &[40, 900], &[125, 875]),
            (1000, &[0, 100], &[500, 500]),
        ] {
            assert_eq!(shares(limit, rates), expected, "{limit} {rates:?}");
        }
        for limit in [10, 1000, 123_457] {
            for rates in [vec![0; 7], vec![limit; 9], (0..5).map(|n| n * limit / 3).collect()] {
                let shares = shares(limit, &rates);
                let sum: u64 = shares.iter().sum();
                assert!(sum <= limit.max(rates.len() as u64), "{limit} {rates:?} {shares:?}");
                assert!(shares.iter().all(|share| *share > 0));
            }
        }
    }
}
